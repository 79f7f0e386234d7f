/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Groups are opened from a work list instead of by recursion; a schema's depth bounds it.
 */
#include "lib/spec/with.h"

#include <string.h>

#include "lib/base/panic.h"
#include "lib/spec/field.h"
#include "lib/spec/gate_condition.h"
#include "lib/spec/op_rules.h"

#define GROUPS_MAX 16
#define LIST_MAX 10000

struct group {
    const char *path;
    const struct yaml_node *node; /* NULL: all defaults */
    json_t *target;               /* borrowed from its parent */
};

struct walk {
    const struct op_schema *op;
    const struct with_files *files;
    struct diag_list *diags;
    struct group groups[GROUPS_MAX];
    size_t count;
    uint32_t line;
    uint32_t column;
    const struct yaml_node *top; /* the whole with: */
    struct gate_condition *conditions; /* of the list at hand, GATE_CONDITIONS_MAX */
    size_t condition_count;
};

static bool has_expression(struct mlq_str text)
{
    for (size_t i = 0; i + 2 < text.len; i++) {
        if (memcmp(text.ptr + i, "${{", 3) == 0) {
            return true;
        }
    }
    return false;
}

static json_t *json_text(struct mlq_str text)
{
    return json_stringn(text.ptr == NULL ? "" : text.ptr, text.len);
}

static bool in_range(const struct op_param *param, double value)
{
    if (param->min == 0 && param->max == 0) { /* no bounds */
        return true;
    }
    return value >= param->min && value <= param->max && !(param->above_min && value == param->min);
}

static json_t *read_number(struct walk *walk, const struct op_param *param,
                           const struct yaml_node *node, bool whole)
{
    double number = 0;
    int64_t integer = 0;
    bool valid = whole ? field_integer(node, walk->diags, param->path, INT64_MIN, INT64_MAX, &integer)
                       : field_number(node, walk->diags, param->path, &number);
    if (!valid) {
        return NULL;
    }
    if (!in_range(param, whole ? (double)integer : number)) {
        diag_add(walk->diags, node->line, node->column, "%s: %.*s is not %s %.17g and at most %.17g",
                 param->path, MLQ_STR_ARG(node->text), param->above_min ? "more than" : "at least",
                 param->min, param->max);
        return NULL;
    }
    return whole ? json_integer(integer) : json_real(number);
}

static json_t *read_choice(struct walk *walk, const struct op_param *param,
                           const struct yaml_node *node)
{
    struct mlq_str text;
    if (!field_text(node, walk->diags, param->path, &text)) {
        return NULL;
    }
    const char *all = "";
    for (size_t i = 0; param->choices[i] != NULL; i++) {
        if (mlq_str_eq_c(text, param->choices[i])) {
            return json_text(text);
        }
        all = mlq_region_format(walk->diags->region, "%s%s%s", all, i == 0 ? "" : ", ",
                                param->choices[i]);
    }
    diag_add(walk->diags, node->line, node->column, "%s: %s is not one of %s%s", param->path,
             diag_quote(walk->diags, text), all, diag_suggest(walk->diags, text, param->choices));
    return NULL;
}

static json_t *read_list_item(struct walk *walk, const struct op_param *param,
                              const struct yaml_node *node)
{
    if (param->type == PARAM_INTEGERS) {
        return read_number(walk, param, node, true);
    }
    struct mlq_str text = {"", 0};
    if (node->kind != YAML_SCALAR ||
        (!yaml_is_null(node) && !field_text(node, walk->diags, param->path, &text))) {
        diag_add(walk->diags, node->line, node->column, "%s: expected text, found %s", param->path,
                 yaml_describe(node));
        return NULL;
    }
    struct mlq_err err = MLQ_ERR_INIT;
    if (param->type == PARAM_CONDITIONS && !has_expression(text) &&
        gate_condition_parse(text, walk->conditions, &walk->condition_count, &err) != MLQ_OK) {
        diag_add(walk->diags, node->line, node->column, "%s: %s", param->path, err.text);
        return NULL;
    }
    return json_text(text);
}

static json_t *read_list(struct walk *walk, const struct op_param *param, const struct yaml_node *node)
{
    json_t *list = json_array();
    walk->condition_count = 0;
    if (param->type == PARAM_CONDITIONS) {
        walk->conditions =
            mlq_region_array(walk->diags->region, GATE_CONDITIONS_MAX, sizeof *walk->conditions);
    }
    if (param->type == PARAM_CONDITIONS && node->kind == YAML_SCALAR) { /* one condition, no list */
        json_t *item = read_list_item(walk, param, node);
        (void)json_array_append_new(list, item == NULL ? json_null() : item);
        return list;
    }
    if (!field_sequence(node, walk->diags, param->path, LIST_MAX)) {
        json_decref(list);
        return NULL;
    }
    for (const struct yaml_node *child = node->first; child != NULL; child = child->next) {
        json_t *item = read_list_item(walk, param, child);
        if (item != NULL) {
            (void)json_array_append_new(list, item);
        }
    }
    return list;
}

