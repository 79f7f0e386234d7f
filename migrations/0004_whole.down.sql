-- Undoes 0004: every stage gets its row, and every fact is in the journal. Whoever runs this deletes the row of
-- mlq.migration.
SELECT mlq.empty_inbox();
CREATE TEMPORARY TABLE journal_after ON COMMIT DROP AS
    SELECT job, dense_rank() OVER (ORDER BY seq) AS seq, seq >> 32 AS epoch, at, stage, round, index_low, index_high,
           facts, gpus, detail, cardinality(facts) / 5 AS n
    FROM (SELECT job, seq, at, stage, round, index_low, index_high, facts, gpus, detail FROM mlq.journal
          UNION ALL
          SELECT id, seq, submitted_at, 0, 0, 0, 0, facts, NULL, NULL FROM mlq.job_row WHERE facts IS NOT NULL) j;
INSERT INTO mlq.stage_row (job, idx, name, uses, array_count, ranks, ranks_min, resize, needs, state, started_at, ended_at)
    SELECT id, 0, stage_name, stage_uses, 1, 1, 1, 'never', '{}', state, started_at, ended_at
    FROM mlq.job_row WHERE stage_name IS NOT NULL;

-- As in 0003.
CREATE OR REPLACE VIEW mlq.inbox_job AS
    SELECT n.id, n.name, n.kind, n.key, n.submitter, n.spec, n.labels::json AS labels, n.priority,
           'pending'::mlq.state AS state, NULL::mlq.cause AS cause, 0 AS retries, n.submitted_at,
           NULL::timestamptz AS started_at, NULL::timestamptz AS ended_at
    FROM mlq.inbox i, LATERAL unnest(i.ids, i.names, i.kinds, i.keys, i.submitters, i.specs, i.labels, i.priorities,
                                     i.submitted_at)
        AS n (id, name, kind, key, submitter, spec, labels, priority, submitted_at)
    WHERE NOT EXISTS (SELECT FROM mlq.job_row r WHERE r.id = n.id);
CREATE OR REPLACE VIEW mlq.inbox_stage AS
    SELECT n.job, n.idx, n.name, n.uses, coalesce(n.array_count, 1) AS array_count, coalesce(n.ranks, 1) AS ranks,
           coalesce(n.ranks_min, n.ranks, 1) AS ranks_min, coalesce(n.resize, 'never') AS resize,
           coalesce(n.needs::int[], '{}') AS needs,
           'pending'::mlq.state AS state, NULL::timestamptz AS started_at, NULL::timestamptz AS ended_at
    FROM mlq.inbox i, LATERAL unnest(i.stage_jobs, i.stage_idxs, i.stage_names, i.uses, i.array_counts, i.ranks,
                                     i.ranks_mins, i.resizes, i.needs)
        AS n (job, idx, name, uses, array_count, ranks, ranks_min, resize, needs)
    WHERE NOT EXISTS (SELECT FROM mlq.stage_row r WHERE r.job = n.job AND r.idx = n.idx);

CREATE OR REPLACE VIEW mlq.stage AS
    SELECT job, idx, name, uses, array_count, ranks, ranks_min, resize, needs, state, started_at, ended_at
    FROM mlq.stage_row
    UNION ALL
    SELECT job, idx, name, uses, array_count, ranks, ranks_min, resize, needs, state, started_at, ended_at
    FROM mlq.inbox_stage;

DROP VIEW mlq.fact;
DROP TABLE mlq.journal;
ALTER TABLE mlq.job_row DROP stage_name, DROP stage_uses, DROP seq, DROP facts;

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
                           parent || '_p' || p, parent,
                           CASE parent WHEN 'job_row' THEN 80 WHEN 'stage_row' THEN 45 ELSE 100 END);
            EXECUTE format('ALTER TABLE mlq.%I ATTACH PARTITION mlq.%I FOR VALUES FROM (%s) TO (%s)',
                           parent, parent || '_p' || p, p * width,
                           CASE WHEN p = last THEN 'MAXVALUE' ELSE ((p + 1) * width)::text END);
        END LOOP;
    END LOOP;
END $$;

-- As in 0002, with commits counted from 1.
CREATE SEQUENCE mlq.fact_seq;
SELECT setval('mlq.fact_seq', max(seq)) FROM journal_after HAVING count(*) > 0;
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
SELECT mlq.make_partitions(ARRAY(
    SELECT substr(c.relname, 10)::bigint * 100000 FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'mlq.job_row'::regclass));
INSERT INTO mlq.journal (job, seq, epoch, at, stage, round, index_low, index_high, what, who, task, attempt, later,
                         gpus, detail)
    SELECT job, seq, epoch, at, stage, round, index_low, index_high, facts[1 : n], facts[n + 1 : 2 * n],
           facts[2 * n + 1 : 3 * n], facts[3 * n + 1 : 4 * n], facts[4 * n + 1 : 5 * n], gpus, detail
    FROM journal_after;

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
