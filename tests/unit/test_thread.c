/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "tests/unit/cm.h"

#include <stdatomic.h>

#include "lib/sys/thread.h"

#define COUNT 1000u

struct tally {
    atomic_uint times[COUNT];
    size_t fails_from; /* each of them from here on */
};

static int count_up(void *context, size_t i, struct mlq_err *err)
{
    struct tally *tally = context;
    (void)atomic_fetch_add(&tally->times[i], 1);
    return i < tally->fails_from ? MLQ_OK : mlq_fail(err, MLQ_EINVAL, "number %zu", i);
}

static void each_is_done_once(void **state)
{
    (void)state;
    const unsigned threads[] = {0, 1, 2, 7, MLQ_THREADS_MAX + 1};
    for (size_t t = 0; t < sizeof threads / sizeof threads[0]; t++) {
        struct tally tally = {.fails_from = COUNT};
        assert_int_equal(mlq_thread_each(threads[t], COUNT, count_up, &tally, NULL), MLQ_OK);
        for (size_t i = 0; i < COUNT; i++) {
            assert_int_equal(tally.times[i], 1);
        }
    }
    assert_int_equal(mlq_thread_each(4, 0, count_up, NULL, NULL), MLQ_OK);
}

static void the_first_that_fails_is_told_and_ends_it(void **state)
{
    (void)state;
    const unsigned threads[] = {1, 2, 7};
    for (size_t t = 0; t < sizeof threads / sizeof threads[0]; t++) {
        struct tally tally = {.fails_from = 100};
        struct mlq_err err = MLQ_ERR_INIT;
        assert_int_equal(mlq_thread_each(threads[t], COUNT, count_up, &tally, &err), MLQ_EINVAL);
        assert_string_equal(err.text, "number 100");
        for (size_t i = 0; i <= 100; i++) {
            assert_int_equal(tally.times[i], 1);
        }
        assert_int_equal(mlq_thread_each(threads[t], COUNT, count_up, &tally, NULL), MLQ_EINVAL);
    }
    struct tally alone = {.fails_from = 100};
    assert_int_equal(mlq_thread_each(1, COUNT, count_up, &alone, NULL), MLQ_EINVAL);
    assert_int_equal(alone.times[101], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_done_once),
        cmocka_unit_test(the_first_that_fails_is_told_and_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
