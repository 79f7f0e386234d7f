/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/core/resize.h"

#include "scheduler/core/act.h"
#include "scheduler/core/attempt.h"
#include "scheduler/core/deadline.h"
#include "scheduler/core/elastic.h"
#include "scheduler/core/fact.h"
#include "scheduler/core/fleet.h"
#include "scheduler/core/place.h"
#include "scheduler/core/rvec.h"

#define VICTIMS_MAX CORE_RANKS_MAX /* told to leave in one call: they are actions of one unit */

static const struct shape *shape_of(const struct core *core, const struct task *task)
{
    return &core->shapes[core->stages[task->stage].shape];
}

static int32_t priority_of(const struct core *core, const struct task *task)
{
    return core->jobs[core->stages[task->stage].job].priority;
}

static bool is_live(const struct task *task)
{
    return task->stop == CAUSE_NONE && task->cause == CAUSE_NONE && !task->is_done;
}

/* ---- Growing ----------------------------------------------------------------------------------- */

/* A worker on which a rank of the task could not take part is closed for the rest of the pass. Those
 * that come later in it lose a little: they come again in the next one. */
static void close_refused(struct core *core, const struct task *task)
{
    for (uint32_t i = 0; i < task->refused_count; i++) {
        struct worker *worker = fleet_worker(core, task->refused[i]);
        if (worker != NULL) {
            place_close_worker(core, worker);
        }
    }
}

static bool may_grow(const struct core *core, const struct task *task, int64_t waits)
{
    bool has_numbers = core->stages[task->stage].resize != RESIZE_LIVE ||
                       (task->ranks < CORE_RANKS_MAX && !deadline_is_armed(&task->due));
    return is_live(task) && has_numbers && task->open < shape_of(core, task)->ranks &&
           task->refused_count < ELASTIC_REFUSED_MAX && slots_room(&core->member_slots) > 0 &&
           core->jobs[core->stages[task->stage].job].stop == CAUSE_NONE &&
           priority_of(core, task) > waits;
}

static void add_rank(struct core *core, struct task *task)
{
    const struct stage *stage = &core->stages[task->stage];
    const struct worker *worker = &core->workers[core->placements[0].worker];
    struct core_fact fact = {
        .kind = FACT_ASSIGNED,
        .at_ns = core->now_ns,
        .job = core->jobs[stage->job].id,
        .attempt = task->attempt,
        .gpu_mask = core->placements[0].gpu_mask,
        .stage = stage->index,
        .index = task->index,
        .rank = task->ranks,
        .ranks = task->ranks + 1,
        .worker = worker->id,
        .exit_code = -1,
    };
    fact_decide(core, &fact, 0);
    act_assign(core, worker, &fact);
}

/* True when it got one more rank, or is stopped to get it. */
static bool grow(struct core *core, struct task *task)
{
    close_refused(core, task);
    if (!place_one(core, shape_of(core, task))) {
        return false;
    }
    if (core->stages[task->stage].resize == RESIZE_LIVE) {
        add_rank(core, task);
        return true;
    }
    if (core->now_ns < task->began_ns + RESIZE_RESTART_NS) {
        deadline_arm(core, &task->due, task->began_ns + RESIZE_RESTART_NS);
        return false;
    }
    attempt_stop(core, task, CAUSE_REQUEUE);
    return true;
}

bool resize_grow(struct core *core, uint32_t units, int64_t waits)
{
    struct mlq_list *at = core->elastic_tasks.next;
    while (at != &core->elastic_tasks) {
        struct task *task = MLQ_CONTAINER_OF(at, struct task, in_elastic);
        at = at->next;
        while (may_grow(core, task, waits)) {
            if (units == 0 || act_room(core) < UNIT_ACTIONS_MAX) {
                return false;
            }
            if (!grow(core, task)) {
                break;
            }
            units--;
        }
    }
    return true;
}

/* ---- Giving back ------------------------------------------------------------------------------- */

struct giving {
    uint32_t members[VICTIMS_MAX]; /* slots: to be told, while it is tried whether they suffice */
    uint32_t count;
};

/* Ranks of the task that could leave now; all of them where it starts again. */
static uint32_t surplus(const struct core *core, const struct task *task)
{
    uint32_t staying = 0;
    for (uint32_t m = task->member_first; m != SLOT_NONE; m = core->members[m].next) {
        const struct member *member = &core->members[m];
        staying += !member->is_ended && !member->is_leaving ? 1 : 0;
    }
    uint32_t least = shape_of(core, task)->ranks_min;
    if (!is_live(task) || staying <= least) {
        return 0;
    }
    return core->stages[task->stage].resize == RESIZE_LIVE ? staying - least : staying;
}

static bool is_taken(const struct giving *giving, uint32_t slot)
{
    for (uint32_t i = 0; i < giving->count; i++) {
        if (giving->members[i] == slot) {
            return true;
        }
    }
    return false;
}

/* Ranks of one task that are in `giving`. */
static uint32_t taken_of(const struct core *core, const struct giving *giving,
                         const struct task *task)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < giving->count; i++) {
        count += &core->tasks[core->members[giving->members[i]].task] == task ? 1 : 0;
    }
    return count;
}

