/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * An attempt's folder serves again only when nobody could tell it from a new one.
 */
#include "tests/unit/cm.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/base/ownership.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "worker/exec/joblog.h"
#include "worker/exec/shimfile.h"
#include "worker/exec/unixsock.h"
#include "worker/folder.h"

static struct mlq_region *region;
static struct folder_spares spares;

static ino_t inode_of(const char *path)
{
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    return status.st_ino;
}

static void put(const char *path, const char *text)
{
    assert_int_equal(mlq_fs_write_whole(path, mlq_str_from(text), 0600, NULL), 0);
}

/* A folder as a task that did nothing leaves it. */
static void use(const char *dir, const char *spare)
{
    static const char *const words[] = {"true", NULL};
    static const char *const env[] = {"SECRET=1", NULL};
    const struct shimfile_conf conf = {.workdir = "/w",
                                       .argv = (const char **)(uintptr_t)words,
                                       .env = (const char **)(uintptr_t)env,
                                       .log_tail_bytes = 1};
    const struct shimfile_end end = {.cause = WORKER_CAUSE_NONE};
    assert_int_equal(folder_make(dir, spare, NULL), 0);
    assert_int_equal(shimfile_save_conf(dir, &conf, NULL), 0);
    assert_int_equal(shimfile_save_end(dir, &end, NULL), 0);
    char *log = mlq_fs_join(dir, "log");
    put(log, "what it printed\n");
    mlq_free(log);
}

static bool keep_with(const char *dir, const char **place, uint64_t socket_inode)
{
    uint64_t number = 0;
    *place = folder_place(&spares, &number, region);
    assert_non_null(*place);
    bool is_kept = folder_keep(dir, *place, socket_inode);
    folder_kept(&spares, number, is_kept, NULL);
    assert_int_equal(mlq_fs_exists(dir), !is_kept);
    assert_int_equal(mlq_fs_exists(*place), is_kept);
    return is_kept;
}

static bool keep(const char *dir, const char **place)
{
    return keep_with(dir, place, 0);
}

static const char *take(void)
{
    struct control *control;
    const char *spare = folder_take(&spares, region, &control);
    assert_null(control);
    return spare;
}

static void expect_zeros(const char *path)
{
    char *data;
    size_t len;
    assert_int_equal(mlq_fs_read(path, 1 << 20, &data, &len, NULL), 0);
    for (size_t i = 0; i < len; i++) {
        assert_int_equal(data[i], 0);
    }
    mlq_free(data);
}

static void test_serves_again(void **state)
{
    (void)state;
    const char *place;
    struct shimfile_conf conf;
    struct shimfile_end end;
    assert_null(take());
    use("a/1-0", NULL);
    ino_t inode = inode_of("a/1-0/work");
    assert_true(keep("a/1-0", &place));
    const char *spare = take();
    assert_string_equal(spare, place);
    assert_null(take());
    assert_int_equal(folder_make("a/2-0", spare, NULL), 0);
    assert_int_equal(inode_of("a/2-0/work"), inode);
    /* Nothing of the first: a worker that dies now finds a member that was not prepared. */
    assert_int_equal(shimfile_load_end("a/2-0", &end, NULL), MLQ_ENOENT);
    assert_int_equal(shimfile_load_conf("a/2-0", region, &conf, NULL), MLQ_ECORRUPT);
    assert_false(shimfile_was_started("a/2-0"));
    expect_zeros("a/2-0/state");
    struct stat status;
    assert_int_equal(stat("a/2-0/log", &status), 0);
    assert_int_equal(status.st_size, 0);
    use("a/2-0", NULL);
    assert_true(keep("a/2-0", &place));
}

/* To give blocks back and take them again costs more than a small program. */
static void test_keeps_blocks(void **state)
{
    (void)state;
    const char *place;
    struct stat before;
    struct stat after;
    struct joblog log;
    use("a/1-0", NULL);
    assert_int_equal(joblog_create(&log, "a/1-0", 1, 1, NULL),
                     0); /* of a task that prints nothing */
    joblog_close(&log);
    assert_int_equal(stat("a/1-0/log", &before), 0);
    assert_true(keep("a/1-0", &place));
    char *path = mlq_fs_join(place, "log");
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(after.st_blocks, before.st_blocks);
    mlq_free(path);
    path = mlq_fs_join(place, "state");
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(after.st_size, 8192);
    mlq_free(path);
}

static void test_spare_is_gone(void **state)
{
    (void)state;
    use("a/1-0", "spare/nowhere");
    assert_true(mlq_fs_exists("a/1-0/out") && mlq_fs_exists("a/1-0/tmp"));
}

static void leave_file(void)
{
    put("a/1-0/work/x", "");
}

static void leave_output(void)
{
    put("a/1-0/out/x", "");
}

static void leave_folder(void)
{
    assert_int_equal(mkdir("a/1-0/tmp/x", 0700), 0);
}

static void leave_stray(void)
{
    put("a/1-0/with.json", "{}");
}

static void open_it(void)
{
    assert_int_equal(chmod("a/1-0/out", 0777), 0);
}

static void open_log(void)
{
    assert_int_equal(chmod("a/1-0/log", 0644), 0);
}

static void remove_one(void)
{
    assert_int_equal(rmdir("a/1-0/tmp"), 0);
}

static void grow_state(void)
{
    assert_int_equal(truncate("a/1-0/state", SHIMFILE_KEPT_BYTES_MAX + 1), 0);
}

static void link_state(void)
{
    (void)unlink("linked");
    assert_int_equal(link("a/1-0/state", "linked"), 0);
}

