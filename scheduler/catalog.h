/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What the core's numbers stand for: per live job its spec, the artifacts and metrics of what has
 * succeeded, and progress. Filled by submission, facts and loading; one owner, the shell. Like the
 * core it runs ahead of the disk and is dropped with it.
 */
#ifndef MLQ_SCHEDULER_CATALOG_H
#define MLQ_SCHEDULER_CATALOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/list.h"
#include "lib/base/ownership.h"
#include "lib/base/str.h"
#include "lib/spec/spec.h"
#include "scheduler/core/core.h"
#include "scheduler/points.h"
#include "scheduler/specbook.h"
#include "scheduler/stall.h"
#include "scheduler/store/store.h"

struct catalog_artifact {
    uint32_t stage;
    uint32_t index;
    uint64_t attempt;
    struct mlq_str name;
    struct mlq_str digest;
    uint64_t bytes;
    bool is_tree;
};

struct catalog_metric { /* latest value */
    uint32_t stage;
    uint32_t index;
    uint64_t attempt;
    struct mlq_str name;
    double value;
    int64_t step; /* INT64_MIN: none */
    int64_t at_us;
};

struct catalog_stage {
    enum core_state state;
    uint32_t succeeded; /* tasks */
    uint32_t failed;    /* tasks whose last attempt ended without success, and that do not run again yet */
    uint32_t running;   /* tasks with an attempt that was assigned and has not ended on all ranks */
    double fraction;    /* progress of the newest report; negative: none */
    const char *text;   /* of that report, or NULL; owned by the job's region */
};

/* A task that did not succeed at first. */
struct catalog_restart {
    uint32_t stage;
    uint32_t index;
    uint32_t count; /* attempts that ended without success; 0: a free place */
    bool is_down;   /* counted in catalog_stage.failed */
};

/* An attempt of a gang that has not ended on all ranks. */
struct catalog_gang {
    uint64_t attempt; /* 0: a free place */
    uint32_t ranks;   /* assigned so far */
    uint32_t open;
    bool has_failed;    /* a rank has */
    bool has_succeeded; /* a rank has, which is enough where ranks go and come */
};

struct catalog_job {
    uint64_t id;
    struct specbook *book;
    const struct specbook_spec *shared; /* with all jobs of the same spec */
    const struct spec *spec;            /* in it */
    struct core_job_desc desc;          /* for the core */
    struct mlq_region *region;          /* of what the arrays and texts below hold; NULL: nothing yet */
    struct catalog_artifact *artifacts;
    size_t artifact_count;
    size_t artifact_room;
    struct catalog_metric *metrics;
    size_t metric_count;
    size_t metric_room;
    struct catalog_restart *restarts; /* a hash table by stage and index */
    size_t restart_count;
    size_t restart_room; /* 0, or a power of two */
    struct catalog_gang *gangs;
    size_t gang_count;
    size_t gang_room;
    struct stall stall; /* where its ranks are */
    struct points points; /* said last by the tasks of its arrays that run */
    int64_t since_ns; /* submitted, or retried: its deadline counts from here; on the core's line of time */
    enum core_state state;
    uint64_t version; /* grows with each change that a watcher may want to see, over all jobs and leaderships */
    struct catalog_stage stages[];
};

struct catalog;

MLQ_OWNED_RETURN struct catalog *catalog_create(uint32_t jobs_max, uint32_t epoch);
void catalog_destroy(struct catalog **catalog);

/* A job of this canonical spec that is not yet in the catalog; the book must outlive it. NULL: `err` holds
 * the diagnostics. */
MLQ_OWNED_RETURN struct catalog_job *catalog_job_create(MLQ_BORROWS struct specbook *book, struct mlq_str canonical,
                                                        struct mlq_err *err);
void catalog_job_destroy(struct catalog_job **job);

bool catalog_is_full(const struct catalog *catalog);

/* The catalog becomes the owner. It must not be full, nor know the id. */
void catalog_add(struct catalog *catalog, MLQ_TAKES struct catalog_job *job, uint64_t id);
struct catalog_job *catalog_find(const struct catalog *catalog, uint64_t id); /* or NULL */
void catalog_remove(struct catalog *catalog, uint64_t id);

/* A fact was decided or loaded. */
void catalog_apply(struct catalog *catalog, const struct core_fact *fact);

/* How often this task was tried before without success. */
uint32_t catalog_restarts(const struct catalog_job *job, uint32_t stage, uint32_t index);

void catalog_put_artifact(struct catalog_job *job, const struct catalog_artifact *artifact);
/* False when this very point, of this very time, is the latest already: a worker repeats the last values of an
 * attempt with its end, in case the report that brought them first was lost. (Not known of a name that is over 256
 * bytes, nor of more than 10,000 names of a job, or of the tasks of its arrays that run.) */
bool catalog_put_metric(struct catalog_job *job, const struct catalog_metric *metric);
void catalog_set_progress(struct catalog *catalog, struct catalog_job *job, uint32_t stage, double fraction,
                          struct mlq_str text);

/* Where a rank of it is: a worker's word of it. */
void catalog_set_rank(struct catalog *catalog, struct catalog_job *job, const struct stall_rank *rank, int64_t now_ns);

/* {"schema", "version", "job": {"id", "name", "state", "stages": [{name, state, total, succeeded, failed,
 * running, wants, progress, text, stalled: {attempt, rank, phase, epoch, step, seconds}}]}} for MSG_OP_WATCH;
 * "wants" is what each of its ranks asks for; "stalled" is the rank that the others wait for. */
struct mlq_str catalog_watch_json(const struct catalog_job *job, struct mlq_region *region);

/* The rows that record a job at submission; slices into the job and `region`. */
struct store_job catalog_store_job(const struct catalog_job *job, struct mlq_region *region);

#endif
