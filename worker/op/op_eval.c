/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * eval.metrics: judges a model on a table. Outputs:
 *
 * metrics.json             numbers at the top level, under their plain names (worker/ml/metrics.h,
 *                          and "rows"); details below names whose values are no numbers: "task",
 *                          "per_class", "confusion": {"labels", "matrix": [true][predicted]},
 *                          "roc", "calibration"
 * predictions.safetensors  per row of the table "row" I64 (of the source), and for classes "true"
 *                          and "predicted" I32 (indices into the metadata's "classes") and
 *                          "probabilities" F64 [rows, classes]; for numbers "true" and
 *                          "predicted" F64
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "lib/artifact/safetensors.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "worker/ml/gemm.h"
#include "worker/ml/loss.h"
#include "worker/ml/metrics.h"
#include "worker/ml/net.h"
#include "worker/ml/preprocess.h"
#include "worker/op/op_columns.h"
#include "worker/op/op_table.h"

#define CHUNK_ROWS            256u
#define CONFUSION_CLASSES_MAX 500u /* a larger matrix is left out of the JSON */

struct eval {
    struct op_context *ctx;
    struct model *model;
    struct table *table;
    uint64_t rows;
    double threshold;
    uint32_t positive;
    uint32_t *labels;      /* classes */
    uint32_t *predicted;   /* classes */
    double *probabilities; /* classes: [rows][class_count] */
    const double *targets; /* numbers; the table's */
    double *values;        /* numbers: predicted */
};

/* ---- Predicting ---- */

/* Two classes: the positive one from the threshold on; else the most probable, the first of
 * equals. */
static uint32_t choose(const struct eval *eval, const double *p)
{
    if (eval->model->task == MODEL_BINARY) {
        return p[eval->positive] >= eval->threshold ? eval->positive : 1 - eval->positive;
    }
    uint32_t best = 0;
    for (uint32_t k = 1; k < eval->model->class_count; k++) {
        best = p[k] > p[best] ? k : best;
    }
    return best;
}

static void take_chunk(struct eval *eval, const float *outputs, uint64_t begin, uint32_t rows)
{
    const struct model *model = eval->model;
    if (model->task == MODEL_REGRESSION) {
        for (uint32_t i = 0; i < rows; i++) {
            eval->values[begin + i] = (double)outputs[i] * model->target_scale + model->target_mean;
        }
        return;
    }
    struct loss_shape shape = {.rows = rows, .rows_padded = rows, .outputs = model->class_count};
    double *probabilities = eval->probabilities + begin * model->class_count;
    if (model->link == MODEL_SIGMOID) {
        loss_probabilities_sigmoid(rows, outputs, probabilities);
    } else {
        loss_probabilities(shape, outputs, probabilities);
    }
    for (uint32_t i = 0; i < rows; i++) {
        eval->predicted[begin + i] = choose(eval, probabilities + (size_t)i * model->class_count);
    }
}

static int check_finite(const struct eval *eval,
                        const float *outputs,
                        uint64_t begin,
                        uint32_t rows,
                        struct mlq_err *err)
{
    uint32_t width = model_output_count(eval->model);
    for (size_t i = 0; i < (size_t)rows * width; i++) {
        if (!isfinite(outputs[i])) {
            return mlq_fail(err, MLQ_EINVAL,
                            "row %" PRIu64 ": the model's output is not a finite number; the "
                            "row is far from anything it was trained on",
                            begin + i / width);
        }
    }
    return 0;
}

/* CHUNK_ROWS rows on their way through layers or trees. */
struct chunk {
    struct net *net; /* NULL: trees */
    float *inputs;   /* the net's, or owned */
    float *outputs;  /* of trees; owned */
};

static void chunk_init(struct chunk *chunk, const struct model *model)
{
    *chunk = (struct chunk){.net = NULL};
    if (model->forest == NULL) {
        chunk->net = net_create(model, CHUNK_ROWS, false);
        chunk->inputs = net_inputs(chunk->net);
        return;
    }
    chunk->inputs = mlq_alloc_array((size_t)CHUNK_ROWS * model->input_count, sizeof(float));
    chunk->outputs = mlq_alloc_array((size_t)CHUNK_ROWS * model->forest->outputs, sizeof(float));
}

static void chunk_fini(struct chunk *chunk)
{
    if (chunk->net == NULL) {
        mlq_free(chunk->inputs);
        mlq_free(chunk->outputs);
    }
    net_destroy(&chunk->net);
}

static const float *chunk_forward(struct chunk *chunk, const struct model *model, uint32_t rows)
{
    if (chunk->net != NULL) {
        return net_forward(chunk->net, rows);
    }
    forest_forward(model->forest, chunk->inputs, model->input_count, rows, chunk->outputs);
    return chunk->outputs;
}

static int predict(struct eval *eval, struct mlq_err *err)
{
    struct op_columns columns;
    struct preprocess *bound = NULL;
    op_columns_list(eval->table, false, op_region(eval->ctx), &columns);
    int rc = preprocess_bind(eval->model, columns.columns, columns.count, &bound, err);
    if (rc != 0) {
        return rc;
    }
    struct chunk chunk;
    chunk_init(&chunk, eval->model);
    for (uint64_t begin = 0; begin < eval->rows && rc == 0; begin += CHUNK_ROWS) {
        uint64_t left = eval->rows - begin;
        uint32_t rows = left < CHUNK_ROWS ? (uint32_t)left : CHUNK_ROWS;
        memset(chunk.inputs, 0, sizeof(float) * CHUNK_ROWS * eval->model->input_count);
        table_expect(eval->table, begin, rows);
        rc = preprocess_rows(bound, begin, rows, chunk.inputs, err);
        if (rc == 0) {
            const float *outputs = chunk_forward(&chunk, eval->model, rows);
            rc = check_finite(eval, outputs, begin, rows, err);
            if (rc == 0) {
                take_chunk(eval, outputs, begin, rows);
            }
        }
        table_walked(eval->table, (uint64_t)rows * eval->model->feature_count * sizeof(double));
        op_progress(eval->ctx, (double)(begin + rows) / (double)eval->rows, "rows");
        if (rc == 0 && op_should_stop(eval->ctx)) {
            rc = OP_STOPPED;
        }
    }
    chunk_fini(&chunk);
    preprocess_destroy(&bound);
    return rc;
}

/* ---- Reporting ---- */

/* Into the record and at the top level of metrics.json; what is undefined is left out of both. */
static void put(struct eval *eval, json_t *json, const char *name, double value)
{
    if (isfinite(value)) {
        op_metric(eval->ctx, name, value, OP_NO_STEP);
        json_object_set_new(json, name, json_real(value));
    }
}

static void put_scalars(struct eval *eval, json_t *json, const struct metrics_classification *m)
{
    put(eval, json, "accuracy", m->accuracy);
    put(eval, json, "balanced_accuracy", m->balanced_accuracy);
    put(eval, json, "precision_macro", m->precision_macro);
    put(eval, json, "recall_macro", m->recall_macro);
    put(eval, json, "f1_macro", m->f1_macro);
    put(eval, json, "precision_weighted", m->precision_weighted);
    put(eval, json, "recall_weighted", m->recall_weighted);
    put(eval, json, "f1_weighted", m->f1_weighted);
    put(eval, json, "f1_micro", m->f1_micro);
    put(eval, json, "log_loss", m->log_loss);
    put(eval, json, "roc_auc", m->roc_auc);
    put(eval, json, "brier", m->brier);
    if (eval->model->task == MODEL_BINARY) {
        put(eval, json, "precision", m->per_class[eval->positive].precision);
        put(eval, json, "recall", m->per_class[eval->positive].recall);
        put(eval, json, "f1", m->per_class[eval->positive].f1);
    }
}

static json_t *classes_to_json(const struct model *model)
{
    json_t *classes = json_array();
    for (uint32_t i = 0; i < model->class_count; i++) {
        json_array_append_new(classes, json_string(model->classes[i]));
    }
    return classes;
}

static json_t *per_class_to_json(const struct model *model, const struct metrics_classification *m)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < model->class_count; i++) {
        const struct metrics_class *class = &m->per_class[i];
        json_array_append_new(list, json_pack("{s:s, s:f, s:f, s:f, s:I, s:I}", "label",
                                              model->classes[i], "precision", class->precision,
                                              "recall", class->recall, "f1", class->f1, "support",
                                              (json_int_t) class->support, "predicted",
                                              (json_int_t) class->predicted));
    }
    return list;
}

