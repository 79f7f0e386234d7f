/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Files that become objects, and objects that are read where they lie: without a copy only where that
 * is safe, and with the same result wherever it is not.
 */
#include "tests/unit/cm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/artifact/cas.h"
#include "lib/base/prng.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "tests/unit/cas_store.h"
#include "tests/unit/files.h"

/* FIPS 180-2, appendix B.1. */
#define ABC_OBJECT "store/objects/ba/7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define BIG_BYTES  (64u << 20) /* hashed in some 40 ms */
#define KILLS      40
#define BOTH_TIMES 40
#define TRIES_MAX  50
#define ELSEWHERE  "/dev/shm"

static struct stat look(const char *path)
{
    struct stat status;
    assert_int_equal(lstat(path, &status), 0);
    return status;
}

static bool is_same(const char *a, const char *b)
{
    return look(a).st_ino == look(b).st_ino && look(a).st_dev == look(b).st_dev;
}

static unsigned count_temps(void)
{
    unsigned count = 0;
    FILE *pipe = popen("find store/tmp -type f -name 'put-*' | wc -l", "r");
    assert_non_null(pipe);
    assert_int_equal(fscanf(pipe, "%u", &count), 1);
    assert_int_equal(pclose(pipe), 0);
    return count;
}

static struct cas_digest take(const char *path)
{
    struct cas_digest digest;
    uint64_t bytes = 0;
    struct mlq_err err = MLQ_ERR_INIT;
    int rc = cas_put_own_file(cas, path, &digest, &bytes, &err);
    if (rc != MLQ_OK) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(bytes, look(path).st_size);
    assert_int_equal(count_temps(), 0);
    return digest;
}

/* "abc" at `path` is taken, but as a copy. */
static void assert_copied(const char *path)
{
    (void)take(path);
    assert_false(is_same(path, ABC_OBJECT));
    assert_file(ABC_OBJECT, "abc");
    assert_int_equal(look(ABC_OBJECT).st_mode & 07777, 0444);
    assert_int_equal(look(ABC_OBJECT).st_nlink, 1);
}

static void a_file_that_is_taken_is_the_object(void **state)
{
    (void)state;
    write_file("work/a", "abc");
    struct cas_digest first = take("work/a");
    assert_true(is_same("work/a", ABC_OBJECT));
    assert_int_equal(look(ABC_OBJECT).st_mode & 07777, 0444);
    assert_file("work/a", "abc"); /* it stays where it was */
    struct cas_digest again = take("work/a");
    assert_true(cas_digest_eq(&first, &again));
    assert_int_equal(unlink("work/a"), 0);
    assert_file(ABC_OBJECT, "abc");
    /* What the store has is not put a second time. */
    write_file("work/b", "abc");
    (void)take("work/b");
    assert_false(is_same("work/b", ABC_OBJECT));
    assert_int_equal(look("work/b").st_mode & 07777, 0644);
}

static void a_damaged_object_is_replaced(void **state)
{
    (void)state;
    write_file("work/a", "abc");
    (void)take("work/a");
    assert_int_equal(chmod(ABC_OBJECT, 0644), 0);
    write_file(ABC_OBJECT, "abd");
    write_file("work/b", "abc");
    (void)take("work/b");
    assert_true(is_same("work/b", ABC_OBJECT));
    assert_file(ABC_OBJECT, "abc");
}

static void a_file_with_another_name_is_copied(void **state)
{
    (void)state;
    write_file("work/a", "abc");
    assert_int_equal(link("work/a", "work/kept"), 0);
    assert_copied("work/a");
    write_file("work/kept", "xyz");
    assert_file(ABC_OBJECT, "abc");
}

static void a_file_that_is_open_to_write_is_copied(void **state)
{
    (void)state;
    write_file("work/a", "abc");
    int fd = open("work/a", O_RDWR);
    assert_true(fd >= 0);
    assert_copied("work/a");
    assert_int_equal(pwrite(fd, "xyz", 3, 0), 3);
    close(fd);
    assert_file(ABC_OBJECT, "abc");
}

