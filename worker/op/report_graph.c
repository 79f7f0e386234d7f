/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The stage graph, drawn in layers (Sugiyama, Tagawa and Toda 1981): a stage stands one layer
 * behind the last that it needs, an edge over several layers gets a bend in each, the order in a
 * layer follows the neighbours' mean, and so do the places. Left to right while it fits the page,
 * else from the top down.
 */
#include "worker/op/report.h"

#include <inttypes.h>
#include <string.h>

#include "worker/op/svg.h"

#define PAGE_WIDTH      1080.0
#define NODES_MAX       6000u /* stages and bends; edges that need more are drawn straight */
#define COMPACT_STAGES  60u
#define COMPACT_BREADTH 10u
#define ORDER_SWEEPS    8u
#define PLACE_SWEEPS    10u

#define NO_STAGE UINT32_MAX

struct node {
    uint32_t stage; /* NO_STAGE for a bend */
    uint32_t layer;
    uint32_t order; /* in its layer */
    double across;  /* centre */
    double wish;
};

struct link {
    uint32_t from; /* nodes of neighbouring layers, but for straight edges */
    uint32_t to;
};

struct graph {
    const struct report *report;
    struct node *nodes;
    size_t node_count;
    struct link *links;
    size_t link_count;
    size_t *first_link; /* by the layer in which they end; one more than layers, and one */
    uint32_t **layers;  /* nodes of each in order */
    size_t *layer_sizes;
    size_t layer_count;
    bool down; /* layers go down the page */
    double box_w;
    double box_h;
    double gap_along;
    double gap_across;
    double across_max;
    double *sums; /* of find_wishes, by node */
    uint32_t *counts;
};

static uint32_t add_node(struct graph *g, uint32_t stage, uint32_t layer)
{
    g->nodes[g->node_count] = (struct node){.stage = stage, .layer = layer};
    return (uint32_t)g->node_count++;
}

static void add_edge(struct graph *g, uint32_t from, uint32_t to)
{
    uint32_t low = g->nodes[from].layer;
    uint32_t high = g->nodes[to].layer;
    uint32_t last = from;
    if (g->node_count + (high - low) < NODES_MAX) {
        for (uint32_t layer = low + 1; layer < high; layer++) {
            uint32_t bend = add_node(g, NO_STAGE, layer);
            g->links[g->link_count++] = (struct link){.from = last, .to = bend};
            last = bend;
        }
    }
    g->links[g->link_count++] = (struct link){.from = last, .to = to};
}

static void build(struct graph *g, const struct report *report)
{
    struct mlq_region *region = report->region;
    size_t edges = 0;
    for (size_t s = 0; s < report->stage_count; s++) {
        edges += report->stages[s].needs_count;
    }
    g->report = report;
    g->nodes = mlq_region_array(region, NODES_MAX + report->stage_count, sizeof(struct node));
    g->links = mlq_region_array(region, NODES_MAX + edges + 1, sizeof(struct link));
    g->sums = mlq_region_array(region, NODES_MAX + report->stage_count, sizeof(double));
    g->counts = mlq_region_array(region, NODES_MAX + report->stage_count, sizeof(uint32_t));
    for (uint32_t s = 0; s < report->stage_count; s++) {
        (void)add_node(g, s, report->stages[s].depth);
    }
    for (uint32_t s = 0; s < report->stage_count; s++) {
        for (size_t i = 0; i < report->stages[s].needs_count; i++) {
            add_edge(g, report->stages[s].needs[i], s);
        }
    }
    g->layer_count = report->depth_max + 1;
    g->layers = mlq_region_array(region, g->layer_count, sizeof(uint32_t *));
    g->layer_sizes = mlq_region_array(region, g->layer_count, sizeof(size_t));
    for (size_t n = 0; n < g->node_count; n++) {
        g->layer_sizes[g->nodes[n].layer]++;
    }
    for (size_t layer = 0; layer < g->layer_count; layer++) {
        g->layers[layer] = mlq_region_array(region, g->layer_sizes[layer] + 1, sizeof(uint32_t));
        g->layer_sizes[layer] = 0;
    }
    for (uint32_t n = 0; n < g->node_count; n++) {
        size_t layer = g->nodes[n].layer;
        g->nodes[n].order = (uint32_t)g->layer_sizes[layer];
        g->layers[layer][g->layer_sizes[layer]++] = n;
    }
}

