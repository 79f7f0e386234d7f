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
    struct tree_room room; /* for a gradient in parts */
};

/* The moments are zeroed. For a resumed run set `steps` and fill the moments. */
MLQ_OWNED_RETURN struct optim *optim_create(struct optim_options options, uint64_t parameter_count);
void optim_destroy(struct optim **optim); /* takes NULL, frees, nulls */

/* One step on the whole model with this learning rate. `gradient` is [parameter_count]. */
void optim_step(struct optim *optim, struct model *model, double lr, const float *gradient);

/* ---- The same, part by part ---- */

/* What a step does to weights that decay, and to those that do not. */
struct optim_rates {
    enum optim_kind kind;
    struct optim_sgd {
        float rate;
        float momentum;
        float shrink; /* of the weight, added to the gradient */
        bool nesterov;
    } sgd;
    struct optim_adam {
        float rate; /* with the first moment's correction */
        float root; /* the second one's */
        float keep; /* of the weight */
        float shrink;
        float b1, c1;
        float b2, c2;
        float epsilon;
    } adam;
};

struct optim_step {
    struct optim_rates plain;
    struct optim_rates decaying;
    /* Still in parts, each of parameter_count: they are added on the way, which saves to write the
     * sum and to read it again. */
    struct tree_rest gradient;
    float scale; /* of the gradient: optim_clip_scale */
};

/* The next step, which counts as done from here on. */
struct optim_step optim_next(struct optim *optim, double lr, struct tree_rest gradient, float scale);

/* It for the parameters [begin, end), once each. */
void optim_step_part(struct optim *optim, const struct model *model, const struct optim_step *step,
                     uint64_t begin, uint64_t end);

/* The length of the gradient, in double, in one fixed order. */
double optim_norm(const float *gradient, uint64_t count);

/* What a gradient is to be multiplied by that is to be no longer than `limit` (Pascanu et al. 2013;
 * PyTorch's form: limit / (norm + 1e-6)); 1 if it is not. */
float optim_clip_scale(double norm, double limit);

#endif
