/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Jobs that have no rows of their own yet (scheduler/store/pg_inbox.h): they are shown as if they had, they get
 * them when something happens to them, and whatever the next leader finds in the inbox is taken over.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/sys/clock.h"
#include "lib/sys/mem.h"
#include "scheduler/store/pg_inbox.h"
#include "tests/conformance/store_suite.h"
#include "tests/support/pg_cluster.h"

#define LEASE_NS (60 * MLQ_NS_PER_S) /* nothing here waits for one to end, and a disk may be slow */
#define JOBS     "SELECT string_agg(id || ' ' || state, ', ' ORDER BY id) FROM mlq.job"
#define ROWS     "SELECT string_agg(id || ' ' || state, ', ' ORDER BY id) FROM mlq.job_row"
#define STAGES   "SELECT string_agg(job || '.' || idx || ' ' || state, ', ' ORDER BY job, idx) FROM mlq.stage"
#define INBOX    "SELECT string_agg(array_to_string(ids, ' '), ', ' ORDER BY first) FROM mlq.inbox"

static struct pg_cluster *cluster;
static const char *database;
static char *migrations;
static struct suite_client client;

static void fresh(void)
{
    database = pg_cluster_database(cluster);
}

static struct store *create(struct uv_loop_s *loop, int64_t lease_ns, const struct store_callbacks *callbacks)
{
    struct store_pg_options options = {.conninfo = database, .migrations_dir = migrations, .lease_ns = lease_ns};
    return store_pg_create(loop, &options, callbacks);
}

static const struct suite_backend backend = {.fresh = fresh, .create = create};

static void expect_sql(const char *sql, const char *want)
{
    char *got = pg_cluster_query(database, sql);
    assert_non_null(got);
    assert_string_equal(got, want);
    free(got);
}

/* Jobs 2 to 4 of two stages each, the second needing the first, in one commit. */
static const struct store_batch *three_jobs(void)
{
    static const uint16_t first[] = {0};
    static struct store_stage stages[2];
    static struct store_job jobs[3];
    static struct store_fact facts[3];
    static struct store_batch batch = {.jobs = jobs, .job_count = 3, .facts = facts, .fact_count = 3};
    stages[0] = (struct store_stage){.name = MLQ_STR("make"), .uses = MLQ_STR("run"), .array_count = 2, .ranks = 1};
    stages[1] = (struct store_stage){.name = MLQ_STR("use"), .uses = MLQ_STR("run"), .array_count = 1, .ranks = 3,
                                     .ranks_min = 2, .resize = RESIZE_LIVE, .needs = first, .needs_count = 1};
    for (uint64_t i = 0; i < 3; i++) {
        jobs[i] = (struct store_job){.id = i + 2,
                                     .name = MLQ_STR("digits"),
                                     .kind = MLQ_STR("pipeline"),
                                     .submitter = MLQ_STR("alice"),
                                     .spec = MLQ_STR("{\"a\": [\"{}\\\\\", null]}"),
                                     .labels = MLQ_STR("{\"team\": \"vision\"}"),
                                     .priority = -7,
                                     .submitted_us = mlq_clock_wall_us(),
                                     .stages = stages,
                                     .stage_count = 2};
        facts[i] = suite_fact(FACT_JOB_SUBMITTED, i + 2, 0);
    }
    return &batch;
}

/* A leader with job 1, which has its row as the first of the epoch, and jobs 2 to 4, which have none. */
static int setup(void **state)
{
    (void)state;
    fresh();
    suite_open(&client, &backend, LEASE_NS);
    suite_elect(&client, "a");
    assert_int_equal(suite_commit(&client, suite_job(1, NULL)), MLQ_OK);
    assert_int_equal(suite_commit(&client, three_jobs()), MLQ_OK);
    return 0; /* at once: after a second they get their rows with whatever comes next */
}

static int teardown(void **state)
{
    (void)state;
    suite_close(&client);
    return 0;
}

