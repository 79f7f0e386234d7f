/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The tables: preprocessed into memory once, or, when they do not fit, left where they are and walked
 * through. Preprocessing is fitted on the training table alone.
 *
 * Walks over a table that is larger than memory, each from its begin to its end: table_open looks for
 * infinities; the fit needs a mean and then a deviation of each column (the second time from the page
 * cache, where a column fits into it); and one that checks and hashes the preprocessed rows.
 */
#include <inttypes.h>
#include <string.h>

#include "lib/base/prng.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "lib/sys/thread.h"
#include "worker/ml/preprocess.h"
#include "worker/op/op_memory.h"
#include "worker/op/op_train.h"
#include "worker/op/spill.h"

#define INPUT_BYTES_MAX  (UINT64_C(16) << 30) /* of one table in memory, preprocessed */
#define BLOCK_BYTES      (UINT64_C(4) << 20)  /* of inputs that are hashed at a time */
#define ROW_BYTES        (2 * sizeof(uint32_t)) /* its place in an order, and its target */
#define MEMORY_SHARE     2u
#define PIECE_ROWS       UINT64_C(16384) /* that one thread makes at a time */

/* Rows become inputs in pieces, side by side. */
struct making {
    const struct preprocess *bound;
    uint64_t width;
    uint64_t rows;
    float *inputs;
};

static int make_piece(void *context, size_t i, struct mlq_err *err)
{
    const struct making *making = context;
    uint64_t begin = i * PIECE_ROWS;
    uint64_t count = making->rows - begin < PIECE_ROWS ? making->rows - begin : PIECE_ROWS;
    return preprocess_rows(making->bound, begin, count, making->inputs + begin * making->width, err);
}

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
        struct making making = {
            .bound = bound, .width = model->input_count, .rows = rows, .inputs = set->inputs};
        rc = mlq_thread_each(op_cpus(), (size_t)((rows + PIECE_ROWS - 1) / PIECE_ROWS), make_piece, &making, err);
    }
    preprocess_destroy(&bound);
    return rc == 0 ? 0 : mlq_wrap(err, rc, "the %s table", which);
}

/* Of all rows; those of streamed ones are no private memory. */
static int take_array(const struct op_train_set *set, uint64_t rows, void **array,
                      struct mlq_err *err)
{
    if (set->table != NULL) {
        return spill_array_create("the target of each row", rows, sizeof(uint32_t), array, err);
    }
    *array = mlq_alloc_array(rows, sizeof(uint32_t));
    return 0;
}

