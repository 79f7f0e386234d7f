/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/core/place.h"

#include "scheduler/core/fleet.h"
#include "scheduler/core/rvec.h"

static bool worker_fits(const struct core *core, const struct worker *worker,
                        const struct rvec *need)
{
    struct rvec available = fleet_free(worker);
    MLQ_ASSERT(worker->is_known); /* the heaps hold no others */
    return worker->closed_at != core->pass_count &&
           worker->member_count < CORE_MEMBERS_PER_WORKER_MAX && rvec_fits(&available, need);
}

/* Fewest free GPUs that suffice, then lowest number, among those that have any. */
static struct worker *pick_for_gpus(const struct core *core, const struct rvec *need)
{
    const struct mlq_heap *heap = &core->by_cpu[1];
    struct worker *best = NULL;
    int32_t best_free = 0;
    for (uint32_t i = 0; i < heap->count; i++) {
        struct worker *worker = MLQ_CONTAINER_OF(heap->nodes[i], struct worker, by_cpu);
        int32_t gpus_free = rvec_gpu_count(fleet_free_gpus(worker));
        bool is_better = best == NULL || gpus_free < best_free ||
                         (gpus_free == best_free && worker->id < best->id);
        if (is_better && gpus_free >= need->gpus && worker_fits(core, worker, need)) {
            best = worker;
            best_free = gpus_free;
        }
    }
    return best;
}

/* Most free CPU among those that fit. The heap's first answers at once, unless it lacks something
 * else than CPU: then all are asked. */
static struct worker *pick_for_cpu(const struct core *core, const struct mlq_heap *heap,
                                   const struct rvec *need)
{
    struct mlq_heap_node *first = mlq_heap_peek(heap);
    if (first == NULL) {
        return NULL;
    }
    struct worker *best = MLQ_CONTAINER_OF(first, struct worker, by_cpu);
    if (worker_fits(core, best, need)) {
        return best;
    }
    if (need->cpu_milli > 0 && fleet_free(best).cpu_milli < need->cpu_milli) {
        return NULL;
    }
    best = NULL;
    for (uint32_t i = 0; i < heap->count; i++) {
        struct worker *worker = MLQ_CONTAINER_OF(heap->nodes[i], struct worker, by_cpu);
        if (worker_fits(core, worker, need) &&
            (best == NULL || fleet_cpu_before(&worker->by_cpu, &best->by_cpu))) {
            best = worker;
        }
    }
    return best;
}

static struct worker *pick(const struct core *core, const struct rvec *need)
{
    if (need->gpus > 0) {
        return pick_for_gpus(core, need);
    }
    struct worker *worker = pick_for_cpu(core, &core->by_cpu[0], need);
    return worker != NULL ? worker : pick_for_cpu(core, &core->by_cpu[1], need);
}

static bool place(struct core *core, const struct shape *shape, uint32_t least, uint32_t most)
{
    MLQ_ASSERT(least > 0 && least <= most && most <= CORE_RANKS_MAX);
    uint32_t placed = 0;
    while (placed < most) {
        struct worker *worker = pick(core, &shape->per_rank);
        if (worker == NULL) {
            break;
        }
        uint64_t mask = rvec_gpu_pick(fleet_free_gpus(worker), shape->per_rank.gpus);
        core->placements[placed++] =
            (struct placement){.worker = (uint32_t)(worker - core->workers), .gpu_mask = mask};
        /* Counted in while the others are placed, and out again: the facts will count them. */
        worker->member_count++;
        fleet_charge(core, worker, &shape->per_rank, mask);
    }
    for (uint32_t i = 0; i < placed; i++) {
        struct worker *worker = &core->workers[core->placements[i].worker];
        MLQ_ASSERT(worker->member_count > 0);
        worker->member_count--;
        fleet_discharge(core, worker, &shape->per_rank, core->placements[i].gpu_mask);
    }
    core->placed = placed;
    return placed >= least;
}

bool place_all(struct core *core, const struct shape *shape)
{
    return place(core, shape, shape->ranks_min, shape->ranks);
}

bool place_one(struct core *core, const struct shape *shape)
{
    return place(core, shape, 1, 1);
}

bool place_is_feasible(const struct core *core, const struct rvec *per_rank, uint32_t ranks)
{
    uint32_t missing = ranks;
    for (uint32_t slot = 0; slot < core->worker_slots.fresh && missing > 0; slot++) {
        const struct worker *worker = &core->workers[slot];
        if (slots_in_use(&core->worker_slots, slot) && worker->is_known) {
            uint32_t limit =
                missing < CORE_MEMBERS_PER_WORKER_MAX ? missing : CORE_MEMBERS_PER_WORKER_MAX;
            missing -= rvec_times(&worker->capacity, per_rank, limit);
        }
    }
    return missing == 0;
}

void place_close_worker(struct core *core, struct worker *worker)
{
    if (worker->is_known && worker->closed_at != core->pass_count) {
        worker->closed_at = core->pass_count;
        core->closed_count++;
        MLQ_ASSERT(core->closed_count <= core->workers_known);
    }
}

void place_close(struct core *core, const struct shape *shape)
{
    for (uint32_t slot = 0; slot < core->worker_slots.fresh; slot++) {
        struct worker *worker = &core->workers[slot];
        if (slots_in_use(&core->worker_slots, slot) &&
            rvec_fits(&worker->capacity, &shape->per_rank)) {
            place_close_worker(core, worker);
        }
    }
}
