/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A fully connected layer; an image is read as one long row, channels last.
 */
#ifndef MLQ_ML_LAYER_DENSE_H
#define MLQ_ML_LAYER_DENSE_H

#include "worker/ml/layer.h"

extern const struct layer_ops layer_dense_ops;

/* For layers that end in a bias: y[row][j] += bias[j]. */
void layer_dense_add_bias(size_t rows, size_t columns, const float *bias, float *y);

/* Its gradient: sums over rows, from the first to the last. */
void layer_dense_sum_rows(size_t rows, size_t columns, const float *values, float *sums);

#endif
