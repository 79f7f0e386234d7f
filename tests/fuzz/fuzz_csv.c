/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * CSV and numbers. Fields lie within their record and hold what csv.h says; a number is the one
 * that strtod reads.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "worker/op/csv.h"
#include "worker/op/csv_piece.h"
#include "worker/op/number.h"

/* The letters of inf, nan and hexadecimal, which strtod takes and we do not. */
static bool has_letters(const char *text)
{
    return strpbrk(text, "aAbBcCdDfFiInNpPxXtTyY") != NULL;
}

static void check_number(struct mlq_str field)
{
    char text[64];
    double value = -1;
    enum number_result result = number_parse(field, &value);
    double run = value;
    MLQ_ASSERT(number_parse_run(&field, 1, &run, 1) == (result == NUMBER_FINITE ? 1u : 0u));
    MLQ_ASSERT(result != NUMBER_FINITE || memcmp(&run, &value, sizeof run) == 0);
    if (field.len == 0 || field.len >= sizeof text || memchr(field.ptr, '\0', field.len) != NULL) {
        return;
    }
    memcpy(text, field.ptr, field.len);
    text[field.len] = '\0';
    text[strcspn(text, "\v\f\r\n")] = '\0'; /* blanks of strtod that are none of ours */
    if (strlen(text) < field.len || has_letters(text)) {
        MLQ_ASSERT(result != NUMBER_FINITE);
        return;
    }
    char *end = NULL;
    double expected = strtod(text, &end);
    bool is_number = end != text && end[strspn(end, " \t")] == '\0';
    MLQ_ASSERT(is_number == (result != NUMBER_NONE));
    MLQ_ASSERT(!is_number || isfinite(expected) == (result == NUMBER_FINITE));
    MLQ_ASSERT(result != NUMBER_FINITE || memcmp(&value, &expected, sizeof value) == 0);
}

static void check_record(const struct csv_record *record)
{
    for (size_t i = 0; record->problem == CSV_FINE && i < record->count; i++) {
        struct mlq_str field = record->fields[i];
        MLQ_ASSERT(field.len <= CSV_FIELD_BYTES_MAX && mlq_str_is_utf8(field));
        MLQ_ASSERT(field.len == 0 || memchr(field.ptr, '\0', field.len) == NULL);
        check_number(field);
    }
    MLQ_ASSERT(record->problem == CSV_FINE || csv_problem_text(record->problem)[0] != '\0');
}

/* The records of the file's pieces are those of the file. */
static void check_pieces(const char *path, char delimiter)
{
    struct csv *whole = NULL;
    struct csv *file = NULL;
    struct csv *text = csv_create(delimiter);
    struct csv_piece piece = {0};
    struct csv_record wanted;
    struct csv_record got;
    uint64_t lines = 0;
    MLQ_ASSERT(csv_open(path, delimiter, &whole, NULL) == MLQ_OK);
    MLQ_ASSERT(csv_open(path, delimiter, &file, NULL) == MLQ_OK);
    while (csv_piece_read(file, &piece, NULL) == 1) {
        csv_piece_begin(text, &piece);
        while (csv_piece_next(text, &piece, &got) == 1) {
            MLQ_ASSERT(csv_next(whole, &wanted, NULL) == 1 && lines + got.line == wanted.line);
            MLQ_ASSERT(got.problem == wanted.problem && mlq_str_eq(got.raw, wanted.raw));
            MLQ_ASSERT(piece.is_given_up || got.count == wanted.count);
        }
        lines += csv_piece_lines(text, &piece);
    }
    MLQ_ASSERT(csv_next(whole, &wanted, NULL) == 0);
    csv_piece_fini(&piece);
    csv_close(&whole);
    csv_close(&file);
    csv_close(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct csv *csv = NULL;
    struct csv_record record;
    uint64_t line = 0;
    const char *path = fuzz_file(0, data, size);
    char delimiter = size % 5 == 4 ? ';' : ',';
    MLQ_ASSERT(csv_open(path, delimiter, &csv, NULL) == MLQ_OK);
    int rc = csv_next(csv, &record, NULL);
    for (; rc == 1; rc = csv_next(csv, &record, NULL)) {
        MLQ_ASSERT(record.line > line);
        line = record.line;
        check_record(&record);
    }
    MLQ_ASSERT(rc == 0 && csv_bytes_done(csv) == size);
    csv_close(&csv);
    check_pieces(path, delimiter);
    return 0;
}
