/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Activations over whole values, element by element.
 */
#ifndef MLQ_ML_ACTIVATION_H
#define MLQ_ML_ACTIVATION_H

#include <stdbool.h>
#include <stddef.h>

#include "worker/ml/layer.h"

/* Whether the gradient needs the numbers from before the activation. */
bool activation_keeps_input(enum layer_activation kind);

/* values[i] = f(values[i]); what was there goes to `input` where activation_keeps_input. */
void activation_forward(enum layer_activation kind, size_t count, float *values, float *input);

/* gradient[i] *= f'(..), from the activated `values`, or from `input`. */
void activation_backward(enum layer_activation kind,
                         size_t count,
                         const float *values,
                         const float *input,
                         float *gradient);

#endif
