/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What follows from the state of the tables: ends of stages and jobs, ranks to be stopped, members
 * of lost workers, deadlines, dispatch. Each piece is a small unit that looks at the tables anew,
 * so it does no harm when it comes late or twice. That is why nothing special is needed after a
 * restart: facts put rows on the to-do lists, and whatever the record lacks is decided then.
 */
#ifndef MLQ_SCHEDULER_CORE_SETTLE_H
#define MLQ_SCHEDULER_CORE_SETTLE_H

#include "scheduler/core/core_state.h"

/* Decide as much as this event has room for. */
void settle_run(struct core *core);

/* Something was left for the next event. */
bool settle_is_pending(const struct core *core);

#endif
