/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/card.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "lib/base/ownership.h"
#include "worker/op/card_text.h"
#include "worker/op/jget.h"
#include "worker/op/onnx_model.h"

#define ROWS_SHOWN_MAX     200u
#define FEATURES_SHOWN_MAX 64u
#define WEAKEST_MAX        3u
#define FEW_ROWS           30.0 /* of a class: its figures say little */

struct card {
    const struct card_inputs *in;
    const struct model *model;
    struct mlq_region *region;
    const json_t *job;
    const json_t *metrics; /* of the file, or of the record's evaluation */
    const char *metrics_stage;
    const json_t *train; /* the stage that trained the model */
    struct html *h;
};

static const json_t *find_stage(const struct card *card, const char *uses)
{
    const json_t *found = NULL;
    size_t i;
    json_t *stage;
    json_array_foreach(jget_array(card->job, "stages"), i, stage)
    {
        const char *name = jget_text(stage, "uses");
        if (found == NULL && name != NULL && strcmp(name, uses) == 0) {
            found = stage;
        }
    }
    return found;
}

static const char *text_or(const char *text, const char *fallback)
{
    return text != NULL && text[0] != '\0' ? text : fallback;
}

static const char *card_name(const struct card *card)
{
    return text_or(card->in->name, text_or(jget_text(card->job, "name"), "model"));
}

static const char *data_name(const struct card *card)
{
    const char *file = jget_text(card->in->profile, "file");
    return text_or(file, text_or(jget_text(card->job, "name"), "data"));
}

static const char *task_tag(const struct card *card)
{
    return card->model->task == MODEL_REGRESSION ? "tabular-regression" : "tabular-classification";
}

/* ---- Front matter ---- */

static void write_index(const struct card *card)
{
    struct html *h = card->h;
    const char *name;
    json_t *member;
    html_add(h, "model-index:\n- name: ");
    card_text_quoted(h, card_name(card));
    html_add(h, "\n  results:\n  - task:\n      type: ");
    html_add(h, task_tag(card));
    html_add(h, "\n    dataset:\n      type: tabular\n      name: ");
    card_text_quoted(h, data_name(card));
    html_add(h, "\n    metrics:\n");
    json_object_foreach((json_t *)(uintptr_t)card->metrics, name, member)
    {
        double value = 0.0;
        if (!jget_value_number(member, &value) || !isfinite(value) || strcmp(name, "rows") == 0) {
            continue;
        }
        html_add(h, "    - type: ");
        card_text_quoted(h, name);
        html_add(h, "\n      value: ");
        card_text_exact(h, value);
        html_add(h, "\n");
    }
}

static void write_front(const struct card *card)
{
    struct html *h = card->h;
    html_add(h, "---\nlicense: ");
    card_text_quoted(h, text_or(card->in->license, "unknown"));
    html_add(h, "\nlibrary_name: onnx\npipeline_tag: ");
    html_add(h, task_tag(card));
    html_add(h, "\ntags:\n- mlq\n- onnx\n- tabular\n- ");
    html_add(h, task_tag(card));
    html_add(h, "\n");
    if (card->metrics != NULL) {
        html_add(h, card->model->task == MODEL_REGRESSION ? "metrics:\n- r_squared\n- mae\n"
                                                          : "metrics:\n- accuracy\n- f1\n");
        write_index(card);
    }
    html_add(h, "---\n\n");
}

/* ---- What it is ---- */

