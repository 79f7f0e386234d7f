/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Matching what is ready with who is free.
 */
#ifndef MLQ_SCHEDULER_CORE_DISPATCH_H
#define MLQ_SCHEDULER_CORE_DISPATCH_H

#include "scheduler/core/core_state.h"

/* Shapes that one pass steps over before it gives up looking further down the queue. */
#define DISPATCH_SCAN_MAX 64

/* One pass over the ready queue, from its front, if anything changed since the last one. At most
 * `units` tasks are started; when more could be, core.dispatch_wanted stays set. */
void dispatch_run(struct core *core, uint32_t units);

#endif
