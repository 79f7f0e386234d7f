/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Tasks that have been started, and their live attempts. An attempt is one try of all ranks of a
 * task; its number grows for ever, so that late news of an old one is recognised.
 */
#ifndef MLQ_SCHEDULER_CORE_ATTEMPT_H
#define MLQ_SCHEDULER_CORE_ATTEMPT_H

#include "scheduler/core/core_state.h"

/* The member for a rank of a live attempt, whether or not it has ended; NULL. */
struct member *attempt_member(const struct core *core, uint64_t attempt, uint32_t rank);

/* The same, but only if it has not ended and is placed on this worker. */
struct member *attempt_live_member(const struct core *core, uint64_t attempt, uint32_t rank,
                                   uint32_t worker);

/* The row of a task, or NULL when it was never started, or has succeeded. */
struct task *attempt_task(const struct core *core, uint32_t stage_slot, uint32_t index);

/* Apply one fact. The first is false when a table is full. */
bool attempt_apply_assigned(struct core *core, const struct core_fact *fact);
void attempt_apply_started(struct core *core, const struct core_fact *fact);
void attempt_apply_ended(struct core *core, const struct core_fact *fact);

/* News from a worker. */
void attempt_on_started(struct core *core, const struct core_event *event);
void attempt_on_ended(struct core *core, const struct core_event *event);
void attempt_on_note(struct core *core, const struct core_event *event);

/* So many attempts in a row of a task may have a rank that never came to its worker without using
 * up a retry. */
#define ATTEMPT_MISSED_MAX 8

/* Decide that the rank ended because its worker, or the worker's memory of it, is gone (NODE), or
 * because it never came there (REQUEUE). */
void attempt_lose(struct core *core, struct member *member);

/* Tell all ranks that have not ended to stop, once. A worker that is not connected is told when it
 * says hello. */
void attempt_stop(struct core *core, struct task *task, enum core_cause cause);

/* The back-off of the task is over. */
void attempt_due(struct core *core, struct task *task);

/* The job is retried: the task is ready, as if it had never failed. */
void attempt_renew(struct core *core, struct task *task);

/* Give back the row, and that of its attempt's members. */
void attempt_remove_task(struct core *core, struct task *task);

#endif
