/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/optim.h"

#include <math.h>
#include <stddef.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"
#include "worker/ml/wide.h"

struct optim *optim_create(struct optim_options options, uint64_t parameter_count)
{
    struct optim *optim = mlq_alloc(sizeof(*optim));
    optim->options = options;
    optim->count = parameter_count;
    if (options.kind != OPTIM_SGD || options.momentum > 0) {
        optim->first = mlq_alloc_array(parameter_count, sizeof(float));
    }
    if (options.kind != OPTIM_SGD) {
        optim->second = mlq_alloc_array(parameter_count, sizeof(float));
    }
    return optim;
}

void optim_destroy(struct optim **optim)
{
    if (*optim == NULL) {
        return;
    }
    mlq_free((*optim)->first);
    mlq_free((*optim)->second);
    mlq_free(*optim);
    *optim = NULL;
}

struct range {
    uint64_t begin;
    uint64_t end;
};

ML_WIDE
static void sgd_range(struct optim *optim,
                      struct range range,
                      double lr,
                      double decay,
                      float *restrict w,
                      const float *restrict g)
{
    const struct optim_options *options = &optim->options;
    float rate = (float)lr, momentum = (float)options->momentum, shrink = (float)decay;
    float *restrict v = optim->first;
    for (uint64_t i = range.begin; i < range.end; i++) {
        float step = g[i] + shrink * w[i];
        if (v != NULL) {
            v[i] = momentum * v[i] + step;
            step = options->nesterov ? step + momentum * v[i] : v[i];
        }
        w[i] -= rate * step;
    }
}

/* The corrections depend on the step alone, so they are taken in double, once. */
ML_WIDE
static void adam_range(struct optim *optim,
                       struct range range,
                       double lr,
                       double l2,
                       double decay,
                       float *restrict w,
                       const float *restrict g)
{
    const struct optim_options *options = &optim->options;
    double t = (double)optim->steps;
    float rate = (float)(lr / (1 - pow(options->beta1, t)));
    float root = (float)(1 / sqrt(1 - pow(options->beta2, t)));
    float keep = (float)(1 - lr * decay), shrink = (float)l2;
    float b1 = (float)options->beta1, c1 = (float)(1 - options->beta1);
    float b2 = (float)options->beta2, c2 = (float)(1 - options->beta2);
    float epsilon = (float)options->epsilon;
    float *restrict m = optim->first, *restrict v = optim->second;
    for (uint64_t i = range.begin; i < range.end; i++) {
        float slope = g[i] + shrink * w[i];
        m[i] = b1 * m[i] + c1 * slope;
        v[i] = b2 * v[i] + c2 * slope * slope;
        w[i] = keep * w[i] - rate * m[i] / (sqrtf(v[i]) * root + epsilon);
    }
}

static void step_range(
    struct optim *optim, struct range range, double lr, bool decays, float *w, const float *g)
{
    const struct optim_options *options = &optim->options;
    double l2 = decays ? options->l2 : 0;
    double decay = decays ? options->weight_decay : 0;
    switch (options->kind) {
    case OPTIM_SGD:
        sgd_range(optim, range, lr, l2 + decay, w, g);
        break;
    case OPTIM_ADAM:
        adam_range(optim, range, lr, l2 + decay, 0, w, g);
        break;
    case OPTIM_ADAMW:
        adam_range(optim, range, lr, l2, decay, w, g);
        break;
    }
}

void optim_step(struct optim *optim, struct model *model, double lr, const float *gradient)
{
    MLQ_ASSERT(optim->count == model->parameter_count);
    optim->steps++;
    for (uint32_t i = 0; i < model->layer_count; i++) {
        const struct layer *layer = &model->layers[i];
        struct range weights = {.begin = layer->weight_at, .end = layer->bias_at};
        struct range biases = {.begin = layer->bias_at, .end = layer->bias_at + layer->bias_count};
        step_range(optim, weights, lr, layer_decays(layer), model->parameters, gradient);
        step_range(optim, biases, lr, false, model->parameters, gradient);
    }
}

#define LANES 8u

/* Eight sums side by side, then those in order. */
double optim_norm(const float *gradient, uint64_t count)
{
    double sums[LANES] = {0};
    for (uint64_t i = 0; i + LANES <= count; i += LANES) {
        for (uint64_t lane = 0; lane < LANES; lane++) {
            double g = (double)gradient[i + lane];
            sums[lane] += g * g;
        }
    }
    for (uint64_t i = count / LANES * LANES; i < count; i++) {
        sums[i % LANES] += (double)gradient[i] * (double)gradient[i];
    }
    double sum = 0;
    for (uint32_t lane = 0; lane < LANES; lane++) {
        sum += sums[lane];
    }
    return sqrt(sum);
}

void optim_clip(float *gradient, uint64_t count, double norm, double limit)
{
    if (norm <= limit) {
        return;
    }
    float scale = (float)(limit / (norm + 1e-6));
    for (uint64_t i = 0; i < count; i++) {
        gradient[i] *= scale;
    }
}
