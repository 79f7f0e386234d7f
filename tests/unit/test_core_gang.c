/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Attempts: gangs, arrays, retries by cause, and news that comes late, twice or never.
 */
#include "tests/unit/core_double.h"

#include "scheduler/core/retry.h"

static struct core_stage_desc gang_of(uint32_t ranks)
{
    struct core_stage_desc stage = simple_stage();
    stage.ranks = ranks;
    return stage;
}

static void cancel(struct core_double *d, uint64_t job)
{
    double_step(d, (struct core_event){.kind = EV_CANCEL, .request = ++d->requests, .job = job});
    take_fact(d, FACT_JOB_CANCELLED);
    take_reply(d, REPLY_OK);
}

/* All ranks start in one event or none does: two of three are no start. */
static void test_a_gang_starts_whole(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = gang_of(3);
    struct core_job_desc desc = simple_job(&stage, 1);
    double_hello(d, 1, cpus(1));
    double_hello(d, 2, cpus(1));
    uint64_t job = double_submit(d, &desc);
    assert_false(core_is_feasible(d->core, &stage));
    double_hello(d, 3, cpus(1));
    struct core_fact rank[3];
    uint32_t workers[3];
    for (uint32_t i = 0; i < 3; i++) {
        rank[i] = take_assigned(d, i + 1);
        assert_int_equal(rank[i].rank, i);
        assert_int_equal(rank[i].ranks, 3);
        assert_int_equal(rank[i].attempt, rank[0].attempt);
    }
    assert_true(core_is_feasible(d->core, &stage));
    int64_t began_ns = -1;
    assert_true(core_attempt_began(d->core, rank[0].attempt, &began_ns));
    assert_int_equal(began_ns, rank[0].at_ns);
    assert_int_equal(core_attempt_workers(d->core, rank[0].attempt, workers, 3), 3);
    assert_int_equal(workers[0], 1);
    assert_int_equal(workers[2], 3);
    /* The gang has succeeded when its last rank has. */
    for (uint32_t i = 0; i < 3; i++) {
        double_ended(d, &rank[2 - i], CAUSE_NONE);
        take_end(d, &rank[2 - i], CAUSE_NONE);
    }
    take_stage_ended(d, 0, STATE_SUCCEEDED);
    take_job_ended(d, job, STATE_SUCCEEDED);
    assert_int_equal(core_attempt_workers(d->core, rank[0].attempt, workers, 3), 0);
    assert_false(core_attempt_began(d->core, rank[0].attempt, &began_ns));
    double_close(d);
}

/* Several ranks on one worker, spread by free CPU; each GPU belongs to one rank. */
static void test_ranks_share_workers_and_own_gpus(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = gang_of(3);
    stage.per_rank.gpus = 2;
    struct core_job_desc desc = simple_job(&stage, 1);
    struct rvec big = cpus(8);
    big.gpus = 4;
    struct rvec small = cpus(8);
    small.gpus = 2;
    double_hello(d, 1, big);
    double_hello(d, 2, small);
    double_submit(d, &desc);
    /* Best fit: the worker with the fewest GPUs that suffice goes first. */
    assert_int_equal(take_assigned(d, 2).gpu_mask, 0x3);
    assert_int_equal(take_assigned(d, 1).gpu_mask, 0x3);
    assert_int_equal(take_assigned(d, 1).gpu_mask, 0xc);
    struct core_worker_view view;
    assert_true(core_worker(d->core, 1, &view));
    assert_int_equal(view.free.gpus, 0);
    assert_int_equal(view.free.cpu_milli, 6000);
    assert_int_equal(view.members, 2);
    double_close(d);
}

/* One rank fails: the others are told to stop; the attempt ends with the last of them, for the
 * cause of the first; the whole gang runs again as one new attempt. */
