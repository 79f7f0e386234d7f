/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Start reading here: core_step is the whole scheduler in one switch. An event first does what it
 * says (request.c, fleet.c, attempt.c), which decides facts (fact.c) that change tables; then
 * settle.c decides what follows from the tables, and dispatch.c starts what fits.
 */
#include "scheduler/core/core.h"

#include "scheduler/core/attempt.h"
#include "scheduler/core/audit.h"
#include "scheduler/core/core_state.h"
#include "scheduler/core/dag.h"
#include "scheduler/core/deadline.h"
#include "scheduler/core/elastic.h"
#include "scheduler/core/fact.h"
#include "scheduler/core/fleet.h"
#include "scheduler/core/job.h"
#include "scheduler/core/lease.h"
#include "scheduler/core/place.h"
#include "scheduler/core/ready.h"
#include "scheduler/core/request.h"
#include "scheduler/core/rvec.h"
#include "scheduler/core/settle.h"

/* ---- Events -----------------------------------------------------------------------------------
 */

static void begin_to_act(struct core *core)
{
    core->is_live = true;
    fleet_charge_all(core);
    lease_begin(core);
    core->dispatch_wanted = true;
}

/* A job that was restored for its retry either becomes a live one now, or leaves the tables again.
 * Returns what an EV_RETRY of it is to be told. */
static enum core_reply settle_visitor(struct core *core, const struct core_event *event)
{
    uint64_t id = core->visitor;
    if (id == 0) {
        return REPLY_NOT_FOUND;
    }
    core->visitor = 0;
    uint32_t slot = job_slot(core, id);
    enum core_reply reply = core->visitor_full ? REPLY_FULL : REPLY_OK;
    if (reply == REPLY_OK && core->jobs[slot].state != STATE_FAILED &&
        core->jobs[slot].state != STATE_CANCELLED) {
        reply = REPLY_ENDED;
    }
    bool is_meant = event->kind == EV_RETRY && event->job == id;
    if (slot != SLOT_NONE && (!is_meant || reply != REPLY_OK)) {
        bool is_gone = job_remove(core, slot, UINT32_MAX);
        MLQ_ASSERT(is_gone);
    }
    return is_meant ? reply : REPLY_NOT_FOUND;
}

void core_step(struct core *core, const struct core_event *event, struct core_actions *actions)
{
    MLQ_ASSERT(core->is_live == (event->kind != EV_RESTORED));
    MLQ_ASSERT(!core->is_live || event->now_ns >= core->now_ns);
    core->now_ns = event->now_ns;
    core->actions = actions;
    actions->count = 0;
    enum core_reply restored = settle_visitor(core, event);
    switch (event->kind) {
    case EV_TICK:
        break;
    case EV_RESTORED:
        begin_to_act(core);
        break;
    case EV_SUBMIT:
        request_on_submit(core, event);
        break;
    case EV_CANCEL:
        request_on_cancel(core, event);
        break;
    case EV_RETRY:
        request_on_retry(core, event, restored);
        break;
    case EV_WORKER_HELLO:
        fleet_on_hello(core, event);
        break;
    case EV_WORKER_HEARTBEAT:
        fleet_on_heartbeat(core, event);
        break;
    case EV_WORKER_LEAVING:
        fleet_on_leaving(core, event);
        break;
    case EV_STARTED:
        attempt_on_started(core, event);
        break;
    case EV_ENDED:
        attempt_on_ended(core, event);
        break;
    case EV_NOTE:
        attempt_on_note(core, event);
        break;
    case EV_READY:
        elastic_on_ready(core, event);
        break;
    }
    settle_run(core);
    core->actions = NULL;
}

int64_t core_next_deadline_ns(const struct core *core)
{
    return settle_is_pending(core) ? core->now_ns : deadline_next_ns(core);
}

/* ---- Restoring --------------------------------------------------------------------------------
 */

/* Facts of one job that ended, fed to a core that is live. */
static void receive_visitor(struct core *core, const struct core_fact *fact)
{
    if (fact->kind != FACT_JOB_SUBMITTED) {
        MLQ_ASSERT(core->visitor == fact->job);
        return;
    }
    MLQ_ASSERT(core->visitor == 0);
    uint32_t slot = job_slot(core, fact->job);
    if (slot != SLOT_NONE) {
        /* It ended a moment ago and is still being removed. */
        MLQ_ASSERT(job_state_is_end(core->jobs[slot].state));
        bool is_gone = job_remove(core, slot, UINT32_MAX);
        MLQ_ASSERT(is_gone);
    }
    core->visitor = fact->job;
    core->visitor_full = false;
}

