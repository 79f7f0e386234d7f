/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A job is the sum of its stages, a stage the sum of its tasks. Their states change only in
 * set_job_state and set_stage_state, along the edges of the table below.
 */
#include "scheduler/core/job.h"

#include "scheduler/core/attempt.h"
#include "scheduler/core/dag.h"
#include "scheduler/core/deadline.h"
#include "scheduler/core/ready.h"

/* clang-format off */
static const struct job_edge edges[] = {
    /* from           to               job    stage  when */
    {STATE_PENDING,   STATE_RUNNING,   true,  true,  "its first attempt is assigned"},
    {STATE_PENDING,   STATE_SUCCEEDED, true,  false, "retried, and all stages had succeeded"},
    {STATE_PENDING,   STATE_FAILED,    true,  false, "its deadline passed before anything ran"},
    {STATE_PENDING,   STATE_CANCELLED, true,  true,  "cancelled before anything ran"},
    {STATE_PENDING,   STATE_SKIPPED,   false, true,  "a stage that it needs ended without success"},
    {STATE_RUNNING,   STATE_SUCCEEDED, true,  true,  "all its stages, or tasks, succeeded"},
    {STATE_RUNNING,   STATE_FAILED,    true,  true,  "a task failed for good; or the deadline passed"},
    {STATE_RUNNING,   STATE_CANCELLED, true,  true,  "cancelled, and what ran has ended"},
    {STATE_FAILED,    STATE_PENDING,   true,  true,  "retried by a user"},
    {STATE_CANCELLED, STATE_PENDING,   true,  true,  "retried by a user"},
    {STATE_SKIPPED,   STATE_PENDING,   false, true,  "retried by a user"},
};
/* clang-format on */

const struct job_edge *job_edges(uint32_t *count)
{
    *count = MLQ_COUNT_OF(edges);
    return edges;
}

static bool edge_is_legal(enum core_state from, enum core_state to, bool is_job)
{
    for (uint32_t i = 0; i < MLQ_COUNT_OF(edges); i++) {
        if (edges[i].from == from && edges[i].to == to) {
            return is_job ? edges[i].of_job : edges[i].of_stage;
        }
    }
    return false;
}

static void set_job_state(struct job *job, enum core_state state)
{
    MLQ_ASSERT(edge_is_legal(job->state, state, true));
    job->state = state;
}

static void set_stage_state(struct stage *stage, enum core_state state)
{
    MLQ_ASSERT(edge_is_legal(stage->state, state, false));
    stage->state = state;
}

bool job_state_is_end(enum core_state state)
{
    switch (state) {
    case STATE_PENDING:
    case STATE_RUNNING:
        return false;
    case STATE_SUCCEEDED:
    case STATE_FAILED:
    case STATE_CANCELLED:
    case STATE_SKIPPED:
        return true;
    case STATE_COUNT:
        break;
    }
    MLQ_UNREACHABLE("job_state_is_end: no such state");
}

bool job_stage_is_closed(const struct stage *stage)
{
    return stage->failed > stage->failures_max;
}

/* ---- Finding ----------------------------------------------------------------------------------
 */

uint32_t job_slot(const struct core *core, uint64_t id)
{
    uint32_t slot;
    return id != 0 && mlq_map_find(&core->job_of, id, &slot) ? slot : SLOT_NONE;
}

uint64_t job_stage_key(uint64_t job, uint32_t stage)
{
    MLQ_ASSERT(job > 0 && job < UINT64_C(1) << 53);
    MLQ_ASSERT(stage < CORE_STAGES_PER_JOB_MAX);
    return job * CORE_STAGES_PER_JOB_MAX + stage;
}

uint32_t job_stage_slot(const struct core *core, uint64_t job, uint32_t stage)
{
    uint32_t slot;
    bool is_there = mlq_map_find(&core->stage_of, job_stage_key(job, stage), &slot);
    MLQ_ASSERT(is_there);
    return slot;
}

