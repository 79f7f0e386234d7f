/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/artifact/safetensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/prng.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "lib/sys/thread.h"

#define FILE_NAME "t.safetensors"

/* Writes length, header and `data_bytes` zero bytes. */
static void write_raw(uint64_t length, const char *header, size_t header_bytes, size_t data_bytes)
{
    FILE *file = fopen(FILE_NAME, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(&length, 1, 8, file), 8);
    assert_int_equal(fwrite(header, 1, header_bytes, file), header_bytes);
    for (size_t i = 0; i < data_bytes; i++) {
        assert_int_equal(fputc(0, file), 0);
    }
    assert_int_equal(fclose(file), 0);
}

static int try_header(const char *header, size_t data_bytes, struct mlq_err *err)
{
    write_raw(strlen(header), header, strlen(header), data_bytes);
    struct safetensors *file = NULL;
    int rc = safetensors_open(FILE_NAME, &file, err);
    assert_true((file != NULL) == (rc == MLQ_OK));
    safetensors_close(&file);
    return rc;
}

static void test_what_is_written_is_read(void **state)
{
    (void)state;
    const float weights[6] = {1, 2, 3, 4, 5, 6};
    const int64_t steps[1] = {-7};
    const uint8_t flags[3] = {1, 0, 1};
    const struct safetensors_tensor tensors[] = {
        {.name = "w", .dtype = SAFETENSORS_F32, .rank = 2, .shape = {2, 3}, .data = weights},
        {.name = "steps", .dtype = SAFETENSORS_I64, .rank = 0, .data = steps},
        {.name = "h\xc3\xa9", .dtype = SAFETENSORS_BOOL, .rank = 1, .shape = {3}, .data = flags},
        {.name = "empty", .dtype = SAFETENSORS_F64, .rank = 2, .shape = {0, 5}, .data = weights},
    };
    const char *metadata[] = {"format", "mlq", "quote\"d", "line\nbreak", NULL};
    struct mlq_err err = MLQ_ERR_INIT;
    assert_int_equal(safetensors_writer_save(FILE_NAME, tensors, 4, metadata, &err), MLQ_OK);
    struct safetensors *file = NULL;
    assert_int_equal(safetensors_open(FILE_NAME, &file, &err), MLQ_OK);
    assert_int_equal(safetensors_count(file), 4);
    assert_string_equal(safetensors_metadata(file, "format"), "mlq");
    assert_string_equal(safetensors_metadata(file, "quote\"d"), "line\nbreak");
    assert_null(safetensors_metadata(file, "absent"));
    const struct safetensors_tensor *w = safetensors_find(file, "w");
    assert_non_null(w);
    assert_int_equal(w->rank, 2);
    assert_int_equal(w->shape[1], 3);
    assert_memory_equal(w->data, weights, sizeof weights);
    assert_int_equal((uintptr_t)w->data % 8, 0);
    assert_int_equal(safetensors_find(file, "steps")->bytes, 8);
    assert_memory_equal(safetensors_find(file, "h\xc3\xa9")->data, flags, 3);
    assert_int_equal(safetensors_find(file, "empty")->bytes, 0);
    assert_null(safetensors_find(file, "absent"));
    assert_string_equal(safetensors_at(file, 0)->name, "w");
    safetensors_close(&file);
    safetensors_close(&file);
}

