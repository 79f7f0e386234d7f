/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * How many events a second the core takes: 100,000 jobs of one task are submitted, assigned,
 * started and ended on 16 workers, then an array of a million tasks. Not a test: it prints, and
 * asserts only that all work was done.
 */
#include <stdio.h>

#include "lib/base/panic.h"
#include "lib/sys/clock.h"
#include "lib/sys/mem.h"
#include "scheduler/core/core.h"

#define WORKERS   16
#define QUEUE_MAX 1024

struct bench {
    struct core *core;
    struct core_actions actions;
    struct core_action items[CORE_ACTIONS_PER_EVENT];
    struct core_fact running[QUEUE_MAX]; /* assigned, not yet ended: a ring */
    uint32_t first;
    uint32_t count;
    uint64_t events;
    uint64_t ended;
    int64_t now_ns;
};

static void step(struct bench *bench, struct core_event event)
{
    event.now_ns = bench->now_ns;
    core_step(bench->core, &event, &bench->actions);
    bench->events++;
    for (uint32_t i = 0; i < bench->actions.count; i++) {
        const struct core_action *action = &bench->items[i];
        if (action->kind == ACT_ASSIGN) {
            MLQ_ASSERT(bench->count < QUEUE_MAX);
            bench->running[(bench->first + bench->count++) % QUEUE_MAX] = action->fact;
        }
    }
}

static void finish_one(struct bench *bench)
{
    struct core_fact fact = bench->running[bench->first];
    bench->first = (bench->first + 1) % QUEUE_MAX;
    bench->count--;
    struct core_event event = {
        .kind = EV_STARTED, .worker = fact.worker, .attempt = fact.attempt, .rank = fact.rank};
    step(bench, event);
    event.kind = EV_ENDED;
    step(bench, event);
    bench->ended++;
}

static void print(const char *what, struct bench *bench, int64_t start_ns)
{
    int64_t took_ns = mlq_clock_boot_ns() - start_ns;
    printf("%-40s %9llu events in %6.3f s: %9.0f events/s\n", what,
           (unsigned long long)bench->events, (double)took_ns / 1e9,
           (double)bench->events * 1e9 / (double)took_ns);
    bench->events = 0;
}

int main(void)
{
    struct core_limits limits = core_limits_default();
    size_t size = core_memory_need(&limits);
    void *memory = mlq_alloc(size);
    struct bench *bench = mlq_alloc(sizeof *bench);
    bench->actions.items = bench->items;
    bench->core = core_init(&limits, memory, size, 1, 1, 1);
    step(bench, (struct core_event){.kind = EV_RESTORED});
    struct core_stage_desc stage = {
        .array_count = 1,
        .ranks = 1,
        .per_rank = {.cpu_milli = 1000, .mem_bytes = INT64_C(1) << 30},
    };
    struct core_job_desc desc = {.stage_count = 1, .stages = &stage};

    int64_t start_ns = mlq_clock_boot_ns();
    for (uint32_t i = 0; i < 100000; i++) {
        step(bench, (struct core_event){.kind = EV_SUBMIT, .desc = &desc});
    }
    print("submit 100,000 jobs", bench, start_ns);

    for (uint32_t worker = 0; worker < WORKERS; worker++) {
        step(bench, (struct core_event){
                        .kind = EV_WORKER_HELLO,
                        .worker = worker,
                        .session = 1,
                        .capacity = {.cpu_milli = 32000, .mem_bytes = INT64_C(64) << 30},
                    });
    }
    start_ns = mlq_clock_boot_ns();
    while (bench->count > 0) {
        finish_one(bench);
    }
    MLQ_ASSERT(bench->ended == 100000 && core_count(bench->core).jobs == 0);
    print("run them on 16 workers", bench, start_ns);

    stage.array_count = CORE_ARRAY_MAX;
    bench->ended = 0;
    start_ns = mlq_clock_boot_ns();
    step(bench, (struct core_event){.kind = EV_SUBMIT, .desc = &desc});
    while (bench->count > 0) {
        finish_one(bench);
    }
    MLQ_ASSERT(bench->ended == CORE_ARRAY_MAX && core_count(bench->core).jobs == 0);
    print("run an array of 1,000,000 tasks", bench, start_ns);
    printf("block for the default limits: %zu MiB\n", size >> 20);
    mlq_free(bench);
    mlq_free(memory);
    return 0;
}
