/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/spec/field.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/ownership.h"

#define NUMBER_BYTES_MAX 64
#define DURATION_DAYS_MAX 366

static bool wrong(const struct yaml_node *node, struct diag_list *diags, const char *what,
                  const char *expected)
{
    if (node->kind == YAML_SCALAR && !yaml_is_null(node)) {
        diag_add(diags, node->line, node->column, "%s: expected %s, found %s", what, expected,
                 diag_quote(diags, node->text));
    } else {
        diag_add(diags, node->line, node->column, "%s: expected %s, found %s", what, expected,
                 yaml_describe(node));
    }
    return false;
}

bool field_text(const struct yaml_node *node, struct diag_list *diags, const char *what,
                struct mlq_str *value)
{
    if (node->kind != YAML_SCALAR || yaml_is_null(node)) {
        return wrong(node, diags, what, "text");
    }
    if (node->text.len > 65536) {
        diag_add(diags, node->line, node->column, "%s: longer than 65536 bytes", what);
        return false;
    }
    *value = node->text;
    return true;
}

bool field_integer(const struct yaml_node *node, struct diag_list *diags, const char *what,
                   int64_t min, int64_t max, int64_t *value)
{
    int64_t number;
    if (node->kind != YAML_SCALAR || !mlq_str_i64(node->text, &number)) {
        return wrong(node, diags, what, "a whole number");
    }
    if (number < min || number > max) {
        diag_add(diags, node->line, node->column, "%s: %lld is not between %lld and %lld", what,
                 (long long)number, (long long)min, (long long)max);
        return false;
    }
    *value = number;
    return true;
}

/* [-]digits[.digits][e[+-]digits]: the JSON grammar, which strtod then reads in any locale of ours. */
static bool is_number_text(struct mlq_str s)
{
    size_t i = 0;
    size_t digits = 0;
    if (i < s.len && (s.ptr[i] == '-' || s.ptr[i] == '+')) {
        i++;
    }
    for (; i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9'; i++) {
        digits++;
    }
    if (i < s.len && s.ptr[i] == '.') {
        for (i++; i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9'; i++) {
            digits++;
        }
    }
    if (digits > 0 && i < s.len && (s.ptr[i] == 'e' || s.ptr[i] == 'E')) {
        i++;
        if (i < s.len && (s.ptr[i] == '-' || s.ptr[i] == '+')) {
            i++;
        }
        size_t first = i;
        while (i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9') {
            i++;
        }
        if (i == first) {
            return false;
        }
    }
    return digits > 0 && i == s.len;
}

bool field_parse_number(struct mlq_str text, double *value)
{
    char copy[NUMBER_BYTES_MAX];
    if (text.len >= sizeof copy || !is_number_text(text)) {
        return false;
    }
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    *value = strtod(copy, NULL);
    return isfinite(*value) != 0;
}

bool field_number(const struct yaml_node *node, struct diag_list *diags, const char *what,
                  double *value)
{
    if (node->kind != YAML_SCALAR || !field_parse_number(node->text, value)) {
        return wrong(node, diags, what, "a finite number");
    }
    return true;
}

bool field_bool(const struct yaml_node *node, struct diag_list *diags, const char *what, bool *value)
{
    if (node->kind == YAML_SCALAR && !node->quoted) {
        if (mlq_str_eq_c(node->text, "true") || mlq_str_eq_c(node->text, "false")) {
            *value = node->text.ptr[0] == 't';
            return true;
        }
    }
    return wrong(node, diags, what, "true or false");
}

/* Cut a leading decimal number off *rest. */
static bool take_number(struct mlq_str *rest, double *number)
{
    size_t len = 0;
    while (len < rest->len &&
           ((rest->ptr[len] >= '0' && rest->ptr[len] <= '9') || rest->ptr[len] == '.')) {
        len++;
    }
    if (!field_parse_number((struct mlq_str){rest->ptr, len}, number)) {
        return false;
    }
    *rest = (struct mlq_str){rest->ptr + len, rest->len - len};
    return true;
}

struct unit {
    const char *text;
    double factor;
};

/* Longer units first, so that "ms" is not read as "m". Returns its place, or count. */
static size_t take_unit(struct mlq_str *rest, const struct unit *units, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t len = strlen(units[i].text);
        if (mlq_str_starts(*rest, units[i].text)) {
            *rest = (struct mlq_str){rest->ptr + len, rest->len - len};
            return i;
        }
    }
    return count;
}

static bool parse_duration(struct mlq_str text, double *ns)
{
    static const struct unit units[] = {{"d", 86400e9}, {"h", 3600e9}, {"ms", 1e6}, {"m", 60e9}, {"s", 1e9}};
    double number;
    if (field_parse_number(text, &number)) {
        *ns = number * 1e9;
        return true;
    }
    double last_factor = HUGE_VAL;
    *ns = 0;
    while (text.len > 0) {
        size_t unit = MLQ_COUNT_OF(units);
        if (!take_number(&text, &number) ||
            (unit = take_unit(&text, units, MLQ_COUNT_OF(units))) == MLQ_COUNT_OF(units) ||
            units[unit].factor >= last_factor) {
            return false;
        }
        last_factor = units[unit].factor;
        *ns += number * last_factor;
    }
    return last_factor < HUGE_VAL;
}

