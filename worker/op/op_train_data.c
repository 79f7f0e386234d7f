/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The tables, preprocessed into memory once. Preprocessing is fitted on the training table alone.
 */
#include <inttypes.h>
#include <string.h>

#include "lib/base/prng.h"
#include "lib/sys/mem.h"
#include "worker/ml/preprocess.h"
#include "worker/op/op_train.h"

#define INPUT_BYTES_MAX (UINT64_C(16) << 30) /* of one table, preprocessed */

static int load_rows(const struct table *table,
                     const char *which,
                     const struct op_columns *columns,
                     const struct model *model,
                     struct op_train_set *set,
                     struct mlq_err *err)
{
    uint64_t rows = table_rows(table);
    uint64_t bytes = rows * model->input_count * sizeof(float);
    if (rows > UINT32_MAX || bytes > INPUT_BYTES_MAX) {
        return mlq_fail(err, MLQ_EFULL,
                        "the %s table needs %" PRIu64 " MiB as network inputs: at most %" PRIu64
                        " (fewer rows, or fewer category values)",
                        which, bytes >> 20, INPUT_BYTES_MAX >> 20);
    }
    struct preprocess *bound = NULL;
    int rc = preprocess_bind(model, columns->columns, columns->count, &bound, err);
    if (rc == 0) {
        set->inputs = mlq_alloc_array(rows * model->input_count, sizeof(float));
        rc = preprocess_rows(bound, 0, rows, set->inputs, err);
    }
    preprocess_destroy(&bound);
    return rc == 0 ? 0 : mlq_wrap(err, rc, "the %s table", which);
}

static int load_target(const struct table *table,
                       const char *which,
                       const struct model *model,
                       struct op_train_set *set,
                       struct mlq_err *err)
{
    if (model->task != MODEL_REGRESSION) {
        return op_columns_labels(table, which, model, &set->labels, err);
    }
    const double *numbers = NULL;
    int rc = op_columns_targets(table, which, model, &numbers, err);
    if (rc != 0) {
        return rc;
    }
    uint64_t rows = table_rows(table);
    set->targets = mlq_alloc_array(rows, sizeof(float));
    for (uint64_t i = 0; i < rows; i++) {
        set->targets[i] = (float)((numbers[i] - model->target_mean) / model->target_scale);
    }
    return 0;
}

int op_train_data_load_set(struct op_context *ctx, const struct table *table, const char *which,
                           const struct model *model, struct op_train_set *set, struct mlq_err *err)
{
    struct op_columns columns;
    op_columns_list(table, false, op_region(ctx), &columns);
    int rc = load_rows(table, which, &columns, model, set, err);
    if (rc == 0) {
        rc = load_target(table, which, model, set, err);
    }
    if (rc == 0) {
        set->rows = (uint32_t)table_rows(table);
    }
    return rc;
}

static int fit(struct op_context *ctx,
               const struct op_train_config *config,
               const struct table *table,
               struct model *model,
               struct mlq_err *err)
{
    struct op_columns features;
    op_columns_list(table, true, op_region(ctx), &features);
    int rc = op_columns_fit_target(table, config->task, model, err);
    bool has_shards = config->level != OP_TRAIN_FAST;
    if (rc == 0 && has_shards && table_rows(table) < config->shards) {
        rc = mlq_fail(err, MLQ_EINVAL,
                      "the training table has %" PRIu64 " rows, fewer than shards (%u)",
                      table_rows(table), config->shards);
    }
    if (rc == 0 && model->task == MODEL_REGRESSION && config->kind == OP_TRAIN_SOFTMAX) {
        rc = mlq_fail(err, MLQ_EINVAL,
                      "model: softmax predicts classes, but the target '%s' is a number: "
                      "use linear, mlp or cnn, or task: classification",
                      model->target);
    }
    if (rc == 0 && features.count == 0) {
        rc = mlq_fail(err, MLQ_EINVAL, "the training table has no feature column");
    }
    if (rc == 0) {
        rc = preprocess_fit(model, features.columns, features.count, table_rows(table), err);
    }
    if (rc == 0 && config->kind == OP_TRAIN_CNN) {
        preprocess_share_channels(model, features.columns, config->cnn.image.channels,
                                  table_rows(table));
    }
    if (rc == 0) {
        rc = op_train_options_fit(config, model, err);
    }
    if (rc == 0) {
        rc = op_train_model_lay_out(config, model, err);
    }
    return rc;
}

/* ---- Fingerprint ---- */

uint64_t op_train_data_hash_set(uint64_t hash, const struct op_train_set *set,
                                const struct model *model)
{
    hash = mlq_hash_bytes(hash, &set->rows, sizeof(set->rows));
    if (set->rows > 0) {
        hash = mlq_hash_bytes(hash, set->inputs, sizeof(float) * model->input_count * set->rows);
        hash = model->task == MODEL_REGRESSION
                   ? mlq_hash_bytes(hash, set->targets, sizeof(float) * set->rows)
                   : mlq_hash_bytes(hash, set->labels, sizeof(uint32_t) * set->rows);
    }
    return hash;
}

