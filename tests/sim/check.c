/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The invariants, after each step. One half (here) reads what is about to be recorded and what
 * users are told; it knows nothing but earlier rows and the jobs' descriptions. The other half
 * (check_machine.c) looks at the machines, which no scheduler can see. A third are the asserts of
 * the shipped code: core_audit and agent_audit run after each of their steps.
 *
 * By the numbers of the reliability reference (8, quotas, and 9, cron: there are none yet; 10, digests:
 * bytes are not simulated):
 *
 * 1. check_ack, check_end; sim_run: all that was accepted ends in bounded time
 * 2. check_submitted: one job for a key, and only of keys that a user sent
 * 3. check_assigned, check_member: a task that succeeded is not run or ended again
 * 4. check_member, check_note: news only of the live attempt, from its worker; sim_record.c: only of
 *    the epoch of the leader's row; check_machine_action: a worker obeys no older epoch
 * 5. check_machine_begins: attempts of a task do not overlap in the time that they really run
 * 6. check_batch: all ranks are assigned or none; sim_shim.c: ranks that hang once a peer has failed,
 *    and only a stop can end
 * 7. check_room: on the record; check_machine_step: on the machines
 * 11. check_row and what it calls; job.c asserts its table of edges
 * 12. check_assigned on the record, check_machine_begins on the machines
 * 13. check_machine_step, check_machine_action
 *
 * Beside them: check_limits and check_decided.c, for tables that are full and for who is overtaken.
 */
#include "tests/sim/sim.h"

#include <signal.h>
#include <string.h>

#include "lib/base/panic.h"

#define REQUEUE_WAIT_NS SIM_SECOND /* scheduler/core/retry.h */
#define BACKOFF_MAX_NS  (3600 * SIM_SECOND)
#define STAGE_ANY       UINT32_MAX

static unsigned long lu(uint64_t number)
{
    return (unsigned long)number;
}

static const struct core_stage_desc *stage_of(const struct sim *sim, const struct core_fact *fact)
{
    return &sim->check[fact->job].desc->stages[fact->stage];
}

/* ---- Jobs ---- */

/* What needs this stage (STAGE_ANY: any) may wait for room from now on. */
static void begin_waiting(const struct sim *sim, struct check_job *job, uint32_t need,
                          int64_t now_ns)
{
    for (uint32_t i = 0; i < job->desc->stage_count; i++) {
        const struct core_stage_desc *stage = &job->desc->stages[i];
        bool waits = need == STAGE_ANY;
        for (uint32_t k = 0; k < stage->needs_count; k++) {
            waits = waits || stage->needs[k] == need;
        }
        if (waits) {
            job->ready_epoch[i] = sim->check_epoch;
            job->ready_ns[i] = now_ns;
        }
    }
}

static void check_submitted(struct sim *sim, const struct sim_row *row)
{
    uint64_t job = row->fact.job;
    uint64_t client = row->key / SIM_SUBMITS_MAX;
    if (job != sim->check_jobs + 1) {
        sim_fail("job %lu is recorded after job %lu", lu(job), lu(sim->check_jobs));
    }
    if (client >= sim->client_count || row->key % SIM_SUBMITS_MAX >= sim->clients[client].submits) {
        sim_fail("job %lu was submitted by nobody", lu(job));
    }
    for (uint64_t old = 1; old < job; old++) {
        if (sim->check[old].key == row->key) {
            sim_fail("jobs %lu and %lu have one idempotency key", lu(old), lu(job));
        }
    }
    sim->check_jobs = job;
    sim->check[job].desc = row->desc;
    sim->check[job].key = row->key;
    sim->check[job].since_epoch = sim->check_epoch;
    sim->check[job].since_ns = row->fact.at_ns;
    begin_waiting(sim, &sim->check[job], STAGE_ANY, row->fact.at_ns);
}

