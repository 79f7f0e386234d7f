/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * An attempt's folder, with what each has: work/, out/, tmp/, and the shim's files (exec/shimfile.h).
 * A task that leaves these empty leaves a folder that serves again: it waits in HOME/spare, and is
 * the next attempt's by one rename. To make and remove six files costs more than to run a small
 * program, and so does it to give back and take the blocks of two: they are written over in place.
 *
 * folder_make and folder_keep block on the disk and run on libuv's pool; the book of spare folders is
 * the worker's own.
 */
#ifndef MLQ_WORKER_FOLDER_H
#define MLQ_WORKER_FOLDER_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/sys/region.h"

#define FOLDER_SPARES_MAX 32

struct folder_spares {
    const char *dir; /* HOME/spare */
    uint64_t next;   /* number of the next that is kept */
    uint64_t waiting[FOLDER_SPARES_MAX];
    unsigned waiting_count;
    unsigned coming_count; /* are being emptied */
};

/* Empties HOME/spare: what an earlier run has left there. `home` must outlive it. */
void folder_spares_init(struct folder_spares *spares, const char *home, struct mlq_region *region);

/* Path of a spare folder, in `region`; NULL: there is none. It is the caller's. */
const char *folder_take(struct folder_spares *spares, struct mlq_region *region);

/* A place for one that will be spare, in `region`; NULL: there are enough. folder_kept follows. */
const char *folder_place(struct folder_spares *spares, uint64_t *number, struct mlq_region *region);
void folder_kept(struct folder_spares *spares, uint64_t number, bool is_kept);

/* The folder `dir` with its three: the spare one, renamed, or (NULL, or it is gone) a new one. */
int folder_make(const char *dir, const char *spare, struct mlq_err *err);

/* Makes a folder whose attempt is over a spare one, at `place`. False: it is not as it was made (a
 * file was left, a mode changed, a link to one of its files may lead elsewhere, a shim holds it), and
 * is still there. */
bool folder_keep(const char *dir, const char *place);

/* Frees the room that a task's own files take; an empty folder stays. */
void folder_clear(const char *path);

#endif
