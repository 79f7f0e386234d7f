/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Everything happens in a fresh folder of the temporary folder. Permissions do not bind root: as
 * root, those tests act as an unprivileged user for their duration.
 */
#include "tests/unit/cm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

#define NOBODY 65534

static char root[64];

static char *under_root(const char *name)
{
    static char paths[8][PATH_MAX];
    static unsigned next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, PATH_MAX, "%s/%s", root, name);
    return path;
}

static int make_root(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    (void)snprintf(root, sizeof root, "%s/mlq-fs.XXXXXX",
                   base == NULL || strlen(base) > 40 ? "/tmp" : base);
    return mkdtemp(root) == NULL || chmod(root, 0777) != 0 ? -1 : 0;
}

static int remove_root(void **state)
{
    (void)state;
    return mlq_fs_remove_tree(root, NULL) == MLQ_OK && !mlq_fs_exists(root) ? 0 : -1;
}

static bool become_nobody(void)
{
    if (geteuid() != 0 || seteuid(NOBODY) == 0) {
        return true;
    }
    print_message("root may not become another user here\n");
    return false;
}

static void become_root_again(void)
{
    if (getuid() == 0) {
        assert_int_equal(seteuid(0), 0);
    }
}

static int entries_in(const char *path)
{
    DIR *dir = opendir(path);
    assert_non_null(dir);
    int count = -2; /* "." and ".." */
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}

static void put(const char *path, const char *text)
{
    assert_int_equal(mlq_fs_write_durable(path, mlq_str_from(text), 0644, NULL), MLQ_OK);
}

static void assert_content(const char *path, const char *text)
{
    char *data = NULL;
    size_t len = 0;
    assert_int_equal(mlq_fs_read(path, 1 << 20, &data, &len, NULL), MLQ_OK);
    assert_int_equal(len, strlen(text));
    assert_string_equal(data, text);
    mlq_free(data);
}

static void writes_and_reads_back(void **state)
{
    (void)state;
    const char *path = under_root("file");
    put(path, "first");
    assert_content(path, "first");
    put(path, "second, longer");
    assert_content(path, "second, longer");
    put(path, "");
    assert_content(path, "");
    assert_int_equal(mlq_fs_write_whole(path, MLQ_STR("whole"), 0644, NULL), MLQ_OK);
    assert_content(path, "whole");
    assert_int_equal(entries_in(root), 1); /* no temporary file is left */
}

static void reads_every_size_around_the_buffer(void **state)
{
    (void)state;
    const char *path = under_root("file");
    static char bytes[20000];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (char)(i % 256); /* NUL bytes included */
    }
    const size_t sizes[] = {0, 1, 4094, 4095, 4096, 8191, 8192, 20000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct mlq_str data = {bytes, sizes[i]};
        assert_int_equal(mlq_fs_write_durable(path, data, 0600, NULL), MLQ_OK);
        char *back = NULL;
        size_t len = 1;
        assert_int_equal(mlq_fs_read(path, sizes[i], &back, &len, NULL), MLQ_OK);
        assert_int_equal(len, sizes[i]);
        assert_true(mlq_str_eq((struct mlq_str){back, len}, data));
        assert_int_equal(back[len], '\0');
        mlq_free(back);
        struct mlq_err err = MLQ_ERR_INIT;
        if (sizes[i] > 0) {
            assert_int_equal(mlq_fs_read(path, sizes[i] - 1, &back, &len, &err), MLQ_EFULL);
            assert_non_null(strstr(err.text, path));
        }
    }
}

/* /dev/zero never ends: the limit must. */
static void an_endless_file_is_refused(void **state)
{
    (void)state;
    char *data = NULL;
    size_t len = 0;
    assert_int_equal(mlq_fs_read("/dev/zero", 100000, &data, &len, NULL), MLQ_EFULL);
}

/* A task may leave a FIFO where its results are expected: that must not hold the worker. */
static void a_fifo_without_a_writer_is_empty(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(under_root("fifo"), 0600), 0);
    assert_content(under_root("fifo"), "");
}

static void a_pipe_is_read_to_its_end(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    if (child == 0) {
        close(fds[0]);
        for (int i = 0; i < 100; i++) {
            (void)sched_yield(); /* so that the reader finds the pipe empty now and then */
            (void)!write(fds[1], "0123456789", 10);
        }
        _exit(0);
    }
    close(fds[1]);
    char path[32];
    (void)snprintf(path, sizeof path, "/dev/fd/%d", fds[0]);
    char *data = NULL;
    size_t len = 0;
    assert_int_equal(mlq_fs_read(path, 100000, &data, &len, NULL), MLQ_OK);
    assert_int_equal(len, 1000);
    mlq_free(data);
    close(fds[0]);
    assert_true(waitpid(child, NULL, 0) == child);
}

