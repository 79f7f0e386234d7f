/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/layer_embedding.h"

#include <string.h>

static int shape(struct layer *layer, struct mlq_err *err)
{
    uint64_t outputs = 0, values = 0;
    if (layer->width == 0 || layer->width > LAYER_UNITS_MAX) {
        return mlq_fail(err, MLQ_EINVAL, "a width of %u: expected 1 to %u", layer->width,
                        LAYER_UNITS_MAX);
    }
    if (layer->from != 0 || layer->in.height * layer->in.width != 1) {
        return mlq_fail(err, MLQ_EINVAL, "it reads value %u: only a row of inputs has categories",
                        layer->from);
    }
    for (uint32_t i = 0; i < layer->span_count; i++) {
        const struct layer_span *span = &layer->spans[i];
        outputs += span->values == 0 ? span->inputs : layer->width;
        values += span->values;
    }
    if (outputs == 0 || outputs > LAYER_VALUES_MAX) {
        return mlq_fail(err, MLQ_EFULL, "%llu numbers for a row: expected 1 to %u",
                        (unsigned long long)outputs, LAYER_VALUES_MAX);
    }
    layer->out = (struct layer_shape){.height = 1, .width = 1, .channels = (uint32_t)outputs};
    layer->weight_count = values * layer->width;
    return 0;
}

static uint32_t fan_in(const struct layer *layer)
{
    return layer->width;
}

/* Where a row's span begins, in each of the three. */
struct place {
    size_t in;
    size_t out;
    size_t table; /* of its first value */
};

static void step_over(struct place *at, const struct layer_span *span, uint32_t width)
{
    at->in += span->inputs;
    at->out += span->values == 0 ? span->inputs : width;
    at->table += span->values;
}

/* The row of the table that an input names, or -1. */
static int64_t find_value(const struct layer_span *span, float index)
{
    return index >= 0 && index < (float)span->values ? (int64_t)index : -1;
}

static void forward(const struct layer_pass *pass)
{
    const struct layer *layer = pass->layer;
    size_t inputs = layer_shape_count(layer->in), outputs = layer->out.channels;
    size_t width = layer->width;
    const float *table = pass->arena + layer->weight_at;
    for (size_t row = 0; row < pass->rows; row++) {
        struct place at = {.in = row * inputs, .out = row * outputs};
        for (uint32_t i = 0; i < layer->span_count; i++) {
            const struct layer_span *span = &layer->spans[i];
            const float *in = pass->in + at.in;
            float *out = pass->out + at.out;
            int64_t value = span->values == 0 ? -1 : find_value(span, *in);
            if (span->values == 0) {
                memcpy(out, in, span->inputs * sizeof(float));
            } else if (value < 0) {
                memset(out, 0, width * sizeof(float));
            } else {
                memcpy(out, table + (at.table + (size_t)value) * width, width * sizeof(float));
            }
            step_over(&at, span, layer->width);
        }
    }
}

/* Rows add to their values' places in the order of rows. */
static void backward(const struct layer_pass *pass)
{
    const struct layer *layer = pass->layer;
    size_t inputs = layer_shape_count(layer->in), outputs = layer->out.channels;
    float *table = pass->gradient + layer->weight_at;
    memset(table, 0, layer->weight_count * sizeof(float));
    for (size_t row = 0; row < pass->used; row++) {
        struct place at = {.in = row * inputs, .out = row * outputs};
        for (uint32_t i = 0; i < layer->span_count; i++) {
            const struct layer_span *span = &layer->spans[i];
            int64_t value = span->values == 0 ? -1 : find_value(span, pass->in[at.in]);
            float *to = table + (at.table + (size_t)(value < 0 ? 0 : value)) * layer->width;
            for (size_t j = 0; j < layer->width && value >= 0; j++) {
                to[j] += pass->out_gradient[at.out + j];
            }
            step_over(&at, span, layer->width);
        }
    }
}

const struct layer_ops layer_embedding_ops = {
    .name = "embedding",
    .shape = shape,
    .fan_in = fan_in,
    .forward = forward,
    .backward = backward,
};
