/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Built on libfyaml's event parser, not on its documents: events carry marks, and limits are
 * checked before a tree exists.
 */
#include "lib/spec/yaml.h"

#include <libfyaml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct builder {
    struct mlq_region *region;
    struct diag_list *diags;
    struct yaml_node *root;
    struct yaml_node *open; /* innermost container, NULL outside */
    struct mlq_str key;     /* waiting for its value, when has_key */
    uint32_t key_line;
    uint32_t key_column;
    bool has_key;
    size_t nodes;
    uint32_t depth;
    size_t documents;
};

struct complaint { /* of libfyaml, about what it cannot read */
    char text[1024];
    size_t len;
};

static void place_of(struct fy_event *event, uint32_t *line, uint32_t *column)
{
    const struct fy_mark *mark = fy_event_start_mark(event);
    *line = mark == NULL ? 0 : (uint32_t)mark->line + 1;
    *column = mark == NULL ? 0 : (uint32_t)mark->column + 1;
}

static bool refuse_anchor(struct builder *b, struct fy_event *event)
{
    uint32_t line;
    uint32_t column;
    place_of(event, &line, &column);
    if (event->type == FYET_ALIAS || fy_event_get_anchor_token(event) != NULL) {
        diag_add(b->diags, line, column,
                 "anchors (&) and aliases (*) are not supported: write the value out, or use "
                 "params and ${{ params.x }}");
        return true;
    }
    if (fy_event_get_tag_token(event) != NULL) {
        diag_add(b->diags, line, column, "tags (!) are not supported");
        return true;
    }
    return false;
}

/* Hang a new node into the open container, or make it the root. */
static bool attach(struct builder *b, struct yaml_node *node)
{
    if (++b->nodes > YAML_NODES_MAX) {
        diag_add(b->diags, node->line, node->column, "more than %d values in one file",
                 YAML_NODES_MAX);
        return false;
    }
    node->parent = b->open;
    if (b->open == NULL) {
        b->root = node;
        return true;
    }
    if (b->open->kind == YAML_MAPPING) {
        node->key = b->key;
        node->key_line = b->key_line;
        node->key_column = b->key_column;
        b->has_key = false;
    }
    if (b->open->last == NULL) {
        b->open->first = node;
    } else {
        b->open->last->next = node;
    }
    b->open->last = node;
    b->open->count++;
    return true;
}

static bool text_is_clean(struct mlq_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f) {
            return false;
        }
    }
    return true;
}

static bool on_key(struct builder *b, struct mlq_str text, uint32_t line, uint32_t column)
{
    b->key = text;
    b->key_line = line;
    b->key_column = column;
    b->has_key = true;
    return true;
}

/* By key, and those alike by their order in the file. */
static int compare_keys(const void *left, const void *right)
{
    const struct yaml_node *a = *(const struct yaml_node *const *)left;
    const struct yaml_node *b = *(const struct yaml_node *const *)right;
    if (a->key.len != b->key.len) {
        return a->key.len < b->key.len ? -1 : 1;
    }
    int order = a->key.len == 0 ? 0 : memcmp(a->key.ptr, b->key.ptr, a->key.len);
    return order != 0                     ? order
           : a->key_line != b->key_line   ? (a->key_line < b->key_line ? -1 : 1)
                                          : (a->key_column < b->key_column ? -1 : 1);
}

/* Sorted, because comparing each key with all before it would let one hostile file hold a scheduler up. */
static bool keys_are_unique(struct builder *b, const struct yaml_node *mapping)
{
    const struct yaml_node **nodes = mlq_region_array(b->region, mapping->count, sizeof *nodes);
    const struct yaml_node *twice = NULL;
    const struct yaml_node *before = NULL;
    size_t count = 0;
    for (const struct yaml_node *child = mapping->first; child != NULL; child = child->next) {
        nodes[count++] = child;
    }
    if (count > 1) {
        qsort(nodes, count, sizeof nodes[0], compare_keys);
    }
    for (size_t i = 1; i < count; i++) {
        if (mlq_str_eq(nodes[i]->key, nodes[i - 1]->key) &&
            (twice == NULL || nodes[i]->key_line < twice->key_line)) {
            twice = nodes[i];
            before = nodes[i - 1];
        }
    }
    if (twice != NULL) {
        diag_add(b->diags, twice->key_line, twice->key_column,
                 "key %s appears twice (first on line %u)", diag_quote(b->diags, twice->key),
                 before->key_line);
    }
    return twice == NULL;
}