static void test_a_gang_fails_and_retries_as_one(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = gang_of(3);
    stage.retry = (struct core_retry){.limit = 1, .cause_mask = 1u << CAUSE_OOM};
    struct core_job_desc desc = simple_job(&stage, 1);
    double_hello(d, 1, cpus(3));
    uint64_t job = double_submit(d, &desc);
    struct core_fact rank[3];
    for (uint32_t i = 0; i < 3; i++) {
        rank[i] = take_assigned(d, 1);
    }
    double_ended(d, &rank[1], CAUSE_OOM);
    take_end(d, &rank[1], CAUSE_OOM);
    take_kill(d, &rank[0], CAUSE_PEER);
    take_kill(d, &rank[2], CAUSE_PEER);
    double_ended(d, &rank[0], CAUSE_PEER);
    take_end(d, &rank[0], CAUSE_PEER);
    double_ended(d, &rank[2], CAUSE_NONE); /* its success does not help */
    take_end(d, &rank[2], CAUSE_NONE);
    uint64_t first_attempt = rank[0].attempt;
    for (uint32_t i = 0; i < 3; i++) {
        rank[i] = take_assigned(d, 1);
        assert_true(rank[i].attempt > first_attempt);
    }
    /* PEER came first on the wire, but the cause of the attempt is the real one. */
    double_ended(d, &rank[0], CAUSE_PEER);
    take_end(d, &rank[0], CAUSE_PEER);
    take_kill(d, &rank[1], CAUSE_PEER);
    take_kill(d, &rank[2], CAUSE_PEER);
    double_ended(d, &rank[1], CAUSE_OOM);
    take_end(d, &rank[1], CAUSE_OOM);
    double_ended(d, &rank[2], CAUSE_PEER);
    take_end(d, &rank[2], CAUSE_PEER);
    take_stage_ended(d, 0, STATE_FAILED); /* the limit is reached */
    take_job_ended(d, job, STATE_FAILED);
    double_close(d);
}

/* What a rank meets makes its peers fail, and their ends may arrive first. Whatever the order, the cause is
 * what the others follow from: a policy that names it alone allows another attempt. */
static void test_the_cause_is_what_the_others_follow_from(void **state)
{
    (void)state;
    static const struct {
        enum core_cause cause;
        int32_t signal;
        enum core_cause peer; /* how it takes that */
        int32_t peer_signal;
    } cases[] = {
        {CAUSE_NODE, 0, CAUSE_EXIT, 0},       {CAUSE_LEASE, 0, CAUSE_SIGNAL, 6},
        {CAUSE_OOM, 0, CAUSE_SIGNAL, 11},     {CAUSE_NODE, 0, CAUSE_REQUEUE, 0},
        {CAUSE_TIMEOUT, 0, CAUSE_EXIT, 0},    {CAUSE_SIGNAL, 9, CAUSE_EXIT, 0},
        {CAUSE_SIGNAL, 11, CAUSE_REQUEUE, 0}, {CAUSE_SIGNAL, 9, CAUSE_SIGNAL, 13},
        {CAUSE_EXIT, 0, CAUSE_PEER, 0},
    };
    for (size_t i = 0; i < 2 * MLQ_COUNT_OF(cases); i++) {
        struct core_limits limits = double_limits();
        struct core_double *d = double_open(&limits);
        struct core_stage_desc stage = gang_of(2);
        stage.retry = (struct core_retry){.limit = 1, .cause_mask = 1u << cases[i / 2].cause};
        struct core_job_desc desc = simple_job(&stage, 1);
        double_hello(d, 1, cpus(2));
        double_submit(d, &desc);
        struct core_fact rank[2] = {take_assigned(d, 1), take_assigned(d, 1)};
        for (uint32_t k = 0; k < 2; k++) {
            double_started(d, &rank[k]);
            take_fact(d, FACT_STARTED);
        }
        for (uint32_t k = 0; k < 2; k++) {
            bool is_peer = k == i % 2;
            double_ended_by(d, &rank[k], is_peer ? cases[i / 2].peer : cases[i / 2].cause,
                            is_peer ? cases[i / 2].peer_signal : cases[i / 2].signal);
            take_end(d, &rank[k], is_peer ? cases[i / 2].peer : cases[i / 2].cause);
            if (k == 0) {
                take_kill(d, &rank[1], CAUSE_PEER);
            }
        }
        for (uint32_t k = 0; k < 2; k++) {
            assert_true(take_assigned(d, 1).attempt > rank[k].attempt);
        }
        double_close(d);
    }
}