/* Field by field: a struct's padding is nobody's. */
static uint64_t hash_config(const struct op_train_config *config)
{
    const struct optim_options *optim = &config->optim;
    const struct schedule *schedule = &config->schedule;
    uint32_t shards = config->level == OP_TRAIN_FAST ? 0 : config->shards; /* else there is one */
    const uint64_t counts[] = {config->kind,       config->epochs,   config->batch,  shards,
                               config->early_stop, config->patience, config->seed,   optim->kind,
                               optim->nesterov,    schedule->kind,   schedule->every};
    const double numbers[] = {optim->weight_decay,
                              optim->l2,
                              optim->momentum,
                              optim->beta1,
                              optim->beta2,
                              optim->epsilon,
                              schedule->lr,
                              schedule->factor,
                              schedule->final,
                              schedule->rise,
                              config->warmup_epochs,
                              config->clip_norm,
                              (double)config->augment.crop,
                              config->augment.flip,
                              config->augment.mixup};
    uint64_t hash = mlq_hash_bytes(1, counts, sizeof(counts));
    return mlq_hash_bytes(hash, numbers, sizeof(numbers));
}

static uint64_t hash_layer(uint64_t hash, const struct layer *layer)
{
    const uint64_t numbers[] = {
        layer->kind,         layer->activation,    layer->from,         layer->also,
        layer->out.height,   layer->out.width,     layer->out.channels, layer->stride,
        layer->padding,      layer->kernel_height, layer->kernel_width, layer->weight_at,
        layer->weight_count, layer->width,         layer->bias_count,   layer->state_count};
    hash = mlq_hash_bytes(hash, &layer->rate, sizeof(layer->rate));
    return mlq_hash_bytes(hash, numbers, sizeof(numbers));
}

static uint64_t fingerprint(const struct op_train_config *config, const struct op_train_data *data)
{
    const struct model *model = data->model;
    const uint64_t shape[] = {model->task, model->class_count, model->input_count,
                              model->arena_count};
    uint64_t hash = mlq_hash_bytes(hash_config(config), shape, sizeof(shape));
    for (uint32_t i = 0; i < model->layer_count; i++) {
        hash = hash_layer(hash, &model->layers[i]);
    }
    for (uint32_t i = 0; i < model->class_count; i++) {
        hash = mlq_hash_bytes(hash, model->classes[i], strlen(model->classes[i]));
    }
    const double loss[] = {data->loss.kind, (double)data->loss.smoothing, (double)data->loss.delta};
    hash = mlq_hash_bytes(hash, loss, sizeof(loss));
    if (data->class_weights != NULL) {
        hash = mlq_hash_bytes(hash, data->class_weights, model->class_count * sizeof(float));
    }
    hash = op_train_data_hash_set(hash, &data->train, model);
    return op_train_data_hash_set(hash, &data->validation, model);
}

int op_train_data_load(struct op_context *ctx,
                       const struct op_train_config *config,
                       struct op_train_data *data,
                       struct mlq_err *err)
{
    const char *path = NULL, *validation_path = op_input(ctx, "validation");
    struct table *train = NULL, *validation = NULL;
    data->model = model_create();
    int rc = op_need_input(ctx, "train", &path, err);
    if (rc == 0) {
        rc = table_open(path, &train, err);
    }
    if (rc == 0) {
        rc = fit(ctx, config, train, data->model, err);
    }
    if (rc == 0) {
        rc = op_train_data_load_set(ctx, train, "training", data->model, &data->train, err);
    }
    if (rc == 0) {
        rc = op_train_options_weigh(config, data, err);
    }
    if (rc == 0 && validation_path != NULL) {
        rc = table_open(validation_path, &validation, err);
        if (rc == 0 && table_rows(validation) > 0) {
            rc = op_train_data_load_set(ctx, validation, "validation", data->model,
                                        &data->validation, err);
        }
    }
    if (rc == 0 && config->early_stop && data->validation.rows == 0) {
        rc = mlq_fail(err, MLQ_EINVAL,
                      "early_stop needs validation rows: wire the input 'validation' (a "
                      "data.split with validation > 0)");
    }
    if (rc == 0) {
        data->fingerprint = fingerprint(config, data);
    }
    table_close(&train);
    table_close(&validation);
    return rc;
}

void op_train_data_fini_set(struct op_train_set *set)
{
    mlq_free(set->inputs);
    mlq_free(set->labels);
    mlq_free(set->targets);
}

void op_train_data_fini(struct op_train_data *data)
{
    op_train_data_fini_set(&data->train);
    op_train_data_fini_set(&data->validation);
    mlq_free(data->class_weights);
    model_destroy(&data->model);
}