bool field_duration(const struct yaml_node *node, struct diag_list *diags, const char *what,
                    int64_t *value_ns)
{
    double ns;
    if (node->kind != YAML_SCALAR || !parse_duration(node->text, &ns)) {
        return wrong(node, diags, what, "a duration like 90s, 10m or 1h30m");
    }
    if (!(ns >= 1e6) || ns > DURATION_DAYS_MAX * 86400e9) {
        diag_add(diags, node->line, node->column, "%s: must be between 1ms and %dd", what,
                 DURATION_DAYS_MAX);
        return false;
    }
    *value_ns = (int64_t)ns;
    return true;
}

bool field_size(const struct yaml_node *node, struct diag_list *diags, const char *what,
                int64_t *value_bytes)
{
    static const struct unit units[] = {
        {"Ki", 1024.0}, {"Mi", 1048576.0}, {"Gi", 1073741824.0}, {"Ti", 1099511627776.0},
        {"K", 1e3},     {"M", 1e6},        {"G", 1e9},           {"T", 1e12},
    };
    struct mlq_str rest = node->text;
    double number = 0;
    double factor = 1;
    bool valid = node->kind == YAML_SCALAR && take_number(&rest, &number);
    if (valid && rest.len > 0) {
        size_t unit = take_unit(&rest, units, MLQ_COUNT_OF(units));
        valid = unit < MLQ_COUNT_OF(units) && rest.len == 0;
        factor = valid ? units[unit].factor : 1;
    }
    if (!valid) {
        return wrong(node, diags, what, "a size like 512Mi or 4Gi");
    }
    if (!(number * factor >= 1) || number * factor > 9007199254740992.0) {
        diag_add(diags, node->line, node->column, "%s: must be between 1 byte and 8192Ti", what);
        return false;
    }
    *value_bytes = (int64_t)(number * factor);
    return true;
}

bool field_cpus(const struct yaml_node *node, struct diag_list *diags, const char *what,
                int64_t *value_milli)
{
    struct mlq_str rest = node->text;
    double number = 0;
    bool valid = node->kind == YAML_SCALAR && take_number(&rest, &number);
    double milli = number * 1000;
    if (valid && mlq_str_eq_c(rest, "m")) {
        milli = number;
    } else if (rest.len > 0) {
        valid = false;
    }
    if (!valid) {
        return wrong(node, diags, what, "CPUs like 2, 0.5 or 500m");
    }
    if (!(milli >= 1) || milli > 1024000) {
        diag_add(diags, node->line, node->column, "%s: must be between 1m and 1024", what);
        return false;
    }
    *value_milli = (int64_t)(milli + 0.5);
    return true;
}

static bool is_alphanumeric(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool field_is_name(struct mlq_str text, bool dots)
{
    if (text.len < 1 || text.len > 63 || !is_alphanumeric(text.ptr[0]) ||
        !is_alphanumeric(text.ptr[text.len - 1])) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (!is_alphanumeric(c) && c != '-' && c != '_' && !(dots && c == '.')) {
            return false;
        }
    }
    return true;
}

bool field_name(const struct yaml_node *node, struct diag_list *diags, const char *what, bool dots,
                struct mlq_str *value)
{
    if (node->kind != YAML_SCALAR || !field_is_name(node->text, dots)) {
        return wrong(node, diags, what,
                     dots ? "a name of 1 to 63 letters, digits, '-', '_' and '.'"
                          : "a name of 1 to 63 letters, digits, '-' and '_'");
    }
    *value = node->text;
    return true;
}

bool field_mapping(const struct yaml_node *node, struct diag_list *diags, const char *what,
                   const char *const *names)
{
    if (node->kind != YAML_MAPPING) {
        return wrong(node, diags, what, "a mapping");
    }
    for (const struct yaml_node *child = node->first; child != NULL; child = child->next) {
        bool known = false;
        for (size_t i = 0; names[i] != NULL && !known; i++) {
            known = mlq_str_eq_c(child->key, names[i]);
        }
        if (!known) {
            diag_add(diags, child->key_line, child->key_column, "unknown key %s in %s%s",
                     diag_quote(diags, child->key), what,
                     diag_suggest(diags, child->key, names));
        }
    }
    return true;
}

bool field_sequence(const struct yaml_node *node, struct diag_list *diags, const char *what, size_t max)
{
    if (node->kind != YAML_SEQUENCE) {
        return wrong(node, diags, what, "a list");
    }
    if (node->count > max) {
        diag_add(diags, node->line, node->column, "%s: %zu entries, at most %zu are allowed", what,
                 node->count, max);
        return false;
    }
    return true;
}

const char *field_format_duration(struct mlq_region *region, int64_t ns)
{
    static const struct {
        const char *text;
        int64_t ns;
    } units[] = {{"d", INT64_C(86400000000000)}, {"h", INT64_C(3600000000000)}, {"m", INT64_C(60000000000)},
                 {"s", INT64_C(1000000000)},     {"ms", INT64_C(1000000)}};
    const char *text = "";
    for (size_t i = 0; i < MLQ_COUNT_OF(units); i++) {
        if (ns / units[i].ns > 0) {
            text = mlq_region_format(region, "%s%lld%s", text, (long long)(ns / units[i].ns),
                                     units[i].text);
            ns %= units[i].ns;
        }
    }
    return text;
}
