/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/schedule.h"

#include <math.h>

#define PI              3.14159265358979323846
#define CYCLE_START     25.0    /* one_cycle begins at lr / this, */
#define CYCLE_END_SHARE 10000.0 /* and ends at its beginning / this */

/* From `from` at 0 to `to` at 1, along half a cosine. */
static double half_cosine(double from, double to, double at)
{
    return to + (from - to) * 0.5 * (1 + cos(PI * at));
}

static double one_cycle(const struct schedule *s, uint64_t t, uint64_t steps)
{
    double top = s->rise * (double)steps - 1, end = (double)steps - 1, at = (double)t;
    double start = s->lr / CYCLE_START;
    if (top > 0 && at <= top) {
        return half_cosine(start, s->lr, at / top);
    }
    return half_cosine(s->lr, start / CYCLE_END_SHARE, end > top ? (at - top) / (end - top) : 1);
}

double schedule_rate(const struct schedule *s, uint64_t step)
{
    if (step < s->warmup) {
        return s->lr * (double)(step + 1) / (double)s->warmup;
    }
    uint64_t t = step - s->warmup, steps = s->steps - s->warmup;
    t = t >= steps && steps > 0 ? steps - 1 : t;
    double share = steps > 0 ? (double)t / (double)steps : 0;
    switch (s->kind) {
    case SCHEDULE_CONSTANT:
        break;
    case SCHEDULE_STEP:
        return s->lr * pow(s->factor, (double)(t / s->every));
    case SCHEDULE_COSINE:
        return half_cosine(s->lr, s->lr * s->final, share);
    case SCHEDULE_LINEAR:
        return s->lr * (1 + (s->final - 1) * share);
    case SCHEDULE_ONE_CYCLE:
        return one_cycle(s, t, steps);
    }
    return s->lr;
}
