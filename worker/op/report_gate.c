/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The gate's verdict, a row per condition.
 */
#include "worker/op/report.h"

#include <string.h>

#include "worker/op/jget.h"

static const char *verdict_class(const char *verdict)
{
    if (verdict != NULL && strcmp(verdict, "pass") == 0) {
        return "pass";
    }
    return verdict != NULL && strcmp(verdict, "fail") == 0 ? "fail" : "open";
}

static void write_condition(const json_t *condition, struct html *h)
{
    const char *verdict = jget_text(condition, "verdict");
    double value = 0.0;
    html_addf(h, "<tr><td class=\"verdict %s\">", verdict_class(verdict));
    html_cut(h, verdict, 20);
    html_add(h, "</td><th scope=\"row\"><code>");
    html_cut(h, jget_text(condition, "text"), 200);
    html_add(h, "</code></th><td class=\"n\">");
    if (jget_number(condition, "value", &value)) {
        html_number(h, value);
    } else {
        html_add(h, "<span class=\"quiet\">not reported</span>");
    }
    html_add(h, "</td></tr>\n");
}

bool report_gate_write(const struct report *report, struct html *h)
{
    const json_t *verdict = report->in->verdict;
    json_t *conditions = jget_array(verdict, "conditions");
    const char *word = jget_text(verdict, "verdict");
    if (word == NULL) {
        return false;
    }
    html_addf(h, "<p>Verdict: <span class=\"verdict %s\">", verdict_class(word));
    html_cut(h, word, 20);
    html_add(h, "</span></p>\n");
    if (json_array_size(conditions) == 0) {
        return true;
    }
    html_add(h, "<table class=\"narrow\"><thead><tr><th scope=\"col\">Verdict</th><th "
                "scope=\"col\">Condition</th>"
                "<th scope=\"col\" class=\"n\">Value</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < json_array_size(conditions) && i < REPORT_ROWS_MAX; i++) {
        write_condition(json_array_get(conditions, i), h);
    }
    html_add(h, "</tbody></table>\n");
    return true;
}
