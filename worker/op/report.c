/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/report.h"

#include <math.h>
#include <string.h>

#include "worker/op/jget.h"

#define CARDS_MAX 6u

struct section {
    const char *id;
    const char *title;
    bool (*write)(const struct report *report, struct html *h);
    struct html text;
    bool shown;
};

/* The graph and the table say the same in two ways, under one heading. */
static bool write_stages(const struct report *report, struct html *h)
{
    (void)report_graph_write(report, h);
    return report_stages_write(report, h);
}

static void add_command(struct html *h, const char *before, const char *text, const char *after)
{
    html_add(h, before);
    html_cut(h, text, 400);
    html_add(h, after);
}

static bool write_reproduce(const struct report *report, struct html *h)
{
    const char *id = jget_text(report->job, "id");
    const char *digest = jget_text(report->job, "spec_digest");
    const char *command = jget_text(report->job, "command");
    if (id == NULL) {
        return false;
    }
    html_add(h, "<pre>");
    if (digest != NULL) {
        add_command(h, "<span class=\"quiet\"># the spec as it was submitted: </span>", digest,
                    "\n");
    }
    if (command != NULL) {
        add_command(h, "", command, "\n");
    }
    add_command(h, "mlq show ", id,
                " --json       <span class=\"quiet\"># every fact of this page</span>\n");
    add_command(h, "mlq artifacts ls ", id,
                "      <span class=\"quiet\"># the files by name and digest</span>\n");
    html_add(h, "</pre>\n");
    return true;
}

/* The metrics that a reader asks for first. */
static void write_metric_cards(const struct report *report, struct html *h)
{
    static const char *const wanted[] = {
        "accuracy", "f1_macro", "roc_auc", "roc_auc_ovr", "log_loss", "r2", "rmse", "mae", "mse"};
    const json_t *metrics = report->in->metrics;
    metrics = metrics != NULL ? metrics : report_model_metrics_of(report, "eval.metrics");
    size_t shown = 0;
    for (size_t i = 0; i < MLQ_COUNT_OF(wanted) && shown < CARDS_MAX - 2; i++) {
        double value = 0.0;
        char word[64];
        if (!jget_number(metrics, wanted[i], &value) || !isfinite(value)) {
            continue;
        }
        html_addf(h, "<div><dt>%s</dt><dd>", report_model_pretty(wanted[i], word, sizeof(word)));
        html_number(h, value);
        html_add(h, "</dd></div>\n");
        shown++;
    }
}

static void write_cards(const struct report *report, struct html *h)
{
    const char *verdict = jget_text(report->in->verdict, "verdict");
    html_add(h, "<dl class=\"cards\">\n");
    write_metric_cards(report, h);
    if (verdict != NULL) {
        html_add(h, "<div><dt>Gate</dt><dd class=\"");
        html_add(h, strcmp(verdict, "pass") == 0   ? "pass\">passed"
                    : strcmp(verdict, "fail") == 0 ? "fail\">failed"
                                                   : "open\">inconclusive");
        html_add(h, "</dd></div>\n");
    }
    if (report->submitted_ms != REPORT_NO_TIME && report->ended_ms >= report->submitted_ms) {
        html_add(h, "<div><dt>Time</dt><dd>");
        html_duration(h, report->ended_ms - report->submitted_ms);
        html_add(h, "</dd></div>\n");
    }
    if (report->stage_count > 0) {
        html_addf(h, "<div><dt>Stages</dt><dd>%zu</dd></div>\n",
                  report->stage_count + report->stages_left_out);
    }
    html_add(h, "</dl>\n");
}

void report_bar_write(double share, struct html *h)
{
    share = isfinite(share) && share > 0.0 ? fmin(share, 1.0) : 0.0;
    html_addf(h, "<td class=\"bar\"><span style=\"width:%.1f%%\"></span></td>", share * 100.0);
}

static const char *page_title(const struct report *report)
{
    const char *title = report->in->title;
    title = title != NULL && title[0] != '\0' ? title : jget_text(report->job, "name");
    return title != NULL && title[0] != '\0' ? title : "Report";
}

static void write_time(struct html *h, const char *label, const char *time)
{
    if (report_model_time_ms(time) == REPORT_NO_TIME) {
        return;
    }
    html_addf(h, "<span>%s <time datetime=\"", label);
    html_cut(h, time, 40);
    html_add(h, "\">");
    char words[32] = "";
    memcpy(words, time, 16); /* 2026-11-23T09:00, checked by report_model_time_ms */
    words[10] = ' ';
    html_text(h, words);
    html_add(h, " UTC</time></span>\n");
}

