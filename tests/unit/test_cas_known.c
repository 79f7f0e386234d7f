/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * An object that was hashed a short while ago, by whatever process of ours, is not hashed again,
 * for as long as its file is the same: that it was not is seen by bytes that were changed with the
 * time of modification set back, which nothing but a hash notices.
 */
#include "tests/unit/cm.h"

#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/artifact/cas_part.h"
#include "lib/base/ownership.h"
#include "lib/sys/clock.h"
#include "lib/sys/mem.h"
#include "tests/unit/cas_store.h"

#define BYTES   (CAS_KNOWN_BYTES_MIN + 1)
#define WRITERS 3

static char object[128];

static void write_file(const char *path, size_t bytes)
{
    char *text = mlq_alloc(bytes);
    memset(text, 'x', bytes);
    assert_int_equal(mlq_fs_write_whole(path, (struct mlq_str){text, bytes}, 0600, NULL), MLQ_OK);
    mlq_free(text);
}

static void name_object(const struct cas_digest *digest)
{
    char text[CAS_DIGEST_TEXT_BYTES];
    cas_digest_format(digest, text);
    const char *hex = text + strlen("sha256:");
    (void)snprintf(object, sizeof object, "store/objects/%.2s/%s", hex, hex + 2);
}

/* Of this boot and user. */
static void name_table(char path[256])
{
    glob_t found;
    assert_int_equal(glob("store/tmp/" CAS_KNOWN_PREFIX "*", 0, NULL, &found), 0);
    assert_int_equal(found.gl_pathc, 1);
    (void)snprintf(path, 256, "%s", found.gl_pathv[0]);
    globfree(&found);
}

static struct stat look(void)
{
    struct stat status;
    assert_int_equal(stat(object, &status), 0);
    return status;
}

static struct cas_digest put(size_t bytes)
{
    struct cas_digest digest;
    write_file("work/file", bytes);
    assert_int_equal(cas_put_file(cas, "work/file", &digest, NULL, NULL, NULL, NULL), MLQ_OK);
    name_object(&digest);
    return digest;
}

static int fetch_by(struct cas *reader, const struct cas_digest *digest)
{
    (void)unlink("work/link");
    return cas_fetch_link(reader, digest, "work/link", NULL);
}

static int fetch(const struct cas_digest *digest)
{
    return fetch_by(cas, digest);
}

/* By another process, which knows nothing but what lies in the store. */
static int fetch_elsewhere(const struct cas_digest *digest)
{
    int status = -1;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct cas *own = NULL;
        int rc = cas_open("store", &own, NULL);
        rc = rc == MLQ_OK ? fetch_by(own, digest) : rc;
        cas_close(&own);
        _exit(rc == MLQ_OK ? 0 : rc == MLQ_ECORRUPT ? 1 : 2);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
    return WEXITSTATUS(status) == 0 ? MLQ_OK : MLQ_ECORRUPT;
}

/* One byte becomes another. */
static void damage(bool is_time_kept)
{
    const struct stat before = look();
    const struct timespec times[] = {before.st_atim, before.st_mtim};
    assert_int_equal(chmod(object, 0600), 0);
    int fd = open(object, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "y", 1, 1000), 1);
    assert_int_equal(is_time_kept ? futimens(fd, times) : 0, 0);
    assert_int_equal(close(fd), 0);
}

static void what_was_put_is_known(void **state)
{
    (void)state;
    struct cas_digest digest = put(BYTES);
    damage(true);
    assert_int_equal(fetch_elsewhere(&digest), MLQ_OK);
    cas->known.trust_ns = 0;
    assert_int_equal(fetch(&digest), MLQ_ECORRUPT);
}

static void what_was_taken_is_known(void **state)
{
    (void)state;
    struct cas_digest digest;
    struct stat status;
    write_file("work/own", BYTES);
    assert_int_equal(stat("work/own", &status), 0);
    assert_int_equal(cas_put_own_file(cas, "work/own", &digest, NULL, NULL), MLQ_OK);
    name_object(&digest);
    assert_int_equal(look().st_ino, status.st_ino);
    assert_int_equal(unlink("work/own"), 0);
    damage(true);
    assert_int_equal(fetch_elsewhere(&digest), MLQ_OK);
}

