/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The windows of an image as rows of a matrix (patches.h), then a product. Blocks of output lines
 * keep that matrix in the cache; which lines make a block depends on the shapes alone. A window of
 * 1 x 1 without stride needs no matrix: the image is it.
 */
#include "worker/ml/layer_conv.h"

#include <string.h>

#include "worker/ml/gemm.h"
#include "worker/ml/layer_dense.h"
#include "worker/ml/patches.h"

#define BLOCK_POSITIONS 512u /* rows of a product: enough for it to run at full speed */

static bool is_plain(const struct layer *layer)
{
    return layer->kernel_height == 1 && layer->kernel_width == 1 && layer->stride == 1 &&
           layer->padding == 0;
}

/* Output lines of a block, over the lines of all rows one behind the other. */
static uint32_t block_lines(const struct layer *layer, uint32_t rows)
{
    uint32_t all = rows * layer->out.height;
    uint32_t lines = BLOCK_POSITIONS / layer->out.width;
    lines = lines == 0 ? 1 : lines;
    return is_plain(layer) || lines > all ? all : lines;
}

static uint32_t window_size(const struct layer *layer)
{
    return layer->kernel_height * layer->kernel_width * layer->in.channels;
}

static int shape(struct layer *layer, struct mlq_err *err)
{
    uint32_t channels = layer->out.channels;
    if (channels == 0 || channels > LAYER_UNITS_MAX) {
        return mlq_fail(err, MLQ_EINVAL, "%u channels: expected 1 to %u", channels,
                        LAYER_UNITS_MAX);
    }
    int rc = patches_shape(layer, err);
    layer->out.channels = channels;
    layer->weight_count = (uint64_t)window_size(layer) * channels;
    layer->bias_count = layer->no_bias ? 0 : channels;
    return rc;
}

/* The windows of a block, and one block's gradient of the weights. */
static size_t scratch_floats(const struct layer *layer, uint32_t rows)
{
    size_t patches = (size_t)block_lines(layer, rows) * layer->out.width * window_size(layer);
    return (is_plain(layer) ? 0 : patches) + layer->weight_count;
}

struct block {
    struct patches_lines lines;
    uint32_t positions;
    size_t out_at; /* of its first number in out */
};

static struct block block_at(const struct layer_pass *pass, uint32_t first)
{
    const struct layer *layer = pass->layer;
    uint32_t left = pass->rows * layer->out.height - first;
    uint32_t lines = block_lines(layer, pass->rows);
    lines = left < lines ? left : lines;
    return (struct block){
        .lines = {.first = first, .count = lines},
        .positions = lines * layer->out.width,
        .out_at = (size_t)first * layer->out.width * layer->out.channels,
    };
}

static const float *gather(const struct layer_pass *pass, const struct block *block)
{
    if (is_plain(pass->layer)) {
        return pass->in;
    }
    patches_gather(pass->layer, block->lines, pass->in, pass->scratch);
    return pass->scratch;
}

static void forward(const struct layer_pass *pass)
{
    const struct layer *layer = pass->layer;
    uint32_t lines = pass->rows * layer->out.height;
    struct block block;
    for (uint32_t first = 0; first < lines; first += block.lines.count) {
        block = block_at(pass, first);
        struct gemm_size size = {
            .m = block.positions, .n = layer->out.channels, .k = window_size(layer)};
        gemm_nt(size, gather(pass, &block), pass->arena + layer->weight_at,
                pass->out + block.out_at);
    }
    if (layer->bias_count > 0) {
        layer_dense_add_bias((size_t)lines * layer->out.width, layer->out.channels,
                             pass->arena + layer->bias_at, pass->out);
    }
}

/* The first block gives the gradient, the others are added to it, in order. */
static void weight_gradient(const struct layer_pass *pass, const struct block *block)
{
    const struct layer *layer = pass->layer;
    struct gemm_size size = {
        .m = layer->out.channels, .n = window_size(layer), .k = block->positions};
    const float *patches = gather(pass, block);
    const float *delta = pass->out_gradient + block->out_at;
    float *restrict whole = pass->gradient + layer->weight_at;
    if (block->lines.first == 0) {
        gemm_tn(size, delta, patches, whole);
        return;
    }
    float *restrict part = pass->scratch + scratch_floats(layer, pass->rows) - layer->weight_count;
    gemm_tn(size, delta, patches, part);
    for (uint64_t i = 0; i < layer->weight_count; i++) {
        whole[i] += part[i];
    }
}

static void input_gradient(const struct layer_pass *pass, const struct block *block)
{
    const struct layer *layer = pass->layer;
    struct gemm_size size = {
        .m = block->positions, .n = window_size(layer), .k = layer->out.channels};
    const float *delta = pass->out_gradient + block->out_at;
    const float *weight = pass->arena + layer->weight_at;
    if (is_plain(layer)) {
        gemm_nn(size, delta, weight, pass->in_gradient);
        return;
    }
    gemm_nn(size, delta, weight, pass->scratch);
    patches_scatter(layer, block->lines, pass->scratch, pass->in_gradient);
}

static void backward(const struct layer_pass *pass)
{
    const struct layer *layer = pass->layer;
    uint32_t lines = pass->rows * layer->out.height;
    struct block block;
    if (pass->in_gradient != NULL && !is_plain(layer)) {
        memset(pass->in_gradient, 0, pass->rows * layer_shape_count(layer->in) * sizeof(float));
    }
    for (uint32_t first = 0; first < lines; first += block.lines.count) {
        block = block_at(pass, first);
        weight_gradient(pass, &block);
        if (pass->in_gradient != NULL) {
            input_gradient(pass, &block);
        }
    }
    if (layer->bias_count > 0) {
        layer_dense_sum_rows((size_t)lines * layer->out.width, layer->out.channels,
                             pass->out_gradient, pass->gradient + layer->bias_at);
    }
}

const struct layer_ops layer_conv_ops = {
    .name = "conv",
    .shape = shape,
    .scratch_floats = scratch_floats,
    .fan_in = window_size,
    .forward = forward,
    .backward = backward,
};
