-- Undoes 0003: every job gets its rows, and the tables are named as before. Whoever runs this deletes the row of
-- mlq.migration.
SELECT mlq.empty_inbox();
DROP FUNCTION mlq.empty_inbox();
DROP VIEW mlq.job;
DROP VIEW mlq.stage;
DROP VIEW mlq.inbox_job;
DROP VIEW mlq.inbox_stage;
DROP TABLE mlq.inbox;

ALTER TABLE mlq.job_row RENAME TO job;
ALTER TABLE mlq.stage_row RENAME TO stage;
DO $$
DECLARE
    part text;
BEGIN
    FOR part IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                WHERE i.inhparent IN ('mlq.job'::regclass, 'mlq.stage'::regclass)
    LOOP
        EXECUTE format('ALTER TABLE mlq.%I RENAME TO %I', part, replace(part, '_row_p', '_p'));
    END LOOP;
END $$;

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
