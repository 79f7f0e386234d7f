/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/exec/cgroup.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/str.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "worker/exec/cgroup_file.h"

#define CPU_PERIOD_US  100000
#define SHARES_PER_CPU 1024 /* version 1's weight of one CPU */
#define FRESH_BYTES_MAX (1u << 20) /* so much a reused group may hold back from the next task */

static bool write_number(const char *dir, const char *name, int64_t value)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%lld", (long long)value);
    return cgroup_file_write(dir, name, text);
}

static bool bound_memory(int version, const char *path, int64_t bytes)
{
    if (version == 2) {
        (void)write_number(path, "memory.swap.max", 0);
        (void)write_number(path, "memory.oom.group", 0);
        return write_number(path, "memory.max", bytes);
    }
    bool good = write_number(path, "memory.limit_in_bytes", bytes);
    (void)write_number(path, "memory.memsw.limit_in_bytes",
                       bytes); /* absent without swap accounting */
    return good;
}

/* A weight for times of contention and a quota: a task that starts more threads than it asked for
 * slows itself, not its neighbours. */
static bool bound_cpu(int version, const char *path, int64_t milli)
{
    char text[48];
    int64_t quota = milli * CPU_PERIOD_US / 1000;
    quota = quota < 1000 ? 1000 : quota; /* the kernel's least */
    if (version == 2) {
        int64_t weight = milli / 10;
        (void)write_number(path, "cpu.weight", weight < 1 ? 1 : weight > 10000 ? 10000 : weight);
        (void)snprintf(text, sizeof text, "%lld %d", (long long)quota, CPU_PERIOD_US);
        return cgroup_file_write(path, "cpu.max", text);
    }
    int64_t shares = milli * SHARES_PER_CPU / 1000;
    bool weighted = write_number(path, "cpu.shares", shares < 2 ? 2 : shares);
    bool bounded = write_number(path, "cpu.cfs_period_us", CPU_PERIOD_US) &&
                   write_number(path, "cpu.cfs_quota_us", quota);
    return weighted || bounded;
}

static bool bound_one(const struct cgroup_host *host, enum cgroup_controller controller,
                      const char *path, const struct cgroup_bounds *bounds)
{
    switch (controller) {
    case CGROUP_MEMORY:
        return bounds->mem_bytes == 0 || bound_memory(host->version, path, bounds->mem_bytes);
    case CGROUP_CPU:
        return bounds->cpu_milli == 0 || bound_cpu(host->version, path, bounds->cpu_milli);
    case CGROUP_PIDS:
        return bounds->pids_max == 0 || write_number(path, "pids.max", bounds->pids_max);
    case CGROUP_CONTROLLERS:
        break;
    }
    return false;
}

void cgroup_make(const struct cgroup_host *host, const char *name,
                 const struct cgroup_bounds *bounds, struct mlq_region *region,
                 const char *paths[CGROUP_CONTROLLERS + 1], bool *mem_bounded)
{
    int count = 0;
    *mem_bounded = false;
    for (int i = 0; i < CGROUP_CONTROLLERS; i++) {
        if (host->parents[i][0] == '\0') {
            continue;
        }
        const char *path = mlq_region_format(region, "%s/%s", host->parents[i], name);
        bool made = mkdir(path, 0755) == 0 || errno == EEXIST;
        bool bounded = made && bound_one(host, (enum cgroup_controller)i, path, bounds);
        bool again = count > 0 && strcmp(paths[count - 1], path) == 0; /* version 2: one group */
        *mem_bounded = *mem_bounded || (i == CGROUP_MEMORY && bounded && bounds->mem_bytes > 0);
        if (bounded && !again) {
            paths[count++] = path;
            continue;
        }
        if (made && !again) {
            (void)rmdir(path);
        }
    }
    paths[count] = NULL;
}

bool cgroup_join(const char *path, pid_t pid)
{
    return write_number(path, "cgroup.procs", pid);
}

void cgroup_forbid_forks(const char *path)
{
    (void)write_number(path, "pids.max", 0);
}

int cgroup_kill(const char *path)
{
    (void)cgroup_file_write(path, "cgroup.kill",
                     "1"); /* version 2 since Linux 5.14: the whole tree at once */
    char *data = cgroup_file_read(path, "cgroup.procs");
    struct mlq_str rest = mlq_str_from(data);
    int seen = 0;
    while (rest.len > 0) {
        struct mlq_str line;
        struct mlq_str tail;
        uint64_t pid;
        (void)mlq_str_cut(rest, '\n', &line, &tail);
        rest = tail;
        if (mlq_str_u64(line, &pid) && pid > 1 && pid <= INT_MAX) {
            (void)kill((pid_t)pid, SIGKILL);
            seen++;
        }
    }
    mlq_free(data);
    return seen;
}

/* The number after "oom_kill " in memory.events (v2) or memory.oom_control (v1). */
static uint64_t oom_kills_in(const char *path, const char *file)
{
    char *data = cgroup_file_read(path, file);
    struct mlq_str rest = mlq_str_from(data);
    uint64_t kills = 0;
    while (rest.len > 0) {
        struct mlq_str line;
        struct mlq_str tail;
        (void)mlq_str_cut(rest, '\n', &line, &tail);
        rest = tail;
        if (mlq_str_starts(line, "oom_kill ")) {
            (void)cgroup_file_word(&line);
            (void)mlq_str_u64(line, &kills);
        }
    }
    mlq_free(data);
    return kills;
}

uint64_t cgroup_oom_kills(const char *path)
{
    uint64_t kills = oom_kills_in(path, "memory.events");
    return kills > 0 ? kills : oom_kills_in(path, "memory.oom_control");
}

bool cgroup_is_empty(const char *path)
{
    char *procs = cgroup_file_read(path, "cgroup.procs");
    bool is_empty = procs != NULL && procs[0] == '\0';
    mlq_free(procs);
    return is_empty;
}

/* Whether it is a memory group. */
static bool counts_memory(const struct cgroup_host *host, const char *path)
{
    const char *parent = host->parents[CGROUP_MEMORY];
    const size_t len = strlen(parent);
    return len > 0 && strncmp(path, parent, len) == 0 && path[len] == '/';
}

/* What a task left there: pages in tmpfs, kernel memory. The kernel also counts what it keeps at
 * hand. */
static bool is_memory_fresh(const struct cgroup_host *host, const char *path)
{
    const bool is_v2 = host->version == 2;
    uint64_t bytes = UINT64_MAX;
    char *text = cgroup_file_read(path, is_v2 ? "memory.current" : "memory.usage_in_bytes");
    (void)mlq_str_u64(mlq_str_trim(mlq_str_from(text)), &bytes);
    mlq_free(text);
    return bytes <= FRESH_BYTES_MAX + host->ahead_bytes &&
           oom_kills_in(path, is_v2 ? "memory.events" : "memory.oom_control") == 0;
}

bool cgroup_is_fresh(const struct cgroup_host *host, const char *const *paths)
{
    for (; *paths != NULL; paths++) {
        if (!cgroup_is_empty(*paths) ||
            (counts_memory(host, *paths) && !is_memory_fresh(host, *paths))) {
            return false;
        }
    }
    return true;
}

bool cgroup_remove(const char *path)
{
    return rmdir(path) == 0 || errno == ENOENT;
}