static void write_layer(struct html *h, const struct layer *layer)
{
    static const char *const names[LAYER_KINDS] = {
        [LAYER_CONV] = "convolution",      [LAYER_DEPTHWISE] = "depthwise convolution",
        [LAYER_MAX_POOL] = "max pool",     [LAYER_AVERAGE_POOL] = "average pool",
        [LAYER_NORM] = "batch norm",       [LAYER_ADD] = "sum with the stage's first"};
    static const char *const activations[LAYER_ACTIVATIONS] = {
        [LAYER_IDENTITY] = "", [LAYER_RELU] = " (ReLU)", [LAYER_GELU] = " (GELU)",
        [LAYER_TANH] = " (tanh)"};
    switch (layer->kind) {
    case LAYER_DENSE:
        html_addf(h, " → %" PRIu32, layer->out.channels);
        break;
    case LAYER_CONV:
    case LAYER_DEPTHWISE:
    case LAYER_MAX_POOL:
    case LAYER_AVERAGE_POOL:
        html_addf(h, " → %s %" PRIu32 "×%" PRIu32 " → %" PRIu32 "×%" PRIu32 "×%" PRIu32,
                  names[layer->kind], layer->kernel_height, layer->kernel_width, layer->out.height,
                  layer->out.width, layer->out.channels);
        break;
    case LAYER_NORM:
    case LAYER_ADD:
        html_addf(h, " → %s", names[layer->kind]);
        break;
    case LAYER_EMBEDDING:
        html_addf(h, " → categories embedded in %" PRIu32 " numbers each", layer->width);
        break;
    case LAYER_DROPOUT:
        html_addf(h, " → dropout %g", layer->rate);
        break;
    }
    html_add(h, activations[layer->activation]);
}

static void write_network(const struct card *card)
{
    const struct model *model = card->model;
    html_addf(card->h, "%" PRIu32 " inputs", model->input_count);
    if (model->forest != NULL) {
        html_addf(card->h,
                  " → %" PRIu32 " boosted trees, at most %" PRIu32 " deep, %" PRIu32
                  " leaves in all",
                  model->forest->tree_count, forest_depth(model->forest),
                  forest_leaf_count(model->forest));
        return;
    }
    if (model->image.channels > 0) {
        html_addf(card->h, " as an image of %" PRIu32 "×%" PRIu32 "×%" PRIu32, model->image.height,
                  model->image.width, model->image.channels);
    }
    for (uint32_t k = 0; k < model->layer_count; k++) {
        write_layer(card->h, &model->layers[k]);
    }
    html_addf(card->h, "; %" PRIu64 " parameters", model->parameter_count);
}

static void write_what(const struct card *card)
{
    struct html *h = card->h;
    const struct model *model = card->model;
    html_add(h, "# ");
    card_text_markdown(h, card_name(card));
    html_add(h, "\n\n");
    if (card->in->description != NULL && card->in->description[0] != '\0') {
        card_text_markdown(h, card->in->description);
        html_add(h, "\n\n");
    }
    html_add(h,
             model->task == MODEL_REGRESSION ? "Predicts the number **" : "Predicts the class **");
    card_text_markdown(h, model->target);
    html_addf(h, "** of a table's row from %" PRIu32 " feature%s", model->feature_count,
              model->feature_count == 1 ? "" : "s");
    if (model->class_count > 0) {
        html_addf(h, "; %" PRIu32 " classes", model->class_count);
    }
    html_add(h, ".\n\n| | |\n|---|---|\n| ");
    html_add(h, model->forest != NULL ? "Trees | " : "Network | ");
    write_network(card);
    html_add(h, " |\n| File | `model.onnx`: ONNX, opset 17, preprocessing inside the graph |\n| "
                "Made by | mlq");
    if (jget_text(card->job, "id") != NULL) {
        html_add(h, ", job ");
        card_text_markdown(h, jget_text(card->job, "id"));
    }
    html_add(h, " |\n| Intended use | NOT PROVIDED |\n| Out of scope | NOT PROVIDED |\n\n");
}

/* ---- How to use it ---- */

static void write_numpy_type(const struct card *card)
{
    html_add(card->h,
             onnx_model_number_type(card->model) == ONNX_DOUBLE ? "np.float64" : "np.float32");
}

/* For the example: a value that the model has seen the like of; trees have kept none. */
static double sample_number(const struct model_feature *feature)
{
    return feature->keeps_missing ? 0.0 : feature->fill;
}

static void write_snippet_matrix(const struct card *card)
{
    const struct model *model = card->model;
    html_addf(
        card->h,
        "# One row per prediction, %" PRIu32
        " columns in the order of `features`; NaN is a missing value.\n"
        "features = json.loads(session.get_modelmeta().custom_metadata_map[\"mlq.features\"])\n"
        "rows = np.full((1, len(features)), np.nan, dtype=",
        model->feature_count);
    write_numpy_type(card);
    html_add(card->h, ")\nrows[0, 0] = ");
    card_text_exact(card->h, sample_number(&card->model->features[0]));
    html_add(card->h, "\ninputs = {\"features\": rows}\n");
}