static json_t *confusion_to_json(const struct model *model, const struct metrics_classification *m)
{
    json_t *matrix = json_array();
    for (size_t i = 0; i < model->class_count; i++) {
        json_t *row = json_array();
        for (size_t j = 0; j < model->class_count; j++) {
            json_array_append_new(
                row, json_integer((json_int_t)m->confusion[i * model->class_count + j]));
        }
        json_array_append_new(matrix, row);
    }
    return json_pack("{s:o, s:o}", "labels", classes_to_json(model), "matrix", matrix);
}

static void
put_curves(const struct eval *eval, json_t *json, const struct metrics_classification *m)
{
    const char *positive = eval->model->classes[eval->positive];
    if (m->roc_count > 0) {
        json_t *fpr = json_array(), *tpr = json_array();
        for (uint32_t i = 0; i < m->roc_count; i++) {
            json_array_append_new(fpr, json_real(m->roc[i].x));
            json_array_append_new(tpr, json_real(m->roc[i].y));
        }
        json_object_set_new(
            json, "roc",
            json_pack("{s:s, s:o, s:o}", "positive", positive, "fpr", fpr, "tpr", tpr));
    }
    json_t *bins = json_array();
    for (uint32_t i = 0; i < METRICS_BINS; i++) {
        const struct metrics_bin *bin = &m->calibration[i];
        if (bin->count > 0) {
            json_array_append_new(
                bins, json_pack("{s:f, s:f, s:I}", "predicted", bin->mean_predicted, "observed",
                                bin->fraction_positive, "count", (json_int_t)bin->count));
        }
    }
    json_object_set_new(json, "calibration",
                        json_pack("{s:s, s:o}", "positive", positive, "bins", bins));
}

