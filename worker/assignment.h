/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * An assignment that is kept: a deep copy of the message's, checked, and the few facts of it that
 * must survive a restart of the worker.
 */
#ifndef MLQ_WORKER_ASSIGNMENT_H
#define MLQ_WORKER_ASSIGNMENT_H

#include <stdint.h>

#include "lib/base/err.h"
#include "lib/net/msg.h"
#include "lib/sys/region.h"

/* Everything in `region`. Slices of the copy are terminated, too: no byte in them is NUL, names are
 * names that cannot leave a folder. MLQ_EINVAL says what is wrong with it. */
int assignment_copy(const struct msg_assignment *from,
                    struct mlq_region *region,
                    struct msg_assignment *to,
                    struct mlq_err *err);

/* File "assign" of an attempt's folder. */
struct assignment_note {
    const char *control;    /* path of MLQ_CONTROL */
    const char *checkpoint; /* MLQ_CHECKPOINT */
    int64_t grace_ns;
};

int assignment_save_note(const char *dir, const struct assignment_note *note, struct mlq_err *err);
int assignment_load_note(const char *dir,
                         struct mlq_region *region,
                         struct assignment_note *note,
                         struct mlq_err *err);

#endif
