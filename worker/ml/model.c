/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The model's memory and its file. Loading trusts nothing: each count, name and number of the
 * description is checked, then each tensor against the description.
 */
#include "worker/ml/model.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/artifact/safetensors.h"
#include "lib/base/panic.h"
#include "lib/sys/mem.h"
#include "worker/ml/layer_json.h"

#define MODEL_FORMAT      "mlq.model/1"
#define TENSOR_NAME_BYTES 32
#define TENSORS_MAX       (LAYER_TENSORS_MAX * MODEL_LAYERS_MAX)

static const char *const task_texts[] = {
    [MODEL_REGRESSION] = "regression",
    [MODEL_BINARY] = "binary",
    [MODEL_MULTICLASS] = "multiclass",
};

const char *model_task_text(enum model_task task)
{
    return task_texts[task];
}

uint32_t model_output_count(const struct model *model)
{
    bool one = model->task == MODEL_REGRESSION || model->link == MODEL_SIGMOID;
    return one ? 1 : model->class_count;
}

struct model *model_create(void)
{
    return mlq_alloc(sizeof(struct model));
}

void model_destroy(struct model **model)
{
    struct model *m = *model;
    if (m == NULL) {
        return;
    }
    for (uint32_t i = 0; i < m->feature_count; i++) {
        for (uint32_t j = 0; j < m->features[i].value_count; j++) {
            mlq_free(m->features[i].values[j]);
        }
        mlq_free(m->features[i].values);
        mlq_free(m->features[i].name);
    }
    for (uint32_t i = 0; i < m->class_count; i++) {
        mlq_free(m->classes[i]);
    }
    forest_destroy(&m->forest);
    mlq_free(m->features);
    mlq_free(m->spans);
    mlq_free(m->classes);
    mlq_free(m->target);
    mlq_free(m->parameters);
    mlq_free(m);
    *model = NULL;
}

/* ---- Layers ---- */

uint32_t model_embed_categories(struct model *model, uint32_t width)
{
    uint32_t embedded = 0;
    MLQ_ASSERT(model->layer_count == 0);
    model->input_count = 0;
    for (uint32_t i = 0; i < model->feature_count; i++) {
        struct model_feature *feature = &model->features[i];
        feature->embedded = feature->kind == MODEL_CATEGORY && feature->value_count > width;
        feature->width = feature->embedded ? 1 : feature->width;
        feature->offset = model->input_count;
        model->input_count += feature->width;
        embedded += feature->embedded;
    }
    return embedded;
}

static const struct layer_span *list_spans(struct model *model)
{
    if (model->spans == NULL) {
        model->spans = mlq_alloc_array(model->feature_count, sizeof(*model->spans));
    }
    for (uint32_t i = 0; i < model->feature_count; i++) {
        const struct model_feature *feature = &model->features[i];
        model->spans[i].inputs = feature->width;
        model->spans[i].values = feature->embedded ? feature->value_count : 0;
    }
    return model->spans;
}

/* The shape of a value that layers may read. */
static struct layer_shape value_shape(const struct model *model, uint32_t value)
{
    if (value > 0) {
        return model->layers[value - 1].out;
    }
    struct layer_shape row = {.height = 1, .width = 1, .channels = model->input_count};
    return model->image.channels > 0 ? model->image : row;
}

static int check_inputs(const struct model *model, struct mlq_err *err)
{
    if (model->input_count == 0 || model->input_count > MODEL_INPUTS_MAX) {
        return mlq_fail(err, MLQ_EINVAL, "the network has %u inputs: expected 1 to %u",
                        model->input_count, MODEL_INPUTS_MAX);
    }
    if (layer_shape_count(value_shape(model, 0)) != model->input_count) {
        return mlq_fail(err, MLQ_EINVAL,
                        "an image of %u x %u x %u has %zu numbers, but a row has %u",
                        model->image.height, model->image.width, model->image.channels,
                        layer_shape_count(model->image), model->input_count);
    }
    return 0;
}

