/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "tests/sim/sim.h"

#include <inttypes.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"

#define PPM INT64_C(1000000)

/* ---- Chance ---- */

uint64_t sim_below(struct sim *sim, uint64_t bound)
{
    return mlq_prng_below(&sim->prng, bound);
}

bool sim_chance(struct sim *sim, uint32_t percent)
{
    return sim_below(sim, 100) < percent;
}

int64_t sim_between(struct sim *sim, int64_t low_ns, int64_t high_ns)
{
    return low_ns + (int64_t)sim_below(sim, (uint64_t)(high_ns - low_ns) + 1);
}

void sim_mix(struct sim *sim, const uint64_t *words, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        sim->hash = mlq_hash_keyed(sim->hash, words[i], i);
    }
}

/* ---- Clocks ---- */

int64_t sim_local_ns(const struct sim *sim, const struct sim_clock *clock)
{
    int64_t age_ns = sim->now_ns - clock->born_ns;
    /* In two parts, so that nothing overflows. */
    int64_t drift_ns = age_ns / PPM * clock->ppm + age_ns % PPM * clock->ppm / PPM;
    return clock->offset_ns + age_ns + drift_ns;
}

int64_t sim_wait_ns(const struct sim *sim, const struct sim_clock *clock, int64_t local_ns)
{
    int64_t left_ns = local_ns - sim_local_ns(sim, clock);
    if (left_ns <= 0) {
        return 0;
    }
    /* A slow clock needs longer; a little too late is what timers are. */
    return left_ns + left_ns / PPM * (clock->ppm < 0 ? 1 - clock->ppm : 0) + 1000;
}

/* ---- Events ---- */

static bool event_before(const struct mlq_heap_node *a, const struct mlq_heap_node *b)
{
    const struct sim_event *left = (const struct sim_event *)(const void *)a;
    const struct sim_event *right = (const struct sim_event *)(const void *)b;
    return left->at_ns != right->at_ns ? left->at_ns < right->at_ns : left->seq < right->seq;
}

struct sim_event *sim_post(struct sim *sim, int64_t delay_ns, struct sim_actor *actor,
                           const char *name, sim_event_fn run)
{
    MLQ_ASSERT(delay_ns >= 0 && sim->events.count < SIM_EVENTS_MAX);
    struct sim_event *event = mlq_alloc(sizeof *event);
    *event = (struct sim_event){
        .at_ns = sim->now_ns + delay_ns,
        .seq = ++sim->seq,
        .run = run,
        .name = name,
        .actor = actor,
        .life = actor == NULL ? 0 : actor->life,
    };
    mlq_heap_push(&sim->events, &event->node);
    return event;
}

bool sim_is_frozen(const struct sim *sim, const struct sim_actor *actor)
{
    return actor->frozen_until_ns > sim->now_ns;
}

static void free_event(struct sim_event *event)
{
    mlq_free(event->data);
    mlq_free(event);
}

static void note_event(struct sim *sim, const struct sim_event *event)
{
    uint32_t place = (uint32_t)(sim->step % SIM_TRACE_EVENTS);
    sim->trace[place].at_ns = event->at_ns;
    sim->trace[place].name = event->name;
    sim->trace[place].index = event->index;
    sim->trace[place].a = event->a;
    sim->trace[place].b = event->b;
    sim->step++;
    sim_say(sim, "%s %u a=%" PRIx64 " b=%" PRIx64, event->name, event->index, event->a, event->b);
}

/* One event. An actor's own events wait while it is frozen and keep their order. */
static void step(struct sim *sim)
{
    struct sim_event *event = (struct sim_event *)(void *)mlq_heap_pop(&sim->events);
    MLQ_ASSERT(event != NULL && event->at_ns >= sim->now_ns);
    sim->now_ns = event->at_ns;
    struct sim_actor *actor = event->actor;
    if (actor != NULL && (!actor->is_up || actor->life != event->life)) {
        free_event(event);
        return;
    }
    if (actor != NULL && sim_is_frozen(sim, actor)) {
        event->at_ns = actor->frozen_until_ns;
        mlq_heap_push(&sim->events, &event->node);
        return;
    }
    note_event(sim, event);
    event->run(sim, event);
    free_event(event);
    check_machine_step(sim);
}

