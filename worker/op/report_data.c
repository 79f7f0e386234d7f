/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The data: what data.import saw, a row per column.
 */
#include "worker/op/report.h"

#include <math.h>
#include <string.h>

#include "worker/op/jget.h"

static void write_number(const json_t *object, const char *key, struct html *h)
{
    double value = 0.0;
    html_add(h, "<td class=\"n\">");
    if (jget_number(object, key, &value) && isfinite(value)) {
        html_number(h, value);
    }
    html_add(h, "</td>");
}

/* The commonest texts of a category: [{"value": V, "count": N}, ...]. */
static void write_top(const json_t *column, struct html *h)
{
    json_t *top = jget_array(column, "top");
    for (size_t i = 0; i < json_array_size(top) && i < 3; i++) {
        const json_t *item = json_array_get(top, i);
        const char *value = jget_text(item, "value");
        double count = 0.0;
        html_add(h, i == 0 ? "" : ", ");
        html_add(h, "<bdi>");
        html_cut(h, value == NULL ? "?" : value, 24);
        html_add(h, "</bdi>");
        if (jget_number(item, "count", &count)) {
            html_add(h, " <span class=\"quiet\">");
            html_number(h, count);
            html_add(h, "</span>");
        }
    }
}

static void write_column(const json_t *column, double rows, struct html *h)
{
    const char *kind = jget_text(column, "kind");
    const char *role = jget_text(column, "role");
    double missing = 0.0;
    html_add(h, "<tr><th scope=\"row\"><bdi>");
    html_cut(h, jget_text(column, "name"), 120);
    html_add(h, "</bdi></th><td>");
    html_cut(h, kind, 20);
    if (role != NULL && strcmp(role, "feature") != 0) {
        html_add(h, " <span class=\"chip\">");
        html_cut(h, role, 20);
        html_add(h, "</span>");
    }
    html_add(h, "</td><td class=\"n\">");
    if (jget_number(column, "missing", &missing) && rows > 0.0) {
        html_add(h, missing > 0.0 ? "<span class=\"warn\">" : "<span>");
        html_share(h, missing / rows);
        html_add(h, "</span>");
    }
    html_add(h, "</td>");
    write_number(column, "distinct", h);
    if (kind != NULL && strcmp(kind, "category") == 0) {
        html_add(h, "<td colspan=\"4\" class=\"top\">");
        write_top(column, h);
        html_add(h, "</td>");
    } else {
        write_number(column, "min", h);
        write_number(column, "mean", h);
        write_number(column, "max", h);
        write_number(column, json_object_get(column, "std") != NULL ? "std" : "deviation", h);
    }
    html_add(h, "</tr>\n");
}

static void write_fact(const char *name, const json_t *object, const char *key, struct html *h)
{
    double value = 0.0;
    if (jget_number(object, key, &value)) {
        html_addf(h, "<div><dt>%s</dt><dd>", name);
        html_number(h, value);
        html_add(h, "</dd></div>\n");
    }
}

static void write_source(const json_t *profile, struct html *h)
{
    const json_t *source = jget_object(profile, "source");
    const char *digest = jget_text(source, "digest");
    if (jget_text(source, "file") == NULL) {
        return;
    }
    html_add(h, "<div><dt>Source</dt><dd class=\"text\"><bdi>");
    html_cut(h, jget_text(source, "file"), 80);
    html_add(h, "</bdi> ");
    if (digest != NULL) {
        html_add(h, "<code class=\"quiet\" title=\"");
        html_cut(h, digest, 100);
        html_add(h, "\">");
        html_cut(h, strncmp(digest, "sha256:", 7) == 0 ? digest + 7 : digest, 13);
        html_add(h, "</code>");
    }
    html_add(h, "</dd></div>\n");
}

bool report_data_write(const struct report *report, struct html *h)
{
    const json_t *profile = report->in->profile;
    json_t *columns = jget_array(profile, "columns");
    size_t count = json_array_size(columns);
    double rows = 0.0;
    if (profile == NULL) {
        return false;
    }
    (void)jget_number(profile, "rows", &rows);
    html_add(h, "<dl class=\"facts\">\n");
    write_fact("Rows", profile, "rows", h);
    html_addf(h, "<div><dt>Columns</dt><dd>%zu</dd></div>\n", count);
    write_fact("Bad rows", profile, "bad_rows", h);
    write_source(profile, h);
    html_add(h, "</dl>\n");
    if (count == 0) {
        return true;
    }
    html_add(h, count > 20 ? "<details><summary>All columns</summary>\n" : "");
    html_add(h,
             "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">Column</th><th "
             "scope=\"col\">Kind</th>"
             "<th scope=\"col\" class=\"n\">Missing</th><th scope=\"col\" class=\"n\">Distinct</th>"
             "<th scope=\"col\" class=\"n\">Min</th><th scope=\"col\" class=\"n\">Mean</th><th "
             "scope=\"col\" class=\"n\">Max</th>"
             "<th scope=\"col\" class=\"n\">Deviation</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < count && i < REPORT_ROWS_MAX; i++) {
        write_column(json_array_get(columns, i), rows, h);
    }
    html_add(h, "</tbody></table></div>\n");
    if (count > REPORT_ROWS_MAX) {
        html_addf(h, "<p class=\"quiet\">%zu more columns stand in profile.json.</p>\n",
                  count - REPORT_ROWS_MAX);
    }
    html_add(h, count > 20 ? "</details>\n" : "");
    return true;
}