static void test_tensors_may_grow_side_by_side(void **state)
{
    (void)state;
    const struct safetensors_tensor tensors[] = {
        {.name = "a", .dtype = SAFETENSORS_U8, .rank = 1, .shape = {4}},
        {.name = "b", .dtype = SAFETENSORS_U8, .rank = 1, .shape = {4}},
    };
    struct mlq_err err = MLQ_ERR_INIT;
    struct safetensors_writer *writer = NULL;
    assert_int_equal(safetensors_writer_create(FILE_NAME, tensors, 2, NULL, &writer, &err), MLQ_OK);
    assert_int_equal(safetensors_writer_append(writer, 1, "56", 2, &err), MLQ_OK);
    assert_int_equal(safetensors_writer_append(writer, 0, "123", 3, &err), MLQ_OK);
    assert_int_equal(safetensors_writer_append(writer, 0, "45", 2, &err), MLQ_EINVAL);
    assert_int_equal(safetensors_writer_append(writer, 0, "4", 1, &err), MLQ_OK);
    assert_int_equal(safetensors_writer_append(writer, 1, "78", 2, &err), MLQ_OK);
    assert_int_equal(safetensors_writer_finish(&writer, &err), MLQ_OK);
    assert_null(writer);
    struct safetensors *file = NULL;
    assert_int_equal(safetensors_open(FILE_NAME, &file, &err), MLQ_OK);
    assert_memory_equal(safetensors_find(file, "a")->data, "1234", 4);
    assert_memory_equal(safetensors_find(file, "b")->data, "5678", 4);
    safetensors_close(&file);
}

#define COLUMNS      8u
#define COLUMN_BYTES (4u << 20) /* together a file whose blocks are taken at once */
#define CHUNK_BYTES  4096u

/* A column is of its own number, a chunk at a time. */
static int append_column(void *writer, size_t i, struct mlq_err *err)
{
    uint8_t chunk[CHUNK_BYTES];
    int rc = MLQ_OK;
    memset(chunk, (int)i + 1, sizeof chunk);
    for (size_t done = 0; rc == MLQ_OK && done < COLUMN_BYTES; done += sizeof chunk) {
        rc = safetensors_writer_append(writer, i, chunk, sizeof chunk, err);
    }
    return rc;
}

static void test_threads_write_a_tensor_each(void **state)
{
    (void)state;
    struct safetensors_tensor tensors[COLUMNS];
    char names[COLUMNS][2];
    for (size_t i = 0; i < COLUMNS; i++) {
        names[i][0] = (char)('a' + i);
        names[i][1] = '\0';
        tensors[i] = (struct safetensors_tensor){
            .name = names[i], .dtype = SAFETENSORS_U8, .rank = 1, .shape = {COLUMN_BYTES}};
    }
    struct mlq_err err = MLQ_ERR_INIT;
    struct safetensors_writer *writer = NULL;
    assert_int_equal(safetensors_writer_create(FILE_NAME, tensors, COLUMNS, NULL, &writer, &err), MLQ_OK);
    assert_int_equal(mlq_thread_each(4, COLUMNS, append_column, writer, &err), MLQ_OK);
    assert_int_equal(safetensors_writer_finish(&writer, &err), MLQ_OK);
    struct safetensors *file = NULL;
    assert_int_equal(safetensors_open(FILE_NAME, &file, &err), MLQ_OK);
    for (size_t i = 0; i < COLUMNS; i++) {
        const uint8_t *data = safetensors_find(file, names[i])->data;
        for (size_t k = 0; k < COLUMN_BYTES; k++) {
            assert_true(data[k] == i + 1);
        }
    }
    safetensors_close(&file);
}

static void test_a_disk_that_is_too_small_says_so_before_the_work(void **state)
{
    (void)state;
    const struct safetensors_tensor huge = {
        .name = "h", .dtype = SAFETENSORS_U8, .rank = 1, .shape = {UINT64_C(15) << 40}};
    struct mlq_err err = MLQ_ERR_INIT;
    struct safetensors_writer *writer = NULL;
    assert_int_equal(safetensors_writer_create(FILE_NAME, &huge, 1, NULL, &writer, &err), MLQ_EFULL);
    assert_null(writer);
    assert_non_null(strstr(err.text, "write " FILE_NAME ": its 15728640 MiB do not fit: "));
    assert_non_null(strstr(err.text, "No space left on device"));
}

