/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/layer.h"

#include "worker/ml/layer_add.h"
#include "worker/ml/layer_conv.h"
#include "worker/ml/layer_dense.h"
#include "worker/ml/layer_depthwise.h"
#include "worker/ml/layer_dropout.h"
#include "worker/ml/layer_embedding.h"
#include "worker/ml/layer_norm.h"
#include "worker/ml/layer_pool.h"

const struct layer_ops *layer_ops(enum layer_kind kind)
{
    static const struct layer_ops *const all[LAYER_KINDS] = {
        [LAYER_DENSE] = &layer_dense_ops,
        [LAYER_CONV] = &layer_conv_ops,
        [LAYER_DEPTHWISE] = &layer_depthwise_ops,
        [LAYER_NORM] = &layer_norm_ops,
        [LAYER_MAX_POOL] = &layer_pool_max_ops,
        [LAYER_AVERAGE_POOL] = &layer_pool_average_ops,
        [LAYER_ADD] = &layer_add_ops,
        [LAYER_DROPOUT] = &layer_dropout_ops,
        [LAYER_EMBEDDING] = &layer_embedding_ops,
    };
    return all[kind];
}

const char *layer_activation_text(enum layer_activation activation)
{
    static const char *const texts[LAYER_ACTIVATIONS] = {
        [LAYER_IDENTITY] = "identity",
        [LAYER_RELU] = "relu",
        [LAYER_GELU] = "gelu",
        [LAYER_TANH] = "tanh",
    };
    return texts[activation];
}

size_t layer_shape_count(struct layer_shape shape)
{
    return (size_t)shape.height * shape.width * shape.channels;
}

bool layer_decays(const struct layer *layer)
{
    return layer->kind != LAYER_NORM;
}

static void shape_weight(const struct layer *layer, struct layer_tensor *weight)
{
    switch (layer->kind) {
    case LAYER_DENSE:
        weight->rank = 2;
        weight->shape[0] = layer->out.channels;
        weight->shape[1] = layer_shape_count(layer->in);
        break;
    case LAYER_CONV:
        weight->rank = 4;
        weight->shape[0] = layer->out.channels;
        weight->shape[1] = layer->kernel_height;
        weight->shape[2] = layer->kernel_width;
        weight->shape[3] = layer->in.channels;
        break;
    case LAYER_DEPTHWISE:
        weight->rank = 3;
        weight->shape[0] = layer->kernel_height;
        weight->shape[1] = layer->kernel_width;
        weight->shape[2] = layer->in.channels;
        break;
    case LAYER_EMBEDDING:
        weight->rank = 2;
        weight->shape[0] = layer->weight_count / layer->width;
        weight->shape[1] = layer->width;
        break;
    case LAYER_NORM:
    case LAYER_MAX_POOL:
    case LAYER_AVERAGE_POOL:
    case LAYER_ADD:
    case LAYER_DROPOUT:
        weight->rank = 1;
        weight->shape[0] = layer->weight_count;
        break;
    }
}

static void add_vector(
    struct layer_tensor *tensors, uint32_t *count, const char *part, uint64_t at, uint64_t numbers)
{
    if (numbers > 0) {
        tensors[(*count)++] = (struct layer_tensor){
            .part = part, .rank = 1, .shape = {numbers}, .at = at, .count = numbers};
    }
}

uint32_t layer_tensors(const struct layer *layer, struct layer_tensor tensors[LAYER_TENSORS_MAX])
{
    uint32_t count = 0;
    add_vector(tensors, &count, "weight", layer->weight_at, layer->weight_count);
    if (count > 0) {
        shape_weight(layer, &tensors[0]);
    }
    add_vector(tensors, &count, "bias", layer->bias_at, layer->bias_count);
    uint64_t half = layer->state_count / 2; /* of LAYER_NORM */
    add_vector(tensors, &count, "mean", layer->state_at, half);
    add_vector(tensors, &count, "variance", layer->state_at + half, half);
    return count;
}