static void test_a_job_is_shown_from_its_acceptance_on(void **state)
{
    (void)state;
    expect_sql(ROWS, "1 pending");
    expect_sql(INBOX, "2 3 4");
    expect_sql(JOBS, "1 pending, 2 pending, 3 pending, 4 pending");
    expect_sql(STAGES, "1.0 pending, 2.0 pending, 2.1 pending, 3.0 pending, 3.1 pending, 4.0 pending, 4.1 pending");
    assert_int_equal(suite_view(&client, &(struct store_query){.view = VIEW_RESOLVE, .selector = MLQ_STR("team=vision")}), MLQ_OK);
    assert_non_null(strstr(client.json, "\"4\""));
    assert_int_equal(suite_view(&client, &(struct store_query){.view = VIEW_SHOW, .job = 3}), MLQ_OK);
    assert_non_null(strstr(client.json, "\"make\""));
    const char *dump = suite_load(&client, 0);
    assert_non_null(strstr(dump, "header 4 "));
    assert_non_null(strstr(dump, "job 4 [digits] [pipeline] [] [alice] [{\"a\": [\"{}\\\\\", null]}] [{\"team\": \"vision\"}] -7 "));
    assert_non_null(strstr(dump, "  stage use run 1 3 needs 0\n"));
}

/* The rows as they are later do not tell whether a job came to them by the inbox. */
static void test_its_rows_are_what_was_shown(void **state)
{
    (void)state;
#define EVERY "SELECT string_agg(j::text || s::text, ', ' ORDER BY j.id, s.idx) FROM mlq.job j JOIN mlq.stage s ON s.job = j.id"
    char *shown = pg_cluster_query(database, EVERY);
    int64_t limit_ns = mlq_clock_boot_ns() + LEASE_NS;
    for (bool is_empty = false; !is_empty;) { /* commits that bring nothing take along what has waited */
        assert_int_equal(suite_commit(&client, &(struct store_batch){0}), MLQ_OK);
        char *left = pg_cluster_query(database, INBOX);
        is_empty = left[0] == '\0';
        free(left);
        assert_true(mlq_clock_boot_ns() < limit_ns);
    }
    expect_sql(ROWS, "1 pending, 2 pending, 3 pending, 4 pending");
    expect_sql(EVERY, shown);
    free(shown);
}

static void test_a_short_job_is_written_once(void **state)
{
    (void)state;
    struct store_fact facts[] = {
        suite_fact(FACT_ASSIGNED, 3, 7),    suite_fact(FACT_STARTED, 3, 7),     suite_fact(FACT_ENDED, 3, 7),
        suite_fact(FACT_STAGE_ENDED, 3, 0), suite_fact(FACT_STAGE_ENDED, 3, 0), suite_fact(FACT_JOB_ENDED, 3, 0),
    };
    facts[3].fact.state = STATE_SUCCEEDED;
    facts[4].fact.state = STATE_SKIPPED;
    facts[4].fact.stage = 1;
    facts[5].fact.state = STATE_SUCCEEDED;
    facts[5].at_us = facts[1].at_us + 2000;
    assert_int_equal(suite_commit_facts(&client, facts, MLQ_COUNT_OF(facts)), MLQ_OK);
    expect_sql("SELECT ctid::text FROM mlq.job_row WHERE id = 3 AND xmax = 0 AND cause IS NULL", "(0,2)");
    expect_sql("SELECT (ended_at - started_at)::text FROM mlq.job_row WHERE id = 3 AND state = 'succeeded'", "00:00:00.002");
    expect_sql("SELECT count(*) FROM mlq.stage_row WHERE job = 3 AND idx = 0 AND started_at IS NOT NULL", "1");
    expect_sql("SELECT count(*) FROM mlq.stage_row WHERE job = 3 AND idx = 1 AND started_at IS NULL", "1");
    expect_sql(JOBS, "1 pending, 2 pending, 3 succeeded, 4 pending");
    expect_sql(STAGES, "1.0 pending, 2.0 pending, 2.1 pending, 3.0 succeeded, 3.1 skipped, 4.0 pending, 4.1 pending");
}

/* A job of one stage of one task, and its end in one commit, with one more fact unless that is NULL. */
static void end_lone_job(uint64_t id, const struct store_fact *more)
{
    struct store_batch batch = *suite_job(id, NULL);
    struct store_job job = batch.jobs[0];
    struct store_stage stage = job.stages[0];
    struct store_fact facts[5] = {
        suite_fact(FACT_STARTED, id, 7),
        suite_fact(FACT_ENDED, id, 7),
        suite_fact(FACT_STAGE_ENDED, id, 0),
        suite_fact(FACT_JOB_ENDED, id, 0),
    };
    stage.array_count = 1;
    job.stages = &stage;
    batch.jobs = &job;
    assert_int_equal(suite_commit(&client, &batch), MLQ_OK);
    facts[4] = suite_fact(FACT_ASSIGNED, id, 7);
    assert_int_equal(suite_commit_facts(&client, &facts[4], 1), MLQ_OK);
    facts[3].at_us = facts[2].at_us; /* as one event of the core has them */
    facts[4] = more == NULL ? (struct store_fact){0} : *more;
    assert_int_equal(suite_commit_facts(&client, facts, more == NULL ? 4 : 5), MLQ_OK);
}

