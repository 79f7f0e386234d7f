/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Built on libfyaml's event parser, not on its documents: events carry marks, and limits are
 * checked before a tree exists.
 */
#include "lib/spec/yaml.h"

#include <libfyaml.h>
#include <stdio.h>
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
    /* A plain loop: mappings of users are small, and YAML_NODES_MAX bounds hostile ones. */
    for (struct yaml_node *child = b->open->first; child != NULL; child = child->next) {
        if (mlq_str_eq(child->key, text)) {
            diag_add(b->diags, line, column, "key %s appears twice (first on line %u)",
                     diag_quote(b->diags, text), child->key_line);
            return false;
        }
    }
    if (b->open->count >= 5000) {
        diag_add(b->diags, line, column, "more than 5000 keys in one mapping");
        return false;
    }
    b->key = text;
    b->key_line = line;
    b->key_column = column;
    b->has_key = true;
    return true;
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
    case FYET_SEQUENCE_END:
        b->depth--;
        b->open = b->open->parent;
        return true;
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

/* libfyaml reports syntax errors to a diag object; the first one is ours to pass on. */
static void add_syntax_error(struct builder *b, struct fy_diag *diag)
{
    void *iterator = NULL;
    struct fy_diag_error *error = fy_diag_errors_iterate(diag, &iterator);
    if (error == NULL) {
        diag_add(b->diags, 0, 0, "not valid YAML");
        return;
    }
    diag_add(b->diags, (uint32_t)(error->line > 0 ? error->line : 1),
             (uint32_t)(error->column > 0 ? error->column : 1), "not valid YAML: %s", error->msg);
}

static void parse_events(struct builder *b, struct fy_parser *parser, struct fy_diag *diag)
{
    for (;;) {
        struct fy_event *event = fy_parser_parse(parser);
        if (event == NULL) {
            if (fy_diag_got_error(diag)) {
                add_syntax_error(b, diag);
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
    diag_cfg.fp = NULL;
    struct fy_diag *diag = fy_diag_create(&diag_cfg);
    fy_diag_set_collect_errors(diag, true);
    struct fy_parse_cfg cfg = {.flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_JSON_NONE, .diag = diag};
    struct fy_parser *parser = fy_parser_create(&cfg);
    struct builder b = {.region = region, .diags = diags};
    size_t before = diags->count + diags->dropped;
    if (parser == NULL || fy_parser_set_string(parser, text.len == 0 ? "" : text.ptr, text.len) != 0) {
        diag_add(diags, 0, 0, "the YAML parser could not start");
    } else {
        parse_events(&b, parser, diag);
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
