/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Why kinds are pinned for a second scan: a column that turns out to hold texts late in the file
 * has no entry for its earlier, number-like values; and "inf" is a bad value in a number column but
 * a good text in a category, which is known only at the end. Either way the second scan decides
 * every row with the kinds settled, so it and the writing pass agree on which rows are bad.
 */
#include "worker/op/import.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "worker/op/import_part.h"
#include "worker/op/import_rows.h"

#define CHUNK_BYTES       (64u << 20) /* of values that wait to be written, or that the scan keeps */
#define CHUNK_ROWS_MAX    8192u
#define CHUNK_ROWS_MIN    64u
#define CACHE_LINE_VALUES 8u
#define TEXT_BYTES        48u                /* to keep a text, its own bytes not counted */
#define ESCAPED_BYTES     8u                 /* of one that JSON in JSON escapes */

/* ---- Messages ---- */

/* A cell for a message: cut, without control characters. */
static void show_cell(struct mlq_str cell, char shown[CELL_SHOWN + 1])
{
    size_t len = cell.len < CELL_SHOWN ? cell.len : CELL_SHOWN;
    while (len > 0 && len < cell.len && ((unsigned char)cell.ptr[len] & 0xc0) == 0x80) {
        len--; /* not in the middle of a character */
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)cell.ptr[i];
        shown[i] = byte < 0x20 || byte == 0x7f ? '?' : cell.ptr[i];
    }
    shown[len] = '\0';
}

/* Counts a bad row. MLQ_EINVAL when that is one too many. */
static int add_bad(struct import *import, uint64_t line, size_t field, const char *text,
                   struct mlq_err *err)
{
    if (import->bad_count < IMPORT_BAD_ROWS_SHOWN) {
        struct import_bad_row *bad = &import->bad[import->bad_count];
        bad->line = line;
        bad->field = field;
        (void)snprintf(bad->text, sizeof bad->text, "%s", text);
    }
    import->bad_count++;
    if (import->bad_count <= import->options->bad_rows_max) {
        return MLQ_OK;
    }
    for (size_t i = 0; i < import->bad_count && i < IMPORT_BAD_ROWS_SHOWN; i++) {
        const struct import_bad_row *bad = &import->bad[i];
        log_error("import.bad_row", "place=%s:%" PRIu64 ":%zu reason=\"%s\"",
                  import->options->shown, bad->line, bad->field, bad->text);
    }
    return mlq_fail(err, MLQ_EINVAL,
                    "%s:%" PRIu64 ":%zu: %s (bad row %" PRIu64 "; with.max_bad_rows is %" PRIu64
                    ")",
                    import->options->shown, line, field, text, import->bad_count,
                    import->options->bad_rows_max);
}

static int refuse_count(struct import *import, const struct bad *bad, uint64_t line,
                        struct mlq_err *err)
{
    char shown[CELL_SHOWN + 1];
    char text[sizeof import->bad[0].text];
    show_cell(bad->shown, shown);
    (void)snprintf(text, sizeof text, "%zu fields, but the header has %zu (%s)", bad->count,
                   import->count, shown);
    size_t field = bad->count < import->count ? bad->count : import->count + 1;
    return add_bad(import, line, field, text, err);
}

static int refuse_cell(struct import *import, const struct bad *bad, uint64_t line,
                       struct mlq_err *err)
{
    char shown[CELL_SHOWN + 1];
    char text[sizeof import->bad[0].text];
    show_cell(bad->shown, shown);
    (void)snprintf(text, sizeof text, "'%s' in the number column '%.60s' is not a finite number",
                   shown, import->columns[bad->field].name);
    return add_bad(import, line, bad->field + 1, text, err);
}

static int refuse_row(struct import *import, const struct bad *bad, struct mlq_err *err)
{
    uint64_t line = import->lines + bad->line;
    if (bad->problem != CSV_FINE) {
        return add_bad(import, line, bad->field + 1, csv_problem_text(bad->problem), err);
    }
    return bad->count != import->count ? refuse_count(import, bad, line, err)
                                       : refuse_cell(import, bad, line, err);
}

/* ---- A chunk of rows ---- */

/* Which column of the table each one of the file becomes. */
static void place_columns(struct import *import)
{
    import->stored = mlq_alloc_array(import->count, sizeof *import->stored);
    import->spans = mlq_alloc_array(import->count, sizeof *import->spans);
    import->categories = mlq_alloc_array(import->count, sizeof *import->categories);
    for (size_t i = 0; i < import->count; i++) {
        import->stored[i] = import->stored_count;
        import->stored_count += import->columns[i].ignored ? 0 : 1;
    }
}

