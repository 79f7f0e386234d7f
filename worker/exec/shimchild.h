/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The shim's one child: the task's first process, started as shim.conf says.
 */
#ifndef MLQ_WORKER_EXEC_SHIMCHILD_H
#define MLQ_WORKER_EXEC_SHIMCHILD_H

#include <stdbool.h>
#include <sys/types.h>

#include "lib/base/err.h"
#include "worker/exec/shimfile.h"

struct shimchild {
    pid_t pid;
    int log_fd;  /* what it prints; -1: closed */
    int exec_fd; /* readable when it is known whether the program could be run; -1: known */
    bool is_started;
    int exec_errno;        /* not 0: the program could not be run */
    char failed_step[160]; /* "run 'python9'" */
};

int shimchild_start(struct shimchild *child, const struct shimfile_conf *conf, struct mlq_err *err);

/* Its descriptors, if they are open. */
void shimchild_close(struct shimchild *child);

/* True once: when it turned out that the program runs. */
bool shimchild_take_exec_result(struct shimchild *child);

#endif