static struct job *job_of_fact(struct core *core, const struct core_fact *fact)
{
    uint32_t slot = job_slot(core, fact->job);
    MLQ_ASSERT(slot != SLOT_NONE);
    return &core->jobs[slot];
}

void job_todo(struct core *core, struct job *job)
{
    if (mlq_list_empty(&job->todo)) {
        mlq_list_push_back(&core->todo_jobs, &job->todo);
    }
}

void job_todo_stage(struct core *core, struct stage *stage)
{
    if (mlq_list_empty(&stage->todo)) {
        mlq_list_push_back(&core->todo_stages, &stage->todo);
    }
}

/* ---- Submission -------------------------------------------------------------------------------
 */

bool job_has_room(const struct core *core, const struct core_job_desc *desc)
{
    return slots_room(&core->job_slots) >= 1 &&
           slots_room(&core->stage_slots) >= desc->stage_count &&
           slots_room(&core->shape_slots) >= desc->stage_count &&
           slots_room(&core->edge_slots) >= dag_edge_count(desc);
}

static uint32_t add_stage(struct core *core, uint32_t owner, uint32_t index,
                          const struct core_stage_desc *desc)
{
    uint32_t slot = slots_take(&core->stage_slots);
    MLQ_ASSERT(slot != SLOT_NONE);
    struct stage *stage = &core->stages[slot];
    *stage = (struct stage){
        .state = STATE_PENDING,
        .job = owner,
        .index = index,
        .next_in_job = SLOT_NONE,
        .shape = ready_shape_hold(core, &desc->per_rank, desc->ranks,
                                  desc->ranks_min > 0 ? desc->ranks_min : desc->ranks),
        .array_count = desc->array_count,
        .array_parallel = desc->array_parallel,
        .failures_max = desc->failures_max,
        .resize = desc->resize,
        .retry = desc->retry,
        .grace_ns = desc->grace_ns,
        .edge_first_up = SLOT_NONE,
        .edge_first_down = SLOT_NONE,
    };
    mlq_list_init(&stage->tasks);
    mlq_list_init(&stage->again);
    mlq_list_init(&stage->todo);
    mlq_list_init(&stage->in_again);
    mlq_map_insert(&core->stage_of, job_stage_key(core->jobs[owner].id, index), slot);
    return slot;
}

bool job_apply_submitted(struct core *core, const struct core_fact *fact,
                         const struct core_job_desc *desc)
{
    MLQ_ASSERT(desc != NULL && desc->stage_count > 0);
    MLQ_ASSERT(job_slot(core, fact->job) == SLOT_NONE);
    if (!job_has_room(core, desc)) {
        return false;
    }
    uint32_t slot = slots_take(&core->job_slots);
    struct job *job = &core->jobs[slot];
    *job = (struct job){
        .id = fact->job,
        .deadline_ns = desc->deadline_ns,
        .deadline = {.kind = DEADLINE_JOB, .major = fact->job, .slot = slot},
        .state = STATE_PENDING,
        .priority = desc->priority,
        .stage_count = desc->stage_count,
        .stages_open = desc->stage_count,
        .retries_ahead = desc->retries,
    };
    mlq_list_init(&job->todo);
    mlq_list_init(&job->running);
    mlq_map_insert(&core->job_of, job->id, slot);
    uint32_t after = SLOT_NONE;
    for (uint32_t i = desc->stage_count; i > 0; i--) {
        uint32_t stage_slot = add_stage(core, slot, i - 1, &desc->stages[i - 1]);
        core->stages[stage_slot].next_in_job = after;
        after = stage_slot;
    }
    job->stage_first = after;
    dag_link(core, job, desc);
    if (job->deadline_ns > 0) {
        deadline_arm(core, &job->deadline, fact->at_ns + job->deadline_ns);
    }
    for (uint32_t s = job->stage_first; s != SLOT_NONE; s = core->stages[s].next_in_job) {
        ready_update(core, s);
    }
    if (fact->job >= core->next_job) {
        core->next_job = fact->job + 1;
    }
    return true;
}