static void check_cancelled(struct sim *sim, struct check_job *job, const struct core_fact *fact)
{
    bool is_timeout = fact->cause == CAUSE_TIMEOUT;
    if (job->stop != CAUSE_NONE || (!is_timeout && fact->cause != CAUSE_CANCEL)) {
        sim_fail("job %lu is stopped twice, or for %s", lu(fact->job),
                 core_cause_text(fact->cause));
    }
    if (!is_timeout && !job->is_cancel_wanted) {
        sim_fail("job %lu is cancelled, and nobody asked", lu(fact->job));
    }
    bool is_early =
        job->desc->deadline_ns == 0 || (job->since_epoch == sim->check_epoch &&
                                        fact->at_ns - job->since_ns < job->desc->deadline_ns);
    if (is_timeout && is_early) {
        sim_fail("job %lu is stopped before its deadline", lu(fact->job));
    }
    job->stop = fact->cause;
}

static void check_retried(struct sim *sim, struct check_job *job, const struct core_fact *fact)
{
    if (!job->has_ended || job->end_state == STATE_SUCCEEDED) {
        sim_fail("job %lu is retried but has not failed", lu(fact->job));
    }
    if (!job->is_retry_wanted) {
        sim_fail("job %lu is retried, and nobody asked", lu(fact->job));
    }
    job->has_ended = false;
    job->retries++;
    job->stop = CAUSE_NONE;
    job->since_epoch = sim->check_epoch;
    job->since_ns = fact->at_ns;
    begin_waiting(sim, job, STAGE_ANY, fact->at_ns);
    for (uint32_t i = 0; i < SIM_STAGES_MAX; i++) {
        if (job->stage_state[i] != STATE_SUCCEEDED) {
            job->stage_state[i] = STATE_PENDING;
        }
        for (uint32_t k = 0; k < SIM_ARRAY_MAX; k++) {
            job->tasks[i][k].failures = 0;
            job->tasks[i][k].again_epoch = 0;
            job->tasks[i][k].is_over = false;
        }
    }
}

static bool has_lost_need(const struct check_job *job, const struct core_stage_desc *stage)
{
    for (uint32_t i = 0; i < stage->needs_count; i++) {
        enum core_state state = job->stage_state[stage->needs[i]];
        if (state != STATE_PENDING && state != STATE_SUCCEEDED) {
            return true;
        }
    }
    return false;
}

/* Each end of a stage has its reason. */
static void check_stage_ended(struct sim *sim, struct check_job *job, const struct core_fact *fact)
{
    const struct core_stage_desc *stage = stage_of(sim, fact);
    bool have_all = true;
    bool are_through = true;
    uint32_t over = 0;
    for (uint32_t i = 0; i < stage->array_count; i++) {
        const struct check_task *task = &job->tasks[fact->stage][i];
        have_all = have_all && task->has_succeeded;
        are_through = are_through && (task->has_succeeded || task->is_over);
        over += task->is_over ? 1 : 0;
        if (task->open > 0) {
            sim_fail("job %lu stage %u ended as %s, but task %u did not", lu(fact->job),
                     fact->stage, core_state_text(fact->state), i);
        }
    }
    bool may_fail =
        over > 0 && (are_through || over > stage->failures_max || job->stop != CAUSE_NONE);
    bool is_true = fact->state == STATE_SUCCEEDED   ? have_all
                   : fact->state == STATE_FAILED    ? may_fail
                   : fact->state == STATE_CANCELLED ? job->stop != CAUSE_NONE
                   : fact->state == STATE_SKIPPED   ? has_lost_need(job, stage)
                                                    : false;
    if (!is_true || (have_all && fact->state != STATE_SUCCEEDED)) {
        sim_fail("job %lu stage %u ended as %s without reason", lu(fact->job), fact->stage,
                 core_state_text(fact->state));
    }
    if (job->stage_state[fact->stage] != STATE_PENDING) {
        sim_fail("job %lu stage %u ended twice", lu(fact->job), fact->stage);
    }
    job->stage_state[fact->stage] = fact->state;
    begin_waiting(sim, job, fact->stage, fact->at_ns);
}

