/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/net.h"

#include <math.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/base/prng.h"
#include "lib/sys/mem.h"
#include "worker/ml/gemm.h"

#define TWO_PI 6.283185307179586476925286766559

struct net {
    const struct model *model;
    uint32_t rows;
    float *activations[MODEL_LAYERS_MAX + 1]; /* [0] the inputs, [i + 1] the outputs of layer i */
    float *deltas[2];                         /* d(loss)/d(activation), two in turn */
};

struct net *net_create(const struct model *model, uint32_t rows)
{
    MLQ_ASSERT(rows > 0 && model->layer_count > 0);
    struct net *net = mlq_alloc(sizeof(*net));
    net->model = model;
    net->rows = rows;
    net->activations[0] = mlq_alloc_array((size_t)rows * model->input_count, sizeof(float));
    size_t widest = 1;
    for (uint32_t i = 0; i < model->layer_count; i++) {
        size_t outputs = model->layers[i].outputs;
        net->activations[i + 1] = mlq_alloc_array(rows * outputs, sizeof(float));
        widest = outputs > widest ? outputs : widest;
    }
    for (int i = 0; i < 2; i++) {
        net->deltas[i] = mlq_alloc_array(rows * widest, sizeof(float));
    }
    return net;
}

void net_destroy(struct net **net)
{
    if (*net == NULL) {
        return;
    }
    for (uint32_t i = 0; i <= (*net)->model->layer_count; i++) {
        mlq_free((*net)->activations[i]);
    }
    mlq_free((*net)->deltas[0]);
    mlq_free((*net)->deltas[1]);
    mlq_free(*net);
    *net = NULL;
}

float *net_inputs(struct net *net)
{
    return net->activations[0];
}

static void add_bias_and_activate(const struct model_layer *layer,
                                  const float *restrict bias,
                                  uint32_t rows,
                                  float *restrict out)
{
    size_t outputs = layer->outputs;
    for (size_t row = 0; row < rows; row++) {
        float *y = out + row * outputs;
        for (size_t j = 0; j < outputs; j++) {
            y[j] += bias[j];
        }
        if (layer->activation == MODEL_RELU) {
            for (size_t j = 0; j < outputs; j++) {
                /* A NaN must come through, to be seen in the loss: fmaxf would hide it. */
                y[j] = y[j] < 0.0f ? 0.0f : y[j];
            }
        }
    }
}

float *net_forward(struct net *net)
{
    const struct model *model = net->model;
    for (uint32_t i = 0; i < model->layer_count; i++) {
        const struct model_layer *layer = &model->layers[i];
        struct gemm_size size = {.m = net->rows, .n = layer->outputs, .k = layer->inputs};
        float *out = net->activations[i + 1];
        gemm_nt(size, net->activations[i], model->parameters + layer->weight_at, out);
        add_bias_and_activate(layer, model->parameters + layer->bias_at, net->rows, out);
    }
    return net->activations[model->layer_count];
}

/* Sums over rows, from the first to the last: a fixed order. */
static void
sum_rows(const float *restrict values, size_t rows, size_t columns, float *restrict sums)
{
    memset(sums, 0, columns * sizeof(float));
    for (size_t row = 0; row < rows; row++) {
        for (size_t j = 0; j < columns; j++) {
            sums[j] += values[row * columns + j];
        }
    }
}

/* The gradient of ReLU: nothing passes where the activation is 0. */
static void mask_negative(const float *restrict activation, size_t count, float *restrict delta)
{
    for (size_t j = 0; j < count; j++) {
        float value = delta[j];
        delta[j] = activation[j] > 0.0f ? value : 0.0f;
    }
}

void net_backward(struct net *net, const float *output_gradient, float *gradient)
{
    const struct model *model = net->model;
    const float *delta = output_gradient;
    for (uint32_t i = model->layer_count; i-- > 0;) {
        const struct model_layer *layer = &model->layers[i];
        const float *in = net->activations[i];
        gemm_tn((struct gemm_size){.m = layer->outputs, .n = layer->inputs, .k = net->rows}, delta,
                in, gradient + layer->weight_at);
        sum_rows(delta, net->rows, layer->outputs, gradient + layer->bias_at);
        if (i == 0) {
            break;
        }
        float *below = net->deltas[i % 2];
        gemm_nn((struct gemm_size){.m = net->rows, .n = layer->inputs, .k = layer->outputs}, delta,
                model->parameters + layer->weight_at, below);
        if (model->layers[i - 1].activation == MODEL_RELU) {
            mask_negative(in, (size_t)net->rows * layer->inputs, below);
        }
        delta = below;
    }
}

/* A standard normal number by Box and Muller's transform (1958), keyed by (seed, at). */
static double keyed_normal(uint64_t seed, uint64_t at)
{
    uint64_t first = mlq_hash_keyed(seed, at, 0);
    uint64_t second = mlq_hash_keyed(seed, at, 1);
    double u = ((double)(first >> 11) + 1.0) * 0x1.0p-53; /* in (0, 1] */
    double v = (double)(second >> 11) * 0x1.0p-53;
    return sqrt(-2.0 * log(u)) * cos(TWO_PI * v);
}

void net_init_parameters(struct model *model, uint64_t seed)
{
    for (uint32_t i = 0; i < model->layer_count; i++) {
        const struct model_layer *layer = &model->layers[i];
        double gain = layer->activation == MODEL_RELU ? 2.0 : 1.0;
        double deviation = sqrt(gain / layer->inputs);
        uint64_t weights = (uint64_t)layer->inputs * layer->outputs;
        for (uint64_t j = layer->weight_at; j < layer->weight_at + weights; j++) {
            model->parameters[j] = (float)(deviation * keyed_normal(seed, j));
        }
        memset(model->parameters + layer->bias_at, 0, layer->outputs * sizeof(float));
    }
}

int net_find_not_finite(const struct model *model, const float *values)
{
    for (uint32_t i = 0; i < model->layer_count; i++) {
        const struct model_layer *layer = &model->layers[i];
        uint64_t end = layer->bias_at + layer->outputs;
        for (uint64_t j = layer->weight_at; j < end; j++) {
            if (!isfinite(values[j])) {
                return (int)i;
            }
        }
    }
    return -1;
}
