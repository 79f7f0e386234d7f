/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A trained model: preprocessing, layers or trees, and what the outputs mean, in one value and one
 * file. train.native and train.xgboost write it; eval.metrics, package.onnx and later serving read
 * it. It holds everything that is needed to go from a raw table row to a prediction, so that
 * training and serving cannot disagree on the preprocessing.
 *
 * From a row to a prediction:
 *   1. features[i] in order fill inputs [offset, offset + width) of the network:
 *        number    x missing (NaN) -> fill; then (x - mean) / scale in double, cast to float
 *        category  missing -> values[fill_value]; then one-hot over `values`; a value that is not
 * in `values` gives all zeros
 *                  with the encoding "index": one input, the value's index, or -1
 *      a feature that keeps what is missing: NaN in all its inputs, in place of the fill
 *   2. layers in order, float (layer.h); or a forest (forest.h)
 *   3. outputs: regression    1 output z;  prediction = z * target_scale + target_mean
 *               binary        2 outputs;   probabilities = softmax(outputs) over `classes`; or,
 * with the link "sigmoid", 1 output z: p(classes[1]) = 1 / (1 + e^-z) multiclass    class_count
 * outputs; likewise classes[1] is the positive class of a binary model unless the user says
 * otherwise.
 *
 * The file, model.safetensors: tensors "layers.K.weight" (dense: F32 [outputs, inputs]) and
 * "layers.K.bias" F32 [outputs] for K = 0, 1, ...; metadata "mlq.model", a JSON object:
 *   {"format": "mlq.model/1", "task": "regression" | "binary" | "multiclass", "target": NAME,
 *    "features": [{"name": N, "kind": "number", "fill": F, "mean": M, "scale": S},
 *                 {"name": N, "kind": "category", "values": [V, ...], "fill": V}, ...],
 *                  a category with an embedding has "encoding": "index", too;
 *                  "fill": null keeps what is missing
 *    "classes": [NAME, ...],                            (absent for regression)
 *    "link": "sigmoid",                                 (absent: softmax)
 *    "target_mean": M, "target_scale": S,               (regression only)
 *    "layers": [LAYER, ...]}                            (or "forest", as forest.h says)
 * A LAYER is {"kind": K, "from": V, "activation": A, ...}; absent: a dense layer, the value of the
 * layer before. A is identity, relu, gelu or tanh. By kind:
 *   dense                     "inputs": I, "outputs": O
 *   conv                      "channels": C, and a window: "kernel": [height, width], "stride": S,
 *                             "padding": P, "bias": true | false
 *   depthwise                 a window;  max_pool, average_pool: a window without bias
 *   norm                      (layer_norm.h)
 *   add                       "also": V, the second value
 *   dropout                   "rate": R
 *   embedding                 "width": W
 * Before "layers" stands "image": [height, width, channels] when the inputs are one, channels last.
 * Other tensors: "layers.K.mean" and "layers.K.variance" F32 [channels] of a norm; weights have the
 * shapes that the layers' headers say; layers without bias have none.
 * Numbers are written with 17 significant digits, so that a save and a load give the same bits.
 */
#ifndef MLQ_ML_MODEL_H
#define MLQ_ML_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "worker/ml/forest.h"
#include "worker/ml/layer.h"

#define MODEL_LAYERS_MAX     128u
#define MODEL_FEATURES_MAX   65536u
#define MODEL_VALUES_MAX     65536u /* of one category */
#define MODEL_CLASSES_MAX    65536u
#define MODEL_INPUTS_MAX     (1u << 20)
#define MODEL_PARAMETERS_MAX (1ull << 30) /* 4 GiB of floats */
#define MODEL_JSON_BYTES_MAX (64u << 20)

/* The metadata key of the description. */
#define MODEL_METADATA_KEY "mlq.model"

enum model_task { MODEL_REGRESSION, MODEL_BINARY, MODEL_MULTICLASS };
enum model_link { MODEL_SOFTMAX, MODEL_SIGMOID };
enum model_feature_kind { MODEL_NUMBER, MODEL_CATEGORY };

struct model_feature {
    char *name;
    enum model_feature_kind kind;
    uint32_t offset; /* its first input of the network */
    uint32_t width;  /* 1, or value_count of a one-hot category */
    bool keeps_missing; /* what is missing becomes NaN; there is no fill */

    double fill; /* MODEL_NUMBER */
    double mean;
    double scale; /* > 0 */

    bool embedded;        /* MODEL_CATEGORY: its input is the value's index, not one-hot */
    uint32_t value_count; /* MODEL_CATEGORY, >= 1 */
    uint32_t fill_value;  /* index into values */
    char **values;
};

struct model {
    enum model_task task;
    char *target;

    uint32_t feature_count;
    struct model_feature *features;
    uint32_t input_count; /* of the network: the sum of the features' widths */

    enum model_link link; /* of classes: from outputs to probabilities */
    uint32_t class_count; /* 0 for regression, 2 for binary */
    char **classes;
    double target_mean; /* regression */
    double target_scale;

    struct forest *forest; /* in place of layers; owned */

    struct layer_span *spans; /* of the features, for an embedding; NULL until there is one */
    struct layer_shape image; /* how the inputs are read; zero: as one row of numbers */
    uint32_t layer_count;
    struct layer layers[MODEL_LAYERS_MAX];
    uint64_t parameter_count; /* what the optimizer moves */
    uint64_t arena_count;     /* and the layers' state behind it */
    float *parameters;        /* the arena: layer 0, layer 1, ..., then their state (layer.h) */
};

const char *model_task_text(enum model_task task);      /* as in the file */
uint32_t model_output_count(const struct model *model); /* of the last layer */

/* Adds a layer with its options set: finds its shapes and its place in the arena. Refuses, with
 * MLQ_EINVAL or MLQ_EFULL, the layer's number and the reason, what does not fit. */
int model_append(struct model *model, struct layer layer, struct mlq_err *err);

/* After the last layer: checks that the graph is whole (each value is read, the last layer gives
 * what the task needs) and takes the arena, zeroed. The task and the inputs must be set. */
int model_seal(struct model *model, struct mlq_err *err);

/* Before there are layers: categories with more than `width` values become indices for an embedding
 * of this width. Returns how many. */
uint32_t model_embed_categories(struct model *model, uint32_t width);

/* Zeroed; fill in, append layers (layout.h), and seal. */
MLQ_OWNED_RETURN struct model *model_create(void);
void model_destroy(struct model **model); /* takes NULL, frees, nulls */

/* Durable: see safetensors_writer_save. The same model gives the same bytes. */
int model_save(const struct model *model, const char *path, struct mlq_err *err);

/* Checks everything: a file that loads is safe to run. MLQ_ECORRUPT for a damaged file, MLQ_EINVAL
 * for a safetensors file that is not an mlq model. */
int model_load(const char *path, MLQ_OWNED_RETURN struct model **model, struct mlq_err *err);

#endif
