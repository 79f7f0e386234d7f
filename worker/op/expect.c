/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/expect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/artifact/io.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "worker/op/expect_regex.h"
#include "worker/op/expect_unique.h"

#define SUITE_BYTES_MAX  (64u << 20)
#define JSON_DEPTH_MAX   64u
#define JSON_VALUES_MAX  (1u << 22)
#define SEVERITY_DEFAULT "critical"

static const char *const type_texts[] = {
#define EXPECT_TEXT(name, text) [EXPECT_##name] = text,
    EXPECT_TYPES(EXPECT_TEXT)
#undef EXPECT_TEXT
};

/* Arguments that each type takes, besides the common ones. */
static const char *const type_arguments[] = {
    [EXPECT_COLUMNS_MATCH_SET] = " column_set exact_match ",
    [EXPECT_COLUMN_EXISTS] = " column column_index ",
    [EXPECT_OF_TYPE] = " column type_ mostly ",
    [EXPECT_NOT_NULL] = " column mostly ",
    [EXPECT_BETWEEN] = " column min_value max_value strict_min strict_max mostly ",
    [EXPECT_IN_SET] = " column value_set mostly ",
    [EXPECT_UNIQUE] = " column mostly ",
    [EXPECT_COMPOUND_UNIQUE] = " column_list ignore_row_if mostly ",
    [EXPECT_ROW_COUNT] = " min_value max_value strict_min strict_max ",
    [EXPECT_MATCH_REGEX] = " column regex mostly ",
};

/* These say how to report, which is always done in full. */
#define COMMON_ARGUMENTS                                                                           \
    " result_format include_config catch_exceptions meta batch_id severity notes "

const char *expect_type_text(enum expect_type type)
{
    return type_texts[type];
}

/* ---- What is wrong ---- */

struct place {
    const char *shown; /* file */
    size_t index;      /* of the expectation */
    const struct table *table;
    struct mlq_region *region;
};

static int bad_argument(const struct place *place, const struct expect *item, const char *argument,
                        const char *expected, struct mlq_err *err)
{
    return mlq_fail(err, MLQ_EINVAL, "%s: expectation %zu (%s): '%s' must be %s", place->shown,
                    place->index + 1, type_texts[item->type], argument, expected);
}

static int unknown_type(const struct place *place, const char *text, struct mlq_err *err)
{
    char list[MLQ_ERR_TEXT_BYTES];
    size_t used = 0;
    for (size_t i = 0; i < MLQ_COUNT_OF(type_texts); i++) {
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i == 0 ? "" : ", ",
                                 type_texts[i] + sizeof "expect_" - 1);
    }
    return mlq_fail(
        err, MLQ_ENOTSUP,
        "%s: expectation %zu: '%.60s' is not supported; these are (after 'expect_'): %s",
        place->shown, place->index + 1, text, list);
}

static void except(struct expect *item, const char *format, const char *name, const char *more)
{
    if (item->exception[0] == '\0') {
        (void)snprintf(item->exception, sizeof item->exception, "column '%.100s' %s%.60s", name,
                       format, more);
    }
}

/* ---- Arguments ---- */

static bool in_list(const char *list, const char *word)
{
    char spaced[64];
    int used = snprintf(spaced, sizeof spaced, " %s ", word);
    return used > 0 && (size_t)used < sizeof spaced && strstr(list, spaced) != NULL;
}

static bool is_nothing(const json_t *value)
{
    return value == NULL || json_is_null(value) || json_is_false(value) ||
           (json_is_string(value) && json_string_length(value) == 0);
}

/* An argument that would change the outcome and is not honoured must not pass unnoticed. */
static int check_arguments(const struct place *place, const struct expect *item,
                           struct mlq_err *err)
{
    json_t *kwargs = (json_t *)(uintptr_t)item->kwargs;
    for (void *at = json_object_iter(kwargs); at != NULL; at = json_object_iter_next(kwargs, at)) {
        const char *key = json_object_iter_key(at);
        if (!in_list(type_arguments[item->type], key) && !in_list(COMMON_ARGUMENTS, key) &&
            !is_nothing(json_object_iter_value(at))) {
            return mlq_fail(
                err, MLQ_ENOTSUP,
                "%s: expectation %zu (%s) has the argument '%.60s', which is not supported "
                "(it takes%s)",
                place->shown, place->index + 1, type_texts[item->type], key,
                type_arguments[item->type]);
        }
    }
    return MLQ_OK;
}

