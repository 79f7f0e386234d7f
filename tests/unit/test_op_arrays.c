/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * data.arrays: IDX and NPY files become the same table, and what is no such file is told.
 */
#include "tests/unit/op_run.h"

#include <math.h>
#include <sys/resource.h>
#include <zlib.h>

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
    write_idx("bad-method.gz", "\x1f\x8b\x09\x00", 4, "..........", 10);
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

/* ---- Compressed files ---- */

/* `bytes` of `data`, then `zeros` zeros. */
static void write_gz(const char *path, const char *data, unsigned bytes, size_t zeros)
{
    static const char none[1 << 16];
    gzFile file = gzopen(path, "wb9");
    assert_non_null(file);
    assert_int_equal(gzwrite(file, data, bytes), bytes);
    while (zeros > 0) {
        unsigned now = zeros < sizeof(none) ? (unsigned)zeros : (unsigned)sizeof(none);
        assert_int_equal(gzwrite(file, none, now), now);
        zeros -= now;
    }
    assert_int_equal(gzclose(file), Z_OK);
}

static void pack(const char *from, const char *to)
{
    size_t len = 0;
    char *data = op_run_read(from, &len);
    write_gz(to, data, (unsigned)len, 0);
    mlq_free(data);
}

/* A file without its last `less` bytes, then `more`. */
static void cut(const char *from, const char *to, size_t less, const char *more, size_t more_len)
{
    size_t len = 0;
    struct bytes b = {0};
    char *data = op_run_read(from, &len);
    add(&b, data, len - less);
    add(&b, more, more_len);
    save(to, &b);
    mlq_free(data);
}

static void compressed_files_become_the_same_table(void **state)
{
    (void)state;
    static const char with[] = "{\"classes\": [\"shirt\", \"bag\", \"boot\"]}";
    pack("images.idx", "images.idx.gz");
    pack("labels.npy", "labels.npy.gz");
    read_arrays("images.idx", "labels.idx", with, "idx", 0, NULL);
    read_arrays("images.idx.gz", "labels.npy.gz", with, "gz", 0, NULL);
    assert_true(op_run_same_file("idx/table.safetensors", "gz/table.safetensors"));
    /* Two files one behind the other are one, as gunzip has it. */
    write_gz("head.gz", "\0\0\x08\x01\0\0\0\x03\x02", 9, 0);
    write_gz("tail.gz", "\x00\x02", 2, 0);
    size_t len = 0;
    char *tail = op_run_read("tail.gz", &len);
    cut("head.gz", "both.gz", 0, tail, len);
    mlq_free(tail);
    read_arrays("images.idx", "both.gz", with, "both", 0, NULL);
    assert_true(op_run_same_file("idx/table.safetensors", "both/table.safetensors"));
}

static void damaged_compressed_files_are_refused(void **state)
{
    (void)state;
    static const char header[] = "\0\0\x08\x01\0\0\0\x03";
    static const char huge[] = "\0\0\x0e\x02\x7f\xff\xff\xff\0\0\0\xff";
    pack("labels.idx", "labels.gz");
    cut("labels.gz", "cut.gz", 9, "", 0);
    cut("labels.gz", "crc.gz", 8, "\1\2\3\4\3\0\0\0", 8);
    cut("labels.gz", "more.gz", 0, "and more", 8);
    write_gz("few.gz", header, 8, 2);
    write_gz("twice.gz", "\x1f\x8b\x08\x00", 4, 20);
    write_gz("bomb.gz", header, 8, (size_t)200 << 20);
    write_gz("promise.gz", huge, 12, 1 << 20);
    write_gz("none.gz", "", 0, 0);
    static const char *const cases[][2] = {
        {"cut.gz", "cut.gz: its compressed data are cut off"},
        {"crc.gz", "crc.gz: its compressed data are damaged (incorrect data check)"},
        {"more.gz", "more.gz: its compressed data are damaged"},
        {"few.gz", "few.gz: 2 bytes of values"},
        {"twice.gz", "neither an IDX nor an NPY file"},
        {"promise.gz", "more than 64 GiB"},
        {"none.gz", "none.gz: it is empty"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        read_arrays("images.idx", cases[i][0], "{}", "refused", 1, cases[i][1]);
    }
    /* 200 MiB of zeros behind three labels: no more than windows of them are written. A file may
     * grow to 1 MiB here, so who unpacks all of it fails otherwise. */
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 1 << 20;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    read_arrays("images.idx", "bomb.gz", "{}", "refused", 1,
                "not what its shape of 1 dimensions needs");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
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
        {"bad-method.gz", "labels.idx", "{}", "bad-method.gz: its compressed data are damaged"},
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
        cmocka_unit_test(compressed_files_become_the_same_table),
        cmocka_unit_test(damaged_compressed_files_are_refused),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, write_files, NULL);
}
