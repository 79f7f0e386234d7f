/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Attempts that run get more ranks when there is room that nobody waits for, and give ranks back, down
 * to what it takes to start, when a task of a higher priority does not fit otherwise.
 *
 * A RESIZE_LIVE attempt does both while it runs. A RESIZE_RESTART one is told to save and to stop, and
 * starts again at another size: each time costs it what it did since its last checkpoint, so it grows
 * only once it has run for RESIZE_RESTART_NS.
 */
#ifndef MLQ_SCHEDULER_CORE_RESIZE_H
#define MLQ_SCHEDULER_CORE_RESIZE_H

#include "scheduler/core/core_state.h"

#define RESIZE_RESTART_NS INT64_C(60000000000)

/* At the end of a pass over the ready queue. `waits` is the highest priority of a task that does not
 * fit but could: only what is above it grows. False when there was no room for more actions or units. */
bool resize_grow(struct core *core, uint32_t units, int64_t waits);

/* The first task of the shape does not fit. True when it will, once ranks that were told to leave have
 * left: some on an earlier call, or as few as suffice on this one. */
bool resize_give_back(struct core *core, struct shape *shape);

#endif
