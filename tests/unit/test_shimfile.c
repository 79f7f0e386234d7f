/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/sys/fs.h"
#include "worker/exec/kv.h"
#include "worker/exec/shimfile.h"

static void write_file(const char *path, const char *bytes, size_t len)
{
    assert_int_equal(
        mlq_fs_write_durable(path, (struct mlq_str){.ptr = bytes, .len = len}, 0600, NULL), 0);
}

static void test_conf_round_trip(void **state)
{
    (void)state;
    const char *argv[] = {"sh", "-c", "echo \"a=b\n\xff\"", "", NULL};
    const char *env[] = {"A=1", "B=x=y\n", NULL};
    struct shimfile_conf conf = {
        .lease_deadline_ns = 12345678901,
        .timeout_ns = 5,
        .grace_ns = 7,
        .mem_bytes = 1 << 30,
        .nproc_max = 99,
        .log_head_bytes = 10,
        .log_tail_bytes = 20,
        .workdir = "/w",
        .argv = argv,
        .env = env,
        .cgroups = {"/cg/1", "/cg/2"},
    };
    struct shimfile_conf got;
    struct stat status;
    struct mlq_region *region = mlq_region_create();
    assert_int_equal(shimfile_save_conf(".", &conf, NULL), 0);
    assert_int_equal(stat(SHIMFILE_CONF, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(shimfile_load_conf(".", region, &got, NULL), 0);
    assert_int_equal(got.lease_deadline_ns, conf.lease_deadline_ns);
    assert_int_equal(got.mem_bytes, conf.mem_bytes);
    assert_int_equal(got.nproc_max, 99);
    for (int i = 0; i < 4; i++) {
        assert_string_equal(got.argv[i], argv[i]);
    }
    assert_null(got.argv[4]);
    assert_string_equal(got.env[1], env[1]);
    assert_null(got.env[2]);
    assert_string_equal(got.cgroups[1], "/cg/2");
    assert_null(got.cgroups[2]);
    mlq_region_destroy(&region);
}

static void test_conf_nonsense(void **state)
{
    (void)state;
    struct shimfile_conf got;
    struct mlq_region *region = mlq_region_create();
    static const char *const bad[] = {"", "workdir=/w", "nothing here", "timeout_ns=x\0arg=a",
                                      "log_tail_bytes=1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_file(SHIMFILE_CONF, bad[i], strlen(bad[i]) + 1);
        assert_int_equal(shimfile_load_conf(".", region, &got, NULL), MLQ_ECORRUPT);
    }
    static const char good[] = "arg=a\0workdir=/w\0log_tail_bytes=9\0future=1";
    write_file(SHIMFILE_CONF, good, sizeof good);
    assert_int_equal(shimfile_load_conf(".", region, &got, NULL), 0);
    write_file(SHIMFILE_CONF, good, sizeof good - 1); /* cut short: the last NUL is missing */
    assert_int_equal(shimfile_load_conf(".", region, &got, NULL), MLQ_ECORRUPT);
    mlq_region_destroy(&region);
}

static void test_end(void **state)
{
    (void)state;
    struct shimfile_end end = {.cause = WORKER_CAUSE_OOM,
                               .exit_code = -1,
                               .signal = 9,
                               .ended_us = 77,
                               .detail = "over its limit"};
    struct shimfile_end got;
    (void)unlink(SHIMFILE_EXIT);
    assert_int_equal(shimfile_load_end(".", &got, NULL), MLQ_ENOENT);
    assert_int_equal(shimfile_save_end(".", &end, NULL), 0);
    assert_int_equal(shimfile_load_end(".", &got, NULL), 0);
    assert_int_equal(got.cause, WORKER_CAUSE_OOM);
    assert_int_equal(got.exit_code, -1);
    assert_int_equal(got.signal, 9);
    assert_int_equal(got.ended_us, 77);
    assert_string_equal(got.detail, "over its limit");
    static const char *const bad[] = {"cause=13", "cause=-1", "x", "cause=1\0exit_code=256"};
    for (size_t i = 0; i < 3; i++) {
        write_file(SHIMFILE_EXIT, bad[i], strlen(bad[i]) + 1);
        assert_int_equal(shimfile_load_end(".", &got, NULL), MLQ_ECORRUPT);
    }
}

/* The description of a task takes the room of its end; on a disk that is full meanwhile only that room is left. */
static void test_end_has_its_room(void **state)
{
    (void)state;
    static const char *const words[] = {"true", NULL};
    static const char *const none[] = {NULL};
    struct shimfile_conf conf = {.workdir = "/w",
                                 .argv = (const char **)(uintptr_t)words,
                                 .env = (const char **)(uintptr_t)none,
                                 .log_tail_bytes = 1};
    struct shimfile_end end = {.cause = WORKER_CAUSE_EXIT, .exit_code = 7};
    struct shimfile_end got;
    struct stat before;
    struct stat after;
    (void)unlink(SHIMFILE_EXIT);
    assert_int_equal(shimfile_save_conf(".", &conf, NULL), 0);
    assert_int_equal(stat(SHIMFILE_ROOM, &before), 0);
    assert_true(before.st_blocks > 0);
    assert_int_equal(shimfile_load_end(".", &got, NULL), MLQ_ENOENT);
    assert_int_equal(shimfile_save_end(".", &end, NULL), 0);
    assert_int_equal(stat(SHIMFILE_EXIT, &after), 0);
    assert_true(after.st_ino == before.st_ino); /* nothing new was needed */
    assert_int_equal(shimfile_load_end(".", &got, NULL), 0);
    assert_int_equal(got.exit_code, 7);
}

static void test_lock(void **state)
{
    (void)state;
    int first;
    int second;
    assert_int_equal(shimfile_lock(".", &first, NULL), 0);
    assert_int_equal(shimfile_lock(".", &second, NULL), MLQ_EAGAIN);
    close(first);
    assert_int_equal(shimfile_lock(".", &second, NULL), 0);
    close(second);
    assert_int_equal(shimfile_lock("no-such-folder", &second, NULL), MLQ_ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conf_round_trip),
        cmocka_unit_test(test_conf_nonsense),
        cmocka_unit_test(test_end),
        cmocka_unit_test(test_end_has_its_room),
        cmocka_unit_test(test_lock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
