/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * All SQL of the store but the migrations and the JSON views (pg_sql_view.c has those).
 *
 * Advisory locks, one number each: FENCE orders commits (shared) and takeovers (exclusive); HINT is
 * held by the leader's session, so that a standby notices its death; MIGRATE lets one process at a
 * time change the schema. They spell "mlq" and a letter.
 *
 * Arrays come in parallel and are zipped by unnest, one element a row, in the order given. They are named in a
 * list of columns, where PostgreSQL steps through all of them at once. In FROM it would first make a table of each.
 * A text that many rows share is sent once, as the first element (pg_value_add_repeated).
 */
#include "scheduler/store/pg_sql.h"

#include "lib/base/panic.h"
#include "scheduler/store/pg_sql_view.h"

/* ISO C promises only 4,095 bytes of a literal; the compilers that we build with have no limit. */
#pragma GCC diagnostic ignored "-Woverlength-strings"

#define LOCK_FENCE   "x'6d6c7166'::bigint"
#define LOCK_HINT    "x'6d6c7168'::bigint"
#define LOCK_MIGRATE "x'6d6c716d'::bigint"

const char *const pg_sql_bootstrap =
    "CREATE SCHEMA IF NOT EXISTS mlq;"
    "CREATE TABLE IF NOT EXISTS mlq.migration ("
    "    version int PRIMARY KEY,"
    "    name text NOT NULL,"
    "    checksum text NOT NULL," /* sha256 of the file */
    "    applied_at timestamptz NOT NULL DEFAULT clock_timestamp());";

/* What is loaded of the jobs in `ids`, one row per job, stage, artifact and metric, told apart by
 * `what`; sorted so that each job's rows stand together. Only what attempts left behind that succeeded, or
 * still run (a gang's rank 0 may have ended and left its outputs while others go on); of that the latest.
 * A gang of which one rank failed has failed; where ranks go and come, one that succeeded suffices. OFFSET 0: by
 * index, whatever the planner thinks of how many have won. */
#define LOAD_JOBS_OF(ids)                                                                          \
    "WITH ids AS MATERIALIZED (" ids "),"                                                          \
    "won AS MATERIALIZED ("                                                                        \
    "  SELECT f.job, f.stage, f.index, f.attempt FROM ids JOIN mlq.fact f ON f.job = ids.id"       \
    "  JOIN mlq.stage s ON s.job = f.job AND s.idx = f.stage"                                      \
    "  WHERE f.kind IN ('assigned', 'ended') GROUP BY 1, 2, 3, 4"                                  \
    "  HAVING count(*) FILTER (WHERE f.kind = 'ended' AND f.cause <> 'none') = 0"                  \
    "      OR bool_or(s.resize = 'live') AND (bool_or(f.kind = 'ended' AND f.cause = 'none')"      \
    "         OR count(*) FILTER (WHERE f.kind = 'ended') < count(*) FILTER (WHERE f.kind = "      \
    "'assigned')))"                                                                                \
    "SELECT j.id AS job, 0 AS what, 0 AS stage, j.priority AS a, 0 AS b, 0::bigint AS attempt,"    \
    "       j.retries::bigint AS n,"                                                               \
    "       0::float8 AS value, j.submitted_at AS at, j.name AS t1, j.kind AS t2,"                 \
    "       j.key AS t3, j.submitter AS t4, j.spec AS t5, j.labels::text AS t6,"                   \
    "       NULL::int[] AS needs, false AS flag"                                                   \
    "  FROM ids JOIN mlq.job j ON j.id = ids.id "                                                  \
    "UNION ALL "                                                                                   \
    "SELECT s.job, 1, s.idx, s.array_count, s.ranks, 0, 0, 0, NULL, s.name, s.uses, NULL, NULL,"   \
    "       NULL, NULL, s.needs, false"                                                            \
    "  FROM ids JOIN mlq.stage s ON s.job = ids.id "                                               \
    "UNION ALL "                                                                                   \
    "SELECT * FROM (SELECT DISTINCT ON (a.job, a.stage, a.index, a.rank, a.name)"                  \
    "       a.job, 2, a.stage, a.index, a.rank, a.attempt, a.bytes, 0::float8, NULL::timestamptz," \
    "       a.name, a.digest, NULL, NULL, NULL, NULL, NULL::int[], a.is_tree"                      \
    "  FROM won, LATERAL (SELECT * FROM mlq.artifact a WHERE a.job = won.job"                      \
    "    AND a.stage = won.stage AND a.attempt = won.attempt AND a.index = won.index"              \
    "    AND a.name <> '.log' OFFSET 0) a"                                                         \
    "  ORDER BY a.job, a.stage, a.index, a.rank, a.name, a.attempt DESC) artifacts "               \
    "UNION ALL "                                                                                   \
    "SELECT * FROM (SELECT DISTINCT ON (m.job, m.stage, m.index, m.name)"                          \
    "       m.job, 3, m.stage, m.index, 0, m.attempt, m.step, m.value, m.at,"                      \
    "       m.name, NULL, NULL, NULL, NULL, NULL, NULL::int[], m.step IS NULL"                     \
    "  FROM won, LATERAL (SELECT * FROM mlq.metric m WHERE m.job = won.job"                        \
    "    AND m.stage = won.stage AND m.attempt = won.attempt AND m.index = won.index"              \
    "    OFFSET 0) m"                                                                              \
    "  ORDER BY m.job, m.stage, m.index, m.name, m.attempt DESC, m.seq DESC) metrics "             \
    "ORDER BY job, what, stage, a, b, t1"