/* Each column's buffer is longer than a power of two by a cache line, because a row's values would
 * otherwise all fall into one set of the cache. */
static void make_chunk(struct import *import, size_t rows, bool with_sources)
{
    size_t stride = rows + CACHE_LINE_VALUES;
    import->chunk_rows = rows;
    import->chunk_numbers = mlq_alloc_array(import->stored_count * stride, sizeof(double));
    import->chunk_codes = mlq_alloc_array(import->stored_count * stride, sizeof(int32_t));
    import->chunk_sources = with_sources ? mlq_alloc_array(rows, sizeof(int64_t)) : NULL;
    for (size_t i = 0; i < import->count; i++) {
        struct column *column = &import->columns[i];
        if (!column->ignored && column->kind == TABLE_NUMBER) {
            column->numbers = import->chunk_numbers + import->stored[i] * stride;
        } else if (!column->ignored) {
            column->codes = import->chunk_codes + import->stored[i] * stride;
        }
    }
}

static void drop_chunk(struct import *import)
{
    mlq_free(import->chunk_numbers);
    mlq_free(import->chunk_codes);
    mlq_free(import->chunk_sources);
    import->chunk_numbers = NULL;
    import->chunk_codes = NULL;
    import->chunk_sources = NULL;
    import->chunk_used = 0;
    import->is_kept = false;
    for (size_t i = 0; i < import->count; i++) {
        import->columns[i].numbers = NULL;
        import->columns[i].codes = NULL;
    }
}

/* As many rows as may be kept, or as the file can have: each has a byte for each of its fields. */
static void keep_rows(struct import *import)
{
    size_t most = CHUNK_BYTES / (import->stored_count * sizeof(double));
    uint64_t has = import->bytes / import->count + 1;
    make_chunk(import, has < most ? (size_t)has : most, import->options->bad_rows_max > 0);
    import->is_kept = true;
}

/* Some of the rows, from `begin` on, to where the chunk is free; texts have other ways. */
static void copy_rows(struct import *import, const struct rows *rows, size_t begin, size_t count)
{
    for (size_t i = 0; i < import->span_count; i++) {
        const struct span *span = &import->spans[i];
        for (size_t n = 0; n < span->count; n++) {
            memcpy(import->columns[span->begin + n].numbers + import->chunk_used,
                   rows->numbers + (span->place + n) * rows->stride + begin,
                   count * sizeof(double));
        }
    }
    for (size_t i = 0; import->chunk_sources != NULL && i < count; i++) {
        import->chunk_sources[import->chunk_used + i] =
            (int64_t)import->records + rows->indices[begin + i] - 1; /* the header is record 0 */
    }
}

/* ---- Scanning ---- */

static int refuse_dictionary(struct import *import, const struct column *column,
                             struct mlq_err *err)
{
    char hint[2 * CELL_SHOWN + 64] = "";
    if (column->text_line > 0) {
        (void)snprintf(hint, sizeof hint,
                       " (the first that is no number: '%s' on line %" PRIu64 ")",
                       column->text_shown, column->text_line);
    }
    return mlq_fail(err, MLQ_EFULL,
                    "%s:1:%zu: the column '%.100s' has more than %u different texts%s: give "
                    "`types: {%.100s: ignore}` (or number), or raise categories_max",
                    import->options->shown, (size_t)(column - import->columns) + 1, column->name, import->options->categories_max, hint,
                    column->name);
}

/* Memory for one text of a dictionary: its bytes here and, as JSON, in the schema of the table. */
static uint64_t text_cost(struct mlq_str text)
{
    uint64_t cost = TEXT_BYTES;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.ptr[i];
        cost += byte < 0x20 || byte == '"' || byte == '\\' ? ESCAPED_BYTES : 1;
    }
    return cost;
}

/* The code of a category's text, until the texts are sorted; both limits count distinct texts. */
static int add_text(struct import *import, struct column *column, struct mlq_str cell,
                    int32_t *code, struct mlq_err *err)
{
    uint32_t before = dict_count(column->dict);
    *code = dict_add(column->dict, cell);
    if (*code == DICT_NONE) {
        return refuse_dictionary(import, column, err);
    }
    if (dict_count(column->dict) == before) {
        return MLQ_OK;
    }
    import->dictionary_bytes += text_cost(cell);
    return import->dictionary_bytes <= IMPORT_DICTIONARY_BYTES_MAX
               ? MLQ_OK
               : mlq_fail(err, MLQ_EFULL,
                          "%s: the different texts of all category columns need more than %u MiB "
                          "of memory, "
                          "with the column '%.100s' at last: give `types: {%.100s: ignore}`",
                          import->options->shown, IMPORT_DICTIONARY_BYTES_MAX >> 20, column->name,
                          column->name);
}

