/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The life of jobs and stages: each edge of the transition table in scheduler/core/job.c, and what
 * users see of it.
 */
#include "tests/unit/core_double.h"

#include "scheduler/core/job.h"

static void cancel(struct core_double *d, uint64_t job)
{
    double_step(d, (struct core_event){.kind = EV_CANCEL, .request = ++d->requests, .job = job});
}

static void retry(struct core_double *d, uint64_t job)
{
    double_step(d, (struct core_event){.kind = EV_RETRY, .request = ++d->requests, .job = job});
}

/* All that is recorded of one job, as the shell does before EV_RETRY. */
static bool restore_job(struct core_double *d, uint64_t job)
{
    bool has_fitted = true;
    uint32_t count = d->fact_count;
    for (uint32_t i = 0; i < count && has_fitted; i++) {
        if (d->facts[i].job == job) {
            has_fitted =
                core_restore(d->core, &d->facts[i], double_recorded_desc(d, &d->facts[i]));
        }
    }
    return has_fitted;
}

/* PENDING -> RUNNING -> SUCCEEDED, of the job and of its stage. */
static void test_a_job_runs_and_succeeds(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = simple_stage();
    struct core_job_desc desc = simple_job(&stage, 1);
    uint64_t job = double_submit(d, &desc);
    assert_int_equal(job, 1);
    assert_true(core_job_is_live(d->core, job));
    assert_int_equal(core_count(d->core).stages_ready, 1);
    double_hello(d, 5, cpus(2));
    struct core_fact run = take_assigned(d, 5);
    assert_int_equal(run.attempt >> 32, 1);
    assert_int_equal(run.job, job);
    double_started(d, &run);
    struct core_fact started = take_fact(d, FACT_STARTED);
    assert_int_equal(started.attempt, run.attempt);
    double_ended(d, &run, CAUSE_NONE);
    take_end(d, &run, CAUSE_NONE);
    take_stage_ended(d, 0, STATE_SUCCEEDED);
    take_job_ended(d, job, STATE_SUCCEEDED);
    assert_int_equal(core_count(d->core).jobs, 0);
    assert_int_equal(core_count(d->core).members, 0);
    double_close(d);
}

/* RUNNING -> FAILED; PENDING -> SKIPPED for what needs it; what does not need it goes on. */
static void test_a_failed_stage_skips_what_needs_it(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    const uint16_t needs_0[] = {0};
    const uint16_t needs_1[] = {1};
    struct core_stage_desc stages[] = {simple_stage(), simple_stage(), simple_stage(),
                                       simple_stage()};
    stages[1].needs = needs_0;
    stages[1].needs_count = 1;
    stages[2].needs = needs_1;
    stages[2].needs_count = 1;
    struct core_job_desc desc = simple_job(stages, 4);
    double_hello(d, 1, cpus(2));
    double_submit(d, &desc);
    struct core_fact first = take_assigned(d, 1);
    struct core_fact other = take_assigned(d, 1);
    assert_int_equal(first.stage, 0);
    assert_int_equal(other.stage, 3);
    double_ended(d, &first, CAUSE_EXIT);
    take_end(d, &first, CAUSE_EXIT);
    take_stage_ended(d, 0, STATE_FAILED);
    take_stage_ended(d, 1, STATE_SKIPPED);
    take_stage_ended(d, 2, STATE_SKIPPED);
    double_ended(d, &other, CAUSE_NONE);
    take_end(d, &other, CAUSE_NONE);
    take_stage_ended(d, 3, STATE_SUCCEEDED);
    take_job_ended(d, 1, STATE_FAILED);
    double_close(d);
}

