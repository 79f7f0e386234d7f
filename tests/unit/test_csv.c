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
#include "worker/op/csv_piece.h"

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

/* Fields of any length, byte and place: bytes that are one more, one less or one bit off a special
 * one must not end them, nor what is special between quotes. */
static void test_fields_end_where_they_should(void **state)
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
            bool is_quoted = mlq_prng_below(&prng, 5) == 0;
            wanted[expected++] = '<';
            if (is_quoted) {
                bytes[used++] = '"';
                for (size_t i = mlq_prng_below(&prng, 4); i > 0; i--) {
                    bytes[used++] = wanted[expected++] = i % 2 == 0 ? '\n' : delimiter;
                }
            }
            for (size_t i = 0; i < len; i++) {
                char near = mlq_prng_below(&prng, 2) == 0 ? delimiter : '\n';
                char c = (char)(near ^ (1 << mlq_prng_below(&prng, 7)));
                c = c == delimiter || c == '\n' || c == '\r' || c == '"' || c == '\0' ? 'x' : c;
                bytes[used++] = c;
                wanted[expected++] = c;
            }
            wanted[expected++] = '>';
            if (is_quoted) {
                bytes[used++] = '"';
            }
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

static void assert_same_text(struct mlq_str a, struct mlq_str b)
{
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.ptr, b.ptr, a.len);
}

/* The records of the file's pieces are those that csv_next gives of the file. Their count; *pieces:
 * of those. */
static uint64_t assert_pieces_give_the_same(uint64_t *pieces)
{
    struct csv *whole = NULL;
    struct csv *file = NULL;
    struct csv *text = csv_create(',');
    struct csv_piece piece = {0};
    uint64_t lines = 0;
    uint64_t records = 0;
    *pieces = 0;
    assert_int_equal(csv_open(FILE_NAME, ',', &whole, NULL), MLQ_OK);
    assert_int_equal(csv_open(FILE_NAME, ',', &file, NULL), MLQ_OK);
    for (; csv_piece_read(file, &piece, NULL) == 1; (*pieces)++) {
        struct csv_record wanted;
        struct csv_record got;
        uint64_t before = records;
        csv_piece_begin(text, &piece);
        while (csv_piece_next(text, &piece, &got) == 1) {
            assert_int_equal(csv_next(whole, &wanted, NULL), 1);
            assert_int_equal(lines + got.line, wanted.line);
            assert_int_equal(before + got.index, wanted.index);
            assert_int_equal(got.problem, wanted.problem);
            assert_int_equal(got.problem_field, wanted.problem_field);
            assert_same_text(got.raw, wanted.raw);
            if (!piece.is_given_up) {
                assert_int_equal(got.count, wanted.count);
            }
            for (size_t i = 0; i < got.count; i++) {
                assert_same_text(got.fields[i], wanted.fields[i]);
            }
            records++;
        }
        lines += csv_piece_lines(text, &piece);
        assert_int_equal(piece.bytes_done, csv_bytes_done(file));
    }
    struct csv_record none;
    assert_int_equal(csv_next(whole, &none, NULL), 0);
    assert_int_equal(csv_bytes_done(file), csv_bytes(file));
    csv_piece_fini(&piece);
    csv_close(&whole);
    csv_close(&file);
    csv_close(&text);
    return records;
}

static void test_pieces_hold_the_same_records(void **state)
{
    (void)state;
    static const char *const pieces[] = {"1",          "-0.25",     "a b",  "\"q\"",
                                         "\"a\"\"b\"", "\"a,\nb\"", "",     "\"x\"y",
                                         "\xff",       "\xc3\xa9",  "x\"y", "\"\r\n\"\r"};
    struct mlq_prng prng;
    uint64_t count;
    mlq_prng_seed(&prng, 21);
    FILE *file = fopen(FILE_NAME, "wb");
    assert_non_null(file);
    for (int row = 0; row < 30000; row++) {
        for (uint64_t i = mlq_prng_below(&prng, 20); i > 0; i--) {
            (void)fprintf(file, "%s,", pieces[mlq_prng_below(&prng, 12)]);
        }
        for (int i = 0; row % 9973 == 5 && i < 100000; i++) {
            (void)fprintf(file, "more than a piece,"); /* and more fields than one may have */
        }
        (void)fprintf(file, "%s%s", pieces[mlq_prng_below(&prng, 12)],
                      row % 3 == 0 ? "\r\n" : "\n");
    }
    (void)fprintf(file, "\"it never ends\n1,2\n");
    assert_int_equal(fclose(file), 0);
    assert_true(assert_pieces_give_the_same(&count) > 25000);
    assert_true(count > 15);
    write_bytes("", 0);
    assert_int_equal(assert_pieces_give_the_same(&count), 0);
    write_bytes("a,b", 3);
    assert_int_equal(assert_pieces_give_the_same(&count), 1);
}

