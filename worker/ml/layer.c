/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/layer.h"

#include "worker/ml/layer_dense.h"

const struct layer_ops *layer_ops(enum layer_kind kind)
{
    static const struct layer_ops *const all[] = {
        [LAYER_DENSE] = &layer_dense_ops,
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
    switch (layer->kind) {
    case LAYER_DENSE:
        return true;
    }
    return true;
}

uint32_t layer_tensors(const struct layer *layer, struct layer_tensor tensors[LAYER_TENSORS_MAX])
{
    uint32_t count = 0;
    if (layer->weight_count > 0) {
        struct layer_tensor *weight = &tensors[count++];
        *weight = (struct layer_tensor){
            .part = "weight", .at = layer->weight_at, .count = layer->weight_count};
        switch (layer->kind) {
        case LAYER_DENSE:
            weight->rank = 2;
            weight->shape[0] = layer->out.channels;
            weight->shape[1] = layer_shape_count(layer->in);
            break;
        }
    }
    if (layer->bias_count > 0) {
        tensors[count++] = (struct layer_tensor){.part = "bias",
                                                 .rank = 1,
                                                 .shape = {layer->bias_count},
                                                 .at = layer->bias_at,
                                                 .count = layer->bias_count};
    }
    return count;
}
