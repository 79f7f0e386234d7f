/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The record, as verbs. Two implementations pass one conformance suite: store_pg (PostgreSQL, libpq
 * pipeline mode on the caller's libuv loop, never a blocking call) and store_mem (tests, simulator).
 *
 * Rules that every implementation keeps:
 * - A batch is one transaction: all of it is durable, or none. Batches complete in the order given;
 *   several may be in flight.
 * - Each transaction is fenced: it first takes a shared advisory lock, then checks that the leader's
 *   epoch is still ours (MLQ_EFENCED if not). A batch whose outcome is not known is MLQ_EUNKNOWN.
 *   After either, or any other failure of a commit, the store gives up leadership (on_deposed) and all later
 *   batches fail: the caller drops its core, campaigns again and reloads. Nothing is repaired.
 * - An attempt's rank is assigned, starts and ends once, a task of one rank succeeds once a round: a batch that
 *   says it again fails with MLQ_EEXIST. A job or stage ends once, and facts need their job (MLQ_EDB).
 * - Callbacks run from the loop, never from inside the call that they answer.
 * - Times are wall-clock microseconds since 1970 UTC: the record is for people and other machines.
 */
#ifndef MLQ_SCHEDULER_STORE_STORE_H
#define MLQ_SCHEDULER_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "lib/base/str.h"
#include "scheduler/core/core.h"

/* ---- Rows ------------------------------------------------------------------------------------ */

struct store_stage {
    struct mlq_str name;
    struct mlq_str uses; /* operator, or "run" */
    uint32_t array_count;
    uint32_t ranks;          /* at most */
    uint32_t ranks_min;      /* to start; 0: all. Not loaded, nor is the next: the spec says them */
    enum core_resize resize; /* of what is written */
    const uint16_t *needs;
    uint16_t needs_count;
};

struct store_job {
    uint64_t id;
    struct mlq_str name;
    struct mlq_str kind; /* "job" or "pipeline" */
    struct mlq_str idempotency_key; /* unique for ever; empty: none */
    struct mlq_str submitter;       /* name of the client's key */
    struct mlq_str spec;            /* canonical JSON (lib/spec) */
    struct mlq_str labels;          /* JSON object of strings */
    int32_t priority;
    int64_t submitted_us;
    uint32_t retries; /* loaded only: how many of its facts are FACT_JOB_RETRIED */
    const struct store_stage *stages;
    uint16_t stage_count;
};

/* A core fact; `fact.at_ns` is not used: at_us is. Facts load in the order they were committed. */
struct store_fact {
    struct core_fact fact;
    int64_t at_us;
    struct mlq_str detail; /* one line for people, at most 1 KiB: "exit 1: ValueError: …"; may be empty */
};

struct store_metric {
    uint64_t job;
    uint64_t attempt;
    uint32_t stage;
    uint32_t index;
    struct mlq_str name;
    int64_t step; /* INT64_MIN: none */
    double value; /* NaN and infinities are legal */
    int64_t at_us;
};

/* A name that an attempt's rank recorded before is not recorded again: the first one stays. The name
 * ".log" is the log of that rank; it is not loaded. */
struct store_artifact {
    uint64_t job;
    uint64_t attempt;
    uint32_t stage;
    uint32_t index;
    uint32_t rank;
    struct mlq_str name;   /* inner path, for instance "model.safetensors" */
    struct mlq_str digest; /* "sha256:…" */
    uint64_t bytes;
    bool is_tree; /* a folder (lib/artifact/cas.h, cas_put_tree) */
};

struct store_worker {
    uint32_t id; /* given by the shell, for ever; 1 and up */
    struct mlq_str name;
    struct mlq_str public_key; /* Z85 text, unique */
    int64_t cpu_milli;
    int64_t mem_bytes;
    int32_t gpus;
    int64_t seen_us;
};

/* More batches in flight than this are a bug of the caller: the commit fails with MLQ_EFULL. */
#define STORE_BATCHES_MAX 64

/* All that one turn records. Arrays and texts need to live only until store_commit returns. */
struct store_batch {
    const struct store_job *jobs;
    size_t job_count;
    const struct store_fact *facts;
    size_t fact_count;
    const struct store_metric *metrics;
    size_t metric_count;
    const struct store_artifact *artifacts;
    size_t artifact_count;
    const struct store_worker *workers; /* inserted, or updated by id */
    size_t worker_count;
};

/* ---- Loading: the record as a series of callbacks -------------------------------------------- */

/* Slices live only during the call. Order: header, workers, keys by job, then per job ascending:
 * the job, its artifacts and metrics (latest value per stage, index and name; only of attempts of
 * which no rank has failed: they succeeded or still run), then all facts of all loaded jobs in
 * committed order, then done. */
struct store_loader {
    void *context;
    void (*header)(void *context, uint64_t highest_job, uint32_t highest_worker);
    void (*worker)(void *context, const struct store_worker *worker);
    void (*key)(void *context, struct mlq_str idempotency_key, uint64_t job); /* of the last 7 days */
    void (*job)(void *context, const struct store_job *job);
    void (*artifact)(void *context, const struct store_artifact *artifact);
    void (*metric)(void *context, const struct store_metric *metric);
    void (*fact)(void *context, const struct store_fact *fact);
    void (*done)(void *context, int rc, const struct mlq_err *err); /* last; also after a failure */
};

/* ---- Reading: JSON documents for clients ("schema": "mlq/v1"), made in SQL (pg_sql_view.h) ----- */

enum store_view {
    VIEW_SHOW,    /* job: the `mlq show --json` document, plus per stage "needs", "started", "ended" */
    VIEW_RECORD,  /* job: the same and "history": {stage: {metric: [[step, value], ...]}} */
    VIEW_LIST,    /* filter: {"schema":…, "jobs": [{id, name, kind, state, submitted, ended, stages:{total,succeeded,failed,running}}]} */
    VIEW_METRICS, /* job, optional stage and name filter: {"schema":…, "job": "12", "metrics": [{stage, index, attempt, name, points: [[step, value, "time"], ...]}]} */
    VIEW_ATTEMPT, /* job, stage name, index, rank: {"attempt": "…", "rank", "ranks", "worker": id, "name", "state", "log": digest or null} newest attempt */
    VIEW_RESOLVE, /* selector text ("last", "@name", "12-40", "team=vision" (a label), "state=failed", "12"): {"jobs": ["12", …]} ascending */
};

struct store_query {
    enum store_view view;
    uint64_t job;
    struct mlq_str stage;
    struct mlq_str name;     /* metric name, or LIST: name filter */
    struct mlq_str selector; /* RESOLVE; LIST: state filter */
    uint32_t index;
    uint32_t rank;
    uint32_t limit; /* LIST: newest first; 0: 100 */
    uint64_t before; /* LIST: only ids below; 0: no bound */
};

/* rc 0 and JSON, or MLQ_ENOENT (no such job), MLQ_ECONN, MLQ_EINVAL (bad selector). */
typedef void (*store_view_cb)(void *context, int rc, struct mlq_str json, const struct mlq_err *err);

/* ---- The store ------------------------------------------------------------------------------- */

struct store_callbacks {
    void *context;
    /* Leadership won: epoch is larger than any before. Load next, then commit. */
    void (*elected)(void *context, uint32_t epoch);
    /* Leadership lost or given up; `err` says why. All batches in flight were answered before. The store
     * does not campaign again by itself. */
    void (*deposed)(void *context, const struct mlq_err *err);
};

typedef void (*store_commit_cb)(void *context, int rc, const struct mlq_err *err);

struct store; /* begins with a pointer to its struct store_ops */

struct store_ops {
    /* Try to lead until elected: checks the schema (applies migrations under a lock), waits while another
     * leader's lease lasts, takes over by one conditional update. `holder` names this process in the row. */
    void (*campaign)(struct store *store, const char *holder);
    /* Give up leadership at once, so that a standby need not wait; answers deposed. */
    void (*resign)(struct store *store);
    /* Leadership is certain until this CLOCK_BOOTTIME time (counted from before the renewal was sent);
     * 0 when not leader. Past it, send nothing that assumes leadership. */
    int64_t (*trusted_until_ns)(const struct store *store);
    void (*load)(struct store *store, const struct store_loader *loader);
    void (*load_job)(struct store *store, uint64_t job, const struct store_loader *loader);
    void (*commit)(struct store *store, const struct store_batch *batch, store_commit_cb cb, void *context);
    void (*view)(struct store *store, const struct store_query *query, store_view_cb cb, void *context);
    /* Ends all connections, answers nothing more; `closed` runs when the memory is free. */
    void (*close)(struct store *store, void (*closed)(void *context), void *context);
};

struct store {
    const struct store_ops *ops;
};

/* ---- Implementations ------------------------------------------------------------------------- */

struct store_pg_options {
    const char *conninfo;       /* libpq connection string; pgbouncer in transaction mode is refused */
    const char *migrations_dir; /* numbered, checksummed .sql files */
    int64_t lease_ns;           /* of leadership; 0: 6 s; renewed every third of it */
    bool allow_unsafe;          /* lead although fsync and the like are off: throw-away clusters */
};

struct uv_loop_s;
MLQ_OWNED_RETURN struct store *store_pg_create(struct uv_loop_s *loop,
                                               const struct store_pg_options *options,
                                               const struct store_callbacks *callbacks);

/* Durable against nothing; several stores may share one record to play leader and standby. Views are
 * MLQ_ENOTSUP: their documents are made in SQL. */
struct store_mem_record;
MLQ_OWNED_RETURN struct store_mem_record *store_mem_record_create(void);
void store_mem_record_destroy(struct store_mem_record **record);
/* Of leadership, for all stores of this record; 6 s unless set. */
void store_mem_record_set_lease_ns(struct store_mem_record *record, int64_t lease_ns);
MLQ_OWNED_RETURN struct store *store_mem_create(struct uv_loop_s *loop,
                                                struct store_mem_record *record,
                                                const struct store_callbacks *callbacks);

#endif