int model_append(struct model *model, struct layer layer, struct mlq_err *err)
{
    uint32_t index = model->layer_count;
    MLQ_ASSERT(model->parameters == NULL && layer.from <= index && layer.also <= index);
    if (index == MODEL_LAYERS_MAX) {
        return mlq_fail(err, MLQ_EINVAL, "the model has more than %u layers", MODEL_LAYERS_MAX);
    }
    int rc = index == 0 ? check_inputs(model, err) : 0;
    if (rc != 0) {
        return rc;
    }
    const char *name = layer_ops(layer.kind)->name;
    if (layer.kind == LAYER_EMBEDDING) {
        layer.spans = list_spans(model);
        layer.span_count = model->feature_count;
    }
    layer.in = value_shape(model, layer.from);
    layer.also_in = value_shape(model, layer.also);
    rc = layer_ops(layer.kind)->shape(&layer, err);
    if (rc != 0) {
        return mlq_wrap(err, rc, "layer %u (%s)", index, name);
    }
    if (layer_shape_count(layer.out) > LAYER_VALUES_MAX) {
        return mlq_fail(err, MLQ_EFULL, "layer %u (%s) gives %zu numbers for a row: at most %u",
                        index, name, layer_shape_count(layer.out), LAYER_VALUES_MAX);
    }
    uint64_t total = model->parameter_count + layer.weight_count + layer.bias_count;
    if (total > MODEL_PARAMETERS_MAX) {
        return mlq_fail(err, MLQ_EFULL,
                        "the model has %" PRIu64 " parameters with layer %u: at most %llu", total,
                        index, MODEL_PARAMETERS_MAX);
    }
    layer.weight_at = model->parameter_count;
    layer.bias_at = layer.weight_at + layer.weight_count;
    model->layers[model->layer_count++] = layer;
    model->parameter_count = total;
    return 0;
}

int model_seal(struct model *model, struct mlq_err *err)
{
    MLQ_ASSERT(model->parameters == NULL && model->layer_count > 0);
    bool read[MODEL_LAYERS_MAX + 1] = {false};
    struct layer_shape last = model->layers[model->layer_count - 1].out;
    if (last.height * last.width != 1 || last.channels != model_output_count(model)) {
        return mlq_fail(err, MLQ_EINVAL, "the last layer gives %u x %u x %u, not %u outputs",
                        last.height, last.width, last.channels, model_output_count(model));
    }
    model->arena_count = model->parameter_count;
    for (uint32_t i = 0; i < model->layer_count; i++) {
        struct layer *layer = &model->layers[i];
        read[layer->from] = true;
        read[layer->kind == LAYER_ADD ? layer->also : layer->from] = true;
        layer->state_at = model->arena_count;
        model->arena_count += layer->state_count;
    }
    for (uint32_t value = 1; value < model->layer_count; value++) {
        if (!read[value]) {
            return mlq_fail(err, MLQ_EINVAL, "no layer reads what layer %u gives", value - 1);
        }
    }
    model->parameters = mlq_alloc_array(model->arena_count, sizeof(float));
    return 0;
}

/* ---- Saving ---- */

static json_t *texts_to_json(char *const *texts, uint32_t count)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < count; i++) {
        json_array_append_new(array, json_string(texts[i]));
    }
    return array;
}

static json_t *fill_to_json(const struct model_feature *feature)
{
    if (feature->keeps_missing) {
        return json_null();
    }
    return feature->kind == MODEL_NUMBER ? json_real(feature->fill)
                                         : json_string(feature->values[feature->fill_value]);
}

static json_t *feature_to_json(const struct model_feature *feature)
{
    if (feature->kind == MODEL_NUMBER) {
        return json_pack("{s:s, s:s, s:o, s:f, s:f}", "name", feature->name, "kind", "number",
                         "fill", fill_to_json(feature), "mean", feature->mean, "scale",
                         feature->scale);
    }
    json_t *json = json_pack("{s:s, s:s, s:o, s:o}", "name", feature->name, "kind", "category",
                             "values", texts_to_json(feature->values, feature->value_count), "fill",
                             fill_to_json(feature));
    if (feature->embedded) {
        (void)json_object_set_new(json, "encoding", json_string("index"));
    }
    return json;
}

