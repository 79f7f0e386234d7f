/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The invariants. One half reads the record as it grows, and knows nothing but earlier rows and the
 * jobs' descriptions. The other half looks at the machines, which no scheduler can see: what really
 * runs, where, and since when.
 */
#include "tests/sim/sim.h"

/* After a freeze of the host a task may be found alive past its lease for this long. */
#define THAW_NS (SIM_KILL_LATE_NS + 100 * SIM_MILLI)

static const struct core_job_desc *desc_of(const struct sim *sim, uint64_t job)
{
    return &sim_record_text(sim, sim->record.key_of_job[job])->desc;
}

static bool is_excused(const struct sim *sim, const struct sim_worker *worker)
{
    return worker->host.frozen_until_ns > 0 && sim->now_ns < worker->host.frozen_until_ns + THAW_NS;
}

static bool is_running(const struct sim_folder *folder)
{
    return folder->is_used && folder->state == SIM_SHIM_LIVE;
}

/* ---- The record ---- */

static void check_submitted(struct sim *sim, const struct sim_row *row)
{
    uint64_t job = row->fact.job;
    if (job != sim->record.jobs + 1) {
        sim_fail("job %lu is recorded after job %lu", (unsigned long)job,
                 (unsigned long)sim->record.jobs);
    }
    for (uint64_t old = 1; old < job; old++) {
        if (sim->record.key_of_job[old] == row->key) {
            sim_fail("jobs %lu and %lu have one idempotency key", (unsigned long)old,
                     (unsigned long)job);
        }
    }
    sim->check[job].is_known = true;
}

static void check_retried(struct sim *sim, struct check_job *job, uint64_t id)
{
    if (!job->has_ended || sim->record.end_state[id] == STATE_SUCCEEDED) {
        sim_fail("job %lu is retried but has not failed", (unsigned long)id);
    }
    job->has_ended = false;
    job->is_stopped = false;
    for (uint32_t i = 0; i < SIM_STAGES_MAX; i++) {
        if (job->stage_state[i] != STATE_SUCCEEDED) {
            job->stage_state[i] = STATE_PENDING;
        }
    }
}

static void check_assigned(struct sim *sim, struct check_job *job, const struct core_fact *fact)
{
    const struct core_stage_desc *stage = &desc_of(sim, fact->job)->stages[fact->stage];
    struct check_task *task = &job->tasks[fact->stage][fact->index];
    if (job->is_stopped || task->has_succeeded || job->stage_state[fact->stage] != STATE_PENDING) {
        sim_fail("attempt %lx of a task that is over, or of a job that was stopped",
                 (unsigned long)fact->attempt);
    }
    for (uint32_t i = 0; i < stage->needs_count; i++) {
        if (job->stage_state[stage->needs[i]] != STATE_SUCCEEDED) {
            sim_fail("attempt %lx before what its stage needs has succeeded",
                     (unsigned long)fact->attempt);
        }
    }
    if (fact->attempt != task->attempt) {
        if (task->open > 0 || fact->attempt < task->attempt ||
            fact->attempt >> 32 != sim->record.epoch) {
            sim_fail("attempt %lx after attempt %lx, of which %u ranks have not ended",
                     (unsigned long)fact->attempt, (unsigned long)task->attempt, task->open);
        }
        *task = (struct check_task){.attempt = fact->attempt};
    }
    if (fact->rank != task->placed || fact->rank >= stage->ranks || fact->ranks != stage->ranks) {
        sim_fail("attempt %lx: rank %u of %u is out of order", (unsigned long)fact->attempt,
                 fact->rank, fact->ranks);
    }
    task->worker[task->placed++] = fact->worker;
    task->open++;
}

/* Nobody may be told that a rank has ended while it runs; nor that it succeeded when it did not. */
static void check_truth(struct sim *sim, const struct core_fact *fact)
{
    struct sim_worker *worker = &sim->workers[fact->worker];
    const struct sim_folder *folder = sim_shim_find(worker, fact->attempt, fact->rank);
    if (folder != NULL && is_running(folder) && !is_excused(sim, worker)) {
        sim_fail("attempt %lx rank %u runs on worker %u, and its end (%s) is recorded",
                 (unsigned long)fact->attempt, fact->rank, fact->worker,
                 core_cause_text(fact->cause));
    }
    if (fact->cause == CAUSE_NONE &&
        (folder == NULL || folder->state != SIM_SHIM_ENDED || folder->cause != WORKER_CAUSE_NONE)) {
        sim_fail("attempt %lx rank %u did not succeed, but the record says so",
                 (unsigned long)fact->attempt, fact->rank);
    }
}

