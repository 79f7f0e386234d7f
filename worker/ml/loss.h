/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Losses over the outputs of one shard. Each returns the sum over its rows, in double, in row
 * order, and writes scale * d(sum)/d(outputs); with scale = 1 / (samples of the whole step) the
 * shards' gradients add up to the gradient of the step's mean loss. Rows from `rows` to
 * `rows_padded` are padding: they add nothing, and their gradient is zero, so that kernels always
 * see the same shapes.
 */
#ifndef MLQ_ML_LOSS_H
#define MLQ_ML_LOSS_H

#include <stdint.h>

struct loss_shape {
    uint32_t rows;
    uint32_t rows_padded;
    uint32_t outputs; /* columns */
};

/* Cross-entropy of softmax(outputs) against class labels. Binary models have two outputs, which is
 * logistic regression on their difference. `gradient` may be NULL. */
double loss_softmax(struct loss_shape shape,
                    const float *outputs,
                    const uint32_t *labels,
                    float scale,
                    float *gradient);

/* Squared error (z - y)^2, one output per row. */
double loss_squared(struct loss_shape shape,
                    const float *outputs,
                    const float *targets,
                    float scale,
                    float *gradient);

/* softmax of each row in double, for predictions: probabilities sum to 1 within rounding. */
void loss_probabilities(struct loss_shape shape, const float *outputs, double *probabilities);

/* The index of the largest of `count` outputs, the first of equals. */
uint32_t loss_argmax(const float *outputs, uint32_t count);

#endif
