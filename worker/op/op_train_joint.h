/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Ranks that are all of one machine hold the state of their training together (worker/ml/joint.h):
 * parameters and moments lie in memory that all of them write, each steps a slice, and none does
 * what another one does too. Their gradients lie there as well, so that whoever is left has all
 * that a step needs which somebody has begun with.
 *
 * A step is
 *
 *     gradients       each its shards', added up as far as its range goes
 *     meet            all gradients are there, and stay
 *     step            each its slice
 *     meet            all slices are there: the next gradients may be computed
 *
 * When somebody is lost, each of the others takes the state out into memory of its own: as it was
 * before the step, or behind it when anybody had begun with it, who then knows that all had come to
 * the first meeting. So each has a whole state again, and the next generation makes its choice
 * among them (op_train_share), whether they are of one machine or not.
 */
#ifndef MLQ_OP_OP_TRAIN_JOINT_H
#define MLQ_OP_OP_TRAIN_JOINT_H

#include <stdint.h>

#include "lib/base/err.h"
#include "worker/ml/joint.h"
#include "worker/ml/stream.h"
#include "worker/op/op_train.h"

/* Of a gang whose ranks have the same state, all of which call it alike: model and optimizer then
 * point into memory of all, and train->joint is set. It stays NULL where the ranks are not all of
 * one machine, or there is one alone. `sums_bytes` are a rank's gradients. */
int op_train_joint_enter(struct op_train *train, uint64_t sums_bytes, struct mlq_err *err);

/* Between two steps: the state is this process's own again. Does nothing when it is already. */
void op_train_joint_leave(struct op_train *train);

/* While train->joint is set, until coll_close: zeroed at first, written by the rank alone. */
float *op_train_joint_sums(const struct op_train *train, uint32_t rank);
/* [arena_count]: each rank writes its slice. */
float *op_train_joint_gradient(const struct op_train *train);
struct joint_part op_train_joint_slice(const struct op_train *train);

/* How numbers are stored that the others read next. */
struct stream_choice *op_train_joint_stream(const struct op_train *train);
/* [JOINT_BLOCK_FLOATS]: memory of this rank's own, for a block on its way there. */
float *op_train_joint_room(const struct op_train *train);

/* Waits until all ranks have said the same: then all that they wrote before is there. An error is
 * none when another one has begun with the step: that is then to be gone on with. */
int op_train_joint_meet(struct op_train *train, struct mlq_err *err);

/* This rank's slice of the step that the optimizer has just counted, and waits for the others'.
 * After an error the whole step has been made all the same, by this process for itself, and
 * train->joint is NULL: `apply` found model and optimizer to be where they are then. */
int op_train_joint_step(struct op_train *train, joint_apply_fn *apply, void *context,
                        struct mlq_err *err);

#endif
