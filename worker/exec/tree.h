/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The processes of a task, found through /proc. Linux only.
 */
#ifndef MLQ_WORKER_EXEC_TREE_H
#define MLQ_WORKER_EXEC_TREE_H

#include <stdint.h>
#include <sys/types.h>

/* Sends `signal` to every descendant of this process and returns how many there were, zombies left
 * out. Called by a process that is its orphans' reaper (PR_SET_CHILD_SUBREAPER), none can leave. */
int tree_signal(int signal);

/* The same, but only to those that have a handler for it: to others SIGUSR1 would be the end. One that was forked less
 * than TREE_SETTLED_NS ago and runs no program of its own yet is about to, and is left alone. */
#define TREE_SETTLED_NS INT64_C(1000000000)
int tree_signal_handlers(int signal);

/* Memory that this process's descendants hold for themselves (not files, not shared), in bytes. */
int64_t tree_private_bytes(void);

/* SIGKILL to every process whose environment holds `entry` ("NAME=value"), whoever its parent is;
 * returns how many were seen. For what a shim that was itself killed has left behind. */
int tree_sweep(const char *entry);

#endif
