/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What train.xgboost is told, and the rows it is given. Numbers go to the trees as they are, and
 * what is missing stays missing. Categories are one-hot, a missing one is missing in all its
 * inputs: XGBoost's own splits by sets of categories have no counterpart in ONNX, and each
 * threshold between 0 and 1 has.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/prng.h"
#include "lib/base/str.h"
#include "lib/sys/mem.h"
#include "worker/ml/preprocess.h"
#include "worker/op/op_xgboost.h"

#define SEED_MAX    INT64_C(0x7fffffff) /* XGBoost's is an int */
#define ROUNDS_MAX  1000000

/* ---- Parameters ---- */

static int read_numbers(const struct op_context *ctx, struct booster_options *options,
                        struct mlq_err *err)
{
    const double tiny = 1e-6;
    const struct {
        const char *name;
        double *value;
        struct op_number_range range;
    } all[] = {
        {"subsample", &options->subsample, {1, tiny, 1}},
        {"colsample_bytree", &options->colsample_bytree, {1, tiny, 1}},
        {"min_child_weight", &options->min_child_weight, {1, 0, 1e9}},
        {"lambda", &options->lambda, {1, 0, 1e9}},
        {"alpha", &options->alpha, {0, 0, 1e9}},
        {"gamma", &options->gamma, {0, 0, 1e9}},
    };
    int rc = 0;
    for (size_t i = 0; i < MLQ_COUNT_OF(all) && rc == 0; i++) {
        rc = op_get_number(ctx, all[i].name, all[i].range, all[i].value, err);
    }
    return rc;
}

/* One thing with two names, as XGBoost has it. */
static int read_eta(const struct op_context *ctx, double *eta, struct mlq_err *err)
{
    static const struct op_number_range range = {.fallback = 0.3, .min = 1e-9, .max = 1};
    return op_get_number(ctx, op_with(ctx, "eta") != NULL ? "eta" : "learning_rate", range, eta,
                         err);
}

static int read_integers(const struct op_context *ctx, struct op_xgboost_config *config,
                         struct mlq_err *err)
{
    static const char *const names[] = {"rounds", "max_depth", "max_bin", "seed",
                                        "early_stop.patience"};
    static const struct op_int_range ranges[] = {
        {100, 1, ROUNDS_MAX}, {6, 1, 30}, {256, 2, 65536}, {0, 0, SEED_MAX}, {10, 1, ROUNDS_MAX}};
    int64_t values[MLQ_COUNT_OF(names)] = {0};
    for (size_t i = 0; i < MLQ_COUNT_OF(names); i++) {
        int rc = op_get_int(ctx, names[i], ranges[i], &values[i], err);
        if (rc != 0) {
            return rc;
        }
    }
    config->rounds = (uint32_t)values[0];
    config->options.max_depth = values[1];
    config->options.max_bin = values[2];
    config->options.seed = (uint32_t)values[3];
    config->patience = (uint32_t)values[4];
    config->early_stop = op_with(ctx, "early_stop") != NULL;
    return 0;
}

static int read_choices(const struct op_context *ctx, struct op_xgboost_config *config,
                        struct mlq_err *err)
{
    static const char *const tasks[] = {[OP_COLUMNS_AUTO] = "auto",
                                        [OP_COLUMNS_CLASSIFICATION] = "classification",
                                        [OP_COLUMNS_REGRESSION] = "regression"};
    static const char *const methods[] = {"hist"};
    size_t task = OP_COLUMNS_AUTO, method = 0;
    int rc = op_get_choice(ctx, "task", tasks, MLQ_COUNT_OF(tasks), &task, err);
    rc = rc != 0 ? rc
                 : op_get_choice(ctx, "tree_method", methods, MLQ_COUNT_OF(methods), &method, err);
    config->task = (enum op_columns_task)task;
    return rc;
}

int op_xgboost_config_read(const struct op_context *ctx, struct op_xgboost_config *config,
                           struct mlq_err *err)
{
    *config = (struct op_xgboost_config){.options.threads = op_cpus()};
    if (op_world_size(ctx) > 1) {
        return mlq_fail(err, MLQ_EINVAL,
                        "train.xgboost runs on one rank, with all CPUs that resources give it: "
                        "raise cpus instead of ranks");
    }
    int rc = read_choices(ctx, config, err);
    rc = rc != 0 ? rc : read_integers(ctx, config, err);
    rc = rc != 0 ? rc : read_eta(ctx, &config->options.eta, err);
    return rc != 0 ? rc : read_numbers(ctx, &config->options, err);
}

/* ---- Rows ---- */

