/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * data.validate on a small table whose every count is known.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/sys/fs.h"
#include "worker/op/op_table.h"
#include "worker/op/table.h"

#define ROWS 8

static const char *const cities[] = {"Bonn", "Lyon", "Oslo"};
static const char *const flags[] = {"False", "True"};
/*                                   0    1    2    3   4    5   6    7 */
static const double ids[ROWS] = {    1,   2,   3,   4,  2,   6,  7,   2};
static const double ages[ROWS] = {  31, NAN,  -4, 200,  0, 0.5, 12, NAN};
static const int32_t places[ROWS] = {0,   1,   2,  -1,  1,   1,  0,   1};
static const int32_t states[ROWS] = {0,   1,   1,   0,  1,   0,  0,   1};
static const int64_t source_rows[ROWS] = {0, 1, 2, 3, 5, 6, 7, 8};

static int setup(void **state)
{
    (void)state;
    const struct table_column columns[] = {
        {.name = "id", .kind = TABLE_NUMBER, .integer = true},
        {.name = "age", .kind = TABLE_NUMBER},
        {.name = "city", .kind = TABLE_CATEGORY, .dictionary = cities, .dictionary_count = 3},
        {.name = "flag", .kind = TABLE_CATEGORY, .dictionary = flags, .dictionary_count = 2},
    };
    const struct table_schema schema = {
        .rows = ROWS, .columns = columns, .column_count = 4, .with_source_rows = true};
    struct table_writer *writer = NULL;
    assert_int_equal(table_writer_create("data.safetensors", &schema, &writer, NULL), 0);
    assert_int_equal(table_write_numbers(writer, 0, ids, ROWS, NULL), 0);
    assert_int_equal(table_write_numbers(writer, 1, ages, ROWS, NULL), 0);
    assert_int_equal(table_write_codes(writer, 2, places, ROWS, NULL), 0);
    assert_int_equal(table_write_codes(writer, 3, states, ROWS, NULL), 0);
    assert_int_equal(table_write_source_rows(writer, source_rows, ROWS, NULL), 0);
    assert_int_equal(table_writer_finish(&writer, NULL), 0);
    return 0;
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int validate(const char *suite, const char *with, struct mlq_err *err)
{
    assert_int_equal(mlq_fs_remove_tree("out", NULL), 0);
    assert_int_equal(mlq_fs_make_dirs("out", 0755, NULL), 0);
    write_text("suite.json", suite);
    write_text("with.json", with);
    assert_int_equal(setenv("MLQ_WITH", "with.json", 1), 0);
    assert_int_equal(setenv("MLQ_INPUT_DATA", "data.safetensors", 1), 0);
    assert_int_equal(setenv("MLQ_INPUT_SUITE", "suite.json", 1), 0);
    assert_int_equal(setenv("MLQ_OUTPUT", "out", 1), 0);
    struct op_context *ctx = NULL;
    assert_int_equal(op_open("data.validate", &ctx, err), 0);
    int rc = op_validate_run(ctx, err);
    op_close(&ctx);
    return rc;
}

static json_t *read_result(void)
{
    json_t *result = json_load_file("out/validation.json", 0, NULL);
    assert_non_null(result);
    return result;
}

#define SUITE(items) "{\"expectation_suite_name\": \"s\", \"expectations\": [" items "]}"
#define E(type, kwargs) "{\"expectation_type\": \"" type "\", \"kwargs\": {" kwargs "}}"

/* One expectation alone: whether it holds, and its result object (borrowed from *root). */
static json_t *check_one(const char *item, bool wanted, json_t **root)
{
    char suite[2048];
    (void)snprintf(suite, sizeof suite, SUITE("%s"), item);
    struct mlq_err err = MLQ_ERR_INIT;
    int rc = validate(suite, "{}", &err);
    if ((rc == MLQ_OK) != wanted) {
        fail_msg("%s: rc %d %s", item, rc, err.text);
    }
    *root = read_result();
    json_t *entry = json_array_get(json_object_get(*root, "results"), 0);
    assert_int_equal(json_is_true(json_object_get(entry, "success")), wanted);
    return json_object_get(entry, "result");
}

/* Counts, and the rows as "a b c". */
struct counts {
    const char *item;
    bool success;
    int missing; /* -1: not told */
    int unexpected;
    const char *rows;
};

#define AGE  "\"column\": \"age\""
#define CITY "\"column\": \"city\""
#define ID   "\"column\": \"id\""

/* great_expectations 0.18.22 (pandas engine) gives these for the same rows, index and arguments. */
static const struct counts golden[] = {
    {E("expect_column_values_to_not_be_null", AGE), false, -1, 2, "1 8"},
    {E("expect_column_values_to_not_be_null", AGE ", \"mostly\": 0.75"), true, -1, 2, "1 8"},
    {E("expect_column_values_to_not_be_null", AGE ", \"mostly\": 0.76"), false, -1, 2, "1 8"},
    {E("expect_column_values_to_not_be_null", ID), true, -1, 0, ""},
    {E("expect_column_values_to_be_between", AGE ", \"min_value\": 0, \"max_value\": 120"), false, 2, 2,
     "2 3"},
    {E("expect_column_values_to_be_between",
       AGE ", \"min_value\": 0, \"max_value\": 120, \"strict_min\": true"),
     false, 2, 3, "2 3 5"},
    {E("expect_column_values_to_be_between", AGE ", \"min_value\": -4, \"max_value\": 200"), true, 2, 0,
     ""},
    {E("expect_column_values_to_be_between",
       AGE ", \"max_value\": 200, \"strict_max\": true, \"mostly\": 0.8"),
     true, 2, 1, "3"},
    {E("expect_column_values_to_be_between",
       AGE ", \"max_value\": 200, \"strict_max\": true, \"mostly\": 0.84"),
     false, 2, 1, "3"},
    {E("expect_column_values_to_be_in_set", CITY ", \"value_set\": [\"Lyon\", \"Bonn\"]"), false, 1, 1,
     "2"},
    {E("expect_column_values_to_be_in_set", CITY ", \"value_set\": [\"Oslo\", \"Lyon\", \"Bonn\", \"?\"]"),
     true, 1, 0, ""},
    {E("expect_column_values_to_be_in_set", ID ", \"value_set\": [7, 6, 4, 3, 1]"), false, 0, 3,
     "1 5 8"},
    {E("expect_column_values_to_be_in_set", ID ", \"value_set\": []"), false, 0, 8,
     "0 1 2 3 5 6 7 8"},
    {E("expect_column_values_to_be_in_set", "\"column\": \"flag\", \"value_set\": [true]"), false, 0, 4,
     "0 3 6 7"},
    {E("expect_column_values_to_be_unique", ID), false, 0, 3, "1 5 8"},
    {E("expect_column_values_to_be_unique", AGE), true, 2, 0, ""},
    {E("expect_column_values_to_be_unique", CITY ", \"mostly\": 0.1"), true, 1, 6, "0 1 5 6 7 8"},
    {E("expect_compound_columns_to_be_unique", "\"column_list\": [\"id\", \"city\"]"), false, 0, 3,
     "1 5 8"},
    {E("expect_compound_columns_to_be_unique", "\"column_list\": [\"id\", \"age\"]"), false, 0, 2, "1 8"},
    {E("expect_compound_columns_to_be_unique",
       "\"column_list\": [\"id\", \"age\"], \"ignore_row_if\": \"any_value_is_missing\""),
     true, 2, 0, ""},
    {E("expect_column_values_to_match_regex", CITY ", \"regex\": \"^[A-Z]\\\\w{3}$\""), true, 1, 0, ""},
    {E("expect_column_values_to_match_regex", CITY ", \"regex\": \"o.*n\""), false, 1, 1, "2"},
    {E("expect_column_values_to_match_regex", CITY ", \"regex\": \"^on\""), false, 1, 7,
     "0 1 2 5 6 7 8"},
};

static void test_counts_and_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
        json_t *root = NULL;
        json_t *result = check_one(golden[i].item, golden[i].success, &root);
        json_t *missing = json_object_get(result, "missing_count");
        json_t *list = json_object_get(result, "partial_unexpected_index_list");
        char rows[128] = "";
        size_t used = 0;
        for (size_t k = 0; k < json_array_size(list); k++) {
            used += (size_t)snprintf(rows + used, sizeof rows - used, "%s%lld", k == 0 ? "" : " ",
                                     (long long)json_integer_value(json_array_get(list, k)));
        }
        if ((missing == NULL ? -1 : json_integer_value(missing)) != golden[i].missing ||
            json_integer_value(json_object_get(result, "unexpected_count")) != golden[i].unexpected ||
            json_integer_value(json_object_get(result, "element_count")) != ROWS ||
            strcmp(rows, golden[i].rows) != 0) {
            fail_msg("case %zu: %s, rows '%s' instead of '%s'", i, json_dumps(result, 0), rows,
                     golden[i].rows);
        }
        json_decref(root);
    }
}

