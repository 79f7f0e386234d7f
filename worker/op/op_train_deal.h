/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Training rows that do not fit into memory, brought into the order of an epoch on disk.
 *
 * An epoch visits the rows in a random order. To fetch each from where it lies would be a random
 * read per row and column: measured on a table of 2 GiB (100 columns of numbers) in a control group
 * of 256 MiB, on a disk that reads 1.9 GB/s in sequence,
 *
 *     the mapped table, by columns            1,060,000 us a row; 9,700 with MADV_RANDOM
 *     a row-by-row copy, mapped               8,400 us; 87 with MADV_RANDOM
 *     a row-by-row copy, one pread each       73 us
 *     a row-by-row copy, 40,000 preads at a
 *       time sorted by place, 64 in flight    23 us
 *
 * and training itself takes a few microseconds. So the table is read once per epoch from its begin
 * to its end, and each row is dealt to the *window* of the order that it belongs to: a stretch of
 * steps whose rows fit into memory. A window's rows are then read in one piece. All disk traffic is
 * in large pieces in sequence, and the order is the same one, bit for bit, that rows in memory
 * have.
 *
 * Three epochs of such a table of 1 GiB (1,328,000 rows) in 256 MiB read 8.0 GB and wrote 1.7 GB,
 * load and checks included, took 12 s of CPU and waited 7 s for rows; in memory it is 6 s of CPU,
 * and none.
 *
 * It costs per epoch one read of the table, one write and one read of its packed rows (4 bytes a
 * feature, half of what numbers take in the table), and twice the packed rows of disk, since the
 * next epoch is dealt while one is trained on. A rank of several deals only the rows that it
 * computes. In memory: the windows and buffers of op_train_deal_plan. What is as long as the table
 * has rows (its order, and where each row goes: 24 bytes a row, and 4 of its target) lies in mapped
 * files, which the kernel may write back and drop; but they are visited at random, so that the
 * machine needs about that much memory free to be quick: a hundredth of a wide table.
 */
#ifndef MLQ_OP_OP_TRAIN_DEAL_H
#define MLQ_OP_OP_TRAIN_DEAL_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "worker/ml/augment.h"
#include "worker/ml/model.h"
#include "worker/ml/preprocess.h"
#include "worker/op/table.h"

struct op_train_span {
    uint32_t begin;
    uint32_t end;
};

struct op_train_deal_plan {
    struct table *table;
    const struct preprocess *bound; /* to the table */
    const struct model *model;
    const struct augment *augment; /* with mixup each sample brings the row that it is mixed with */
    uint64_t seed;
    uint32_t rows;
    uint32_t batch;
    /* The samples that this rank computes of a whole step, and of an epoch's last one. */
    struct op_train_span whole, last;
    uint64_t window_bytes;
    uint64_t buffer_bytes; /* of all windows together, while they are dealt */
};

struct op_train_deal;

/* Takes all disk that it needs. */
int op_train_deal_create(const struct op_train_deal_plan *plan,
                         MLQ_OWNED_RETURN struct op_train_deal **deal, struct mlq_err *err);
void op_train_deal_destroy(struct op_train_deal **deal); /* takes NULL, frees, nulls */

/* A new epoch, from this step on: its order (some seconds for 10^8 rows), and where each row goes.
 */
void op_train_deal_begin(struct op_train_deal *deal, uint64_t epoch, uint32_t first_step);

/* Deals the next rows of the table, a few MiB of them. *is_done: that was all. */
int op_train_deal_more(struct op_train_deal *deal, bool *is_done, struct mlq_err *err);

/* ---- Of the epoch that was begun last ---- */

const uint32_t *op_train_deal_order(const struct op_train_deal *deal); /* the rows, by position */
uint32_t op_train_deal_windows(const struct op_train_deal *deal);
/* In which window the samples of a step are, >= first_step; and where among them that of a
 * position, 0: its own row, 1: what it is mixed with. */
uint32_t op_train_deal_window_of(const struct op_train_deal *deal, uint32_t step);
uint32_t op_train_deal_slot_of(const struct op_train_deal *deal, uint32_t position, uint32_t which);

/* Of any window: for who keeps some of them. */
uint32_t op_train_deal_slots_max(const struct op_train_deal *deal);

/* Once all is dealt: a window's packed rows one behind the other, and place[slot], which of them
 * each is. `keys` is room for op_train_deal_slots_max of them, of nobody's interest after. */
int op_train_deal_read(struct op_train_deal *deal, uint32_t window, union preprocess_cell *cells,
                       uint32_t *place, uint64_t *keys, struct mlq_err *err);

#endif
