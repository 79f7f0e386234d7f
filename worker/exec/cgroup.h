/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Control groups, version 2 or else 1. Each controller (memory, cpu, pids) is used where it is
 * writable and left out where not; what is left out is said.
 *
 * In version 1 the groups of tasks are made below the worker's own. In version 2 a group with
 * processes cannot limit its children, so a group "mlq" is made for them, as far up as this user may:
 * root's in the mount, beside systemd's slices; a user's in his own manager (user@UID.service), when
 * the worker is in one of its units; else in the worker's own group, if that was given to this user
 * (Delegate=yes) or root is alone in it (a container), once its processes are moved into a leaf
 * "mlq-programs".
 *
 * Where there is no memory group the shim watches instead (shim.c). RLIMIT_AS is not used in its
 * place: it counts address space, so programs that reserve much and touch little (CUDA, Java, Go,
 * AddressSanitizer) would fail at once, and those that do hit it fail in ways that nobody can tell
 * from their own mistakes.
 */
#ifndef MLQ_WORKER_EXEC_CGROUP_H
#define MLQ_WORKER_EXEC_CGROUP_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/sys/region.h"

enum cgroup_controller { CGROUP_MEMORY, CGROUP_CPU, CGROUP_PIDS, CGROUP_CONTROLLERS };

struct cgroup_host {
    int version; /* 2 or 1; 0: none is writable */
    /* The group below which each task gets its own; empty: not writable. The same for version 2. */
    char parents[CGROUP_CONTROLLERS][PATH_MAX];
    /* So much may be counted to a memory group that nobody uses: each CPU charges 64 pages at a
     * time (the kernel's MEMCG_CHARGE_BATCH) and keeps what it did not need. */
    uint64_t ahead_bytes;
};

/* What is writable here. It tries by making (and removing) a group, and in version 2 leaves behind
 * "mlq", and the leaf. */
void cgroup_probe(struct cgroup_host *host);

/* "memory,cpu,pids by cgroup v1", "none (memory is watched)" ... for logs and the hello. */
void cgroup_probe_describe(const struct cgroup_host *host, char *text, size_t room);

/* What this process and all beside it may use: the least limit from its group up to the mount, in
 * bytes and in thousandths of a CPU; INT64_MAX where nothing is limited. */
int64_t cgroup_probe_mem_bytes(void);
int64_t cgroup_probe_cpu_milli(void);

struct cgroup_bounds {
    int64_t mem_bytes; /* 0: no limit */
    int64_t cpu_milli; /* 0: no limit */
    int64_t pids_max;  /* 0: no limit */
};

/* Makes the groups of one task and sets their bounds. Fills paths (ended by NULL, in `region`),
 * fewer where something fails: a group that cannot be bounded is not used. *mem_bounded says
 * whether the kernel holds the memory limit. */
void cgroup_make(const struct cgroup_host *host, const char *name,
                 const struct cgroup_bounds *bounds, struct mlq_region *region,
                 const char *paths[CGROUP_CONTROLLERS + 1],
                 bool *mem_bounded);

/* The rest is for one group's folder. */
bool cgroup_join(const char *path, pid_t pid);
void cgroup_forbid_forks(const char *path); /* so that killing comes to an end */
int cgroup_kill(const char *path);          /* SIGKILL to each process in it; how many were seen */
uint64_t cgroup_oom_kills(const char *path);
bool cgroup_is_empty(const char *path);
bool cgroup_remove(const char *path);       /* false: processes are in it. Absent is fine */

/* Whether a task's groups (all of them, ended by NULL) may serve another: nobody is in them, nobody
 * was killed for memory, and what is still charged to them is next to nothing. */
bool cgroup_is_fresh(const struct cgroup_host *host, const char *const *paths);

#endif