static void read_errors_name_the_path(void **state)
{
    (void)state;
    char *data = NULL;
    size_t len = 0;
    struct mlq_err err = MLQ_ERR_INIT;
    const char *path = under_root("missing");
    assert_int_equal(mlq_fs_read(path, 10, &data, &len, &err), MLQ_ENOENT);
    assert_non_null(strstr(err.text, path));
    assert_non_null(strstr(err.text, "No such file"));
    assert_int_equal(err.sys_errno, ENOENT);
    assert_int_equal(mlq_fs_read(root, 10, &data, &len, &err), MLQ_EIO); /* a folder */
    assert_int_equal(err.sys_errno, EISDIR);
}

static void mode_is_as_asked_whatever_the_umask(void **state)
{
    (void)state;
    const char *path = under_root("file");
    mode_t old = umask(0077);
    assert_int_equal(mlq_fs_write_durable(path, MLQ_STR("x"), 0644, NULL), MLQ_OK);
    (void)umask(old);
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0644);
    assert_int_equal(mlq_fs_write_durable(path, MLQ_STR("x"), 0400, NULL), MLQ_OK);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0400);
}

/* A reader that opened the old file keeps reading the old content: the file was replaced, not
 * rewritten. A link is replaced as well, its target is untouched. */
static void the_old_content_is_replaced_as_a_whole(void **state)
{
    (void)state;
    const char *path = under_root("file");
    put(path, "old");
    int fd = open(path, O_RDONLY);
    put(path, "new content");
    char bytes[16];
    assert_int_equal(read(fd, bytes, sizeof bytes), 3);
    assert_memory_equal(bytes, "old", 3);
    close(fd);
    const char *link = under_root("link");
    assert_int_equal(symlink(path, link), 0);
    put(link, "through the link?");
    assert_content(path, "new content");
    assert_content(link, "through the link?");
}

static void durable_write_refuses_and_leaves_nothing(void **state)
{
    (void)state;
    struct mlq_err err = MLQ_ERR_INIT;
    put(under_root("file"), "x");
    const char *through_file = under_root("file/inner");
    assert_int_equal(mlq_fs_write_durable(through_file, MLQ_STR("y"), 0644, &err), MLQ_EIO);
    assert_int_equal(err.sys_errno, ENOTDIR);
    assert_non_null(strstr(err.text, through_file));
    const char *no_folder = under_root("none/file");
    assert_int_equal(mlq_fs_write_durable(no_folder, MLQ_STR("y"), 0644, &err), MLQ_ENOENT);
    assert_non_null(strstr(err.text, no_folder));
    const char *folder = under_root("folder"); /* the rename fails after the write */
    assert_int_equal(mkdir(folder, 0777), 0);
    assert_int_equal(mlq_fs_write_durable(folder, MLQ_STR("y"), 0644, &err), MLQ_EIO);
    assert_int_not_equal(mlq_fs_write_durable("", MLQ_STR("y"), 0644, &err), MLQ_OK);
    assert_content(under_root("file"), "x");
    assert_int_equal(entries_in(root), 2);
}

static void a_read_only_folder_is_not_permitted(void **state)
{
    (void)state;
    const char *folder = under_root("folder");
    const char *file = under_root("folder/file");
    assert_int_equal(mkdir(folder, 0777), 0);
    put(file, "x");
    assert_int_equal(chmod(file, 0600), 0);
    assert_int_equal(chmod(folder, 0555), 0);
    if (!become_nobody()) {
        skip();
    }
    struct mlq_err err = MLQ_ERR_INIT;
    char *data = NULL;
    size_t len;
    int write_rc = mlq_fs_write_durable(file, MLQ_STR("y"), 0644, &err);
    int dirs_rc = mlq_fs_make_dirs(under_root("folder/a/b"), 0755, NULL);
    int read_rc = getuid() == 0 ? mlq_fs_read(file, 10, &data, &len, NULL) : MLQ_EPERM;
    int remove_rc = getuid() == 0 ? mlq_fs_remove_tree(folder, NULL) : MLQ_EPERM;
    become_root_again();
    assert_int_equal(write_rc, MLQ_EPERM);
    assert_non_null(strstr(err.text, "Permission denied"));
    assert_int_equal(dirs_rc, MLQ_EPERM);
    assert_int_equal(read_rc, MLQ_EPERM);
    assert_int_equal(remove_rc, MLQ_EPERM);
    assert_content(file, "x");
}

