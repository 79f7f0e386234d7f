/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Batch normalisation (Ioffe and Szegedy 2015) of each channel, over the rows of one virtual shard
 * ("ghost batch", Hoffer et al. 2017), so that it does not depend on who computes which shard:
 *     y = (x - mean) / sqrt(variance + LAYER_NORM_EPSILON) * weight + bias
 * In training mean and variance are those of the shard's used rows; else the state: running mean
 * and variance, moved after each step by LAYER_NORM_MOMENTUM towards the mean over the step's
 * shards, weighted by their rows (the variance unbiased, as PyTorch's). In a gradient the state's
 * places hold used rows times the shard's statistic.
 */
#ifndef MLQ_ML_LAYER_NORM_H
#define MLQ_ML_LAYER_NORM_H

#include "worker/ml/layer.h"

#define LAYER_NORM_EPSILON  1e-5f
#define LAYER_NORM_MOMENTUM 0.1f

extern const struct layer_ops layer_norm_ops;

/* After a step over `samples` rows: moves `count` numbers of the state by as many of the step's summed
 * gradient. */
void layer_norm_move_state(float *state, const float *gradient, uint64_t count, uint32_t samples);

#endif