static int read_mostly(const struct place *place, struct expect *item, struct mlq_err *err)
{
    const json_t *mostly = json_object_get(item->kwargs, "mostly");
    item->mostly = json_is_number(mostly) ? json_number_value(mostly) : 1.0;
    if ((mostly != NULL && !json_is_null(mostly) && !json_is_number(mostly)) ||
        !(item->mostly >= 0 && item->mostly <= 1)) {
        return bad_argument(place, item, "mostly", "a number from 0 to 1", err);
    }
    return MLQ_OK;
}

static int read_limit(const struct place *place, struct expect *item, const char *name,
                      double *limit, bool *has, struct mlq_err *err)
{
    const json_t *value = json_object_get(item->kwargs, name);
    *has = json_is_number(value);
    *limit = json_number_value(value);
    return value == NULL || json_is_null(value) || *has
               ? MLQ_OK
               : bad_argument(place, item, name, "a number", err);
}

static int read_limits(const struct place *place, struct expect *item, struct mlq_err *err)
{
    struct expect_limits *limits = &item->limits;
    int rc = read_limit(place, item, "min_value", &limits->min, &limits->has_min, err);
    if (rc == MLQ_OK) {
        rc = read_limit(place, item, "max_value", &limits->max, &limits->has_max, err);
    }
    if (rc == MLQ_OK && !limits->has_min && !limits->has_max) {
        rc = bad_argument(place, item, "min_value", "given, or max_value, or both", err);
    }
    if (rc == MLQ_OK && limits->has_min && limits->has_max && limits->min > limits->max) {
        rc = bad_argument(place, item, "min_value", "at most max_value", err);
    }
    limits->strict_min = json_is_true(json_object_get(item->kwargs, "strict_min"));
    limits->strict_max = json_is_true(json_object_get(item->kwargs, "strict_max"));
    return rc;
}

/* ---- Binding ---- */

static int bind_column(const struct place *place, struct expect *item, struct mlq_err *err)
{
    const char *name = json_string_value(json_object_get(item->kwargs, "column"));
    if (name == NULL) {
        return bad_argument(place, item, "column", "the name of a column", err);
    }
    item->columns[0] = table_find(place->table, name);
    item->column_count = 1;
    if (item->columns[0] == NULL) {
        except(item, "does not exist", name, "");
    }
    return MLQ_OK;
}

static int bind_key(const struct place *place, struct expect *item, struct mlq_err *err)
{
    const json_t *list = json_object_get(item->kwargs, "column_list");
    item->column_count = json_array_size(list);
    if (item->column_count == 0 || item->column_count > EXPECT_COLUMNS_MAX) {
        return bad_argument(place, item, "column_list", "a list of 1 to 64 names", err);
    }
    for (size_t i = 0; i < item->column_count; i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (name == NULL) {
            return bad_argument(place, item, "column_list", "a list of names", err);
        }
        item->columns[i] = table_find(place->table, name);
        if (item->columns[i] == NULL) {
            except(item, "does not exist", name, "");
        }
    }
    const json_t *ignore = json_object_get(item->kwargs, "ignore_row_if");
    static const char *const texts[] = {"all_values_are_missing", "any_value_is_missing", "never"};
    for (size_t i = 0; i < MLQ_COUNT_OF(texts); i++) {
        if (json_is_string(ignore) && strcmp(json_string_value(ignore), texts[i]) == 0) {
            item->ignore = (enum expect_ignore)i;
            return MLQ_OK;
        }
    }
    return ignore == NULL || json_is_null(ignore)
               ? MLQ_OK
               : bad_argument(place, item, "ignore_row_if",
                              "all_values_are_missing, any_value_is_missing or never", err);
}

static int compare_numbers(const void *a, const void *b)
{
    const double *x = a;
    const double *y = b;
    return (*x > *y) - (*x < *y);
}

/* The dictionary is sorted, the set need not be: one search per value. */
static void mark_text(struct expect *item, const char *text)
{
    const struct table_column *column = item->columns[0];
    uint32_t low = 0;
    uint32_t high = column->dictionary_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = strcmp(column->dictionary[middle], text);
        if (order == 0) {
            item->code_fits[middle] = true;
            return;
        }
        low = order < 0 ? middle + 1 : low;
        high = order < 0 ? high : middle;
    }
}

