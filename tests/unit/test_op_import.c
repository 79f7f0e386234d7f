/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * data.import as a worker runs it: parameters, one input, two outputs, and what a user reads when
 * it fails.
 */
#include "tests/unit/op_run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/artifact/cas.h"
#include "worker/op/op_table.h"
#include "worker/op/profile.h"
#include "worker/op/table.h"

static void write_bytes(const char *path, const char *bytes, size_t len)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static int import_bytes(const char *bytes, size_t len, const char *with, struct mlq_err *err)
{
    assert_int_equal(mlq_fs_remove_tree("out", NULL), MLQ_OK);
    assert_int_equal(mlq_fs_make_dirs("out", 0755, NULL), MLQ_OK);
    write_bytes("in.csv", bytes, len);
    write_bytes("with.json", with, strlen(with));
    assert_int_equal(setenv("MLQ_WITH", "with.json", 1), 0);
    assert_int_equal(setenv("MLQ_INPUT_PATH", "in.csv", 1), 0);
    assert_int_equal(setenv("MLQ_OUTPUT", "out", 1), 0);
    struct op_context *ctx = NULL;
    assert_int_equal(op_open("data.import", &ctx, err), MLQ_OK);
    int rc = op_import_run(ctx, err);
    op_close(&ctx);
    return rc;
}

static struct table *import_table(const char *csv, const char *with)
{
    struct mlq_err err = MLQ_ERR_INIT;
    if (import_bytes(csv, strlen(csv), with, &err) != MLQ_OK) {
        fail_msg("%s", err.text);
    }
    struct table *table = NULL;
    assert_int_equal(table_open("out/table.safetensors", &table, &err), MLQ_OK);
    return table;
}

static json_t *read_profile(void)
{
    json_t *profile = json_load_file("out/profile.json", 0, NULL);
    assert_non_null(profile);
    return profile;
}

static void test_types_are_inferred_over_the_whole_file(void **state)
{
    (void)state;
    struct table *table = import_table("age,city,score,late,empty,flag\n"
                                       "31,Oslo,0.5,1,,true\n"
                                       "NA,\"Ly\"\"on\",-2e3,2,,false\n"
                                       "-4,,NaN,x,,true\n",
                                       "{\"path\": \"people.csv\", \"target\": \"age\"}");
    assert_int_equal(table_rows(table), 3);
    const struct table_column *age = table_find(table, "age");
    assert_int_equal(age->kind, TABLE_NUMBER);
    assert_int_equal(age->role, TABLE_TARGET);
    assert_true(age->integer);
    assert_true(age->numbers[0] == 31 && isnan(age->numbers[1]) && age->numbers[2] == -4);
    const struct table_column *city = table_find(table, "city");
    assert_int_equal(city->kind, TABLE_CATEGORY);
    assert_int_equal(city->dictionary_count, 2);
    assert_string_equal(city->dictionary[0], "Ly\"on");
    assert_int_equal(city->codes[0], 1);
    assert_int_equal(city->codes[1], 0);
    assert_int_equal(city->codes[2], -1);
    const struct table_column *score = table_find(table, "score");
    assert_false(score->integer);
    assert_true(score->numbers[1] == -2000 && isnan(score->numbers[2]));
    const struct table_column *late = table_find(table, "late");
    assert_int_equal(late->kind, TABLE_CATEGORY);
    assert_int_equal(late->dictionary_count, 3);
    assert_string_equal(late->dictionary[late->codes[0]], "1");
    assert_int_equal(table_find(table, "empty")->kind, TABLE_NUMBER);
    assert_true(isnan(table_find(table, "empty")->numbers[0]));
    assert_int_equal(table_find(table, "flag")->kind, TABLE_CATEGORY);
    assert_non_null(strstr(table_source(table), "\"file\":\"people.csv\""));
    assert_non_null(strstr(table_source(table), "sha256:"));
    table_close(&table);
}

