/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Which faults strike. Each place that can fail asks sim_buggify; the answer is a function of the
 * seed, the fault and how often it was asked of this fault. So a strike has a name ("drop 17"), and
 * to leave it out changes no other draw by itself. A file of such names is a regression:
 *
 *   # what it was
 *   seed 12
 *   steps 340
 *   elastic                    jobs whose attempts change their size are among them
 *   skip CLIENT SUBMISSION     counted from 0: this one is not submitted
 *   without FAULT              a fault that has no strikes, as drift
 *   strike FAULT CALL          these and no others
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/panic.h"
#include "tests/sim/sim.h"

#define FAULT_WORD_BYTES 32
#define ELASTIC_KEY      UINT64_C(0x656c6173746963) /* apart from other uses of the seed */

static const char *const fault_texts[] = {
#define SIM_FAULT_TEXT(name, text) [SIM_FAULT_##name] = text,
    SIM_FAULTS(SIM_FAULT_TEXT)
#undef SIM_FAULT_TEXT
};

const char *sim_fault_text(enum sim_fault fault)
{
    MLQ_ASSERT(fault < SIM_FAULT_COUNT);
    return fault_texts[fault];
}

/* ---- Striking ---- */

static bool is_planned(const struct sim_plan *plan, enum sim_fault fault, uint32_t call)
{
    for (uint32_t i = 0; i < plan->strike_count; i++) {
        if (plan->strikes[i].fault == fault && plan->strikes[i].call == call) {
            return true;
        }
    }
    return false;
}

bool sim_buggify(struct sim *sim, enum sim_fault fault, uint32_t per_mille)
{
    if (sim->is_quiet || !sim->has_fault[fault]) {
        return false;
    }
    uint32_t call = ++sim->fault_calls[fault];
    uint64_t chance = mlq_hash_keyed(sim->plan->seed, UINT64_C(1000) + fault, call);
    bool strikes =
        sim->plan->is_exact ? is_planned(sim->plan, fault, call) : chance % 1000 < per_mille;
    if (!strikes) {
        return false;
    }
    mlq_prng_seed(&sim->fate, chance);
    sim->fault_count[fault]++;
    if (sim->struck_count < SIM_STRIKES_MAX) {
        sim->struck[sim->struck_count++] = (struct sim_strike){.fault = fault, .call = call};
    }
    sim_say(sim, "  strike %s %u", sim_fault_text(fault), call);
    return true;
}

uint64_t sim_fate_below(struct sim *sim, uint64_t bound)
{
    return mlq_prng_below(&sim->fate, bound);
}

int64_t sim_fate_between(struct sim *sim, int64_t low_ns, int64_t high_ns)
{
    return low_ns + (int64_t)sim_fate_below(sim, (uint64_t)(high_ns - low_ns) + 1);
}

/* ---- Plans ---- */

void sim_plan_by_chance(struct sim_plan *plan, uint64_t seed, uint64_t steps)
{
    *plan = (struct sim_plan){
        .seed = seed, .steps = steps, .is_elastic = mlq_hash_keyed(seed, ELASTIC_KEY, 0) % 2 == 0};
}

void sim_plan_print(const struct sim_plan *plan, const char *about)
{
    printf("# %s\nseed %" PRIu64 "\nsteps %" PRIu64 "\n", about, plan->seed, plan->steps);
    if (plan->is_elastic) {
        printf("elastic\n");
    }
    for (uint32_t client = 0; client < SIM_CLIENTS_MAX; client++) {
        for (uint32_t i = 0; i < SIM_SUBMITS_MAX; i++) {
            if (plan->is_skipped[client][i]) {
                printf("skip %u %u\n", client, i);
            }
        }
    }
    for (uint32_t i = 0; i < SIM_FAULT_COUNT; i++) {
        if (plan->is_without[i]) {
            printf("without %s\n", sim_fault_text((enum sim_fault)i));
        }
    }
    for (uint32_t i = 0; i < plan->strike_count; i++) {
        printf("strike %s %u\n", sim_fault_text(plan->strikes[i].fault), plan->strikes[i].call);
    }
}

/* ---- Reading ---- */

static bool read_fault(const char *word, enum sim_fault *fault)
{
    for (uint32_t i = 0; i < SIM_FAULT_COUNT; i++) {
        if (strcmp(word, fault_texts[i]) == 0) {
            *fault = (enum sim_fault)i;
            return true;
        }
    }
    return false;
}

static bool read_line(struct sim_plan *plan, const char *line)
{
    char word[FAULT_WORD_BYTES];
    uint32_t a;
    uint32_t b;
    enum sim_fault fault;
    if (line[0] == '#' || line[0] == '\n' || sscanf(line, "seed %" SCNu64, &plan->seed) == 1 ||
        sscanf(line, "steps %" SCNu64, &plan->steps) == 1) {
        return true;
    }
    if (strcmp(line, "elastic\n") == 0) {
        plan->is_elastic = true;
        return true;
    }
    if (sscanf(line, "skip %" SCNu32 " %" SCNu32, &a, &b) == 2 && a < SIM_CLIENTS_MAX &&
        b < SIM_SUBMITS_MAX) {
        plan->is_skipped[a][b] = true;
        return true;
    }
    if (sscanf(line, "without %31s", word) == 1 && read_fault(word, &fault)) {
        plan->is_without[fault] = true;
        return true;
    }
    if (sscanf(line, "strike %31s %" SCNu32, word, &a) == 2 && read_fault(word, &fault) &&
        plan->strike_count < SIM_STRIKES_MAX) {
        plan->strikes[plan->strike_count++] = (struct sim_strike){.fault = fault, .call = a};
        return true;
    }
    return false;
}

bool sim_plan_read(struct sim_plan *plan, const char *path)
{
    char line[512];
    uint32_t number = 0;
    bool is_good = true;
    *plan = (struct sim_plan){.is_exact = true};
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        fprintf(stderr, "mlq-sim: %s cannot be read: name a file of tests/sim/regressions\n", path);
        return false;
    }
    while (is_good && fgets(line, sizeof line, file) != NULL) {
        number++;
        is_good = read_line(plan, line);
    }
    (void)fclose(file);
    if (!is_good) {
        fprintf(stderr, "mlq-sim: %s:%u: no line of a plan: %s", path, number, line);
    }
    return is_good;
}
