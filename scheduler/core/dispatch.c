/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A task that does not fit is stepped over, and all of its shape with it. So a small job may run
 * while a big one waits (backfill). To keep the big one from waiting for ever: once it has waited
 * longer than starve_ns, and could run if the workers that are here were empty, every worker that
 * could hold a rank of it is closed to all that come later, until it runs.
 */
#include "scheduler/core/dispatch.h"

#include "scheduler/core/act.h"
#include "scheduler/core/fact.h"
#include "scheduler/core/place.h"
#include "scheduler/core/ready.h"
#include "scheduler/core/resize.h"

static bool tables_have_room(const struct core *core, const struct stage *stage)
{
    bool is_fresh = mlq_list_empty(&stage->again);
    return slots_room(&core->member_slots) >= core->shapes[stage->shape].ranks &&
           (!is_fresh || slots_room(&core->task_slots) > 0);
}

/* Another attempt goes ahead of fresh indices. */
static void assign(struct core *core, const struct stage *stage)
{
    uint32_t index = stage->cursor;
    if (!mlq_list_empty(&stage->again)) {
        index = MLQ_CONTAINER_OF(stage->again.next, struct task, in_again)->index;
    }
    MLQ_ASSERT(core->attempt_count < UINT32_MAX);
    struct core_fact fact = {
        .kind = FACT_ASSIGNED,
        .at_ns = core->now_ns,
        .job = core->jobs[stage->job].id,
        .attempt = (uint64_t)core->epoch << 32 | (core->attempt_count + 1),
        .stage = stage->index,
        .index = index,
        .ranks = core->placed,
        .exit_code = -1,
    };
    for (uint32_t rank = 0; rank < fact.ranks; rank++) {
        const struct worker *worker = &core->workers[core->placements[rank].worker];
        fact.rank = rank;
        fact.worker = worker->id;
        fact.gpu_mask = core->placements[rank].gpu_mask;
        fact_decide(core, &fact, 0);
        act_assign(core, worker, &fact);
    }
}

static bool is_feasible(struct core *core, struct shape *shape)
{
    if (shape->feasible_at != core->capacity_count) {
        shape->feasible_at = core->capacity_count;
        shape->is_feasible = place_is_feasible(core, &shape->per_rank, shape->ranks_min);
    }
    return shape->is_feasible;
}

/* True when a task of the stage was started. */
static bool try_stage(struct core *core, const struct stage *stage)
{
    struct shape *shape = &core->shapes[stage->shape];
    if (shape->blocked_at == core->room_count) {
        return false;
    }
    if (place_all(core, shape)) {
        assign(core, stage);
        return true;
    }
    if (core->closed_count == 0) {
        shape->blocked_at = core->room_count;
    }
    return false;
}

static void protect_if_starving(struct core *core, struct shape *shape)
{
    const struct stage *stage = &core->stages[shape->root];
    if (core->now_ns - stage->ready_since_ns > core->limits.starve_ns && is_feasible(core, shape)) {
        place_close(core, shape);
    }
}

/* All task rows are taken, some by tasks that wait for another attempt. These need no new row, and
 * if they waited behind fresh tasks that do, nothing would ever move: so here they go first, a
 * number of them in turn. False when there was no room for more actions. */
static bool start_again(struct core *core, uint32_t units)
{
    for (uint32_t i = 0; i < DISPATCH_SCAN_MAX; i++) {
        struct mlq_list *node = mlq_list_pop_front(&core->again_stages);
        if (node == NULL) {
            return true;
        }
        mlq_list_push_back(&core->again_stages, node);
        const struct stage *stage = MLQ_CONTAINER_OF(node, struct stage, in_again);
        if (!tables_have_room(core, stage)) {
            return true;
        }
        if (units == 0 || act_room(core) < UNIT_ACTIONS_MAX) {
            return false;
        }
        if (try_stage(core, stage)) {
            units--;
        }
    }
    return true;
}

void dispatch_run(struct core *core, uint32_t units)
{
    if (!core->dispatch_wanted) {
        return;
    }
    struct shape *aside[DISPATCH_SCAN_MAX];
    uint32_t aside_count = 0;
    int64_t waits = INT64_MIN; /* the highest priority of those that do not fit now, but could */
    bool is_done = false;
    core->pass_count++;
    core->closed_count = 0;
    while (units > 0 && act_room(core) >= UNIT_ACTIONS_MAX) {
        struct shape *shape = ready_first(core);
        if (shape == NULL || aside_count == DISPATCH_SCAN_MAX ||
            core->closed_count == core->workers_known ||
            !tables_have_room(core, &core->stages[shape->root])) {
            /* Full tables wait, in order, for rows to be given back: that starts another pass. */
            is_done = true;
            break;
        }
        const struct stage *first = &core->stages[shape->root];
        if (try_stage(core, first)) {
            units--;
        } else {
            if (is_feasible(core, shape) && shape->head_priority > waits) {
                waits = shape->head_priority;
            }
            if (resize_give_back(core, shape)) {
                place_close(core, shape);
            }
            protect_if_starving(core, shape);
            ready_set_aside(core, shape);
            aside[aside_count++] = shape;
        }
    }
    for (uint32_t i = 0; i < aside_count; i++) {
        ready_put_back(core, aside[i]);
    }
    if (is_done && slots_room(&core->task_slots) == 0) {
        is_done = start_again(core, units);
    }
    if (is_done) {
        is_done = resize_grow(core, units, waits);
    }
    core->dispatch_wanted = !is_done;
}