static void test_a_diamond_waits_for_both_sides(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    const uint16_t top[] = {0};
    const uint16_t sides[] = {1, 2};
    struct core_stage_desc stages[] = {simple_stage(), simple_stage(), simple_stage(),
                                       simple_stage()};
    stages[1].needs = stages[2].needs = top;
    stages[1].needs_count = stages[2].needs_count = 1;
    stages[3].needs = sides;
    stages[3].needs_count = 2;
    struct core_job_desc desc = simple_job(stages, 4);
    double_hello(d, 1, cpus(4));
    double_submit(d, &desc);
    struct core_fact run = take_assigned(d, 1);
    double_ended(d, &run, CAUSE_NONE);
    take_end(d, &run, CAUSE_NONE);
    take_stage_ended(d, 0, STATE_SUCCEEDED);
    struct core_fact left = take_assigned(d, 1);
    struct core_fact right = take_assigned(d, 1);
    double_ended(d, &right, CAUSE_NONE);
    take_end(d, &right, CAUSE_NONE);
    take_stage_ended(d, 2, STATE_SUCCEEDED);
    double_ended(d, &left, CAUSE_NONE);
    take_end(d, &left, CAUSE_NONE);
    take_stage_ended(d, 1, STATE_SUCCEEDED);
    struct core_fact last = take_assigned(d, 1);
    assert_int_equal(last.stage, 3);
    double_ended(d, &last, CAUSE_NONE);
    take_end(d, &last, CAUSE_NONE);
    take_stage_ended(d, 3, STATE_SUCCEEDED);
    take_job_ended(d, 1, STATE_SUCCEEDED);
    double_close(d);
}

/* PENDING -> CANCELLED of job and stage. */
static void test_cancel_before_anything_ran(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = simple_stage();
    struct core_job_desc desc = simple_job(&stage, 1);
    uint64_t job = double_submit(d, &desc);
    cancel(d, job);
    assert_int_equal(take_fact(d, FACT_JOB_CANCELLED).cause, CAUSE_CANCEL);
    take_reply(d, REPLY_OK);
    take_stage_ended(d, 0, STATE_CANCELLED);
    take_job_ended(d, job, STATE_CANCELLED);
    cancel(d, job);
    take_reply(d, REPLY_ENDED);
    cancel(d, 99);
    take_reply(d, REPLY_NOT_FOUND);
    double_close(d);
}

/* RUNNING -> CANCELLED; told once, however often it is asked for; the reply does not wait for the
 * tasks. */
static void test_cancel_stops_what_runs(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = simple_stage();
    stage.array_count = 5;
    struct core_job_desc desc = simple_job(&stage, 1);
    double_hello(d, 1, cpus(2));
    uint64_t job = double_submit(d, &desc);
    struct core_fact a = take_assigned(d, 1);
    struct core_fact b = take_assigned(d, 1);
    cancel(d, job);
    take_fact(d, FACT_JOB_CANCELLED);
    take_reply(d, REPLY_OK);
    take_kill(d, &a, CAUSE_CANCEL);
    take_kill(d, &b, CAUSE_CANCEL);
    cancel(d, job);
    take_reply(d, REPLY_OK);
    double_ended(d, &a, CAUSE_CANCEL);
    take_end(d, &a, CAUSE_CANCEL);
    double_ended(d, &b, CAUSE_NONE); /* it was faster than the signal */
    take_end(d, &b, CAUSE_NONE);
    take_stage_ended(d, 0, STATE_CANCELLED);
    take_job_ended(d, job, STATE_CANCELLED);
    double_close(d);
}

/* PENDING -> FAILED of a job: the deadline passed while it waited. */
static void test_deadline_of_a_waiting_job(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = simple_stage();
    struct core_job_desc desc = simple_job(&stage, 1);
    desc.deadline_ns = 30 * SECOND;
    uint64_t job = double_submit(d, &desc);
    assert_int_equal(core_next_deadline_ns(d->core), 30 * SECOND);
    double_tick(d, 29 * SECOND);
    double_tick(d, 1 * SECOND);
    assert_int_equal(take_fact(d, FACT_JOB_CANCELLED).cause, CAUSE_TIMEOUT);
    take_stage_ended(d, 0, STATE_CANCELLED);
    take_job_ended(d, job, STATE_FAILED);
    assert_int_equal(core_next_deadline_ns(d->core), INT64_MAX);
    double_close(d);
}

