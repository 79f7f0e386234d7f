-- A job's row was written twice: when it was submitted and when its first task started or it ended, and the
-- second time two indexes were told as well, because they ask for its state. That was half of what a short
-- job cost PostgreSQL. Now a commit that accepts jobs writes them as one row of mlq.inbox, and each gets its
-- rows of mlq.job_row and mlq.stage_row when something happens to it, in the state that it has by then, or a
-- little later with another commit (scheduler/store/pg_inbox.h).
--
-- mlq.job and mlq.stage are views now, which show a job from the moment on that it was accepted. Whoever reads
-- reads those. A job that only the inbox has is pending, and so are its stages.

ALTER TABLE mlq.job RENAME TO job_row;
ALTER TABLE mlq.stage RENAME TO stage_row;
DO $$
DECLARE
    part text;
BEGIN
    FOR part IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                WHERE i.inhparent IN ('mlq.job_row'::regclass, 'mlq.stage_row'::regclass)
    LOOP
        EXECUTE format('ALTER TABLE mlq.%I RENAME TO %I', part, replace(part, '_p', '_row_p'));
    END LOOP;
END $$;

-- What one commit accepted: arrays with an element for each job, and others with one for each stage. An array of
-- NULLs alone is empty, and what is as with most stages is NULL. The row goes when the last of its jobs has rows
-- of its own.
CREATE TABLE mlq.inbox (
    first       bigint PRIMARY KEY,      -- the lowest of `ids`
    ids         bigint[] NOT NULL,
    names       text[] NOT NULL,
    kinds       text[] NOT NULL,
    keys        text[] NOT NULL,
    submitters  text[] NOT NULL,
    specs       text[] NOT NULL,
    labels      text[] NOT NULL,
    priorities  int[] NOT NULL,
    submitted_at timestamptz[] NOT NULL,
    stage_jobs  bigint[] NOT NULL,
    stage_idxs  int[] NOT NULL,
    stage_names text[] NOT NULL,
    uses        text[] NOT NULL,
    array_counts int[] NOT NULL,
    ranks       int[] NOT NULL,
    ranks_mins  int[] NOT NULL,
    resizes     text[] NOT NULL,
    needs       text[] NOT NULL          -- arrays of unequal length do not nest: each as its text
);
-- Compressing them costs more than writing them, and they are gone soon.
ALTER TABLE mlq.inbox ALTER ids SET STORAGE EXTERNAL, ALTER names SET STORAGE EXTERNAL, ALTER kinds SET STORAGE EXTERNAL,
    ALTER keys SET STORAGE EXTERNAL, ALTER submitters SET STORAGE EXTERNAL, ALTER specs SET STORAGE EXTERNAL,
    ALTER labels SET STORAGE EXTERNAL, ALTER priorities SET STORAGE EXTERNAL, ALTER submitted_at SET STORAGE EXTERNAL,
    ALTER stage_jobs SET STORAGE EXTERNAL, ALTER stage_idxs SET STORAGE EXTERNAL, ALTER stage_names SET STORAGE EXTERNAL,
    ALTER uses SET STORAGE EXTERNAL, ALTER array_counts SET STORAGE EXTERNAL, ALTER ranks SET STORAGE EXTERNAL,
    ALTER ranks_mins SET STORAGE EXTERNAL, ALTER resizes SET STORAGE EXTERNAL, ALTER needs SET STORAGE EXTERNAL;

-- Those that have no rows of their own yet, as the rows that they would have.
CREATE VIEW mlq.inbox_job AS
    SELECT n.id, n.name, n.kind, n.key, n.submitter, n.spec, n.labels::json AS labels, n.priority,
           'pending'::mlq.state AS state, NULL::mlq.cause AS cause, 0 AS retries, n.submitted_at,
           NULL::timestamptz AS started_at, NULL::timestamptz AS ended_at
    FROM mlq.inbox i, LATERAL unnest(i.ids, i.names, i.kinds, i.keys, i.submitters, i.specs, i.labels, i.priorities,
                                     i.submitted_at)
        AS n (id, name, kind, key, submitter, spec, labels, priority, submitted_at)
    WHERE NOT EXISTS (SELECT FROM mlq.job_row r WHERE r.id = n.id);
CREATE VIEW mlq.inbox_stage AS
    SELECT n.job, n.idx, n.name, n.uses, coalesce(n.array_count, 1) AS array_count, coalesce(n.ranks, 1) AS ranks,
           coalesce(n.ranks_min, n.ranks, 1) AS ranks_min, coalesce(n.resize, 'never') AS resize,
           coalesce(n.needs::int[], '{}') AS needs,
           'pending'::mlq.state AS state, NULL::timestamptz AS started_at, NULL::timestamptz AS ended_at
    FROM mlq.inbox i, LATERAL unnest(i.stage_jobs, i.stage_idxs, i.stage_names, i.uses, i.array_counts, i.ranks,
                                     i.ranks_mins, i.resizes, i.needs)
        AS n (job, idx, name, uses, array_count, ranks, ranks_min, resize, needs)
    WHERE NOT EXISTS (SELECT FROM mlq.stage_row r WHERE r.job = n.job AND r.idx = n.idx);

CREATE VIEW mlq.job AS
    SELECT id, name, kind, key, submitter, spec, labels, priority, state, cause, retries, submitted_at, started_at, ended_at
    FROM mlq.job_row
    UNION ALL
    SELECT id, name, kind, key, submitter, spec, labels, priority, state, cause, retries, submitted_at, started_at, ended_at
    FROM mlq.inbox_job;
CREATE VIEW mlq.stage AS
    SELECT job, idx, name, uses, array_count, ranks, ranks_min, resize, needs, state, started_at, ended_at
    FROM mlq.stage_row
    UNION ALL
    SELECT job, idx, name, uses, array_count, ranks, ranks_min, resize, needs, state, started_at, ended_at
    FROM mlq.inbox_stage;

-- All of them get their rows: a leader does not know what one before it left here.
CREATE FUNCTION mlq.empty_inbox() RETURNS void LANGUAGE sql AS $$
    INSERT INTO mlq.stage_row (job, idx, name, uses, array_count, ranks, ranks_min, resize, needs)
        SELECT job, idx, name, uses, array_count, ranks, ranks_min, resize, needs FROM mlq.inbox_stage;
    INSERT INTO mlq.job_row (id, name, kind, key, submitter, spec, labels, priority, submitted_at)
        SELECT id, name, kind, key, submitter, spec, labels, priority, submitted_at FROM mlq.inbox_job;
    DELETE FROM mlq.inbox;
$$;

-- As in 0002, with the tables' new names.
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

CREATE OR REPLACE FUNCTION mlq.drop_jobs_below(id bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    width CONSTANT bigint := 100000;
    p bigint;
    parent text;
    dropped bigint := 0;
BEGIN
    FOR p IN SELECT substr(c.relname, 10)::bigint AS n FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
             WHERE i.inhparent = 'mlq.job_row'::regclass ORDER BY n
    LOOP
        EXIT WHEN (p + 1) * width > drop_jobs_below.id
            OR (p + 1) * width > coalesce((SELECT max(j.id) FROM mlq.job j), 0)
            OR EXISTS (SELECT FROM mlq.job j
                       WHERE j.id >= p * width AND j.id < (p + 1) * width AND j.ended_at IS NULL);
        FOREACH parent IN ARRAY ARRAY['journal', 'artifact', 'metric', 'stage_row', 'job_row'] LOOP
            EXECUTE format('DROP TABLE mlq.%I', parent || '_p' || p);
        END LOOP;
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
