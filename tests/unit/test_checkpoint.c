/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A checkpoint folder is one task's, is kept from whoever comes late, and serves another task only
 * when it says nothing.
 */
#include "tests/unit/cm.h"

#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/ownership.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "worker/checkpoint.h"

static struct mlq_region *region;
static struct checkpoint_spares spares;
static const char *path;
static bool used_spare;

static int open_as(uint64_t job, uint64_t attempt, uint32_t restarts, const char *spare)
{
    const struct msg_assignment a = {.job = job,
                                     .stage = 0,
                                     .index = 7,
                                     .ranks = 1,
                                     .member = {.attempt = attempt},
                                     .restart_count = restarts};
    return checkpoint_open("store", &a, spare, region, &path, &used_spare, NULL);
}

static ino_t inode_of(const char *name)
{
    struct stat status;
    assert_int_equal(stat(name, &status), 0);
    return status.st_ino;
}

/* At the end of a task that had it alone. */
static bool keep(void)
{
    uint32_t number;
    const char *place = checkpoint_place(&spares, &number, region);
    assert_non_null(place);
    bool is_kept = checkpoint_keep(path, place);
    checkpoint_settle(&spares, number, is_kept);
    assert_int_equal(mlq_fs_exists(place), is_kept);
    assert_int_equal(mlq_fs_exists(path), !is_kept);
    return is_kept;
}

static int open_next(uint64_t job, uint32_t restarts)
{
    uint32_t number;
    int rc = open_as(job, 100, restarts, checkpoint_take(&spares, &number, region));
    checkpoint_settle(&spares, number, !used_spare);
    return rc;
}

static void test_serves_again(void **state)
{
    (void)state;
    uint32_t number;
    assert_null(checkpoint_take(&spares, &number, region));
    assert_int_equal(number, CHECKPOINT_NONE);
    assert_int_equal(open_as(1, 10, 0, NULL), 0);
    assert_string_equal(path, "store/checkpoints/1-0-7");
    ino_t inode = inode_of(path);
    assert_true(keep());
    assert_int_equal(open_next(2, 0), 0);
    assert_true(used_spare);
    assert_string_equal(path, "store/checkpoints/2-0-7");
    assert_int_equal(inode_of(path), inode);
    assert_null(checkpoint_take(&spares, &number, region));
}

/* A task's own one is there already, or has been: nothing takes its place. */
static void test_is_there(void **state)
{
    (void)state;
    uint32_t number;
    assert_int_equal(open_as(1, 10, 0, NULL), 0);
    assert_true(keep());
    assert_int_equal(open_as(2, 11, 0, NULL), 0);
    ino_t inode = inode_of(path);
    assert_int_equal(open_next(2, 0), 0);
    assert_false(used_spare);
    assert_int_equal(inode_of(path), inode);
    assert_int_equal(open_next(3, 1), 0); /* not the first attempt: it must leave its number */
    assert_false(used_spare);
    assert_true(mlq_fs_exists("store/checkpoints/3-0-7/.fence"));
    assert_non_null(checkpoint_take(&spares, &number, region)); /* still there */
}

static void test_fence(void **state)
{
    (void)state;
    assert_int_equal(open_as(1, 20, 1, NULL), 0);
    assert_int_equal(open_as(1, 20, 1, NULL), 0); /* another rank */
    assert_int_equal(open_as(1, 21, 2, NULL), 0);
    assert_int_equal(open_as(1, 20, 1, NULL), MLQ_EFENCED);
    assert_int_equal(open_as(1, 19, 0, NULL), MLQ_EFENCED);
    assert_false(keep()); /* another attempt may have it */
}

/* One attempt ends and gives its folder away while the next one enters it. */
#define RACES 2000u
#define PLACE "store/checkpoints/.spare-race"

static void *keep_it(void *context)
{
    (void)checkpoint_keep(context, PLACE);
    return NULL;
}

