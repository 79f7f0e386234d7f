/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/expect_check.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"
#include "worker/op/expect_unique.h"

#define BLOCK_ROWS UINT64_C(8192)

/* ---- Values ---- */

static bool is_missing(const struct table_column *column, uint64_t row)
{
    return column->kind == TABLE_NUMBER ? isnan(column->numbers[row]) : column->codes[row] < 0;
}

static bool in_numbers(const struct expect *item, double value)
{
    size_t low = 0;
    size_t high = item->number_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (item->numbers[middle] == value) {
            return true;
        }
        low = item->numbers[middle] < value ? middle + 1 : low;
        high = item->numbers[middle] < value ? high : middle;
    }
    return false;
}

static bool within(const struct expect_limits *limits, double value)
{
    if (limits->has_min && (limits->strict_min ? value <= limits->min : value < limits->min)) {
        return false;
    }
    return !limits->has_max || (limits->strict_max ? value < limits->max : value <= limits->max);
}

static void note(struct expect *item, uint64_t row)
{
    item->unexpected++;
    if (item->shown_count < EXPECT_SHOWN_MAX) {
        item->shown[item->shown_count++] = row;
    }
}

/* ---- Passes ---- */

static bool is_unique_check(const struct expect *item)
{
    return item->type == EXPECT_UNIQUE || item->type == EXPECT_COMPOUND_UNIQUE;
}

/* Checks that count values; the others were decided when they were bound. */
static bool is_counted(const struct expect *item)
{
    return item->details == NULL && item->exception[0] == '\0';
}

static void check_missing(struct expect *item, uint64_t begin, uint64_t end)
{
    for (uint64_t row = begin; row < end; row++) {
        if (is_missing(item->columns[0], row)) {
            note(item, row);
        }
    }
}

static void check_between(struct expect *item, uint64_t begin, uint64_t end)
{
    const double *numbers = item->columns[0]->numbers;
    for (uint64_t row = begin; row < end; row++) {
        if (isnan(numbers[row])) {
            item->missing++;
        } else if (!within(&item->limits, numbers[row])) {
            note(item, row);
        }
    }
}

/* value_set of either kind, and regex, which is decided per entry of the dictionary. */
static void check_membership(struct expect *item, uint64_t begin, uint64_t end)
{
    const struct table_column *column = item->columns[0];
    for (uint64_t row = begin; row < end; row++) {
        if (is_missing(column, row)) {
            item->missing++;
        } else if (column->kind == TABLE_NUMBER ? !in_numbers(item, column->numbers[row])
                                                : !item->code_fits[column->codes[row]]) {
            note(item, row);
        }
    }
}

static bool is_ignored(const struct expect *item, uint64_t row)
{
    size_t missing = 0;
    for (size_t i = 0; i < item->column_count; i++) {
        missing += is_missing(item->columns[i], row) ? 1 : 0;
    }
    switch (item->ignore) {
    case EXPECT_IGNORE_ALL_MISSING:
        return missing == item->column_count;
    case EXPECT_IGNORE_ANY_MISSING:
        return missing > 0;
    case EXPECT_IGNORE_NEVER:
        return false;
    }
    MLQ_UNREACHABLE("expect ignore");
}

static void collect_keys(struct expect *item, uint64_t begin, uint64_t end)
{
    for (uint64_t row = begin; row < end; row++) {
        if (is_ignored(item, row)) {
            item->missing++;
        } else {
            expect_unique_add(item->seen, item->columns, item->column_count, row);
        }
    }
}

static void check_keys(struct expect *item, uint64_t begin, uint64_t end)
{
    for (uint64_t row = begin; row < end; row++) {
        if (!is_ignored(item, row) &&
            expect_unique_repeated(item->seen, item->columns, item->column_count, row)) {
            note(item, row);
        }
    }
}

