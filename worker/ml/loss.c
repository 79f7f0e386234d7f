/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/loss.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

static float largest(const float *values, uint32_t count)
{
    float max = values[0];
    for (uint32_t i = 1; i < count; i++) {
        max = values[i] > max ? values[i] : max;
    }
    return max;
}

/* The largest output is taken off first, so that no exponential overflows; a NaN or an infinity
 * among the outputs still makes the loss a NaN, which stops the training. */
static double
softmax_row(const float *z, uint32_t count, uint32_t label, float scale, float *gradient)
{
    float max = largest(z, count);
    float sum = 0;
    for (uint32_t j = 0; j < count; j++) {
        sum += expf(z[j] - max);
    }
    if (gradient != NULL) {
        for (uint32_t j = 0; j < count; j++) {
            gradient[j] = scale * (expf(z[j] - max) / sum - (j == label ? 1.0f : 0.0f));
        }
    }
    return log((double)sum) - (double)(z[label] - max);
}

static void clear_padding(struct loss_shape shape, float *gradient)
{
    if (gradient != NULL) {
        size_t from = (size_t)shape.rows * shape.outputs;
        size_t to = (size_t)shape.rows_padded * shape.outputs;
        memset(gradient + from, 0, (to - from) * sizeof(float));
    }
}

double loss_softmax(struct loss_shape shape,
                    const float *outputs,
                    const uint32_t *labels,
                    float scale,
                    float *gradient)
{
    double loss = 0;
    for (size_t row = 0; row < shape.rows; row++) {
        size_t at = row * shape.outputs;
        loss += softmax_row(outputs + at, shape.outputs, labels[row], scale,
                            gradient == NULL ? NULL : gradient + at);
    }
    clear_padding(shape, gradient);
    return loss;
}

double loss_squared(struct loss_shape shape,
                    const float *outputs,
                    const float *targets,
                    float scale,
                    float *gradient)
{
    double loss = 0;
    for (size_t row = 0; row < shape.rows; row++) {
        float error = outputs[row] - targets[row];
        loss += (double)error * (double)error;
        if (gradient != NULL) {
            gradient[row] = 2.0f * scale * error;
        }
    }
    clear_padding(shape, gradient);
    return loss;
}

void loss_probabilities(struct loss_shape shape, const float *outputs, double *probabilities)
{
    for (size_t row = 0; row < shape.rows; row++) {
        const float *z = outputs + row * shape.outputs;
        double *p = probabilities + row * shape.outputs;
        double max = (double)largest(z, shape.outputs);
        double sum = 0;
        for (uint32_t j = 0; j < shape.outputs; j++) {
            p[j] = exp((double)z[j] - max);
            sum += p[j];
        }
        for (uint32_t j = 0; j < shape.outputs; j++) {
            p[j] /= sum;
        }
    }
}

uint32_t loss_argmax(const float *outputs, uint32_t count)
{
    uint32_t best = 0;
    for (uint32_t j = 1; j < count; j++) {
        best = outputs[j] > outputs[best] ? j : best;
    }
    return best;
}
