/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * data.split: the parts are disjoint, together they are all rows, and they are the same next time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/prng.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "worker/op/op_table.h"
#include "worker/op/table.h"

#define ROWS_MAX 2000

static const char *const part_names[] = {"train", "validation", "test"};
static const char *const users[] = {"ann", "bob", "cid", "dee", "eve", "fay", "gus", "hal",
                                    "ida", "jim", "kay", "leo", "mia", "ned", "oda", "pat"};

/* Row i: id i, label by thirds, user by chance, source row 2 i. The rows are a prefix of longer ones. */
static void write_table(size_t rows)
{
    static double ids[ROWS_MAX];
    static double labels[ROWS_MAX];
    static int32_t names[ROWS_MAX];
    static int64_t source_rows[ROWS_MAX];
    struct mlq_prng prng;
    mlq_prng_seed(&prng, 4);
    for (size_t i = 0; i < rows; i++) {
        ids[i] = (double)i;
        labels[i] = i % 10 == 0 ? 7 : i % 3 == 0 ? 1 : 0;
        names[i] = (int32_t)mlq_prng_below(&prng, 16);
        source_rows[i] = (int64_t)i * 2;
    }
    const struct table_column columns[] = {
        {.name = "id", .kind = TABLE_NUMBER, .integer = true},
        {.name = "label", .kind = TABLE_NUMBER, .integer = true, .role = TABLE_TARGET},
        {.name = "user", .kind = TABLE_CATEGORY, .dictionary = users, .dictionary_count = 16},
    };
    const struct table_schema schema = {
        .rows = rows, .columns = columns, .column_count = 3, .with_source_rows = true};
    struct table_writer *writer = NULL;
    assert_int_equal(table_writer_create("data.safetensors", &schema, &writer, NULL), 0);
    assert_int_equal(table_write_numbers(writer, 0, ids, rows, NULL), 0);
    assert_int_equal(table_write_numbers(writer, 1, labels, rows, NULL), 0);
    assert_int_equal(table_write_codes(writer, 2, names, rows, NULL), 0);
    assert_int_equal(table_write_source_rows(writer, source_rows, rows, NULL), 0);
    assert_int_equal(table_writer_finish(&writer, NULL), 0);
}