/* What a piece tells of columns that count as numbers. */
static void note_seen(struct import *import, const struct rows *rows)
{
    for (size_t i = 0; i < import->span_count; i++) {
        const struct span *span = &import->spans[i];
        for (size_t n = 0; n < span->count; n++) {
            struct column *column = &import->columns[span->begin + n];
            const struct seen *seen = &rows->seen[span->place + n];
            column->holds_not_finite = column->holds_not_finite || seen->holds_not_finite;
            column->not_integer = column->not_integer || seen->not_integer;
            if (seen->text_line > 0 && !column->holds_text) {
                column->holds_text = true;
                column->text_line = import->lines + seen->text_line;
                show_cell(seen->text, column->text_shown);
            }
        }
    }
}

/* Texts of rows [begin, end) to their dictionaries, and their codes to the chunk. */
static int note_texts(struct import *import, const struct rows *rows, size_t begin, size_t end,
                      struct mlq_err *err)
{
    for (size_t row = begin; row < end; row++) {
        for (size_t i = 0; i < import->category_count; i++) {
            const struct mlq_str *text = &rows->texts[row * import->category_count + i];
            struct column *column = &import->columns[import->categories[i]];
            int32_t code = IMPORT_MISSING_CODE;
            int rc = missing_has(&import->missing, *text)
                         ? MLQ_OK
                         : add_text(import, column, *text, &code, err);
            if (rc != MLQ_OK) {
                return rc;
            }
            if (import->is_kept) {
                column->codes[import->chunk_used + row] = code;
            }
        }
    }
    return MLQ_OK;
}

static int note_rows(struct import *import, const struct rows *rows, struct mlq_err *err)
{
    int rc = MLQ_OK;
    size_t row = 0;
    if (import->is_kept && rows->count > import->chunk_rows - import->chunk_used) {
        drop_chunk(import); /* too many: they are read again */
    }
    for (size_t i = 0; rc == MLQ_OK && i < rows->bad_count; i++) {
        rc = note_texts(import, rows, row, rows->bad[i].row, err);
        row = rows->bad[i].row;
        rc = rc == MLQ_OK ? refuse_row(import, &rows->bad[i], err) : rc;
    }
    if (rc == MLQ_OK) {
        rc = note_texts(import, rows, row, rows->count, err);
    }
    if (rc == MLQ_OK && import->is_kept) {
        copy_rows(import, rows, 0, rows->count);
        import->chunk_used += rows->count;
    }
    import->rows += rows->count;
    return rc;
}

static int refuse_rows(struct import *import, const struct rows *rows, struct mlq_err *err)
{
    int rc = MLQ_OK;
    for (size_t i = 0; rc == MLQ_OK && i < rows->bad_count; i++) {
        rc = refuse_row(import, &rows->bad[i], err);
    }
    return rc;
}

static int store_rows(struct import *import, const struct rows *rows, struct mlq_err *err);

static int take_rows(struct import *import, const struct rows *rows, struct mlq_err *err)
{
    switch (import->phase) {
    case PHASE_SAMPLE: /* bad rows are for the scan, which sees them all in their order */
        note_seen(import, rows);
        return MLQ_OK;
    case PHASE_SCAN:
        note_seen(import, rows);
        return note_rows(import, rows, err);
    case PHASE_WRITE:
        return store_rows(import, rows, err);
    }
    MLQ_UNREACHABLE("import phase");
}

/* Columns that turned out to hold texts become categories. True when something must be seen again.
 */
static bool settle_kinds(struct import *import)
{
    bool changed = false;
    for (size_t i = 0; i < import->count; i++) {
        struct column *column = &import->columns[i];
        if (column->holds_text) {
            column->kind = TABLE_CATEGORY;
            column->holds_text = false;
            column->holds_not_finite = false;
            changed = true;
        }
        changed = changed || column->holds_not_finite;
    }
    return changed;
}

static void start_scan(struct import *import)
{
    import->rows = 0;
    import->dictionary_bytes = 0;
    for (size_t i = 0; i < import->count; i++) {
        struct column *column = &import->columns[i];
        dict_destroy(&column->dict);
        column->not_integer = false;
    }
    mlq_region_reset(import->texts);
    for (size_t i = 0; i < import->count; i++) {
        struct column *column = &import->columns[i];
        if (column->kind == TABLE_CATEGORY && !column->ignored) {
            column->dict = dict_create(import->texts, import->options->categories_max);
        }
    }
    drop_chunk(import);
    if (import->stored_count > 0) {
        keep_rows(import);
    }
}

