/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * `${{ … }}`: found, replaced while parsing (params), remembered for the check of the graph
 * (stages), and expanded at dispatch.
 */
#include <jansson.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/spec/field.h"
#include "lib/spec/parse.h"
#include "lib/sys/mem.h"

#define EXPANDED_BYTES_MAX (1u << 20)
#define JSON_DEPTH_MAX 16

static size_t find(struct mlq_str text, const char *what)
{
    size_t len = strlen(what);
    for (size_t i = 0; i + len <= text.len; i++) {
        if (memcmp(text.ptr + i, what, len) == 0) {
            return i;
        }
    }
    return SIZE_MAX;
}

bool expr_next(struct mlq_str *rest, struct mlq_str *before, struct mlq_str *expression, bool *broken)
{
    *broken = false;
    size_t start = find(*rest, "${{");
    if (start == SIZE_MAX) {
        *before = *rest;
        return false;
    }
    struct mlq_str inside = {rest->ptr + start + 3, rest->len - start - 3};
    size_t end = find(inside, "}}");
    if (end == SIZE_MAX) {
        *broken = true;
        return false;
    }
    *before = (struct mlq_str){rest->ptr, start};
    *expression = mlq_str_trim((struct mlq_str){inside.ptr, end});
    *rest = (struct mlq_str){inside.ptr + end + 2, inside.len - end - 2};
    return true;
}

static const struct spec_pair *find_param(const struct spec *spec, struct mlq_str name)
{
    for (size_t i = 0; i < spec->param_count; i++) {
        if (mlq_str_eq(spec->params[i].name, name)) {
            return &spec->params[i];
        }
    }
    return NULL;
}

static struct mlq_str param_value(struct parse *parse, const struct yaml_node *node,
                                  struct mlq_str name)
{
    const struct spec_pair *param = find_param(parse->spec, name);
    if (param != NULL) {
        return param->value;
    }
    size_t count = parse->spec->param_count;
    const char **names = mlq_region_array(parse->region, count + 1, sizeof *names);
    for (size_t i = 0; i < count; i++) {
        names[i] = mlq_region_strndup(parse->region, parse->spec->params[i].name);
    }
    diag_add(parse->diags, node->line, node->column,
             "${{ params.%.*s }} refers to nothing: spec.params has no %s%s", MLQ_STR_ARG(name),
             diag_quote(parse->diags, name), diag_suggest(parse->diags, name, names));
    return (struct mlq_str){0};
}

/* A text that grows: one copy at the end, however many expressions were in it. */
struct filled {
    char *text;
    size_t len;
    size_t room;
};

static void fill(struct filled *filled, struct mlq_str more)
{
    if (more.len == 0) {
        return;
    }
    if (filled->len + more.len > filled->room) {
        filled->room = 2 * (filled->len + more.len);
        filled->text = mlq_realloc_array(filled->text, filled->room, 1);
    }
    memcpy(filled->text + filled->len, more.ptr, more.len);
    filled->len += more.len;
}

/* The values in the places of their expressions; false: the text is refused. */
static bool fill_params(struct parse *parse, struct yaml_node *node, struct filled *filled, bool *changed)
{
    struct mlq_str rest = node->text;
    struct mlq_str before;
    struct mlq_str expression;
    bool broken;
    while (expr_next(&rest, &before, &expression, &broken)) {
        fill(filled, before);
        if (mlq_str_starts(expression, "params.")) {
            struct mlq_str name = {expression.ptr + 7, expression.len - 7};
            struct mlq_str value = param_value(parse, node, name);
            *changed = true;
            if (rest.len == 0 && filled->len == 0) {
                node->quoted = false; /* the whole value is one param: it has that param's type */
            }
            fill(filled, value);
        } else {
            fill(filled, MLQ_STR("${{ "));
            fill(filled, expression);
            fill(filled, MLQ_STR(" }}"));
        }
        if (filled->len > SPEC_TEXT_BYTES_MAX) {
            diag_add(parse->diags, node->line, node->column, "longer than %d bytes with its params filled in",
                     SPEC_TEXT_BYTES_MAX);
            return false;
        }
    }
    if (broken) {
        diag_add(parse->diags, node->line, node->column, "'${{' without '}}'");
        return false;
    }
    fill(filled, rest);
    return true;
}

static void apply_params_to_text(struct parse *parse, struct yaml_node *node)
{
    struct filled filled = {0};
    bool changed = false;
    if (fill_params(parse, node, &filled, &changed) && changed) {
        node->text = mlq_region_copy(parse->region, (struct mlq_str){filled.text, filled.len});
    }
    mlq_free(filled.text);
}

void expr_apply_params(struct parse *parse, struct yaml_node *node)
{
    struct yaml_node *at = node;
    while (at != NULL) {
        if (at->kind == YAML_SCALAR) {
            apply_params_to_text(parse, at);
        }
        if (at->first != NULL) {
            at = at->first;
            continue;
        }
        while (at != node && at->next == NULL) {
            at = at->parent;
        }
        at = at == node ? NULL : at->next;
    }
}