static bool on_scalar(struct builder *b, struct fy_event *event)
{
    struct fy_token *token = event->scalar.value;
    size_t len = 0;
    const char *raw = token == NULL ? "" : fy_token_get_text(token, &len);
    struct mlq_str text = mlq_region_copy(b->region, (struct mlq_str){raw, len});
    uint32_t line;
    uint32_t column;
    place_of(event, &line, &column);
    if (!text_is_clean(text)) {
        diag_add(b->diags, line, column, "control character in text");
        return false;
    }
    if (b->open != NULL && b->open->kind == YAML_MAPPING && !b->has_key) {
        return on_key(b, text, line, column);
    }
    enum fy_scalar_style style = token == NULL ? FYSS_PLAIN : fy_token_scalar_style(token);
    if (style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED) {
        column--; /* the mark is behind the quote; people look for the quote */
    }
    struct yaml_node *node = mlq_region_alloc(b->region, sizeof *node);
    *node = (struct yaml_node){
        .kind = YAML_SCALAR,
        .quoted = style != FYSS_PLAIN,
        .line = line == 0 ? b->key_line : line,
        .column = line == 0 ? b->key_column : column,
        .text = text,
    };
    return attach(b, node);
}

static bool on_open(struct builder *b, struct fy_event *event, enum yaml_kind kind)
{
    uint32_t line;
    uint32_t column;
    place_of(event, &line, &column);
    if (b->open != NULL && b->open->kind == YAML_MAPPING && !b->has_key) {
        diag_add(b->diags, line, column, "a key must be plain text");
        return false;
    }
    if (++b->depth > YAML_DEPTH_MAX) {
        diag_add(b->diags, line, column, "more than %d levels of nesting", YAML_DEPTH_MAX);
        return false;
    }
    struct yaml_node *node = mlq_region_alloc(b->region, sizeof *node);
    *node = (struct yaml_node){.kind = kind, .line = line, .column = column};
    if (!attach(b, node)) {
        return false;
    }
    b->open = node;
    return true;
}

static bool on_event(struct builder *b, struct fy_event *event)
{
    switch (event->type) {
    case FYET_SCALAR:
        return !refuse_anchor(b, event) && on_scalar(b, event);
    case FYET_MAPPING_START:
        return !refuse_anchor(b, event) && on_open(b, event, YAML_MAPPING);
    case FYET_SEQUENCE_START:
        return !refuse_anchor(b, event) && on_open(b, event, YAML_SEQUENCE);
    case FYET_MAPPING_END:
    case FYET_SEQUENCE_END: {
        const struct yaml_node *closed = b->open;
        b->depth--;
        b->open = closed->parent;
        return closed->kind == YAML_SEQUENCE || keys_are_unique(b, closed);
    }
    case FYET_ALIAS:
        return !refuse_anchor(b, event);
    case FYET_DOCUMENT_START:
        if (++b->documents > 1) {
            uint32_t line;
            uint32_t column;
            place_of(event, &line, &column);
            diag_add(b->diags, line, column, "one file holds one document: split at this '---'");
            return false;
        }
        return true;
    case FYET_NONE:
    case FYET_STREAM_START:
    case FYET_STREAM_END:
    case FYET_DOCUMENT_END:
        return true;
    }
    return true;
}

/* The parser's own words, "LINE:COLUMN: error: TEXT", and the line with a caret below, in pieces. (Collecting
 * them as structures would be nicer, but libfyaml 0.7.12 does not give those back.) */
static void on_complaint(struct fy_diag *diag, void *context, const char *text, size_t len)
{
    struct complaint *complaint = context;
    size_t room = sizeof complaint->text - 1 - complaint->len;
    size_t taken = len < room ? len : room;
    (void)diag;
    memcpy(complaint->text + complaint->len, text, taken);
    complaint->len += taken;
}

