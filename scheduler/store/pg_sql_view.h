/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The SQL of the views: each gives one row of one column, the JSON document of store.h and
 * ARCHITECTURE.md ("mlq show JOB --json"), or no row when there is no such job. For pg_sql.c only.
 *
 * What bounds a document: the newest 1,000 attempts and 1,000 artifacts of a stage, the newest
 * 10,000 points of a metric of an attempt, the 100,000 newest ids of a selector.
 */
#ifndef MLQ_SCHEDULER_STORE_PG_SQL_VIEW_H
#define MLQ_SCHEDULER_STORE_PG_SQL_VIEW_H

/* One row for each rank of an attempt: its assignment (`at`, worker, gpu_mask), start and end. */
#define PG_SQL_LIVES(where)                                                                        \
    "SELECT f.stage, f.index, f.attempt, f.rank, min(f.round) AS round, "                          \
    "  max(f.at) FILTER (WHERE f.kind = 'assigned') AS at, "                                       \
    "  max(f.worker) FILTER (WHERE f.kind = 'assigned') AS worker, "                               \
    "  max(f.ranks) FILTER (WHERE f.kind = 'assigned') AS ranks, "                                 \
    "  max(f.gpu_mask) FILTER (WHERE f.kind = 'assigned') AS gpu_mask, "                           \
    "  max(f.at) FILTER (WHERE f.kind = 'started') AS started, "                                   \
    "  max(f.at) FILTER (WHERE f.kind = 'ended') AS ended, "                                       \
    "  max(f.cause) FILTER (WHERE f.kind = 'ended') AS cause, "                                    \
    "  max(f.exit_code) FILTER (WHERE f.kind = 'ended') AS exit_code, "                            \
    "  max(f.signal) FILTER (WHERE f.kind = 'ended') AS signal, "                                  \
    "  max(f.detail) FILTER (WHERE f.kind = 'ended') AS detail "                                   \
    "FROM mlq.fact f WHERE f.job = $1::bigint AND f.attempt > 0 " where                            \
    " GROUP BY f.stage, f.index, f.attempt, f.rank "

/* Of such a row `a`. */
#define PG_SQL_LIFE_STATE                                                                          \
    "CASE WHEN a.cause = 'none' THEN 'succeeded' WHEN a.cause = 'cancel' THEN 'cancelled' "        \
    "     WHEN a.cause IS NOT NULL THEN 'failed' WHEN a.started IS NOT NULL THEN 'running' ELSE "  \
    "'pending' END "

