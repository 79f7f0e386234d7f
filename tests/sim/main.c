/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * mlq-sim: one seed, one world. Prints a line with the hash over all actions; 1 when it broke.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"
#include "tests/sim/sim.h"

#define STEPS_DEFAULT 6000

struct options {
    uint64_t seed;
    uint64_t seeds;
    uint64_t steps;
    bool is_verbose;
    bool must_shrink;
    const char *replay; /* NULL: none */
};

static int usage(void)
{
    (void)fputs(
        "usage: mlq-sim [--seed S] [--seeds N] [--steps N] [--replay FILE] [--shrink] [--verbose]\n"
        "  --seed S       the first seed (1)\n"
        "  --seeds N      so many of them (1)\n"
        "  --steps N      events with faults, before all must end (6000)\n"
        "  --replay FILE  the run that the file describes (tests/sim/regressions)\n"
        "  --shrink       if it fails: print the shortest file that fails alike\n",
        stderr);
    return 2;
}

/* An assertion of the shipped code, or of the simulator, is a finding like any other. */
_Noreturn void mlq_panic(const char *file, int line, const char *what)
{
    sim_fail("assertion %s:%d: %s", file, line, what);
}

static bool read_number(const char *text, uint64_t *number)
{
    char *end = NULL;
    *number = strtoull(text, &end, 10);
    return *end == '\0' && end != text;
}

static bool read_options(struct options *options, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        uint64_t *number = strcmp(argv[i], "--seed") == 0    ? &options->seed
                           : strcmp(argv[i], "--seeds") == 0 ? &options->seeds
                           : strcmp(argv[i], "--steps") == 0 ? &options->steps
                                                             : NULL;
        if (strcmp(argv[i], "--verbose") == 0) {
            options->is_verbose = true;
        } else if (strcmp(argv[i], "--shrink") == 0) {
            options->must_shrink = true;
        } else if (i + 1 == argc) {
            return false;
        } else if (strcmp(argv[i], "--replay") == 0) {
            options->replay = argv[++i];
        } else if (number == NULL || !read_number(argv[++i], number)) {
            return false;
        }
    }
    return true;
}

static int run(struct sim_plan *plan, const struct options *options)
{
    if (options->must_shrink) {
        return sim_shrink(plan);
    }
    struct sim *sim = sim_create(plan, options->is_verbose);
    sim_run(sim);
    sim_say_summary(sim);
    sim_destroy(sim);
    return 0;
}

int main(int argc, char **argv)
{
    struct options options = {.seed = 1, .seeds = 1, .steps = STEPS_DEFAULT};
    if (!read_options(&options, argc, argv)) {
        return usage();
    }
    struct sim_plan *plan = mlq_alloc(sizeof *plan);
    int rc = 0;
    if (options.replay != NULL) {
        rc = sim_plan_read(plan, options.replay) ? run(plan, &options) : 2;
    }
    for (uint64_t i = 0; options.replay == NULL && rc == 0 && i < options.seeds; i++) {
        sim_plan_by_chance(plan, options.seed + i, options.steps);
        rc = run(plan, &options);
    }
    mlq_free(plan);
    return rc;
}