/* A full disk, played by the limit on a file's size. */
static void a_failed_write_keeps_the_old_content(void **state)
{
    (void)state;
    const char *path = under_root("file");
    put(path, "old");
    static char bytes[100000];
    struct mlq_err err = MLQ_ERR_INIT;
    struct rlimit old;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    struct rlimit small = {.rlim_cur = 4096, .rlim_max = old.rlim_max};
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int rc = mlq_fs_write_durable(path, (struct mlq_str){bytes, sizeof bytes}, 0644, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(rc, MLQ_EIO);
    assert_int_equal(err.sys_errno, EFBIG);
    assert_non_null(strstr(err.text, path));
    assert_content(path, "old");
    assert_int_equal(entries_in(root), 1);
}

/* A pipe takes a little at a time: write_all must go on until all is through. */
static void write_all_survives_short_writes(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    static char bytes[1000000];
    pid_t child = fork();
    if (child == 0) {
        close(fds[1]);
        static char got[1777];
        size_t total = 0;
        ssize_t n;
        while ((n = read(fds[0], got, sizeof got)) > 0) {
            total += (size_t)n;
        }
        _exit(total == sizeof bytes ? 0 : 1);
    }
    close(fds[0]);
    assert_int_equal(mlq_fs_write_all(fds[1], (struct mlq_str){bytes, sizeof bytes}, NULL), MLQ_OK);
    close(fds[1]);
    int status = -1;
    assert_true(waitpid(child, &status, 0) == child);
    assert_int_equal(status, 0);
    struct mlq_err err = MLQ_ERR_INIT;
    assert_int_equal(mlq_fs_write_all(-1, MLQ_STR("x"), &err), MLQ_EIO);
    assert_int_equal(err.sys_errno, EBADF);
}

static void makes_missing_parents(void **state)
{
    (void)state;
    struct mlq_err err = MLQ_ERR_INIT;
    assert_int_equal(mlq_fs_make_dirs(under_root("a/b//c/"), 0755, &err), MLQ_OK);
    assert_true(mlq_fs_exists(under_root("a/b/c")));
    assert_int_equal(mlq_fs_make_dirs(under_root("a/b/c"), 0755, &err), MLQ_OK);
    assert_int_equal(mlq_fs_make_dirs("/", 0755, &err), MLQ_OK);
    assert_int_equal(mlq_fs_make_dirs(".", 0755, &err), MLQ_OK);
    assert_int_equal(mlq_fs_make_dirs("", 0755, &err), MLQ_EINVAL);
    put(under_root("file"), "x");
    assert_int_equal(mlq_fs_make_dirs(under_root("file"), 0755, &err), MLQ_EEXIST);
    assert_int_equal(mlq_fs_make_dirs(under_root("file/a/b"), 0755, &err), MLQ_EIO);
    assert_non_null(strstr(err.text, "Not a directory"));
    assert_int_equal(symlink("nowhere", under_root("dangling")), 0);
    assert_int_equal(mlq_fs_make_dirs(under_root("dangling"), 0755, &err), MLQ_EEXIST);
    assert_int_equal(mlq_fs_make_dirs(under_root("a/b"), 0755, NULL), MLQ_OK);
}

static void remove_does_not_follow_links(void **state)
{
    (void)state;
    assert_int_equal(mlq_fs_make_dirs(under_root("precious/deep"), 0755, NULL), MLQ_OK);
    put(under_root("precious/deep/file"), "keep me");
    assert_int_equal(mlq_fs_make_dirs(under_root("doomed/sub"), 0755, NULL), MLQ_OK);
    assert_int_equal(symlink(under_root("precious"), under_root("doomed/link")), 0);
    assert_int_equal(symlink("../../precious", under_root("doomed/sub/link")), 0);
    assert_int_equal(symlink("nowhere", under_root("doomed/sub/dangling")), 0);
    assert_int_equal(symlink(under_root("precious"), under_root("top")), 0);
    assert_int_equal(mkfifo(under_root("doomed/fifo"), 0600), 0);
    assert_int_equal(mlq_fs_remove_tree(under_root("doomed"), NULL), MLQ_OK);
    assert_false(mlq_fs_exists(under_root("doomed")));
    assert_int_equal(mlq_fs_remove_tree(under_root("top"), NULL), MLQ_OK);
    struct stat status;
    assert_int_not_equal(lstat(under_root("top"), &status), 0);
    assert_content(under_root("precious/deep/file"), "keep me");
    assert_int_not_equal(mlq_fs_remove_tree(under_root("precious/deep/file/"), NULL), MLQ_OK);
    assert_content(under_root("precious/deep/file"), "keep me");
}

static void remove_takes_files_and_missing_things(void **state)
{
    (void)state;
    put(under_root("file"), "x");
    assert_int_equal(mlq_fs_remove_tree(under_root("file"), NULL), MLQ_OK);
    assert_false(mlq_fs_exists(under_root("file")));
    assert_int_equal(mlq_fs_remove_tree(under_root("file"), NULL), MLQ_OK);
    assert_int_equal(mlq_fs_remove_tree(under_root("no/such/thing"), NULL), MLQ_OK);
}

/* Folders that their owner closed to himself, as a test suite or a careless script leaves them. */
static void remove_opens_closed_folders(void **state)
{
    (void)state;
    if (!become_nobody()) {
        skip();
    }
    int made = mlq_fs_make_dirs(under_root("closed/a/b/c"), 0755, NULL);
    put(under_root("closed/a/b/file"), "x");
    (void)chmod(under_root("closed/a/b/c"), 0000);
    (void)chmod(under_root("closed/a/b"), 0555);
    (void)chmod(under_root("closed/a"), 0000);
    (void)chmod(under_root("closed"), 0300);
    struct mlq_err err = MLQ_ERR_INIT;
    int rc = mlq_fs_remove_tree(under_root("closed"), &err);
    become_root_again();
    assert_int_equal(made, MLQ_OK);
    assert_string_equal(err.text, "");
    assert_int_equal(rc, MLQ_OK);
    assert_false(mlq_fs_exists(under_root("closed")));
}

/* A chain deeper than any path may be long, with a few files on the way, and a descriptor limit
 * under its depth: a task that fills the disk like this must not keep its space. */
static void remove_goes_to_any_depth(void **state)
{
    (void)state;
    enum { DEPTH = 600 };
    int fd = open(root, O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < DEPTH; i++) {
        assert_int_equal(mkdirat(fd, "deep-name", 0755), 0);
        if (i % 100 == 0) {
            int file = openat(fd, "f", O_WRONLY | O_CREAT, 0644);
            close(file);
        }
        int next = openat(fd, "deep-name", O_RDONLY | O_DIRECTORY);
        assert_true(next >= 0);
        close(fd);
        fd = next;
    }
    close(fd);
    struct rlimit old;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    struct rlimit few = {.rlim_cur = 64, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    struct mlq_err err = MLQ_ERR_INIT;
    int rc = mlq_fs_remove_tree(under_root("deep-name"), &err);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_string_equal(err.text, "");
    assert_int_equal(rc, MLQ_OK);
    assert_false(mlq_fs_exists(under_root("deep-name")));
}

/* The walk moves deep folders up under names of its own: here they are taken already. */
static void take_names_of_the_walk(int fd)
{
    for (int i = 0; i < 20; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "mlq-moved-%d", i);
        if (i % 2 == 0) {
            close(openat(fd, name, O_WRONLY | O_CREAT, 0644));
        } else {
            assert_int_equal(mkdirat(fd, name, 0755), 0);
            int inner = openat(fd, name, O_RDONLY | O_DIRECTORY);
            assert_int_equal(mkdirat(inner, "not-empty", 0755), 0);
            close(inner);
        }
    }
}

static void remove_finds_free_names_for_deep_folders(void **state)
{
    (void)state;
    assert_int_equal(mkdir(under_root("top"), 0755), 0);
    int top = open(under_root("top"), O_RDONLY | O_DIRECTORY);
    take_names_of_the_walk(top);
    close(top);
    for (int chain = 0; chain < 20;
         chain++) { /* some come before the names, in any order of entries */
        char path[128];
        int used = snprintf(path, sizeof path, "top/%d", chain);
        for (int depth = 0; depth < 40; depth++) {
            used += snprintf(path + used, sizeof path - (size_t)used, "/d");
        }
        assert_int_equal(mlq_fs_make_dirs(under_root(path), 0755, NULL), MLQ_OK);
    }
    assert_int_equal(mlq_fs_remove_tree(under_root("top"), NULL), MLQ_OK);
    assert_false(mlq_fs_exists(under_root("top")));
}

static void remove_goes_to_any_width(void **state)
{
    (void)state;
    assert_int_equal(mkdir(under_root("wide"), 0755), 0);
    for (int i = 0; i < 3000; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "wide/%d", i);
        if (i % 10 == 0) {
            assert_int_equal(mkdir(under_root(name), 0755), 0);
        } else {
            int fd = open(under_root(name), O_WRONLY | O_CREAT, 0644);
            close(fd);
        }
    }
    assert_int_equal(mlq_fs_remove_tree(under_root("wide"), NULL), MLQ_OK);
    assert_false(mlq_fs_exists(under_root("wide")));
}