static void write_snippet_columns(const struct card *card)
{
    struct html *h = card->h;
    html_add(h,
             "# One input per column, shape [N, 1]; NaN or \"\" is a missing value.\ninputs = {\n");
    for (uint32_t i = 0; i < card->model->feature_count; i++) {
        const struct model_feature *f = &card->model->features[i];
        html_add(h, "    ");
        card_text_quoted(h, onnx_model_input_name(f, card->region));
        if (f->kind == MODEL_NUMBER) {
            html_add(h, ": np.array([[");
            card_text_exact(h, sample_number(f));
            html_add(h, "]], dtype=");
            write_numpy_type(card);
            html_add(h, "),\n");
        } else {
            html_add(h, ": np.array([[");
            card_text_quoted(h, f->values[f->fill_value]);
            html_add(h, "]], dtype=object),\n");
        }
    }
    html_add(h, "}\n");
}

static void write_use(const struct card *card)
{
    struct html *h = card->h;
    bool matrix = onnx_model_one_input(card->model);
    html_add(h, "## How to use it\n\n```python\n");
    html_add(h, matrix ? "import json\n\n" : "");
    html_add(
        h,
        "import numpy as np\nimport onnxruntime as ort\n\n"
        "session = ort.InferenceSession(\"model.onnx\", providers=[\"CPUExecutionProvider\"])\n");
    if (matrix) {
        write_snippet_matrix(card);
    } else {
        write_snippet_columns(card);
    }
    if (card->model->task == MODEL_REGRESSION) {
        html_add(h, "(prediction,) = session.run([\"prediction\"], inputs)\nprint(prediction[0, "
                    "0])\n```\n\n");
    } else {
        html_add(h, "label, probabilities = session.run([\"label\", \"probabilities\"], inputs)\n"
                    "print(label[0], probabilities[0])\n```\n\n");
    }
}

/* ---- Data and training ---- */

static void write_features(const struct card *card)
{
    struct html *h = card->h;
    uint32_t count = card->model->feature_count;
    html_add(h, "| Feature | Kind | A missing value becomes |\n|---|---|---|\n");
    for (uint32_t i = 0; i < count && i < FEATURES_SHOWN_MAX; i++) {
        const struct model_feature *f = &card->model->features[i];
        html_add(h, "| ");
        card_text_markdown(h, f->name);
        if (f->kind == MODEL_NUMBER) {
            html_add(h, " | number | ");
        } else {
            html_addf(h, " | category of %" PRIu32 " | ", f->value_count);
        }
        if (f->keeps_missing) {
            html_add(h, "stays missing");
        } else if (f->kind == MODEL_NUMBER) {
            html_addf(h, "%.6g", f->fill);
        } else {
            card_text_markdown(h, f->values[f->fill_value]);
        }
        html_add(h, " |\n");
    }
    if (count > FEATURES_SHOWN_MAX) {
        html_addf(h, "\n%" PRIu32 " more features stand in the model's metadata `mlq.features`.\n",
                  count - FEATURES_SHOWN_MAX);
    }
    html_add(h, "\n");
}

static void write_data(const struct card *card)
{
    struct html *h = card->h;
    const json_t *profile = card->in->profile;
    double rows = 0.0;
    html_add(h, "## Data\n\n");
    if (profile == NULL) {
        html_add(h, "No profile of the data was given to this stage.\n\n");
    } else {
        html_add(h, "| | |\n|---|---|\n| Source | ");
        card_text_markdown(h, text_or(jget_text(profile, "file"), "not recorded"));
        html_add(h, " |\n");
        if (jget_number(profile, "rows", &rows)) {
            html_addf(h, "| Rows | %.0f |\n", rows);
        }
        html_addf(h, "| Columns | %zu |\n", json_array_size(jget_array(profile, "columns")));
        if (jget_number(profile, "missing_fraction", &rows)) {
            html_addf(h, "| Missing cells | %.3g %% |\n", rows * 100.0);
        }
        html_add(h, "\n");
    }
    write_features(card);
}