static json_t *read_map(struct walk *walk, const struct op_param *param,
                             const struct yaml_node *node)
{
    if (node->kind != YAML_MAPPING) {
        diag_add(walk->diags, node->line, node->column, "%s: expected a mapping, found %s",
                 param->path, yaml_describe(node));
        return NULL;
    }
    json_t *map = json_object();
    for (const struct yaml_node *child = node->first; child != NULL; child = child->next) {
        struct mlq_str text = {0};
        json_t *value = param->type == PARAM_NUMBER_MAP ? read_number(walk, param, child, false)
                        : param->choices != NULL ? read_choice(walk, param, child)
                        : field_text(child, walk->diags, param->path, &text) ? json_text(text)
                                                                             : NULL;
        if (value != NULL) {
            char *key = mlq_region_strndup(walk->diags->region, child->key);
            (void)json_object_set_new(map, key, value);
        }
    }
    return map;
}

static json_t *read_value(struct walk *walk, const struct op_param *param,
                          const struct yaml_node *node)
{
    struct mlq_str text;
    bool flag;
    if (node->kind == YAML_SCALAR && has_expression(node->text)) {
        return json_text(node->text); /* replaced and checked by the operator at run time */
    }
    switch (param->type) {
    case PARAM_INTEGER:
        return read_number(walk, param, node, true);
    case PARAM_NUMBER:
        return read_number(walk, param, node, false);
    case PARAM_BOOL:
        return field_bool(node, walk->diags, param->path, &flag) ? json_boolean(flag) : NULL;
    case PARAM_TEXT:
        return field_text(node, walk->diags, param->path, &text) ? json_text(text) : NULL;
    case PARAM_CHOICE:
        return read_choice(walk, param, node);
    case PARAM_INTEGERS:
    case PARAM_TEXTS:
    case PARAM_CONDITIONS:
        return read_list(walk, param, node);
    case PARAM_TEXT_MAP:
    case PARAM_NUMBER_MAP:
        return read_map(walk, param, node);
    case PARAM_FILE:
    case PARAM_GROUP:
    case PARAM_ONE_OF:
        break;
    }
    MLQ_UNREACHABLE("files and groups are handled before");
}

static void open_group(struct walk *walk, const char *path, const struct yaml_node *node, json_t *target)
{
    MLQ_ASSERT(walk->count < GROUPS_MAX);
    walk->groups[walk->count++] = (struct group){.path = path, .node = node, .target = target};
}

static const char *const *children_of(struct walk *walk, const char *path)
{
    const char **names = mlq_region_array(walk->diags->region, walk->op->param_count + 1, sizeof *names);
    size_t count = 0;
    for (size_t i = 0; i < walk->op->param_count; i++) {
        const char *leaf;
        if (op_schema_is_child(&walk->op->params[i], path, &leaf)) {
            names[count++] = leaf;
        }
    }
    return names;
}

/* {mlp: {...}}, or just mlp. Opens the group that was chosen. */
static void open_one_of(struct walk *walk, const struct op_param *param, const struct yaml_node *node,
                        json_t *target)
{
    const char *const *names = children_of(walk, param->path);
    struct mlq_str chosen = {0};
    const struct yaml_node *body = NULL;
    if (node->kind == YAML_SCALAR && !yaml_is_null(node)) {
        chosen = node->text;
    } else if (node->kind == YAML_MAPPING && node->count == 1) {
        chosen = node->first->key;
        body = yaml_is_null(node->first) ? NULL : node->first;
    }
    const char *all = "";
    for (size_t i = 0; names[i] != NULL; i++) {
        if (mlq_str_eq_c(chosen, names[i])) {
            json_t *inner = json_object();
            (void)json_object_set_new(target, names[i], inner);
            open_group(walk, mlq_region_format(walk->diags->region, "%s.%s", param->path, names[i]),
                       body, inner);
            return;
        }
        all = mlq_region_format(walk->diags->region, "%s%s%s", all, i == 0 ? "" : ", ", names[i]);
    }
    diag_add(walk->diags, node->line, node->column, "%s: expected exactly one of %s%s%s", param->path,
             all, chosen.len > 0 ? ", found " : "",
             chosen.len > 0 ? diag_quote(walk->diags, chosen) : "");
}

/* Without a value in the file: the standard of a ONE_OF names the member to open. */
static void open_standard_one_of(struct walk *walk, const struct op_param *param, json_t *target)
{
    json_t *standard = json_loads(param->standard, 0, NULL);
    MLQ_ASSERT(json_object_size(standard) == 1);
    const char *name = mlq_region_strdup(walk->diags->region,
                                         json_object_iter_key(json_object_iter(standard)));
    json_decref(standard);
    json_t *inner = json_object();
    (void)json_object_set_new(target, name, inner);
    open_group(walk, mlq_region_format(walk->diags->region, "%s.%s", param->path, name), NULL, inner);
}

/* True when a parameter of the top leaves this one no default. While that one is an expression, a default
 * would say too much. */
