-- The record of mlq. Everything lies in the schema mlq, which the store makes together with
-- mlq.migration before it applies this file; nothing in public is touched.
--
-- Rules: facts, metrics and artifacts are only appended. A job row and a stage row are written at
-- submission and touched again when the first task starts, at the end, and by a retry. Whatever
-- grows with the number of jobs is partitioned by ranges of job ids (mlq.make_partitions), so that
-- old jobs are dropped (mlq.drop_jobs_below), never deleted row by row. There are no foreign keys
-- between partitioned tables, because a dropped partition would have to be checked row by row; the
-- store's statements fail instead when a fact names a job or stage that is not there.
--
-- Numbers are as in scheduler/core/core.h, of which these texts are the CORE_STATES and CORE_CAUSES.

CREATE DOMAIN mlq.state AS text
    CHECK (VALUE IN ('pending', 'running', 'succeeded', 'failed', 'cancelled', 'skipped'));
CREATE DOMAIN mlq.cause AS text
    CHECK (VALUE IN ('none', 'exit', 'signal', 'oom', 'timeout', 'node', 'lease', 'cancel', 'peer',
                     'spawn', 'input', 'output', 'requeue'));

-- Who leads. One row. The epoch only grows; each transaction of a leader checks it (mlq.fence).
-- generation counts restores and promotions of this database, seen by a changed system identifier
-- or timeline: the epoch then jumps past what the lost time line may have handed out.
CREATE TABLE mlq.leader (
    single      boolean PRIMARY KEY DEFAULT true CHECK (single),
    epoch       bigint NOT NULL CHECK (epoch >= 0 AND epoch < 2147483648),
    holder      text NOT NULL,
    backends    int[] NOT NULL,          -- server processes of the holder: ended by a takeover that waits
    expires_at  timestamptz NOT NULL,    -- by the server's clock alone
    generation  bigint NOT NULL,
    system_id   bigint NOT NULL,
    timeline    int NOT NULL
) WITH (fillfactor = 10);
INSERT INTO mlq.leader
    SELECT true, 0, '', '{}', 'epoch', 1, s.system_identifier, c.timeline_id
    FROM pg_control_system() s, pg_control_checkpoint() c;

CREATE TABLE mlq.worker (
    id          bigint PRIMARY KEY CHECK (id BETWEEN 1 AND 4294967295),
    name        text NOT NULL,
    public_key  text NOT NULL UNIQUE,
    cpu_milli   bigint NOT NULL,
    mem_bytes   bigint NOT NULL,
    gpus        int NOT NULL CHECK (gpus >= 0),
    seen_at     timestamptz NOT NULL
) WITH (fillfactor = 70);

-- Idempotency keys outlive the jobs that they made: a key names one job for ever.
CREATE TABLE mlq.submission (
    key         text PRIMARY KEY CHECK (key <> ''),
    job         bigint NOT NULL UNIQUE,
    at          timestamptz NOT NULL
);
CREATE INDEX submission_at ON mlq.submission (at);

CREATE TABLE mlq.job (
    id          bigint NOT NULL CHECK (id > 0),
    name        text NOT NULL,
    kind        text NOT NULL,
    key         text,                    -- NULL: submitted without one
    submitter   text NOT NULL,
    spec        text NOT NULL,
    labels      json,                    -- NULL: none; json, not jsonb, so that it comes back as it was
    priority    int NOT NULL,
    state       mlq.state NOT NULL DEFAULT 'pending',
    cause       mlq.cause,               -- why it was cancelled; NULL: it was not
    retries     int NOT NULL DEFAULT 0,  -- how often FACT_JOB_RETRIED started it anew
    submitted_at timestamptz NOT NULL,
    started_at  timestamptz,
    ended_at    timestamptz,
    PRIMARY KEY (id),
    CHECK ((ended_at IS NULL) = (state IN ('pending', 'running'))),
    CHECK (state <> 'running' OR started_at IS NOT NULL)
) PARTITION BY RANGE (id);
CREATE INDEX job_live ON mlq.job (id) WHERE state IN ('pending', 'running');
CREATE INDEX job_unhappy ON mlq.job (id) WHERE state IN ('failed', 'cancelled');
CREATE INDEX job_name ON mlq.job (name, id);
CREATE INDEX job_labels ON mlq.job USING gin ((labels::jsonb) jsonb_path_ops) WHERE labels IS NOT NULL;

CREATE TABLE mlq.stage (
    job         bigint NOT NULL,
    idx         int NOT NULL CHECK (idx BETWEEN 0 AND 1023),
    name        text NOT NULL,
    uses        text NOT NULL,
    array_count int NOT NULL CHECK (array_count BETWEEN 1 AND 1000000),
    ranks       int NOT NULL CHECK (ranks BETWEEN 1 AND 256),
    ranks_min   int NOT NULL CHECK (ranks_min BETWEEN 1 AND ranks),  -- what it takes to start
    resize      text NOT NULL CHECK (resize IN ('never', 'restart', 'live')),
    needs       int[] NOT NULL,
    state       mlq.state NOT NULL DEFAULT 'pending',
    started_at  timestamptz,
    ended_at    timestamptz,
    PRIMARY KEY (job, idx),
    UNIQUE (job, name),
    CHECK ((ended_at IS NULL) = (state IN ('pending', 'running'))),
    CHECK (state <> 'running' OR started_at IS NOT NULL)
) PARTITION BY RANGE (job);

