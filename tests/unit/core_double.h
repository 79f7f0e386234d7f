/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A recording double around the core: it plays the shell. A test steps an event, takes each action
 * that it expects in order, and the next step asserts that nothing else was sent. What is persisted
 * is kept, so that a test can crash the core and restore another one from its record.
 */
#ifndef MLQ_TESTS_UNIT_CORE_DOUBLE_H
#define MLQ_TESTS_UNIT_CORE_DOUBLE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/sys/mem.h"
#include "scheduler/core/core.h"

#define SECOND           INT64_C(1000000000)
#define GIB              (INT64_C(1) << 30)
#define DOUBLE_FACTS_MAX 4096
#define DOUBLE_JOBS_MAX  512

struct core_double {
    struct core_limits limits;
    void *memory;
    struct core *core;
    uint32_t epoch;
    int64_t now_ns;
    uint64_t requests;
    uint64_t session;
    uint64_t last_job;
    struct core_action items[CORE_ACTIONS_PER_EVENT];
    struct core_actions actions;
    uint32_t taken;
    struct core_fact facts[DOUBLE_FACTS_MAX]; /* the record */
    uint32_t fact_count;
    struct core_job_desc descs[DOUBLE_JOBS_MAX]; /* by job */
};

static inline struct core_limits double_limits(void)
{
    return (struct core_limits){
        .jobs_max = 16,
        .stages_max = 32,
        .needs_max = 32,
        .tasks_max = 32,
        .members_max = 64,
        .workers_max = 4,
        .lease_ns = 15 * SECOND,
        .lease_margin_ns = 5 * SECOND,
        .starve_ns = 100 * SECOND,
    };
}

/* Nothing was sent that the test did not take. */
static inline void double_done(const struct core_double *d)
{
    if (d->taken != d->actions.count) {
        fail_msg("%u actions were not expected; the first is of kind %d (fact %d)",
                 d->actions.count - d->taken, (int)d->items[d->taken].kind,
                 (int)d->items[d->taken].fact.kind);
    }
}

static inline void double_step(struct core_double *d, struct core_event event)
{
    double_done(d);
    event.now_ns = d->now_ns;
    core_step(d->core, &event, &d->actions);
    core_audit(d->core);
    d->taken = 0;
    for (uint32_t i = 0; i < d->actions.count; i++) {
        const struct core_action *action = &d->items[i];
        if (action->kind != ACT_PERSIST) {
            continue;
        }
        assert_true(d->fact_count < DOUBLE_FACTS_MAX);
        d->facts[d->fact_count++] = action->fact;
        if (action->fact.kind == FACT_JOB_SUBMITTED) {
            assert_true(action->fact.job < DOUBLE_JOBS_MAX);
            d->descs[action->fact.job] = *event.desc;
        }
    }
}

static inline void double_new_core(struct core_double *d)
{
    size_t size = core_memory_need(&d->limits);
    d->memory = mlq_alloc(size);
    d->actions.items = d->items;
    d->actions.count = 0;
    d->taken = 0;
    d->core = core_init(&d->limits, d->memory, size, d->epoch, 1, 7);
}

static inline struct core_double *double_open(const struct core_limits *limits)
{
    struct core_double *d = mlq_alloc(sizeof *d);
    d->limits = *limits;
    d->epoch = 1;
    double_new_core(d);
    double_step(d, (struct core_event){.kind = EV_RESTORED});
    return d;
}

static inline void double_close(struct core_double *d)
{
    double_done(d);
    mlq_free(d->memory);
    mlq_free(d);
}

/* What core_restore is given with a fact: the job as submitted, and how often it was retried. */
static inline const struct core_job_desc *double_recorded_desc(struct core_double *d,
                                                               const struct core_fact *fact)
{
    if (fact->kind != FACT_JOB_SUBMITTED) {
        return NULL;
    }
    struct core_job_desc *desc = &d->descs[fact->job];
    desc->retries = 0;
    for (uint32_t i = 0; i < d->fact_count; i++) {
        desc->retries +=
            d->facts[i].job == fact->job && d->facts[i].kind == FACT_JOB_RETRIED ? 1 : 0;
    }
    return desc;
}

