-- Undoes 0001: the whole record goes. mlq.migration stays; whoever runs this deletes its row.
DROP FUNCTION mlq.drop_jobs_below(bigint);
DROP FUNCTION mlq.make_partitions(bigint[]);
DROP FUNCTION mlq.number(float8);
DROP FUNCTION mlq.iso(timestamptz);
DROP FUNCTION mlq.expect(text, bigint, bigint);
DROP FUNCTION mlq.fence(bigint);
DROP TABLE mlq.artifact;
DROP TABLE mlq.metric;
DROP SEQUENCE mlq.metric_seq;
DROP TABLE mlq.fact;
DROP SEQUENCE mlq.fact_seq;
DROP TABLE mlq.stage;
DROP TABLE mlq.job;
DROP TABLE mlq.submission;
DROP TABLE mlq.worker;
DROP TABLE mlq.leader;
DROP DOMAIN mlq.cause;
DROP DOMAIN mlq.state;
