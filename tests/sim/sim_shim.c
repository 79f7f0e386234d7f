/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The rules of worker/exec/shim.c, small: it outlives the agent, kills its task at the end of the
 * lease by its own clock (a little late, as timers and kills are), and writes down how it ended.
 * What a task does is a function of the seed, its attempt and its rank.
 */
#include "tests/sim/sim.h"

#include "lib/base/panic.h"

#define TIMEOUT_NS                                                                                 \
    (25 * SIM_SECOND) /* of a task whose job has no deadline, so that none hangs for ever */

struct sim_folder *sim_shim_find(struct sim_worker *worker, uint64_t attempt, uint32_t rank)
{
    for (uint32_t i = 0; i < SIM_FOLDERS_MAX; i++) {
        struct sim_folder *folder = &worker->folders[i];
        if (folder->is_used && folder->fact.attempt == attempt && folder->fact.rank == rank) {
            return folder;
        }
    }
    return NULL;
}

static struct sim_event *post(struct sim *sim, int64_t delay_ns, uint32_t index,
                              const struct sim_folder *folder, const char *name, sim_event_fn run)
{
    struct sim_event *event = sim_post(sim, delay_ns, &sim->workers[index].host, name, run);
    event->index = index;
    event->a = folder->fact.attempt;
    event->b = folder->fact.rank;
    return event;
}

/* ---- What the agent hears ---- */

static void on_heard(struct sim *sim, struct sim_event *event)
{
    const struct sim_folder *folder =
        sim_shim_find(&sim->workers[event->index], event->a, (uint32_t)event->b);
    if (folder == NULL || folder->state == SIM_SHIM_NONE || folder->state == SIM_SHIM_STARTING) {
        return;
    }
    bool is_over = folder->state == SIM_SHIM_ENDED;
    sim_worker_feed(
        sim, event->index,
        (struct agent_event){.kind = is_over ? AGENT_EV_SHIM_ENDED : AGENT_EV_SHIM_STARTED,
                             .attempt = event->a,
                             .rank = (uint32_t)event->b,
                             .cause = is_over ? folder->cause : WORKER_CAUSE_NONE,
                             .exit_code = folder->exit_code,
                             .signal = folder->signal});
}

void sim_shim_report(struct sim *sim, uint32_t index, const struct sim_folder *folder)
{
    if (sim->workers[index].agent_actor.is_up) {
        struct sim_event *event =
            sim_post(sim, sim_between(sim, SIM_MILLI / 10, 5 * SIM_MILLI),
                     &sim->workers[index].agent_actor, "shim is heard", on_heard);
        event->index = index;
        event->a = folder->fact.attempt;
        event->b = folder->fact.rank;
    }
}

/* ---- Ends ---- */

void sim_shim_end(struct sim *sim, uint32_t index, struct sim_folder *folder,
                  enum worker_cause cause)
{
    folder->state = SIM_SHIM_ENDED;
    folder->cause = cause;
    folder->exit_code = cause == WORKER_CAUSE_NONE      ? 0
                        : cause == WORKER_CAUSE_EXIT    ? 1
                        : cause == WORKER_CAUSE_REQUEUE ? 75
                                                        : -1;
    folder->signal = folder->exit_code < 0 ? 9 : 0;
    sim_shim_report(sim, index, folder);
}

static struct sim_folder *live(struct sim *sim, const struct sim_event *event)
{
    struct sim_folder *folder =
        sim_shim_find(&sim->workers[event->index], event->a, (uint32_t)event->b);
    return folder != NULL && folder->state == SIM_SHIM_LIVE ? folder : NULL;
}

static void on_killed(struct sim *sim, struct sim_event *event)
{
    struct sim_folder *folder = live(sim, event);
    if (folder != NULL) {
        sim_shim_end(sim, event->index, folder, folder->cause);
    }
}

static void on_lease(struct sim *sim, struct sim_event *event)
{
    struct sim_folder *folder = live(sim, event);
    if (folder == NULL) {
        return;
    }
    int64_t wait_ns = sim_wait_ns(sim, &sim->workers[event->index].clock, folder->lease_ns);
    if (wait_ns == 0) {
        folder->cause = WORKER_CAUSE_LEASE;
        post(sim, sim_between(sim, 0, SIM_KILL_LATE_NS), event->index, folder, "lease kill",
             on_killed);
    } else {
        post(sim, wait_ns, event->index, folder, "lease due", on_lease);
    }
}

static void on_timeout(struct sim *sim, struct sim_event *event)
{
    struct sim_folder *folder = live(sim, event);
    if (folder != NULL) {
        sim_shim_stop(sim, event->index, folder, WORKER_CAUSE_TIMEOUT, SIM_SECOND);
    }
}

static void on_finished(struct sim *sim, struct sim_event *event)
{
    static const enum worker_cause ways[] = {WORKER_CAUSE_EXIT, WORKER_CAUSE_EXIT,
                                             WORKER_CAUSE_SIGNAL, WORKER_CAUSE_OOM,
                                             WORKER_CAUSE_REQUEUE};
    struct sim_folder *folder = live(sim, event);
    if (folder == NULL) {
        return;
    }
    enum worker_cause cause = WORKER_CAUSE_NONE;
    if (folder->cause != WORKER_CAUSE_NONE) {
        cause = folder->cause; /* it was being stopped */
    } else if (folder->is_failing) {
        cause = WORKER_CAUSE_EXIT;
    } else if (sim_buggify(sim, SIM_FAULT_TASKS, 150)) {
        cause = ways[sim_fate_below(sim, sizeof ways / sizeof ways[0])];
    }
    sim_shim_end(sim, event->index, folder, cause);
}

