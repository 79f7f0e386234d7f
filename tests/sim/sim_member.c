/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Ranks that go and come, as the native trainer is one: each says that it is ready, works with those it is
 * told of, and says so when it cannot reach one of them. The lowest of a membership ends the work, if all
 * of its members are there then; the others leave when they are told an empty one. Nobody believes
 * anything but the newest membership that it was told.
 */
#include "tests/sim/sim.h"

#include <string.h>

#define LOAD_NS_MAX   (2 * SIM_SECOND)  /* until it is ready */
#define WORK_NS_MAX   (12 * SIM_SECOND) /* from when its first membership was told */
#define PATIENCE_NS   (2 * SIM_SECOND)  /* before it says that somebody cannot be reached */
#define ENGINE        UINT64_C(0xe9617e)
#define OTHER_PERCENT 10 /* of the machines compute other bits, in every fourth run */

bool sim_member_is_elastic(const struct sim *sim, const struct core_fact *fact)
{
    return sim->record.jobs[fact->job].desc->stages[fact->stage].resize == RESIZE_LIVE;
}

bool sim_ranks_has(const struct sim_ranks *ranks, uint32_t rank)
{
    return (ranks->words[rank / 64] >> rank % 64 & 1) != 0;
}

static struct sim_event *post(struct sim *sim, int64_t delay_ns, uint32_t index,
                              const struct sim_folder *folder, const char *name, sim_event_fn run)
{
    struct sim_event *event = sim_post(sim, delay_ns, &sim->workers[index].host, name, run);
    event->index = index;
    event->a = folder->fact.attempt;
    event->b = (folder->generation << 8 & ~UINT64_C(0xff)) | folder->fact.rank;
    return event;
}

/* The rank of the event, if its process lives. */
static struct sim_folder *live(struct sim *sim, const struct sim_event *event)
{
    struct sim_folder *folder =
        sim_shim_find(&sim->workers[event->index], event->a, (uint32_t)(event->b & 0xff));
    return folder != NULL && check_machine_runs(folder) ? folder : NULL;
}

/* And if it was told nothing newer since. */
static struct sim_folder *live_in_generation(struct sim *sim, const struct sim_event *event)
{
    struct sim_folder *folder = live(sim, event);
    return folder != NULL && folder->generation << 8 >> 8 == event->b >> 8 ? folder : NULL;
}

uint64_t sim_member_engine(const struct sim *sim, uint32_t index)
{
    bool are_mixed = mlq_hash_keyed(sim->plan->seed, UINT64_C(0x6d6978), 0) % 4 == 0;
    uint64_t dice = mlq_hash_keyed(sim->plan->seed, UINT64_C(0x6d6978), index + 1);
    return are_mixed && index > 0 && dice % 100 < OTHER_PERCENT ? ENGINE + 1 : ENGINE;
}

/* ---- Ready ---- */

static void on_ready(struct sim *sim, struct sim_event *event);

static void say_ready(struct sim *sim, uint32_t index, struct sim_folder *folder, uint64_t broken)
{
    struct sim_worker *worker = &sim->workers[index];
    folder->is_ready = true;
    if (!worker->agent_actor.is_up || sim_is_frozen(sim, &worker->agent_actor)) {
        post(sim, SIM_SECOND / 2, index, folder, "rank tries again", on_ready);
        return;
    }
    sim_worker_feed(sim, index,
                    (struct agent_event){.kind = AGENT_EV_READY,
                                         .attempt = folder->fact.attempt,
                                         .rank = folder->fact.rank,
                                         .port = (uint16_t)(1 + folder->fact.rank),
                                         .fingerprint = sim_member_engine(sim, index),
                                         .generation = broken});
}

static void on_ready(struct sim *sim, struct sim_event *event)
{
    struct sim_folder *folder = live(sim, event);
    if (folder != NULL) {
        say_ready(sim, event->index, folder, 0);
    }
}

/* ---- Failing ---- */

static void on_mishap(struct sim *sim, struct sim_event *event)
{
    static const enum worker_cause ways[] = {WORKER_CAUSE_SIGNAL, WORKER_CAUSE_SIGNAL,
                                             WORKER_CAUSE_OOM, WORKER_CAUSE_REQUEUE,
                                             WORKER_CAUSE_EXIT};
    struct sim_folder *folder = live(sim, event);
    if (folder != NULL && sim_buggify(sim, SIM_FAULT_TASKS, 300)) {
        sim_shim_end(sim, event->index, folder,
                     ways[sim_fate_below(sim, sizeof ways / sizeof ways[0])]);
    }
}