void expr_collect(struct parse *parse, uint16_t stage, struct mlq_str text,
                  const struct yaml_node *node)
{
    struct mlq_str rest = text;
    struct mlq_str before;
    struct mlq_str expression;
    bool broken;
    while (expr_next(&rest, &before, &expression, &broken)) {
        if (parse->reference_count == parse->reference_room) {
            size_t room = parse->reference_room == 0 ? 16 : parse->reference_room * 2;
            struct parse_reference *grown = mlq_region_array(parse->region, room, sizeof *grown);
            if (parse->reference_count > 0) {
                memcpy(grown, parse->references, parse->reference_count * sizeof *grown);
            }
            parse->references = grown;
            parse->reference_room = room;
        }
        parse->references[parse->reference_count++] = (struct parse_reference){
            .stage = stage,
            .expression = expression,
            .line = node->line,
            .column = node->column,
        };
    }
}

int spec_expand(struct mlq_str text,
                spec_resolve_fn resolve,
                void *context,
                struct mlq_region *region,
                struct mlq_str *expanded,
                struct mlq_err *err)
{
    struct mlq_str rest = text;
    struct mlq_str before;
    struct mlq_str expression;
    bool broken;
    struct mlq_str result = {"", 0};
    while (expr_next(&rest, &before, &expression, &broken)) {
        struct mlq_str value;
        if (!resolve(context, expression, region, &value, err)) {
            return mlq_wrap(err, MLQ_EINVAL, "${{ %.*s }}", MLQ_STR_ARG(expression));
        }
        result = mlq_str_from(mlq_region_format(region, "%.*s%.*s%.*s", MLQ_STR_ARG(result),
                                                MLQ_STR_ARG(before), MLQ_STR_ARG(value)));
        if (result.len > EXPANDED_BYTES_MAX) {
            return mlq_fail(err, MLQ_EFULL, "a value grew over %u bytes", EXPANDED_BYTES_MAX);
        }
    }
    *expanded = mlq_str_from(
        mlq_region_format(region, "%.*s%.*s", MLQ_STR_ARG(result), MLQ_STR_ARG(rest)));
    return MLQ_OK;
}

/* The JSON value for one string: text, or the number or boolean that a whole expression gave. */
static int expand_string(json_t *string, spec_resolve_fn resolve, void *context,
                         struct mlq_region *region, json_t **value, struct mlq_err *err)
{
    struct mlq_str text = {json_string_value(string), json_string_length(string)};
    struct mlq_str rest = text;
    struct mlq_str before;
    struct mlq_str expression;
    struct mlq_str expanded;
    bool broken;
    bool whole = expr_next(&rest, &before, &expression, &broken) && before.len == 0 && rest.len == 0;
    int rc = spec_expand(text, resolve, context, region, &expanded, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    int64_t integer;
    double number;
    if (whole && mlq_str_i64(expanded, &integer)) {
        *value = json_integer(integer);
    } else if (whole && field_parse_number(expanded, &number)) {
        *value = json_real(number);
    } else {
        *value = json_stringn(expanded.ptr, expanded.len);
    }
    return *value == NULL ? mlq_fail(err, MLQ_EINVAL, "not UTF-8 text") : MLQ_OK;
}

/* One level of the walk: which child of which container comes next. */
struct level {
    json_t *container;
    void *iterator; /* objects */
    size_t index;   /* arrays */
};

static json_t *next_child(struct level *level)
{
    if (json_is_object(level->container)) {
        level->iterator = level->iterator == NULL
                              ? json_object_iter(level->container)
                              : json_object_iter_next(level->container, level->iterator);
        return level->iterator == NULL ? NULL : json_object_iter_value(level->iterator);
    }
    return json_array_get(level->container, level->index++);
}

static void replace_child(struct level *level, json_t *value)
{
    if (json_is_object(level->container)) {
        (void)json_object_iter_set_new(level->container, level->iterator, value);
    } else {
        (void)json_array_set_new(level->container, level->index - 1, value);
    }
}

static int expand_tree(json_t *root, spec_resolve_fn resolve, void *context,
                       struct mlq_region *region, struct mlq_err *err)
{
    struct level levels[JSON_DEPTH_MAX] = {{.container = root}};
    size_t depth = 1;
    while (depth > 0) {
        json_t *child = next_child(&levels[depth - 1]);
        if (child == NULL) {
            depth--;
        } else if (json_is_string(child)) {
            json_t *value;
            int rc = expand_string(child, resolve, context, region, &value, err);
            if (rc != MLQ_OK) {
                return rc;
            }
            replace_child(&levels[depth - 1], value);
        } else if (json_is_object(child) || json_is_array(child)) {
            if (depth == JSON_DEPTH_MAX) {
                return mlq_fail(err, MLQ_EFULL, "more than %d levels of nesting", JSON_DEPTH_MAX);
            }
            levels[depth++] = (struct level){.container = child};
        }
    }
    return MLQ_OK;
}

int spec_expand_json(struct mlq_str json,
                     spec_resolve_fn resolve,
                     void *context,
                     struct mlq_region *region,
                     struct mlq_str *expanded,
                     struct mlq_err *err)
{
    if (find(json, "${{") == SIZE_MAX) {
        *expanded = json;
        return MLQ_OK;
    }
    json_t *root = json_loadb(json.ptr, json.len, 0, NULL);
    if (root == NULL) {
        return mlq_fail(err, MLQ_EINVAL, "with: not valid JSON");
    }
    int rc = expand_tree(root, resolve, context, region, err);
    if (rc == MLQ_OK) {
        char *text = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(15));
        MLQ_ASSERT(text != NULL);
        *expanded = mlq_region_copy(region, mlq_str_from(text));
        mlq_free(text);
    }
    json_decref(root);
    return rc;
}
