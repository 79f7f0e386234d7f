/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The parameters of train.native. lib/spec has checked them against its schema, whose ranges and
 * defaults these are; a task started by hand meets them here. Its rules op_open has checked.
 */
#include <string.h>

#include "lib/base/ownership.h"
#include "lib/base/panic.h"
#include "worker/ml/tree.h"
#include "worker/op/op_train_range.h"

#define SEED_MAX (INT64_C(1) << 53) /* what JSON keeps exactly */

static int
read_task(const struct op_context *ctx, struct op_train_config *config, struct mlq_err *err)
{
    static const char *const tasks[] = {[OP_COLUMNS_AUTO] = "auto",
                                        [OP_COLUMNS_CLASSIFICATION] = "classification",
                                        [OP_COLUMNS_REGRESSION] = "regression"};
    size_t task = OP_COLUMNS_AUTO;
    int rc = op_get_choice(ctx, "task", tasks, MLQ_COUNT_OF(tasks), &task, err);
    config->task = (enum op_columns_task)task;
    return rc;
}

static const char *const levels[] = {[OP_TRAIN_ELASTIC] = "elastic",
                                     [OP_TRAIN_REPEAT] = "repeat",
                                     [OP_TRAIN_FAST] = "fast"};

const char *op_train_config_level(enum op_train_level level)
{
    return levels[level];
}

static int
read_level(const struct op_context *ctx, struct op_train_config *config, struct mlq_err *err)
{
    size_t level = OP_TRAIN_ELASTIC;
    int rc = op_get_choice(ctx, "level", levels, MLQ_COUNT_OF(levels), &level, err);
    config->level = (enum op_train_level)level;
    if (rc == 0 && op_is_elastic(ctx) && config->level != OP_TRAIN_ELASTIC) {
        return mlq_fail(err, MLQ_EINVAL,
                        "level: %s is for a gang of a fixed size, and this is a member of an "
                        "elastic one (MLQ_ELASTIC): use level: elastic",
                        levels[level]);
    }
    return rc;
}

static int read_numbers(const struct op_context *ctx,
                        const char *const *names,
                        const struct op_number_range *ranges,
                        double *const *values,
                        size_t count,
                        struct mlq_err *err)
{
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = op_get_number(ctx, names[i], ranges[i], values[i], err);
    }
    return rc;
}

#define LR_MIN    1e-12 /* greater than 0 */
#define DECAY_MAX 0.9999999
#define BATCH_MAX (1u << 20)

/* Adam and AdamW have the same numbers; by default only the latter decays. */
static int read_adam(const struct op_context *ctx,
                     struct optim_options *optim,
                     double *lr,
                     struct mlq_err *err)
{
    static const char *const names[2][4] = {
        {"optimizer.adam.lr", "optimizer.adam.weight_decay", "optimizer.adam.beta1",
         "optimizer.adam.beta2"},
        {"optimizer.adamw.lr", "optimizer.adamw.weight_decay", "optimizer.adamw.beta1",
         "optimizer.adamw.beta2"},
    };
    bool decoupled = optim->kind == OPTIM_ADAMW;
    const struct op_number_range ranges[] = {{1e-3, LR_MIN, 100},
                                             {decoupled ? 0.01 : 0, 0, 100},
                                             {0.9, 0, DECAY_MAX},
                                             {0.999, 0, DECAY_MAX}};
    double *const values[] = {lr, &optim->weight_decay, &optim->beta1, &optim->beta2};
    optim->epsilon = 1e-8; /* PyTorch's */
    return read_numbers(ctx, names[decoupled], ranges, values, MLQ_COUNT_OF(values), err);
}

static int
read_sgd(const struct op_context *ctx, struct optim_options *optim, double *lr, struct mlq_err *err)
{
    static const char *const names[] = {"optimizer.sgd.lr", "optimizer.sgd.momentum",
                                        "optimizer.sgd.weight_decay"};
    static const struct op_number_range ranges[] = {
        {0.05, LR_MIN, 100}, {0.9, 0, DECAY_MAX}, {0, 0, 100}};
    double *const values[] = {lr, &optim->momentum, &optim->weight_decay};
    int rc = read_numbers(ctx, names, ranges, values, MLQ_COUNT_OF(names), err);
    if (rc == 0) {
        rc = op_get_bool(ctx, "optimizer.sgd.nesterov", false, &optim->nesterov, err);
    }
    return rc;
}

static int
read_optimizer(const struct op_context *ctx, struct op_train_config *config, struct mlq_err *err)
{
    static const char *const kinds[] = {
        [OPTIM_SGD] = "sgd", [OPTIM_ADAM] = "adam", [OPTIM_ADAMW] = "adamw"};
    struct optim_options *optim = &config->optim;
    size_t kind = OPTIM_ADAMW;
    int rc = op_get_one_of(ctx, "optimizer", kinds, MLQ_COUNT_OF(kinds), &kind, err);
    optim->kind = (enum optim_kind)kind;
    if (rc == 0) {
        rc = optim->kind == OPTIM_SGD ? read_sgd(ctx, optim, &config->schedule.lr, err)
                                      : read_adam(ctx, optim, &config->schedule.lr, err);
    }
    if (rc == 0) {
        struct op_number_range range = {.fallback = 0, .min = 0, .max = 1e6};
        rc = op_get_number(ctx, "l2", range, &config->optim.l2, err);
    }
    return rc;
}