#define FACTS_OF_5                                                                                                     \
    "SELECT string_agg(kind || ' ' || attempt || ' ' || state || ' ' || epoch, ', ' ORDER BY seq, nth) FROM mlq.fact"  \
    " WHERE job = 5"
#define ENDED_5                                                                                                        \
    "job submitted 0 pending 1, assigned 7 pending 1, started 7 pending 1, ended 7 pending 1, "                        \
    "stage ended 0 succeeded 1, job ended 0 succeeded 1"

/* No row of its stage, and of the journal those alone that were there before it ended. */
static void test_a_lone_task_is_written_whole(void **state)
{
    (void)state;
    struct store_fact other = suite_fact(FACT_STARTED, 2, 8);
    end_lone_job(5, &other);
    expect_sql("SELECT stage_name || ' ' || stage_uses FROM mlq.job_row WHERE id = 5", "main run");
    expect_sql("SELECT count(*) FROM mlq.stage_row WHERE job = 5", "0");
    expect_sql("SELECT count(*) FROM mlq.journal WHERE job = 5", "2");
    expect_sql("SELECT count(*) FROM mlq.journal j JOIN mlq.job_row r USING (seq) WHERE r.id = 5 AND j.job = 2", "1");
    expect_sql(FACTS_OF_5, ENDED_5);
    expect_sql("SELECT count(*) FROM mlq.fact f JOIN mlq.job j ON j.id = f.job WHERE f.job = 5 AND f.kind = 'started'"
               " AND f.at = j.started_at OR f.kind = 'job ended' AND f.at = j.ended_at",
               "2");
    expect_sql("SELECT s.name || ' ' || s.state || ' ' || s.array_count || s.ranks || s.ranks_min || s.needs::text"
               "       || (s.started_at = j.started_at AND s.ended_at = j.ended_at)"
               "  FROM mlq.stage s JOIN mlq.job j ON j.id = s.job WHERE s.job = 5",
               "main succeeded 111{}true");
    expect_sql(JOBS, "1 pending, 2 running, 3 pending, 4 pending, 5 succeeded");
    expect_sql("SELECT count(*) FROM mlq.stage WHERE job = 5", "1");
    assert_int_equal(suite_view(&client, &(struct store_query){.view = VIEW_SHOW, .job = 5}), MLQ_OK);
    assert_non_null(strstr(client.json, "\"main\""));
}

static void test_a_retry_gives_its_stage_a_row(void **state)
{
    (void)state;
    end_lone_job(5, NULL);
    struct store_fact facts[] = {
        suite_fact(FACT_JOB_RETRIED, 5, 0), suite_fact(FACT_ASSIGNED, 5, 9), suite_fact(FACT_STARTED, 5, 9),
        suite_fact(FACT_ENDED, 5, 9),       suite_fact(FACT_STAGE_ENDED, 5, 0), suite_fact(FACT_JOB_ENDED, 5, 0),
    };
    facts[4].fact.state = facts[5].fact.state = STATE_FAILED;
    assert_non_null(strstr(suite_load(&client, 5), "  stage main run 1 1 needs\n"));
    assert_int_equal(suite_commit_facts(&client, facts, 1), MLQ_OK);
    expect_sql("SELECT count(*) FROM mlq.job_row WHERE id = 5 AND stage_name IS NULL AND facts IS NOT NULL", "1");
    expect_sql("SELECT state FROM mlq.job WHERE id = 5", "pending");
    expect_sql("SELECT string_agg(state, ' ') FROM mlq.stage WHERE job = 5", "succeeded"); /* it is not done again */
    expect_sql(FACTS_OF_5, ENDED_5 ", job retried 0 pending 1");
    assert_int_equal(suite_commit_facts(&client, facts + 1, 3), MLQ_OK);
    assert_int_equal(suite_commit_facts(&client, facts + 5, 1), MLQ_OK);
    expect_sql("SELECT state || retries FROM mlq.job WHERE id = 5", "failed1");
    expect_sql("SELECT string_agg(round::text, ' ' ORDER BY seq, nth) FROM mlq.fact WHERE job = 5",
               "0 0 0 0 0 0 1 1 1 1 1");
}

