/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Losses over the outputs of one shard. loss_compute returns the sum over its rows, in double, in
 * row order, and writes scale * d(sum)/d(outputs); with scale = 1 / (weight of the whole step) the
 * shards' gradients add up to the gradient of the step's mean loss. Rows from `rows` to
 * `rows_padded` are padding: they add nothing, and their gradient is zero, so that kernels always
 * see the same shapes. The definitions are PyTorch's (1.13 to 2.x):
 *
 *   cross-entropy  -sum_k q_k log softmax(z)_k, q_k = w_k ((1 - s) [k is the label] + s / K)
 *   bce            one output, the logit of class 1: w_y (softplus(z) - q z), q = y (1 - s) + s / 2
 *   squared        (z - t)^2
 *   huber          e^2 / 2 where |e| = |z - t| <= delta, else delta (|e| - delta / 2)
 *
 * s is the label smoothing, w_k the weight of class k (1 without weights). The mean is over the
 * weights of the rows' labels: sum of losses / sum of w_y.
 */
#ifndef MLQ_ML_LOSS_H
#define MLQ_ML_LOSS_H

#include <stdint.h>

enum loss_kind { LOSS_CROSS_ENTROPY, LOSS_BCE, LOSS_SQUARED, LOSS_HUBER };

struct loss {
    enum loss_kind kind;
    float smoothing;      /* 0 to below 1: CROSS_ENTROPY, BCE */
    float delta;          /* > 0: HUBER */
    const float *weights; /* per class, >= 0: CROSS_ENTROPY, BCE; NULL: all 1 */
};

struct loss_shape {
    uint32_t rows;
    uint32_t rows_padded;
    uint32_t outputs; /* columns; 1 for all but CROSS_ENTROPY */
};

/* Of rows with a class, or a number. A row of two classes is share of its label and the rest of the
 * other one: its loss is that mixture of their losses. */
struct loss_truth {
    const uint32_t *labels;
    const float *targets;
    const uint32_t *others; /* NULL: one class each */
    const float *shares;    /* of `labels`, 0..1 */
};

/* `gradient` may be NULL. */
double loss_compute(const struct loss *loss,
                    struct loss_shape shape,
                    const float *outputs,
                    struct loss_truth truth,
                    float scale,
                    float *gradient);

/* What the rows weigh: their number without weights. */
double loss_weight(const struct loss *loss, uint32_t rows, const uint32_t *labels);

/* softmax of each row in double, for predictions: probabilities sum to 1 within rounding. */
void loss_probabilities(struct loss_shape shape, const float *outputs, double *probabilities);

/* For bce: [1 - p, p] per row from its one logit. */
void loss_probabilities_sigmoid(uint32_t rows, const float *outputs, double *probabilities);

/* The index of the largest of `count` outputs, the first of equals. */
uint32_t loss_argmax(const float *outputs, uint32_t count);

#endif