static void test_values_and_percentages(void **state)
{
    (void)state;
    json_t *root = NULL;
    json_t *result = check_one(
        E("expect_column_values_to_be_between", AGE ", \"min_value\": 0, \"max_value\": 120"), false,
        &root);
    assert_true(json_number_value(json_object_get(result, "missing_percent")) == 25);
    assert_true(fabs(json_number_value(json_object_get(result, "unexpected_percent")) - 100.0 / 3) < 1e-9);
    assert_true(json_number_value(json_object_get(result, "unexpected_percent_total")) == 25);
    json_t *values = json_object_get(result, "partial_unexpected_list");
    assert_true(json_number_value(json_array_get(values, 0)) == -4);
    json_decref(root);
    result = check_one(E("expect_compound_columns_to_be_unique", "\"column_list\": [\"id\", \"city\"]"),
                       false, &root);
    json_t *key = json_array_get(json_object_get(result, "partial_unexpected_list"), 0);
    assert_int_equal(json_integer_value(json_object_get(key, "id")), 2);
    assert_string_equal(json_string_value(json_object_get(key, "city")), "Lyon");
    json_decref(root);
}

static void test_checks_of_the_table(void **state)
{
    (void)state;
    static const struct {
        const char *item;
        bool success;
    } cases[] = {
        {E("expect_column_to_exist", "\"column\": \"age\""), true},
        {E("expect_column_to_exist", "\"column\": \"Age\""), false},
        {E("expect_column_to_exist", "\"column\": \"age\", \"column_index\": 1"), true},
        {E("expect_column_to_exist", "\"column\": \"age\", \"column_index\": 2"), false},
        {E("expect_table_row_count_to_be_between", "\"min_value\": 8, \"max_value\": 8"), true},
        {E("expect_table_row_count_to_be_between", "\"min_value\": 9"), false},
        {E("expect_table_row_count_to_be_between", "\"max_value\": 8, \"strict_max\": true"), false},
        {E("expect_table_columns_to_match_set",
           "\"column_set\": [\"flag\", \"id\", \"age\", \"city\"]"), true},
        {E("expect_table_columns_to_match_set", "\"column_set\": [\"id\"]"), false},
        {E("expect_table_columns_to_match_set", "\"column_set\": [\"id\"], \"exact_match\": false"),
         true},
        {E("expect_table_columns_to_match_set", "\"column_set\": [\"x\"], \"exact_match\": false"), false},
        {E("expect_column_values_to_be_of_type", ID ", \"type_\": \"int64\""), true},
        {E("expect_column_values_to_be_of_type", ID ", \"type_\": \"float\""), true},
        {E("expect_column_values_to_be_of_type", AGE ", \"type_\": \"int\""), false},
        {E("expect_column_values_to_be_of_type", CITY ", \"type_\": \"str\""), true},
        {E("expect_column_values_to_be_of_type", CITY ", \"type_\": \"bool\""), false},
        {E("expect_column_values_to_be_of_type", "\"column\": \"flag\", \"type_\": \"bool\""), true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *root = NULL;
        assert_non_null(check_one(cases[i].item, cases[i].success, &root));
        json_decref(root);
    }
    json_t *root = NULL;
    json_t *result = check_one(
        E("expect_table_columns_to_match_set", "\"column_set\": [\"id\", \"x\"]"), false, &root);
    json_t *mismatched = json_object_get(json_object_get(result, "details"), "mismatched");
    assert_string_equal(json_string_value(json_array_get(json_object_get(mismatched, "missing"), 0)), "x");
    assert_int_equal(json_array_size(json_object_get(mismatched, "unexpected")), 3);
    json_decref(root);
}

static void test_what_cannot_be_checked_fails_by_itself(void **state)
{
    (void)state;
    static const char *const items[][2] = {
        {E("expect_column_values_to_be_unique", "\"column\": \"x\""), "column 'x' does not exist"},
        {E("expect_column_values_to_be_between", CITY ", \"min_value\": 1"), "holds texts, not numbers"},
        {E("expect_column_values_to_match_regex", ID ", \"regex\": \"a\""), "holds numbers, not texts"},
        {E("expect_compound_columns_to_be_unique", "\"column_list\": [\"id\", \"x\"]"), "'x' does not"},
    };
    for (size_t i = 0; i < sizeof items / sizeof items[0]; i++) {
        json_t *root = NULL;
        (void)check_one(items[i][0], false, &root);
        json_t *entry = json_array_get(json_object_get(root, "results"), 0);
        json_t *info = json_object_get(entry, "exception_info");
        assert_true(json_is_true(json_object_get(info, "raised_exception")));
        const char *message = json_string_value(json_object_get(info, "exception_message"));
        if (strstr(message, items[i][1]) == NULL) {
            fail_msg("'%s' lacks '%s'", message, items[i][1]);
        }
        json_decref(root);
    }
}

static void test_both_spellings_and_statistics(void **state)
{
    (void)state;
    struct mlq_err err = MLQ_ERR_INIT;
    const char suite[] =
        "{\"name\": \"v1\", \"id\": null, \"meta\": {\"great_expectations_version\": \"1.3.0\"},"
        "\"expectations\": ["
        "{\"type\": \"expect_column_to_exist\", \"kwargs\": {\"column\": \"id\"}, \"meta\": {}},"
        "{\"type\": \"expect_column_to_exist\", \"kwargs\": {\"column\": \"x\"}, \"severity\": \"critical\"},"
        "{\"type\": \"expect_column_to_exist\", \"kwargs\": {\"column\": \"y\"}, \"severity\": \"warning\"},"
        "{\"type\": \"expect_column_values_to_be_unique\", \"kwargs\": {\"column\": \"id\"}}]}";
    assert_int_equal(validate(suite, "{\"suite\": \"v1.json\"}", &err), MLQ_EINVAL);
    assert_non_null(strstr(err.text, "2 of 4 expectations failed; the first: expect_column_to_exist"));
    json_t *root = read_result();
    assert_false(json_is_true(json_object_get(root, "success")));
    assert_string_equal(json_string_value(json_object_get(root, "suite_name")), "v1");
    json_t *statistics = json_object_get(root, "statistics");
    assert_int_equal(json_integer_value(json_object_get(statistics, "evaluated_expectations")), 4);
    assert_int_equal(json_integer_value(json_object_get(statistics, "successful_expectations")), 1);
    assert_true(json_number_value(json_object_get(statistics, "success_percent")) == 25);
    json_decref(root);
    assert_int_equal(validate(suite, "{\"on_failure\": \"warn\"}", &err), MLQ_OK);
    root = read_result();
    assert_false(json_is_true(json_object_get(root, "success")));
    json_decref(root);
    assert_int_equal(validate(suite, "{\"on_failure\": \"shrug\"}", &err), MLQ_EINVAL);
    assert_non_null(strstr(err.text, "expected fail or warn"));
}

static void test_the_error_names_rows(void **state)
{
    (void)state;
    struct mlq_err err = MLQ_ERR_INIT;
    assert_int_equal(validate(SUITE(E("expect_column_values_to_be_unique", ID)), "{}", &err),
                     MLQ_EINVAL);
    assert_string_equal(err.text,
                        "1 of 1 expectations failed; the first: expect_column_values_to_be_unique(id): "
                        "3 of 8 values, rows 1, 5, 8 (rows count from 0; all are in validation.json)");
}

static void test_hostile_suites_are_refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", "s.json: JSON"},
        {"[]", "s.json: no expectation suite"},
        {"{\"expectations\": []}", "holds 1 to 10000 expectations, this one 0"},
        {"{\"expectations\": [7]}", "expectation 1 has no 'expectation_type'"},
        {SUITE("{\"type\": \"expect_magic\", \"kwargs\": {}}"),
         "expectation 1: 'expect_magic' is not supported; these are (after 'expect_'): "
         "table_columns_to_match_set, column_to_exist"},
        {SUITE("{\"type\": \"expect_column_to_exist\"}"), "'kwargs' must be an object"},
        {SUITE(E("expect_column_to_exist", "")), "'column' must be the name of a column"},
        {SUITE(E("expect_column_to_exist", "\"column\": 7")), "'column' must be the name"},
        {SUITE(E("expect_column_values_to_be_unique", ID ", \"row_condition\": \"age > 3\"")),
         "has the argument 'row_condition', which is not supported"},
        {SUITE(E("expect_column_values_to_be_unique", ID ", \"mostly\": 1.5")), "'mostly' must be"},
        {SUITE(E("expect_column_values_to_be_unique", ID ", \"mostly\": \"x\"")), "'mostly' must be"},
        {SUITE(E("expect_column_values_to_be_between", ID)), "'min_value' must be given"},
        {SUITE(E("expect_column_values_to_be_between", ID ", \"min_value\": \"a\"")), "must be a number"},
        {SUITE(E("expect_column_values_to_be_between", ID ", \"min_value\": 2, \"max_value\": 1")),
         "'min_value' must be at most max_value"},
        {SUITE(E("expect_column_values_to_be_in_set", ID)), "'value_set' must be a list"},
        {SUITE(E("expect_column_values_to_match_regex", CITY ", \"regex\": \"a(\"")),
         "'regex' must be a regular expression; at character 3: missing closing parenthesis"},
        {SUITE(E("expect_column_values_to_be_of_type", ID ", \"type_\": \"blob\"")),
         "'type_' must be a known type"},
        {SUITE(E("expect_compound_columns_to_be_unique", "\"column_list\": []")), "a list of 1 to 64"},
        {SUITE(E("expect_table_columns_to_match_set", "\"column_set\": [1]")), "a list of names"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mlq_err err = MLQ_ERR_INIT;
        int rc = validate(cases[i][0], "{\"suite\": \"s.json\"}", &err);
        if (rc >= 0 || strstr(err.text, cases[i][1]) == NULL) {
            fail_msg("case %zu: rc %d, '%s' lacks '%s'", i, rc, err.text, cases[i][1]);
        }
        assert_false(mlq_fs_exists("out/validation.json"));
    }
}

