/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/core/lease.h"

#include "scheduler/core/deadline.h"

void lease_renew(struct core *core, struct worker *worker)
{
    deadline_arm(core, &worker->lease,
                 core->now_ns + core->limits.lease_ns + core->limits.lease_margin_ns);
}

void lease_begin(struct core *core)
{
    for (uint32_t slot = 0; slot < core->worker_slots.fresh; slot++) {
        struct worker *worker = &core->workers[slot];
        if (slots_in_use(&core->worker_slots, slot) && worker->member_count > 0) {
            MLQ_ASSERT(!worker->is_known);
            lease_renew(core, worker);
        }
    }
}

void lease_drop(struct core *core, struct worker *worker)
{
    MLQ_ASSERT(!worker->is_known);
    deadline_disarm(core, &worker->lease);
}
