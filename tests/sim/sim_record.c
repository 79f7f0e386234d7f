/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The record as rows, with the rules of migrations/ over them: what the database would refuse is
 * refused here. It knows nothing of time, networks or faults (those are sim_store.c), so that the
 * same verbs can be held against PostgreSQL (tests/conformance/test_store_random.c).
 */
#include "tests/sim/sim_record.h"

#include "lib/sys/mem.h"

void sim_record_fini(struct sim_record *record)
{
    mlq_free(record->rows);
    *record = (struct sim_record){0};
}

/* ---- The leader's row ---- */

uint32_t sim_record_campaign(struct sim_record *record, int64_t now_ns, int64_t lease_ns)
{
    if (now_ns < record->lead_until_ns) {
        return 0;
    }
    record->epoch++;
    record->lead_until_ns = now_ns + lease_ns;
    return record->epoch;
}

bool sim_record_renew(struct sim_record *record, uint32_t epoch, int64_t now_ns, int64_t lease_ns)
{
    if (record->epoch != epoch) {
        return false;
    }
    record->lead_until_ns = now_ns + lease_ns;
    return true;
}

void sim_record_resign(struct sim_record *record, uint32_t epoch, int64_t now_ns)
{
    if (record->epoch == epoch && now_ns < record->lead_until_ns) {
        record->lead_until_ns = now_ns;
    }
}

/* ---- What a row has to keep ---- */

static bool is_known(const struct sim_record *record, uint64_t job)
{
    return job > 0 && job <= SIM_JOBS_MAX && record->jobs[job].desc != NULL;
}

static bool may_submit(const struct sim_record *record, const struct sim_row *row)
{
    if (row->fact.job == 0 || row->fact.job > SIM_JOBS_MAX || is_known(record, row->fact.job)) {
        return false;
    }
    for (uint64_t job = 1; job <= record->highest_job; job++) {
        if (is_known(record, job) && record->jobs[job].key == row->key) {
            return false;
        }
    }
    return true;
}

/* A rank of an attempt is assigned, starts and ends once. */
static bool is_repeated(const struct sim_record *record, const struct core_fact *fact)
{
    for (uint32_t i = record->row_count; i > 0; i--) {
        const struct core_fact *old = &record->rows[i - 1].fact;
        if (old->kind == fact->kind && old->attempt == fact->attempt && old->rank == fact->rank &&
            old->job == fact->job && old->stage == fact->stage) {
            return true;
        }
    }
    return false;
}

/* A task of one rank succeeds once between two retries of its job. */
static bool has_succeeded(const struct sim_record *record, const struct core_fact *fact)
{
    for (uint32_t i = record->row_count; i > 0; i--) {
        const struct core_fact *old = &record->rows[i - 1].fact;
        if (old->job != fact->job) {
            continue;
        }
        if (old->kind == FACT_JOB_RETRIED) {
            return false;
        }
        if (old->kind == FACT_ENDED && old->cause == CAUSE_NONE && old->stage == fact->stage &&
            old->index == fact->index) {
            return true;
        }
    }
    return false;
}

static bool may_end_rank(const struct sim_record *record, const struct core_fact *fact)
{
    const struct core_job_desc *desc = record->jobs[fact->job].desc;
    if (fact->cause != CAUSE_NONE) {
        return true;
    }
    return fact->stage < desc->stage_count &&
           (desc->stages[fact->stage].ranks > 1 || !has_succeeded(record, fact));
}

static bool may_append(const struct sim_record *record, const struct sim_row *row)
{
    const struct core_fact *fact = &row->fact;
    if (fact->kind == FACT_JOB_SUBMITTED) {
        return may_submit(record, row);
    }
    if (!is_known(record, fact->job)) {
        return false;
    }
    const struct sim_record_job *job = &record->jobs[fact->job];
    switch (fact->kind) {
    case FACT_JOB_SUBMITTED:
    case FACT_JOB_CANCELLED:
        return true;
    case FACT_JOB_RETRIED:
        return job->has_ended;
    case FACT_JOB_ENDED:
        return !job->has_ended;
    case FACT_STAGE_ENDED:
        return fact->stage < job->desc->stage_count && !job->has_stage_ended[fact->stage];
    case FACT_ASSIGNED:
    case FACT_STARTED:
        return !is_repeated(record, fact);
    case FACT_ENDED:
        return !is_repeated(record, fact) && may_end_rank(record, fact);
    }
    return false;
}

/* ---- Appending ---- */

static void append(struct sim_record *record, const struct sim_row *row)
{
    if (record->row_count == record->row_room) {
        record->row_room = record->row_room == 0 ? 256 : record->row_room * 2;
        record->rows = mlq_realloc_array(record->rows, record->row_room, sizeof *record->rows);
    }
    record->rows[record->row_count++] = *row;
    const struct core_fact *fact = &row->fact;
    struct sim_record_job *job = &record->jobs[fact->job];
    switch (fact->kind) {
    case FACT_JOB_SUBMITTED:
        *job = (struct sim_record_job){.desc = row->desc, .key = row->key};
        record->highest_job = fact->job > record->highest_job ? fact->job : record->highest_job;
        break;
    case FACT_JOB_RETRIED:
        job->has_ended = false;
        job->retries++;
        for (uint32_t i = 0; i < SIM_STAGES_MAX; i++) {
            job->has_stage_ended[i] = job->has_stage_ended[i] && !job->has_stage_failed[i];
        }
        break;
    case FACT_JOB_ENDED:
        job->has_ended = true;
        job->end_state = fact->state;
        break;
    case FACT_STAGE_ENDED:
        job->has_stage_ended[fact->stage] = true;
        job->has_stage_failed[fact->stage] = fact->state != STATE_SUCCEEDED;
        break;
    case FACT_JOB_CANCELLED:
    case FACT_ASSIGNED:
    case FACT_STARTED:
    case FACT_ENDED:
        break;
    }
}

enum sim_put sim_record_put(struct sim_record *record, uint32_t epoch, const struct sim_row *rows,
                            uint32_t count)
{
    if (epoch != record->epoch) {
        return SIM_PUT_FENCED;
    }
    uint32_t row_count = record->row_count;
    uint64_t highest_job = record->highest_job;
    struct sim_record_job jobs[SIM_JOBS_MAX + 1];
    for (uint32_t i = 0; i <= SIM_JOBS_MAX; i++) {
        jobs[i] = record->jobs[i];
    }
    for (uint32_t i = 0; i < count; i++) {
        if (rows[i].note != 0) {
            continue;
        }
        if (may_append(record, &rows[i])) {
            append(record, &rows[i]);
            continue;
        }
        record->row_count = row_count;
        record->highest_job = highest_job;
        for (uint32_t k = 0; k <= SIM_JOBS_MAX; k++) {
            record->jobs[k] = jobs[k];
        }
        return SIM_PUT_REFUSED;
    }
    return SIM_PUT_DONE;
}

bool sim_record_is_loaded(const struct sim_record *record, const struct sim_row *row, uint64_t job)
{
    return job == 0 ? !record->jobs[row->fact.job].has_ended : row->fact.job == job;
}
