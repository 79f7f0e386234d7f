/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/spec/op_rules.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/base/str.h"

#define TEXT_BYTES_MAX 400

struct check {
    const struct op_schema *op;
    const json_t *with;
    op_rules_cb broken;
    void *context;
};

__attribute__((format(printf, 3, 4))) static void complain(const struct check *check,
                                                           const char *path, const char *fmt, ...)
{
    char text[TEXT_BYTES_MAX];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    check->broken(check->context, path, text);
}

/* ---- Values ---- */

static const json_t *value_at(const json_t *with, const char *path)
{
    const json_t *at = with;
    struct mlq_str part;
    struct mlq_str rest = mlq_str_from(path);
    bool more = true;
    while (more && at != NULL) {
        more = mlq_str_cut(rest, '.', &part, &rest);
        at = json_object_getn(at, part.ptr, part.len);
    }
    return json_is_null(at) ? NULL : at;
}

static bool is_expression(const json_t *value)
{
    return json_is_string(value) && strstr(json_string_value(value), "${{") != NULL;
}

/* Of {mlp: {...}}, or of just mlp. */
static const char *chosen(const json_t *value)
{
    return json_is_object(value)
               ? json_object_iter_key(json_object_iter((json_t *)(uintptr_t)value))
               : json_string_value(value);
}

static bool is_same(const struct op_param *param, const json_t *a, const json_t *b)
{
    if (param->type == PARAM_ONE_OF) {
        return chosen(a) != NULL && chosen(b) != NULL && strcmp(chosen(a), chosen(b)) == 0;
    }
    if (json_is_number(a) && json_is_number(b)) { /* "0" is as good as "0.0" */
        return !(json_number_value(a) < json_number_value(b)) &&
               !(json_number_value(a) > json_number_value(b));
    }
    return json_equal(a, b) != 0;
}

/* It asks for something that goes beyond what holds when it is left out. */
static bool asks(const struct op_param *param, const json_t *value)
{
    bool is_map = param->type == PARAM_TEXT_MAP || param->type == PARAM_NUMBER_MAP;
    if (value == NULL || is_expression(value) || (is_map && json_object_size(value) == 0)) {
        return false;
    }
    json_t *standard = param->standard == NULL || param->type == PARAM_GROUP
                           ? NULL
                           : json_loads(param->standard, JSON_DECODE_ANY, NULL);
    bool is_standard = standard != NULL && is_same(param, value, standard);
    json_decref(standard);
    return !is_standard;
}

static const struct op_param *param_of(const struct check *check, const char *path)
{
    const struct op_param *param = op_schema_param(check->op, path);
    MLQ_ASSERT(param != NULL);
    return param;
}

/* ---- Rules ---- */

static bool applies(const struct check *check, const struct op_rule *rule)
{
    const json_t *value = value_at(check->with, rule->with);
    if (rule->value == NULL) {
        return asks(param_of(check, rule->with), value);
    }
    if (json_is_number(value)) {
        double difference = json_number_value(value) - strtod(rule->value, NULL);
        return !(difference < 0) && !(difference > 0);
    }
    return json_is_string(value) && strcmp(json_string_value(value), rule->value) == 0;
}

static void check_rule(const struct check *check, const struct op_rule *rule)
{
    for (size_t i = 0; applies(check, rule) && rule->without[i] != NULL; i++) {
        const char *path = rule->without[i];
        const json_t *value = value_at(check->with, path);
        if (rule->strips ? value != NULL : asks(param_of(check, path), value)) {
            complain(check, path, "means nothing with %s%s%s: %s", rule->with,
                     rule->value == NULL ? "" : ": ", rule->value == NULL ? "" : rule->value,
                     rule->way_out);
        }
    }
}

static void check_power_of_two(const struct check *check, const struct op_param *param)
{
    const json_t *value = value_at(check->with, param->path);
    json_int_t number = json_integer_value(value);
    json_int_t below = 1;
    if (!param->power_of_two || !json_is_integer(value) || (double)number < param->min ||
        (double)number > param->max || (number & (number - 1)) == 0) {
        return;
    }
    while (2 * below < number) {
        below *= 2;
    }
    complain(check, param->path,
             "%" JSON_INTEGER_FORMAT " is not a power of two: use %" JSON_INTEGER_FORMAT
             " or %" JSON_INTEGER_FORMAT,
             number, below, 2 * below);
}

/* What is given, or its default. False: no number. */
static bool number_at(const struct check *check, const struct op_param *param, double *number)
{
    const json_t *value = value_at(check->with, param->path);
    if (value == NULL && param->standard != NULL) {
        *number = strtod(param->standard, NULL);
        return true;
    }
    *number = json_number_value(value);
    return json_is_number(value);
}

static void check_below(const struct check *check, const struct op_param *param)
{
    double number;
    double bound;
    if (param->below == NULL || !number_at(check, param, &number) ||
        !number_at(check, param_of(check, param->below), &bound) || number < bound) {
        return;
    }
    complain(check, param->path,
             "%g is not below %s, which is %g: lower the one or raise the other", number,
             param->below, bound);
}

/* A parameter that another one takes away has no number. */
static bool is_taken_away(const struct check *check, const struct op_param *param)
{
    const struct op_rule *rule = op_rules_stripping(check->op, param);
    return rule != NULL && applies(check, rule);
}

static void check_product(const struct check *check, const struct op_product *product)
{
    const struct op_param *param = param_of(check, product->path);
    const struct op_param *times = param_of(check, product->times);
    double number;
    double other;
    if (is_taken_away(check, times) || !number_at(check, param, &number) ||
        !number_at(check, times, &other) || number * other <= product->most) {
        return;
    }
    complain(check, product->path, "%.0f times %s, which is %.0f, is more than %.0f %s: lower one of them",
             number, product->times, other, product->most, product->what);
}

void op_rules_check(const struct op_schema *op, const json_t *with, op_rules_cb broken,
                    void *context)
{
    const struct check check = {.op = op, .with = with, .broken = broken, .context = context};
    for (size_t i = 0; i < op->param_count; i++) {
        check_power_of_two(&check, &op->params[i]);
        check_below(&check, &op->params[i]);
    }
    for (size_t i = 0; i < op->rule_count; i++) {
        check_rule(&check, &op->rules[i]);
    }
    for (size_t i = 0; i < op->product_count; i++) {
        check_product(&check, &op->products[i]);
    }
}

const struct op_rule *op_rules_stripping(const struct op_schema *op, const struct op_param *param)
{
    for (size_t i = 0; i < op->rule_count; i++) {
        const struct op_rule *rule = &op->rules[i];
        for (size_t k = 0; rule->strips && rule->without[k] != NULL; k++) {
            if (strcmp(rule->without[k], param->path) == 0) {
                return rule;
            }
        }
    }
    return NULL;
}
