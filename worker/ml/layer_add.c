/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/layer_add.h"

#include <string.h>

static int shape(struct layer *layer, struct mlq_err *err)
{
    struct layer_shape a = layer->in, b = layer->also_in;
    if (layer->from == layer->also) {
        return mlq_fail(err, MLQ_EINVAL, "it adds value %u to itself", layer->from);
    }
    if (a.height != b.height || a.width != b.width || a.channels != b.channels) {
        return mlq_fail(err, MLQ_EINVAL, "%u x %u x %u and %u x %u x %u cannot be added", a.height,
                        a.width, a.channels, b.height, b.width, b.channels);
    }
    layer->out = layer->in;
    return 0;
}

static void forward(const struct layer_pass *pass)
{
    size_t count = pass->rows * layer_shape_count(pass->layer->out);
    const float *restrict a = pass->in, *restrict b = pass->also;
    float *restrict out = pass->out;
    for (size_t i = 0; i < count; i++) {
        out[i] = a[i] + b[i];
    }
}

static void backward(const struct layer_pass *pass)
{
    size_t bytes = pass->rows * layer_shape_count(pass->layer->out) * sizeof(float);
    if (pass->in_gradient != NULL) {
        memcpy(pass->in_gradient, pass->out_gradient, bytes);
    }
    if (pass->also_gradient != NULL) {
        memcpy(pass->also_gradient, pass->out_gradient, bytes);
    }
}

const struct layer_ops layer_add_ops = {
    .name = "add",
    .shape = shape,
    .forward = forward,
    .backward = backward,
};