static void what_was_verified_is_known(void **state)
{
    (void)state;
    struct cas_digest digest = put(BYTES);
    char table[256];
    name_table(table);
    assert_int_equal(truncate(table, 0), 0);
    assert_int_equal(fetch_elsewhere(&digest), MLQ_OK);
    damage(true);
    assert_int_equal(fetch(&digest), MLQ_OK);
    assert_int_equal(truncate(table, 0), 0);
    assert_int_equal(fetch(&digest), MLQ_ECORRUPT);
}

/* Nor is it read, when the store is given what it has. */
static void what_is_known_is_not_put_again(void **state)
{
    (void)state;
    struct cas_digest digest = put(BYTES);
    damage(true);
    struct stat before = look();
    (void)put(BYTES);
    assert_int_equal(look().st_ino, before.st_ino);
    cas->known.trust_ns = 0;
    (void)put(BYTES);
    assert_int_not_equal(look().st_ino, before.st_ino);
    assert_int_equal(fetch(&digest), MLQ_OK);
}

/* Whoever sees it: then putting it again mends it. */
static void what_was_seen_damaged_is_known_no_more(void **state)
{
    (void)state;
    struct cas_digest digest = put(BYTES);
    damage(true);
    assert_int_equal(cas_fetch(cas, &digest, "work/copy", NULL), MLQ_ECORRUPT);
    assert_int_equal(fetch_elsewhere(&digest), MLQ_ECORRUPT);
    (void)put(BYTES);
    assert_int_equal(fetch(&digest), MLQ_OK);
    assert_int_equal(cas_fetch(cas, &digest, "work/copy", NULL), MLQ_OK);
}

static void what_was_written_to_is_hashed(void **state)
{
    (void)state;
    struct cas_digest digest = put(BYTES);
    damage(false);
    assert_int_equal(fetch(&digest), MLQ_ECORRUPT);
}

static void what_was_replaced_is_hashed(void **state)
{
    (void)state;
    struct cas_digest digest = put(BYTES);
    const struct stat before = look();
    const struct timespec times[] = {before.st_atim, before.st_mtim};
    assert_int_equal(rename(object, "work/old"), 0);
    write_file(object, BYTES);
    damage(false);
    assert_int_equal(utimensat(AT_FDCWD, object, times, 0), 0);
    assert_int_equal(fetch(&digest), MLQ_ECORRUPT);
}

static void small_ones_are_hashed(void **state)
{
    (void)state;
    struct cas_digest digest = put(CAS_KNOWN_BYTES_MIN - 1);
    assert_int_equal(fetch(&digest), MLQ_OK);
    damage(true);
    assert_int_equal(fetch(&digest), MLQ_ECORRUPT);
}

/* What was written to a moment ago may be again without another time. */
static void the_unsettled_is_not_remembered(void **state)
{
    (void)state;
    struct cas_digest digest = {{1}};
    struct stat status = {.st_ino = 1, .st_size = BYTES, .st_mtim = {.tv_sec = 1}};
    struct stat later = status;
    later.st_mtim.tv_nsec++;
    cas_known_add(&cas->known, &digest, &status, &later);
    assert_false(cas_known_has(&cas->known, &digest, &status));
    assert_false(cas_known_has(&cas->known, &digest, &later));
    int64_t now_us = mlq_clock_wall_us();
    const struct timespec times[] = {
        {.tv_sec = now_us / 1000000, .tv_nsec = now_us % 1000000 * 1000 + 1}, /* of this moment */
        {.tv_sec = now_us / 1000000 - 2, .tv_nsec = 0}, /* kept in whole seconds */
    };
    for (size_t i = 0; i < MLQ_COUNT_OF(times); i++) {
        status.st_mtim = times[i];
        cas_known_add(&cas->known, &digest, &status, &status);
        assert_false(cas_known_has(&cas->known, &digest, &status));
    }
    status.st_mtim = (struct timespec){.tv_sec = 1};
    cas_known_add(&cas->known, &digest, &status, &status);
    assert_true(cas_known_has(&cas->known, &digest, &status));
}

