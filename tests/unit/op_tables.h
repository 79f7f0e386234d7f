/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Tables for the tests of training operators: the class follows from four numbers and a colour,
 * with some noise and some cells missing.
 */
#ifndef MLQ_TESTS_UNIT_OP_TABLES_H
#define MLQ_TESTS_UNIT_OP_TABLES_H

#include "tests/unit/cm.h"

#include <math.h>

#include "lib/base/prng.h"
#include "worker/op/table.h"

#define OP_TABLES_NUMBERS  4u
#define OP_TABLES_ROWS_MAX 1000u

static const char *const op_tables_shapes[] = {"disc", "ring", "star"};
static const char *const op_tables_colours[] = {"blue", "green", "red"};
static const char *const op_tables_more_shapes[] = {"blob", "disc", "ring", "star"};

static inline double op_tables_uniform(uint64_t key, uint64_t at)
{
    return (double)(mlq_hash_keyed(key, at, 0) >> 11) * 0x1.0p-53;
}

struct op_tables_plan {
    uint64_t key; /* of the rows: another key gives other rows of the same kind */
    uint64_t rows;
    bool no_target;
    bool one_class;
    bool missing_target;
    bool foreign_class; /* a label that other tables do not have */
    bool numeric_target;
    double target_factor; /* 0: 1 */
};

/* The class follows from the numbers and the colour, with some noise; some cells are missing. */
static inline void op_tables_write(const char *path, struct op_tables_plan plan)
{
    static double numbers[OP_TABLES_NUMBERS][OP_TABLES_ROWS_MAX], target[OP_TABLES_ROWS_MAX];
    static int32_t colour[OP_TABLES_ROWS_MAX], shape[OP_TABLES_ROWS_MAX];
    for (uint64_t i = 0; i < plan.rows; i++) {
        double sum = 0;
        for (uint64_t j = 0; j < OP_TABLES_NUMBERS; j++) {
            double u = op_tables_uniform(plan.key + j, i);
            sum += u * ((double)j - 1);
            numbers[j][i] = op_tables_uniform(plan.key + 50 + j, i) < 0.03
                                ? (double)NAN
                                : 100 * u + 1000 * (double)j;
        }
        colour[i] = (int32_t)(op_tables_uniform(plan.key + 20, i) * 3);
        sum += colour[i] == 1 ? 0.7 : 0;
        target[i] = (40 * sum + 5) * (plan.target_factor > 0 ? plan.target_factor : 1);
        sum += 0.05 * op_tables_uniform(plan.key + 30, i);
        shape[i] = plan.one_class ? 1 : sum < 0.7 ? 0 : sum < 1.4 ? 1 : 2;
        colour[i] = op_tables_uniform(plan.key + 40, i) < 0.02 ? -1 : colour[i];
    }
    shape[2] = plan.missing_target ? -1 : plan.foreign_class ? 0 : shape[2];
    if (plan.foreign_class) {
        for (uint64_t i = 3; i < plan.rows; i++) {
            shape[i]++;
        }
        shape[0]++, shape[1]++;
    }
    enum table_role role = plan.no_target ? TABLE_FEATURE : TABLE_TARGET;
    struct table_column columns[OP_TABLES_NUMBERS + 2] = {
        {.name = "a", .kind = TABLE_NUMBER},
        {.name = "b", .kind = TABLE_NUMBER},
        {.name = "c", .kind = TABLE_NUMBER},
        {.name = "d", .kind = TABLE_NUMBER},
        {.name = "colour",
         .kind = TABLE_CATEGORY,
         .dictionary = op_tables_colours,
         .dictionary_count = 3},
        {.name = "shape",
         .kind = TABLE_CATEGORY,
         .role = role,
         .dictionary = plan.foreign_class ? op_tables_more_shapes : op_tables_shapes,
         .dictionary_count = plan.foreign_class ? 4 : 3},
    };
    if (plan.numeric_target) {
        columns[OP_TABLES_NUMBERS + 1] =
            (struct table_column){.name = "weight", .kind = TABLE_NUMBER, .role = role};
    }
    struct table_schema schema = {
        .rows = plan.rows, .columns = columns, .column_count = OP_TABLES_NUMBERS + 2};
    struct table_writer *writer = NULL;
    assert_int_equal(table_writer_create(path, &schema, &writer, NULL), 0);
    for (size_t j = 0; j < OP_TABLES_NUMBERS; j++) {
        assert_int_equal(table_write_numbers(writer, j, numbers[j], plan.rows, NULL), 0);
    }
    assert_int_equal(table_write_codes(writer, OP_TABLES_NUMBERS, colour, plan.rows, NULL), 0);
    assert_int_equal(
        plan.numeric_target
            ? table_write_numbers(writer, OP_TABLES_NUMBERS + 1, target, plan.rows, NULL)
            : table_write_codes(writer, OP_TABLES_NUMBERS + 1, shape, plan.rows, NULL),
        0);
    assert_int_equal(table_writer_finish(&writer, NULL), 0);
}

#endif
