/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What a step does to the state, number by number: so it is done in parts, by whoever holds them.
 * The sum of the gradient's parts is made where it is used, but for a step that needs its length.
 *
 * Weights that other ranks of the machine read next are made in a room of this rank's own, and stored
 * past the caches, where that is faster (worker/ml/stream.h). Moments are read by nobody else.
 */
#include <string.h>

#include "worker/ml/net.h"
#include "worker/op/op_train_joint.h"
#include "worker/op/op_train_step.h"

struct applied {
    struct op_train *train;
    struct optim_step step;
    uint32_t samples;
};

static void apply_to(const struct applied *applied, const struct model *model,
                     struct joint_part part)
{
    struct optim *optim = applied->train->optim;
    uint64_t end = part.end < optim->count ? part.end : optim->count;
    optim_step_part(optim, model, &applied->step, part.begin, end);
    net_move_state(model, applied->samples, applied->step.gradient, part.begin, part.end);
}

/* Of a state that others hold, too, the part is a block. */
static void apply_part(void *context, struct joint_part part)
{
    const struct applied *applied = context;
    const struct op_train *train = applied->train;
    struct model model = *train->data.model;
    float *numbers = model.parameters + part.begin;
    struct stream_choice *stream = train->joint == NULL ? NULL : op_train_joint_stream(train);
    if (stream == NULL || !stream_choice_next(stream)) {
        apply_to(applied, &model, part);
        return;
    }
    float *room = op_train_joint_room(train);
    memcpy(room, numbers, (part.end - part.begin) * sizeof(float));
    model.parameters = room - part.begin; /* nothing of it is touched but this part */
    apply_to(applied, &model, part);
    stream_choice_put(stream, numbers, room, part.end - part.begin);
}

/* ---- The gradient in one piece ---- */

static void finish_part(struct op_train *train, struct tree_rest rest, struct joint_part part,
                        float *sum)
{
    bool streams = train->joint != NULL && op_train_joint_stream(train)->streams;
    for (uint64_t at = part.begin, count; at < part.end; at += count) {
        count = part.end - at < TREE_BLOCK_FLOATS ? part.end - at : TREE_BLOCK_FLOATS;
        const float *block = tree_finish_block(rest, at, count, &train->optim->room);
        if (streams) {
            stream_copy(sum + at, block, count);
        } else {
            memcpy(sum + at, block, count * sizeof(float));
        }
    }
    stream_fence();
}

static int meet(struct op_train *train, struct mlq_err *err)
{
    op_train_note(train, TASK_FLIGHT_EXCHANGE);
    int rc = op_train_joint_meet(train, err);
    op_train_note(train, TASK_FLIGHT_APPLY);
    return rc;
}

/* `whole` becomes where it is. Ranks that hold the state together make a slice of it each. */
static int make_whole(struct op_train *train, const struct op_train_total *total,
                      const float **whole, struct mlq_err *err)
{
    const struct joint_part all = {.begin = 0, .end = train->data.model->arena_count};
    bool is_whole = total->gradient.count == 1;
    *whole = is_whole ? total->gradient.views[0].values : total->whole;
    if (is_whole) {
        return 0;
    }
    struct joint_part part = train->joint != NULL ? op_train_joint_slice(train) : all;
    finish_part(train, total->gradient, part, total->whole);
    return train->joint != NULL ? meet(train, err) : 0;
}

int op_train_apply(struct op_train *train, const struct op_train_total *total,
                   struct op_train_move move, bool *is_applied, struct mlq_err *err)
{
    double limit = train->config.clip_norm;
    struct tree_rest gradient = total->gradient;
    struct tree_view view = {.level = 0};
    float scale = 1.0f;
    *is_applied = false;
    if (limit > 0 || move.is_last) {
        int rc = make_whole(train, total, &view.values, err);
        if (rc != 0) {
            return rc;
        }
        gradient = (struct tree_rest){.views = &view, .count = 1};
        train->cursor.gradient_norm = optim_norm(view.values, train->optim->count);
        scale = limit > 0 ? optim_clip_scale(train->cursor.gradient_norm, limit) : 1.0f;
    }
    struct applied applied = {.train = train,
                              .step = optim_next(train->optim, move.rate, gradient, scale),
                              .samples = move.samples};
    *is_applied = true;
    if (train->joint != NULL) {
        return op_train_joint_step(train, apply_part, &applied, err);
    }
    apply_part(&applied, (struct joint_part){.begin = 0, .end = train->data.model->arena_count});
    return 0;
}