/* What a file was when it was put, for as long as it looks the same. */
static void a_source_is_told_by_its_status(void **state)
{
    (void)state;
    const struct cas_digest digest = {{[31] = 7}};
    struct cas_digest found;
    struct stat status = {.st_ino = 1, .st_dev = 1, .st_size = BYTES, .st_mtim = {.tv_sec = 1}};
    assert_false(cas_known_source(&cas->known, &status, &found));
    cas_known_add_source(&cas->known, &status, &digest);
    assert_true(cas_known_source(&cas->known, &status, &found));
    assert_true(cas_digest_eq(&found, &digest));
    assert_false(cas_known_has(&cas->known, &digest, &status)); /* it is no object */
    struct stat others[] = {status, status, status, status};
    others[0].st_ino++;
    others[1].st_dev++;
    others[2].st_size++;
    others[3].st_mtim.tv_nsec++;
    for (size_t i = 0; i < MLQ_COUNT_OF(others); i++) {
        assert_false(cas_known_source(&cas->known, &others[i], &found));
    }
}

/* ---- The table ---- */

static void each_line_is_of_one_object(void **state)
{
    (void)state;
    struct stat status = {.st_ino = 1, .st_size = BYTES, .st_mtim = {.tv_sec = 1}};
    struct cas_digest one = {{[8] = 1}};
    struct cas_digest other = {{[8] = 2}}; /* of the same line */
    cas_known_add(&cas->known, &one, &status, &status);
    assert_true(cas_known_has(&cas->known, &one, &status));
    assert_false(cas_known_has(&cas->known, &other, &status));
    cas_known_add(&cas->known, &other, &status, &status);
    assert_false(cas_known_has(&cas->known, &one, &status));
    assert_true(cas_known_has(&cas->known, &other, &status));
    char table[256];
    struct stat size;
    name_table(table);
    for (unsigned i = 0; i < 4 * CAS_KNOWN_LINES; i++) {
        one.sha256[0] = (uint8_t)i;
        one.sha256[1] = (uint8_t)(i >> 8);
        cas_known_add(&cas->known, &one, &status, &status);
    }
    assert_int_equal(stat(table, &size), 0);
    assert_in_range(size.st_size, 1, CAS_KNOWN_LINES * 256);
}

