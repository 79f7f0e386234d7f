/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Why a task ended, of all that the shim saw: what we did comes first, and exit status 0 is a
 * success only where we did not step in.
 */
#ifndef MLQ_WORKER_EXEC_SHIMEND_H
#define MLQ_WORKER_EXEC_SHIMEND_H

#include <stdbool.h>

#include "worker/exec/shimchild.h"
#include "worker/exec/shimfile.h"

struct shimend_facts {
    const struct shimchild *child;
    const char *const *cgroups;   /* ended by NULL */
    enum worker_cause stop_cause; /* why the shim stopped or killed it; NONE: it did not */
    bool has_status;              /* its first process was reaped, */
    int wait_status;              /* with this */
};

/* Sets cause, exit_code and signal, and the detail unless there is one. */
void shimend_judge(const struct shimend_facts *facts, struct shimfile_end *end);

#endif
