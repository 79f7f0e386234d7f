-- Facts in rows of many. A row of mlq.fact was one fact with two or three entries in indexes: half of
-- what a job cost PostgreSQL, and nearly all of what a task of an array did. Now one row holds what a
-- commit says of one stage of one job, in parallel arrays; mlq.fact is a view that shows it as before.
-- The records so far are taken over, one fact a row.
--
-- That an attempt is assigned, starts and ends once, and that a task succeeds once, was held by unique
-- indexes over the facts. It is held now by what commits them (scheduler/store/ledger.h says how).
--
-- Bits, lowest first: what: kind 4, cause 5, state 4, rank 9, ranks 9, signal 32; who: worker 32, exit
-- code 32; task: index 32, place among the facts of the commit 31. Codes are places in the lists below,
-- from 0: a new kind, cause or state goes to the end of its list.

CREATE FUNCTION mlq.kinds() RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ARRAY['job submitted', 'job cancelled', 'job retried', 'assigned', 'started', 'ended',
                 'stage ended', 'job ended']
$$;
CREATE FUNCTION mlq.causes() RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ARRAY['none', 'exit', 'signal', 'oom', 'timeout', 'node', 'lease', 'cancel', 'peer', 'spawn',
                 'input', 'output', 'requeue']
$$;
CREATE FUNCTION mlq.states() RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ARRAY['pending', 'running', 'succeeded', 'failed', 'cancelled', 'skipped']
$$;

-- seq is the committed order: one leader at a time commits, over one connection.
CREATE TABLE mlq.journal (
    job         bigint NOT NULL,
    seq         bigint NOT NULL,         -- of the commit, from mlq.fact_seq
    epoch       bigint NOT NULL,
    at          timestamptz NOT NULL,    -- of the first of them
    stage       int NOT NULL,
    round       int NOT NULL,            -- the job's retries when this was recorded
    index_low   int NOT NULL,            -- of the tasks: who looks for one passes by all other rows
    index_high  int NOT NULL,
    what        bigint[] NOT NULL,
    who         bigint[] NOT NULL,
    task        bigint[] NOT NULL,
    attempt     bigint[] NOT NULL,       -- 0: of the job or the stage, not of an attempt
    later       bigint[] NOT NULL,       -- microseconds after `at`
    gpus        bigint[],                -- masks of 64 bits; NULL: none of them has any
    detail      text[],                  -- NULL: none of them has any
    PRIMARY KEY (job, seq, stage)
) PARTITION BY RANGE (job);

-- Compressing them costs more than the rest of the row.
ALTER TABLE mlq.journal ALTER what SET STORAGE EXTERNAL, ALTER who SET STORAGE EXTERNAL, ALTER task SET STORAGE EXTERNAL,
    ALTER attempt SET STORAGE EXTERNAL, ALTER later SET STORAGE EXTERNAL;

-- A stage's row changes twice in its life: within its page if there is room, and no index has to be told then.
-- The parser of specs holds that names are unique.
ALTER TABLE mlq.stage DROP CONSTRAINT stage_job_name_key;

