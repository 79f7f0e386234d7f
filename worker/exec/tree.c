/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/exec/tree.h"

#include <dirent.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "lib/base/str.h"
#include "lib/sys/clock.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

#define STAT_BYTES_MAX    4096
#define STATUS_BYTES_MAX  16384
#define ENVIRON_BYTES_MAX (16u << 20)
#define FORK_NO_EXEC      0x40u /* PF_FORKNOEXEC of Linux's include/linux/sched.h: it runs what its parent ran */

struct process {
    pid_t pid;
    pid_t parent;
    bool is_zombie;
    bool is_ours;
    bool has_no_exec;  /* forked, and running no program of its own yet */
    int64_t forked_ns; /* mlq_clock_boot_ns, in steps of 10 ms */
};

struct snapshot {
    struct process *items; /* owned */
    size_t count;
    size_t room;
};

static char *read_proc(pid_t pid, const char *name, size_t bytes_max, size_t *len)
{
    char path[64];
    char *data = NULL;
    (void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    return mlq_fs_read(path, bytes_max, &data, len, NULL) == MLQ_OK ? data : NULL;
}

/* "pid (comm) state ppid ...", proc(5): comm may hold anything, also ")". */
static bool read_process(pid_t pid, struct process *process)
{
    size_t len;
    char *text = read_proc(pid, "stat", STAT_BYTES_MAX, &len);
    const char *after = text == NULL ? NULL : strrchr(text, ')');
    char state = '?';
    int parent = 0;
    unsigned flags = 0;
    long long ticks = 0;
    bool good = after != NULL && sscanf(after + 1,
                                        " %c %d %*d %*d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %lld",
                                        &state, &parent, &flags, &ticks) == 4;
    *process = (struct process){.pid = pid,
                                .parent = parent,
                                .is_zombie = state == 'Z',
                                .has_no_exec = (flags & FORK_NO_EXEC) != 0,
                                .forked_ns = ticks * (MLQ_NS_PER_S / sysconf(_SC_CLK_TCK))};
    mlq_free(text);
    return good;
}

static bool next_pid(DIR *proc, pid_t *pid)
{
    for (struct dirent *entry = readdir(proc); entry != NULL; entry = readdir(proc)) {
        uint64_t number;
        if (mlq_str_u64(mlq_str_from(entry->d_name), &number) && number > 1 && number <= INT_MAX) {
            *pid = (pid_t)number;
            return true;
        }
    }
    return false;
}

/* All processes, with those marked that descend from this one. */
static void take_snapshot(struct snapshot *snapshot)
{
    *snapshot = (struct snapshot){0};
    DIR *proc = opendir("/proc");
    pid_t pid;
    while (proc != NULL && next_pid(proc, &pid)) {
        if (snapshot->count == snapshot->room) {
            snapshot->room = snapshot->room == 0 ? 256 : snapshot->room * 2;
            snapshot->items =
                mlq_realloc_array(snapshot->items, snapshot->room, sizeof *snapshot->items);
        }
        snapshot->count += read_process(pid, &snapshot->items[snapshot->count]) ? 1 : 0;
    }
    if (proc != NULL) {
        closedir(proc);
    }
    const pid_t self = getpid();
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = 0; i < snapshot->count; i++) {
            struct process *process = &snapshot->items[i];
            bool ours = process->parent == self;
            for (size_t j = 0; !process->is_ours && !ours && j < snapshot->count; j++) {
                ours = snapshot->items[j].is_ours && snapshot->items[j].pid == process->parent;
            }
            changed = changed || (ours && !process->is_ours);
            process->is_ours = process->is_ours || ours;
        }
    }
}

int tree_signal(int signal)
{
    struct snapshot snapshot;
    take_snapshot(&snapshot);
    int seen = 0;
    for (size_t i = 0; i < snapshot.count; i++) {
        const struct process *process = &snapshot.items[i];
        if (process->is_ours && !process->is_zombie) {
            (void)kill(process->pid, signal);
            seen++;
        }
    }
    mlq_free(snapshot.items);
    return seen;
}

/* "SigCgt:\t0000000180014a07": a bit for each signal, from 1 on (proc(5)). */
static bool has_handler(pid_t pid, int signal)
{
    size_t len;
    char *text = read_proc(pid, "status", STATUS_BYTES_MAX, &len);
    const char *line = text == NULL ? NULL : strstr(text, "\nSigCgt:");
    unsigned long long caught = 0;
    bool good = line != NULL && sscanf(line, "\nSigCgt: %llx", &caught) == 1;
    mlq_free(text);
    return good && (caught >> (signal - 1) & 1) != 0;
}

/* Between fork and exec a process has its parent's handlers, and a signal that comes behind the exec ends it. */
static bool may_exec(const struct process *process)
{
    return process->has_no_exec && mlq_clock_boot_ns() - process->forked_ns < TREE_SETTLED_NS;
}

int tree_signal_handlers(int signal)
{
    struct snapshot snapshot;
    take_snapshot(&snapshot);
    int told = 0;
    for (size_t i = 0; i < snapshot.count; i++) {
        const struct process *process = &snapshot.items[i];
        bool is_asked = process->is_ours && !process->is_zombie && !may_exec(process);
        int fd = is_asked ? pidfd_open(process->pid, 0) : -1;
        if (fd >= 0 && has_handler(process->pid, signal)) {
            told += pidfd_send_signal(fd, signal, NULL, 0) == 0 ? 1 : 0;
        }
        if (fd >= 0) {
            close(fd);
        }
    }
    mlq_free(snapshot.items);
    return told;
}

int64_t tree_private_bytes(void)
{
    struct snapshot snapshot;
    take_snapshot(&snapshot);
    const int64_t page = sysconf(_SC_PAGESIZE);
    int64_t total = 0;
    for (size_t i = 0; i < snapshot.count; i++) {
        size_t len;
        long long resident = 0;
        long long shared = 0;
        char *text = snapshot.items[i].is_ours
                         ? read_proc(snapshot.items[i].pid, "statm", STAT_BYTES_MAX, &len)
                         : NULL;
        if (text != NULL && sscanf(text, "%*s %lld %lld", &resident, &shared) == 2) {
            total += (resident - shared) * page;
        }
        mlq_free(text);
    }
    mlq_free(snapshot.items);
    return total;
}

static bool has_entry(const char *block, size_t len, const char *entry)
{
    const size_t wanted = strlen(entry) + 1; /* with its NUL */
    for (size_t at = 0; at + wanted <= len; at += strlen(block + at) + 1) {
        if (memcmp(block + at, entry, wanted) == 0) {
            return true;
        }
    }
    return false;
}

int tree_sweep(const char *entry)
{
    DIR *proc = opendir("/proc");
    pid_t pid;
    int seen = 0;
    while (proc != NULL && next_pid(proc, &pid)) {
        /* The descriptor comes first: then what is read and what is killed is one process. */
        int fd = pid == getpid() ? -1 : pidfd_open(pid, 0);
        if (fd < 0) {
            continue;
        }
        size_t len = 0;
        char *text = read_proc(pid, "environ", ENVIRON_BYTES_MAX, &len);
        if (text != NULL && has_entry(text, len, entry)) {
            (void)pidfd_send_signal(fd, SIGKILL, NULL, 0);
            seen++;
        }
        mlq_free(text);
        close(fd);
    }
    if (proc != NULL) {
        closedir(proc);
    }
    return seen;
}
