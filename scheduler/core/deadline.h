/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * One heap for everything that happens because time passed: deadlines of jobs, ends of back-offs,
 * ends of leases. Its first entry is the core's next deadline, so the shell needs one timer.
 */
#ifndef MLQ_SCHEDULER_CORE_DEADLINE_H
#define MLQ_SCHEDULER_CORE_DEADLINE_H

#include "scheduler/core/core_state.h"

bool deadline_before(const struct mlq_heap_node *a, const struct mlq_heap_node *b);

/* Set or move it. Kind, slot and the ids must be filled in. */
void deadline_arm(struct core *core, struct deadline *deadline, int64_t at_ns);

/* Legal when it is not armed. */
void deadline_disarm(struct core *core, struct deadline *deadline);

bool deadline_is_armed(const struct deadline *deadline);

/* The first one that is due, removed, or NULL. */
struct deadline *deadline_pop_due(struct core *core, int64_t now_ns);

/* INT64_MAX: none. */
int64_t deadline_next_ns(const struct core *core);

#endif
