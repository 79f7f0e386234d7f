-- A short job cost four rows with five entries in indexes: its own, its stage's and two of the journal. What
-- most jobs are, a stage of one task, adds two columns to the job's row when it has ended by the time that it
-- gets one, and so do the facts of the commit that ended it: such a job is two rows with three entries. A retry
-- gives its stage a row of its own (PG_SQL_SET_RETRIED); its facts stay where they are.
--
-- The five numbers of a fact were five arrays, each with a head of 21 bytes, which were cut out of the
-- parameters one by one: they are one now. seq was drawn from a sequence and stood beside the epoch. It is
-- the leader's own count now, with the epoch in its upper half, so that both tables have the same.

-- ---- What is there ------------------------------------------------------------------------------

SELECT mlq.empty_inbox();
CREATE TEMPORARY TABLE journal_before ON COMMIT DROP AS SELECT * FROM mlq.journal;
DROP VIEW mlq.fact;
DROP TABLE mlq.journal;
DROP SEQUENCE mlq.fact_seq;

-- ---- Tables -------------------------------------------------------------------------------------

-- facts: of the numbers what, who, task, attempt and later (0002 says their bits) first all of the first, then
-- all of the second and so on.
CREATE TABLE mlq.journal (
    job         bigint NOT NULL,
    seq         bigint NOT NULL,         -- of the commit: the epoch in its upper 32 bits
    at          timestamptz NOT NULL,    -- of the first of them
    stage       int NOT NULL,
    round       int NOT NULL,            -- the job's retries when this was recorded
    index_low   int NOT NULL,            -- of the tasks: who looks for one passes by all other rows
    index_high  int NOT NULL,
    facts       bigint[] NOT NULL,
    gpus        bigint[],                -- masks of 64 bits; NULL: none of them has any
    detail      text[],                  -- NULL: none of them has any
    PRIMARY KEY (job, seq, stage)
) PARTITION BY RANGE (job);

ALTER TABLE mlq.job_row
    ADD stage_name text,                 -- not NULL: its one stage, of one task, in the job's state and with its times
    ADD stage_uses text,
    ADD seq bigint,                      -- of the commit that wrote it whole
    ADD facts bigint[];                  -- of that commit, as in the journal; times are after submitted_at

-- Compressing them costs more than the rest of the row.
ALTER TABLE mlq.journal ALTER facts SET STORAGE EXTERNAL;
ALTER TABLE mlq.job_row ALTER facts SET STORAGE EXTERNAL;

-- As in 0003, without room in the pages of jobs: their indexes have to be told of each change anyway.
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
        FOREACH parent IN ARRAY ARRAY['job_row', 'stage_row', 'metric', 'artifact', 'journal'] LOOP
            CONTINUE WHEN to_regclass('mlq.' || parent || '_p' || p) IS NOT NULL;
            EXECUTE format('CREATE TABLE mlq.%I (LIKE mlq.%I INCLUDING ALL) WITH (fillfactor = %s)',
                           parent || '_p' || p, parent, CASE parent WHEN 'stage_row' THEN 45 ELSE 100 END);
            EXECUTE format('ALTER TABLE mlq.%I ATTACH PARTITION mlq.%I FOR VALUES FROM (%s) TO (%s)',
                           parent, parent || '_p' || p, p * width,
                           CASE WHEN p = last THEN 'MAXVALUE' ELSE ((p + 1) * width)::text END);
        END LOOP;
    END LOOP;
END $$;

-- ---- What was recorded so far -------------------------------------------------------------------

SELECT mlq.make_partitions(ARRAY(
    SELECT substr(c.relname, 10)::bigint * 100000 FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'mlq.job_row'::regclass));
INSERT INTO mlq.journal (job, seq, at, stage, round, index_low, index_high, facts, gpus, detail)
    SELECT job, epoch << 32 | seq, at, stage, round, index_low, index_high, what || who || task || attempt || later,
           gpus, detail
    FROM journal_before;

-- ---- Views --------------------------------------------------------------------------------------

