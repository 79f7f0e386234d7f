/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "tests/unit/cm.h"

#include <math.h>
#include <string.h>

#include "lib/base/ownership.h"
#include "lib/base/prng.h"
#include "lib/sys/mem.h"
#include "scheduler/points.h"

TEST_CATCHES_PANICS

static void test_a_point_is_new_once(void **state)
{
    (void)state;
    struct points points = {0};
    struct point point = {.name = MLQ_STR("loss"), .value = (double)NAN, .step = 1, .at_us = 7};
    assert_true(points_put(&points, 5, &point));
    assert_false(points_put(&points, 5, &point));
    assert_true(points_put(&points, 6, &point));
    point.name = MLQ_STR("accuracy");
    assert_true(points_put(&points, 5, &point));
    point.step++;
    assert_true(points_put(&points, 5, &point));
    point.at_us++;
    assert_true(points_put(&points, 5, &point));
    point.value = 1;
    assert_true(points_put(&points, 5, &point));
    assert_false(points_put(&points, 5, &point));
    assert_int_equal(points.count, 3);
    points_drop(&points, 5);
    points_drop(&points, 5);
    points_drop(&points, 0);
    assert_int_equal(points.count, 1);
    assert_true(points_put(&points, 5, &point));
    points_fini(&points);
    points_drop(&points, 5);
    assert_int_equal(points.count, 0);
}

static void test_no_more_than_the_limit_is_remembered(void **state)
{
    (void)state;
    struct points points = {0};
    struct point point = {.name = MLQ_STR("m")};
    for (uint64_t attempt = 1; attempt <= POINTS_MAX + 10; attempt++) {
        assert_true(points_put(&points, attempt, &point));
    }
    assert_int_equal(points.count, POINTS_MAX);
    assert_false(points_put(&points, 1, &point));
    assert_true(points_put(&points, POINTS_MAX + 10, &point)); /* not known: new again */
    point.name = MLQ_STR("n");
    assert_true(points_put(&points, 1, &point));
    assert_true(points_put(&points, 1, &point));
    points_drop(&points, 1);
    assert_true(points_put(&points, POINTS_MAX + 10, &point));
    assert_false(points_put(&points, POINTS_MAX + 10, &point));
    points_fini(&points);
}

#define ATTEMPTS 64
#define NAMES    3

/* Against a table that has a place for each. */
static void test_it_is_a_table(void **state)
{
    (void)state;
    static const char *const names[NAMES] = {"a", "b", "c"};
    struct mlq_prng prng;
    mlq_prng_seed(&prng, 3);
    struct points points = {0};
    int64_t model[ATTEMPTS][NAMES] = {0}; /* the step of the last point; 0: none */
    for (int round = 0; round < 200000; round++) {
        uint64_t attempt = mlq_prng_below(&prng, ATTEMPTS), name = mlq_prng_below(&prng, NAMES);
        if (mlq_prng_below(&prng, 4) == 0) {
            points_drop(&points, attempt + 1);
            memset(model[attempt], 0, sizeof model[attempt]);
            continue;
        }
        struct point point = {.name = mlq_str_from(names[name]), .step = 1 + (int64_t)mlq_prng_below(&prng, 3)};
        assert_true(points_put(&points, attempt + 1, &point) == (model[attempt][name] != point.step));
        model[attempt][name] = point.step;
    }
    size_t count = 0;
    for (size_t i = 0; i < ATTEMPTS; i++) {
        for (size_t k = 0; k < NAMES; k++) {
            count += model[i][k] != 0;
        }
    }
    assert_int_equal(points.count, count);
    points_fini(&points);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_point_is_new_once),
        cmocka_unit_test(test_no_more_than_the_limit_is_remembered),
        cmocka_unit_test(test_it_is_a_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
