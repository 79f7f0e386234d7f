/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What train.native minimises, and how fast: loss, class weights, learning-rate schedule, clipping,
 * accumulation.
 */
#include <string.h>

#include "lib/base/ownership.h"
#include "lib/sys/mem.h"
#include "worker/op/op_train.h"

#define MIXUP_MIN 0.05 /* below, shares are 0 or 1 and the powers they come from underflow */

static int read_loss(const struct op_context *ctx, struct op_train_loss *loss, struct mlq_err *err)
{
    static const char *const kinds[] = {"auto", "cross_entropy", "bce", "squared", "huber"};
    static const enum loss_kind values[] = {LOSS_CROSS_ENTROPY, LOSS_CROSS_ENTROPY, LOSS_BCE,
                                            LOSS_SQUARED, LOSS_HUBER};
    static const struct op_number_range smoothing = {.fallback = 0, .min = 0, .max = 0.99};
    static const struct op_number_range delta = {.fallback = 1, .min = 1e-6, .max = 1e6};
    size_t kind = 0;
    int rc = op_get_one_of(ctx, "loss", kinds, MLQ_COUNT_OF(kinds), &kind, err);
    loss->automatic = kind == 0;
    loss->kind = values[kind];
    if (rc == 0 && loss->kind == LOSS_BCE) {
        rc = op_get_number(ctx, "loss.bce.label_smoothing", smoothing, &loss->smoothing, err);
    } else if (rc == 0 && loss->kind == LOSS_CROSS_ENTROPY) {
        rc = op_get_number(ctx, "loss.cross_entropy.label_smoothing", smoothing, &loss->smoothing,
                           err);
    } else if (rc == 0 && loss->kind == LOSS_HUBER) {
        rc = op_get_number(ctx, "loss.huber.delta", delta, &loss->delta, err);
    }
    if (rc == 0) {
        rc = op_get_bool(ctx, "balance", false, &loss->balance, err);
    }
    loss->class_weights = op_with(ctx, "class_weights");
    if (rc == 0 && loss->class_weights != NULL && !json_is_object(loss->class_weights)) {
        rc = mlq_fail(err, MLQ_EINVAL, "class_weights: expected a mapping from class to weight");
    }
    return rc;
}

/* Shares and counts of the schedule that was chosen. */
static int
read_schedule(const struct op_context *ctx, struct op_train_config *config, struct mlq_err *err)
{
    static const char *const kinds[] = {[SCHEDULE_CONSTANT] = "constant",
                                        [SCHEDULE_STEP] = "step",
                                        [SCHEDULE_COSINE] = "cosine",
                                        [SCHEDULE_LINEAR] = "linear",
                                        [SCHEDULE_ONE_CYCLE] = "one_cycle"};
    static const struct op_number_range final = {.fallback = 0, .min = 0, .max = 1};
    static const struct op_number_range factor = {.fallback = 0.1, .min = 1e-6, .max = 1};
    static const struct op_number_range rise = {.fallback = 0.3, .min = 0.001, .max = 0.999};
    struct schedule *schedule = &config->schedule;
    int64_t every = 1;
    size_t kind = SCHEDULE_CONSTANT;
    int rc = op_get_one_of(ctx, "schedule", kinds, MLQ_COUNT_OF(kinds), &kind, err);
    schedule->kind = (enum schedule_kind)kind;
    if (rc != 0) {
        return rc;
    }
    switch (schedule->kind) {
    case SCHEDULE_CONSTANT:
        break;
    case SCHEDULE_STEP:
        rc = op_get_number(ctx, "schedule.step.factor", factor, &schedule->factor, err);
        rc = rc != 0 ? rc
                     : op_get_int(ctx, "schedule.step.epochs",
                                  (struct op_int_range){10, 1, 1000000}, &every, err);
        break;
    case SCHEDULE_COSINE:
        rc = op_get_number(ctx, "schedule.cosine.final", final, &schedule->final, err);
        break;
    case SCHEDULE_LINEAR:
        rc = op_get_number(ctx, "schedule.linear.final", final, &schedule->final, err);
        break;
    case SCHEDULE_ONE_CYCLE:
        rc = op_get_number(ctx, "schedule.one_cycle.rise", rise, &schedule->rise, err);
        break;
    }
    schedule->every = (uint64_t)every; /* epochs, until the length of one is known */
    return rc;
}

/* An index into an embedding cannot be mixed, and a mean over mixed rows has no one weight: its rule says so. */
static int read_mixup(const struct op_context *ctx, struct op_train_config *config,
                      struct mlq_err *err)
{
    static const struct op_number_range range = {.fallback = 0, .min = 0, .max = 1};
    double *mixup = &config->augment.mixup;
    int rc = op_get_number(ctx, "mixup", range, mixup, err);
    if (rc != 0 || *mixup == 0) {
        return rc;
    }
    if (*mixup < MIXUP_MIN) {
        return mlq_fail(err, MLQ_EINVAL, "mixup: %g: expected 0, or a number from %g to 1", *mixup,
                        MIXUP_MIN);
    }
    return 0;
}