/* Of a row `s` of `stages` below. A gate says what it found by its metric gate_pass. */
#define PG_SQL_VIEW_STAGE                                                                          \
    "json_build_object( "                                                                          \
    "  'name', s.name, 'uses', s.uses, 'state', s.seen, "                                          \
    "  'needs', coalesce((SELECT json_agg(n.name ORDER BY n.idx) FROM mlq.stage n "                \
    "                     WHERE n.job = s.job AND n.idx = ANY (s.needs)), '[]'), "                 \
    "  'array', s.array_count, 'ranks', s.ranks, 'ranks_min', s.ranks_min, 'resize', s.resize, "   \
    "  'started', mlq.iso(s.started_at), 'ended', mlq.iso(s.ended_at), "                           \
    "  'verdict', CASE WHEN s.uses = 'gate' THEN "                                                 \
    "      (SELECT CASE m.value WHEN 1 THEN 'pass' WHEN 0 THEN 'fail' WHEN -1 THEN "               \
    "'inconclusive' END "                                                                          \
    "       FROM mlq.metric m WHERE m.job = s.job AND m.stage = s.idx AND m.attempt = s.best "     \
    "         AND m.name = 'gate_pass' ORDER BY m.seq DESC LIMIT 1) END, "                         \
    "  'tasks', json_build_object('total', s.array_count, 'succeeded', s.succeeded, "              \
    "      'failed', s.failed, 'running', s.running, "                                             \
    "      'queued', s.array_count - s.succeeded - s.failed - s.running), "                        \
    "  'attempts_total', s.attempts, "                                                             \
    "  'attempts', coalesce((SELECT json_agg(json_build_object( "                                  \
    "          'attempt', a.attempt::text, 'index', a.index, 'rank', a.rank, 'worker', a.worker, " \
    "          'state', a.state, 'cause', a.cause, 'exit', a.exit, 'signal', a.signal, "           \
    "          'gpus', a.gpus, 'detail', a.detail, "                                               \
    "          'assigned', mlq.iso(a.at), 'started', mlq.iso(a.started), 'ended', "                \
    "mlq.iso(a.ended)) "                                                                           \
    "          ORDER BY a.attempt, a.rank) FROM ( "                                                \
    "      SELECT a.attempt, a.index, a.rank, a.at, a.started, a.ended, "                          \
    "          coalesce(w.name, a.worker::text) AS worker, "                                       \
    "          " PG_SQL_LIFE_STATE " AS state, "                                                   \
    "          nullif(a.cause, 'none') AS cause, nullif(a.exit_code, -1) AS exit, "                \
    "          nullif(a.signal, 0) AS signal, a.detail, "                                          \
    "          ARRAY(SELECT g FROM generate_series(0, 63) g "                                      \
    "                WHERE a.gpu_mask & (1::bigint << g) <> 0 ORDER BY g) AS gpus "                \
    "      FROM lives a LEFT JOIN mlq.worker w ON w.id = a.worker "                                \
    "      WHERE a.stage = s.idx AND a.at IS NOT NULL "                                            \
    "      ORDER BY a.attempt DESC, a.rank DESC LIMIT 1000) a), '[]'), "                           \
    "  'metrics', coalesce((SELECT json_object_agg(m.name, mlq.number(m.value) ORDER BY m.name) "  \
    "FROM ( "                                                                                      \
    "      SELECT DISTINCT ON (m.name) m.name, m.value FROM mlq.metric m "                         \
    "      WHERE m.job = s.job AND m.stage = s.idx AND m.attempt = s.best "                        \
    "      ORDER BY m.name, m.seq DESC) m), '{}'), "                                               \
    "  'artifacts', coalesce((SELECT json_agg(json_build_object( "                                 \
    "          'name', r.name, 'digest', r.digest, 'bytes', r.bytes, 'tree', r.is_tree, "          \
    "          'index', r.index, 'rank', r.rank) ORDER BY r.index, r.rank, r.name) FROM ( "        \
    "      SELECT r.* FROM mlq.artifact r "                                                        \
    "      WHERE r.job = s.job AND r.stage = s.idx AND r.name <> '.log' "                          \
    "        AND (r.attempt = s.best "                                                             \
    "             OR r.attempt IN (SELECT n.attempt FROM newest n WHERE n.stage = s.idx AND "      \
    "n.is_won)) "                                                                                  \
    "      ORDER BY r.attempt DESC, r.name LIMIT 1000) r), '[]')) "

/* $1: the job. lives: one row per attempt and rank. tries: one row per attempt, all ranks together. newest: the last one of each task;
 * of a stage that a retry of the job started anew, only attempts of this round count. A task whose
 * last attempt failed counts as failed until another one is assigned; one that asked to be run
 * again (requeue) is queued. best: the attempt whose metrics are shown, the newest that succeeded,
 * else the newest. A stage runs from its first start on, and while something of it is assigned. */