static bool is_stripped(const struct walk *walk, const struct op_param *param)
{
    const struct op_rule *rule = op_rules_stripping(walk->op, param);
    const struct yaml_node *other = rule == NULL ? NULL : yaml_get(walk->top, rule->with);
    return other != NULL && other->kind == YAML_SCALAR &&
           (has_expression(other->text) || mlq_str_eq_c(other->text, rule->value));
}

static void set_absent(struct walk *walk, const struct op_param *param, const char *leaf,
                       json_t *target)
{
    if (param->required) {
        diag_add(walk->diags, walk->line, walk->column, "%s needs '%s' in its with: (%s)%s%s%s",
                 walk->op->name, param->path, param->help,
                 param->type == PARAM_FILE ? "; or what a stage made: inputs: {" : "",
                 param->type == PARAM_FILE ? param->path : "",
                 param->type == PARAM_FILE ? ": STAGE.OUTPUT}" : "");
        return;
    }
    if (param->type == PARAM_ONE_OF) {
        json_t *inner = json_object();
        (void)json_object_set_new(target, leaf, inner);
        open_standard_one_of(walk, param, inner);
        return;
    }
    if (param->standard != NULL && !is_stripped(walk, param)) {
        json_t *value = json_loads(param->standard, JSON_DECODE_ANY, NULL);
        MLQ_ASSERT(value != NULL);
        if (param->type == PARAM_NUMBER && json_is_integer(value)) { /* "0" is as real as "0.0" */
            double real = json_number_value(value);
            json_decref(value);
            value = json_real(real);
        }
        (void)json_object_set_new(target, leaf, value);
    }
}

/* True when the file comes from another stage. */
static bool is_wired(struct walk *walk, const struct op_param *param, const struct yaml_node *node)
{
    if (param->type != PARAM_FILE || !walk->files->wired(walk->files->context, param)) {
        return false;
    }
    if (node != NULL && !yaml_is_null(node)) {
        diag_add(walk->diags, node->line, node->column,
                 "'%s' is given twice: as a file in with:, and by inputs:", param->path);
    }
    return true;
}

static void set_param(struct walk *walk, const struct op_param *param, const char *leaf,
                      const struct yaml_node *node, json_t *target)
{
    if (is_wired(walk, param, node)) {
        return;
    }
    if (node == NULL || yaml_is_null(node)) {
        if (node == NULL || param->type != PARAM_GROUP) {
            set_absent(walk, param, leaf, target);
            return;
        }
    }
    if (param->type == PARAM_FILE) {
        walk->files->found(walk->files->context, param, node);
        return;
    }
    if (param->type == PARAM_GROUP || param->type == PARAM_ONE_OF) {
        json_t *inner = json_object();
        (void)json_object_set_new(target, leaf, inner);
        if (param->type == PARAM_GROUP) {
            open_group(walk, param->path, yaml_is_null(node) ? NULL : node, inner);
        } else {
            open_one_of(walk, param, node, inner);
        }
        return;
    }
    json_t *value = read_value(walk, param, node);
    if (value != NULL) {
        (void)json_object_set_new(target, leaf, value);
    }
}

static void read_group(struct walk *walk, const struct group *group)
{
    const char *where = group->path[0] == '\0'
                            ? mlq_region_format(walk->diags->region, "with of %s", walk->op->name)
                            : group->path;
    if (group->node != NULL &&
        !field_mapping(group->node, walk->diags, where, children_of(walk, group->path))) {
        return;
    }
    for (size_t i = 0; i < walk->op->param_count; i++) {
        const struct op_param *param = &walk->op->params[i];
        const char *leaf;
        if (op_schema_is_child(param, group->path, &leaf)) {
            set_param(walk, param, leaf, yaml_get(group->node, leaf), group->target);
        }
    }
}

/* At the parameter, or at what of its path there is. */
static void broken_rule(void *context, const char *path, const char *text)
{
    struct walk *walk = context;
    uint32_t line = walk->line;
    uint32_t column = walk->column;
    const struct yaml_node *at = walk->top;
    const char *rest = path;
    while (at != NULL && rest != NULL) {
        const char *dot = strchr(rest, '.');
        size_t len = dot == NULL ? strlen(rest) : (size_t)(dot - rest);
        at = yaml_get(at, mlq_region_strndup(walk->diags->region, (struct mlq_str){rest, len}));
        line = at == NULL ? line : at->line;
        column = at == NULL ? column : at->column;
        rest = dot == NULL ? NULL : dot + 1;
    }
    diag_add(walk->diags, line, column, "%s: %s", path, text);
}

json_t *with_normalise(const struct op_schema *op,
                       const struct yaml_node *node,
                       uint32_t line,
                       uint32_t column,
                       const struct with_files *files,
                       struct diag_list *diags)
{
    struct walk walk = {.op = op, .files = files, .diags = diags, .line = line, .column = column, .top = node};
    json_t *result = json_object();
    open_group(&walk, "", node, result);
    while (walk.count > 0) {
        struct group group = walk.groups[--walk.count];
        read_group(&walk, &group);
    }
    op_rules_check(op, result, broken_rule, &walk);
    return result;
}
