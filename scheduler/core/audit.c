/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Each check counts anew what the tables keep as a running number, or looks up from the other side
 * what a row says about another. The numbers (I1 ..) are those of the reliability reference.
 */
#include "scheduler/core/audit.h"

#include "scheduler/core/attempt.h"
#include "scheduler/core/deadline.h"
#include "scheduler/core/fleet.h"
#include "scheduler/core/job.h"
#include "scheduler/core/ready.h"
#include "scheduler/core/rvec.h"

static uint32_t list_length(const struct mlq_list *list, uint32_t max)
{
    uint32_t length = 0;
    for (const struct mlq_list *at = list->next; at != list; at = at->next) {
        MLQ_ASSERT(at->next->prev == at && at->prev->next == at);
        length++;
        MLQ_ASSERT(length <= max);
    }
    return length;
}

static void audit_heap(const struct mlq_heap *heap)
{
    MLQ_ASSERT(heap->count <= heap->capacity);
    for (uint32_t place = 1; place <= heap->count; place++) {
        MLQ_ASSERT(heap->nodes[place - 1]->place == place);
        MLQ_ASSERT(place == 1 || heap->before(heap->nodes[place / 2 - 1], heap->nodes[place - 1]));
    }
}

/* ---- Tasks and members -------------------------------------------------------------------------
 */

/* I6: a gang that runs has all its ranks. */
static uint32_t audit_attempt(const struct core *core, const struct task *task)
{
    const struct stage *stage = &core->stages[task->stage];
    uint32_t task_slot;
    bool is_found = mlq_map_find(&core->attempt_of, task->attempt, &task_slot);
    MLQ_ASSERT(is_found && &core->tasks[task_slot] == task);
    const struct shape *shape = &core->shapes[stage->shape];
    MLQ_ASSERT(task->placed == task->ranks && task->ranks >= shape->ranks_min);
    MLQ_ASSERT(task->ranks <= (stage->resize == RESIZE_LIVE ? CORE_RANKS_MAX : shape->ranks));
    MLQ_ASSERT((stage->resize == RESIZE_NEVER) == mlq_list_empty(&task->in_elastic));
    uint32_t ranks = 0;
    uint32_t open = 0;
    for (uint32_t slot = task->member_first; slot != SLOT_NONE; slot = core->members[slot].next) {
        const struct member *member = &core->members[slot];
        MLQ_ASSERT(slots_in_use(&core->member_slots, slot));
        MLQ_ASSERT(member->task == task_slot && member->rank == ranks);
        MLQ_ASSERT(member->is_charged == !member->is_ended);
        MLQ_ASSERT(member->is_ended == mlq_list_empty(&member->in_worker));
        MLQ_ASSERT(slots_in_use(&core->worker_slots, member->worker));
        ranks++;
        open += member->is_ended ? 0 : 1;
    }
    MLQ_ASSERT(ranks == task->ranks && open == task->open && open > 0 && open <= shape->ranks);
    /* Ranks go on together, or are stopped, or are about to be. */
    MLQ_ASSERT(task->cause == CAUSE_NONE || task->stop != CAUSE_NONE ||
               !mlq_list_empty(&task->todo));
    MLQ_ASSERT((task->stop == CAUSE_NONE) == !mlq_list_empty(&task->in_job));
    /* I12: what runs has what it needs. */
    MLQ_ASSERT(stage->unmet == 0 && stage->state == STATE_RUNNING);
    return open;
}

static void audit_task(const struct core *core, const struct task *task)
{
    const struct stage *stage = &core->stages[task->stage];
    MLQ_ASSERT(attempt_task(core, task->stage, task->index) == task);
    MLQ_ASSERT(task->index < stage->cursor);
    MLQ_ASSERT(deadline_is_armed(&task->due) == (task->state == TASK_WAITING) ||
               task->state == TASK_RUNNING);
    MLQ_ASSERT(mlq_list_empty(&task->in_again) == (task->state != TASK_READY));
    switch (task->state) {
    case TASK_RUNNING:
        return;
    case TASK_WAITING:
    case TASK_READY:
    case TASK_OVER:
        MLQ_ASSERT(task->state != TASK_OVER);
        MLQ_ASSERT(mlq_list_empty(&task->in_job) && mlq_list_empty(&task->todo));
        MLQ_ASSERT(task->member_first == SLOT_NONE);
        return;
    }
    MLQ_UNREACHABLE("audit_task: no such state");
}

static void audit_members(const struct core *core)
{
    uint32_t live = 0;
    uint32_t attempts = 0;
    for (uint32_t slot = 0; slot < core->task_slots.fresh; slot++) {
        if (!slots_in_use(&core->task_slots, slot)) {
            continue;
        }
        const struct task *task = &core->tasks[slot];
        audit_task(core, task);
        if (task->state == TASK_RUNNING) {
            live += audit_attempt(core, task);
            attempts++;
        }
    }
    MLQ_ASSERT(live == core->members_live && attempts == core->attempt_of.count);
    MLQ_ASSERT(core->task_slots.count == core->task_of.count);
}

