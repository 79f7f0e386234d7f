/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A learning-rate range test: the loss over the rate, as range_test.json of train.native has it
 * (op_train_range.h), with the rates that it suggests. Rates are on a logarithmic axis.
 */
#include "worker/op/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "worker/op/jget.h"
#include "worker/op/svg.h"

#define WIDTH       640.0
#define HEIGHT      330.0
#define LEFT        54.0
#define RIGHT       14.0
#define TOP         44.0
#define BOTTOM      42.0
#define POINTS_MAX  10000u
#define DECADES_MAX 40

struct point {
    double log_rate;
    double loss;
    double smoothed;
};

struct panel {
    struct point *points;
    size_t count;
    double x0, x1; /* logarithms to base 10 */
    double y0, y1;
    struct svg_ticks ticks;
};

/* What is no point is passed over. */
static void read_points(const struct report *report, const json_t *list, struct panel *p)
{
    size_t room = json_array_size(list), i;
    json_t *item;
    room = room > POINTS_MAX ? POINTS_MAX : room;
    p->points = mlq_region_array(report->region, room + 1, sizeof(*p->points));
    json_array_foreach(list, i, item)
    {
        double rate = 0.0;
        struct point point;
        if (p->count < room && jget_number(item, "rate", &rate) && rate > 1e-15 && rate < 1e9 &&
            jget_number(item, "loss", &point.loss) && isfinite(point.loss) &&
            jget_number(item, "smoothed", &point.smoothed) && isfinite(point.smoothed)) {
            point.log_rate = log10(rate);
            p->points[p->count++] = point;
        }
    }
}

/* The losses of single steps are cut where they are far above the smoothed curve. */
static bool set_ranges(struct panel *p)
{
    p->x0 = p->y0 = (double)INFINITY;
    p->x1 = p->y1 = -(double)INFINITY;
    for (size_t i = 0; i < p->count; i++) {
        p->x0 = fmin(p->x0, p->points[i].log_rate);
        p->x1 = fmax(p->x1, p->points[i].log_rate);
        p->y0 = fmin(p->y0, fmin(p->points[i].smoothed, p->points[i].loss));
        p->y1 = fmax(p->y1, p->points[i].smoothed);
    }
    if (!(p->x1 > p->x0)) {
        return false;
    }
    p->ticks = svg_ticks_make(p->y0, p->y1, 5);
    p->y0 = p->ticks.first;
    p->y1 = p->ticks.first + p->ticks.step * (double)(p->ticks.count - 1);
    return true;
}

static double x_of(const struct panel *p, double log_rate)
{
    return LEFT + (log_rate - p->x0) / (p->x1 - p->x0) * (WIDTH - LEFT - RIGHT);
}

static double y_of(const struct panel *p, double loss)
{
    double share = fmin(1.0, fmax(0.0, (loss - p->y0) / (p->y1 - p->y0)));
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);
}

static void draw_axes(const struct panel *p, struct html *h)
{
    for (size_t i = 0; i < p->ticks.count; i++) {
        double value = p->ticks.first + p->ticks.step * (double)i, y = y_of(p, value);
        html_addf(h, "<line class=\"%s\" x1=\"%.0f\" x2=\"%.0f\" y1=\"%.1f\" y2=\"%.1f\"/>",
                  i == 0 ? "axis" : "rule", LEFT, WIDTH - RIGHT, y, y);
        html_addf(h, "<text class=\"tick end\" x=\"%.0f\" y=\"%.1f\">%.4g</text>\n", LEFT - 9.0,
                  y + 4.0, value);
    }
    int first = (int)ceil(p->x0 - 1e-9), last = (int)floor(p->x1 + 1e-9);
    for (int decade = first; decade <= last && decade < first + DECADES_MAX; decade++) {
        double x = x_of(p, decade);
        html_addf(h, "<line class=\"rule\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.0f\" y2=\"%.0f\"/>", x, x,
                  TOP, HEIGHT - BOTTOM);
        html_addf(h, "<text class=\"tick mid\" x=\"%.1f\" y=\"%.1f\">1e%d</text>\n", x,
                  HEIGHT - BOTTOM + 18.0, decade);
    }
    html_addf(h, "<text class=\"tick mid\" x=\"%.1f\" y=\"%.1f\">learning rate</text>\n",
              LEFT + (WIDTH - LEFT - RIGHT) / 2.0, HEIGHT - 6.0);
}

