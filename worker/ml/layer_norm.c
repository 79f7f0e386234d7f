/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/layer_norm.h"
#include "worker/ml/wide.h"

#include <math.h>
#include <string.h>

static int shape(struct layer *layer, struct mlq_err *err)
{
    if (layer->in.channels > LAYER_UNITS_MAX) {
        return mlq_fail(err, MLQ_EINVAL, "%u channels: at most %u", layer->in.channels,
                        LAYER_UNITS_MAX);
    }
    layer->out = layer->in;
    layer->weight_count = layer->in.channels;
    layer->bias_count = layer->in.channels;
    layer->state_count = 2 * (uint64_t)layer->in.channels;
    return 0;
}

static void init(const struct layer *layer, float *arena)
{
    for (uint32_t c = 0; c < layer->in.channels; c++) {
        arena[layer->weight_at + c] = 1;
        arena[layer->bias_at + c] = 0;
        arena[layer->state_at + c] = 0;                      /* mean */
        arena[layer->state_at + layer->in.channels + c] = 1; /* variance */
    }
}

/* kept: the shard's mean, variance, and 1 / sqrt(variance + epsilon). */
static size_t kept_floats(const struct layer *layer, uint32_t rows)
{
    (void)rows;
    return 3 * (size_t)layer->in.channels;
}

/* Two sums of doubles. */
static size_t scratch_floats(const struct layer *layer, uint32_t rows)
{
    (void)rows;
    return 2 * (size_t)layer->in.channels * sizeof(double) / sizeof(float);
}

static size_t used_places(const struct layer_pass *pass)
{
    return (size_t)pass->used * pass->layer->in.height * pass->layer->in.width;
}

/* Mean and variance in two passes, in double: no digits are lost to a large mean. */
ML_WIDE
static void measure(const struct layer_pass *pass)
{
    size_t channels = pass->layer->in.channels, places = used_places(pass);
    double *restrict sums = (double *)(void *)pass->scratch;
    float *restrict mean = pass->kept, *restrict variance = mean + channels;
    float *restrict inverse = variance + channels;
    const float *restrict in = pass->in;
    memset(sums, 0, channels * sizeof(double));
    for (size_t i = 0; i < places; i++) {
        for (size_t c = 0; c < channels; c++) {
            sums[c] += (double)in[i * channels + c];
        }
    }
    for (size_t c = 0; c < channels; c++) {
        mean[c] = (float)(sums[c] / (double)places);
        sums[c] = 0;
    }
    for (size_t i = 0; i < places; i++) {
        for (size_t c = 0; c < channels; c++) {
            float x = in[i * channels + c] - mean[c];
            sums[c] += (double)(x * x);
        }
    }
    for (size_t c = 0; c < channels; c++) {
        variance[c] = (float)(sums[c] / (double)places);
        inverse[c] = 1.0f / sqrtf(variance[c] + LAYER_NORM_EPSILON);
    }
}

static void recall(const struct layer_pass *pass)
{
    size_t channels = pass->layer->in.channels;
    const float *state = pass->arena + pass->layer->state_at;
    memcpy(pass->kept, state, 2 * channels * sizeof(float));
    for (size_t c = 0; c < channels; c++) {
        pass->kept[2 * channels + c] = 1.0f / sqrtf(state[channels + c] + LAYER_NORM_EPSILON);
    }
}

ML_WIDE
static void forward(const struct layer_pass *pass)
{
    const struct layer *layer = pass->layer;
    size_t channels = layer->in.channels;
    if (pass->training) {
        measure(pass);
    } else {
        recall(pass);
    }
    const float *restrict mean = pass->kept, *restrict inverse = mean + 2 * channels;
    const float *restrict weight = pass->arena + layer->weight_at;
    const float *restrict bias = pass->arena + layer->bias_at;
    const float *restrict in = pass->in;
    float *restrict out = pass->out;
    size_t places = pass->rows * layer_shape_count(layer->in) / channels;
    for (size_t i = 0; i < places; i++) {
        for (size_t c = 0; c < channels; c++) {
            size_t at = i * channels + c;
            out[at] = (in[at] - mean[c]) * inverse[c] * weight[c] + bias[c];
        }
    }
}

/* The gradients of weight and bias, which are also what the input's gradient needs. */
ML_WIDE
static void parameter_gradients(const struct layer_pass *pass)
{
    const struct layer *layer = pass->layer;
    size_t channels = layer->in.channels, places = used_places(pass);
    double *restrict along = (double *)(void *)pass->scratch, *restrict plain = along + channels;
    const float *restrict mean = pass->kept, *restrict inverse = mean + 2 * channels;
    const float *restrict in = pass->in, *restrict delta = pass->out_gradient;
    memset(along, 0, 2 * channels * sizeof(double));
    for (size_t i = 0; i < places; i++) {
        for (size_t c = 0; c < channels; c++) {
            size_t at = i * channels + c;
            along[c] += (double)(delta[at] * ((in[at] - mean[c]) * inverse[c]));
            plain[c] += (double)delta[at];
        }
    }
    for (size_t c = 0; c < channels; c++) {
        pass->gradient[layer->weight_at + c] = (float)along[c];
        pass->gradient[layer->bias_at + c] = (float)plain[c];
    }
}

ML_WIDE
static void input_gradient(const struct layer_pass *pass)
{
    const struct layer *layer = pass->layer;
    size_t channels = layer->in.channels, places = used_places(pass);
    size_t all = pass->rows * layer_shape_count(layer->in);
    const float *restrict mean = pass->kept, *restrict inverse = mean + 2 * channels;
    const float *restrict weight = pass->arena + layer->weight_at;
    const float *restrict along = pass->gradient + layer->weight_at;
    const float *restrict plain = pass->gradient + layer->bias_at;
    const float *restrict in = pass->in, *restrict delta = pass->out_gradient;
    float *restrict out = pass->in_gradient;
    float share = 1.0f / (float)places;
    for (size_t i = 0; i < places; i++) {
        for (size_t c = 0; c < channels; c++) {
            size_t at = i * channels + c;
            float normal = (in[at] - mean[c]) * inverse[c];
            out[at] = weight[c] * inverse[c] *
                      (delta[at] - share * plain[c] - normal * (share * along[c]));
        }
    }
    memset(out + places * channels, 0, (all - places * channels) * sizeof(float));
}

static void backward(const struct layer_pass *pass)
{
    const struct layer *layer = pass->layer;
    size_t channels = layer->in.channels, places = used_places(pass);
    parameter_gradients(pass);
    float unbiased = places > 1 ? (float)places / (float)(places - 1) : 1.0f;
    float *state = pass->gradient + layer->state_at;
    for (size_t c = 0; c < channels; c++) {
        state[c] = (float)pass->used * pass->kept[c];
        state[channels + c] = (float)pass->used * unbiased * pass->kept[channels + c];
    }
    if (pass->in_gradient != NULL) {
        input_gradient(pass);
    }
}

void layer_norm_move_state(float *state, const float *gradient, uint64_t count, uint32_t samples)
{
    for (uint64_t i = 0; i < count; i++) {
        float target = gradient[i] / (float)samples;
        state[i] = (1.0f - LAYER_NORM_MOMENTUM) * state[i] + LAYER_NORM_MOMENTUM * target;
    }
}

const struct layer_ops layer_norm_ops = {
    .name = "norm",
    .shape = shape,
    .kept_floats = kept_floats,
    .scratch_floats = scratch_floats,
    .init = init,
    .forward = forward,
    .backward = backward,
};
