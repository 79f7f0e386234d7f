/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/layer_dropout.h"

#include <math.h>
#include <string.h>

#include "lib/base/prng.h"

#define CHANCES 65536u /* 16 bits decide one number, so one hash decides four */

static int shape(struct layer *layer, struct mlq_err *err)
{
    if (!(layer->rate >= 0.0 && layer->rate <= 0.99)) {
        return mlq_fail(err, MLQ_EINVAL, "a rate of %g: expected 0 to 0.99", layer->rate);
    }
    layer->out = layer->in;
    return 0;
}

static uint32_t dropped_chances(const struct layer *layer)
{
    return (uint32_t)lrint(layer->rate * CHANCES);
}

static void drop_row(const struct layer_pass *pass,
                     uint32_t row,
                     const float *restrict from,
                     float *restrict to)
{
    size_t count = layer_shape_count(pass->layer->out);
    uint32_t dropped = dropped_chances(pass->layer);
    float scale = (float)CHANCES / (float)(CHANCES - dropped);
    for (size_t i = 0; i < count; i += 4) {
        uint64_t bits = mlq_hash_keyed(pass->key, pass->samples[row], i);
        size_t end = count - i < 4 ? count - i : 4;
        for (size_t j = i; j < i + end; j++, bits >>= 16) {
            to[j] = from[j] * ((bits & (CHANCES - 1)) >= dropped ? scale : 0.0f);
        }
    }
}

static void drop(const struct layer_pass *pass, const float *from, float *to)
{
    size_t count = layer_shape_count(pass->layer->out);
    for (uint32_t row = 0; row < pass->used; row++) {
        drop_row(pass, row, from + row * count, to + row * count);
    }
    memset(to + pass->used * count, 0, (pass->rows - pass->used) * count * sizeof(float));
}

static void forward(const struct layer_pass *pass)
{
    if (pass->training) {
        drop(pass, pass->in, pass->out);
    } else {
        memcpy(pass->out, pass->in,
               pass->rows * layer_shape_count(pass->layer->out) * sizeof(float));
    }
}

static void backward(const struct layer_pass *pass)
{
    if (pass->in_gradient != NULL) {
        drop(pass, pass->out_gradient, pass->in_gradient);
    }
}

const struct layer_ops layer_dropout_ops = {
    .name = "dropout",
    .shape = shape,
    .forward = forward,
    .backward = backward,
};
