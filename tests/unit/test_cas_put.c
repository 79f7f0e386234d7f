/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Large files are read once on their way into the store, and not written there again; whoever
 * changes them meanwhile, wherever the process dies and whatever the disk has no room for.
 */
#include "tests/unit/cm.h"

#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/artifact/cas_part.h"
#include "lib/artifact/sha256.h"
#include "lib/base/ownership.h"
#include "lib/base/prng.h"
#include "lib/sys/mem.h"
#include "tests/unit/cas_store.h"

#define BIG_BYTES (2 * SHA256_LONG_BYTES + 4097)
#define KILLS     15

static struct cas_digest of_big; /* what make_big wrote */

static void make_big(unsigned seed)
{
    char *data = mlq_alloc(BIG_BYTES);
    for (size_t i = 0; i < BIG_BYTES; i++) {
        data[i] = (char)(i * 2654435761u >> 13);
    }
    (void)snprintf(data, 32, "%u", seed);
    assert_int_equal(mlq_fs_write_whole("work/big", (struct mlq_str){data, BIG_BYTES}, 0644, NULL),
                     MLQ_OK);
    sha256_of(data, BIG_BYTES, &of_big);
    mlq_free(data);
}

static int put_big(struct cas_digest *digest)
{
    return cas_put_file(cas, "work/big", digest, NULL, NULL, NULL, NULL);
}

static size_t count_of(const char *pattern)
{
    glob_t found;
    size_t count = glob(pattern, 0, NULL, &found) == 0 ? found.gl_pathc : 0;
    globfree(&found);
    return count;
}

static void forget_all(void)
{
    glob_t found;
    assert_int_equal(glob("store/tmp/" CAS_KNOWN_PREFIX "*", 0, NULL, &found), 0);
    assert_int_equal(found.gl_pathc, 1);
    assert_int_equal(truncate(found.gl_pathv[0], 0), 0);
    globfree(&found);
}

/* The one object there is. */
static struct stat look(void)
{
    glob_t found;
    struct stat status;
    assert_int_equal(glob("store/objects/*/*", 0, NULL, &found), 0);
    assert_int_equal(found.gl_pathc, 1);
    assert_int_equal(stat(found.gl_pathv[0], &status), 0);
    globfree(&found);
    return status;
}

static void assert_whole(const struct cas_digest *digest)
{
    assert_int_equal(cas_fetch(cas, digest, "work/copy", NULL), MLQ_OK);
    assert_int_equal(unlink("work/copy"), 0);
    assert_int_equal(count_of("store/tmp/" CAS_TEMP_PREFIX "*"), 0);
}

/* Whether the store was written to by `put_big`. */
static bool does_put_write(struct cas_digest *digest)
{
    int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    assert_true(watch >= 0 && inotify_add_watch(watch, "store/tmp", IN_CREATE) >= 0);
    assert_int_equal(put_big(digest), MLQ_OK);
    struct pollfd came = {.fd = watch, .events = POLLIN};
    bool has_come = poll(&came, 1, 0) > 0;
    close(watch);
    return has_come;
}

static void a_large_file_is_copied_whole(void **state)
{
    (void)state;
    struct cas_digest digest;
    make_big(1);
    assert_true(does_put_write(&digest));
    assert_true(cas_digest_eq(&digest, &of_big));
    assert_whole(&digest);
    struct stat status;
    assert_int_equal(stat("work/big", &status), 0);
    assert_int_equal(status.st_nlink, 1);
    assert_int_equal(status.st_mode & 07777, 0644);
    assert_int_equal(look().st_mode & 07777, 0444);
    /* Its owner may go on writing. */
    int fd = open("work/big", O_WRONLY | O_NONBLOCK);
    assert_true(fd >= 0);
    close(fd);
}

static void the_same_file_is_not_written_again(void **state)
{
    (void)state;
    struct cas_digest first;
    struct cas_digest again;
    make_big(1);
    assert_int_equal(put_big(&first), MLQ_OK);
    assert_false(does_put_write(&again));
    assert_true(cas_digest_eq(&first, &again));
    cas->known.trust_ns = 0; /* long afterwards, too */
    assert_false(does_put_write(&again));
    /* Where nothing says that it is there, what was written is thrown away. */
    struct stat before = look();
    forget_all();
    assert_true(does_put_write(&again));
    assert_int_equal(look().st_ino, before.st_ino);
    assert_whole(&again);
}