static void check_job_ended(struct check_job *job, const struct core_fact *fact)
{
    bool has_failed = false;
    for (uint32_t i = 0; i < job->desc->stage_count; i++) {
        if (job->stage_state[i] == STATE_PENDING) {
            sim_fail("job %lu ended before its stage %u", lu(fact->job), i);
        }
        has_failed = has_failed || job->stage_state[i] != STATE_SUCCEEDED;
    }
    enum core_state due = job->stop == CAUSE_CANCEL                  ? STATE_CANCELLED
                          : job->stop == CAUSE_TIMEOUT || has_failed ? STATE_FAILED
                                                                     : STATE_SUCCEEDED;
    if (fact->state != due) {
        sim_fail("job %lu ended as %s, and should have as %s", lu(fact->job),
                 core_state_text(fact->state), core_state_text(due));
    }
    job->has_ended = true;
    job->end_state = fact->state;
}

/* ---- Attempts ---- */

static int64_t ranks_on(const struct check_task *task, uint32_t worker)
{
    int64_t count = 0;
    for (uint32_t rank = 0; rank < task->placed; rank++) {
        count += !task->is_ended[rank] && task->worker[rank] == worker ? 1 : 0;
    }
    return count;
}

/* I7, on the record: what is promised on a worker, this rank included. */
static void check_room(const struct sim *sim, const struct core_fact *fact)
{
    const struct sim_worker *worker = &sim->workers[fact->worker];
    struct rvec used = {0};
    for (uint64_t id = 1; id <= sim->check_jobs; id++) {
        const struct check_job *job = &sim->check[id];
        for (uint32_t i = 0; !job->has_ended && i < job->desc->stage_count; i++) {
            const struct core_stage_desc *stage = &job->desc->stages[i];
            int64_t here = 0;
            for (uint32_t k = 0; k < stage->array_count; k++) {
                here += ranks_on(&job->tasks[i][k], fact->worker);
            }
            used.cpu_milli += here * stage->per_rank.cpu_milli;
            used.mem_bytes += here * stage->per_rank.mem_bytes;
            used.gpus += (int32_t)here * stage->per_rank.gpus;
        }
    }
    if (used.cpu_milli > worker->capacity.cpu_milli ||
        used.mem_bytes > worker->capacity.mem_bytes || used.gpus > worker->capacity.gpus) {
        sim_fail("attempt %lx is assigned to worker %u, which has no room for it",
                 lu(fact->attempt), fact->worker);
    }
}

static void check_gpus(const struct sim *sim, const struct core_fact *fact)
{
    int32_t gpus = 0;
    for (uint32_t i = 0; i < 64; i++) {
        gpus += (int32_t)(fact->gpu_mask >> i & 1);
    }
    int32_t capacity = sim->workers[fact->worker].capacity.gpus;
    if (gpus != stage_of(sim, fact)->per_rank.gpus || fact->gpu_mask >> capacity != 0) {
        sim_fail("attempt %lx rank %u: GPUs %lx on worker %u, which has %d", lu(fact->attempt),
                 fact->rank, lu(fact->gpu_mask), fact->worker, capacity);
    }
}

/* How an array may go on: not beyond its width, nor when more has failed than may. */
static void check_array(const struct check_job *job, const struct core_stage_desc *stage,
                        const struct core_fact *fact)
{
    uint32_t running = 0;
    uint32_t over = 0;
    for (uint32_t i = 0; i < SIM_ARRAY_MAX; i++) {
        running += job->tasks[fact->stage][i].open > 0 ? 1 : 0;
        over += job->tasks[fact->stage][i].is_over ? 1 : 0;
    }
    if (stage->array_parallel > 0 && running >= stage->array_parallel) {
        sim_fail("attempt %lx: more than %u tasks of its array at once", lu(fact->attempt),
                 stage->array_parallel);
    }
    if (over > stage->failures_max) {
        sim_fail("attempt %lx, though more than %u tasks of its array have failed",
                 lu(fact->attempt), stage->failures_max);
    }
}

uint32_t check_least_ranks(const struct core_stage_desc *stage)
{
    return stage->ranks_min > 0 ? stage->ranks_min : stage->ranks;
}