/* The same, of a stage that failed: it is pending again. */
static void test_a_failed_stage_is_done_again(void **state)
{
    (void)state;
    struct store_batch batch = *suite_job(5, NULL);
    struct store_stage stage = batch.jobs[0].stages[0];
    struct store_job job = batch.jobs[0];
    struct store_fact facts[] = {suite_fact(FACT_STAGE_ENDED, 5, 0), suite_fact(FACT_JOB_ENDED, 5, 0),
                                 suite_fact(FACT_JOB_RETRIED, 5, 0), suite_fact(FACT_STAGE_ENDED, 5, 0)};
    stage.array_count = 1;
    job.stages = &stage;
    batch.jobs = &job;
    facts[0].fact.state = facts[1].fact.state = STATE_FAILED;
    facts[1].at_us = facts[0].at_us;
    assert_int_equal(suite_commit(&client, &batch), MLQ_OK);
    assert_int_equal(suite_commit_facts(&client, facts, 3), MLQ_OK); /* one batch: two runs */
    expect_sql("SELECT string_agg(state, ' ') FROM mlq.stage WHERE job = 5", "pending");
    expect_sql("SELECT count(*) FROM mlq.stage_row WHERE job = 5 AND started_at IS NULL AND ended_at IS NULL", "1");
    assert_int_equal(suite_commit_facts(&client, facts + 3, 1), MLQ_OK);
    expect_sql("SELECT string_agg(state, ' ') FROM mlq.stage WHERE job = 5", "succeeded");
}

/* What the job's row could not say. */
static void test_what_is_not_written_whole(void **state)
{
    (void)state;
    static const char *const why[] = {"detail", "gpus", "time", "tasks"};
    for (uint64_t i = 0; i < MLQ_COUNT_OF(why); i++) {
        struct store_batch batch = *suite_job(5 + i, NULL);
        struct store_stage stage = batch.jobs[0].stages[0];
        struct store_job job = batch.jobs[0];
        struct store_fact facts[] = {suite_fact(FACT_ASSIGNED, 5 + i, 7), suite_fact(FACT_STAGE_ENDED, 5 + i, 0),
                                     suite_fact(FACT_JOB_ENDED, 5 + i, 0)};
        stage.array_count = i == 3 ? 2 : 1;
        job.stages = &stage;
        batch.jobs = &job;
        facts[0].detail = i == 0 ? MLQ_STR("why") : (struct mlq_str){0};
        facts[0].fact.gpu_mask = i == 1 ? UINT64_C(1) << 63 : 0;
        facts[1].at_us = facts[2].at_us - (i == 2 ? 1 : 0);
        assert_int_equal(suite_commit(&client, &batch), MLQ_OK);
        assert_int_equal(suite_commit_facts(&client, facts, MLQ_COUNT_OF(facts)), MLQ_OK);
        char *rows = mlq_format("SELECT r.facts IS NULL AND r.stage_name IS NULL AND s.state = 'succeeded'"
                                "       AND s.ended_at = r.ended_at - interval '%d us'"
                                "  FROM mlq.job_row r JOIN mlq.stage_row s ON s.job = r.id WHERE r.id = %d",
                                i == 2 ? 1 : 0, (int)(5 + i));
        expect_sql(rows, "t");
        mlq_free(rows);
    }
    expect_sql("SELECT detail FROM mlq.fact WHERE job = 5 AND detail IS NOT NULL", "why");
    expect_sql("SELECT count(*) FROM mlq.fact WHERE job = 6 AND gpu_mask < 0", "1");
}

