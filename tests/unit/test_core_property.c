/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Random worlds. A few model workers start, finish, fail and lose tasks; messages are late, double,
 * out of order or lost with their connection; workers and the leader die. After each event the core
 * audits itself, a checker reads the record as it grows, and no two attempts of one task may run at
 * the same time anywhere. Then the faults stop, and every job must end.
 *
 * MLQ_CORE_SEEDS says how many seeds (300), MLQ_CORE_SEED which one alone, to look at a failure.
 */
#include <stdlib.h>

#include "tests/unit/core_double.h"

#include "lib/base/prng.h"
#include "scheduler/core/attempt.h"
#include "scheduler/core/core_state.h"
#include "scheduler/core/job.h"

#define MILLI           INT64_C(1000000)
#define WORKERS         3
#define JOBS_MAX        24
#define STAGES_MAX      4
#define FACTS_MAX       16384
#define MESSAGES_MAX    512
#define RUNS_MAX        32
#define QUIET_STEPS_MAX 6000

struct job_text {
    struct core_job_desc desc;
    struct core_stage_desc stages[STAGES_MAX];
    uint16_t needs[STAGES_MAX][STAGES_MAX];
};

/* A rank on a model worker. It is kept after its end until that is acknowledged. */
struct run {
    struct core_fact fact;
    bool is_over;
    bool is_told_to_stop;
    enum core_cause cause;
    int64_t ends_ns;
};

struct model_worker {
    bool is_up;
    uint64_t session;
    int64_t lease_until_ns;
    int64_t next_heartbeat_ns;
    struct run runs[RUNS_MAX];
    uint32_t run_count;
};

struct message {
    struct core_event event;
    int64_t sent_ns;
    int64_t due_ns;
    struct core_claim claims[RUNS_MAX];
};

struct order {
    struct core_action action;
    int64_t due_ns;
};

struct world {
    struct mlq_prng prng;
    struct core_limits limits;
    void *memory;
    struct core *core;
    uint32_t epoch;
    int64_t now_ns;
    bool is_quiet; /* no more faults */
    uint64_t session;
    uint64_t hash; /* of all actions: the same for the same seed */
    struct core_action items[CORE_ACTIONS_PER_EVENT];
    struct core_actions actions;
    struct core_fact facts[FACTS_MAX];
    uint32_t fact_count;
    struct job_text scratch;
    struct job_text texts[JOBS_MAX + 1];
    bool has_ended[JOBS_MAX + 1];
    enum core_state end_state[JOBS_MAX + 1];
    uint64_t jobs; /* highest recorded */
    struct model_worker workers[WORKERS];
    struct message messages[MESSAGES_MAX]; /* to the core */
    uint32_t message_count;
    struct order orders[MESSAGES_MAX]; /* to the workers */
    uint32_t order_count;
    /* Which faults this world has at all (swarm testing). */
    bool has_dup;
    bool has_delay;
    bool has_breaks;
    bool has_deaths;
    bool has_failovers;
    bool has_failures;
    bool has_small_tables;
};

static uint64_t below(struct world *w, uint64_t bound)
{
    return mlq_prng_below(&w->prng, bound);
}

static bool chance(struct world *w, uint64_t percent)
{
    return below(w, 100) < percent;
}

/* ---- The record, and the checker over it
 * --------------------------------------------------------- */

static bool is_end_of(const struct core_fact *end, const struct core_fact *assigned)
{
    return end->kind == FACT_ENDED && end->attempt == assigned->attempt &&
           end->rank == assigned->rank;
}

static bool is_same_task(const struct core_fact *a, const struct core_fact *b)
{
    return a->job == b->job && a->stage == b->stage && a->index == b->index;
}

