/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Attempts whose number of ranks changes while they run (RESIZE_LIVE), and what all that may change
 * their size have in common.
 *
 * Ranks of such an attempt are numbered in the order of their assignment, and a number is never used
 * twice: who joins gets the next one. A rank that is lost leaves the others to run on; the attempt
 * succeeds with the first rank that succeeds, and fails when a rank fails for a reason that would be
 * every rank's (its exit status, its time limit), or when the last one is lost.
 *
 * The membership is who works together: the ranks that said EV_READY and have not ended. It has a
 * generation, which grows whenever somebody comes, goes, or cannot be reached; the epoch is its upper
 * half, so it grows across leaders. The first one of an attempt, and of a leader, comes when every rank
 * that was placed is ready or has ended: a gang begins together, and a new leader disturbs nobody before
 * it has heard from all. Nothing of it is recorded: after a failover the workers say again who is ready,
 * and the ranks go on in the old generation until they are told a newer one.
 *
 * When the work is done the membership becomes empty: the others may leave, and are told to after the
 * stage's grace.
 */
#ifndef MLQ_SCHEDULER_CORE_ELASTIC_H
#define MLQ_SCHEDULER_CORE_ELASTIC_H

#include "scheduler/core/core_state.h"

/* The attempt begins, gets one more rank, ends. */
void elastic_begin(struct core *core, struct task *task, int64_t at_ns);
void elastic_join(struct core *core, struct task *task, const struct core_fact *fact);
void elastic_end(struct core *core, struct task *task);

/* Takes note of a rank's end, which is counted in task->open already. True when it does not decide how
 * the attempt ends. */
bool elastic_absorbs(struct core *core, struct task *task, const struct member *member,
                     const struct core_fact *fact);

/* Whether what this rank reports is the task's own: its metrics, and with its end its outputs. To be
 * asked before its end is applied. */
bool elastic_speaks(const struct core *core, const struct core_fact *fact);

void elastic_on_ready(struct core *core, const struct core_event *event);

/* Makes a new membership if there is one to be made, and tells its members. */
void elastic_regroup(struct core *core, struct task *task);

/* task->due has come: it may grow again after a loss; or it is done, and who has not left by now is
 * told to. */
void elastic_due(struct core *core, struct task *task);

/* Tell one rank to leave the others, who go on. */
void elastic_release(struct core *core, struct task *task, struct member *member,
                     enum core_cause cause);

#endif