/* ---- Running, stopping, ending ----------------------------------------------------------------
 */

void job_stage_runs(struct core *core, uint32_t stage_slot)
{
    struct stage *stage = &core->stages[stage_slot];
    struct job *job = &core->jobs[stage->job];
    MLQ_ASSERT(job->stop == CAUSE_NONE && stage->unmet == 0);
    if (stage->state == STATE_PENDING) {
        set_stage_state(stage, STATE_RUNNING);
    }
    if (job->state == STATE_PENDING) {
        set_job_state(job, STATE_RUNNING);
    }
    MLQ_ASSERT(stage->state == STATE_RUNNING && job->state == STATE_RUNNING);
}

void job_apply_cancelled(struct core *core, const struct core_fact *fact)
{
    struct job *job = job_of_fact(core, fact);
    MLQ_ASSERT(fact->cause == CAUSE_CANCEL || fact->cause == CAUSE_TIMEOUT);
    MLQ_ASSERT(job->stop == CAUSE_NONE && !job_state_is_end(job->state));
    job->stop = fact->cause;
    deadline_disarm(core, &job->deadline);
    job_todo(core, job);
    for (uint32_t s = job->stage_first; s != SLOT_NONE; s = core->stages[s].next_in_job) {
        ready_update(core, s);
        if (!job_state_is_end(core->stages[s].state)) {
            job_todo_stage(core, &core->stages[s]);
        }
    }
}

void job_apply_stage_ended(struct core *core, const struct core_fact *fact)
{
    struct job *job = job_of_fact(core, fact);
    uint32_t slot = job_stage_slot(core, fact->job, fact->stage);
    struct stage *stage = &core->stages[slot];
    bool has_succeeded = fact->state == STATE_SUCCEEDED;
    MLQ_ASSERT(job_state_is_end(fact->state) && stage->running == 0);
    MLQ_ASSERT(has_succeeded == (stage->succeeded == stage->array_count));
    set_stage_state(stage, fact->state);
    ready_update(core, slot);
    job_todo_stage(core, stage); /* it may have rows to give back */
    if (!core->is_live && job->retries_ahead == 0) {
        /* At once: of facts that came when all rows were taken, those behind need them. */
        (void)job_drop_tasks(core, stage, UINT32_MAX);
    }
    MLQ_ASSERT(job->stages_open > 0);
    job->stages_open--;
    job->stages_unsuccessful += has_succeeded ? 0 : 1;
    for (uint32_t e = stage->edge_first_down; e != SLOT_NONE; e = core->edges[e].next_down) {
        uint32_t child_slot = core->edges[e].child;
        struct stage *child = &core->stages[child_slot];
        if (has_succeeded) {
            MLQ_ASSERT(child->unmet > 0);
            child->unmet--;
            ready_update(core, child_slot);
        } else {
            child->needs_lost++;
            job_todo_stage(core, child);
        }
    }
    if (job->stages_open == 0) {
        job_todo(core, job);
    }
}

void job_apply_ended(struct core *core, const struct core_fact *fact)
{
    struct job *job = job_of_fact(core, fact);
    MLQ_ASSERT(job->stages_open == 0 && mlq_list_empty(&job->running));
    set_job_state(job, fact->state);
    deadline_disarm(core, &job->deadline);
    job_todo(core, job);
}

/* ---- Retry of a job that ended ----------------------------------------------------------------
 */

static void renew_stage(struct core *core, struct job *job, struct stage *stage)
{
    set_stage_state(stage, STATE_PENDING);
    MLQ_ASSERT(stage->dropped == 0);
    stage->failed = 0;
    job->stages_open++;
    for (struct mlq_list *at = stage->tasks.next; at != &stage->tasks; at = at->next) {
        attempt_renew(core, MLQ_CONTAINER_OF(at, struct task, in_stage));
    }
}