/* Of two that say the same the first one counts: a library that aborts is no other cause than the exit. */
static void test_an_abort_is_as_good_as_an_exit(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = gang_of(2);
    stage.retry = (struct core_retry){.limit = 9, .cause_mask = 1u << CAUSE_SIGNAL};
    struct core_job_desc desc = simple_job(&stage, 1);
    double_hello(d, 1, cpus(2));
    uint64_t job = double_submit(d, &desc);
    struct core_fact rank[2] = {take_assigned(d, 1), take_assigned(d, 1)};
    double_ended(d, &rank[0], CAUSE_EXIT);
    take_end(d, &rank[0], CAUSE_EXIT);
    take_kill(d, &rank[1], CAUSE_PEER);
    double_ended_by(d, &rank[1], CAUSE_SIGNAL, 6);
    take_end(d, &rank[1], CAUSE_SIGNAL);
    take_stage_ended(d, 0, STATE_FAILED);
    take_job_ended(d, job, STATE_FAILED);
    double_close(d);
}

/* A rank that ended with success before another failed is not told anything. */
static void test_a_finished_rank_is_not_killed(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = gang_of(2);
    struct core_job_desc desc = simple_job(&stage, 1);
    double_hello(d, 1, cpus(2));
    uint64_t job = double_submit(d, &desc);
    struct core_fact a = take_assigned(d, 1);
    struct core_fact b = take_assigned(d, 1);
    double_ended(d, &a, CAUSE_NONE);
    take_end(d, &a, CAUSE_NONE);
    double_ended(d, &b, CAUSE_EXIT);
    take_end(d, &b, CAUSE_EXIT);
    take_stage_ended(d, 0, STATE_FAILED);
    take_job_ended(d, job, STATE_FAILED);
    double_close(d);
}

/* A gang that is being stopped for a peer is not told twice when a user cancels. */
static void test_cancel_of_a_gang_that_is_failing(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = gang_of(2);
    stage.retry = (struct core_retry){.limit = 9, .cause_mask = 1u << CAUSE_EXIT};
    struct core_job_desc desc = simple_job(&stage, 1);
    double_hello(d, 1, cpus(2));
    uint64_t job = double_submit(d, &desc);
    struct core_fact a = take_assigned(d, 1);
    struct core_fact b = take_assigned(d, 1);
    double_ended(d, &a, CAUSE_EXIT);
    take_end(d, &a, CAUSE_EXIT);
    take_kill(d, &b, CAUSE_PEER);
    cancel(d, job);
    double_ended(d, &b, CAUSE_PEER);
    take_end(d, &b, CAUSE_PEER);
    take_stage_ended(d, 0, STATE_CANCELLED);
    take_job_ended(d, job, STATE_CANCELLED);
    double_close(d);
}

static void test_a_failure_waits_and_runs_again(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = simple_stage();
    stage.retry =
        (struct core_retry){.limit = 2, .cause_mask = 1u << CAUSE_EXIT, .backoff_ns = 8 * SECOND};
    struct core_job_desc desc = simple_job(&stage, 1);
    double_hello(d, 1, cpus(1));
    uint64_t job = double_submit(d, &desc);
    struct core_fact run = take_assigned(d, 1);
    uint64_t session = d->session;
    for (int64_t wait_ns = 8 * SECOND; wait_ns <= 16 * SECOND; wait_ns *= 2) {
        double_ended(d, &run, CAUSE_EXIT);
        take_end(d, &run, CAUSE_EXIT);
        double_heartbeat(d, 1, session);
        int64_t due_ns = core_next_deadline_ns(d->core);
        assert_in_range(due_ns - d->now_ns, wait_ns / 2, wait_ns);
        double_tick(d, due_ns - d->now_ns - 1);
        double_tick(d, 1);
        struct core_fact again = take_assigned(d, 1);
        assert_true(again.attempt > run.attempt);
        assert_int_equal(again.index, 0);
        run = again;
    }
    double_ended(d, &run, CAUSE_EXIT);
    take_end(d, &run, CAUSE_EXIT);
    take_stage_ended(d, 0, STATE_FAILED);
    take_job_ended(d, job, STATE_FAILED);
    double_close(d);
}