void sim_member_begin(struct sim *sim, uint32_t index, struct sim_folder *folder)
{
    post(sim, sim_between(sim, SIM_MILLI, LOAD_NS_MAX), index, folder, "rank ready", on_ready);
    post(sim, sim_between(sim, 0, WORK_NS_MAX), index, folder, "rank mishap", on_mishap);
}

void sim_member_greet(struct sim *sim, uint32_t index, struct sim_folder *folder)
{
    if (check_machine_runs(folder) && folder->is_ready) {
        post(sim, sim_between(sim, 0, SIM_SECOND), index, folder, "rank greets", on_ready);
    }
}

/* ---- Working ---- */

/* All members live, and work in this generation. */
static bool is_whole(struct sim *sim, const struct sim_folder *folder)
{
    for (uint32_t rank = 0; rank < SIM_NUMBERS_MAX; rank++) {
        bool is_there = !sim_ranks_has(&folder->ranks, rank);
        for (uint32_t i = 0; i < sim->worker_count && !is_there; i++) {
            const struct sim_folder *peer =
                sim_shim_find(&sim->workers[i], folder->fact.attempt, rank);
            is_there = peer != NULL && check_machine_runs(peer) &&
                       peer->generation == folder->generation;
        }
        if (!is_there) {
            return false;
        }
    }
    return true;
}

static bool is_lowest(const struct sim_folder *folder)
{
    for (uint32_t rank = 0; rank < folder->fact.rank; rank++) {
        if (sim_ranks_has(&folder->ranks, rank)) {
            return false;
        }
    }
    return true;
}

static void on_patience(struct sim *sim, struct sim_event *event)
{
    struct sim_folder *folder = live_in_generation(sim, event);
    if (folder == NULL) {
        return;
    }
    post(sim, PATIENCE_NS, event->index, folder, "rank looks", on_patience);
    if (!is_whole(sim, folder)) {
        say_ready(sim, event->index, folder, folder->generation);
    }
}

static void on_worked(struct sim *sim, struct sim_event *event)
{
    struct sim_folder *folder = live_in_generation(sim, event);
    if (folder == NULL) {
        return;
    }
    if (folder->cause == WORKER_CAUSE_NONE && is_whole(sim, folder)) {
        sim_shim_end(sim, event->index, folder, WORKER_CAUSE_NONE);
    } else {
        post(sim, SIM_SECOND, event->index, folder, "rank works on", on_worked);
    }
}

static void on_leave(struct sim *sim, struct sim_event *event)
{
    struct sim_folder *folder = live(sim, event);
    if (folder != NULL) {
        sim_shim_end(sim, event->index, folder, folder->cause);
    }
}

void sim_member_told(struct sim *sim, uint32_t index, struct sim_folder *folder,
                     const struct sim_message *membership)
{
    static const struct sim_ranks nobody;
    if (folder == NULL || !check_machine_runs(folder) ||
        membership->generation == folder->generation) {
        return;
    }
    if (membership->generation < folder->generation && membership->is_late) {
        return; /* told by an agent that was restarted: the rank asks for newer ones than its own */
    }
    if (membership->generation < folder->generation) {
        sim_fail("attempt %lx rank %u is told of generation %lx after %lx",
                 (unsigned long)folder->fact.attempt, folder->fact.rank,
                 (unsigned long)membership->generation, (unsigned long)folder->generation);
    }
    folder->told_ns = folder->told_ns == 0 ? sim->now_ns : folder->told_ns;
    folder->generation = membership->generation;
    folder->ranks = membership->ranks;
    if (memcmp(&folder->ranks, &nobody, sizeof nobody) == 0) {
        post(sim, sim_between(sim, 0, SIM_SECOND), index, folder, "rank leaves", on_leave);
        return;
    }
    post(sim, PATIENCE_NS, index, folder, "rank looks", on_patience);
    if (is_lowest(folder)) {
        uint64_t dice = mlq_hash_keyed(sim->plan->seed, folder->fact.attempt, UINT64_C(0x776f726b));
        int64_t left_ns = folder->told_ns + (int64_t)(dice % WORK_NS_MAX) - sim->now_ns;
        post(sim, SIM_MILLI + (left_ns > 0 ? left_ns : 0), index, folder, "rank has worked",
             on_worked);
    }
}