/* NULL when a text is not UTF-8 or a number is not finite. */
static char *describe(const struct model *model)
{
    json_t *features = json_array();
    for (uint32_t i = 0; i < model->feature_count; i++) {
        json_array_append_new(features, feature_to_json(&model->features[i]));
    }
    json_t *layers = json_array();
    for (uint32_t i = 0; i < model->layer_count; i++) {
        json_array_append_new(layers, layer_json_write(&model->layers[i], i));
    }
    bool complete = json_array_size(features) == model->feature_count;
    json_t *root =
        json_pack("{s:s, s:s, s:s, s:o}", "format", MODEL_FORMAT, "task",
                  model_task_text(model->task), "target", model->target, "features", features);
    char *text = NULL;
    if (root != NULL && complete) {
        int failed = 0;
        if (model->task == MODEL_REGRESSION) {
            failed |= json_object_set_new(root, "target_mean", json_real(model->target_mean));
            failed |= json_object_set_new(root, "target_scale", json_real(model->target_scale));
        } else {
            json_t *classes = texts_to_json(model->classes, model->class_count);
            failed |= json_array_size(classes) != model->class_count;
            failed |= json_object_set_new(root, "classes", classes);
            if (model->link == MODEL_SIGMOID) {
                failed |= json_object_set_new(root, "link", json_string("sigmoid"));
            }
        }
        if (model->image.channels > 0) {
            failed |= json_object_set_new(root, "image",
                                          json_pack("[I, I, I]", (json_int_t)model->image.height,
                                                    (json_int_t)model->image.width,
                                                    (json_int_t)model->image.channels));
        }
        failed |= model->forest != NULL
                      ? json_object_set_new(root, "forest", forest_describe(model->forest))
                      : json_object_set(root, "layers", layers);
        text = failed ? NULL : json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(17));
    }
    json_decref(layers);
    json_decref(root);
    return text;
}

static void name_tensor(char name[TENSOR_NAME_BYTES], uint32_t layer, const char *part)
{
    (void)snprintf(name, TENSOR_NAME_BYTES, "layers.%u.%s", layer, part);
}

static struct safetensors_tensor expect_tensor(const char *name, const struct layer_tensor *part)
{
    struct safetensors_tensor tensor = {.name = name,
                                        .dtype = SAFETENSORS_F32,
                                        .rank = part->rank,
                                        .bytes = part->count * sizeof(float)};
    memcpy(tensor.shape, part->shape, sizeof(part->shape));
    return tensor;
}

int model_save(const struct model *model, const char *path, struct mlq_err *err)
{
    char *text = describe(model);
    if (text == NULL) {
        return mlq_fail(err, MLQ_EINVAL, "save %s: a name is not UTF-8 or a number is not finite",
                        path);
    }
    char(*names)[TENSOR_NAME_BYTES] = mlq_alloc_array(TENSORS_MAX, sizeof(*names));
    struct safetensors_tensor *tensors = mlq_alloc_array(TENSORS_MAX, sizeof(*tensors));
    uint32_t count = 0;
    if (model->forest != NULL) {
        forest_tensors(model->forest, tensors);
        count = FOREST_TENSORS;
    }
    for (uint32_t i = 0; i < model->layer_count; i++) {
        struct layer_tensor parts[LAYER_TENSORS_MAX];
        uint32_t part_count = layer_tensors(&model->layers[i], parts);
        for (uint32_t t = 0; t < part_count; t++, count++) {
            name_tensor(names[count], i, parts[t].part);
            tensors[count] = expect_tensor(names[count], &parts[t]);
            tensors[count].data = model->parameters + parts[t].at;
        }
    }
    const char *metadata[] = {MODEL_METADATA_KEY, text, NULL};
    int rc = safetensors_writer_save(path, tensors, count, metadata, err);
    mlq_free(names);
    mlq_free(tensors);
    mlq_free(text);
    return rc;
}

/* ---- Loading ---- */

static int corrupt(struct mlq_err *err, const char *what)
{
    return mlq_fail(err, MLQ_ECORRUPT, "the model's description: %s", what);
}

