/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Optimizers over the model's parameter arena. Elementwise and in float: any slice of the arena can
 * be stepped by anyone with the same bits. Decay never touches biases.
 *
 * SGD (momentum as in PyTorch, after Sutskever et al. 2013); the first v is g:
 *     g += weight_decay * w;  v = momentum * v + g
 *     w -= lr * (nesterov ? g + momentum * v : v)
 *
 * AdamW (Loshchilov and Hutter 2019, algorithm 2; PyTorch's form):
 *     w -= lr * weight_decay * w;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
 *     w -= lr / (1 - b1^t) * m / (sqrt(v / (1 - b2^t)) + epsilon)
 *
 * Adam (Kingma and Ba 2015, PyTorch's form): the same, but the decay is part of the gradient:
 *     g += weight_decay * w
 */
#ifndef MLQ_ML_OPTIM_H
#define MLQ_ML_OPTIM_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/ownership.h"
#include "worker/ml/model.h"
#include "worker/ml/tree.h"

enum optim_kind { OPTIM_SGD, OPTIM_ADAM, OPTIM_ADAMW };

struct optim_options {
    enum optim_kind kind;
    double weight_decay;
    double l2;       /* adds l2 / 2 * |weights|^2 to the loss, whatever the optimizer */
    double momentum; /* SGD */
    bool nesterov;
    double beta1; /* Adam, AdamW */
    double beta2;
    double epsilon;
};

struct optim {
    struct optim_options options;
    uint64_t steps; /* done so far */
    uint64_t count; /* parameters */
    float *first;   /* momentum, or first moment; NULL for SGD without momentum */
    float *second;  /* second moment; NULL for SGD */
    struct tree_room room; /* for optim_step_rest */
};

/* The moments are zeroed. For a resumed run set `steps` and fill the moments. */
MLQ_OWNED_RETURN struct optim *optim_create(struct optim_options options, uint64_t parameter_count);
void optim_destroy(struct optim **optim); /* takes NULL, frees, nulls */

/* One step on the whole model with this learning rate. `gradient` is [parameter_count]. */
void optim_step(struct optim *optim, struct model *model, double lr, const float *gradient);

/* The same with a gradient that is still in parts, each of as many: they are added on the way, which
 * saves to write the sum and to read it again. */
void optim_step_rest(struct optim *optim, struct model *model, double lr, struct tree_rest gradient);

/* The length of the gradient, in double, in one fixed order. */
double optim_norm(const float *gradient, uint64_t count);

/* Scales a gradient that is longer than `limit` down to it (Pascanu et al. 2013; PyTorch's form:
 * by limit / (norm + 1e-6)). */
void optim_clip(float *gradient, uint64_t count, double norm, double limit);

#endif
