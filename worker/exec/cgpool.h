/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Control groups that a task has left as good as new, kept for the next one: to make and remove three
 * groups costs more than to run a small program. A worker's own; one thread.
 *
 * Who gives a group has seen that it is fresh (cgroup_is_fresh). Who takes one sets its bounds again.
 */
#ifndef MLQ_WORKER_EXEC_CGPOOL_H
#define MLQ_WORKER_EXEC_CGPOOL_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/sys/region.h"
#include "worker/exec/cgroup.h"

#define CGPOOL_MAX        32 /* groups that wait; one more is removed */
#define CGPOOL_NAME_BYTES 80

struct cgpool_entry {
    char name[CGPOOL_NAME_BYTES];
    struct cgroup_bounds bounds;
};

struct cgpool {
    const struct cgroup_host *host;
    char prefix[CGPOOL_NAME_BYTES / 2]; /* "mlq-HASH-": of all groups of this worker, and of no other */
    struct cgpool_entry entries[CGPOOL_MAX];
    unsigned count;
};

/* `home` is the worker's folder: what tells it from others on this machine. */
void cgpool_init(struct cgpool *pool, const struct cgroup_host *host, const char *home);

/* A name for cgroup_make, in `region`: of groups with these bounds that wait here, or a new one. */
const char *cgpool_take(struct cgpool *pool,
                        const struct cgroup_bounds *bounds,
                        uint64_t attempt,
                        uint32_t rank,
                        struct mlq_region *region);

/* They are fresh. False: there is no room, and they are removed. */
bool cgpool_give(struct cgpool *pool, const char *name, const struct cgroup_bounds *bounds);

/* Removes those that wait. */
void cgpool_fini(struct cgpool *pool);

/* At the start of a worker: removes what waited when an earlier one was killed. `is_used` says of a
 * group's folder whether a task that lives on may be about to enter it. */
void cgpool_sweep(struct cgpool *pool, bool (*is_used)(void *context, const char *path), void *context);

#endif
