/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The record of store_mem: rows in arrays, with the rules of migrations/ over them. Pure
 * bookkeeping: no loop, no clock, no leadership.
 */
#ifndef MLQ_SCHEDULER_STORE_STORE_MEM_RECORD_H
#define MLQ_SCHEDULER_STORE_STORE_MEM_RECORD_H

#include "scheduler/store/store.h"

struct store_mem;

struct store_mem_rows;

struct store_mem_record {
    struct store_mem_rows *rows;
    int64_t lease_ns;
    uint32_t epoch;
    int64_t expires_ns; /* of the lease, on CLOCK_BOOTTIME */
};

/* All of the batch or nothing: MLQ_EINVAL, MLQ_EEXIST, MLQ_EDB as the database says it. */
int store_mem_record_put(struct store_mem_record *record, const struct store_batch *batch,
                         struct mlq_err *err);

/* As store_ops.load (job 0) and load_job, at once. Keys of jobs submitted at or after
 * `keys_since_us`. */
void store_mem_record_load(const struct store_mem_record *record, uint64_t job,
                           int64_t keys_since_us, const struct store_loader *loader);

#endif
