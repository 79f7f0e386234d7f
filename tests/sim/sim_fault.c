/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What goes wrong. Some faults are drawn where they strike (sim_buggify); those of processes and
 * machines are struck from here, at random times. Everything that is stopped comes back by itself.
 */
#include "tests/sim/sim.h"

static void set_clock(struct sim *sim, struct sim_clock *clock)
{
    clock->offset_ns = (int64_t)mlq_prng_below(&sim->swarm, 3600) * SIM_SECOND;
    if (sim->has_fault[SIM_FAULT_DRIFT]) {
        clock->ppm = (int64_t)mlq_prng_below(&sim->swarm, 1001) - 500;
    }
}

static uint32_t small(struct mlq_prng *prng, uint32_t least, uint32_t more)
{
    return least + (uint32_t)mlq_prng_below(prng, more + 1);
}

/* Small tables have room for the largest job and the largest gang, so that everything can run, one
 * after the other. Those of tasks stay large where users retry: the facts of a job that was retried
 * may take more rows when they are loaded than they took when they came (its failed tasks keep
 * theirs), and then nobody can lead. */
static void draw_limits(struct sim *sim)
{
    struct mlq_prng prng;
    mlq_prng_seed(&prng, mlq_hash_keyed(sim->plan->seed, 6, 0));
    if (sim->has_fault[SIM_FAULT_TABLES]) {
        sim->limits.jobs_max = small(&prng, 1, 5);
        sim->limits.stages_max = small(&prng, SIM_STAGES_MAX, 8);
        sim->limits.needs_max = small(&prng, SIM_STAGES_MAX * (SIM_STAGES_MAX - 1) / 2, 6);
        sim->limits.members_max = small(&prng, SIM_RANKS_MAX, 8);
        sim->limits.tasks_max =
            sim->has_fault[SIM_FAULT_RETRY] ? sim->limits.tasks_max : small(&prng, 1, 7);
    }
    if (sim->has_fault[SIM_FAULT_HURRY]) {
        sim->limits.starve_ns = small(&prng, 1, 4) * SIM_SECOND;
    }
}

void sim_fault_draw(struct sim *sim)
{
    struct mlq_prng *swarm = &sim->swarm;
    for (uint32_t i = 0; i < SIM_FAULT_COUNT; i++) {
        /* Those that came later are drawn apart, so that an older seed is still the same cluster.
         */
        bool is_drawn = i < SIM_FAULT_NOTES ? mlq_prng_below(swarm, 100) < 40
                                            : mlq_hash_keyed(sim->plan->seed, 5, i) % 100 < 30;
        sim->has_fault[i] = sim->plan->seed != 0 && is_drawn && !sim->plan->is_without[i];
    }
    draw_limits(sim);
    sim->strike_per_mille = 50 + (uint32_t)mlq_prng_below(swarm, 400);
    sim->sched_count = sim->has_fault[SIM_FAULT_STANDBY] ? 2 : 1;
    sim->worker_count = 1 + (uint32_t)mlq_prng_below(swarm, SIM_WORKERS_MAX);
    sim->client_count = 1 + (uint32_t)mlq_prng_below(swarm, SIM_CLIENTS_MAX);
    for (uint32_t i = 0; i < sim->sched_count; i++) {
        set_clock(sim, &sim->scheds[i].clock);
    }
    for (uint32_t i = 0; i < sim->worker_count; i++) {
        struct sim_worker *worker = &sim->workers[i];
        set_clock(sim, &worker->clock);
        worker->link.sched = (uint32_t)mlq_prng_below(swarm, sim->sched_count);
        /* The first one is large enough for the largest gang, so that everything can run. */
        int64_t cpus = i == 0 ? 6 : 2 + (int64_t)mlq_prng_below(swarm, 4);
        worker->capacity = (struct rvec){.cpu_milli = 1000 * cpus,
                                         .mem_bytes = INT64_C(1) << (i == 0 ? 32 : 31),
                                         .gpus = i == 0 ? 4 : (int32_t)mlq_prng_below(swarm, 3)};
    }
}

/* ---- What comes back ---- */

static void on_agent_back(struct sim *sim, struct sim_event *event)
{
    if (!sim->workers[event->index].agent_actor.is_up) {
        sim_worker_start(sim, event->index);
    }
}