bool check_is_untried(const struct check_job *job, uint32_t stage)
{
    const struct core_stage_desc *desc = &job->desc->stages[stage];
    bool is_ready =
        !job->has_ended && job->stop == CAUSE_NONE && job->stage_state[stage] == STATE_PENDING;
    for (uint32_t i = 0; i < desc->needs_count; i++) {
        is_ready = is_ready && job->stage_state[desc->needs[i]] == STATE_SUCCEEDED;
    }
    for (uint32_t i = 0; i < desc->array_count; i++) {
        is_ready = is_ready && job->tasks[stage][i].attempt == 0;
    }
    return is_ready;
}

/* Priority, then the order of submission. */
bool check_is_before(const struct sim *sim, uint64_t job, uint32_t stage,
                     const struct core_fact *fact)
{
    int32_t own = sim->check[job].desc->priority;
    int32_t other = sim->check[fact->job].desc->priority;
    return own != other ? own > other : job != fact->job ? job < fact->job : stage < fact->stage;
}

/* One that was never tried yet and asks for the same would have fitted where this one does. */
bool check_asks_alike(const struct core_stage_desc *a, const struct core_stage_desc *b)
{
    return a->ranks == b->ranks && check_least_ranks(a) == check_least_ranks(b) &&
           a->per_rank.cpu_milli == b->per_rank.cpu_milli &&
           a->per_rank.mem_bytes == b->per_rank.mem_bytes && a->per_rank.gpus == b->per_rank.gpus;
}

static void check_order(const struct sim *sim, const struct core_fact *fact)
{
    for (uint64_t id = 1; id <= sim->check_jobs; id++) {
        const struct check_job *job = &sim->check[id];
        for (uint32_t i = 0; i < job->desc->stage_count; i++) {
            if (check_is_before(sim, id, i, fact) && check_is_untried(job, i) &&
                check_asks_alike(&job->desc->stages[i], stage_of(sim, fact))) {
                sim_fail("attempt %lx of job %lu goes ahead of job %lu", lu(fact->attempt),
                         lu(fact->job), lu(id));
            }
        }
    }
}

static void check_new_attempt(const struct sim *sim, const struct check_job *job,
                              const struct core_fact *fact)
{
    const struct check_task *task = &job->tasks[fact->stage][fact->index];
    const struct core_stage_desc *stage = stage_of(sim, fact);
    if (task->open > 0 || fact->attempt < task->attempt ||
        fact->attempt >> 32 != sim->record.epoch) {
        sim_fail("attempt %lx after attempt %lx, of which %u ranks have not ended",
                 lu(fact->attempt), lu(task->attempt), task->open);
    }
    if (task->is_over) {
        sim_fail("attempt %lx of a task whose retries are used up", lu(fact->attempt));
    }
    if (task->again_epoch == sim->check_epoch && fact->at_ns < task->again_ns) {
        sim_fail("attempt %lx begins before its back-off is over", lu(fact->attempt));
    }
    bool needs_row = task->attempt == 0; /* when the rows are all taken, what has one goes on */
    if (needs_row || !sim->has_fault[SIM_FAULT_TABLES]) {
        check_order(sim, fact);
    }
    check_array(job, stage, fact);
}