/* Who gives next: of the lowest priority, then the youngest job; NULL: nobody below `priority` can. */
static struct task *next_giver(struct core *core, const struct giving *giving, int32_t priority)
{
    struct task *best = NULL;
    for (struct mlq_list *at = core->elastic_tasks.next; at != &core->elastic_tasks;
         at = at->next) {
        struct task *task = MLQ_CONTAINER_OF(at, struct task, in_elastic);
        if (priority_of(core, task) >= priority ||
            surplus(core, task) <= taken_of(core, giving, task)) {
            continue;
        }
        if (best == NULL || priority_of(core, task) < priority_of(core, best) ||
            (priority_of(core, task) == priority_of(core, best) && task->attempt > best->attempt)) {
            best = task;
        }
    }
    return best;
}

/* The rank with the highest number that is not taken yet: the one that knows least. */
static uint32_t last_member(const struct core *core, const struct giving *giving,
                            const struct task *task)
{
    uint32_t last = SLOT_NONE;
    for (uint32_t m = task->member_first; m != SLOT_NONE; m = core->members[m].next) {
        const struct member *member = &core->members[m];
        if (!member->is_ended && !member->is_leaving && !is_taken(giving, m)) {
            last = m;
        }
    }
    return last;
}

/* The member's resources out of, or back into, the sums: only to see what would fit. */
static void suppose(struct core *core, uint32_t slot, bool is_gone)
{
    const struct member *member = &core->members[slot];
    struct worker *worker = &core->workers[member->worker];
    const struct rvec *need = &shape_of(core, &core->tasks[member->task])->per_rank;
    if (is_gone) {
        fleet_discharge(core, worker, need, member->gpu_mask);
    } else {
        fleet_charge(core, worker, need, member->gpu_mask);
    }
}

/* Those that were told to leave, or to stop, and have not ended. */
static void suppose_leavers(struct core *core, bool are_gone)
{
    for (struct mlq_list *at = core->elastic_tasks.next; at != &core->elastic_tasks;
         at = at->next) {
        const struct task *task = MLQ_CONTAINER_OF(at, struct task, in_elastic);
        for (uint32_t m = task->member_first; m != SLOT_NONE; m = core->members[m].next) {
            const struct member *member = &core->members[m];
            if (member->is_charged && (member->is_leaving || task->stop != CAUSE_NONE)) {
                suppose(core, m, are_gone);
            }
        }
    }
}

static void choose(struct core *core, const struct shape *shape, struct giving *giving, bool *fits)
{
    *fits = place_all(core, shape);
    while (!*fits && giving->count < VICTIMS_MAX) {
        const struct task *task = next_giver(core, giving, shape->head_priority);
        if (task == NULL) {
            return;
        }
        /* Who starts again gives all that it has. */
        uint32_t ranks = core->stages[task->stage].resize == RESIZE_LIVE ? 1 : task->open;
        if (giving->count + ranks > VICTIMS_MAX) {
            return;
        }
        for (uint32_t i = 0; i < ranks; i++) {
            uint32_t slot = last_member(core, giving, task);
            giving->members[giving->count++] = slot;
            suppose(core, slot, true);
        }
        *fits = place_all(core, shape);
    }
}

/* Those without whom it fits too stay: what was taken from one worker is of no use on another. */
static void spare(struct core *core, const struct shape *shape, struct giving *giving)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < giving->count; i++) {
        uint32_t slot = giving->members[i];
        const struct task *task = &core->tasks[core->members[slot].task];
        suppose(core, slot, false);
        /* One of an attempt that starts again goes with all others of it. */
        bool is_needed =
            core->stages[task->stage].resize != RESIZE_LIVE || !place_all(core, shape);
        if (is_needed) {
            suppose(core, slot, true);
            giving->members[kept++] = slot;
        }
    }
    giving->count = kept;
}

static void tell(struct core *core, const struct giving *giving)
{
    for (uint32_t i = 0; i < giving->count; i++) {
        struct member *member = &core->members[giving->members[i]];
        struct task *task = &core->tasks[member->task];
        if (core->stages[task->stage].resize == RESIZE_LIVE) {
            elastic_release(core, task, member, CAUSE_REQUEUE);
        } else {
            attempt_stop(core, task, CAUSE_REQUEUE);
        }
    }
}

bool resize_give_back(struct core *core, struct shape *shape)
{
    struct giving giving;
    bool fits = false;
    bool is_answered = shape->asked_room == core->room_count &&
                       shape->asked_elastic == core->elastic_count &&
                       shape->asked_priority >= shape->head_priority;
    if (mlq_list_empty(&core->elastic_tasks) || is_answered || act_room(core) < UNIT_ACTIONS_MAX) {
        return false;
    }
    giving.count = 0;
    suppose_leavers(core, true);
    choose(core, shape, &giving, &fits);
    if (fits) {
        spare(core, shape, &giving);
    }
    for (uint32_t i = 0; i < giving.count; i++) {
        suppose(core, giving.members[i], false);
    }
    suppose_leavers(core, false);
    if (fits) {
        tell(core, &giving);
    } else {
        shape->asked_room = core->room_count;
        shape->asked_elastic = core->elastic_count;
        shape->asked_priority = shape->head_priority;
    }
    return fits;
}
