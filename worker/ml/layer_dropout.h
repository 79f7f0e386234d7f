/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Dropout (Srivastava et al. 2014), inverted: in training each number is kept with probability
 * 1 - rate and divided by it. Which ones is a function of (seed, epoch, layer, sample, place), so
 * it is the same whoever computes the sample. The rate is rounded to 1 / 65536.
 */
#ifndef MLQ_ML_LAYER_DROPOUT_H
#define MLQ_ML_LAYER_DROPOUT_H

#include "worker/ml/layer.h"

extern const struct layer_ops layer_dropout_ops;

#endif