/* true and false of JSON stand for the texts that Python, R and C write. */
static void mark_value(struct expect *item, const json_t *value)
{
    const struct table_column *column = item->columns[0];
    if (json_is_string(value)) {
        mark_text(item, json_string_value(value));
    }
    for (uint32_t code = 0; json_is_boolean(value) && code < column->dictionary_count; code++) {
        const char *word = json_is_true(value) ? "true" : "false";
        item->code_fits[code] =
            item->code_fits[code] || strcasecmp(column->dictionary[code], word) == 0;
    }
}

static int bind_set(const struct place *place, struct expect *item, struct mlq_err *err)
{
    const json_t *list = json_object_get(item->kwargs, "value_set");
    if (!json_is_array(list)) {
        return bad_argument(place, item, "value_set", "a list of values", err);
    }
    const struct table_column *column = item->columns[0];
    if (column == NULL) {
        return MLQ_OK;
    }
    size_t count = json_array_size(list);
    if (column->kind == TABLE_CATEGORY) {
        item->code_fits = mlq_region_array(place->region, column->dictionary_count, sizeof(bool));
        for (size_t i = 0; i < count; i++) {
            mark_value(item, json_array_get(list, i));
        }
        return MLQ_OK;
    }
    item->numbers = mlq_region_array(place->region, count, sizeof(double));
    for (size_t i = 0; i < count; i++) {
        const json_t *value = json_array_get(list, i);
        if (json_is_number(value)) {
            item->numbers[item->number_count++] = json_number_value(value);
        }
    }
    if (item->number_count > 0) {
        qsort(item->numbers, item->number_count, sizeof(double), compare_numbers);
    }
    return MLQ_OK;
}

static int bind_regex(const struct place *place, struct expect *item, struct mlq_err *err)
{
    const char *pattern = json_string_value(json_object_get(item->kwargs, "regex"));
    if (pattern == NULL) {
        return bad_argument(place, item, "regex", "a regular expression", err);
    }
    struct expect_regex *regex = NULL;
    char reason[160];
    if (!expect_regex_compile(pattern, &regex, reason, sizeof reason)) {
        return bad_argument(place, item, "regex", reason, err);
    }
    const struct table_column *column = item->columns[0];
    if (column != NULL && column->kind == TABLE_CATEGORY) {
        item->code_fits = mlq_region_array(place->region, column->dictionary_count, sizeof(bool));
        for (uint32_t code = 0; code < column->dictionary_count; code++) {
            bool too_hard = false;
            item->code_fits[code] =
                expect_regex_matches(regex, mlq_str_from(column->dictionary[code]), &too_hard);
            if (too_hard) {
                except(item, "holds a text on which the regex takes too long: ", column->name,
                       column->dictionary[code]);
                break;
            }
        }
    } else if (column != NULL) {
        except(item, "holds numbers, not texts; give data.import `types: {...: category}`",
               column->name, "");
    }
    expect_regex_free(&regex);
    return MLQ_OK;
}

static void observe_type(struct expect *item, const char *observed, bool success)
{
    item->success = success;
    item->details = json_pack("{s:s}", "observed_value", observed);
}

static int bind_type(const struct place *place, struct expect *item, struct mlq_err *err)
{
    static const char numbers[] =
        " float float32 float64 double real number numeric "
        "Float32 Float64 FLOAT DOUBLE REAL NUMERIC DECIMAL FloatType DoubleType ";
    static const char integers[] =
        " int int8 int16 int32 int64 integer long Int8 Int16 Int32 Int64 "
        "INT INTEGER BIGINT SMALLINT IntegerType LongType ";
    static const char texts[] = " str string object category text String STRING VARCHAR TEXT "
                                "StringType StringDtype CategoricalDtype ";
    static const char bools[] = " bool bool_ boolean Bool BOOL BOOLEAN BooleanType ";
    const char *type = json_string_value(json_object_get(item->kwargs, "type_"));
    if (type == NULL) {
        return bad_argument(place, item, "type_", "the name of a type", err);
    }
    bool is_number = in_list(numbers, type);
    bool is_integer = in_list(integers, type);
    bool is_bool = in_list(bools, type);
    if (!is_number && !is_integer && !is_bool && !in_list(texts, type)) {
        return bad_argument(place, item, "type_",
                            "a known type, such as int64, float64, str, object, category or bool",
                            err);
    }
    const struct table_column *column = item->columns[0];
    if (column == NULL) {
        return MLQ_OK;
    }
    if (column->kind == TABLE_NUMBER) {
        observe_type(item, column->integer ? "int64" : "float64",
                     is_number || (is_integer && column->integer));
        return MLQ_OK;
    }
    bool holds_bools = column->dictionary_count > 0;
    for (uint32_t i = 0; i < column->dictionary_count; i++) {
        holds_bools = holds_bools && (strcasecmp(column->dictionary[i], "true") == 0 ||
                                      strcasecmp(column->dictionary[i], "false") == 0);
    }
    observe_type(item, holds_bools ? "bool" : "object",
                 is_bool ? holds_bools : !is_number && !is_integer);
    return MLQ_OK;
}

