/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Expectation suites, bound to a small table and checked against it.
 */
#include <math.h>

#include "lib/sys/mem.h"
#include "tests/fuzz/fuzz.h"
#include "worker/op/expect_check.h"

#define ROWS 6u

static struct table *make_table(void)
{
    static const char *const texts[] = {"Lyon", "Oslo", "a+"};
    static const double numbers[ROWS] = {1, 2, 2, 0.5, -3, 7};
    static const int32_t codes[ROWS] = {0, 1, 2, -1, 1, 0};
    const struct table_column columns[] = {
        {.name = "n", .kind = TABLE_NUMBER},
        {.name = "m", .kind = TABLE_NUMBER, .integer = true, .role = TABLE_TARGET},
        {.name = "c", .kind = TABLE_CATEGORY, .dictionary = texts, .dictionary_count = 3}};
    const struct table_schema schema = {.rows = ROWS, .columns = columns, .column_count = 3};
    const double missing[ROWS] = {1, (double)NAN, 3, (double)NAN, 5, 6};
    struct table_writer *writer = NULL;
    struct table *table = NULL;
    char *path = mlq_format("%s/table", fuzz_folder());
    MLQ_ASSERT(table_writer_create(path, &schema, &writer, NULL) == MLQ_OK);
    (void)table_write_numbers(writer, 0, numbers, ROWS, NULL);
    (void)table_write_numbers(writer, 1, missing, ROWS, NULL);
    (void)table_write_codes(writer, 2, codes, ROWS, NULL);
    MLQ_ASSERT(table_writer_finish(&writer, NULL) == MLQ_OK);
    MLQ_ASSERT(table_open(path, &table, NULL) == MLQ_OK);
    mlq_free(path);
    return table;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct table *table;
    static struct op_context *ctx;
    struct expect_suite suite = {0};
    if (table == NULL) {
        table = make_table();
        MLQ_ASSERT(op_open("data.validate", &ctx, NULL) == MLQ_OK);
    }
    if (expect_suite_open(fuzz_file(0, data, size), "suite", table, &suite, NULL) != MLQ_OK) {
        return 0;
    }
    MLQ_ASSERT(expect_check_suite(ctx, &suite, table) == MLQ_OK);
    json_t *result = expect_check_result(&suite, table);
    char *text = json_dumps(result, 0);
    MLQ_ASSERT(text != NULL);
    mlq_free(text);
    json_decref(result);
    for (size_t i = 0; i < suite.count; i++) {
        char line[240];
        expect_check_describe(&suite.items[i], table, line, sizeof line);
    }
    expect_suite_close(&suite);
    return 0;
}