/* Codes follow the order of the texts, and those that were kept follow them. */
static void sort_texts(const struct import *import, struct column *column)
{
    uint32_t count = dict_count(column->dict);
    if (!import->is_kept || count == 0) {
        dict_sort(column->dict);
        return;
    }
    const char **before = mlq_alloc_array(count, sizeof *before);
    int32_t *places = mlq_alloc_array(count, sizeof *places);
    memcpy(before, dict_texts(column->dict), count * sizeof *before);
    dict_sort(column->dict);
    for (uint32_t code = 0; code < count; code++) {
        places[code] = dict_find(column->dict, mlq_str_from(before[code]));
    }
    for (size_t row = 0; row < import->chunk_used; row++) {
        int32_t code = column->codes[row];
        column->codes[row] = code == IMPORT_MISSING_CODE ? code : places[code];
    }
    mlq_free(places);
    mlq_free(before);
}

static int scan(struct import *import, struct mlq_err *err)
{
    import->progress_share = 0;
    int rc = import_pass(import, PHASE_SAMPLE, take_rows, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    (void)settle_kinds(import);
    start_scan(import);
    import->progress_share = 0.4;
    rc = import_pass(import, PHASE_SCAN, take_rows, err);
    if (rc == MLQ_OK && settle_kinds(import)) {
        import->pinned = true;
        start_scan(import);
        import->progress_from = 0.4;
        import->progress_share = 0.2;
        rc = import_pass(import, PHASE_SCAN, take_rows, err);
    }
    if (rc == MLQ_OK && import->rows == 0) {
        rc = mlq_fail(err, MLQ_EINVAL, "%s:2:1: there is no row below the header",
                      import->options->shown);
    }
    for (size_t i = 0; rc == MLQ_OK && i < import->count; i++) {
        if (import->columns[i].dict != NULL) {
            sort_texts(import, &import->columns[i]);
        }
    }
    return rc;
}

/* ---- The whole ---- */

int import_scan(struct op_context *ctx, const struct import_options *options, struct import **out,
                struct mlq_err *err)
{
    struct import *import = mlq_alloc(sizeof *import);
    import->ctx = ctx;
    import->options = options;
    import->texts = mlq_region_create();
    missing_init(&import->missing, options->missing, options->missing_count);
    int rc = import_header_read(import, err);
    if (rc == MLQ_OK) {
        place_columns(import);
        rc = scan(import, err);
    }
    if (rc != MLQ_OK) {
        import_close(&import);
        return rc;
    }
    *out = import;
    return MLQ_OK;
}

/* ---- Writing ---- */

static int refuse_change(struct import *import, uint64_t line, struct mlq_err *err)
{
    return mlq_fail(err, MLQ_EIO, "%s:%" PRIu64 ": the file changed while it was read",
                    import->options->shown, line);
}

static int flush(struct import *import, struct mlq_err *err)
{
    int rc = import->chunk_sources == NULL
                 ? MLQ_OK
                 : table_write_source_rows(import->writer, import->chunk_sources,
                                           import->chunk_used, err);
    for (size_t i = 0; rc == MLQ_OK && i < import->count; i++) {
        const struct column *column = &import->columns[i];
        if (column->ignored) {
            continue;
        }
        rc = column->kind == TABLE_NUMBER
                 ? table_write_numbers(import->writer, import->stored[i], column->numbers,
                                       import->chunk_used, err)
                 : table_write_codes(import->writer, import->stored[i], column->codes,
                                     import->chunk_used, err);
    }
    import->chunk_used = 0;
    return rc;
}

static void copy_codes(struct import *import, const struct rows *rows, size_t begin, size_t count)
{
    for (size_t i = 0; i < import->category_count; i++) {
        memcpy(import->columns[import->categories[i]].codes + import->chunk_used,
               rows->codes + i * rows->stride + begin, count * sizeof(int32_t));
    }
}

static int store_rows(struct import *import, const struct rows *rows, struct mlq_err *err)
{
    int rc = refuse_rows(import, rows, err);
    if (rc == MLQ_OK && rows->unknown_line > 0) {
        return refuse_change(import, import->lines + rows->unknown_line, err);
    }
    if (rc == MLQ_OK && rows->count > import->rows - import->rows_stored) {
        return refuse_change(import, import->lines + 1, err);
    }
    import->rows_stored += rows->count;
    for (size_t begin = 0; rc == MLQ_OK && begin < rows->count;) {
        size_t left = import->chunk_rows - import->chunk_used;
        size_t count = rows->count - begin < left ? rows->count - begin : left;
        copy_rows(import, rows, begin, count);
        copy_codes(import, rows, begin, count);
        import->chunk_used += count;
        begin += count;
        rc = import->chunk_used == import->chunk_rows ? flush(import, err) : MLQ_OK;
    }
    return rc;
}

static size_t describe_columns(const struct import *import, struct table_column *columns)
{
    size_t count = 0;
    for (size_t i = 0; i < import->count; i++) {
        const struct column *column = &import->columns[i];
        if (column->ignored) {
            continue;
        }
        columns[count++] = (struct table_column){
            .name = column->name,
            .kind = column->kind,
            .role = column->is_target ? TABLE_TARGET : TABLE_FEATURE,
            .integer = column->kind == TABLE_NUMBER && !column->not_integer,
            .dictionary = column->dict == NULL ? NULL : dict_texts(column->dict),
            .dictionary_count = column->dict == NULL ? 0 : dict_count(column->dict)};
    }
    return count;
}

/* What only writing needs, which is nearly all: the profile that follows needs memory of its own.
 */
static void let_go(struct import *import)
{
    table_writer_abort(&import->writer);
    for (size_t i = 0; i < import->count; i++) {
        dict_destroy(&import->columns[i].dict);
    }
    mlq_region_destroy(&import->texts);
    drop_chunk(import);
}

/* What the scan did not keep is read again. */
static int write_rows(struct import *import, struct mlq_err *err)
{
    if (import->is_kept) {
        import->rows_stored = import->chunk_used;
        if (import->bad_count == 0) { /* each row is where it was in the file */
            mlq_free(import->chunk_sources);
            import->chunk_sources = NULL;
        }
        return flush(import, err);
    }
    size_t rows = CHUNK_BYTES / (import->stored_count * sizeof(double));
    rows = rows > CHUNK_ROWS_MAX ? CHUNK_ROWS_MAX : rows < CHUNK_ROWS_MIN ? CHUNK_ROWS_MIN : rows;
    make_chunk(import, rows, import->bad_count > 0);
    import->progress_from = 0.6;
    import->progress_share = 0.3;
    int rc = import_pass(import, PHASE_WRITE, take_rows, err);
    if (rc == MLQ_OK) {
        rc = import->rows_stored == import->rows ? flush(import, err)
                                                 : refuse_change(import, import->rows_stored, err);
    }
    return rc;
}

int import_write(struct import *import, const char *path, const char *source, struct mlq_err *err)
{
    struct table_column *columns = mlq_alloc_array(import->count, sizeof *columns);
    struct table_schema schema = {.rows = import->rows,
                                  .columns = columns,
                                  .column_count = describe_columns(import, columns),
                                  .with_source_rows = import->bad_count > 0,
                                  .source = source};
    int rc = schema.column_count > 0
                 ? table_writer_create(path, &schema, &import->writer, err)
                 : mlq_fail(err, MLQ_EINVAL, "%s:1:1: every column is ignored", import->options->shown);
    mlq_free(columns);
    if (rc != MLQ_OK) {
        return rc;
    }
    rc = write_rows(import, err);
    if (rc == MLQ_OK) {
        rc = table_writer_finish(&import->writer, err);
    }
    let_go(import);
    return rc;
}

void import_close(struct import **import)
{
    if (*import == NULL) {
        return;
    }
    struct import *old = *import;
    let_go(old);
    for (size_t i = 0; i < old->count; i++) {
        mlq_free(old->columns[i].name);
    }
    mlq_free(old->columns);
    mlq_free(old->spans);
    mlq_free(old->categories);
    mlq_free(old->stored);
    mlq_free(old);
    *import = NULL;
}

size_t import_target_field(const struct import *import)
{
    for (size_t i = 0; i < import->count; i++) {
        if (import->columns[i].is_target) {
            return i + 1;
        }
    }
    return 0;
}

uint64_t import_bytes(const struct import *import)
{
    return import->bytes;
}

uint64_t import_rows(const struct import *import)
{
    return import->rows;
}

uint64_t import_bad_rows(const struct import *import)
{
    return import->bad_count;
}

const struct import_bad_row *import_bad_row(const struct import *import, size_t i)
{
    return i < import->bad_count && i < IMPORT_BAD_ROWS_SHOWN ? &import->bad[i] : NULL;
}