/* Would recording this be right? Looks at nothing but earlier facts. */
static void check_assigned(const struct world *w, const struct core_fact *fact)
{
    bool has_stopped = false;
    bool needs_met[STAGES_MAX] = {false};
    uint32_t open = 0;
    uint32_t good_ranks = 0;
    uint64_t attempt = 0;
    for (uint32_t i = 0; i < w->fact_count; i++) {
        const struct core_fact *old = &w->facts[i];
        if (old->job != fact->job) {
            continue;
        }
        has_stopped = old->kind == FACT_JOB_CANCELLED || old->kind == FACT_JOB_ENDED ||
                      (has_stopped && old->kind != FACT_JOB_RETRIED);
        if (old->kind == FACT_STAGE_ENDED) {
            needs_met[old->stage] = old->state == STATE_SUCCEEDED;
        }
        if (!is_same_task(old, fact)) {
            continue;
        }
        if (old->kind == FACT_ASSIGNED && old->attempt != fact->attempt) {
            if (old->attempt != attempt) {
                assert_int_equal(open, 0); /* one attempt of a task at a time */
                assert_true(old->attempt > attempt);
                attempt = old->attempt;
                good_ranks = 0;
            }
            open++;
        }
        if (old->kind == FACT_ENDED) {
            assert_true(open > 0 && old->attempt == attempt);
            open--;
            good_ranks += old->cause == CAUSE_NONE ? 1 : 0;
            assert_false(open == 0 && good_ranks == old->ranks); /* it had succeeded */
        }
    }
    assert_false(has_stopped);
    assert_int_equal(open, 0);
    assert_true(fact->attempt > attempt);
    const struct core_stage_desc *stage = &w->texts[fact->job].stages[fact->stage];
    for (uint32_t i = 0; i < stage->needs_count; i++) {
        assert_true(needs_met[stage->needs[i]]);
    }
}

static void check_ended(const struct world *w, const struct core_fact *fact)
{
    bool is_assigned = false;
    for (uint32_t i = 0; i < w->fact_count; i++) {
        assert_false(is_end_of(&w->facts[i], fact));
        is_assigned = is_assigned ||
                      (w->facts[i].kind == FACT_ASSIGNED && w->facts[i].worker == fact->worker &&
                       w->facts[i].attempt == fact->attempt && w->facts[i].rank == fact->rank);
    }
    assert_true(is_assigned);
}

static void record(struct world *w, const struct core_fact *fact)
{
    assert_true(w->fact_count < FACTS_MAX && fact->job <= JOBS_MAX);
    assert_true(fact->kind == FACT_JOB_SUBMITTED || fact->kind == FACT_JOB_RETRIED ||
                !w->has_ended[fact->job]);
    switch (fact->kind) {
    case FACT_JOB_SUBMITTED:
        assert_int_equal(fact->job, w->jobs + 1);
        w->jobs = fact->job;
        w->texts[fact->job] = w->scratch;
        struct job_text *text = &w->texts[fact->job];
        text->desc.stages = text->stages;
        for (uint32_t i = 0; i < text->desc.stage_count; i++) {
            text->stages[i].needs = text->needs[i];
        }
        break;
    case FACT_JOB_RETRIED:
        assert_true(w->has_ended[fact->job]);
        w->has_ended[fact->job] = false;
        break;
    case FACT_ASSIGNED:
        if (fact->rank == 0) {
            check_assigned(w, fact);
        }
        break;
    case FACT_ENDED:
        check_ended(w, fact);
        break;
    case FACT_JOB_ENDED:
        w->has_ended[fact->job] = true;
        w->end_state[fact->job] = fact->state;
        break;
    case FACT_JOB_CANCELLED:
    case FACT_STARTED:
    case FACT_STAGE_ENDED:
        break;
    }
    w->facts[w->fact_count++] = *fact;
}

/* ---- Two cores with one record are the same
 * ------------------------------------------------------ */

static void compare_task(const struct core *a, const struct task *left, const struct task *right)
{
    assert_non_null(right);
    assert_int_equal(left->state == TASK_RUNNING, right->state == TASK_RUNNING);
    assert_int_equal(left->state == TASK_OVER, right->state == TASK_OVER);
    assert_int_equal(left->failures, right->failures);
    if (left->state != TASK_RUNNING) {
        return;
    }
    assert_int_equal(left->attempt, right->attempt);
    assert_int_equal(left->open, right->open);
    assert_int_equal(left->cause, right->cause);
    for (uint32_t m = left->member_first; m != SLOT_NONE; m = a->members[m].next) {
        assert_int_equal(left->ranks, right->ranks);
    }
}

