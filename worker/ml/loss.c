/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/loss.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "worker/ml/func.h"

static float largest(const float *values, uint32_t count)
{
    float max = values[0];
    for (uint32_t i = 1; i < count; i++) {
        max = values[i] > max ? values[i] : max;
    }
    return max;
}

/* What a row's classes are; one alone is all of it, twice. */
struct row_classes {
    uint32_t label;
    uint32_t other;
    float share;
};

static struct row_classes classes_of(const struct loss_truth *truth, size_t row)
{
    uint32_t label = truth->labels[row];
    return truth->others == NULL
               ? (struct row_classes){label, label, 1}
               : (struct row_classes){label, truth->others[row], truth->shares[row]};
}

/* How much of the row is class k. */
static float part_of(const struct row_classes *row, uint32_t k)
{
    return (k == row->label ? row->share : 0.0f) + (k == row->other ? 1.0f - row->share : 0.0f);
}

static float label_weight(const struct loss *loss, uint32_t label)
{
    return loss->weights == NULL ? 1.0f : loss->weights[label];
}

/* The largest output is taken off first, so that no exponential overflows; a NaN or an infinity
 * among the outputs still makes the loss a NaN, which stops the training. */
static double softmax_row(const struct loss *loss, const float *z, uint32_t count,
                          const struct row_classes *row, float scale, float *gradient)
{
    float max = largest(z, count);
    float sum = 0, weight = 0;
    double correct = 0;
    for (uint32_t j = 0; j < count; j++) {
        sum += func_exp(z[j] - max);
        float share = loss->smoothing / (float)count;
        float q = label_weight(loss, j) * (share + (1.0f - loss->smoothing) * part_of(row, j));
        weight += q;
        correct += (double)q * (double)(z[j] - max);
        if (gradient != NULL) {
            gradient[j] = q;
        }
    }
    if (gradient != NULL) {
        for (uint32_t j = 0; j < count; j++) {
            gradient[j] = scale * (weight * (func_exp(z[j] - max) / sum) - gradient[j]);
        }
    }
    return (double)weight * log((double)sum) - correct;
}

/* softplus(z) = max(z, 0) + log(1 + e^-|z|), which does not overflow. */
static double bce_row(const struct loss *loss, float z, const struct row_classes *row, float scale,
                      float *gradient)
{
    float q = (1.0f - loss->smoothing) * part_of(row, 1) + loss->smoothing / 2;
    float w = label_weight(loss, row->label);
    float e = func_exp(z < 0 ? z : -z);
    float p = z < 0 ? e / (1 + e) : 1 / (1 + e);
    if (gradient != NULL) {
        *gradient = scale * w * (p - q);
    }
    double positive = z > 0 ? (double)z : 0;
    return (double)w * (positive + log1p((double)e) - (double)q * (double)z);
}

static double
distance_row(const struct loss *loss, float z, float target, float scale, float *gradient)
{
    float error = z - target;
    bool huber = loss->kind == LOSS_HUBER;
    bool far = huber && fabsf(error) > loss->delta;
    float slope = far ? copysignf(loss->delta, error) : huber ? error : 2 * error;
    if (gradient != NULL) {
        *gradient = scale * slope;
    }
    double e = (double)error, delta = (double)loss->delta;
    return far ? delta * (fabs(e) - delta / 2) : e * e / (huber ? 2 : 1);
}

static void clear_padding(struct loss_shape shape, float *gradient)
{
    if (gradient != NULL) {
        size_t from = (size_t)shape.rows * shape.outputs;
        size_t to = (size_t)shape.rows_padded * shape.outputs;
        memset(gradient + from, 0, (to - from) * sizeof(float));
    }
}

double loss_compute(const struct loss *loss,
                    struct loss_shape shape,
                    const float *outputs,
                    struct loss_truth truth,
                    float scale,
                    float *gradient)
{
    double sum = 0;
    for (size_t row = 0; row < shape.rows; row++) {
        const float *z = outputs + row * shape.outputs;
        float *g = gradient == NULL ? NULL : gradient + row * shape.outputs;
        struct row_classes classes = {.share = 1};
        switch (loss->kind) {
        case LOSS_CROSS_ENTROPY:
            classes = classes_of(&truth, row);
            sum += softmax_row(loss, z, shape.outputs, &classes, scale, g);
            break;
        case LOSS_BCE:
            classes = classes_of(&truth, row);
            sum += bce_row(loss, *z, &classes, scale, g);
            break;
        case LOSS_SQUARED:
        case LOSS_HUBER:
            sum += distance_row(loss, *z, truth.targets[row], scale, g);
            break;
        }
    }
    clear_padding(shape, gradient);
    return sum;
}

double loss_weight(const struct loss *loss, uint32_t rows, const uint32_t *labels)
{
    double sum = 0;
    for (uint32_t row = 0; row < rows && loss->weights != NULL; row++) {
        sum += (double)loss->weights[labels[row]];
    }
    return loss->weights == NULL ? rows : sum;
}

void loss_probabilities_sigmoid(uint32_t rows, const float *outputs, double *probabilities)
{
    for (size_t row = 0; row < rows; row++) {
        double p = 1 / (1 + exp(-(double)outputs[row]));
        probabilities[2 * row] = 1 - p;
        probabilities[2 * row + 1] = p;
    }
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
