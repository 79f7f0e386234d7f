/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What can go wrong between the store and its server: sessions that die with commits in flight, a
 * server that crashes, an old leader that hangs in a transaction, settings that would lose jobs,
 * migrations that are not what they were.
 */
#include <inttypes.h>
#include <libpq-fe.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/sys/clock.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "scheduler/store/pg_sql.h"
#include "tests/conformance/store_suite.h"
#include "tests/support/patience.h"
#include "tests/support/pg_cluster.h"

#define LEASE_NS   (600 * MLQ_NS_PER_MS)
#define RIVAL_NS   patience(10 * MLQ_NS_PER_S) /* a lease that another one is after: a disk may be busy for a while */
#define LIMIT_NS   patience(60 * MLQ_NS_PER_S)
#define FENCE_LOCK "x'6d6c7166'::bigint"
#define WAITING    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"

static struct pg_cluster *cluster;
static const char *database;
static char *source_migrations;
static char *migrations;
static bool allow_unsafe;
static struct suite_client client;

static void fresh(void)
{
    database = pg_cluster_database(cluster);
}

static struct store *create(struct uv_loop_s *loop, int64_t lease_ns,
                            const struct store_callbacks *callbacks)
{
    struct store_pg_options options = {.conninfo = database,
                                       .migrations_dir = migrations,
                                       .lease_ns = lease_ns,
                                       .allow_unsafe = allow_unsafe};
    return store_pg_create(loop, &options, callbacks);
}

static const struct suite_backend backend = {.fresh = fresh, .create = create};

static int setup(void **state)
{
    (void)state;
    fresh();
    allow_unsafe = false;
    migrations = source_migrations;
    suite_open(&client, &backend, LEASE_NS);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    suite_close(&client);
    return 0;
}

/* ---- Helpers --------------------------------------------------------------------------------- */

static void run_sql(const char *sql)
{
    free(pg_cluster_query(database, sql));
}

static void expect_sql(const char *sql, const char *want)
{
    char *got = pg_cluster_query(database, sql);
    assert_non_null(got);
    assert_string_equal(got, want);
    free(got);
}

static PGconn *open_session(const char *sql)
{
    PGconn *session = PQconnectdb(database);
    assert_int_equal(PQstatus(session), CONNECTION_OK);
    PGresult *result = PQexec(session, sql);
    assert_int_equal(PQresultStatus(result), PGRES_TUPLES_OK);
    PQclear(result);
    return session;
}

static void end_sessions(const char *application)
{
    char *sql = mlq_format("SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity "
                           "WHERE datname = current_database() AND application_name = '%s'",
                           application);
    expect_sql(sql, "1");
    mlq_free(sql);
}

/* After a client was closed: what it sent last is done. */
static void await_no_sessions(void)
{
    int64_t limit_ns = mlq_clock_boot_ns() + LIMIT_NS;
    for (bool are_gone = false; !are_gone;) {
        char *left = pg_cluster_query(database, "SELECT count(*) FROM pg_stat_activity"
                                                " WHERE datname = current_database() AND application_name LIKE 'mlq %'");
        are_gone = strcmp(left, "0") == 0;
        free(left);
        assert_true(mlq_clock_boot_ns() < limit_ns);
    }
}

static void expect_refusal(int code)
{
    int before = client.depositions;
    client.store->ops->campaign(client.store, "a");
    suite_until(&client.depositions, before + 1, &client, NULL);
    assert_int_equal(client.elections, 0);
    assert_int_equal(client.deposed_code, code);
}

static void expect_election(void)
{
    suite_close(&client);
    suite_open(&client, &backend, LEASE_NS);
    suite_elect(&client, "a");
}

/* ---- Sessions and servers that die ------------------------------------------------------------
 */