#define PG_SQL_VIEW_JOB_WITH(more)                                                                 \
    "WITH job AS MATERIALIZED (SELECT * FROM mlq.job WHERE id = $1::bigint), "                     \
    "lives AS MATERIALIZED (" PG_SQL_LIVES("") "), "                                               \
    "tries AS MATERIALIZED ( "                                                                     \
    "  SELECT l.stage, l.index, l.attempt, min(l.round) AS round, "                                \
    "         count(l.at) AS assigned, count(l.cause) AS ended, "                                  \
    "         count(*) FILTER (WHERE l.cause <> 'none') AS bad, "                                  \
    "         count(*) FILTER (WHERE l.cause = 'none') AS good, "                                  \
    "         bool_or(l.cause = 'requeue') AS requeue "                                            \
    "  FROM lives l GROUP BY 1, 2, 3), "                                                           \
    "newest AS MATERIALIZED ( "                                                                    \
    "  SELECT DISTINCT ON (t.stage, t.index) t.*, t.ended < t.assigned AS is_live, "               \
    "         t.ended >= t.assigned AND (t.bad = 0 OR s.resize = 'live' AND t.good > 0) AS "       \
    "is_won "                                                                                      \
    "  FROM tries t, job JOIN mlq.stage s ON s.job = job.id "                                      \
    "  WHERE s.idx = t.stage AND (s.ended_at IS NOT NULL OR t.round = job.retries) "               \
    "  ORDER BY t.stage, t.index, t.attempt DESC), "                                               \
    "counts AS ( "                                                                                 \
    "  SELECT stage, count(*) FILTER (WHERE is_live) AS running, "                                 \
    "         count(*) FILTER (WHERE is_won) AS succeeded, "                                       \
    "         count(*) FILTER (WHERE NOT is_live AND NOT is_won AND NOT requeue) AS failed "       \
    "  FROM newest GROUP BY stage), "                                                              \
    "best AS ( "                                                                                   \
    "  SELECT t.stage, sum(t.assigned) AS attempts, "                                              \
    "         coalesce(max(t.attempt) FILTER (WHERE t.ended >= t.assigned "                        \
    "                      AND (t.bad = 0 OR s.resize = 'live' AND t.good > 0)), "                 \
    "                  max(t.attempt)) AS best "                                                   \
    "  FROM tries t, job JOIN mlq.stage s ON s.job = job.id WHERE s.idx = t.stage "                \
    "  GROUP BY t.stage), "                                                                        \
    "stages AS MATERIALIZED ( "                                                                    \
    "  SELECT s.*, coalesce(c.running, 0) AS running, coalesce(c.succeeded, 0) AS succeeded, "     \
    "         coalesce(c.failed, 0) AS failed, coalesce(b.attempts, 0) AS attempts, b.best, "      \
    "         CASE WHEN s.ended_at IS NULL AND coalesce(c.running, 0) > 0 THEN 'running' "         \
    "              ELSE s.state::text END AS seen "                                                \
    "  FROM job JOIN mlq.stage s ON s.job = job.id LEFT JOIN counts c ON c.stage = s.idx "         \
    "  LEFT JOIN best b ON b.stage = s.idx) "                                                      \
    "SELECT json_build_object('schema', 'mlq/v1', 'job', json_build_object( "                      \
    "  'id', job.id::text, 'name', job.name, 'kind', job.kind, "                                   \
    "  'state', CASE WHEN job.ended_at IS NULL "                                                   \
    "                     AND EXISTS (SELECT FROM stages WHERE seen = 'running') "                 \
    "                THEN 'running' ELSE job.state::text END, "                                    \
    "  'spec_digest', 'sha256:' || encode(sha256(convert_to(job.spec, 'UTF8')), 'hex'), "          \
    "  'cause', job.cause, 'priority', job.priority, 'submitter', job.submitter, "                 \
    "  'labels', coalesce(job.labels, '{}'), 'retries', job.retries, "                             \
    "  'submitted', mlq.iso(job.submitted_at), 'started', mlq.iso(job.started_at), "               \
    "  'ended', mlq.iso(job.ended_at), "                                                           \
    "  'stages', coalesce((SELECT json_agg(" PG_SQL_VIEW_STAGE                                     \
    " ORDER BY s.idx) FROM stages s), '[]')) "                                                     \
    "  " more ") FROM job "

#define PG_SQL_VIEW_JOB_TEXT PG_SQL_VIEW_JOB_WITH("")

/* A worker repeats the last values of an attempt with its end, in case the report that brought them first was
 * lost: what came twice, with the same time, is shown once. */
#define PG_SQL_SAID_ONCE                                                                           \
    "SELECT DISTINCT ON (m.stage, m.index, m.attempt, m.name, m.step, m.at) m.* FROM "
