/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The parameters of train.native. lib/spec has checked them against its schema, whose ranges and
 * defaults these are; a task started by hand meets them here.
 */
#include <string.h>

#include "lib/base/ownership.h"
#include "worker/ml/tree.h"
#include "worker/op/op_train.h"

#define SEED_MAX (INT64_C(1) << 53) /* what JSON keeps exactly */

/* The name of the one member of a mapping such as {mlp: {hidden: [..]}}, or the text itself. */
static int one_of(const struct op_context *ctx,
                  const char *param,
                  const char *fallback,
                  const char **name,
                  struct mlq_err *err)
{
    const json_t *value = op_with(ctx, param);
    if (value == NULL) {
        *name = fallback;
        return 0;
    }
    if (json_is_string(value)) {
        *name = json_string_value(value);
        return 0;
    }
    if (json_object_size(value) != 1) {
        return mlq_fail(err, MLQ_EINVAL, "%s: expected one name, or a mapping with exactly one",
                        param);
    }
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        *name = key;
    }
    return 0;
}

static int
read_hidden(const struct op_context *ctx, struct op_train_config *config, struct mlq_err *err)
{
    const json_t *hidden = op_with(ctx, "model.mlp.hidden");
    config->mlp.hidden = config->hidden;
    if (hidden == NULL) {
        config->hidden[0] = 128;
        config->hidden[1] = 64;
        config->mlp.hidden_count = 2;
        return 0;
    }
    size_t count = json_array_size(hidden);
    if (!json_is_array(hidden) || count > OP_TRAIN_HIDDEN_MAX) {
        return mlq_fail(err, MLQ_EINVAL, "model.mlp.hidden: expected a list of at most %u widths",
                        OP_TRAIN_HIDDEN_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *width = json_array_get(hidden, i);
        json_int_t n = json_integer_value(width);
        if (!json_is_integer(width) || n < 1 || n > (json_int_t)LAYER_UNITS_MAX) {
            return mlq_fail(err, MLQ_EINVAL,
                            "model.mlp.hidden[%zu]: expected a whole number from 1 to %u", i,
                            LAYER_UNITS_MAX);
        }
        config->hidden[i] = (uint32_t)n;
    }
    config->mlp.hidden_count = (uint32_t)count;
    return 0;
}

/* The index of a text parameter among `names`. */
static int read_choice(const struct op_context *ctx,
                       const char *param,
                       const char *const *names,
                       size_t count,
                       size_t *choice,
                       struct mlq_err *err)
{
    const char *name = NULL;
    int rc = op_get_text(ctx, param, names[*choice], &name, err);
    for (size_t i = 0; i < count && rc == 0; i++) {
        if (strcmp(name, names[i]) == 0) {
            *choice = i;
            return 0;
        }
    }
    return rc != 0 ? rc : mlq_fail(err, MLQ_EINVAL, "%s: '%s' is none of its choices", param, name);
}

static int read_activation(const struct op_context *ctx,
                           const char *param,
                           enum layer_activation *activation,
                           struct mlq_err *err)
{
    const char *names[LAYER_ACTIVATIONS];
    size_t choice = LAYER_RELU;
    for (int i = 0; i < LAYER_ACTIVATIONS; i++) {
        names[i] = layer_activation_text((enum layer_activation)i);
    }
    int rc = read_choice(ctx, param, names, LAYER_ACTIVATIONS, &choice, err);
    *activation = (enum layer_activation)choice;
    return rc;
}

static int
read_mlp(const struct op_context *ctx, struct op_train_config *config, struct mlq_err *err)
{
    int rc = read_hidden(ctx, config, err);
    return rc != 0 ? rc
                   : read_activation(ctx, "model.mlp.activation", &config->mlp.activation, err);
}

static int
read_model(const struct op_context *ctx, struct op_train_config *config, struct mlq_err *err)
{
    static const char *const kinds[] = {
        [OP_TRAIN_LINEAR] = "linear", [OP_TRAIN_SOFTMAX] = "softmax", [OP_TRAIN_MLP] = "mlp"};
    const char *name = NULL;
    int rc = one_of(ctx, "model", "mlp", &name, err);
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; i < MLQ_COUNT_OF(kinds); i++) {
        if (strcmp(name, kinds[i]) == 0) {
            config->kind = (enum op_train_kind)i;
            return config->kind == OP_TRAIN_MLP ? read_mlp(ctx, config, err) : 0;
        }
    }
    return mlq_fail(err, MLQ_EINVAL, "model: '%s' is not one of linear, softmax, mlp", name);
}