/* As a crash or a writer in between may leave it, in any of its bytes. */
static void a_line_that_is_not_whole_says_nothing(void **state)
{
    (void)state;
    struct stat status = {.st_ino = 1, .st_size = BYTES, .st_mtim = {.tv_sec = 1}};
    struct cas_digest digest = {{0}};
    cas_known_add(&cas->known, &digest, &status, &status);
    char table[256];
    struct stat size;
    name_table(table);
    assert_int_equal(stat(table, &size), 0);
    int fd = open(table, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    for (off_t at = 0; at < size.st_size; at++) {
        char byte;
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 1;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        assert_false(cas_known_has(&cas->known, &digest, &status));
        byte ^= 1;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    }
    assert_true(cas_known_has(&cas->known, &digest, &status));
    assert_int_equal(ftruncate(fd, size.st_size - 1), 0);
    assert_false(cas_known_has(&cas->known, &digest, &status));
    close(fd);
}

/* A fresh reader believes what lies in the table as it is now. */
static int fetch_afresh(const struct cas_digest *digest)
{
    cas_close(&cas);
    assert_int_equal(cas_open("store", &cas, NULL), MLQ_OK);
    return fetch(digest);
}

static void nothing_is_believed_that_others_may_write(void **state)
{
    (void)state;
    struct cas_digest digest = put(BYTES);
    char table[256];
    name_table(table);
    damage(true);
    const mode_t modes[] = {0620, 0602};
    for (size_t i = 0; i < MLQ_COUNT_OF(modes); i++) {
        assert_int_equal(chmod(table, modes[i]), 0);
        assert_int_equal(fetch_afresh(&digest), MLQ_ECORRUPT);
    }
    assert_int_equal(chmod(table, 0600), 0);
    assert_int_equal(link(table, "work/second"), 0);
    assert_int_equal(fetch_afresh(&digest), MLQ_ECORRUPT);
    assert_int_equal(unlink(table), 0);
    assert_int_equal(symlink("../../work/second", table), 0);
    assert_int_equal(fetch_afresh(&digest), MLQ_ECORRUPT);
    assert_int_equal(rename("work/second", table), 0);
    if (geteuid() == 0) { /* only root can give a file away */
        assert_int_equal(chown(table, 65534, 65534), 0);
        assert_int_equal(fetch_afresh(&digest), MLQ_ECORRUPT);
        assert_int_equal(chown(table, 0, 0), 0);
    }
    assert_int_equal(fetch_afresh(&digest), MLQ_OK);
}

/* Whose name is in that of its table. */
static void another_machine_is_not_believed(void **state)
{
    (void)state;
    struct cas_digest digest = put(BYTES);
    char table[256];
    name_table(table);
    char *digit = table + strlen("store/tmp/" CAS_KNOWN_PREFIX);
    char own[256];
    char *boot = NULL;
    size_t len = 0;
    assert_int_equal(mlq_fs_read("/proc/sys/kernel/random/boot_id", 64, &boot, &len, NULL), MLQ_OK);
    assert_true(len > 30 && strncmp(digit, boot, len - 1) == 0);
    mlq_free(boot);
    (void)snprintf(own, sizeof own, "%s", table);
    *digit = *digit == '0' ? '1' : '0';
    assert_int_equal(rename(own, table), 0);
    damage(true);
    assert_int_equal(fetch_afresh(&digest), MLQ_ECORRUPT);
}

static struct stat status_of(unsigned number)
{
    return (struct stat){.st_ino = number, .st_size = BYTES, .st_mtim = {.tv_sec = 1}};
}

/* Of processes that write one line at once each is believed as it was, or not at all. */
static void lines_do_not_mix(void **state)
{
    (void)state;
    pid_t writers[WRITERS];
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = fork();
        assert_true(writers[i] >= 0);
        if (writers[i] == 0) {
            struct cas *own = NULL;
            struct stat status = status_of(i);
            struct cas_digest digest = {{[31] = (uint8_t)i}};
            int rc = cas_open("store", &own, NULL);
            for (unsigned n = 0; rc == MLQ_OK && n < 2000; n++) {
                cas_known_add(&own->known, &digest, &status, &status);
            }
            cas_close(&own);
            _exit(rc == MLQ_OK ? 0 : 1);
        }
    }
    unsigned ended = 0;
    unsigned known = 0;
    while (ended < WRITERS) {
        int status = -1;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        assert_true(pid == 0 || status == 0);
        ended += pid > 0 ? 1 : 0;
        known = 0;
        for (unsigned i = 0; i < WRITERS * WRITERS; i++) {
            struct stat written = status_of(i / WRITERS);
            struct cas_digest digest = {{[31] = (uint8_t)(i % WRITERS)}};
            bool is_known = cas_known_has(&cas->known, &digest, &written);
            assert_true(!is_known || i / WRITERS == i % WRITERS);
            known += is_known ? 1 : 0;
        }
    }
    assert_int_equal(known, 1); /* who came last */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_was_put_is_known),
        TEST(what_was_taken_is_known),
        TEST(what_was_verified_is_known),
        TEST(what_is_known_is_not_put_again),
        TEST(what_was_seen_damaged_is_known_no_more),
        TEST(what_was_written_to_is_hashed),
        TEST(what_was_replaced_is_hashed),
        TEST(small_ones_are_hashed),
        TEST(the_unsettled_is_not_remembered),
        TEST(a_source_is_told_by_its_status),
        TEST(each_line_is_of_one_object),
        TEST(a_line_that_is_not_whole_says_nothing),
        TEST(nothing_is_believed_that_others_may_write),
        TEST(another_machine_is_not_believed),
        TEST(lines_do_not_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
