/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * data.arrays: IDX and NPY files become the same table, and what is no such file is told.
 */
#include "tests/unit/op_run.h"

#include <math.h>

#include "worker/op/table.h"

#define ROWS 3u

struct bytes {
    size_t len;
    char data[512];
};

static void add(struct bytes *b, const void *data, size_t len)
{
    assert_true(b->len + len <= sizeof(b->data));
    memcpy(b->data + b->len, data, len);
    b->len += len;
}

static void save(const char *path, const struct bytes *b)
{
    struct mlq_str text = {.ptr = b->data, .len = b->len};
    assert_int_equal(mlq_fs_write_durable(path, text, 0644, NULL), 0);
}

static void
write_idx(const char *path, const char *header, size_t header_len, const char *values, size_t len)
{
    struct bytes b = {0};
    add(&b, header, header_len);
    add(&b, values, len);
    save(path, &b);
}

static void write_npy(const char *path, const char *dictionary, const void *values, size_t len)
{
    struct bytes b = {0};
    uint16_t header = (uint16_t)strlen(dictionary);
    add(&b, "\x93NUMPY\x01\x00", 8);
    add(&b, &header, 2);
    add(&b, dictionary, header);
    add(&b, values, len);
    save(path, &b);
}

/* Three images of 2 x 2, labelled 2, 0, 2. */
static int write_files(void **state)
{
    (void)state;
    static const float pixels[] = {0, 255, 7, 128, 1, 2, 3, 4, 9, 8, 7, 6};
    static const int64_t labels[] = {2, 0, 2};
    static const char image_header[] = "\0\0\x08\x03\0\0\0\x03\0\0\0\x02\0\0\0\x02";
    static const char image_bytes[] = "\x00\xff\x07\x80\x01\x02\x03\x04\x09\x08\x07\x06";
    write_idx("images.idx", image_header, 16, image_bytes, 12);
    write_idx("labels.idx", "\0\0\x08\x01\0\0\0\x03", 8, "\x02\x00\x02", 3);
    write_idx("short.idx", image_header, 16, image_bytes, 11);
    write_idx("signed.idx", "\0\0\x0b\x01\0\0\0\x03", 8, "\xff\xfe\x00\x05\x01\x00", 6);
    write_idx("unknown.idx", "\0\0\x55\x01\0\0\0\x03", 8, "\x02\x00\x02", 3);
    write_idx("packed.idx.gz", "\x1f\x8b\x08\x00", 4, "..........", 10);
    write_idx("text.csv", "a,b\n", 4, "1,2\n", 4);
    write_idx("nothing", "", 0, "", 0);
    write_npy("images.npy", "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2, 2), }\n",
              pixels, sizeof(pixels));
    write_npy("labels.npy", "{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }\n", labels,
              sizeof(labels));
    write_npy("square.npy", "{'descr': '<i8', 'fortran_order': False, 'shape': (3, 1), }\n", labels,
              sizeof(labels));
    write_npy("two.npy", "{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }\n", labels, 16);
    write_npy("fortran.npy", "{'descr': '<f4', 'fortran_order': True, 'shape': (3, 2, 2), }\n",
              pixels, sizeof(pixels));
    write_npy("object.npy", "{'descr': '|O', 'fortran_order': False, 'shape': (3,), }\n", labels,
              sizeof(labels));
    write_npy("scalar.npy", "{'descr': '<f4', 'fortran_order': False, 'shape': (), }\n", pixels, 4);
    float wrong[12];
    memcpy(wrong, pixels, sizeof(wrong));
    wrong[6] = (float)INFINITY;
    write_npy("infinite.npy", "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }\n",
              wrong, sizeof(wrong));
    return 0;
}

static void read_arrays(const char *samples,
                        const char *labels,
                        const char *with,
                        const char *output,
                        int status,
                        const char *text)
{
    op_run_set("MLQ_INPUT_SAMPLES", samples);
    op_run_set("MLQ_INPUT_LABELS", labels);
    struct op_run run = {.op = "data.arrays", .with = with, .output = output};
    op_run_expect(&run, status, text);
}

