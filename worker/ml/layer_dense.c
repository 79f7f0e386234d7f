/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/layer_dense.h"

#include <string.h>

#include "worker/ml/gemm.h"
#include "worker/ml/wide.h"

ML_WIDE
void layer_dense_add_bias(size_t rows,
                          size_t columns,
                          const float *restrict bias,
                          float *restrict y)
{
    for (size_t row = 0; row < rows; row++) {
        for (size_t j = 0; j < columns; j++) {
            y[row * columns + j] += bias[j];
        }
    }
}

ML_WIDE
void layer_dense_sum_rows(size_t rows,
                          size_t columns,
                          const float *restrict values,
                          float *restrict sums)
{
    memset(sums, 0, columns * sizeof(float));
    for (size_t row = 0; row < rows; row++) {
        for (size_t j = 0; j < columns; j++) {
            sums[j] += values[row * columns + j];
        }
    }
}

static int shape(struct layer *layer, struct mlq_err *err)
{
    uint32_t units = layer->out.channels;
    if (units == 0 || units > LAYER_UNITS_MAX) {
        return mlq_fail(err, MLQ_EINVAL, "%u units: expected 1 to %u", units, LAYER_UNITS_MAX);
    }
    layer->out = (struct layer_shape){.height = 1, .width = 1, .channels = units};
    layer->weight_count = (uint64_t)layer_shape_count(layer->in) * units;
    layer->bias_count = units;
    return 0;
}

static uint32_t fan_in(const struct layer *layer)
{
    return (uint32_t)layer_shape_count(layer->in);
}

static void forward(const struct layer_pass *pass)
{
    const struct layer *layer = pass->layer;
    uint32_t inputs = fan_in(layer), outputs = layer->out.channels;
    gemm_nt_shards((struct gemm_size){.m = pass->rows, .n = outputs, .k = inputs}, pass->shards,
                   pass->in, pass->arena + layer->weight_at, pass->out);
    layer_dense_add_bias((size_t)pass->shards * pass->rows, outputs, pass->arena + layer->bias_at,
                         pass->out);
}

static void bias_gradient(const struct layer_pass *pass)
{
    const struct layer *layer = pass->layer;
    const struct tree_sums *sums = pass->sums;
    size_t count = (size_t)pass->rows * layer->bias_count;
    for (uint32_t shard = 0; shard < pass->shards; shard++) {
        layer_dense_sum_rows(pass->rows, layer->bias_count, pass->out_gradient + shard * count,
                             sums->places[sums->folds[shard].top] + layer->bias_at);
        tree_fold(sums, shard, layer->bias_at, layer->bias_count);
    }
    tree_fold_zeros(sums, layer->bias_at, layer->bias_count);
}

static void backward(const struct layer_pass *pass)
{
    const struct layer *layer = pass->layer;
    uint32_t inputs = fan_in(layer), outputs = layer->out.channels;
    gemm_tn_sums((struct gemm_size){.m = outputs, .n = inputs, .k = pass->rows},
                 pass->out_gradient, pass->in, pass->sums, layer->weight_at);
    bias_gradient(pass);
    if (pass->in_gradient != NULL) {
        gemm_nn_shards((struct gemm_size){.m = pass->rows, .n = inputs, .k = outputs},
                       pass->shards, pass->out_gradient, pass->arena + layer->weight_at,
                       pass->in_gradient);
    }
}

const struct layer_ops layer_dense_ops = {
    .name = "dense",
    .shape = shape,
    .fan_in = fan_in,
    .takes_all = true,
    .forward = forward,
    .backward = backward,
};