static void compare_jobs(const struct core *a, const struct core *b)
{
    for (uint32_t slot = 0; slot < a->job_slots.fresh; slot++) {
        const struct job *left = &a->jobs[slot];
        if (!slots_in_use(&a->job_slots, slot) || job_state_is_end(left->state)) {
            continue;
        }
        assert_int_not_equal(job_slot(b, left->id), SLOT_NONE);
        const struct job *right = &b->jobs[job_slot(b, left->id)];
        assert_int_equal(left->state, right->state);
        assert_int_equal(left->stop, right->stop);
        assert_int_equal(left->stages_open, right->stages_open);
        assert_int_equal(left->stages_unsuccessful, right->stages_unsuccessful);
        for (uint32_t s = left->stage_first; s != SLOT_NONE; s = a->stages[s].next_in_job) {
            const struct stage *mine = &a->stages[s];
            uint32_t other_slot = job_stage_slot(b, left->id, mine->index);
            const struct stage *other = &b->stages[other_slot];
            assert_int_equal(mine->state, other->state);
            assert_int_equal(mine->cursor, other->cursor);
            assert_int_equal(mine->succeeded, other->succeeded);
            assert_int_equal(mine->failed, other->failed);
            assert_int_equal(mine->running, other->running);
            assert_int_equal(mine->unmet, other->unmet);
            assert_int_equal(mine->needs_lost, other->needs_lost);
            for (const struct mlq_list *at = mine->tasks.next; at != &mine->tasks; at = at->next) {
                const struct task *task = STATE_CONST_OF(at, struct task, in_stage);
                compare_task(a, task, attempt_task(b, other_slot, task->index));
            }
        }
    }
}

/* What core_restore is given with a fact: the text of the job, and how often it was retried. */
static const struct core_job_desc *recorded_desc(struct world *w, const struct core_fact *fact)
{
    if (fact->kind != FACT_JOB_SUBMITTED) {
        return NULL;
    }
    struct core_job_desc *desc = &w->texts[fact->job].desc;
    desc->retries = 0;
    for (uint32_t i = 0; i < w->fact_count; i++) {
        desc->retries +=
            w->facts[i].job == fact->job && w->facts[i].kind == FACT_JOB_RETRIED ? 1 : 0;
    }
    return desc;
}

static void compare_with_restored(struct world *w)
{
    size_t size = core_memory_need(&w->limits);
    void *memory = mlq_alloc(size);
    struct core *other = core_init(&w->limits, memory, size, w->epoch + 1, 1, 5);
    for (uint32_t i = 0; i < w->fact_count; i++) {
        const struct core_fact *fact = &w->facts[i];
        assert_true(core_restore(other, fact, recorded_desc(w, fact)));
    }
    compare_jobs(w->core, other);
    assert_int_equal(core_count(w->core).members, core_count(other).members);
    for (uint32_t i = 0; i < w->fact_count; i++) {
        const struct core_fact *fact = &w->facts[i];
        if (fact->kind == FACT_ASSIGNED) {
            assert_int_equal(core_is_live(w->core, fact->attempt, fact->rank, fact->worker),
                             core_is_live(other, fact->attempt, fact->rank, fact->worker));
        }
    }
    mlq_free(memory);
}

/* ---- The shell
 * ----------------------------------------------------------------------------------- */

static void send_order(struct world *w, const struct core_action *action)
{
    assert_true(w->order_count < MESSAGES_MAX);
    int64_t delay_ns = w->has_delay && !w->is_quiet ? (int64_t)below(w, 500) * MILLI : 0;
    w->orders[w->order_count++] = (struct order){.action = *action, .due_ns = w->now_ns + delay_ns};
}

