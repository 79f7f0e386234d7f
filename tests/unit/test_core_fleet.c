/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Workers: sessions, claims, leases, and what happens to their work when they or the leader go.
 */
#include "tests/unit/core_double.h"

/* The leader dies; the next one restores the record and begins to act. */
static void fail_over(struct core_double *d)
{
    double_crash(d);
    double_step(d, (struct core_event){.kind = EV_RESTORED});
}

static struct core_stage_desc retried_stage(void)
{
    struct core_stage_desc stage = simple_stage();
    stage.retry =
        (struct core_retry){.limit = 3, .cause_mask = 1u << CAUSE_NODE | 1u << CAUSE_LEASE};
    return stage;
}

/* The lease counts from the last heartbeat; a margin later the work goes elsewhere. */
static void test_a_silent_worker_is_lost(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = retried_stage();
    struct core_job_desc desc = simple_job(&stage, 1);
    uint64_t first = double_hello(d, 1, cpus(1));
    double_submit(d, &desc);
    struct core_fact run = take_assigned(d, 1);
    double_tick(d, 10 * SECOND);
    double_heartbeat(d, 1, first);
    uint64_t second = double_hello(d, 2, cpus(1));
    double_tick(d, 15 * SECOND);
    double_heartbeat(d, 2, second);
    double_heartbeat(d, 1, second + 9); /* of no session of its own: no news */
    assert_int_equal(core_next_deadline_ns(d->core), 30 * SECOND);
    double_tick(d, 5 * SECOND - 1);
    double_tick(d, 1);
    take_ended(d, &run, CAUSE_NODE);
    struct core_fact again = take_assigned(d, 2);
    struct core_worker_view view;
    assert_true(core_worker(d->core, 1, &view));
    assert_false(view.known);
    assert_int_equal(core_count(d->core).workers, 1);
    /* It was only slow: its result comes too late. */
    double_ended(d, &run, CAUSE_NONE);
    take_answer(d, ACT_ACK, 1, run.attempt, 0);
    double_heartbeat(d, 1, first);
    assert_false(core_worker(d->core, 1, &view) && view.known);
    /* And when it says hello with the old task, that is fenced. */
    struct core_claim claim = {.attempt = run.attempt};
    double_hello_claiming(d, 1, cpus(1), &claim, 1);
    take(d, ACT_WELCOME);
    take_answer(d, ACT_FENCED, 1, run.attempt, 0);
    assert_true(core_is_live(d->core, again.attempt, 0, 2));
    double_close(d);
}

/* Reconnecting with a new session: what it claims goes on, what it does not claim is gone. */
static void test_hello_adopts_what_it_claims(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = simple_stage();
    stage.array_count = 3;
    struct core_job_desc desc = simple_job(&stage, 1);
    uint64_t session = double_hello(d, 1, cpus(3));
    double_submit(d, &desc);
    struct core_fact a = take_assigned(d, 1);
    struct core_fact b = take_assigned(d, 1);
    struct core_fact c = take_assigned(d, 1);
    double_started(d, &b);
    take_fact(d, FACT_STARTED);
    struct core_claim claims[] = {
        {.attempt = c.attempt}, {.attempt = 777}, {.attempt = a.attempt}, {.attempt = c.attempt}};
    double_hello_claiming(d, 1, cpus(3), claims, 4);
    take(d, ACT_WELCOME);
    take_answer(d, ACT_FENCED, 1, 777, 0);
    take_ended(d, &b, CAUSE_NODE); /* no retry was asked for: the stage fails */
    /* A hello of the session before, held up on the way, changes nothing. */
    double_step(d,
                (struct core_event){
                    .kind = EV_WORKER_HELLO, .worker = 1, .session = session, .capacity = cpus(9)});
    double_step(
        d, (struct core_event){
               .kind = EV_WORKER_HELLO, .worker = 1, .session = d->session, .capacity = cpus(9)});
    assert_true(core_is_live(d->core, a.attempt, 0, 1));
    double_ended(d, &a, CAUSE_NONE);
    take_end(d, &a, CAUSE_NONE);
    double_ended(d, &c, CAUSE_NONE);
    take_end(d, &c, CAUSE_NONE);
    take_stage_ended(d, 0, STATE_FAILED);
    take_job_ended(d, 1, STATE_FAILED);
    double_close(d);
}