static void count_progress(void *context, uint64_t done, uint64_t total)
{
    uint64_t *last = context;
    assert_true(done > *last && done <= total);
    *last = done;
}

/* That it looks the same is no more than a hint. */
static void a_file_that_looks_the_same_is_read(void **state)
{
    (void)state;
    struct cas_digest digest;
    struct stat status;
    make_big(1);
    assert_int_equal(put_big(&digest), MLQ_OK);
    assert_int_equal(stat("work/big", &status), 0);
    const struct timespec times[] = {status.st_atim, status.st_mtim};
    int fd = open("work/big", O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "other", 5, BIG_BYTES / 2), 5);
    assert_int_equal(futimens(fd, times), 0);
    close(fd);
    struct cas_digest other;
    uint64_t bytes;
    uint64_t seen = 0;
    assert_int_equal(cas_put_file(cas, "work/big", &digest, &bytes, count_progress, &seen, NULL),
                     MLQ_OK);
    assert_int_equal(seen, BIG_BYTES); /* once, though it is hashed before it is copied */
    assert_int_equal(cas_digest_file("work/big", &other, &bytes, NULL), MLQ_OK);
    assert_true(cas_digest_eq(&digest, &other));
    assert_false(cas_digest_eq(&digest, &of_big));
    assert_whole(&digest);
}

/* The object goes, or is damaged, while everything says that it is there. */
static void what_was_there_is_put_again(void **state)
{
    (void)state;
    struct cas_digest digest;
    make_big(1);
    assert_int_equal(put_big(&digest), MLQ_OK);
    glob_t found;
    assert_int_equal(glob("store/objects/*/*", 0, NULL, &found), 0);
    assert_int_equal(chmod(found.gl_pathv[0], 0600), 0);
    assert_int_equal(truncate(found.gl_pathv[0], 1), 0);
    assert_int_equal(put_big(&digest), MLQ_OK);
    assert_whole(&digest);
    assert_int_equal(unlink(found.gl_pathv[0]), 0);
    assert_int_equal(put_big(&digest), MLQ_OK);
    assert_whole(&digest);
    globfree(&found);
}

/* ... and when a byte of it is another, which is seen as soon as nobody has to be believed. */
static void what_was_damaged_is_put_again(void **state)
{
    (void)state;
    const off_t places[] = {0, SHA256_PIECE_BYTES / 3, BIG_BYTES - 1, BIG_BYTES};
    for (size_t i = 0; i < MLQ_COUNT_OF(places); i++) {
        struct cas_digest digest;
        make_big(1);
        assert_int_equal(put_big(&digest), MLQ_OK);
        glob_t found;
        assert_int_equal(glob("store/objects/*/*", 0, NULL, &found), 0);
        assert_int_equal(chmod(found.gl_pathv[0], 0600), 0);
        int fd = open(found.gl_pathv[0], O_RDWR | O_CLOEXEC);
        char byte = 0;
        assert_int_equal(pread(fd, &byte, 1, places[i]), places[i] < BIG_BYTES ? 1 : 0);
        byte ^= 1;
        assert_int_equal(pwrite(fd, &byte, 1, places[i]), 1);
        close(fd);
        assert_true(does_put_write(&digest));
        assert_whole(&digest);
        globfree(&found);
    }
}

/* As long as it is put. */
static void keep_writing(const char *path)
{
    struct mlq_prng prng;
    mlq_prng_seed(&prng, 1);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    while (fd >= 0) {
        uint64_t chance = mlq_prng_next(&prng);
        if (pwrite(fd, &chance, sizeof chance, (off_t)(chance % BIG_BYTES)) < 0) {
            break;
        }
    }
    _exit(1);
}

static void who_writes_meanwhile_changes_no_object(void **state)
{
    (void)state;
    make_big(1);
    pid_t writer = fork();
    assert_true(writer >= 0);
    if (writer == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        keep_writing("work/big");
    }
    for (int i = 0; i < 10; i++) {
        struct cas_digest digest;
        assert_int_equal(put_big(&digest), MLQ_OK);
        assert_whole(&digest);
    }
    assert_int_equal(kill(writer, SIGKILL), 0);
    assert_int_equal(waitpid(writer, NULL, 0), writer);
}

