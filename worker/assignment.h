/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * An assignment that is kept: a deep copy of the message's, checked. What of it must survive a
 * restart of the worker is in the shim's description (exec/shimfile.h).
 */
#ifndef MLQ_WORKER_ASSIGNMENT_H
#define MLQ_WORKER_ASSIGNMENT_H

#include "lib/base/err.h"
#include "lib/net/msg.h"
#include "lib/sys/region.h"

/* Everything in `region`. Slices of the copy are terminated, too: no byte in them is NUL, names are
 * names that cannot leave a folder. MLQ_EINVAL says what is wrong with it. */
int assignment_copy(const struct msg_assignment *from,
                    struct mlq_region *region,
                    struct msg_assignment *to,
                    struct mlq_err *err);

#endif
