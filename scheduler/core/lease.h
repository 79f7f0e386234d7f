/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * How long a worker is believed without news. The worker counts its lease from when it *sent* the
 * last heartbeat that was acknowledged, the core from when it *received* it, and adds a margin for
 * the kill grace and for clocks that drift: so a task is dead before it may be started elsewhere.
 */
#ifndef MLQ_SCHEDULER_CORE_LEASE_H
#define MLQ_SCHEDULER_CORE_LEASE_H

#include "scheduler/core/core_state.h"

/* News of the worker at core.now_ns. */
void lease_renew(struct core *core, struct worker *worker);

/* A new leader has heard of nobody. Each worker that the record says runs something gets one full
 * lease from now to say hello. */
void lease_begin(struct core *core);

/* The worker is lost, or leaves. */
void lease_drop(struct core *core, struct worker *worker);

#endif
