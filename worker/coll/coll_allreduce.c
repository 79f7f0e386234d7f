/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/coll/coll_allreduce.h"

#include "lib/sys/clock.h"
#include "lib/sys/mem.h"

/* Where the slice of `rank` begins; of rank W: where the last one ends. */
static uint64_t slice_begin(uint64_t count, uint32_t ranks, uint32_t rank)
{
    return count / ranks * rank + count % ranks * rank / ranks;
}

static void reserve(struct coll_allreduce *memory, uint64_t floats)
{
    if (memory->pieces_floats < floats) {
        mlq_free(memory->pieces);
        memory->pieces = mlq_alloc_array(floats, sizeof(float));
        memory->pieces_floats = floats;
    }
}

static void add_into(float *restrict to, const float *restrict from, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        to[i] += from[i];
    }
}

int coll_allreduce_by_moves(struct coll_allreduce *memory,
                            const struct coll_ops *ops,
                            void *state,
                            const struct coll_gang *gang,
                            struct coll_floats data,
                            int64_t timeout_ns,
                            struct mlq_err *err)
{
    int64_t deadline_ns = mlq_clock_boot_ns() + timeout_ns;
    uint64_t slices[COLL_RANKS_MAX], pieces[COLL_RANKS_MAX];
    uint64_t own = slice_begin(data.count, gang->size, gang->rank + 1) -
                   slice_begin(data.count, gang->size, gang->rank);
    for (uint32_t rank = 0; rank < gang->size; rank++) {
        slices[rank] = (slice_begin(data.count, gang->size, rank + 1) -
                        slice_begin(data.count, gang->size, rank)) *
                       sizeof(float);
        pieces[rank] = own * sizeof(float);
    }
    reserve(memory, own * gang->size);
    int rc = ops->alltoall(state, data.values, slices, memory->pieces, pieces, timeout_ns, err);
    if (rc != 0) {
        return rc;
    }
    for (uint32_t rank = 1; rank < gang->size; rank++) {
        add_into(memory->pieces, memory->pieces + rank * own, own);
    }
    return ops->allgather(state, memory->pieces, data.values, slices,
                          deadline_ns - mlq_clock_boot_ns(), err);
}

void coll_allreduce_fini(struct coll_allreduce *memory)
{
    mlq_free(memory->pieces);
    *memory = (struct coll_allreduce){.pieces = NULL};
}
