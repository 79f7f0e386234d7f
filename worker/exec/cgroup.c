/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/exec/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/str.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

#define FILE_BYTES_MAX (1u << 20)
#define CPU_PERIOD_US  100000
#define SHARES_PER_CPU 1024 /* version 1's weight of one CPU */
#define FRESH_BYTES_MAX (1u << 20) /* so much a reused group may hold back from the next task */

static const char *const controller_names[CGROUP_CONTROLLERS] = {"memory", "cpu", "pids"};

static bool write_text(const char *dir, const char *name, const char *text)
{
    char *path = mlq_fs_join(dir, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    mlq_free(path);
    if (fd < 0) {
        return false;
    }
    bool good = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    close(fd);
    return good;
}

static bool write_number(const char *dir, const char *name, int64_t value)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%lld", (long long)value);
    return write_text(dir, name, text);
}

static char *read_text(const char *dir, const char *name)
{
    char *path = mlq_fs_join(dir, name);
    char *data = NULL;
    size_t len;
    if (mlq_fs_read(path, FILE_BYTES_MAX, &data, &len, NULL) != MLQ_OK) {
        data = NULL;
    }
    mlq_free(path);
    return data;
}

/* ---- What is writable ---- */

/* The next space-separated word of a line. */
static struct mlq_str word(struct mlq_str *line)
{
    struct mlq_str head;
    struct mlq_str tail;
    (void)mlq_str_cut(*line, ' ', &head, &tail);
    *line = tail;
    return head;
}

static bool has_item(struct mlq_str list, const char *item)
{
    while (list.len > 0) {
        struct mlq_str head;
        struct mlq_str tail;
        (void)mlq_str_cut(list, ',', &head, &tail);
        if (mlq_str_eq_c(head, item)) {
            return true;
        }
        list = tail;
    }
    return false;
}

/* Where a hierarchy is mounted: mountinfo lines are
 * "36 35 98:0 /root /mount/point options [optional...] - fstype source superoptions" (proc(5)). */
static bool find_mount(const char *controller, char *root, char *mount)
{
    char *data = read_text("/proc/self", "mountinfo");
    struct mlq_str rest = mlq_str_from(data);
    bool found = false;
    while (!found && rest.len > 0) {
        struct mlq_str line;
        struct mlq_str left;
        struct mlq_str tail;
        (void)mlq_str_cut(rest, '\n', &line, &tail);
        rest = tail;
        for (int i = 0; i < 3; i++) {
            (void)word(&line);
        }
        struct mlq_str root_word = word(&line);
        struct mlq_str mount_word = word(&line);
        while (line.len > 0 && !mlq_str_eq_c(word(&line), "-")) {
        }
        struct mlq_str type = word(&line);
        (void)word(&line);
        left = line;
        found = controller == NULL ? mlq_str_eq_c(type, "cgroup2")
                                   : mlq_str_eq_c(type, "cgroup") && has_item(left, controller);
        if (found) {
            (void)snprintf(root, PATH_MAX, "%.*s", MLQ_STR_ARG(root_word));
            (void)snprintf(mount, PATH_MAX, "%.*s", MLQ_STR_ARG(mount_word));
        }
    }
    mlq_free(data);
    return found;
}

/* This process's group in a hierarchy: lines "4:memory:/path", "0::/path" (cgroups(7)). */
static bool find_own(const char *controller, char *own)
{
    char *data = read_text("/proc/self", "cgroup");
    struct mlq_str rest = mlq_str_from(data);
    bool found = false;
    while (!found && rest.len > 0) {
        struct mlq_str line;
        struct mlq_str tail;
        struct mlq_str number;
        struct mlq_str names;
        (void)mlq_str_cut(rest, '\n', &line, &tail);
        rest = tail;
        (void)mlq_str_cut(line, ':', &number, &tail);
        (void)mlq_str_cut(tail, ':', &names, &line);
        found = controller == NULL ? mlq_str_eq_c(number, "0") && names.len == 0
                                   : has_item(names, controller);
        if (found) {
            (void)snprintf(own, PATH_MAX, "%.*s", MLQ_STR_ARG(line));
        }
    }
    mlq_free(data);
    return found;
}

/* The folder of this process's group. In a container the mount may show only a part of the
 * hierarchy (its root), and the own group may lie outside it: then the mount itself is tried. */
static bool find_group(const char *controller, char *path)
{
    char root[PATH_MAX];
    char mount[PATH_MAX];
    char own[PATH_MAX];
    if (!find_mount(controller, root, mount) || !find_own(controller, own)) {
        return false;
    }
    size_t root_len = strcmp(root, "/") == 0 ? 0 : strlen(root);
    const char *inner = strncmp(own, root, root_len) == 0 ? own + root_len : "";
    inner = strcmp(inner, "/") == 0 ? "" : inner;
    int used = snprintf(path, PATH_MAX, "%s%s", mount, inner);
    if (used > 0 && used < PATH_MAX && mlq_fs_exists(path)) {
        return true;
    }
    (void)snprintf(path, PATH_MAX, "%s", mount);
    return true;
}