static json_t *sorted_names(const struct table *table)
{
    json_t *names = json_array();
    for (size_t i = 0; i < table_column_count(table); i++) {
        (void)json_array_append_new(names, json_string(table_column(table, i)->name));
    }
    return names;
}

static int check_column_set(const struct place *place, struct expect *item, struct mlq_err *err)
{
    const json_t *set = json_object_get(item->kwargs, "column_set");
    const json_t *exact = json_object_get(item->kwargs, "exact_match");
    if (!json_is_array(set)) {
        return bad_argument(place, item, "column_set", "a list of names", err);
    }
    json_t *wanted = json_object();
    json_t *missing = json_array();
    json_t *unexpected = json_array();
    int rc = MLQ_OK;
    for (size_t i = 0; i < json_array_size(set); i++) {
        const char *name = json_string_value(json_array_get(set, i));
        if (name == NULL) {
            rc = bad_argument(place, item, "column_set", "a list of names", err);
            break;
        }
        (void)json_object_set_new(wanted, name, json_true());
        if (table_find(place->table, name) == NULL) {
            (void)json_array_append_new(missing, json_string(name));
        }
    }
    for (size_t i = 0; i < table_column_count(place->table); i++) {
        const char *name = table_column(place->table, i)->name;
        if (json_object_get(wanted, name) == NULL) {
            (void)json_array_append_new(unexpected, json_string(name));
        }
    }
    bool any_order = exact == NULL || json_is_null(exact) || json_is_true(exact);
    item->success =
        json_array_size(missing) == 0 && (!any_order || json_array_size(unexpected) == 0);
    item->details =
        json_pack("{s:o, s:{s:{s:O, s:O}}}", "observed_value", sorted_names(place->table),
                  "details", "mismatched", "missing", missing, "unexpected", unexpected);
    json_decref(wanted);
    json_decref(missing);
    json_decref(unexpected);
    return rc;
}

/* The column at its place, when the suite names one. */
static int check_column_exists(const struct place *place, struct expect *item, struct mlq_err *err)
{
    item->exception[0] = '\0'; /* its absence is the finding, not an exception */
    const json_t *index = json_object_get(item->kwargs, "column_index");
    if (index != NULL && !json_is_null(index) && !json_is_integer(index)) {
        return bad_argument(place, item, "column_index", "an integer", err);
    }
    size_t at = 0;
    while (at < table_column_count(place->table) &&
           table_column(place->table, at) != item->columns[0]) {
        at++;
    }
    item->success = item->columns[0] != NULL &&
                    (!json_is_integer(index) || json_integer_value(index) == (json_int_t)at);
    item->details = json_object();
    return MLQ_OK;
}

static int check_row_count(const struct place *place, struct expect *item, struct mlq_err *err)
{
    int rc = read_limits(place, item, err);
    double rows = (double)table_rows(place->table);
    const struct expect_limits *limits = &item->limits;
    item->success =
        !(limits->has_min && (limits->strict_min ? rows <= limits->min : rows < limits->min)) &&
        !(limits->has_max && (limits->strict_max ? rows >= limits->max : rows > limits->max));
    item->details = json_pack("{s:I}", "observed_value", (json_int_t)table_rows(place->table));
    return rc;
}

static int bind_between(const struct place *place, struct expect *item, struct mlq_err *err)
{
    const struct table_column *column = item->columns[0];
    if (column != NULL && column->kind != TABLE_NUMBER) {
        except(item, "holds texts, not numbers", column->name, "");
    }
    return read_limits(place, item, err);
}

static int bind_type_specific(const struct place *place, struct expect *item, struct mlq_err *err)
{
    switch (item->type) {
    case EXPECT_COLUMNS_MATCH_SET:
        return check_column_set(place, item, err);
    case EXPECT_COLUMN_EXISTS:
        return check_column_exists(place, item, err);
    case EXPECT_OF_TYPE:
        return bind_type(place, item, err);
    case EXPECT_BETWEEN:
        return bind_between(place, item, err);
    case EXPECT_IN_SET:
        return bind_set(place, item, err);
    case EXPECT_COMPOUND_UNIQUE:
        return bind_key(place, item, err);
    case EXPECT_ROW_COUNT:
        return check_row_count(place, item, err);
    case EXPECT_MATCH_REGEX:
        return bind_regex(place, item, err);
    case EXPECT_NOT_NULL:
    case EXPECT_UNIQUE:
        return MLQ_OK;
    }
    return MLQ_OK;
}

