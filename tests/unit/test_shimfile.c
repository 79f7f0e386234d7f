/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include <fcntl.h>
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

/* Behind the page of the end, which is empty and says in its last bytes how long it is. */
static void write_conf(const char *bytes, size_t len)
{
    char file[8192] = {0};
    const uint64_t said = len;
    memcpy(file + 4088, &said, sizeof said);
    memcpy(file + 4096, bytes, len);
    write_file(SHIMFILE_STATE, file, 4096 + len);
}

static void cut_conf_short(uint64_t len)
{
    int fd = open(SHIMFILE_STATE, O_WRONLY);
    assert_int_equal(pwrite(fd, &len, sizeof len, 4088), sizeof len);
    close(fd);
}

static void save_some_conf(void)
{
    static const char *const words[] = {"true", NULL};
    static const char *const none[] = {NULL};
    struct shimfile_conf conf = {.workdir = "/w",
                                 .argv = (const char **)(uintptr_t)words,
                                 .env = (const char **)(uintptr_t)none,
                                 .log_tail_bytes = 1};
    assert_int_equal(shimfile_save_conf(".", &conf, NULL), 0);
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
        .control = "/c.sock",
        .checkpoint = "/cp",
        .argv = argv,
        .env = env,
        .cgroups = {"/cg/1", "/cg/2"},
    };
    struct shimfile_conf got;
    struct stat status;
    struct mlq_region *region = mlq_region_create();
    assert_int_equal(shimfile_save_conf(".", &conf, NULL), 0);
    assert_int_equal(stat(SHIMFILE_STATE, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(shimfile_load_conf(".", region, &got, NULL), 0);
    assert_int_equal(got.lease_deadline_ns, conf.lease_deadline_ns);
    assert_int_equal(got.mem_bytes, conf.mem_bytes);
    assert_int_equal(got.nproc_max, 99);
    assert_string_equal(got.control, "/c.sock");
    assert_string_equal(got.checkpoint, "/cp");
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
        write_conf(bad[i], strlen(bad[i]) + 1);
        assert_int_equal(shimfile_load_conf(".", region, &got, NULL), MLQ_ECORRUPT);
    }
    static const char good[] = "arg=a\0workdir=/w\0log_tail_bytes=9\0future=1";
    write_conf(good, sizeof good);
    assert_int_equal(shimfile_load_conf(".", region, &got, NULL), 0);
    cut_conf_short(0); /* its writer died at it */
    assert_int_equal(shimfile_load_conf(".", region, &got, NULL), MLQ_ECORRUPT);
    cut_conf_short(sizeof good - 1);
    assert_int_equal(shimfile_load_conf(".", region, &got, NULL), MLQ_ECORRUPT);
    write_conf(good, sizeof good);
    assert_int_equal(truncate(SHIMFILE_STATE, 4096 + sizeof good - 1), 0); /* shorter than it says */
    assert_int_equal(shimfile_load_conf(".", region, &got, NULL), MLQ_ECORRUPT);
    write_file(SHIMFILE_STATE, "cut in its first page", 21);
    assert_int_equal(shimfile_load_conf(".", region, &got, NULL), MLQ_ECORRUPT);
    (void)unlink(SHIMFILE_STATE);
    assert_int_equal(shimfile_load_conf(".", region, &got, NULL), MLQ_ENOENT);
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
    (void)unlink(SHIMFILE_STATE);
    assert_int_equal(shimfile_load_end(".", &got, NULL), MLQ_ENOENT);
    assert_int_equal(shimfile_forget_end(".", NULL), MLQ_ENOENT);
    assert_int_equal(shimfile_save_end(".", &end, NULL), MLQ_ENOENT); /* of no task */
    save_some_conf();
    assert_int_equal(shimfile_load_end(".", &got, NULL), MLQ_ENOENT);
    assert_int_equal(shimfile_save_end(".", &end, NULL), 0);
    assert_int_equal(shimfile_load_end(".", &got, NULL), 0);
    assert_int_equal(got.cause, WORKER_CAUSE_OOM);
    assert_int_equal(got.exit_code, -1);
    assert_int_equal(got.signal, 9);
    assert_int_equal(got.ended_us, 77);
    assert_string_equal(got.detail, "over its limit");
    static const char *const bad[] = {"cause=13", "cause=-1", "x", "exit_code=1", "cause=1\0exit_code=256"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        size_t len = i < 4 ? strlen(bad[i]) + 1 : 22;
        assert_false(shimfile_parse_end((struct mlq_str){.ptr = bad[i], .len = len}, &got));
    }
    assert_int_equal(shimfile_forget_end(".", NULL), 0);
    assert_int_equal(shimfile_load_end(".", &got, NULL), MLQ_ENOENT);
    assert_int_equal(shimfile_forget_end(".", NULL), MLQ_ENOENT);
    struct mlq_region *region = mlq_region_create();
    struct shimfile_conf conf;
    assert_int_equal(shimfile_load_conf(".", region, &conf, NULL), 0); /* untouched by all that */
    mlq_region_destroy(&region);
}

