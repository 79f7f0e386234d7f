/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A convolution (without flipping, as everywhere in machine learning): weight [channels of out]
 * [kernel_height][kernel_width][channels of in].
 */
#ifndef MLQ_ML_LAYER_CONV_H
#define MLQ_ML_LAYER_CONV_H

#include "worker/ml/layer.h"

extern const struct layer_ops layer_conv_ops;

#endif
