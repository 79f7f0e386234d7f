/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Life of a task row: taken when the task is first assigned; RUNNING while an attempt lives; then
 * given back (success), or WAITING for the end of a back-off, READY, RUNNING again; or OVER. What
 * follows from an attempt's end is decided where the fact is applied, because it depends on facts
 * alone: a restored core comes to the same.
 */
#include "scheduler/core/attempt.h"

#include "scheduler/core/act.h"
#include "scheduler/core/deadline.h"
#include "scheduler/core/elastic.h"
#include "scheduler/core/fact.h"
#include "scheduler/core/fleet.h"
#include "scheduler/core/job.h"
#include "scheduler/core/ready.h"
#include "scheduler/core/retry.h"

/* ---- Finding ----------------------------------------------------------------------------------
 */

static uint64_t task_key(uint32_t stage_slot, uint32_t index)
{
    MLQ_ASSERT(index < CORE_ARRAY_MAX);
    return ((uint64_t)stage_slot + 1) << 20 | index;
}

static uint32_t slot_of_task(const struct core *core, const struct task *task)
{
    return (uint32_t)(task - core->tasks);
}

struct task *attempt_task(const struct core *core, uint32_t stage_slot, uint32_t index)
{
    uint32_t slot;
    return mlq_map_find(&core->task_of, task_key(stage_slot, index), &slot) ? &core->tasks[slot]
                                                                            : NULL;
}

static struct member *member_of_task(const struct core *core, const struct task *task,
                                     uint32_t rank)
{
    uint32_t slot = task->member_first;
    while (slot != SLOT_NONE && core->members[slot].rank != rank) {
        slot = core->members[slot].next;
    }
    return slot == SLOT_NONE ? NULL : &core->members[slot];
}

struct member *attempt_member(const struct core *core, uint64_t attempt, uint32_t rank)
{
    uint32_t slot;
    if (attempt == 0 || !mlq_map_find(&core->attempt_of, attempt, &slot)) {
        return NULL;
    }
    return member_of_task(core, &core->tasks[slot], rank);
}

struct member *attempt_live_member(const struct core *core, uint64_t attempt, uint32_t rank,
                                   uint32_t worker)
{
    struct member *member = attempt_member(core, attempt, rank);
    if (member == NULL || member->is_ended || member->worker == SLOT_NONE ||
        core->workers[member->worker].id != worker) {
        return NULL;
    }
    return member;
}

/* ---- Assignment -------------------------------------------------------------------------------
 */

static struct task *new_task(struct core *core, uint32_t stage_slot, uint32_t index)
{
    struct stage *stage = &core->stages[stage_slot];
    uint32_t slot = slots_take(&core->task_slots);
    if (slot == SLOT_NONE) {
        return NULL;
    }
    /* Fresh indices go in order: the cursor needs to say no more than where they begin. */
    MLQ_ASSERT(index == stage->cursor && index < stage->array_count);
    stage->cursor++;
    struct task *task = &core->tasks[slot];
    *task = (struct task){
        .due = {.kind = DEADLINE_TASK,
                .major = core->jobs[stage->job].id,
                .minor = (uint64_t)stage->index << 32 | index,
                .slot = slot},
        .stage = stage_slot,
        .index = index,
        .state = TASK_READY,
    };
    mlq_list_init(&task->in_stage);
    mlq_list_init(&task->in_job);
    mlq_list_init(&task->in_again);
    mlq_list_init(&task->todo);
    mlq_list_init(&task->in_elastic);
    mlq_list_init(&task->regroup);
    mlq_list_push_back(&stage->tasks, &task->in_stage);
    mlq_map_insert(&core->task_of, task_key(stage_slot, index), slot);
    return task;
}

static void begin_attempt(struct core *core, struct task *task, const struct core_fact *fact)
{
    struct stage *stage = &core->stages[task->stage];
    MLQ_ASSERT(task->state == TASK_READY || task->state == TASK_WAITING);
    MLQ_ASSERT(fact->attempt != 0 && !job_stage_is_closed(stage));
    mlq_list_remove(&task->in_again);
    deadline_disarm(core, &task->due);
    task->state = TASK_RUNNING;
    task->attempt = fact->attempt;
    task->ranks = fact->ranks;
    task->placed = 0;
    task->open = fact->ranks;
    task->member_first = SLOT_NONE;
    task->member_last = SLOT_NONE;
    task->cause = CAUSE_NONE;
    task->cause_weight = 0;
    task->stop = CAUSE_NONE;
    task->has_missed = false;
    elastic_begin(core, task, fact->at_ns);
    mlq_map_insert(&core->attempt_of, fact->attempt, slot_of_task(core, task));
    mlq_list_push_back(&core->jobs[stage->job].running, &task->in_job);
    stage->running++;
    stage->ready_since_ns = fact->at_ns;
    job_stage_runs(core, task->stage);
    ready_update(core, task->stage);
    if ((uint32_t)(fact->attempt >> 32) == core->epoch &&
        (uint32_t)fact->attempt > core->attempt_count) {
        core->attempt_count = (uint32_t)fact->attempt;
    }
}