bool core_restore(struct core *core, const struct core_fact *fact, const struct core_job_desc *desc)
{
    if (!core->is_live) {
        core->now_ns = fact->at_ns;
        return fact_apply(core, fact, desc);
    }
    receive_visitor(core, fact);
    if (!core->visitor_full && !fact_apply(core, fact, desc)) {
        core->visitor_full = true;
    }
    return !core->visitor_full;
}

/* ---- Memory -----------------------------------------------------------------------------------
 */

struct core_limits core_limits_default(void)
{
    return (struct core_limits){
        .jobs_max = 131072,
        .stages_max = 262144,
        .needs_max = 262144,
        .tasks_max = 131072,
        .members_max = 131072,
        .workers_max = 4096,
        .lease_ns = INT64_C(15000000000),
        /* Kill grace 5 s, and 1 s + 1 % of the lease for clocks. */
        .lease_margin_ns = INT64_C(6150000000),
        .starve_ns = INT64_C(300000000000),
    };
}

/* The part of the block that is taken so far; without a block it only counts. Rows are not touched
 * before they are used: the block comes zeroed. */
struct carving {
    uint8_t *block;
    size_t used;
};

static void *carve(struct carving *carving, size_t count, size_t bytes)
{
    size_t total;
    bool is_too_much = __builtin_mul_overflow(count, bytes, &total);
    MLQ_ASSERT(!is_too_much && total < SIZE_MAX / 64);
    void *memory = carving->block == NULL ? NULL : carving->block + carving->used;
    carving->used += mlq_arena_footprint(total);
    return memory;
}

static void carve_slots(struct carving *carving, struct slots *slots, uint32_t max)
{
    slots_init(slots, carve(carving, max, sizeof(uint32_t)), max);
}

static void carve_map(struct carving *carving, struct mlq_map *map, uint32_t capacity)
{
    size_t size = mlq_map_footprint(capacity);
    void *memory = carve(carving, 1, size);
    if (memory != NULL) {
        struct mlq_arena arena;
        mlq_arena_init(&arena, memory, size);
        bool has_fitted = mlq_map_init(map, &arena, capacity);
        MLQ_ASSERT(has_fitted);
    }
}

static void carve_heap(struct carving *carving, struct mlq_heap *heap, uint32_t capacity,
                       mlq_heap_before_fn before)
{
    mlq_heap_init(heap, carve(carving, capacity, sizeof(struct mlq_heap_node *)), capacity, before);
}

/* Lay out all tables for core->limits; returns the bytes that they take. */
static size_t lay_out(struct core *core, uint8_t *block)
{
    const struct core_limits *limits = &core->limits;
    struct carving carving = {.block = block, .used = mlq_arena_footprint(sizeof *core)};
    carve_slots(&carving, &core->job_slots, limits->jobs_max);
    carve_slots(&carving, &core->stage_slots, limits->stages_max);
    carve_slots(&carving, &core->edge_slots, limits->needs_max);
    carve_slots(&carving, &core->shape_slots, limits->stages_max);
    carve_slots(&carving, &core->task_slots, limits->tasks_max);
    carve_slots(&carving, &core->member_slots, limits->members_max);
    carve_slots(&carving, &core->worker_slots, limits->workers_max);
    core->jobs = carve(&carving, limits->jobs_max, sizeof *core->jobs);
    core->stages = carve(&carving, limits->stages_max, sizeof *core->stages);
    core->edges = carve(&carving, limits->needs_max, sizeof *core->edges);
    core->shapes = carve(&carving, limits->stages_max, sizeof *core->shapes);
    core->tasks = carve(&carving, limits->tasks_max, sizeof *core->tasks);
    core->members = carve(&carving, limits->members_max, sizeof *core->members);
    core->workers = carve(&carving, limits->workers_max, sizeof *core->workers);
    carve_map(&carving, &core->job_of, limits->jobs_max);
    carve_map(&carving, &core->stage_of, limits->stages_max);
    carve_map(&carving, &core->task_of, limits->tasks_max);
    carve_map(&carving, &core->attempt_of, limits->tasks_max);
    carve_map(&carving, &core->worker_of, limits->workers_max);
    carve_map(&carving, &core->shape_of, READY_SHAPES_SHARED_MAX);
    carve_heap(&carving, &core->deadlines,
               limits->jobs_max + limits->tasks_max + limits->workers_max, deadline_before);
    carve_heap(&carving, &core->shape_heap, limits->stages_max, ready_shape_before);
    carve_heap(&carving, &core->by_cpu[0], limits->workers_max, fleet_cpu_before);
    carve_heap(&carving, &core->by_cpu[1], limits->workers_max, fleet_cpu_before);
    return carving.used;
}

