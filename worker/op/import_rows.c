/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/import_rows.h"

#include <math.h>
#include <string.h>

#include "lib/sys/mem.h"
#include "worker/op/number.h"

#define CACHE_LINE_VALUES 8u
#define EXACT_INTEGER_MAX 9007199254740992.0 /* 2^53 */

void import_rows_init(struct rows *rows, const struct import *import)
{
    *rows = (struct rows){.import = import, .csv = csv_create(import->options->delimiter)};
    rows->seen = mlq_alloc_array(import->number_count, sizeof *rows->seen);
}

void import_rows_fini(struct rows *rows)
{
    csv_piece_fini(&rows->piece);
    csv_close(&rows->csv);
    mlq_free(rows->numbers);
    mlq_free(rows->codes);
    mlq_free(rows->texts);
    mlq_free(rows->indices);
    mlq_free(rows->seen);
    mlq_free(rows->bad);
    *rows = (struct rows){0};
}

/* ---- Room ---- */

/* Sixteen bytes at once: as many counts, each small enough for a byte. */
static size_t count_newlines(const char *text, size_t len)
{
    typedef unsigned char lanes __attribute__((vector_size(16)));
    size_t count = 0;
    size_t i = 0;
    while (len - i >= sizeof(lanes)) {
        lanes found = {0};
        for (unsigned n = 0; n < UINT8_MAX && len - i >= sizeof(lanes); n++) {
            lanes bytes;
            memcpy(&bytes, text + i, sizeof bytes);
            found -= (lanes)(bytes == '\n'); /* -1 where it is one */
            i += sizeof(lanes);
        }
        for (size_t lane = 0; lane < sizeof(lanes); lane++) {
            count += found[lane];
        }
    }
    for (; i < len; i++) {
        count += text[i] == '\n' ? 1 : 0;
    }
    return count;
}

/* What was in it is lost. */
static void *grow(void *array, size_t *room, size_t count, size_t bytes)
{
    if (count <= *room) {
        return array;
    }
    mlq_free(array);
    *room = count + count / 8;
    return mlq_alloc_array(*room, bytes);
}

/* A row has a newline, but for the last, and a byte for each field. Columns lie an odd number of
 * cache lines apart, because a row's values would otherwise all fall into few sets of the cache. */
static void make_room(struct rows *rows)
{
    const struct import *import = rows->import;
    size_t by_newlines = count_newlines(rows->piece.text, rows->piece.len) + 1;
    size_t by_bytes = rows->piece.len / import->count + 1;
    size_t most = by_newlines < by_bytes ? by_newlines : by_bytes;
    rows->stride = ((most / CACHE_LINE_VALUES + 1) | 1) * CACHE_LINE_VALUES;
    rows->indices = grow(rows->indices, &rows->row_room, most, sizeof *rows->indices);
    rows->numbers = grow(rows->numbers, &rows->number_room, rows->stride * import->number_count,
                         sizeof *rows->numbers);
    size_t cells = rows->stride * import->category_count;
    if (import->phase == PHASE_SCAN) {
        rows->texts = grow(rows->texts, &rows->text_room, cells, sizeof *rows->texts);
    } else if (import->phase == PHASE_WRITE) {
        rows->codes = grow(rows->codes, &rows->code_room, cells, sizeof *rows->codes);
    }
}

/* ---- A row ---- */

static void note_bad(struct rows *rows, const struct csv_record *record, size_t field,
                     struct mlq_str shown)
{
    if (rows->bad_count == rows->bad_room) {
        rows->bad_room = rows->bad_room * 2 + 16;
        rows->bad = mlq_realloc_array(rows->bad, rows->bad_room, sizeof *rows->bad);
    }
    rows->bad[rows->bad_count++] = (struct bad){.line = record->line,
                                                .row = rows->count,
                                                .problem = record->problem,
                                                .field = field,
                                                .count = record->count,
                                                .shown = shown};
}

