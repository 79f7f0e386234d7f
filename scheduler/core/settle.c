/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/core/settle.h"

#include "scheduler/core/act.h"
#include "scheduler/core/attempt.h"
#include "scheduler/core/deadline.h"
#include "scheduler/core/dispatch.h"
#include "scheduler/core/elastic.h"
#include "scheduler/core/fact.h"
#include "scheduler/core/fleet.h"
#include "scheduler/core/job.h"

/* Rows of an ended job or stage that are given back in one unit. */
#define REMOVE_ROWS_PER_UNIT 64

static struct core_fact job_fact(const struct core *core, const struct job *job,
                                 enum core_fact_kind kind)
{
    return (struct core_fact){.kind = kind, .at_ns = core->now_ns, .job = job->id, .exit_code = -1};
}

static void deadline_unit(struct core *core, const struct deadline *deadline)
{
    switch (deadline->kind) {
    case DEADLINE_JOB: {
        const struct job *job = &core->jobs[deadline->slot];
        MLQ_ASSERT(job->stop == CAUSE_NONE && !job_state_is_end(job->state));
        struct core_fact fact = job_fact(core, job, FACT_JOB_CANCELLED);
        fact.cause = CAUSE_TIMEOUT;
        fact_decide(core, &fact, 0);
        return;
    }
    case DEADLINE_TASK:
        attempt_due(core, &core->tasks[deadline->slot]);
        return;
    case DEADLINE_WORKER:
        fleet_lose(core, &core->workers[deadline->slot]);
        return;
    }
    MLQ_UNREACHABLE("deadline_unit: no such kind");
}

/* One member of a worker that was lost, or did not claim it. */
static void worker_unit(struct core *core, struct worker *worker)
{
    if (!mlq_list_empty(&worker->orphans)) {
        attempt_lose(core, MLQ_CONTAINER_OF(worker->orphans.next, struct member, in_worker));
    }
    if (!mlq_list_empty(&worker->orphans)) {
        mlq_list_push_back(&core->todo_workers, &worker->todo);
    }
}

/* How the stage ends, now that nothing of it runs; PENDING: it does not end, more will run. */
static enum core_state stage_outcome(const struct job *job, const struct stage *stage)
{
    if (stage->succeeded == stage->array_count) {
        return STATE_SUCCEEDED;
    }
    bool is_through = stage->succeeded + stage->failed == stage->array_count;
    bool is_stopped = job->stop != CAUSE_NONE;
    if (stage->failed > 0 && (is_through || is_stopped || job_stage_is_closed(stage))) {
        return STATE_FAILED;
    }
    return is_stopped ? STATE_CANCELLED : stage->needs_lost > 0 ? STATE_SKIPPED : STATE_PENDING;
}

static void stage_unit(struct core *core, struct stage *stage)
{
    const struct job *job = &core->jobs[stage->job];
    if (job_state_is_end(stage->state)) {
        if (!job_drop_tasks(core, stage, REMOVE_ROWS_PER_UNIT)) {
            job_todo_stage(core, stage);
        } else {
            core->dispatch_wanted = true; /* a row may be what others wait for */
        }
        return;
    }
    if (stage->running > 0) {
        return;
    }
    struct core_fact fact = job_fact(core, job, FACT_STAGE_ENDED);
    fact.stage = stage->index;
    fact.state = stage_outcome(job, stage);
    if (fact.state != STATE_PENDING) {
        fact_decide(core, &fact, 0);
    }
}

static void job_unit(struct core *core, struct job *job)
{
    if (job_state_is_end(job->state)) {
        if (!job_remove(core, (uint32_t)(job - core->jobs), REMOVE_ROWS_PER_UNIT)) {
            job_todo(core, job);
        }
        return;
    }
    if (job->stop != CAUSE_NONE && !mlq_list_empty(&job->running)) {
        attempt_stop(core, MLQ_CONTAINER_OF(job->running.next, struct task, in_job), job->stop);
        job_todo(core, job);
        return;
    }
    if (job->stages_open > 0) {
        return;
    }
    struct core_fact fact = job_fact(core, job, FACT_JOB_ENDED);
    fact.state = job->stages_unsuccessful == 0 ? STATE_SUCCEEDED : STATE_FAILED;
    if (job->stop != CAUSE_NONE) {
        fact.cause = job->stop;
        fact.state = job->stop == CAUSE_CANCEL ? STATE_CANCELLED : STATE_FAILED;
    }
    fact_decide(core, &fact, 0);
}

/* False when there is nothing to do. Ends of ranks first: they make room. */
static bool unit(struct core *core)
{
    struct deadline *deadline = deadline_pop_due(core, core->now_ns);
    if (deadline != NULL) {
        deadline_unit(core, deadline);
        return true;
    }
    struct mlq_list *node = mlq_list_pop_front(&core->todo_workers);
    if (node != NULL) {
        worker_unit(core, MLQ_CONTAINER_OF(node, struct worker, todo));
        return true;
    }
    node = mlq_list_pop_front(&core->todo_tasks);
    if (node != NULL) {
        attempt_stop(core, MLQ_CONTAINER_OF(node, struct task, todo), CAUSE_PEER);
        return true;
    }
    node = mlq_list_pop_front(&core->todo_regroup);
    if (node != NULL) {
        elastic_regroup(core, MLQ_CONTAINER_OF(node, struct task, regroup));
        return true;
    }
    node = mlq_list_pop_front(&core->todo_stages);
    if (node != NULL) {
        stage_unit(core, MLQ_CONTAINER_OF(node, struct stage, todo));
        return true;
    }
    node = mlq_list_pop_front(&core->todo_jobs);
    if (node != NULL) {
        job_unit(core, MLQ_CONTAINER_OF(node, struct job, todo));
        return true;
    }
    return false;
}

void settle_run(struct core *core)
{
    uint32_t units = UNITS_PER_EVENT;
    while (units > 0 && act_room(core) >= UNIT_ACTIONS_MAX && unit(core)) {
        units--;
    }
    dispatch_run(core, units);
}

bool settle_is_pending(const struct core *core)
{
    return core->dispatch_wanted || !mlq_list_empty(&core->todo_workers) ||
           !mlq_list_empty(&core->todo_tasks) || !mlq_list_empty(&core->todo_regroup) ||
           !mlq_list_empty(&core->todo_stages) || !mlq_list_empty(&core->todo_jobs);
}