static void mix(struct world *w, const struct core_action *a)
{
    uint64_t words[] = {(uint64_t)a->kind,
                        a->attempt,
                        a->rank,
                        a->worker,
                        a->job,
                        (uint64_t)a->cause,
                        (uint64_t)a->reply,
                        (uint64_t)a->fact.kind,
                        a->fact.index,
                        a->fact.gpu_mask,
                        (uint64_t)a->fact.at_ns};
    for (size_t i = 0; i < MLQ_COUNT_OF(words); i++) {
        w->hash = mlq_hash_keyed(w->hash, words[i], i);
    }
}

static void restart_core(struct world *w)
{
    mlq_free(w->memory);
    size_t size = core_memory_need(&w->limits);
    w->memory = mlq_alloc(size);
    w->epoch++;
    w->core = core_init(&w->limits, w->memory, size, w->epoch, w->jobs + 1, w->epoch);
    for (uint32_t i = 0; i < w->fact_count; i++) {
        const struct core_fact *fact = &w->facts[i];
        assert_true(core_restore(w->core, fact, recorded_desc(w, fact)));
    }
    w->order_count = 0;
    w->message_count = 0;
    for (uint32_t i = 0; i < WORKERS; i++) {
        w->workers[i].session = 0; /* their connections are gone */
    }
}

static void step(struct world *w, struct core_event event);

/* The leader dies after a step: what that step decided is recorded, or is not; nobody was told. */
static void die_and_recover(struct world *w)
{
    if (chance(w, 50)) {
        for (uint32_t i = 0; i < w->actions.count; i++) {
            if (w->items[i].kind == ACT_PERSIST) {
                record(w, &w->items[i].fact);
            }
        }
    }
    restart_core(w);
    step(w, (struct core_event){.kind = EV_RESTORED});
}

static void step(struct world *w, struct core_event event)
{
    event.now_ns = w->now_ns;
    core_step(w->core, &event, &w->actions);
    core_audit(w->core);
    assert_true(w->actions.count <= CORE_ACTIONS_PER_EVENT);
    for (uint32_t i = 0; i < w->actions.count; i++) {
        mix(w, &w->items[i]);
    }
    if (w->has_failovers && !w->is_quiet && event.kind != EV_RESTORED && below(w, 400) == 0) {
        die_and_recover(w);
        return;
    }
    for (uint32_t i = 0; i < w->actions.count; i++) {
        const struct core_action *action = &w->items[i];
        switch (action->kind) {
        case ACT_PERSIST:
            record(w, &action->fact);
            break;
        case ACT_ASSIGN:
        case ACT_KILL:
        case ACT_ACK:
        case ACT_FENCED:
            send_order(w, action);
            break;
        case ACT_REPLY:
        case ACT_WELCOME:
        case ACT_RECORD:
        case ACT_MEMBERS:
            break;
        }
    }
}

/* ---- Workers
 * ------------------------------------------------------------------------------------- */

static void send_event(struct world *w, struct core_event event)
{
    uint32_t copies = w->has_dup && !w->is_quiet && chance(w, 10) ? 2 : 1;
    const struct model_worker *worker = &w->workers[event.worker];
    for (uint32_t copy = 0; copy < copies && w->message_count < MESSAGES_MAX; copy++) {
        struct message *message = &w->messages[w->message_count++];
        int64_t delay_ns = w->has_delay && !w->is_quiet ? (int64_t)below(w, 800) * MILLI : 0;
        *message =
            (struct message){.event = event, .sent_ns = w->now_ns, .due_ns = w->now_ns + delay_ns};
        if (event.kind == EV_WORKER_HELLO) {
            for (uint32_t i = 0; i < worker->run_count; i++) {
                message->claims[i] = (struct core_claim){.attempt = worker->runs[i].fact.attempt,
                                                         .rank = worker->runs[i].fact.rank};
            }
            message->event.claim_count = worker->run_count;
        }
    }
}

static void send_end(struct world *w, uint32_t id, const struct run *run)
{
    send_event(w, (struct core_event){.kind = EV_ENDED,
                                      .worker = id,
                                      .attempt = run->fact.attempt,
                                      .rank = run->fact.rank,
                                      .cause = run->cause,
                                      .exit_code = run->cause == CAUSE_EXIT ? 1 : 0});
}