/* The process dies and another leader restores the record; `EV_RESTORED` is the test's to send. */
static inline void double_crash(struct core_double *d)
{
    double_done(d);
    mlq_free(d->memory);
    d->epoch++;
    double_new_core(d);
    for (uint32_t i = 0; i < d->fact_count; i++) {
        const struct core_fact *fact = &d->facts[i];
        assert_true(core_restore(d->core, fact, double_recorded_desc(d, fact)));
    }
}

/* ---- Events -----------------------------------------------------------------------------------
 */

static inline void double_tick(struct core_double *d, int64_t later_ns)
{
    d->now_ns += later_ns;
    double_step(d, (struct core_event){.kind = EV_TICK});
}

static inline void double_submit_raw(struct core_double *d, const struct core_job_desc *desc)
{
    double_step(d, (struct core_event){.kind = EV_SUBMIT, .request = ++d->requests, .desc = desc});
}

static inline uint64_t double_hello_claiming(struct core_double *d, uint32_t worker,
                                             struct rvec capacity, const struct core_claim *claims,
                                             uint32_t claim_count)
{
    double_step(d, (struct core_event){
                       .kind = EV_WORKER_HELLO,
                       .worker = worker,
                       .session = ++d->session,
                       .capacity = capacity,
                       .claims = claims,
                       .claim_count = claim_count,
                   });
    return d->session;
}

static inline void double_heartbeat(struct core_double *d, uint32_t worker, uint64_t session)
{
    double_step(
        d, (struct core_event){.kind = EV_WORKER_HEARTBEAT, .worker = worker, .session = session});
}

static inline void double_started(struct core_double *d, const struct core_fact *assigned)
{
    double_step(d, (struct core_event){
                       .kind = EV_STARTED,
                       .worker = assigned->worker,
                       .attempt = assigned->attempt,
                       .rank = assigned->rank,
                   });
}

static inline void double_ended_by(struct core_double *d, const struct core_fact *assigned,
                                   enum core_cause cause, int32_t signal)
{
    double_step(d, (struct core_event){
                       .kind = EV_ENDED,
                       .worker = assigned->worker,
                       .attempt = assigned->attempt,
                       .rank = assigned->rank,
                       .cause = cause,
                       .exit_code = cause == CAUSE_NONE ? 0 : 1,
                       .signal = signal,
                   });
}

static inline void double_ended(struct core_double *d, const struct core_fact *assigned,
                                enum core_cause cause)
{
    double_ended_by(d, assigned, cause, 0);
}

/* ---- Taking what was sent ----------------------------------------------------------------------
 */

static inline const struct core_action *take(struct core_double *d, enum core_action_kind kind)
{
    if (d->taken == d->actions.count) {
        fail_msg("expected an action of kind %d, but there is none left", (int)kind);
    }
    const struct core_action *action = &d->items[d->taken++];
    if (action->kind != kind) {
        fail_msg("expected an action of kind %d, not %d (fact %d)", (int)kind, (int)action->kind,
                 (int)action->fact.kind);
    }
    return action;
}

static inline struct core_fact take_fact(struct core_double *d, enum core_fact_kind kind)
{
    struct core_fact fact = take(d, ACT_PERSIST)->fact;
    if (fact.kind != kind) {
        fail_msg("expected a fact of kind %d, not %d", (int)kind, (int)fact.kind);
    }
    return fact;
}

static inline void take_reply(struct core_double *d, enum core_reply reply)
{
    const struct core_action *action = take(d, ACT_REPLY);
    assert_int_equal(action->request, d->requests);
    assert_int_equal(action->reply, reply);
    d->last_job = action->job;
}

