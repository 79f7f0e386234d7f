/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The numbers of smoothing are from fastai's formula, a running mean that is divided by its bias
 * (AvgSmoothLoss), computed apart in Python.
 */
#include "tests/unit/cm.h"

#include <math.h>

#include "worker/ml/rate_range.h"

static const struct rate_range range = {.from = 1e-5, .to = 10, .steps = 31};

static void rates_grow_by_one_factor(void **state)
{
    (void)state;
    assert_true(rate_range_rate(&range, 0) == 1e-5);
    assert_true(fabs(rate_range_rate(&range, 30) - 10) < 1e-12);
    for (uint64_t step = 0; step < 30; step++) {
        double factor = rate_range_rate(&range, step + 1) / rate_range_rate(&range, step);
        assert_true(fabs(factor - pow(10, 0.2)) < 1e-12);
    }
}

static void losses_are_smoothed_without_bias(void **state)
{
    (void)state;
    static const double losses[] = {2.0, 1.9, 2.1, 1.7, 1.2, 1.0, 0.9, 3.0};
    static const double expected[] = {2,
                                      1.949494949494947,
                                      2.000680179567405,
                                      1.923217071758185,
                                      1.772671053958116,
                                      1.637301893352619,
                                      1.525483144582698,
                                      1.723090584900279};
    double smoothed = 0;
    for (uint64_t step = 0; step < 8; step++) {
        smoothed = rate_range_smooth(smoothed, step, losses[step]);
        assert_true(fabs(smoothed - expected[step]) < 1e-13);
    }
}

static void a_loss_that_rises_ends_the_test(void **state)
{
    (void)state;
    assert_false(rate_range_is_over(4.0, 1.0));
    assert_true(rate_range_is_over(4.0000001, 1.0));
}

/* Falls most around step 12, is least at step 18, and has a deeper hole in what is not looked at.
 */
static void suggestions_are_where_the_curve_says(void **state)
{
    (void)state;
    double smoothed[28];
    for (size_t i = 0; i < 28; i++) {
        double x = (double)i;
        smoothed[i] = i <= 11 ? 3 - 0.01 * x : i < 18 ? 2 - 0.1 * (x - 11) : 1 + 0.3 * (x - 18);
    }
    smoothed[1] = 0;
    smoothed[25] = 0;
    struct rate_range_advice advice;
    assert_true(rate_range_advise(&range, smoothed, 28, &advice));
    assert_true(advice.steepest == rate_range_rate(&range, 12));
    assert_true(advice.minimum_10 == rate_range_rate(&range, 18) / 10);
    assert_false(rate_range_advise(&range, smoothed, 10, &advice)); /* 3 and 4 are left */
    assert_true(rate_range_advise(&range, smoothed, 11, &advice));
    assert_false(rate_range_advise(&range, smoothed, 0, &advice));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_grow_by_one_factor),
        cmocka_unit_test(losses_are_smoothed_without_bias),
        cmocka_unit_test(a_loss_that_rises_ends_the_test),
        cmocka_unit_test(suggestions_are_where_the_curve_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