static void test_sequential_writes_split_anywhere(void **state)
{
    (void)state;
    const struct safetensors_tensor tensors[] = {
        {.name = "a", .dtype = SAFETENSORS_U8, .rank = 1, .shape = {3}},
        {.name = "none", .dtype = SAFETENSORS_U8, .rank = 1, .shape = {0}},
        {.name = "b", .dtype = SAFETENSORS_U16, .rank = 1, .shape = {2}},
    };
    for (size_t split = 0; split <= 7; split++) {
        struct mlq_err err = MLQ_ERR_INIT;
        struct safetensors_writer *writer = NULL;
        assert_int_equal(safetensors_writer_create(FILE_NAME, tensors, 3, NULL, &writer, &err), 0);
        assert_int_equal(safetensors_writer_write(writer, "abcdefg", split, &err), MLQ_OK);
        assert_int_equal(safetensors_writer_write(writer, "abcdefg" + split, 7 - split, &err), MLQ_OK);
        assert_int_equal(safetensors_writer_write(writer, "x", 1, &err), MLQ_EINVAL);
        assert_int_equal(safetensors_writer_finish(&writer, &err), MLQ_OK);
        struct safetensors *file = NULL;
        assert_int_equal(safetensors_open(FILE_NAME, &file, &err), MLQ_OK);
        assert_memory_equal(safetensors_find(file, "b")->data, "defg", 4);
        safetensors_close(&file);
    }
}

static void test_an_incomplete_file_never_appears(void **state)
{
    (void)state;
    const struct safetensors_tensor tensor = {
        .name = "a", .dtype = SAFETENSORS_U8, .rank = 1, .shape = {3}};
    struct mlq_err err = MLQ_ERR_INIT;
    struct safetensors_writer *writer = NULL;
    (void)unlink(FILE_NAME);
    assert_int_equal(safetensors_writer_create(FILE_NAME, &tensor, 1, NULL, &writer, &err), MLQ_OK);
    assert_int_equal(safetensors_writer_write(writer, "ab", 2, &err), MLQ_OK);
    assert_int_equal(safetensors_writer_finish(&writer, &err), MLQ_EINVAL);
    assert_null(writer);
    assert_false(mlq_fs_exists(FILE_NAME));
}

static void test_the_writer_refuses_bad_names(void **state)
{
    (void)state;
    const char *bad[][2] = {{"same", "same"}, {"__metadata__", "b"}, {"a", "not utf-8 \xff"}};
    for (size_t i = 0; i < 3; i++) {
        const struct safetensors_tensor tensors[] = {
            {.name = bad[i][0], .dtype = SAFETENSORS_U8, .rank = 0},
            {.name = bad[i][1], .dtype = SAFETENSORS_U8, .rank = 0},
        };
        struct mlq_err err = MLQ_ERR_INIT;
        struct safetensors_writer *writer = NULL;
        assert_int_equal(safetensors_writer_create(FILE_NAME, tensors, 2, NULL, &writer, &err),
                         MLQ_EINVAL);
        assert_null(writer);
    }
    const struct safetensors_tensor huge = {
        .name = "h", .dtype = SAFETENSORS_F64, .rank = 2, .shape = {UINT64_MAX / 2, 3}};
    struct safetensors_writer *writer = NULL;
    assert_int_equal(safetensors_writer_create(FILE_NAME, &huge, 1, NULL, &writer, NULL), MLQ_EFULL);
}

struct hostile {
    const char *header;
    size_t data_bytes;
    const char *why; /* in the error's text */
};

#define T(offsets) "{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" offsets "}"

