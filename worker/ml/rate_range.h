/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The learning-rate range test (Smith 2015, "Cyclical Learning Rates for Training Neural Networks",
 * arXiv:1506.01186): a few hundred steps in which the rate grows by the same factor each time,
 * until the loss rises. Smoothing, end and suggestions are those of fastai's lr_find (fastai 2,
 * callback/schedule.py), which did without a validation loss.
 */
#ifndef MLQ_ML_RATE_RANGE_H
#define MLQ_ML_RATE_RANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rate_range {
    double from;    /* rate of the first step, */
    double to;      /* and of the last one; from < to */
    uint64_t steps; /* at least 2; 0: there is no test */
};

double rate_range_rate(const struct rate_range *range, uint64_t step); /* from 0 on */

/* The mean of the losses so far, each step's weight 0.98 times that of the next one's, without the
 * bias of a mean that begins at zero (Kingma and Ba 2015). `smoothed` is what this gave for the
 * step before. */
double rate_range_smooth(double smoothed, uint64_t step, double loss);

/* The loss has left what can be learned with: it is above four times the least so far. */
bool rate_range_is_over(double smoothed, double best);

/* Two rates that are usual to start from, of `count` steps that were run:
 *   steepest     where the smoothed loss falls most, over a tenth of the steps (fastai compares
 * neighbours, which the noise of the first steps decides) minimum_10   a tenth of the rate where it
 * is least The first tenth of the steps that were wanted and the last five of those that were run
 * are not looked at. False when too few are left: the test ended too early to tell. */
struct rate_range_advice {
    double steepest;
    double minimum_10;
};
bool rate_range_advise(const struct rate_range *range, const double *smoothed, size_t count,
                       struct rate_range_advice *advice);

#endif