static void draw_curve(const struct panel *p, bool is_smoothed, struct html *h)
{
    size_t stride = (p->count + REPORT_POINTS_MAX - 1) / REPORT_POINTS_MAX;
    html_addf(h, "<path class=\"curve %s\" d=\"", is_smoothed ? "c0" : "c0 faint");
    for (size_t i = 0; i < p->count; i += stride) {
        const struct point *point = &p->points[i];
        html_addf(h, "%s%.1f,%.1f", i == 0 ? "M" : "L", x_of(p, point->log_rate),
                  y_of(p, is_smoothed ? point->smoothed : point->loss));
    }
    html_add(h, "\"/>\n");
}

/* `row` keeps the words of two marks apart. */
static void draw_mark(const struct panel *p, const json_t *suggestion, const char *word, int row,
                      struct html *h)
{
    double rate = 0.0;
    if (!jget_number(suggestion, "rate", &rate) || !(rate > 0.0)) {
        return;
    }
    double x = x_of(p, log10(rate));
    if (x < LEFT || x > WIDTH - RIGHT) {
        return;
    }
    bool left = x > WIDTH * 0.72;
    html_addf(h, "<line class=\"best\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>", x, x,
              TOP - 4.0, HEIGHT - BOTTOM);
    html_addf(h, "<text class=\"note%s\" x=\"%.1f\" y=\"%.1f\">%s: %.2g</text>\n",
              left ? " end" : "", x + (left ? -6.0 : 6.0), TOP + 6.0 + 16.0 * row, word, rate);
}

static const char *explain_end(const json_t *test)
{
    const char *end = jget_text(test, "end");
    end = end == NULL ? "" : end;
    return strcmp(end, "rose") == 0         ? "it ended when the loss was over four times its least"
           : strcmp(end, "not_finite") == 0 ? "it ended when the loss was no number any more"
                                            : "it ended with its last step";
}

static void draw(const struct panel *p, const json_t *suggestions, struct html *h)
{
    char desc[200];
    (void)snprintf(desc, sizeof(desc),
                   "Smoothed loss over %zu steps, from rate %.3g to %.3g: from %.4g to %.4g.",
                   p->count, pow(10.0, p->x0), pow(10.0, p->x1), p->points[0].smoothed,
                   p->points[p->count - 1].smoothed);
    svg_open(h, &(struct svg_head){.id = "range",
                                   .width = WIDTH,
                                   .height = HEIGHT,
                                   .title = "Loss over the learning rate",
                                   .desc = desc});
    html_add(h, "<text class=\"head\" x=\"0\" y=\"19\">Loss over the learning rate</text>\n");
    draw_axes(p, h);
    draw_curve(p, false, h);
    draw_curve(p, true, h);
    draw_mark(p, json_object_get(suggestions, "steepest"), "steepest", 0, h);
    draw_mark(p, json_object_get(suggestions, "minimum_10"), "minimum / 10", 1, h);
    svg_close(h);
}

bool report_range_write(const struct report *report, struct html *h)
{
    const json_t *test = report->in->range_test;
    struct panel panel = {.count = 0};
    read_points(report, jget_array(test, "points"), &panel);
    if (!set_ranges(&panel)) {
        return false;
    }
    html_addf(
        h,
        "<p class=\"quiet\">%zu steps in which the rate grew by the same factor each time; %s. "
        "The thick line is the smoothed loss, the thin one that of each step. Usual rates to "
        "start from are where it falls most, and a tenth of the one where it is least.</p>\n"
        "<figure>",
        panel.count, explain_end(test));
    draw(&panel, jget_object(test, "suggestions"), h);
    html_add(h, "</figure>\n");
    return true;
}
