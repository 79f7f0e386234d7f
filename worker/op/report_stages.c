/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The stages as a table with a time line: when each ran, from the job's submission on.
 */
#include "worker/op/report.h"

#include <inttypes.h>
#include <string.h>

#include "worker/op/jget.h"

static int64_t first_ms(const struct report *report)
{
    int64_t first = report->submitted_ms;
    for (size_t s = 0; s < report->stage_count; s++) {
        int64_t started = report->stages[s].started_ms;
        if (started != REPORT_NO_TIME && (first == REPORT_NO_TIME || started < first)) {
            first = started;
        }
    }
    return first;
}

static int64_t last_ms(const struct report *report)
{
    int64_t last = report->ended_ms;
    for (size_t s = 0; s < report->stage_count; s++) {
        const struct report_stage *stage = &report->stages[s];
        last = stage->ended_ms > last ? stage->ended_ms : last;
        last = stage->started_ms > last ? stage->started_ms : last;
    }
    return last;
}

static void write_bar(const struct report *report, const struct report_stage *stage, struct html *h)
{
    int64_t first = first_ms(report);
    int64_t last = last_ms(report);
    html_add(h, "<td class=\"line\">");
    if (stage->started_ms != REPORT_NO_TIME && last > first) {
        double span = (double)(last - first);
        int64_t ended = stage->ended_ms != REPORT_NO_TIME ? stage->ended_ms : last;
        double from = (double)(stage->started_ms - first) / span * 100.0;
        double width = (double)(ended - stage->started_ms) / span * 100.0;
        width = width < 0.6 ? 0.6 : width;
        from = from + width > 100.0 ? 100.0 - width : from;
        html_addf(h, "<span class=\"%s\" style=\"margin-left:%.2f%%;width:%.2f%%\"></span>",
                  report_model_state_class(stage->state), from < 0.0 ? 0.0 : from,
                  width > 100.0 ? 100.0 : width);
    }
    html_add(h, "</td>");
}

/* Why attempts did not succeed: what it was retried for, or what it failed of. */
static void write_causes(const struct report_stage *stage, struct html *h)
{
    json_t *attempts = jget_array(stage->json, "attempts");
    const char *lead = strcmp(stage->state, "failed") == 0 ? " <span class=\"warn\">"
                                                           : " <span class=\"warn\">retried: ";
    size_t shown = 0;
    size_t i;
    json_t *attempt;
    json_array_foreach(attempts, i, attempt)
    {
        const char *cause = jget_text(attempt, "cause");
        if (cause != NULL && shown < 3) {
            html_add(h, shown++ == 0 ? lead : ", ");
            html_cut(h, cause, 40);
            uint64_t code = 0;
            if (strcmp(cause, "exit") == 0 && jget_u64(attempt, "exit", &code)) {
                html_addf(h, " %" PRIu64, code);
            }
        }
    }
    html_add(h, shown > 0 ? "</span>" : "");
}

/* A gang's attempt is one, whose ranks are listed each: rank 0 stands for them. */
static size_t count_attempts(const struct report_stage *stage)
{
    size_t count = 0;
    size_t i;
    json_t *attempt;
    json_array_foreach(jget_array(stage->json, "attempts"), i, attempt)
    {
        uint64_t rank = 0;
        (void)jget_u64(attempt, "rank", &rank);
        count += rank == 0 ? 1 : 0;
    }
    return count;
}

static void write_tasks(const struct report_stage *stage, struct html *h)
{
    const json_t *tasks = jget_object(stage->json, "tasks");
    uint64_t total = 0;
    uint64_t succeeded = 0;
    html_add(h, "<td class=\"n\">");
    if (jget_u64(tasks, "total", &total)) {
        if (jget_u64(tasks, "succeeded", &succeeded) && succeeded != total) {
            html_count(h, succeeded);
            html_add(h, "\xe2\x80\xaf/\xe2\x80\xaf");
        }
        html_count(h, total);
    }
    size_t attempts = count_attempts(stage);
    html_add(h, "</td><td class=\"n\">");
    if (attempts > 0) {
        html_count(h, attempts);
    }
    html_add(h, "</td>");
}

static void write_stage(const struct report *report, size_t s, struct html *h)
{
    const struct report_stage *stage = &report->stages[s];
    const char *state = report_model_state_class(stage->state);
    html_addf(h, "<tr id=\"s%zu\"><th scope=\"row\"><bdi>", s);
    html_cut(h, stage->name, 160);
    html_add(h, "</bdi></th><td><code>");
    html_cut(h, stage->uses, 60);
    html_addf(h, "</code></td><td><span class=\"state %s\">%s</span>", state, state);
    write_causes(stage, h);
    html_add(h, "</td>");
    write_tasks(stage, h);
    html_add(h, "<td class=\"n\">");
    if (stage->started_ms != REPORT_NO_TIME && stage->ended_ms != REPORT_NO_TIME) {
        html_duration(h, stage->ended_ms - stage->started_ms);
    }
    html_add(h, "</td>");
    write_bar(report, stage, h);
    html_add(h, "</tr>\n");
}

bool report_stages_write(const struct report *report, struct html *h)
{
    if (report->stage_count == 0) {
        return false;
    }
    html_add(
        h,
        "<div class=\"scroll\"><table class=\"stages\"><thead><tr><th scope=\"col\">Stage</th><th "
        "scope=\"col\">Runs</th>"
        "<th scope=\"col\">State</th><th scope=\"col\" class=\"n\">Tasks</th><th scope=\"col\" "
        "class=\"n\">Attempts</th>"
        "<th scope=\"col\" class=\"n\">Time</th><th scope=\"col\" "
        "class=\"when\">When</th></tr></thead><tbody>\n");
    for (size_t s = 0; s < report->stage_count; s++) {
        write_stage(report, s, h);
    }
    html_add(h, "</tbody></table></div>\n");
    if (report->stages_left_out > 0) {
        html_addf(h, "<p class=\"quiet\">%zu more stages are not shown.</p>\n",
                  report->stages_left_out);
    }
    return true;
}
