/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Which rank the others wait for. Ranks of a training write down where they are (lib/task/task_flight.h);
 * workers tell the newest of it with each heartbeat. When no rank of an attempt has moved for
 * STALL_NS, the one that is not itself waiting for others is to blame, else the one that is furthest
 * behind. Live knowledge, not recorded.
 */
#ifndef MLQ_SCHEDULER_STALL_H
#define MLQ_SCHEDULER_STALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/str.h"

/* Longer than a slow step, an epoch's validation or a checkpoint should take. */
#define STALL_NS          INT64_C(15000000000)
#define STALL_PHASE_BYTES 16

/* Where a rank is. */
struct stall_rank {
    uint64_t attempt; /* 0: a free place */
    uint32_t stage;
    uint32_t rank;
    char phase[STALL_PHASE_BYTES];
    bool waits; /* the phase is one of waiting for others */
    uint64_t epoch;
    uint64_t step;
    int64_t since_ns; /* when the phase began */
};

/* Of one job. Zeroed: empty. */
struct stall {
    struct stall_rank *ranks; /* owned */
    size_t count;
    size_t room;
    int64_t heard_ns; /* of the newest report */
};

void stall_fini(struct stall *stall);

/* Replaces what was known of the rank. True when its attempt has stalled. */
bool stall_put(struct stall *stall, const struct stall_rank *rank, int64_t now_ns);

/* The rank has ended. */
void stall_drop(struct stall *stall, uint64_t attempt, uint32_t rank);

/* Who is to blame in a stage, and since when nobody has moved; NULL: somebody has. */
const struct stall_rank *stall_culprit(const struct stall *stall, uint32_t stage, int64_t *since_ns);

#endif
