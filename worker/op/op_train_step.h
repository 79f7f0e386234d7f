/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What the training loop (op_train_loop.c) is made of: rows that go through the network, the two
 * ways to sum their gradients over the ranks, and validation.
 */
#ifndef MLQ_OP_OP_TRAIN_STEP_H
#define MLQ_OP_OP_TRAIN_STEP_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "worker/ml/tree.h"
#include "worker/op/op_train.h"
#include "worker/op/op_train_loader.h"

/* ---- Rows through the network (op_train_batch.c) ---- */

/* Memory for shards of `rows` rows, gathered in the order of an epoch and changed as the epoch has it:
 * for as many of `shards` at once as it pays. The arithmetic of a shard depends on `rows` alone: with
 * fewer rows the rest is padding. */
struct op_train_batch;
MLQ_OWNED_RETURN struct op_train_batch *op_train_batch_create(struct op_train *train,
                                                              uint32_t shards, uint32_t rows);
void op_train_batch_destroy(struct op_train_batch **batch); /* takes NULL, frees, nulls */

/* Part of a step: samples of the training rows, and what a sample's loss is multiplied by. */
struct op_train_piece {
    const uint32_t *samples; /* in the loader's order */
    uint32_t count;
    float scale;
};

/* The gradient at the cursor's epoch of a piece that is one shard, at most `rows` of count, into
 * `gradient` [arena_count], and its loss, which is not scaled. With no rows both are zero. */
double op_train_batch_run(struct op_train_batch *batch, struct op_train_piece piece,
                          float *gradient);

/* Gradients of the shards of `range`, which have `rows` of the step's samples each, as many as there
 * are: added by the tree into the first of `places` (tree.h), as many as it leaves partial sums. The
 * loss of each goes to losses[shard]. */
void op_train_batch_sum(struct op_train_batch *batch, struct op_train_piece step,
                        struct tree_range range, float *const places[TREE_NODES_MAX + 1],
                        struct tree_near near, double *losses);

/* ---- The gradient of a step, summed over the ranks ---- */

/* What all ranks know behind the exchange of a step. */
struct op_train_total {
    struct tree_rest gradient; /* views of [arena_count], good until the summing's next call */
    float *whole;     /* memory for their sum, the summing's; NULL if there is one alone */
    double loss;      /* summed over the step's samples */
    uint32_t leaving; /* ranks that were asked to stop */
    uint64_t newest;  /* generation that anybody has heard of; 0: the gang has one alone */
};

/* All ranks call them alike. `run` gets the whole step, and whether this rank was asked to stop. After
 * an error of a collective nothing of the training's state has changed. */
struct op_train_sum_ops {
    int (*create)(struct op_train *train, void **state, struct mlq_err *err); /* NULL with an error */
    void (*destroy)(void *state); /* takes NULL */
    /* Which of a step's samples this rank computes. */
    struct op_train_span (*share)(const struct op_train *train, uint32_t count);
    int (*run)(void *state, struct op_train_piece step, bool stop, struct op_train_total *total,
               struct mlq_err *err);
};

extern const struct op_train_sum_ops op_train_exact_ops; /* levels elastic and repeat */
extern const struct op_train_sum_ops op_train_fast_ops;

/* ---- What it does to the state (op_train_apply.c) ---- */

struct op_train_move {
    double rate;
    uint32_t samples;
    bool is_last; /* of its epoch, for which the gradient's length is told */
};

/* Clips, steps, and moves running statistics. *is_applied says whether the state is that behind the
 * step: after an error of a collective it may be, too. */
int op_train_apply(struct op_train *train, const struct op_train_total *total,
                   struct op_train_move move, bool *is_applied, struct mlq_err *err);

/* ---- Validation (op_train_validate.c) ---- */

struct op_train_score {
    double loss;
    double correct; /* classification */
    double squared; /* regression: of errors */
};

/* For op_train_validate; NULL without validation rows. */
struct net;
MLQ_OWNED_RETURN struct net *op_train_validate_net(const struct op_train *train);

/* Rows that are on disk are read on the way. Summed over all validation rows: the same bits on each rank and for any number of them. */
int op_train_validate(struct op_train *train, struct net *net, struct op_train_score *total,
                      struct mlq_err *err);

#endif
