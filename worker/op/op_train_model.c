/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The `model` of train.native: which network, and its sizes.
 */
#include "lib/base/ownership.h"
#include "worker/op/op_train.h"

#define EMBEDDING_MAX 4096

struct widths {
    uint32_t *values; /* [OP_TRAIN_WIDTHS_MAX] */
    uint32_t count;   /* the fallback's before, what was read after */
};

static int read_widths(const struct op_context *ctx,
                       const char *param,
                       struct widths *widths,
                       struct mlq_err *err)
{
    const json_t *list = op_with(ctx, param);
    if (list == NULL) {
        return 0;
    }
    size_t count = json_array_size(list);
    if (!json_is_array(list) || count > OP_TRAIN_WIDTHS_MAX) {
        return mlq_fail(err, MLQ_EINVAL, "%s: expected a list of at most %u numbers", param,
                        OP_TRAIN_WIDTHS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *width = json_array_get(list, i);
        json_int_t n = json_integer_value(width);
        if (!json_is_integer(width) || n < 1 || n > (json_int_t)LAYER_UNITS_MAX) {
            return mlq_fail(err, MLQ_EINVAL, "%s[%zu]: expected a whole number from 1 to %u", param,
                            i, LAYER_UNITS_MAX);
        }
        widths->values[i] = (uint32_t)n;
    }
    widths->count = (uint32_t)count;
    return 0;
}

static int read_activation(const struct op_context *ctx,
                           const char *param,
                           enum layer_activation *activation,
                           struct mlq_err *err)
{
    const char *names[LAYER_ACTIVATIONS];
    size_t choice = LAYER_RELU;
    for (int i = 0; i < LAYER_ACTIVATIONS; i++) {
        names[i] = layer_activation_text((enum layer_activation)i);
    }
    int rc = op_get_choice(ctx, param, names, LAYER_ACTIVATIONS, &choice, err);
    *activation = (enum layer_activation)choice;
    return rc;
}

static const struct op_number_range dropout_range = {.fallback = 0, .min = 0, .max = 0.95};

static int
read_mlp(const struct op_context *ctx, struct op_train_config *config, struct mlq_err *err)
{
    config->hidden[0] = 128;
    config->hidden[1] = 64;
    struct widths hidden = {.values = config->hidden, .count = 2};
    int rc = read_widths(ctx, "model.mlp.hidden", &hidden, err);
    config->mlp.hidden = config->hidden;
    config->mlp.hidden_count = hidden.count;
    rc = rc != 0 ? rc : read_activation(ctx, "model.mlp.activation", &config->mlp.activation, err);
    rc = rc != 0
             ? rc
             : op_get_number(ctx, "model.mlp.dropout", dropout_range, &config->mlp.dropout, err);
    int64_t embedding = 0;
    rc = rc != 0 ? rc
                 : op_get_int(ctx, "model.mlp.embedding",
                              (struct op_int_range){0, 0, EMBEDDING_MAX}, &embedding, err);
    config->mlp.embedding = (uint32_t)embedding;
    return rc;
}

static int read_image(const struct op_context *ctx, struct layer_shape *image, struct mlq_err *err)
{
    uint32_t sides[OP_TRAIN_WIDTHS_MAX] = {0};
    struct widths widths = {.values = sides, .count = 0};
    int rc = read_widths(ctx, "model.cnn.image", &widths, err);
    if (rc == 0 && widths.count != 3) {
        rc = mlq_fail(
            err, MLQ_EINVAL,
            "model.cnn.image: expected [height, width, channels]: how the feature columns, "
            "in their order, make an image (channels last)");
    }
    *image = (struct layer_shape){.height = sides[0], .width = sides[1], .channels = sides[2]};
    return rc;
}

static int
read_cnn_lists(const struct op_context *ctx, struct op_train_config *config, struct mlq_err *err)
{
    struct layout_cnn *cnn = &config->cnn;
    config->channels[0] = 32;
    config->channels[1] = 64;
    config->hidden[0] = 128;
    struct widths channels = {.values = config->channels, .count = 2};
    struct widths hidden = {.values = config->hidden, .count = 1};
    int rc = read_image(ctx, &cnn->image, err);
    rc = rc != 0 ? rc : read_widths(ctx, "model.cnn.channels", &channels, err);
    rc = rc != 0 ? rc : read_widths(ctx, "model.cnn.hidden", &hidden, err);
    cnn->channels = config->channels;
    cnn->stage_count = channels.count;
    cnn->head.hidden = config->hidden;
    cnn->head.hidden_count = hidden.count;
    return rc;
}

static int
read_cnn_choices(const struct op_context *ctx, struct layout_cnn *cnn, struct mlq_err *err)
{
    static const char *const pools[] = {"max", "average"}, *const heads[] = {"flat", "mean"};
    size_t pool = 0, head = 0;
    int rc = op_get_choice(ctx, "model.cnn.pool", pools, MLQ_COUNT_OF(pools), &pool, err);
    rc =
        rc != 0 ? rc : op_get_choice(ctx, "model.cnn.head", heads, MLQ_COUNT_OF(heads), &head, err);
    cnn->pool = pool == 0 ? LAYER_MAX_POOL : LAYER_AVERAGE_POOL;
    cnn->mean = head == 1;
    rc = rc != 0 ? rc : op_get_bool(ctx, "model.cnn.norm", true, &cnn->norm, err);
    rc = rc != 0 ? rc : op_get_bool(ctx, "model.cnn.residual", false, &cnn->residual, err);
    rc = rc != 0 ? rc : op_get_bool(ctx, "model.cnn.depthwise", false, &cnn->depthwise, err);
    return rc != 0 ? rc : read_activation(ctx, "model.cnn.activation", &cnn->head.activation, err);
}

static int read_augment(const struct op_context *ctx, struct augment *augment, struct mlq_err *err)
{
    int64_t crop = 0;
    int rc = op_get_bool(ctx, "model.cnn.flip", false, &augment->flip, err);
    rc = rc != 0 ? rc
                 : op_get_int(ctx, "model.cnn.crop", (struct op_int_range){0, 0, 255}, &crop, err);
    augment->crop = (uint32_t)crop;
    return rc;
}

static int
read_cnn(const struct op_context *ctx, struct op_train_config *config, struct mlq_err *err)
{
    struct layout_cnn *cnn = &config->cnn;
    int64_t depth = 0, kernel = 0;
    int rc = read_cnn_lists(ctx, config, err);
    rc = rc != 0 ? rc : read_cnn_choices(ctx, cnn, err);
    rc = rc != 0 ? rc
                 : op_get_int(ctx, "model.cnn.depth", (struct op_int_range){1, 1, 16}, &depth, err);
    rc = rc != 0
             ? rc
             : op_get_int(ctx, "model.cnn.kernel", (struct op_int_range){3, 1, 31}, &kernel, err);
    cnn->depth = (uint32_t)depth;
    cnn->kernel = (uint32_t)kernel;
    rc = rc != 0 ? rc
                 : op_get_number(ctx, "model.cnn.dropout", dropout_range, &cnn->head.dropout, err);
    return rc != 0 ? rc : read_augment(ctx, &config->augment, err);
}

int op_train_model_read(const struct op_context *ctx,
                        struct op_train_config *config,
                        struct mlq_err *err)
{
    static const char *const kinds[] = {[OP_TRAIN_LINEAR] = "linear",
                                        [OP_TRAIN_SOFTMAX] = "softmax",
                                        [OP_TRAIN_MLP] = "mlp",
                                        [OP_TRAIN_CNN] = "cnn"};
    size_t kind = OP_TRAIN_MLP;
    int rc = op_get_one_of(ctx, "model", kinds, MLQ_COUNT_OF(kinds), &kind, err);
    if (rc != 0) {
        return rc;
    }
    config->kind = (enum op_train_kind)kind;
    switch (config->kind) {
    case OP_TRAIN_LINEAR:
    case OP_TRAIN_SOFTMAX:
        return 0;
    case OP_TRAIN_MLP:
        return read_mlp(ctx, config, err);
    case OP_TRAIN_CNN:
        return read_cnn(ctx, config, err);
    }
    return mlq_fail(err, MLQ_EINVAL, "model: not one that is known");
}

int op_train_model_lay_out(const struct op_train_config *config,
                           struct model *model,
                           struct mlq_err *err)
{
    struct layout_mlp mlp = config->mlp;
    if (mlp.embedding > 0 && model_embed_categories(model, mlp.embedding) == 0) {
        mlp.embedding = 0; /* nothing to embed: one-hot is as small */
    }
    int rc = config->kind == OP_TRAIN_CNN ? layout_cnn(model, &config->cnn, err)
                                          : layout_mlp(model, &mlp, err);
    return rc == 0 ? 0 : mlq_wrap(err, rc, "model");
}