static bool add_member(struct core *core, struct task *task, const struct core_fact *fact)
{
    bool is_visitor = core->visitor != 0;
    uint32_t worker = is_visitor ? SLOT_NONE : fleet_hold(core, fact->worker);
    if (worker == SLOT_NONE && !is_visitor) {
        return false;
    }
    uint32_t slot = slots_take(&core->member_slots);
    if (slot == SLOT_NONE) {
        return false;
    }
    MLQ_ASSERT(fact->rank < task->ranks && task->placed < task->ranks);
    struct member *member = &core->members[slot];
    *member = (struct member){
        .task = slot_of_task(core, task),
        .worker = worker,
        .rank = fact->rank,
        .next = SLOT_NONE,
        .gpu_mask = fact->gpu_mask,
    };
    mlq_list_init(&member->in_worker);
    if (task->member_last == SLOT_NONE) {
        task->member_first = slot;
    } else {
        /* Ranks come in order, in one transaction. */
        MLQ_ASSERT(core->members[task->member_last].rank < fact->rank);
        core->members[task->member_last].next = slot;
    }
    task->member_last = slot;
    task->placed++;
    core->members_live++;
    if (!is_visitor) {
        fleet_add_member(core, member);
    }
    return true;
}

bool attempt_apply_assigned(struct core *core, const struct core_fact *fact)
{
    uint32_t stage_slot = job_stage_slot(core, fact->job, fact->stage);
    struct task *task = attempt_task(core, stage_slot, fact->index);
    if (task == NULL) {
        task = new_task(core, stage_slot, fact->index);
        if (task == NULL) {
            return false;
        }
    }
    if (task->state != TASK_RUNNING) {
        begin_attempt(core, task, fact);
    } else if (task->placed == task->ranks) {
        elastic_join(core, task, fact);
    }
    MLQ_ASSERT(task->attempt == fact->attempt);
    return add_member(core, task, fact);
}

void attempt_apply_started(struct core *core, const struct core_fact *fact)
{
    struct member *member = attempt_member(core, fact->attempt, fact->rank);
    MLQ_ASSERT(member != NULL && !member->is_ended && !member->is_started);
    member->is_started = true;
}

/* ---- The end of a rank, of an attempt, of a task -----------------------------------------------
 */

/* The rows of the members, and the attempt's place in the maps and lists. */
static void drop_attempt(struct core *core, struct task *task)
{
    uint32_t slot = task->member_first;
    while (slot != SLOT_NONE) {
        struct member *member = &core->members[slot];
        uint32_t next = member->next;
        if (!member->is_ended) {
            MLQ_ASSERT(member->worker == SLOT_NONE);
            core->members_live--;
        }
        MLQ_ASSERT(mlq_list_empty(&member->in_worker) && !member->is_charged);
        slots_give(&core->member_slots, slot);
        slot = next;
    }
    task->member_first = SLOT_NONE;
    task->member_last = SLOT_NONE;
    mlq_map_remove(&core->attempt_of, task->attempt);
    mlq_list_remove(&task->in_job);
    mlq_list_remove(&task->todo);
    elastic_end(core, task);
    MLQ_ASSERT(core->stages[task->stage].running > 0);
    core->stages[task->stage].running--;
}

void attempt_remove_task(struct core *core, struct task *task)
{
    uint32_t slot = slot_of_task(core, task);
    if (task->state == TASK_RUNNING) {
        drop_attempt(core, task);
    }
    deadline_disarm(core, &task->due);
    mlq_list_remove(&task->in_again);
    mlq_list_remove(&task->in_stage);
    mlq_map_remove(&core->task_of, task_key(task->stage, task->index));
    slots_give(&core->task_slots, slot);
}

/* It is not run again. Its row stays only for a retry of the job that is about to be restored. */
static void end_task(struct core *core, struct task *task)
{
    struct stage *stage = &core->stages[task->stage];
    if (core->visitor == 0 && core->jobs[stage->job].retries_ahead == 0) {
        stage->dropped++;
        attempt_remove_task(core, task);
    }
}

static void wait_for(struct core *core, struct task *task, int64_t due_ns)
{
    task->state = TASK_WAITING;
    deadline_arm(core, &task->due, due_ns);
}

