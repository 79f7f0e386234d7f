/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * An object that was hashed a short while ago is not hashed again, for as long as its file is the same: that it was
 * not is seen by bytes that were changed with the time of modification set back, which nothing but a hash notices.
 */
#include "tests/unit/cm.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/artifact/cas_known.h"
#include "lib/base/ownership.h"
#include "lib/sys/clock.h"
#include "lib/sys/mem.h"
#include "tests/unit/cas_store.h"

#define BYTES (CAS_KNOWN_BYTES_MIN + 1)

static struct cas_known *known;
static char object[128];

static int setup_known(void **state)
{
    int rc = setup(state);
    known = cas_known_create(CAS_KNOWN_NS);
    cas_use_known(cas, known);
    return rc;
}

static int teardown_known(void **state)
{
    int rc = teardown(state);
    cas_known_destroy(&known);
    return rc;
}

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

static struct stat look(void)
{
    struct stat status;
    assert_int_equal(stat(object, &status), 0);
    return status;
}

/* Until a change of the file has another time than the last one. */
static void let_it_settle(void)
{
    struct stat status = look();
    int64_t changed_us = (int64_t)status.st_mtim.tv_sec * 1000000 + status.st_mtim.tv_nsec / 1000;
    while (mlq_clock_wall_us() - changed_us < 50000) {
    }
}

static struct cas_digest put(size_t bytes)
{
    struct cas_digest digest;
    write_file("work/file", bytes);
    assert_int_equal(cas_put_file(cas, "work/file", &digest, NULL, NULL, NULL, NULL), MLQ_OK);
    name_object(&digest);
    let_it_settle();
    return digest;
}

static int fetch(const struct cas_digest *digest)
{
    (void)unlink("work/link");
    return cas_fetch_link(cas, digest, "work/link", NULL);
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

static void what_was_verified_is_known(void **state)
{
    (void)state;
    struct cas_digest digest = put(BYTES);
    assert_int_equal(fetch(&digest), MLQ_OK);
    damage(true);
    assert_int_equal(fetch(&digest), MLQ_OK);
    cas_use_known(cas, NULL);
    assert_int_equal(fetch(&digest), MLQ_ECORRUPT);
}

static void what_was_made_is_known(void **state)
{
    (void)state;
    struct cas_digest digest;
    struct stat status;
    write_file("work/own", BYTES);
    assert_int_equal(stat("work/own", &status), 0);
    (void)snprintf(object, sizeof object, "work/own");
    let_it_settle();
    assert_int_equal(cas_put_own_file(cas, "work/own", &digest, NULL, NULL), MLQ_OK);
    name_object(&digest);
    assert_int_equal(look().st_ino, status.st_ino);
    assert_int_equal(unlink("work/own"), 0);
    damage(true);
    assert_int_equal(fetch(&digest), MLQ_OK);
}

static void what_was_written_to_is_hashed(void **state)
{
    (void)state;
    struct cas_digest digest = put(BYTES);
    assert_int_equal(fetch(&digest), MLQ_OK);
    damage(false);
    assert_int_equal(fetch(&digest), MLQ_ECORRUPT);
}

static void what_was_replaced_is_hashed(void **state)
{
    (void)state;
    struct cas_digest digest = put(BYTES);
    assert_int_equal(fetch(&digest), MLQ_OK);
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

static void it_is_believed_for_a_while(void **state)
{
    (void)state;
    struct cas_known *forgetful = cas_known_create(0);
    struct cas_digest digest = put(BYTES);
    cas_use_known(cas, forgetful);
    assert_int_equal(fetch(&digest), MLQ_OK);
    damage(true);
    assert_int_equal(fetch(&digest), MLQ_ECORRUPT);
    cas_known_destroy(&forgetful);
}

/* What was written to a moment ago may be again without another time. */
static void the_unsettled_is_not_remembered(void **state)
{
    (void)state;
    struct cas_digest digest = put(BYTES);
    struct stat status = look();
    cas_known_add(known, &digest, &status, &status);
    assert_true(cas_known_has(known, &digest, &status));
    struct stat later = status;
    later.st_mtim.tv_nsec++;
    assert_false(cas_known_has(known, &digest, &later));
    cas_known_destroy(&known);
    known = cas_known_create(CAS_KNOWN_NS);
    cas_known_add(known, &digest, &status, &later);
    assert_false(cas_known_has(known, &digest, &status));
    int64_t now_us = mlq_clock_wall_us();
    const struct timespec times[] = {
        {.tv_sec = now_us / 1000000, .tv_nsec = now_us % 1000000 * 1000 + 1}, /* of this moment */
        {.tv_sec = now_us / 1000000 - 2, .tv_nsec = 0},                      /* kept in whole seconds */
    };
    for (size_t i = 0; i < MLQ_COUNT_OF(times); i++) {
        status.st_mtim = times[i];
        cas_known_add(known, &digest, &status, &status);
        assert_false(cas_known_has(known, &digest, &status));
    }
}

/* The oldest goes when there are too many. */
static void it_is_bounded(void **state)
{
    (void)state;
    struct stat status = {.st_size = BYTES, .st_mtim = {.tv_sec = 1}};
    struct cas_digest digest = {{0}};
    for (uint32_t i = 0; i <= CAS_KNOWN_MAX; i++) {
        status.st_ino = i + 1;
        digest.sha256[0] = (uint8_t)i;
        cas_known_add(known, &digest, &status, &status);
    }
    for (uint32_t i = 0; i <= CAS_KNOWN_MAX; i++) {
        status.st_ino = i + 1;
        digest.sha256[0] = (uint8_t)i;
        assert_int_equal(cas_known_has(known, &digest, &status), i > 0);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_known, teardown_known)
    const struct CMUnitTest tests[] = {
        TEST(what_was_verified_is_known),
        TEST(what_was_made_is_known),
        TEST(what_was_written_to_is_hashed),
        TEST(what_was_replaced_is_hashed),
        TEST(small_ones_are_hashed),
        TEST(it_is_believed_for_a_while),
        TEST(the_unsettled_is_not_remembered),
        TEST(it_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