/* RUNNING -> FAILED of a job by its deadline, although a retry was allowed. */
static void test_deadline_of_a_running_job(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = simple_stage();
    stage.retry = (struct core_retry){.limit = 5, .cause_mask = 1u << CAUSE_TIMEOUT};
    struct core_job_desc desc = simple_job(&stage, 1);
    desc.deadline_ns = 10 * SECOND;
    double_hello(d, 1, cpus(1));
    uint64_t job = double_submit(d, &desc);
    struct core_fact run = take_assigned(d, 1);
    double_tick(d, 10 * SECOND);
    take_fact(d, FACT_JOB_CANCELLED);
    take_kill(d, &run, CAUSE_TIMEOUT);
    double_ended(d, &run, CAUSE_TIMEOUT);
    take_end(d, &run, CAUSE_TIMEOUT);
    take_stage_ended(d, 0, STATE_CANCELLED);
    take_job_ended(d, job, STATE_FAILED);
    double_close(d);
}

/* FAILED -> PENDING and SKIPPED -> PENDING; the stage that had succeeded is not run again, nor are
 * the tasks of the array that had. */
static void test_retry_runs_what_did_not_succeed(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    const uint16_t needs_0[] = {0};
    const uint16_t needs_1[] = {1};
    struct core_stage_desc stages[] = {simple_stage(), simple_stage(), simple_stage()};
    stages[1].array_count = 3;
    stages[1].needs = needs_0;
    stages[1].needs_count = 1;
    stages[2].needs = needs_1;
    stages[2].needs_count = 1;
    struct core_job_desc desc = simple_job(stages, 3);
    double_hello(d, 1, cpus(2));
    uint64_t job = double_submit(d, &desc);
    struct core_fact run = take_assigned(d, 1);
    double_ended(d, &run, CAUSE_NONE);
    take_end(d, &run, CAUSE_NONE);
    take_stage_ended(d, 0, STATE_SUCCEEDED);
    struct core_fact task_0 = take_assigned(d, 1);
    struct core_fact task_1 = take_assigned(d, 1);
    double_ended(d, &task_1, CAUSE_EXIT); /* task 2 is not started any more */
    take_end(d, &task_1, CAUSE_EXIT);
    double_ended(d, &task_0, CAUSE_NONE);
    take_end(d, &task_0, CAUSE_NONE);
    take_stage_ended(d, 1, STATE_FAILED);
    take_stage_ended(d, 2, STATE_SKIPPED);
    take_job_ended(d, job, STATE_FAILED);

    retry(d, job);
    take_reply(d, REPLY_NOT_FOUND); /* the shell has to restore it first */
    assert_true(restore_job(d, job));
    assert_false(core_job_is_live(d->core, job));
    retry(d, job);
    take_fact(d, FACT_JOB_RETRIED);
    take_reply(d, REPLY_OK);
    struct core_fact again_1 = take_assigned(d, 1);
    struct core_fact fresh_2 = take_assigned(d, 1);
    assert_int_equal(again_1.index, 1);
    assert_int_equal(fresh_2.index, 2);
    assert_true(again_1.attempt > task_1.attempt);
    retry(d, job);
    take_reply(d, REPLY_ENDED);
    double_ended(d, &again_1, CAUSE_NONE);
    take_end(d, &again_1, CAUSE_NONE);
    double_ended(d, &fresh_2, CAUSE_NONE);
    take_end(d, &fresh_2, CAUSE_NONE);
    take_stage_ended(d, 1, STATE_SUCCEEDED);
    struct core_fact last = take_assigned(d, 1);
    double_ended(d, &last, CAUSE_NONE);
    take_end(d, &last, CAUSE_NONE);
    take_stage_ended(d, 2, STATE_SUCCEEDED);
    take_job_ended(d, job, STATE_SUCCEEDED);

    assert_true(restore_job(d, job));
    retry(d, job);
    take_reply(d, REPLY_ENDED); /* it succeeded */
    assert_int_equal(core_count(d->core).jobs, 0);
    double_close(d);
}