#define PG_SQL_SAID_ONCE_ORDER                                                                     \
    "ORDER BY m.stage, m.index, m.attempt, m.name, m.step, m.at, m.seq"

/* The same, and every metric over its steps. */
#define PG_SQL_HISTORY                                                                             \
    ", 'history', coalesce((SELECT json_object_agg(s.name, h.history ORDER BY s.idx) "             \
    "  FROM stages s, LATERAL ( "                                                                  \
    "    SELECT json_object_agg(p.name, p.points ORDER BY p.name) AS history FROM ( "              \
    "      SELECT m.name, json_agg(json_build_array(m.step, mlq.number(m.value)) ORDER BY m.seq) " \
    "AS points "                                                                                   \
    "      FROM (SELECT m.*, row_number() OVER (PARTITION BY m.name ORDER BY m.seq DESC) AS age "  \
    "            FROM (" PG_SQL_SAID_ONCE "mlq.metric m "                                         \
    "                  WHERE m.job = s.job AND m.stage = s.idx AND m.attempt = s.best "            \
    PG_SQL_SAID_ONCE_ORDER ") m) m "                                                               \
    "      WHERE m.age <= 10000 GROUP BY m.name) p) h "                                            \
    "  WHERE h.history IS NOT NULL), '{}') "

#define PG_SQL_VIEW_RECORD_TEXT PG_SQL_VIEW_JOB_WITH(PG_SQL_HISTORY)

/* $1 ids below (0: all), $2 name, $3 state, $4 at most. */
#define PG_SQL_VIEW_LIST_TEXT                                                                      \
    "SELECT json_build_object('schema', 'mlq/v1', 'jobs', coalesce(json_agg(json_build_object( "   \
    "  'id', j.id::text, 'name', j.name, 'kind', j.kind, 'state', j.state, 'priority', "           \
    "j.priority, "                                                                                 \
    "  'submitter', j.submitter, 'labels', coalesce(j.labels, '{}'), "                             \
    "  'submitted', mlq.iso(j.submitted_at), 'started', mlq.iso(j.started_at), "                   \
    "  'ended', mlq.iso(j.ended_at), "                                                             \
    "  'stages', (SELECT json_build_object('total', count(*), "                                    \
    "          'succeeded', count(*) FILTER (WHERE s.state = 'succeeded'), "                       \
    "          'failed', count(*) FILTER (WHERE s.state = 'failed'), "                             \
    "          'running', count(*) FILTER (WHERE s.state = 'running')) "                           \
    "      FROM mlq.stage s WHERE s.job = j.id)) ORDER BY j.id DESC), '[]')) "                     \
    "FROM (SELECT * FROM mlq.job j "                                                               \
    "      WHERE ($1::bigint = 0 OR j.id < $1::bigint) "                                           \
    "        AND ($2::text = '' OR j.name = $2::text) "                                            \
    "        AND ($3::text = '' OR j.state = $3::text) "                                           \
    "      ORDER BY j.id DESC LIMIT $4::bigint) j "

/* $1 job, $2 stage, $3 name of the metric. */
#define PG_SQL_VIEW_METRICS_TEXT                                                                   \
    "SELECT json_build_object('schema', 'mlq/v1', 'job', j.id::text, 'metrics', coalesce(( "       \
    "  SELECT json_agg(json_build_object('stage', s.name, 'index', p.index, 'attempt', "           \
    "p.attempt::text, "                                                                            \
    "      'name', p.name, 'points', p.points) ORDER BY p.stage, p.index, p.attempt, p.name) "     \
    "  FROM (SELECT m.stage, m.index, m.attempt, m.name, "                                         \
    "               json_agg(json_build_array(m.step, mlq.number(m.value), mlq.iso(m.at)) "        \
    "                        ORDER BY m.seq) AS points "                                           \
    "        FROM (SELECT m.*, row_number() OVER (PARTITION BY m.stage, m.index, m.attempt, "      \
    "m.name "                                                                                      \
    "                                             ORDER BY m.seq DESC) AS age "                    \
    "              FROM (" PG_SQL_SAID_ONCE                                                        \
    "                      mlq.metric m JOIN mlq.stage t ON t.job = m.job AND t.idx = m.stage "    \
    "                    WHERE m.job = j.id AND ($2::text = '' OR t.name = $2::text) "             \
    "                      AND ($3::text = '' OR m.name = $3::text) "                              \
    PG_SQL_SAID_ONCE_ORDER ") m) m "                                                               \
    "        WHERE m.age <= 10000 GROUP BY 1, 2, 3, 4) p "                                         \
    "  JOIN mlq.stage s ON s.job = j.id AND s.idx = p.stage), '[]')) "                             \
    "FROM mlq.job j WHERE j.id = $1::bigint "

