/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "tests/unit/cm.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/sys/fs.h"
#include "worker/op/spill.h"

static int in_a_folder(void **state)
{
    (void)state;
    assert_int_equal(mlq_fs_make_dirs("spill", 0755, NULL), 0);
    return setenv("TMPDIR", "spill", 1);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    struct spill *spill = NULL;
    char text[8] = "";
    assert_int_equal(spill_create("some rows", 4096, &spill, NULL), 0);
    assert_int_equal(rmdir("spill"), 0); /* it has no name there */
    assert_int_equal(in_a_folder(NULL), 0);
    assert_int_equal(spill_write(spill, 4092, "rows", 4, NULL), 0);
    assert_int_equal(spill_read(spill, 4090, text, 6, NULL), 0);
    assert_memory_equal(text, "\0\0rows", 6);
    spill_destroy(&spill);
    spill_destroy(&spill);
}

/* The file of the next descriptor is cut short behind its back. */
static void a_file_that_ends_early_is_an_error_with_the_place(void **state)
{
    (void)state;
    struct mlq_err err = MLQ_ERR_INIT;
    struct spill *spill = NULL;
    char bytes[100];
    int fd = dup(STDIN_FILENO);
    (void)close(fd);
    assert_int_equal(spill_create("some rows", 1000, &spill, NULL), 0);
    assert_int_equal(ftruncate(fd, 940), 0);
    assert_int_equal(spill_read(spill, 900, bytes, 100, &err), MLQ_EIO);
    assert_string_equal(err.text, "some rows in spill: read 60 bytes at 940: the file ends before");
    spill_destroy(&spill);
}

static void room_is_taken_at_once_or_refused(void **state)
{
    (void)state;
    struct mlq_err err = MLQ_ERR_INIT;
    struct rlimit old, small = {.rlim_cur = 1 << 20, .rlim_max = RLIM_INFINITY};
    struct spill *spill = NULL;
    void *array = NULL;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int rc = spill_create("some rows", UINT64_C(5) << 20, &spill, &err);
    int array_rc = spill_array_create("an order", 1 << 20, 4, &array, NULL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(rc, MLQ_EIO);
    assert_null(spill);
    assert_non_null(strstr(err.text, "needs 5 MiB of disk: some rows in spill: reserve"));
    assert_int_equal(array_rc, MLQ_EIO);
    assert_null(array);
}

static void an_array_is_memory(void **state)
{
    (void)state;
    void *array = NULL;
    const size_t count = 100000;
    assert_int_equal(spill_array_create("an order", count, sizeof(uint32_t), &array, NULL), 0);
    uint32_t *numbers = array;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(numbers[i], 0);
        numbers[i] = (uint32_t)(i * 7);
    }
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(numbers[i], (uint32_t)(i * 7));
    }
    spill_array_destroy(array, count, sizeof(uint32_t));
    assert_int_equal(spill_array_create("nothing", 0, 4, &array, NULL), 0);
    assert_null(array);
    spill_array_destroy(array, 0, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(a_file_that_ends_early_is_an_error_with_the_place),
        cmocka_unit_test(room_is_taken_at_once_or_refused),
        cmocka_unit_test(an_array_is_memory),
    };
    return cmocka_run_group_tests(tests, in_a_folder, NULL);
}