/* ---- The suite ---- */

static int read_type(const struct place *place, struct expect *item, struct mlq_err *err)
{
    const json_t *type = json_object_get(item->config, "expectation_type");
    type = type == NULL ? json_object_get(item->config, "type") : type;
    if (!json_is_string(type)) {
        return mlq_fail(err, MLQ_EINVAL, "%s: expectation %zu has no 'expectation_type' or 'type'",
                        place->shown, place->index + 1);
    }
    for (size_t i = 0; i < MLQ_COUNT_OF(type_texts); i++) {
        if (strcmp(type_texts[i], json_string_value(type)) == 0) {
            item->type = (enum expect_type)i;
            return MLQ_OK;
        }
    }
    return unknown_type(place, json_string_value(type), err);
}

static int read_item(const struct place *place, struct expect *item, struct mlq_err *err)
{
    int rc = read_type(place, item, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    item->kwargs = json_object_get(item->config, "kwargs");
    if (!json_is_object(item->kwargs)) {
        return bad_argument(place, item, "kwargs", "an object", err);
    }
    const char *severity = json_string_value(json_object_get(item->config, "severity"));
    item->warning = severity != NULL && strcmp(severity, SEVERITY_DEFAULT) != 0;
    rc = check_arguments(place, item, err);
    if (rc == MLQ_OK) {
        rc = read_mostly(place, item, err);
    }
    if (rc == MLQ_OK && in_list(type_arguments[item->type], "column")) {
        rc = bind_column(place, item, err);
    }
    return rc == MLQ_OK ? bind_type_specific(place, item, err) : rc;
}

static int read_suite(struct expect_suite *suite, struct place *place, struct mlq_err *err)
{
    const json_t *list = json_object_get(suite->root, "expectations");
    if (!json_is_array(list)) {
        return mlq_fail(err, MLQ_EINVAL,
                        "%s: no expectation suite: expected an object with a list 'expectations'",
                        place->shown);
    }
    const json_t *name = json_object_get(suite->root, "expectation_suite_name");
    suite->is_v1 = name == NULL;
    name = name == NULL ? json_object_get(suite->root, "name") : name;
    suite->name = json_string_value(name);
    size_t count = json_array_size(list);
    if (count == 0 || count > EXPECT_COUNT_MAX) {
        return mlq_fail(err, MLQ_EINVAL, "%s: a suite holds 1 to %u expectations, this one %zu",
                        place->shown, EXPECT_COUNT_MAX, count);
    }
    suite->items = mlq_region_array(suite->region, count, sizeof *suite->items);
    for (place->index = 0; place->index < count; place->index++) {
        struct expect *item = &suite->items[place->index];
        suite->count++;
        item->config = json_array_get(list, place->index);
        int rc = read_item(place, item, err);
        if (rc != MLQ_OK) {
            return rc;
        }
    }
    return MLQ_OK;
}

int expect_suite_open(const char *path, const char *shown, const struct table *table,
                      struct expect_suite *suite, struct mlq_err *err)
{
    *suite = (struct expect_suite){.region = mlq_region_create()};
    char *text = NULL;
    size_t len = 0;
    int rc = mlq_fs_read(path, SUITE_BYTES_MAX, &text, &len, err);
    if (rc == MLQ_OK) {
        rc = io_json_parse((struct mlq_str){text, len},
                           (struct io_json_limits){JSON_DEPTH_MAX, JSON_VALUES_MAX}, &suite->root,
                           err);
        mlq_free(text);
        rc = rc == MLQ_OK ? rc : mlq_wrap(err, rc, "%s", shown);
    }
    if (rc == MLQ_OK) {
        struct place place = {.shown = shown, .table = table, .region = suite->region};
        rc = read_suite(suite, &place, err);
    }
    if (rc != MLQ_OK) {
        expect_suite_close(suite);
    }
    return rc;
}

void expect_suite_close(struct expect_suite *suite)
{
    for (size_t i = 0; i < suite->count; i++) {
        json_decref(suite->items[i].details);
        expect_unique_destroy(&suite->items[i].seen);
    }
    json_decref(suite->root);
    mlq_region_destroy(&suite->region);
    *suite = (struct expect_suite){0};
}