#define LOAD_FACTS_OF(ids)                                                                         \
    "SELECT f.job, f.at, f.attempt, f.gpu_mask, f.worker, f.stage, f.index, f.rank, f.ranks,"      \
    "       f.exit_code, f.signal, f.kind, f.cause, f.state, f.detail"                             \
    "  FROM (" ids ") ids JOIN mlq.fact f ON f.job = ids.id ORDER BY f.seq, f.nth"

/* As the index job_live says it. */
#define LIVE_JOBS "SELECT id FROM mlq.job WHERE state IN ('pending', 'running')"
#define ONE_JOB   "SELECT $1::bigint AS id"

static const struct pg_sql pg_statements[PG_SQL_COUNT] = {
    /* ---- Leadership ---- */
    [PG_SQL_SERVER_CHECK] =
        {.text = "SELECT current_setting('fsync'), current_setting('full_page_writes'),"
                 "       current_setting('synchronous_commit'), current_setting('server_encoding'),"
                 "       current_setting('server_version_num')::int, pg_backend_pid(),"
                 "       pg_is_in_recovery()",
         .binary = true},
    [PG_SQL_MIGRATE_LOCK] = {.text = "SELECT pg_advisory_lock(" LOCK_MIGRATE ")"},
    [PG_SQL_MIGRATE_UNLOCK] = {.text = "SELECT pg_advisory_unlock(" LOCK_MIGRATE ")"},
    [PG_SQL_MIGRATE_EXISTS] = {.text = "SELECT to_regclass('mlq.migration') IS NOT NULL",
                               .binary = true},
    [PG_SQL_MIGRATE_LIST] = {.text = "SELECT version, name, checksum FROM mlq.migration"
                                     " ORDER BY version",
                             .binary = true},
    [PG_SQL_MIGRATE_CHECKSUM] = {.text = "SELECT encode(sha256($1::bytea), 'hex')", .binary = true},
    [PG_SQL_LOCK_TIMEOUT] = {.text = "SELECT set_config('lock_timeout', $1::text, true)"},
    [PG_SQL_HINT_WAIT] = {.text = "SELECT pg_advisory_lock(" LOCK_HINT ")"},
    [PG_SQL_HINT_TRY] = {.text = "SELECT pg_try_advisory_lock(" LOCK_HINT ")", .binary = true},
    [PG_SQL_HINT_RELEASE] = {.text = "SELECT pg_advisory_unlock(" LOCK_HINT ")"},
    [PG_SQL_LEADER_READ] =
        {.text = "SELECT (extract(epoch FROM expires_at - clock_timestamp()) * 1e9)::bigint, holder"
                 "  FROM mlq.leader",
         .binary = true},
    [PG_SQL_FENCE_EXCLUSIVE] = {.text = "SELECT pg_advisory_xact_lock(" LOCK_FENCE ")"},
    /* The truth: one conditional update. A database that was restored or promoted since has another
     * system identifier or timeline, and may have forgotten epochs that were in use: leap. */
    [PG_SQL_TAKE_OVER] =
        {.text = "UPDATE mlq.leader l SET"
                 "    epoch = l.epoch + CASE WHEN now.same THEN 1 ELSE 65536 END,"
                 "    generation = l.generation + CASE WHEN now.same THEN 0 ELSE 1 END,"
                 "    system_id = now.system_id, timeline = now.timeline,"
                 "    holder = $1::text, backends = $2::int[],"
                 "    expires_at = clock_timestamp() + $3::bigint * interval '1 microsecond' "
                 "FROM (SELECT s.system_identifier AS system_id, c.timeline_id AS timeline,"
                 "             s.system_identifier = o.system_id AND c.timeline_id = o.timeline"
                 "                 AS same"
                 "        FROM pg_control_system() s, pg_control_checkpoint() c, mlq.leader o) now "
                 "WHERE l.expires_at <= clock_timestamp() "
                 "RETURNING l.epoch, l.generation",
         .binary = true},
    /* Only processes that are still those of a scheduler, and none of ours. */
    [PG_SQL_END_HOLDER] =
        {.text = "SELECT pg_terminate_backend(a.pid) FROM mlq.leader l, pg_stat_activity a "
                 "WHERE l.expires_at <= clock_timestamp() AND a.pid = ANY (l.backends)"
                 "  AND a.pid <> ALL ($1::int[]) AND a.application_name LIKE 'mlq %'"
                 "  AND a.datname = current_database()"},
    [PG_SQL_RENEW] =
        {.text = "UPDATE mlq.leader SET"
                 "    expires_at = clock_timestamp() + $2::bigint * interval '1 microsecond',"
                 "    backends = $3::int[] "
                 "WHERE epoch = $1::bigint RETURNING epoch",
         .binary = true},
    [PG_SQL_RESIGN] = {.text = "UPDATE mlq.leader SET expires_at = 'epoch', backends = '{}' "
                               "WHERE epoch = $1::bigint"},

    /* ---- Commit ---- */
    [PG_SQL_BEGIN] = {.text = "BEGIN", .prepare = true},
    [PG_SQL_COMMIT] = {.text = "COMMIT", .prepare = true},
    [PG_SQL_FENCE_SHARED] = {.text = "SELECT pg_advisory_xact_lock_shared(" LOCK_FENCE ")",
                             .prepare = true},
    /* The function is called when there is something to say: a call costs more than the rest. */
    [PG_SQL_FENCE] = {.text = "SELECT mlq.fence($1::bigint)"
                              " WHERE NOT EXISTS (SELECT FROM mlq.leader WHERE epoch = $1::bigint)",
                      .prepare = true},
    [PG_SQL_PARTITIONS] = {.text = "SELECT mlq.make_partitions($1::bigint[])"},
    [PG_SQL_EMPTY_INBOX] = {.text = "SELECT mlq.empty_inbox()"},
    [PG_SQL_PUT_INBOX] =
        {.text = "INSERT INTO mlq.inbox (first, ids, names, kinds, keys, submitters, specs, labels, priorities,"
                 "                       submitted_at, stage_jobs, stage_idxs, stage_names, uses, array_counts,"
                 "                       ranks, ranks_mins, resizes, needs) "
                 "VALUES ($1::bigint, $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],"
                 "        $8::text[], $9::int[], $10::timestamptz[], $11::bigint[], $12::int[], $13::text[],"
                 "        $14::text[], $15::int[], $16::int[], $17::int[], $18::text[], $19::text[])",
         .prepare = true},
    [PG_SQL_CLEAR_INBOX] = {.text = "DELETE FROM mlq.inbox WHERE first = ANY ($1::bigint[])", .prepare = true},
    /* In the state that they have by what has happened to them. NULL in $3, $4, $6, $7, $15 and $16 is what their
     * first element is. A job with the facts low to high of $19 is written whole, with its stage. */
    [PG_SQL_PUT_JOBS] =
        {.text = "INSERT INTO mlq.job_row (id, name, kind, key, submitter, spec, labels, priority, submitted_at,"
                 "                         state, started_at, ended_at, cause, stage_name, stage_uses, seq, facts) "
                 "SELECT id, coalesce(name, ($3::text[])[1]), coalesce(kind, ($4::text[])[1]), key,"
                 "       coalesce(submitter, ($6::text[])[1]), coalesce(spec, ($7::text[])[1]), labels::json,"
                 "       coalesce(priority, 0), at,"
                 "       coalesce(state, CASE WHEN began IS NULL THEN 'pending' ELSE 'running' END), began, ended, cause,"
                 "       CASE WHEN low > 0 THEN coalesce(stage, ($15::text[])[1]) END,"
                 "       CASE WHEN low > 0 THEN coalesce(uses, ($16::text[])[1]) END,"
                 "       CASE WHEN low > 0 THEN $1::bigint END, ($19::bigint[])[5 * low - 4 : 5 * high] "
                 "FROM (SELECT unnest($2::bigint[]) AS id, unnest($3::text[]) AS name, unnest($4::text[]) AS kind,"
                 "             unnest($5::text[]) AS key, unnest($6::text[]) AS submitter, unnest($7::text[]) AS spec,"
                 "             unnest($8::text[]) AS labels, unnest($9::int[]) AS priority,"
                 "             unnest($10::timestamptz[]) AS at, unnest($11::text[]) AS state,"
                 "             unnest($12::timestamptz[]) AS began, unnest($13::timestamptz[]) AS ended,"
                 "             unnest($14::text[]) AS cause, unnest($15::text[]) AS stage, unnest($16::text[]) AS uses,"
                 "             unnest($17::int[]) AS low, unnest($18::int[]) AS high) n",
         .prepare = true},
    [PG_SQL_PUT_KEYS] =
        {.text = "INSERT INTO mlq.submission (key, job, at) "
                 "SELECT key, job, at "
                 "FROM (SELECT unnest($1::text[]) AS key, unnest($2::bigint[]) AS job,"
                 "             unnest($3::timestamptz[]) AS at) n "
                 "WHERE key IS NOT NULL",
         .prepare = true},
    [PG_SQL_PUT_STAGES] =
        {.text = "INSERT INTO mlq.stage_row (job, idx, name, uses, array_count, ranks, ranks_min, resize, needs,"
                 "                           state, started_at, ended_at) "
                 "SELECT job, coalesce(idx, 0), coalesce(name, ($3::text[])[1]), coalesce(uses, ($4::text[])[1]),"
                 "       coalesce(array_count, 1), coalesce(ranks, 1), coalesce(ranks_min, ranks, 1),"
                 "       coalesce(resize, 'never'), coalesce(needs::int[], '{}'),"
                 "       coalesce(state, CASE WHEN began IS NULL THEN 'pending' ELSE 'running' END), began, ended "
                 "FROM (SELECT unnest($1::bigint[]) AS job, unnest($2::int[]) AS idx, unnest($3::text[]) AS name,"
                 "             unnest($4::text[]) AS uses, unnest($5::int[]) AS array_count, unnest($6::int[]) AS ranks,"
                 "             unnest($7::int[]) AS ranks_min, unnest($8::text[]) AS resize, unnest($9::text[]) AS needs,"
                 "             unnest($10::text[]) AS state, unnest($11::timestamptz[]) AS began,"
                 "             unnest($12::timestamptz[]) AS ended) n",
         .prepare = true},
    [PG_SQL_EXPECT_NEW] = {.text = "SELECT mlq.expect_new($1::bigint[], $2::int[], $3::int[], $4::bigint[],"
                                   "                      $5::int[], $6::text[], $7::text[])"},
    /* $2 to $11 have an element for each row, which is of the facts low to high of $12 to $14, five numbers each in
     * $12. NULL is 0. A round below that is the job's, which the scheduler does not know; if there is no such job it is
     * NULL, which fails. */
    [PG_SQL_PUT_FACTS] =
        {.text = "INSERT INTO mlq.journal (job, seq, at, stage, round, index_low, index_high, facts, gpus, detail) "
                 "SELECT n.job, $1::bigint, n.at, coalesce(n.stage, 0),"
                 "       CASE WHEN n.round < 0 THEN (SELECT j.retries FROM mlq.job j WHERE j.id = n.job)"
                 "            ELSE coalesce(n.round, 0) END,"
                 "       coalesce(n.index_low, 0), coalesce(n.index_high, 0), ($12::bigint[])[5 * n.low - 4 : 5 * n.high],"
                 "       CASE WHEN n.has_gpus THEN ($13::bigint[])[n.low : n.high] END,"
                 "       CASE WHEN n.has_detail THEN ($14::text[])[n.low : n.high] END "
                 "FROM (SELECT unnest($2::bigint[]) AS job, unnest($3::int[]) AS stage, unnest($4::int[]) AS round,"
                 "             unnest($5::timestamptz[]) AS at, unnest($6::int[]) AS low, unnest($7::int[]) AS high,"
                 "             unnest($8::boolean[]) AS has_gpus, unnest($9::boolean[]) AS has_detail,"
                 "             unnest($10::int[]) AS index_low, unnest($11::int[]) AS index_high) n",
         .prepare = true},
    [PG_SQL_PUT_METRICS] =
        {.text = "INSERT INTO mlq.metric (job, attempt, step, value, at, stage, index, name) "
                 "SELECT unnest($1::bigint[]), unnest($2::bigint[]), unnest($3::bigint[]), unnest($4::float8[]),"
                 "       unnest($5::timestamptz[]), unnest($6::int[]), unnest($7::int[]), unnest($8::text[])",
         .prepare = true},
    [PG_SQL_PUT_ARTIFACTS] =
        {.text = "INSERT INTO mlq.artifact (job, attempt, bytes, stage, index, rank, is_tree,"
                 "                          name, digest) "
                 "SELECT unnest($1::bigint[]), unnest($2::bigint[]), unnest($3::bigint[]), unnest($4::int[]),"
                 "       unnest($5::int[]), unnest($6::int[]), unnest($7::boolean[]), unnest($8::text[]),"
                 "       unnest($9::text[]) "
                 "ON CONFLICT DO NOTHING",
         .prepare = true},
    /* The last row of a worker wins, whatever stood there before. */
    [PG_SQL_PUT_WORKERS] =
        {.text = "INSERT INTO mlq.worker AS w (id, name, public_key, cpu_milli, mem_bytes, gpus,"
                 "                             seen_at) "
                 "SELECT DISTINCT ON (id) id, name, key, cpu, mem, gpus, at "
                 "FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[],"
                 "            $6::int[], $7::timestamptz[]) WITH ORDINALITY"
                 "    AS n (id, name, key, cpu, mem, gpus, at, nth) "
                 "ORDER BY id, nth DESC "
                 "ON CONFLICT (id) DO UPDATE SET name = excluded.name,"
                 "    public_key = excluded.public_key, cpu_milli = excluded.cpu_milli,"
                 "    mem_bytes = excluded.mem_bytes, gpus = excluded.gpus,"
                 "    seen_at = excluded.seen_at",
         .prepare = true},
    /* One row of the arrays for each stage: its first start and its end, or one of them. Only the first start
     * of all finds a row to change; an end must find its own. $1: how many ends there are. */
    [PG_SQL_SET_STAGES] =
        {.text = "WITH done AS ("
                 "  UPDATE mlq.stage_row s SET state = coalesce(n.state, 'running'),"
                 "         started_at = coalesce(s.started_at, n.began), ended_at = n.ended"
                 "  FROM (SELECT unnest($2::bigint[]) AS job, unnest($3::int[]) AS stage, unnest($4::text[]) AS state,"
                 "               unnest($5::timestamptz[]) AS began, unnest($6::timestamptz[]) AS ended) n"
                 "  WHERE s.job = n.job AND s.idx = n.stage AND s.ended_at IS NULL"
                 "    AND (n.state IS NOT NULL OR s.started_at IS NULL) RETURNING n.state) "
                 "SELECT mlq.expect('stage ended', $1::bigint, met.count)"
                 "  FROM (SELECT count(state) FROM done) met WHERE met.count <> $1::bigint",
         .prepare = true},
    /* The same for jobs. A cancellation has a cause; it is no end. */
    [PG_SQL_SET_JOBS] =
        {.text = "WITH done AS ("
                 "  UPDATE mlq.job_row j SET started_at = coalesce(j.started_at, n.began), ended_at = n.ended,"
                 "         state = coalesce(n.state, CASE WHEN n.began IS NULL THEN j.state ELSE 'running' END),"
                 "         cause = coalesce(j.cause, n.cause)"
                 "  FROM (SELECT unnest($2::bigint[]) AS job, unnest($3::text[]) AS state, unnest($4::text[]) AS cause,"
                 "               unnest($5::timestamptz[]) AS began, unnest($6::timestamptz[]) AS ended) n"
                 "  WHERE j.id = n.job AND j.ended_at IS NULL"
                 "    AND (n.state IS NOT NULL OR n.cause IS NOT NULL OR j.started_at IS NULL)"
                 "  RETURNING n.state) "
                 "SELECT mlq.expect('job ended', $1::bigint, met.count)"
                 "  FROM (SELECT count(state) FROM done) met WHERE met.count <> $1::bigint",
         .prepare = true},
    /* The stage of a job that was written whole gets its row. */
    [PG_SQL_SET_RETRIED] =
        {.text = "WITH whole AS ("
                 "  INSERT INTO mlq.stage_row (job, idx, name, uses, array_count, ranks, ranks_min, resize, needs, state,"
                 "                             started_at, ended_at)"
                 "  SELECT id, 0, stage_name, stage_uses, 1, 1, 1, 'never', '{}',"
                 "         CASE state WHEN 'succeeded' THEN state ELSE 'pending' END,"
                 "         CASE state WHEN 'succeeded' THEN started_at END, CASE state WHEN 'succeeded' THEN ended_at END"
                 "  FROM mlq.job_row WHERE id = ANY ($1::bigint[]) AND stage_name IS NOT NULL),"
                 "done AS ("
                 "  UPDATE mlq.job_row SET state = 'pending', started_at = NULL, ended_at = NULL,"
                 "         cause = NULL, retries = retries + 1, stage_name = NULL, stage_uses = NULL"
                 "  WHERE id = ANY ($1::bigint[]) AND ended_at IS NOT NULL RETURNING 1),"
                 "stages AS ("
                 "  UPDATE mlq.stage_row SET state = 'pending', started_at = NULL, ended_at = NULL"
                 "  WHERE job = ANY ($1::bigint[]) AND state <> 'succeeded') "
                 "SELECT mlq.expect('job retried', cardinality($1::bigint[]),"
                 "                  (SELECT count(*) FROM done))"},

    /* ---- Load ---- */
    [PG_SQL_BEGIN_LOAD] = {.text = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"},
    [PG_SQL_LOAD_SETTINGS] = {.text = "SELECT set_config(name, value, true) FROM (VALUES"
                                      "  ('statement_timeout', '0'), ('plan_cache_mode', 'auto'),"
                                      "  ('enable_seqscan', 'on'), ('enable_hashjoin', 'on'),"
                                      "  ('enable_mergejoin', 'on')) AS settings (name, value)"},
    [PG_SQL_LOAD_HEADER] = {.text = "SELECT greatest((SELECT max(id) FROM mlq.job),"
                                    "                (SELECT max(job) FROM mlq.submission)),"
                                    "       (SELECT max(id) FROM mlq.worker)",
                            .binary = true},
    [PG_SQL_LOAD_WORKERS] = {.text = "SELECT id, name, public_key, cpu_milli, mem_bytes, gpus,"
                                     "       seen_at FROM mlq.worker ORDER BY id",
                             .binary = true},
    [PG_SQL_LOAD_KEYS] = {.text = "SELECT key, job FROM mlq.submission "
                                  "WHERE at > clock_timestamp() - interval '7 days' ORDER BY job",
                          .binary = true},
    [PG_SQL_LOAD_JOBS] = {.text = LOAD_JOBS_OF(LIVE_JOBS), .binary = true},
    [PG_SQL_LOAD_FACTS] = {.text = LOAD_FACTS_OF(LIVE_JOBS), .binary = true},
    [PG_SQL_LOAD_ONE_JOB] = {.text = LOAD_JOBS_OF(ONE_JOB), .binary = true},
    [PG_SQL_LOAD_ONE_FACTS] = {.text = LOAD_FACTS_OF(ONE_JOB), .binary = true},

    /* ---- Views ---- */
    [PG_SQL_VIEW_JOB] = {.text = PG_SQL_VIEW_JOB_TEXT},
    [PG_SQL_VIEW_RECORD] = {.text = PG_SQL_VIEW_RECORD_TEXT},
    [PG_SQL_VIEW_LIST] = {.text = PG_SQL_VIEW_LIST_TEXT},
    [PG_SQL_VIEW_METRICS] = {.text = PG_SQL_VIEW_METRICS_TEXT},
    [PG_SQL_VIEW_ATTEMPT] = {.text = PG_SQL_VIEW_ATTEMPT_TEXT},
    [PG_SQL_RESOLVE_ID] = {.text = PG_SQL_RESOLVE_ID_TEXT},
    [PG_SQL_RESOLVE_RANGE] = {.text = PG_SQL_RESOLVE_RANGE_TEXT},
    [PG_SQL_RESOLVE_LAST] = {.text = PG_SQL_RESOLVE_LAST_TEXT},
    [PG_SQL_RESOLVE_NAME] = {.text = PG_SQL_RESOLVE_NAME_TEXT},
    [PG_SQL_RESOLVE_LABEL] = {.text = PG_SQL_RESOLVE_LABEL_TEXT},
    [PG_SQL_RESOLVE_STATE] = {.text = PG_SQL_RESOLVE_STATE_TEXT},
};

static const char *const pg_names[PG_SQL_COUNT] = {
#define PG_SQL_NAME(name) [PG_SQL_##name] = #name,
    PG_SQL_STATEMENTS(PG_SQL_NAME)
#undef PG_SQL_NAME
};

const struct pg_sql *pg_sql_get(enum pg_sql_id id)
{
    MLQ_ASSERT((unsigned)id < PG_SQL_COUNT);
    return &pg_statements[id];
}

const char *pg_sql_name(enum pg_sql_id id)
{
    MLQ_ASSERT((unsigned)id < PG_SQL_COUNT);
    return pg_names[id];
}
