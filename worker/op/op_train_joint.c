/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/op_train_joint.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>

#include "lib/base/panic.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"

#define LINE_BYTES 64u
/* "always" or "never", for measurements and tests. */
#define STREAM_VARIABLE "MLQ_OP_STREAM"

struct op_train_joint {
    struct joint joint;
    float *gradient;
    float *sums;
    uint64_t sums_floats; /* of a rank */
    struct stream_choice stream;
    float room[JOINT_BLOCK_FLOATS];
};

/* ---- Where the state is ---- */

/* Whose values move; returns how many there are. */
static uint32_t places_of(struct op_train *train, float **places[JOINT_VECTORS_MAX])
{
    float **const all[] = {&train->data.model->parameters, &train->optim->first,
                           &train->optim->second};
    uint32_t count = 0;
    for (size_t i = 0; i < MLQ_COUNT_OF(all); i++) {
        if (*all[i] != NULL) {
            places[count++] = all[i];
        }
    }
    return count;
}

static struct joint_shape shape_of(struct op_train *train)
{
    float **places[JOINT_VECTORS_MAX];
    const struct model *model = train->data.model;
    return (struct joint_shape){
        .ranks = coll_size(train->coll),
        .vectors = places_of(train, places),
        .floats = {model->arena_count, model->parameter_count, model->parameter_count}};
}

/* Floats of whole lines for so many bytes. */
static uint64_t line_floats(uint64_t bytes)
{
    return (bytes + LINE_BYTES - 1) / LINE_BYTES * (LINE_BYTES / sizeof(float));
}

static void point_to(struct op_train *train, float *const vectors[])
{
    float **places[JOINT_VECTORS_MAX];
    uint32_t count = places_of(train, places);
    for (uint32_t i = 0; i < count; i++) {
        *places[i] = vectors[i];
    }
}

/* ---- In and out ---- */

static int put_in(struct op_train *train, struct joint *joint, struct mlq_err *err)
{
    float **places[JOINT_VECTORS_MAX], *own[JOINT_VECTORS_MAX];
    uint32_t count = places_of(train, places);
    for (uint32_t i = 0; i < count; i++) {
        own[i] = *places[i];
    }
    joint_put(joint, train->optim->steps, own);
    int rc = coll_barrier(train->coll, OP_TRAIN_TIMEOUT_NS, err);
    if (rc == 0) {
        point_to(train, joint->vectors);
        for (uint32_t i = 0; i < count; i++) {
            mlq_free(own[i]);
        }
    }
    return rc;
}

int op_train_joint_enter(struct op_train *train, uint64_t sums_bytes, struct mlq_err *err)
{
    struct joint_shape shape = shape_of(train);
    uint64_t state = line_floats(joint_bytes(&shape)), sums = line_floats(sums_bytes);
    uint64_t gradient = line_floats(shape.floats[0] * sizeof(float));
    uint64_t bytes = (state + gradient + shape.ranks * sums) * sizeof(float);
    void *memory = NULL;
    int rc = shape.ranks == 1
                 ? 0
                 : coll_shared_memory(train->coll, bytes, &memory, OP_TRAIN_TIMEOUT_NS, err);
    if (memory == NULL) {
        return rc;
    }
    struct op_train_joint *entered = mlq_alloc(sizeof(*entered));
    entered->gradient = (float *)memory + state;
    entered->sums = entered->gradient + gradient;
    entered->sums_floats = sums;
    stream_choice_init(&entered->stream, getenv(STREAM_VARIABLE));
    joint_init(&entered->joint, &shape, coll_rank(train->coll), memory);
    rc = put_in(train, &entered->joint, err);
    if (rc != 0) {
        mlq_free(entered);
        return rc;
    }
    train->joint = entered;
    log_info("train.joint", "ranks=%u bytes=%" PRIu64, shape.ranks, bytes);
    return 0;
}

/* Whoever was lost: nobody steps on, and what is missing of a step is stepped here. Returns how
 * many numbers were. */
static uint64_t take_out(struct op_train *train, joint_apply_fn *apply, void *context)
{
    struct op_train_joint *joint = train->joint;
    const struct joint_shape *shape = &joint->joint.shape;
    struct joint_part missing[JOINT_RANKS_MAX];
    float *own[JOINT_VECTORS_MAX];
    for (uint32_t i = 0; i < shape->vectors; i++) {
        own[i] = mlq_alloc_array(shape->floats[i], sizeof(float));
    }
    (void)joint_close(&joint->joint, train->optim->steps);
    uint32_t count = joint_take(&joint->joint, train->optim->steps, own, missing);
    point_to(train, own);
    mlq_free(joint);
    train->joint = NULL;
    MLQ_ASSERT(count == 0 || apply != NULL);
    uint64_t numbers = 0;
    for (uint32_t i = 0; i < count; i++) {
        apply(context, missing[i]);
        numbers += missing[i].end - missing[i].begin;
    }
    return numbers;
}

void op_train_joint_leave(struct op_train *train)
{
    if (train->joint != NULL) {
        (void)take_out(train, NULL, NULL);
    }
}

/* ---- Its parts ---- */

float *op_train_joint_sums(const struct op_train *train, uint32_t rank)
{
    return train->joint->sums + rank * train->joint->sums_floats;
}

float *op_train_joint_gradient(const struct op_train *train)
{
    return train->joint->gradient;
}

struct joint_part op_train_joint_slice(const struct op_train *train)
{
    return joint_slice(&train->joint->joint, train->joint->joint.rank);
}

struct stream_choice *op_train_joint_stream(const struct op_train *train)
{
    return &train->joint->stream;
}

float *op_train_joint_room(const struct op_train *train)
{
    return train->joint->room;
}

/* ---- A step ---- */

int op_train_joint_meet(struct op_train *train, struct mlq_err *err)
{
    int rc = coll_barrier(train->coll, OP_TRAIN_TIMEOUT_NS, err);
    bool is_begun = rc != 0 && joint_close(&train->joint->joint, train->optim->steps + 1);
    return is_begun ? 0 : rc;
}

int op_train_joint_step(struct op_train *train, joint_apply_fn *apply, void *context,
                        struct mlq_err *err)
{
    stream_choice_begin(&train->joint->stream);
    bool is_open = joint_step(&train->joint->joint, train->optim->steps, apply, context);
    op_train_note(train, TASK_FLIGHT_EXCHANGE);
    int rc = is_open
                 ? coll_barrier(train->coll, OP_TRAIN_TIMEOUT_NS, err)
                 : mlq_fail(err, MLQ_ECANCELED, "another rank has left in the middle of a step");
    if (rc != 0) {
        uint64_t missing = take_out(train, apply, context);
        log_info("train.step_finished", "step=%" PRIu64 " missing=%" PRIu64, train->optim->steps,
                 missing);
    }
    return rc;
}