/* ---- The run ---- */

struct sim *sim_create(const struct sim_plan *plan, bool is_verbose)
{
    struct sim *sim = mlq_alloc(sizeof *sim);
    uint64_t seed = plan->seed;
    sim_say_of(sim);
    sim->plan = plan;
    sim->is_verbose = is_verbose;
    sim->struck = mlq_alloc_array(SIM_STRIKES_MAX, sizeof *sim->struck);
    mlq_prng_seed(&sim->prng, mlq_hash_keyed(seed, 1, 0));
    mlq_prng_seed(&sim->swarm, mlq_hash_keyed(seed, 2, 0));
    mlq_heap_init(&sim->events, sim->event_nodes, SIM_EVENTS_MAX, event_before);
    sim->limits = (struct core_limits){
        .jobs_max = 64,
        .stages_max = 256,
        .needs_max = 256,
        .tasks_max = 512,
        .members_max = 512,
        .workers_max = SIM_WORKERS_MAX,
        .lease_ns = SIM_LEASE_NS,
        .lease_margin_ns = SIM_MARGIN_NS,
        .starve_ns = 20 * SIM_SECOND,
    };
    sim_fault_draw(sim);
    for (uint32_t i = 0; i < sim->sched_count; i++) {
        sim->scheds[i].actions.items =
            mlq_alloc_array(CORE_ACTIONS_PER_EVENT, sizeof(struct core_action));
        sim_shell_start(sim, i);
    }
    for (uint32_t i = 0; i < sim->worker_count; i++) {
        sim->workers[i].host.is_up = true;
        sim_worker_start(sim, i);
    }
    for (uint32_t i = 0; i < sim->client_count; i++) {
        mlq_prng_seed(&sim->clients[i].prng, mlq_hash_keyed(seed, 3, i));
        sim_client_start(sim, i);
    }
    sim_fault_start(sim);
    return sim;
}

/* The faults stop: what is frozen thaws, what is cut heals (sim_fault.c brings back who is down).
 */
static void calm(struct sim *sim)
{
    sim->is_quiet = true;
    sim_say(sim, "faults are over");
    for (uint32_t i = 0; i < sim->worker_count; i++) {
        for (uint32_t k = 0; k < SIM_SCHEDS_MAX; k++) {
            sim->workers[i].is_cut[k][SIM_TO_SCHED] = false;
            sim->workers[i].is_cut[k][SIM_TO_WORKER] = false;
        }
    }
}

void sim_run(struct sim *sim)
{
    while (sim->step < sim->plan->steps) {
        step(sim);
    }
    calm(sim);
    int64_t until_ns = sim->now_ns + SIM_QUIET_NS;
    uint64_t until_step = sim->step + SIM_QUIET_EVENTS;
    while (!check_is_over(sim)) {
        step(sim);
        if (sim->now_ns > until_ns || sim->step > until_step) {
            sim_fail("not everything ended although the faults were over for %" PRId64 " s",
                     (sim->now_ns - until_ns + SIM_QUIET_NS) / SIM_SECOND);
        }
    }
    check_end(sim);
}

static void free_turn(struct sim_turn *turn)
{
    if (turn != NULL) {
        mlq_free(turn->rows);
        mlq_free(turn->held);
        mlq_free(turn);
    }
}

void sim_destroy(struct sim *sim)
{
    for (struct mlq_heap_node *node; (node = mlq_heap_pop(&sim->events)) != NULL;) {
        free_event((struct sim_event *)(void *)node);
    }
    for (uint32_t i = 0; i < sim->sched_count; i++) {
        mlq_free(sim->scheds[i].actions.items);
        mlq_free(sim->scheds[i].memory);
        free_turn(sim->scheds[i].open);
        free_turn(sim->scheds[i].committing);
    }
    sim_record_fini(&sim->record);
    mlq_free(sim->struck);
    mlq_free(sim);
    sim_say_of(NULL);
}
