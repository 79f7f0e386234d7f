/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The invariants over the machines: what really runs, where, and since when, and what an agent may
 * ask of its shell. A frozen host is excused until it is warm again: nothing stops it from running
 * on (reference, section 3), and its results are fenced.
 */
#include "tests/sim/sim.h"

/* After a freeze of the host a task may be found alive past its lease for this long. */
#define THAW_NS (SIM_KILL_LATE_NS + 100 * SIM_MILLI)

static unsigned long lu(uint64_t number)
{
    return (unsigned long)number;
}

bool check_machine_is_excused(const struct sim *sim, const struct sim_worker *worker)
{
    return worker->host.frozen_until_ns > 0 && sim->now_ns < worker->host.frozen_until_ns + THAW_NS;
}

bool check_machine_runs(const struct sim_folder *folder)
{
    return folder->is_used && folder->state == SIM_SHIM_LIVE;
}

/* ---- A rank begins ---- */

static void check_overlap(const struct sim *sim, uint32_t index, const struct core_fact *fact)
{
    for (uint32_t i = 0; i < sim->worker_count; i++) {
        for (uint32_t k = 0; k < SIM_FOLDERS_MAX; k++) {
            const struct sim_folder *other = &sim->workers[i].folders[k];
            bool is_same = other->fact.job == fact->job && other->fact.stage == fact->stage &&
                           other->fact.index == fact->index;
            if (check_machine_runs(other) && is_same && other->fact.attempt != fact->attempt &&
                !check_machine_is_excused(sim, &sim->workers[i])) {
                sim_fail("attempt %lx begins on worker %u while attempt %lx runs on worker %u",
                         lu(fact->attempt), index, lu(other->fact.attempt), i);
            }
        }
    }
}

void check_machine_begins(struct sim *sim, uint32_t index, const struct sim_folder *folder)
{
    const struct core_fact *fact = &folder->fact;
    struct check_job *job = &sim->check[fact->job];
    struct check_task *task = &job->tasks[fact->stage][fact->index];
    if (job->desc == NULL || fact->attempt > task->attempt || fact->worker != index) {
        sim_fail("attempt %lx begins on worker %u, and the record does not know it",
                 lu(fact->attempt), index);
    }
    if ((fact->attempt != task->attempt || task->is_ended[fact->rank]) &&
        !check_machine_is_excused(sim, &sim->workers[index])) {
        sim_fail("attempt %lx rank %u begins on worker %u after its end was recorded",
                 lu(fact->attempt), fact->rank, index);
    }
    if (task->begun[fact->rank] == fact->attempt) {
        sim_fail("attempt %lx rank %u begins twice", lu(fact->attempt), fact->rank);
    }
    task->begun[fact->rank] = fact->attempt;
    const struct core_stage_desc *stage = &job->desc->stages[fact->stage];
    for (uint32_t i = 0; i < stage->needs_count; i++) {
        if (job->stage_state[stage->needs[i]] != STATE_SUCCEEDED) {
            sim_fail("attempt %lx begins before what its stage needs has succeeded",
                     lu(fact->attempt));
        }
    }
    check_overlap(sim, index, fact);
}

/* ---- What an agent asks for ---- */

void check_machine_action(struct sim *sim, uint32_t index, const struct agent_action *action,
                          const struct sim_folder *folder)
{
    struct sim_worker *worker = &sim->workers[index];
    bool has_process =
        folder != NULL && (folder->state == SIM_SHIM_STARTING || folder->state == SIM_SHIM_LIVE);
    if (action->kind == AGENT_ACT_SPAWN &&
        action->deadline_ns <= sim_local_ns(sim, &worker->clock)) {
        sim_fail("worker %u starts attempt %lx on a lease that is over", index,
                 lu(action->attempt));
    }
    if (action->kind == AGENT_ACT_SPAWN && folder != NULL && folder->lacks_input) {
        sim_fail("worker %u starts attempt %lx without its inputs", index, lu(action->attempt));
    }
    if (action->kind == AGENT_ACT_LEASE && action->deadline_ns < worker->lease_ns) {
        sim_fail("worker %u takes back a lease that it gave", index);
    }
    worker->lease_ns = action->kind == AGENT_ACT_LEASE ? action->deadline_ns : worker->lease_ns;
    if ((action->kind == AGENT_ACT_REMOVE || action->kind == AGENT_ACT_COLLECT) && has_process) {
        sim_fail("worker %u clears away attempt %lx, which runs", index, lu(action->attempt));
    }
    if (action->kind == AGENT_ACT_REPORT_ENDED && has_process) {
        sim_fail("worker %u reports the end of attempt %lx, which runs", index,
                 lu(action->attempt));
    }
    if (action->kind == AGENT_ACT_LEAVE) {
        for (uint32_t i = 0; i < SIM_FOLDERS_MAX; i++) {
            if (check_machine_runs(&worker->folders[i]) && worker->agent.count == 0) {
                sim_fail("worker %u leaves while attempt %lx runs", index,
                         lu(worker->folders[i].fact.attempt));
            }
        }
    }
}

void check_machine_fenced(struct sim *sim, uint32_t index, uint64_t attempt, uint32_t rank)
{
    const struct sim_folder *folder = sim_shim_find(&sim->workers[index], attempt, rank);
    if (folder != NULL && !folder->must_kill &&
        (folder->state == SIM_SHIM_STARTING || folder->state == SIM_SHIM_LIVE)) {
        sim_fail("worker %u does not kill attempt %lx, which was fenced", index, lu(attempt));
    }
}

/* ---- After each step ---- */

static void check_worker(const struct sim *sim, uint32_t index)
{
    const struct sim_worker *worker = &sim->workers[index];
    int64_t local_ns = sim_local_ns(sim, &worker->clock);
    struct rvec used = {0};
    uint64_t gpus = 0;
    bool is_late = false;
    bool is_shared = false;
    for (uint32_t i = 0; i < SIM_FOLDERS_MAX; i++) {
        const struct sim_folder *folder = &worker->folders[i];
        if (!check_machine_runs(folder)) {
            continue;
        }
        const struct core_fact *fact = &folder->fact;
        const struct rvec *need = &sim->check[fact->job].desc->stages[fact->stage].per_rank;
        used.cpu_milli += need->cpu_milli;
        used.mem_bytes += need->mem_bytes;
        is_shared = is_shared || (gpus & fact->gpu_mask) != 0;
        gpus |= fact->gpu_mask;
        is_late = is_late || local_ns > folder->lease_ns + THAW_NS;
    }
    bool is_over =
        used.cpu_milli > worker->capacity.cpu_milli || used.mem_bytes > worker->capacity.mem_bytes;
    if (!is_late && !is_shared && !is_over) {
        return;
    }
    if (!check_machine_is_excused(sim, worker)) {
        sim_fail("worker %u %s", index,
                 is_late     ? "runs something past its lease"
                 : is_shared ? "has a GPU with two owners"
                             : "runs more than it has room for");
    }
}

void check_machine_step(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->worker_count; i++) {
        check_worker(sim, i);
    }
}