static void add_syntax_error(struct builder *b, const struct complaint *complaint)
{
    static const char mark[] = "error: ";
    unsigned line = 1;
    unsigned column = 1;
    const char *text = strstr(complaint->text, mark);
    size_t len = text == NULL ? 0 : strcspn(text += strlen(mark), "\n");
    for (const char *at = complaint->text; text != NULL && at < text; at++) {
        if (sscanf(at, "%u:%u: error", &line, &column) == 2) {
            break;
        }
    }
    diag_add(b->diags, line, column, "not valid YAML%s%.*s", len == 0 ? "" : ": ", (int)len,
             text == NULL ? "" : text);
}

static void parse_events(struct builder *b, struct fy_parser *parser, struct fy_diag *diag,
                         const struct complaint *complaint)
{
    for (;;) {
        struct fy_event *event = fy_parser_parse(parser);
        if (event == NULL) {
            if (fy_diag_got_error(diag) || complaint->len > 0) {
                add_syntax_error(b, complaint);
            }
            return;
        }
        bool end = event->type == FYET_STREAM_END;
        bool go_on = on_event(b, event);
        fy_parser_event_free(parser, event);
        if (end || !go_on) {
            return;
        }
    }
}

struct yaml_node *yaml_parse(struct mlq_str text, struct mlq_region *region, struct diag_list *diags)
{
    if (text.len > YAML_BYTES_MAX) {
        diag_add(diags, 0, 0, "larger than the limit of %u bytes", YAML_BYTES_MAX);
        return NULL;
    }
    if (!mlq_str_is_utf8(text) || (text.len > 0 && memchr(text.ptr, '\0', text.len) != NULL)) {
        diag_add(diags, 0, 0, "not UTF-8 text");
        return NULL;
    }
    struct fy_diag_cfg diag_cfg;
    fy_diag_cfg_default(&diag_cfg);
    struct complaint complaint = {.len = 0};
    diag_cfg.fp = NULL;
    diag_cfg.output_fn = on_complaint;
    diag_cfg.user = &complaint;
    diag_cfg.colorize = false;
    diag_cfg.show_source = false;
    diag_cfg.show_position = false;
    struct fy_diag *diag = fy_diag_create(&diag_cfg);
    struct fy_parse_cfg cfg = {.flags = FYPCF_JSON_NONE, .diag = diag};
    struct fy_parser *parser = fy_parser_create(&cfg);
    struct builder b = {.region = region, .diags = diags};
    size_t before = diags->count + diags->dropped;
    if (parser == NULL || fy_parser_set_string(parser, text.len == 0 ? "" : text.ptr, text.len) != 0) {
        diag_add(diags, 0, 0, "the YAML parser could not start");
    } else {
        parse_events(&b, parser, diag, &complaint);
    }
    if (parser != NULL) {
        fy_parser_destroy(parser);
    }
    fy_diag_unref(diag);
    if (b.root == NULL && diags->count + diags->dropped == before) {
        diag_add(diags, 1, 1, "the file is empty");
    }
    return diags->count + diags->dropped == before ? b.root : NULL;
}

struct yaml_node *yaml_get(const struct yaml_node *mapping, const char *key)
{
    if (mapping == NULL || mapping->kind != YAML_MAPPING) {
        return NULL;
    }
    for (struct yaml_node *child = mapping->first; child != NULL; child = child->next) {
        if (mlq_str_eq_c(child->key, key)) {
            return child;
        }
    }
    return NULL;
}

bool yaml_is_null(const struct yaml_node *node)
{
    return node->kind == YAML_SCALAR && !node->quoted &&
           (node->text.len == 0 || mlq_str_eq_c(node->text, "null") ||
            mlq_str_eq_c(node->text, "~"));
}

const char *yaml_describe(const struct yaml_node *node)
{
    switch (node->kind) {
    case YAML_SEQUENCE:
        return "a list";
    case YAML_MAPPING:
        return "a mapping";
    case YAML_SCALAR:
        break;
    }
    return yaml_is_null(node) ? "nothing" : "text";
}
