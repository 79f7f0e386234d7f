/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Makes the folder of an attempt ready to run: inputs from the store, code, parameters, checkpoint
 * folder, limits, and the shim's description. Blocks on disks; runs on libuv's pool and touches
 * nothing but its job.
 *
 *     work/        the task starts here; holds the code
 *     in/<name>/   each input, read-only; only where there are inputs. A copy for a command, and for an
 *                  operator a link to the object, if the store lies on this file system
 *     out/         MLQ_OUTPUT
 *     tmp/         TMPDIR
 */
#ifndef MLQ_WORKER_PREPARE_H
#define MLQ_WORKER_PREPARE_H

#include "lib/base/err.h"
#include "lib/net/msg.h"
#include "lib/sys/region.h"
#include "worker/agent/cause.h"
#include "worker/exec/cgroup.h"
#include "worker/exec/shimfile.h"
#include "worker/probe.h"

struct prepare_job {
    const char *dir;
    const char *spare; /* a folder to become it (folder.h); NULL: none */
    const char *spare_checkpoint; /* the same for its checkpoints; NULL: none */
    const char *store;
    const char *bin_dir;
    const char *control;
    const struct msg_assignment *assignment; /* made by assignment_copy */
    const struct probe *probe;
    const struct cgroup_host *cgroups;
    struct cgroup_bounds bounds; /* prepare_bounds of the assignment */
    const char *group;           /* name of its control groups, which cgpool_take gave for them */
    struct mlq_region *region; /* used by this job alone until it is done */
    /* Results. */
    enum worker_cause cause; /* NONE: ready */
    const char *checkpoint;
    bool used_spare_checkpoint;
    const char *group_paths[SHIMFILE_CGROUPS_MAX + 1];
    struct mlq_err err;
};

/* What the assignment allows its processes. */
struct cgroup_bounds prepare_bounds(const struct msg_assignment *assignment);

void prepare_run(struct prepare_job *job);

#endif
