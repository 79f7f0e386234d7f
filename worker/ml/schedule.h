/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The learning rate of each step: a function of the step alone, so that every rank and every
 * resumed attempt takes the same. With warm-up, the first `warmup` steps rise in a line to the
 * peak, lr * (t + 1) / warmup, and the rest follows the schedule over what is left, T steps from 0:
 *
 *   constant   lr
 *   step       lr * factor^(t / every)
 *   cosine     from lr to final * lr by half a cosine (Loshchilov and Hutter 2017)
 *   linear     from lr to final * lr in a line
 *   one_cycle  from lr / 25 up to lr over the share `rise` of T, then down to lr / 25 / 10000, each
 *              by half a cosine (Smith and Topin 2019)
 *
 * These are PyTorch's StepLR, CosineAnnealingLR, LinearLR and OneCycleLR, taken per step (golden
 * numbers in tests/golden/schedules.json).
 */
#ifndef MLQ_ML_SCHEDULE_H
#define MLQ_ML_SCHEDULE_H

#include <stdint.h>

enum schedule_kind {
    SCHEDULE_CONSTANT,
    SCHEDULE_STEP,
    SCHEDULE_COSINE,
    SCHEDULE_LINEAR,
    SCHEDULE_ONE_CYCLE,
};

struct schedule {
    enum schedule_kind kind;
    double lr;       /* the peak */
    uint64_t steps;  /* of the whole training */
    uint64_t warmup; /* <= steps */
    uint64_t every;  /* STEP, > 0 */
    double factor;   /* STEP */
    double final;    /* COSINE, LINEAR: a share of lr */
    double rise;     /* ONE_CYCLE: above 0, below 1 */
};

/* Of step 0, 1, ...; steps past the end keep the last rate. */
double schedule_rate(const struct schedule *schedule, uint64_t step);

#endif