/* What a user could set right is damage in a file. */
static int corrupted(struct mlq_err *err, int rc)
{
    if (rc == 0 || rc == MLQ_ECORRUPT) {
        return rc;
    }
    struct mlq_err why = err == NULL ? (struct mlq_err)MLQ_ERR_INIT : *err;
    return mlq_fail(err, MLQ_ECORRUPT, "the model's description: %s", why.text);
}

static bool get_number(const json_t *object, const char *key, double *value)
{
    const json_t *number = json_object_get(object, key);
    *value = json_number_value(number);
    return json_is_number(number) && isfinite(*value);
}

/* The index of a JSON text among `texts`, or -1. */
static int find_text(const json_t *text, const char *const *texts, int count)
{
    for (int i = 0; json_is_string(text) && i < count; i++) {
        if (strcmp(json_string_value(text), texts[i]) == 0) {
            return i;
        }
    }
    return -1;
}

/* Counts are stored as texts are, so that model_destroy is right after any failure. */
static bool load_texts(const json_t *array, uint32_t max, char ***texts, uint32_t *count)
{
    size_t size = json_array_size(array);
    if (size == 0 || size > max) {
        return false;
    }
    *texts = mlq_alloc_array(size, sizeof(char *));
    for (size_t i = 0; i < size; i++) {
        const char *text = json_string_value(json_array_get(array, i));
        if (text == NULL) {
            return false;
        }
        (*texts)[i] = mlq_strdup(text);
        *count = (uint32_t)i + 1;
    }
    return true;
}

static int load_feature(struct model_feature *feature, const json_t *json, struct mlq_err *err)
{
    static const char *const kinds[] = {[MODEL_NUMBER] = "number", [MODEL_CATEGORY] = "category"};
    const char *name = json_string_value(json_object_get(json, "name"));
    int kind = find_text(json_object_get(json, "kind"), kinds, 2);
    if (name == NULL || kind < 0) {
        return corrupt(err, "a feature without a name or a known kind");
    }
    feature->name = mlq_strdup(name);
    const json_t *fill = json_object_get(json, "fill");
    feature->kind = (enum model_feature_kind)kind;
    feature->width = 1;
    feature->keeps_missing = json_is_null(fill);
    if (feature->kind == MODEL_NUMBER) {
        if ((!feature->keeps_missing && !get_number(json, "fill", &feature->fill)) ||
            !get_number(json, "mean", &feature->mean) ||
            !get_number(json, "scale", &feature->scale) || feature->scale <= 0) {
            return corrupt(err, "a number feature's fill, mean or scale");
        }
        return 0;
    }
    if (!load_texts(json_object_get(json, "values"), MODEL_VALUES_MAX, &feature->values,
                    &feature->value_count)) {
        return corrupt(err, "a category feature's values");
    }
    int index = feature->keeps_missing ? 0
                                       : find_text(fill, (const char *const *)feature->values,
                                                   (int)feature->value_count);
    if (index < 0) {
        return corrupt(err, "a category feature's fill is not among its values");
    }
    const json_t *encoding = json_object_get(json, "encoding");
    static const char *const encodings[] = {"index"};
    if (encoding != NULL && find_text(encoding, encodings, 1) < 0) {
        return corrupt(err, "a category feature's encoding");
    }
    feature->fill_value = (uint32_t)index;
    feature->embedded = encoding != NULL;
    feature->width = feature->embedded ? 1 : feature->value_count;
    return 0;
}

static int load_features(struct model *model, const json_t *array, struct mlq_err *err)
{
    size_t count = json_array_size(array);
    if (count == 0 || count > MODEL_FEATURES_MAX) {
        return corrupt(err, "features is not a list of 1 to 65536");
    }
    model->features = mlq_alloc_array(count, sizeof(struct model_feature));
    for (size_t i = 0; i < count; i++) {
        struct model_feature *feature = &model->features[i];
        model->feature_count++;
        int rc = load_feature(feature, json_array_get(array, i), err);
        if (rc != 0) {
            return rc;
        }
        feature->offset = model->input_count;
        if (feature->width > MODEL_INPUTS_MAX - model->input_count) {
            return corrupt(err, "too many inputs");
        }
        model->input_count += feature->width;
    }
    return 0;
}

