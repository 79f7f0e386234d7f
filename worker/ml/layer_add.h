/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The sum of two values of one shape: the end of a residual connection (He et al. 2016).
 */
#ifndef MLQ_ML_LAYER_ADD_H
#define MLQ_ML_LAYER_ADD_H

#include "worker/ml/layer.h"

extern const struct layer_ops layer_add_ops;

#endif
