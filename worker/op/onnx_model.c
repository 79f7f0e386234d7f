/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Names of inner values begin with "mlq/", which no input's name does.
 */
#include "worker/op/onnx_model.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "lib/base/ownership.h"
#include "lib/base/panic.h"
#include "worker/op/onnx_forest.h"
#include "worker/op/onnx_layers.h"

struct builder {
    const struct model *model;
    struct mlq_region *region;
    struct onnx_graph *g;
    enum onnx_type number_type;
    bool one_input;
    const char **blocks; /* values to be joined into the network's inputs */
    size_t block_count;
};

bool onnx_model_one_input(const struct model *model)
{
    for (uint32_t i = 0; i < model->feature_count; i++) {
        if (model->features[i].kind != MODEL_NUMBER) {
            return false;
        }
    }
    return true;
}

enum onnx_type onnx_model_number_type(const struct model *model)
{
    for (uint32_t i = 0; i < model->feature_count; i++) {
        const struct model_feature *f = &model->features[i];
        if (f->kind == MODEL_NUMBER && fabs(f->mean) > f->scale * ONNX_MODEL_FLOAT_RATIO) {
            return ONNX_DOUBLE;
        }
    }
    return ONNX_FLOAT;
}

const char *onnx_model_input_name(const struct model_feature *feature, struct mlq_region *region)
{
    static const char *const taken[] = {"label", "class_index", "probabilities", "prediction"};
    bool reserved =
        strncmp(feature->name, "mlq/", 4) == 0 || strncmp(feature->name, "column:", 7) == 0;
    for (size_t i = 0; i < MLQ_COUNT_OF(taken); i++) {
        reserved = reserved || strcmp(feature->name, taken[i]) == 0;
    }
    return reserved ? mlq_region_format(region, "column:%s", feature->name)
                    : mlq_region_strdup(region, feature->name);
}

static const char *name_of(struct builder *b, const char *kind, uint32_t i)
{
    return mlq_region_format(b->region, "mlq/%s.%" PRIu32, kind, i);
}

static const char *cast(struct builder *b, const char *input, const char *output, int64_t type)
{
    const char *inputs[] = {input, NULL};
    struct onnx_node *made = onnx_graph_node(b->g, "", "Cast", output, inputs);
    onnx_graph_set_int(b->g, made, "to", type);
    return output;
}

/* Of TensorProto.DataType, for Cast's attribute. */
#define CAST_FLOAT  1
#define CAST_DOUBLE 11

static const char *concat(struct builder *b, const char *output, const char **inputs, size_t count)
{
    if (count == 1) {
        return inputs[0];
    }
    inputs[count] = NULL;
    struct onnx_node *made = onnx_graph_node(b->g, "", "Concat", output, inputs);
    onnx_graph_set_int(b->g, made, "axis", 1);
    return output;
}

/* Features first..first+count, all numbers: (isnan(x) ? fill : x) - mean, over scale, in double;
 * for trees as they are. */
static void add_numbers(struct builder *b, uint32_t first, uint32_t count, const char *raw)
{
    if (b->model->features[first].keeps_missing) {
        b->blocks[b->block_count++] = raw;
        return;
    }
    double *fill = mlq_region_array(b->region, count, sizeof(double));
    double *mean = mlq_region_array(b->region, count, sizeof(double));
    double *scale = mlq_region_array(b->region, count, sizeof(double));
    for (uint32_t i = 0; i < count; i++) {
        const struct model_feature *f = &b->model->features[first + i];
        fill[i] = f->fill;
        mean[i] = f->mean;
        scale[i] = f->scale;
    }
    struct onnx_shape shape = {.columns = count};
    const char *fill_name = name_of(b, "fill", first);
    const char *mean_name = name_of(b, "mean", first);
    const char *scale_name = name_of(b, "scale", first);
    onnx_graph_doubles(b->g, fill_name, shape, fill);
    onnx_graph_doubles(b->g, mean_name, shape, mean);
    onnx_graph_doubles(b->g, scale_name, shape, scale);
    const char *wide =
        b->number_type == ONNX_DOUBLE ? raw : cast(b, raw, name_of(b, "raw", first), CAST_DOUBLE);
    const char *missing = onnx_graph_apply(b->g, "IsNaN", name_of(b, "missing", first), wide, NULL);
    const char *filled = name_of(b, "filled", first);
    const char *choice[] = {missing, fill_name, wide, NULL};
    (void)onnx_graph_node(b->g, "", "Where", filled, choice);
    const char *centred = onnx_graph_apply(b->g, "Sub", name_of(b, "centred", first), filled, mean_name);
    const char *scaled = onnx_graph_apply(b->g, "Div", name_of(b, "scaled", first), centred, scale_name);
    b->blocks[b->block_count++] = cast(b, scaled, name_of(b, "numbers", first), CAST_FLOAT);
}