/* An assignment that crosses the hello, or the farewell, of its worker ran nowhere and costs no retry. */
static void test_what_never_came_costs_no_retry(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = simple_stage(); /* no retry is allowed */
    struct core_job_desc desc = simple_job(&stage, 1);
    double_hello(d, 1, cpus(1));
    uint64_t job = double_submit(d, &desc);
    struct core_fact run = take_assigned(d, 1);
    double_hello_claiming(d, 1, cpus(1), NULL, 0);
    take(d, ACT_WELCOME);
    take_ended(d, &run, CAUSE_REQUEUE);
    double_tick(d, SECOND);
    run = take_assigned(d, 1);
    fail_over(d); /* the assignment is on record, and was not sent */
    double_hello_claiming(d, 1, cpus(1), NULL, 0);
    take(d, ACT_WELCOME);
    take_ended(d, &run, CAUSE_REQUEUE);
    double_tick(d, SECOND);
    run = take_assigned(d, 1);
    double_step(d, (struct core_event){.kind = EV_WORKER_LEAVING, .worker = 1});
    take_ended(d, &run, CAUSE_REQUEUE);
    double_tick(d, SECOND);
    double_hello(d, 2, cpus(1));
    run = take_assigned(d, 2);
    double_tick(d, 20 * SECOND); /* of a worker that is silent nobody knows whether it ran */
    take_ended(d, &run, CAUSE_NODE);
    take_stage_ended(d, 0, STATE_FAILED);
    take_job_ended(d, job, STATE_FAILED);
    double_close(d);
}

/* A worker may die of an assignment before it can say a word of it: that is not tried for ever. */
static void test_what_never_comes_is_given_up(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = simple_stage();
    struct core_job_desc desc = simple_job(&stage, 1);
    double_hello(d, 1, cpus(1));
    uint64_t job = double_submit(d, &desc);
    struct core_fact run = take_assigned(d, 1);
    for (uint32_t missed = 0; missed < 8; missed++) {
        if (missed == 5) {
            fail_over(d); /* the count is the record's, not this leader's */
        }
        double_hello_claiming(d, 1, cpus(1), NULL, 0);
        take(d, ACT_WELCOME);
        take_ended(d, &run, CAUSE_REQUEUE);
        double_tick(d, SECOND);
        run = take_assigned(d, 1);
    }
    double_hello_claiming(d, 1, cpus(1), NULL, 0);
    take(d, ACT_WELCOME);
    take_ended(d, &run, CAUSE_NODE);
    take_stage_ended(d, 0, STATE_FAILED);
    take_job_ended(d, job, STATE_FAILED);
    double_close(d);
}

/* A gang's other ranks may give up while they wait for the one that never comes: it is still the cause. */
static void test_a_gang_lacks_a_rank_that_never_came(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = simple_stage();
    stage.ranks = 2;
    struct core_job_desc desc = simple_job(&stage, 1);
    double_hello(d, 1, cpus(1));
    double_hello(d, 2, cpus(1));
    double_submit(d, &desc);
    struct core_fact a = take_assigned(d, 1);
    struct core_fact b = take_assigned(d, 2);
    double_started(d, &a);
    take_fact(d, FACT_STARTED);
    double_ended(d, &a, CAUSE_EXIT);
    take_end(d, &a, CAUSE_EXIT);
    take_kill(d, &b, CAUSE_PEER);
    double_hello_claiming(d, 2, cpus(1), NULL, 0);
    take(d, ACT_WELCOME);
    take_ended(d, &b, CAUSE_REQUEUE);
    double_tick(d, SECOND);
    take_assigned(d, 1);
    take_assigned(d, 2);
    double_close(d);
}

