/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The workers: who is here, what it offers, what is placed on it.
 *
 * A worker without news for a lease and a margin is lost. What it ran is ended with cause NODE, a
 * bounded number per event: it waits on the worker's list of orphans meanwhile, and a hello that
 * comes in time and claims it takes it back.
 */
#ifndef MLQ_SCHEDULER_CORE_FLEET_H
#define MLQ_SCHEDULER_CORE_FLEET_H

#include "scheduler/core/core_state.h"

bool fleet_cpu_before(const struct mlq_heap_node *a, const struct mlq_heap_node *b);

/* The row of a worker, or NULL. */
struct worker *fleet_worker(const struct core *core, uint32_t id);

/* The slot of a worker, with a new row if it has none; SLOT_NONE when the table is full of workers
 * that are here or run something. */
uint32_t fleet_hold(struct core *core, uint32_t id);

struct rvec fleet_free(const struct worker *worker);
uint64_t fleet_free_gpus(const struct worker *worker);

/* Count a rank's resources in or out. */
void fleet_charge(struct core *core, struct worker *worker, const struct rvec *need,
                  uint64_t gpu_mask);
void fleet_discharge(struct core *core, struct worker *worker, const struct rvec *need,
                     uint64_t gpu_mask);

/* Enter a member into its worker's list, and charge it if the core is live. */
void fleet_add_member(struct core *core, struct member *member);
void fleet_remove_member(struct core *core, struct member *member);

/* All facts were restored: charge what is placed. */
void fleet_charge_all(struct core *core);

void fleet_on_hello(struct core *core, const struct core_event *event);
void fleet_on_heartbeat(struct core *core, const struct core_event *event);
void fleet_on_leaving(struct core *core, const struct core_event *event);

/* Its lease has lapsed. */
void fleet_lose(struct core *core, struct worker *worker);

#endif
