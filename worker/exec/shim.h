/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The shim as a call (shim.c). Descriptor 3 is its first client, if it is a socket; all above are
 * closed.
 */
#ifndef MLQ_WORKER_EXEC_SHIM_H
#define MLQ_WORKER_EXEC_SHIM_H

#include <stddef.h>

/* Runs the task of the member's folder `dir`, in this process, which does nothing else before or
 * after. Returns the exit status of the process: 0 when the end of the task is in its file. */
int shim_run(const char *dir);

/* Where the process list finds what it shows of a process, and what that says. */
struct shim_title {
    char *text;
    size_t room;
    const char *attempts; /* the folder of the members' folders, which is the working folder */
};

/* Runs the tasks that its first client orders, one at a time, until that one hangs up: then the
 * task that runs is the last. Returns an exit status. */
int shim_serve(const struct shim_title *title);

#endif