static void on_sched_back(struct sim *sim, struct sim_event *event)
{
    if (!sim->scheds[event->index].actor.is_up) {
        sim_shell_start(sim, event->index);
    }
}

static void on_healed(struct sim *sim, struct sim_event *event)
{
    sim->workers[event->index].is_cut[event->a][event->b] = false;
}

static void later(struct sim *sim, int64_t low_ns, int64_t high_ns, uint32_t index,
                  const char *name, sim_event_fn run)
{
    sim_post(sim, sim_fate_between(sim, low_ns, high_ns), NULL, name, run)->index = index;
}

/* ---- Strikes ---- */

static struct sim_folder *any_live(struct sim *sim, struct sim_worker *worker)
{
    uint64_t first = sim_fate_below(sim, SIM_FOLDERS_MAX);
    for (uint32_t i = 0; i < SIM_FOLDERS_MAX; i++) {
        struct sim_folder *folder = &worker->folders[(first + i) % SIM_FOLDERS_MAX];
        if (folder->is_used && folder->state == SIM_SHIM_LIVE) {
            return folder;
        }
    }
    return NULL;
}

/* BOOTTIME begins anew; the folders are on disk. */
static void reboot(struct sim *sim, uint32_t index)
{
    struct sim_worker *worker = &sim->workers[index];
    if (worker->agent_actor.is_up) {
        sim_worker_crash(sim, index);
    }
    worker->host.life++;
    for (uint32_t i = 0; i < SIM_FOLDERS_MAX; i++) {
        struct sim_folder *folder = &worker->folders[i];
        if (folder->is_used &&
            (folder->state == SIM_SHIM_STARTING || folder->state == SIM_SHIM_LIVE)) {
            sim_shim_crash(sim, index, folder);
        }
    }
    worker->clock.born_ns = sim->now_ns;
    worker->clock.offset_ns = 0;
    later(sim, SIM_SECOND, 20 * SIM_SECOND, index, "worker boots", on_agent_back);
}

static void freeze(struct sim *sim, struct sim_actor *actor)
{
    /* Often around the length of a lease, where it hurts. */
    int64_t until_ns = sim->now_ns + sim_fate_between(sim, 100 * SIM_MILLI, 12 * SIM_SECOND);
    actor->frozen_until_ns = until_ns > actor->frozen_until_ns ? until_ns : actor->frozen_until_ns;
}

static void cut(struct sim *sim, uint32_t index)
{
    uint32_t sched = (uint32_t)sim_fate_below(sim, sim->sched_count);
    uint32_t way = (uint32_t)sim_fate_below(sim, 2);
    bool is_whole = sim_fate_below(sim, 100) < 30;
    for (uint32_t i = 0; i < 2; i++) {
        if (is_whole || i == way) {
            sim->workers[index].is_cut[sched][i] = true;
            struct sim_event *event =
                sim_post(sim, sim_fate_between(sim, SIM_SECOND, 20 * SIM_SECOND), NULL,
                         "partition heals", on_healed);
            event->index = index;
            event->a = sched;
            event->b = i;
        }
    }
}

/* What a worker that was cloned, or lies, could say of another's work. */
static void lie(struct sim *sim, uint32_t index)
{
    uint32_t other = (uint32_t)sim_fate_below(sim, sim->worker_count);
    const struct sim_folder *folder = any_live(sim, &sim->workers[other]);
    if (other == index || folder == NULL || !sim->workers[index].agent_actor.is_up) {
        return;
    }
    bool is_note = sim->has_fault[SIM_FAULT_NOTES] && sim_fate_below(sim, 2) == 0;
    struct sim_message lie = {.kind = is_note ? SIM_NOTE : SIM_ENDED,
                              .note = is_note ? UINT32_MAX : 0,
                              .worker = index,
                              .session = sim->workers[index].agent.session,
                              .attempt = folder->fact.attempt,
                              .rank = folder->fact.rank};
    sim_net_send_to_sched(sim, index, &lie);
}