/* A column is a number for longer than the sample, then not: its earlier values are texts too. */
static void test_a_text_behind_the_sample_changes_the_column(void **state)
{
    (void)state;
    size_t rows = 700000;
    size_t room = rows * 16;
    char *csv = mlq_alloc(room);
    size_t used = (size_t)snprintf(csv, room, "id,code\n");
    for (size_t i = 0; i < rows; i++) {
        used += (size_t)snprintf(csv + used, room - used, "%zu,%zu\n", i, i % 7);
    }
    used += (size_t)snprintf(csv + used, room - used, "inf,x\n");
    struct mlq_err err = MLQ_ERR_INIT;
    assert_int_equal(import_bytes(csv, used, "{\"max_bad_rows\": 1}", &err), MLQ_OK);
    struct table *table = NULL;
    assert_int_equal(table_open("out/table.safetensors", &table, &err), MLQ_OK);
    /* The last row holds an infinite id: it is bad, and its text leaves no trace in the dictionary.
     */
    assert_int_equal(table_rows(table), rows);
    const struct table_column *code = table_find(table, "code");
    assert_int_equal(code->kind, TABLE_CATEGORY);
    assert_int_equal(code->dictionary_count, 7);
    assert_string_equal(code->dictionary[code->codes[12]], "5");
    assert_true(table_find(table, "id")->numbers[rows - 1] == (double)(rows - 1));
    table_close(&table);
    mlq_free(csv);
}

#define WIDE 12u

/* Texts come in no order, some are missing; every thousandth line has a field too few. */
static char *write_wide(size_t lines, size_t *len)
{
    size_t room = lines * (2 * WIDE + 8) + 200;
    char *csv = mlq_alloc(room);
    size_t used = (size_t)snprintf(csv, room, "text");
    for (unsigned i = 0; i < WIDE; i++) {
        used += (size_t)snprintf(csv + used, room - used, ",n%u", i);
    }
    csv[used++] = '\n';
    for (size_t line = 0; line < lines; line++) {
        if (line % 7 != 0) {
            csv[used++] = 'z' - (char)(line % 23);
        }
        for (unsigned i = line % 1000 == 999 ? 1 : 0; i < WIDE; i++) {
            csv[used++] = ',';
            csv[used++] = '0' + (char)((line + i) % 10);
        }
        csv[used++] = '\n';
    }
    *len = used;
    return csv;
}

static void expect_wide(size_t lines)
{
    size_t len;
    struct mlq_err err = MLQ_ERR_INIT;
    char *csv = write_wide(lines, &len);
    assert_int_equal(import_bytes(csv, len, "{\"max_bad_rows\": 100000}", &err), MLQ_OK);
    mlq_free(csv);
    struct table *table = NULL;
    assert_int_equal(table_open("out/table.safetensors", &table, &err), MLQ_OK);
    assert_int_equal(table_rows(table), lines - lines / 1000);
    const struct table_column *text = table_find(table, "text");
    assert_int_equal(text->dictionary_count, 23);
    assert_string_equal(text->dictionary[0], "d");
    for (uint64_t row = 0; row < table_rows(table); row++) {
        size_t line = row + row / 999;
        bool is_right = table_source_row(table, row) == (int64_t)line &&
                        text->codes[row] == (line % 7 == 0 ? -1 : 22 - (int32_t)(line % 23));
        for (unsigned i = 0; i < WIDE; i++) {
            is_right = is_right && table_column(table, 1 + i)->numbers[row] == (double)((line + i) % 10);
        }
        if (!is_right) {
            fail_msg("row %zu of %zu is wrong", (size_t)row, lines);
        }
    }
    table_close(&table);
}

/* Whether the scan could keep all rows, or they are read again: the table is that of the file. */
static void test_a_file_that_is_read_once_or_twice(void **state)
{
    (void)state;
    expect_wide(3000);
    expect_wide((64u << 20) / 8 / (WIDE + 1) + 5000);
}

static void test_declared_types_win(void **state)
{
    (void)state;
    struct table *table = import_table(
        "zip;n;note\n007;1;a\n08;2;b\n",
        "{\"delimiter\": \";\", \"types\": {\"zip\": \"category\", \"note\": \"ignore\"}}");
    assert_int_equal(table_column_count(table), 2);
    const struct table_column *zip = table_find(table, "zip");
    assert_int_equal(zip->kind, TABLE_CATEGORY);
    assert_string_equal(zip->dictionary[zip->codes[0]], "007");
    assert_null(table_find(table, "note"));
    table_close(&table);
}

