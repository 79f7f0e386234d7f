/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What the features of a forest gained: "importance" of history.json, which train.xgboost writes.
 */
#include "worker/op/report.h"

#include <math.h>

#include "worker/op/jget.h"

#define SHOWN_AT_ONCE 20u

static void write_row(const json_t *item, double most, struct html *h)
{
    double gain = 0.0, splits = 0.0;
    (void)jget_number(item, "gain", &gain);
    (void)jget_number(item, "splits", &splits);
    gain = isfinite(gain) && gain > 0.0 ? gain : 0.0;
    html_add(h, "<tr><td><bdi>");
    html_cut(h, jget_text(item, "feature"), 80);
    html_add(h, "</bdi></td>");
    report_bar_write(gain / most, h);
    html_add(h, "<td class=\"n\">");
    html_share(h, gain);
    html_add(h, "</td><td class=\"n\">");
    html_number(h, splits);
    html_add(h, "</td></tr>\n");
}

static void write_rows(const json_t *list, size_t from, size_t end, double most, struct html *h)
{
    html_add(h, "<table class=\"narrow\"><thead><tr><th scope=\"col\">Feature</th>"
                "<th scope=\"col\" class=\"bar\"><span class=\"hidden\">Gain as a bar</span></th>"
                "<th scope=\"col\" class=\"n\">Gain</th>"
                "<th scope=\"col\" class=\"n\">Splits</th></tr></thead><tbody>\n");
    for (size_t i = from; i < end; i++) {
        write_row(json_array_get(list, i), most, h);
    }
    html_add(h, "</tbody></table>\n");
}

bool report_importance_write(const struct report *report, struct html *h)
{
    const json_t *list = jget_array(report->in->history, "importance");
    size_t count = json_array_size(list);
    double most = 0.0;
    if (count == 0) {
        return false;
    }
    (void)jget_number(json_array_get(list, 0), "gain", &most);
    html_add(h,
             "<p class=\"quiet\">Gain: a feature's share of what all splits of the trees lowered "
             "the training loss by. It tells what the model uses, not what causes the target; "
             "features that tell the same share it by chance.</p>\n");
    size_t end = count < REPORT_ROWS_MAX ? count : REPORT_ROWS_MAX;
    size_t first = end < SHOWN_AT_ONCE ? end : SHOWN_AT_ONCE;
    write_rows(list, 0, first, most, h);
    if (end > first) {
        html_addf(h, "<details><summary>%zu more features</summary>\n", end - first);
        write_rows(list, first, end, most, h);
        html_add(h, "</details>\n");
    }
    if (count > end) {
        html_addf(h, "<p class=\"quiet\">%zu more features stand in history.json.</p>\n",
                  count - end);
    }
    return true;
}