static void test_commits_in_flight_of_a_lost_session_are_unknown(void **state)
{
    (void)state;
    suite_elect(&client, "a");
    assert_int_equal(suite_commit(&client, suite_job(1, NULL)), MLQ_OK);
    uint32_t first = client.epoch;
    /* Hold the commits at their fence, so that they are surely in flight when the session dies. */
    PGconn *holder = open_session("SELECT pg_advisory_lock(" FENCE_LOCK ")");
    for (uint64_t id = 2; id <= 6; id++) {
        (void)suite_commit_async(&client, suite_job(id, NULL));
    }
    int sent = 0;
    while (!sent) { /* until the server has the first of them */
        (void)uv_run(&client.loop, UV_RUN_NOWAIT);
        char *waiting = pg_cluster_query(database, WAITING);
        sent = strcmp(waiting, "1") == 0;
        free(waiting);
    }
    end_sessions("mlq scheduler journal");
    suite_until(&client.depositions, 1, &client, NULL);
    for (int i = 1; i <= 5; i++) {
        assert_int_equal(client.commit_rc[i], MLQ_EUNKNOWN);
    }
    PQfinish(holder);
    suite_elect(&client, "a");
    assert_true(client.epoch > first);
    const char *dump = suite_load(&client, 0);
    assert_non_null(strstr(dump, "header 1 "));
    assert_int_equal(suite_commit(&client, suite_job(2, NULL)), MLQ_OK);
}

/* Until the standby waits for the leader's session to end, as the server sees it. */
static void await_standby(struct suite_client *standby)
{
    int64_t limit_ns = mlq_clock_boot_ns() + LIMIT_NS;
    for (bool does_wait = false; !does_wait;) {
        (void)uv_run(&client.loop, UV_RUN_NOWAIT);
        (void)uv_run(&standby->loop, UV_RUN_NOWAIT);
        char *waiting = pg_cluster_query(database, WAITING);
        does_wait = strcmp(waiting, "1") == 0;
        free(waiting);
        assert_true(mlq_clock_boot_ns() < limit_ns);
    }
}

static void test_a_lost_lease_session_costs_nothing(void **state)
{
    (void)state;
    struct suite_client standby;
    suite_close(&client);
    suite_open(&client, &backend, RIVAL_NS);
    suite_elect(&client, "a");
    suite_open(&standby, &backend, RIVAL_NS);
    standby.store->ops->campaign(standby.store, "b");
    await_standby(&standby);
    run_sql("SELECT pg_terminate_backend(backends[1], 5000) FROM mlq.leader");
    /* Trusted for so long, it was renewed since, by another session. */
    int64_t renewed_ns = mlq_clock_boot_ns() + RIVAL_NS;
    uint64_t id = 0;
    while (client.store->ops->trusted_until_ns(client.store) + RIVAL_NS / 6 <= renewed_ns) {
        (void)uv_run(&standby.loop, UV_RUN_NOWAIT);
        assert_int_equal(suite_commit(&client, suite_job(++id, NULL)), MLQ_OK);
        assert_true(mlq_clock_boot_ns() < renewed_ns);
    }
    assert_int_equal(client.depositions, 0);
    assert_int_equal(standby.elections, 0);
    suite_close(&standby);
}

