/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The invariants over what a core decides, at the moment when it does: what the record does not
 * show, or shows only when the reasons are gone. Some of what a core knows is not on the record
 * yet; a job of which that is so is left out.
 */
#include "tests/sim/sim.h"

#include "lib/base/panic.h"

static unsigned long lu(uint64_t number)
{
    return (unsigned long)number;
}

/* ---- Full tables ---- */

/* Promise 5: who is told that a table is full could not have been taken. The shell's list of live jobs has
 * all of the core's. */
void check_refused_full(const struct sim *sim, const struct sim_sched *sched,
                        const struct core_job_desc *desc)
{
    if (!sim->has_fault[SIM_FAULT_TABLES]) {
        sim_fail("the tables are large, and a request is refused since one is full");
    }
    if (desc == NULL) {
        return; /* a retry also needs rows for the tasks that failed and all their ranks */
    }
    struct check_load all = check_load_of(desc);
    for (uint64_t id = 1; id <= SIM_JOBS_MAX; id++) {
        if (sched->in_catalog[id]) {
            uint64_t key = 0;
            while (sched->job_of_key[key] != id) {
                key++;
                MLQ_ASSERT(key < SIM_JOBS_MAX);
            }
            struct check_load load = check_load_of(&sim_client_text(sim, key)->desc);
            all.jobs += load.jobs;
            all.stages += load.stages;
            all.needs += load.needs;
        }
    }
    const struct core_limits *limits = &sim->limits;
    if (all.jobs <= limits->jobs_max && all.stages <= limits->stages_max &&
        all.needs <= limits->needs_max) {
        sim_fail("a job is refused since a table is full, and would be job %u with stage %u of %u "
                 "and %u",
                 all.jobs, all.stages, limits->jobs_max, limits->stages_max);
    }
}

/* ---- Who waits too long ---- */

/* Whether this turn has news of the job, or of another stage that may now go ahead of it. */
static bool has_news(const struct sim_turn *turn, uint64_t job)
{
    for (uint32_t i = 0; turn != NULL && i < turn->row_count; i++) {
        const struct core_fact *fact = &turn->rows[i].fact;
        bool is_new = fact->kind == FACT_JOB_SUBMITTED || fact->kind == FACT_JOB_RETRIED ||
                      fact->kind == FACT_STAGE_ENDED;
        if (turn->rows[i].note == 0 && (is_new || fact->job == job)) {
            return true;
        }
    }
    return false;
}

/* The stage of this job that goes first of those that ask for the same as `stage` does. */
static bool is_first_of_its_kind(const struct sim *sim, uint64_t job, uint32_t stage)
{
    const struct core_fact self = {.job = job, .stage = stage};
    const struct core_stage_desc *desc = &sim->check[job].desc->stages[stage];
    for (uint64_t id = 1; id <= sim->check_jobs; id++) {
        const struct check_job *other = &sim->check[id];
        for (uint32_t i = 0; !other->has_ended && i < other->desc->stage_count; i++) {
            if (other->stage_state[i] == STATE_PENDING && check_is_before(sim, id, i, &self) &&
                check_asks_alike(&other->desc->stages[i], desc)) {
                return false;
            }
        }
    }
    return true;
}

static uint32_t times(const struct rvec *room, const struct rvec *need)
{
    uint32_t count = 0;
    while (count < SIM_RANKS_MAX && (count + 1) * need->cpu_milli <= room->cpu_milli &&
           (count + 1) * need->mem_bytes <= room->mem_bytes &&
           (int32_t)(count + 1) * need->gpus <= room->gpus) {
        count++;
    }
    return count;
}

/* It could run if the workers that are here were empty. */
static bool is_feasible(const struct sim *sim, const struct sim_sched *sched,
                        const struct core_stage_desc *desc)
{
    uint32_t ranks = 0;
    for (uint32_t i = 0; i < sim->worker_count; i++) {
        struct core_worker_view view;
        if (core_worker(sched->core, i, &view) && view.known) {
            ranks += times(&view.capacity, &desc->per_rank);
        }
    }
    return ranks >= check_least_ranks(desc);
}

/* Since when it could have started, by this leader's clock; INT64_MAX: not in this leadership. */
static int64_t ready_since_ns(const struct sim *sim, const struct check_job *job, uint32_t stage)
{
    bool is_ours = job->ready_epoch[stage] == sim->check_epoch;
    return is_ours ? job->ready_ns[stage] : INT64_MAX;
}

void check_overtaking(const struct sim *sim, const struct sim_sched *sched,
                      const struct core_fact *fact)
{
    if (sim->has_fault[SIM_FAULT_TABLES] || sim->check_epoch != sched->epoch) {
        return; /* a full table lets those go first that need no row of it */
    }
    const struct rvec *capacity = &sim->workers[fact->worker].capacity;
    for (uint64_t id = 1; id <= sim->check_jobs; id++) {
        const struct check_job *job = &sim->check[id];
        for (uint32_t i = 0; !job->has_ended && i < job->desc->stage_count; i++) {
            const struct core_stage_desc *desc = &job->desc->stages[i];
            bool is_starving = check_is_untried(job, i) && sim->check[fact->job].desc != NULL &&
                               check_is_before(sim, id, i, fact) &&
                               fact->at_ns - sim->limits.starve_ns > ready_since_ns(sim, job, i) &&
                               times(capacity, &desc->per_rank) > 0 &&
                               is_first_of_its_kind(sim, id, i) && is_feasible(sim, sched, desc);
            if (is_starving && !has_news(sched->open, id) && !has_news(sched->committing, id)) {
                sim_fail("attempt %lx of job %lu overtakes job %lu on worker %u, which starves",
                         lu(fact->attempt), lu(fact->job), lu(id), fact->worker);
            }
        }
    }
}

/* ---- Notes ---- */

void check_noted(const struct sim_sched *sched, const struct sim_message *note)
{
    for (uint32_t i = 0; i < sched->actions.count; i++) {
        const struct core_action *action = &sched->actions.items[i];
        bool is_kept = action->kind == ACT_RECORD && action->fact.attempt == note->attempt &&
                       action->fact.rank == note->rank && action->payload == note->note;
        bool is_fenced = action->kind == ACT_FENCED && action->attempt == note->attempt &&
                         action->rank == note->rank && action->worker == note->worker;
        if (is_kept || is_fenced) {
            return;
        }
    }
    sim_fail("note %u of attempt %lx rank %u is neither recorded nor is its sender fenced",
             note->note, lu(note->attempt), note->rank);
}