static void check_assigned(struct sim *sim, struct check_job *job, const struct core_fact *fact)
{
    const struct core_stage_desc *stage = stage_of(sim, fact);
    struct check_task *task = &job->tasks[fact->stage][fact->index];
    if (job->stop != CAUSE_NONE || task->has_succeeded ||
        job->stage_state[fact->stage] != STATE_PENDING) {
        sim_fail("attempt %lx of a task that is over, or of a job that was stopped",
                 lu(fact->attempt));
    }
    for (uint32_t i = 0; i < stage->needs_count; i++) {
        if (job->stage_state[stage->needs[i]] != STATE_SUCCEEDED) {
            sim_fail("attempt %lx before what its stage needs has succeeded", lu(fact->attempt));
        }
    }
    if (fact->attempt != task->attempt) {
        check_new_attempt(sim, job, fact);
        task->attempt = fact->attempt;
        task->cause = CAUSE_NONE;
        task->placed = 0;
        task->founders = fact->ranks;
        task->is_done = false;
        for (uint32_t i = 0; i < SIM_NUMBERS_MAX; i++) {
            task->is_started[i] = false;
            task->is_ended[i] = false;
        }
    }
    bool is_joining = task->placed >= task->founders;
    bool is_right = fact->rank == task->placed && task->open < stage->ranks &&
                    (is_joining ? stage->resize == RESIZE_LIVE && fact->ranks == fact->rank + 1 &&
                                      task->open > 0 && !task->is_done
                                : fact->ranks == task->founders && fact->ranks <= stage->ranks &&
                                      fact->ranks >= check_least_ranks(stage));
    if (!is_right) {
        sim_fail("attempt %lx: rank %u of %u is out of order", lu(fact->attempt), fact->rank,
                 fact->ranks);
    }
    sim->joins += is_joining ? 1 : 0;
    task->worker[task->placed++] = fact->worker;
    task->open++;
    check_gpus(sim, fact);
    check_room(sim, fact);
}

/* Nobody may be told that a rank has ended while it runs; nor that it succeeded when it did not. */
static void check_truth(struct sim *sim, const struct core_fact *fact)
{
    struct sim_worker *worker = &sim->workers[fact->worker];
    const struct sim_folder *folder = sim_shim_find(worker, fact->attempt, fact->rank);
    if (folder != NULL && check_machine_runs(folder) && !check_machine_is_excused(sim, worker)) {
        sim_fail("attempt %lx rank %u runs on worker %u, and its end (%s) is recorded",
                 lu(fact->attempt), fact->rank, fact->worker, core_cause_text(fact->cause));
    }
    if (fact->cause == CAUSE_NONE &&
        (folder == NULL || folder->state != SIM_SHIM_ENDED || folder->cause != WORKER_CAUSE_NONE)) {
        sim_fail("attempt %lx rank %u did not succeed, but the record says so", lu(fact->attempt),
                 fact->rank);
    }
}

/* The policy, from its description in core.h: what may follow the end of this attempt. */
static void end_attempt(const struct sim *sim, const struct check_job *job, struct check_task *task,
                        const struct core_fact *fact)
{
    const struct core_retry *retry = &stage_of(sim, fact)->retry;
    int64_t wait_ns = REQUEUE_WAIT_NS;
    if (task->cause == CAUSE_NONE) {
        task->has_succeeded = true;
        return;
    }
    if (job->stop != CAUSE_NONE) {
        return;
    }
    if (task->cause != CAUSE_REQUEUE) {
        if (task->failures >= retry->limit || (retry->cause_mask >> task->cause & 1) == 0) {
            task->is_over = true;
            return;
        }
        task->failures++;
        wait_ns = retry->backoff_ns;
        for (uint32_t i = 1; i < task->failures && wait_ns < BACKOFF_MAX_NS; i++) {
            wait_ns *= 2;
        }
        wait_ns /= 2; /* the other half is chance */
    }
    task->again_epoch = sim->check_epoch;
    task->again_ns = fact->at_ns + wait_ns;
}

static bool is_live(const struct check_task *task, const struct core_fact *fact)
{
    return task->attempt == fact->attempt && fact->rank < task->placed &&
           task->worker[fact->rank] == fact->worker && !task->is_ended[fact->rank];
}

/* 4: a note counts only while its rank is live, and is what that rank's task said. */
void check_note(struct sim *sim, const struct sim_row *row)
{
    const struct core_fact *fact = &row->fact;
    const struct check_job *job = &sim->check[fact->job];
    if (job->desc == NULL || !is_live(&job->tasks[fact->stage][fact->index], fact)) {
        sim_fail("a note of attempt %lx rank %u is recorded, which is not live on worker %u",
                 lu(fact->attempt), fact->rank, fact->worker);
    }
    const struct sim_folder *folder =
        sim_shim_find(&sim->workers[fact->worker], fact->attempt, fact->rank);
    if (folder == NULL || row->note > folder->notes) {
        sim_fail("note %u of attempt %lx rank %u is recorded, and its task did not make it",
                 row->note, lu(fact->attempt), fact->rank);
    }
}

