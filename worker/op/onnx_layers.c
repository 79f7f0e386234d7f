/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/onnx_layers.h"

#include <inttypes.h>

#include "lib/base/panic.h"
#include "worker/ml/layer_norm.h"

struct builder {
    struct onnx_graph *g;
    struct mlq_region *region;
    const struct model *model;
    const struct layer *layer; /* the one that is written, */
    uint32_t k;                /* its number, */
    const char *in;            /* and the value that it reads */
    const char *values[MODEL_LAYERS_MAX + 1];
    bool has_sides[MODEL_LAYERS_MAX + 1]; /* [N, C, H, W]; else [N, C] */
};

static const char *name_of(struct builder *b, const char *kind)
{
    return mlq_region_format(b->region, "mlq/%s.%" PRIu32, kind, b->k);
}

static bool is_image(struct layer_shape shape)
{
    return shape.height * shape.width > 1;
}

static const char *
reshape(struct builder *b, const char *what, const char *value, const int64_t *to, size_t rank)
{
    int64_t *dims = mlq_region_array(b->region, rank, sizeof(int64_t));
    for (size_t i = 0; i < rank; i++) {
        dims[i] = to[i];
    }
    const char *shape = mlq_region_format(b->region, "%s_shape", name_of(b, what));
    onnx_graph_int64s(b->g, shape, (struct onnx_shape){.columns = (int64_t)rank}, dims);
    return onnx_graph_apply(b->g, "Reshape", name_of(b, what), value, shape);
}

static const char *
transpose(struct builder *b, const char *what, const char *value, const int64_t order[4])
{
    const char *output = name_of(b, what);
    struct onnx_node *node =
        onnx_graph_node(b->g, "", "Transpose", output, (const char *[]){value, NULL});
    onnx_graph_set_ints(b->g, node, "perm", order, 4);
    return output;
}

/* [N, numbers], channels last, to [N, channels, height, width]. */
static const char *to_image(struct builder *b, const char *inputs)
{
    static const int64_t order[] = {0, 3, 1, 2};
    struct layer_shape image = b->model->image;
    const int64_t dims[] = {-1, image.height, image.width, image.channels};
    return transpose(b, "image", reshape(b, "pixels", inputs, dims, 4), order);
}

/* And back, for a dense layer. */
static const char *to_row(struct builder *b, struct layer_shape shape, const char *value)
{
    static const int64_t order[] = {0, 2, 3, 1};
    const int64_t dims[] = {-1, (int64_t)layer_shape_count(shape)};
    const char *last = is_image(shape) ? transpose(b, "channels_last", value, order) : value;
    return reshape(b, "row", last, dims, 2);
}

static const char *add_bias_name(struct builder *b)
{
    if (b->layer->bias_count == 0) {
        return NULL;
    }
    const char *bias = name_of(b, "bias");
    onnx_graph_floats(b->g, bias, (struct onnx_shape){.columns = (int64_t)b->layer->bias_count},
                      b->model->parameters + b->layer->bias_at);
    return bias;
}

static const char *add_dense(struct builder *b)
{
    const struct layer *layer = b->layer;
    const char *weight = name_of(b, "weight"), *output = name_of(b, "layer");
    const char *in = b->has_sides[layer->from] ? to_row(b, layer->in, b->in) : b->in;
    onnx_graph_floats(b->g, weight,
                      (struct onnx_shape){.rows = layer->out.channels,
                                          .columns = (int64_t)layer_shape_count(layer->in)},
                      b->model->parameters + layer->weight_at);
    const char *inputs[] = {in, weight, add_bias_name(b), NULL};
    struct onnx_node *gemm = onnx_graph_node(b->g, "", "Gemm", output, inputs);
    onnx_graph_set_int(b->g, gemm, "transB", 1);
    return output;
}

static void set_window(struct builder *b, struct onnx_node *node)
{
    const struct layer *layer = b->layer;
    const int64_t kernel[] = {layer->kernel_height, layer->kernel_width};
    const int64_t strides[] = {layer->stride, layer->stride};
    const int64_t pads[] = {layer->padding, layer->padding, layer->padding, layer->padding};
    onnx_graph_set_ints(b->g, node, "kernel_shape", kernel, 2);
    onnx_graph_set_ints(b->g, node, "strides", strides, 2);
    onnx_graph_set_ints(b->g, node, "pads", pads, 4);
}

/* Weights with the window behind the channels, as ONNX has them: [outputs][inputs][window] from
 * [outputs][window][inputs]; a depthwise layer's [window][channels] is that with one output. */
static float *turn_weight(struct builder *b, size_t outputs, size_t inputs)
{
    const float *from = b->model->parameters + b->layer->weight_at;
    size_t window = (size_t)b->layer->kernel_height * b->layer->kernel_width;
    float *to = mlq_region_array(b->region, outputs * inputs * window, sizeof(float));
    for (size_t o = 0; o < outputs; o++) {
        for (size_t k = 0; k < window; k++) {
            for (size_t i = 0; i < inputs; i++) {
                to[(o * inputs + i) * window + k] = from[(o * window + k) * inputs + i];
            }
        }
    }
    return to;
}