/* A cause that the policy does not name is not retried. */
static void test_causes_are_told_apart(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = simple_stage();
    stage.retry = (struct core_retry){.limit = 9, .cause_mask = 1u << CAUSE_NODE};
    struct core_job_desc desc = simple_job(&stage, 1);
    double_hello(d, 1, cpus(1));
    uint64_t job = double_submit(d, &desc);
    struct core_fact run = take_assigned(d, 1);
    double_ended(d, &run, CAUSE_NODE);
    take_end(d, &run, CAUSE_NODE);
    run = take_assigned(d, 1); /* no back-off was asked for */
    double_ended(d, &run, CAUSE_OOM);
    take_end(d, &run, CAUSE_OOM);
    take_stage_ended(d, 0, STATE_FAILED);
    take_job_ended(d, job, STATE_FAILED);
    double_close(d);
}

/* Exit 75 is not a failure: again and again, a second apart, no policy needed. */
static void test_requeue_is_not_counted(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = simple_stage();
    struct core_job_desc desc = simple_job(&stage, 1);
    uint64_t session = double_hello(d, 1, cpus(1));
    uint64_t job = double_submit(d, &desc);
    struct core_fact run = take_assigned(d, 1);
    for (uint32_t i = 0; i < 20; i++) {
        double_ended(d, &run, CAUSE_REQUEUE);
        take_end(d, &run, CAUSE_REQUEUE);
        double_tick(d, SECOND - 1);
        double_heartbeat(d, 1, session);
        double_tick(d, 1);
        run = take_assigned(d, 1);
    }
    double_ended(d, &run, CAUSE_NONE);
    take_end(d, &run, CAUSE_NONE);
    take_stage_ended(d, 0, STATE_SUCCEEDED);
    take_job_ended(d, job, STATE_SUCCEEDED);
    double_close(d);
}

static void test_backoff_doubles_up_to_its_cap(void **state)
{
    (void)state;
    struct core_retry policy = {.backoff_ns = 10 * SECOND, .backoff_max_ns = 60 * SECOND};
    int64_t full_ns = policy.backoff_ns;
    for (uint32_t failures = 1; failures < 200; failures++) {
        for (uint64_t attempt = 1; attempt < 50; attempt++) {
            int64_t wait_ns = retry_backoff_ns(&policy, 3, attempt, failures);
            assert_in_range(wait_ns, full_ns / 2, full_ns);
            assert_int_equal(wait_ns, retry_backoff_ns(&policy, 3, attempt, failures));
        }
        full_ns = full_ns * 2 < policy.backoff_max_ns ? full_ns * 2 : policy.backoff_max_ns;
    }
    policy = (struct core_retry){.backoff_ns = CORE_DURATION_NS_MAX};
    assert_in_range(retry_backoff_ns(&policy, 3, 1, UINT32_MAX), 1, RETRY_BACKOFF_MAX_NS);
    policy = (struct core_retry){0};
    assert_int_equal(retry_backoff_ns(&policy, 3, 1, 5), 0);
    assert_true(retry_backoff_ns(&(struct core_retry){.backoff_ns = SECOND}, 3, 1, 1) !=
                retry_backoff_ns(&(struct core_retry){.backoff_ns = SECOND}, 3, 2, 1));
}