/* Of the records of a text, after those of `before`. */
static uint64_t digest_records(struct csv *csv, const char *bytes, size_t len, uint64_t before)
{
    char copy[64];
    struct csv_record record;
    memcpy(copy, bytes, len);
    csv_set_text(csv, copy, len);
    while (csv_next(csv, &record, NULL) == 1) {
        before = mlq_hash_u64(before ^ (uint64_t)record.problem);
        before = mlq_hash_u64(before ^ record.problem_field);
        for (size_t i = 0; i < record.count; i++) {
            before = mlq_hash_u64(before ^ record.fields[i].len);
        }
    }
    return before;
}

/* A random text, cut where a piece may end, has the records of the whole; pieces are as long as
 * they may be. */
static void test_pieces_end_where_records_do(void **state)
{
    (void)state;
    static const char alphabet[] = "\"\",,\n\n\r\"a";
    struct csv *csv = csv_create(',');
    struct mlq_prng prng;
    size_t cuts = 0;
    mlq_prng_seed(&prng, 22);
    for (int round = 0; round < 20000; round++) {
        char bytes[64];
        size_t len = mlq_prng_below(&prng, sizeof bytes);
        for (size_t i = 0; i < len; i++) {
            bytes[i] = alphabet[mlq_prng_below(&prng, sizeof alphabet - 1)];
        }
        struct mlq_str text = {bytes, len};
        uint64_t all = digest_records(csv, bytes, len, 0);
        size_t longest = 0;
        for (size_t wanted = 1; wanted < len; wanted++) {
            size_t whole = csv_piece_whole(text, ',', true, wanted);
            uint64_t first = digest_records(csv, bytes, whole, 0);
            assert_int_equal(digest_records(csv, bytes + whole, len - whole, first), all);
            assert_true(whole >= longest || longest > wanted);
            longest = whole;
            cuts += whole > 0 && whole < len ? 1 : 0;
        }
    }
    assert_true(cuts > 100000);
    csv_close(&csv);
}

/* Longer than a record may be, with no end in sight: lines are given up until one is whole again.
 */
static void test_what_cannot_be_a_piece_is_given_up(void **state)
{
    (void)state;
    static const char *const begins[] = {"1,2\n\"never\nclosed\n3,4\n", "1,2\nlong"};
    for (size_t i = 0; i < 2; i++) {
        uint64_t count;
        FILE *file = fopen(FILE_NAME, "wb");
        assert_non_null(file);
        (void)fputs(begins[i], file);
        for (uint64_t bytes = 0; bytes < CSV_RECORD_BYTES_MAX + (20u << 20); bytes += 1024) {
            (void)fprintf(file, "%01023d%c", 0, i == 0 ? '\n' : ',');
        }
        (void)fputs("\n5,6\n", file);
        assert_int_equal(fclose(file), 0);
        assert_true(assert_pieces_give_the_same(&count) > 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_well_formed),
        cmocka_unit_test(test_records_that_cannot_be_used),
        cmocka_unit_test(test_a_line_of_any_length_is_bounded),
        cmocka_unit_test(test_fields_come_back_across_blocks),
        cmocka_unit_test(test_fields_end_where_they_should),
        cmocka_unit_test(test_garbage_does_no_harm),
        cmocka_unit_test(test_pieces_hold_the_same_records),
        cmocka_unit_test(test_pieces_end_where_records_do),
        cmocka_unit_test(test_what_cannot_be_a_piece_is_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