/* Every leaf of the stage's `with:`, as `optimizer.adamw.lr`. Depth by levels, not by recursion. */
static void write_with(const struct card *card, const json_t *with)
{
    const char *key[3];
    json_t *value[3];
    json_object_foreach((json_t *)(uintptr_t)with, key[0], value[0])
    {
        if (!json_is_object(value[0])) {
            card_text_row(card->h, key[0], NULL, NULL, value[0]);
            continue;
        }
        json_object_foreach(value[0], key[1], value[1])
        {
            if (!json_is_object(value[1])) {
                card_text_row(card->h, key[0], key[1], NULL, value[1]);
                continue;
            }
            json_object_foreach(value[1], key[2], value[2])
            {
                card_text_row(card->h, key[0], key[1], key[2], value[2]);
            }
        }
    }
}

static void write_training(const struct card *card)
{
    struct html *h = card->h;
    html_add(h, "## Training\n\n");
    if (card->train == NULL) {
        html_add(h, "The record of the job was not at hand when this card was written.\n\n");
        return;
    }
    html_add(h, "Stage `");
    card_text_code(h, text_or(jget_text(card->train, "name"), "?"));
    html_add(h, "`, operator `");
    card_text_code(h, text_or(jget_text(card->train, "uses"), "?"));
    html_add(h, "`.\n\n| | |\n|---|---|\n");
    const json_t *with = jget_object(card->train, "with");
    write_with(card, with);
    const char *name;
    json_t *member;
    json_object_foreach(jget_object(card->train, "metrics"), name, member)
    {
        card_text_row(h, name, NULL, NULL, member);
    }
    html_add(h, "\n");
}

/* ---- Evaluation and limits ---- */

static void write_evaluation(const struct card *card)
{
    struct html *h = card->h;
    html_add(h, "## Evaluation\n\n");
    if (card->metrics == NULL) {
        html_add(
            h,
            "No metrics were at hand when this card was written. Make the packaging stage need the "
            "evaluation to have them here.\n\n");
        return;
    }
    html_add(h, "Measured by `eval.metrics`");
    if (card->metrics_stage != NULL) {
        html_add(h, " in stage `");
        card_text_code(h, card->metrics_stage);
        html_add(h, "`");
    }
    html_add(h, ".\n\n| Metric | Value |\n|---|---|\n");
    size_t shown = 0;
    const char *name;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)card->metrics, name, member)
    {
        double value = 0.0;
        if (jget_value_number(member, &value) && shown++ < ROWS_SHOWN_MAX) {
            card_text_row(h, name, NULL, NULL, member);
        }
    }
    html_add(h, "\n");
}

/* The Wilson score interval of a share, 95 %: E. B. Wilson, JASA 22 (1927). */
static void write_interval(const struct card *card)
{
    double share = 0.0;
    double rows = 0.0;
    const double z = 1.959963984540054;
    if (!jget_number(card->metrics, "accuracy", &share) ||
        !jget_number(card->metrics, "rows", &rows) || !(rows >= 1.0) || !(share >= 0.0) ||
        !(share <= 1.0)) {
        return;
    }
    double scale = 1.0 + z * z / rows;
    double centre = (share + z * z / (2.0 * rows)) / scale;
    double half = z * sqrt(share * (1.0 - share) / rows + z * z / (4.0 * rows * rows)) / scale;
    html_addf(card->h,
              "- The accuracy of %.4f comes from %.0f rows: with 95 %% confidence it lies between "
              "%.4f and %.4f.\n",
              share, rows, centre - half, centre + half);
}