static int judge_classes(struct eval *eval, json_t *json, struct mlq_err *err)
{
    struct metrics_classification *m = NULL;
    struct metrics_rows rows = {
        .rows = eval->rows,
        .class_count = eval->model->class_count,
        .positive = eval->positive,
        .labels = eval->labels,
        .predicted = eval->predicted,
        .probabilities = eval->probabilities,
    };
    int rc = metrics_classify(&rows, &m, err);
    if (rc != 0) {
        return rc;
    }
    put_scalars(eval, json, m);
    json_object_set_new(json, "per_class", per_class_to_json(eval->model, m));
    if (eval->model->class_count <= CONFUSION_CLASSES_MAX) {
        json_object_set_new(json, "confusion", confusion_to_json(eval->model, m));
    }
    if (eval->model->task == MODEL_BINARY) {
        json_object_set_new(json, "positive", json_string(eval->model->classes[eval->positive]));
        put_curves(eval, json, m);
    }
    metrics_destroy(&m);
    return 0;
}

static void judge_numbers(struct eval *eval, json_t *json)
{
    struct metrics_regression m;
    metrics_regress(eval->targets, eval->values, eval->rows, &m);
    put(eval, json, "mse", m.mse);
    put(eval, json, "rmse", m.rmse);
    put(eval, json, "mae", m.mae);
    put(eval, json, "median_ae", m.median_ae);
    put(eval, json, "r2", m.r2);
}

static int write_metrics(struct eval *eval, struct mlq_err *err)
{
    json_t *json = json_object();
    int rc = 0;
    if (eval->model->task == MODEL_REGRESSION) {
        judge_numbers(eval, json);
    } else {
        rc = judge_classes(eval, json, err);
    }
    json_object_set_new(json, "rows", json_integer((json_int_t)eval->rows));
    json_object_set_new(json, "task", json_string(model_task_text(eval->model->task)));
    json_object_set_new(json, "target", json_string(eval->model->target));
    if (rc == 0) {
        rc = op_write_json(eval->ctx, "metrics.json", json, err);
    }
    json_decref(json);
    return rc;
}

static int write_predictions(struct eval *eval, struct mlq_err *err)
{
    const struct model *model = eval->model;
    uint64_t n = eval->rows, k = model->class_count;
    int64_t *source = mlq_alloc_array(n, sizeof(*source));
    for (uint64_t i = 0; i < n; i++) {
        source[i] = table_source_row(eval->table, i);
    }
    /* Class indices fit: there are at most 65536. */
    struct safetensors_tensor classes[] = {
        {.name = "row",
         .dtype = SAFETENSORS_I64,
         .rank = 1,
         .shape = {n},
         .data = source,
         .bytes = 8 * n},
        {.name = "probabilities",
         .dtype = SAFETENSORS_F64,
         .rank = 2,
         .shape = {n, k},
         .data = eval->probabilities,
         .bytes = 8 * n * k},
        {.name = "true",
         .dtype = SAFETENSORS_I32,
         .rank = 1,
         .shape = {n},
         .data = eval->labels,
         .bytes = 4 * n},
        {.name = "predicted",
         .dtype = SAFETENSORS_I32,
         .rank = 1,
         .shape = {n},
         .data = eval->predicted,
         .bytes = 4 * n},
    };
    struct safetensors_tensor numbers[] = {
        {.name = "row",
         .dtype = SAFETENSORS_I64,
         .rank = 1,
         .shape = {n},
         .data = source,
         .bytes = 8 * n},
        {.name = "true",
         .dtype = SAFETENSORS_F64,
         .rank = 1,
         .shape = {n},
         .data = eval->targets,
         .bytes = 8 * n},
        {.name = "predicted",
         .dtype = SAFETENSORS_F64,
         .rank = 1,
         .shape = {n},
         .data = eval->values,
         .bytes = 8 * n},
    };
    bool regression = model->task == MODEL_REGRESSION;
    json_t *list = classes_to_json(model);
    char *text = json_dumps(list, JSON_COMPACT);
    const char *metadata[] = {"task", model_task_text(model->task), "classes", text, NULL};
    const char *path = op_output(eval->ctx, "predictions.safetensors");
    int rc = regression ? safetensors_writer_save(path, numbers, MLQ_COUNT_OF(numbers), metadata, err)
                        : safetensors_writer_save(path, classes, MLQ_COUNT_OF(classes), metadata, err);
    mlq_free(text);
    json_decref(list);
    mlq_free(source);
    return rc;
}

