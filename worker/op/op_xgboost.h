/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * train.xgboost, taken apart: parameters and rows (op_xgboost_config.c), checkpoints
 * (op_xgboost_checkpoint.c), what is written at the end (op_xgboost_history.c), and op_xgboost.c,
 * which runs the rounds. XGBoost itself is behind booster.h.
 *
 * The promise: the same tables and parameters give the same model, bit for bit, however often the
 * training was stopped or killed and went on.
 */
#ifndef MLQ_OP_OP_XGBOOST_H
#define MLQ_OP_OP_XGBOOST_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "worker/ml/model.h"
#include "worker/op/booster.h"
#include "worker/op/op.h"
#include "worker/op/op_columns.h"
#include "worker/op/op_train.h"

struct op_xgboost_config {
    struct booster_options options; /* objective, classes and base_score once the target is known */
    enum op_columns_task task;
    uint32_t rounds;
    bool early_stop;
    uint32_t patience;
};

/* The state between two rounds, beside the booster's trees. */
struct op_xgboost_cursor {
    uint32_t best_round; /* from 1; 0: none yet */
    double best_score;   /* val_loss of best_round */
};

struct op_xgboost {
    struct op_context *ctx;
    struct op_xgboost_config config;
    struct model *model;
    struct op_train_set train; /* its inputs are freed once the booster has copied them */
    struct op_train_set validation;
    double deviation; /* of a number's training rows: losses are in its units */
    uint64_t fingerprint;
    struct booster *booster;
    struct op_xgboost_cursor cursor;
    json_t *history;    /* one object per round */
    uint64_t rows_done; /* rows times rounds, of this process, */
    struct {
        int64_t start, ready, score, checkpoint; /* the first two are moments */
    } ns;
    int64_t busy_ns;    /* in this time */
    int64_t logged_ns;
    bool resumed;
};

int op_xgboost_config_read(const struct op_context *ctx, struct op_xgboost_config *config,
                           struct mlq_err *err);

/* Tables, target and features, and an open booster. */
int op_xgboost_config_load(struct op_xgboost *x, struct mlq_err *err);

/* ---- Checkpoints ---- */

/* Durable when it returns; the one before is kept. Does nothing without MLQ_CHECKPOINT. */
int op_xgboost_checkpoint_save(struct op_xgboost *x, struct mlq_err *err);

/* Into booster, cursor and history. A damaged one is passed over with a warning; one of other rows
 * or parameters is refused. */
int op_xgboost_checkpoint_load(struct op_xgboost *x, struct mlq_err *err);

/* ---- Outputs ---- */

/* history.json of a training whose model has `rounds` rounds. */
int op_xgboost_history_write(struct op_xgboost *x, uint32_t rounds, struct mlq_err *err);

#endif