static void a_file_that_is_mapped_to_write_is_copied(void **state)
{
    (void)state;
    write_file("work/a", "abc");
    int fd = open("work/a", O_RDWR);
    char *map = mmap(NULL, 3, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(map != MAP_FAILED);
    close(fd);
    assert_copied("work/a");
    map[0] = 'x';
    assert_int_equal(munmap(map, 3), 0);
    assert_file(ABC_OBJECT, "abc");
}

static void a_file_of_another_user_is_copied(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        print_message("only root can give a file away\n");
        skip();
    }
    write_file("work/a", "abc");
    assert_int_equal(chown("work/a", 65534, 65534), 0);
    assert_copied("work/a");
    assert_int_equal(look(ABC_OBJECT).st_uid, 0);
}

static void links_and_devices_are_refused(void **state)
{
    (void)state;
    struct cas_digest digest;
    write_file("work/a", "abc");
    assert_int_equal(symlink("a", "work/link"), 0);
    assert_int_equal(mkfifo("work/pipe", 0644), 0);
    assert_int_equal(cas_put_own_file(cas, "work/link", &digest, NULL, NULL), MLQ_EINVAL);
    assert_int_equal(cas_put_own_file(cas, "work/pipe", &digest, NULL, NULL), MLQ_EINVAL);
    assert_int_equal(cas_put_own_file(cas, "work/absent", &digest, NULL, NULL), MLQ_ENOENT);
    assert_int_equal(look("work/a").st_mode & 07777, 0644);
}

/* A folder on another file system than the store's. */
static bool make_elsewhere(char folder[64])
{
    (void)snprintf(folder, 64, ELSEWHERE "/mlq-take.XXXXXX");
    if (mkdtemp(folder) == NULL) {
        print_message(ELSEWHERE " cannot be written to\n");
        return false;
    }
    if (look(folder).st_dev != look("store").st_dev) {
        return true;
    }
    (void)rmdir(folder);
    print_message(ELSEWHERE " is no other file system than this folder's\n");
    return false;
}

static void another_file_system_means_a_copy(void **state)
{
    (void)state;
    char folder[64];
    if (!make_elsewhere(folder)) {
        skip();
    }
    char *file = mlq_fs_join(folder, "a");
    char *lent = mlq_fs_join(folder, "lent");
    write_file(file, "abc");
    struct cas_digest digest = take(file);
    assert_int_equal(look(file).st_nlink, 1);
    assert_file(ABC_OBJECT, "abc");
    assert_int_equal(cas_fetch_link(cas, &digest, lent, NULL), MLQ_OK);
    assert_true(S_ISREG(look(lent).st_mode));
    assert_file(lent, "abc");
    assert_int_equal(mlq_fs_remove_tree(folder, NULL), MLQ_OK);
    mlq_free(file);
    mlq_free(lent);
}

/* ---- Who writes meanwhile ---- */

static void write_big(const char *path)
{
    char *data = mlq_alloc(BIG_BYTES);
    memset(data, 'a', BIG_BYTES);
    assert_int_equal(
        mlq_fs_write_whole(path, (struct mlq_str){data, BIG_BYTES}, 0644, NULL), MLQ_OK);
    mlq_free(data);
}

/* As /proc/locks names them: "00:1f:1234" ends in the inode. */
static bool has_lease(ino_t inode)
{
    char line[256];
    char wanted[32];
    bool found = false;
    (void)snprintf(wanted, sizeof wanted, ":%llu ", (unsigned long long)inode);
    FILE *locks = fopen("/proc/locks", "r");
    while (locks != NULL && !found && fgets(line, sizeof line, locks) != NULL) {
        found = strstr(line, "LEASE") != NULL && strstr(line, wanted) != NULL;
    }
    if (locks != NULL) {
        (void)fclose(locks);
    }
    return found;
}

#define CAME_LATE 3 /* exit status of a writer that saw no lease */

/* Opens it as soon as it is under a lease, which holds the open up, and writes when that is over. Gives
 * up when the other end of `over` is closed. */
static void write_once_leased(const char *path, int over)
{
    struct stat status;
    struct pollfd end = {.fd = over, .events = POLLIN};
    if (stat(path, &status) != 0) {
        _exit(1);
    }
    while (!has_lease(status.st_ino)) {
        if (poll(&end, 1, 0) > 0) {
            _exit(CAME_LATE);
        }
    }
    int fd = open(path, O_WRONLY);
    _exit(fd >= 0 && pwrite(fd, "xyz", 3, 0) == 3 ? 0 : 2);
}

