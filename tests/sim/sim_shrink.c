/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A failing run made short: strikes of faults, then submissions, then whole kinds of faults are
 * left out in ever smaller groups (ddmin, Zeller and Hildebrandt, 2002), then time; what still
 * fails in the same way is kept. Each try runs in a child, since a failure ends the process.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/sys/mem.h"
#include "tests/sim/sim.h"

#define ROUNDS_MAX 4

struct shrink {
    char failure[SIM_FAILURE_BYTES]; /* without numbers */
    uint32_t tries;
};

/* One failure from another: its text, without the numbers in it. */
static void strip_numbers(char *text)
{
    char *to = text;
    for (const char *at = text; *at != '\0';) {
        if (isdigit((unsigned char)*at)) {
            while (isalnum((unsigned char)*at)) {
                at++;
            }
        } else {
            *to++ = *at++;
        }
    }
    *to = '\0';
}

/* How the plan fails; empty: it does not. `struck`, unless NULL, gets what struck until then. */
static void try_plan(struct shrink *shrink, const struct sim_plan *plan, char *failure,
                     struct sim_plan *struck)
{
    struct sim_failure *said = mlq_alloc(sizeof *said);
    int ends[2];
    shrink->tries++;
    (void)fflush(stdout);
    if (pipe(ends) != 0) {
        perror("mlq-sim: pipe");
        exit(2);
    }
    pid_t child = fork();
    if (child == 0) {
        (void)close(ends[0]);
        sim_say_failures_to(ends[1]);
        sim_run(sim_create(plan, false));
        _exit(0);
    }
    (void)close(ends[1]);
    size_t used = 0;
    ssize_t count;
    while (used < sizeof *said &&
           (count = read(ends[0], (char *)said + used, sizeof *said - used)) > 0) {
        used += (size_t)count;
    }
    (void)close(ends[0]);
    (void)waitpid(child, NULL, 0);
    (void)snprintf(failure, SIM_FAILURE_BYTES, "%s", said->text);
    if (struck != NULL) {
        struck->is_exact = true;
        struck->strike_count = said->struck_count;
        memcpy(struck->strikes, said->struck, sizeof struck->strikes);
    }
    mlq_free(said);
}

static bool fails_alike(struct shrink *shrink, const struct sim_plan *plan)
{
    char failure[SIM_FAILURE_BYTES];
    try_plan(shrink, plan, failure, NULL);
    strip_numbers(failure);
    return strcmp(failure, shrink->failure) == 0;
}

/* ---- What can be left out ---- */

static bool drop_strikes(struct shrink *shrink, struct sim_plan *plan, uint32_t size)
{
    struct sim_plan *less = mlq_alloc(sizeof *less);
    bool has_dropped = false;
    for (uint32_t first = 0; first < plan->strike_count;) {
        uint32_t end = first + size < plan->strike_count ? first + size : plan->strike_count;
        *less = *plan;
        memmove(less->strikes + first, less->strikes + end,
                (plan->strike_count - end) * sizeof less->strikes[0]);
        less->strike_count -= end - first;
        if (fails_alike(shrink, less)) {
            *plan = *less;
            has_dropped = true;
        } else {
            first = end;
        }
    }
    mlq_free(less);
    return has_dropped;
}

static bool shrink_strikes(struct shrink *shrink, struct sim_plan *plan)
{
    uint32_t before = plan->strike_count;
    for (uint32_t size = (plan->strike_count + 1) / 2; size > 0;) {
        bool has_dropped = drop_strikes(shrink, plan, size);
        if (size == 1 && !has_dropped) {
            break;
        }
        size = has_dropped && size == 1 ? 1 : size / 2 > 0 ? size / 2 : 1;
    }
    return plan->strike_count < before;
}

static bool shrink_flags(struct shrink *shrink, struct sim_plan *plan, bool *flags, uint32_t count)
{
    bool has_dropped = false;
    for (uint32_t i = 0; i < count; i++) {
        if (flags[i]) {
            continue;
        }
        flags[i] = true;
        if (fails_alike(shrink, plan)) {
            has_dropped = true;
        } else {
            flags[i] = false;
        }
    }
    return has_dropped;
}

static void shrink_time(struct shrink *shrink, struct sim_plan *plan)
{
    for (uint64_t cut = plan->steps / 2; cut > 0;) {
        uint64_t steps = plan->steps;
        plan->steps -= cut <= steps ? cut : steps;
        if (!fails_alike(shrink, plan)) {
            plan->steps = steps;
            cut /= 2;
        }
    }
}

/* ---- All of it ---- */

int sim_shrink(struct sim_plan *plan)
{
    struct shrink shrink = {0};
    char about[SIM_FAILURE_BYTES];
    struct sim_plan *exact = mlq_alloc(sizeof *exact);
    *exact = *plan;
    try_plan(&shrink, plan, about, exact);
    if (about[0] == '\0') {
        fprintf(stderr, "mlq-sim: seed %lu does not fail\n", (unsigned long)plan->seed);
        mlq_free(exact);
        return 0;
    }
    (void)snprintf(shrink.failure, sizeof shrink.failure, "%s", about);
    strip_numbers(shrink.failure);
    *plan = *exact;
    mlq_free(exact);
    if (!fails_alike(&shrink, plan)) {
        fprintf(stderr, "mlq-sim: the strikes alone do not make it fail\n");
        return 1;
    }
    uint32_t strikes = plan->strike_count;
    bool goes_on = true;
    for (uint32_t round = 0; goes_on && round < ROUNDS_MAX; round++) {
        goes_on = shrink_strikes(&shrink, plan);
        goes_on = shrink_flags(&shrink, plan, &plan->is_skipped[0][0],
                               SIM_CLIENTS_MAX * SIM_SUBMITS_MAX) ||
                  goes_on;
        goes_on = shrink_flags(&shrink, plan, plan->is_without, SIM_FAULT_COUNT) || goes_on;
        shrink_time(&shrink, plan);
    }
    fprintf(stderr, "mlq-sim: %u strikes became %u in %u tries\n", strikes, plan->strike_count,
            shrink.tries);
    sim_plan_print(plan, about);
    return 1;
}