/* ---- Notes ---- */

static void on_note(struct sim *sim, struct sim_event *event)
{
    struct sim_folder *folder = live(sim, event);
    if (folder == NULL) {
        return;
    }
    folder->notes++;
    sim_worker_note(sim, event->index, folder);
    post(sim, sim_between(sim, 50 * SIM_MILLI, 4 * SIM_SECOND), event->index, folder, "note",
         on_note);
}

/* ---- Begin ---- */

static bool is_doomed_gang(const struct sim *sim, const struct core_fact *fact)
{
    return fact->ranks > 1 && mlq_hash_keyed(sim->plan->seed, fact->attempt, 999) % 100 < 8;
}

static void on_begin(struct sim *sim, struct sim_event *event)
{
    struct sim_worker *worker = &sim->workers[event->index];
    struct sim_folder *folder = sim_shim_find(worker, event->a, (uint32_t)event->b);
    if (folder == NULL || folder->state != SIM_SHIM_STARTING) {
        return;
    }
    if (folder->must_kill) {
        sim_shim_end(sim, event->index, folder, folder->cause);
        return;
    }
    int64_t wait_ns = sim_wait_ns(sim, &worker->clock, folder->lease_ns);
    if (wait_ns == 0) {
        sim_shim_end(sim, event->index, folder, WORKER_CAUSE_LEASE);
        return;
    }
    folder->state = SIM_SHIM_LIVE;
    sim->tasks_ran++;
    check_machine_begins(sim, event->index, folder);
    /* One that hangs is stopped by its own limit, or has none and waits for its job's deadline; of
     * a gang all but the first, which fails, may hang until they are stopped for its sake. */
    bool has_limit = sim->record.jobs[folder->fact.job].desc->deadline_ns == 0;
    bool may_hang = sim->has_fault[SIM_FAULT_TASKS] && !sim->is_quiet;
    bool is_doomed = sim->has_fault[SIM_FAULT_TASKS] && is_doomed_gang(sim, &folder->fact);
    uint64_t dice = mlq_hash_keyed(sim->plan->seed, event->a, event->b);
    bool hangs = is_doomed ? folder->fact.rank > 0 : may_hang && dice % 100 < (has_limit ? 4 : 30);
    has_limit = has_limit && !is_doomed;
    bool is_long = dice % 100 < 40;
    folder->is_stubborn = dice % 7 == 0;
    int64_t length_ns = (int64_t)((dice >> 8) % (uint64_t)(is_long ? 18 * SIM_SECOND : SIM_SECOND));
    post(sim, wait_ns, event->index, folder, "lease due", on_lease);
    /* Ranks that go and come never hang by themselves: half of them would hang for ever if nobody let them go. */
    bool is_patient = sim_member_is_elastic(sim, &folder->fact) && dice % 2 == 0;
    if (has_limit && !is_patient) {
        post(sim, TIMEOUT_NS, event->index, folder, "time limit", on_timeout);
    }
    if (sim_member_is_elastic(sim, &folder->fact)) {
        sim_member_begin(sim, event->index, folder);
    } else if (!hangs) {
        folder->is_failing = is_doomed;
        post(sim, length_ns + SIM_MILLI, event->index, folder, "task finished", on_finished);
    }
    if (sim->has_fault[SIM_FAULT_NOTES]) {
        post(sim, 0, event->index, folder, "note", on_note);
    }
    sim_shim_report(sim, event->index, folder);
}

void sim_shim_spawn(struct sim *sim, uint32_t index, struct sim_folder *folder, int64_t lease_ns)
{
    MLQ_ASSERT(folder->state == SIM_SHIM_NONE);
    folder->state = SIM_SHIM_STARTING;
    folder->lease_ns = lease_ns;
    bool is_slow = sim_chance(sim, 3);
    int64_t delay_ns = is_slow ? sim_between(sim, SIM_SECOND, 15 * SIM_SECOND)
                               : sim_between(sim, SIM_MILLI, 20 * SIM_MILLI);
    post(sim, delay_ns, index, folder, "task begins", on_begin);
}

void sim_shim_stop(struct sim *sim, uint32_t index, struct sim_folder *folder,
                   enum worker_cause cause, int64_t grace_ns)
{
    if (folder->state == SIM_SHIM_STARTING || folder->state == SIM_SHIM_LIVE) {
        folder->cause = folder->cause == WORKER_CAUSE_NONE ? cause : folder->cause;
    }
    folder->must_kill = folder->must_kill || folder->state == SIM_SHIM_STARTING || grace_ns <= 0;
    if (folder->state == SIM_SHIM_LIVE) {
        int64_t delay_ns = grace_ns <= 0         ? 0
                           : folder->is_stubborn ? grace_ns
                                                 : sim_between(sim, 0, grace_ns);
        post(sim, delay_ns + sim_between(sim, 0, 50 * SIM_MILLI), index, folder, "task killed",
             on_killed);
    }
}

void sim_shim_crash(struct sim *sim, uint32_t index, struct sim_folder *folder)
{
    folder->must_kill = true;
    sim_shim_end(sim, index, folder, WORKER_CAUSE_NODE);
}
