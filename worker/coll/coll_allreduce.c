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

/* The sum where others can read it, as long as there is such memory. */
static float *sum_memory(const struct coll_opened *opened, uint64_t floats, bool *is_shared)
{
    const struct coll_ops *ops = opened->ops;
    float *sum = ops->memory != NULL ? ops->memory(opened->state, floats * sizeof(float)) : NULL;
    *is_shared = sum != NULL;
    return sum != NULL ? sum : mlq_alloc_array(floats, sizeof(float));
}

static void reserve(struct coll_allreduce *memory, const struct coll_opened *opened, uint64_t floats)
{
    if (memory->sum == NULL || memory->floats < floats) {
        coll_allreduce_fini(memory);
        memory->received = mlq_alloc_array(floats * opened->gang->size, sizeof(float));
        memory->sum = sum_memory(opened, floats, &memory->is_shared);
        memory->floats = floats;
    }
}

/* sum = views[0] + views[1] + ...: read once each. */
static void add_views(float *restrict sum, const void *const *views, uint32_t size, uint64_t count)
{
    const float *restrict first = views[0], *restrict second = views[1];
    for (uint64_t i = 0; i < count; i++) {
        sum[i] = first[i] + second[i];
    }
    for (uint32_t rank = 2; rank < size; rank++) {
        const float *restrict more = views[rank];
        for (uint64_t i = 0; i < count; i++) {
            sum[i] += more[i];
        }
    }
}

/* One `sum` is enough for call after call: it is written when all have come to the next one's first
 * move, and have read it. */
int coll_allreduce_by_moves(struct coll_allreduce *memory,
                            const struct coll_opened *opened,
                            struct coll_floats data,
                            int64_t timeout_ns,
                            struct mlq_err *err)
{
    int64_t deadline_ns = mlq_clock_boot_ns() + timeout_ns;
    const struct coll_gang *gang = opened->gang;
    uint64_t slices[COLL_RANKS_MAX], pieces[COLL_RANKS_MAX];
    const void *views[COLL_RANKS_MAX];
    uint64_t own = slice_begin(data.count, gang->size, gang->rank + 1) -
                   slice_begin(data.count, gang->size, gang->rank);
    if (gang->size == 1) {
        return 0;
    }
    for (uint32_t rank = 0; rank < gang->size; rank++) {
        slices[rank] = (slice_begin(data.count, gang->size, rank + 1) -
                        slice_begin(data.count, gang->size, rank)) *
                       sizeof(float);
        pieces[rank] = own * sizeof(float);
    }
    reserve(memory, opened, own);
    int rc = coll_view_alltoall(opened, data.values, slices, memory->received, pieces, views,
                                timeout_ns, err);
    if (rc != 0) {
        return rc;
    }
    add_views(memory->sum, views, gang->size, own);
    return opened->ops->allgather(opened->state, memory->sum, data.values, slices,
                                  deadline_ns - mlq_clock_boot_ns(), err);
}

void coll_allreduce_fini(struct coll_allreduce *memory)
{
    mlq_free(memory->received);
    if (!memory->is_shared) {
        mlq_free(memory->sum);
    }
    *memory = (struct coll_allreduce){.sum = NULL};
}