/* All ranks have ended: what becomes of the task? */
static void end_attempt(struct core *core, struct task *task, int64_t at_ns)
{
    uint32_t stage_slot = task->stage;
    struct stage *stage = &core->stages[stage_slot];
    enum core_cause cause = task->cause;
    task->missed = task->has_missed ? task->missed + 1 : 0;
    if (cause == CAUSE_NONE) {
        attempt_remove_task(core, task);
        stage->succeeded++;
        MLQ_ASSERT(stage->succeeded <= stage->array_count);
    } else {
        drop_attempt(core, task);
        task->state = TASK_OVER;
        if (core->jobs[stage->job].stop != CAUSE_NONE) {
            end_task(core, task);
        } else if (job_stage_is_closed(stage)) {
            stage->failed++;
            end_task(core, task);
        } else if (cause == CAUSE_REQUEUE) {
            wait_for(core, task, at_ns + RETRY_REQUEUE_NS);
        } else if (retry_is_allowed(&stage->retry, cause, task->failures)) {
            task->failures++;
            wait_for(
                core, task,
                at_ns + retry_backoff_ns(&stage->retry, core->seed, task->attempt, task->failures));
        } else {
            stage->failed++;
            end_task(core, task);
        }
    }
    ready_update(core, stage_slot);
    job_todo_stage(core, stage);
}

/* A process ends itself so when something fails under it: a library that lost a peer aborts. */
static bool is_own_signal(int32_t signal)
{
    enum { ABORT = 6, BROKEN_PIPE = 13 }; /* as Linux numbers them */
    return signal == ABORT || signal == BROKEN_PIPE;
}

/* How much an end says of why its attempt failed. What befalls a rank makes its peers fail, and their ends
 * arrive first: that of a lost worker comes a lease later. So all ends are waited for, and the heaviest is
 * the cause; of equal ones the first. Where ranks outlive each other none follows from another. */
static uint32_t weight_of(const struct core *core, const struct member *member,
                          const struct core_fact *fact)
{
    const struct task *task = &core->tasks[member->task];
    bool is_apart = core->stages[task->stage].resize == RESIZE_LIVE;
    switch (fact->cause) {
    case CAUSE_NONE:
        return 0;
    case CAUSE_PEER:
        return 1;
    case CAUSE_EXIT:
        return 2;
    case CAUSE_REQUEUE: /* its peers waited for it in vain, if it never came */
        return is_apart || member->is_started ? 2 : 4;
    case CAUSE_SIGNAL:
        return is_apart || is_own_signal(fact->signal) ? 2 : 3;
    case CAUSE_OOM:
    case CAUSE_TIMEOUT:
    case CAUSE_NODE:
    case CAUSE_LEASE:
    case CAUSE_CANCEL:
    case CAUSE_SPAWN:
    case CAUSE_INPUT:
    case CAUSE_OUTPUT:
        return is_apart ? 2 : 4;
    case CAUSE_COUNT:
        break;
    }
    MLQ_UNREACHABLE("weight_of: no such cause");
}

static void take_cause(const struct core *core, struct task *task, const struct member *member,
                       const struct core_fact *fact)
{
    uint32_t weight = weight_of(core, member, fact);
    if (weight > task->cause_weight) {
        task->cause_weight = weight;
        task->cause = fact->cause;
    }
}

void attempt_apply_ended(struct core *core, const struct core_fact *fact)
{
    struct member *member = attempt_member(core, fact->attempt, fact->rank);
    MLQ_ASSERT(member != NULL && !member->is_ended && fact->cause < CAUSE_COUNT);
    struct task *task = &core->tasks[member->task];
    member->is_ended = true;
    task->has_missed |= fact->cause == CAUSE_REQUEUE && !member->is_started;
    core->members_live--;
    if (member->worker != SLOT_NONE) {
        fleet_remove_member(core, member);
    }
    MLQ_ASSERT(task->open > 0);
    task->open--;
    if (!elastic_absorbs(core, task, member, fact)) {
        take_cause(core, task, member, fact);
    }
    if (task->open == 0) {
        end_attempt(core, task, fact->at_ns);
    } else if (task->cause != CAUSE_NONE && mlq_list_empty(&task->todo)) {
        mlq_list_push_back(&core->todo_tasks, &task->todo);
    }
}

/* ---- News and decisions ------------------------------------------------------------------------
 */

static struct core_fact fact_of_member(const struct core *core, const struct member *member,
                                       enum core_fact_kind kind)
{
    const struct task *task = &core->tasks[member->task];
    const struct stage *stage = &core->stages[task->stage];
    return (struct core_fact){
        .kind = kind,
        .at_ns = core->now_ns,
        .job = core->jobs[stage->job].id,
        .attempt = task->attempt,
        .gpu_mask = member->gpu_mask,
        .stage = stage->index,
        .index = task->index,
        .rank = member->rank,
        .ranks = task->ranks,
        .worker = core->workers[member->worker].id,
        .exit_code = -1,
    };
}