static void strike_worker(struct sim *sim, enum sim_fault fault, uint32_t index)
{
    struct sim_worker *worker = &sim->workers[index];
    struct sim_folder *folder = any_live(sim, worker);
    if (fault == SIM_FAULT_PARTITION) {
        cut(sim, index);
    } else if (fault == SIM_FAULT_LATE) {
        sim_net_late(sim, index, SIM_TO_SCHED);
        sim_net_late(sim, index, SIM_TO_WORKER);
    } else if (fault == SIM_FAULT_LIAR) {
        lie(sim, index);
    } else if (fault == SIM_FAULT_AGENT_CRASH && worker->agent_actor.is_up) {
        sim_worker_crash(sim, index);
        later(sim, 10 * SIM_MILLI, 12 * SIM_SECOND, index, "agent restarts", on_agent_back);
    } else if (fault == SIM_FAULT_AGENT_QUIT && worker->agent_actor.is_up &&
               !sim_is_frozen(sim, &worker->agent_actor)) {
        sim_worker_feed(sim, index,
                        (struct agent_event){.kind = AGENT_EV_QUIT, .grace_ns = 2 * SIM_SECOND});
    } else if (fault == SIM_FAULT_SHIM_CRASH && folder != NULL) {
        sim_shim_crash(sim, index, folder);
    } else if (fault == SIM_FAULT_REBOOT) {
        reboot(sim, index);
    } else if (fault == SIM_FAULT_FREEZE_AGENT) {
        freeze(sim, &worker->agent_actor);
    } else if (fault == SIM_FAULT_FREEZE_HOST) {
        freeze(sim, &worker->host);
        worker->agent_actor.frozen_until_ns =
            worker->agent_actor.frozen_until_ns > worker->host.frozen_until_ns
                ? worker->agent_actor.frozen_until_ns
                : worker->host.frozen_until_ns;
    }
}

static void strike_sched(struct sim *sim, enum sim_fault fault, uint32_t index)
{
    struct sim_sched *sched = &sim->scheds[index];
    if (fault == SIM_FAULT_SCHED_CRASH && sched->actor.is_up) {
        sim_shell_crash(sim, index);
        later(sim, 10 * SIM_MILLI, 10 * SIM_SECOND, index, "scheduler restarts", on_sched_back);
    } else if (fault == SIM_FAULT_FREEZE_SCHED) {
        freeze(sim, &sched->actor);
    } else if (fault == SIM_FAULT_STORE_CUT) {
        sched->cut_until_ns = sim->now_ns + sim_fate_between(sim, SIM_SECOND, 20 * SIM_SECOND);
    } else if (fault == SIM_FAULT_WALL_STEP) {
        sched->wall_offset_ns = sim_fate_between(sim, -3600 * SIM_SECOND, 3600 * SIM_SECOND);
    }
}

/* Those that strike from here, of those that this run has. */
static enum sim_fault any_fault(struct sim *sim)
{
    static const enum sim_fault faults[] = {
        SIM_FAULT_PARTITION,  SIM_FAULT_LATE,         SIM_FAULT_LIAR,        SIM_FAULT_AGENT_CRASH,
        SIM_FAULT_AGENT_QUIT, SIM_FAULT_SHIM_CRASH,   SIM_FAULT_REBOOT,      SIM_FAULT_SCHED_CRASH,
        SIM_FAULT_STORE_CUT,  SIM_FAULT_FREEZE_AGENT, SIM_FAULT_FREEZE_HOST, SIM_FAULT_FREEZE_SCHED,
        SIM_FAULT_WALL_STEP,
    };
    uint64_t count = sizeof faults / sizeof faults[0];
    uint64_t first = sim_below(sim, count);
    for (uint64_t i = 0; i < count; i++) {
        enum sim_fault fault = faults[(first + i) % count];
        if (sim->has_fault[fault]) {
            return fault;
        }
    }
    return faults[first];
}

static void on_strike(struct sim *sim, struct sim_event *event)
{
    if (sim->is_quiet) {
        return;
    }
    enum sim_fault fault = any_fault(sim);
    if (sim_buggify(sim, fault, sim->strike_per_mille)) {
        uint32_t worker = (uint32_t)sim_fate_below(sim, sim->worker_count);
        uint32_t sched = (uint32_t)sim_fate_below(sim, sim->sched_count);
        sim_say(sim, "strike: %s, worker %u, scheduler %u", sim_fault_text(fault), worker, sched);
        strike_worker(sim, fault, worker);
        strike_sched(sim, fault, sched);
    }
    (void)event;
    sim_fault_start(sim);
}

void sim_fault_start(struct sim *sim)
{
    sim_post(sim, sim_between(sim, 10 * SIM_MILLI, 1500 * SIM_MILLI), NULL, "fate", on_strike);
}
