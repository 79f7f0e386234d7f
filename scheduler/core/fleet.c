/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/core/fleet.h"

#include "scheduler/core/act.h"
#include "scheduler/core/attempt.h"
#include "scheduler/core/lease.h"
#include "scheduler/core/rvec.h"

/* ---- Rows -------------------------------------------------------------------------------------
 */

bool fleet_cpu_before(const struct mlq_heap_node *a, const struct mlq_heap_node *b)
{
    const struct worker *left = STATE_CONST_OF(a, struct worker, by_cpu);
    const struct worker *right = STATE_CONST_OF(b, struct worker, by_cpu);
    int64_t left_free = left->capacity.cpu_milli - left->used.cpu_milli;
    int64_t right_free = right->capacity.cpu_milli - right->used.cpu_milli;
    return left_free != right_free ? left_free > right_free : left->id < right->id;
}

struct worker *fleet_worker(const struct core *core, uint32_t id)
{
    uint32_t slot;
    return mlq_map_find(&core->worker_of, (uint64_t)id + 1, &slot) ? &core->workers[slot] : NULL;
}

/* Rows of workers that went away stay, for their session number, until the table is full: then the
 * one that is gone longest makes room. */
static bool make_room(struct core *core)
{
    struct worker *oldest = NULL;
    for (uint32_t slot = 0; slot < core->worker_slots.fresh; slot++) {
        struct worker *worker = &core->workers[slot];
        if (!slots_in_use(&core->worker_slots, slot) || worker->is_known ||
            worker->member_count > 0) {
            continue;
        }
        if (oldest == NULL || worker->gone_ns < oldest->gone_ns ||
            (worker->gone_ns == oldest->gone_ns && worker->id < oldest->id)) {
            oldest = worker;
        }
    }
    if (oldest == NULL) {
        return false;
    }
    lease_drop(core, oldest);
    mlq_list_remove(&oldest->todo);
    mlq_map_remove(&core->worker_of, (uint64_t)oldest->id + 1);
    slots_give(&core->worker_slots, (uint32_t)(oldest - core->workers));
    return true;
}

uint32_t fleet_hold(struct core *core, uint32_t id)
{
    struct worker *worker = fleet_worker(core, id);
    if (worker != NULL) {
        return (uint32_t)(worker - core->workers);
    }
    if (slots_room(&core->worker_slots) == 0 && !make_room(core)) {
        return SLOT_NONE;
    }
    uint32_t slot = slots_take(&core->worker_slots);
    worker = &core->workers[slot];
    *worker = (struct worker){
        .id = id,
        .lease = {.kind = DEADLINE_WORKER, .major = id, .slot = slot},
        .gone_ns = core->now_ns,
    };
    mlq_list_init(&worker->members);
    mlq_list_init(&worker->orphans);
    mlq_list_init(&worker->todo);
    mlq_map_insert(&core->worker_of, (uint64_t)id + 1, slot);
    return slot;
}

/* ---- Resources --------------------------------------------------------------------------------
 */

uint64_t fleet_free_gpus(const struct worker *worker)
{
    return rvec_gpu_all(worker->capacity.gpus) & ~worker->gpus_used;
}

struct rvec fleet_free(const struct worker *worker)
{
    return (struct rvec){
        .cpu_milli = worker->capacity.cpu_milli - worker->used.cpu_milli,
        .mem_bytes = worker->capacity.mem_bytes - worker->used.mem_bytes,
        .gpus = rvec_gpu_count(fleet_free_gpus(worker)),
    };
}

static struct mlq_heap *heap_of(struct core *core, const struct worker *worker)
{
    return &core->by_cpu[worker->capacity.gpus > 0 ? 1 : 0];
}

static void cpu_changed(struct core *core, struct worker *worker)
{
    MLQ_ASSERT(worker->is_known == mlq_heap_contains(&worker->by_cpu));
    if (worker->is_known) {
        mlq_heap_moved(heap_of(core, worker), &worker->by_cpu);
    }
}

void fleet_charge(struct core *core, struct worker *worker, const struct rvec *need,
                  uint64_t gpu_mask)
{
    MLQ_ASSERT((worker->gpus_used & gpu_mask) == 0);
    MLQ_ASSERT(rvec_gpu_count(gpu_mask) == need->gpus);
    rvec_add(&worker->used, need);
    worker->gpus_used |= gpu_mask;
    cpu_changed(core, worker);
}

void fleet_discharge(struct core *core, struct worker *worker, const struct rvec *need,
                     uint64_t gpu_mask)
{
    MLQ_ASSERT((worker->gpus_used & gpu_mask) == gpu_mask);
    rvec_subtract(&worker->used, need);
    worker->gpus_used &= ~gpu_mask;
    cpu_changed(core, worker);
}

static const struct rvec *need_of(const struct core *core, const struct member *member)
{
    const struct stage *stage = &core->stages[core->tasks[member->task].stage];
    return &core->shapes[stage->shape].per_rank;
}

static void charge_member(struct core *core, struct member *member)
{
    MLQ_ASSERT(!member->is_charged);
    fleet_charge(core, &core->workers[member->worker], need_of(core, member), member->gpu_mask);
    member->is_charged = true;
}