static int split(const char *with, struct mlq_err *err)
{
    assert_int_equal(mlq_fs_remove_tree("out", NULL), 0);
    assert_int_equal(mlq_fs_make_dirs("out", 0755, NULL), 0);
    FILE *file = fopen("with.json", "wb");
    assert_non_null(file);
    assert_true(fputs(with, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(setenv("MLQ_WITH", "with.json", 1), 0);
    assert_int_equal(setenv("MLQ_INPUT_DATA", "data.safetensors", 1), 0);
    assert_int_equal(setenv("MLQ_OUTPUT", "out", 1), 0);
    struct op_context *ctx = NULL;
    assert_int_equal(op_open("data.split", &ctx, err), 0);
    int rc = op_split_run(ctx, err);
    op_close(&ctx);
    return rc;
}

static struct table *open_part(int part)
{
    char *path = mlq_format("out/%s.safetensors", part_names[part]);
    struct table *table = NULL;
    assert_int_equal(table_open(path, &table, NULL), MLQ_OK);
    mlq_free(path);
    return table;
}

/* Splits, asserts that every row went to exactly one part with its values, and tells to which. */
static void split_all(const char *with, size_t rows, int part_of[ROWS_MAX], uint64_t sizes[3])
{
    struct mlq_err err = MLQ_ERR_INIT;
    if (split(with, &err) != MLQ_OK) {
        fail_msg("%s", err.text);
    }
    for (size_t i = 0; i < rows; i++) {
        part_of[i] = -1;
    }
    for (int part = 0; part < 3; part++) {
        struct table *table = open_part(part);
        sizes[part] = table_rows(table);
        const double *ids = table_find(table, "id")->numbers;
        const double *labels = table_find(table, "label")->numbers;
        for (uint64_t i = 0; i < sizes[part]; i++) {
            size_t id = (size_t)ids[i];
            assert_true(id < rows);
            assert_int_equal(part_of[id], -1); /* disjoint */
            part_of[id] = part;
            assert_int_equal(table_source_row(table, i), 2 * (int64_t)id);
            assert_true(labels[i] == (id % 10 == 0 ? 7 : id % 3 == 0 ? 1 : 0));
            assert_true(i == 0 || ids[i] > ids[i - 1]); /* in order */
        }
        assert_string_equal(table_target(table)->name, "label");
        table_close(&table);
    }
    for (size_t i = 0; i < rows; i++) {
        assert_true(part_of[i] >= 0); /* all */
    }
}

static void test_random_parts_are_exact_disjoint_and_complete(void **state)
{
    (void)state;
    write_table(1000);
    static int first[ROWS_MAX];
    static int second[ROWS_MAX];
    uint64_t sizes[3];
    const char *with = "{\"test\": 0.2, \"validation\": 0.15, \"seed\": 7}";
    split_all(with, 1000, first, sizes);
    assert_int_equal(sizes[0], 650);
    assert_int_equal(sizes[1], 150);
    assert_int_equal(sizes[2], 200);
    split_all(with, 1000, second, sizes);
    assert_memory_equal(first, second, 1000 * sizeof(int));
    split_all("{\"test\": 0.2, \"validation\": 0.15, \"seed\": 8}", 1000, second, sizes);
    size_t same = 0;
    for (size_t i = 0; i < 1000; i++) {
        same += first[i] == second[i] ? 1 : 0;
    }
    assert_true(same > 400 && same < 600); /* 0.65^2 + 0.15^2 + 0.2^2 = 0.485 by chance */
}

/* The first was computed by another program from the published generators. */
static void test_the_parts_are_the_same_everywhere(void **state)
{
    (void)state;
    write_table(40);
    static int part_of[ROWS_MAX];
    uint64_t sizes[3];
    split_all("{\"test\": 0.2, \"validation\": 0.1, \"seed\": 1}", 40, part_of, sizes);
    char text[41] = "";
    for (size_t i = 0; i < 40; i++) {
        text[i] = "tve"[part_of[i]];
    }
    assert_string_equal(text, "ttttteettttttttteteetttvtvttttetvvteettt");
    split_all("{\"by\": \"user\", \"test\": 0.3, \"validation\": 0.2, \"seed\": 1}", 40, part_of, sizes);
    for (size_t i = 0; i < 40; i++) {
        text[i] = "tve"[part_of[i]];
    }
    assert_string_equal(text, "tttttetettttteetteeettetetetvtvvvtvttete");
}

static void test_every_row_has_the_same_chance(void **state)
{
    (void)state;
    write_table(20);
    static int part_of[ROWS_MAX];
    uint64_t sizes[3];
    int tests[20] = {0};
    for (int seed = 0; seed < 300; seed++) {
        char with[64];
        (void)snprintf(with, sizeof with, "{\"test\": 0.25, \"validation\": 0, \"seed\": %d}", seed);
        split_all(with, 20, part_of, sizes);
        assert_int_equal(sizes[2], 5);
        assert_int_equal(sizes[1], 0);
        for (int i = 0; i < 20; i++) {
            tests[i] += part_of[i] == 2 ? 1 : 0;
        }
    }
    for (int i = 0; i < 20; i++) {
        /* 75 expected, standard deviation 7.5: five of them either way */
        assert_true(tests[i] > 37 && tests[i] < 113);
    }
}

static void test_stratified_parts_keep_the_shares(void **state)
{
    (void)state;
    write_table(1000);
    static int part_of[ROWS_MAX];
    uint64_t sizes[3];
    split_all("{\"test\": 0.2, \"validation\": 0.1, \"stratify\": \"label\", \"seed\": 7}", 1000, part_of,
              sizes);
    size_t counts[3][8] = {{0}};
    for (size_t i = 0; i < 1000; i++) {
        counts[part_of[i]][i % 10 == 0 ? 7 : i % 3 == 0 ? 1 : 0]++;
    }
    /* Classes of 600, 300 and 100 rows. */
    assert_int_equal(counts[2][0], 120);
    assert_int_equal(counts[2][1], 60);
    assert_int_equal(counts[2][7], 20);
    assert_int_equal(counts[1][0], 60);
    assert_int_equal(counts[1][1], 30);
    assert_int_equal(counts[1][7], 10);
    json_t *description = json_load_file("out/split.json", 0, NULL);
    assert_string_equal(json_string_value(json_object_get(description, "method")), "stratified");
    json_t *classes = json_object_get(description, "classes");
    assert_int_equal(json_array_size(classes), 3);
    json_t *last = json_array_get(classes, 2);
    assert_true(json_number_value(json_object_get(last, "value")) == 7);
    assert_int_equal(json_integer_value(json_object_get(last, "train")), 70);
    json_decref(description);
    split_all("{\"test\": 0.2, \"validation\": 0.1, \"stratify\": \"user\"}", 1000, part_of, sizes);
}

static void test_a_key_stays_on_its_side_when_data_grow(void **state)
{
    (void)state;
    static int before[ROWS_MAX];
    static int after[ROWS_MAX];
    uint64_t sizes[3];
    const char *with = "{\"test\": 0.3, \"validation\": 0.2, \"by\": \"user\", \"seed\": 1}";
    write_table(500);
    split_all(with, 500, before, sizes);
    write_table(1500);
    split_all(with, 1500, after, sizes);
    assert_memory_equal(before, after, 500 * sizeof(int));
    int side[16];
    memset(side, -1, sizeof side);
    struct mlq_prng prng;
    mlq_prng_seed(&prng, 4);
    for (size_t i = 0; i < 1500; i++) {
        size_t user = (size_t)mlq_prng_below(&prng, 16);
        assert_true(side[user] == -1 || side[user] == after[i]);
        side[user] = after[i];
    }
    struct table *train = open_part(0);
    assert_int_equal(table_find(train, "user")->role, TABLE_KEY);
    table_close(&train);
    /* A number key, with many values: fractions hold on average. */
    split_all("{\"test\": 0.3, \"validation\": 0.2, \"by\": \"id\"}", 1500, after, sizes);
    assert_true(sizes[2] > 380 && sizes[2] < 520);
    assert_true(sizes[1] > 240 && sizes[1] < 360);
    /* A larger test part leaves validation alone. */
    split_all("{\"test\": 0.4, \"validation\": 0.2, \"by\": \"id\"}", 1500, before, sizes);
    for (size_t i = 0; i < 1500; i++) {
        assert_true((after[i] == 1) == (before[i] == 1));
        assert_true(after[i] != 2 || before[i] == 2);
    }
}

static void test_what_cannot_be_split_says_why(void **state)
{
    (void)state;
    static const struct {
        size_t rows;
        const char *with;
        const char *why;
    } cases[] = {
        {100, "{\"test\": 0.6, \"validation\": 0.4}", "leave nothing to train on"},
        {100, "{\"test\": -0.1}", "with.test is -0.1"},
        {100, "{\"test\": 1.5}", "with.test is 1.5"},
        {100, "{\"test\": \"half\"}", "with.test is \"half\": expected a number in 0..1"},
        {100, "{\"stratify\": \"lable\"}", "(did you mean 'label'?)"},
        {100, "{\"by\": \"nobody\"}", "with.by: the table has no column 'nobody'"},
        {100, "{\"by\": \"user\", \"stratify\": \"label\"}", "exclude each other"},
        {100, "{\"by\": \"label\"}", "which is the target"},
        {100, "{\"seed\": -1}", "with.seed is -1"},
        {2, "{}", "2 rows are too few"},
        {21, "{\"stratify\": \"id\"}", "the class '0' of 'id' has 1 row, too few to have one in each part"},
        {11, "{\"stratify\": \"label\"}", "the class '7' of 'label' has 2 rows"},
        {0, "{}", "the table has no rows to split"},
        {3, "{\"by\": \"user\", \"validation\": 0.01}", "got no row"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_table(cases[i].rows);
        struct mlq_err err = MLQ_ERR_INIT;
        int rc = split(cases[i].with, &err);
        if (rc >= 0 || strstr(err.text, cases[i].why) == NULL) {
            fail_msg("case %zu: rc %d, '%s' lacks '%s'", i, rc, err.text, cases[i].why);
        }
        assert_false(mlq_fs_exists("out/split.json"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_parts_are_exact_disjoint_and_complete),
        cmocka_unit_test(test_the_parts_are_the_same_everywhere),
        cmocka_unit_test(test_every_row_has_the_same_chance),
        cmocka_unit_test(test_stratified_parts_keep_the_shares),
        cmocka_unit_test(test_a_key_stays_on_its_side_when_data_grow),
        cmocka_unit_test(test_what_cannot_be_split_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
