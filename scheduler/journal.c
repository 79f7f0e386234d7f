/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Facts and reports as rows of the open turn, and into the catalog.
 *
 * Metrics and outputs of a gang are those of the rank that speaks for it: its rank 0, as in every
 * data-parallel framework; where ranks go and come, the lowest that is there, and of outputs the one that
 * ended the work. They are recorded as those of rank 0. What the other ranks of a gang leave is recorded
 * with their number, and feeds nothing; where ranks go and come only their logs are kept.
 */
#include <string.h>

#include "lib/sys/clock.h"
#include "scheduler/shell_state.h"

#define TIME_US_MAX INT64_C(253402300799000000)

/* A worker's clock may show anything; the record takes the years 1970 to 9999. */
static int64_t sane_time(int64_t at_us)
{
    return at_us > 0 && at_us < TIME_US_MAX ? at_us : mlq_clock_wall_us();
}

static bool is_hidden(const struct msg_artifact *artifact)
{
    return mlq_str_starts(artifact->name, ".");
}

static void record_metrics(struct shell *shell, const struct core_fact *member, const struct msg_report_item *item)
{
    struct catalog_job *job = catalog_find(shell->catalog, member->job);
    for (size_t i = 0; i < item->metric_count; i++) {
        const struct msg_metric *metric = &item->metrics[i];
        const struct store_metric row = {.job = member->job,
                                         .attempt = member->attempt,
                                         .stage = member->stage,
                                         .index = member->index,
                                         .name = metric->name,
                                         .step = metric->step,
                                         .value = metric->value,
                                         .at_us = sane_time(metric->at_us)};
        if (job == NULL || catalog_put_metric(job, &(struct catalog_metric){.stage = row.stage,
                                                                            .index = row.index,
                                                                            .attempt = row.attempt,
                                                                            .name = row.name,
                                                                            .step = row.step,
                                                                            .value = row.value,
                                                                            .at_us = row.at_us})) {
            turn_add_metric(shell->open, &row);
        }
    }
}

static void record_artifacts(struct shell *shell, const struct core_fact *fact, bool speaks,
                             const struct msg_report_item *item)
{
    struct catalog_job *job = catalog_find(shell->catalog, fact->job);
    bool is_elastic = job != NULL && job->spec->stages[fact->stage].is_live_resize;
    for (size_t i = 0; i < item->artifact_count; i++) {
        const struct msg_artifact *artifact = &item->artifacts[i];
        if (is_elastic && !speaks && !is_hidden(artifact)) {
            continue;
        }
        turn_add_artifact(shell->open, &(struct store_artifact){.job = fact->job,
                                                                .attempt = fact->attempt,
                                                                .stage = fact->stage,
                                                                .index = fact->index,
                                                                .rank = speaks && !is_hidden(artifact) ? 0 : fact->rank,
                                                                .name = artifact->name,
                                                                .digest = artifact->digest,
                                                                .bytes = artifact->bytes,
                                                                .is_tree = artifact->is_tree});
        bool is_output = fact->cause == CAUSE_NONE && speaks && !is_hidden(artifact);
        if (job != NULL && is_output) {
            catalog_put_artifact(job, &(struct catalog_artifact){.stage = fact->stage,
                                                                 .index = fact->index,
                                                                 .attempt = fact->attempt,
                                                                 .name = artifact->name,
                                                                 .digest = artifact->digest,
                                                                 .bytes = artifact->bytes,
                                                                 .is_tree = artifact->is_tree});
        }
    }
}

/* The job row goes with the fact that a client's submission was accepted. */
static void record_job(struct shell *shell, const struct core_fact *fact)
{
    struct turn *turn = shell->open;
    struct catalog_job *job = shell->submitting;
    shell->submitting = NULL; /* the catalog owns it from here */
    catalog_add(shell->catalog, job, fact->job);
    struct store_job row = catalog_store_job(job, turn->region);
    row.idempotency_key = mlq_region_copy(turn->region, shell->request->key);
    row.submitter = mlq_region_copy(turn->region, shell->submitter);
    row.submitted_us = shell_wall_us(shell, fact->at_ns);
    turn_add_job(turn, &row);
    if (shell->request->key.len > 0) {
        keybook_put(shell->keys, shell->request->key, fact->job);
    }
}

/* A start is dated by its worker: the word of it comes later, since a worker waits a moment for more to say. Whatever
 * that worker's clock shows, it was not before the assignment, and not after the word of it. */
static int64_t start_time(const struct shell *shell, const struct core_fact *fact, int64_t told_us)
{
    int64_t heard_us = shell_wall_us(shell, fact->at_ns);
    int64_t assigned_ns = fact->at_ns; /* the same step may have ended it: its worker was given up */
    (void)core_attempt_began(shell->core, fact->attempt, &assigned_ns);
    int64_t assigned_us = shell_wall_us(shell, assigned_ns);
    return told_us > heard_us ? heard_us : told_us < assigned_us ? assigned_us : told_us;
}

void journal_fact(struct shell *shell, const struct core_action *action)
{
    const struct core_fact *fact = &action->fact;
    const struct turn_payload *report = turn_payload_at(shell->open, action->payload);
    struct store_fact row = {.fact = *fact, .at_us = shell_wall_us(shell, fact->at_ns)};
    if (report != NULL) {
        row.detail = report->detail;
    }
    if (fact->kind == FACT_STARTED && report != NULL && report->item != NULL) {
        row.at_us = start_time(shell, fact, report->item->at_us);
    }
    if (fact->kind == FACT_JOB_SUBMITTED) {
        record_job(shell, fact);
    }
    turn_add_fact(shell->open, &row);
    if (fact->kind == FACT_ENDED && report != NULL && report->item != NULL) {
        if (action->speaks) {
            record_metrics(shell, fact, report->item);
        }
        record_artifacts(shell, fact, action->speaks, report->item);
    }
    catalog_apply(shell->catalog, fact);
    if (fact->kind == FACT_JOB_ENDED) {
        turn_add_ended(shell->open, fact->job);
    }
}

void journal_note(struct shell *shell, const struct core_action *action)
{
    const struct core_fact *member = &action->fact;
    const struct turn_payload *note = turn_payload_at(shell->open, action->payload);
    if (note == NULL || !action->speaks) {
        return;
    }
    if (note->item != NULL) {
        record_metrics(shell, member, note->item);
        return;
    }
    struct catalog_job *job = catalog_find(shell->catalog, member->job);
    if (job != NULL) {
        catalog_set_progress(shell->catalog, job, member->stage, note->fraction, note->detail);
    }
}
