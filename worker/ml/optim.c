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

/* ---- The arithmetic of a step ---- */

ML_WIDE
static void sgd_step(struct optim_sgd by, uint64_t count, float *restrict w, float *restrict v,
                     const float *restrict g)
{
    for (uint64_t i = 0; i < count; i++) {
        float step = g[i] + by.shrink * w[i];
        if (v != NULL) {
            v[i] = by.momentum * v[i] + step;
            step = by.nesterov ? step + by.momentum * v[i] : v[i];
        }
        w[i] -= by.rate * step;
    }
}

/* The corrections depend on the step alone, so they are taken in double, once. */
static struct optim_adam adam_of(const struct optim *optim, double lr, double l2, double decay)
{
    const struct optim_options *options = &optim->options;
    double t = (double)optim->steps;
    return (struct optim_adam){
        .rate = (float)(lr / (1 - pow(options->beta1, t))),
        .root = (float)(1 / sqrt(1 - pow(options->beta2, t))),
        .keep = (float)(1 - lr * decay),
        .shrink = (float)l2,
        .b1 = (float)options->beta1,
        .c1 = (float)(1 - options->beta1),
        .b2 = (float)options->beta2,
        .c2 = (float)(1 - options->beta2),
        .epsilon = (float)options->epsilon,
    };
}

ML_WIDE
static void adam_step(struct optim_adam by, uint64_t count, float *restrict w, float *restrict m,
                      float *restrict v, const float *restrict g)
{
    for (uint64_t i = 0; i < count; i++) {
        float slope = g[i] + by.shrink * w[i];
        m[i] = by.b1 * m[i] + by.c1 * slope;
        v[i] = by.b2 * v[i] + by.c2 * slope * slope;
        w[i] = by.keep * w[i] - by.rate * m[i] / (sqrtf(v[i]) * by.root + by.epsilon);
    }
}

static struct optim_rates rates_of(const struct optim *optim, double lr, bool decays)
{
    const struct optim_options *options = &optim->options;
    double l2 = decays ? options->l2 : 0, decay = decays ? options->weight_decay : 0;
    bool is_decoupled = options->kind == OPTIM_ADAMW;
    return (struct optim_rates){
        .kind = options->kind,
        .sgd = {.rate = (float)lr,
                .momentum = (float)options->momentum,
                .shrink = (float)(l2 + decay),
                .nesterov = options->nesterov},
        .adam = adam_of(optim, lr, is_decoupled ? l2 : l2 + decay, is_decoupled ? decay : 0),
    };
}

/* ---- Over the arena ---- */

ML_WIDE
static void scale_into(float *to, const float *from, uint64_t count, float scale)
{
    for (uint64_t i = 0; i < count; i++) {
        to[i] = scale * from[i];
    }
}

/* The gradient of some numbers, in a room if it is not whole already. */
static const float *gradient_of(struct optim *optim, const struct optim_step *step, uint64_t at,
                                uint64_t count)
{
    const float *sum = tree_finish_block(step->gradient, at, count, &optim->room);
    if (step->scale == 1.0f) {
        return sum;
    }
    scale_into(optim->room.places[0], sum, count, step->scale);
    return optim->room.places[0];
}

struct range {
    uint64_t begin;
    uint64_t end;
};

static void step_range(struct optim *optim, const struct optim_step *step,
                       const struct optim_rates *by, struct range range, float *w)
{
    float *m = optim->first, *v = optim->second;
    for (uint64_t at = range.begin; at < range.end; at += TREE_BLOCK_FLOATS) {
        uint64_t left = range.end - at, count = left < TREE_BLOCK_FLOATS ? left : TREE_BLOCK_FLOATS;
        const float *g = gradient_of(optim, step, at, count);
        if (by->kind == OPTIM_SGD) {
            sgd_step(by->sgd, count, w + at, m == NULL ? NULL : m + at, g);
        } else {
            adam_step(by->adam, count, w + at, m + at, v + at, g);
        }
    }
}

static struct range common(struct range a, struct range b)
{
    struct range both = {.begin = a.begin > b.begin ? a.begin : b.begin,
                         .end = a.end < b.end ? a.end : b.end};
    return both.begin < both.end ? both : (struct range){.begin = 0, .end = 0};
}

void optim_step_part(struct optim *optim, const struct model *model, const struct optim_step *step,
                     uint64_t begin, uint64_t end)
{
    const struct range part = {.begin = begin, .end = end};
    MLQ_ASSERT(optim->count == model->parameter_count);
    for (uint32_t i = 0; i < model->layer_count; i++) {
        const struct layer *layer = &model->layers[i];
        struct range weights = {.begin = layer->weight_at, .end = layer->bias_at};
        struct range biases = {.begin = layer->bias_at, .end = layer->bias_at + layer->bias_count};
        const struct optim_rates *rates = layer_decays(layer) ? &step->decaying : &step->plain;
        step_range(optim, step, rates, common(weights, part), model->parameters);
        step_range(optim, step, &step->plain, common(biases, part), model->parameters);
    }
}

struct optim_step optim_next(struct optim *optim, double lr, struct tree_rest gradient, float scale)
{
    optim->steps++;
    return (struct optim_step){.plain = rates_of(optim, lr, false),
                               .decaying = rates_of(optim, lr, true),
                               .gradient = gradient,
                               .scale = scale};
}

void optim_step(struct optim *optim, struct model *model, double lr, const float *gradient)
{
    const struct tree_view whole = {.values = gradient};
    struct tree_rest rest = {.views = &whole, .count = 1};
    struct optim_step step = optim_next(optim, lr, rest, 1.0f);
    optim_step_part(optim, model, &step, 0, model->parameter_count);
}

/* ---- Clipping ---- */

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

float optim_clip_scale(double norm, double limit)
{
    return norm <= limit ? 1.0f : (float)(limit / (norm + 1e-6));
}