-- As in 0001, with the journal where the facts were, and more room in the pages of stages.
CREATE OR REPLACE FUNCTION mlq.make_partitions(jobs bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    width CONSTANT bigint := 100000;
    last  CONSTANT bigint := 9223372036854775807 / width;
    p bigint;
    parent text;
BEGIN
    FOR p IN SELECT DISTINCT n FROM unnest(jobs) j, LATERAL (VALUES (j / width), (j / width + 1)) v (n)
             WHERE n <= last AND to_regclass('mlq.journal_p' || n) IS NULL ORDER BY n
    LOOP
        FOREACH parent IN ARRAY ARRAY['job', 'stage', 'metric', 'artifact', 'journal'] LOOP
            CONTINUE WHEN to_regclass('mlq.' || parent || '_p' || p) IS NOT NULL;
            EXECUTE format('CREATE TABLE mlq.%I (LIKE mlq.%I INCLUDING ALL) WITH (fillfactor = %s)',
                           parent || '_p' || p, parent,
                           CASE parent WHEN 'job' THEN 80 WHEN 'stage' THEN 45 ELSE 100 END);
            EXECUTE format('ALTER TABLE mlq.%I ATTACH PARTITION mlq.%I FOR VALUES FROM (%s) TO (%s)',
                           parent, parent || '_p' || p, p * width,
                           CASE WHEN p = last THEN 'MAXVALUE' ELSE ((p + 1) * width)::text END);
        END LOOP;
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION mlq.drop_jobs_below(id bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    width CONSTANT bigint := 100000;
    p bigint;
    parent text;
    dropped bigint := 0;
BEGIN
    FOR p IN SELECT substr(c.relname, 6)::bigint AS n FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
             WHERE i.inhparent = 'mlq.job'::regclass ORDER BY n
    LOOP
        EXIT WHEN (p + 1) * width > drop_jobs_below.id
            OR (p + 1) * width > coalesce((SELECT max(j.id) FROM mlq.job j), 0)
            OR EXISTS (SELECT FROM mlq.job j
                       WHERE j.id >= p * width AND j.id < (p + 1) * width AND j.ended_at IS NULL);
        FOREACH parent IN ARRAY ARRAY['journal', 'artifact', 'metric', 'stage', 'job'] LOOP
            EXECUTE format('DROP TABLE mlq.%I', parent || '_p' || p);
        END LOOP;
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;

-- ---- What was recorded so far -------------------------------------------------------------------

SELECT mlq.make_partitions(ARRAY(
    SELECT substr(c.relname, 6)::bigint * 100000 FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'mlq.job'::regclass));

INSERT INTO mlq.journal (job, seq, epoch, at, stage, round, index_low, index_high, what, who, task, attempt, later,
                         gpus, detail)
SELECT f.job, f.seq, f.epoch, f.at, f.stage, f.round, f.index, f.index,
       ARRAY[(array_position(mlq.kinds(), f.kind) - 1)::bigint
             | ((array_position(mlq.causes(), f.cause::text) - 1)::bigint << 4)
             | ((array_position(mlq.states(), f.state::text) - 1)::bigint << 9)
             | (f.rank::bigint << 13) | (f.ranks::bigint << 22) | ((f.signal::bigint & 4294967295) << 31)],
       ARRAY[f.worker | (f.exit_code::bigint << 32)], ARRAY[f.index::bigint], ARRAY[f.attempt], ARRAY[0::bigint],
       CASE WHEN f.gpu_mask <> 0 THEN ARRAY[f.gpu_mask] END,
       CASE WHEN f.detail IS NOT NULL THEN ARRAY[f.detail] END
FROM mlq.fact f;
DROP TABLE mlq.fact;

-- The journal as it is read: one fact a row, ordered by (seq, nth).
CREATE VIEW mlq.fact AS
    SELECT j.seq, (f.task >> 32)::int AS nth, j.job, j.epoch,
           j.at + f.later * interval '1 microsecond' AS at, f.attempt, coalesce(f.gpus, 0) AS gpu_mask,
           f.who & 4294967295 AS worker, j.stage, (f.task & 4294967295)::int AS index,
           (f.what >> 13 & 511)::int AS rank, (f.what >> 22 & 511)::int AS ranks, j.round,
           (f.who >> 32)::int AS exit_code, (f.what >> 31)::bit(32)::int AS signal,
           (mlq.kinds())[1 + (f.what & 15)::int] AS kind, (mlq.causes())[1 + (f.what >> 4 & 31)::int] AS cause,
           (mlq.states())[1 + (f.what >> 9 & 15)::int] AS state, f.detail, j.index_low, j.index_high
    FROM mlq.journal j, LATERAL unnest(j.what, j.who, j.task, j.attempt, j.later, j.gpus, j.detail)
        AS f (what, who, task, attempt, later, gpus, detail);

-- Fails as a unique index would (23505) when one of these facts is there already, or a task of one rank
-- would succeed twice in a round; for facts of jobs that the leader does not know whole.
CREATE FUNCTION mlq.expect_new(jobs bigint[], stages int[], indexes int[], attempts bigint[], ranks int[],
                               kinds text[], causes text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        WITH n AS (SELECT * FROM unnest(jobs, stages, indexes, attempts, ranks, kinds, causes)
                       AS u (job, stage, index, attempt, rank, kind, cause) WHERE u.attempt > 0),
        every AS (SELECT job, stage, index, attempt, rank, kind, cause, NULL::int AS round FROM n
                  UNION ALL
                  SELECT f.job, f.stage, f.index, f.attempt, f.rank, f.kind, f.cause, f.round
                  FROM (SELECT DISTINCT job FROM n) d JOIN mlq.fact f ON f.job = d.job WHERE f.attempt > 0)
        SELECT FROM every GROUP BY job, stage, attempt, rank, kind
        HAVING count(*) > 1 AND count(*) FILTER (WHERE round IS NULL) > 0
        UNION ALL
        SELECT FROM every e JOIN mlq.job j ON j.id = e.job JOIN mlq.stage s ON s.job = e.job AND s.idx = e.stage
        WHERE e.kind = 'ended' AND e.cause = 'none' AND s.ranks = 1 AND coalesce(e.round, j.retries) = j.retries
        GROUP BY e.job, e.stage, e.index
        HAVING count(*) > 1 AND count(*) FILTER (WHERE e.round IS NULL) > 0)
    THEN
        RAISE EXCEPTION 'an attempt or a success was recorded before' USING ERRCODE = '23505';
    END IF;
END $$;