/* A run of number features, each with an input of its own, joined to one block. */
static void add_number_inputs(struct builder *b, uint32_t first, uint32_t count)
{
    const char **names = mlq_region_array(b->region, count + 1, sizeof(char *));
    for (uint32_t i = 0; i < count; i++) {
        names[i] = onnx_model_input_name(&b->model->features[first + i], b->region);
        onnx_graph_input(b->g, names[i], b->number_type, 1);
    }
    add_numbers(b, first, count, concat(b, name_of(b, "joined", first), names, count));
}

/* The rows of the feature's table, and one of zeros for texts that are no value: Gather gives
 * [N, 1, width] of indices [N, 1]. */
static void add_embedded(struct builder *b, uint32_t i, const char *indices)
{
    const struct layer *layer = &b->model->layers[0];
    size_t values = b->model->features[i].value_count, width = layer->width, first = 0;
    static const int64_t axis[] = {1};
    MLQ_ASSERT(layer->kind == LAYER_EMBEDDING);
    for (uint32_t k = 0; k < i; k++) {
        first += layer->spans[k].values;
    }
    float *table = mlq_region_array(b->region, (values + 1) * width, sizeof(float));
    memcpy(table, b->model->parameters + layer->weight_at + first * width,
           values * width * sizeof(float));
    const char *table_name = name_of(b, "table", i), *axis_name = name_of(b, "axis", i);
    onnx_graph_floats(
        b->g, table_name,
        (struct onnx_shape){.rows = (int64_t)values + 1, .columns = (int64_t)width}, table);
    onnx_graph_int64s(b->g, axis_name, (struct onnx_shape){.columns = 1}, axis);
    const char *found =
        onnx_graph_apply(b->g, "Gather", name_of(b, "embedded", i), table_name, indices);
    b->blocks[b->block_count++] =
        onnx_graph_apply(b->g, "Squeeze", name_of(b, "category", i), found, axis_name);
}

/* NaN in all of the category's inputs where its index says that it is missing. */
static const char *keep_missing(struct builder *b, uint32_t i, const char *indices, const char *hot)
{
    static const float nan[] = {NAN};
    int64_t *missing = mlq_region_alloc(b->region, sizeof(*missing));
    *missing = (int64_t)b->model->features[i].value_count + 1;
    const char *missing_name = name_of(b, "missing_index", i), *nan_name = name_of(b, "nan", i);
    onnx_graph_int64s(b->g, missing_name, (struct onnx_shape){.columns = 1}, missing);
    onnx_graph_floats(b->g, nan_name, (struct onnx_shape){.columns = 1}, nan);
    const char *is_missing =
        onnx_graph_apply(b->g, "Equal", name_of(b, "is_missing", i), indices, missing_name);
    const char *kept = name_of(b, "kept", i);
    (void)onnx_graph_node(b->g, "", "Where", kept,
                          (const char *[]){is_missing, nan_name, hot, NULL});
    return kept;
}

/* The index of each text. One that is no value gets the index `count`; a missing one, the empty
 * text, that of the fill value, or count + 1 when it is to stay missing. */