static void joins_with_one_slash(void **state)
{
    (void)state;
    const char *const cases[][3] = {
        {"a", "b", "a/b"},
        {"a/", "b", "a/b"},
        {"/", "b", "/b"},
        {"", "b", "b"},
    };
    for (size_t i = 0; i < 4; i++) {
        char *joined = mlq_fs_join(cases[i][0], cases[i][1]);
        assert_string_equal(joined, cases[i][2]);
        mlq_free(joined);
    }
}

static void inner_paths_cannot_leave(void **state)
{
    (void)state;
    const struct mlq_str inner[] = {
        MLQ_STR("a"),    MLQ_STR("a/b/c"), MLQ_STR(".hidden"), MLQ_STR("..."),
        MLQ_STR("a..b"), MLQ_STR("..a"),   MLQ_STR("a/...b"),  MLQ_STR("\xc3\xa9 with space"),
    };
    const struct mlq_str outer[] = {
        MLQ_STR(""),         MLQ_STR("/"),       MLQ_STR("/etc/passwd"), MLQ_STR("."),
        MLQ_STR(".."),       MLQ_STR("../a"),    MLQ_STR("a/.."),        MLQ_STR("a/../b"),
        MLQ_STR("a/./b"),    MLQ_STR("./a"),     MLQ_STR("a//b"),        MLQ_STR("a/"),
        MLQ_STR("a\0/../b"), MLQ_STR("a\0"),     MLQ_STR("\0"),          MLQ_STR("a\nb"),
        MLQ_STR("a\x7f"),    MLQ_STR("\x1b[2J"), MLQ_STR("a/../../b"),   MLQ_STR("//a"),
    };
    for (size_t i = 0; i < sizeof inner / sizeof inner[0]; i++) {
        assert_true(mlq_fs_is_inner_path(inner[i]));
    }
    for (size_t i = 0; i < sizeof outer / sizeof outer[0]; i++) {
        assert_false(mlq_fs_is_inner_path(outer[i]));
    }
    assert_false(mlq_fs_is_inner_path((struct mlq_str){0}));
}

