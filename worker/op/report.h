/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The report of a job: one HTML file without scripts and without anything to load. Each report_x.c
 * writes one section; report.c puts them together. Whatever is not there leaves its section out.
 *
 * Of the record (`mlq show --json`) these are read where they are there: job.id, name, kind, state, submitted,
 * ended, spec_digest, command; of each stage name, uses, state, needs (names), started, ended, tasks,
 * attempts, metrics, artifacts; and history. A stage without times gets those of its attempts.
 *
 * Pure but for memory: documents in, text out. Bounded: more than REPORT_..._MAX of a thing is cut, and the page
 * says so.
 */
#ifndef MLQ_OP_REPORT_H
#define MLQ_OP_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/sys/region.h"
#include "worker/op/html.h"

#define REPORT_STAGES_MAX 1000u
#define REPORT_NEEDS_MAX 64u      /* of one stage */
#define REPORT_ROWS_MAX 500u      /* of any table */
#define REPORT_CLASSES_MAX 200u   /* drawn in a confusion matrix */
#define REPORT_POINTS_MAX 400u    /* drawn per curve */
#define REPORT_PANELS_MAX 6u
#define REPORT_NO_TIME INT64_MIN

/* All may be NULL. */
struct report_inputs {
    const char *title;
    const char *own_stage;    /* the stage that writes the report: left out, since it is not done yet */
    const json_t *record;     /* of task_record: `mlq show --json` and "history" */
    const json_t *metrics;    /* metrics.json of eval.metrics */
    const json_t *history;    /* history.json of train.native or train.xgboost */
    const json_t *validation; /* validation.json of data.validate */
    const json_t *profile;    /* profile.json of data.import */
    const json_t *verdict;    /* verdict.json of gate */
    const json_t *range_test; /* range_test.json of train.native */
};

/* Adds the page to `out`. False when it grew over HTML_BYTES_MAX. */
bool report_write(const struct report_inputs *inputs, struct html *out);

/* ---- Between the sections ---- */

struct report_stage {
    const char *name;
    const char *uses;
    const char *state;
    int64_t started_ms; /* since 1970, or REPORT_NO_TIME */
    int64_t ended_ms;
    uint32_t needs[REPORT_NEEDS_MAX]; /* indices of stages */
    size_t needs_count;
    uint32_t depth; /* longest way from a stage without needs */
    const json_t *json;
};

struct report {
    const struct report_inputs *in;
    struct mlq_region *region;
    const json_t *job; /* NULL without a record */
    struct report_stage *stages;
    size_t stage_count;
    size_t stages_left_out;
    uint32_t depth_max;
    int64_t submitted_ms;
    int64_t ended_ms; /* of the job, or of the last stage that ended */
    bool has_needs;
    const char *state; /* of the job; without the report's own stage when that is all that runs */
};

/* report_model.c: the record as structs, its graph checked (a name that is not there and a cycle
 * are ignored, since a report must come out of any record). */
void report_model_read(struct report *report, const struct report_inputs *inputs);
int64_t report_model_time_ms(const char *text); /* "2026-11-23T09:00:00.123Z", or REPORT_NO_TIME */
const char *report_model_state_class(const char *state); /* one of our CSS classes */
/* The final metrics of a stage that ran `uses`, or NULL. */
const json_t *report_model_metrics_of(const struct report *report, const char *uses);
const char *report_model_pretty(const char *metric, char *text, size_t bytes); /* "f1_macro": "F1 macro" */

/* One section each; true when it had something to show. */
bool report_graph_write(const struct report *report, struct html *h);
bool report_stages_write(const struct report *report, struct html *h);
bool report_curves_write(const struct report *report, struct html *h);
bool report_range_write(const struct report *report, struct html *h);
bool report_time_write(const struct report *report, struct html *h);
bool report_importance_write(const struct report *report, struct html *h);
bool report_binary_write(const struct report *report, struct html *h); /* part of the evaluation */
bool report_eval_write(const struct report *report, struct html *h);
bool report_data_write(const struct report *report, struct html *h);
bool report_checks_write(const struct report *report, struct html *h);
bool report_gate_write(const struct report *report, struct html *h);
bool report_lineage_write(const struct report *report, struct html *h);

void report_style_write(struct html *h);
void report_bar_write(double share, struct html *h); /* a cell with a bar, 0..1 of its width */

#endif