static void test_missing_texts_may_be_numbers(void **state)
{
    (void)state;
    struct table *table = import_table("a,b\n-999,1\n5,?\n", "{\"missing\": [\"-999\", \"?\"]}");
    assert_true(isnan(table_find(table, "a")->numbers[0]));
    assert_true(isnan(table_find(table, "b")->numbers[1]));
    assert_int_equal(table_find(table, "b")->kind, TABLE_NUMBER);
    table_close(&table);
}

static void test_bad_rows_are_left_out_and_told(void **state)
{
    (void)state;
    const char csv[] = "a,b\n1,x\n2\n3,y,z\n4,\xff\n5,inf\n6,\"q\"r\n7,w\n";
    struct mlq_err err = MLQ_ERR_INIT;
    assert_int_equal(import_bytes(csv, sizeof csv - 1, "{\"max_bad_rows\": 4}", &err), MLQ_OK);
    struct table *table = NULL;
    assert_int_equal(table_open("out/table.safetensors", &table, &err), MLQ_OK);
    assert_int_equal(table_rows(table), 3); /* b holds texts, so "inf" is a text */
    assert_true(table_find(table, "a")->numbers[1] == 5);
    assert_int_equal(table_source_row(table, 0), 0);
    assert_int_equal(table_source_row(table, 1), 4);
    assert_int_equal(table_source_row(table, 2), 6);
    assert_int_equal(table_find(table, "b")->dictionary_count, 3);
    table_close(&table);
    json_t *profile = read_profile();
    json_t *bad = json_object_get(profile, "bad_rows");
    assert_int_equal(json_integer_value(json_object_get(bad, "count")), 4);
    json_t *first = json_array_get(json_object_get(bad, "first"), 0);
    assert_int_equal(json_integer_value(json_object_get(first, "line")), 3);
    json_decref(profile);
    assert_int_equal(import_bytes(csv, sizeof csv - 1, "{\"max_bad_rows\": 3}", &err), MLQ_EINVAL);
    assert_non_null(strstr(err.text, "in.csv:7:2: text after a closing quote (bad row 4; "
                                     "with.max_bad_rows is 3)"));
    assert_false(mlq_fs_exists("out/table.safetensors"));
}

static void test_not_finite_values_make_a_row_bad_in_number_columns(void **state)
{
    (void)state;
    const char csv[] = "a,c\n1,u\ninf,v\n1e999,w\n4,u\n";
    struct mlq_err err = MLQ_ERR_INIT;
    assert_int_equal(import_bytes(csv, sizeof csv - 1, "{}", &err), MLQ_EINVAL);
    assert_non_null(strstr(err.text, "in.csv:3:1: 'inf' in the number column 'a' is not a finite"));
    assert_int_equal(import_bytes(csv, sizeof csv - 1, "{\"max_bad_rows\": 2}", &err), MLQ_OK);
    struct table *table = NULL;
    assert_int_equal(table_open("out/table.safetensors", &table, &err), MLQ_OK);
    assert_int_equal(table_rows(table), 2);
    assert_int_equal(table_find(table, "c")->dictionary_count, 1); /* only of good rows */
    table_close(&table);
}

struct hostile {
    const char *csv;
    const char *with;
    const char *why;
};