static bool try_child(const char *parent, const char *file)
{
    char *trial = mlq_format("%s/mlq-probe-%d", parent, (int)getpid());
    bool good = mkdir(trial, 0755) == 0;
    if (good) {
        char *limit = mlq_fs_join(trial, file);
        good = access(limit, W_OK) == 0;
        mlq_free(limit);
        (void)rmdir(trial);
    }
    mlq_free(trial);
    return good;
}

static bool probe_v2(struct cgroup_host *host)
{
    static const char *const files[CGROUP_CONTROLLERS] = {"memory.max", "cpu.max", "pids.max"};
    char group[PATH_MAX];
    if (!find_group(NULL, group)) {
        return false;
    }
    char *controllers = read_text(group, "cgroup.controllers");
    bool offered = controllers != NULL && strstr(controllers, "memory") != NULL;
    mlq_free(controllers);
    if (!offered) {
        return false;
    }
    if (!try_child(group, files[CGROUP_MEMORY])) {
        char *own = mlq_fs_join(group, "mlq-worker");
        if (mkdir(own, 0755) == 0 || errno == EEXIST) {
            (void)cgroup_join(own, getpid());
        }
        mlq_free(own);
        (void)write_text(group, "cgroup.subtree_control", "+memory");
        (void)write_text(group, "cgroup.subtree_control", "+cpu");
        (void)write_text(group, "cgroup.subtree_control", "+pids");
    }
    for (int i = 0; i < CGROUP_CONTROLLERS; i++) {
        if (try_child(group, files[i])) {
            (void)snprintf(host->parents[i], PATH_MAX, "%s", group);
            host->version = 2;
        }
    }
    return host->version == 2;
}

void cgroup_probe(struct cgroup_host *host)
{
    static const char *const files[CGROUP_CONTROLLERS] = {"memory.limit_in_bytes", "cpu.shares",
                                                          "pids.max"};
    *host = (struct cgroup_host){0};
    if (probe_v2(host)) {
        return;
    }
    for (int i = 0; i < CGROUP_CONTROLLERS; i++) {
        char group[PATH_MAX];
        if (find_group(controller_names[i], group) && try_child(group, files[i])) {
            (void)snprintf(host->parents[i], PATH_MAX, "%s", group);
            host->version = 1;
        }
    }
}

void cgroup_describe(const struct cgroup_host *host, char *text, size_t room)
{
    size_t used = 0;
    for (int i = 0; i < CGROUP_CONTROLLERS; i++) {
        if (host->parents[i][0] != '\0') {
            int put = snprintf(text + used, room - used, "%s%s", used == 0 ? "" : ",",
                               controller_names[i]);
            used += put > 0 && (size_t)put < room - used ? (size_t)put : 0;
        }
    }
    if (used == 0) {
        (void)snprintf(text, room, "no cgroup writable: memory is watched by the shim");
    } else {
        (void)snprintf(text + used, room - used, " by cgroup v%d%s", host->version,
                       host->parents[CGROUP_MEMORY][0] == '\0' ? "; memory is watched by the shim"
                                                               : "");
    }
}

/* ---- Groups of one task ---- */

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
        return write_text(path, "cpu.max", text);
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
    (void)write_text(path, "cgroup.kill",
                     "1"); /* version 2 since Linux 5.14: the whole tree at once */
    char *data = read_text(path, "cgroup.procs");
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
uint64_t cgroup_oom_kills(const char *path)
{
    char *data = read_text(path, "memory.events");
    data = data != NULL ? data : read_text(path, "memory.oom_control");
    struct mlq_str rest = mlq_str_from(data);
    uint64_t kills = 0;
    while (rest.len > 0) {
        struct mlq_str line;
        struct mlq_str tail;
        (void)mlq_str_cut(rest, '\n', &line, &tail);
        rest = tail;
        if (mlq_str_starts(line, "oom_kill ")) {
            (void)word(&line);
            (void)mlq_str_u64(line, &kills);
        }
    }
    mlq_free(data);
    return kills;
}

bool cgroup_is_empty(const char *path)
{
    char *procs = read_text(path, "cgroup.procs");
    bool is_empty = procs != NULL && procs[0] == '\0';
    mlq_free(procs);
    return is_empty;
}

/* What a task left there: pages in tmpfs, kernel memory. True where memory is not counted. */
static bool is_memory_fresh(const char *path)
{
    uint64_t bytes = UINT64_MAX;
    char *text = read_text(path, "memory.current");
    text = text != NULL ? text : read_text(path, "memory.usage_in_bytes");
    bool is_counted = text != NULL;
    (void)mlq_str_u64(mlq_str_trim(mlq_str_from(text)), &bytes);
    mlq_free(text);
    return !is_counted || (bytes <= FRESH_BYTES_MAX && cgroup_oom_kills(path) == 0);
}

bool cgroup_is_fresh(const char *const *paths)
{
    for (; *paths != NULL; paths++) {
        if (!cgroup_is_empty(*paths) || !is_memory_fresh(*paths)) {
            return false;
        }
    }
    return true;
}

bool cgroup_remove(const char *path)
{
    return rmdir(path) == 0 || errno == ENOENT;
}