/* CANCELLED -> PENDING; and PENDING -> SUCCEEDED, when all had succeeded in spite of the cancel. */
static void test_retry_of_a_cancelled_job_that_had_succeeded(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = simple_stage();
    struct core_job_desc desc = simple_job(&stage, 1);
    desc.deadline_ns = 100 * SECOND;
    double_hello(d, 1, cpus(1));
    uint64_t job = double_submit(d, &desc);
    struct core_fact run = take_assigned(d, 1);
    cancel(d, job);
    take_fact(d, FACT_JOB_CANCELLED);
    take_reply(d, REPLY_OK);
    take_kill(d, &run, CAUSE_CANCEL);
    double_ended(d, &run, CAUSE_NONE);
    take_end(d, &run, CAUSE_NONE);
    take_stage_ended(d, 0, STATE_SUCCEEDED);
    take_job_ended(d, job, STATE_CANCELLED);
    assert_true(restore_job(d, job));
    retry(d, job);
    take_fact(d, FACT_JOB_RETRIED);
    take_reply(d, REPLY_OK);
    take_job_ended(d, job, STATE_SUCCEEDED);
    double_close(d);
}

/* CANCELLED -> PENDING of a stage; a retried job gets its whole deadline again. */
static void test_retry_of_a_cancelled_job_starts_its_deadline_anew(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = simple_stage();
    struct core_job_desc desc = simple_job(&stage, 1);
    desc.deadline_ns = 10 * SECOND;
    uint64_t job = double_submit(d, &desc);
    cancel(d, job);
    take_fact(d, FACT_JOB_CANCELLED);
    take_reply(d, REPLY_OK);
    take_stage_ended(d, 0, STATE_CANCELLED);
    take_job_ended(d, job, STATE_CANCELLED);
    double_tick(d, 60 * SECOND);
    assert_true(restore_job(d, job));
    retry(d, job);
    take_fact(d, FACT_JOB_RETRIED);
    take_reply(d, REPLY_OK);
    assert_int_equal(core_next_deadline_ns(d->core), 70 * SECOND);
    /* The leader dies: another one, that restores submission, end and retry, agrees. */
    double_crash(d);
    double_step(d, (struct core_event){.kind = EV_RESTORED});
    assert_true(core_job_is_live(d->core, job));
    assert_int_equal(core_next_deadline_ns(d->core), 70 * SECOND);
    double_close(d);
}

static void test_a_retry_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    limits.jobs_max = 1;
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = simple_stage();
    struct core_job_desc desc = simple_job(&stage, 1);
    uint64_t job = double_submit(d, &desc);
    cancel(d, job);
    take_fact(d, FACT_JOB_CANCELLED);
    take_reply(d, REPLY_OK);
    take_stage_ended(d, 0, STATE_CANCELLED);
    take_job_ended(d, job, STATE_CANCELLED);
    double_submit(d, &desc);
    assert_false(restore_job(d, job));
    retry(d, job);
    take_reply(d, REPLY_FULL);
    assert_int_equal(core_count(d->core).jobs, 1);
    double_close(d);
}

/* A restored job that nobody retries leaves no trace. */
static void test_a_job_restored_in_vain_is_forgotten(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = simple_stage();
    struct core_job_desc desc = simple_job(&stage, 1);
    double_hello(d, 1, cpus(1));
    uint64_t job = double_submit(d, &desc);
    struct core_fact run = take_assigned(d, 1);
    double_ended(d, &run, CAUSE_EXIT);
    take_end(d, &run, CAUSE_EXIT);
    take_stage_ended(d, 0, STATE_FAILED);
    take_job_ended(d, job, STATE_FAILED);
    assert_true(restore_job(d, job));
    double_tick(d, SECOND);
    retry(d, job);
    take_reply(d, REPLY_NOT_FOUND);
    assert_int_equal(core_count(d->core).jobs, 0);
    /* Also when only half of it came. */
    for (uint32_t facts = 1; facts < d->fact_count; facts++) {
        for (uint32_t i = 0; i < facts; i++) {
            assert_true(core_restore(d->core, &d->facts[i], i == 0 ? &desc : NULL));
        }
        double_tick(d, SECOND);
        assert_int_equal(core_count(d->core).jobs, 0);
    }
    double_close(d);
}

static void test_full_tables_refuse(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    limits.stages_max = 3;
    limits.needs_max = 1;
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stages[] = {simple_stage(), simple_stage(), simple_stage()};
    const uint16_t needs[] = {0, 1};
    struct core_job_desc desc = simple_job(stages, 2);
    stages[2].needs = needs;
    stages[2].needs_count = 2;
    struct core_job_desc wide = simple_job(stages, 3);
    double_submit_raw(d, &wide);
    take_reply(d, REPLY_FULL); /* two edges */
    double_submit(d, &desc);
    double_submit_raw(d, &desc);
    take_reply(d, REPLY_FULL); /* four stages */
    double_close(d);
}