/* An array runs so many at once as it may, and its retries go ahead of what is fresh. */
static void test_an_array_in_small_steps(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = simple_stage();
    stage.array_count = 1000;
    stage.array_parallel = 2;
    stage.retry = (struct core_retry){.limit = 1, .cause_mask = 1u << CAUSE_EXIT};
    struct core_job_desc desc = simple_job(&stage, 1);
    double_hello(d, 1, cpus(100));
    uint64_t job = double_submit(d, &desc);
    struct core_fact a = take_assigned(d, 1);
    struct core_fact b = take_assigned(d, 1);
    assert_int_equal(core_count(d->core).stages_ready, 0);
    double_ended(d, &a, CAUSE_EXIT);
    take_end(d, &a, CAUSE_EXIT);
    struct core_fact retried = take_assigned(d, 1);
    assert_int_equal(retried.index, 0);
    double_ended(d, &b, CAUSE_NONE);
    take_end(d, &b, CAUSE_NONE);
    struct core_fact next = take_assigned(d, 1);
    assert_int_equal(next.index, 2);
    for (uint32_t index = 3; index < 1000; index++) {
        double_ended(d, &next, CAUSE_NONE);
        take_end(d, &next, CAUSE_NONE);
        next = take_assigned(d, 1);
        assert_int_equal(next.index, index);
        assert_int_equal(core_count(d->core).members, 2);
    }
    double_ended(d, &retried, CAUSE_NONE);
    take_end(d, &retried, CAUSE_NONE);
    double_ended(d, &next, CAUSE_NONE);
    take_end(d, &next, CAUSE_NONE);
    take_stage_ended(d, 0, STATE_SUCCEEDED);
    take_job_ended(d, job, STATE_SUCCEEDED);
    double_close(d);
}

/* With a task table of 32 rows an array of a million is one entry, and waits for rows in turn. */
static void test_a_million_tasks_cost_one_entry(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = simple_stage();
    stage.array_count = CORE_ARRAY_MAX;
    struct core_job_desc desc = simple_job(&stage, 1);
    double_hello(d, 1, cpus(1000));
    double_submit(d, &desc);
    struct core_fact last = {0};
    for (uint32_t i = 0; i < limits.tasks_max; i++) {
        last = take_assigned(d, 1);
    }
    assert_int_equal(core_count(d->core).members, limits.tasks_max);
    assert_int_equal(core_count(d->core).stages_ready, 1);
    double_ended(d, &last, CAUSE_NONE);
    take_end(d, &last, CAUSE_NONE);
    assert_int_equal(take_assigned(d, 1).index, limits.tasks_max);
    double_close(d);
}

/* The row of a task that failed for good is free for what goes on in the job. */
static void test_failed_tasks_hold_no_rows(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    limits.tasks_max = 1;
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stages[] = {simple_stage(), simple_stage()};
    struct core_job_desc desc = simple_job(stages, 2);
    double_hello(d, 1, cpus(4));
    uint64_t job = double_submit(d, &desc);
    struct core_fact run = take_assigned(d, 1);
    double_ended(d, &run, CAUSE_EXIT);
    take_end(d, &run, CAUSE_EXIT);
    take_stage_ended(d, 0, STATE_FAILED);
    run = take_assigned(d, 1);
    assert_int_equal(run.stage, 1);
    double_ended(d, &run, CAUSE_NONE);
    take_end(d, &run, CAUSE_NONE);
    take_stage_ended(d, 1, STATE_SUCCEEDED);
    take_job_ended(d, job, STATE_FAILED);
    double_close(d);
}

