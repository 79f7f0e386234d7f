/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * An attempt's folder, with what each has: work/, out/, tmp/, the shim's files (exec/shimfile.h)
 * and the control socket. A task that leaves these empty leaves a folder that serves again: it
 * waits in HOME/spare, and is the next attempt's by one rename. To make and remove six files costs
 * more than to run a small program, and so does it to give back and take the blocks of two: they
 * are written over in place.
 *
 * folder_make and folder_keep block on the disk and run on libuv's pool; the book of spare folders
 * is the worker's own.
 */
#ifndef MLQ_WORKER_FOLDER_H
#define MLQ_WORKER_FOLDER_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "lib/sys/region.h"

#define FOLDER_SPARES_MAX 32
#define FOLDER_MODE       0700

struct control;

struct folder_spares {
    const char *dir; /* HOME/spare */
    uint64_t next;   /* number of the next that is kept */
    struct {
        uint64_t number;
        struct control *control; /* owned; NULL: none */
    } waiting[FOLDER_SPARES_MAX];
    unsigned waiting_count;
    unsigned coming_count; /* are being emptied */
};

/* Empties HOME/spare: what an earlier run has left there. `home` must outlive it. */
void folder_spares_init(struct folder_spares *spares, const char *home, struct mlq_region *region);

/* Without touching what lies there. */
void folder_spares_fini(struct folder_spares *spares);

/* Path of a spare folder, in `region`; NULL: there is none. It is the caller's, as is its control
 * socket, which rests (*control is NULL if it has none). */
const char *folder_take(struct folder_spares *spares, struct mlq_region *region,
                        MLQ_OWNED_RETURN struct control **control);

/* A place for one that will be spare, in `region`; NULL: there are enough. folder_kept follows,
 * with the control socket that rests there, or NULL. */
const char *folder_place(struct folder_spares *spares, uint64_t *number, struct mlq_region *region);
void folder_kept(struct folder_spares *spares, uint64_t number, bool is_kept,
                 MLQ_TAKES struct control *control);

/* The folder `dir` with its three: the spare one, renamed, or (NULL, or it is gone) a new one. */
int folder_make(const char *dir, const char *spare, struct mlq_err *err);

/* Makes a folder whose attempt is over a spare one, at `place`, with the control socket of this
 * inode (0: it has none). False: it is not as it was made (a file was left, a mode changed, a link
 * to one of its files may lead elsewhere, a shim holds it), and is still there. */
bool folder_keep(const char *dir, const char *place, uint64_t socket_inode);

/* Whether a folder is empty, and nobody could tell it from one that was made with FOLDER_MODE. */
bool folder_is_fresh(const char *path);

/* Frees the room that a task's own files take; an empty folder stays. */
void folder_clear(const char *path);

#endif
