/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The rows of each step. Rows that are in memory are simply there. Of rows that are streamed a
 * thread keeps two windows (op_train_deal.h): the one that the steps are in, and the next, which it
 * reads while they compute; what time is left goes into dealing the next epoch.
 *
 * All calls are the training thread's. Its memory, beside what op_train_deal.h says, is a share of
 * what the task may use (op_memory.h), whatever the number of rows.
 */
#ifndef MLQ_OP_OP_TRAIN_LOADER_H
#define MLQ_OP_OP_TRAIN_LOADER_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "worker/op/op_train.h"
#include "worker/op/op_train_deal.h"

struct op_train_loader;

struct op_train_loader_plan {
    const struct op_train_config *config;
    const struct op_train_set *set;
    const struct model *model;
    struct op_train_span whole, last; /* as op_train_deal_plan has them */
    uint64_t memory_bytes;            /* for windows and buffers */
};

int op_train_loader_create(const struct op_train_loader_plan *plan,
                           MLQ_OWNED_RETURN struct op_train_loader **loader, struct mlq_err *err);
/* Waits for the thread to end what it is at: a few MiB, or an epoch's order. */
void op_train_loader_destroy(struct op_train_loader **loader); /* takes NULL, frees, nulls */

/* The steps of an epoch follow, from this one on. */
void op_train_loader_begin(struct op_train_loader *loader, uint64_t epoch, uint32_t first_step);

/* For wait_ns at most, until its first rows are there: minutes for a table of hundreds of GiB,
 * unless it was dealt while the epoch before was trained on. */
int op_train_loader_await(struct op_train_loader *loader, int64_t wait_ns, bool *is_ready,
                          struct mlq_err *err);

/* Then: the rows in the order of the epoch. */
const uint32_t *op_train_loader_order(const struct op_train_loader *loader);

/* Before each step, which is not below the one before: waits for its rows. */
int op_train_loader_step(struct op_train_loader *loader, uint32_t step, struct mlq_err *err);

/* Of the running step, the inputs of the sample at a position of the order: of its own row, or of
 * the `row` that mixup adds to it. Where they are, or unpacked into `room` [input_count]. */
const float *op_train_loader_row(const struct op_train_loader *loader, uint32_t position,
                                 uint32_t row, float *room);

#endif