int op_train_options_read(const struct op_context *ctx,
                          struct op_train_config *config,
                          struct mlq_err *err)
{
    int64_t accumulate = 1;
    int rc = read_loss(ctx, &config->loss, err);
    rc = rc != 0 ? rc : read_schedule(ctx, config, err);
    rc = rc != 0 ? rc : read_mixup(ctx, config, err);
    if (rc == 0) {
        struct op_number_range range = {.fallback = 0, .min = 0, .max = 1e6};
        rc = op_get_number(ctx, "warmup", range, &config->warmup_epochs, err);
    }
    if (rc == 0) {
        struct op_number_range range = {.fallback = 0, .min = 0, .max = 1e9};
        rc = op_get_number(ctx, "clip_norm", range, &config->clip_norm, err);
    }
    if (rc == 0) {
        rc = op_get_int(ctx, "accumulate", (struct op_int_range){1, 1, 1024}, &accumulate, err);
    }
    config->accumulate = (uint32_t)accumulate;
    return rc;
}

/* ---- What the data decide ---- */

int op_train_options_fit(const struct op_train_config *config,
                         struct model *model,
                         struct mlq_err *err)
{
    enum loss_kind kind = config->loss.kind;
    bool regression = model->task == MODEL_REGRESSION;
    bool of_classes = kind == LOSS_CROSS_ENTROPY || kind == LOSS_BCE;
    if (!config->loss.automatic && regression == of_classes) {
        return mlq_fail(err, MLQ_EINVAL, "loss: %s, but the target '%s' is a %s",
                        of_classes ? "cross_entropy and bce are for classes"
                                   : "squared and huber are for numbers",
                        model->target, regression ? "number" : "class");
    }
    if (kind == LOSS_BCE && model->task != MODEL_BINARY) {
        return mlq_fail(err, MLQ_EINVAL,
                        "loss: bce is for two classes, and '%s' has %u: use cross_entropy",
                        model->target, model->class_count);
    }
    if (regression && (config->loss.balance || config->loss.class_weights != NULL)) {
        return mlq_fail(
            err, MLQ_EINVAL,
            "class_weights and balance are for classes, but the target '%s' is a number",
            model->target);
    }
    model->link = kind == LOSS_BCE ? MODEL_SIGMOID : MODEL_SOFTMAX;
    return 0;
}

static int find_class(const struct model *model, const char *name)
{
    for (uint32_t i = 0; i < model->class_count; i++) {
        if (strcmp(model->classes[i], name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

/* rows / (classes * rows of the class): scikit-learn's "balanced". */
static void balance(const struct model *model, const struct op_train_set *train, float *weights)
{
    uint64_t *counts = mlq_alloc_array(model->class_count, sizeof(*counts));
    for (uint32_t i = 0; i < train->rows; i++) {
        counts[train->labels[i]]++;
    }
    for (uint32_t k = 0; k < model->class_count; k++) {
        uint64_t count = counts[k] == 0 ? 1 : counts[k];
        weights[k] = (float)((double)train->rows / ((double)model->class_count * (double)count));
    }
    mlq_free(counts);
}

int op_train_options_weigh(const struct op_train_config *config,
                           struct op_train_data *data,
                           struct mlq_err *err)
{
    const struct op_train_loss *options = &config->loss;
    const struct model *model = data->model;
    bool regression = model->task == MODEL_REGRESSION;
    data->loss = (struct loss){
        .kind = options->automatic && regression ? LOSS_SQUARED : options->kind,
        .smoothing = (float)options->smoothing,
        .delta = (float)options->delta, /* targets are standardised: deviations are their units */
    };
    if (!options->balance && options->class_weights == NULL) {
        return 0;
    }
    data->class_weights = mlq_alloc_array(model->class_count, sizeof(float));
    for (uint32_t k = 0; k < model->class_count; k++) {
        data->class_weights[k] = 1;
    }
    if (options->balance) {
        balance(model, &data->train, data->class_weights);
    }
    const char *name;
    json_t *weight;
    json_object_foreach((json_t *)(uintptr_t)options->class_weights, name, weight)
    {
        int k = find_class(model, name);
        double number = json_number_value(weight);
        if (k < 0 || !json_is_number(weight) || !(number >= 1e-6 && number <= 1e6)) {
            return mlq_fail(err, MLQ_EINVAL, "class_weights: '%s': %s", name,
                            k < 0 ? "no such class in the training table"
                                  : "expected a number from 1e-6 to 1e6");
        }
        data->class_weights[k] *= (float)number;
    }
    data->loss.weights = data->class_weights;
    return 0;
}