static void write_header(const struct report *report, struct html *h)
{
    html_add(h, "<header>\n<div class=\"kicker\">");
    html_cut(h, report->job == NULL ? "mlq report" : jget_text(report->job, "kind"), 40);
    if (jget_text(report->job, "id") != NULL) {
        html_add(h, " \xc2\xb7 job ");
        html_cut(h, jget_text(report->job, "id"), 40);
    }
    html_add(h, "</div>\n<h1><bdi>");
    html_cut(h, page_title(report), 300);
    html_add(h, "</bdi></h1>\n<div class=\"meta\">");
    if (report->state != NULL) {
        const char *known = report_model_state_class(report->state);
        html_addf(h, "<span class=\"state %s\">%s</span>\n", known, known);
    }
    write_time(h, "submitted", jget_text(report->job, "submitted"));
    write_time(h, "ended", jget_text(report->job, "ended"));
    if (report->in->title != NULL && report->in->title[0] != '\0' &&
        jget_text(report->job, "name") != NULL) {
        html_add(h, "<span><bdi>");
        html_cut(h, jget_text(report->job, "name"), 120);
        html_add(h, "</bdi></span>");
    }
    html_add(h, "</div>\n");
    write_cards(report, h);
}

static void write_page(const struct report *report, struct section *sections, size_t count,
                       struct html *h)
{
    html_add(h, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
                "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
                "<meta name=\"generator\" content=\"mlq\"/>\n<title>");
    html_cut(h, page_title(report), 200);
    html_add(h, "</title>\n");
    report_style_write(h);
    html_add(h, "</head>\n<body>\n<main>\n");
    write_header(report, h);
    size_t shown = 0;
    for (size_t i = 0; i < count; i++) {
        sections[i].shown = sections[i].write(report, &sections[i].text);
        shown += sections[i].shown;
        h->full = h->full || sections[i].text.full;
    }
    html_add(h, shown > 1 ? "<nav aria-label=\"Sections\">" : "");
    for (size_t i = 0; i < count && shown > 1; i++) {
        if (sections[i].shown) {
            html_addf(h, "<a href=\"#%s\">%s</a>", sections[i].id, sections[i].title);
        }
    }
    html_add(h, shown > 1 ? "</nav>\n</header>\n" : "</header>\n");
    for (size_t i = 0; i < count; i++) {
        if (sections[i].shown) {
            html_addf(h, "<section id=\"%s\">\n<h2>%s</h2>\n", sections[i].id, sections[i].title);
            html_add(h, sections[i].text.bytes);
            html_add(h, "</section>\n");
        }
    }
    html_add(h, shown == 0 ? "<p class=\"quiet\">There is nothing to report yet.</p>\n" : "");
    html_add(h, "<footer>Made by mlq from the job's record. Times are "
                "UTC.</footer>\n</main>\n</body>\n</html>\n");
}

bool report_write(const struct report_inputs *inputs, struct html *out)
{
    struct section sections[] = {
        {.id = "stages", .title = "Stages", .write = write_stages},
        {.id = "evaluation", .title = "Evaluation", .write = report_eval_write},
        {.id = "gate", .title = "Gate", .write = report_gate_write},
        {.id = "learning", .title = "Learning curves", .write = report_curves_write},
        {.id = "rates", .title = "Learning-rate range test", .write = report_range_write},
        {.id = "time", .title = "Where the time went", .write = report_time_write},
        {.id = "importance", .title = "What the trees look at", .write = report_importance_write},
        {.id = "data", .title = "Data", .write = report_data_write},
        {.id = "checks", .title = "Data checks", .write = report_checks_write},
        {.id = "lineage", .title = "Lineage", .write = report_lineage_write},
        {.id = "reproduce", .title = "Reproduce", .write = write_reproduce},
    };
    struct report report = {.region = mlq_region_create()};
    report_model_read(&report, inputs);
    write_page(&report, sections, MLQ_COUNT_OF(sections), out);
    for (size_t i = 0; i < MLQ_COUNT_OF(sections); i++) {
        html_fini(&sections[i].text);
    }
    mlq_region_destroy(&report.region);
    return !out->full;
}