static const struct hostile table[] = {
    {"{\"a\":" T("[0,4]") ",\"b\":" T("[2,6]") "}", 6, "inside the tensor before it"},
    {"{\"a\":" T("[0,4]") ",\"b\":" T("[0,4]") "}", 4, "inside the tensor before it"},
    {"{\"a\":" T("[0,4]") ",\"b\":" T("[6,10]") "}", 10, "after a hole"},
    {"{\"a\":" T("[1,5]") "}", 5, "after a hole"},
    {"{\"a\":" T("[0,4]") "}", 5, "belong to none"},
    {"{}", 1, "belong to none"},
    {"{\"a\":" T("[0,4]") "}", 3, "lie outside"},
    {"{\"a\":" T("[4,0]") "}", 4, "lie outside"},
    {"{\"a\":" T("[0,5]") "}", 5, "its shape needs 4"},
    {"{\"a\":" T("[-1,3]") "}", 4, "must be [begin, end]"},
    {"{\"a\":" T("[0,9223372036854775807]") "}", 4, "lie outside"},
    {"{\"a\":" T("[0,92233720368547758070]") "}", 4, "too big"},
    {"{\"a\":" T("[0,4.0]") "}", 4, "must be [begin, end]"},
    {"{\"a\":" T("[0]") "}", 4, "must be [begin, end]"},
    {"{\"a\":" T("\"0\"") "}", 4, "must be [begin, end]"},
    {"{\"a\":" T("[0,4]") ",\"a\":" T("[4,8]") "}", 8, "duplicate"},
    {"{\"a\":{\"dtype\":\"F64\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4, "its shape needs 32"},
    {"{\"a\":{\"dtype\":\"F128\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4, "unknown dtype 'F128'"},
    {"{\"a\":{\"dtype\":4,\"shape\":[4],\"data_offsets\":[0,4]}}", 4, "has no dtype"},
    {"{\"a\":{\"shape\":[4],\"data_offsets\":[0,4]}}", 4, "nothing else"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4],\"x\":1}}", 4, "nothing else"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[-4],\"data_offsets\":[0,4]}}", 4, "out of range"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":4,\"data_offsets\":[0,4]}}", 4, "list of at most"},
    {"{\"a\":{\"dtype\":\"F64\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,0]}}", 0,
     "out of range"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1,
     "list of at most"},
    {"{\"a\":7}", 0, "nothing else"},
    {"{\"__metadata__\":{\"k\":1}}", 0, "not a string"},
    {"{\"__metadata__\":[]}", 0, "not an object"},
    {"[]", 0, "not a JSON object"},
    {"[[[[[[[[[[[[]]]]]]]]]]]]", 0, "nested deeper"},
    {"{\"a\\u0000b\":" T("[0,4]") "}", 4, "\\u0000"},
    {"{\"a\xff\":" T("[0,4]") "}", 4, "unable to decode byte"},
    {"{\"a\":", 4, "JSON"},
};

static void test_hostile_headers_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct mlq_err err = MLQ_ERR_INIT;
        int rc = try_header(table[i].header, table[i].data_bytes, &err);
        if (rc >= 0 || strstr(err.text, table[i].why) == NULL) {
            fail_msg("case %zu: rc %d, '%s' lacks '%s'", i, rc, err.text, table[i].why);
        }
        assert_non_null(strstr(err.text, FILE_NAME));
    }
}

static void test_a_wrong_length_is_refused(void **state)
{
    (void)state;
    const uint64_t lengths[] = {3, 1000, SAFETENSORS_HEADER_BYTES_MAX + 1, UINT64_MAX, INT64_MAX};
    for (size_t i = 0; i < 5; i++) {
        write_raw(lengths[i], "{}", 2, 0);
        struct safetensors *file = NULL;
        struct mlq_err err = MLQ_ERR_INIT;
        assert_int_equal(safetensors_open(FILE_NAME, &file, &err), MLQ_ECORRUPT);
        assert_null(file);
    }
    write_raw(2, "{}", 2, 0);
    for (int bytes = 9; bytes >= 0; bytes--) {
        assert_int_equal(truncate(FILE_NAME, bytes), 0);
        struct safetensors *file = NULL;
        assert_int_equal(safetensors_open(FILE_NAME, &file, NULL), MLQ_ECORRUPT);
    }
    struct safetensors *file = NULL;
    assert_int_equal(safetensors_open("absent", &file, NULL), MLQ_ENOENT);
    assert_int_equal(safetensors_open("/dev/zero", &file, NULL), MLQ_EINVAL);
    assert_int_equal(safetensors_open(".", &file, NULL), MLQ_EINVAL);
}