static const char *add_encoder(struct builder *b, uint32_t i)
{
    const struct model_feature *f = &b->model->features[i];
    size_t count = f->value_count;
    const char **keys = mlq_region_array(b->region, count + 1, sizeof(char *));
    int64_t *indices = mlq_region_array(b->region, count + 1, sizeof(int64_t));
    bool has_empty = false;
    for (size_t v = 0; v < count; v++) {
        keys[v] = f->values[v];
        indices[v] = (int64_t)v;
        has_empty = has_empty || f->values[v][0] == '\0';
    }
    keys[count] = "";
    indices[count] = f->keeps_missing ? (int64_t)count + 1 : f->fill_value;
    size_t key_count = has_empty ? count : count + 1;
    const char *input = onnx_model_input_name(f, b->region);
    onnx_graph_input(b->g, input, ONNX_STRING, 1);
    const char *encoded = name_of(b, "index", i);
    struct onnx_node *encoder =
        onnx_graph_node(b->g, "ai.onnx.ml", "LabelEncoder", encoded, (const char *[]){input, NULL});
    onnx_graph_set_texts(b->g, encoder, "keys_strings", keys, key_count);
    onnx_graph_set_ints(b->g, encoder, "values_int64s", indices, key_count);
    onnx_graph_set_int(b->g, encoder, "default_int64", (int64_t)count);
    return encoded;
}

/* One-hot; OneHot (11) maps an index that is out of range to all zeros. */
static void add_category(struct builder *b, uint32_t i)
{
    const struct model_feature *f = &b->model->features[i];
    const char *encoded = add_encoder(b, i);
    size_t count = f->value_count;
    if (f->embedded) {
        add_embedded(b, i, encoded);
        return;
    }
    int64_t *depth = mlq_region_alloc(b->region, sizeof(*depth));
    *depth = (int64_t)count;
    static const float off_on[] = {0.0f, 1.0f};
    static const int64_t axis[] = {1};
    onnx_graph_int64s(b->g, name_of(b, "depth", i), (struct onnx_shape){.columns = 1}, depth);
    onnx_graph_floats(b->g, name_of(b, "off_on", i), (struct onnx_shape){.columns = 2}, off_on);
    onnx_graph_int64s(b->g, name_of(b, "axis", i), (struct onnx_shape){.columns = 1}, axis);
    const char *hot = name_of(b, "hot", i);
    (void)onnx_graph_node(
        b->g, "", "OneHot", hot,
        (const char *[]){encoded, name_of(b, "depth", i), name_of(b, "off_on", i), NULL});
    const char *block =
        onnx_graph_apply(b->g, "Squeeze", name_of(b, "category", i), hot, name_of(b, "axis", i));
    b->blocks[b->block_count++] = f->keeps_missing ? keep_missing(b, i, encoded, block) : block;
}

static const char *add_features(struct builder *b)
{
    const struct model *model = b->model;
    b->blocks = mlq_region_array(b->region, model->feature_count + 1, sizeof(char *));
    if (b->one_input) {
        onnx_graph_input(b->g, "features", b->number_type, model->feature_count);
        add_numbers(b, 0, model->feature_count, "features");
        return b->blocks[0];
    }
    uint32_t i = 0;
    while (i < model->feature_count) {
        uint32_t end = i;
        while (end < model->feature_count && model->features[end].kind == MODEL_NUMBER) {
            end++;
        }
        if (end > i) {
            add_number_inputs(b, i, end - i);
            i = end;
        } else {
            add_category(b, i++);
        }
    }
    return concat(b, "mlq/inputs", b->blocks, b->block_count);
}

/* One logit z: [sigmoid(-z), sigmoid(z)]. */
static void add_sigmoid(struct builder *b, const char *logit)
{
    const char *opposite = onnx_graph_apply(b->g, "Neg", "mlq/opposite", logit, NULL);
    const char *both[3] = {opposite, logit, NULL};
    const char *logits = concat(b, "mlq/logits", both, 2);
    (void)onnx_graph_apply(b->g, "Sigmoid", "probabilities", logits, NULL);
}

