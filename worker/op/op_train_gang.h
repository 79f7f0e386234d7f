/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Who trains together. Either a fixed gang (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT), which
 * meets once and ends with its first loss; or, with MLQ_ELASTIC, the generations of an elastic one:
 * a thread waits for memberships (lib/task/task.h), this process meets the others of the newest
 * one, trains with them until a member goes or comes, and meets the next.
 *
 * What wakes a rank that waits for a dead one is that thread: a membership that lacks a member of
 * the generation in use aborts its collectives. A member that comes is no reason to break a step:
 * all tell each other the newest generation that they have heard of, and change together behind it.
 */
#ifndef MLQ_OP_OP_TRAIN_GANG_H
#define MLQ_OP_OP_TRAIN_GANG_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "lib/task/task_flight.h"
#include "worker/coll/coll.h"
#include "worker/op/op.h"

struct op_train_gang;

/* What a training may end with beside OP_STOPPED; positive, as that is. */
#define OP_TRAIN_CHANGED 2 /* the next generation is to be met */
#define OP_TRAIN_OVER    3 /* the attempt has ended well: somebody else has written its outputs */

struct op_train_gang_options {
    struct op_context *ctx;
    struct task_flight *flight;
    enum coll_kind kind;
    uint64_t fingerprint; /* of rows, parameters and engine: equal among members */
};

int op_train_gang_create(const struct op_train_gang_options *options,
                         MLQ_OWNED_RETURN struct op_train_gang **gang, struct mlq_err *err);
void op_train_gang_destroy(struct op_train_gang **gang); /* takes NULL, frees, nulls */

/* Closes the generation in use and meets the next one, however long that takes; a fixed gang is met
 * once. *coll is the gang's, valid until the next call. OP_STOPPED: this process was asked to stop,
 * or is not wanted (any more). OP_TRAIN_OVER: see above. */
int op_train_gang_next(struct op_train_gang *gang, struct coll **coll, struct mlq_err *err);

/* All is trained, and the leader of the generation in use writes the outputs: from now on
 * memberships that it is part of are passed over. */
void op_train_gang_finish(struct op_train_gang *gang);

/* A rank of the generation in use has said that it leaves. */
void op_train_gang_leaves(struct op_train_gang *gang, uint32_t rank);

bool op_train_gang_is_elastic(const struct op_train_gang *gang);
/* Whether this process would lead the newest membership that it has heard of, without those that
 * leave. */
bool op_train_gang_is_first(struct op_train_gang *gang);
uint64_t op_train_gang_generation(const struct op_train_gang *gang);
uint64_t op_train_gang_newest(struct op_train_gang *gang); /* of which this process has heard */
uint64_t op_train_gang_count(const struct op_train_gang *gang); /* generations that were met */

/* Whether an error of a collective means that the gang has lost somebody, or is in a newer
 * generation: nothing that this process has done wrong. */
bool op_train_gang_is_loss(int rc);

#endif