/* Sorts the links by the layer in which they end, so that a layer's links are found at once. */
static void index_links(struct graph *g)
{
    struct link *sorted =
        mlq_region_array(g->report->region, g->link_count + 1, sizeof(struct link));
    size_t at = 0;
    g->first_link = mlq_region_array(g->report->region, g->layer_count + 2, sizeof(size_t));
    for (size_t l = 0; l < g->link_count; l++) {
        g->first_link[g->nodes[g->links[l].to].layer]++;
    }
    for (size_t layer = 0; layer < g->layer_count + 2; layer++) {
        size_t count = g->first_link[layer];
        g->first_link[layer] = at;
        at += count;
    }
    for (size_t l = 0; l < g->link_count; l++) {
        sorted[g->first_link[g->nodes[g->links[l].to].layer]++] = g->links[l];
    }
    for (size_t layer = g->layer_count + 1; layer > 0; layer--) {
        g->first_link[layer] = g->first_link[layer - 1];
    }
    g->first_link[0] = 0;
    g->links = sorted;
}

/* The wish of each node of a layer = the mean of the places (or of the orders) of its neighbours in
 * the layer before (forward) or behind; without neighbours, its own. */
static void find_wishes(struct graph *g, size_t layer, bool forward, bool by_order)
{
    size_t bucket = forward ? layer : layer + 1;
    for (size_t i = 0; i < g->layer_sizes[layer]; i++) {
        g->sums[g->layers[layer][i]] = 0.0;
        g->counts[g->layers[layer][i]] = 0;
    }
    for (size_t l = g->first_link[bucket]; l < g->first_link[bucket + 1]; l++) {
        uint32_t mine = forward ? g->links[l].to : g->links[l].from;
        uint32_t other = forward ? g->links[l].from : g->links[l].to;
        g->sums[mine] += by_order ? (double)g->nodes[other].order : g->nodes[other].across;
        g->counts[mine]++;
    }
    for (size_t i = 0; i < g->layer_sizes[layer]; i++) {
        uint32_t n = g->layers[layer][i];
        double own = by_order ? (double)g->nodes[n].order : g->nodes[n].across;
        g->nodes[n].wish = g->counts[n] == 0 ? own : g->sums[n] / g->counts[n];
    }
}

static void order_layer(struct graph *g, size_t layer)
{
    uint32_t *nodes = g->layers[layer];
    for (size_t i = 1; i < g->layer_sizes[layer]; i++) { /* insertion: stable, nearly sorted */
        uint32_t moving = nodes[i];
        size_t at = i;
        while (at > 0 && g->nodes[nodes[at - 1]].wish > g->nodes[moving].wish) {
            nodes[at] = nodes[at - 1];
            at--;
        }
        nodes[at] = moving;
    }
    for (size_t i = 0; i < g->layer_sizes[layer]; i++) {
        g->nodes[nodes[i]].order = (uint32_t)i;
    }
}

/* A node with its share of the gaps on either side; bends may lie closer than boxes. */
static double node_size(const struct graph *g, uint32_t n)
{
    double box = g->down ? g->box_w : g->box_h;
    return g->nodes[n].stage == NO_STAGE ? 4.0 + g->gap_across / 4.0 : box + g->gap_across;
}

/* Gives each node of a layer the place nearest to its wish that keeps the order and the distances:
 * the mean of two such places, one found from either end. Both keep them, so their mean does. */
static void place_layer(struct graph *g, size_t layer)
{
    const uint32_t *nodes = g->layers[layer];
    size_t count = g->layer_sizes[layer];
    double edge = -1e18;
    for (size_t i = 0; i < count; i++) {
        struct node *node = &g->nodes[nodes[i]];
        double half = node_size(g, nodes[i]) / 2.0;
        double least = edge + half;
        node->across = node->wish > least ? node->wish : least;
        edge = node->across + half;
    }
    edge = 1e18;
    for (size_t i = count; i-- > 0;) {
        struct node *node = &g->nodes[nodes[i]];
        double half = node_size(g, nodes[i]) / 2.0;
        double most = edge - half;
        double place = node->wish < most ? node->wish : most;
        edge = place - half;
        node->across = (node->across + place) / 2.0;
    }
}

