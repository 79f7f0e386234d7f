/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A fixed workload for core_budget.sh: plain jobs, pipelines, arrays, gangs, GPUs, failures that
 * are retried, heartbeats. Each kind of event has a function of its own, which callgrind accounts
 * for. Prints how many of each there were.
 */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"
#include "scheduler/core/core.h"

#define WORKERS   200
#define ROUNDS    400
#define QUEUE_MAX 65536
#define STEP_NS   INT64_C(1000000)

_Noreturn void mlq_panic(const char *file, int line, const char *what)
{
    (void)fprintf(stderr, "core_budget: %s:%d: %s\n", file, line, what);
    abort();
}

struct budget {
    struct core *core;
    struct core_actions actions;
    struct core_action items[CORE_ACTIONS_PER_EVENT];
    struct core_fact running[QUEUE_MAX]; /* assigned, not yet ended: a ring */
    uint32_t first;
    uint32_t count;
    uint32_t jobs, hellos, heartbeats, starts, ends, ticks;
    int64_t now_ns;
};

static void collect(struct budget *budget)
{
    for (uint32_t i = 0; i < budget->actions.count; i++) {
        const struct core_action *action = &budget->items[i];
        if (action->kind == ACT_ASSIGN) {
            MLQ_ASSERT(budget->count < QUEUE_MAX);
            budget->running[(budget->first + budget->count++) % QUEUE_MAX] = action->fact;
        }
    }
}

/* What callgrind accounts for: nothing is done here but one step. They are all alike: noipa keeps
 * them apart. */
#define KIND(name)                                                                                 \
    __attribute__((noipa)) static void name(struct budget *budget, struct core_event *event)       \
    {                                                                                              \
        event->now_ns = budget->now_ns;                                                            \
        core_step(budget->core, event, &budget->actions);                                          \
    }

KIND(budget_restored)
KIND(budget_submit)
KIND(budget_hello)
KIND(budget_heartbeat)
KIND(budget_started)
KIND(budget_ended)
KIND(budget_tick)

static void submit(struct budget *budget, uint32_t round)
{
    static const uint16_t first[] = {0};
    struct core_stage_desc stages[3] = {0};
    for (uint32_t i = 0; i < 3; i++) {
        stages[i] = (struct core_stage_desc){
            .array_count = round % 8 == 7 ? 64 : 1,
            .ranks = round % 16 == 5 ? 8 : 1,
            .per_rank = {.cpu_milli = 1000,
                         .mem_bytes = INT64_C(1) << 30,
                         .gpus = round % 4 == 3 ? 1 : 0},
            .retry = {.limit = 3, .cause_mask = UINT32_C(1) << CAUSE_EXIT, .backoff_ns = STEP_NS},
            .needs = first,
            .needs_count = i > 0 ? 1 : 0,
        };
    }
    struct core_job_desc desc = {
        .priority = (int32_t)(round % 3), .stage_count = round % 2 == 0 ? 1 : 3, .stages = stages};
    budget_submit(budget, &(struct core_event){.kind = EV_SUBMIT, .desc = &desc});
    budget->jobs++;
    collect(budget);
}

/* One in sixteen fails at its first try. */
static void finish_one(struct budget *budget)
{
    struct core_fact fact = budget->running[budget->first];
    budget->first = (budget->first + 1) % QUEUE_MAX;
    budget->count--;
    struct core_event event = {
        .kind = EV_STARTED, .worker = fact.worker, .attempt = fact.attempt, .rank = fact.rank};
    budget_started(budget, &event);
    collect(budget);
    event.kind = EV_ENDED;
    event.cause = fact.attempt % 16 == 0 ? CAUSE_EXIT : CAUSE_NONE;
    budget_ended(budget, &event);
    collect(budget);
    budget->starts++;
    budget->ends++;
}

static void tick(struct budget *budget)
{
    budget->now_ns += STEP_NS;
    while (core_next_deadline_ns(budget->core) <= budget->now_ns) {
        budget_tick(budget, &(struct core_event){.kind = EV_TICK});
        budget->ticks++;
        collect(budget);
    }
}

static void beat(struct budget *budget)
{
    for (uint32_t worker = 0; worker < WORKERS; worker++) {
        budget_heartbeat(budget, &(struct core_event){
                                     .kind = EV_WORKER_HEARTBEAT, .worker = worker, .session = 1});
        budget->heartbeats++;
        collect(budget);
    }
}

static void run(struct budget *budget)
{
    budget_restored(budget, &(struct core_event){.kind = EV_RESTORED});
    for (uint32_t worker = 0; worker < WORKERS; worker++) {
        struct core_event hello = {.kind = EV_WORKER_HELLO,
                                   .worker = worker,
                                   .session = 1,
                                   .capacity = {.cpu_milli = 8000,
                                                .mem_bytes = INT64_C(64) << 30,
                                                .gpus = worker % 4 == 0 ? 8 : 0}};
        budget_hello(budget, &hello);
        budget->hellos++;
        collect(budget);
    }
    for (uint32_t round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 0; i < 4; i++) {
            submit(budget, round + i);
        }
        for (uint32_t i = 0; i < 24 && budget->count > 0; i++) {
            finish_one(budget);
        }
        if (round % 16 == 0) {
            beat(budget);
        }
        tick(budget);
    }
    while (core_count(budget->core).jobs > 0) {
        while (budget->count > 0) {
            finish_one(budget);
        }
        tick(budget);
    }
}

int main(void)
{
    struct core_limits limits = core_limits_default();
    size_t size = core_memory_need(&limits);
    void *memory = mlq_alloc(size);
    struct budget *budget = mlq_alloc(sizeof *budget);
    budget->actions.items = budget->items;
    budget->core = core_init(&limits, memory, size, 1, 1, 1);
    run(budget);
    printf("submit %u\nhello %u\nheartbeat %u\nstarted %u\nended %u\ntick %u\n", budget->jobs,
           budget->hellos, budget->heartbeats, budget->starts, budget->ends, budget->ticks);
    mlq_free(budget);
    mlq_free(memory);
    return 0;
}