static const char *add_conv(struct builder *b)
{
    const struct layer *layer = b->layer;
    bool depthwise = layer->kind == LAYER_DEPTHWISE;
    int64_t outputs = layer->out.channels, inputs = depthwise ? 1 : layer->in.channels;
    const int64_t dims[] = {outputs, inputs, layer->kernel_height, layer->kernel_width};
    const char *weight = name_of(b, "weight"), *output = name_of(b, "layer");
    onnx_graph_tensor(b->g, weight, dims, 4,
                      depthwise ? turn_weight(b, 1, layer->in.channels)
                                : turn_weight(b, layer->out.channels, layer->in.channels));
    const char *arguments[] = {b->in, weight, add_bias_name(b), NULL};
    struct onnx_node *node = onnx_graph_node(b->g, "", "Conv", output, arguments);
    set_window(b, node);
    if (depthwise) {
        onnx_graph_set_int(b->g, node, "group", outputs);
    }
    return output;
}

static const char *add_pool(struct builder *b)
{
    const char *op = b->layer->kind == LAYER_MAX_POOL ? "MaxPool" : "AveragePool";
    const char *output = name_of(b, "layer");
    set_window(b, onnx_graph_node(b->g, "", op, output, (const char *[]){b->in, NULL}));
    return output;
}

static const char *add_norm(struct builder *b)
{
    static const char *const parts[] = {"weight", "bias", "mean", "variance"};
    struct layer_tensor tensors[LAYER_TENSORS_MAX];
    const char *inputs[LAYER_TENSORS_MAX + 2] = {b->in}, *output = name_of(b, "layer");
    uint32_t count = layer_tensors(b->layer, tensors);
    for (uint32_t i = 0; i < count; i++) {
        inputs[i + 1] = name_of(b, parts[i]);
        onnx_graph_floats(b->g, inputs[i + 1],
                          (struct onnx_shape){.columns = (int64_t)tensors[i].count},
                          b->model->parameters + tensors[i].at);
    }
    struct onnx_node *node = onnx_graph_node(b->g, "", "BatchNormalization", output, inputs);
    onnx_graph_set_float(b->g, node, "epsilon", LAYER_NORM_EPSILON);
    return output;
}

/* Opset 17 has no Gelu: x * (erf(x / sqrt(2)) + 1) / 2, by its parts. */
static const char *add_gelu(struct builder *b, const char *x)
{
    static const float root_half = 0.70710678118654752f, one = 1.0f, half = 0.5f;
    const struct onnx_shape single = {.columns = 1};
    const char *root = name_of(b, "root_half"), *unit = name_of(b, "one");
    const char *part = name_of(b, "half");
    onnx_graph_floats(b->g, root, single, &root_half);
    onnx_graph_floats(b->g, unit, single, &one);
    onnx_graph_floats(b->g, part, single, &half);
    const char *scaled = onnx_graph_apply(b->g, "Mul", name_of(b, "gelu_scaled"), x, root);
    const char *erf = onnx_graph_apply(b->g, "Erf", name_of(b, "gelu_erf"), scaled, NULL);
    const char *twice = onnx_graph_apply(b->g, "Add", name_of(b, "gelu_twice"), erf, unit);
    const char *share = onnx_graph_apply(b->g, "Mul", name_of(b, "gelu_share"), twice, part);
    return onnx_graph_apply(b->g, "Mul", name_of(b, "gelu"), x, share);
}

static const char *add_activation(struct builder *b, const char *value)
{
    switch (b->layer->activation) {
    case LAYER_IDENTITY:
        return value;
    case LAYER_RELU:
        return onnx_graph_apply(b->g, "Relu", name_of(b, "relu"), value, NULL);
    case LAYER_GELU:
        return add_gelu(b, value);
    case LAYER_TANH:
        return onnx_graph_apply(b->g, "Tanh", name_of(b, "tanh"), value, NULL);
    }
    MLQ_UNREACHABLE("activation");
}

static const char *add_layer(struct builder *b)
{
    switch (b->layer->kind) {
    case LAYER_DENSE:
        return add_dense(b);
    case LAYER_CONV:
    case LAYER_DEPTHWISE:
        return add_conv(b);
    case LAYER_NORM:
        return add_norm(b);
    case LAYER_MAX_POOL:
    case LAYER_AVERAGE_POOL:
        return add_pool(b);
    case LAYER_ADD:
        return onnx_graph_apply(b->g, "Add", name_of(b, "layer"), b->in, b->values[b->layer->also]);
    case LAYER_DROPOUT:   /* nothing is left out in use */
    case LAYER_EMBEDDING: /* the inputs are embedded already: onnx_model.c */
        return b->in;
    }
    MLQ_UNREACHABLE("layer kind");
}

const char *onnx_layers_add(struct onnx_graph *g,
                            const struct model *model,
                            const char *inputs,
                            struct mlq_region *region)
{
    struct builder b = {.g = g, .region = region, .model = model};
    b.has_sides[0] = model->image.channels > 0;
    b.values[0] = model->image.channels > 0 ? to_image(&b, inputs) : inputs;
    for (uint32_t k = 0; k < model->layer_count; k++) {
        b.k = k;
        b.layer = &model->layers[k];
        b.in = b.values[b.layer->from];
        b.has_sides[k + 1] = b.layer->kind != LAYER_DENSE && b.has_sides[b.layer->from];
        b.values[k + 1] = add_activation(&b, add_layer(&b));
    }
    return b.values[model->layer_count];
}