/* A damaged byte anywhere in it, and there is no end: never another one. */
static void test_end_is_whole(void **state)
{
    (void)state;
    struct shimfile_end end = {.cause = WORKER_CAUSE_EXIT, .exit_code = 7, .detail = "exit status 7"};
    struct shimfile_end got;
    char page[4096];
    save_some_conf();
    assert_int_equal(shimfile_save_end(".", &end, NULL), 0);
    int fd = open(SHIMFILE_STATE, O_RDWR);
    assert_int_equal(pread(fd, page, sizeof page, 0), sizeof page);
    uint32_t len;
    memcpy(&len, page, sizeof len);
    assert_in_range(len, 50, 1000);
    for (off_t at = 0; at < (off_t)len + 12; at++) {
        if (at >= 8 && at < 12) {
            continue; /* whether it was started */
        }
        char other = (char)(page[at] ^ 0x10);
        assert_int_equal(pwrite(fd, &other, 1, at), 1);
        assert_int_equal(shimfile_load_end(".", &got, NULL), MLQ_ENOENT);
        assert_int_equal(pwrite(fd, &page[at], 1, at), 1);
    }
    assert_int_equal(shimfile_load_end(".", &got, NULL), 0);
    assert_int_equal(got.exit_code, 7);
    assert_int_equal(ftruncate(fd, 4087), 0); /* within its room */
    assert_int_equal(shimfile_load_end(".", &got, NULL), MLQ_ENOENT);
    close(fd);
    end.cause = WORKER_CAUSE_COUNT; /* whole, and still nothing that can be */
    save_some_conf();
    assert_int_equal(shimfile_save_end(".", &end, NULL), 0);
    assert_int_equal(shimfile_load_end(".", &got, NULL), MLQ_ECORRUPT);
}

/* The description of a task takes the room of its end; on a disk that is full meanwhile only that room is left. */
static void test_end_has_its_room(void **state)
{
    (void)state;
    struct shimfile_end end = {.cause = WORKER_CAUSE_EXIT, .exit_code = 7};
    struct shimfile_end got;
    struct stat before;
    struct stat after;
    (void)unlink(SHIMFILE_STATE);
    save_some_conf();
    assert_int_equal(stat(SHIMFILE_STATE, &before), 0);
    assert_true(before.st_blocks * 512 >= 4096 && before.st_size > 4096);
    assert_int_equal(shimfile_load_end(".", &got, NULL), MLQ_ENOENT);
    assert_int_equal(shimfile_save_end(".", &end, NULL), 0);
    assert_int_equal(stat(SHIMFILE_STATE, &after), 0);
    assert_true(after.st_ino == before.st_ino && after.st_size == before.st_size);
    assert_int_equal(shimfile_load_end(".", &got, NULL), 0);
    assert_int_equal(got.exit_code, 7);
}

static void test_start(void **state)
{
    (void)state;
    struct shimfile_end end = {.cause = WORKER_CAUSE_NODE};
    struct shimfile_end got;
    int fd;
    (void)unlink(SHIMFILE_STATE);
    assert_false(shimfile_was_started("."));
    save_some_conf();
    assert_int_equal(shimfile_lock(".", &fd, NULL), 0);
    assert_false(shimfile_was_started("."));
    assert_int_equal(shimfile_note_start(fd, NULL), 0);
    assert_true(shimfile_was_started("."));
    assert_int_equal(shimfile_load_end(".", &got, NULL), MLQ_ENOENT); /* and goes on */
    assert_int_equal(shimfile_note_start(fd, NULL), MLQ_EEXIST);
    close(fd);
    save_some_conf();
    assert_int_equal(shimfile_save_end(".", &end, NULL), 0); /* given up for lost */
    assert_int_equal(shimfile_lock(".", &fd, NULL), 0);
    assert_int_equal(shimfile_note_start(fd, NULL), MLQ_EEXIST);
    close(fd);
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
        cmocka_unit_test(test_end_is_whole),
        cmocka_unit_test(test_end_has_its_room),
        cmocka_unit_test(test_start),
        cmocka_unit_test(test_lock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
