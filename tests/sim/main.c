/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * mlq-sim: one seed, one world. Prints a line with the hash over all actions; 1 when it broke.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/panic.h"
#include "tests/sim/sim.h"

#define STEPS_DEFAULT 6000

static int usage(void)
{
    (void)fputs("usage: mlq-sim [--seed S] [--seeds N] [--steps N] [--verbose]\n"
                "  --seed S   the first seed (1)\n"
                "  --seeds N  so many of them (1)\n"
                "  --steps N  events with faults, before all must end (6000)\n",
                stderr);
    return 2;
}

/* An assertion of the shipped code, or of the simulator, is a finding like any other. */
_Noreturn void mlq_panic(const char *file, int line, const char *what)
{
    sim_fail("assertion %s:%d: %s", file, line, what);
}

static void run_one(uint64_t seed, uint64_t steps, bool is_verbose)
{
    struct sim *sim = sim_create(seed, steps, is_verbose);
    sim_run(sim);
    sim_say_summary(sim);
    sim_destroy(sim);
}

int main(int argc, char **argv)
{
    uint64_t seed = 1;
    uint64_t seeds = 1;
    uint64_t steps = STEPS_DEFAULT;
    bool is_verbose = false;
    for (int i = 1; i < argc; i++) {
        uint64_t *number = strcmp(argv[i], "--seed") == 0    ? &seed
                           : strcmp(argv[i], "--seeds") == 0 ? &seeds
                           : strcmp(argv[i], "--steps") == 0 ? &steps
                                                             : NULL;
        if (strcmp(argv[i], "--verbose") == 0) {
            is_verbose = true;
            continue;
        }
        char *end = NULL;
        if (number == NULL || i + 1 == argc) {
            return usage();
        }
        *number = strtoull(argv[++i], &end, 10);
        if (*end != '\0' || end == argv[i]) {
            return usage();
        }
    }
    for (uint64_t i = 0; i < seeds; i++) {
        run_one(seed + i, steps, is_verbose);
    }
    return 0;
}