static void link_log(void)
{
    (void)unlink("linked");
    assert_int_equal(link("a/1-0/log", "linked"), 0);
}

static void swap_for_link(void)
{
    assert_int_equal(rmdir("a/1-0/work"), 0);
    assert_int_equal(symlink("/tmp", "a/1-0/work"), 0);
}

static void swap_log(void)
{
    put("precious", "not the log");
    assert_int_equal(unlink("a/1-0/log"), 0);
    assert_int_equal(symlink("../../precious", "a/1-0/log"), 0);
}

static void swap_for_fifo(void)
{
    assert_int_equal(unlink("a/1-0/log"), 0);
    assert_int_equal(mkfifo("a/1-0/log", 0600), 0);
}

static void test_not_as_it_was(void **state)
{
    (void)state;
    static void (*const spoil[])(void) = {
        leave_file, leave_output,  leave_folder, leave_stray,   open_it,    open_log, remove_one,
        link_state, swap_for_link, swap_log,     swap_for_fifo, grow_state, link_log,
    };
    const char *place;
    for (size_t i = 0; i < MLQ_COUNT_OF(spoil); i++) {
        assert_int_equal(mlq_fs_remove_tree("a/1-0", NULL), 0);
        use("a/1-0", NULL);
        spoil[i]();
        assert_false(keep("a/1-0", &place));
    }
    struct stat status;
    assert_int_equal(stat("precious", &status), 0);
    assert_int_equal(status.st_size, 11);
    assert_int_equal(stat("linked", &status), 0);
    assert_int_equal(status.st_size, 16); /* the last one's log, not emptied */
}

static void test_attribute(void **state)
{
    (void)state;
    const char *place;
    use("a/1-0", NULL);
    if (setxattr("a/1-0/work", "user.mlq", "x", 1, 0) != 0) {
        print_message("no extended attributes here: %s\n", strerror(errno));
        skip();
    }
    assert_false(keep("a/1-0", &place));
    assert_int_equal(removexattr("a/1-0/work", "user.mlq"), 0);
    assert_true(keep("a/1-0", &place));
}

static void test_shim_holds_it(void **state)
{
    (void)state;
    const char *place;
    int lock;
    use("a/1-0", NULL);
    assert_int_equal(shimfile_lock("a/1-0", &lock, NULL), 0);
    assert_false(keep("a/1-0", &place));
    close(lock);
    assert_true(keep("a/1-0", &place));
}

/* The control socket stays if it is the one that the worker listens on. */
static void test_socket(void **state)
{
    (void)state;
    const char *place;
    int fd;
    int other;
    use("a/1-0", NULL);
    assert_int_equal(unixsock_listen("a/1-0/control.sock", 1, &fd, NULL), 0);
    ino_t inode = inode_of("a/1-0/control.sock");
    assert_false(keep_with("a/1-0", &place, 0));
    assert_false(keep_with("a/1-0", &place, inode + 1));
    assert_int_equal(chmod("a/1-0/control.sock", 0666), 0);
    assert_false(keep_with("a/1-0", &place, inode));
    assert_int_equal(chmod("a/1-0/control.sock", 0600), 0);
    (void)unlink("linked");
    assert_int_equal(link("a/1-0/control.sock", "linked"), 0);
    assert_false(keep_with("a/1-0", &place, inode));
    assert_int_equal(unlink("linked"), 0);
    assert_int_equal(rename("a/1-0/control.sock", "a/other"), 0);
    assert_false(keep_with("a/1-0", &place, inode));
    assert_int_equal(unixsock_listen("a/1-0/control.sock", 1, &other, NULL), 0);
    assert_false(keep_with("a/1-0", &place, inode)); /* the task's own */
    assert_int_equal(rename("a/other", "a/1-0/control.sock"), 0);
    assert_true(keep_with("a/1-0", &place, inode));
    assert_int_equal(folder_make("a/2-0", take(), NULL), 0);
    close(other);
    assert_int_equal(unixsock_connect("a/2-0/control.sock", &other, NULL), 0);
    close(other);
    close(fd);
}

static void test_book(void **state)
{
    (void)state;
    uint64_t numbers[FOLDER_SPARES_MAX];
    uint64_t more;
    for (unsigned i = 0; i < FOLDER_SPARES_MAX; i++) {
        assert_non_null(folder_place(&spares, &numbers[i], region));
    }
    assert_null(folder_place(&spares, &more, region)); /* there is no room for all that come */
    folder_kept(&spares, numbers[0], false, NULL);
    assert_non_null(folder_place(&spares, &more, region));
    for (unsigned i = 1; i < FOLDER_SPARES_MAX; i++) {
        folder_kept(&spares, numbers[i], true, NULL);
    }
    folder_kept(&spares, more, true, NULL);
    assert_null(folder_place(&spares, &more, region));
    for (unsigned i = 0; i < FOLDER_SPARES_MAX; i++) {
        assert_non_null(take());
    }
    assert_null(take());
    /* What an earlier run left is not trusted. */
    put("spare/left", "");
    folder_spares_init(&spares, ".", region);
    assert_false(mlq_fs_exists("spare/left"));
    assert_true(mlq_fs_exists("spare"));
}

static int setup(void **state)
{
    (void)state;
    region = mlq_region_create();
    folder_spares_init(&spares, ".", region);
    return mlq_fs_remove_tree("a", NULL);
}

static int teardown(void **state)
{
    (void)state;
    mlq_region_destroy(&region);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_serves_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keeps_blocks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_spare_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_as_it_was, setup, teardown),
        cmocka_unit_test_setup_teardown(test_attribute, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shim_holds_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_socket, setup, teardown),
        cmocka_unit_test_setup_teardown(test_book, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
