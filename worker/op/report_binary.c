/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Two classes: the ROC curve, and the calibration of the positive class's probability (a
 * reliability diagram: DeGroot and Fienberg 1983), as eval.metrics gives them under "roc" and
 * "calibration".
 */
#include "worker/op/report.h"

#include <math.h>
#include <stdio.h>

#include "worker/op/jget.h"
#include "worker/op/svg.h"

#define SIDE     260.0
#define LEFT     54.0
#define TOP      34.0
#define WIDTH    360.0
#define HEIGHT   342.0
#define BINS_MAX 100u

/* Both axes go from 0 to 1. */
static double x_of(double x)
{
    return LEFT + fmin(1.0, fmax(0.0, x)) * SIDE;
}

static double y_of(double y)
{
    return TOP + (1.0 - fmin(1.0, fmax(0.0, y))) * SIDE;
}

static void draw_square(const char *title, const char *x_label, const char *y_label, struct html *h)
{
    html_addf(h, "<text class=\"head\" x=\"0\" y=\"15\">%s</text>\n", title);
    for (int i = 0; i <= 4; i++) {
        double value = 0.25 * i;
        html_addf(h, "<line class=\"%s\" x1=\"%.0f\" x2=\"%.0f\" y1=\"%.1f\" y2=\"%.1f\"/>",
                  i == 0 ? "axis" : "rule", LEFT, LEFT + SIDE, y_of(value), y_of(value));
        html_addf(h, "<text class=\"tick end\" x=\"%.0f\" y=\"%.1f\">%.2f</text>", LEFT - 9.0,
                  y_of(value) + 4.0, value);
        html_addf(h, "<text class=\"tick mid\" x=\"%.1f\" y=\"%.1f\">%.2f</text>\n", x_of(value),
                  TOP + SIDE + 18.0, value);
    }
    html_addf(h, "<line class=\"guide\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
              x_of(0), y_of(0), x_of(1), y_of(1));
    html_addf(h, "<text class=\"tick mid\" x=\"%.1f\" y=\"%.1f\">%s</text>", x_of(0.5),
              HEIGHT - 8.0, x_label);
    html_addf(h,
              "<text class=\"tick mid\" transform=\"translate(11 %.1f) rotate(-90)\">%s</text>\n",
              y_of(0.5), y_label);
}

/* Points that lie nearer than half a pixel to the last one drawn are left out. */
static void draw_roc(const json_t *fpr, const json_t *tpr, struct html *h)
{
    double last_x = -1e9;
    double last_y = -1e9;
    size_t count = json_array_size(fpr);
    html_add(h, "<path class=\"curve c0\" d=\"");
    bool pen_down = false;
    for (size_t i = 0; i < count; i++) {
        double x = 0.0;
        double y = 0.0;
        if (!jget_value_number(json_array_get(fpr, i), &x) ||
            !jget_value_number(json_array_get(tpr, i), &y) || !isfinite(x) || !isfinite(y)) {
            continue;
        }
        x = x_of(x);
        y = y_of(y);
        if (i + 1 < count && fabs(x - last_x) + fabs(y - last_y) < 0.5) {
            continue;
        }
        html_addf(h, "%s%.1f,%.1f", pen_down ? "L" : "M", x, y);
        pen_down = true;
        last_x = x;
        last_y = y;
    }
    html_add(h, "\"/>\n");
}

static bool write_roc(const json_t *metrics, struct html *h)
{
    const json_t *roc = jget_object(metrics, "roc");
    json_t *fpr = jget_array(roc, "fpr");
    json_t *tpr = jget_array(roc, "tpr");
    double area = 0.0;
    char desc[128];
    if (json_array_size(fpr) < 2 || json_array_size(fpr) != json_array_size(tpr)) {
        return false;
    }
    bool known = jget_number(metrics, "roc_auc", &area);
    (void)snprintf(desc, sizeof(desc),
                   known ? "The area under the curve is %.4f."
                         : "The area under the curve is not known.",
                   area);
    html_add(h, "<figure>");
    svg_open(
        h, &(struct svg_head){
               .id = "roc", .width = WIDTH, .height = HEIGHT, .title = "ROC curve", .desc = desc});
    draw_square("ROC curve", "false positive rate", "true positive rate", h);
    draw_roc(fpr, tpr, h);
    if (known) {
        html_addf(h, "<text class=\"note end\" x=\"%.1f\" y=\"%.1f\">area %.4f</text>\n",
                  x_of(1) - 8.0, y_of(0) - 10.0, area);
    }
    svg_close(h);
    html_add(h, "</figure>\n");
    return true;
}

static void draw_bins(const json_t *bins, struct html *h)
{
    double most = 1.0;
    double count = 0.0;
    for (size_t i = 0; i < json_array_size(bins) && i < BINS_MAX; i++) {
        most = jget_number(json_array_get(bins, i), "count", &count) ? fmax(most, count) : most;
    }
    for (size_t i = 0; i < json_array_size(bins) && i < BINS_MAX; i++) {
        const json_t *bin = json_array_get(bins, i);
        double predicted = 0.0;
        double observed = 0.0;
        if (!jget_number(bin, "predicted", &predicted) ||
            !jget_number(bin, "observed", &observed) || !jget_number(bin, "count", &count) ||
            !isfinite(predicted) || !isfinite(observed) || !(count >= 0.0)) {
            continue;
        }
        html_addf(h,
                  "<circle class=\"bubble\" cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"><title>predicted "
                  "%.3f, observed %.3f, ",
                  x_of(predicted), y_of(observed), 3.0 + 7.0 * sqrt(count / most), predicted,
                  observed);
        html_addf(h, "%.0f rows</title></circle>\n", count);
    }
}

static bool write_calibration(const json_t *metrics, struct html *h)
{
    const json_t *calibration = jget_object(metrics, "calibration");
    json_t *bins = jget_array(calibration, "bins");
    if (json_array_size(bins) == 0) {
        return false;
    }
    html_add(h, "<figure>");
    svg_open(h,
             &(struct svg_head){
                 .id = "calibration",
                 .width = WIDTH,
                 .height = HEIGHT,
                 .title = "Calibration",
                 .desc = "How often the positive class was observed, by the probability that was "
                         "predicted. A larger circle stands for more rows; on the diagonal the "
                         "probabilities are right."});
    draw_square("Calibration", "predicted probability", "observed share", h);
    draw_bins(bins, h);
    svg_close(h);
    html_add(h, "</figure>\n");
    return true;
}

bool report_binary_write(const struct report *report, struct html *h)
{
    const json_t *metrics = report->in->metrics;
    const char *positive = jget_text(jget_object(metrics, "roc"), "positive");
    struct html drawings = {.full = false};
    bool any = write_roc(metrics, &drawings);
    any = write_calibration(metrics, &drawings) || any;
    if (any) {
        html_add(h, "<div class=\"panels\">\n");
        html_add(h, drawings.bytes);
        html_add(h, "</div>\n");
    }
    if (any && positive != NULL) {
        html_add(h, "<p class=\"quiet below\">Positive class: <bdi>");
        html_cut(h, positive, 80);
        html_add(h, "</bdi></p>\n");
    }
    html_fini(&drawings);
    return any;
}
