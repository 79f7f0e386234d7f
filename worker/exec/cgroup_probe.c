/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Where groups can be made. Version 2 limits only children of a group that has no processes of its
 * own (cgroups(7), "no internal processes"), so a worker cannot simply make them beside itself.
 */
#include "worker/exec/cgroup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/str.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "worker/exec/cgroup_file.h"

#define MLQ_GROUP  "mlq"          /* version 2: the parent of the groups of tasks */
#define LEAF_GROUP "mlq-programs" /* version 2: where processes go that were in the way */
#define MOVES_MAX  8              /* a process may start another while it is moved */
#define CHARGE_PAGES 64           /* see ahead_bytes in cgroup.h */

static const char *const controller_names[CGROUP_CONTROLLERS] = {"memory", "cpu", "pids"};
static const char *const files_v2[CGROUP_CONTROLLERS] = {"memory.max", "cpu.max", "pids.max"};
static const char *const files_v1[CGROUP_CONTROLLERS] = {"memory.limit_in_bytes", "cpu.shares",
                                                         "pids.max"};

/* ---- Finding ---- */

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
    char *data = cgroup_file_read("/proc/self", "mountinfo");
    struct mlq_str rest = mlq_str_from(data);
    bool found = false;
    while (!found && rest.len > 0) {
        struct mlq_str line;
        struct mlq_str tail;
        (void)mlq_str_cut(rest, '\n', &line, &tail);
        rest = tail;
        for (int i = 0; i < 3; i++) {
            (void)cgroup_file_word(&line);
        }
        struct mlq_str root_word = cgroup_file_word(&line);
        struct mlq_str mount_word = cgroup_file_word(&line);
        while (line.len > 0 && !mlq_str_eq_c(cgroup_file_word(&line), "-")) {
        }
        struct mlq_str type = cgroup_file_word(&line);
        (void)cgroup_file_word(&line);
        found = controller == NULL ? mlq_str_eq_c(type, "cgroup2")
                                   : mlq_str_eq_c(type, "cgroup") && has_item(line, controller);
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
    char *data = cgroup_file_read("/proc/self", "cgroup");
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

/* The mount and this process's group in it. In a container the mount may show only a part of the
 * hierarchy (its root), and the own group may lie outside it: then the mount itself is taken. */
static bool find_group(const char *controller, char *mount, char *group)
{
    char root[PATH_MAX];
    char own[PATH_MAX];
    if (!find_mount(controller, root, mount) || !find_own(controller, own)) {
        return false;
    }
    size_t root_len = strcmp(root, "/") == 0 ? 0 : strlen(root);
    const char *inner = strncmp(own, root, root_len) == 0 ? own + root_len : "";
    inner = strcmp(inner, "/") == 0 ? "" : inner;
    int used = snprintf(group, PATH_MAX, "%s%s", mount, inner);
    if (used <= 0 || used >= PATH_MAX || !mlq_fs_exists(group)) {
        (void)snprintf(group, PATH_MAX, "%s", mount);
    }
    return true;
}

/* ---- Trying ---- */

static bool can_bound_child(const char *parent, const char *file)
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

static bool enable_controller(const char *group, enum cgroup_controller controller)
{
    char text[16];
    (void)snprintf(text, sizeof text, "+%s", controller_names[controller]);
    return cgroup_file_write(group, "cgroup.subtree_control", text);
}

/* Memory comes first and decides: the kernel refuses it where processes are in the way, but hands out
 * the others, which would turn the group into the root of threads and its children useless. */
static bool enable_controllers(const char *group)
{
    if (!enable_controller(group, CGROUP_MEMORY)) {
        return false;
    }
    (void)enable_controller(group, CGROUP_CPU); /* not offered everywhere */
    (void)enable_controller(group, CGROUP_PIDS);
    return true;
}

/* A group "mlq" below `group`, for the groups of tasks. */
static bool take_below(struct cgroup_host *host, const char *group)
{
    if (!enable_controllers(group)) {
        return false;
    }
    char *parent = mlq_fs_join(group, MLQ_GROUP);
    if ((mkdir(parent, 0755) == 0 || errno == EEXIST) && enable_controllers(parent)) {
        for (int i = 0; i < CGROUP_CONTROLLERS; i++) {
            if (can_bound_child(parent, files_v2[i])) {
                (void)snprintf(host->parents[i], PATH_MAX, "%s", parent);
                host->version = 2;
            }
        }
    }
    mlq_free(parent);
    return host->parents[CGROUP_MEMORY][0] != '\0';
}

/* As far up as it may be. Not in the worker's own unit, because systemd cannot start a unit again in
 * whose group it would have to put a process beside those of tasks of its last run. */
static bool take_highest(struct cgroup_host *host, const char *mount, const char *group)
{
    size_t len = strlen(mount);
    for (;;) {
        char *at = mlq_format("%.*s", (int)len, group);
        bool good = take_below(host, at);
        mlq_free(at);
        if (good || group[len] == '\0') {
            return good;
        }
        len += 1 + strcspn(group + len + 1, "/");
    }
}

/* Moves the processes of `from`, or only this one, into `to`; false when none was moved. */
static bool move_processes(const char *from, const char *to, bool only_self)
{
    if (only_self) {
        return cgroup_join(to, getpid());
    }
    char *data = cgroup_file_read(from, "cgroup.procs");
    struct mlq_str rest = mlq_str_from(data);
    bool moved = false;
    while (rest.len > 0) {
        struct mlq_str line;
        uint64_t pid;
        (void)mlq_str_cut(rest, '\n', &line, &rest);
        if (mlq_str_u64(line, &pid) && pid > 0 && pid <= INT_MAX) {
            moved = cgroup_join(to, (pid_t)pid) || moved;
        }
    }
    mlq_free(data);
    return moved;
}

/* Where nothing above is ours: the group's processes make room in a leaf. A user can do that only in
 * a group that was given to him with all that is in it (systemd's Delegate=yes); root, in a container,
 * moves itself only, which is enough where it is alone. */
static bool take_own(struct cgroup_host *host, const char *group)
{
    char *leaf = mlq_fs_join(group, LEAF_GROUP);
    bool made = mkdir(leaf, 0755) == 0;
    bool good = false;
    if (made || errno == EEXIST) {
        for (int i = 0; !good && i < MOVES_MAX && move_processes(group, leaf, geteuid() == 0); i++) {
            good = take_below(host, group);
        }
    }
    if (made && !good) {
        (void)cgroup_join(group, getpid());
        (void)rmdir(leaf);
    }
    mlq_free(leaf);
    return good;
}

static bool probe_v2(struct cgroup_host *host)
{
    char mount[PATH_MAX];
    char group[PATH_MAX];
    if (!find_group(NULL, mount, group)) {
        return false;
    }
    char *offered = cgroup_file_read(mount, "cgroup.controllers");
    bool has_memory = offered != NULL && strstr(offered, controller_names[CGROUP_MEMORY]) != NULL;
    mlq_free(offered);
    if (!has_memory) {
        return false; /* the controllers are version 1's */
    }
    if (mlq_str_ends(mlq_str_from(group), "/" LEAF_GROUP)) {
        *strrchr(group, '/') = '\0'; /* where this was moved, or what started it */
    }
    return take_highest(host, mount, group) || take_own(host, group);
}

static uint64_t ahead_bytes(void)
{
    return (uint64_t)sysconf(_SC_NPROCESSORS_ONLN) * CHARGE_PAGES * (uint64_t)sysconf(_SC_PAGESIZE);
}

void cgroup_probe(struct cgroup_host *host)
{
    *host = (struct cgroup_host){.ahead_bytes = ahead_bytes()};
    if (probe_v2(host)) {
        return;
    }
    *host = (struct cgroup_host){.ahead_bytes = ahead_bytes()};
    for (int i = 0; i < CGROUP_CONTROLLERS; i++) {
        char mount[PATH_MAX];
        char group[PATH_MAX];
        if (find_group(controller_names[i], mount, group) && can_bound_child(group, files_v1[i])) {
            (void)snprintf(host->parents[i], PATH_MAX, "%s", group);
            host->version = 1;
        }
    }
}

void cgroup_probe_describe(const struct cgroup_host *host, char *text, size_t room)
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

/* ---- What this process itself may use ---- */

static int64_t number_in(const char *group, const char *file)
{
    int64_t number = 0;
    char *text = cgroup_file_read(group, file);
    bool good = mlq_str_i64(mlq_str_trim(mlq_str_from(text)), &number) && number > 0;
    mlq_free(text);
    return good ? number : INT64_MAX; /* "max", -1, absent: no limit */
}

/* Of one group; INT64_MAX: no limit. */
static int64_t cpu_milli_of(const char *group)
{
    long long quota = 0;
    long long period = 0;
    char *text = cgroup_file_read(group, "cpu.max");
    bool is_bounded = text != NULL && sscanf(text, "%lld %lld", &quota, &period) == 2;
    mlq_free(text);
    if (text == NULL) {
        quota = number_in(group, "cpu.cfs_quota_us");
        period = number_in(group, "cpu.cfs_period_us");
        is_bounded = quota != INT64_MAX && period != INT64_MAX;
    }
    return is_bounded && quota > 0 && period > 0 ? quota * 1000 / period : INT64_MAX;
}

static int64_t mem_bytes_of(const char *group)
{
    int64_t v2 = number_in(group, "memory.max");
    int64_t v1 = number_in(group, "memory.limit_in_bytes");
    return v2 < v1 ? v2 : v1;
}

/* The least among the own group and those above it, up to the mount. */
static int64_t least_above(enum cgroup_controller controller, int64_t (*of)(const char *group))
{
    char mount[PATH_MAX];
    char group[PATH_MAX];
    int64_t least = INT64_MAX;
    if (!find_group(controller_names[controller], mount, group) && !find_group(NULL, mount, group)) {
        return least;
    }
    for (;;) {
        int64_t limit = of(group);
        least = limit < least ? limit : least;
        if (strlen(group) <= strlen(mount)) {
            return least;
        }
        *strrchr(group, '/') = '\0';
    }
}

int64_t cgroup_probe_mem_bytes(void)
{
    return least_above(CGROUP_MEMORY, mem_bytes_of);
}

int64_t cgroup_probe_cpu_milli(void)
{
    return least_above(CGROUP_CPU, cpu_milli_of);
}