/* How far an end is from what came first, in the gang that shares its fate: a rank's machine or memory is lost,
 * the rank dies of it, its peers give up, and what is left is told to stop. */
static uint32_t depth_of(const struct check_task *task, const struct core_fact *fact)
{
    switch (fact->cause) {
    case CAUSE_NONE:
        return 5;
    case CAUSE_PEER:
        return 4;
    case CAUSE_EXIT:
        return 3;
    case CAUSE_REQUEUE:
        return task->is_started[fact->rank] ? 3 : 1; /* the others waited in vain for one that never came */
    case CAUSE_SIGNAL:
        return fact->signal == SIGABRT || fact->signal == SIGPIPE ? 3 : 2;
    case CAUSE_OOM:
    case CAUSE_TIMEOUT:
    case CAUSE_NODE:
    case CAUSE_LEASE:
    case CAUSE_CANCEL:
    case CAUSE_SPAWN:
    case CAUSE_INPUT:
    case CAUSE_OUTPUT:
    case CAUSE_COUNT:
        break;
    }
    return 1;
}

/* What a rank's end says of its attempt. Of a gang the deepest cause counts, and of these the first one. Where
 * ranks go and come the first success is enough, and only what every rank would meet, or the loss of the last
 * one, is a failure: the first such counts. */
static void take_cause(struct check_task *task, const struct core_stage_desc *stage,
                       const struct core_fact *fact)
{
    bool is_live = stage->resize == RESIZE_LIVE;
    bool is_own = fact->cause == CAUSE_EXIT || fact->cause == CAUSE_TIMEOUT ||
                  fact->cause == CAUSE_CANCEL || fact->cause == CAUSE_OUTPUT;
    bool is_first = task->cause == CAUSE_NONE ||
                    (task->cause == CAUSE_PEER && fact->cause != CAUSE_NONE);
    if (is_live && fact->cause == CAUSE_NONE) {
        task->is_done = true;
    }
    if (task->is_done) {
        task->cause = CAUSE_NONE;
    } else if (is_live ? (is_own || task->open == 0) && is_first
                       : task->cause == CAUSE_NONE || depth_of(task, fact) < task->depth) {
        task->cause = fact->cause;
        task->depth = depth_of(task, fact);
    }
}

static void check_member(struct sim *sim, struct check_job *job, const struct sim_row *row)
{
    const struct core_fact *fact = &row->fact;
    const struct core_stage_desc *stage = stage_of(sim, fact);
    struct check_task *task = &job->tasks[fact->stage][fact->index];
    if (!is_live(task, fact)) {
        sim_fail("attempt %lx rank %u is not live on worker %u, but news of it are recorded",
                 lu(fact->attempt), fact->rank, fact->worker);
    }
    if (fact->kind == FACT_STARTED) {
        if (task->is_started[fact->rank]) {
            sim_fail("attempt %lx rank %u starts twice", lu(fact->attempt), fact->rank);
        }
        task->is_started[fact->rank] = true;
        return;
    }
    check_truth(sim, fact);
    bool should_speak = stage->resize == RESIZE_LIVE ? fact->cause == CAUSE_NONE && !task->is_done
                                                     : fact->rank == 0;
    if (row->speaks != should_speak) {
        sim_fail("attempt %lx: what rank %u left is %s the task's", lu(fact->attempt), fact->rank,
                 should_speak ? "not" : "taken for");
    }
    task->is_ended[fact->rank] = true;
    task->open--;
    take_cause(task, stage, fact);
    if (task->open == 0) {
        end_attempt(sim, job, task, fact);
    }
}

/* ---- Limits ---- */

struct check_load check_load_of(const struct core_job_desc *desc)
{
    struct check_load load = {.jobs = 1, .stages = desc->stage_count};
    for (uint32_t i = 0; i < desc->stage_count; i++) {
        load.needs += desc->stages[i].needs_count;
    }
    return load;
}

