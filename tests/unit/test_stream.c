/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Copies past the caches are copies, wherever they begin and end; which way is taken is measured, or as it was asked
 * for.
 */
#include "tests/unit/cm.h"

#include <math.h>
#include <string.h>

#include "lib/base/ownership.h"
#include "lib/sys/mem.h"
#include "worker/ml/stream.h"

#define GUARD 32u
#define BLOCK 4096u

static void a_copy_is_a_copy(void **state)
{
    (void)state;
    float from[200], to[GUARD + 200 + GUARD];
    for (uint32_t i = 0; i < MLQ_COUNT_OF(from); i++) {
        from[i] = (float)i + 0.25f;
    }
    for (uint32_t begin = 0; begin < 17; begin++) {
        for (uint32_t count = 0; count + begin <= 100; count++) {
            memset(to, 0xff, sizeof(to)); /* NaN */
            stream_copy(to + GUARD + begin, from + begin / 2, count);
            stream_fence();
            assert_memory_equal(to + GUARD + begin, from + begin / 2, count * sizeof(float));
            assert_true(isnan(to[GUARD + begin - 1]) && isnan(to[GUARD + begin + count]));
        }
    }
}

/* How many blocks of a step were made elsewhere; all of them are in `to`. */
static uint32_t step(struct stream_choice *choice, uint32_t blocks)
{
    float *from = mlq_alloc_array(BLOCK, sizeof(float)), *to = mlq_alloc_array(BLOCK, sizeof(float));
    uint32_t elsewhere = 0;
    stream_choice_begin(choice);
    for (uint32_t block = 0; block < blocks; block++) {
        from[block] = (float)block + 1;
        if (stream_choice_next(choice)) {
            stream_choice_put(choice, to, from, BLOCK);
            assert_memory_equal(to, from, BLOCK * sizeof(float));
            elsewhere++;
        }
    }
    mlq_free(from);
    mlq_free(to);
    return elsewhere;
}

static void the_way_can_be_given(void **state)
{
    (void)state;
    struct stream_choice choice;
    stream_choice_init(&choice, "always");
    assert_true(choice.streams);
    assert_int_equal(step(&choice, 5), 5);
    assert_true(choice.streams);
    stream_choice_init(&choice, "never");
    assert_int_equal(step(&choice, 5), 0);
    assert_false(choice.streams);
}

/* Two blocks of each step are measured; the others go as those say. */
static void the_way_is_measured(void **state)
{
    (void)state;
    struct stream_choice choice;
    stream_choice_init(&choice, NULL);
    assert_false(choice.streams);
    for (uint32_t turn = 0; turn < 20; turn++) {
        uint32_t elsewhere = step(&choice, 7);
        assert_int_equal(elsewhere, choice.streams ? 7 : 2);
    }
    stream_choice_init(&choice, "anything");
    assert_int_equal(step(&choice, 1), 1);
    assert_false(choice.streams);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_is_a_copy),
        cmocka_unit_test(the_way_can_be_given),
        cmocka_unit_test(the_way_is_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