static void check_block(struct expect *item, uint64_t begin, uint64_t end, bool second)
{
    if (!is_counted(item)) {
        return;
    }
    if (second) {
        if (is_unique_check(item)) {
            check_keys(item, begin, end);
        }
        return;
    }
    switch (item->type) {
    case EXPECT_NOT_NULL:
        check_missing(item, begin, end);
        return;
    case EXPECT_BETWEEN:
        check_between(item, begin, end);
        return;
    case EXPECT_IN_SET:
    case EXPECT_MATCH_REGEX:
        check_membership(item, begin, end);
        return;
    case EXPECT_UNIQUE:
    case EXPECT_COMPOUND_UNIQUE:
        collect_keys(item, begin, end);
        return;
    case EXPECT_COLUMNS_MATCH_SET:
    case EXPECT_COLUMN_EXISTS:
    case EXPECT_OF_TYPE:
    case EXPECT_ROW_COUNT:
        return;
    }
}

static bool pass(struct op_context *ctx, struct expect_suite *suite, uint64_t rows, bool second)
{
    for (uint64_t begin = 0; begin < rows; begin += BLOCK_ROWS) {
        uint64_t end = rows - begin < BLOCK_ROWS ? rows : begin + BLOCK_ROWS;
        for (size_t i = 0; i < suite->count; i++) {
            check_block(&suite->items[i], begin, end, second);
        }
        op_progress(ctx, (second ? 0.5 : 0) + 0.5 * (double)end / (double)rows, "checking");
        if (op_should_stop(ctx)) {
            return false;
        }
    }
    return true;
}

static void conclude(struct expect *item, uint64_t rows)
{
    if (!is_counted(item)) {
        item->success = item->success && item->exception[0] == '\0';
        return;
    }
    item->elements = rows;
    uint64_t counted = rows - item->missing;
    item->success =
        counted == 0 || (double)(counted - item->unexpected) / (double)counted >= item->mostly;
}

int expect_check_suite(struct op_context *ctx, struct expect_suite *suite,
                       const struct table *table)
{
    uint64_t rows = table_rows(table);
    bool twice = false;
    for (size_t i = 0; i < suite->count; i++) {
        struct expect *item = &suite->items[i];
        if (is_unique_check(item) && is_counted(item)) {
            item->seen = expect_unique_create(rows);
            twice = true;
        }
        /* A single column's missing values are never part of its key. */
        item->ignore = item->type == EXPECT_UNIQUE ? EXPECT_IGNORE_ANY_MISSING : item->ignore;
    }
    if (!pass(ctx, suite, rows, false) || (twice && !pass(ctx, suite, rows, true))) {
        return OP_STOPPED;
    }
    for (size_t i = 0; i < suite->count; i++) {
        conclude(&suite->items[i], rows);
    }
    return MLQ_OK;
}

/* ---- Results ---- */

static json_t *value_json(const struct table_column *column, uint64_t row)
{
    if (is_missing(column, row)) {
        return json_null();
    }
    if (column->kind == TABLE_CATEGORY) {
        return json_string(column->dictionary[column->codes[row]]);
    }
    return column->integer ? json_integer((json_int_t)column->numbers[row])
                           : json_real(column->numbers[row]);
}

/* A compound key is an object, as a row of a data frame is. */
static json_t *unexpected_json(const struct expect *item, uint64_t row)
{
    if (item->type != EXPECT_COMPOUND_UNIQUE) {
        return value_json(item->columns[0], row);
    }
    json_t *key = json_object();
    for (size_t i = 0; i < item->column_count; i++) {
        (void)json_object_set_new(key, item->columns[i]->name, value_json(item->columns[i], row));
    }
    return key;
}

static void set_percent(json_t *out, const char *key, uint64_t part, uint64_t whole)
{
    json_t *value = whole == 0 ? json_null() : json_real(100.0 * (double)part / (double)whole);
    MLQ_ASSERT(json_object_set_new(out, key, value) == 0);
}

