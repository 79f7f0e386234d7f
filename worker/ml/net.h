/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The network of a model: forward and backward over a fixed number of rows, with all memory taken
 * before the first step. The kernel calls of a pass depend only on the model and `rows`, never on
 * the rank or on what ran before (gradients are written with beta = 0), so the same rows give the
 * same bits wherever they are computed. reference: Goodfellow, Bengio, Courville, Deep Learning
 * (2016), 6.5.
 */
#ifndef MLQ_ML_NET_H
#define MLQ_ML_NET_H

#include <stdint.h>

#include "lib/base/ownership.h"
#include "worker/ml/model.h"

struct net; /* activations for one model and one number of rows */

/* Borrows `model`, whose layers must not change after; its parameters may. */
MLQ_OWNED_RETURN struct net *net_create(const struct model *model, uint32_t rows);
void net_destroy(struct net **net);

/* Where the inputs [rows][input_count] go; unused rows must be zeros, not garbage. */
float *net_inputs(struct net *net);

/* Runs all layers; the result is [rows][output_count], valid until the next pass. */
float *net_forward(struct net *net);

/* After net_forward: `output_gradient` [rows][output_count] is d(loss)/d(outputs), and `gradient`
 * [parameter_count] is overwritten with d(loss)/d(parameters). The activations are consumed. */
void net_backward(struct net *net, const float *output_gradient, float *gradient);

/* He et al. 2015 (weights normal with variance 2 / inputs before a ReLU; 1 / inputs before the
 * outputs), biases zero. Keyed by (seed, parameter index): the same on every machine. */
void net_init_parameters(struct model *model, uint64_t seed);

/* The first layer with a NaN or an infinity among `values` [parameter_count] (parameters or
 * gradients), or -1 when all are finite. For messages. */
int net_find_not_finite(const struct model *model, const float *values);

#endif