static int
read_task(const struct op_context *ctx, struct op_train_config *config, struct mlq_err *err)
{
    static const char *const tasks[] = {[OP_COLUMNS_AUTO] = "auto",
                                        [OP_COLUMNS_CLASSIFICATION] = "classification",
                                        [OP_COLUMNS_REGRESSION] = "regression"};
    const char *name = NULL;
    int rc = op_get_text(ctx, "task", "auto", &name, err);
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; i < MLQ_COUNT_OF(tasks); i++) {
        if (strcmp(name, tasks[i]) == 0) {
            config->task = (enum op_columns_task)i;
            return 0;
        }
    }
    return mlq_fail(err, MLQ_EINVAL, "task: '%s' is not one of auto, classification, regression",
                    name);
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

static int
read_adamw(const struct op_context *ctx, struct optim_options *optim, struct mlq_err *err)
{
    static const char *const names[] = {"optimizer.adamw.lr", "optimizer.adamw.weight_decay",
                                        "optimizer.adamw.beta1", "optimizer.adamw.beta2"};
    static const struct op_number_range ranges[] = {
        {1e-3, LR_MIN, 100}, {0.01, 0, 100}, {0.9, 0, DECAY_MAX}, {0.999, 0, DECAY_MAX}};
    double *const values[] = {&optim->lr, &optim->weight_decay, &optim->beta1, &optim->beta2};
    optim->kind = OPTIM_ADAMW;
    optim->epsilon = 1e-8; /* PyTorch's */
    return read_numbers(ctx, names, ranges, values, MLQ_COUNT_OF(names), err);
}

static int read_sgd(const struct op_context *ctx, struct optim_options *optim, struct mlq_err *err)
{
    static const char *const names[] = {"optimizer.sgd.lr", "optimizer.sgd.momentum",
                                        "optimizer.sgd.weight_decay"};
    static const struct op_number_range ranges[] = {
        {0.05, LR_MIN, 100}, {0.9, 0, DECAY_MAX}, {0, 0, 100}};
    double *const values[] = {&optim->lr, &optim->momentum, &optim->weight_decay};
    optim->kind = OPTIM_SGD;
    int rc = read_numbers(ctx, names, ranges, values, MLQ_COUNT_OF(names), err);
    if (rc == 0) {
        rc = op_get_bool(ctx, "optimizer.sgd.nesterov", false, &optim->nesterov, err);
    }
    if (rc == 0 && optim->nesterov && optim->momentum == 0) {
        rc = mlq_fail(err, MLQ_EINVAL, "optimizer.sgd.nesterov needs a momentum above 0");
    }
    return rc;
}

static int
read_optimizer(const struct op_context *ctx, struct op_train_config *config, struct mlq_err *err)
{
    const char *name = NULL;
    int rc = one_of(ctx, "optimizer", "adamw", &name, err);
    if (rc != 0) {
        return rc;
    }
    if (strcmp(name, "adamw") == 0) {
        rc = read_adamw(ctx, &config->optim, err);
    } else if (strcmp(name, "sgd") == 0) {
        rc = read_sgd(ctx, &config->optim, err);
    } else {
        rc = mlq_fail(err, MLQ_EINVAL, "optimizer: '%s' is not one of adamw, sgd", name);
    }
    if (rc == 0) {
        struct op_number_range range = {.fallback = 0, .min = 0, .max = 1e6};
        rc = op_get_number(ctx, "l2", range, &config->optim.l2, err);
    }
    return rc;
}

static int
read_counts(const struct op_context *ctx, struct op_train_config *config, struct mlq_err *err)
{
    static const char *const names[] = {"epochs", "batch", "shards", "seed", "early_stop.patience"};
    static const struct op_int_range ranges[] = {{20, 1, 1000000},
                                                 {64, 1, 1 << 20},
                                                 {8, 1, TREE_SHARDS_MAX},
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
    config->batch = (uint32_t)values[1];
    config->shards = (uint32_t)values[2];
    config->seed = (uint64_t)values[3];
    config->patience = (uint64_t)values[4];
    config->early_stop = op_with(ctx, "early_stop") != NULL;
    if ((config->shards & (config->shards - 1)) != 0) {
        return mlq_fail(err, MLQ_EINVAL, "shards: %u is not a power of two (1, 2, 4, 8, ...)",
                        config->shards);
    }
    return 0;
}

int op_train_config_read(const struct op_context *ctx,
                         struct op_train_config *config,
                         struct mlq_err *err)
{
    *config = (struct op_train_config){.epochs = 0};
    int rc = read_model(ctx, config, err);
    if (rc == 0) {
        rc = read_task(ctx, config, err);
    }
    if (rc == 0) {
        rc = read_optimizer(ctx, config, err);
    }
    return rc == 0 ? read_counts(ctx, config, err) : rc;
}