static int load_target(const struct table *table,
                       const char *which,
                       const struct model *model,
                       struct op_train_set *set,
                       struct mlq_err *err)
{
    const double *numbers = NULL;
    void *array = NULL;
    uint64_t rows = table_rows(table);
    bool is_number = model->task == MODEL_REGRESSION;
    int rc = is_number ? op_columns_targets(table, which, model, &numbers, err) : 0;
    rc = rc != 0 ? rc : take_array(set, rows, &array, err);
    if (rc != 0) {
        return rc;
    }
    if (!is_number) {
        set->labels = array;
        return op_columns_labels(table, which, model, set->labels, err);
    }
    set->targets = array;
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

/* `*table` becomes the set's. */
static int stream_set(struct op_context *ctx, struct table **table, const char *which,
                      const struct model *model, struct op_train_set *set, struct mlq_err *err)
{
    struct op_columns columns;
    set->table = *table;
    *table = NULL;
    uint64_t rows = table_rows(set->table);
    if (rows > UINT32_MAX) {
        return mlq_fail(err, MLQ_EFULL, "the %s table has %" PRIu64 " rows: at most %u", which, rows,
                        UINT32_MAX);
    }
    op_columns_list(set->table, false, op_region(ctx), &columns);
    set->rows = (uint32_t)rows;
    int rc = preprocess_bind(model, columns.columns, columns.count, &set->bound, err);
    rc = rc == 0 ? 0 : mlq_wrap(err, rc, "the %s table", which);
    return rc == 0 ? load_target(set->table, which, model, set, err) : rc;
}

int op_train_data_read(const struct op_train_set *set, const struct model *model, uint32_t row,
                       uint32_t count, float *inputs, struct mlq_err *err)
{
    if (set->table == NULL) {
        size_t width = model->input_count;
        memcpy(inputs, set->inputs + row * width, count * width * sizeof(float));
        return 0;
    }
    table_walked(set->table, (uint64_t)count * model->feature_count * sizeof(double));
    table_expect(set->table, row, count);
    return preprocess_rows(set->bound, row, count, inputs, err);
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
        rc = preprocess_fit(model, features.columns, features.count, table_rows(table), op_cpus(), err);
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

static uint64_t hash_target(uint64_t hash, const struct op_train_set *set,
                            const struct model *model)
{
    return model->task == MODEL_REGRESSION
               ? mlq_hash_bytes(hash, set->targets, sizeof(float) * set->rows)
               : mlq_hash_bytes(hash, set->labels, sizeof(uint32_t) * set->rows);
}

uint64_t op_train_data_hash_set(uint64_t hash, const struct op_train_set *set,
                                const struct model *model)
{
    hash = mlq_hash_bytes(hash, &set->rows, sizeof(set->rows));
    if (set->rows > 0) {
        hash = mlq_hash_bytes(hash, set->inputs, sizeof(float) * model->input_count * set->rows);
        hash = hash_target(hash, set, model);
    }
    return hash;
}

/* The same of streamed rows, which are checked on the way. */
static int hash_stream(uint64_t *hash, const struct op_train_set *set, const struct model *model,
                       const char *which, struct mlq_err *err)
{
    struct mlq_hasher hasher;
    size_t row_bytes = model->input_count * sizeof(float);
    uint32_t block = (uint32_t)(BLOCK_BYTES / row_bytes);
    block = block < 1 ? 1 : block > set->rows ? set->rows : block;
    float *inputs = mlq_alloc_array((size_t)block * model->input_count, sizeof(float));
    int rc = 0;
    mlq_hasher_begin(&hasher, mlq_hash_bytes(*hash, &set->rows, sizeof(set->rows)));
    for (uint64_t row = 0; row < set->rows && rc == 0; row += block) {
        uint32_t count = set->rows - row < block ? (uint32_t)(set->rows - row) : block;
        rc = op_train_data_read(set, model, (uint32_t)row, count, inputs, err);
        mlq_hasher_add(&hasher, inputs, count * row_bytes);
    }
    *hash = hash_target(mlq_hasher_end(&hasher), set, model);
    mlq_free(inputs);
    return rc == 0 ? 0 : mlq_wrap(err, rc, "the %s table", which);
}

static int hash_set(uint64_t *hash, const struct op_train_set *set, const struct model *model,
                    const char *which, struct mlq_err *err)
{
    if (set->table != NULL) {
        return hash_stream(hash, set, model, which, err);
    }
    *hash = op_train_data_hash_set(*hash, set, model);
    return 0;
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
                              config->range.from,
                              config->range.to,
                              (double)config->range.steps,
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

static int find_fingerprint(const struct op_train_config *config, struct op_train_data *data,
                            struct mlq_err *err)
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
    int rc = hash_set(&hash, &data->train, model, "training", err);
    rc = rc != 0 ? rc : hash_set(&hash, &data->validation, model, "validation", err);
    data->fingerprint = hash;
    return rc;
}

/* ---- Loading ---- */

/* Where the rows are kept. They are larger as inputs than in the table where a category has many
 * values. */
static bool is_streamed(const struct op_train_config *config, const struct model *model,
                        const struct table *train, const struct table *validation)
{
    uint64_t rows = table_rows(train) + (validation == NULL ? 0 : table_rows(validation));
    uint64_t row_bytes = model->input_count * sizeof(float) + ROW_BYTES;
    switch (config->rows) {
    case OP_TRAIN_ROWS_MEMORY:
        return false;
    case OP_TRAIN_ROWS_DISK:
        return true;
    case OP_TRAIN_ROWS_AUTO:
        break;
    }
    uint64_t memory = op_memory_bytes();
    bool fits = rows <= memory / MEMORY_SHARE / row_bytes && rows <= INPUT_BYTES_MAX / row_bytes;
    if (!fits) {
        log_info("train.stream",
                 "rows=%" PRIu64 " mib=%" PRIu64 " memory_mib=%" PRIu64
                 " note=\"too large for memory: read from disk in each epoch\"",
                 rows, (rows * row_bytes) >> 20, memory >> 20);
    }
    return !fits;
}

static int load_set(struct op_context *ctx, struct table **table, const char *which, bool streamed,
                    const struct model *model, struct op_train_set *set, struct mlq_err *err)
{
    return streamed ? stream_set(ctx, table, which, model, set, err)
                    : op_train_data_load_set(ctx, *table, which, model, set, err);
}

static int open_tables(struct op_context *ctx, struct table **train, struct table **validation,
                       struct mlq_err *err)
{
    const char *path = NULL, *validation_path = op_input(ctx, "validation");
    int rc = op_need_input(ctx, "train", &path, err);
    rc = rc != 0 ? rc : table_open(path, train, err);
    if (rc == 0 && validation_path != NULL) {
        rc = table_open(validation_path, validation, err);
    }
    if (*validation != NULL && table_rows(*validation) == 0) {
        table_close(validation);
    }
    return rc;
}

int op_train_data_load(struct op_context *ctx,
                       const struct op_train_config *config,
                       struct op_train_data *data,
                       struct mlq_err *err)
{
    struct table *train = NULL, *validation = NULL;
    bool streamed = false;
    data->model = model_create();
    int rc = open_tables(ctx, &train, &validation, err);
    rc = rc != 0 ? rc : fit(ctx, config, train, data->model, err);
    if (rc == 0) {
        streamed = is_streamed(config, data->model, train, validation);
        rc = load_set(ctx, &train, "training", streamed, data->model, &data->train, err);
    }
    rc = rc != 0 ? rc : op_train_options_weigh(config, data, err);
    if (rc == 0 && validation != NULL) {
        rc = load_set(ctx, &validation, "validation", streamed, data->model, &data->validation,
                      err);
    }
    if (rc == 0 && config->early_stop && data->validation.rows == 0) {
        rc = mlq_fail(err, MLQ_EINVAL,
                      "early_stop needs validation rows: wire the input 'validation' (a "
                      "data.split with validation > 0)");
    }
    rc = rc != 0 ? rc : find_fingerprint(config, data, err);
    table_close(&train);
    table_close(&validation);
    return rc;
}

void op_train_data_fini_set(struct op_train_set *set)
{
    mlq_free(set->inputs);
    if (set->table != NULL) {
        spill_array_destroy(set->labels, set->rows, sizeof(uint32_t));
        spill_array_destroy(set->targets, set->rows, sizeof(float));
    } else {
        mlq_free(set->labels);
        mlq_free(set->targets);
    }
    preprocess_destroy(&set->bound);
    table_close(&set->table);
}

void op_train_data_fini(struct op_train_data *data)
{
    op_train_data_fini_set(&data->train);
    op_train_data_fini_set(&data->validation);
    mlq_free(data->class_weights);
    model_destroy(&data->model);
}
