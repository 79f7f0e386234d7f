/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Where records end must be told as csv.c tells it. A newline ends one unless it lies between
 * quotes, and a quote opens only where a field begins, which is behind a delimiter, a newline or
 * nothing. All others are data, those behind a closing quote too.
 */
#include "worker/op/csv_piece.h"

#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"

/* The first quote at or behind `at` that opens a field; or the end. */
static size_t find_opening(struct mlq_str text, size_t at, char delimiter)
{
    while (at < text.len) {
        const char *quote = memchr(text.ptr + at, '"', text.len - at);
        if (quote == NULL) {
            break;
        }
        if (quote == text.ptr || quote[-1] == delimiter || quote[-1] == '\n') {
            return (size_t)(quote - text.ptr);
        }
        at = (size_t)(quote - text.ptr) + 1;
    }
    return text.len;
}

/* Behind the quote that closes the one before `at`. SIZE_MAX: there is none, or it might be one of
 * two. */
static size_t find_closing(struct mlq_str text, size_t at, bool is_last)
{
    while (at < text.len) {
        const char *quote = memchr(text.ptr + at, '"', text.len - at);
        if (quote == NULL) {
            break;
        }
        at = (size_t)(quote - text.ptr) + 1;
        if (at == text.len) {
            return is_last ? at : SIZE_MAX;
        }
        if (text.ptr[at] != '"') {
            return at;
        }
        at++;
    }
    return SIZE_MAX;
}

/* Behind a newline of text[begin, end), the last or the first one; 0: it has none. */
static size_t behind_newline(struct mlq_str text, size_t begin, size_t end, bool first)
{
    const char *from = text.ptr + begin;
    const char *newline =
        first ? memchr(from, '\n', end - begin) : memrchr(from, '\n', end - begin);
    return newline == NULL ? 0 : (size_t)(newline - text.ptr) + 1;
}

/* Behind the last record that ends in the text, or behind the first. */
static size_t whole_records(struct mlq_str text, char delimiter, bool is_last, bool first)
{
    size_t whole = 0;
    for (size_t at = 0; at != SIZE_MAX && (whole == 0 || !first);) {
        size_t quote = find_opening(text, at, delimiter);
        size_t behind = quote == at ? 0 : behind_newline(text, at, quote, first);
        whole = behind > 0 ? behind : whole;
        if (quote == text.len) {
            return whole == 0 && is_last ? text.len : whole;
        }
        at = find_closing(text, quote + 1, is_last);
    }
    return whole;
}

size_t csv_piece_whole(struct mlq_str text, char delimiter, bool is_last, size_t wanted)
{
    if (text.len > wanted) {
        size_t whole = whole_records((struct mlq_str){text.ptr, wanted}, delimiter, false, false);
        return whole > 0 ? whole : whole_records(text, delimiter, is_last, true);
    }
    return whole_records(text, delimiter, is_last, false);
}

static void set_text(struct csv_piece *piece, struct mlq_str text)
{
    if (piece->room < text.len) {
        mlq_free(piece->text);
        piece->room = text.len < CSV_PIECE_BYTES ? CSV_PIECE_BYTES : text.len;
        piece->text = mlq_alloc(piece->room);
    }
    memcpy(piece->text, text.ptr, text.len);
    piece->len = text.len;
}

/* What lies ahead holds no end of a record, and never will, or must not grow further. */
static int give_up(struct csv *csv, struct csv_piece *piece, struct mlq_err *err)
{
    int rc = csv_next(csv, &piece->record, err);
    if (rc == 1) {
        MLQ_ASSERT(piece->record.problem != CSV_FINE);
        set_text(piece, piece->record.raw);
        piece->is_given_up = true;
        piece->record = (struct csv_record){.line = 1,
                                            .problem = piece->record.problem,
                                            .problem_field = piece->record.problem_field,
                                            .raw = {piece->text, piece->len}};
    }
    return rc;
}

int csv_piece_read(struct csv *csv, struct csv_piece *piece, struct mlq_err *err)
{
    int rc = MLQ_OK;
    while (rc == MLQ_OK) {
        bool is_last;
        struct mlq_str text = csv_ahead(csv, &is_last);
        if (text.len == 0 && is_last) {
            break;
        }
        size_t whole = csv_piece_whole(text, csv_delimiter(csv), is_last, CSV_PIECE_BYTES);
        if (whole > 0) {
            piece->is_given_up = false;
            set_text(piece, (struct mlq_str){text.ptr, whole});
            csv_pass_over(csv, whole);
            rc = 1;
        } else if (is_last || text.len > CSV_RECORD_BYTES_MAX) {
            rc = give_up(csv, piece, err);
        } else {
            rc = csv_read_more(csv, err);
        }
    }
    piece->bytes_done = csv_bytes_done(csv);
    return rc;
}

void csv_piece_fini(struct csv_piece *piece)
{
    mlq_free(piece->text);
    *piece = (struct csv_piece){0};
}

void csv_piece_begin(struct csv *csv, struct csv_piece *piece)
{
    csv_set_text(csv, piece->text, piece->is_given_up ? 0 : piece->len);
}

int csv_piece_next(struct csv *csv, struct csv_piece *piece, struct csv_record *record)
{
    if (piece->is_given_up && piece->record.line == 1) {
        *record = piece->record;
        piece->record.line = 2;
        return 1;
    }
    return csv_next(csv, record, NULL);
}

uint64_t csv_piece_lines(const struct csv *csv, const struct csv_piece *piece)
{
    return piece->is_given_up ? 1 : csv_lines_done(csv);
}
