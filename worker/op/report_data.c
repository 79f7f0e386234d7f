/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The data: what data.import saw, a row per column.
 */
#include "worker/op/report.h"

#include <math.h>
#include <string.h>

#include "worker/op/jget.h"

#define BAD_ROWS_SHOWN_MAX 10u

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
        double number = 0.0;
        double count = 0.0;
        html_add(h, i == 0 ? "<bdi>" : ", <bdi>");
        if (jget_text(item, "value") != NULL) {
            html_cut(h, jget_text(item, "value"), 24);
        } else if (jget_number(item, "value", &number)) {
            html_number(h, number);
        }
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
        write_number(column, "std", h);
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

/* A text, or nothing. */
static void write_word(const char *name, const char *word, struct html *h)
{
    if (word != NULL) {
        html_addf(h, "<div><dt>%s</dt><dd class=\"text\"><bdi>", name);
        html_cut(h, word, 80);
        html_add(h, "</bdi></dd></div>\n");
    }
}

/* The first rows that could not be read, as data.import tells them. */
static void write_bad_rows(const json_t *profile, struct html *h)
{
    json_t *first = jget_array(jget_object(profile, "bad_rows"), "first");
    if (json_array_size(first) == 0) {
        return;
    }
    html_add(h,
             "<table class=\"narrow\"><thead><tr><th scope=\"col\" class=\"n\">Bad row, line</th>"
             "<th scope=\"col\">Problem</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < json_array_size(first) && i < BAD_ROWS_SHOWN_MAX; i++) {
        const json_t *row = json_array_get(first, i);
        html_add(h, "<tr>");
        write_number(row, "line", h);
        html_add(h, "<td><bdi>");
        html_cut(h, jget_text(row, "problem"), 160);
        html_add(h, "</bdi></td></tr>\n");
    }
    html_add(h, "</tbody></table>\n");
}

static void write_facts(const json_t *profile, size_t columns, struct html *h)
{
    double missing = 0.0;
    html_add(h, "<dl class=\"facts\">\n");
    write_word("File", jget_text(profile, "file"), h);
    write_fact("Rows", profile, "rows", h);
    html_addf(h, "<div><dt>Columns</dt><dd>%zu</dd></div>\n", columns);
    if (jget_number(profile, "missing_fraction", &missing)) {
        html_add(h, "<div><dt>Missing cells</dt><dd>");
        html_share(h, missing);
        html_add(h, "</dd></div>\n");
    }
    write_fact("Bad rows", jget_object(profile, "bad_rows"), "count", h);
    html_add(h, "</dl>\n");
    write_bad_rows(profile, h);
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
    write_facts(profile, count, h);
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