/* ---- Stages and jobs ---------------------------------------------------------------------------
 */

static void audit_tasks_of(const struct core *core, const struct stage *stage)
{
    uint32_t tasks = 0;
    uint32_t running = 0;
    uint32_t ready = 0;
    for (const struct mlq_list *at = stage->tasks.next; at != &stage->tasks; at = at->next) {
        const struct task *task = STATE_CONST_OF(at, struct task, in_stage);
        MLQ_ASSERT(&core->stages[task->stage] == stage);
        tasks++;
        running += task->state == TASK_RUNNING ? 1 : 0;
        ready += task->state == TASK_READY ? 1 : 0;
    }
    MLQ_ASSERT(running == stage->running);
    MLQ_ASSERT(ready == list_length(&stage->again, core->limits.tasks_max));
    /* I3: each index that was dispatched has succeeded once, or has a row. */
    MLQ_ASSERT(stage->succeeded + tasks + stage->dropped == stage->cursor);
    MLQ_ASSERT(stage->is_ready && ready > 0 ? !mlq_list_empty(&stage->in_again)
                                            : mlq_list_empty(&stage->in_again));
    MLQ_ASSERT(stage->cursor <= stage->array_count);
    MLQ_ASSERT(stage->array_parallel == 0 || stage->running <= stage->array_parallel);
}

static void audit_stage(const struct core *core, uint32_t slot)
{
    const struct stage *stage = &core->stages[slot];
    const struct job *job = &core->jobs[stage->job];
    MLQ_ASSERT(slots_in_use(&core->job_slots, stage->job));
    MLQ_ASSERT(job_stage_slot(core, job->id, stage->index) == slot);
    audit_tasks_of(core, stage);
    uint32_t unmet = 0;
    uint32_t lost = 0;
    for (uint32_t e = stage->edge_first_up; e != SLOT_NONE; e = core->edges[e].next_up) {
        enum core_state state = core->stages[core->edges[e].parent].state;
        MLQ_ASSERT(core->edges[e].child == slot);
        unmet += state != STATE_SUCCEEDED ? 1 : 0;
        lost += state != STATE_SUCCEEDED && job_state_is_end(state) ? 1 : 0;
    }
    MLQ_ASSERT(unmet == stage->unmet && lost == stage->needs_lost);
    MLQ_ASSERT(stage->is_ready == ready_is_startable(core, stage));
    bool is_complete = stage->succeeded == stage->array_count;
    MLQ_ASSERT(stage->state != STATE_SUCCEEDED || is_complete);
    MLQ_ASSERT(stage->state != STATE_FAILED || stage->failed > 0);
    MLQ_ASSERT(stage->state != STATE_SKIPPED || stage->needs_lost > 0);
    MLQ_ASSERT(!job_state_is_end(stage->state) || stage->running == 0);
    /* What could end has ended, or is about to. */
    bool may_end =
        !job_state_is_end(stage->state) && stage->running == 0 &&
        (stage->succeeded + stage->failed == stage->array_count || job_stage_is_closed(stage) ||
         stage->needs_lost > 0 || job->stop != CAUSE_NONE);
    MLQ_ASSERT(!may_end || !mlq_list_empty(&stage->todo));
}

static void audit_job(const struct core *core, uint32_t slot)
{
    const struct job *job = &core->jobs[slot];
    MLQ_ASSERT(job_slot(core, job->id) == slot && job->id < core->next_job);
    if (job_state_is_end(job->state)) {
        MLQ_ASSERT(!mlq_list_empty(&job->todo)); /* being removed, in pieces */
        return;
    }
    uint32_t stages = 0;
    uint32_t open = 0;
    uint32_t unsuccessful = 0;
    for (uint32_t s = job->stage_first; s != SLOT_NONE; s = core->stages[s].next_in_job) {
        MLQ_ASSERT(core->stages[s].index == stages && core->stages[s].job == slot);
        enum core_state state = core->stages[s].state;
        stages++;
        open += job_state_is_end(state) ? 0 : 1;
        unsuccessful += job_state_is_end(state) && state != STATE_SUCCEEDED ? 1 : 0;
        audit_stage(core, s);
    }
    MLQ_ASSERT(stages == job->stage_count && open == job->stages_open);
    MLQ_ASSERT(unsuccessful == job->stages_unsuccessful);
    bool is_stopping = job->stop != CAUSE_NONE && !mlq_list_empty(&job->running);
    MLQ_ASSERT((open > 0 && !is_stopping) || !mlq_list_empty(&job->todo));
    MLQ_ASSERT(deadline_is_armed(&job->deadline) ==
               (job->deadline_ns > 0 && job->stop == CAUSE_NONE));
}

static void audit_jobs(const struct core *core)
{
    uint32_t jobs = 0;
    for (uint32_t slot = 0; slot < core->job_slots.fresh; slot++) {
        if (slots_in_use(&core->job_slots, slot)) {
            audit_job(core, slot);
            jobs++;
        }
    }
    MLQ_ASSERT(jobs == core->job_of.count && core->stage_slots.count == core->stage_of.count);
}

