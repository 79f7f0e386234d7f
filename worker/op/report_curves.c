/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Learning curves. Metrics that differ only in the word before them (train_loss, val_loss) share a
 * panel. The values come from history.json (an array of one object per epoch, which may lie under
 * "epochs", or an object of arrays; "unit" says what an epoch is called), or else from the steps of
 * the record.
 */
#include "worker/op/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "worker/op/jget.h"
#include "worker/op/svg.h"

#define CURVES_MAX 64u
#define VALUES_MAX 100000u /* read of one curve */

struct curve {
    const char *stage; /* "" from history.json */
    const char *name;
    const char *part; /* "train", "val", "test" or "" */
    const char *key;  /* the name without the part */
    double *steps;
    double *values;
    size_t count;
    bool drawn;
};

struct curves {
    const struct report *report;
    struct curve all[CURVES_MAX];
    size_t count;
    bool has_best;
    double best_step;
    const char *unit; /* of steps */
    bool many_stages;
};

struct panel {
    const struct curve *curves[4];
    size_t count;
    const char *unit;
    double x0, x1, y0, y1; /* the range shown */
    struct svg_ticks xt, yt;
};

static bool is_axis(const char *name)
{
    /* Neither the step nor what tells of speed rather than of learning. */
    static const char *const axes[] = {"epoch",     "step", "seconds",       "time",
                                       "elapsed_s", "lr",   "learning_rate", "samples_per_second"};
    for (size_t i = 0; i < MLQ_COUNT_OF(axes); i++) {
        if (strcmp(name, axes[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void split_name(struct curve *curve)
{
    static const struct {
        const char *prefix;
        const char *part;
    } parts[] = {{"train_", "train"},      {"training_", "train"},        {"val_", "validation"},
                 {"valid_", "validation"}, {"validation_", "validation"}, {"test_", "test"}};
    curve->part = "";
    curve->key = curve->name;
    for (size_t i = 0; i < MLQ_COUNT_OF(parts); i++) {
        size_t len = strlen(parts[i].prefix);
        if (strncmp(curve->name, parts[i].prefix, len) == 0 && curve->name[len] != '\0') {
            curve->part = parts[i].part;
            curve->key = curve->name + len;
            return;
        }
    }
}

/* The curve of (stage, name) with room for `room` values, or NULL when there are too many curves.
 */
static struct curve *find_curve(struct curves *c, const char *stage, const char *name, size_t room)
{
    for (size_t i = 0; i < c->count; i++) {
        if (strcmp(c->all[i].stage, stage) == 0 && strcmp(c->all[i].name, name) == 0) {
            return &c->all[i];
        }
    }
    if (c->count == CURVES_MAX || is_axis(name)) {
        return NULL;
    }
    struct curve *curve = &c->all[c->count++];
    *curve = (struct curve){.stage = stage, .name = name};
    room = room > VALUES_MAX ? VALUES_MAX : room;
    curve->steps = mlq_region_array(c->report->region, room + 1, sizeof(double));
    curve->values = mlq_region_array(c->report->region, room + 1, sizeof(double));
    split_name(curve);
    return curve;
}

static void add_value(struct curve *curve, size_t room, double step, double value)
{
    room = room > VALUES_MAX ? VALUES_MAX : room;
    if (curve != NULL && curve->count < room && isfinite(step)) {
        curve->steps[curve->count] = step;
        curve->values[curve->count++] = value;
    }
}

static void read_epochs(struct curves *c, json_t *epochs)
{
    size_t room = json_array_size(epochs);
    size_t i;
    json_t *epoch;
    json_array_foreach(epochs, i, epoch)
    {
        double step = (double)i + 1.0;
        if (!jget_number(epoch, "epoch", &step)) {
            (void)jget_number(epoch, "step", &step);
        }
        const char *name;
        json_t *member;
        json_object_foreach((json_t *)epoch, name, member)
        {
            double value = 0.0;
            if (jget_value_number(member, &value)) {
                add_value(find_curve(c, "", name, room), room, step, value);
            }
        }
    }
}

static void read_history_file(struct curves *c, const json_t *history)
{
    const char *unit = jget_text(history, "unit");
    c->unit =
        unit != NULL && strcmp(unit, "round") == 0 ? "round" : "epoch"; /* goes out unescaped */
    c->has_best = jget_number(history, "best_epoch", &c->best_step);
    json_t *epochs =
        json_is_array(history) ? (json_t *)(uintptr_t)history : jget_array(history, "epochs");
    if (epochs != NULL) {
        read_epochs(c, epochs);
        return;
    }
    const char *name;
    json_t *values;
    json_object_foreach((json_t *)(uintptr_t)history, name, values)
    {
        size_t i;
        json_t *item;
        size_t room = json_array_size(values);
        struct curve *curve = room < 2 ? NULL : find_curve(c, "", name, room);
        json_array_foreach(values, i, item)
        {
            double value = 0.0;
            if (jget_value_number(item, &value)) {
                add_value(curve, room, (double)i + 1.0, value);
            }
        }
    }
}

static void read_record_stage(struct curves *c, const char *stage, json_t *metrics)
{
    const char *name;
    json_t *points;
    json_object_foreach(metrics, name, points)
    {
        size_t i;
        json_t *point;
        size_t room = json_array_size(points);
        struct curve *curve = room < 2 ? NULL : find_curve(c, stage, name, room);
        json_array_foreach(points, i, point)
        {
            double step = 0.0;
            double value = 0.0;
            if (jget_value_number(json_array_get(point, 0), &step) &&
                jget_value_number(json_array_get(point, 1), &value)) {
                add_value(curve, room, step, value);
            }
        }
    }
}

static void read_record(struct curves *c, const json_t *record)
{
    json_t *history = jget_object(record, "history");
    if (history == NULL) {
        history = jget_object(jget_object(record, "job"), "history");
    }
    const char *first = NULL;
    const char *stage;
    json_t *metrics;
    json_object_foreach(history, stage, metrics)
    {
        size_t before = c->count;
        read_record_stage(c, stage, metrics);
        if (c->count > before) {
            c->many_stages = first != NULL;
            first = stage;
        }
    }
}

/* Without a word from the trainer, the best epoch is that of the least validation loss. */
static void find_best(struct curves *c)
{
    for (size_t i = 0; i < c->count && !c->has_best && !c->many_stages; i++) {
        const struct curve *curve = &c->all[i];
        if (strcmp(curve->part, "validation") != 0 || strcmp(curve->key, "loss") != 0) {
            continue;
        }
        double least = (double)INFINITY;
        for (size_t k = 0; k < curve->count; k++) {
            if (curve->values[k] < least) {
                least = curve->values[k];
                c->best_step = curve->steps[k];
                c->has_best = true;
            }
        }
    }
}

static bool collect_panel(struct curves *c, size_t first, struct panel *panel)
{
    *panel = (struct panel){.unit = c->unit == NULL ? "epoch" : c->unit,
                            .x0 = (double)INFINITY,
                            .x1 = -(double)INFINITY,
                            .y0 = (double)INFINITY,
                            .y1 = -(double)INFINITY};
    for (size_t i = first; i < c->count && panel->count < MLQ_COUNT_OF(panel->curves); i++) {
        struct curve *curve = &c->all[i];
        if (curve->drawn || strcmp(curve->key, c->all[first].key) != 0 ||
            strcmp(curve->stage, c->all[first].stage) != 0) {
            continue;
        }
        curve->drawn = true;
        panel->curves[panel->count++] = curve;
        for (size_t k = 0; k < curve->count; k++) {
            panel->x0 = fmin(panel->x0, curve->steps[k]);
            panel->x1 = fmax(panel->x1, curve->steps[k]);
            if (isfinite(curve->values[k])) {
                panel->y0 = fmin(panel->y0, curve->values[k]);
                panel->y1 = fmax(panel->y1, curve->values[k]);
            }
        }
    }
    if (!(panel->x1 > panel->x0) || !(panel->y1 >= panel->y0)) {
        return false;
    }
    panel->yt = svg_ticks_make(panel->y0, panel->y1, 5);
    panel->xt = svg_ticks_make(panel->x0, panel->x1, 6);
    if (panel->xt.step < 1.0) {
        panel->xt = (struct svg_ticks){
            .step = 1.0, .first = panel->x0, .count = (size_t)(panel->x1 - panel->x0) + 1};
    }
    panel->y0 = panel->yt.first;
    panel->y1 = panel->yt.first + panel->yt.step * (double)(panel->yt.count - 1);
    return true;
}

#define PANEL_W 520.0
#define PANEL_H 290.0
#define LEFT    54.0
#define RIGHT   14.0
#define TOP     44.0
#define BOTTOM  42.0

static double x_of(const struct panel *p, double step)
{
    return LEFT + (step - p->x0) / (p->x1 - p->x0) * (PANEL_W - LEFT - RIGHT);
}

static double y_of(const struct panel *p, double value)
{
    return PANEL_H - BOTTOM - (value - p->y0) / (p->y1 - p->y0) * (PANEL_H - TOP - BOTTOM);
}

/* The colour's class: the same part has the same colour in every panel. */
static size_t colour_of(const struct panel *p, size_t index)
{
    static const char *const parts[] = {"train", "validation", "test"};
    for (size_t i = 0; i < MLQ_COUNT_OF(parts); i++) {
        if (strcmp(p->curves[index]->part, parts[i]) == 0) {
            return i;
        }
    }
    return index;
}

static void draw_y_label(const struct panel *p, double value, double y, struct html *h)
{
    double most = fmax(fabs(p->y0), fabs(p->y1));
    html_addf(h, "<text class=\"tick end\" x=\"%.0f\" y=\"%.1f\">", LEFT - 9.0, y);
    if (fabs(value) < p->yt.step * 1e-6) {
        html_add(h, "0");
    } else if (p->yt.decimals > 5 || most >= 1e9) {
        html_addf(h, "%.3g", value);
    } else if (most >= 1e4) {
        html_addf(h, "%gk", value / 1e3);
    } else {
        html_addf(h, "%.*f", p->yt.decimals, value);
    }
    html_add(h, "</text>\n");
}

static void draw_axes(const struct panel *p, struct html *h)
{
    for (size_t i = 0; i < p->yt.count; i++) {
        double value = p->yt.first + p->yt.step * (double)i;
        double y = y_of(p, value);
        html_addf(h, "<line class=\"%s\" x1=\"%.0f\" x2=\"%.0f\" y1=\"%.1f\" y2=\"%.1f\"/>",
                  i == 0 ? "axis" : "rule", LEFT, PANEL_W - RIGHT, y, y);
        draw_y_label(p, value, y + 4.0, h);
    }
    for (size_t i = 0; i < p->xt.count; i++) {
        double step = p->xt.first + p->xt.step * (double)i;
        if (step < p->x0 || step > p->x1) {
            continue;
        }
        html_addf(h, "<text class=\"tick mid\" x=\"%.1f\" y=\"%.1f\">%.0f</text>", x_of(p, step),
                  PANEL_H - BOTTOM + 18.0, step);
    }
    html_addf(h, "<text class=\"tick mid\" x=\"%.1f\" y=\"%.1f\">%s</text>\n",
              LEFT + (PANEL_W - LEFT - RIGHT) / 2.0, PANEL_H - 6.0, p->unit);
}

static void add_point(const struct panel *p, const struct curve *curve, size_t k, bool *pen_down,
                      struct html *h)
{
    if (!isfinite(curve->values[k])) {
        *pen_down = false;
        return;
    }
    html_addf(h, "%s%.1f,%.1f", *pen_down ? "L" : "M", x_of(p, curve->steps[k]),
              y_of(p, curve->values[k]));
    *pen_down = true;
}

/* A long curve is cut into buckets of which the least and the greatest value are drawn, so that
 * peaks stay. */
static void draw_curve(const struct panel *p, size_t index, struct html *h)
{
    const struct curve *curve = p->curves[index];
    bool pen_down = false;
    size_t bucket = (curve->count + REPORT_POINTS_MAX / 2 - 1) / (REPORT_POINTS_MAX / 2);
    html_addf(h, "<path class=\"curve c%zu\" d=\"", colour_of(p, index));
    if (curve->count <= REPORT_POINTS_MAX) {
        bucket = 1;
    }
    for (size_t from = 0; from < curve->count; from += bucket) {
        size_t low = from;
        size_t high = from;
        for (size_t k = from; k < from + bucket && k < curve->count; k++) {
            low = !(curve->values[k] >= curve->values[low]) ? k : low;
            high = !(curve->values[k] <= curve->values[high]) ? k : high;
        }
        add_point(p, curve, low < high ? low : high, &pen_down, h);
        if (low != high) {
            add_point(p, curve, low < high ? high : low, &pen_down, h);
        }
    }
    html_add(h, "\"/>\n");
}

/* The curves of training and validation, when the panel has both over the same steps. */
static bool find_pair(const struct panel *p, const struct curve **train, const struct curve **held)
{
    *train = *held = NULL;
    for (size_t i = 0; i < p->count; i++) {
        *train = strcmp(p->curves[i]->part, "train") == 0 ? p->curves[i] : *train;
        *held = strcmp(p->curves[i]->part, "validation") == 0 ? p->curves[i] : *held;
    }
    bool both = *train != NULL && *held != NULL && (*train)->count == (*held)->count;
    for (size_t k = 0; both && k < (*train)->count; k++) {
        both = (*train)->steps[k] == (*held)->steps[k] && isfinite((*train)->values[k]) &&
               isfinite((*held)->values[k]);
    }
    return both;
}

/* What lies between the two, shaded: there along the one, back along the other. */
static void draw_gap(const struct panel *p, struct html *h)
{
    const struct curve *train = NULL, *held = NULL;
    if (!find_pair(p, &train, &held)) {
        return;
    }
    size_t count = train->count, stride = (count + REPORT_POINTS_MAX - 1) / REPORT_POINTS_MAX;
    html_add(h, "<path class=\"gap\" d=\"");
    for (size_t k = 0; k < count; k += stride) {
        html_addf(h, "%s%.1f,%.1f", k == 0 ? "M" : "L", x_of(p, train->steps[k]),
                  y_of(p, train->values[k]));
    }
    for (size_t k = (count - 1) / stride * stride + stride; k >= stride; k -= stride) {
        html_addf(h, "L%.1f,%.1f", x_of(p, held->steps[k - stride]),
                  y_of(p, held->values[k - stride]));
    }
    html_add(h, "Z\"/>\n");
}

/* In words, at the best epoch or else the last. */
static void write_gap(const struct curves *c, const struct panel *p, struct html *h)
{
    const struct curve *train = NULL, *held = NULL;
    if (!find_pair(p, &train, &held) || train->count == 0) {
        return;
    }
    size_t at = train->count - 1;
    for (size_t k = 0; k < train->count; k++) {
        at = c->has_best && train->steps[k] == c->best_step ? k : at;
    }
    html_addf(h, "<figcaption class=\"quiet\">Gap at %s %.0f: validation ", p->unit,
              train->steps[at]);
    html_number(h, held->values[at]);
    html_add(h, ", training ");
    html_number(h, train->values[at]);
    html_add(h, held->values[at] >= train->values[at] ? ", +" : ", \xe2\x88\x92");
    html_number(h, fabs(held->values[at] - train->values[at]));
    html_add(h, "</figcaption>\n");
}

static void draw_best(const struct curves *c, const struct panel *p, struct html *h)
{
    size_t shown = p->count > 1 && strcmp(p->curves[1]->part, "validation") == 0 ? 1 : 0;
    const struct curve *curve = p->curves[shown];
    bool judges = strcmp(curve->part, "validation") == 0; /* the norm of a gradient does not */
    for (size_t k = 0; k < curve->count && c->has_best && judges; k++) {
        if (curve->steps[k] != c->best_step || !isfinite(curve->values[k])) {
            continue;
        }
        double x = x_of(p, curve->steps[k]);
        bool left = x > PANEL_W * 0.72;
        html_addf(h, "<line class=\"best\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>", x, x,
                  TOP - 4.0, PANEL_H - BOTTOM);
        html_addf(h, "<circle class=\"dot c%zu\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\"/>",
                  colour_of(p, shown), x, y_of(p, curve->values[k]));
        double y = y_of(p, curve->values[k]); /* the words keep away from the curve */
        y = y < (TOP + PANEL_H - BOTTOM) / 2.0 ? PANEL_H - BOTTOM - 9.0 : TOP + 6.0;
        html_addf(h, "<text class=\"note%s\" x=\"%.1f\" y=\"%.1f\">best: %s %.0f, ",
                  left ? " end" : "", x + (left ? -6.0 : 6.0), y, p->unit, curve->steps[k]);
        html_number(h, curve->values[k]);
        html_add(h, "</text>\n");
        return;
    }
}

static void draw_legend(const struct panel *p, struct html *h)
{
    double x = PANEL_W - RIGHT;
    if (p->count == 1 && p->curves[0]->part[0] == '\0') {
        return; /* the title says it */
    }
    for (size_t k = p->count; k-- > 0;) {
        const char *part = p->curves[k]->part[0] == '\0' ? p->curves[k]->key : p->curves[k]->part;
        size_t chars = strlen(part) > 16 ? 16 : strlen(part);
        x -= (double)chars * 6.6;
        html_addf(h, "<text class=\"legend\" x=\"%.1f\" y=\"19\">", x);
        html_cut(h, part, 16);
        html_addf(
            h, "</text><line class=\"curve c%zu\" x1=\"%.1f\" x2=\"%.1f\" y1=\"15\" y2=\"15\"/>\n",
            colour_of(p, k), x - 22.0, x - 6.0);
        x -= 36.0;
    }
}

static void draw_panel(const struct curves *c, const struct panel *p, size_t number, struct html *h)
{
    char word[128];
    char id[32];
    char desc[400];
    const char *name = report_model_pretty(p->curves[0]->key, word, sizeof(word));
    (void)snprintf(id, sizeof(id), "curve%zu", number);
    int used = snprintf(desc, sizeof(desc), "%zu curve%s over %ss %.0f to %.0f.", p->count,
                        p->count == 1 ? "" : "s", p->unit, p->x0, p->x1);
    for (size_t i = 0; i < p->count && used > 0 && (size_t)used < sizeof(desc); i++) {
        const struct curve *curve = p->curves[i];
        used += snprintf(desc + used, sizeof(desc) - (size_t)used, " %.64s ends at %.4g.",
                         curve->name, curve->values[curve->count - 1]);
    }
    const char *title =
        mlq_region_format(c->report->region, "%s%s%s", c->many_stages ? p->curves[0]->stage : "",
                          c->many_stages ? ": " : "", name);
    svg_open(h, &(struct svg_head){
                    .id = id, .width = PANEL_W, .height = PANEL_H, .title = title, .desc = desc});
    html_add(h, "<text class=\"head\" x=\"0\" y=\"19\">");
    html_cut(h, title, 34);
    html_add(h, "</text>\n");
    draw_axes(p, h);
    draw_gap(p, h);
    draw_legend(p, h);
    for (size_t i = 0; i < p->count; i++) {
        draw_curve(p, i, h);
    }
    draw_best(c, p, h);
    svg_close(h);
}

/* Loss first, then accuracy, then the rest as they came. */
static size_t next_curve(const struct curves *c)
{
    static const char *const first[] = {"loss", "accuracy", "r2", "rmse"};
    for (size_t f = 0; f < MLQ_COUNT_OF(first); f++) {
        for (size_t i = 0; i < c->count; i++) {
            if (!c->all[i].drawn && strcmp(c->all[i].key, first[f]) == 0) {
                return i;
            }
        }
    }
    for (size_t i = 0; i < c->count; i++) {
        if (!c->all[i].drawn) {
            return i;
        }
    }
    return c->count;
}

/* Whether another number of ranks would have given these curves, as train.native tells it. */
static void write_level(const json_t *history, struct html *h)
{
    const json_t *same_bits = json_object_get(history, "same_bits");
    const char *level = jget_text(history, "level");
    if (!json_is_boolean(same_bits) || level == NULL) {
        return;
    }
    html_add(h, "<p class=\"quiet\">Trained at level <bdi>");
    html_cut(h, level, 20);
    html_add(h, json_is_true(same_bits)
                    ? "</bdi>: any number of ranks gives this model, bit for bit.</p>\n"
                    : "</bdi>: gradients were added in no fixed order. Another number of ranks, or "
                      "another run, gives a slightly different model.</p>\n");
}

bool report_curves_write(const struct report *report, struct html *h)
{
    struct curves *c = mlq_region_alloc(report->region, sizeof(*c));
    c->report = report;
    read_history_file(c, report->in->history);
    if (c->count == 0) {
        read_record(c, report->in->record);
    }
    find_best(c);
    size_t panels = 0;
    for (size_t i = next_curve(c); i < c->count && panels < REPORT_PANELS_MAX; i = next_curve(c)) {
        struct panel panel;
        if (!collect_panel(c, i, &panel)) {
            continue;
        }
        html_add(h, panels == 0 ? "<div class=\"panels\">\n" : "");
        html_add(h, "<figure>");
        draw_panel(c, &panel, panels++, h);
        write_gap(c, &panel, h);
        html_add(h, "</figure>\n");
    }
    html_add(h, panels > 0 ? "</div>\n" : "");
    if (panels > 0) {
        write_level(report->in->history, h);
    }
    return panels > 0;
}