static void check_member(struct sim *sim, struct check_job *job, const struct core_fact *fact)
{
    struct check_task *task = &job->tasks[fact->stage][fact->index];
    bool is_live = task->attempt == fact->attempt && fact->rank < task->placed &&
                   task->worker[fact->rank] == fact->worker && !task->is_ended[fact->rank];
    if (!is_live) {
        sim_fail("attempt %lx rank %u is not live on worker %u, but news of it are recorded",
                 (unsigned long)fact->attempt, fact->rank, fact->worker);
    }
    if (fact->kind == FACT_STARTED) {
        return;
    }
    check_truth(sim, fact);
    task->is_ended[fact->rank] = true;
    task->open--;
    task->good += fact->cause == CAUSE_NONE ? 1 : 0;
    task->has_succeeded = task->open == 0 && task->good == task->placed;
}

static void check_stage_ended(struct sim *sim, struct check_job *job, const struct core_fact *fact)
{
    const struct core_stage_desc *stage = &desc_of(sim, fact->job)->stages[fact->stage];
    for (uint32_t i = 0; i < stage->array_count; i++) {
        const struct check_task *task = &job->tasks[fact->stage][i];
        if (task->open > 0 || (fact->state == STATE_SUCCEEDED && !task->has_succeeded)) {
            sim_fail("job %lu stage %u ended as %s, but task %u did not", (unsigned long)fact->job,
                     fact->stage, core_state_text(fact->state), i);
        }
    }
    if (job->stage_state[fact->stage] != STATE_PENDING) {
        sim_fail("job %lu stage %u ended twice", (unsigned long)fact->job, fact->stage);
    }
    job->stage_state[fact->stage] = fact->state;
}

static void check_job_ended(struct sim *sim, struct check_job *job, const struct core_fact *fact)
{
    const struct core_job_desc *desc = desc_of(sim, fact->job);
    bool has_failed = false;
    for (uint32_t i = 0; i < desc->stage_count; i++) {
        if (job->stage_state[i] == STATE_PENDING) {
            sim_fail("job %lu ended before its stage %u", (unsigned long)fact->job, i);
        }
        has_failed = has_failed || job->stage_state[i] != STATE_SUCCEEDED;
    }
    if (fact->state == STATE_SUCCEEDED && has_failed) {
        sim_fail("job %lu succeeded, but not all of its stages did", (unsigned long)fact->job);
    }
    job->has_ended = true;
}

void check_row(struct sim *sim, const struct sim_row *row)
{
    const struct core_fact *fact = &row->fact;
    struct check_job *job = &sim->check[fact->job];
    if (fact->kind == FACT_JOB_SUBMITTED) {
        check_submitted(sim, row);
        return;
    }
    if (!job->is_known || (job->has_ended && fact->kind != FACT_JOB_RETRIED)) {
        sim_fail("a fact of kind %d about job %lu, which is over or unknown", (int)fact->kind,
                 (unsigned long)fact->job);
    }
    switch (fact->kind) {
    case FACT_JOB_SUBMITTED:
        break;
    case FACT_JOB_CANCELLED:
        job->is_stopped = true;
        break;
    case FACT_JOB_RETRIED:
        check_retried(sim, job, fact->job);
        break;
    case FACT_ASSIGNED:
        check_assigned(sim, job, fact);
        break;
    case FACT_STARTED:
    case FACT_ENDED:
        check_member(sim, job, fact);
        break;
    case FACT_STAGE_ENDED:
        check_stage_ended(sim, job, fact);
        break;
    case FACT_JOB_ENDED:
        check_job_ended(sim, job, fact);
        break;
    }
}

/* A gang stands in one transaction, or not at all. */
void check_batch(struct sim *sim, const struct sim_row *rows, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct core_fact *fact = &rows[i].fact;
        if (fact->kind != FACT_ASSIGNED) {
            continue;
        }
        const struct check_task *task = &sim->check[fact->job].tasks[fact->stage][fact->index];
        uint32_t ranks = desc_of(sim, fact->job)->stages[fact->stage].ranks;
        if (task->placed != ranks) {
            sim_fail("attempt %lx: %u of %u ranks are assigned", (unsigned long)fact->attempt,
                     task->placed, ranks);
        }
    }
}

/* ---- The machines ---- */

