/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The evaluation: every metric, the confusion matrix, the commonest confusions, and a row per
 * class.
 */
#include "worker/op/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "worker/op/jget.h"
#include "worker/op/svg.h"

#define COUNTS_SHOWN_MAX  24u /* with more classes the cells are too small for a number */
#define WORST_MAX         10u
#define METRICS_SHOWN_MAX 60u

struct matrix {
    const json_t *labels;
    const json_t *rows; /* true classes; columns are predicted */
    size_t count;       /* classes */
    size_t shown;
    double cell;
    double left;
    double top;
};

struct confusion {
    size_t row;
    size_t col;
    double count;
    double row_total;
};

static double cell_count(const struct matrix *m, size_t row, size_t col)
{
    double value = 0.0;
    return jget_value_number(json_array_get(json_array_get(m->rows, row), col), &value) &&
                   value > 0.0
               ? value
               : 0.0;
}

static double row_total(const struct matrix *m, size_t row)
{
    double total = 0.0;
    for (size_t col = 0; col < m->count; col++) {
        total += cell_count(m, row, col);
    }
    return total;
}

/* A label may be a text or a number. */
static void add_label(const struct matrix *m, size_t i, size_t chars_max, struct html *h)
{
    const json_t *label = json_array_get(m->labels, i);
    double number = 0.0;
    if (json_is_string(label)) {
        html_cut(h, json_string_value(label), chars_max);
    } else if (jget_value_number(label, &number)) {
        html_addf(h, "%.10g", number);
    } else {
        html_addf(h, "%zu", i);
    }
}

static size_t longest_label(const struct matrix *m)
{
    size_t longest = 2;
    for (size_t i = 0; i < m->shown; i++) {
        size_t len = json_string_length(json_array_get(m->labels, i));
        longest = len > longest ? len : longest;
    }
    return longest > 14 ? 14 : longest;
}

static void draw_cell(const struct matrix *m, size_t row, size_t col, double total, struct html *h)
{
    double count = cell_count(m, row, col);
    if (count <= 0.0) {
        return;
    }
    /* The root makes a few mistakes among a thousand visible. */
    double share = total > 0.0 ? sqrt(count / total) : 0.0;
    double x = m->left + m->cell * (double)col;
    double y = m->top + m->cell * (double)row;
    double gap = m->cell > 12.0 ? 1.0 : 0.0;
    html_addf(h, "<g><title>true ");
    add_label(m, row, 60, h);
    html_add(h, ", predicted ");
    add_label(m, col, 60, h);
    html_addf(h,
              ": %.0f</title><rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
              "height=\"%.1f\" fill-opacity=\"%.3f\"/>",
              count, row == col ? "hit" : "miss", x + gap, y + gap, m->cell - 2.0 * gap,
              m->cell - 2.0 * gap, 0.12 + 0.8 * share);
    if (m->shown <= COUNTS_SHOWN_MAX) {
        html_addf(h, "<text class=\"count%s\" x=\"%.1f\" y=\"%.1f\">", share > 0.6 ? " on" : "",
                  x + m->cell / 2.0, y + m->cell / 2.0 + 4.0);
        html_addf(h, count >= 1e5 ? "%.1e" : "%.0f", count);
        html_add(h, "</text>");
    }
    html_add(h, "</g>\n");
}

static void draw_labels(const struct matrix *m, size_t chars, struct html *h)
{
    size_t every = m->cell >= 13.0 ? 1 : (size_t)ceil(13.0 / m->cell);
    bool slanted = (double)chars * 6.4 > m->cell * (double)every - 4.0;
    double side = m->cell * (double)m->shown;
    for (size_t i = 0; i < m->shown; i += every) {
        double middle = m->cell * ((double)i + 0.5);
        html_addf(h, "<text class=\"tick end\" x=\"%.1f\" y=\"%.1f\">", m->left - 7.0,
                  m->top + middle + 4.0);
        add_label(m, i, chars, h);
        html_addf(h, "</text><text class=\"tick %s\" transform=\"translate(%.1f %.1f)%s\">",
                  slanted ? "end" : "mid", m->left + middle + (slanted ? 4.0 : 0.0),
                  m->top + side + (slanted ? 12.0 : 17.0), slanted ? " rotate(-45)" : "");
        add_label(m, i, chars, h);
        html_add(h, "</text>\n");
    }
    double below = m->top + side + (slanted ? 20.0 + (double)chars * 4.9 : 38.0);
    html_addf(h, "<text class=\"tick mid\" x=\"%.1f\" y=\"%.1f\">predicted</text>",
              m->left + side / 2.0, below);
    html_addf(h,
              "<text class=\"tick mid\" transform=\"translate(11 %.1f) rotate(-90)\">true</text>\n",
              m->top + side / 2.0);
}

