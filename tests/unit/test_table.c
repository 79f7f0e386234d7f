/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/table.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/artifact/safetensors.h"

#define FILE_NAME "t.safetensors"

static const char *const cities[] = {"Lyon", "Oslo", "\xc3\x85rhus"};
static const double ages[] = {31, NAN, -4, 1e300, 0.5};
static const int32_t places[] = {0, -1, 2, 1, 0};
static const double labels[] = {0, 1, 1, 0, 2};
static const int64_t source_rows[] = {0, 2, 3, 4, 9};

static const struct table_column columns[] = {
    {.name = "city", .kind = TABLE_CATEGORY, .dictionary = cities, .dictionary_count = 3},
    {.name = "age", .kind = TABLE_NUMBER, .role = TABLE_IGNORE},
    {.name = "label", .kind = TABLE_NUMBER, .role = TABLE_TARGET, .integer = true},
};

static void write_table(void)
{
    struct table_schema schema = {.rows = 5,
                                  .columns = columns,
                                  .column_count = 3,
                                  .with_source_rows = true,
                                  .source = "{\"file\": \"people.csv\"}"};
    struct table_writer *writer = NULL;
    struct mlq_err err = MLQ_ERR_INIT;
    assert_int_equal(table_writer_create(FILE_NAME, &schema, &writer, &err), MLQ_OK);
    assert_int_equal(table_write_codes(writer, 0, places, 2, &err), MLQ_OK);
    assert_int_equal(table_write_numbers(writer, 2, labels, 5, &err), MLQ_OK);
    assert_int_equal(table_write_numbers(writer, 1, ages, 5, &err), MLQ_OK);
    assert_int_equal(table_write_source_rows(writer, source_rows, 5, &err), MLQ_OK);
    assert_int_equal(table_write_codes(writer, 0, places + 2, 3, &err), MLQ_OK);
    assert_int_equal(table_write_codes(writer, 0, places, 1, &err), MLQ_EINVAL);
    assert_int_equal(table_writer_finish(&writer, &err), MLQ_OK);
    assert_null(writer);
}

static void test_what_is_written_is_read(void **state)
{
    (void)state;
    write_table();
    struct table *table = NULL;
    struct mlq_err err = MLQ_ERR_INIT;
    if (table_open(FILE_NAME, &table, &err) != MLQ_OK) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(table_rows(table), 5);
    assert_int_equal(table_column_count(table), 3);
    assert_string_equal(table_column(table, 0)->name, "city");
    const struct table_column *city = table_find(table, "city");
    assert_ptr_equal(city, table_column(table, 0));
    assert_int_equal(city->kind, TABLE_CATEGORY);
    assert_int_equal(city->role, TABLE_FEATURE);
    assert_null(city->numbers);
    assert_int_equal(city->dictionary_count, 3);
    assert_string_equal(city->dictionary[2], cities[2]);
    assert_memory_equal(city->codes, places, sizeof places);
    const struct table_column *age = table_find(table, "age");
    assert_int_equal(age->role, TABLE_IGNORE);
    assert_false(age->integer);
    assert_memory_equal(age->numbers, ages, sizeof ages);
    assert_string_equal(table_target(table)->name, "label");
    assert_true(table_target(table)->integer);
    assert_null(table_find(table, "absent"));
    assert_int_equal(table_source_row(table, 4), 9);
    assert_string_equal(table_source(table), "{\"file\":\"people.csv\"}");
    const struct table_column *found = NULL;
    assert_int_equal(table_need(table, "lable", &found, &err), MLQ_ENOENT);
    assert_non_null(strstr(err.text, "did you mean 'label'?"));
    assert_int_equal(table_need(table, "label", &found, &err), MLQ_OK);
    static const uint64_t expected[][2] = {{0, 2}, {2, 3}, {5, 0}, {1, 1}, {0, 5}};
    for (size_t i = 0; i < MLQ_COUNT_OF(expected); i++) { /* advice, which changes nothing */
        table_expect(table, expected[i][0], expected[i][1]);
        assert_memory_equal(city->codes, places, sizeof places);
    }
    table_close(&table);
}

static void test_a_subset_keeps_order_dictionary_and_source_rows(void **state)
{
    (void)state;
    write_table();
    struct table *table = NULL;
    assert_int_equal(table_open(FILE_NAME, &table, NULL), MLQ_OK);
    const uint8_t part[5] = {1, 0, 1, 0, 1};
    const enum table_role roles[3] = {TABLE_KEY, TABLE_FEATURE, TABLE_TARGET};
    struct table_subset subset = {.part = part, .wanted = 1, .roles = roles};
    struct mlq_err err = MLQ_ERR_INIT;
    assert_int_equal(table_save_subset(table, "part.safetensors", &subset, &err), MLQ_OK);
    struct table *half = NULL;
    assert_int_equal(table_open("part.safetensors", &half, &err), MLQ_OK);
    assert_int_equal(table_rows(half), 3);
    assert_int_equal(table_source_row(half, 0), 0);
    assert_int_equal(table_source_row(half, 1), 3);
    assert_int_equal(table_source_row(half, 2), 9);
    const struct table_column *city = table_find(half, "city");
    assert_int_equal(city->role, TABLE_KEY);
    assert_int_equal(city->dictionary_count, 3);
    assert_int_equal(city->codes[1], 2);
    assert_true(table_find(half, "age")->numbers[2] == 0.5);
    assert_string_equal(table_source(half), table_source(table));
    table_close(&half);
    subset.wanted = 7; /* no row: a table all the same */
    assert_int_equal(table_save_subset(table, "part.safetensors", &subset, &err), MLQ_OK);
    assert_int_equal(table_open("part.safetensors", &half, &err), MLQ_OK);
    assert_int_equal(table_rows(half), 0);
    table_close(&half);
    table_close(&table);
}

