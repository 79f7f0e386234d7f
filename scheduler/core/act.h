/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Putting actions into the caller's room. Nothing else writes there.
 */
#ifndef MLQ_SCHEDULER_CORE_ACT_H
#define MLQ_SCHEDULER_CORE_ACT_H

#include "scheduler/core/core_state.h"

/* How many more actions fit into this event. */
uint32_t act_room(const struct core *core);

void act_persist(struct core *core, const struct core_fact *fact, uint32_t payload);
void act_reply(struct core *core, uint64_t request, enum core_reply reply, uint64_t job);
void act_welcome(struct core *core, const struct worker *worker);
void act_assign(struct core *core, const struct worker *worker, const struct core_fact *fact);
void act_kill(struct core *core, const struct task *task, const struct member *member,
              enum core_cause cause);

/* ACT_ACK or ACT_FENCED: the event's worker and attempt need not be in any table. */
void act_answer(struct core *core, enum core_action_kind kind, uint32_t worker, uint64_t attempt,
                uint32_t rank);

void act_record(struct core *core, const struct core_fact *fact, uint32_t payload);

/* Its worker must be known. */
void act_members(struct core *core, const struct task *task, const struct member *member);

#endif
