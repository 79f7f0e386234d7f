/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * MLQ_CHECKPOINT: a folder in the shared store, named by the task, so that its next attempt finds
 * it wherever it runs. Most tasks leave it empty. An empty one says nothing to anybody, so at the
 * end of its task it is taken away and serves another: else a million tasks would be a million
 * folders, and the making of them the largest part of what a small task costs its worker.
 *
 * checkpoint_open and checkpoint_keep block on the disk and run on libuv's pool; the book of spare
 * folders is the worker's own.
 */
#ifndef MLQ_WORKER_CHECKPOINT_H
#define MLQ_WORKER_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/net/msg.h"
#include "lib/sys/region.h"

#define CHECKPOINT_SPARES_MAX 32
#define CHECKPOINT_NONE       UINT32_MAX

struct checkpoint_spares {
    const char *prefix; /* of their paths: STORE/checkpoints/.spare-WORKER- */
    uint32_t waiting;   /* a bit for each place that has one, */
    uint32_t busy;      /* and for each that is coming or going */
};

/* Removes what an earlier run has left there. `worker` is a text that no other worker of this store
 * has. */
void checkpoint_spares_init(struct checkpoint_spares *spares, const char *store, const char *worker,
                            struct mlq_region *region);

/* Path of a spare folder, or of a place for one, in `region`; NULL: there is none.
 * checkpoint_settle follows. */
const char *checkpoint_take(struct checkpoint_spares *spares, uint32_t *number,
                            struct mlq_region *region);
const char *checkpoint_place(struct checkpoint_spares *spares, uint32_t *number,
                             struct mlq_region *region);
/* Whether a folder is there now. Ignores CHECKPOINT_NONE. */
void checkpoint_settle(struct checkpoint_spares *spares, uint32_t number, bool is_there);

/* The folder of the assignment's task, in `region`, made unless it is there: of the spare one
 * (NULL: none), if *used_spare says so. MLQ_EFENCED: a later attempt has it. */
int checkpoint_open(const char *store, const struct msg_assignment *assignment, const char *spare,
                    struct mlq_region *region, const char **path, bool *used_spare,
                    struct mlq_err *err);

/* The attempt that had it alone has ended well: moves it to `place`, if it is as it was made.
 * False: it stays. */
bool checkpoint_keep(const char *path, const char *place);

#endif