static void draw_matrix(struct matrix *m, struct html *h)
{
    size_t chars = longest_label(m);
    double side = 470.0;
    m->cell = side / (double)m->shown;
    m->cell = m->cell > 64.0 ? 64.0 : m->cell;
    side = m->cell * (double)m->shown;
    m->left = 34.0 + (double)chars * 6.6;
    m->top = 6.0;
    char desc[160];
    (void)snprintf(
        desc, sizeof(desc),
        "Rows are the true classes, columns the predicted ones; %zu of %zu classes are drawn.",
        m->shown, m->count);
    svg_open(h, &(struct svg_head){.id = "confusion",
                                   .width = m->left + side + 6.0,
                                   .height = m->top + side + 44.0 + (double)chars * 4.9,
                                   .title = "Confusion matrix",
                                   .desc = desc});
    html_addf(
        h,
        "<rect class=\"field\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"4\"/>\n",
        m->left - 1.0, m->top - 1.0, side + 2.0, side + 2.0);
    for (size_t row = 0; row < m->shown; row++) {
        double total = row_total(m, row);
        for (size_t col = 0; col < m->shown; col++) {
            draw_cell(m, row, col, total, h);
        }
    }
    draw_labels(m, chars, h);
    svg_close(h);
}

static size_t find_worst(const struct matrix *m, struct confusion worst[WORST_MAX])
{
    size_t found = 0;
    for (size_t row = 0; row < m->count; row++) {
        double total = row_total(m, row);
        for (size_t col = 0; col < m->count; col++) {
            double count = row == col ? 0.0 : cell_count(m, row, col);
            size_t at = found;
            while (at > 0 && worst[at - 1].count < count) {
                at--;
            }
            if (count <= 0.0 || at == WORST_MAX) {
                continue;
            }
            size_t moved = found < WORST_MAX ? found - at : WORST_MAX - 1 - at;
            memmove(&worst[at + 1], &worst[at], moved * sizeof(worst[0]));
            worst[at] =
                (struct confusion){.row = row, .col = col, .count = count, .row_total = total};
            found += found < WORST_MAX;
        }
    }
    return found;
}

static void write_worst(const struct matrix *m, struct html *h)
{
    struct confusion worst[WORST_MAX];
    size_t found = find_worst(m, worst);
    if (found == 0) {
        return;
    }
    html_add(h, "<div><h3>Most common confusions</h3>\n<table><thead><tr><th "
                "scope=\"col\">True</th><th scope=\"col\">Predicted</th>"
                "<th scope=\"col\" class=\"n\">Rows</th><th scope=\"col\" class=\"n\">of that "
                "class</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < found; i++) {
        html_add(h, "<tr><td><bdi>");
        add_label(m, worst[i].row, 60, h);
        html_add(h, "</bdi></td><td><bdi>");
        add_label(m, worst[i].col, 60, h);
        html_add(h, "</bdi></td><td class=\"n\">");
        html_number(h, worst[i].count);
        html_add(h, "</td><td class=\"n\">");
        html_share(h, worst[i].count / worst[i].row_total);
        html_add(h, "</td></tr>\n");
    }
    html_add(h, "</tbody></table></div>\n");
}

static bool read_matrix(const json_t *metrics, struct matrix *m)
{
    const json_t *confusion = jget_object(metrics, "confusion");
    *m = (struct matrix){.labels = jget_array(confusion, "labels"),
                         .rows = jget_array(confusion, "matrix")};
    m->count = json_array_size(m->rows);
    m->shown = m->count > REPORT_CLASSES_MAX ? REPORT_CLASSES_MAX : m->count;
    return m->count >= 2 && m->count <= 2000;
}

static void write_class(const json_t *row, struct html *h)
{
    static const char *const measures[] = {"precision", "recall", "f1"};
    double value = 0.0;
    html_add(h, "<tr><th scope=\"row\"><bdi>");
    const json_t *label = json_object_get(row, "label");
    label = label != NULL ? label : json_object_get(row, "class");
    if (json_is_string(label)) {
        html_cut(h, json_string_value(label), 120);
    } else if (jget_value_number(label, &value)) {
        html_addf(h, "%.10g", value);
    }
    html_add(h, "</bdi></th>");
    for (size_t i = 0; i < MLQ_COUNT_OF(measures); i++) {
        bool there = jget_number(row, measures[i], &value) && isfinite(value);
        html_add(h, "<td class=\"n\">");
        html_add(h, there ? "" : "-");
        if (there) {
            html_addf(h, "%.4f", value);
        }
        html_add(h, "</td>");
    }
    bool there = jget_number(row, "f1", &value) && value >= 0.0 && value <= 1.0;
    report_bar_write(there ? value : 0.0, h);
    html_add(h, "<td class=\"n\">");
    if (jget_number(row, "support", &value)) {
        html_number(h, value);
    }
    html_add(h, "</td></tr>\n");
}