/* ---- Reading ---- */

static int read_positive(struct eval *eval, struct mlq_err *err)
{
    const char *name = NULL;
    eval->positive = 1;
    int rc = op_get_text(eval->ctx, "positive", NULL, &name, err);
    if (rc != 0 || name == NULL) {
        return rc;
    }
    if (eval->model->task != MODEL_BINARY) {
        return mlq_fail(err, MLQ_EINVAL,
                        "positive: '%s' was given, but the model does not have two classes", name);
    }
    for (uint32_t i = 0; i < 2; i++) {
        if (strcmp(name, eval->model->classes[i]) == 0) {
            eval->positive = i;
            return 0;
        }
    }
    return mlq_fail(err, MLQ_EINVAL,
                    "positive: '%s' is not one of the model's classes, '%s' and '%s'", name,
                    eval->model->classes[0], eval->model->classes[1]);
}

static int read_inputs(struct eval *eval, struct mlq_err *err)
{
    const char *model_path = NULL, *data_path = NULL;
    struct op_number_range range = {.fallback = 0.5, .min = 0, .max = 1};
    int rc = op_get_number(eval->ctx, "threshold", range, &eval->threshold, err);
    if (rc == 0) {
        rc = op_need_input(eval->ctx, "model", &model_path, err);
    }
    if (rc == 0) {
        rc = op_need_input(eval->ctx, "data", &data_path, err);
    }
    if (rc == 0) {
        rc = model_load(model_path, &eval->model, err);
    }
    if (rc == 0) {
        rc = table_open(data_path, &eval->table, err);
    }
    if (rc != 0) {
        return rc;
    }
    eval->rows = table_rows(eval->table);
    if (eval->rows == 0) {
        return mlq_fail(err, MLQ_EINVAL, "%s has no rows to judge by", data_path);
    }
    rc = read_positive(eval, err);
    if (rc != 0) {
        return rc;
    }
    if (eval->model->task == MODEL_REGRESSION) {
        eval->values = mlq_alloc_array(eval->rows, sizeof(double));
        return op_columns_targets(eval->table, "data", eval->model, &eval->targets, err);
    }
    eval->labels = mlq_alloc_array(eval->rows, sizeof(uint32_t));
    eval->predicted = mlq_alloc_array(eval->rows, sizeof(uint32_t));
    eval->probabilities = mlq_alloc_array(eval->rows * eval->model->class_count, sizeof(double));
    return op_columns_labels(eval->table, "data", eval->model, eval->labels, err);
}

int op_eval_run(struct op_context *ctx, struct mlq_err *err)
{
    struct eval eval = {.ctx = ctx};
    struct gemm_engine engine;
    gemm_ensure_kernels();
    gemm_start(&engine);
    int rc = read_inputs(&eval, err);
    if (rc == 0) {
        log_info("eval.start", "task=%s rows=%" PRIu64 " blas=\"%s\" core=%s",
                 model_task_text(eval.model->task), eval.rows, engine.library, engine.core);
        rc = predict(&eval, err);
    }
    if (rc == 0) {
        rc = write_predictions(&eval, err);
    }
    if (rc == 0) {
        rc = write_metrics(&eval, err);
    }
    mlq_free(eval.labels);
    mlq_free(eval.predicted);
    mlq_free(eval.probabilities);
    mlq_free(eval.values);
    table_close(&eval.table);
    model_destroy(&eval.model);
    return rc;
}
