/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The worker's side of MLQ_CONTROL (the protocol is in lib/task/task.h): one listening socket per
 * attempt, a few connections, lines checked before anything is done with them.
 */
#ifndef MLQ_WORKER_EXEC_CONTROL_H
#define MLQ_WORKER_EXEC_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "lib/base/str.h"

#define CONTROL_FILE        "control.sock" /* in the attempt's folder, where its path is short enough */
#define CONTROL_CLIENTS_MAX 16 /* per attempt; one more is hung up on */

struct control;
struct uv_loop_s;

/* Slices live during the call. Each returns 0, or an error whose text goes back to the task. */
struct control_callbacks {
    void *context;
    int (*metric)(void *context, struct mlq_str name, double value, int64_t step, struct mlq_err *err);
    int (*progress)(void *context, double fraction, struct mlq_str text, struct mlq_err *err);
    int (*checkpoint)(void *context, struct mlq_str path, struct mlq_err *err);
    bool (*must_stop)(void *context);
    /* It can be met; `generation` is that of the membership that broke, 0: none did. */
    int (*ready)(void *context, uint16_t port, uint64_t fingerprint, uint64_t generation,
                 struct mlq_err *err);
    /* Ask the scheduler; control_answer brings it. `request` is not 0. */
    int (*record)(void *context, uint64_t request, struct mlq_err *err);
};

int control_create(struct uv_loop_s *loop,
                   const char *path,
                   const struct control_callbacks *callbacks,
                   MLQ_OWNED_RETURN struct control **control,
                   struct mlq_err *err);

/* Whether somebody waits for the answer to this record request. */
bool control_waits(const struct control *control, uint64_t request);

/* The answer to a record request: a document, or why not. False: nobody here waits for it. */
bool control_answer(struct control *control, uint64_t request, int code, struct mlq_str json);

/* Who works together now: answers those who asked for newer ones, and whoever asks later. Ignored unless
 * the generation is newer than the last one's. */
void control_set_members(struct control *control, uint64_t generation, struct mlq_str text);

/* Its task is over: hangs up on all, and on whoever comes. The socket stays, for a folder that
 * serves again (a name in a file system costs half of what a small program does). */
void control_rest(struct control *control);

/* One that rests is the next task's, with its socket at `path`, the folder having another name now.
 * Whoever connected before is hung up on. False: there lies another one, or none. */
bool control_wake(struct control *control, const char *path,
                  const struct control_callbacks *callbacks);

/* Of the socket's name; 0: not known. */
uint64_t control_inode(const struct control *control);

/* Hangs up on all and removes the socket. Takes NULL, nulls. */
void control_close(struct control **control);

#endif