void check_begin(struct sim *sim, uint32_t index, const struct sim_folder *folder)
{
    const struct core_fact *fact = &folder->fact;
    const struct check_task *task = &sim->check[fact->job].tasks[fact->stage][fact->index];
    if (fact->attempt > task->attempt || fact->worker != index) {
        sim_fail("attempt %lx begins on worker %u, and the record does not know it",
                 (unsigned long)fact->attempt, index);
    }
    if ((fact->attempt != task->attempt || task->is_ended[fact->rank]) &&
        !is_excused(sim, &sim->workers[index])) {
        sim_fail("attempt %lx rank %u begins on worker %u after its end was recorded",
                 (unsigned long)fact->attempt, fact->rank, index);
    }
    for (uint32_t i = 0; i < sim->worker_count; i++) {
        for (uint32_t k = 0; k < SIM_FOLDERS_MAX; k++) {
            const struct sim_folder *other = &sim->workers[i].folders[k];
            bool is_same = other->fact.job == fact->job && other->fact.stage == fact->stage &&
                           other->fact.index == fact->index;
            if (is_running(other) && is_same && other->fact.attempt != fact->attempt &&
                !is_excused(sim, &sim->workers[i])) {
                sim_fail("attempt %lx begins on worker %u while attempt %lx runs on worker %u",
                         (unsigned long)fact->attempt, index, (unsigned long)other->fact.attempt,
                         i);
            }
        }
    }
}

static void check_worker(const struct sim *sim, uint32_t index)
{
    const struct sim_worker *worker = &sim->workers[index];
    int64_t cpu_milli = 0;
    uint64_t gpus = 0;
    bool is_late = false;
    for (uint32_t i = 0; i < SIM_FOLDERS_MAX; i++) {
        const struct sim_folder *folder = &worker->folders[i];
        if (!is_running(folder)) {
            continue;
        }
        const struct core_fact *fact = &folder->fact;
        cpu_milli += desc_of(sim, fact->job)->stages[fact->stage].per_rank.cpu_milli;
        if ((gpus & fact->gpu_mask) != 0 && !is_excused(sim, worker)) {
            sim_fail("worker %u: a GPU has two owners", index);
        }
        gpus |= fact->gpu_mask;
        is_late = is_late || sim_local_ns(sim, &worker->clock) > folder->lease_ns + THAW_NS;
    }
    if (cpu_milli > worker->capacity.cpu_milli && !is_excused(sim, worker)) {
        sim_fail("worker %u runs more than it can: %ld of %ld mCPU", index, (long)cpu_milli,
                 (long)worker->capacity.cpu_milli);
    }
    if (is_late && !is_excused(sim, worker)) {
        sim_fail("worker %u runs something past its lease", index);
    }
}

void check_step(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->worker_count; i++) {
        check_worker(sim, i);
    }
}

/* ---- The users ---- */

void check_ack(struct sim *sim, uint32_t client, uint64_t key, uint64_t job)
{
    if (job == 0 || job > sim->record.jobs || sim->record.key_of_job[job] != key) {
        sim_fail("client %u was told of job %lu, which is not in the record", client,
                 (unsigned long)job);
    }
}

bool check_is_over(const struct sim *sim)
{
    bool has_leader = false;
    for (uint32_t i = 0; i < sim->client_count; i++) {
        if (!sim_client_is_done(&sim->clients[i])) {
            return false;
        }
    }
    for (uint64_t job = 1; job <= sim->record.jobs; job++) {
        if (!sim->record.has_ended[job]) {
            return false;
        }
    }
    for (uint32_t i = 0; i < sim->worker_count; i++) {
        if (!sim->workers[i].agent_actor.is_up || sim->workers[i].agent.count > 0) {
            return false;
        }
    }
    for (uint32_t i = 0; i < sim->sched_count; i++) {
        const struct sim_sched *sched = &sim->scheds[i];
        if (sched->phase == SIM_SERVING && sched->epoch == sim->record.epoch) {
            struct core_counts counts = core_count(sched->core);
            has_leader = counts.jobs == 0 && counts.members == 0 && counts.stages_ready == 0 &&
                         sched->committing == NULL;
        }
    }
    return has_leader;
}

void check_end(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->client_count; i++) {
        for (uint32_t k = 0; k < sim->clients[i].submits; k++) {
            uint64_t job = sim->clients[i].acked_job[k];
            check_ack(sim, i, (uint64_t)i * SIM_SUBMITS_MAX + k, job);
        }
    }
    for (uint32_t i = 0; i < sim->worker_count; i++) {
        for (uint32_t k = 0; k < SIM_FOLDERS_MAX; k++) {
            if (sim->workers[i].folders[k].is_used) {
                sim_fail("worker %u still keeps attempt %lx, and nobody knows of it", i,
                         (unsigned long)sim->workers[i].folders[k].fact.attempt);
            }
        }
    }
}
