/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The worker's hold on one shim: started by it or found after its restart, told what to do, and
 * listened to until its end.
 */
#ifndef MLQ_WORKER_EXEC_SHIMLINK_H
#define MLQ_WORKER_EXEC_SHIMLINK_H

#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "worker/exec/shimfile.h"

struct nursery;
struct shimlink;
struct uv_loop_s;

struct shimlink_callbacks {
    void *context;
    void (*started)(void *context); /* the task's process runs; at most once */
    /* Once, the last call: nothing of the attempt runs any more. A shim that was killed gives cause
     * NODE, after what it left behind was swept away. */
    void (*ended)(void *context, const struct shimfile_end *end);
};

struct shimlink_options {
    const char *dir;     /* the attempt's folder, absolute */
    struct nursery *nursery; /* starts it; NULL: find the one that runs there */
    int64_t lease_deadline_ns;
    const char *mark; /* "NAME=value" that every process of this attempt has in its environment */
};

/* Starts a shim in the folder (which holds shim.conf), or looks for one and for its end. Nothing is
 * called before this returns. On an error nothing runs. */
int shimlink_create(struct uv_loop_s *loop,
                    const struct shimlink_options *options,
                    const struct shimlink_callbacks *callbacks,
                    MLQ_OWNED_RETURN struct shimlink **link,
                    struct mlq_err *err);

void shimlink_lease(struct shimlink *link, int64_t deadline_ns);
void shimlink_stop(struct shimlink *link, enum worker_cause cause, int64_t grace_ns);
void shimlink_kill(struct shimlink *link, enum worker_cause cause);
void shimlink_checkpoint(struct shimlink *link); /* SIGUSR1 */

/* Kills what is left in the cgroups of the attempt in this folder and removes them; returns how many
 * processes were seen. For folders without a shim; may run on another thread. */
int shimlink_clean_groups(const char *dir);

/* Lets go of it: the shim goes on. Takes NULL, nulls; legal within `ended`. */
void shimlink_close(struct shimlink **link);

#endif
