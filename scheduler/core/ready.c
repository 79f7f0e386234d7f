/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/core/ready.h"

#include "lib/base/prng.h"
#include "scheduler/core/job.h"
#include "scheduler/core/rvec.h"

bool ready_shape_before(const struct mlq_heap_node *a, const struct mlq_heap_node *b)
{
    const struct shape *left = STATE_CONST_OF(a, struct shape, node);
    const struct shape *right = STATE_CONST_OF(b, struct shape, node);
    if (left->head_priority != right->head_priority) {
        return left->head_priority > right->head_priority;
    }
    if (left->head_job != right->head_job) {
        return left->head_job < right->head_job;
    }
    return left->head_stage < right->head_stage;
}

bool ready_stage_before(const struct core *core, uint32_t a, uint32_t b)
{
    const struct stage *left = &core->stages[a];
    const struct stage *right = &core->stages[b];
    const struct job *left_job = &core->jobs[left->job];
    const struct job *right_job = &core->jobs[right->job];
    if (left_job->priority != right_job->priority) {
        return left_job->priority > right_job->priority;
    }
    if (left_job->id != right_job->id) {
        return left_job->id < right_job->id;
    }
    return left->index < right->index;
}

/* ---- Shapes ---------------------------------------------------------------------------------- */

static uint64_t shape_hash(const struct rvec *per_rank, uint32_t ranks, uint32_t ranks_min,
                           uint64_t salt)
{
    uint64_t hash =
        mlq_hash_keyed(salt, (uint64_t)per_rank->cpu_milli, (uint64_t)per_rank->mem_bytes);
    hash = mlq_hash_keyed(hash, (uint64_t)per_rank->gpus, (uint64_t)ranks_min << 32 | ranks);
    return hash == 0 ? 1 : hash;
}

static uint32_t shape_new(struct core *core, const struct rvec *per_rank, uint32_t ranks,
                          uint32_t ranks_min, uint64_t key)
{
    uint32_t slot = slots_take(&core->shape_slots);
    MLQ_ASSERT(slot != SLOT_NONE);
    core->shapes[slot] = (struct shape){
        .key = key,
        .per_rank = *per_rank,
        .ranks = ranks,
        .ranks_min = ranks_min,
        .stages = 1,
        .root = SLOT_NONE,
    };
    if (key != 0) {
        mlq_map_insert(&core->shape_of, key, slot);
    }
    return slot;
}

/* Two shapes with one hash: the second takes another key. If the first goes away meanwhile, a third
 * stage may get a second row for what is in the tables already; that costs time, nothing else. */
uint32_t ready_shape_hold(struct core *core, const struct rvec *per_rank, uint32_t ranks,
                          uint32_t ranks_min)
{
    for (uint64_t salt = 0; salt < 4; salt++) {
        uint64_t key = shape_hash(per_rank, ranks, ranks_min, salt);
        uint32_t slot;
        if (!mlq_map_find(&core->shape_of, key, &slot)) {
            bool has_room = core->shape_of.count < core->shape_of.capacity;
            return shape_new(core, per_rank, ranks, ranks_min, has_room ? key : 0);
        }
        struct shape *shape = &core->shapes[slot];
        if (shape->ranks == ranks && shape->ranks_min == ranks_min &&
            rvec_equal(&shape->per_rank, per_rank)) {
            shape->stages++;
            return slot;
        }
    }
    return shape_new(core, per_rank, ranks, ranks_min, 0);
}

void ready_shape_release(struct core *core, uint32_t shape_slot)
{
    struct shape *shape = &core->shapes[shape_slot];
    MLQ_ASSERT(shape->stages > 0);
    shape->stages--;
    if (shape->stages > 0) {
        return;
    }
    MLQ_ASSERT(shape->root == SLOT_NONE && !mlq_heap_contains(&shape->node));
    if (shape->key != 0) {
        mlq_map_remove(&core->shape_of, shape->key);
    }
    slots_give(&core->shape_slots, shape_slot);
}

/* The shape's place among the others after its first stage may have changed. */
static void shape_head_changed(struct core *core, struct shape *shape)
{
    if (shape->root == SLOT_NONE) {
        mlq_heap_remove(&core->shape_heap, &shape->node);
        return;
    }
    const struct stage *head = &core->stages[shape->root];
    shape->head_priority = core->jobs[head->job].priority;
    shape->head_job = core->jobs[head->job].id;
    shape->head_stage = head->index;
    if (mlq_heap_contains(&shape->node)) {
        mlq_heap_moved(&core->shape_heap, &shape->node);
    } else {
        mlq_heap_push(&core->shape_heap, &shape->node);
    }
}

/* ---- The queue of a shape: a pairing heap -----------------------------------------------------
 */

/* The root of the union of two heaps; either may be empty. */
static uint32_t meld(struct core *core, uint32_t a, uint32_t b)
{
    if (a == SLOT_NONE || b == SLOT_NONE) {
        return a == SLOT_NONE ? b : a;
    }
    MLQ_ASSERT(a != b);
    if (ready_stage_before(core, b, a)) {
        uint32_t swap = a;
        a = b;
        b = swap;
    }
    struct stage *parent = &core->stages[a];
    struct stage *child = &core->stages[b];
    child->heap_next = parent->heap_child;
    child->heap_prev = a;
    if (parent->heap_child != SLOT_NONE) {
        core->stages[parent->heap_child].heap_prev = b;
    }
    parent->heap_child = b;
    return a;
}

