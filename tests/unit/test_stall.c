/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "scheduler/stall.h"

#define SECOND INT64_C(1000000000)

static bool put(struct stall *stall, uint32_t rank, const char *phase, bool waits, uint64_t step,
                int64_t since_ns, int64_t now_ns)
{
    struct stall_rank at = {
        .attempt = 7, .stage = 2, .rank = rank, .waits = waits, .step = step, .since_ns = since_ns};
    (void)strncpy(at.phase, phase, sizeof at.phase - 1);
    return stall_put(stall, &at, now_ns);
}

static void test_the_one_that_does_not_wait_is_to_blame(void **state)
{
    (void)state;
    struct stall stall = {0};
    int64_t since = 0;
    assert_false(put(&stall, 0, "exchange", true, 9, SECOND, 10 * SECOND));
    assert_false(put(&stall, 1, "compute", false, 9, 2 * SECOND, 10 * SECOND));
    assert_false(put(&stall, 2, "exchange", true, 9, SECOND, 10 * SECOND));
    assert_null(stall_culprit(&stall, 2, &since));
    assert_true(put(&stall, 0, "exchange", true, 9, SECOND, 17 * SECOND));
    const struct stall_rank *culprit = stall_culprit(&stall, 2, &since);
    assert_non_null(culprit);
    assert_int_equal(culprit->rank, 1);
    assert_string_equal(culprit->phase, "compute");
    assert_int_equal(since, 2 * SECOND);
    assert_null(stall_culprit(&stall, 1, &since)); /* another stage */
    /* It moves: nobody is. */
    assert_false(put(&stall, 1, "exchange", true, 9, 18 * SECOND, 20 * SECOND));
    assert_null(stall_culprit(&stall, 2, &since));
    stall_fini(&stall);
}

static void test_else_the_one_that_is_behind(void **state)
{
    (void)state;
    struct stall stall = {0};
    int64_t since = 0;
    for (uint32_t rank = 0; rank < 6; rank++) {
        (void)put(&stall, rank, "meet", true, rank == 4 ? 8 : 9, SECOND, 60 * SECOND);
    }
    assert_int_equal(stall_culprit(&stall, 2, &since)->rank, 4);
    stall_drop(&stall, 7, 4);
    assert_int_not_equal(stall_culprit(&stall, 2, &since)->rank, 4);
    for (uint32_t rank = 0; rank < 6; rank++) {
        stall_drop(&stall, 7, rank);
    }
    assert_null(stall_culprit(&stall, 2, &since));
    stall_fini(&stall);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_one_that_does_not_wait_is_to_blame),
        cmocka_unit_test(test_else_the_one_that_is_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