static void write_weakest(const struct card *card)
{
    json_t *classes = jget_array(card->metrics, "per_class");
    const json_t *worst[WEAKEST_MAX] = {NULL};
    double scores[WEAKEST_MAX];
    size_t found = 0;
    size_t i;
    json_t *row;
    json_array_foreach(classes, i, row)
    {
        double f1 = 0.0;
        if (!jget_number(row, "f1", &f1) || !isfinite(f1) || f1 >= 1.0) {
            continue;
        }
        size_t at = found < WEAKEST_MAX ? found++ : WEAKEST_MAX;
        while (at > 0 && f1 < scores[at - 1]) {
            if (at < WEAKEST_MAX) {
                worst[at] = worst[at - 1];
                scores[at] = scores[at - 1];
            }
            at--;
        }
        if (at < WEAKEST_MAX) {
            worst[at] = row;
            scores[at] = f1;
        }
    }
    for (i = 0; i < found; i++) {
        double support = 0.0;
        html_add(card->h, i == 0 ? "- Weakest classes by F1: " : ", ");
        card_text_markdown(card->h, text_or(jget_text(worst[i], "label"), "?"));
        html_addf(card->h, " (%.4f", scores[i]);
        if (jget_number(worst[i], "support", &support)) {
            html_addf(card->h, support < FEW_ROWS ? ", only %.0f rows" : ", %.0f rows", support);
        }
        html_add(card->h, ")");
    }
    html_add(card->h, found > 0 ? ".\n" : "");
}

static void write_limits(const struct card *card)
{
    struct html *h = card->h;
    uint32_t categories = 0;
    for (uint32_t i = 0; i < card->model->feature_count; i++) {
        categories += card->model->features[i].kind == MODEL_CATEGORY;
    }
    html_add(h, "## Limitations\n\n");
    write_interval(card);
    write_weakest(card);
    if (card->metrics == NULL) {
        html_add(h, "- Nothing is known here about how well it predicts.\n");
    }
    if (categories > 0) {
        html_add(
            h,
            "- A category that was not in the training rows counts as none of the known ones.\n");
    }
    html_add(h,
             card->model->forest != NULL
                 ? "- A row of missing values still gets a prediction.\n"
                   "- Values outside the range of the training rows count as its ends, without a "
                   "warning.\n"
                 : "- A missing value is replaced by the constant listed under Data, so a row of "
                   "missing values still gets a prediction.\n"
                   "- Values outside the range of the training rows are extrapolated without a "
                   "warning.\n");
    if (card->model->class_count > 0) {
        html_add(h, "- The probabilities were not calibrated after training, and `label` is the "
                    "most probable class.\n");
    }
    html_add(h,
             "- Fairness across groups, robustness and drift were not examined: NOT PROVIDED.\n\n");
}

static void write_lineage(const struct card *card)
{
    struct html *h = card->h;
    size_t shown = 0;
    size_t s;
    json_t *stage;
    json_array_foreach(jget_array(card->job, "stages"), s, stage)
    {
        size_t i;
        json_t *artifact;
        json_array_foreach(jget_array(stage, "artifacts"), i, artifact)
        {
            if (shown >= ROWS_SHOWN_MAX) {
                continue;
            }
            html_add(h, shown++ == 0
                            ? "## Lineage\n\n| Artifact | Stage | Digest |\n|---|---|---|\n| "
                            : "| ");
            card_text_markdown(h, text_or(jget_text(artifact, "name"), "?"));
            html_add(h, " | ");
            card_text_markdown(h, text_or(jget_text(stage, "name"), "?"));
            html_add(h, " | `");
            card_text_code(h, text_or(jget_text(artifact, "digest"), "?"));
            html_add(h, "` |\n");
        }
    }
    html_add(h, shown > 0 ? "\n" : "");
}

bool card_write(const struct card_inputs *inputs, struct mlq_region *region, struct html *out)
{
    struct card card = {.in = inputs, .model = inputs->model, .region = region, .h = out};
    card.job = jget_object(inputs->record, "job");
    card.train =
        find_stage(&card, inputs->model->forest != NULL ? "train.xgboost" : "train.native");
    card.metrics = inputs->metrics;
    if (card.metrics == NULL) {
        const json_t *eval = find_stage(&card, "eval.metrics");
        const json_t *metrics = jget_object(eval, "metrics");
        card.metrics = json_object_size(metrics) > 0 ? metrics : NULL;
        card.metrics_stage = card.metrics != NULL ? jget_text(eval, "name") : NULL;
    }
    write_front(&card);
    write_what(&card);
    write_use(&card);
    write_evaluation(&card);
    write_limits(&card);
    write_data(&card);
    write_training(&card);
    write_lineage(&card);
    return !out->full;
}
