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

#include "lib/spec/tree.h"

struct builder {
    struct tree tree;
    struct mlq_str source;
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
        diag_add(b->tree.diags, line, column,
                 "anchors (&) and aliases (*) are not supported: write the value out, or use "
                 "params and ${{ params.x }}");
        return true;
    }
    if (fy_event_get_tag_token(event) != NULL) {
        diag_add(b->tree.diags, line, column, "tags (!) are not supported");
        return true;
    }
    return false;
}

/* ---- Single quotes ---- */

/* libfyaml 0.7.12 misreads quotes in a row, and quotes beside breaks: of two it makes three, and behind the end
 * there is what was in its memory (found-quotes-in-a-row in tests/fuzz/corpus/spec). So it finds where such a text
 * begins and ends, and what it says is read here. */

/* What stands between the quotes of a token; false: it cannot be told. */
static bool find_source(struct mlq_str all, struct fy_token *token, struct mlq_str *source)
{
    const struct fy_mark *start = fy_token_start_mark(token), *end = fy_token_end_mark(token);
    if (start == NULL || end == NULL || start->input_pos == 0 || start->input_pos > end->input_pos ||
        end->input_pos >= all.len || all.ptr[start->input_pos - 1] != '\'' ||
        all.ptr[end->input_pos] != '\'') {
        return false;
    }
    *source = (struct mlq_str){all.ptr + start->input_pos, end->input_pos - start->input_pos};
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* YAML 1.2.2, 7.3.2: two quotes are one; a break with the blanks around it is a space, and of several all but
 * the first stay. */
static struct mlq_str unquote(struct mlq_str source, struct mlq_region *region)
{
    char *text = mlq_region_alloc(region, source.len + 1);
    size_t len = 0;
    for (size_t at = 0; at < source.len;) {
        size_t breaks = 0, blanks = 0;
        while (at + blanks < source.len && is_blank(source.ptr[at + blanks])) {
            breaks += source.ptr[at + blanks++] == '\n';
        }
        size_t kept = breaks == 0 ? blanks : breaks == 1 ? 1 : breaks - 1;
        if (breaks == 0) {
            memcpy(text + len, source.ptr + at, kept);
        } else {
            memset(text + len, breaks == 1 ? ' ' : '\n', kept);
        }
        len += kept;
        at += blanks;
        if (at < source.len) {
            text[len++] = source.ptr[at];
            at += source.ptr[at] == '\'' ? 2 : 1;
        }
    }
    text[len] = '\0';
    return (struct mlq_str){text, len};
}

/* A text is asked of the library only if it is not in single quotes: what it misreads, it loses memory over. */
static bool read_text(struct builder *b, struct fy_token *token, enum fy_scalar_style style, struct mlq_str *text)
{
    struct mlq_str source;
    size_t len = 0;
    if (style == FYSS_SINGLE_QUOTED) {
        bool is_found = find_source(b->source, token, &source);
        *text = is_found ? unquote(source, b->tree.region) : (struct mlq_str){0};
        return is_found;
    }
    const char *raw = token == NULL ? "" : fy_token_get_text(token, &len);
    *text = mlq_region_copy(b->tree.region, (struct mlq_str){raw, len});
    return true;
}

static bool on_scalar(struct builder *b, struct fy_event *event)
{
    struct tree *tree = &b->tree;
    struct fy_token *token = event->scalar.value;
    enum fy_scalar_style style = token == NULL ? FYSS_PLAIN : fy_token_scalar_style(token);
    struct mlq_str text;
    uint32_t line;
    uint32_t column;
    place_of(event, &line, &column);
    if (!read_text(b, token, style, &text)) {
        diag_add(tree->diags, line, column, "this text in single quotes cannot be read: use double quotes");
        return false;
    }
    if (!tree_wants_key(tree) && (style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED)) {
        column--; /* the mark is behind the quote; people look for the quote */
    }
    if (line == 0) { /* nothing at all behind a key */
        line = tree->key_line;
        column = tree->key_column;
    }
    return tree_scalar(tree, text, style != FYSS_PLAIN, line, column);
}

static bool on_open(struct tree *tree, struct fy_event *event, enum yaml_kind kind)
{
    uint32_t line;
    uint32_t column;
    place_of(event, &line, &column);
    return tree_open(tree, kind, line, column);
}

static bool on_event(struct builder *b, struct fy_event *event)
{
    switch (event->type) {
    case FYET_SCALAR:
        return !refuse_anchor(b, event) && on_scalar(b, event);
    case FYET_MAPPING_START:
        return !refuse_anchor(b, event) && on_open(&b->tree, event, YAML_MAPPING);
    case FYET_SEQUENCE_START:
        return !refuse_anchor(b, event) && on_open(&b->tree, event, YAML_SEQUENCE);
    case FYET_MAPPING_END:
    case FYET_SEQUENCE_END:
        return tree_close(&b->tree);
    case FYET_ALIAS:
        return !refuse_anchor(b, event);
    case FYET_DOCUMENT_START:
        if (++b->documents > 1) {
            uint32_t line;
            uint32_t column;
            place_of(event, &line, &column);
            diag_add(b->tree.diags, line, column, "one file holds one document: split at this '---'");
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

/* What the library would write is dropped: errors are collected. */
static void drop_output(struct fy_diag *diag, void *context, const char *text, size_t len)
{
    (void)diag;
    (void)context;
    (void)text;
    (void)len;
}

/* The first one says it; those behind follow from it. */
static void add_syntax_error(struct builder *b, struct fy_diag *diag)
{
    void *at = NULL;
    const struct fy_diag_error *error = fy_diag_errors_iterate(diag, &at);
    bool has_place = error != NULL && error->line > 0 && error->column > 0;
    const char *text = error == NULL || error->msg == NULL ? "" : error->msg;
    diag_add(b->tree.diags, has_place ? (uint32_t)error->line : 1,
             has_place ? (uint32_t)error->column : 1, "not valid YAML%s%.*s",
             *text == '\0' ? "" : ": ", (int)strcspn(text, "\n"), text);
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
    if (!tree_is_readable(text, diags)) {
        return NULL;
    }
    struct fy_diag_cfg diag_cfg;
    fy_diag_cfg_default(&diag_cfg);
    diag_cfg.fp = NULL;
    diag_cfg.output_fn = drop_output;
    struct fy_diag *diag = fy_diag_create(&diag_cfg);
    /* Not for their places alone: where 0.7.12 writes an error it also draws the line, and beyond the end
     * of its buffer if that is long and has tabs (found-tabs-before-a-quote in tests/fuzz/corpus/spec). */
    fy_diag_set_collect_errors(diag, true);
    struct fy_parse_cfg cfg = {.flags = FYPCF_JSON_NONE, .diag = diag};
    struct fy_parser *parser = fy_parser_create(&cfg);
    struct builder b = {.tree = {.region = region, .diags = diags}, .source = text};
    size_t before = diags->count + diags->dropped;
    if (parser == NULL || fy_parser_set_string(parser, text.len == 0 ? "" : text.ptr, text.len) != 0) {
        diag_add(diags, 0, 0, "the YAML parser could not start");
    } else {
        parse_events(&b, parser, diag);
    }
    fy_diag_set_collect_errors(diag, false); /* frees them, while the parser is there that they refer to */
    if (parser != NULL) {
        fy_parser_destroy(parser);
    }
    fy_diag_unref(diag);
    if (b.tree.root == NULL && diags->count + diags->dropped == before) {
        diag_add(diags, 1, 1, "the file is empty");
    }
    return diags->count + diags->dropped == before ? b.tree.root : NULL;
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
