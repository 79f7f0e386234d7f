/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/rate_range.h"

#include <math.h>

#define SMOOTHING  0.98
#define RISE_MAX   4.0
#define FIRST_PART 10u /* 1 / this of the steps is not looked at, */
#define SPAN_PART  20u /* 1 / this of them lies on each side of a slope */
#define LAST_STEPS 5u  /* nor are these */

double rate_range_rate(const struct rate_range *range, uint64_t step)
{
    return range->from * pow(range->to / range->from, (double)step / (double)(range->steps - 1));
}

double rate_range_smooth(double smoothed, uint64_t step, double loss)
{
    double before = 1 - pow(SMOOTHING, (double)step), after = 1 - pow(SMOOTHING, (double)step + 1);
    return (SMOOTHING * smoothed * before + (1 - SMOOTHING) * loss) / after;
}

bool rate_range_is_over(double smoothed, double best)
{
    return smoothed > RISE_MAX * best;
}

bool rate_range_advise(const struct rate_range *range, const double *smoothed, size_t count,
                       struct rate_range_advice *advice)
{
    size_t begin = (size_t)(range->steps / FIRST_PART);
    size_t end = count > LAST_STEPS ? count - LAST_STEPS : 0;
    size_t span = (size_t)(range->steps / SPAN_PART), least = begin, steepest = begin;
    span = span < 1 ? 1 : span;
    if (end < begin + 2 * span + 1) {
        return false;
    }
    double slope = (double)INFINITY;
    for (size_t i = begin; i < end; i++) {
        least = smoothed[i] < smoothed[least] ? i : least;
        /* Rates grow by one factor, so differences compare as slopes do. */
        bool has_span = i >= begin + span && i + span < end;
        if (has_span && smoothed[i + span] - smoothed[i - span] < slope) {
            slope = smoothed[i + span] - smoothed[i - span];
            steepest = i;
        }
    }
    advice->steepest = rate_range_rate(range, steepest);
    advice->minimum_10 = rate_range_rate(range, least) / 10;
    return true;
}