static const char class_head[] =
    "<table><thead><tr><th scope=\"col\">Class</th><th scope=\"col\" class=\"n\">Precision</th>"
    "<th scope=\"col\" class=\"n\">Recall</th><th scope=\"col\" class=\"n\">F1</th><th "
    "scope=\"col\" class=\"bar\">"
    "<span class=\"hidden\">F1 as a bar</span></th><th scope=\"col\" "
    "class=\"n\">Rows</th></tr></thead><tbody>\n";

static double class_f1(const json_t *row)
{
    double f1 = 0.0;
    return jget_number(row, "f1", &f1) && isfinite(f1) ? f1 : 2.0; /* undefined comes last */
}

/* Of many classes, those with the least F1 are what one looks for. */
static void write_weakest(const json_t *classes, struct html *h)
{
    const json_t *weakest[WORST_MAX];
    size_t found = 0;
    for (size_t i = 0; i < json_array_size(classes); i++) {
        const json_t *row = json_array_get(classes, i);
        size_t at = found < WORST_MAX ? found++ : WORST_MAX;
        while (at > 0 && class_f1(row) < class_f1(weakest[at - 1])) {
            at--;
            if (at + 1 < WORST_MAX) {
                weakest[at + 1] = weakest[at];
            }
        }
        if (at < WORST_MAX) {
            weakest[at] = row;
        }
    }
    html_add(h, "<div><h3>Weakest classes</h3>\n");
    html_add(h, class_head);
    for (size_t i = 0; i < found; i++) {
        write_class(weakest[i], h);
    }
    html_add(h, "</tbody></table></div>\n");
}

static void write_all_classes(const json_t *classes, struct html *h)
{
    size_t count = json_array_size(classes);
    html_add(h, class_head);
    for (size_t i = 0; i < count && i < REPORT_ROWS_MAX; i++) {
        write_class(json_array_get(classes, i), h);
    }
    html_add(h, "</tbody></table>");
    if (count > REPORT_ROWS_MAX) {
        html_addf(h, "<p class=\"quiet\">%zu more classes stand in metrics.json.</p>",
                  count - REPORT_ROWS_MAX);
    }
}

static bool write_scalars(const json_t *metrics, struct html *h)
{
    size_t count = 0;
    const char *name;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)metrics, name, member)
    {
        double value = 0.0;
        char word[128];
        if (!jget_value_number(member, &value) || count >= METRICS_SHOWN_MAX) {
            continue;
        }
        html_add(h, count++ == 0 ? "<dl class=\"facts\">\n" : "");
        html_add(h, "<div><dt>");
        html_cut(h, report_model_pretty(name, word, sizeof(word)), 60);
        html_add(h, "</dt><dd>");
        html_number(h, value);
        html_add(h, "</dd></div>\n");
    }
    html_add(h, count > 0 ? "</dl>\n" : "");
    return count > 0;
}

static void write_matrix(struct matrix *m, struct html *h)
{
    html_add(h, "<figure><h3>Confusion matrix</h3>\n");
    draw_matrix(m, h);
    if (m->shown < m->count) {
        html_addf(h, "<figcaption class=\"quiet\">The first %zu of %zu classes.</figcaption>",
                  m->shown, m->count);
    }
    html_add(h, "</figure>\n");
}

/* Few classes: the matrix on the left, all classes on the right. Many: the weakest on the right,
 * and all of them folded below. */
static bool write_details(const json_t *metrics, struct html *h)
{
    struct matrix m;
    json_t *classes = jget_array(metrics, "per_class");
    size_t count = json_array_size(classes);
    bool has_matrix = read_matrix(metrics, &m);
    if (!has_matrix && count == 0) {
        return false;
    }
    html_add(h, "<div class=\"columns\">\n");
    if (has_matrix) {
        write_matrix(&m, h);
    }
    html_add(h, "<div>\n");
    if (count > COUNTS_SHOWN_MAX) {
        write_weakest(classes, h);
    } else if (count > 0) {
        html_add(h, "<div><h3>Per class</h3>\n");
        write_all_classes(classes, h);
        html_add(h, "</div>\n");
    }
    if (has_matrix) {
        write_worst(&m, h);
    }
    html_add(h, "</div></div>\n");
    if (count > COUNTS_SHOWN_MAX) {
        html_addf(h, "<details><summary>All %zu classes</summary>\n", count);
        write_all_classes(classes, h);
        html_add(h, "</details>\n");
    }
    return true;
}

bool report_eval_write(const struct report *report, struct html *h)
{
    const json_t *metrics = report->in->metrics;
    metrics = metrics != NULL ? metrics : report_model_metrics_of(report, "eval.metrics");
    bool any = write_scalars(metrics, h);
    any = write_details(metrics, h) || any;
    return report_binary_write(report, h) || any;
}