static void place(struct graph *g)
{
    for (size_t layer = 0; layer < g->layer_count; layer++) {
        double used = 0.0;
        for (size_t i = 0; i < g->layer_sizes[layer]; i++) {
            uint32_t n = g->layers[layer][i];
            g->nodes[n].across = used + node_size(g, n) / 2.0;
            used += node_size(g, n);
        }
        for (size_t i = 0; i < g->layer_sizes[layer]; i++) {
            g->nodes[g->layers[layer][i]].across -= used / 2.0;
        }
    }
    for (size_t sweep = 0; sweep < PLACE_SWEEPS; sweep++) {
        for (size_t k = 0; k < g->layer_count; k++) {
            size_t layer = sweep % 2 == 0 ? k : g->layer_count - 1 - k;
            find_wishes(g, layer, sweep % 2 == 0, false);
            place_layer(g, layer);
        }
    }
    double low = 1e18;
    double high = -1e18;
    for (uint32_t n = 0; n < g->node_count; n++) {
        double half = node_size(g, n) / 2.0;
        low = g->nodes[n].across - half < low ? g->nodes[n].across - half : low;
        high = g->nodes[n].across + half > high ? g->nodes[n].across + half : high;
    }
    for (size_t n = 0; n < g->node_count; n++) {
        g->nodes[n].across -= low + g->gap_across / 2.0;
    }
    g->across_max = high - low - g->gap_across;
}

static double along(const struct graph *g, uint32_t layer)
{
    double box = g->down ? g->box_h : g->box_w;
    return (double)layer * (box + g->gap_along);
}

static void choose_shape(struct graph *g)
{
    size_t widest = 0;
    for (size_t layer = 0; layer < g->layer_count; layer++) {
        widest = g->layer_sizes[layer] > widest ? g->layer_sizes[layer] : widest;
    }
    bool compact = g->report->stage_count > COMPACT_STAGES || widest > COMPACT_BREADTH;
    g->box_h = compact ? 28.0 : 54.0;
    g->box_w = 160.0;
    g->gap_along = 40.0;
    double wide = (double)g->layer_count * (g->box_w + g->gap_along) - g->gap_along;
    if (wide > PAGE_WIDTH) {
        g->gap_along = 23.0;
        wide = (double)g->layer_count * (g->box_w + g->gap_along) - g->gap_along;
    }
    g->down = wide > PAGE_WIDTH;
    g->gap_across = g->down ? 22.0 : compact ? 8.0 : 16.0;
    g->gap_along = g->down ? 30.0 : g->gap_along;
}

#define MARGIN 3.0

static void add_place(const struct graph *g, const char *verb, double across, double down,
                      struct html *h)
{
    html_addf(h, "%s%.1f,%.1f ", verb, g->down ? across : down, g->down ? down : across);
}

static void draw_link(const struct graph *g, const struct link *link, struct html *h)
{
    const struct node *from = &g->nodes[link->from];
    const struct node *to = &g->nodes[link->to];
    double box = g->down ? g->box_h : g->box_w;
    double start = MARGIN + along(g, from->layer) + box;
    double stop = MARGIN + along(g, to->layer) - (to->stage == NO_STAGE ? 0.0 : 2.0);
    double middle = (start + stop) / 2.0;
    double u = MARGIN + from->across;
    double v = MARGIN + to->across;
    html_add(h, "<path class=\"edge\" d=\"");
    if (from->stage == NO_STAGE) { /* a bend runs straight through its layer */
        add_place(g, "M", u, start - box, h);
        add_place(g, "L", u, start, h);
    } else {
        add_place(g, "M", u, start, h);
    }
    add_place(g, "C", u, middle, h);
    add_place(g, "", v, middle, h);
    add_place(g, "", v, stop, h);
    html_add(h, to->stage == NO_STAGE ? "\"/>\n" : "\" marker-end=\"url(#arrow)\"/>\n");
}

/* Wide scripts take about twice the room of Latin letters. */
static size_t chars_that_fit(const char *text, double width, double char_width)
{
    double chars = width / char_width;
    for (const char *p = text; *p != '\0'; p++) {
        if ((unsigned char)*p >= 0xe1) {
            return (size_t)(chars / 1.8);
        }
    }
    return (size_t)chars;
}

static const char *state_mark(const char *state)
{
    return strcmp(state, "succeeded") == 0   ? "\xe2\x9c\x93"
           : strcmp(state, "failed") == 0    ? "\xe2\x9c\x95"
           : strcmp(state, "running") == 0   ? "\xe2\x97\x8f"
           : strcmp(state, "cancelled") == 0 ? "\xe2\x97\xbc"
           : strcmp(state, "skipped") == 0   ? "\xe2\x80\x93"
                                             : "\xe2\x97\x8b";
}

static void add_stage_time(const struct report_stage *stage, struct html *h)
{
    if (stage->started_ms != REPORT_NO_TIME && stage->ended_ms != REPORT_NO_TIME) {
        html_duration(h, stage->ended_ms - stage->started_ms);
    }
}

