/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The last point of each metric of the attempts that run. A worker repeats them with the attempt's end,
 * in case the report that brought them first was lost; who remembers them records each once. Of arrays
 * these are many attempts, one after the other, so what is over is forgotten.
 */
#ifndef MLQ_SCHEDULER_POINTS_H
#define MLQ_SCHEDULER_POINTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/str.h"

#define POINTS_MAX 10000 /* of one job; of what is more nothing is remembered */

struct point {
    struct mlq_str name;
    double value;
    int64_t step; /* INT64_MIN: none */
    int64_t at_us;
};

struct points_attempt {
    uint64_t attempt; /* 0: a free place */
    struct point *items; /* owned, their names too */
    size_t count;
    size_t room;
};

/* Of one job. Zeroed: empty. */
struct points {
    struct points_attempt *attempts; /* a hash table, owned */
    size_t attempt_count;
    size_t attempt_room; /* 0, or a power of two */
    size_t count;
};

void points_fini(struct points *points);

/* False when this very point is the attempt's last one of its name already. The attempt is not 0. */
bool points_put(struct points *points, uint64_t attempt, const struct point *point);

/* It is over. */
void points_drop(struct points *points, uint64_t attempt);

#endif
