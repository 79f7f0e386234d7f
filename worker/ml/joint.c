/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/joint.h"

#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "lib/base/panic.h"

#define LINE_BYTES  64u
#define LINE_FLOATS (LINE_BYTES / sizeof(float))
/* `at` is the step, and below it the block. */
#define BLOCK_BITS 24u
#define BLOCKS_MAX (UINT64_C(1) << BLOCK_BITS)

union word {
    _Atomic uint64_t value;
    uint8_t line[LINE_BYTES]; /* its own: another rank's writes do not disturb its readers */
};

struct joint_control {
    union word closed;
    union word begun; /* the newest step that a rank has begun with */
    union word at[JOINT_RANKS_MAX];
};

/* ---- Where everything is ---- */

static uint64_t whole_lines(uint64_t floats)
{
    return (floats + LINE_FLOATS - 1) / LINE_FLOATS * LINE_FLOATS;
}

static uint64_t save_floats(const struct joint_shape *shape)
{
    return (uint64_t)shape->vectors * JOINT_BLOCK_FLOATS;
}

uint64_t joint_bytes(const struct joint_shape *shape)
{
    uint64_t floats = 2 * shape->ranks * save_floats(shape);
    for (uint32_t i = 0; i < shape->vectors; i++) {
        floats += whole_lines(shape->floats[i]);
    }
    return sizeof(struct joint_control) + floats * sizeof(float);
}

void joint_init(struct joint *joint, const struct joint_shape *shape, uint32_t rank, void *memory)
{
    MLQ_ASSERT(shape->ranks > 0 && shape->ranks <= JOINT_RANKS_MAX && rank < shape->ranks);
    MLQ_ASSERT(shape->vectors > 0 && shape->vectors <= JOINT_VECTORS_MAX);
    MLQ_ASSERT(shape->floats[0] / JOINT_BLOCK_FLOATS < BLOCKS_MAX);
    *joint = (struct joint){.shape = *shape, .rank = rank, .control = memory};
    float *at = (float *)(joint->control + 1);
    for (uint32_t i = 0; i < shape->vectors; i++) {
        MLQ_ASSERT(shape->floats[i] <= shape->floats[0]);
        joint->vectors[i] = at;
        at += whole_lines(shape->floats[i]);
    }
    joint->saves = at;
}

/* Slices begin with lines: no two ranks write one. */
struct joint_part joint_slice(const struct joint *joint, uint32_t rank)
{
    uint64_t floats = joint->shape.floats[0], ranks = joint->shape.ranks;
    uint64_t lines = whole_lines(floats) / LINE_FLOATS;
    uint64_t end = lines * (rank + 1) / ranks * LINE_FLOATS;
    return (struct joint_part){.begin = lines * rank / ranks * LINE_FLOATS,
                               .end = end < floats ? end : floats};
}

static struct joint_part block_of(struct joint_part slice, uint64_t block)
{
    uint64_t begin = slice.begin + block * JOINT_BLOCK_FLOATS, end = begin + JOINT_BLOCK_FLOATS;
    return (struct joint_part){.begin = begin < slice.end ? begin : slice.end,
                               .end = end < slice.end ? end : slice.end};
}

static uint64_t blocks_of(struct joint_part slice)
{
    return (slice.end - slice.begin + JOINT_BLOCK_FLOATS - 1) / JOINT_BLOCK_FLOATS;
}

static float *save_of(const struct joint *joint, uint32_t rank, uint64_t block)
{
    return joint->saves + (2 * rank + block % 2) * save_floats(&joint->shape);
}

/* How many numbers of vector i a part has. */
static uint64_t count_in(const struct joint *joint, uint32_t i, struct joint_part part)
{
    uint64_t end = part.end < joint->shape.floats[i] ? part.end : joint->shape.floats[i];
    return part.begin < end ? end - part.begin : 0;
}

/* ---- Steps ---- */

static void copy_part(const struct joint *joint, struct joint_part part, float *const from[],
                      float *const to[])
{
    for (uint32_t i = 0; i < joint->shape.vectors; i++) {
        memcpy(to[i] + part.begin, from[i] + part.begin, count_in(joint, i, part) * sizeof(float));
    }
}

static void say_done(struct joint *joint, uint64_t step, struct joint_part slice)
{
    atomic_store(&joint->control->at[joint->rank].value, step << BLOCK_BITS | blocks_of(slice));
}

void joint_put(struct joint *joint, uint64_t step, float *const vectors[])
{
    struct joint_part slice = joint_slice(joint, joint->rank);
    copy_part(joint, slice, vectors, joint->vectors);
    say_done(joint, step, slice);
}

static void save_block(const struct joint *joint, struct joint_part part, float *save)
{
    for (uint32_t i = 0; i < joint->shape.vectors; i++) {
        memcpy(save + (uint64_t)i * JOINT_BLOCK_FLOATS, joint->vectors[i] + part.begin,
               count_in(joint, i, part) * sizeof(float));
    }
}

bool joint_step(struct joint *joint, uint64_t step, joint_apply_fn *apply, void *context)
{
    struct joint_control *control = joint->control;
    struct joint_part slice = joint_slice(joint, joint->rank);
    atomic_store(&control->begun.value, step);
    for (uint64_t block = 0; block < blocks_of(slice); block++) {
        struct joint_part part = block_of(slice, block);
        save_block(joint, part, save_of(joint, joint->rank, block));
        atomic_store(&control->at[joint->rank].value, step << BLOCK_BITS | block);
        if (atomic_load(&control->closed.value) != 0) {
            return false;
        }
        apply(context, part);
    }
    say_done(joint, step, slice);
    return true;
}

/* ---- Out of it ---- */

bool joint_close(struct joint *joint, uint64_t step)
{
    atomic_store(&joint->control->closed.value, 1);
    return atomic_load(&joint->control->begun.value) >= step;
}

/* The slice of a rank that stands at `at`: what is missing of it. */
static struct joint_part take_slice(const struct joint *joint, uint32_t rank, uint64_t step,
                                    float *const vectors[])
{
    uint64_t at = atomic_load(&joint->control->at[rank].value);
    struct joint_part slice = joint_slice(joint, rank);
    uint64_t block = at & (BLOCKS_MAX - 1);
    copy_part(joint, slice, joint->vectors, vectors);
    if (at >> BLOCK_BITS < step) {
        return slice;
    }
    if (at >> BLOCK_BITS > step) { /* it has seen that the state is closed, and touched nothing */
        MLQ_ASSERT(block == 0);
        return (struct joint_part){.begin = slice.end, .end = slice.end};
    }
    struct joint_part part = block_of(slice, block);
    const float *save = save_of(joint, rank, block);
    for (uint32_t i = 0; i < joint->shape.vectors; i++) {
        memcpy(vectors[i] + part.begin, save + (uint64_t)i * JOINT_BLOCK_FLOATS,
               count_in(joint, i, part) * sizeof(float));
    }
    return (struct joint_part){.begin = part.begin, .end = slice.end};
}

uint32_t joint_take(const struct joint *joint, uint64_t step, float *const vectors[],
                    struct joint_part missing[JOINT_RANKS_MAX])
{
    uint32_t count = 0;
    for (uint32_t rank = 0; rank < joint->shape.ranks; rank++) {
        struct joint_part part = take_slice(joint, rank, step, vectors);
        if (part.begin < part.end) {
            missing[count++] = part;
        }
    }
    return count;
}