static json_t *counts_json(const struct expect *item, const struct table *table)
{
    json_t *out = json_object();
    json_t *values = json_array();
    json_t *rows = json_array();
    for (size_t i = 0; i < item->shown_count; i++) {
        (void)json_array_append_new(values, unexpected_json(item, item->shown[i]));
        (void)json_array_append_new(
            rows, json_integer((json_int_t)table_source_row(table, item->shown[i])));
    }
    uint64_t counted = item->elements - item->missing;
    (void)json_object_set_new(out, "element_count", json_integer((json_int_t)item->elements));
    if (item->type != EXPECT_NOT_NULL) {
        (void)json_object_set_new(out, "missing_count", json_integer((json_int_t)item->missing));
        set_percent(out, "missing_percent", item->missing, item->elements);
    }
    (void)json_object_set_new(out, "unexpected_count", json_integer((json_int_t)item->unexpected));
    set_percent(out, "unexpected_percent", item->unexpected, counted);
    set_percent(out, "unexpected_percent_total", item->unexpected, item->elements);
    if (item->type != EXPECT_NOT_NULL) {
        set_percent(out, "unexpected_percent_nonmissing", item->unexpected, counted);
    }
    (void)json_object_set_new(out, "partial_unexpected_list", values);
    (void)json_object_set_new(out, "partial_unexpected_index_list", rows);
    return out;
}

static json_t *item_json(const struct expect *item, const struct table *table)
{
    bool raised = item->exception[0] != '\0';
    json_t *result = raised                  ? json_object()
                     : item->details != NULL ? json_incref(item->details)
                                             : counts_json(item, table);
    json_t *message = raised ? json_string(item->exception) : json_null();
    if (message == NULL) { /* cut in the middle of a character */
        message = json_string("the column cannot be checked");
    }
    json_t *out =
        json_pack("{s:b, s:O, s:o, s:{}, s:{s:b, s:o, s:n}}", "success", item->success,
                  "expectation_config", item->config, "result", result, "meta", "exception_info",
                  "raised_exception", raised, "exception_message", message, "exception_traceback");
    MLQ_ASSERT(out != NULL);
    return out;
}

json_t *expect_check_result(const struct expect_suite *suite, const struct table *table)
{
    json_t *results = json_array();
    json_int_t passed = 0;
    bool success = true;
    for (size_t i = 0; i < suite->count; i++) {
        passed += suite->items[i].success ? 1 : 0;
        success = success && suite->items[i].success;
        (void)json_array_append_new(results, item_json(&suite->items[i], table));
    }
    json_int_t count = (json_int_t)suite->count;
    json_t *root = json_pack("{s:b, s:o, s:s?, s:{s:I, s:I, s:I, s:f}, s:{s:s?}}", "success",
                             success, "results", results, "suite_name", suite->name, "statistics",
                             "evaluated_expectations", count, "successful_expectations", passed,
                             "unsuccessful_expectations", count - passed, "success_percent",
                             100.0 * (double)passed / (double)count, "meta",
                             "expectation_suite_name", suite->name);
    MLQ_ASSERT(root != NULL);
    return root;
}

void expect_check_describe(const struct expect *item, const struct table *table, char *text,
                           size_t text_bytes)
{
    const char *column =
        item->column_count == 1 && item->columns[0] != NULL ? item->columns[0]->name : "";
    int used = snprintf(text, text_bytes, "%s(%.80s)", expect_type_text(item->type), column);
    size_t at = used < 0 || (size_t)used >= text_bytes ? text_bytes - 1 : (size_t)used;
    if (item->exception[0] != '\0') {
        (void)snprintf(text + at, text_bytes - at, ": %s", item->exception);
        return;
    }
    if (item->details != NULL) {
        char *details = json_dumps(item->details, JSON_COMPACT);
        (void)snprintf(text + at, text_bytes - at, ": %s", details == NULL ? "" : details);
        mlq_free(details); /* jansson's, which comes from malloc as ours does */
        return;
    }
    used = snprintf(text + at, text_bytes - at, ": %" PRIu64 " of %" PRIu64 " values, rows",
                    item->unexpected, item->elements - item->missing);
    for (size_t i = 0; i < item->shown_count && i < 5; i++) {
        at += used < 0 || (size_t)used >= text_bytes - at ? text_bytes - at - 1 : (size_t)used;
        used = snprintf(text + at, text_bytes - at, "%s %" PRId64, i == 0 ? "" : ",",
                        table_source_row(table, item->shown[i]));
    }
}