/* A kill that was on its way to a connection that broke is said again. */
static void test_hello_hears_again_what_it_is_to_stop(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = simple_stage();
    struct core_job_desc desc = simple_job(&stage, 1);
    double_hello(d, 1, cpus(1));
    uint64_t job = double_submit(d, &desc);
    struct core_fact run = take_assigned(d, 1);
    double_step(d, (struct core_event){.kind = EV_CANCEL, .request = ++d->requests, .job = job});
    take_fact(d, FACT_JOB_CANCELLED);
    take_reply(d, REPLY_OK);
    take_kill(d, &run, CAUSE_CANCEL);
    struct core_claim claim = {.attempt = run.attempt};
    double_hello_claiming(d, 1, cpus(1), &claim, 1);
    take(d, ACT_WELCOME);
    take_kill(d, &run, CAUSE_CANCEL);
    double_ended(d, &run, CAUSE_CANCEL);
    take_end(d, &run, CAUSE_CANCEL);
    take_stage_ended(d, 0, STATE_CANCELLED);
    take_job_ended(d, job, STATE_CANCELLED);
    double_close(d);
}

static void test_a_leaving_worker_gives_its_work_back(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = retried_stage();
    struct core_job_desc desc = simple_job(&stage, 1);
    double_hello(d, 1, cpus(1));
    double_submit(d, &desc);
    struct core_fact run = take_assigned(d, 1);
    double_started(d, &run);
    take_fact(d, FACT_STARTED);
    double_hello(d, 2, cpus(1));
    double_step(d, (struct core_event){.kind = EV_WORKER_LEAVING, .worker = 3});
    double_step(d, (struct core_event){.kind = EV_WORKER_LEAVING, .worker = 1});
    take_ended(d, &run, CAUSE_NODE);
    take_assigned(d, 2);
    assert_int_equal(core_count(d->core).workers, 1);
    double_close(d);
}

/* A gang loses one worker: the rest of it is stopped, and it starts anew as a whole. */
static void test_a_lost_worker_takes_its_gangs_down(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = retried_stage();
    stage.ranks = 2;
    struct core_job_desc desc = simple_job(&stage, 1);
    double_hello(d, 1, cpus(1));
    double_hello(d, 2, cpus(1));
    double_submit(d, &desc);
    struct core_fact a = take_assigned(d, 1);
    struct core_fact b = take_assigned(d, 2);
    double_started(d, &a);
    take_fact(d, FACT_STARTED);
    double_step(d, (struct core_event){.kind = EV_WORKER_LEAVING, .worker = 1});
    take_ended(d, &a, CAUSE_NODE);
    take_kill(d, &b, CAUSE_PEER);
    double_hello(d, 3, cpus(1)); /* room enough, but the old attempt is not over */
    double_ended(d, &b, CAUSE_PEER);
    take_end(d, &b, CAUSE_PEER);
    take_assigned(d, 2);
    take_assigned(d, 3);
    double_close(d);
}

/* After a failover: fresh work goes out at once; what the old epoch's workers may run waits one
 * lease and margin for them; those that come in time go on. */