static void test_a_crashed_server_keeps_what_was_confirmed(void **state)
{
    (void)state;
    suite_elect(&client, "a");
    for (uint64_t id = 1; id <= 50; id++) {
        assert_int_equal(suite_commit(&client, suite_job(id, NULL)), MLQ_OK);
    }
    uint32_t first = client.epoch;
    (void)suite_commit_async(&client, suite_job(51, NULL));
    pg_cluster_kill(cluster);
    suite_until(&client.depositions, 1, &client, NULL);
    client.store->ops->campaign(client.store, "a"); /* while it is down */
    int64_t until_ns = mlq_clock_boot_ns() + LEASE_NS;
    while (mlq_clock_boot_ns() < until_ns) {
        (void)uv_run(&client.loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(suite_view(&client, &(struct store_query){.view = VIEW_LIST}), MLQ_ECONN);
    assert_true(pg_cluster_restart(cluster));
    suite_until(&client.elections, 2, &client, NULL);
    assert_true(client.epoch > first);
    const char *dump = suite_load(&client, 0);
    for (int id = 1; id <= 50; id++) {
        char line[20];
        (void)snprintf(line, sizeof line, "\njob %d ", id);
        assert_non_null(strstr(dump, line));
    }
    assert_int_equal(suite_view(&client, &(struct store_query){.view = VIEW_LIST}), MLQ_OK);
}

static void test_an_old_leader_in_a_transaction_is_ended(void **state)
{
    (void)state;
    suite_elect(&client, "a");
    suite_close(&client);
    await_no_sessions(); /* a renewal would take the row back */
    suite_open(&client, &backend, LEASE_NS);
    /* It stands in the row, its lease has lapsed, and it holds the fence of a commit. */
    PGconn *old =
        open_session("SELECT set_config('application_name', 'mlq scheduler journal', false),"
                     "       pg_advisory_lock_shared(" FENCE_LOCK ")");
    PGresult *result = PQexec(old, "UPDATE mlq.leader SET backends = ARRAY[pg_backend_pid()],"
                                   " expires_at = 'epoch' RETURNING 1");
    assert_int_equal(PQresultStatus(result), PGRES_TUPLES_OK);
    PQclear(result);
    suite_elect(&client, "b");
    PQclear(PQexec(old, "SELECT 1"));
    assert_int_equal(PQstatus(old), CONNECTION_BAD);
    PQfinish(old);
}

static void test_a_restored_database_leaps_over_lost_epochs(void **state)
{
    (void)state;
    suite_elect(&client, "a");
    uint32_t first = client.epoch;
    run_sql(
        "UPDATE mlq.leader SET timeline = timeline + 1"); /* as if this were another time line */
    expect_election();
    assert_int_equal(client.epoch, first + 65536);
    expect_sql("SELECT generation FROM mlq.leader", "2");
}

/* ---- Settings -------------------------------------------------------------------------------- */

/* It is only asked for by pg_reload_conf; sessions that begin later have it by and by. */
static void reload(const char *fsync)
{
    int64_t limit_ns = mlq_clock_boot_ns() + LIMIT_NS;
    run_sql("SELECT pg_reload_conf()");
    for (bool is_done = false; !is_done;) {
        char *now = pg_cluster_query(database, "SHOW fsync");
        is_done = strcmp(now, fsync) == 0;
        free(now);
        assert_true(mlq_clock_boot_ns() < limit_ns);
    }
}

static void test_unsafe_settings_are_refused(void **state)
{
    (void)state;
    char *sql = mlq_format("ALTER DATABASE %s SET synchronous_commit = off",
                           strstr(database, "dbname=") + strlen("dbname="));
    run_sql(sql);
    mlq_free(sql);
    expect_refusal(MLQ_EPERM);
    allow_unsafe = true;
    expect_election();
    allow_unsafe = false;

    fresh();
    suite_close(&client);
    suite_open(&client, &backend, LEASE_NS);
    run_sql("ALTER SYSTEM SET fsync = off");
    reload("off");
    expect_refusal(MLQ_EPERM);
    run_sql("ALTER SYSTEM RESET fsync");
    reload("on");
    expect_election();
}

/* ---- Migrations ------------------------------------------------------------------------------ */

static void put_file(const char *name, const char *text)
{
    char *path = mlq_fs_join(migrations, name);
    assert_int_equal(mlq_fs_write_durable(path, mlq_str_from(text), 0600, NULL), MLQ_OK);
    mlq_free(path);
}

static void remove_file(const char *name)
{
    char *path = mlq_fs_join(migrations, name);
    assert_int_equal(unlink(path), 0);
    mlq_free(path);
}

static char *read_source(const char *name)
{
    char *path = mlq_fs_join(source_migrations, name);
    char *text = NULL;
    size_t len = 0;
    assert_int_equal(mlq_fs_read(path, 1u << 20, &text, &len, NULL), MLQ_OK);
    mlq_free(path);
    return text;
}

static void test_migrations_are_applied_once_and_never_changed(void **state)
{
    (void)state;
    char folder[] = "migrations-XXXXXX";
    assert_non_null(mkdtemp(folder));
    migrations = folder;
    suite_close(&client);
    suite_open(&client, &backend, LEASE_NS);
    expect_refusal(MLQ_ENOENT); /* an empty folder */
    char *first = read_source("0001_init.up.sql");
    put_file("0001_init.up.sql", first);
    put_file("0001_init.down.sql", "not read");
    expect_election();
    expect_sql("SELECT count(*) FROM mlq.migration", "1");

    put_file("0002_more.up.sql",
             "CREATE TABLE mlq.more (a int);\nINSERT INTO mlq.more VALUES (1);\n");
    expect_election();
    expect_election(); /* once only */
    expect_sql("SELECT count(*) FROM mlq.more", "1");
    expect_sql(
        "SELECT checksum = encode(sha256(E'CREATE TABLE mlq.more (a int);\\nINSERT INTO mlq.more "
        "VALUES (1);\\n'), 'hex') FROM mlq.migration WHERE version = 2",
        "t");

    suite_close(&client);
    suite_open(&client, &backend, LEASE_NS);
    put_file("0003_bad.up.sql", "CREATE TABLE mlq.bad (a int); SELECT nonsense;");
    expect_refusal(MLQ_EDB);
    expect_sql("SELECT count(*) FROM mlq.migration", "2");
    expect_sql("SELECT to_regclass('mlq.bad') IS NULL", "t");
    remove_file("0003_bad.up.sql");
    put_file("0004_gap.up.sql", "SELECT 1;");
    expect_refusal(MLQ_ECORRUPT);
    remove_file("0004_gap.up.sql");
    put_file("0002_more.up.sql", "CREATE TABLE mlq.more (a bigint);");
    expect_refusal(MLQ_ECORRUPT);
    remove_file("0002_more.up.sql");
    expect_refusal(MLQ_ENOTSUP); /* the schema is newer than this binary */
    assert_int_equal(mlq_fs_remove_tree(folder, NULL), MLQ_OK);
    expect_refusal(MLQ_ENOENT);
    mlq_free(first);
    migrations = source_migrations;
}

static void take_down(const char *name, int version)
{
    char *down = read_source(name);
    char *forget = mlq_format("DELETE FROM mlq.migration WHERE version = %d", version);
    run_sql(down);
    run_sql(forget);
    mlq_free(down);
    mlq_free(forget);
}

/* Its one task has failed, in a commit that wrote it whole, and it is started anew. */
static void put_retried_job(uint64_t id)
{
    struct store_batch batch = *suite_job(id, NULL);
    struct store_stage stage = batch.jobs[0].stages[0];
    struct store_job job = batch.jobs[0];
    struct store_fact facts[] = {suite_fact(FACT_STAGE_ENDED, id, 0), suite_fact(FACT_JOB_ENDED, id, 0),
                                 suite_fact(FACT_JOB_RETRIED, id, 0)};
    stage.array_count = 1;
    job.stages = &stage;
    batch.jobs = &job;
    facts[0].fact.state = facts[1].fact.state = STATE_FAILED;
    facts[1].at_us = facts[0].at_us;
    assert_int_equal(suite_commit(&client, &batch), MLQ_OK);
    assert_int_equal(suite_commit_facts(&client, facts, 2), MLQ_OK);
    expect_sql("SELECT count(facts) + count(stage_name) FROM mlq.job_row", "2");
    assert_int_equal(suite_commit_facts(&client, facts + 2, 1), MLQ_OK);
}

/* Facts of every shape, of three jobs in turns, are the same after the journal was taken down to a row for each
 * fact and up again; and what was there before is known to be there. */
static void test_the_journal_goes_down_and_up_with_its_facts(void **state)
{
    (void)state;
    suite_elect(&client, "a");
    assert_int_equal(suite_commit(&client, suite_job(1, "k")), MLQ_OK);
    assert_int_equal(suite_commit(&client, suite_job(100001, NULL)), MLQ_OK);
    put_retried_job(100002);
    struct store_fact facts[] = {
        suite_fact(FACT_ASSIGNED, 1, 7),      suite_fact(FACT_ASSIGNED, 100001, 8), suite_fact(FACT_ENDED, 1, 7),
        suite_fact(FACT_STARTED, 100001, 8),  suite_fact(FACT_JOB_CANCELLED, 1, 0), suite_fact(FACT_STAGE_ENDED, 1, 0),
        suite_fact(FACT_ENDED, 100001, 8),
    };
    facts[0].fact.gpu_mask = UINT64_MAX;
    facts[0].fact.worker = UINT32_MAX;
    facts[1].fact.index = 3;
    facts[2].fact.cause = CAUSE_REQUEUE;
    facts[2].fact.signal = INT32_MIN;
    facts[2].fact.exit_code = INT32_MIN;
    facts[2].detail = MLQ_STR("killed");
    facts[2].at_us = facts[0].at_us - 5000000;
    facts[4].fact.cause = CAUSE_CANCEL;
    facts[5].fact.state = STATE_SKIPPED;
    facts[6].fact.signal = INT32_MAX;
    assert_int_equal(suite_commit_facts(&client, facts, 4), MLQ_OK);
    assert_int_equal(suite_commit_facts(&client, facts + 4, 3), MLQ_OK);
    char *before = mlq_strdup(suite_load(&client, 0));
    assert_non_null(strstr(before, "[killed]"));
    suite_close(&client);
    take_down("0004_whole.down.sql", 4);
    take_down("0003_inbox.down.sql", 3);
    take_down("0002_journal.down.sql", 2);
    expect_sql("SELECT count(*) FROM mlq.fact", "13");
    expect_sql("SELECT count(*) FROM mlq.fact WHERE sole", "1");
    suite_open(&client, &backend, LEASE_NS);
    suite_elect(&client, "a");
    expect_sql("SELECT count(*) FROM mlq.journal", "13");
    assert_string_equal(suite_load(&client, 0), before);
    mlq_free(before);
    assert_int_equal(suite_commit(&client, suite_job(200001, NULL)), MLQ_OK); /* partitions are there */
    assert_int_equal(suite_commit_facts(&client, &facts[6], 1), MLQ_EEXIST);
}

/* A leader that has not loaded a job asks the server. */
static void test_what_was_not_loaded_is_asked(void **state)
{
    (void)state;
    const struct store_fact facts[] = {suite_fact(FACT_ASSIGNED, 1, 7), suite_fact(FACT_STARTED, 1, 7),
                                       suite_fact(FACT_ENDED, 1, 7), suite_fact(FACT_ENDED, 1, 8)};
    suite_elect(&client, "a");
    assert_int_equal(suite_commit(&client, suite_job(1, "k")), MLQ_OK);
    assert_int_equal(suite_commit_facts(&client, facts, 3), MLQ_OK);
    for (size_t i = 0; i < MLQ_COUNT_OF(facts); i++) {
        int depositions = client.depositions;
        client.store->ops->resign(client.store);
        suite_until(&client.depositions, depositions + 1, &client, NULL);
        suite_elect(&client, "a");
        assert_int_equal(suite_commit_facts(&client, &facts[i], 1), MLQ_EEXIST);
        suite_until(&client.depositions, depositions + 2, &client, NULL);
        suite_elect(&client, "a");
    }
    struct store_fact fresh[] = {suite_fact(FACT_ASSIGNED, 1, 9), suite_fact(FACT_ASSIGNED, 1, 9)};
    assert_int_equal(suite_commit_facts(&client, fresh, 1), MLQ_OK);
    fresh[0].fact.attempt = fresh[1].fact.attempt = 10;
    assert_int_equal(suite_commit_facts(&client, fresh, 2), MLQ_EEXIST);
}

static void test_migrations_go_up_down_and_up(void **state)
{
    (void)state;
    suite_elect(&client, "a");
    assert_int_equal(suite_commit(&client, suite_job(1, "k")), MLQ_OK);
    suite_close(&client);
    take_down("0004_whole.down.sql", 4);
    take_down("0003_inbox.down.sql", 3);
    take_down("0002_journal.down.sql", 2);
    take_down("0001_init.down.sql", 1);
    expect_sql("SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
               " WHERE n.nspname = 'mlq' AND c.relname NOT LIKE 'migration%'",
               "0");
    expect_sql("SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
               " WHERE n.nspname = 'mlq'",
               "0");
    suite_open(&client, &backend, LEASE_NS);
    suite_elect(&client, "a");
    assert_int_equal(suite_commit(&client, suite_job(1, "k")), MLQ_OK);
}

/* ---- Tables ---------------------------------------------------------------------------------- */

static void test_partitions_are_made_ahead_and_dropped(void **state)
{
    (void)state;
    suite_elect(&client, "a");
    const uint64_t ids[] = {1, 89999, 90001, 99999, 100000, 250000, 400000};
    for (size_t i = 0; i < MLQ_COUNT_OF(ids); i++) {
        assert_int_equal(suite_commit(&client, suite_job(ids[i], NULL)), MLQ_OK);
        struct store_fact end = suite_fact(FACT_JOB_ENDED, ids[i], 0);
        if (ids[i] != 250000) {
            assert_int_equal(suite_commit_facts(&client, &end, 1), MLQ_OK);
        }
    }
    expect_sql(
        "SELECT string_agg(c.relname, ' ' ORDER BY c.relname) FROM pg_inherits i JOIN pg_class c"
        " ON c.oid = i.inhrelid WHERE i.inhparent = 'mlq.journal'::regclass",
        "journal_p0 journal_p1 journal_p2 journal_p3 journal_p4 journal_p5");
    /* Only whole partitions, only ended jobs, oldest first. */
    expect_sql("SELECT mlq.drop_jobs_below(150000)", "1");
    expect_sql("SELECT mlq.drop_jobs_below(1000000)", "1");
    expect_sql("SELECT min(id) FROM mlq.job", "250000");
    expect_election(); /* nobody led while that took its time */
    const char *dump = suite_load(&client, 0);
    assert_non_null(strstr(dump, "header 400000 "));
    assert_non_null(strstr(dump, "job 250000 "));
}

/* Every document is found by an index: no big table is read whole. */
static void test_views_read_by_index(void **state)
{
    (void)state;
    suite_elect(&client, "a");
    assert_int_equal(suite_commit(&client, suite_job(1, "k")), MLQ_OK);
    run_sql(
        "INSERT INTO mlq.job_row (id, name, kind, submitter, spec, labels, priority, submitted_at, "
        "state,"
        "                     ended_at)"
        " SELECT i, 'n' || i % 997, 'job', 'alice', '{}', json_build_object('a', i % 499), 0, "
        "now(),"
        "        CASE WHEN i % 997 = 0 THEN 'failed' ELSE 'succeeded' END, now()"
        "   FROM generate_series(2, 30000) i;"
        "INSERT INTO mlq.stage_row (job, idx, name, uses, array_count, ranks, ranks_min, resize, needs, state, ended_at)"
        " SELECT i, 0, 'main', 'run', 1, 1, 1, 'never', '{}', 'succeeded', now() FROM generate_series(2, "
        "30000) i;"
        /* assigned, started, ended: kinds 3, 4 and 5 of one rank */
        "INSERT INTO mlq.journal (job, seq, at, stage, round, index_low, index_high, facts)"
        " SELECT i, (1::bigint << 32) + i, now(), 0, 0, 0, 0, ARRAY[3 + (1 << 22), 4, 5, 1, 1, 1, 0, 1::bigint << 32,"
        "        2::bigint << 32, i, i, i, 0, 0, 0] FROM generate_series(2, 30000) i;"
        "INSERT INTO mlq.metric (job, attempt, step, value, at, stage, index, name)"
        " SELECT i, i, 1, 1, now(), 0, 0, 'loss' FROM generate_series(2, 30000) i;"
        "INSERT INTO mlq.artifact (job, attempt, bytes, stage, index, rank, is_tree, name, digest)"
        " SELECT i, i, 1, 0, 0, 0, false, 'a', 'd' FROM generate_series(2, 30000) i");
    run_sql("VACUUM ANALYZE");
    static const struct {
        enum pg_sql_id id;
        int count;
        const char *values[4];
    } questions[] = {
        {PG_SQL_VIEW_JOB, 1, {"777"}},
        {PG_SQL_VIEW_RECORD, 1, {"777"}},
        {PG_SQL_VIEW_LIST, 4, {"0", "", "", "100"}},
        {PG_SQL_VIEW_LIST, 4, {"500", "n5", "", "100"}},
        {PG_SQL_VIEW_METRICS, 3, {"777", "main", "loss"}},
        {PG_SQL_VIEW_ATTEMPT, 4, {"777", "main", "0", "0"}},
        {PG_SQL_RESOLVE_ID, 1, {"777"}},
        {PG_SQL_RESOLVE_RANGE, 2, {"777", "888"}},
        {PG_SQL_RESOLVE_LAST, 0, {NULL}},
        {PG_SQL_RESOLVE_NAME, 1, {"n5"}},
        {PG_SQL_RESOLVE_LABEL, 2, {"a", "7"}},
        {PG_SQL_RESOLVE_STATE, 1, {"failed"}},
        {PG_SQL_RESOLVE_STATE, 1, {"pending"}},
        {PG_SQL_VIEW_LIST, 4, {"0", "", "running", "100"}},
        {PG_SQL_LOAD_JOBS, 0, {NULL}},
        {PG_SQL_LOAD_FACTS, 0, {NULL}},
        {PG_SQL_LOAD_KEYS, 0, {NULL}},
    };
    PGconn *session = open_session("SELECT 1");
    for (size_t i = 0; i < MLQ_COUNT_OF(questions); i++) {
        char *sql = mlq_format("EXPLAIN %s", pg_sql_get(questions[i].id)->text);
        PGresult *result = PQexecParams(session, sql, questions[i].count, NULL, questions[i].values,
                                        NULL, NULL, 0);
        assert_int_equal(PQresultStatus(result), PGRES_TUPLES_OK);
        for (int row = 0; row < PQntuples(result); row++) {
            const char *line = PQgetvalue(result, row, 0);
            /* Partition 1 is the empty one made ahead; the journal's own partition is 0. */
            if (strstr(line, "Seq Scan on") != NULL && strstr(line, "_p0 ") != NULL) {
                fail_msg("%s: %s", pg_sql_name(questions[i].id), line);
            }
        }
        PQclear(result);
        mlq_free(sql);
    }
    PQfinish(session);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    static const struct CMUnitTest tests[] = {
        TEST(test_commits_in_flight_of_a_lost_session_are_unknown),
        TEST(test_a_lost_lease_session_costs_nothing),
        TEST(test_a_crashed_server_keeps_what_was_confirmed),
        TEST(test_an_old_leader_in_a_transaction_is_ended),
        TEST(test_a_restored_database_leaps_over_lost_epochs),
        TEST(test_unsafe_settings_are_refused),
        TEST(test_migrations_are_applied_once_and_never_changed),
        TEST(test_migrations_go_up_down_and_up),
        TEST(test_the_journal_goes_down_and_up_with_its_facts),
        TEST(test_what_was_not_loaded_is_asked),
        TEST(test_partitions_are_made_ahead_and_dropped),
        TEST(test_views_read_by_index),
    };
    cluster = pg_cluster_start();
    if (cluster == NULL) {
        return 77;
    }
    source_migrations = mlq_format("%s/migrations", getenv("MLQ_SOURCE_DIR"));
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pg_cluster_stop(&cluster);
    mlq_free(source_migrations);
    return failed;
}