-- The journal. seq is the committed order: one leader at a time commits, over one connection.
-- gpu_mask is 64 bits, so a worker's GPU 63 makes it negative here.
CREATE SEQUENCE mlq.fact_seq;
CREATE TABLE mlq.fact (
    seq         bigint NOT NULL DEFAULT nextval('mlq.fact_seq'),
    job         bigint NOT NULL,
    epoch       bigint NOT NULL,
    at          timestamptz NOT NULL,
    attempt     bigint NOT NULL CHECK (attempt >= 0),  -- 0: of the job or the stage, not of an attempt
    gpu_mask    bigint NOT NULL,
    worker      bigint NOT NULL CHECK (worker BETWEEN 0 AND 4294967295),
    stage       int NOT NULL,
    index       int NOT NULL,
    rank        int NOT NULL,
    ranks       int NOT NULL,
    round       int NOT NULL,            -- the job's retries when this was recorded
    exit_code   int NOT NULL,
    signal      int NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('job submitted', 'job cancelled', 'job retried', 'assigned',
                                              'started', 'ended', 'stage ended', 'job ended')),
    cause       mlq.cause NOT NULL,
    state       mlq.state NOT NULL,
    sole        boolean NOT NULL,        -- the success of a task of one rank
    detail      text,
    CHECK (kind IN ('assigned', 'started', 'ended') = (attempt > 0)),
    PRIMARY KEY (job, seq)
) PARTITION BY RANGE (job);
-- An attempt is assigned, starts and ends once per rank. Also the way from a stage to its attempts.
CREATE UNIQUE INDEX fact_attempt ON mlq.fact (job, stage, attempt, rank, kind) WHERE attempt > 0;
-- A task succeeds once, unless the job is retried. (A rank of a gang may end well and the gang fail:
-- those are not `sole`.)
CREATE UNIQUE INDEX fact_success ON mlq.fact (job, stage, index, round) WHERE sole;

CREATE SEQUENCE mlq.metric_seq;
CREATE TABLE mlq.metric (
    seq         bigint NOT NULL DEFAULT nextval('mlq.metric_seq'),
    job         bigint NOT NULL,
    attempt     bigint NOT NULL,
    step        bigint,
    value       float8 NOT NULL,
    at          timestamptz NOT NULL,
    stage       int NOT NULL,
    index       int NOT NULL,
    name        text NOT NULL,
    PRIMARY KEY (job, stage, attempt, seq)
) PARTITION BY RANGE (job);

CREATE TABLE mlq.artifact (
    job         bigint NOT NULL,
    attempt     bigint NOT NULL,
    bytes       bigint NOT NULL CHECK (bytes >= 0),
    stage       int NOT NULL,
    index       int NOT NULL,
    rank        int NOT NULL,
    is_tree     boolean NOT NULL,
    name        text NOT NULL,
    digest      text NOT NULL,
    PRIMARY KEY (job, stage, attempt, rank, name)
) PARTITION BY RANGE (job);
CREATE INDEX artifact_digest ON mlq.artifact (digest);

-- ---- Functions ----------------------------------------------------------------------------------

-- Fails with MLQ01 unless `mine` is the leader's epoch. It must be a statement of its own after the
-- shared advisory lock was taken, because only then does its snapshot see a takeover.
CREATE FUNCTION mlq.fence(mine bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    row mlq.leader;
BEGIN
    SELECT * INTO STRICT row FROM mlq.leader;
    IF row.epoch <> mine THEN
        RAISE EXCEPTION 'epoch % was superseded by epoch % of %', mine, row.epoch, row.holder
            USING ERRCODE = 'MLQ01';
    END IF;
END $$;

-- Fails with MLQ02 when a guarded update did not meet what the facts say.
CREATE FUNCTION mlq.expect(what text, want bigint, got bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF want <> got THEN
        RAISE EXCEPTION '%: % facts met % rows in the right state', what, want, got
            USING ERRCODE = 'MLQ02';
    END IF;
END $$;

CREATE FUNCTION mlq.iso(at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$$;

-- JSON has no NaN and no infinities: they are texts.
CREATE FUNCTION mlq.number(value float8) RETURNS json LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN value IN ('NaN', 'Infinity', '-Infinity') THEN to_json(value::text)
                ELSE to_json(value) END
$$;

-- The partitions that hold these jobs, and the next one. A table is made on its own and then
-- attached, which does not lock out readers and writers as CREATE TABLE ... PARTITION OF would.
CREATE FUNCTION mlq.make_partitions(jobs bigint[]) RETURNS void LANGUAGE plpgsql AS $$
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

-- Drops the partitions all of whose jobs are below `id` and have ended, oldest first, up to the
-- first that may not go. The newest jobs stay, so that no id is given twice. Returns the number of
-- partitions dropped.
CREATE FUNCTION mlq.drop_jobs_below(id bigint) RETURNS bigint LANGUAGE plpgsql AS $$
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