static void test_a_new_leader_waits_one_lease(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = retried_stage();
    stage.array_count = 4;
    struct core_job_desc desc = simple_job(&stage, 1);
    double_hello(d, 1, cpus(1));
    double_hello(d, 2, cpus(1));
    uint64_t job = double_submit(d, &desc);
    struct core_fact a = take_assigned(d, 1);
    struct core_fact b = take_assigned(d, 2);
    double_started(d, &a);
    take_fact(d, FACT_STARTED);
    d->now_ns += 60 * SECOND;
    fail_over(d);
    assert_true(core_is_live(d->core, a.attempt, 0, 1));
    assert_int_equal(core_count(d->core).members, 2);
    double_hello(d, 3, cpus(1));
    struct core_fact fresh = take_assigned(d, 3);
    assert_int_equal(fresh.index, 2);
    assert_int_equal(fresh.attempt >> 32, 2);
    /* Worker 1 comes, and its task with it; it was started, which is known. */
    struct core_claim claim = {.attempt = a.attempt};
    double_hello_claiming(d, 1, cpus(1), &claim, 1);
    take(d, ACT_WELCOME);
    double_started(d, &a);
    double_ended(d, &a, CAUSE_NONE);
    take_end(d, &a, CAUSE_NONE);
    struct core_fact next = take_assigned(d, 1);
    assert_int_equal(next.index, 3);
    double_tick(d, 19 * SECOND);
    double_heartbeat(d, 1, d->session);
    double_heartbeat(d, 3, d->session - 1);
    /* Worker 2 does not come. */
    double_tick(d, 1 * SECOND);
    take_ended(d, &b, CAUSE_NODE);
    double_ended(d, &next, CAUSE_NONE);
    take_end(d, &next, CAUSE_NONE);
    assert_int_equal(take_assigned(d, 1).index, 1);
    (void)job;
    double_close(d);
}

/* The record stops in the middle of what one event decided: the next leader decides the rest. */
static void test_what_the_record_lacks_is_decided_again(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    const uint16_t needs_0[] = {0};
    struct core_stage_desc stages[] = {simple_stage(), simple_stage()};
    stages[1].needs = needs_0;
    stages[1].needs_count = 1;
    struct core_job_desc desc = simple_job(stages, 2);
    double_hello(d, 1, cpus(1));
    uint64_t job = double_submit(d, &desc);
    struct core_fact run = take_assigned(d, 1);
    double_ended(d, &run, CAUSE_EXIT);
    take_end(d, &run, CAUSE_EXIT);
    take_stage_ended(d, 0, STATE_FAILED);
    take_stage_ended(d, 1, STATE_SKIPPED);
    take_job_ended(d, job, STATE_FAILED);
    uint32_t whole = d->fact_count;
    for (uint32_t lost = 1; lost <= 3; lost++) {
        d->fact_count = whole - lost;
        fail_over(d);
        if (lost >= 3) {
            take_stage_ended(d, 0, STATE_FAILED);
        }
        if (lost >= 2) {
            take_stage_ended(d, 1, STATE_SKIPPED);
        }
        take_job_ended(d, job, STATE_FAILED);
        assert_int_equal(d->fact_count, whole);
    }
    /* With the whole record there is nothing to decide, and the job is gone. */
    fail_over(d);
    assert_int_equal(core_count(d->core).jobs, 0);
    double_close(d);
}

/* A gang that was being stopped when the leader died is stopped by the next one, when its worker
 * says hello. */
static void test_kills_survive_a_failover(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = simple_stage();
    stage.ranks = 2;
    struct core_job_desc desc = simple_job(&stage, 1);
    double_hello(d, 1, cpus(2));
    double_submit(d, &desc);
    struct core_fact a = take_assigned(d, 1);
    struct core_fact b = take_assigned(d, 1);
    double_ended(d, &a, CAUSE_EXIT);
    take_end(d, &a, CAUSE_EXIT);
    take_kill(d, &b, CAUSE_PEER);
    fail_over(d);
    struct core_claim claim = {.attempt = b.attempt, .rank = 1};
    double_hello_claiming(d, 1, cpus(2), &claim, 1);
    take(d, ACT_WELCOME);
    take_kill(d, &b, CAUSE_PEER);
    double_ended(d, &b, CAUSE_PEER);
    take_end(d, &b, CAUSE_PEER);
    take_stage_ended(d, 0, STATE_FAILED);
    take_job_ended(d, 1, STATE_FAILED);
    double_close(d);
}