/* What may fail may: the others are tried, and a restart needs no more room than there was. */
static void test_an_array_goes_on_after_failures(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    limits.tasks_max = 2;
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = simple_stage();
    stage.array_count = 10;
    stage.failures_max = 8;
    struct core_job_desc desc = simple_job(&stage, 1);
    double_hello(d, 1, cpus(1));
    uint64_t job = double_submit(d, &desc);
    struct core_fact run = take_assigned(d, 1);
    for (uint32_t i = 0; i < 8; i++) {
        enum core_cause cause = i == 3 ? CAUSE_NONE : CAUSE_EXIT;
        assert_int_equal(run.index, i);
        double_ended(d, &run, cause);
        take_end(d, &run, cause);
        run = take_assigned(d, 1);
    }
    double_crash(d);
    double_step(d, (struct core_event){.kind = EV_RESTORED});
    struct core_claim claim = {.attempt = run.attempt};
    double_hello_claiming(d, 1, cpus(1), &claim, 1);
    take(d, ACT_WELCOME);
    double_ended(d, &run, CAUSE_NONE);
    take_end(d, &run, CAUSE_NONE);
    run = take_assigned(d, 1);
    assert_int_equal(run.index, 9);
    double_ended(d, &run, CAUSE_EXIT);
    take_end(d, &run, CAUSE_EXIT);
    take_stage_ended(d, 0, STATE_FAILED); /* 8 failed, as many as may: all were tried */
    take_job_ended(d, job, STATE_FAILED);
    double_close(d);
}

static void test_an_array_stops_after_too_many_failures(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = simple_stage();
    stage.array_count = 10;
    stage.failures_max = 1;
    struct core_job_desc desc = simple_job(&stage, 1);
    double_hello(d, 1, cpus(2));
    uint64_t job = double_submit(d, &desc);
    struct core_fact first = take_assigned(d, 1);
    struct core_fact second = take_assigned(d, 1);
    double_ended(d, &first, CAUSE_EXIT);
    take_end(d, &first, CAUSE_EXIT);
    struct core_fact third = take_assigned(d, 1);
    double_ended(d, &second, CAUSE_EXIT);
    take_end(d, &second, CAUSE_EXIT); /* one too many: no fourth */
    double_ended(d, &third, CAUSE_NONE);
    take_end(d, &third, CAUSE_NONE);
    take_stage_ended(d, 0, STATE_FAILED);
    take_job_ended(d, job, STATE_FAILED);
    double_close(d);
}

/* All rows belong to tasks that wait to run again, behind fresh ones that need a row: the former
 * go, or nothing would. */
static void test_waiting_tasks_never_block_themselves(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    limits.tasks_max = 1;
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = simple_stage();
    struct core_job_desc desc = simple_job(&stage, 1);
    struct core_job_desc urgent = simple_job(&stage, 1);
    urgent.priority = 9;
    double_hello(d, 1, cpus(4));
    uint64_t job = double_submit(d, &desc);
    struct core_fact run = take_assigned(d, 1);
    uint64_t urgent_job = double_submit(d, &urgent);
    double_ended(d, &run, CAUSE_REQUEUE);
    take_end(d, &run, CAUSE_REQUEUE);
    double_tick(d, SECOND);
    run = take_assigned(d, 1);
    assert_int_equal(run.job, job);
    double_ended(d, &run, CAUSE_NONE);
    take_end(d, &run, CAUSE_NONE);
    take_stage_ended(d, 0, STATE_SUCCEEDED);
    take_job_ended(d, job, STATE_SUCCEEDED);
    assert_int_equal(take_assigned(d, 1).job, urgent_job);
    double_close(d);
}

/* ---- News ---------------------------------------------------------------------------------------
 */

static void test_late_and_double_news_change_nothing(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = simple_stage();
    struct core_job_desc desc = simple_job(&stage, 1);
    double_hello(d, 1, cpus(1));
    uint64_t job = double_submit(d, &desc);
    struct core_fact run = take_assigned(d, 1);
    double_started(d, &run);
    take_fact(d, FACT_STARTED);
    double_started(d, &run); /* twice: no second fact */
    struct core_fact forged = run;
    forged.worker = 2;
    double_ended(d, &forged, CAUSE_EXIT); /* not from who runs it */
    take_answer(d, ACT_ACK, 2, run.attempt, 0);
    forged = run;
    forged.rank = 1;
    double_ended(d, &forged, CAUSE_EXIT);
    take_answer(d, ACT_ACK, 1, run.attempt, 1);
    double_ended(d, &run, CAUSE_NONE);
    take_end(d, &run, CAUSE_NONE);
    take_stage_ended(d, 0, STATE_SUCCEEDED);
    take_job_ended(d, job, STATE_SUCCEEDED);
    double_ended(d, &run, CAUSE_EXIT); /* too late: acknowledged, not recorded */
    take_answer(d, ACT_ACK, 1, run.attempt, 0);
    double_started(d, &run);
    take_answer(d, ACT_FENCED, 1, run.attempt, 0);
    double_close(d);
}

