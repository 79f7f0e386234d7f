/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/csv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/prng.h"
#include "lib/sys/mem.h"

#define FILE_NAME "t.csv"

static void write_bytes(const char *bytes, size_t len)
{
    FILE *file = fopen(FILE_NAME, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

/* The whole file as text: fields in <>, one record per line, a bad one as "!problem@field line". */
static char *read_all(char delimiter)
{
    struct csv *csv = NULL;
    assert_int_equal(csv_open(FILE_NAME, delimiter, &csv, NULL), MLQ_OK);
    char *out = mlq_strdup("");
    struct csv_record record;
    int rc;
    uint64_t index = 0;
    while ((rc = csv_next(csv, &record, NULL)) == 1) {
        assert_int_equal(record.index, index++);
        char *grown = record.problem == CSV_FINE
                          ? mlq_format("%s%lu:", out, (unsigned long)record.line)
                          : mlq_format("%s%lu!%d@%zu", out, (unsigned long)record.line,
                                       (int)record.problem, record.problem_field);
        mlq_free(out);
        out = grown;
        for (size_t i = 0; record.problem == CSV_FINE && i < record.count; i++) {
            grown = mlq_format("%s<%.*s>", out, MLQ_STR_ARG(record.fields[i]));
            mlq_free(out);
            out = grown;
        }
        grown = mlq_format("%s\n", out);
        mlq_free(out);
        out = grown;
    }
    assert_int_equal(rc, 0);
    assert_int_equal(csv_bytes_done(csv), csv_bytes(csv));
    csv_close(&csv);
    return out;
}

static void assert_reads(const char *bytes, size_t len, const char *wanted)
{
    write_bytes(bytes, len);
    char *got = read_all(',');
    assert_string_equal(got, wanted);
    mlq_free(got);
}

#define READS(literal, wanted) assert_reads(literal, sizeof(literal) - 1, wanted)

static void test_well_formed(void **state)
{
    (void)state;
    READS("", "");
    READS("\n\n\r\n", "");
    READS("a,b\n1,2\n", "1:<a><b>\n2:<1><2>\n");
    READS("a,b\n1,2", "1:<a><b>\n2:<1><2>\n");
    READS("a,b\r\n1,2\r\n", "1:<a><b>\n2:<1><2>\n");
    READS("\xef\xbb\xbf" "a,b\n", "1:<a><b>\n");
    READS("\xef\xbb\xbf\"a\",b\n", "1:<a><b>\n");
    READS("a,,\n,,\n", "1:<a><><>\n2:<><><>\n");
    READS("a\n\n\nb\n", "1:<a>\n4:<b>\n");
    READS("\"a,b\",\"c\"\"d\",\"\"\n", "1:<a,b><c\"d><>\n");
    READS("\"x\ny\",1\n\"z\r\n\",2\nlast,3\n", "1:<x\ny><1>\n3:<z\r\n><2>\n5:<last><3>\n");
    READS("\"\"\"\"\"\"\n", "1:<\"\">\n");
    READS("a\"b,c\n", "1:<a\"b><c>\n");
    READS("\"a\"\r\n\"b\"\r\n", "1:<a>\n2:<b>\n");
    READS("\"a\"", "1:<a>\n");
    READS("\"a\"\r", "1:<a>\n");
    READS("a\r", "1:<a>\n");
    READS("caf\xc3\xa9,\xe2\x82\xac\n", "1:<caf\xc3\xa9><\xe2\x82\xac>\n");
    write_bytes("a;b,c\n", 6);
    char *got = read_all(';');
    assert_string_equal(got, "1:<a><b,c>\n");
    mlq_free(got);
}

static void test_records_that_cannot_be_used(void **state)
{
    (void)state;
    READS("a,b\nx,\xff\n1,2\n", "1:<a><b>\n2!7@1\n3:<1><2>\n");
    READS("a,b\n\xed\xa0\x80,1\n", "1:<a><b>\n2!7@0\n");
    READS("a,b\nx\0y,1\n3,4\n", "1:<a><b>\n2!6@0\n3:<3><4>\n");
    READS("a,b\n1,\"x\"y\n3,4\n", "1:<a><b>\n2!5@1\n3:<3><4>\n");
    READS("a,b\n1,\"x\ny,2\n3,4\n", "1:<a><b>\n2!4@1\n3:<y><2>\n4:<3><4>\n");
    READS("\"", "1!4@0\n");
    READS("\"a\"\"", "1!4@0\n");
}

static void test_a_line_of_any_length_is_bounded(void **state)
{
    (void)state;
    size_t len = (40u << 20);
    char *bytes = mlq_alloc(len);
    memset(bytes, 'x', len);
    memcpy(bytes, "a,b\n", 4);
    memcpy(bytes + len - 9, "\n1,2\n3,4\n", 9);
    write_bytes(bytes, len);
    char *got = read_all(',');
    assert_string_equal(got, "1:<a><b>\n2!1@0\n3:<1><2>\n4:<3><4>\n");
    mlq_free(got);
    memset(bytes + 4, ',', 100000);
    bytes[100004] = '\n';
    write_bytes(bytes, 100005);
    got = read_all(',');
    assert_string_equal(got, "1:<a><b>\n2!3@65536\n");
    mlq_free(got);
    memset(bytes + 4, 'y', CSV_FIELD_BYTES_MAX + 1);
    memcpy(bytes + 4 + CSV_FIELD_BYTES_MAX + 1, ",2\n", 3);
    write_bytes(bytes, 4 + CSV_FIELD_BYTES_MAX + 1 + 3);
    got = read_all(',');
    assert_string_equal(got, "1:<a><b>\n2!2@0\n");
    mlq_free(got);
    mlq_free(bytes);
}

/* Records of random fields around the size of the block must come back whatever falls on its edge. */
static void test_fields_come_back_across_blocks(void **state)
{
    (void)state;
    struct mlq_prng prng;
    mlq_prng_seed(&prng, 3);
    static const char letters[] = "ab,\"\n\r 1";
    size_t room = 3u << 20;
    char *bytes = mlq_alloc(room + 4096);
    char *wanted = mlq_alloc(room * 2);
    size_t used = 0;
    size_t expected = 0;
    uint64_t line = 1;
    while (used < room) {
        expected += (size_t)snprintf(wanted + expected, room * 2 - expected, "%lu:",
                                     (unsigned long)line);
        for (int field = 0; field < 3; field++) {
            bytes[used++] = '"';
            wanted[expected++] = '<';
            for (uint64_t k = mlq_prng_below(&prng, 12); k > 0; k--) {
                char c = letters[mlq_prng_below(&prng, sizeof letters - 1)];
                bytes[used++] = c;
                wanted[expected++] = c;
                line += c == '\n' ? 1 : 0;
                if (c == '"') {
                    bytes[used++] = c;
                }
            }
            bytes[used++] = '"';
            wanted[expected++] = '>';
            bytes[used++] = field == 2 ? '\n' : ',';
        }
        line++;
        wanted[expected++] = '\n';
    }
    write_bytes(bytes, used);
    struct csv *csv = NULL;
    assert_int_equal(csv_open(FILE_NAME, ',', &csv, NULL), MLQ_OK);
    struct csv_record record;
    size_t at = 0;
    while (csv_next(csv, &record, NULL) == 1) {
        char text[256];
        int len = snprintf(text, sizeof text, "%lu:<%.*s><%.*s><%.*s>\n", (unsigned long)record.line,
                           MLQ_STR_ARG(record.fields[0]), MLQ_STR_ARG(record.fields[1]),
                           MLQ_STR_ARG(record.fields[2]));
        assert_int_equal(record.count, 3);
        assert_memory_equal(text, wanted + at, (size_t)len);
        at += (size_t)len;
    }
    assert_int_equal(at, expected);
    csv_close(&csv);
    mlq_free(bytes);
    mlq_free(wanted);
}

/* Fields without quotes of any length, byte and place: bytes that are one more, one less or one bit off
 * a special one must not end them. */
static void test_unquoted_fields_end_where_they_should(void **state)
{
    (void)state;
    static const char delimiters[] = ",;\t|";
    struct mlq_prng prng;
    mlq_prng_seed(&prng, 5);
    for (int round = 0; round < 400; round++) {
        char delimiter = delimiters[mlq_prng_below(&prng, sizeof delimiters - 1)];
        char bytes[2048];
        char wanted[4096];
        size_t used = 0;
        size_t expected = (size_t)snprintf(wanted, sizeof wanted, "1:");
        for (int field = 0; field < 40; field++) {
            size_t len = 1 + mlq_prng_below(&prng, 20);
            wanted[expected++] = '<';
            for (size_t i = 0; i < len; i++) {
                char near = mlq_prng_below(&prng, 2) == 0 ? delimiter : '\n';
                char c = (char)(near ^ (1 << mlq_prng_below(&prng, 7)));
                c = c == delimiter || c == '\n' || c == '\r' || c == '"' || c == '\0' ? 'x' : c;
                bytes[used++] = c;
                wanted[expected++] = c;
            }
            wanted[expected++] = '>';
            bytes[used++] = field == 39 ? '\n' : delimiter;
        }
        wanted[expected++] = '\n';
        wanted[expected] = '\0';
        write_bytes(bytes, used - mlq_prng_below(&prng, 2)); /* the last newline may be missing */
        char *got = read_all(delimiter);
        assert_string_equal(got, wanted);
        mlq_free(got);
    }
}

/* Random bytes of CSV's own alphabet: any result is fine, a step outside the buffer is not. */
static void test_garbage_does_no_harm(void **state)
{
    (void)state;
    static const char alphabet[] = "\",\n\r\"\"a,\xff\xc3\xa9\0\n";
    struct mlq_prng prng;
    mlq_prng_seed(&prng, 9);
    size_t problems = 0;
    for (int round = 0; round < 1500; round++) {
        char bytes[200];
        size_t len = mlq_prng_below(&prng, sizeof bytes);
        for (size_t i = 0; i < len; i++) {
            bytes[i] = alphabet[mlq_prng_below(&prng, sizeof alphabet - 1)];
        }
        write_bytes(bytes, len);
        struct csv *csv = NULL;
        assert_int_equal(csv_open(FILE_NAME, ',', &csv, NULL), MLQ_OK);
        struct csv_record record;
        size_t total = 0;
        int rc;
        while ((rc = csv_next(csv, &record, NULL)) == 1) {
            problems += record.problem != CSV_FINE ? 1 : 0;
            for (size_t i = 0; i < record.count; i++) {
                total += record.fields[i].len;
            }
        }
        assert_int_equal(rc, 0);
        assert_true(total <= len);
        csv_close(&csv);
    }
    assert_true(problems > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_well_formed),
        cmocka_unit_test(test_records_that_cannot_be_used),
        cmocka_unit_test(test_a_line_of_any_length_is_bounded),
        cmocka_unit_test(test_fields_come_back_across_blocks),
        cmocka_unit_test(test_unquoted_fields_end_where_they_should),
        cmocka_unit_test(test_garbage_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