static void add_classes(struct builder *b, const char *logits)
{
    const struct model *model = b->model;
    if (model->link == MODEL_SIGMOID) {
        add_sigmoid(b, logits);
    } else {
        const char *inputs[] = {logits, NULL};
        struct onnx_node *softmax = onnx_graph_node(b->g, "", "Softmax", "probabilities", inputs);
        onnx_graph_set_int(b->g, softmax, "axis", 1);
    }
    struct onnx_node *best =
        onnx_graph_node(b->g, "", "ArgMax", "class_index", (const char *[]){"probabilities", NULL});
    onnx_graph_set_int(b->g, best, "axis", 1);
    onnx_graph_set_int(b->g, best, "keepdims", 0);
    int64_t *indices = mlq_region_array(b->region, model->class_count, sizeof(int64_t));
    for (uint32_t i = 0; i < model->class_count; i++) {
        indices[i] = i;
    }
    struct onnx_node *label = onnx_graph_node(b->g, "ai.onnx.ml", "LabelEncoder", "label",
                                              (const char *[]){"class_index", NULL});
    onnx_graph_set_ints(b->g, label, "keys_int64s", indices, model->class_count);
    onnx_graph_set_texts(b->g, label, "values_strings", (const char *const *)model->classes,
                         model->class_count);
    onnx_graph_output(b->g, "label", ONNX_STRING, 0);
    onnx_graph_output(b->g, "class_index", ONNX_INT64, 0);
    onnx_graph_output(b->g, "probabilities", ONNX_FLOAT, model->class_count);
}

static void add_regression(struct builder *b, const char *z)
{
    double *numbers = mlq_region_array(b->region, 2, sizeof(double));
    numbers[0] = b->model->target_scale;
    numbers[1] = b->model->target_mean;
    onnx_graph_doubles(b->g, "mlq/target_scale", (struct onnx_shape){.columns = 1}, &numbers[0]);
    onnx_graph_doubles(b->g, "mlq/target_mean", (struct onnx_shape){.columns = 1}, &numbers[1]);
    const char *wide = cast(b, z, "mlq/z", CAST_DOUBLE);
    const char *scaled = onnx_graph_apply(b->g, "Mul", "mlq/z_scaled", wide, "mlq/target_scale");
    const char *moved = onnx_graph_apply(b->g, "Add", "mlq/z_moved", scaled, "mlq/target_mean");
    (void)cast(b, moved, "prediction", CAST_FLOAT);
    onnx_graph_output(b->g, "prediction", ONNX_FLOAT, 1);
}

static void add_json(struct builder *b, const char *key, json_t *value)
{
    char *text = NULL;
    size_t len = json_dumpb(value, NULL, 0, JSON_COMPACT);
    text = mlq_region_alloc(b->region, len + 1);
    (void)json_dumpb(value, text, len, JSON_COMPACT);
    onnx_graph_metadata(b->g, key, text);
    json_decref(value);
}

/* What a program that loads the file needs to know, as metadata_props: names in the order of the
 * matrix's columns and of the probabilities. */
static void add_metadata(struct builder *b)
{
    const struct model *model = b->model;
    json_t *features = json_array();
    for (uint32_t i = 0; i < model->feature_count; i++) {
        (void)json_array_append_new(features, json_string(model->features[i].name));
    }
    json_t *classes = json_array();
    for (uint32_t i = 0; i < model->class_count; i++) {
        (void)json_array_append_new(classes, json_string(model->classes[i]));
    }
    onnx_graph_metadata(b->g, "mlq.task", model_task_text(model->task));
    onnx_graph_metadata(b->g, "mlq.target", model->target);
    add_json(b, "mlq.features", features);
    add_json(b, "mlq.classes", classes);
}

struct onnx_graph *onnx_model_build(const struct model *model, struct mlq_region *region)
{
    struct builder b = {.model = model, .region = region};
    b.g = onnx_graph_create(region, "mlq");
    b.number_type = onnx_model_number_type(model);
    b.one_input = onnx_model_one_input(model);
    const char *inputs = add_features(&b);
    const char *outputs = model->forest != NULL
                              ? onnx_forest_add(b.g, model->forest, inputs, region)
                              : onnx_layers_add(b.g, model, inputs, region);
    if (model->task == MODEL_REGRESSION) {
        add_regression(&b, outputs);
    } else {
        add_classes(&b, outputs);
    }
    add_metadata(&b);
    return b.g;
}
