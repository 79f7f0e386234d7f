/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A trained model: preprocessing, dense layers and what the outputs mean, in one value and one
 * file. train.native writes it; eval.metrics, package.onnx and later serving read it. It holds
 * everything that is needed to go from a raw table row to a prediction, so that training and
 * serving cannot disagree on the preprocessing.
 *
 * From a row to a prediction:
 *   1. features[i] in order fill inputs [offset, offset + width) of the network:
 *        number    x missing (NaN) -> fill; then (x - mean) / scale in double, cast to float
 *        category  missing -> values[fill_value]; then one-hot over `values`; a value that is not in
 *                  `values` gives all zeros
 *   2. layers in order: y = activation(x * transpose(weight) + bias), float
 *   3. outputs: regression    1 output z;  prediction = z * target_scale + target_mean
 *               binary        2 outputs;   probabilities = softmax(outputs) over `classes`
 *               multiclass    class_count outputs; likewise
 *      classes[1] is the positive class of a binary model unless the user says otherwise.
 *
 * The file, model.safetensors: tensors "layers.K.weight" F32 [outputs, inputs] and "layers.K.bias"
 * F32 [outputs] for K = 0, 1, ...; metadata "mlq.model", a JSON object:
 *   {"format": "mlq.model/1", "task": "regression" | "binary" | "multiclass", "target": NAME,
 *    "features": [{"name": N, "kind": "number", "fill": F, "mean": M, "scale": S},
 *                 {"name": N, "kind": "category", "values": [V, ...], "fill": V}, ...],
 *    "classes": [NAME, ...],                            (absent for regression)
 *    "target_mean": M, "target_scale": S,               (regression only)
 *    "layers": [{"inputs": I, "outputs": O, "activation": "identity" | "relu"}, ...]}
 * Numbers are written with 17 significant digits, so that a save and a load give the same bits.
 */
#ifndef MLQ_ML_MODEL_H
#define MLQ_ML_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"

#define MODEL_LAYERS_MAX     16u
#define MODEL_FEATURES_MAX   65536u
#define MODEL_VALUES_MAX     65536u /* of one category */
#define MODEL_CLASSES_MAX    65536u
#define MODEL_INPUTS_MAX     (1u << 20)
#define MODEL_UNITS_MAX      65536u       /* outputs of one layer */
#define MODEL_PARAMETERS_MAX (1ull << 30) /* 4 GiB of floats */
#define MODEL_JSON_BYTES_MAX (64u << 20)

/* The metadata key of the description. */
#define MODEL_METADATA_KEY "mlq.model"

enum model_task { MODEL_REGRESSION, MODEL_BINARY, MODEL_MULTICLASS };
enum model_feature_kind { MODEL_NUMBER, MODEL_CATEGORY };
enum model_activation { MODEL_IDENTITY, MODEL_RELU };

struct model_feature {
    char *name;
    enum model_feature_kind kind;
    uint32_t offset; /* its first input of the network */
    uint32_t width;  /* 1, or value_count */

    double fill; /* MODEL_NUMBER */
    double mean;
    double scale; /* > 0 */

    uint32_t value_count; /* MODEL_CATEGORY, >= 1 */
    uint32_t fill_value;  /* index into values */
    char **values;
};

struct model_layer {
    uint32_t inputs;
    uint32_t outputs;
    enum model_activation activation;
    uint64_t weight_at; /* float [outputs][inputs] at parameters + weight_at */
    uint64_t bias_at;   /* float [outputs] */
};

struct model {
    enum model_task task;
    char *target;

    uint32_t feature_count;
    struct model_feature *features;
    uint32_t input_count; /* of the network: the sum of the features' widths */

    uint32_t class_count; /* 0 for regression, 2 for binary */
    char **classes;
    double target_mean; /* regression */
    double target_scale;

    uint32_t layer_count;
    struct model_layer layers[MODEL_LAYERS_MAX];
    uint64_t parameter_count;
    float *parameters; /* one arena: weight and bias of layer 0, of layer 1, ... */
};

const char *model_task_text(enum model_task task);             /* as in the file */
const char *model_activation_text(enum model_activation kind); /* as in the file */
uint32_t model_output_count(const struct model *model);        /* of the last layer */

/* Lays `layer_count` dense layers over a fresh, zeroed arena: `hidden` widths with ReLU, then the
 * outputs. The model's features and task must be set. Refuses what is over the limits. */
int model_lay_out(struct model *model,
                  const uint32_t *hidden,
                  uint32_t hidden_count,
                  struct mlq_err *err);

/* Zeroed; fill in and lay out. */
MLQ_OWNED_RETURN struct model *model_create(void);
void model_destroy(struct model **model); /* takes NULL, frees, nulls */

/* Durable: see safetensors_save. The same model gives the same bytes. */
int model_save(const struct model *model, const char *path, struct mlq_err *err);

/* Checks everything: a file that loads is safe to run. MLQ_ECORRUPT for a damaged file, MLQ_EINVAL
 * for a safetensors file that is not an mlq model. */
int model_load(const char *path, MLQ_OWNED_RETURN struct model **model, struct mlq_err *err);

#endif
