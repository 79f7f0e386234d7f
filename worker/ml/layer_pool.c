/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/layer_pool.h"

#include <string.h>

#include "worker/ml/patches.h"
#include "worker/ml/wide.h"

static int shape(struct layer *layer, struct mlq_err *err)
{
    if (layer->padding != 0) {
        return mlq_fail(err, MLQ_EINVAL, "a padding of %u: pools take none", layer->padding);
    }
    return patches_shape(layer, err);
}

/* The place in the window that was the largest, per number of out. */
static size_t kept_floats(const struct layer *layer, uint32_t rows)
{
    return rows * layer_shape_count(layer->out) * sizeof(uint32_t) / sizeof(float);
}

/* Where the window of output (line, x) begins in `in`; its place k lies in_step() behind. */
static size_t window_at(const struct layer *layer, uint32_t line, uint32_t x)
{
    size_t image = line / layer->out.height, y = line % layer->out.height;
    return ((image * layer->in.height + y * layer->stride) * layer->in.width +
            (size_t)x * layer->stride) *
           layer->in.channels;
}

static size_t in_step(const struct layer *layer, uint32_t k)
{
    return ((size_t)(k / layer->kernel_width) * layer->in.width + k % layer->kernel_width) *
           layer->in.channels;
}

/* A NaN is larger than all, so that it comes through. */
static inline void take_larger(size_t channels,
                        uint32_t k,
                        const float *restrict in,
                        float *restrict out,
                        uint32_t *restrict place)
{
    for (size_t c = 0; c < channels; c++) {
        bool larger = (in[c] > out[c]) | (in[c] != in[c]);
        out[c] = larger ? in[c] : out[c];
        place[c] = larger ? k : place[c];
    }
}

ML_WIDE
static void max_forward(const struct layer_pass *pass)
{
    const struct layer *layer = pass->layer;
    size_t channels = layer->in.channels, at = 0;
    uint32_t *places = (uint32_t *)(void *)pass->kept;
    uint32_t window = layer->kernel_height * layer->kernel_width;
    for (uint32_t line = 0; line < pass->rows * layer->out.height; line++) {
        for (uint32_t x = 0; x < layer->out.width; x++, at += channels) {
            const float *in = pass->in + window_at(layer, line, x);
            memcpy(pass->out + at, in, channels * sizeof(float));
            memset(places + at, 0, channels * sizeof(uint32_t));
            for (uint32_t k = 1; k < window; k++) {
                take_larger(channels, k, in + in_step(layer, k), pass->out + at, places + at);
            }
        }
    }
}

/* To whom the largest came from at place k. Nothing is subtracted, so a zero that is added changes
 * no bit. */
static inline void add_chosen(size_t channels, uint32_t k, const uint32_t *restrict place,
                              const float *restrict from, float *restrict to)
{
    for (size_t c = 0; c < channels; c++) {
        to[c] += place[c] == k ? from[c] : 0.0f;
    }
}

ML_WIDE
static void max_backward(const struct layer_pass *pass)
{
    const struct layer *layer = pass->layer;
    size_t channels = layer->in.channels, at = 0;
    const uint32_t *places = (const uint32_t *)(const void *)pass->kept;
    uint32_t window = layer->kernel_height * layer->kernel_width;
    if (pass->in_gradient == NULL) {
        return;
    }
    memset(pass->in_gradient, 0, pass->rows * layer_shape_count(layer->in) * sizeof(float));
    for (uint32_t line = 0; line < pass->rows * layer->out.height; line++) {
        for (uint32_t x = 0; x < layer->out.width; x++, at += channels) {
            float *in = pass->in_gradient + window_at(layer, line, x);
            for (uint32_t k = 0; k < window; k++) {
                add_chosen(channels, k, places + at, pass->out_gradient + at,
                           in + in_step(layer, k));
            }
        }
    }
}

static inline void add_scaled(size_t count, float scale, const float *restrict from, float *restrict to)
{
    for (size_t i = 0; i < count; i++) {
        to[i] += scale * from[i];
    }
}

ML_WIDE
static void average_forward(const struct layer_pass *pass)
{
    const struct layer *layer = pass->layer;
    size_t channels = layer->in.channels, at = 0;
    uint32_t window = layer->kernel_height * layer->kernel_width;
    memset(pass->out, 0, pass->rows * layer_shape_count(layer->out) * sizeof(float));
    for (uint32_t line = 0; line < pass->rows * layer->out.height; line++) {
        for (uint32_t x = 0; x < layer->out.width; x++, at += channels) {
            const float *in = pass->in + window_at(layer, line, x);
            for (uint32_t k = 0; k < window; k++) {
                add_scaled(channels, 1.0f / (float)window, in + in_step(layer, k), pass->out + at);
            }
        }
    }
}

ML_WIDE
static void average_backward(const struct layer_pass *pass)
{
    const struct layer *layer = pass->layer;
    size_t channels = layer->in.channels, at = 0;
    uint32_t window = layer->kernel_height * layer->kernel_width;
    if (pass->in_gradient == NULL) {
        return;
    }
    memset(pass->in_gradient, 0, pass->rows * layer_shape_count(layer->in) * sizeof(float));
    for (uint32_t line = 0; line < pass->rows * layer->out.height; line++) {
        for (uint32_t x = 0; x < layer->out.width; x++, at += channels) {
            float *in = pass->in_gradient + window_at(layer, line, x);
            for (uint32_t k = 0; k < window; k++) {
                add_scaled(channels, 1.0f / (float)window, pass->out_gradient + at,
                           in + in_step(layer, k));
            }
        }
    }
}

const struct layer_ops layer_pool_max_ops = {
    .name = "max_pool",
    .shape = shape,
    .kept_floats = kept_floats,
    .forward = max_forward,
    .backward = max_backward,
};

const struct layer_ops layer_pool_average_ops = {
    .name = "average_pool",
    .shape = shape,
    .forward = average_forward,
    .backward = average_backward,
};