void job_apply_retried(struct core *core, const struct core_fact *fact)
{
    struct job *job = job_of_fact(core, fact);
    MLQ_ASSERT(job->state == STATE_FAILED || job->state == STATE_CANCELLED);
    MLQ_ASSERT(job->stages_open == 0);
    set_job_state(job, STATE_PENDING);
    job->stop = CAUSE_NONE;
    job->retries_ahead -= job->retries_ahead > 0 ? 1 : 0;
    job->stages_unsuccessful = 0;
    for (uint32_t s = job->stage_first; s != SLOT_NONE; s = core->stages[s].next_in_job) {
        if (core->stages[s].state != STATE_SUCCEEDED) {
            renew_stage(core, job, &core->stages[s]);
        }
    }
    for (uint32_t s = job->stage_first; s != SLOT_NONE; s = core->stages[s].next_in_job) {
        dag_recount(core, &core->stages[s]);
        MLQ_ASSERT(core->stages[s].needs_lost == 0);
        ready_update(core, s);
    }
    if (job->deadline_ns > 0) {
        deadline_arm(core, &job->deadline, fact->at_ns + job->deadline_ns);
    }
    job_todo(core, job);
}

/* ---- Rows that are of no more use ---------------------------------------------------------------
 */

bool job_drop_tasks(struct core *core, struct stage *stage, uint32_t rows)
{
    MLQ_ASSERT(job_state_is_end(stage->state) && stage->running == 0);
    while (!mlq_list_empty(&stage->tasks) && rows > 0) {
        attempt_remove_task(core, MLQ_CONTAINER_OF(stage->tasks.next, struct task, in_stage));
        stage->dropped++;
        rows--;
    }
    return mlq_list_empty(&stage->tasks);
}

/* ---- Removal ----------------------------------------------------------------------------------
 */

/* The first stage of the job, emptied: at most `rows` tasks. True when it is gone. */
static bool remove_first_stage(struct core *core, struct job *job, uint32_t *rows)
{
    uint32_t slot = job->stage_first;
    struct stage *stage = &core->stages[slot];
    while (!mlq_list_empty(&stage->tasks)) {
        if (*rows == 0) {
            return false;
        }
        (*rows)--;
        attempt_remove_task(core, MLQ_CONTAINER_OF(stage->tasks.next, struct task, in_stage));
    }
    MLQ_ASSERT(!stage->is_ready && mlq_list_empty(&stage->again));
    MLQ_ASSERT(mlq_list_empty(&stage->in_again));
    job->stage_first = stage->next_in_job;
    mlq_list_remove(&stage->todo);
    mlq_map_remove(&core->stage_of, job_stage_key(job->id, stage->index));
    ready_shape_release(core, stage->shape);
    dag_unlink(core, stage);
    slots_give(&core->stage_slots, slot);
    return true;
}

bool job_remove(struct core *core, uint32_t slot, uint32_t rows)
{
    struct job *job = &core->jobs[slot];
    MLQ_ASSERT(slots_in_use(&core->job_slots, slot));
    if (job->stop == CAUSE_NONE && !job_state_is_end(job->state)) {
        /* Restored in vain: out of the ready queue first, all stages at once. */
        job->stop = CAUSE_CANCEL;
        for (uint32_t s = job->stage_first; s != SLOT_NONE; s = core->stages[s].next_in_job) {
            ready_update(core, s);
        }
    }
    while (job->stage_first != SLOT_NONE) {
        if (rows == 0 || !remove_first_stage(core, job, &rows)) {
            return false;
        }
        rows--;
    }
    deadline_disarm(core, &job->deadline);
    mlq_list_remove(&job->todo);
    MLQ_ASSERT(mlq_list_empty(&job->running));
    mlq_map_remove(&core->job_of, job->id);
    slots_give(&core->job_slots, slot);
    return true;
}
