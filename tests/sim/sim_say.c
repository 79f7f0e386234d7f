/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What the simulator prints: the only place that does.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/sys/mem.h"
#include "tests/sim/sim.h"

/* The world that a failed assertion speaks of: asserts have no argument for it. */
static const struct sim *current;

void sim_say_of(const struct sim *sim)
{
    current = sim;
}

void sim_say(const struct sim *sim, const char *fmt, ...)
{
    if (!sim->is_verbose) {
        return;
    }
    va_list args;
    va_start(args, fmt);
    printf("%6" PRIu64 " %10.6f  ", sim->step, (double)sim->now_ns / 1e9);
    vprintf(fmt, args);
    printf("\n");
    va_end(args);
}

static int failures_fd = -1;

void sim_say_failures_to(int fd)
{
    failures_fd = fd;
}

/* To sim_shrink.c, which reads until it has all of it. */
_Noreturn static void hand_over(const struct sim *sim, const char *text)
{
    struct sim_failure *failure = mlq_alloc(sizeof *failure);
    (void)snprintf(failure->text, sizeof failure->text, "%s", text);
    failure->struck_count = sim->struck_count;
    memcpy(failure->struck, sim->struck, sim->struck_count * sizeof failure->struck[0]);
    size_t used = 0;
    ssize_t count;
    while (used < sizeof *failure &&
           (count = write(failures_fd, (char *)failure + used, sizeof *failure - used)) > 0) {
        used += (size_t)count;
    }
    _exit(1);
}

_Noreturn void sim_fail(const char *fmt, ...)
{
    const struct sim *sim = current;
    char text[SIM_FAILURE_BYTES];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (failures_fd >= 0) {
        hand_over(sim, text);
    }
    fflush(stdout);
    fprintf(stderr, "mlq-sim: FAILED: %s", text);
    fprintf(stderr, "\nseed %" PRIu64 ", step %" PRIu64 ", %.6f s, %s. The last events:\n",
            sim->plan->seed, sim->step, (double)sim->now_ns / 1e9,
            sim->is_quiet ? "faults are over" : "among faults");
    uint64_t first = sim->step > SIM_TRACE_EVENTS ? sim->step - SIM_TRACE_EVENTS : 0;
    for (uint64_t i = first; i < sim->step; i++) {
        uint32_t place = (uint32_t)(i % SIM_TRACE_EVENTS);
        fprintf(stderr, "%6" PRIu64 " %10.6f  %s %u a=%" PRIx64 " b=%" PRIx64 "\n", i + 1,
                (double)sim->trace[place].at_ns / 1e9, sim->trace[place].name,
                sim->trace[place].index, sim->trace[place].a, sim->trace[place].b);
    }
    const char *how = sim->plan->is_exact ? "--replay its file" : "";
    fprintf(stderr,
            "replay: mlq-sim %s--seed %" PRIu64 " --steps %" PRIu64 " --verbose (or --shrink)\n",
            how, sim->plan->seed, sim->plan->steps);
    exit(1);
}

void sim_say_summary(const struct sim *sim)
{
    printf("seed=%" PRIu64 " hash=%016" PRIx64 " events=%" PRIu64 " seconds=%" PRId64
           " rows=%u jobs=%" PRIu64 " ran=%" PRIu64 " elections=%" PRIu64 " failed_commits=%" PRIu64
           " memberships=%" PRIu64 " joins=%" PRIu64 " faults=",
           sim->plan->seed, sim->hash, sim->step, sim->now_ns / SIM_SECOND, sim->record.row_count,
           sim->record.highest_job, sim->tasks_ran, sim->elections, sim->commits_failed,
           sim->groups_made, sim->joins);
    for (uint32_t i = 0; i < SIM_FAULT_COUNT; i++) {
        if (sim->has_fault[i]) {
            printf("%s:%u,", sim_fault_text((enum sim_fault)i), sim->fault_count[i]);
        }
    }
    printf("\n");
}
