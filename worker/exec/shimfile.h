/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What lies in the folder of one member (a rank of an attempt), and how worker and shim agree:
 *
 *     state         one file (mode 0600: it holds the task's environment) for three things:
 *                   its second page and what follows: worker to shim, what to run and within which
 *                   bounds, and what a worker that is restarted must know;
 *                   its first page: shim to worker, that it started, and how it ended (and from the
 *                   worker, last, that all of the description is there);
 *                   its lock (flock), held by the shim as long as it lives. The kernel lets go of it
 *                   with the process, so no process number is ever trusted. Who else holds it is
 *                   sure that no shim runs or will run here
 *     shim.sock     the shim listens here once its worker is gone, see shim.c
 *     log           what the task printed (joblog.h)
 *     log.pos       of a long one
 *     metrics       what it reported, for a worker that is restarted (worker/notes.h)
 *     work in out tmp control.sock with.json error.json: the task's side
 *
 * A file costs more than what is written into it, hence one.
 */
#ifndef MLQ_WORKER_EXEC_SHIMFILE_H
#define MLQ_WORKER_EXEC_SHIMFILE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/str.h"
#include "lib/sys/region.h"
#include "worker/agent/cause.h"

#define SHIMFILE_STATE  "state"
#define SHIMFILE_SOCKET "shim.sock"

#define SHIMFILE_PAGE_BYTES     4096u /* no reader, no death of the writer finds half of one */
#define SHIMFILE_CONF_BYTES_MAX (16u << 20)
#define SHIMFILE_FIRST_CLIENT_FD                                                                   \
    3 /* the worker's end of a socket pair: connected from the start                               \
       */
#define SHIMFILE_CGROUPS_MAX  4
#define SHIMFILE_KEPT_BYTES_MAX (64u << 10) /* of a file that serves again */
#define SHIMFILE_LEASE_NONE   INT64_C(0)
#define SHIMFILE_DETAIL_BYTES 240

struct shimfile_conf {
    int64_t lease_deadline_ns; /* CLOCK_BOOTTIME; LEASE_NONE: the first client has sent it */
    int64_t timeout_ns;        /* 0: none */
    int64_t grace_ns;
    int64_t
        mem_bytes; /* over this the shim itself kills, where no memory cgroup does; 0: no limit */
    int64_t nproc_max; /* RLIMIT_NPROC; 0: leave */
    uint64_t log_head_bytes;
    uint64_t log_tail_bytes;
    const char *workdir;    /* the task starts here */
    const char *control;    /* path of MLQ_CONTROL; "": none. For a worker that is restarted */
    const char *checkpoint; /* MLQ_CHECKPOINT, for the same */
    const char **argv;   /* each array ends with NULL */
    const char **env;
    const char *cgroups[SHIMFILE_CGROUPS_MAX + 1]; /* folders whose cgroup.procs takes the task */
};

/* Over what stood there, which nobody may use any more. Strings are borrowed for the time of the
 * call. Takes the room of the end, too: MLQ_EFULL when the disk has none. */
int shimfile_save_conf(const char *dir, const struct shimfile_conf *conf, struct mlq_err *err);
/* Strings live in `region`. */
int shimfile_load_conf(const char *dir, struct mlq_region *region, struct shimfile_conf *conf,
                       struct mlq_err *err);

struct shimfile_end {
    enum worker_cause cause; /* NONE: exit status 0 */
    int exit_code;           /* -1: none */
    int signal;              /* 0: none */
    int64_t started_us;      /* wall clock; 0: it never started */
    int64_t ended_us;
    int64_t user_us; /* processor time of the whole tree */
    int64_t system_us;
    int64_t rss_max_bytes;              /* of its largest process */
    uint64_t log_lost_bytes;            /* could not be written: disk full */
    char detail[SHIMFILE_DETAIL_BYTES]; /* one line for people */
};

/* Into the room that was taken for it: needs nothing of the disk. Whole for every reader. */
int shimfile_save_end(const char *dir, const struct shimfile_end *end, struct mlq_err *err);
/* MLQ_ENOENT: it has not ended, as far as this file says. */
int shimfile_load_end(const char *dir, struct shimfile_end *end, struct mlq_err *err);
/* Its text, as kv.h has it. */
bool shimfile_parse_end(struct mlq_str text, struct shimfile_end *end);
/* Drops it. MLQ_ENOENT: there was none. */
int shimfile_forget_end(const char *dir, struct mlq_err *err);

/* The shim, which holds the lock `fd`, is about to start the task. MLQ_EEXIST: it was started before,
 * or given up for lost: never twice. */
int shimfile_note_start(int fd, struct mlq_err *err);
bool shimfile_was_started(const char *dir);

/* Zeros all of it, with the lock `fd` held: it says nothing any more, as when it was new, but keeps
 * its blocks. False: it is larger than one that is worth to be kept, or cannot be written. */
bool shimfile_clear(int fd);

/* Takes the lock: *fd is held until it is closed. MLQ_EAGAIN: a shim lives there. */
int shimfile_lock(const char *dir, int *fd, struct mlq_err *err);

#endif
