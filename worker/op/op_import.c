/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * data.import: a CSV file (input `path`) becomes table.safetensors and profile.json.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/artifact/cas.h"
#include "lib/base/panic.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "lib/sys/thread.h"
#include "worker/op/import.h"
#include "worker/op/op_table.h"
#include "worker/op/profile.h"
#include "worker/op/table.h"

#define BAD_ROWS_MAX      INT64_C(1000000000000)
#define PROFILED_COLUMNS  16u /* at a time: profile.h draws its rows anew for each time */
#define PROFILING_CPUS    4u  /* each needs the room of a profile */

static int read_missing(struct op_context *ctx, struct import_options *options, struct mlq_err *err)
{
    static const char *const standard[] = {"", "NA", "N/A", "NaN", "nan", "null"};
    const json_t *list = op_with(ctx, "missing");
    if (list == NULL) {
        options->missing = standard;
        options->missing_count = MLQ_COUNT_OF(standard);
        return MLQ_OK;
    }
    if (!json_is_array(list) || json_array_size(list) > IMPORT_MISSING_MAX) {
        return mlq_fail(err, MLQ_EINVAL, "with.missing: expected a list of at most %u texts",
                        IMPORT_MISSING_MAX);
    }
    options->missing_count = json_array_size(list);
    const char **texts =
        mlq_region_array(op_region(ctx), options->missing_count, sizeof(const char *));
    for (size_t i = 0; i < options->missing_count; i++) {
        texts[i] = json_string_value(json_array_get(list, i));
        if (texts[i] == NULL) {
            return mlq_fail(err, MLQ_EINVAL, "with.missing: entry %zu is not a text", i + 1);
        }
    }
    options->missing = texts;
    return MLQ_OK;
}

