/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Where a training's time went: "phases" of history.json, {NAME: SECONDS, ..}.
 */
#include "worker/op/report.h"

#include <math.h>
#include <string.h>

#include "worker/op/jget.h"

#define PHASES_MAX 32u

/* Our own phases, in words. */
static const char *explain(const char *name)
{
    static const char *const words[][2] = {
        {"load", "reading and preparing the tables"},
        {"gang", "waiting for the ranks to meet, and sharing the state"},
        {"wait", "waiting for rows that come from disk"},
        {"data", "gathering and changing the rows of each step"},
        {"compute", "forward and backward"},
        {"exchange", "gradients between ranks, waiting for the slowest"},
        {"optimizer", "adding gradients up, and the step"},
        {"grow", "growing trees"},
        {"score", "losses of each round, over training and validation rows"},
        {"validation", "forward over the validation rows"},
        {"checkpoint", "saving what a retry goes on from"},
    };
    for (size_t i = 0; i < MLQ_COUNT_OF(words); i++) {
        if (strcmp(name, words[i][0]) == 0) {
            return words[i][1];
        }
    }
    return "";
}

static void write_row(const char *name, double seconds, double total, struct html *h)
{
    html_add(h, "<tr><td><bdi>");
    html_cut(h, name, 40);
    html_add(h, "</bdi></td>");
    report_bar_write(seconds / total, h);
    html_add(h, "<td class=\"n\">");
    html_share(h, seconds / total);
    html_add(h, "</td><td class=\"n\">");
    html_duration(h, (int64_t)(seconds * 1e3));
    html_add(h, "</td><td class=\"quiet\">");
    html_add(h, explain(name));
    html_add(h, "</td></tr>\n");
}

static bool is_time(const json_t *member, double *seconds)
{
    return jget_value_number(member, seconds) && *seconds >= 0.0 && *seconds < 1e9;
}

bool report_time_write(const struct report *report, struct html *h)
{
    json_t *phases = jget_object(report->in->history, "phases");
    const char *name;
    json_t *member;
    double total = 0.0, seconds = 0.0;
    size_t shown = 0;
    json_object_foreach(phases, name, member)
    {
        total += is_time(member, &seconds) ? seconds : 0.0;
    }
    if (!(total > 0.0)) {
        return false;
    }
    html_add(h,
             "<p class=\"quiet\">Of the process that wrote the model (of a gang: rank 0), since it "
             "last started.</p>\n<table class=\"narrow\"><thead><tr><th scope=\"col\">Phase</th>"
             "<th scope=\"col\" class=\"bar\"><span class=\"hidden\">Share as a bar</span></th>"
             "<th scope=\"col\" class=\"n\">Share</th><th scope=\"col\" class=\"n\">Time</th>"
             "<th scope=\"col\">Doing</th></tr></thead><tbody>\n");
    json_object_foreach(phases, name, member)
    {
        if (is_time(member, &seconds) && seconds > 0.0 && shown++ < PHASES_MAX) {
            write_row(name, seconds, total, h);
        }
    }
    html_add(h, "</tbody></table>\n");
    return true;
}
