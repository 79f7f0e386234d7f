/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Where a worker's shims come from, and where they rest between two tasks. A shim that has ended a
 * task waits on its line for the next one: that saves a fork, an exit and all that a process sets
 * up. What waits for long is let go. New ones come from one process, the nursery (shimfork.h),
 * started with the first shim and again whenever it is gone. No task depends on it.
 */
#ifndef MLQ_WORKER_EXEC_NURSERY_H
#define MLQ_WORKER_EXEC_NURSERY_H

#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"

#define NURSERY_RESTING_MAX 32

struct nursery;
struct uv_loop_s;

struct nursery_options {
    struct uv_loop_s *loop;
    const char *program; /* path of mlq-shim */
    const char *log;     /* file to which it, and the shims, append what goes wrong with them */
    const char *attempts; /* where the members' folders are: their names fit behind it */
};

MLQ_OWNED_RETURN struct nursery *nursery_create(const struct nursery_options *options);

/* A shim runs the task of the folder `name` among the attempts, with this lease. *line is the
 * caller's, the shim's first client, non-blocking: see shim.c for what is said there. If the shim
 * does not come to be after all, it is hung up on. */
int nursery_run(struct nursery *nursery, const char *name, int64_t lease_deadline_ns, int *line,
                struct mlq_err *err);

/* The shim on this line has said "ended". */
void nursery_rest(struct nursery *nursery, MLQ_TAKES int line);

/* It ends by itself, as do shims that rest; the others go on. Takes NULL, nulls. */
void nursery_destroy(struct nursery **nursery);

#endif