static int read_delimiter(struct op_context *ctx, struct import_options *options,
                          struct mlq_err *err)
{
    const char *text = NULL;
    int rc = op_get_text(ctx, "delimiter", ",", &text, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    unsigned char byte = (unsigned char)text[0];
    if (strlen(text) != 1 || byte == '"' || byte == '\n' || byte == '\r' || byte >= 0x80) {
        return mlq_fail(
            err, MLQ_EINVAL,
            "with.delimiter is '%.20s': expected one ASCII character, such as ',' ';' or a "
            "tab; not a quote, not a newline",
            text);
    }
    options->delimiter = text[0];
    return MLQ_OK;
}

static int read_options(struct op_context *ctx, struct import_options *options, struct mlq_err *err)
{
    int64_t bad_rows = 0;
    int64_t categories = 0;
    int rc = op_need_input(ctx, "path", &options->path, err);
    if (rc == MLQ_OK) {
        rc = op_get_text(ctx, "path", op_file_name(options->path), &options->shown, err);
    }
    if (rc == MLQ_OK) {
        rc = op_get_text(ctx, "target", NULL, &options->target, err);
    }
    if (rc == MLQ_OK) {
        rc = op_get_int(ctx, "max_bad_rows", (struct op_int_range){0, 0, BAD_ROWS_MAX}, &bad_rows,
                        err);
    }
    if (rc == MLQ_OK) {
        rc = op_get_int(ctx, "categories_max",
                        (struct op_int_range){10000, 1, TABLE_DICTIONARY_MAX}, &categories, err);
    }
    if (rc == MLQ_OK) {
        rc = read_delimiter(ctx, options, err);
    }
    if (rc == MLQ_OK) {
        rc = read_missing(ctx, options, err);
    }
    options->types = op_with(ctx, "types");
    if (rc == MLQ_OK && options->types != NULL && !json_is_object(options->types)) {
        rc = mlq_fail(err, MLQ_EINVAL, "with.types: expected a mapping of column to type");
    }
    options->bad_rows_max = (uint64_t)bad_rows;
    options->categories_max = (uint32_t)categories;
    return rc;
}

/* The "source" of the table's schema, as JSON text (free with free). */
static int describe_source(const struct import_options *options, const struct import *import,
                           char **text, struct mlq_err *err)
{
    struct cas_digest digest;
    uint64_t bytes = import_bytes(import);
    int rc = op_input_digest("path", &digest)
                 ? MLQ_OK
                 : cas_digest_file(options->path, &digest, &bytes, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    char digest_text[CAS_DIGEST_TEXT_BYTES];
    cas_digest_format(&digest, digest_text);
    json_t *source = json_pack("{s:s, s:I, s:s}", "file", options->shown, "bytes",
                               (json_int_t)bytes, "digest", digest_text);
    *text = source == NULL ? NULL : json_dumps(source, JSON_COMPACT);
    json_decref(source);
    return *text != NULL ? MLQ_OK
                         : mlq_fail(err, MLQ_EINVAL, "with.path: the file's name is not UTF-8");
}

static json_t *describe_bad_rows(const struct import *import)
{
    json_t *first = json_array();
    for (size_t i = 0; import_bad_row(import, i) != NULL; i++) {
        const struct import_bad_row *bad = import_bad_row(import, i);
        json_t *row = json_pack("{s:I, s:I, s:s}", "line", (json_int_t)bad->line, "field",
                                (json_int_t)bad->field, "problem", bad->text);
        if (row == NULL) { /* bytes that are not UTF-8 in the quoted cell */
            row = json_pack("{s:I, s:I}", "line", (json_int_t)bad->line, "field",
                            (json_int_t)bad->field);
        }
        (void)json_array_append_new(first, row);
    }
    return json_pack("{s:I, s:o}", "count", (json_int_t)import_bad_rows(import), "first", first);
}

/* A target that teaches nothing is found here rather than after an hour of training. */
static int check_target(const char *shown, size_t field, const struct table_column *target,
                        const json_t *column, struct mlq_err *err)
{
    json_int_t distinct = json_integer_value(json_object_get(column, "distinct"));
    json_int_t count = json_integer_value(json_object_get(column, "count"));
    const char *name = target->name;
    if (count == 0) {
        return mlq_fail(err, MLQ_EINVAL, "%s:1:%zu: the target '%.100s' has no value in any row",
                        shown, field, name);
    }
    if (distinct == 1) {
        return mlq_fail(
            err, MLQ_EINVAL,
            "%s:1:%zu: the target '%.100s' has the same value in every row: there is nothing "
            "to learn",
            shown, field, name);
    }
    if (target->kind == TABLE_CATEGORY && distinct == count && count > 2) {
        return mlq_fail(
            err, MLQ_EINVAL,
            "%s:1:%zu: the target '%.100s' has a class of its own for each of its %" PRId64
            " rows: is it an identifier?",
            shown, field, name, (int64_t)count);
    }
    return MLQ_OK;
}

/* Some columns at a time, on any thread. */
struct profiling {
    struct op_context *ctx;
    pthread_t teller; /* who may tell progress */
    const struct table *table;
    json_t **columns;
};

static int profile_piece(void *context, size_t i, struct mlq_err *err)
{
    const struct profiling *profiling = context;
    size_t count = table_column_count(profiling->table);
    size_t begin = i * PROFILED_COLUMNS;
    size_t end = count - begin < PROFILED_COLUMNS ? count : begin + PROFILED_COLUMNS;
    (void)err;
    struct profile *profile = profile_create();
    for (size_t c = begin; c < end; c++) {
        profiling->columns[c] = profile_column(profile, profiling->table, c);
    }
    profile_destroy(&profile);
    if (pthread_equal(pthread_self(), profiling->teller) != 0) {
        op_progress(profiling->ctx, 0.9 + 0.1 * (double)end / (double)count, "profiling");
    }
    return MLQ_OK;
}

/* A JSON array of all columns, in their order. */
static json_t *profile_columns(struct op_context *ctx, const struct table *table)
{
    size_t count = table_column_count(table);
    struct profiling profiling = {.ctx = ctx,
                                  .teller = pthread_self(),
                                  .table = table,
                                  .columns = mlq_alloc_array(count, sizeof(json_t *))};
    (void)mlq_thread_each(op_cpus() < PROFILING_CPUS ? op_cpus() : PROFILING_CPUS,
                          (count + PROFILED_COLUMNS - 1) / PROFILED_COLUMNS, profile_piece, &profiling, NULL);
    json_t *columns = json_array();
    for (size_t c = 0; c < count; c++) {
        (void)json_array_append_new(columns, profiling.columns[c]);
    }
    mlq_free(profiling.columns);
    return columns;
}

/* Of all columns, *missing cells counted. */
static int check_profiles(const struct import_options *options, const struct import *import,
                          const struct table *table, const json_t *profiles, double *missing,
                          struct mlq_err *err)
{
    int rc = MLQ_OK;
    *missing = 0;
    for (size_t i = 0; rc == MLQ_OK && i < table_column_count(table); i++) {
        const json_t *column = json_array_get(profiles, i);
        *missing += (double)json_integer_value(json_object_get(column, "missing"));
        if (table_column(table, i)->role == TABLE_TARGET) {
            rc = check_target(options->shown, import_target_field(import), table_column(table, i),
                              column, err);
        }
    }
    return rc;
}

static int profile(struct op_context *ctx, const struct import_options *options,
                   const struct import *import, struct mlq_err *err)
{
    struct table *table = NULL;
    double missing = 0;
    int rc = table_open_own(op_output(ctx, "table.safetensors"), &table, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    json_t *columns = profile_columns(ctx, table);
    rc = check_profiles(options, import, table, columns, &missing, err);
    if (rc != MLQ_OK) {
        json_decref(columns);
        table_close(&table);
        return rc;
    }
    size_t count = table_column_count(table);
    double rows = (double)table_rows(table);
    double fraction = missing / (rows * (double)count);
    json_t *root = json_pack("{s:s, s:I, s:I, s:f, s:o, s:o}", "file", options->shown, "rows",
                             (json_int_t)table_rows(table), "columns_count", (json_int_t)count,
                             "missing_fraction", fraction, "bad_rows", describe_bad_rows(import),
                             "columns", columns);
    MLQ_ASSERT(root != NULL);
    rc = op_write_json(ctx, "profile.json", root, err);
    if (rc == MLQ_OK) {
        op_metric(ctx, "rows", rows, OP_NO_STEP);
        op_metric(ctx, "columns", (double)count, OP_NO_STEP);
        op_metric(ctx, "bad_rows", (double)import_bad_rows(import), OP_NO_STEP);
        op_metric(ctx, "missing_fraction", fraction, OP_NO_STEP);
    }
    json_decref(root);
    table_close(&table);
    return rc;
}

int op_import_run(struct op_context *ctx, struct mlq_err *err)
{
    struct import_options options = {0};
    struct import *import = NULL;
    char *source = NULL;
    int rc = read_options(ctx, &options, err);
    if (rc == MLQ_OK) {
        rc = import_scan(ctx, &options, &import, err);
    }
    if (rc == MLQ_OK) {
        rc = describe_source(&options, import, &source, err);
    }
    if (rc == MLQ_OK) {
        rc = import_write(import, op_output(ctx, "table.safetensors"), source, err);
    }
    if (rc == MLQ_OK) {
        for (size_t i = 0; import_bad_row(import, i) != NULL; i++) {
            const struct import_bad_row *bad = import_bad_row(import, i);
            log_warn("import.bad_row", "place=%s:%" PRIu64 ":%zu reason=\"%s\"", options.shown,
                     bad->line, bad->field, bad->text);
        }
        rc = profile(ctx, &options, import, err);
    }
    import_close(&import);
    mlq_free(source); /* jansson's, which comes from malloc as ours does */
    return rc;
}
