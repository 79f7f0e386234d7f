/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The checks of the data: results in Great Expectations' shape (its
 * ExpectationSuiteValidationResult).
 */
#include "worker/op/report.h"

#include <string.h>

#include "worker/op/jget.h"

#define KWARGS_SHOWN_MAX   8u
#define EXAMPLES_SHOWN_MAX 5u

static void write_value(const json_t *value, struct html *h)
{
    char text[256];
    if (json_is_string(value)) {
        html_cut(h, json_string_value(value), 60);
        return;
    }
    size_t len = json_dumpb(value, text, sizeof(text),
                            JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(10));
    text[len < sizeof(text) ? len : 0] = '\0';
    html_cut(h, len < sizeof(text) ? text : "(long)", 60);
}

static void write_kwargs(const json_t *kwargs, struct html *h)
{
    size_t shown = 0;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)kwargs, name, value)
    {
        if (strcmp(name, "column") == 0 || json_is_null(value) || shown++ >= KWARGS_SHOWN_MAX) {
            continue;
        }
        html_add(h, "<span class=\"pair\">");
        html_cut(h, name, 40);
        html_add(h, " <b><bdi>");
        write_value(value, h);
        html_add(h, "</bdi></b></span> ");
    }
}

static void write_outcome(const json_t *result, struct html *h)
{
    double count = 0.0;
    double percent = 0.0;
    const json_t *observed = json_object_get(result, "observed_value");
    if (observed != NULL) {
        html_add(h, "observed <bdi>");
        write_value(observed, h);
        html_add(h, "</bdi>");
    }
    if (jget_number(result, "unexpected_count", &count) && count > 0.0) {
        html_add(h, observed != NULL ? "; " : "");
        html_number(h, count);
        html_add(h, " unexpected");
        if (jget_number(result, "unexpected_percent", &percent)) {
            html_add(h, " (");
            html_share(h, percent / 100.0);
            html_add(h, ")");
        }
        json_t *examples = jget_array(result, "partial_unexpected_list");
        for (size_t i = 0; i < json_array_size(examples) && i < EXAMPLES_SHOWN_MAX; i++) {
            html_add(h, i == 0 ? ": <bdi>" : ", <bdi>");
            write_value(json_array_get(examples, i), h);
            html_add(h, "</bdi>");
        }
    }
}

/* "expect_column_values_to_be_between" without its first word, which they all share. */
static const char *short_type(const json_t *config)
{
    const char *type = jget_text(config, "expectation_type");
    type = type != NULL ? type : jget_text(config, "type");
    if (type == NULL) {
        return "?";
    }
    return strncmp(type, "expect_", 7) == 0 ? type + 7 : type;
}

static void write_check(const json_t *check, struct html *h)
{
    const json_t *config = jget_object(check, "expectation_config");
    const json_t *kwargs = jget_object(config, "kwargs");
    bool success = json_is_true(json_object_get(check, "success"));
    html_add(h, success ? "<tr><td class=\"verdict pass\">passed</td><td><bdi>"
                        : "<tr><td class=\"verdict fail\">failed</td><td><bdi>");
    html_cut(h, jget_text(kwargs, "column"), 80);
    html_add(h, "</bdi></td><th scope=\"row\">");
    for (const char *p = short_type(config); *p != '\0'; p++) {
        char word[2] = {*p == '_' ? ' ' : *p, '\0'};
        if ((unsigned char)*p < 0x80) {
            html_text(h, word);
        }
    }
    html_add(h, "<div class=\"quiet\">");
    write_kwargs(kwargs, h);
    html_add(h, "</div></th><td>");
    write_outcome(jget_object(check, "result"), h);
    html_cut(h, jget_text(jget_object(check, "exception_info"), "exception_message"), 200);
    html_add(h, "</td></tr>\n");
}

bool report_checks_write(const struct report *report, struct html *h)
{
    json_t *results = jget_array(report->in->validation, "results");
    size_t count = json_array_size(results);
    size_t passed = 0;
    if (count == 0) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        passed += json_is_true(json_object_get(json_array_get(results, i), "success"));
    }
    html_addf(h, "<p><span class=\"verdict %s\">%zu of %zu checks passed.</span></p>\n",
              passed == count ? "pass" : "fail", passed, count);
    html_add(
        h, "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">Result</th><th "
           "scope=\"col\">Column</th>"
           "<th scope=\"col\">Expectation</th><th scope=\"col\">Found</th></tr></thead><tbody>\n");
    for (size_t round = 0; round < 2; round++) { /* what failed comes first */
        for (size_t i = 0; i < count && i < REPORT_ROWS_MAX; i++) {
            const json_t *check = json_array_get(results, i);
            if (json_is_true(json_object_get(check, "success")) == (round == 1)) {
                write_check(check, h);
            }
        }
    }
    html_add(h, "</tbody></table></div>\n");
    return true;
}
