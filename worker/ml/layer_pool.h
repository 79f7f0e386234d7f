/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The largest (the first of equals) or the mean of each window, channel by channel.
 */
#ifndef MLQ_ML_LAYER_POOL_H
#define MLQ_ML_LAYER_POOL_H

#include "worker/ml/layer.h"

extern const struct layer_ops layer_pool_max_ops;
extern const struct layer_ops layer_pool_average_ops;

#endif
