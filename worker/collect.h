/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Takes what an ended task left behind: each entry of its output folder becomes an artifact, the
 * numbers of metrics.json become metrics, the log becomes the artifact ".log". Also after a failure,
 * since a report of why it failed is an output. A file moves into the store where it can and is copied
 * where it cannot (cas_put_own_file); its name stays until the folder is removed. Blocks on disks; runs on
 * libuv's pool and touches nothing but its job. Doing it again gives the same.
 */
#ifndef MLQ_WORKER_COLLECT_H
#define MLQ_WORKER_COLLECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/artifact/cas.h"
#include "lib/base/err.h"
#include "lib/net/msg.h"
#include "lib/sys/region.h"
#include "worker/agent/cause.h"

#define COLLECT_ARTIFACTS_MAX 1000 /* top-level entries of MLQ_OUTPUT */
#define COLLECT_METRICS_MAX 1000   /* names of one attempt */

struct cgroup_host;

struct collect_job {
    const char *dir;
    const char *store;
    unsigned threads; /* at most so many put its outputs at once; 0 is 1 */
    const struct cgroup_host *host;
    const char *const *groups; /* its control groups, ended by NULL; nothing runs in them any more */
    bool may_keep_groups;
    const char *checkpoint;       /* its alone, and it ended well: may serve another, */
    const char *checkpoint_place; /* from here. NULL: not */
    const struct cas_digest *silence; /* the log of a task that wrote nothing, when the store has it; NULL: it may not */
    struct mlq_region *region; /* used by this job alone until it is done */
    /* Results. What could be kept is there also when something else could not. */
    enum worker_cause cause; /* NONE or OUTPUT */
    struct msg_artifact *artifacts;
    size_t artifact_count;
    struct msg_metric *metrics; /* of metrics.json */
    size_t metric_count;
    bool was_silent;       /* its log is empty, and in the store */
    struct cas_digest log;
    bool is_checkpoint_kept;
    bool has_fresh_groups; /* kept, to serve again; else they are gone */
    struct mlq_err err;    /* the first failure */
};

void collect_run(struct collect_job *job);

/* The part that reads a task's metrics.json: fills metrics. A text that is no JSON object gives none:
 * it is an artifact like any other. */
void collect_metrics(struct collect_job *job, struct mlq_str text);

#endif