/* $1 job, $2 stage, $3 index, $4 rank: the newest attempt. */
#define PG_SQL_VIEW_ATTEMPT_TEXT                                                                   \
    "SELECT json_build_object('schema', 'mlq/v1', 'attempt', a.attempt::text, 'rank', a.rank, "    \
    "    'ranks', a.ranks, 'worker', a.worker, 'name', w.name, "                                   \
    "    'state', " PG_SQL_LIFE_STATE ", "                                                         \
    "    'log', (SELECT r.digest FROM mlq.artifact r WHERE r.job = $1::bigint "                    \
    "              AND r.stage = a.stage AND r.attempt = a.attempt AND r.rank = a.rank "           \
    "              AND r.name = '.log')) "                                                         \
    "FROM (" PG_SQL_LIVES("AND f.stage = (SELECT s.idx FROM mlq.stage s "                          \
                          "WHERE s.job = $1::bigint AND s.name = $2::text) "                       \
                          "AND f.index = $3::bigint AND f.rank = $4::bigint "                       \
                          "AND $3::bigint BETWEEN f.index_low AND f.index_high") ") a "               \
    "LEFT JOIN mlq.worker w ON w.id = a.worker "                                                   \
    "WHERE a.at IS NOT NULL ORDER BY a.attempt DESC LIMIT 1 "

#define PG_SQL_IDS                                                                                 \
    "json_build_object('schema', 'mlq/v1', 'jobs', coalesce(json_agg(j.id::text ORDER BY j.id), "  \
    "'[]')) "

#define PG_SQL_RESOLVE_ID_TEXT                                                                     \
    "SELECT json_build_object('schema', 'mlq/v1', 'jobs', json_build_array(id::text)) FROM "       \
    "mlq.job WHERE id = $1::bigint "
#define PG_SQL_RESOLVE_LAST_TEXT                                                                   \
    "SELECT json_build_object('schema', 'mlq/v1', 'jobs', json_build_array(id::text)) FROM "       \
    "mlq.job ORDER BY id DESC LIMIT 1 "
#define PG_SQL_RESOLVE_NAME_TEXT                                                                   \
    "SELECT json_build_object('schema', 'mlq/v1', 'jobs', json_build_array(id::text)) FROM "       \
    "mlq.job WHERE name = $1::text "                                                               \
    "ORDER BY id DESC LIMIT 1 "
#define PG_SQL_RESOLVE_RANGE_TEXT                                                                  \
    "SELECT " PG_SQL_IDS " "                                                                       \
    "FROM (SELECT id FROM mlq.job WHERE id BETWEEN $1::bigint AND $2::bigint "                     \
    "      ORDER BY id LIMIT 100000) j "
#define PG_SQL_RESOLVE_LABEL_TEXT                                                                  \
    "SELECT " PG_SQL_IDS " "                                                                       \
    "FROM (SELECT id FROM mlq.job "                                                                \
    "      WHERE labels IS NOT NULL AND labels::jsonb @> jsonb_build_object($1::text, $2::text) "  \
    "      ORDER BY id DESC LIMIT 100000) j "
#define PG_SQL_RESOLVE_STATE_TEXT                                                                  \
    "SELECT " PG_SQL_IDS " "                                                                       \
    "FROM (SELECT id FROM mlq.job WHERE state = $1::text ORDER BY id DESC LIMIT 100000) j "

#endif