static void set_objective(struct op_xgboost *x)
{
    struct booster_options *options = &x->config.options;
    struct model *model = x->model;
    x->deviation = model->target_scale;
    if (model->task == MODEL_REGRESSION) {
        options->objective = BOOSTER_SQUARED;
        options->base_score = model->target_mean;
    } else if (model->task == MODEL_BINARY) {
        options->objective = BOOSTER_LOGISTIC;
        model->link = MODEL_SIGMOID;
    } else {
        options->objective = BOOSTER_SOFTMAX;
        options->classes = model->class_count;
    }
    model->target_mean = 0; /* trees predict in the target's own units */
    model->target_scale = 1;
}

static int fit(struct op_xgboost *x, const struct table *table, struct mlq_err *err)
{
    struct op_columns features;
    op_columns_list(table, true, op_region(x->ctx), &features);
    int rc = op_columns_fit_target(table, x->config.task, x->model, err);
    if (rc == 0 && features.count == 0) {
        rc = mlq_fail(err, MLQ_EINVAL, "the training table has no feature column");
    }
    if (rc == 0) {
        rc = preprocess_fit(x->model, features.columns, features.count, table_rows(table), op_cpus(), err);
    }
    if (rc == 0) {
        preprocess_keep(x->model);
        set_objective(x);
    }
    return rc;
}

static int load_tables(struct op_xgboost *x, struct mlq_err *err)
{
    const char *path = NULL, *validation_path = op_input(x->ctx, "validation");
    struct table *train = NULL, *validation = NULL;
    int rc = op_need_input(x->ctx, "train", &path, err);
    rc = rc != 0 ? rc : table_open(path, &train, err);
    rc = rc != 0 ? rc : fit(x, train, err);
    rc = rc != 0 ? rc : op_train_data_load_set(x->ctx, train, "training", x->model, &x->train, err);
    if (rc == 0 && validation_path != NULL) {
        rc = table_open(validation_path, &validation, err);
        if (rc == 0 && table_rows(validation) > 0) {
            rc = op_train_data_load_set(x->ctx, validation, "validation", x->model, &x->validation,
                                        err);
        }
    }
    if (rc == 0 && x->config.early_stop && x->validation.rows == 0) {
        rc = mlq_fail(err, MLQ_EINVAL,
                      "early_stop needs validation rows: wire the input 'validation' (a "
                      "data.split with validation > 0)");
    }
    table_close(&train);
    table_close(&validation);
    return rc;
}

/* Of all that decides a round; the number of threads does not. */
static uint64_t fingerprint(const struct op_xgboost *x)
{
    const struct booster_options *o = &x->config.options;
    const uint64_t counts[] = {o->objective,         o->classes,        (uint64_t)o->max_depth,
                               (uint64_t)o->max_bin, o->seed,           x->config.rounds,
                               x->config.early_stop, x->config.patience};
    const double numbers[] = {o->base_score,       o->eta,    o->subsample, o->colsample_bytree,
                              o->min_child_weight, o->lambda, o->alpha,     o->gamma};
    uint64_t hash = mlq_hash_bytes(1, counts, sizeof(counts));
    hash = mlq_hash_bytes(hash, numbers, sizeof(numbers));
    for (uint32_t i = 0; i < x->model->class_count; i++) {
        hash = mlq_hash_bytes(hash, x->model->classes[i], strlen(x->model->classes[i]));
    }
    hash = op_train_data_hash_set(hash, &x->train, x->model);
    return op_train_data_hash_set(hash, &x->validation, x->model);
}

/* XGBoost wants a class as a float, too. It has copied all when this returns, and the inputs go. */
static int open_booster(struct op_xgboost *x, struct mlq_err *err)
{
    struct op_train_set *const sets[] = {&x->train, &x->validation};
    struct booster_rows rows[2];
    float *labels[2] = {NULL, NULL};
    for (size_t i = 0; i < 2; i++) {
        rows[i] = (struct booster_rows){.rows = sets[i]->rows,
                                        .columns = x->model->input_count,
                                        .inputs = sets[i]->inputs,
                                        .labels = sets[i]->targets};
        if (sets[i]->labels != NULL) {
            labels[i] = mlq_alloc_array(sets[i]->rows, sizeof(float));
            for (uint32_t k = 0; k < sets[i]->rows; k++) {
                labels[i][k] = (float)sets[i]->labels[k];
            }
            rows[i].labels = labels[i];
        }
    }
    int rc = booster_open(&x->config.options, &rows[0], &rows[1], &x->booster, err);
    for (size_t i = 0; i < 2; i++) {
        mlq_free(labels[i]);
        mlq_free(sets[i]->inputs);
        sets[i]->inputs = NULL;
    }
    return rc;
}

int op_xgboost_config_load(struct op_xgboost *x, struct mlq_err *err)
{
    x->model = model_create();
    int rc = load_tables(x, err);
    if (rc == 0) {
        x->fingerprint = fingerprint(x);
        rc = open_booster(x, err);
    }
    return rc;
}