/* The assignment of one rank: its fact, and the message to its worker. */
static inline struct core_fact take_assigned(struct core_double *d, uint32_t worker)
{
    struct core_fact fact = take_fact(d, FACT_ASSIGNED);
    const struct core_action *action = take(d, ACT_ASSIGN);
    assert_int_equal(fact.worker, worker);
    assert_int_equal(action->worker, worker);
    assert_int_equal(action->fact.kind, FACT_ASSIGNED);
    assert_int_equal(action->fact.job, fact.job);
    assert_int_equal(action->fact.stage, fact.stage);
    assert_int_equal(action->fact.index, fact.index);
    assert_int_equal(action->fact.attempt, fact.attempt);
    assert_int_equal(action->fact.rank, fact.rank);
    assert_int_equal(action->fact.ranks, fact.ranks);
    assert_int_equal(action->fact.gpu_mask, fact.gpu_mask);
    assert_true(core_is_live(d->core, fact.attempt, fact.rank, worker));
    return fact;
}

static inline void take_kill(struct core_double *d, const struct core_fact *assigned,
                             enum core_cause cause)
{
    const struct core_action *action = take(d, ACT_KILL);
    assert_int_equal(action->worker, assigned->worker);
    assert_int_equal(action->attempt, assigned->attempt);
    assert_int_equal(action->rank, assigned->rank);
    assert_int_equal(action->cause, cause);
}

static inline void take_answer(struct core_double *d, enum core_action_kind kind, uint32_t worker,
                               uint64_t attempt, uint32_t rank)
{
    const struct core_action *action = take(d, kind);
    assert_int_equal(action->worker, worker);
    assert_int_equal(action->attempt, attempt);
    assert_int_equal(action->rank, rank);
}

static inline void take_ended(struct core_double *d, const struct core_fact *assigned,
                              enum core_cause cause)
{
    struct core_fact fact = take_fact(d, FACT_ENDED);
    assert_int_equal(fact.attempt, assigned->attempt);
    assert_int_equal(fact.rank, assigned->rank);
    assert_int_equal(fact.worker, assigned->worker);
    assert_int_equal(fact.cause, cause);
}

/* The rank's end is recorded and acknowledged. */
static inline void take_end(struct core_double *d, const struct core_fact *assigned,
                            enum core_cause cause)
{
    take_ended(d, assigned, cause);
    take_answer(d, ACT_ACK, assigned->worker, assigned->attempt, assigned->rank);
}

static inline void take_stage_ended(struct core_double *d, uint32_t stage, enum core_state state)
{
    struct core_fact fact = take_fact(d, FACT_STAGE_ENDED);
    assert_int_equal(fact.stage, stage);
    assert_int_equal(fact.state, state);
}

static inline void take_job_ended(struct core_double *d, uint64_t job, enum core_state state)
{
    struct core_fact fact = take_fact(d, FACT_JOB_ENDED);
    assert_int_equal(fact.job, job);
    assert_int_equal(fact.state, state);
    assert_false(core_job_is_live(d->core, job));
}

/* ---- Both, for what most tests begin with ------------------------------------------------------
 */

static inline uint64_t double_submit(struct core_double *d, const struct core_job_desc *desc)
{
    double_submit_raw(d, desc);
    take_fact(d, FACT_JOB_SUBMITTED);
    take_reply(d, REPLY_OK);
    return d->last_job;
}

static inline uint64_t double_hello(struct core_double *d, uint32_t worker, struct rvec capacity)
{
    uint64_t session = double_hello_claiming(d, worker, capacity, NULL, 0);
    const struct core_action *action = take(d, ACT_WELCOME);
    assert_int_equal(action->worker, worker);
    assert_int_equal(action->session, session);
    return session;
}

static inline struct rvec cpus(int64_t count)
{
    return (struct rvec){.cpu_milli = count * 1000, .mem_bytes = count * GIB};
}

/* One task, one CPU, no retry. */
static inline struct core_stage_desc simple_stage(void)
{
    return (struct core_stage_desc){
        .array_count = 1, .ranks = 1, .per_rank = cpus(1), .grace_ns = 5 * SECOND};
}

static inline struct core_job_desc simple_job(const struct core_stage_desc *stages,
                                              uint16_t stage_count)
{
    return (struct core_job_desc){.stage_count = stage_count, .stages = stages};
}

#endif