/* A cell of a number column, whatever it is. False when the row is bad for it. */
static bool read_cell(const struct rows *rows, const struct column *column, struct seen *seen,
                      const struct csv_record *record, struct mlq_str cell, double *value)
{
    const struct import *import = rows->import;
    enum number_result result = number_parse(cell, value);
    if (result == NUMBER_FINITE &&
        !(import->missing.looks_numeric && missing_has(&import->missing, cell))) {
        return true;
    }
    *value = (double)NAN;
    if (missing_has(&import->missing, cell)) {
        return true;
    }
    if (column->forced || import->pinned || import->phase == PHASE_WRITE) {
        return false;
    }
    seen->holds_not_finite = seen->holds_not_finite || result == NUMBER_NOT_FINITE;
    if (result == NUMBER_NONE && seen->text_line == 0) {
        seen->text_line = record->line;
        seen->text = cell;
    }
    return true;
}

/* Numbers of a row that stand side by side. The count of those that were read: less when one is
 * bad. */
static size_t read_numbers(struct rows *rows, const struct span *span,
                           const struct csv_record *record)
{
    const struct import *import = rows->import;
    const struct mlq_str *cells = record->fields + span->begin;
    double *values = rows->numbers + span->place * rows->stride + rows->count;
    for (size_t i = 0; i < span->count; i++) {
        if (!import->missing.looks_numeric) {
            i += number_parse_run(cells + i, span->count - i, values + i * rows->stride,
                                  rows->stride);
        }
        if (i < span->count &&
            !read_cell(rows, &import->columns[span->begin + i], &rows->seen[span->place + i],
                       record, cells[i], &values[i * rows->stride])) {
            return i;
        }
    }
    return span->count;
}

static void take_categories(struct rows *rows, const struct csv_record *record)
{
    const struct import *import = rows->import;
    for (size_t i = 0; i < import->category_count; i++) {
        size_t field = import->categories[i];
        struct mlq_str cell = record->fields[field];
        if (import->phase == PHASE_SCAN) {
            rows->texts[rows->count * import->category_count + i] = cell;
        } else if (import->phase == PHASE_WRITE) {
            bool is_missing = missing_has(&import->missing, cell);
            int32_t code =
                is_missing ? IMPORT_MISSING_CODE : dict_find(import->columns[field].dict, cell);
            if (!is_missing && code == DICT_NONE && rows->unknown_line == 0) {
                rows->unknown_line = record->line;
            }
            rows->codes[i * rows->stride + rows->count] = code;
        }
    }
}

static void take_record(struct rows *rows, const struct csv_record *record)
{
    const struct import *import = rows->import;
    if (record->problem != CSV_FINE) {
        note_bad(rows, record, record->problem_field, record->raw);
        return;
    }
    if (record->count != import->count) {
        note_bad(rows, record, 0, record->raw);
        return;
    }
    for (size_t i = 0; i < import->span_count; i++) {
        const struct span *span = &import->spans[i];
        size_t read = read_numbers(rows, span, record);
        if (read < span->count) {
            note_bad(rows, record, span->begin + read, record->fields[span->begin + read]);
            return;
        }
    }
    take_categories(rows, record);
    rows->indices[rows->count++] = (int64_t)record->index;
}

/* ---- The whole ---- */

/* NaN, which is no value, speaks against nothing. */
static bool may_be_integer(double value)
{
    return isnan(value) || (fabs(value) <= EXACT_INTEGER_MAX && (double)(int64_t)value == value);
}

static void find_integers(struct rows *rows)
{
    for (size_t i = 0; i < rows->import->number_count; i++) {
        const double *values = rows->numbers + i * rows->stride;
        for (size_t row = 0; row < rows->count && !rows->seen[i].not_integer; row++) {
            rows->seen[i].not_integer = !may_be_integer(values[row]);
        }
    }
}

void import_rows_parse(void *work)
{
    struct rows *rows = work;
    struct csv_record record;
    make_room(rows);
    rows->count = 0;
    rows->records = 0;
    rows->bad_count = 0;
    rows->unknown_line = 0;
    csv_piece_begin(rows->csv, &rows->piece);
    while (csv_piece_next(rows->csv, &rows->piece, &record) == 1) {
        if (rows->records++ > 0 || !rows->has_header) {
            take_record(rows, &record);
        }
    }
    rows->lines = csv_piece_lines(rows->csv, &rows->piece);
    if (rows->import->phase == PHASE_SCAN) {
        find_integers(rows);
    }
}