/* Promise 4: nobody runs this task while another attempt of it still does. */
static void check_alone(const struct world *w, const struct core_fact *fact)
{
    for (uint32_t i = 0; i < WORKERS; i++) {
        for (uint32_t k = 0; k < w->workers[i].run_count; k++) {
            const struct run *run = &w->workers[i].runs[k];
            assert_false(!run->is_over && is_same_task(&run->fact, fact) &&
                         run->fact.attempt != fact->attempt);
        }
    }
}

static struct run *find_run(struct model_worker *worker, uint64_t attempt, uint32_t rank)
{
    for (uint32_t i = 0; i < worker->run_count; i++) {
        if (worker->runs[i].fact.attempt == attempt && worker->runs[i].fact.rank == rank) {
            return &worker->runs[i];
        }
    }
    return NULL;
}

static enum core_cause random_failure(struct world *w)
{
    const enum core_cause causes[] = {CAUSE_EXIT,  CAUSE_SIGNAL,  CAUSE_OOM,
                                      CAUSE_SPAWN, CAUSE_REQUEUE, CAUSE_PEER};
    return causes[below(w, MLQ_COUNT_OF(causes))];
}

static void begin_run(struct world *w, uint32_t id, const struct core_fact *fact)
{
    struct model_worker *worker = &w->workers[id];
    assert_null(find_run(worker, fact->attempt, fact->rank));
    assert_true(worker->run_count < RUNS_MAX);
    struct run *run = &worker->runs[worker->run_count];
    if (w->now_ns >= worker->lease_until_ns) {
        /* Its lease lapsed while the order was on its way: refused, and said so. */
        *run = (struct run){.fact = *fact, .is_over = true, .cause = CAUSE_LEASE};
        worker->run_count++;
        send_end(w, id, run);
        return;
    }
    check_alone(w, fact);
    worker->run_count++;
    *run = (struct run){.fact = *fact, .ends_ns = w->now_ns + (int64_t)below(w, 4000) * MILLI};
    if (w->has_failures && !w->is_quiet && chance(w, 30)) {
        run->cause = random_failure(w);
    }
    send_event(w,
               (struct core_event){
                   .kind = EV_STARTED, .worker = id, .attempt = fact->attempt, .rank = fact->rank});
}

static void obey(struct world *w, const struct core_action *action)
{
    struct model_worker *worker = &w->workers[action->worker];
    if (!worker->is_up || worker->session == 0) {
        return;
    }
    struct run *run = find_run(worker, action->attempt, action->rank);
    switch (action->kind) {
    case ACT_ASSIGN:
        if (action->session != worker->session) {
            return;
        }
        begin_run(w, action->worker, &action->fact);
        return;
    case ACT_KILL:
        if (run != NULL && !run->is_over) {
            run->is_told_to_stop = true;
            run->cause = chance(w, 80) ? action->cause : run->cause;
            run->ends_ns = w->now_ns + (int64_t)below(w, 500) * MILLI;
        }
        return;
    case ACT_ACK:
    case ACT_FENCED:
        if (run != NULL && (action->kind == ACT_FENCED || run->is_over)) {
            *run = worker->runs[--worker->run_count];
        }
        return;
    case ACT_PERSIST:
    case ACT_REPLY:
    case ACT_WELCOME:
    case ACT_RECORD:
    case ACT_MEMBERS:
        break;
    }
    fail_msg("no order for a worker: %d", (int)action->kind);
}

/* A connection is made, or made anew: orders of the old one are lost. */
static void connect_worker(struct world *w, uint32_t id)
{
    struct model_worker *worker = &w->workers[id];
    worker->is_up = true;
    worker->session = ++w->session;
    worker->lease_until_ns = 0; /* until the hello has arrived */
    worker->next_heartbeat_ns = w->now_ns + SECOND;
    send_event(
        w, (struct core_event){.kind = EV_WORKER_HELLO,
                               .worker = id,
                               .session = worker->session,
                               .capacity = {.cpu_milli = 4000, .mem_bytes = 4 * GIB, .gpus = 2}});
    for (uint32_t i = 0; i < worker->run_count; i++) {
        if (worker->runs[i].is_over) {
            send_end(w, id, &worker->runs[i]); /* said until it is acknowledged */
        }
    }
}