/* The heap of all in a list of siblings: meld in pairs from the left, then all pairs from the
 * right. The list of pairs is kept, last first, in heap_next. */
static uint32_t meld_siblings(struct core *core, uint32_t first)
{
    uint32_t pairs = SLOT_NONE;
    while (first != SLOT_NONE) {
        uint32_t second = core->stages[first].heap_next;
        uint32_t rest = SLOT_NONE;
        core->stages[first].heap_next = SLOT_NONE;
        if (second != SLOT_NONE) {
            rest = core->stages[second].heap_next;
            core->stages[second].heap_next = SLOT_NONE;
        }
        uint32_t pair = meld(core, first, second);
        core->stages[pair].heap_next = pairs;
        pairs = pair;
        first = rest;
    }
    uint32_t root = SLOT_NONE;
    while (pairs != SLOT_NONE) {
        uint32_t rest = core->stages[pairs].heap_next;
        core->stages[pairs].heap_next = SLOT_NONE;
        root = meld(core, root, pairs);
        pairs = rest;
    }
    if (root != SLOT_NONE) {
        core->stages[root].heap_prev = SLOT_NONE;
        MLQ_ASSERT(core->stages[root].heap_next == SLOT_NONE);
    }
    return root;
}

static void queue_add(struct core *core, uint32_t stage_slot)
{
    struct stage *stage = &core->stages[stage_slot];
    struct shape *shape = &core->shapes[stage->shape];
    MLQ_ASSERT(!stage->is_ready);
    stage->is_ready = true;
    stage->heap_child = SLOT_NONE;
    stage->heap_next = SLOT_NONE;
    stage->heap_prev = SLOT_NONE;
    shape->root = meld(core, shape->root, stage_slot);
    core->ready_count++;
    shape_head_changed(core, shape);
}

static void queue_remove(struct core *core, uint32_t stage_slot)
{
    struct stage *stage = &core->stages[stage_slot];
    struct shape *shape = &core->shapes[stage->shape];
    MLQ_ASSERT(stage->is_ready && core->ready_count > 0);
    uint32_t children = meld_siblings(core, stage->heap_child);
    if (shape->root == stage_slot) {
        shape->root = children;
    } else {
        struct stage *before = &core->stages[stage->heap_prev];
        if (before->heap_child == stage_slot) {
            before->heap_child = stage->heap_next;
        } else {
            MLQ_ASSERT(before->heap_next == stage_slot);
            before->heap_next = stage->heap_next;
        }
        if (stage->heap_next != SLOT_NONE) {
            core->stages[stage->heap_next].heap_prev = stage->heap_prev;
        }
        shape->root = meld(core, shape->root, children);
    }
    stage->is_ready = false;
    core->ready_count--;
    shape_head_changed(core, shape);
}

/* ---- Stages -----------------------------------------------------------------------------------
 */

bool ready_is_startable(const struct core *core, const struct stage *stage)
{
    return (stage->state == STATE_PENDING || stage->state == STATE_RUNNING) && stage->unmet == 0 &&
           !job_stage_is_closed(stage) && core->jobs[stage->job].stop == CAUSE_NONE &&
           (stage->cursor < stage->array_count || !mlq_list_empty(&stage->again)) &&
           (stage->array_parallel == 0 || stage->running < stage->array_parallel);
}

/* Whether some of what is ready was started before, and has its row. */
static void update_again(struct core *core, struct stage *stage, bool is_startable)
{
    if (!is_startable || mlq_list_empty(&stage->again)) {
        mlq_list_remove(&stage->in_again);
    } else if (mlq_list_empty(&stage->in_again)) {
        mlq_list_push_back(&core->again_stages, &stage->in_again);
        core->dispatch_wanted = true;
    }
}

void ready_update(struct core *core, uint32_t stage_slot)
{
    struct stage *stage = &core->stages[stage_slot];
    bool is_startable = ready_is_startable(core, stage);
    update_again(core, stage, is_startable);
    if (is_startable == stage->is_ready) {
        return;
    }
    if (is_startable) {
        stage->ready_since_ns = core->now_ns;
        queue_add(core, stage_slot);
        if (core->shapes[stage->shape].blocked_at != core->room_count ||
            !mlq_list_empty(&core->elastic_tasks)) {
            core->dispatch_wanted = true; /* it fits, or others may give back what it needs */
        }
    } else {
        queue_remove(core, stage_slot);
        /* It may have held workers closed to others. */
        core->dispatch_wanted = true;
    }
}

struct shape *ready_first(struct core *core)
{
    struct mlq_heap_node *node = mlq_heap_peek(&core->shape_heap);
    return node == NULL ? NULL : MLQ_CONTAINER_OF(node, struct shape, node);
}

void ready_set_aside(struct core *core, struct shape *shape)
{
    MLQ_ASSERT(shape->root != SLOT_NONE);
    mlq_heap_remove(&core->shape_heap, &shape->node);
}

void ready_put_back(struct core *core, struct shape *shape)
{
    MLQ_ASSERT(shape->root != SLOT_NONE);
    mlq_heap_push(&core->shape_heap, &shape->node);
}
