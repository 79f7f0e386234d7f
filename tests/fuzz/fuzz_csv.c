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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct csv *csv = NULL;
    struct csv_record record;
    uint64_t line = 0;
    MLQ_ASSERT(csv_open(fuzz_file(0, data, size), size % 5 == 4 ? ';' : ',', &csv, NULL) == MLQ_OK);
    int rc = csv_next(csv, &record, NULL);
    for (; rc == 1; rc = csv_next(csv, &record, NULL)) {
        MLQ_ASSERT(record.line > line);
        line = record.line;
        check_record(&record);
    }
    MLQ_ASSERT(rc == 0 && csv_bytes_done(csv) == size);
    csv_close(&csv);
    return 0;
}