-- One fact a row, ordered by (seq, nth). A WHERE within the UNION would keep its parts from being read by index.
CREATE VIEW mlq.fact AS
    SELECT j.seq, (f.task >> 32)::int AS nth, j.job, j.seq >> 32 AS epoch,
           j.at + f.later * interval '1 microsecond' AS at, f.attempt, coalesce(f.gpus, 0) AS gpu_mask,
           f.who & 4294967295 AS worker, j.stage, (f.task & 4294967295)::int AS index,
           (f.what >> 13 & 511)::int AS rank, (f.what >> 22 & 511)::int AS ranks, j.round,
           (f.who >> 32)::int AS exit_code, (f.what >> 31)::bit(32)::int AS signal,
           (mlq.kinds())[1 + (f.what & 15)::int] AS kind, (mlq.causes())[1 + (f.what >> 4 & 31)::int] AS cause,
           (mlq.states())[1 + (f.what >> 9 & 15)::int] AS state, f.detail, j.index_low, j.index_high
    FROM (SELECT job, seq, at, stage, round, index_low, index_high, facts, gpus, detail, cardinality(facts) / 5 AS n
          FROM mlq.journal
          UNION ALL
          SELECT id, seq, submitted_at, 0, 0, 0, 0, facts, NULL, NULL, cardinality(facts) / 5
          FROM mlq.job_row) j,
         LATERAL unnest(j.facts[1 : n], j.facts[n + 1 : 2 * n], j.facts[2 * n + 1 : 3 * n],
                        j.facts[3 * n + 1 : 4 * n], j.facts[4 * n + 1 : 5 * n], j.gpus, j.detail)
        AS f (what, who, task, attempt, later, gpus, detail);

-- As in 0003. NULL in an array that has none otherwise is what its first element is, or 0, and a job's row says
-- that all of it has left the inbox.
CREATE OR REPLACE VIEW mlq.inbox_job AS
    SELECT n.id, coalesce(n.name, i.names[1]) AS name, coalesce(n.kind, i.kinds[1]) AS kind, n.key,
           coalesce(n.submitter, i.submitters[1]) AS submitter, coalesce(n.spec, i.specs[1]) AS spec,
           n.labels::json AS labels, coalesce(n.priority, 0) AS priority,
           'pending'::mlq.state AS state, NULL::mlq.cause AS cause, 0 AS retries, n.submitted_at,
           NULL::timestamptz AS started_at, NULL::timestamptz AS ended_at
    FROM mlq.inbox i, LATERAL unnest(i.ids, i.names, i.kinds, i.keys, i.submitters, i.specs, i.labels, i.priorities,
                                     i.submitted_at)
        AS n (id, name, kind, key, submitter, spec, labels, priority, submitted_at)
    WHERE NOT EXISTS (SELECT FROM mlq.job_row r WHERE r.id = n.id);
CREATE OR REPLACE VIEW mlq.inbox_stage AS
    SELECT n.job, coalesce(n.idx, 0) AS idx, coalesce(n.name, i.stage_names[1]) AS name, coalesce(n.uses, i.uses[1]) AS uses,
           coalesce(n.array_count, 1) AS array_count, coalesce(n.ranks, 1) AS ranks,
           coalesce(n.ranks_min, n.ranks, 1) AS ranks_min, coalesce(n.resize, 'never') AS resize,
           coalesce(n.needs::int[], '{}') AS needs,
           'pending'::mlq.state AS state, NULL::timestamptz AS started_at, NULL::timestamptz AS ended_at
    FROM mlq.inbox i, LATERAL unnest(i.stage_jobs, i.stage_idxs, i.stage_names, i.uses, i.array_counts, i.ranks,
                                     i.ranks_mins, i.resizes, i.needs)
        AS n (job, idx, name, uses, array_count, ranks, ranks_min, resize, needs)
    WHERE NOT EXISTS (SELECT FROM mlq.job_row r WHERE r.id = n.job);

CREATE OR REPLACE VIEW mlq.stage AS
    SELECT s.job, s.idx, s.name, s.uses, s.array_count, s.ranks, s.ranks_min, s.resize, s.needs, s.state, s.started_at,
           s.ended_at
    FROM (SELECT job, idx, name, uses, array_count, ranks, ranks_min, resize, needs, state, started_at, ended_at
          FROM mlq.stage_row
          UNION ALL
          SELECT id, 0, stage_name, stage_uses, 1, 1, 1, 'never', '{}', state, started_at, ended_at
          FROM mlq.job_row
          UNION ALL
          SELECT job, idx, name, uses, array_count, ranks, ranks_min, resize, needs, state, started_at, ended_at
          FROM mlq.inbox_stage) s
    WHERE s.name IS NOT NULL;