/* More room than before, or other workers than before. */
static void room_gained(struct core *core)
{
    core->room_count++;
    core->dispatch_wanted = true;
}

static bool fits_itself(const struct worker *worker)
{
    return rvec_fits(&worker->capacity, &worker->used) &&
           (worker->gpus_used & ~rvec_gpu_all(worker->capacity.gpus)) == 0;
}

void fleet_add_member(struct core *core, struct member *member)
{
    struct worker *worker = &core->workers[member->worker];
    mlq_list_push_back(&worker->members, &member->in_worker);
    worker->member_count++;
    if (core->is_live) {
        charge_member(core, member);
    }
}

void fleet_remove_member(struct core *core, struct member *member)
{
    struct worker *worker = &core->workers[member->worker];
    mlq_list_remove(&member->in_worker);
    MLQ_ASSERT(worker->member_count > 0);
    worker->member_count--;
    if (!member->is_charged) {
        return;
    }
    member->is_charged = false;
    fleet_discharge(core, worker, need_of(core, member), member->gpu_mask);
    if (worker->is_shrunk && fits_itself(worker)) {
        worker->is_shrunk = false;
    }
    if (worker->is_known) {
        room_gained(core);
    }
    core->dispatch_wanted = true; /* its row may be what others wait for */
}

void fleet_charge_all(struct core *core)
{
    for (uint32_t slot = 0; slot < core->member_slots.fresh; slot++) {
        struct member *member = &core->members[slot];
        if (slots_in_use(&core->member_slots, slot) && !member->is_ended) {
            charge_member(core, member);
        }
    }
}

/* ---- Coming and going -------------------------------------------------------------------------
 */

/* Everything on it is to be ended, unless it is claimed in time. */
static void orphan_all(struct core *core, struct worker *worker)
{
    struct mlq_list *first = worker->members.next;
    if (first == &worker->members) {
        return;
    }
    struct mlq_list *last = worker->members.prev;
    struct mlq_list *tail = worker->orphans.prev;
    tail->next = first;
    first->prev = tail;
    last->next = &worker->orphans;
    worker->orphans.prev = last;
    mlq_list_init(&worker->members);
    if (mlq_list_empty(&worker->todo)) {
        mlq_list_push_back(&core->todo_workers, &worker->todo);
    }
}

static void forget(struct core *core, struct worker *worker)
{
    if (worker->is_known) {
        mlq_heap_remove(heap_of(core, worker), &worker->by_cpu);
        worker->is_known = false;
        core->workers_known--;
        core->capacity_count++;
        /* What waited for this worker's room must not hold others back any more. */
        core->dispatch_wanted = true;
    }
    worker->gone_ns = core->now_ns;
    lease_drop(core, worker);
    orphan_all(core, worker);
}

void fleet_lose(struct core *core, struct worker *worker)
{
    worker->is_lost = true;
    forget(core, worker);
}

void fleet_on_leaving(struct core *core, const struct core_event *event)
{
    struct worker *worker = fleet_worker(core, event->worker);
    if (worker != NULL && (event->session == 0 || event->session >= worker->session)) {
        forget(core, worker);
    }
}

void fleet_on_heartbeat(struct core *core, const struct core_event *event)
{
    struct worker *worker = fleet_worker(core, event->worker);
    if (worker != NULL && worker->is_known && event->session == worker->session) {
        lease_renew(core, worker);
    }
}

static void answer_claims(struct core *core, struct worker *worker, const struct core_event *event)
{
    for (uint32_t i = 0; i < event->claim_count; i++) {
        const struct core_claim *claim = &event->claims[i];
        struct member *member = attempt_live_member(core, claim->attempt, claim->rank, worker->id);
        if (member == NULL) {
            act_answer(core, ACT_FENCED, worker->id, claim->attempt, claim->rank);
            continue;
        }
        mlq_list_remove(&member->in_worker);
        mlq_list_push_back(&worker->members, &member->in_worker);
        const struct task *task = &core->tasks[member->task];
        if (task->stop != CAUSE_NONE || member->is_leaving) {
            act_kill(core, task, member, task->stop != CAUSE_NONE ? task->stop : CAUSE_REQUEUE);
        }
    }
}

void fleet_on_hello(struct core *core, const struct core_event *event)
{
    MLQ_ASSERT(event->session > 0);
    if (event->claim_count > CORE_CLAIMS_MAX) {
        return;
    }
    uint32_t slot = fleet_hold(core, event->worker);
    if (slot == SLOT_NONE || event->session <= core->workers[slot].session) {
        return;
    }
    struct worker *worker = &core->workers[slot];
    if (worker->is_known) {
        mlq_heap_remove(heap_of(core, worker), &worker->by_cpu);
        core->workers_known--;
    }
    worker->session = event->session;
    worker->capacity = rvec_clamp_capacity(&event->capacity);
    worker->is_known = true;
    worker->is_lost = false;
    worker->is_shrunk = !fits_itself(worker);
    mlq_heap_push(heap_of(core, worker), &worker->by_cpu);
    core->workers_known++;
    core->capacity_count++;
    lease_renew(core, worker);
    act_welcome(core, worker);
    orphan_all(core, worker);
    answer_claims(core, worker, event);
    room_gained(core);
}