static void test_reserved_names_are_refused(void **state)
{
    (void)state;
    const char *names[] = {"", "__metadata__", "mlq.row", "not utf-8 \xff"};
    for (size_t i = 0; i < 4; i++) {
        const struct table_column column = {.name = names[i], .kind = TABLE_NUMBER};
        const struct table_schema schema = {.columns = &column, .column_count = 1};
        struct table_writer *writer = NULL;
        assert_int_equal(table_writer_create(FILE_NAME, &schema, &writer, NULL), MLQ_EINVAL);
        assert_null(writer);
    }
}

/* A file with one F64 tensor "x" and one I32 tensor "c" of two rows, and this schema. */
static int open_with_schema(const char *schema, const double *x, const int32_t *c,
                            struct mlq_err *err)
{
    const struct safetensors_tensor tensors[] = {
        {.name = "x", .dtype = SAFETENSORS_F64, .rank = 1, .shape = {2}, .data = x},
        {.name = "c", .dtype = SAFETENSORS_I32, .rank = 1, .shape = {2}, .data = c},
    };
    const char *metadata[] = {schema == NULL ? "other" : "mlq.table", schema == NULL ? "" : schema,
                              NULL};
    assert_int_equal(safetensors_writer_save(FILE_NAME, tensors, 2, metadata, NULL), MLQ_OK);
    struct table *table = NULL;
    int rc = table_open(FILE_NAME, &table, err);
    table_close(&table);
    return rc;
}

#define SCHEMA(columns) "{\"version\":1,\"rows\":2,\"columns\":[" columns "]}"
#define X(role)         "{\"name\":\"x\",\"kind\":\"number\",\"role\":\"" role "\"}"
#define C(dictionary)                                                                              \
    "{\"name\":\"c\",\"kind\":\"category\",\"role\":\"feature\",\"dictionary\":" dictionary "}"

static void test_hostile_tables_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *schema;
        double x;
        int32_t c;
        const char *why;
    } cases[] = {
        {NULL, 0, 0, "data.import makes tables"},
        {"{", 0, 0, "JSON"},
        {"{\"version\":2,\"rows\":2,\"columns\":[" X("feature") "]}", 0, 0, "version 2"},
        {"{\"version\":1,\"rows\":-2,\"columns\":[" X("feature") "]}", 0, 0, "rows or columns"},
        {"{\"version\":1,\"rows\":3,\"columns\":[" X("feature") "]}", 0, 0, "no tensor of F64 [3]"},
        {SCHEMA(""), 0, 0, "rows or columns"},
        {SCHEMA("7"), 0, 0, "no name"},
        {SCHEMA(X("king")), 0, 0, "unknown kind or role"},
        {SCHEMA(X("feature") "," X("feature")), 0, 0, "two columns are named 'x'"},
        {SCHEMA(X("feature")), INFINITY, 0, "infinite"},
        {SCHEMA("{\"name\":\"c\",\"kind\":\"number\",\"role\":\"key\"}"), 0, 0, "no tensor of F64"},
        {SCHEMA(C("null")), 0, 0, "needs a dictionary"},
        {SCHEMA(C("[\"a\",\"a\"]")), 0, 0, "out of order"},
        {SCHEMA(C("[\"b\",\"a\"]")), 0, 0, "out of order"},
        {SCHEMA(C("[\"a\",1]")), 0, 0, "out of order"},
        {SCHEMA(C("[\"a\"]")), 0, 1, "outside its dictionary"},
        {SCHEMA(C("[\"a\"]")), 0, -2, "outside its dictionary"},
        {SCHEMA(C("[\"a\"]")), 0, INT32_MIN, "outside its dictionary"},
        {SCHEMA(C("[\"a\"]")), 0, INT32_MAX, "outside its dictionary"},
        {SCHEMA(C("[]")), 0, 0, "outside its dictionary"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const double x[2] = {0, cases[i].x};
        const int32_t c[2] = {-1, cases[i].c};
        struct mlq_err err = MLQ_ERR_INIT;
        int rc = open_with_schema(cases[i].schema, x, c, &err);
        if (rc >= 0 || strstr(err.text, cases[i].why) == NULL) {
            fail_msg("case %zu: rc %d, '%s' lacks '%s'", i, rc, err.text, cases[i].why);
        }
    }
    const double x[2] = {0, NAN};
    const int32_t c[2] = {-1, 0};
    assert_int_equal(open_with_schema(SCHEMA(X("target") "," C("[\"a\"]")), x, c, NULL), MLQ_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written_is_read),
        cmocka_unit_test(test_a_subset_keeps_order_dictionary_and_source_rows),
        cmocka_unit_test(test_reserved_names_are_refused),
        cmocka_unit_test(test_hostile_tables_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