static int load_task(struct model *model, const json_t *root, struct mlq_err *err)
{
    const char *target = json_string_value(json_object_get(root, "target"));
    int task = find_text(json_object_get(root, "task"), task_texts, (int)MLQ_COUNT_OF(task_texts));
    if (target == NULL || task < 0) {
        return corrupt(err, "no target or an unknown task");
    }
    model->target = mlq_strdup(target);
    model->task = (enum model_task)task;
    model->target_scale = 1;
    if (model->task == MODEL_REGRESSION) {
        if (!get_number(root, "target_mean", &model->target_mean) ||
            !get_number(root, "target_scale", &model->target_scale) || model->target_scale <= 0) {
            return corrupt(err, "target_mean or target_scale");
        }
        return 0;
    }
    if (!load_texts(json_object_get(root, "classes"), MODEL_CLASSES_MAX, &model->classes,
                    &model->class_count) ||
        model->class_count < 2 || (model->task == MODEL_BINARY && model->class_count != 2)) {
        return corrupt(err, "classes");
    }
    const json_t *link = json_object_get(root, "link");
    static const char *const links[] = {[MODEL_SOFTMAX] = "softmax", [MODEL_SIGMOID] = "sigmoid"};
    int found = link == NULL ? MODEL_SOFTMAX : find_text(link, links, (int)MLQ_COUNT_OF(links));
    if (found < 0 || (found == MODEL_SIGMOID && model->task != MODEL_BINARY)) {
        return corrupt(err, "link");
    }
    model->link = (enum model_link)found;
    return 0;
}

/* How the inputs are read as an image; absent: they are none. */
static bool load_image(struct model *model, const json_t *json)
{
    uint32_t *const sides[] = {&model->image.height, &model->image.width, &model->image.channels};
    bool valid = json == NULL || json_array_size(json) == 3;
    for (size_t i = 0; json != NULL && i < 3 && valid; i++) {
        json_int_t side = json_integer_value(json_array_get(json, i));
        valid = side >= 1 && side <= (json_int_t)MODEL_INPUTS_MAX;
        *sides[i] = (uint32_t)side;
    }
    return valid;
}

static int load_layers(struct model *model, const json_t *array, struct mlq_err *err)
{
    size_t count = json_array_size(array);
    if (count == 0 || count > MODEL_LAYERS_MAX) {
        return corrupt(err, "layers is not a list of 1 to 128");
    }
    for (uint32_t i = 0; i < count; i++) {
        const json_t *json = json_array_get(array, i);
        struct layer layer;
        int rc = layer_json_read(json, i, &layer, err);
        if (rc == 0) {
            rc = model_append(model, layer, err);
        }
        if (rc == 0 && model->layers[i].kind == LAYER_DENSE &&
            json_integer_value(json_object_get(json, "inputs")) !=
                (json_int_t)layer_shape_count(model->layers[i].in)) {
            rc = corrupt(err, "a dense layer's inputs are not what it reads");
        }
        if (rc != 0) {
            return corrupted(err, rc);
        }
    }
    return corrupted(err, model_seal(model, err));
}

static int load_tensor(const struct safetensors *file,
                       const char *name,
                       const struct safetensors_tensor *expected,
                       float *to,
                       struct mlq_err *err)
{
    const struct safetensors_tensor *tensor = safetensors_find(file, name);
    if (tensor == NULL) {
        return mlq_fail(err, MLQ_ECORRUPT, "tensor %s is missing", name);
    }
    bool same = tensor->dtype == SAFETENSORS_F32 && tensor->rank == expected->rank;
    for (uint32_t i = 0; same && i < expected->rank; i++) {
        same = tensor->shape[i] == expected->shape[i];
    }
    if (!same) {
        return mlq_fail(err, MLQ_ECORRUPT, "tensor %s has another type or shape than its layer",
                        name);
    }
    memcpy(to, tensor->data, tensor->bytes);
    for (uint64_t i = 0; i < tensor->bytes / sizeof(float); i++) {
        if (!isfinite(to[i])) {
            return mlq_fail(err, MLQ_ECORRUPT, "tensor %s holds a NaN or an infinity", name);
        }
    }
    return 0;
}