/* The status of the writer. */
static int write_while_taken(void)
{
    int over[2];
    int ended = -1;
    struct cas_digest digest;
    write_big("work/big");
    assert_int_equal(pipe(over), 0);
    pid_t writer = fork();
    assert_true(writer >= 0);
    if (writer == 0) {
        close(over[1]);
        write_once_leased("work/big", over[0]);
    }
    close(over[0]);
    assert_int_equal(cas_put_own_file(cas, "work/big", &digest, NULL, NULL), MLQ_OK);
    close(over[1]);
    assert_int_equal(waitpid(writer, &ended, 0), writer);
    assert_true(WIFEXITED(ended));
    assert_int_equal(cas_fetch(cas, &digest, "work/copy", NULL), MLQ_OK);
    assert_int_equal(count_temps(), 0);
    return WEXITSTATUS(ended);
}

/* On a busy machine the writer may not run while there is a lease: again then, from the beginning. */
static void who_writes_while_it_is_taken_changes_no_object(void **state)
{
    (void)state;
    int ended = write_while_taken();
    for (int tries = 1; ended == CAME_LATE && tries < TRIES_MAX; tries++) {
        (void)teardown(NULL);
        (void)setup(NULL);
        ended = write_while_taken();
    }
    assert_true(ended == 0 || geteuid() != 0); /* others may find it read-only by then */
    assert_int_not_equal(ended, CAME_LATE);
}

/* Each sees the other's name of it: then it may be copied, but nothing is left behind. */
static void two_take_it_at_once(void **state)
{
    (void)state;
    for (int i = 0; i < BOTH_TIMES; i++) {
        struct cas_digest digest;
        char text[32];
        (void)snprintf(text, sizeof text, "object %d", i);
        write_file("work/a", text);
        int start[2];
        assert_int_equal(pipe(start), 0);
        pid_t other = fork();
        assert_true(other >= 0);
        if (other == 0) {
            char byte;
            close(start[1]);
            (void)!read(start[0], &byte, 1); /* until the other end is closed */
            _exit(cas_put_own_file(cas, "work/a", &digest, NULL, NULL) == MLQ_OK ? 0 : 1);
        }
        close(start[0]);
        close(start[1]);
        assert_int_equal(cas_put_own_file(cas, "work/a", &digest, NULL, NULL), MLQ_OK);
        int status = -1;
        assert_int_equal(waitpid(other, &status, 0), other);
        assert_int_equal(status, 0);
        assert_int_equal(count_temps(), 0);
        assert_int_equal(cas_fetch(cas, &digest, "work/copy", NULL), MLQ_OK);
        assert_file("work/copy", text);
        assert_int_equal(unlink("work/copy"), 0);
        assert_int_equal(unlink("work/a"), 0);
    }
}

/* ---- Who dies meanwhile ---- */

static void what_a_crash_leaves_is_taken_again(void **state)
{
    (void)state;
    /* It died before the rename ... */
    write_file("work/a", "abc");
    assert_int_equal(link("work/a", "store/tmp/put-1-0123456789abcdef"), 0);
    assert_int_equal(chmod("work/a", 0444), 0);
    struct cas_digest digest;
    assert_int_equal(cas_put_own_file(cas, "work/a", &digest, NULL, NULL), MLQ_OK);
    assert_file(ABC_OBJECT, "abc");
    assert_int_equal(count_temps(), 1); /* it is removed in a day */
    /* ... and behind it. */
    assert_int_equal(unlink("store/tmp/put-1-0123456789abcdef"), 0);
    assert_int_equal(unlink(ABC_OBJECT), 0);
    assert_int_equal(link("work/a", ABC_OBJECT), 0);
    digest = take("work/a");
    assert_true(is_same("work/a", ABC_OBJECT));
    assert_int_equal(cas_fetch(cas, &digest, "work/copy", NULL), MLQ_OK);
}

static void a_kill_at_any_moment_leaves_all_or_nothing(void **state)
{
    (void)state;
    struct mlq_prng prng;
    mlq_prng_seed(&prng, 1);
    for (int i = 0; i < KILLS; i++) {
        char text[32];
        (void)snprintf(text, sizeof text, "object %d", i);
        write_file("work/a", text);
        pid_t taker = fork();
        assert_true(taker >= 0);
        if (taker == 0) {
            struct cas_digest ignored;
            _exit(cas_put_own_file(cas, "work/a", &ignored, NULL, NULL) == MLQ_OK ? 0 : 1);
        }
        int64_t spin = (int64_t)mlq_prng_below(&prng, 2000);
        for (volatile int64_t at = 0; at < spin * 1000; at++) {
        }
        (void)kill(taker, SIGKILL);
        assert_int_equal(waitpid(taker, NULL, 0), taker);
        struct cas_digest digest;
        uint64_t bytes = 0;
        assert_int_equal(cas_put_own_file(cas, "work/a", &digest, &bytes, NULL), MLQ_OK);
        assert_int_equal(bytes, strlen(text));
        assert_int_equal(cas_fetch(cas, &digest, "work/copy", NULL), MLQ_OK);
        assert_file("work/copy", text);
        assert_int_equal(unlink("work/copy"), 0);
        assert_int_equal(unlink("work/a"), 0);
    }
}