/* Level fast has none. */
static int
read_shards(const struct op_context *ctx, struct op_train_config *config, struct mlq_err *err)
{
    int64_t shards = 8;
    if (config->level == OP_TRAIN_FAST) {
        return 0;
    }
    int rc = op_get_int(ctx, "shards", (struct op_int_range){8, 1, TREE_SHARDS_MAX}, &shards, err);
    config->shards = (uint32_t)shards * config->accumulate;
    MLQ_ASSERT(rc != 0 || config->shards <= TREE_SHARDS_MAX); /* op_rules.h */
    return rc;
}

static int
read_counts(const struct op_context *ctx, struct op_train_config *config, struct mlq_err *err)
{
    static const char *const names[] = {"epochs", "batch", "seed", "early_stop.patience"};
    static const struct op_int_range ranges[] = {{20, 1, 1000000},
                                                 {64, 1, BATCH_MAX},
                                                 {0, 0, SEED_MAX},
                                                 {5, 1, 1000000}};
    int64_t values[MLQ_COUNT_OF(names)] = {0};
    for (size_t i = 0; i < MLQ_COUNT_OF(names); i++) {
        int rc = op_get_int(ctx, names[i], ranges[i], &values[i], err);
        if (rc != 0) {
            return rc;
        }
    }
    config->epochs = (uint64_t)values[0];
    uint64_t batch = (uint64_t)values[1] * config->accumulate;
    config->seed = (uint64_t)values[2];
    config->patience = (uint64_t)values[3];
    config->early_stop = op_with(ctx, "early_stop") != NULL;
    MLQ_ASSERT(batch <= BATCH_MAX); /* op_rules.h */
    config->batch = (uint32_t)batch;
    return read_shards(ctx, config, err);
}

/* Each rank of a fixed gang has something to do. */
static int
check_ranks(const struct op_context *ctx, const struct op_train_config *config, struct mlq_err *err)
{
    bool is_fast = config->level == OP_TRAIN_FAST;
    uint32_t ranks = op_is_elastic(ctx) ? 1 : op_world_size(ctx);
    uint32_t deal = is_fast ? config->batch / config->accumulate : config->shards;
    if (ranks <= deal) {
        return 0;
    }
    return mlq_fail(err, MLQ_EINVAL, "%u ranks, but only %u %s to deal: raise %s or lower ranks",
                    ranks, deal, is_fast ? "rows" : "shards", is_fast ? "batch" : "shards");
}

static int
read_rows(const struct op_context *ctx, struct op_train_config *config, struct mlq_err *err)
{
    static const char *const places[] = {[OP_TRAIN_ROWS_AUTO] = "auto",
                                         [OP_TRAIN_ROWS_MEMORY] = "memory",
                                         [OP_TRAIN_ROWS_DISK] = "disk"};
    size_t place = OP_TRAIN_ROWS_AUTO;
    int rc = op_get_choice(ctx, "rows", places, MLQ_COUNT_OF(places), &place, err);
    config->rows = (enum op_train_rows)place;
    return rc;
}

static int
read_collectives(const struct op_context *ctx, struct op_train_config *config, struct mlq_err *err)
{
    static const struct {
        const char *name;
        enum coll_kind kind;
    } choices[] = {{"auto", COLL_AUTO}, {"gloo", COLL_GLOO}, {"nccl", COLL_NCCL}};
    const char *name = NULL;
    int rc = op_get_text(ctx, "collectives", "auto", &name, err);
    for (size_t i = 0; i < MLQ_COUNT_OF(choices) && rc == 0; i++) {
        if (strcmp(name, choices[i].name) == 0) {
            config->collectives = choices[i].kind;
            return 0;
        }
    }
    return rc != 0 ? rc
                   : mlq_fail(err, MLQ_EINVAL, "collectives: '%s' is not one of auto, gloo, nccl",
                              name);
}

int op_train_config_read(const struct op_context *ctx,
                         struct op_train_config *config,
                         struct mlq_err *err)
{
    *config = (struct op_train_config){.epochs = 0};
    int rc = op_train_model_read(ctx, config, err);
    if (rc == 0) {
        rc = read_task(ctx, config, err);
    }
    if (rc == 0) {
        rc = read_optimizer(ctx, config, err);
    }
    if (rc == 0) {
        rc = op_train_options_read(ctx, config, err);
    }
    if (rc == 0) {
        rc = read_rows(ctx, config, err);
    }
    if (rc == 0) {
        rc = read_collectives(ctx, config, err);
    }
    if (rc == 0) {
        rc = read_level(ctx, config, err);
    }
    if (rc == 0) {
        rc = read_counts(ctx, config, err);
    }
    if (rc == 0) {
        rc = op_train_range_read(ctx, config, err);
    }
    return rc == 0 ? check_ranks(ctx, config, err) : rc;
}
