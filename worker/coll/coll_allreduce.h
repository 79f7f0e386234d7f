/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The all-reduce of backends that only move bytes. Each rank owns a slice: it gets the others'
 * pieces of it (alltoall), adds them in the order of ranks, and gives the sum to all (allgather).
 * That sends 2 (W - 1) / W of the data per rank, as a ring does, but in two rounds instead of
 * 2 (W - 1), which a full mesh allows. reference: Thakur, Rabenseifner, Gropp, Optimization of
 * Collective Communication Operations in MPICH (2005), reduce-scatter and allgather.
 */
#ifndef MLQ_COLL_COLL_ALLREDUCE_H
#define MLQ_COLL_COLL_ALLREDUCE_H

#include "worker/coll/coll.h"
#include "worker/coll/coll_view.h"

/* What the gang keeps for it; zero is right before the first call. */
struct coll_allreduce {
    float *received; /* pieces of the own slice that were moved: about as large as the data */
    float *sum;      /* the own slice */
    bool is_shared;  /* `sum` is the backend's memory, which goes with it */
    uint64_t floats; /* of a slice, that both have room for */
};

/* coll_allreduce of coll.h, by the moves of the backend. */
int coll_allreduce_by_moves(struct coll_allreduce *memory,
                            const struct coll_opened *opened,
                            struct coll_floats data,
                            int64_t timeout_ns,
                            struct mlq_err *err);
void coll_allreduce_fini(struct coll_allreduce *memory);

#endif
