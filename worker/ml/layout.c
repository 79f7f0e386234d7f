/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/layout.h"

/* A list that grows; after a refusal nothing is appended any more. */
struct builder {
    struct model *model;
    struct mlq_err *err;
    int rc;
};

/* On the last value, unless `layer` says which. */
static void append(struct builder *b, struct layer layer)
{
    if (b->rc == 0) {
        layer.from = b->model->layer_count;
        b->rc = model_append(b->model, layer, b->err);
    }
}

static void append_dense(struct builder *b, uint32_t units, enum layer_activation activation)
{
    append(b, (struct layer){
                  .kind = LAYER_DENSE, .activation = activation, .out = {.channels = units}});
}

static int append_head(struct builder *b, const struct layout_mlp *plan)
{
    for (uint32_t i = 0; i < plan->hidden_count; i++) {
        append_dense(b, plan->hidden[i], plan->activation);
        if (plan->dropout > 0) {
            append(b, (struct layer){.kind = LAYER_DROPOUT, .rate = plan->dropout});
        }
    }
    append_dense(b, model_output_count(b->model), LAYER_IDENTITY);
    return b->rc == 0 ? model_seal(b->model, b->err) : b->rc;
}

int layout_mlp(struct model *model, const struct layout_mlp *plan, struct mlq_err *err)
{
    struct builder b = {.model = model, .err = err};
    if (plan->embedding > 0) {
        append(&b, (struct layer){.kind = LAYER_EMBEDDING, .width = plan->embedding});
    }
    return append_head(&b, plan);
}

/* A convolution of either kind with what follows it. */
static void append_conv(struct builder *b,
                        const struct layout_cnn *plan,
                        struct layer conv,
                        enum layer_activation activation)
{
    conv.stride = 1;
    conv.padding = conv.kernel_height / 2;
    conv.kernel_width = conv.kernel_height;
    conv.no_bias = plan->norm;
    conv.activation = plan->norm ? LAYER_IDENTITY : activation;
    append(b, conv);
    if (plan->norm) {
        append(b, (struct layer){.kind = LAYER_NORM, .activation = activation});
    }
}

static void append_block(struct builder *b,
                         const struct layout_cnn *plan,
                         uint32_t channels,
                         enum layer_activation activation)
{
    uint32_t kernel = plan->kernel;
    if (plan->depthwise && b->model->layer_count > 0) {
        append_conv(b, plan, (struct layer){.kind = LAYER_DEPTHWISE, .kernel_height = kernel},
                    plan->head.activation);
        kernel = 1;
    }
    append_conv(
        b, plan,
        (struct layer){.kind = LAYER_CONV, .kernel_height = kernel, .out = {.channels = channels}},
        activation);
}

static void append_stage(struct builder *b, const struct layout_cnn *plan, uint32_t channels)
{
    append_block(b, plan, channels, plan->head.activation);
    uint32_t shortcut = b->model->layer_count;
    for (uint32_t i = 1; i < plan->depth; i++) {
        bool summed = plan->residual && i + 1 == plan->depth;
        append_block(b, plan, channels, summed ? LAYER_IDENTITY : plan->head.activation);
    }
    if (plan->residual) {
        append(b, (struct layer){
                      .kind = LAYER_ADD, .also = shortcut, .activation = plan->head.activation});
    }
}

static void append_pool(struct builder *b, enum layer_kind kind, uint32_t height, uint32_t width)
{
    append(b, (struct layer){.kind = kind,
                             .kernel_height = height,
                             .kernel_width = width,
                             .stride = height < width ? height : width});
}

static int check_plan(const struct layout_cnn *plan, struct mlq_err *err)
{
    if (plan->stage_count == 0) {
        return mlq_fail(err, MLQ_EINVAL, "a CNN needs at least one stage of channels");
    }
    if (plan->kernel % 2 == 0) {
        return mlq_fail(err, MLQ_EINVAL, "a kernel of %u: only an odd one keeps the image's size",
                        plan->kernel);
    }
    if (plan->residual && plan->depth < 2) {
        return mlq_fail(err, MLQ_EINVAL, "residual stages need a depth of 2 or more");
    }
    return 0;
}

int layout_cnn(struct model *model, const struct layout_cnn *plan, struct mlq_err *err)
{
    struct builder b = {.model = model, .err = err, .rc = check_plan(plan, err)};
    model->image = plan->image;
    for (uint32_t i = 0; i < plan->stage_count; i++) {
        append_stage(&b, plan, plan->channels[i]);
        if (i + 1 < plan->stage_count || !plan->mean) {
            append_pool(&b, plan->pool, 2, 2);
        }
    }
    if (plan->mean && b.rc == 0) {
        struct layer_shape last = model->layers[model->layer_count - 1].out;
        append_pool(&b, LAYER_AVERAGE_POOL, last.height, last.width);
    }
    return append_head(&b, &plan->head);
}
