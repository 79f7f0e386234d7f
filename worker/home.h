/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A worker's own folder, and what it remembers there across restarts:
 *
 *     lock         held while the worker lives: one per folder
 *     session      how often it was started; the sessions of its hellos grow with it
 *     epoch        the highest epoch of a leader that it has heard of
 *     boot         of the machine, at its last start: ends from before it are dropped
 *     attempts/<attempt>-<rank>/   see exec/shimfile.h
 *     spare/       folders that wait for the next attempts, see folder.h
 */
#ifndef MLQ_WORKER_HOME_H
#define MLQ_WORKER_HOME_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/sys/region.h"

struct home {
    const char *base;
    const char *attempts;
    const char *run_dir; /* for sockets whose path would be too long; made when needed */
    uint64_t session;    /* above every session of earlier runs */
    uint32_t epoch;
    int lock_fd;
};

/* MLQ_EEXIST: another worker lives there. Strings live in `region`. Ends of attempts from before the
 * machine last started are dropped: what their tasks wrote may not have reached the disk. */
int home_open(struct home *home, const char *base, struct mlq_region *region, struct mlq_err *err);
void home_close(struct home *home);

/* Durable on return. */
int home_save_epoch(struct home *home, uint32_t epoch, struct mlq_err *err);

/* The folder of a member. */
const char *home_attempt_dir(const struct home *home,
                             struct mlq_region *region,
                             uint64_t attempt,
                             uint32_t rank);

/* Calls for each attempt's folder that is there. */
typedef void (*home_attempt_cb)(void *context, uint64_t attempt, uint32_t rank);
int home_each_attempt(const struct home *home, home_attempt_cb call, void *context, struct mlq_err *err);

/* Path for the control socket of an attempt: inside `dir` where it fits into a socket's address, else
 * in the short run folder, which is private to this user. */
int home_control_path(const struct home *home,
                      struct mlq_region *region,
                      const char *dir,
                      uint64_t attempt,
                      uint32_t rank,
                      const char **path,
                      struct mlq_err *err);

#endif
