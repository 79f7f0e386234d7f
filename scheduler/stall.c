/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/stall.h"

#include <string.h>

#include "lib/sys/mem.h"

void stall_fini(struct stall *stall)
{
    mlq_free(stall->ranks);
    *stall = (struct stall){0};
}

static struct stall_rank *place_of(struct stall *stall, uint64_t attempt, uint32_t rank)
{
    for (size_t i = 0; i < stall->count; i++) {
        if (stall->ranks[i].attempt == attempt && (attempt == 0 || stall->ranks[i].rank == rank)) {
            return &stall->ranks[i];
        }
    }
    return NULL;
}

static struct stall_rank *new_place(struct stall *stall)
{
    struct stall_rank *freed = place_of(stall, 0, 0);
    if (freed != NULL) {
        return freed;
    }
    if (stall->count == stall->room) {
        size_t room = stall->room == 0 ? 4 : 2 * stall->room;
        struct stall_rank *more = mlq_alloc_array(room, sizeof *more);
        if (stall->count > 0) {
            memcpy(more, stall->ranks, stall->count * sizeof *more);
        }
        mlq_free(stall->ranks);
        stall->ranks = more;
        stall->room = room;
    }
    return &stall->ranks[stall->count++];
}

/* When a rank of the attempt moved last. */
static int64_t moved_ns(const struct stall *stall, uint64_t attempt)
{
    int64_t newest = INT64_MIN;
    for (size_t i = 0; i < stall->count; i++) {
        const struct stall_rank *rank = &stall->ranks[i];
        if (rank->attempt == attempt && rank->since_ns > newest) {
            newest = rank->since_ns;
        }
    }
    return newest;
}

bool stall_put(struct stall *stall, const struct stall_rank *rank, int64_t now_ns)
{
    struct stall_rank *place = place_of(stall, rank->attempt, rank->rank);
    place = place != NULL ? place : new_place(stall);
    *place = *rank;
    stall->heard_ns = now_ns;
    return now_ns - moved_ns(stall, rank->attempt) >= STALL_NS;
}

void stall_drop(struct stall *stall, uint64_t attempt, uint32_t rank)
{
    struct stall_rank *place = place_of(stall, attempt, rank);
    if (place != NULL && attempt != 0) {
        *place = (struct stall_rank){0};
    }
}

/* Whether a is rather to blame than b, of the same attempt. */
static bool is_before(const struct stall_rank *a, const struct stall_rank *b)
{
    if (a->waits != b->waits) {
        return b->waits;
    }
    if (a->epoch != b->epoch) {
        return a->epoch < b->epoch;
    }
    return a->step != b->step ? a->step < b->step : a->since_ns < b->since_ns;
}

const struct stall_rank *stall_culprit(const struct stall *stall, uint32_t stage, int64_t *since_ns)
{
    const struct stall_rank *culprit = NULL;
    for (size_t i = 0; i < stall->count; i++) {
        const struct stall_rank *rank = &stall->ranks[i];
        bool has_stalled = rank->attempt != 0 && rank->stage == stage &&
                           stall->heard_ns - moved_ns(stall, rank->attempt) >= STALL_NS;
        if (has_stalled && (culprit == NULL || (rank->attempt == culprit->attempt && is_before(rank, culprit)))) {
            culprit = rank;
        }
    }
    if (culprit != NULL) {
        *since_ns = moved_ns(stall, culprit->attempt);
    }
    return culprit;
}