static void both_formats_become_the_same_table(void **state)
{
    (void)state;
    read_arrays("images.idx", "labels.idx", "{\"classes\": [\"shirt\", \"bag\", \"boot\"]}", "idx",
                0, NULL);
    read_arrays("images.npy", "labels.npy", "{\"classes\": [\"shirt\", \"bag\", \"boot\"]}", "npy",
                0, NULL);
    assert_true(op_run_same_file("idx/table.safetensors", "npy/table.safetensors"));
    struct table *table = NULL;
    assert_int_equal(table_open("idx/table.safetensors", &table, NULL), 0);
    assert_int_equal(table_rows(table), ROWS);
    assert_int_equal(table_column_count(table), 5);
    const double *p1 = table_find(table, "p1")->numbers, *p3 = table_find(table, "p3")->numbers;
    assert_true(p1[0] == 255 && p1[1] == 2 && p1[2] == 8);
    assert_true(p3[0] == 128 && p3[1] == 4 && p3[2] == 6);
    const struct table_column *label = table_target(table);
    assert_string_equal(label->dictionary[label->codes[0]], "boot");
    assert_string_equal(label->dictionary[label->codes[1]], "shirt");
    assert_string_equal(label->dictionary[label->codes[2]], "boot");
    table_close(&table);
}

static void labels_without_names_name_themselves(void **state)
{
    (void)state;
    struct table *table = NULL;
    read_arrays("images.npy", "labels.idx", "{}", "plain", 0, NULL);
    assert_int_equal(table_open("plain/table.safetensors", &table, NULL), 0);
    const struct table_column *label = table_target(table);
    assert_int_equal(label->dictionary_count, 3);
    assert_string_equal(label->dictionary[label->codes[0]], "2");
    table_close(&table);
    read_arrays("images.npy", "signed.idx", "{\"task\": \"regression\"}", "numbers", 0, NULL);
    assert_int_equal(table_open("numbers/table.safetensors", &table, NULL), 0);
    const double *numbers = table_target(table)->numbers;
    assert_true(numbers[0] == -2 && numbers[1] == 5 && numbers[2] == 256); /* big-endian, signed */
    table_close(&table);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *samples;
        const char *labels;
        const char *with;
        const char *text;
    } cases[] = {
        {"short.idx", "labels.idx", "{}", "11 bytes of values"},
        {"unknown.idx", "labels.idx", "{}", "unknown type 0x55"},
        {"packed.idx.gz", "labels.idx", "{}", "packed.idx.gz: it is compressed: gunzip it first"},
        {"text.csv", "labels.idx", "{}", "neither an IDX nor an NPY file"},
        {"nothing", "labels.idx", "{}", "it is empty"},
        {"absent.idx", "labels.idx", "{}", "absent.idx"},
        {"fortran.npy", "labels.idx", "{}", "Fortran order"},
        {"object.npy", "labels.idx", "{}", "does not hold numbers"},
        {"scalar.npy", "labels.idx", "{}", "without a shape"},
        {"infinite.npy", "labels.idx", "{}", "number 2 of row 1 is infinite"},
        {"images.idx", "two.npy", "{}", "one label for each of the 3 samples"},
        {"images.idx", "square.npy", "{}", "2 dimensions"},
        {"images.idx", "signed.idx", "{}", "row 0 is -2"},
        {"images.idx", "labels.idx", "{\"classes\": [\"a\", \"b\"]}",
         "row 0 is 2: expected a whole number from 0 to 1, the last of `classes`"},
        {"images.idx", "labels.idx", "{\"classes\": [\"a\", \"b\", \"a\"]}",
         "'a' stands there twice"},
        {"images.idx", "labels.idx", "{\"classes\": [\"a\", 2]}", "entry 2 is not a text"},
        {"images.idx", "labels.idx", "{\"task\": \"clustering\"}", "clustering"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        read_arrays(cases[i].samples, cases[i].labels, cases[i].with, "refused", 1, cases[i].text);
        assert_false(mlq_fs_exists("refused/table.safetensors"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_formats_become_the_same_table),
        cmocka_unit_test(labels_without_names_name_themselves),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, write_files, NULL);
}