static void progress_is_told_of_one_pass(void **state)
{
    (void)state;
    struct cas_digest digest;
    make_big(1);
    for (int i = 0; i < 2; i++) {
        uint64_t seen = 0;
        uint64_t bytes = 0;
        assert_int_equal(
            cas_put_file(cas, "work/big", &digest, &bytes, count_progress, &seen, NULL), MLQ_OK);
        assert_int_equal(seen, BIG_BYTES);
        assert_int_equal(bytes, BIG_BYTES);
    }
}

/* By a process that may write no large file, as on a full disk. False: it cannot, and `text` says
 * why. */
static bool can_put_without_room(char *text, size_t bytes)
{
    int told[2];
    int status = -1;
    assert_int_equal(pipe(told), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit little = {1u << 20, 1u << 20};
        struct cas_digest digest;
        struct mlq_err err = MLQ_ERR_INIT;
        (void)signal(SIGXFSZ, SIG_IGN);
        int rc = setrlimit(RLIMIT_FSIZE, &little) == 0
                     ? cas_put_file(cas, "work/big", &digest, NULL, NULL, NULL, &err)
                     : MLQ_EINVAL;
        (void)!write(told[1], err.text, strlen(err.text));
        _exit(rc == MLQ_OK ? 0 : 1);
    }
    close(told[1]);
    ssize_t got = read(told[0], text, bytes - 1);
    text[got < 0 ? 0 : got] = '\0';
    close(told[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status) == 0;
}

static void without_room_what_is_there_is_put_nonetheless(void **state)
{
    (void)state;
    char text[256];
    struct cas_digest digest;
    make_big(1);
    assert_false(can_put_without_room(text, sizeof text));
    assert_non_null(strstr(text, "work/big"));
    assert_non_null(strstr(text, "too large"));
    assert_int_equal(count_of("store/tmp/" CAS_TEMP_PREFIX "*"), 0);
    assert_int_equal(count_of("store/objects/*/*"), 0);
    assert_int_equal(put_big(&digest), MLQ_OK);
    forget_all(); /* so that nothing says that it is there */
    assert_true(can_put_without_room(text, sizeof text));
    assert_int_equal(count_of("store/tmp/" CAS_TEMP_PREFIX "*"), 0);
}

static void a_kill_at_any_moment_leaves_all_or_nothing(void **state)
{
    (void)state;
    struct mlq_prng prng;
    mlq_prng_seed(&prng, 1);
    for (unsigned i = 0; i < KILLS; i++) {
        make_big(i);
        pid_t putter = fork();
        assert_true(putter >= 0);
        if (putter == 0) {
            struct cas_digest ignored;
            _exit(put_big(&ignored) == MLQ_OK ? 0 : 1);
        }
        int64_t spin = (int64_t)mlq_prng_below(&prng, 20000);
        for (volatile int64_t at = 0; at < spin * 1000; at++) {
        }
        (void)kill(putter, SIGKILL);
        assert_int_equal(waitpid(putter, NULL, 0), putter);
        int rc = cas_fetch(cas, &of_big, "work/copy", NULL);
        assert_true(rc == MLQ_OK || rc == MLQ_ENOENT);
        (void)unlink("work/copy");
        struct cas_digest digest;
        assert_int_equal(put_big(&digest), MLQ_OK);
        assert_true(cas_digest_eq(&digest, &of_big));
        assert_int_equal(cas_fetch(cas, &digest, "work/copy", NULL), MLQ_OK);
        assert_int_equal(unlink("work/copy"), 0);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_large_file_is_copied_whole),
        TEST(the_same_file_is_not_written_again),
        TEST(a_file_that_looks_the_same_is_read),
        TEST(what_was_there_is_put_again),
        TEST(what_was_damaged_is_put_again),
        TEST(who_writes_meanwhile_changes_no_object),
        TEST(progress_is_told_of_one_pass),
        TEST(without_room_what_is_there_is_put_nonetheless),
        TEST(a_kill_at_any_moment_leaves_all_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