static void test_hostile_tables_fail_with_their_place(void **state)
{
    (void)state;
    static const struct hostile cases[] = {
        {"", "{}",
         "in.csv:1:1: the file is empty: expected a header line with the names of the columns"},
        {"\n\n", "{}",
         "in.csv:1:1: the file is empty: expected a header line with the names of the columns"},
        {"a,b\n", "{}", "in.csv:2:1: there is no row below the header"},
        {"a,b,a\n1,2,3\n", "{}", "in.csv:1:3: columns 1 and 3 are both named 'a'"},
        {"a,,c\n1,2,3\n", "{}", "in.csv:1:2: column 2 has no name"},
        {"a,mlq.row\n1,2\n", "{}", "in.csv:1:2: the column name 'mlq.row' is reserved"},
        {"a,\xff\n1,2\n", "{}", "in.csv:1:2: header: bytes that are not UTF-8"},
        {"a,b\n1\n", "{}",
         "in.csv:2:1: 1 fields, but the header has 2 (1) (bad row 1; with.max_bad_rows is 0)"},
        {"a,b\n1,2,3\n", "{}",
         "in.csv:2:3: 3 fields, but the header has 2 (1,2,3) (bad row 1; with.max_bad_rows is 0)"},
        {"a,b\n1,\"2\n", "{}",
         "in.csv:2:2: a quoted field does not end (bad row 1; with.max_bad_rows is 0)"},
        {"a,b\n1,2\n", "{\"target\": \"c\"}",
         "in.csv:1: with.target names 'c', but there is no such column"},
        {"label,b\n1,2\n", "{\"target\": \"lable\"}",
         "in.csv:1: with.target names 'lable', but there is no such column (did you mean "
         "'label'?)"},
        {"a,b\n1,2\n", "{\"types\": {\"z\": \"number\"}}",
         "in.csv:1: with.types names 'z', but there is no such column"},
        {"a,b\n1,2\n", "{\"types\": {\"a\": \"text\"}}",
         "with.types.a: expected number, category or ignore"},
        {"a,b\n1,2\n", "{\"types\": {\"a\": 7}}",
         "with.types.a: expected number, category or ignore"},
        {"a,b\n1,2\n", "{\"types\": []}", "with.types: expected a mapping of column to type"},
        {"a,b\n1,2\n", "{\"types\": {\"a\": \"ignore\"}, \"target\": \"a\"}",
         "with.types ignores 'a', which is the target"},
        {"a\n1\n", "{\"types\": {\"a\": \"ignore\"}}", "in.csv:1:1: every column is ignored"},
        {"a,b\n1,\xff\n", "{}",
         "in.csv:2:2: bytes that are not UTF-8 (bad row 1; with.max_bad_rows is 0)"},
        {"\"a\",\"b", "{}", "in.csv:1:2: header: a quoted field does not end"},
        {"a,b\n1,nan\nx,-inf\n", "{\"types\": {\"b\": \"number\"}}",
         "in.csv:3:2: '-inf' in the number column 'b' is not a finite number (bad row 1; "
         "with.max_bad_rows is 0)"},
        {"a,b\n1,1e400\n", "{}",
         "in.csv:2:2: '1e400' in the number column 'b' is not a finite number (bad row 1; "
         "with.max_bad_rows is 0)"},
        {"i,a,b\nx,1,2\ny,2,2\n", "{\"target\": \"b\", \"types\": {\"i\": \"ignore\"}}",
         "in.csv:1:3: the target 'b' has the same value in every row: there is nothing to learn"},
        {"a,b\nx,2\n", "{\"types\": {\"a\": \"number\"}}",
         "in.csv:2:1: 'x' in the number column 'a' is not a finite number (bad row 1; "
         "with.max_bad_rows is 0)"},
        {"a,b\n1,2\n2,2\n", "{\"target\": \"b\"}",
         "in.csv:1:2: the target 'b' has the same value in every row: there is nothing to learn"},
        {"a,b\n1,\n2,\n", "{\"target\": \"b\"}",
         "in.csv:1:2: the target 'b' has no value in any row"},
        {"a,b\n1,x\n2,y\n3,z\n", "{\"target\": \"b\"}",
         "in.csv:1:2: the target 'b' has a class of its own for each of its 3 rows: is it an "
         "identifier?"},
        {"a,b\n1,x\n2,y\n3,z\n", "{\"categories_max\": 2}",
         "in.csv:1:2: the column 'b' has more than 2 different texts (the first that is no number: "
         "'x' on line 2): give `types: {b: ignore}` (or number), or raise categories_max"},
        {"a,b\n1,2\n", "{\"categories_max\": 0}",
         "with.categories_max is 0: expected an integer in 1..1048576"},
        {"a,b\n1,2\n", "{\"max_bad_rows\": -1}",
         "with.max_bad_rows is -1: expected an integer in 0..1000000000000"},
        {"a,b\n1,2\n", "{\"delimiter\": \";;\"}",
         "with.delimiter is ';;': expected one ASCII character, such as ',' ';' or a tab; not a "
         "quote, not a newline"},
        {"a,b\n1,2\n", "{\"delimiter\": \"\"}",
         "with.delimiter is '': expected one ASCII character, such as ',' ';' or a tab; not a "
         "quote, not a newline"},
        {"a,b\n1,2\n", "{\"missing\": [1]}", "with.missing: entry 1 is not a text"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mlq_err err = MLQ_ERR_INIT;
        int rc = import_bytes(cases[i].csv, strlen(cases[i].csv), cases[i].with, &err);
        if (rc >= 0 || strcmp(err.text, cases[i].why) != 0) {
            fail_msg("case %zu: rc %d, '%s', expected '%s'", i, rc, err.text, cases[i].why);
        }
        assert_false(mlq_fs_exists("out/profile.json"));
    }
}

/* With a NUL, which no string literal above can hold; and a line of 1 GB, by mlq-op as users run
 * it. */
static void test_bytes_that_are_no_text(void **state)
{
    (void)state;
    const char nul[] = "a,b\n1,x\0y\n";
    struct mlq_err err = MLQ_ERR_INIT;
    assert_int_equal(import_bytes(nul, sizeof nul - 1, "{}", &err), MLQ_EINVAL);
    assert_string_equal(err.text, "in.csv:2:2: a NUL byte (bad row 1; with.max_bad_rows is 0)");
    write_bytes("line.csv", "a,b\n1,2\n", 8);
    assert_int_equal(truncate("line.csv", 1000000000),
                     0); /* zeros, which take no room on the disk */
    struct op_run run = {.op = "data.import", .path = "line.csv", .output = "line"};
    op_run_expect(&run, 1,
                  "mlq-op data.import: line.csv:3:1: the row is longer than 16 MiB (bad row 1; "
                  "with.max_bad_rows is 0)\n");
    run.with = "{\"max_bad_rows\": 1}";
    op_run_expect(&run, 0, "import.bad_row");
    assert_int_equal(unlink("line.csv"), 0);
}

static void test_profile(void **state)
{
    (void)state;
    struct table *table = import_table("x,c\n1,b\n2,a\n3,b\n4,\n,b\n-0,a\n0,b\n", "{}");
    table_close(&table);
    json_t *profile = read_profile();
    assert_int_equal(json_integer_value(json_object_get(profile, "rows")), 7);
    assert_true(fabs(json_real_value(json_object_get(profile, "missing_fraction")) - 2.0 / 14) <
                1e-15);
    json_t *x = json_array_get(json_object_get(profile, "columns"), 0);
    /* pandas: [1, 2, 3, 4, 0, 0]: mean 10/6, std 1.632993161855452, quantile .25 = 0.25 */
    assert_int_equal(json_integer_value(json_object_get(x, "count")), 6);
    assert_int_equal(json_integer_value(json_object_get(x, "missing")), 1);
    assert_int_equal(json_integer_value(json_object_get(x, "distinct")), 5);
    assert_true(fabs(json_number_value(json_object_get(x, "mean")) - 10.0 / 6) < 1e-15);
    assert_true(fabs(json_number_value(json_object_get(x, "std")) - 1.632993161855452) < 1e-12);
    json_t *quantiles = json_object_get(x, "quantiles");
    assert_true(json_number_value(json_object_get(quantiles, "0.25")) == 0.25);
    assert_true(json_number_value(json_object_get(quantiles, "0.5")) == 1.5);
    json_t *c = json_array_get(json_object_get(profile, "columns"), 1);
    json_t *top = json_array_get(json_object_get(c, "top"), 0);
    assert_string_equal(json_string_value(json_object_get(top, "value")), "b");
    assert_int_equal(json_integer_value(json_object_get(top, "count")), 4);
    json_decref(profile);
}

/* More rows than a sample holds, but few values: counted, so nothing is estimated. */
static void test_quantiles_of_few_values_are_exact(void **state)
{
    (void)state;
    size_t rows = 100001;
    char *csv = mlq_alloc(rows * 8);
    size_t used = (size_t)snprintf(csv, 8, "x\n");
    for (size_t i = 0; i < rows; i++) {
        used += (size_t)snprintf(csv + used, 8, "%zu\n", i * 7919 % 1000 < 250 ? 3 : i % 40 + 10);
    }
    struct mlq_err err = MLQ_ERR_INIT;
    assert_int_equal(import_bytes(csv, used, "{}", &err), MLQ_OK);
    json_t *profile = read_profile();
    json_t *x = json_array_get(json_object_get(profile, "columns"), 0);
    assert_true(json_is_true(json_object_get(x, "quantiles_exact")));
    json_t *quantiles = json_object_get(x, "quantiles");
    /* numpy.quantile of the same */
    assert_true(json_number_value(json_object_get(quantiles, "0.05")) == 3);
    assert_true(json_number_value(json_object_get(quantiles, "0.25")) == 3);
    assert_true(json_number_value(json_object_get(quantiles, "0.5")) == 23);
    assert_true(json_number_value(json_object_get(quantiles, "0.99")) == 49);
    assert_int_equal(
        json_integer_value(json_object_get(json_array_get(json_object_get(x, "top"), 0), "count")),
        25001);
    json_decref(profile);
    mlq_free(csv);
}

/* One distinct value more than is counted, one less and just as many; and as many as there are
 * rows. */
static void test_distinct_values_are_counted_up_to_the_limit(void **state)
{
    (void)state;
    const unsigned rows = 140000;
    const unsigned distinct[] = {PROFILE_DISTINCT_MAX, PROFILE_DISTINCT_MAX - 1,
                                 PROFILE_DISTINCT_MAX + 1, rows, 5000};
    const size_t room = (size_t)rows * 64;
    char *csv = mlq_alloc(room);
    size_t len = (size_t)snprintf(csv, room, "a,b,c,d,e\n");
    for (unsigned i = 0; i < rows; i++) {
        for (size_t n = 0; n < 5; n++) {
            len += (size_t)snprintf(csv + len, room - len, "%.2f%c", i * 7919u % distinct[n] / 4.0,
                                    n == 4 ? '\n' : ',');
        }
    }
    struct mlq_err err = MLQ_ERR_INIT;
    assert_int_equal(import_bytes(csv, len, "{}", &err), MLQ_OK);
    json_t *profile = read_profile();
    for (size_t n = 0; n < 5; n++) {
        json_t *column = json_array_get(json_object_get(profile, "columns"), n);
        bool is_exact = distinct[n] <= PROFILE_DISTINCT_MAX;
        assert_int_equal(json_integer_value(json_object_get(column, "distinct")),
                         is_exact ? distinct[n] : PROFILE_DISTINCT_MAX);
        assert_int_equal(json_is_true(json_object_get(column, "distinct_exact")), is_exact);
        double middle =
            json_number_value(json_object_get(json_object_get(column, "quantiles"), "0.5"));
        assert_true(fabs(middle - distinct[n] / 8.0) < distinct[n] / 4.0 * 0.01);
    }
    json_decref(profile);
    mlq_free(csv);
}

/* Pieces of the file are parsed by several threads, and half of the columns are profiled by
 * another. The files are the same. */
static void test_cpus_change_no_byte(void **state)
{
    (void)state;
    static const char *const cpus[] = {"1", "2", "4"};
    static const char *const names[] = {"out/table.safetensors", "out/profile.json"};
    const size_t room = 4u << 20;
    char *csv = mlq_alloc(room);
    size_t len = (size_t)snprintf(csv, room, "a,b,c,late,label\n");
    for (int i = 0; i < 60000; i++) {
        len += (size_t)snprintf(csv + len, room - len, "%s%d,%d.%06d,\"t\"\"%d\",%s,%s\n",
                                i % 7001 == 5 ? "\"bad\nrow\",\"" : "", i, i % 7 - 3, i, i % 50,
                                i > 59000 ? "x" : "1", i % 3 == 0 ? "yes" : "no");
    }
    struct cas_digest digests[3][2];
    for (size_t n = 0; n < 3; n++) {
        struct mlq_err err = MLQ_ERR_INIT;
        assert_int_equal(setenv("OMP_NUM_THREADS", cpus[n], 1), 0);
        assert_int_equal(
            import_bytes(csv, len, "{\"target\": \"label\", \"max_bad_rows\": 99}", &err), MLQ_OK);
        for (size_t i = 0; i < 2; i++) {
            uint64_t bytes;
            assert_int_equal(cas_digest_file(names[i], &digests[n][i], &bytes, NULL), 0);
        }
    }
    assert_int_equal(unsetenv("OMP_NUM_THREADS"), 0);
    assert_memory_equal(digests[0], digests[1], sizeof digests[0]);
    assert_memory_equal(digests[0], digests[2], sizeof digests[0]);
    mlq_free(csv);
}

/* The worker has verified the file: it need not be hashed again. */
static void test_a_digest_that_is_known_is_recorded(void **state)
{
    (void)state;
    static const char known[] =
        "sha256:00000000000000000000000000000000000000000000000000000000000000ff";
    assert_int_equal(setenv("MLQ_DIGEST_PATH", known, 1), 0);
    struct table *table = import_table("a,b\n1,2\n", "{}");
    assert_int_equal(unsetenv("MLQ_DIGEST_PATH"), 0);
    assert_non_null(strstr(table_source(table), known));
    assert_non_null(strstr(table_source(table), "\"bytes\":8"));
    table_close(&table);
}

static void test_the_digits(void **state)
{
    (void)state;
    const char *source = getenv("MLQ_SOURCE_DIR");
    assert_non_null(source);
    char *path = mlq_fs_join(source, "examples/digits/digits.csv");
    char *csv = NULL;
    size_t len = 0;
    if (mlq_fs_read(path, 1 << 20, &csv, &len, NULL) != MLQ_OK) {
        mlq_free(path);
        skip();
    }
    struct mlq_err err = MLQ_ERR_INIT;
    assert_int_equal(import_bytes(csv, len, "{\"target\": \"label\"}", &err), MLQ_OK);
    struct table *table = NULL;
    assert_int_equal(table_open("out/table.safetensors", &table, &err), MLQ_OK);
    assert_int_equal(table_rows(table), 1797);
    assert_int_equal(table_column_count(table), 65);
    assert_string_equal(table_target(table)->name, "label");
    double sum = 0;
    for (size_t i = 0; i < 64; i++) {
        for (uint64_t row = 0; row < 1797; row++) {
            sum += table_column(table, i)->numbers[row];
        }
    }
    assert_true(sum == 561718); /* sklearn.datasets.load_digits().data.sum() */
    table_close(&table);
    mlq_free(csv);
    mlq_free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types_are_inferred_over_the_whole_file),
        cmocka_unit_test(test_a_text_behind_the_sample_changes_the_column),
        cmocka_unit_test(test_a_file_that_is_read_once_or_twice),
        cmocka_unit_test(test_declared_types_win),
        cmocka_unit_test(test_missing_texts_may_be_numbers),
        cmocka_unit_test(test_bad_rows_are_left_out_and_told),
        cmocka_unit_test(test_not_finite_values_make_a_row_bad_in_number_columns),
        cmocka_unit_test(test_hostile_tables_fail_with_their_place),
        cmocka_unit_test(test_bytes_that_are_no_text),
        cmocka_unit_test(test_profile),
        cmocka_unit_test(test_quantiles_of_few_values_are_exact),
        cmocka_unit_test(test_distinct_values_are_counted_up_to_the_limit),
        cmocka_unit_test(test_cpus_change_no_byte),
        cmocka_unit_test(test_a_digest_that_is_known_is_recorded),
        cmocka_unit_test(test_the_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