static void live_worker(struct world *w, uint32_t id)
{
    struct model_worker *worker = &w->workers[id];
    for (uint32_t i = 0; i < worker->run_count; i++) {
        struct run *run = &worker->runs[i];
        if (!run->is_over && w->now_ns >= run->ends_ns) {
            run->is_over = true;
            if (worker->session != 0) {
                send_end(w, id, run);
            }
        }
    }
    if (!worker->is_up) {
        if (w->is_quiet || chance(w, 10)) {
            connect_worker(w, id);
        }
        return;
    }
    if (worker->session == 0) {
        connect_worker(w, id);
        return;
    }
    if (w->now_ns >= worker->next_heartbeat_ns) {
        worker->next_heartbeat_ns = w->now_ns + SECOND;
        struct core_worker_view view;
        if (worker->lease_until_ns != 0 && w->now_ns > worker->lease_until_ns) {
            connect_worker(w, id); /* nobody answers: try anew */
        } else if (!core_worker(w->core, id, &view) || !view.known) {
            connect_worker(w, id);
        } else {
            send_event(w, (struct core_event){.kind = EV_WORKER_HEARTBEAT,
                                              .worker = id,
                                              .session = worker->session});
        }
    }
}

/* The shims' rule, whatever else happens: no lease, no task. `shim_lease_ns` outlives connections.
 */
static void end_leases(struct world *w, int64_t *shim_lease_ns)
{
    for (uint32_t id = 0; id < WORKERS; id++) {
        struct model_worker *worker = &w->workers[id];
        for (uint32_t i = 0; i < worker->run_count; i++) {
            struct run *run = &worker->runs[i];
            if (!run->is_over && w->now_ns >= shim_lease_ns[id]) {
                run->is_over = true;
                run->cause = CAUSE_LEASE;
                if (worker->session != 0) {
                    send_end(w, id, run);
                }
            }
        }
    }
}

static void hurt_worker(struct world *w, uint32_t id)
{
    struct model_worker *worker = &w->workers[id];
    if (w->has_breaks && chance(w, 2)) {
        worker->session = 0;
        uint32_t kept = 0;
        for (uint32_t i = 0; i < w->order_count; i++) {
            if (w->orders[i].action.worker != id) {
                w->orders[kept++] = w->orders[i];
            }
        }
        w->order_count = kept;
    }
    if (w->has_deaths && worker->is_up && below(w, 300) == 0) {
        /* The machine is gone, and all that ran on it. */
        if (worker->session != 0 && chance(w, 30)) {
            send_event(w, (struct core_event){
                              .kind = EV_WORKER_LEAVING, .worker = id, .session = worker->session});
        }
        worker->is_up = false;
        worker->session = 0;
        worker->run_count = 0;
    }
}

/* ---- Users
 * --------------------------------------------------------------------------------------- */

static void write_job(struct world *w)
{
    struct job_text *text = &w->scratch;
    memset(text, 0, sizeof *text);
    text->desc.stage_count = (uint16_t)(1 + below(w, STAGES_MAX));
    text->desc.stages = text->stages;
    text->desc.priority = (int32_t)below(w, 3) - 1;
    text->desc.deadline_ns = chance(w, 15) ? (int64_t)(1 + below(w, 20)) * SECOND : 0;
    for (uint32_t i = 0; i < text->desc.stage_count; i++) {
        struct core_stage_desc *stage = &text->stages[i];
        *stage = simple_stage();
        stage->array_count = chance(w, 30) ? (uint32_t)(1 + below(w, 8)) : 1;
        stage->array_parallel = (uint32_t)below(w, 3);
        stage->failures_max = (uint32_t)below(w, 4);
        stage->ranks = chance(w, 30) ? (uint32_t)(1 + below(w, 3)) : 1;
        stage->per_rank = cpus(1 + (int64_t)below(w, 2));
        stage->per_rank.gpus = (int32_t)below(w, 2);
        stage->retry = (struct core_retry){
            .limit = (uint32_t)below(w, 4),
            .cause_mask = (uint32_t)(below(w, UINT64_C(1) << CAUSE_COUNT) & ~UINT64_C(1)),
            .backoff_ns = (int64_t)below(w, 2000) * MILLI,
        };
        stage->needs = text->needs[i];
        for (uint16_t k = 0; k < i; k++) {
            if (chance(w, 40)) {
                text->needs[i][stage->needs_count++] = k;
            }
        }
    }
}