static void test_too_many_values_are_refused_before_they_are_built(void **state)
{
    (void)state;
    size_t bytes = 12u << 20;
    char *header = mlq_alloc(bytes);
    memset(header, ',', bytes);
    header[0] = '[';
    write_raw(bytes, header, bytes, 0);
    struct mlq_err err = MLQ_ERR_INIT;
    struct safetensors *file = NULL;
    assert_int_equal(safetensors_open(FILE_NAME, &file, &err), MLQ_ECORRUPT);
    assert_non_null(strstr(err.text, "more than"));
    mlq_free(header);
}

/* Every byte of a sound file is changed in turn, and pairs of bytes at random: the reader may accept
 * or refuse, but never step outside (the sanitizer watches). */
static void test_damaged_files_do_no_harm(void **state)
{
    (void)state;
    const double values[2] = {1, 2};
    const struct safetensors_tensor tensors[] = {
        {.name = "a", .dtype = SAFETENSORS_F64, .rank = 1, .shape = {2}, .data = values},
        {.name = "b", .dtype = SAFETENSORS_U8, .rank = 2, .shape = {2, 4}, .data = values},
    };
    const char *metadata[] = {"k", "v", NULL};
    assert_int_equal(safetensors_writer_save(FILE_NAME, tensors, 2, metadata, NULL), MLQ_OK);
    char *sound = NULL;
    size_t len = 0;
    assert_int_equal(mlq_fs_read(FILE_NAME, 1 << 20, &sound, &len, NULL), MLQ_OK);
    struct mlq_prng prng;
    mlq_prng_seed(&prng, 5);
    size_t accepted = 0;
    for (size_t i = 0; i < len * 12; i++) {
        char *damaged = mlq_strndup((struct mlq_str){sound, len});
        damaged[i % len] = (char)mlq_prng_next(&prng);
        if (i >= len) {
            damaged[mlq_prng_below(&prng, len)] = (char)mlq_prng_next(&prng);
        }
        FILE *out = fopen(FILE_NAME, "wb");
        assert_non_null(out);
        assert_int_equal(fwrite(damaged, 1, len, out), len);
        assert_int_equal(fclose(out), 0);
        struct safetensors *file = NULL;
        if (safetensors_open(FILE_NAME, &file, NULL) == MLQ_OK) {
            accepted++;
            for (size_t t = 0; t < safetensors_count(file); t++) {
                const struct safetensors_tensor *tensor = safetensors_at(file, t);
                unsigned sum = 0;
                for (uint64_t k = 0; k < tensor->bytes; k++) {
                    sum += ((const uint8_t *)tensor->data)[k];
                }
                assert_true(sum <= 255 * tensor->bytes);
            }
        }
        safetensors_close(&file);
        mlq_free(damaged);
    }
    assert_true(accepted > 0 && accepted < len * 12);
    mlq_free(sound);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written_is_read),
        cmocka_unit_test(test_tensors_may_grow_side_by_side),
        cmocka_unit_test(test_threads_write_a_tensor_each),
        cmocka_unit_test(test_a_disk_that_is_too_small_says_so_before_the_work),
        cmocka_unit_test(test_sequential_writes_split_anywhere),
        cmocka_unit_test(test_an_incomplete_file_never_appears),
        cmocka_unit_test(test_the_writer_refuses_bad_names),
        cmocka_unit_test(test_hostile_headers_are_refused),
        cmocka_unit_test(test_a_wrong_length_is_refused),
        cmocka_unit_test(test_too_many_values_are_refused_before_they_are_built),
        cmocka_unit_test(test_damaged_files_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