static void test_notes_are_recorded_while_live(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = simple_stage();
    stage.array_count = 2;
    struct core_job_desc desc = simple_job(&stage, 1);
    double_hello(d, 1, cpus(2));
    uint64_t job = double_submit(d, &desc);
    take_assigned(d, 1);
    struct core_fact run = take_assigned(d, 1);
    struct core_event note = {
        .kind = EV_NOTE, .worker = 1, .attempt = run.attempt, .rank = 0, .payload = 42};
    double_step(d, note);
    const struct core_action *action = take(d, ACT_RECORD);
    assert_int_equal(action->fact.job, job);
    assert_int_equal(action->fact.stage, 0);
    assert_int_equal(action->fact.index, 1);
    assert_int_equal(action->fact.attempt, run.attempt);
    assert_int_equal(action->payload, 42);
    double_ended(d, &run, CAUSE_NONE);
    take_end(d, &run, CAUSE_NONE);
    double_step(d, note);
    take_answer(d, ACT_FENCED, 1, run.attempt, 0);
    double_close(d);
}

/* What a worker says with its result goes with the fact. */
static void test_results_travel_with_the_end(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = simple_stage();
    struct core_job_desc desc = simple_job(&stage, 1);
    double_hello(d, 1, cpus(1));
    double_submit(d, &desc);
    struct core_fact run = take_assigned(d, 1);
    double_step(d, (struct core_event){.kind = EV_ENDED,
                                       .worker = 1,
                                       .attempt = run.attempt,
                                       .cause = CAUSE_SIGNAL,
                                       .exit_code = -1,
                                       .signal = 11,
                                       .payload = 7});
    const struct core_action *action = take(d, ACT_PERSIST);
    assert_int_equal(action->payload, 7);
    assert_int_equal(action->fact.signal, 11);
    assert_int_equal(action->fact.exit_code, -1);
    assert_int_equal(action->fact.cause, CAUSE_SIGNAL);
    take(d, ACT_ACK);
    take_stage_ended(d, 0, STATE_FAILED);
    take_job_ended(d, 1, STATE_FAILED);
    double_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_gang_starts_whole),
        cmocka_unit_test(test_ranks_share_workers_and_own_gpus),
        cmocka_unit_test(test_a_gang_fails_and_retries_as_one),
        cmocka_unit_test(test_the_cause_is_what_the_others_follow_from),
        cmocka_unit_test(test_an_abort_is_as_good_as_an_exit),
        cmocka_unit_test(test_a_finished_rank_is_not_killed),
        cmocka_unit_test(test_cancel_of_a_gang_that_is_failing),
        cmocka_unit_test(test_a_failure_waits_and_runs_again),
        cmocka_unit_test(test_causes_are_told_apart),
        cmocka_unit_test(test_requeue_is_not_counted),
        cmocka_unit_test(test_backoff_doubles_up_to_its_cap),
        cmocka_unit_test(test_an_array_in_small_steps),
        cmocka_unit_test(test_a_million_tasks_cost_one_entry),
        cmocka_unit_test(test_failed_tasks_hold_no_rows),
        cmocka_unit_test(test_an_array_goes_on_after_failures),
        cmocka_unit_test(test_an_array_stops_after_too_many_failures),
        cmocka_unit_test(test_waiting_tasks_never_block_themselves),
        cmocka_unit_test(test_late_and_double_news_change_nothing),
        cmocka_unit_test(test_notes_are_recorded_while_live),
        cmocka_unit_test(test_results_travel_with_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