/* What happens next finds the rows. */
static void test_a_life_in_several_commits(void **state)
{
    (void)state;
    struct store_fact facts[] = {suite_fact(FACT_ASSIGNED, 2, 7),   suite_fact(FACT_STARTED, 2, 7),
                                 suite_fact(FACT_JOB_CANCELLED, 4, 0), suite_fact(FACT_ENDED, 2, 7),
                                 suite_fact(FACT_JOB_ENDED, 2, 0),  suite_fact(FACT_JOB_ENDED, 4, 0)};
    facts[2].fact.cause = CAUSE_CANCEL;
    facts[4].fact.state = STATE_FAILED;
    facts[5].fact.state = STATE_CANCELLED;
    assert_int_equal(suite_commit_facts(&client, facts, 1), MLQ_OK);
    expect_sql(JOBS, "1 pending, 2 pending, 3 pending, 4 pending"); /* an assignment changes nothing in them */
    assert_int_equal(suite_commit_facts(&client, facts + 1, 2), MLQ_OK);
    expect_sql(JOBS, "1 pending, 2 running, 3 pending, 4 pending");
    expect_sql("SELECT cause FROM mlq.job_row WHERE id = 4", "cancel");
    assert_int_equal(suite_commit_facts(&client, facts + 3, 3), MLQ_OK);
    expect_sql(JOBS, "1 pending, 2 failed, 3 pending, 4 cancelled");
    expect_sql("SELECT count(*) FROM mlq.job_row WHERE id = 2 AND started_at IS NOT NULL", "1");
}

/* One batch: it ends and is started anew. */
static void test_a_retry_in_the_batch_of_the_end(void **state)
{
    (void)state;
    struct store_fact facts[] = {suite_fact(FACT_STARTED, 2, 7), suite_fact(FACT_JOB_ENDED, 2, 0),
                                 suite_fact(FACT_JOB_RETRIED, 2, 0), suite_fact(FACT_JOB_CANCELLED, 3, 0)};
    facts[1].fact.state = STATE_FAILED;
    facts[3].fact.cause = CAUSE_CANCEL;
    assert_int_equal(suite_commit_facts(&client, facts, MLQ_COUNT_OF(facts)), MLQ_OK);
    expect_sql("SELECT string_agg(id || ' ' || state || ' ' || retries, ', ' ORDER BY id) FROM mlq.job_row",
               "1 pending 0, 2 pending 1, 3 pending 0");
}

static void expect_refusal(struct store_fact *facts, size_t count)
{
    char *before = pg_cluster_query(database, INBOX);
    assert_int_equal(suite_commit_facts(&client, facts, count), MLQ_EDB);
    expect_sql(INBOX, before);
    expect_sql(ROWS, "1 pending");
    expect_sql("SELECT count(*) FROM mlq.fact", "4");
    free(before);
}

static void test_a_job_of_the_inbox_ends_once(void **state)
{
    (void)state;
    struct store_fact facts[] = {suite_fact(FACT_JOB_ENDED, 3, 0), suite_fact(FACT_JOB_ENDED, 3, 0)};
    expect_refusal(facts, 2);
}

static void test_a_stage_of_the_inbox_ends_once(void **state)
{
    (void)state;
    struct store_fact facts[] = {suite_fact(FACT_STAGE_ENDED, 3, 0), suite_fact(FACT_STAGE_ENDED, 3, 0)};
    facts[0].fact.stage = facts[1].fact.stage = 1;
    expect_refusal(facts, 2);
}

static void test_a_stage_that_is_not_there(void **state)
{
    (void)state;
    struct store_fact facts[] = {suite_fact(FACT_JOB_ENDED, 3, 0), suite_fact(FACT_STAGE_ENDED, 3, 0)};
    facts[1].fact.stage = 2;
    expect_refusal(facts, 2);
}

static void test_a_job_of_the_inbox_is_not_put_again(void **state)
{
    (void)state;
    assert_int_equal(suite_commit(&client, suite_job(3, NULL)), MLQ_EEXIST);
    expect_sql(INBOX, "2 3 4");
}

/* Another leader, which finds what this one has left. */
static void take_over(void)
{
    int depositions = client.depositions;
    client.store->ops->resign(client.store);
    suite_until(&client.depositions, depositions + 1, &client, NULL);
    suite_elect(&client, "b");
    expect_sql(INBOX, "2 3 4");
}

/* A leader that has loaded nothing finds the jobs of the one before it. */
static void test_the_next_leader_takes_the_inbox_over(void **state)
{
    (void)state;
    take_over();
    struct store_fact facts[] = {suite_fact(FACT_STARTED, 4, 9), suite_fact(FACT_JOB_ENDED, 3, 0)};
    facts[1].fact.state = STATE_FAILED;
    assert_int_equal(suite_commit_facts(&client, facts, 2), MLQ_OK);
    expect_sql(INBOX, "");
    expect_sql(ROWS, "1 pending, 2 pending, 3 failed, 4 running");
    expect_sql(STAGES, "1.0 pending, 2.0 pending, 2.1 pending, 3.0 pending, 3.1 pending, 4.0 running, 4.1 pending");
}