static void test_next_attempt_comes_meanwhile(void **state)
{
    (void)state;
    for (uint64_t job = 1; job <= RACES; job++) {
        pthread_t thread;
        assert_int_equal(open_as(job, 10, 0, NULL), 0);
        char *name = mlq_strdup(path), *fence = mlq_fs_join(path, ".fence");
        assert_int_equal(pthread_create(&thread, NULL, keep_it, name), 0);
        int rc = open_as(job, 11, 1, NULL);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(rc, 0);
        assert_true(mlq_fs_exists(fence));
        (void)mlq_fs_remove_tree(PLACE, NULL);
        (void)mlq_fs_remove_tree(name, NULL);
        mlq_free(name);
        mlq_free(fence);
    }
}

static void test_not_as_it_was(void **state)
{
    (void)state;
    assert_int_equal(open_as(1, 10, 0, NULL), 0);
    assert_int_equal(mlq_fs_write_whole("store/checkpoints/1-0-7/state", MLQ_STR("x"), 0600, NULL),
                     0);
    assert_false(keep());
    assert_int_equal(unlink("store/checkpoints/1-0-7/state"), 0);
    assert_int_equal(chmod(path, 0755), 0);
    assert_false(keep());
    assert_int_equal(chmod(path, 0700), 0);
    assert_int_equal(rename(path, "elsewhere"), 0);
    assert_int_equal(symlink("../../elsewhere", path), 0);
    assert_false(checkpoint_keep(path, "store/checkpoints/.spare-x"));
    assert_int_equal(unlink(path), 0);
    assert_false(checkpoint_keep(path, "store/checkpoints/.spare-x")); /* it is gone */
    assert_int_equal(rename("elsewhere", path), 0);
    assert_true(keep());
}

static void test_book(void **state)
{
    (void)state;
    uint32_t numbers[CHECKPOINT_SPARES_MAX];
    uint32_t more;
    for (unsigned i = 0; i < CHECKPOINT_SPARES_MAX; i++) {
        const char *place = checkpoint_place(&spares, &numbers[i], region);
        assert_int_equal(mkdir(place, 0700), 0);
    }
    assert_null(checkpoint_place(&spares, &more, region));
    checkpoint_settle(&spares, numbers[0], false);
    assert_non_null(checkpoint_place(&spares, &more, region));
    assert_int_equal(more, numbers[0]);
    for (unsigned i = 0; i < CHECKPOINT_SPARES_MAX; i++) {
        checkpoint_settle(&spares, numbers[i], true);
    }
    assert_null(checkpoint_place(&spares, &more, region));
    for (unsigned i = 0; i < CHECKPOINT_SPARES_MAX; i++) {
        assert_non_null(checkpoint_take(&spares, &more, region));
    }
    assert_null(checkpoint_take(&spares, &more, region));
    /* What an earlier run of this worker left goes, what is another's stays. */
    struct checkpoint_spares other;
    checkpoint_spares_init(&other, "store", "another", region);
    const char *foreign = checkpoint_place(&other, &more, region);
    assert_int_equal(mkdir(foreign, 0700), 0);
    checkpoint_spares_init(&spares, "store", "key", region);
    const char *place = checkpoint_place(&spares, &more, region);
    assert_non_null(place);
    assert_false(mlq_fs_exists(place));
    assert_true(mlq_fs_exists(foreign));
}

static int setup(void **state)
{
    (void)state;
    region = mlq_region_create();
    (void)mlq_fs_remove_tree("store", NULL);
    (void)mlq_fs_remove_tree("elsewhere", NULL);
    assert_int_equal(mlq_fs_make_dirs("store/checkpoints", 0700, NULL), 0);
    checkpoint_spares_init(&spares, "store", "key", region);
    return 0;
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
        cmocka_unit_test_setup_teardown(test_is_there, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fence, setup, teardown),
        cmocka_unit_test_setup_teardown(test_next_attempt_comes_meanwhile, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_as_it_was, setup, teardown),
        cmocka_unit_test_setup_teardown(test_book, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
