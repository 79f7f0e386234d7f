/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * train.native, taken apart: parameters (op_train_config.c, _model.c, _options.c), rows
 * (op_train_data.c; those that stay on disk op_train_loader.c, op_train_deal.c), who trains together (op_train_gang.c) and how they find their common state
 * (op_train_share.c) or hold it together (op_train_joint.c), steps and epochs (op_train_loop.c, of
 * what op_train_step.h lists), checkpoints (op_train_checkpoint.c), and op_train.c, which puts them together and writes the
 * outputs.
 *
 * The promise of the levels elastic and repeat: the same tables, parameters and engine give the
 * same model, bit for bit, whatever the number of ranks, however often the training was stopped and
 * resumed, and, in an elastic gang, whoever dies, leaves or comes while it runs. What keeps it:
 * nothing but (seed, epoch, sample) decides an order; each step is cut into `shards` virtual shards
 * whose gradients are computed by the same kernel calls wherever they run and added in one fixed
 * tree (worker/ml/tree.h); everything that is decided is decided from numbers that all ranks hold.
 * Level fast drops the shards and the tree (op_train_fast.c), and with them that promise.
 */
#ifndef MLQ_OP_OP_TRAIN_H
#define MLQ_OP_OP_TRAIN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/task/task_flight.h"
#include "worker/coll/coll.h"
#include "worker/ml/augment.h"
#include "worker/ml/gemm.h"
#include "worker/ml/layout.h"
#include "worker/ml/loss.h"
#include "worker/ml/model.h"
#include "worker/ml/optim.h"
#include "worker/ml/preprocess.h"
#include "worker/ml/rate_range.h"
#include "worker/ml/schedule.h"
#include "worker/op/op.h"
#include "worker/op/op_columns.h"
#include "worker/op/op_train_time.h"
#include "worker/op/op_train_gang.h"

/* ---- Parameters ---- */

#define OP_TRAIN_WIDTHS_MAX 32u

enum op_train_kind { OP_TRAIN_LINEAR, OP_TRAIN_SOFTMAX, OP_TRAIN_MLP, OP_TRAIN_CNN };

struct op_train_loss {
    bool automatic; /* cross-entropy for classes, squared for numbers */
    enum loss_kind kind;
    double smoothing;
    double delta; /* in deviations of the training target, as all losses of numbers are */
    bool balance;
    const json_t *class_weights; /* class: weight; borrowed from the context, NULL: none */
};

enum op_train_level {
    OP_TRAIN_ELASTIC, /* ranks go and come while it runs; a gang of a fixed size will do */
    OP_TRAIN_REPEAT,  /* all ranks or none; the same model */
    OP_TRAIN_FAST,    /* all ranks or none; sums in any order: a model of its own for each size */
};
const char *op_train_config_level(enum op_train_level level); /* "elastic", ... */

/* Where the rows are kept; changes no result. */
enum op_train_rows {
    OP_TRAIN_ROWS_AUTO, /* in memory, if half of what the task may use holds them */
    OP_TRAIN_ROWS_MEMORY,
    OP_TRAIN_ROWS_DISK,
};

struct op_train_config {
    enum op_train_kind kind;
    enum op_train_level level;
    struct layout_mlp mlp; /* all but OP_TRAIN_CNN; lists in hidden and channels */
    struct layout_cnn cnn;
    uint32_t hidden[OP_TRAIN_WIDTHS_MAX];
    uint32_t channels[OP_TRAIN_WIDTHS_MAX];
    struct augment augment; /* OP_TRAIN_CNN, but for mixup */
    enum op_columns_task task;
    struct op_train_loss loss;
    uint64_t epochs;
    uint32_t batch;  /* of a step: `accumulate` times the one that is asked for */
    uint32_t shards; /* a power of two; likewise. Not of OP_TRAIN_FAST */
    uint32_t accumulate;
    struct optim_options optim;
    struct schedule schedule; /* but for its steps and warm-up, and `every` in epochs */
    double warmup_epochs;
    struct rate_range range; /* a range test in place of a training (op_train_range.h) */
    double clip_norm; /* 0: none */
    bool early_stop;
    uint64_t patience;
    uint64_t seed;
    enum op_train_rows rows;
    enum coll_kind collectives; /* moves bytes only, so a checkpoint may go on with another */
};

/* `model:` into config->kind and its plan; and the plan into layers. */
int op_train_model_read(const struct op_context *ctx,
                        struct op_train_config *config,
                        struct mlq_err *err);
int op_train_model_lay_out(const struct op_train_config *config,
                           struct model *model,
                           struct mlq_err *err);

/* Loss, schedule, clipping and accumulation. */
int op_train_options_read(const struct op_context *ctx,
                          struct op_train_config *config,
                          struct mlq_err *err);

/* `config` must stay where it is: its plans point into it. */
int op_train_config_read(const struct op_context *ctx,
                         struct op_train_config *config,
                         struct mlq_err *err);

/* ---- Rows ---- */

struct op_train_set {
    uint32_t rows;    /* 0: there is no such table */
    float *inputs;    /* [rows][model->input_count], preprocessed; NULL: they are streamed */
    uint32_t *labels; /* classification */
    float *targets;   /* regression, standardised */
    /* Streamed: the open table, and the model's features in it. Labels and targets are then mapped. */
    struct table *table;
    struct preprocess *bound;
};

struct op_train_data {
    struct model *model; /* fitted and laid out; the parameters are zero */
    struct op_train_set train;
    struct op_train_set validation;
    struct loss loss;
    float *class_weights; /* what loss.weights points to */
    uint64_t fingerprint; /* of the rows and the parameters: what a checkpoint belongs to */
};

