/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What the simulator prints: the only place that does.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

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

_Noreturn void sim_fail(const char *fmt, ...)
{
    const struct sim *sim = current;
    va_list args;
    va_start(args, fmt);
    fflush(stdout);
    fprintf(stderr, "mlq-sim: FAILED: ");
    vfprintf(stderr, fmt, args);
    va_end(args);
    fprintf(stderr, "\nseed %" PRIu64 ", step %" PRIu64 ", %.6f s, %s. The last events:\n",
            sim->seed, sim->step, (double)sim->now_ns / 1e9,
            sim->is_quiet ? "faults are over" : "among faults");
    uint64_t first = sim->step > SIM_TRACE_EVENTS ? sim->step - SIM_TRACE_EVENTS : 0;
    for (uint64_t i = first; i < sim->step; i++) {
        uint32_t place = (uint32_t)(i % SIM_TRACE_EVENTS);
        fprintf(stderr, "%6" PRIu64 " %10.6f  %s %u a=%" PRIx64 " b=%" PRIx64 "\n", i + 1,
                (double)sim->trace[place].at_ns / 1e9, sim->trace[place].name,
                sim->trace[place].index, sim->trace[place].a, sim->trace[place].b);
    }
    fprintf(stderr, "replay: mlq-sim --seed %" PRIu64 " --steps %" PRIu64 " --verbose\n", sim->seed,
            sim->steps);
    exit(1);
}

void sim_say_summary(const struct sim *sim)
{
    printf("seed=%" PRIu64 " hash=%016" PRIx64 " events=%" PRIu64 " seconds=%" PRId64
           " rows=%u jobs=%" PRIu64 " ran=%" PRIu64 " elections=%" PRIu64 " failed_commits=%" PRIu64
           " faults=",
           sim->seed, sim->hash, sim->step, sim->now_ns / SIM_SECOND, sim->record.row_count,
           sim->record.jobs, sim->tasks_ran, sim->elections, sim->commits_failed);
    for (uint32_t i = 0; i < SIM_FAULT_COUNT; i++) {
        if (sim->has_fault[i]) {
            printf("%s:%u,", sim_fault_text((enum sim_fault)i), sim->fault_count[i]);
        }
    }
    printf("\n");
}
