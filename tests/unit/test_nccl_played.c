/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The plugin mlq_cuda.so with played libraries (tests/support/played_nccl.c): what it refuses, and
 * that it comes back in time whatever the library does. LD_LIBRARY_PATH leads to them.
 */
#include "tests/unit/cm.h"

#include <stdlib.h>

#include "tests/unit/coll_ranks.h"

/* Runs in a process of its own, since a library is loaded once in each. */
static int run(const char *play, rank_fn body)
{
    pid_t pid = fork();
    if (pid == 0) {
        (void)setenv("PLAYED_NCCL", play, 1);
        _exit(body(gang_of(COLL_NCCL, 0, 1, 0)));
    }
    return status_of(pid);
}

static int open_must_fail(struct coll_gang gang, int64_t timeout_ns, int code, const char *text)
{
    struct mlq_err err = MLQ_ERR_INIT;
    struct coll *coll = NULL;
    int64_t start_ns = mlq_clock_boot_ns();
    int rc = coll_open(&gang, timeout_ns, &coll, &err);
    int64_t took_ns = mlq_clock_boot_ns() - start_ns;
    if (rc != code || coll != NULL || strstr(err.text, text) == NULL ||
        took_ns > timeout_ns + SOON_NS) {
        (void)fprintf(stderr, "code %d after %lld ms: %s\n", rc,
                      (long long)(took_ns / MLQ_NS_PER_MS), err.text);
        return 1;
    }
    return 0;
}

static int open_no_device(struct coll_gang gang)
{
    (void)setenv("CUDA_VISIBLE_DEVICES", "", 1);
    return open_must_fail(gang, LIMIT_NS, MLQ_ENOTSUP, "resources: {gpus: 1}");
}

static int open_old(struct coll_gang gang)
{
    return open_must_fail(gang, LIMIT_NS, MLQ_ENOTSUP, "NCCL is 2.18.0, and needs to be 2.19.1");
}

static int open_never(struct coll_gang gang)
{
    return open_must_fail(gang, SHORT_NS, MLQ_ETIMEOUT, "init: not within its time");
}

static int open_fails(struct coll_gang gang)
{
    return open_must_fail(gang, LIMIT_NS, MLQ_ECONN, "the played wire is cut");
}

static int open_without_peer(struct coll_gang gang)
{
    gang.size = 2;
    gang.port = free_port();
    gang.rank = 1;
    return open_must_fail(gang, SHORT_NS / 5, MLQ_ETIMEOUT, "rank 0 is not there");
}

static void what_is_missing_is_said_before_the_first_step(void **state)
{
    (void)state;
    assert_int_equal(run("good", open_no_device), 0);
    assert_int_equal(run("old", open_old), 0);
    assert_int_equal(run("good", open_without_peer), 0);
}

static int open_never_aborted(struct coll_gang gang)
{
    struct coll *coll = NULL;
    pthread_t thread;
    CHECK(coll_create(&gang, &coll, NULL) == 0);
    CHECK(pthread_create(&thread, NULL, abort_when_it_waits, coll) == 0);
    CHECK(coll_meet(coll, LIMIT_NS, NULL) == MLQ_ECANCELED);
    CHECK(pthread_join(thread, NULL) == 0);
    coll_close(&coll);
    return 0;
}

static void an_init_that_never_ends_is_given_up_in_time(void **state)
{
    (void)state;
    assert_int_equal(run("never", open_never), 0);
    assert_int_equal(run("never", open_never_aborted), 0);
    assert_int_equal(run("fails", open_fails), 0);
}

static int open_stuck(struct coll_gang gang)
{
    struct coll *coll = NULL;
    (void)coll_open(&gang, SHORT_NS / 10, &coll, NULL);
    return 1; /* never comes here */
}

static void an_abort_that_gets_stuck_ends_the_process(void **state)
{
    (void)state;
    int64_t start_ns = mlq_clock_boot_ns();
    assert_int_equal(run("stuck", open_stuck), COLL_EXIT_STUCK);
    assert_in_range(mlq_clock_boot_ns() - start_ns, 0, SOON_NS);
}

static void bytes_of_one_rank_arrive(void **state)
{
    (void)state;
    assert_int_equal(run("good", move_bytes), 0);
}

static int wait_for_kernel(struct coll_gang gang)
{
    struct mlq_err err = MLQ_ERR_INIT;
    struct coll *coll = NULL;
    CHECK(open_or_say(&gang, &coll) == 0);
    CHECK(coll_barrier(coll, SHORT_NS, &err) == MLQ_ETIMEOUT);
    CHECK(strstr(err.text, "not within its time") != NULL);
    coll_close(&coll);
    return 0;
}

static int take_too_much(struct coll_gang gang)
{
    struct mlq_err err = MLQ_ERR_INIT;
    struct coll *coll = NULL;
    CHECK(open_or_say(&gang, &coll) == 0);
    CHECK(coll_barrier(coll, LIMIT_NS, &err) == MLQ_EIO);
    CHECK(strstr(err.text, "memory for a message") != NULL);
    coll_close(&coll);
    return 0;
}

static void a_call_that_hangs_or_fails_comes_back(void **state)
{
    (void)state;
    assert_int_equal(run("hangs", wait_for_kernel), 0);
    assert_int_equal(run("no-memory", take_too_much), 0);
    assert_int_equal(run("hangs", wait_and_be_aborted), 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_missing_is_said_before_the_first_step),
        cmocka_unit_test(bytes_of_one_rank_arrive),
        cmocka_unit_test(an_init_that_never_ends_is_given_up_in_time),
        cmocka_unit_test(an_abort_that_gets_stuck_ends_the_process),
        cmocka_unit_test(a_call_that_hangs_or_fails_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