static void check_limits(const struct core_limits *limits)
{
    const uint32_t max = UINT32_C(1) << 28;
    MLQ_ASSERT(limits->jobs_max > 0 && limits->jobs_max < max);
    MLQ_ASSERT(limits->stages_max > 0 && limits->stages_max < max);
    MLQ_ASSERT(limits->needs_max > 0 && limits->needs_max < max);
    MLQ_ASSERT(limits->tasks_max > 0 && limits->tasks_max < max);
    MLQ_ASSERT(limits->members_max > 0 && limits->members_max < max);
    MLQ_ASSERT(limits->workers_max > 0 && limits->workers_max < max);
    MLQ_ASSERT(limits->lease_ns > 0 && limits->lease_margin_ns >= 0 && limits->starve_ns >= 0);
}

size_t core_memory_need(const struct core_limits *limits)
{
    check_limits(limits);
    struct core counted = {.limits = *limits};
    return lay_out(&counted, NULL);
}

struct core *core_init(const struct core_limits *limits, void *memory, size_t size, uint32_t epoch,
                       uint64_t first_job, uint64_t seed)
{
    MLQ_ASSERT(size >= core_memory_need(limits) && first_job > 0);
    struct core *core = memory;
    *core = (struct core){
        .limits = *limits,
        .seed = seed,
        .next_job = first_job,
        .epoch = epoch,
        .room_count = 1,
        .capacity_count = 1,
    };
    size_t used = lay_out(core, memory);
    MLQ_ASSERT(used <= size);
    mlq_list_init(&core->todo_workers);
    mlq_list_init(&core->todo_tasks);
    mlq_list_init(&core->todo_stages);
    mlq_list_init(&core->todo_jobs);
    mlq_list_init(&core->todo_regroup);
    mlq_list_init(&core->elastic_tasks);
    mlq_list_init(&core->again_stages);
    return core;
}

/* ---- Words ------------------------------------------------------------------------------------
 */

const char *core_cause_text(enum core_cause cause)
{
    static const char *const texts[] = {
#define CORE_CAUSE_TEXT(name, text) [CAUSE_##name] = text,
        CORE_CAUSES(CORE_CAUSE_TEXT)
#undef CORE_CAUSE_TEXT
    };
    MLQ_ASSERT(cause < CAUSE_COUNT);
    return texts[cause];
}

const char *core_state_text(enum core_state state)
{
    static const char *const texts[] = {
#define CORE_STATE_TEXT(name, text) [STATE_##name] = text,
        CORE_STATES(CORE_STATE_TEXT)
#undef CORE_STATE_TEXT
    };
    MLQ_ASSERT(state < STATE_COUNT);
    return texts[state];
}

/* ---- Descriptions -----------------------------------------------------------------------------
 */

static bool is_duration(int64_t duration_ns)
{
    return duration_ns >= 0 && duration_ns <= CORE_DURATION_NS_MAX;
}

static const char *check_stage(const struct core_stage_desc *stage)
{
    if (stage->array_count < 1 || stage->array_count > CORE_ARRAY_MAX) {
        return "a stage has no task, or more than a million";
    }
    if (stage->ranks < 1 || stage->ranks > CORE_RANKS_MAX) {
        return "a task has no rank, or more than 256";
    }
    if (stage->ranks_min > stage->ranks || stage->resize >= RESIZE_COUNT ||
        (stage->resize == RESIZE_NEVER && stage->ranks_min > 0 && stage->ranks_min < stage->ranks)) {
        return "a task's least number of ranks is above its most, or differs though it is fixed";
    }
    if (!rvec_is_valid(&stage->per_rank)) {
        return "a rank asks for resources that are out of range";
    }
    if (!is_duration(stage->grace_ns) || !is_duration(stage->retry.backoff_ns) ||
        !is_duration(stage->retry.backoff_max_ns)) {
        return "a stage's grace or back-off is out of range";
    }
    uint32_t causes = ((UINT32_C(1) << CAUSE_COUNT) - 1) & ~(UINT32_C(1) << CAUSE_NONE);
    if ((stage->retry.cause_mask & ~causes) != 0) {
        return "a retry policy names a cause that does not exist";
    }
    return NULL;
}