/* Promise 5, on the record: what lives is never more than the tables of a core hold. */
static void check_limits(const struct sim *sim)
{
    struct check_load all = {0};
    for (uint64_t id = 1; id <= sim->check_jobs; id++) {
        const struct check_job *job = &sim->check[id];
        if (job->has_ended) {
            continue;
        }
        struct check_load load = check_load_of(job->desc);
        all.jobs += load.jobs;
        all.stages += load.stages;
        all.needs += load.needs;
        for (uint32_t k = 0; k < SIM_STAGES_MAX * SIM_ARRAY_MAX; k++) {
            const struct check_task *task = &job->tasks[k / SIM_ARRAY_MAX][k % SIM_ARRAY_MAX];
            all.members += task->open;
        }
    }
    const struct core_limits *limits = &sim->limits;
    if (all.jobs > limits->jobs_max || all.stages > limits->stages_max ||
        all.needs > limits->needs_max || all.members > limits->members_max) {
        sim_fail(
            "%u jobs with %u stages, %u needs and %u ranks are live: more than the tables hold",
            all.jobs, all.stages, all.needs, all.members);
    }
}

/* ---- Rows ---- */

static void check_kind(struct sim *sim, struct check_job *job, const struct sim_row *row)
{
    const struct core_fact *fact = &row->fact;
    switch (fact->kind) {
    case FACT_JOB_SUBMITTED:
        break;
    case FACT_JOB_CANCELLED:
        check_cancelled(sim, job, fact);
        break;
    case FACT_JOB_RETRIED:
        check_retried(sim, job, fact);
        break;
    case FACT_ASSIGNED:
        check_assigned(sim, job, fact);
        break;
    case FACT_STARTED:
    case FACT_ENDED:
        check_member(sim, job, row);
        break;
    case FACT_STAGE_ENDED:
        check_stage_ended(sim, job, fact);
        break;
    case FACT_JOB_ENDED:
        check_job_ended(job, fact);
        break;
    }
}

void check_row(struct sim *sim, uint32_t epoch, const struct sim_row *row)
{
    const struct core_fact *fact = &row->fact;
    if (epoch == sim->check_epoch && fact->at_ns < sim->check_fact_ns) {
        sim_fail("time goes back from one fact to the next");
    }
    sim->check_epoch = epoch;
    sim->check_fact_ns = fact->at_ns;
    if (fact->kind == FACT_JOB_SUBMITTED) {
        check_submitted(sim, row);
        check_limits(sim);
        return;
    }
    struct check_job *job = &sim->check[fact->job];
    if (job->desc == NULL || (job->has_ended && fact->kind != FACT_JOB_RETRIED)) {
        sim_fail("a fact of kind %d about job %lu, which is over or unknown", (int)fact->kind,
                 lu(fact->job));
    }
    check_kind(sim, job, row);
    check_limits(sim);
}

/* A gang stands in one transaction, or not at all. */
void check_batch(struct sim *sim, const struct sim_row *rows, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct core_fact *fact = &rows[i].fact;
        if (rows[i].note != 0 || fact->kind != FACT_ASSIGNED) {
            continue;
        }
        const struct check_task *task = &sim->check[fact->job].tasks[fact->stage][fact->index];
        if (task->attempt == fact->attempt && task->placed < task->founders) {
            sim_fail("attempt %lx: %u of %u ranks are assigned", lu(fact->attempt), task->placed,
                     task->founders);
        }
    }
}

/* ---- Memberships ---- */

static const struct check_task *task_of_attempt(const struct sim *sim, uint64_t attempt)
{
    for (uint32_t n = 0; n < sim->check_jobs * SIM_STAGES_MAX * SIM_ARRAY_MAX; n++) {
        const struct check_job *job = &sim->check[1 + n / (SIM_STAGES_MAX * SIM_ARRAY_MAX)];
        const struct check_task *task =
            &job->tasks[n / SIM_ARRAY_MAX % SIM_STAGES_MAX][n % SIM_ARRAY_MAX];
        if (task->attempt == attempt) {
            return task;
        }
    }
    return NULL;
}