static void sync_dir_wants_a_folder(void **state)
{
    (void)state;
    put(under_root("file"), "x");
    assert_int_equal(mlq_fs_sync_dir(root, NULL), MLQ_OK);
    assert_int_not_equal(mlq_fs_sync_dir(under_root("file"), NULL), MLQ_OK);
    assert_int_equal(mlq_fs_sync_dir(under_root("none"), NULL), MLQ_ENOENT);
}

#define IN_ROOT(test) cmocka_unit_test_setup_teardown(test, make_root, remove_root)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_ROOT(writes_and_reads_back),
        IN_ROOT(reads_every_size_around_the_buffer),
        IN_ROOT(an_endless_file_is_refused),
        IN_ROOT(a_fifo_without_a_writer_is_empty),
        IN_ROOT(a_pipe_is_read_to_its_end),
        IN_ROOT(read_errors_name_the_path),
        IN_ROOT(mode_is_as_asked_whatever_the_umask),
        IN_ROOT(the_old_content_is_replaced_as_a_whole),
        IN_ROOT(durable_write_refuses_and_leaves_nothing),
        IN_ROOT(a_read_only_folder_is_not_permitted),
        IN_ROOT(a_failed_write_keeps_the_old_content),
        IN_ROOT(write_all_survives_short_writes),
        IN_ROOT(makes_missing_parents),
        IN_ROOT(remove_does_not_follow_links),
        IN_ROOT(remove_takes_files_and_missing_things),
        IN_ROOT(remove_opens_closed_folders),
        IN_ROOT(remove_goes_to_any_depth),
        IN_ROOT(remove_finds_free_names_for_deep_folders),
        IN_ROOT(remove_goes_to_any_width),
        IN_ROOT(joins_with_one_slash),
        IN_ROOT(inner_paths_cannot_leave),
        IN_ROOT(sync_dir_wants_a_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
