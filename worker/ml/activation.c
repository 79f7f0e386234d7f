/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/activation.h"

#include <string.h>

#include "worker/ml/func.h"
#include "worker/ml/wide.h"

bool activation_keeps_input(enum layer_activation kind)
{
    return kind == LAYER_GELU;
}

ML_WIDE
void activation_forward(enum layer_activation kind,
                        size_t count,
                        float *restrict values,
                        float *restrict input)
{
    switch (kind) {
    case LAYER_IDENTITY:
        break;
    case LAYER_RELU:
        for (size_t i = 0; i < count; i++) {
            /* A NaN must come through, to be seen in the loss: fmaxf would hide it. */
            values[i] = values[i] < 0.0f ? 0.0f : values[i];
        }
        break;
    case LAYER_GELU:
        memcpy(input, values, count * sizeof(float));
        for (size_t i = 0; i < count; i++) {
            values[i] = input[i] * func_normal(input[i]).integral;
        }
        break;
    case LAYER_TANH:
        for (size_t i = 0; i < count; i++) {
            values[i] = func_tanh(values[i]);
        }
        break;
    }
}

ML_WIDE
void activation_backward(enum layer_activation kind,
                         size_t count,
                         const float *restrict values,
                         const float *restrict input,
                         float *restrict gradient)
{
    switch (kind) {
    case LAYER_IDENTITY:
        break;
    case LAYER_RELU:
        for (size_t i = 0; i < count; i++) {
            float value = gradient[i]; /* nothing passes where the activation is 0 */
            gradient[i] = values[i] > 0.0f ? value : 0.0f;
        }
        break;
    case LAYER_GELU:
        for (size_t i = 0; i < count; i++) {
            struct func_normal at = func_normal(input[i]);
            gradient[i] *= at.integral + input[i] * at.density;
        }
        break;
    case LAYER_TANH:
        for (size_t i = 0; i < count; i++) {
            gradient[i] *= 1.0f - values[i] * values[i];
        }
        break;
    }
}