static struct check_group *group_of(struct sim *sim, uint64_t generation)
{
    struct check_group *group = &sim->groups[mlq_hash_u64(generation) % SIM_GROUPS_MAX];
    while (group->generation != 0 && group->generation != generation) {
        group = group + 1 == &sim->groups[SIM_GROUPS_MAX] ? sim->groups : group + 1;
    }
    return group;
}

/* A generation has one membership for ever: its own attempt's, of ranks that were assigned. It is empty
 * only when the work is done on the record. Whoever is told of one is in it, and all of it compute alike. */
void check_membership(struct sim *sim, const struct sim_message *membership)
{
    static const struct sim_ranks nobody;
    const struct check_task *task = task_of_attempt(sim, membership->attempt);
    bool is_empty = memcmp(&membership->ranks, &nobody, sizeof nobody) == 0;
    if (task == NULL) {
        return; /* of an attempt that another one followed in the same commit */
    }
    if ((is_empty && !task->is_done) ||
        (!is_empty && !sim_ranks_has(&membership->ranks, membership->rank))) {
        sim_fail("attempt %lx rank %u is told a membership that cannot be: %lx, generation %lx",
                 lu(membership->attempt), membership->rank, lu(membership->ranks.words[0]),
                 lu(membership->generation));
    }
    for (uint32_t rank = 0; rank < SIM_NUMBERS_MAX; rank++) {
        if (!sim_ranks_has(&membership->ranks, rank)) {
            continue;
        }
        if (rank >= task->placed) {
            sim_fail("attempt %lx: rank %u is a member, and was never assigned",
                     lu(membership->attempt), rank);
        }
        if (sim_member_engine(sim, task->worker[rank]) !=
            sim_member_engine(sim, task->worker[membership->rank])) {
            sim_fail("attempt %lx: ranks %u and %u compute different bits, and work together",
                     lu(membership->attempt), rank, membership->rank);
        }
    }
    struct check_group *group = group_of(sim, membership->generation);
    if (group->generation == 0) {
        MLQ_ASSERT(++sim->groups_made < SIM_GROUPS_MAX / 2);
        *group = (struct check_group){.generation = membership->generation,
                                      .attempt = membership->attempt,
                                      .ranks = membership->ranks};
    }
    if (group->attempt != membership->attempt ||
        memcmp(&group->ranks, &membership->ranks, sizeof group->ranks) != 0) {
        sim_fail("generation %lx is told in two ways", lu(membership->generation));
    }
}

/* ---- The users ---- */

void check_ack(struct sim *sim, uint32_t client, uint64_t key, uint64_t job)
{
    if (job == 0 || job > sim->check_jobs || sim->check[job].key != key) {
        sim_fail("client %u was told of job %lu, which is not in the record", client, lu(job));
    }
}

void check_asked(struct sim *sim, const struct sim_client *client, uint64_t id)
{
    const struct check_job *job = &sim->check[id];
    if (client->asked == EV_CANCEL && job->stop == CAUSE_NONE && !job->has_ended) {
        sim_fail("a user was told that job %lu is cancelled, which the record denies", lu(id));
    }
    if (client->asked == EV_RETRY && job->retries == client->retries_before) {
        sim_fail("a user was told that job %lu runs again, which the record denies", lu(id));
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
    for (uint64_t job = 1; job <= sim->check_jobs; job++) {
        if (!sim->check[job].has_ended) {
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
            if (!sim->plan->is_skipped[i][k]) {
                check_ack(sim, i, (uint64_t)i * SIM_SUBMITS_MAX + k, sim->clients[i].acked_job[k]);
            }
        }
    }
    for (uint32_t i = 0; i < sim->worker_count; i++) {
        for (uint32_t k = 0; k < SIM_FOLDERS_MAX; k++) {
            if (sim->workers[i].folders[k].is_used) {
                sim_fail("worker %u still keeps attempt %lx, and nobody knows of it", i,
                         lu(sim->workers[i].folders[k].fact.attempt));
            }
        }
    }
}
