/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The network of a model: forward and backward through its layers over a fixed number of rows, with
 * all memory (one arena for values, gradients and what layers keep) taken before the first step.
 * The arithmetic of a shard depends only on the model and `rows`, never on the rank, on what ran
 * before (gradients are written with beta = 0), or on the shards that go through at the same time, so
 * the same rows give the same bits wherever they are computed. Where a value is read by several layers, their gradients are added in the reverse
 * order of the list. reference: Goodfellow, Bengio, Courville, Deep Learning (2016), 6.5.
 */
#ifndef MLQ_ML_NET_H
#define MLQ_ML_NET_H

#include <stdint.h>

#include "lib/base/ownership.h"
#include "worker/ml/model.h"
#include "worker/ml/tree.h"

struct net; /* for one model and one number of rows */

/* Borrows `model`, whose layers must not change after; its arena may. Without `backward` only
 * net_forward may be called, and less memory is taken. */
MLQ_OWNED_RETURN struct net *net_create(const struct model *model, uint32_t rows, bool backward);
/* For training, with `shards` of `rows` at once, one behind the other. */
MLQ_OWNED_RETURN struct net *net_create_shards(const struct model *model, uint32_t shards,
                                               uint32_t rows);
void net_destroy(struct net **net);

/* The floats of a shard that go through its memory in a pass. */
uint64_t net_shard_floats(const struct model *model, uint32_t rows);

/* Where the inputs [shards * rows][input_count] go; unused rows must be zeros, not garbage. */
float *net_inputs(struct net *net);

/* Runs all layers as in use; the result is [rows][output_count], valid until the next pass. Rows
 * from `used` on are padding. */
const float *net_forward(struct net *net, uint32_t used);

/* The same as in training: dropout, and statistics of each shard's rows. A shard without a used row
 * is left out: nothing can be said of its outputs. */
struct net_batch {
    uint32_t used;           /* of all rows */
    const uint32_t *samples; /* [used]: which sample of the data each row is */
    uint64_t key;            /* of (seed, epoch) */
};
const float *net_forward_training(struct net *net, const struct net_batch *batch);

/* Where d(loss)/d(outputs) [shards * rows][output_count] goes, zero for the padding of a shard that has
 * used rows. */
float *net_output_gradient(struct net *net);

/* After net_forward_training and with the output gradient filled: `gradient` [arena_count] is
 * overwritten with d(loss)/d(parameters), and with what moves the state (layer.h). The values are
 * consumed. */
void net_backward(struct net *net, float *gradient);

/* The same of each shard, folded (tree.h). `filled` is that of the pass, whatever it says. */
void net_backward_sums(struct net *net, const struct tree_sums *sums);

/* He et al. 2015 (weights normal with variance 2 / fan-in before a ReLU or GELU; 1 / fan-in
 * elsewhere), biases zero. Keyed by (seed, place in the arena): the same on every machine. */
void net_init_parameters(struct model *model, uint64_t seed);

/* After a step over `samples` rows: moves the running statistics that are among the numbers [begin,
 * end) of the arena, once each, by the step's gradient, whose views are [arena_count]. */
void net_move_state(const struct model *model, uint32_t samples, struct tree_rest gradient,
                    uint64_t begin, uint64_t end);

/* The first layer with a NaN or an infinity among `values` [arena_count] (parameters or gradients),
 * or -1 when all are finite. For messages. */
int net_find_not_finite(const struct model *model, const float *values);

#endif