static void test_a_regex_that_explodes_is_given_up(void **state)
{
    (void)state;
    static const char text[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!";
    static const char *const dictionary[] = {text};
    const struct table_column column = {
        .name = "t", .kind = TABLE_CATEGORY, .dictionary = dictionary, .dictionary_count = 1};
    const struct table_schema schema = {.rows = 1, .columns = &column, .column_count = 1};
    struct table_writer *writer = NULL;
    const int32_t code = 0;
    assert_int_equal(table_writer_create("data.safetensors", &schema, &writer, NULL), 0);
    assert_int_equal(table_write_codes(writer, 0, &code, 1, NULL), 0);
    assert_int_equal(table_writer_finish(&writer, NULL), 0);
    struct mlq_err err = MLQ_ERR_INIT;
    assert_int_equal(validate(SUITE(E("expect_column_values_to_match_regex",
                                      "\"column\": \"t\", \"regex\": \"^(a+)+$\"")),
                              "{}", &err),
                     MLQ_EINVAL);
    assert_non_null(strstr(err.text, "on which the regex takes too long"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_counts_and_rows, setup),
        cmocka_unit_test_setup(test_values_and_percentages, setup),
        cmocka_unit_test_setup(test_checks_of_the_table, setup),
        cmocka_unit_test_setup(test_what_cannot_be_checked_fails_by_itself, setup),
        cmocka_unit_test_setup(test_both_spellings_and_statistics, setup),
        cmocka_unit_test_setup(test_the_error_names_rows, setup),
        cmocka_unit_test_setup(test_hostile_suites_are_refused, setup),
        cmocka_unit_test_setup(test_a_regex_that_explodes_is_given_up, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