/* A worker came back with fewer CPUs than it runs tasks: they go on, nothing new is placed. */
static void test_a_worker_that_shrank(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = simple_stage();
    stage.array_count = 4;
    struct core_job_desc desc = simple_job(&stage, 1);
    double_hello(d, 1, cpus(3));
    double_submit(d, &desc);
    struct core_fact run[3];
    struct core_claim claims[3];
    for (uint32_t i = 0; i < 3; i++) {
        run[i] = take_assigned(d, 1);
        claims[i] = (struct core_claim){.attempt = run[i].attempt};
    }
    double_hello_claiming(d, 1, cpus(1), claims, 3);
    take(d, ACT_WELCOME);
    double_ended(d, &run[0], CAUSE_NONE);
    take_end(d, &run[0], CAUSE_NONE);
    double_ended(d, &run[1], CAUSE_NONE);
    take_end(d, &run[1], CAUSE_NONE);
    double_ended(d, &run[2], CAUSE_NONE);
    take_end(d, &run[2], CAUSE_NONE);
    take_assigned(d, 1);
    double_close(d);
}

/* A worker that lies about what it has cannot break anything. */
static void test_hostile_hellos(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    double_hello(d, 1, (struct rvec){.cpu_milli = -5, .mem_bytes = INT64_MIN, .gpus = -1});
    double_hello(d, 2,
                 (struct rvec){.cpu_milli = INT64_MAX, .mem_bytes = INT64_MAX, .gpus = INT32_MAX});
    struct core_worker_view view;
    assert_true(core_worker(d->core, 1, &view));
    assert_int_equal(view.free.cpu_milli, 0);
    assert_int_equal(view.free.mem_bytes, 0);
    assert_true(core_worker(d->core, 2, &view));
    assert_int_equal(view.capacity.gpus, CORE_GPUS_PER_WORKER_MAX);
    static struct core_claim claims[CORE_CLAIMS_MAX + 1];
    double_hello_claiming(d, 3, cpus(1), claims, CORE_CLAIMS_MAX + 1);
    assert_false(core_worker(d->core, 3, &view));
    double_hello_claiming(d, 3, cpus(1), claims, CORE_CLAIMS_MAX);
    take(d, ACT_WELCOME);
    for (uint32_t i = 0; i < CORE_CLAIMS_MAX; i++) {
        take_answer(d, ACT_FENCED, 3, 0, 0);
    }
    double_close(d);
}

/* Rows of workers are used again; one that is here never loses its own. */
static void test_the_worker_table_is_bounded(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    for (uint32_t worker = 0; worker < 4; worker++) {
        double_hello(d, worker, cpus(1));
    }
    double_hello_claiming(d, 4, cpus(1), NULL, 0); /* no room: not welcomed */
    d->now_ns += SECOND;
    double_step(d, (struct core_event){.kind = EV_WORKER_LEAVING, .worker = 2});
    d->now_ns += SECOND;
    double_step(d, (struct core_event){.kind = EV_WORKER_LEAVING, .worker = 0});
    double_hello(d, 4, cpus(1)); /* in the place of 2, which is gone longest */
    struct core_worker_view view;
    assert_false(core_worker(d->core, 2, &view));
    assert_true(core_worker(d->core, 0, &view));
    assert_true(core_worker(d->core, 4, &view) && view.known);
    double_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_silent_worker_is_lost),
        cmocka_unit_test(test_hello_adopts_what_it_claims),
        cmocka_unit_test(test_what_never_came_costs_no_retry),
        cmocka_unit_test(test_what_never_comes_is_given_up),
        cmocka_unit_test(test_a_gang_lacks_a_rank_that_never_came),
        cmocka_unit_test(test_hello_hears_again_what_it_is_to_stop),
        cmocka_unit_test(test_a_leaving_worker_gives_its_work_back),
        cmocka_unit_test(test_a_lost_worker_takes_its_gangs_down),
        cmocka_unit_test(test_a_new_leader_waits_one_lease),
        cmocka_unit_test(test_what_the_record_lacks_is_decided_again),
        cmocka_unit_test(test_kills_survive_a_failover),
        cmocka_unit_test(test_a_worker_that_shrank),
        cmocka_unit_test(test_hostile_hellos),
        cmocka_unit_test(test_the_worker_table_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