static void draw_box(const struct graph *g, const struct node *node, struct html *h)
{
    const struct report_stage *stage = &g->report->stages[node->stage];
    const char *state = report_model_state_class(stage->state);
    bool compact = g->box_h < 40.0;
    double x = MARGIN + (g->down ? node->across - g->box_w / 2.0 : along(g, node->layer));
    double y = MARGIN + (g->down ? along(g, node->layer) : node->across - g->box_h / 2.0);
    html_addf(h, "<g class=\"stage %s\" transform=\"translate(%.1f %.1f)\"><title>", state, x, y);
    html_cut(h, stage->name, 200);
    html_add(h, " (");
    html_cut(h, stage->uses, 80);
    html_addf(h, "): %s, ", state);
    add_stage_time(stage, h);
    html_addf(h, "</title><rect class=\"box\" width=\"%.0f\" height=\"%.0f\" rx=\"7\"/>", g->box_w,
              g->box_h);
    html_addf(h,
              "<rect class=\"tag\" x=\"0\" y=\"%.0f\" width=\"3.5\" height=\"%.0f\" rx=\"1.75\"/>",
              compact ? 6.0 : 11.0, g->box_h - (compact ? 12.0 : 22.0));
    double name_room = g->box_w - (compact ? 76.0 : 38.0);
    html_addf(h, "<text class=\"name\" x=\"13\" y=\"%d\">", compact ? 18 : 22);
    html_cut(h, stage->name, chars_that_fit(stage->name, name_room, 7.2));
    html_add(h, "</text>");
    if (compact) {
        html_addf(h, "<text class=\"time\" x=\"%.0f\" y=\"18\">", g->box_w - 10.0);
        add_stage_time(stage, h);
        html_addf(h, " <tspan class=\"mark\">%s</tspan></text></g>\n", state_mark(state));
        return;
    }
    html_addf(h, "<text class=\"mark\" x=\"%.0f\" y=\"22\">%s</text>", g->box_w - 11.0,
              state_mark(state));
    html_add(h, "<text class=\"uses\" x=\"13\" y=\"41\">");
    html_cut(h, stage->uses, chars_that_fit(stage->uses, g->box_w - 78.0, 6.2));
    html_addf(h, "</text><text class=\"time\" x=\"%.0f\" y=\"41\">", g->box_w - 11.0);
    add_stage_time(stage, h);
    html_add(h, "</text></g>\n");
}

static void draw(const struct graph *g, struct html *h)
{
    double box = g->down ? g->box_h : g->box_w;
    double length = along(g, (uint32_t)g->layer_count - 1) + box + 2.0 * MARGIN;
    double breadth = g->across_max + 2.0 * MARGIN;
    char *desc = mlq_region_format(
        g->report->region,
        "%zu stages in %zu layers; a box is a stage, an arrow goes to a stage that "
        "needs its result. The table below has the same facts.",
        g->report->stage_count, g->layer_count);
    svg_open(h, &(struct svg_head){.id = "graph",
                                   .width = g->down ? breadth : length,
                                   .height = g->down ? length : breadth,
                                   .title = "Stage graph",
                                   .desc = desc});
    html_add(
        h, "<defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"6\" refY=\"4\" markerWidth=\"7\" "
           "markerHeight=\"7\" orient=\"auto\"><path class=\"head\" d=\"M0,1 L7,4 L0,7 z\"/>"
           "</marker></defs>\n");
    for (size_t l = 0; l < g->link_count; l++) {
        draw_link(g, &g->links[l], h);
    }
    for (size_t n = 0; n < g->node_count; n++) {
        if (g->nodes[n].stage != NO_STAGE) {
            draw_box(g, &g->nodes[n], h);
        }
    }
    svg_close(h);
}

bool report_graph_write(const struct report *report, struct html *h)
{
    if (report->stage_count < 2 || !report->has_needs) {
        return false;
    }
    struct graph g = {.report = report};
    build(&g, report);
    index_links(&g);
    for (size_t sweep = 0; sweep < ORDER_SWEEPS; sweep++) {
        for (size_t k = 0; k < g.layer_count; k++) {
            size_t layer = sweep % 2 == 0 ? k : g.layer_count - 1 - k;
            find_wishes(&g, layer, sweep % 2 == 0, true);
            order_layer(&g, layer);
        }
    }
    choose_shape(&g);
    place(&g);
    double breadth = g.down ? g.across_max : along(&g, (uint32_t)g.layer_count - 1) + g.box_w;
    html_add(h, breadth < 5.0 * PAGE_WIDTH ? "<div class=\"scroll graph fit\">\n"
                                           : "<div class=\"scroll graph\">\n");
    draw(&g, h);
    html_add(h, "</div>\n");
    return true;
}