void attempt_on_started(struct core *core, const struct core_event *event)
{
    struct member *member = attempt_live_member(core, event->attempt, event->rank, event->worker);
    if (member == NULL) {
        act_answer(core, ACT_FENCED, event->worker, event->attempt, event->rank);
        return;
    }
    if (!member->is_started) {
        struct core_fact fact = fact_of_member(core, member, FACT_STARTED);
        fact_decide(core, &fact, event->payload);
    }
}

void attempt_on_ended(struct core *core, const struct core_event *event)
{
    struct member *member = attempt_live_member(core, event->attempt, event->rank, event->worker);
    if (member != NULL) {
        MLQ_ASSERT(event->cause < CAUSE_COUNT);
        struct core_fact fact = fact_of_member(core, member, FACT_ENDED);
        fact.cause = event->cause;
        fact.exit_code = event->exit_code;
        fact.signal = event->signal;
        fact_decide(core, &fact, event->payload);
    }
    /* Recorded now, or an end that is not live any more: in both cases the worker may forget it. */
    act_answer(core, ACT_ACK, event->worker, event->attempt, event->rank);
}

void attempt_on_note(struct core *core, const struct core_event *event)
{
    struct member *member = attempt_live_member(core, event->attempt, event->rank, event->worker);
    if (member == NULL) {
        act_answer(core, ACT_FENCED, event->worker, event->attempt, event->rank);
        return;
    }
    struct core_fact fact = fact_of_member(core, member, FACT_STARTED);
    act_record(core, &fact, event->payload);
}

/* Its assignment crossed the hello, or the farewell, of a worker that does not know of it: nothing
 * ran, and no retry is used up. That ends at some time, since a worker may die of the assignment
 * itself. */
static bool never_came(const struct core *core, const struct member *member)
{
    return !core->workers[member->worker].is_lost && !member->is_started &&
           core->tasks[member->task].missed < ATTEMPT_MISSED_MAX;
}

void attempt_lose(struct core *core, struct member *member)
{
    MLQ_ASSERT(!member->is_ended && member->worker != SLOT_NONE);
    struct core_fact fact = fact_of_member(core, member, FACT_ENDED);
    fact.cause = never_came(core, member) ? CAUSE_REQUEUE : CAUSE_NODE;
    fact_decide(core, &fact, 0);
}

void attempt_stop(struct core *core, struct task *task, enum core_cause cause)
{
    MLQ_ASSERT(task->state == TASK_RUNNING && cause != CAUSE_NONE);
    mlq_list_remove(&task->in_job);
    if (task->stop != CAUSE_NONE) {
        return;
    }
    task->stop = cause;
    for (uint32_t slot = task->member_first; slot != SLOT_NONE; slot = core->members[slot].next) {
        const struct member *member = &core->members[slot];
        if (!member->is_ended && core->workers[member->worker].is_known) {
            act_kill(core, task, member, cause);
        }
    }
}

void attempt_due(struct core *core, struct task *task)
{
    struct stage *stage = &core->stages[task->stage];
    if (task->state == TASK_RUNNING) {
        elastic_due(core, task);
        return;
    }
    MLQ_ASSERT(task->state == TASK_WAITING && mlq_list_empty(&task->in_again));
    task->state = TASK_READY;
    mlq_list_push_back(&stage->again, &task->in_again);
    ready_update(core, task->stage);
}

void attempt_renew(struct core *core, struct task *task)
{
    struct stage *stage = &core->stages[task->stage];
    MLQ_ASSERT(task->state != TASK_RUNNING);
    deadline_disarm(core, &task->due);
    mlq_list_remove(&task->in_again);
    task->state = TASK_READY;
    task->failures = 0;
    task->missed = 0;
    mlq_list_push_back(&stage->again, &task->in_again);
}

/* ---- What the shell asks ------------------------------------------------------------------------
 */

static bool member_runs(const struct member *member)
{
    return member->is_started && !member->is_ended && member->worker != SLOT_NONE;
}

uint32_t core_job_ranks(const struct core *core, uint64_t job, uint32_t stage,
                        struct core_rank_view *ranks, uint32_t room)
{
    uint32_t job_at = job_slot(core, job);
    uint32_t count = 0;
    if (job_at == SLOT_NONE) {
        return 0;
    }
    const struct mlq_list *running = &core->jobs[job_at].running;
    for (const struct mlq_list *at = running->next; at != running; at = at->next) {
        const struct task *task = STATE_CONST_OF(at, struct task, in_job);
        if (stage != UINT32_MAX && core->stages[task->stage].index != stage) {
            continue;
        }
        for (uint32_t m = task->member_first; m != SLOT_NONE; m = core->members[m].next) {
            const struct member *member = &core->members[m];
            if (member_runs(member) && count++ < room) {
                ranks[count - 1] =
                    (struct core_rank_view){.attempt = task->attempt,
                                            .rank = member->rank,
                                            .worker = core->workers[member->worker].id};
            }
        }
    }
    return count;
}