/* What gave its rows back had them taken by others: a restored core has to give them back as early.
 */
static void test_the_record_of_full_tables_fits_into_them(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    limits.tasks_max = 3;
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stages[] = {simple_stage(), simple_stage()};
    stages[0].array_count = 2;
    stages[0].retry =
        (struct core_retry){.limit = 1, .cause_mask = 1u << CAUSE_SIGNAL, .backoff_ns = 9 * SECOND};
    struct core_job_desc desc = simple_job(stages, 2);
    double_hello(d, 1, cpus(3));
    double_submit(d, &desc);
    struct core_fact waits = take_assigned(d, 1);
    struct core_fact fails = take_assigned(d, 1);
    struct core_fact runs = take_assigned(d, 1);
    double_ended(d, &waits, CAUSE_SIGNAL); /* it keeps its row for another attempt */
    take_end(d, &waits, CAUSE_SIGNAL);
    double_ended(d, &fails, CAUSE_EXIT); /* which there will not be */
    take_end(d, &fails, CAUSE_EXIT);
    take_stage_ended(d, 0, STATE_FAILED);

    struct core_stage_desc array = simple_stage();
    array.array_count = 2;
    struct core_job_desc others = simple_job(&array, 1);
    double_submit(d, &others);
    struct core_fact first = take_assigned(d, 1);
    struct core_fact second = take_assigned(d, 1);
    double_crash(d);
    assert_true(core_is_live(d->core, runs.attempt, 0, 1));
    assert_true(core_is_live(d->core, first.attempt, 0, 1));
    assert_true(core_is_live(d->core, second.attempt, 0, 1));
    double_close(d);
}

static void test_descriptions_are_checked(void **state)
{
    (void)state;
    struct core_stage_desc good[] = {simple_stage(), simple_stage(), simple_stage()};
    const uint16_t need_0[] = {0};
    const uint16_t need_1[] = {1};
    const uint16_t need_2[] = {2};
    const uint16_t twice[] = {0, 0};
    const uint16_t outside[] = {3};
    struct core_job_desc desc = simple_job(good, 3);
    assert_null(core_job_desc_check(&desc));
    struct core_stage_desc bad[3];
#define REFUSE(change)                                                                             \
    do {                                                                                           \
        memcpy(bad, good, sizeof bad);                                                             \
        struct core_job_desc broken = simple_job(bad, 3);                                          \
        change;                                                                                    \
        assert_non_null(core_job_desc_check(&broken));                                             \
    } while (0)
    REFUSE(broken.stage_count = 0);
    REFUSE(broken.stage_count = CORE_STAGES_PER_JOB_MAX + 1);
    REFUSE(broken.stages = NULL);
    REFUSE(broken.deadline_ns = -1);
    REFUSE(broken.deadline_ns = INT64_MAX);
    REFUSE(bad[1].array_count = 0);
    REFUSE(bad[1].array_count = CORE_ARRAY_MAX + 1);
    REFUSE(bad[1].ranks = 0);
    REFUSE(bad[1].ranks = CORE_RANKS_MAX + 1);
    REFUSE(bad[1].per_rank.cpu_milli = -1);
    REFUSE(bad[1].per_rank.mem_bytes = INT64_MAX);
    REFUSE(bad[1].per_rank.gpus = CORE_GPUS_PER_WORKER_MAX + 1);
    REFUSE(bad[1].grace_ns = -1);
    REFUSE(bad[1].retry.backoff_ns = -1);
    REFUSE(bad[1].retry.backoff_max_ns = INT64_MAX);
    REFUSE(bad[1].retry.cause_mask = 1u << CAUSE_NONE);
    REFUSE(bad[1].retry.cause_mask = 1u << CAUSE_COUNT);
    REFUSE(bad[0].needs = need_0; bad[0].needs_count = 1);
    REFUSE(bad[1].needs = twice; bad[1].needs_count = 2);
    REFUSE(bad[1].needs = outside; bad[1].needs_count = 1);
    REFUSE(bad[1].needs_count = 1);
    REFUSE(bad[0].needs = need_2; bad[0].needs_count = 1; bad[1].needs = need_0;
           bad[1].needs_count = 1; bad[2].needs = need_1; bad[2].needs_count = 1);
#undef REFUSE
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    memcpy(bad, good, sizeof bad);
    bad[0].array_count = 0;
    desc = simple_job(bad, 3);
    double_submit_raw(d, &desc);
    take_reply(d, REPLY_INVALID);
    double_submit_raw(d, NULL);
    take_reply(d, REPLY_INVALID);
    double_close(d);
}

