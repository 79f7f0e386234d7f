/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A stack of open containers instead of recursion.
 */
#include "lib/spec/emit.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/spec/field.h"
#include "lib/spec/out.h"
#include "lib/sys/mem.h"

#define DEPTH_MAX 64
#define FLOW_BYTES_MAX 100 /* a list or mapping of plain values that fits is written on one line */

struct level {
    json_t *container;
    void *iterator; /* object */
    size_t index;   /* array */
};

/* Text that YAML reads back as the same text without quotes. */
static bool is_plain(struct mlq_str text)
{
    static const char *const words[] = {"true", "false", "null", "~"};
    double number;
    if (text.len == 0 || text.len > 120 || field_parse_number(text, &number)) {
        return false;
    }
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (mlq_str_eq_c(text, words[i])) {
            return false;
        }
    }
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        bool inner = i > 0 && i + 1 < text.len && (c == ' ' || c == '-' || c == '.');
        if (!letter && c != '_' && c != '/' && !inner) {
            return false;
        }
    }
    return true;
}

static void add_scalar(struct out *buffer, json_t *value)
{
    struct mlq_str text = {json_string_value(value), json_string_length(value)};
    if (json_is_string(value) && is_plain(text)) {
        out_add(buffer, text);
        return;
    }
    char *json = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15)); /* JSON's quotes are YAML's */
    MLQ_ASSERT(json != NULL);
    out_add_c(buffer, json);
    mlq_free(json);
}

static void add_key(struct out *buffer, const char *key)
{
    json_t *text = json_string(key);
    add_scalar(buffer, text);
    json_decref(text);
    out_add_c(buffer, ":");
}

static bool is_scalar(json_t *value)
{
    return !json_is_object(value) && !json_is_array(value);
}

/* "[1, 2]" or "{a: 1}" when it holds plain values only and is short; NULL otherwise. */
static char *flow_text(json_t *container)
{
    struct out line = {0};
    const char *key;
    json_t *value;
    size_t i;
    bool simple = true;
    out_add_c(&line, json_is_array(container) ? "[" : "{");
    if (json_is_array(container)) {
        json_array_foreach(container, i, value)
        {
            out_add_c(&line, i == 0 ? "" : ", ");
            simple = simple && is_scalar(value);
            if (simple) {
                add_scalar(&line, value);
            }
        }
    } else {
        json_object_foreach(container, key, value)
        {
            out_add_c(&line, line.len == 1 ? "" : ", ");
            simple = simple && is_scalar(value);
            if (simple) {
                add_key(&line, key);
                out_add_c(&line, " ");
                add_scalar(&line, value);
            }
        }
    }
    out_add_c(&line, json_is_array(container) ? "]" : "}");
    if (!simple || line.len > FLOW_BYTES_MAX) {
        mlq_free(line.text);
        return NULL;
    }
    return line.text;
}

static void indent(struct out *buffer, size_t depth)
{
    for (size_t i = 1; i < depth; i++) {
        out_add_c(buffer, "  ");
    }
}

/* The next member of the innermost container; its key or dash is written. NULL at the end. */
static json_t *next_member(struct out *buffer, struct level *level, size_t depth)
{
    json_t *value = NULL;
    if (json_is_array(level->container)) {
        value = json_array_get(level->container, level->index++);
        if (value != NULL) {
            indent(buffer, depth);
            out_add_c(buffer, "-");
        }
        return value;
    }
    level->iterator = level->iterator == NULL ? json_object_iter(level->container)
                                              : json_object_iter_next(level->container, level->iterator);
    if (level->iterator != NULL) {
        value = json_object_iter_value(level->iterator);
        indent(buffer, depth);
        add_key(buffer, json_object_iter_key(level->iterator));
    }
    return value;
}

struct mlq_str emit_yaml(json_t *document, struct mlq_region *region)
{
    struct out buffer = {0};
    struct level levels[DEPTH_MAX] = {{.container = document}};
    size_t depth = 1;
    out_add_c(&buffer, "");
    while (depth > 0) {
        json_t *value = next_member(&buffer, &levels[depth - 1], depth);
        char *flow = value == NULL || is_scalar(value) ? NULL : flow_text(value);
        if (value == NULL) {
            depth--;
        } else if (is_scalar(value) || flow != NULL) {
            out_add_c(&buffer, " ");
            if (flow != NULL) {
                out_add_c(&buffer, flow);
            } else {
                add_scalar(&buffer, value);
            }
            out_add_c(&buffer, "\n");
        } else {
            MLQ_ASSERT(depth < DEPTH_MAX); /* the parser allows fewer levels */
            levels[depth++] = (struct level){.container = value};
            out_add_c(&buffer, "\n");
        }
        mlq_free(flow);
    }
    return out_take(&buffer, region);
}
