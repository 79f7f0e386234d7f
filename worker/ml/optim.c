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

/* ---- The arithmetic of a step ---- */

struct sgd {
    float rate;
    float momentum;
    float shrink;
    bool nesterov;
};

ML_WIDE
static void sgd_step(struct sgd by, uint64_t count, float *restrict w, float *restrict v,
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

struct adam {
    float rate;
    float root;
    float keep;
    float shrink;
    float b1, c1;
    float b2, c2;
    float epsilon;
};

/* The corrections depend on the step alone, so they are taken in double, once. */
static struct adam adam_of(const struct optim *optim, double lr, double l2, double decay)
{
    const struct optim_options *options = &optim->options;
    double t = (double)optim->steps;
    return (struct adam){
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
static void adam_step(struct adam by, uint64_t count, float *restrict w, float *restrict m,
                      float *restrict v, const float *restrict g)
{
    for (uint64_t i = 0; i < count; i++) {
        float slope = g[i] + by.shrink * w[i];
        m[i] = by.b1 * m[i] + by.c1 * slope;
        v[i] = by.b2 * v[i] + by.c2 * slope * slope;
        w[i] = by.keep * w[i] - by.rate * m[i] / (sqrtf(v[i]) * by.root + by.epsilon);
    }
}

/* ---- Over the arena ---- */

struct update {
    enum optim_kind kind;
    struct sgd sgd;
    struct adam adam;
};

static struct update update_of(const struct optim *optim, double lr, bool decays)
{
    const struct optim_options *options = &optim->options;
    double l2 = decays ? options->l2 : 0, decay = decays ? options->weight_decay : 0;
    bool is_decoupled = options->kind == OPTIM_ADAMW;
    return (struct update){
        .kind = options->kind,
        .sgd = {.rate = (float)lr,
                .momentum = (float)options->momentum,
                .shrink = (float)(l2 + decay),
                .nesterov = options->nesterov},
        .adam = adam_of(optim, lr, is_decoupled ? l2 : l2 + decay, is_decoupled ? decay : 0),
    };
}

static void step_range(struct optim *optim, const struct update *update, struct range range,
                       float *w, struct tree_rest gradient)
{
    float *m = optim->first, *v = optim->second;
    for (uint64_t at = range.begin; at < range.end; at += TREE_BLOCK_FLOATS) {
        uint64_t left = range.end - at, count = left < TREE_BLOCK_FLOATS ? left : TREE_BLOCK_FLOATS;
        const float *g = tree_finish_block(gradient, at, count, &optim->room);
        if (update->kind == OPTIM_SGD) {
            sgd_step(update->sgd, count, w + at, m == NULL ? NULL : m + at, g);
        } else {
            adam_step(update->adam, count, w + at, m + at, v + at, g);
        }
    }
}

void optim_step_rest(struct optim *optim, struct model *model, double lr, struct tree_rest gradient)
{
    MLQ_ASSERT(optim->count == model->parameter_count);
    optim->steps++;
    const struct update plain = update_of(optim, lr, false), decaying = update_of(optim, lr, true);
    for (uint32_t i = 0; i < model->layer_count; i++) {
        const struct layer *layer = &model->layers[i];
        struct range weights = {.begin = layer->weight_at, .end = layer->bias_at};
        struct range biases = {.begin = layer->bias_at, .end = layer->bias_at + layer->bias_count};
        const struct update *update = layer_decays(layer) ? &decaying : &plain;
        step_range(optim, update, weights, model->parameters, gradient);
        step_range(optim, &plain, biases, model->parameters, gradient);
    }
}

void optim_step(struct optim *optim, struct model *model, double lr, const float *gradient)
{
    const struct tree_view whole = {.values = gradient};
    optim_step_rest(optim, model, lr, (struct tree_rest){.views = &whole, .count = 1});
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
