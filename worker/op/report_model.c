/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/report.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "worker/op/jget.h"

/* Days from 1970-01-01 to the first of a civil month, Gregorian (Howard Hinnant, "chrono-compatible
 * low-level date algorithms", days_from_civil). */
static int64_t days_from_civil(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    int64_t era = year / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
           719468;
}

int64_t report_model_time_ms(const char *text)
{
    int year = 0;
    int month = 0;
    int day = 0;
    int hour = 0;
    int minute = 0;
    int second = 0;
    int read = 0;
    if (text == NULL || strlen(text) > 40 ||
        sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &year, &month, &day, &hour, &minute, &second,
               &read) != 6 ||
        year < 1970 || month < 1 || month > 12 || day < 1 || day > 31 || hour < 0 || hour > 23 ||
        minute < 0 || minute > 59 || second < 0 || second > 60) {
        return REPORT_NO_TIME;
    }
    int64_t ms = 0;
    if (text[read] == '.') {
        int64_t unit = 100;
        for (const char *p = text + read + 1; isdigit((unsigned char)*p) && unit > 0; p++) {
            ms += (*p - '0') * unit;
            unit /= 10;
        }
    }
    return ((days_from_civil(year, month, day) * 24 + hour) * 60 + minute) * 60000 +
           second * INT64_C(1000) + ms;
}

const char *report_model_state_class(const char *state)
{
    static const char *const known[] = {"pending", "running",   "succeeded",
                                        "failed",  "cancelled", "skipped"};
    for (size_t i = 0; state != NULL && i < MLQ_COUNT_OF(known); i++) {
        if (strcmp(state, known[i]) == 0) {
            return known[i];
        }
    }
    return "pending";
}

const char *report_model_pretty(const char *metric, char *text, size_t bytes)
{
    static const struct {
        const char *name;
        const char *pretty;
    } words[] = {
        {"f1_macro", "F1 macro"}, {"f1_weighted", "F1 weighted"},
        {"f1_micro", "F1 micro"}, {"f1", "F1"},
        {"roc_auc", "ROC AUC"},   {"log_loss", "Log loss"},
        {"r2", "R\xc2\xb2"},      {"mse", "MSE"},
        {"mae", "MAE"},           {"rmse", "RMSE"},
        {"brier", "Brier score"}, {"roc_auc_ovr", "ROC AUC (one vs rest)"},
        {"pr_auc", "PR AUC"},     {"roc_auc_ovr_macro", "ROC AUC (one vs rest)"},
    };
    for (size_t i = 0; i < MLQ_COUNT_OF(words); i++) {
        if (strcmp(metric, words[i].name) == 0) {
            return words[i].pretty;
        }
    }
    (void)snprintf(text, bytes, "%s", metric);
    for (char *p = text; *p != '\0'; p++) {
        *p = *p == '_' ? ' ' : *p;
    }
    if (text[0] >= 'a' && text[0] <= 'z') {
        text[0] = (char)(text[0] - 'a' + 'A');
    }
    return text;
}

/* The stage's own times, or else those of its attempts: first start, last end. */
static void read_times(struct report_stage *stage)
{
    stage->started_ms = report_model_time_ms(jget_text(stage->json, "started"));
    stage->ended_ms = report_model_time_ms(jget_text(stage->json, "ended"));
    bool own_start = stage->started_ms != REPORT_NO_TIME;
    bool own_end = stage->ended_ms != REPORT_NO_TIME;
    size_t i;
    json_t *attempt;
    json_array_foreach(jget_array(stage->json, "attempts"), i, attempt)
    {
        int64_t started = report_model_time_ms(jget_text(attempt, "started"));
        int64_t ended = report_model_time_ms(jget_text(attempt, "ended"));
        if (!own_start && started != REPORT_NO_TIME &&
            (stage->started_ms == REPORT_NO_TIME || started < stage->started_ms)) {
            stage->started_ms = started;
        }
        if (!own_end && ended > stage->ended_ms) {
            stage->ended_ms = ended;
        }
    }
}

static void read_needs(struct report *report, const json_t *by_name)
{
    for (size_t s = 0; s < report->stage_count; s++) {
        struct report_stage *stage = &report->stages[s];
        size_t i;
        json_t *need;
        json_array_foreach(jget_array(stage->json, "needs"), i, need)
        {
            const char *name = json_string_value(need);
            const json_t *index = name == NULL ? NULL : json_object_get(by_name, name);
            if (index != NULL && stage->needs_count < REPORT_NEEDS_MAX) {
                stage->needs[stage->needs_count++] = (uint32_t)json_integer_value(index);
                report->has_needs = true;
            }
        }
    }
}