/* ---- The ready queue ---------------------------------------------------------------------------
 */

static void audit_ready(const struct core *core)
{
    uint32_t ready = 0;
    uint32_t queues = 0;
    for (uint32_t slot = 0; slot < core->stage_slots.fresh; slot++) {
        const struct stage *stage = &core->stages[slot];
        if (!slots_in_use(&core->stage_slots, slot) || !stage->is_ready) {
            continue;
        }
        ready++;
        const struct shape *shape = &core->shapes[stage->shape];
        MLQ_ASSERT(mlq_heap_contains(&shape->node));
        if (stage->heap_prev == SLOT_NONE) {
            MLQ_ASSERT(shape->root == slot && stage->heap_next == SLOT_NONE);
            MLQ_ASSERT(shape->head_job == core->jobs[stage->job].id);
            MLQ_ASSERT(shape->head_stage == stage->index);
            queues++;
            continue;
        }
        const struct stage *before = &core->stages[stage->heap_prev];
        MLQ_ASSERT(before->is_ready && before->shape == stage->shape);
        MLQ_ASSERT(before->heap_child == slot || before->heap_next == slot);
        MLQ_ASSERT(before->heap_child != slot || ready_stage_before(core, stage->heap_prev, slot));
    }
    MLQ_ASSERT(ready == core->ready_count && queues == core->shape_heap.count);
    audit_heap(&core->shape_heap);
}

/* ---- The fleet ---------------------------------------------------------------------------------
 */

struct recount {
    struct rvec used;
    uint64_t gpus;
    uint32_t members;
};

static void recount_list(const struct core *core, const struct mlq_list *list,
                         const struct worker *worker, struct recount *recount)
{
    for (const struct mlq_list *at = list->next; at != list; at = at->next) {
        const struct member *member = STATE_CONST_OF(at, struct member, in_worker);
        const struct stage *stage = &core->stages[core->tasks[member->task].stage];
        MLQ_ASSERT(&core->workers[member->worker] == worker && !member->is_ended);
        MLQ_ASSERT((recount->gpus & member->gpu_mask) == 0);
        recount->gpus |= member->gpu_mask;
        rvec_add(&recount->used, &core->shapes[stage->shape].per_rank);
        recount->members++;
    }
}

/* I7: nothing is promised twice. */
static void audit_worker(const struct core *core, uint32_t slot)
{
    const struct worker *worker = &core->workers[slot];
    struct recount recount = {0};
    MLQ_ASSERT(fleet_worker(core, worker->id) == worker);
    recount_list(core, &worker->members, worker, &recount);
    /* Whoever runs something is here, or is given time to come back. */
    MLQ_ASSERT(recount.members == 0 || deadline_is_armed(&worker->lease));
    MLQ_ASSERT(!worker->is_known || deadline_is_armed(&worker->lease));
    MLQ_ASSERT(mlq_list_empty(&worker->orphans) || !mlq_list_empty(&worker->todo));
    recount_list(core, &worker->orphans, worker, &recount);
    MLQ_ASSERT(recount.members == worker->member_count);
    MLQ_ASSERT(rvec_equal(&recount.used, &worker->used) && recount.gpus == worker->gpus_used);
    MLQ_ASSERT(worker->is_known == mlq_heap_contains(&worker->by_cpu));
    if (worker->is_known && !worker->is_shrunk) {
        MLQ_ASSERT(rvec_fits(&worker->capacity, &worker->used));
        MLQ_ASSERT((worker->gpus_used & ~rvec_gpu_all(worker->capacity.gpus)) == 0);
    }
}

static void audit_fleet(const struct core *core)
{
    uint32_t known = 0;
    for (uint32_t slot = 0; slot < core->worker_slots.fresh; slot++) {
        if (slots_in_use(&core->worker_slots, slot)) {
            audit_worker(core, slot);
            known += core->workers[slot].is_known ? 1 : 0;
        }
    }
    MLQ_ASSERT(known == core->workers_known);
    MLQ_ASSERT(known == core->by_cpu[0].count + core->by_cpu[1].count);
    MLQ_ASSERT(core->worker_slots.count == core->worker_of.count);
    audit_heap(&core->by_cpu[0]);
    audit_heap(&core->by_cpu[1]);
}

void audit_all(const struct core *core)
{
    if (!core->is_live || core->visitor != 0) {
        return; /* half of a record */
    }
    slots_audit(&core->job_slots);
    slots_audit(&core->stage_slots);
    slots_audit(&core->edge_slots);
    slots_audit(&core->shape_slots);
    slots_audit(&core->task_slots);
    slots_audit(&core->member_slots);
    slots_audit(&core->worker_slots);
    audit_jobs(core);
    audit_members(core);
    audit_ready(core);
    audit_fleet(core);
    audit_heap(&core->deadlines);
}
