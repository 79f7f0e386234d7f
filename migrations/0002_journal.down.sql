-- Undoes 0002: each fact becomes a row again. Whoever runs this deletes the row of mlq.migration.
ALTER VIEW mlq.fact RENAME TO fact_of_journal;
CREATE TABLE mlq.fact (
    seq         bigint NOT NULL DEFAULT nextval('mlq.fact_seq'),
    job         bigint NOT NULL,
    epoch       bigint NOT NULL,
    at          timestamptz NOT NULL,
    attempt     bigint NOT NULL CHECK (attempt >= 0),
    gpu_mask    bigint NOT NULL,
    worker      bigint NOT NULL CHECK (worker BETWEEN 0 AND 4294967295),
    stage       int NOT NULL,
    index       int NOT NULL,
    rank        int NOT NULL,
    ranks       int NOT NULL,
    round       int NOT NULL,
    exit_code   int NOT NULL,
    signal      int NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('job submitted', 'job cancelled', 'job retried', 'assigned',
                                              'started', 'ended', 'stage ended', 'job ended')),
    cause       mlq.cause NOT NULL,
    state       mlq.state NOT NULL,
    sole        boolean NOT NULL,
    detail      text,
    CHECK (kind IN ('assigned', 'started', 'ended') = (attempt > 0)),
    PRIMARY KEY (job, seq)
) PARTITION BY RANGE (job);
CREATE UNIQUE INDEX fact_attempt ON mlq.fact (job, stage, attempt, rank, kind) WHERE attempt > 0;
CREATE UNIQUE INDEX fact_success ON mlq.fact (job, stage, index, round) WHERE sole;

DO $$
DECLARE
    width CONSTANT bigint := 100000;
    last  CONSTANT bigint := 9223372036854775807 / width;
    p bigint;
BEGIN
    FOR p IN SELECT substr(c.relname, 10)::bigint FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
             WHERE i.inhparent = 'mlq.journal'::regclass
    LOOP
        EXECUTE format('CREATE TABLE mlq.%I (LIKE mlq.fact INCLUDING ALL)', 'fact_p' || p);
        EXECUTE format('ALTER TABLE mlq.fact ATTACH PARTITION mlq.%I FOR VALUES FROM (%s) TO (%s)', 'fact_p' || p,
                       p * width, CASE WHEN p = last THEN 'MAXVALUE' ELSE ((p + 1) * width)::text END);
    END LOOP;
END $$;

-- Several facts share the number of their commit: they are numbered anew, in their order.
INSERT INTO mlq.fact (seq, job, epoch, at, attempt, gpu_mask, worker, stage, index, rank, ranks, round, exit_code,
                      signal, kind, cause, state, sole, detail)
SELECT row_number() OVER (ORDER BY f.seq, f.nth), f.job, f.epoch, f.at, f.attempt, f.gpu_mask, f.worker, f.stage,
       f.index, f.rank, f.ranks, f.round, f.exit_code, f.signal, f.kind, f.cause, f.state,
       f.kind = 'ended' AND f.cause = 'none' AND s.ranks = 1, f.detail
FROM mlq.fact_of_journal f JOIN mlq.stage s ON s.job = f.job AND s.idx = f.stage;
SELECT setval('mlq.fact_seq', greatest(nextval('mlq.fact_seq'), (SELECT max(seq) FROM mlq.fact)));

ALTER TABLE mlq.stage ADD CONSTRAINT stage_job_name_key UNIQUE (job, name);
DROP FUNCTION mlq.expect_new(bigint[], int[], int[], bigint[], int[], text[], text[]);
DROP VIEW mlq.fact_of_journal;
DROP TABLE mlq.journal;
DROP FUNCTION mlq.kinds();
DROP FUNCTION mlq.causes();
DROP FUNCTION mlq.states();

CREATE OR REPLACE FUNCTION mlq.make_partitions(jobs bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    width CONSTANT bigint := 100000;
    last  CONSTANT bigint := 9223372036854775807 / width;
    p bigint;
    parent text;
BEGIN
    FOR p IN SELECT DISTINCT n FROM unnest(jobs) j, LATERAL (VALUES (j / width), (j / width + 1)) v (n)
             WHERE n <= last AND to_regclass('mlq.fact_p' || n) IS NULL ORDER BY n
    LOOP
        FOREACH parent IN ARRAY ARRAY['job', 'stage', 'metric', 'artifact', 'fact'] LOOP
            EXECUTE format('CREATE TABLE mlq.%I (LIKE mlq.%I INCLUDING ALL) WITH (fillfactor = %s)',
                           parent || '_p' || p, parent,
                           CASE WHEN parent IN ('job', 'stage') THEN 80 ELSE 100 END);
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
        FOREACH parent IN ARRAY ARRAY['fact', 'artifact', 'metric', 'stage', 'job'] LOOP
            EXECUTE format('DROP TABLE mlq.%I', parent || '_p' || p);
        END LOOP;
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
