/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What the numerics are compared with: definitions in double, by the C library.
 */
#ifndef MLQ_TESTS_UNIT_ML_DOUBLE_H
#define MLQ_TESTS_UNIT_ML_DOUBLE_H

#include <math.h>

#include "worker/ml/layer.h"

static inline double ml_double_activate(enum layer_activation activation, double x)
{
    switch (activation) {
    case LAYER_IDENTITY:
        return x;
    case LAYER_RELU:
        return x < 0 ? 0 : x;
    case LAYER_GELU:
        return x * 0.5 * (1 + erf(x / sqrt(2.0)));
    case LAYER_TANH:
        return tanh(x);
    }
    return 0;
}

#endif