static int load_parameters(struct model *model, const struct safetensors *file, struct mlq_err *err)
{
    size_t expected = 0;
    for (uint32_t i = 0; i < model->layer_count; i++) {
        struct layer_tensor parts[LAYER_TENSORS_MAX];
        uint32_t count = layer_tensors(&model->layers[i], parts);
        for (uint32_t t = 0; t < count; t++, expected++) {
            char name[TENSOR_NAME_BYTES];
            name_tensor(name, i, parts[t].part);
            struct safetensors_tensor tensor = expect_tensor(name, &parts[t]);
            int rc = load_tensor(file, name, &tensor, model->parameters + parts[t].at, err);
            if (rc != 0) {
                return rc;
            }
        }
    }
    if (safetensors_count(file) != expected) {
        return mlq_fail(err, MLQ_ECORRUPT, "%zu tensors where the layers have %zu",
                        safetensors_count(file), expected);
    }
    return 0;
}

/* A network's values are all finite: it has nothing for what is missing. Trees have no embedding.
 */
static int check_features(const struct model *model, struct mlq_err *err)
{
    bool trees = model->forest != NULL;
    for (uint32_t i = 0; i < model->feature_count; i++) {
        if (model->features[i].keeps_missing != trees || (trees && model->features[i].embedded)) {
            return corrupt(err, "a feature's fill or encoding does not suit its layers or trees");
        }
    }
    return 0;
}

static int load_network(struct model *model, const struct safetensors *file, const json_t *root,
                        struct mlq_err *err)
{
    const json_t *description = json_object_get(root, "forest");
    int rc = 0;
    if (description == NULL) {
        rc = load_layers(model, json_object_get(root, "layers"), err);
        rc = rc != 0 ? rc : load_parameters(model, file, err);
    } else {
        rc = forest_load(file, description, model->input_count, &model->forest, err);
        if (rc == 0 && model->forest->outputs != model_output_count(model)) {
            rc = corrupt(err, "the forest has another number of outputs than its task");
        }
    }
    return rc != 0 ? rc : check_features(model, err);
}

static int load_description(struct model *model, const json_t *root, struct mlq_err *err)
{
    const char *format = json_string_value(json_object_get(root, "format"));
    if (format == NULL || strcmp(format, MODEL_FORMAT) != 0) {
        return mlq_fail(err, MLQ_EINVAL,
                        "the model's format is '%s': this program reads " MODEL_FORMAT,
                        format == NULL ? "" : format);
    }
    int rc = load_task(model, root, err);
    if (rc == 0) {
        rc = load_features(model, json_object_get(root, "features"), err);
    }
    if (rc == 0 && !load_image(model, json_object_get(root, "image"))) {
        rc = corrupt(err, "image is not [height, width, channels]");
    }
    return rc;
}

int model_load(const char *path, struct model **model, struct mlq_err *err)
{
    struct safetensors *file = NULL;
    struct model *loaded = model_create();
    json_t *root = NULL;
    *model = NULL;
    int rc = safetensors_open(path, &file, err);
    if (rc != 0) {
        goto out;
    }
    const char *text = safetensors_metadata(file, MODEL_METADATA_KEY);
    if (text == NULL) {
        rc = mlq_fail(err, MLQ_EINVAL,
                      "%s is not a model of mlq's training operators (no " MODEL_METADATA_KEY
                      " in its metadata)",
                      path);
        goto out;
    }
    size_t len = strlen(text);
    root = len <= MODEL_JSON_BYTES_MAX ? json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL) : NULL;
    rc = json_is_object(root) ? load_description(loaded, root, err)
                              : corrupt(err, "not a JSON object");
    if (rc == 0) {
        rc = load_network(loaded, file, root, err);
    }
    if (rc != 0) {
        (void)mlq_wrap(err, rc, "%s", path);
        goto out;
    }
    *model = loaded;
    loaded = NULL;
out:
    json_decref(root);
    safetensors_close(&file);
    model_destroy(&loaded);
    return rc;
}