static void retry_job(struct world *w, uint64_t job)
{
    if (core_job_is_live(w->core, job) || !w->has_ended[job]) {
        step(w, (struct core_event){.kind = EV_RETRY, .request = 1, .job = job});
        return;
    }
    bool has_fitted = true;
    for (uint32_t i = 0; i < w->fact_count && has_fitted; i++) {
        const struct core_fact *fact = &w->facts[i];
        if (fact->job == job) {
            has_fitted = core_restore(w->core, fact, recorded_desc(w, fact));
        }
    }
    bool is_forgotten = chance(w, 20);
    step(w,
         (struct core_event){.kind = is_forgotten ? EV_TICK : EV_RETRY, .request = 1, .job = job});
}

static void ask(struct world *w)
{
    uint64_t job = w->jobs > 0 ? 1 + below(w, w->jobs) : 1;
    if (w->jobs < JOBS_MAX && chance(w, 5)) {
        write_job(w);
        step(w, (struct core_event){.kind = EV_SUBMIT, .request = 1, .desc = &w->scratch.desc});
    } else if (below(w, 300) == 0) {
        step(w, (struct core_event){.kind = EV_CANCEL, .request = 1, .job = job});
    } else if (below(w, 200) == 0 && w->jobs > 0) {
        retry_job(w, job);
    }
}

/* ---- The world
 * ------------------------------------------------------------------------------------ */

static void deliver(struct world *w, int64_t *shim_lease_ns)
{
    /* To the core: in any order that the delays allow. */
    for (uint32_t i = 0; i < w->message_count; i++) {
        if (w->messages[i].due_ns > w->now_ns) {
            continue;
        }
        struct message message = w->messages[i];
        w->messages[i--] = w->messages[--w->message_count];
        message.event.claims = message.claims;
        uint32_t epoch = w->epoch;
        step(w, message.event);
        if (w->epoch != epoch) {
            return;
        }
        /* An acknowledged heartbeat or hello extends the lease, from when it was sent. */
        uint32_t id = message.event.worker;
        struct core_worker_view view;
        if ((message.event.kind == EV_WORKER_HEARTBEAT || message.event.kind == EV_WORKER_HELLO) &&
            message.event.session == w->workers[id].session && core_worker(w->core, id, &view) &&
            view.known) {
            int64_t until_ns = message.sent_ns + w->limits.lease_ns;
            if (until_ns > shim_lease_ns[id]) {
                shim_lease_ns[id] = until_ns;
            }
            w->workers[id].lease_until_ns = shim_lease_ns[id];
        }
    }
    /* To the workers: each connection keeps its order. */
    bool is_blocked[WORKERS] = {false};
    uint32_t kept = 0;
    for (uint32_t i = 0; i < w->order_count; i++) {
        struct order order = w->orders[i];
        uint32_t id = order.action.worker;
        if (is_blocked[id] || order.due_ns > w->now_ns) {
            is_blocked[id] = true;
            w->orders[kept++] = order;
        } else {
            obey(w, &order.action);
        }
    }
    w->order_count = kept;
}

static void turn(struct world *w, int64_t *shim_lease_ns)
{
    w->now_ns += (int64_t)below(w, 200) * MILLI;
    end_leases(w, shim_lease_ns);
    if (core_next_deadline_ns(w->core) <= w->now_ns) {
        step(w, (struct core_event){.kind = EV_TICK});
    }
    for (uint32_t id = 0; id < WORKERS; id++) {
        if (!w->is_quiet) {
            hurt_worker(w, id);
        }
        live_worker(w, id);
    }
    if (!w->is_quiet) {
        ask(w);
    }
    deliver(w, shim_lease_ns);
}