/* Once the target is known, before there are layers: refuses a loss that does not fit it, and sets
 * model->link. */
int op_train_options_fit(const struct op_train_config *config,
                         struct model *model,
                         struct mlq_err *err);

/* Once the training rows are there: data->loss and the weights of its classes. */
int op_train_options_weigh(const struct op_train_config *config,
                           struct op_train_data *data,
                           struct mlq_err *err);

/* One table of a model whose features and task are known, `which` for messages: what training on
 * other models shares. */
int op_train_data_load_set(struct op_context *ctx, const struct table *table, const char *which,
                           const struct model *model, struct op_train_set *set,
                           struct mlq_err *err);
uint64_t op_train_data_hash_set(uint64_t hash, const struct op_train_set *set,
                                const struct model *model); /* not of streamed rows */
/* The inputs of some rows in the table's order, from memory or from the table. */
int op_train_data_read(const struct op_train_set *set, const struct model *model, uint32_t row,
                       uint32_t count, float *inputs, struct mlq_err *err);
void op_train_data_fini_set(struct op_train_set *set);

/* `data` must be zero; op_train_data_fini is right after any outcome. */
int op_train_data_load(struct op_context *ctx,
                       const struct op_train_config *config,
                       struct op_train_data *data,
                       struct mlq_err *err);
void op_train_data_fini(struct op_train_data *data);

/* ---- The state between two steps: what a checkpoint holds ---- */

/* Fixed-size numbers, sent to the other ranks as they are. */
struct op_train_cursor {
    uint64_t epoch;       /* finished epochs */
    uint64_t step;        /* finished steps of the running epoch */
    double epoch_loss;    /* sum over the running epoch's samples so far */
    uint64_t best_epoch;  /* 1-based; 0: none yet */
    double best_score;    /* val_loss of best_epoch */
    uint64_t stale;       /* epochs since best_epoch */
    double rate;          /* of the last step */
    uint64_t range_end;   /* of a range test: enum op_train_range_end */
    double gradient_norm; /* of the epoch's last step, or of each when it is clipped */
};

struct op_train {
    struct op_context *ctx;
    struct op_train_config config;
    struct op_train_data data;
    struct gemm_engine engine;
    struct task_flight *flight;
    struct op_train_time time;
    struct op_train_gang *gang;
    struct op_train_loader *loader; /* of the training rows; the loop's */
    struct coll *coll; /* of the generation in use; the gang's */
    struct op_train_joint *joint; /* where its ranks hold the state together; NULL: they do not */
    struct optim *optim;
    struct op_train_cursor cursor;
    float *best;      /* parameters of best_epoch; NULL without early stopping */
    json_t *history;  /* one object per finished epoch */
    bool has_state;   /* of a training under way: not that of a process that has just started */
    uint64_t samples; /* trained on by this process, */
    int64_t busy_ns;  /* in this time */
    bool resumed;     /* from a checkpoint */
    struct op_train_checkpoints *checkpoints; /* NULL: none was written by this process */
};

/* What of it is floats. */
struct op_train_part {
    const char *name; /* in a checkpoint */
    float *values;
    uint64_t count;
};
#define OP_TRAIN_PARTS_MAX 4u
size_t op_train_parts(const struct op_train *train, struct op_train_part parts[OP_TRAIN_PARTS_MAX]);

/* Every call between ranks is given up after this. */
#define OP_TRAIN_TIMEOUT_NS (INT64_C(60) * 1000000000)

/* Into the flight recorder: what begins now, at the cursor. */
void op_train_note(struct op_train *train, enum task_flight_phase phase);

/* First in each generation: compares the ranks, and gives all of them the state of the one that has
 * come furthest, or that of the newest checkpoint. */
int op_train_share(struct op_train *train, struct mlq_err *err);

/* Trains from the cursor to the end. OP_STOPPED when asked to stop: what has to be saved is saved.
 * OP_TRAIN_CHANGED between two steps of an elastic gang. After an error of a collective the state
 * is that of the last whole step. */
int op_train_loop_run(struct op_train *train, struct mlq_err *err);

/* ---- Checkpoints: rank 0's business ----
 * They are written off the step: the state is copied between two steps, and a thread makes the copy
 * durable. The copy takes as much memory as the state itself (op_train_parts), from the first
 * checkpoint on, and there is never a second one. The worker is told, and the two newest kept, when
 * a checkpoint is durable. What the writing fails with is what the next of these calls fails with.
 * Without MLQ_CHECKPOINT all of them do nothing. */

/* Begins one; while the one before is still being written, op_train_checkpoint_poll does later. */
int op_train_checkpoint_ask(struct op_train *train, struct mlq_err *err);
/* Between two steps. Does not wait. */
int op_train_checkpoint_poll(struct op_train *train, struct mlq_err *err);
/* Whether enough time has passed since the last one. */
bool op_train_checkpoint_is_due(const struct op_train *train);
/* The state as it is now, durable when this returns: for who stops. */
int op_train_checkpoint_save(struct op_train *train, struct mlq_err *err);
/* Waits for what is being written: before this process ends. */
int op_train_checkpoint_settle(struct op_train *train, struct mlq_err *err);
void op_train_checkpoint_fini(struct op_train *train);

/* Into model, optim, cursor, best and history from the newest whole checkpoint; *found says whether
 * there was one. A damaged one is passed over with a warning; one of other rows or parameters is
 * refused. */
int op_train_checkpoint_load(struct op_train *train, bool *found, struct mlq_err *err);

#endif
