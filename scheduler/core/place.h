/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Where a task goes.
 *
 * A rank that asks for GPUs goes to the worker with the fewest free GPUs that suffice, so that
 * whole machines stay free for those who need them. A rank without goes to a worker without GPUs if
 * one has room, and there to the one with the most free CPU. Ties go to the lower worker number.
 * The ranks of a task are placed one after the other like this, several on one worker if need be: as
 * many as it may have, and none if there are fewer than it takes.
 */
#ifndef MLQ_SCHEDULER_CORE_PLACE_H
#define MLQ_SCHEDULER_CORE_PLACE_H

#include "scheduler/core/core_state.h"

/* Find workers for the ranks, into core.placements and core.placed. Changes nothing else. */
bool place_all(struct core *core, const struct shape *shape);

/* The same for one rank more of an attempt that runs. */
bool place_one(struct core *core, const struct shape *shape);

/* Whether the workers that are here could hold so many ranks if nothing else ran. */
bool place_is_feasible(const struct core *core, const struct rvec *per_rank, uint32_t ranks);

/* For the rest of this pass place nothing on workers that could hold a rank of this. */
void place_close(struct core *core, const struct shape *shape);
void place_close_worker(struct core *core, struct worker *worker);

#endif