/* ---- Folders ---- */

static void the_files_of_a_folder_are_taken(void **state)
{
    (void)state;
    assert_int_equal(mlq_fs_make_dirs("work/out/in", 0755, NULL), MLQ_OK);
    write_file("work/out/in/a", "abc");
    write_file("work/out/run", "run");
    assert_int_equal(chmod("work/out/run", 0755), 0);
    struct cas_digest digest;
    struct cas_digest again;
    uint64_t bytes = 0;
    assert_int_equal(cas_put_own_tree(cas, "work/out", &digest, &bytes, NULL), MLQ_OK);
    assert_int_equal(bytes, 6);
    assert_true(is_same("work/out/in/a", ABC_OBJECT));
    assert_int_equal(look("work/out/run").st_nlink, 1); /* its mode would be lost */
    assert_int_equal(cas_fetch_tree(cas, &digest, "work/back", false, NULL), MLQ_OK);
    assert_int_equal(look("work/back/run").st_mode & 07777, 0555);
    assert_int_equal(look("work/back/in/a").st_mode & 07777, 0444);
    assert_int_equal(cas_put_own_tree(cas, "work/out", &again, &bytes, NULL), MLQ_OK);
    assert_true(cas_digest_eq(&digest, &again));
}

/* ---- Lending ---- */

static void what_is_lent_is_the_object(void **state)
{
    (void)state;
    write_file("work/a", "abc");
    struct cas_digest digest = take("work/a");
    assert_int_equal(cas_fetch_link(cas, &digest, "work/lent", NULL), MLQ_OK);
    assert_true(S_ISLNK(look("work/lent").st_mode));
    char *real = realpath("work/lent", NULL);
    assert_non_null(real);
    assert_true(is_same(real, ABC_OBJECT));
    free(real);
    assert_file("work/lent", "abc");
    assert_int_equal(cas_fetch_link(cas, &digest, "work/lent", NULL), MLQ_EEXIST);
    /* Who clears the folder away does not reach the object. */
    assert_int_equal(mlq_fs_remove_tree("work", NULL), MLQ_OK);
    assert_file(ABC_OBJECT, "abc");
}

static void a_damaged_object_is_not_lent(void **state)
{
    (void)state;
    write_file("work/a", "abc");
    struct cas_digest digest = take("work/a");
    assert_int_equal(chmod(ABC_OBJECT, 0644), 0);
    write_file(ABC_OBJECT, "abd");
    struct mlq_err err = MLQ_ERR_INIT;
    assert_int_equal(cas_fetch_link(cas, &digest, "work/lent", &err), MLQ_ECORRUPT);
    assert_non_null(strstr(err.text, "damaged"));
    assert_int_equal(unlink(ABC_OBJECT), 0);
    assert_int_equal(cas_fetch_link(cas, &digest, "work/lent", NULL), MLQ_ENOENT);
    assert_false(mlq_fs_exists("work/lent"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_file_that_is_taken_is_the_object),
        TEST(a_damaged_object_is_replaced),
        TEST(a_file_with_another_name_is_copied),
        TEST(a_file_that_is_open_to_write_is_copied),
        TEST(a_file_that_is_mapped_to_write_is_copied),
        TEST(a_file_of_another_user_is_copied),
        TEST(links_and_devices_are_refused),
        TEST(another_file_system_means_a_copy),
        TEST(who_writes_while_it_is_taken_changes_no_object),
        TEST(two_take_it_at_once),
        TEST(what_a_crash_leaves_is_taken_again),
        TEST(a_kill_at_any_moment_leaves_all_or_nothing),
        TEST(the_files_of_a_folder_are_taken),
        TEST(what_is_lent_is_the_object),
        TEST(a_damaged_object_is_not_lent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