/* The longest chain and the widest fan are checked without recursion. */
static void test_the_largest_graphs_are_valid(void **state)
{
    (void)state;
    static struct core_stage_desc stages[CORE_STAGES_PER_JOB_MAX];
    static uint16_t needs[CORE_STAGES_PER_JOB_MAX][CORE_NEEDS_PER_STAGE_MAX];
    for (uint32_t i = 0; i < CORE_STAGES_PER_JOB_MAX; i++) {
        stages[i] = simple_stage();
        stages[i].needs = needs[i];
        for (uint16_t k = 0; k < CORE_NEEDS_PER_STAGE_MAX && i + k + 1 < CORE_STAGES_PER_JOB_MAX;
             k++) {
            needs[i][k] = (uint16_t)(i + k + 1);
            stages[i].needs_count++;
        }
    }
    struct core_job_desc desc = simple_job(stages, CORE_STAGES_PER_JOB_MAX);
    assert_null(core_job_desc_check(&desc));
    needs[CORE_STAGES_PER_JOB_MAX - 1][0] = 0;
    stages[CORE_STAGES_PER_JOB_MAX - 1].needs_count = 1;
    assert_string_equal(core_job_desc_check(&desc), "the needs form a cycle");
}

/* The table's own shape: no edge twice, none leaves SUCCEEDED, every state but SKIPPED is of both.
 */
static void test_the_transition_table(void **state)
{
    (void)state;
    uint32_t count;
    const struct job_edge *edges = job_edges(&count);
    for (uint32_t i = 0; i < count; i++) {
        assert_true(edges[i].of_job || edges[i].of_stage);
        assert_int_not_equal(edges[i].from, STATE_SUCCEEDED);
        assert_true(edges[i].from == STATE_PENDING || edges[i].from == STATE_RUNNING ||
                    edges[i].to == STATE_PENDING);
        for (uint32_t k = 0; k < i; k++) {
            assert_false(edges[i].from == edges[k].from && edges[i].to == edges[k].to);
        }
        print_message("%-9s -> %-9s %s%s: %s\n", core_state_text(edges[i].from),
                      core_state_text(edges[i].to), edges[i].of_job ? "job " : "",
                      edges[i].of_stage ? "stage" : "", edges[i].when);
    }
    assert_string_equal(core_cause_text(CAUSE_OOM), "oom");
    assert_string_equal(core_cause_text(CAUSE_REQUEUE), "requeue");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_job_runs_and_succeeds),
        cmocka_unit_test(test_a_failed_stage_skips_what_needs_it),
        cmocka_unit_test(test_a_diamond_waits_for_both_sides),
        cmocka_unit_test(test_cancel_before_anything_ran),
        cmocka_unit_test(test_cancel_stops_what_runs),
        cmocka_unit_test(test_deadline_of_a_waiting_job),
        cmocka_unit_test(test_deadline_of_a_running_job),
        cmocka_unit_test(test_retry_runs_what_did_not_succeed),
        cmocka_unit_test(test_retry_of_a_cancelled_job_that_had_succeeded),
        cmocka_unit_test(test_retry_of_a_cancelled_job_starts_its_deadline_anew),
        cmocka_unit_test(test_a_retry_that_does_not_fit_is_refused),
        cmocka_unit_test(test_a_job_restored_in_vain_is_forgotten),
        cmocka_unit_test(test_full_tables_refuse),
        cmocka_unit_test(test_the_record_of_full_tables_fits_into_them),
        cmocka_unit_test(test_descriptions_are_checked),
        cmocka_unit_test(test_the_largest_graphs_are_valid),
        cmocka_unit_test(test_the_transition_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