const char *core_job_desc_check(const struct core_job_desc *desc)
{
    if (desc->stage_count < 1 || desc->stage_count > CORE_STAGES_PER_JOB_MAX) {
        return "a job has no stage, or more than 1024";
    }
    if (desc->stages == NULL) {
        return "a job has no list of stages";
    }
    if (!is_duration(desc->deadline_ns)) {
        return "the deadline is out of range";
    }
    for (uint32_t i = 0; i < desc->stage_count; i++) {
        const char *wrong = check_stage(&desc->stages[i]);
        if (wrong != NULL) {
            return wrong;
        }
    }
    return dag_check(desc);
}

/* ---- Questions --------------------------------------------------------------------------------
 */

void core_audit(const struct core *core)
{
    audit_all(core);
}

bool core_job_is_live(const struct core *core, uint64_t job)
{
    uint32_t slot = job_slot(core, job);
    return slot != SLOT_NONE && job != core->visitor && !job_state_is_end(core->jobs[slot].state);
}

bool core_is_live(const struct core *core, uint64_t attempt, uint32_t rank, uint32_t worker)
{
    return attempt_live_member(core, attempt, rank, worker) != NULL;
}

uint32_t core_attempt_workers(const struct core *core, uint64_t attempt, uint32_t *workers,
                              uint32_t room)
{
    uint32_t task_slot;
    if (attempt == 0 || !mlq_map_find(&core->attempt_of, attempt, &task_slot)) {
        return 0;
    }
    const struct task *task = &core->tasks[task_slot];
    uint32_t count = 0;
    for (uint32_t slot = task->member_first; slot != SLOT_NONE && count < room;
         slot = core->members[slot].next) {
        uint32_t worker = core->members[slot].worker;
        workers[count++] = worker == SLOT_NONE ? SLOT_NONE : core->workers[worker].id;
    }
    return task->ranks;
}

uint64_t core_attempt_job(const struct core *core, uint64_t attempt)
{
    uint32_t slot;
    if (attempt == 0 || !mlq_map_find(&core->attempt_of, attempt, &slot)) {
        return 0;
    }
    return core->jobs[core->stages[core->tasks[slot].stage].job].id;
}

uint32_t core_attempt_stage(const struct core *core, uint64_t attempt)
{
    uint32_t slot;
    bool is_live = attempt != 0 && mlq_map_find(&core->attempt_of, attempt, &slot);
    return is_live ? core->stages[core->tasks[slot].stage].index : 0;
}

bool core_attempt_began(const struct core *core, uint64_t attempt, int64_t *at_ns)
{
    uint32_t slot;
    if (attempt == 0 || !mlq_map_find(&core->attempt_of, attempt, &slot)) {
        return false;
    }
    *at_ns = core->tasks[slot].began_ns;
    return true;
}

bool core_worker(const struct core *core, uint32_t worker_id, struct core_worker_view *view)
{
    const struct worker *worker = fleet_worker(core, worker_id);
    if (worker == NULL) {
        *view = (struct core_worker_view){0};
        return false;
    }
    *view = (struct core_worker_view){
        .known = worker->is_known,
        .capacity = worker->capacity,
        .free = fleet_free(worker),
        .members = worker->member_count,
    };
    return true;
}

struct core_counts core_count(const struct core *core)
{
    return (struct core_counts){
        .jobs = core->job_slots.count,
        .stages_ready = core->ready_count,
        .members = core->members_live,
        .workers = core->workers_known,
    };
}

bool core_is_feasible(const struct core *core, const struct core_stage_desc *stage)
{
    return place_is_feasible(core, &stage->per_rank,
                             stage->ranks_min > 0 ? stage->ranks_min : stage->ranks);
}
