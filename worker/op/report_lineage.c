/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Lineage: each artifact, its digest, the stage that made it and what that stage was made from.
 */
#include "worker/op/report.h"

#include <string.h>

#include "worker/op/jget.h"

#define NAMES_SHOWN_MAX 6u

static void write_sources(const struct report *report, const struct report_stage *stage,
                          struct html *h)
{
    for (size_t i = 0; i < stage->needs_count && i < NAMES_SHOWN_MAX; i++) {
        const struct report_stage *need = &report->stages[stage->needs[i]];
        html_addf(h, "%s<a href=\"#s%u\"><bdi>", i == 0 ? "" : ", ", stage->needs[i]);
        html_cut(h, need->name, 60);
        html_add(h, "</bdi></a>");
    }
    if (stage->needs_count > NAMES_SHOWN_MAX) {
        html_addf(h, " and %zu more", stage->needs_count - NAMES_SHOWN_MAX);
    }
}

static void write_artifact(const struct report *report, size_t s, const json_t *artifact,
                           struct html *h)
{
    const char *digest = jget_text(artifact, "digest");
    uint64_t bytes = 0;
    html_add(h, "<tr><th scope=\"row\"><bdi>");
    html_cut(h, jget_text(artifact, "name"), 160);
    html_addf(h, "</bdi></th><td><a href=\"#s%zu\"><bdi>", s);
    html_cut(h, report->stages[s].name, 60);
    html_add(h, "</bdi></a></td><td>");
    write_sources(report, &report->stages[s], h);
    html_add(h, "</td><td class=\"n\">");
    if (jget_u64(artifact, "bytes", &bytes)) {
        html_size(h, bytes);
    }
    html_add(h, "</td><td>");
    if (digest != NULL) {
        html_add(h, "<code title=\"");
        html_cut(h, digest, 100);
        html_add(h, "\">");
        html_cut(h, strncmp(digest, "sha256:", 7) == 0 ? digest + 7 : digest, 13);
        html_add(h, "</code>");
    }
    html_add(h, "</td></tr>\n");
}

bool report_lineage_write(const struct report *report, struct html *h)
{
    size_t count = 0;
    size_t left_out = 0;
    for (size_t s = 0; s < report->stage_count; s++) {
        json_t *artifacts = jget_array(report->stages[s].json, "artifacts");
        for (size_t i = 0; i < json_array_size(artifacts); i++) {
            if (count >= REPORT_ROWS_MAX) {
                left_out++;
                continue;
            }
            html_add(h,
                     count++ > 0
                         ? ""
                         : "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">Artifact</th>"
                           "<th scope=\"col\">Made by</th><th scope=\"col\">From</th>"
                           "<th scope=\"col\" class=\"n\">Size</th><th "
                           "scope=\"col\">SHA-256</th></tr></thead><tbody>\n");
            write_artifact(report, s, json_array_get(artifacts, i), h);
        }
    }
    html_add(h, count > 0 ? "</tbody></table></div>\n" : "");
    if (left_out > 0) {
        html_addf(h, "<p class=\"quiet\">%zu more artifacts are not shown.</p>\n", left_out);
    }
    return count > 0;
}
