/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/layer_depthwise.h"

#include <string.h>

#include "worker/ml/layer_dense.h"
#include "worker/ml/patches.h"
#include "worker/ml/wide.h"

static uint32_t window_size(const struct layer *layer)
{
    return layer->kernel_height * layer->kernel_width;
}

static int shape(struct layer *layer, struct mlq_err *err)
{
    int rc = patches_shape(layer, err);
    layer->weight_count = (uint64_t)window_size(layer) * layer->in.channels;
    layer->bias_count = layer->no_bias ? 0 : layer->in.channels;
    return rc;
}

/* One place of the output under one place of the kernel. */
struct tap {
    size_t in_at;
    size_t out_at;
    size_t weight_at;
};

/* Calls `apply` for each tap that lies in the image, in one order, output by output. */
static void each_tap(const struct layer_pass *pass,
                     void (*apply)(const struct layer_pass *pass, const struct tap *tap))
{
    const struct layer *layer = pass->layer;
    size_t channels = layer->in.channels;
    uint32_t lines = pass->rows * layer->out.height;
    for (uint32_t line = 0; line < lines; line++) {
        size_t image = line / layer->out.height;
        for (uint32_t x = 0; x < layer->out.width; x++) {
            struct tap tap = {.out_at = ((size_t)line * layer->out.width + x) * channels};
            for (uint32_t k = 0; k < window_size(layer); k++) {
                uint32_t iy = line % layer->out.height * layer->stride + k / layer->kernel_width;
                uint32_t ix = x * layer->stride + k % layer->kernel_width;
                if (iy < layer->padding || iy >= layer->in.height + layer->padding ||
                    ix < layer->padding || ix >= layer->in.width + layer->padding) {
                    continue;
                }
                size_t y = image * layer->in.height + iy - layer->padding;
                tap.in_at = (y * layer->in.width + ix - layer->padding) * channels;
                tap.weight_at = k * channels;
                apply(pass, &tap);
            }
        }
    }
}

ML_WIDE
static void
multiply_add(size_t count, const float *restrict a, const float *restrict b, float *restrict sum)
{
    for (size_t i = 0; i < count; i++) {
        sum[i] += a[i] * b[i];
    }
}

static void apply_forward(const struct layer_pass *pass, const struct tap *tap)
{
    const float *weight = pass->arena + pass->layer->weight_at;
    multiply_add(pass->layer->in.channels, pass->in + tap->in_at, weight + tap->weight_at,
                 pass->out + tap->out_at);
}

static void apply_weight(const struct layer_pass *pass, const struct tap *tap)
{
    float *weight = pass->gradient + pass->layer->weight_at;
    multiply_add(pass->layer->in.channels, pass->in + tap->in_at, pass->out_gradient + tap->out_at,
                 weight + tap->weight_at);
}

static void apply_input(const struct layer_pass *pass, const struct tap *tap)
{
    const float *weight = pass->arena + pass->layer->weight_at;
    multiply_add(pass->layer->in.channels, weight + tap->weight_at,
                 pass->out_gradient + tap->out_at, pass->in_gradient + tap->in_at);
}

static void forward(const struct layer_pass *pass)
{
    const struct layer *layer = pass->layer;
    size_t count = pass->rows * layer_shape_count(layer->out);
    memset(pass->out, 0, count * sizeof(float));
    each_tap(pass, apply_forward);
    if (layer->bias_count > 0) {
        layer_dense_add_bias(count / layer->out.channels, layer->out.channels,
                             pass->arena + layer->bias_at, pass->out);
    }
}

static void backward(const struct layer_pass *pass)
{
    const struct layer *layer = pass->layer;
    size_t count = pass->rows * layer_shape_count(layer->out);
    memset(pass->gradient + layer->weight_at, 0, layer->weight_count * sizeof(float));
    each_tap(pass, apply_weight);
    if (layer->bias_count > 0) {
        layer_dense_sum_rows(count / layer->out.channels, layer->out.channels, pass->out_gradient,
                             pass->gradient + layer->bias_at);
    }
    if (pass->in_gradient != NULL) {
        memset(pass->in_gradient, 0, pass->rows * layer_shape_count(layer->in) * sizeof(float));
        each_tap(pass, apply_input);
    }
}

const struct layer_ops layer_depthwise_ops = {
    .name = "depthwise",
    .shape = shape,
    .fan_in = window_size,
    .forward = forward,
    .backward = backward,
};