static void await_empty_inbox(void)
{
    int64_t limit_ns = mlq_clock_boot_ns() + LEASE_NS;
    for (bool is_empty = false; !is_empty;) {
        char *left = pg_cluster_query(database, INBOX);
        is_empty = left[0] == '\0';
        free(left);
        assert_true(mlq_clock_boot_ns() < limit_ns);
        (void)uv_run(&client.loop, UV_RUN_NOWAIT);
    }
}

/* No commit comes, and they get their rows. */
static void test_silence_empties_it(void **state)
{
    (void)state;
    await_empty_inbox();
    expect_sql(ROWS, "1 pending, 2 pending, 3 pending, 4 pending");
    assert_int_equal(suite_commit(&client, suite_job(5, NULL)), MLQ_OK);
    expect_sql(INBOX, "5");
    await_empty_inbox();
}

/* Nor does one come to the next leader. */
static void test_a_silent_leader_takes_the_inbox_over(void **state)
{
    (void)state;
    take_over();
    await_empty_inbox();
    expect_sql(ROWS, "1 pending, 2 pending, 3 pending, 4 pending");
}

static void test_it_is_bounded(void **state)
{
    (void)state;
    struct pg_inbox *inbox = pg_inbox_create();
    struct store_job *jobs = mlq_alloc_array(PG_INBOX_JOBS_MAX, sizeof *jobs);
    const struct store_job first = {.id = 1};
    uint64_t swept;
    assert_false(pg_inbox_put(inbox, &first, 1, 0));
    pg_inbox_take(inbox, pg_inbox_oldest(inbox, 0, true));
    assert_true(pg_inbox_sweep(inbox, &swept) && swept == 1);
    for (uint64_t i = 0; i < PG_INBOX_JOBS_MAX; i++) {
        jobs[i].id = i + 2;
    }
    assert_true(pg_inbox_put(inbox, jobs, PG_INBOX_JOBS_MAX, 0));
    assert_null(pg_inbox_oldest(inbox, PG_INBOX_AGE_NS - 1, false));
    jobs[0].id = PG_INBOX_JOBS_MAX + 2;
    assert_true(pg_inbox_put(inbox, jobs, 1, 0));
    assert_int_equal(pg_inbox_oldest(inbox, 0, false)->id, 2); /* one too many */
    pg_inbox_take(inbox, pg_inbox_find(inbox, 3));
    assert_null(pg_inbox_find(inbox, 3));
    assert_null(pg_inbox_oldest(inbox, PG_INBOX_AGE_NS - 1, false));
    assert_int_equal(pg_inbox_oldest(inbox, PG_INBOX_AGE_NS, false)->id, 2);
    assert_false(pg_inbox_sweep(inbox, &swept));
    pg_inbox_destroy(&inbox);
    mlq_free(jobs);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    static const struct CMUnitTest tests[] = {
        TEST(test_a_job_is_shown_from_its_acceptance_on),
        TEST(test_its_rows_are_what_was_shown),
        TEST(test_a_short_job_is_written_once),
        TEST(test_a_lone_task_is_written_whole),
        TEST(test_a_retry_gives_its_stage_a_row),
        TEST(test_a_failed_stage_is_done_again),
        TEST(test_what_is_not_written_whole),
        TEST(test_a_life_in_several_commits),
        TEST(test_a_retry_in_the_batch_of_the_end),
        TEST(test_a_job_of_the_inbox_ends_once),
        TEST(test_a_stage_of_the_inbox_ends_once),
        TEST(test_a_stage_that_is_not_there),
        TEST(test_a_job_of_the_inbox_is_not_put_again),
        TEST(test_the_next_leader_takes_the_inbox_over),
        TEST(test_silence_empties_it),
        TEST(test_a_silent_leader_takes_the_inbox_over),
        cmocka_unit_test(test_it_is_bounded),
    };
    cluster = pg_cluster_start();
    if (cluster == NULL) {
        return 77;
    }
    migrations = mlq_format("%s/migrations", getenv("MLQ_SOURCE_DIR"));
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pg_cluster_stop(&cluster);
    mlq_free(migrations);
    return failed;
}
