/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A convolution of each channel with a kernel of its own: weight [kernel_height][kernel_width]
 * [channels].
 */
#ifndef MLQ_ML_LAYER_DEPTHWISE_H
#define MLQ_ML_LAYER_DEPTHWISE_H

#include "worker/ml/layer.h"

extern const struct layer_ops layer_depthwise_ops;

#endif