/* Depths by rounds: each round settles the stages that only need settled ones. What is left when
 * nothing moves lies on a cycle; its needs are dropped. At most 1000 stages: the square is cheap.
 */
static void find_depths(struct report *report)
{
    bool *settled = mlq_region_array(report->region, report->stage_count + 1, sizeof(bool));
    size_t done = 0;
    bool moved = true;
    while (done < report->stage_count && moved) {
        moved = false;
        for (size_t s = 0; s < report->stage_count; s++) {
            struct report_stage *stage = &report->stages[s];
            uint32_t depth = 0;
            bool ready = !settled[s];
            for (size_t i = 0; ready && i < stage->needs_count; i++) {
                const struct report_stage *need = &report->stages[stage->needs[i]];
                ready = settled[stage->needs[i]];
                depth = need->depth + 1 > depth ? need->depth + 1 : depth;
            }
            if (ready) {
                settled[s] = true;
                stage->depth = depth;
                report->depth_max = depth > report->depth_max ? depth : report->depth_max;
                done++;
                moved = true;
            }
        }
    }
    for (size_t s = 0; s < report->stage_count; s++) {
        if (!settled[s]) {
            report->stages[s].needs_count = 0;
        }
    }
}

static const char *text_or(const json_t *object, const char *key, const char *fallback)
{
    const char *text = jget_text(object, key);
    return text != NULL ? text : fallback;
}

/* The report's own stage still runs while it writes; the job is judged by the others. */
static const char *judge(const struct report *report)
{
    const char *state = jget_text(report->job, "state");
    bool done = report->in->own_stage != NULL && report->stage_count > 0 && state != NULL &&
                strcmp(state, "running") == 0;
    const char *verdict = "succeeded";
    for (size_t s = 0; s < report->stage_count && done; s++) {
        const char *one = report_model_state_class(report->stages[s].state);
        done = strcmp(one, "pending") != 0 && strcmp(one, "running") != 0;
        verdict = strcmp(one, "failed") == 0 || strcmp(one, "cancelled") == 0 ? one : verdict;
    }
    return done ? verdict : state;
}

static void read_stage(struct report *report, const json_t *json, json_t *by_name)
{
    const char *name = text_or(json, "name", "?");
    if (report->in->own_stage != NULL && strcmp(report->in->own_stage, name) == 0) {
        return;
    }
    struct report_stage *stage = &report->stages[report->stage_count];
    stage->json = json;
    stage->name = name;
    stage->uses = text_or(json, "uses", "run");
    stage->state = text_or(json, "state", "pending");
    read_times(stage);
    (void)json_object_set_new(by_name, name, json_integer((json_int_t)report->stage_count));
    report->stage_count++;
}

void report_model_read(struct report *report, const struct report_inputs *inputs)
{
    report->in = inputs;
    report->job = jget_object(inputs->record, "job");
    json_t *stages = jget_array(report->job, "stages");
    size_t total = json_array_size(stages);
    report->stages =
        mlq_region_array(report->region, REPORT_STAGES_MAX + 1, sizeof(*report->stages));
    report->submitted_ms = report_model_time_ms(jget_text(report->job, "submitted"));
    report->ended_ms = report_model_time_ms(jget_text(report->job, "ended"));
    json_t *by_name = json_object();
    for (size_t i = 0; i < total && report->stage_count < REPORT_STAGES_MAX; i++) {
        read_stage(report, json_array_get(stages, i), by_name);
    }
    report->stages_left_out = total > REPORT_STAGES_MAX ? total - REPORT_STAGES_MAX : 0;
    bool job_ended = report->ended_ms != REPORT_NO_TIME;
    for (size_t s = 0; s < report->stage_count && !job_ended; s++) {
        int64_t ended = report->stages[s].ended_ms;
        report->ended_ms = ended > report->ended_ms ? ended : report->ended_ms;
    }
    read_needs(report, by_name);
    json_decref(by_name);
    find_depths(report);
    report->state = judge(report);
}

const json_t *report_model_metrics_of(const struct report *report, const char *uses)
{
    for (size_t s = 0; s < report->stage_count; s++) {
        const json_t *metrics = jget_object(report->stages[s].json, "metrics");
        if (json_object_size(metrics) > 0 && strcmp(report->stages[s].uses, uses) == 0) {
            return metrics;
        }
    }
    return NULL;
}