static struct world *open_world(uint64_t seed)
{
    struct world *w = mlq_alloc(sizeof *w);
    mlq_prng_seed(&w->prng, seed);
    w->limits = double_limits();
    w->has_small_tables = chance(w, 30);
    w->limits.jobs_max = w->has_small_tables ? (uint32_t)(2 + below(w, 6)) : 32;
    w->limits.stages_max = w->has_small_tables ? (uint32_t)(4 + below(w, 12)) : 128;
    w->limits.needs_max = w->has_small_tables ? (uint32_t)(3 + below(w, 12)) : 256;
    w->limits.tasks_max = w->has_small_tables ? (uint32_t)(4 + below(w, 12)) : 512;
    w->limits.members_max = w->has_small_tables ? (uint32_t)(3 + below(w, 12)) : 512;
    w->limits.lease_ns = 3 * SECOND;
    w->limits.lease_margin_ns = SECOND;
    w->limits.starve_ns = (int64_t)below(w, 20) * SECOND;
    w->actions.items = w->items;
    w->has_dup = chance(w, 50);
    w->has_delay = chance(w, 50);
    w->has_breaks = chance(w, 50);
    w->has_deaths = chance(w, 50);
    /* A small table may hold what runs, but not what a whole record passes through. */
    w->has_failovers = chance(w, 50) && !w->has_small_tables;
    w->has_failures = chance(w, 70);
    size_t size = core_memory_need(&w->limits);
    w->memory = mlq_alloc(size);
    w->epoch = 1;
    w->core = core_init(&w->limits, w->memory, size, 1, 1, seed);
    step(w, (struct core_event){.kind = EV_RESTORED});
    return w;
}

static bool all_ended(const struct world *w)
{
    for (uint64_t job = 1; job <= w->jobs; job++) {
        if (!w->has_ended[job]) {
            return false;
        }
    }
    return true;
}

static uint64_t run_world(uint64_t seed, uint32_t steps)
{
    struct world *w = open_world(seed);
    int64_t shim_lease_ns[WORKERS] = {0};
    for (uint32_t i = 0; i < steps; i++) {
        turn(w, shim_lease_ns);
        if (!w->has_small_tables && below(w, 200) == 0) {
            compare_with_restored(w);
        }
    }
    w->is_quiet = true;
    uint32_t quiet_steps = 0;
    while (!all_ended(w)) {
        turn(w, shim_lease_ns);
        quiet_steps++;
        assert_true(quiet_steps < QUIET_STEPS_MAX); /* every job ends once the faults stop */
    }
    while (core_next_deadline_ns(w->core) <= w->now_ns) {
        step(w, (struct core_event){.kind = EV_TICK});
    }
    struct core_counts counts = core_count(w->core);
    assert_int_equal(counts.jobs, 0);
    assert_int_equal(counts.members, 0);
    assert_int_equal(counts.stages_ready, 0);
    assert_int_equal(w->core->shape_slots.count, 0);
    assert_int_equal(w->core->edge_slots.count, 0);
    uint64_t hash = w->hash;
    mlq_free(w->memory);
    mlq_free(w);
    return hash;
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static void test_random_worlds(void **state)
{
    (void)state;
    uint64_t only = from_environment("MLQ_CORE_SEED", 0);
    uint64_t seeds = from_environment("MLQ_CORE_SEEDS", 300);
    for (uint64_t seed = only != 0 ? only : 1; seed <= (only != 0 ? only : seeds); seed++) {
        print_message("\rseed %llu ", (unsigned long long)seed);
        uint64_t hash = run_world(seed, 1500);
        if (seed % 10 == 0) {
            assert_int_equal(hash, run_world(seed, 1500)); /* the same seed, the same actions */
        }
    }
    print_message("\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_worlds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
