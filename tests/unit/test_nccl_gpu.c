/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * NCCL on a real GPU. With one GPU a gang of several ranks needs a trick that NVIDIA does not
 * promise: each process says that it is a machine of its own (NCCL_HOSTID), and bytes go over
 * loopback. Where that does not work, the tests of several ranks say so and are skipped.
 *
 *     test_nccl_gpu         exits with 77, and says why on its last line, where there is no GPU
 */
#include "tests/unit/cm.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>

#include "tests/unit/coll_ranks.h"

#define INIT_NS (60 * MLQ_NS_PER_S) /* loading kernels and connecting takes seconds */

static int rounds_fd[2]; /* each rank writes a byte when its rounds run */

/* Makes the ranks look like machines of their own; in the rank's process, before NCCL is loaded. */
static void pretend_machine(const struct coll_gang *gang)
{
    char host[32];
    (void)snprintf(host, sizeof(host), "mlq-test-%u", gang->rank);
    (void)setenv("NCCL_HOSTID", host, 1);
    (void)setenv("NCCL_IB_DISABLE", "1", 1);
    (void)setenv("NCCL_NVLS_ENABLE", "0", 1);
    (void)setenv("NCCL_MAX_CTAS", "2", 1);
}

static void say(const char *what, const struct coll_gang *gang, int64_t start_ns)
{
    (void)fprintf(stderr, "%s: rank %u of %u: %lld ms\n", what, gang->rank, gang->size,
                  (long long)((mlq_clock_boot_ns() - start_ns) / MLQ_NS_PER_MS));
}

/* ---- May it run at all? ---- */

static int try_gang(struct coll_gang gang)
{
    struct mlq_err err = MLQ_ERR_INIT;
    struct coll *coll = NULL;
    if (gang.size > 1) {
        pretend_machine(&gang);
    }
    int64_t start_ns = mlq_clock_boot_ns();
    int rc = coll_open(&gang, INIT_NS, &coll, &err);
    say("open", &gang, start_ns);
    coll_close(&coll);
    if (rc != 0) {
        (void)fprintf(stderr, "rank %u of %u: %s\n", gang.rank, gang.size, err.text);
    }
    return rc == 0 ? 0 : rc == MLQ_ENOTSUP ? 77 : 1;
}

static int try_size(uint32_t size)
{
    struct ranks ranks;
    int worst = 0;
    start_ranks(&ranks, COLL_NCCL, size, try_gang);
    for (uint32_t rank = 0; rank < size; rank++) {
        int end = end_of(&ranks, rank);
        worst = end > worst ? end : worst;
    }
    return worst;
}

/* Ranks beyond one per GPU, once. */
static bool may_share_gpu(void)
{
    static int known = -1;
    if (known < 0) {
        known = try_size(2) == 0;
    }
    return known == 1;
}

#define NEED_SHARED_GPU                                                                            \
    if (!may_share_gpu()) {                                                                        \
        (void)fprintf(stderr, "skipped: this NCCL does not run two ranks on one GPU\n");           \
        skip();                                                                                    \
    }

/* ---- One rank ---- */

static void bytes_of_one_rank_arrive(void **state)
{
    (void)state;
    check_bytes_of_all_ranks(COLL_NCCL, 1);
}

/* Two ranks are declared, and one comes. */
static int open_alone(struct coll_gang gang)
{
    struct mlq_err err = MLQ_ERR_INIT;
    struct coll *coll = NULL;
    gang.size = 2;
    int64_t start_ns = mlq_clock_boot_ns();
    int rc = coll_open(&gang, 3 * MLQ_NS_PER_S, &coll, &err);
    int64_t took_ns = mlq_clock_boot_ns() - start_ns;
    say("missing peer", &gang, start_ns);
    (void)fprintf(stderr, "%s\n", err.text);
    CHECK(rc == MLQ_ETIMEOUT && coll == NULL && took_ns < 9 * MLQ_NS_PER_S);
    CHECK(strstr(err.text, "ranks that did not come: 1") != NULL);
    return 0;
}

static void a_missing_peer_is_given_up_in_time(void **state)
{
    (void)state;
    struct ranks ranks;
    start_ranks(&ranks, COLL_NCCL, 1, open_alone);
    int end = end_of(&ranks, 0);
    assert_true(end == 0 || end == COLL_EXIT_STUCK);
    (void)fprintf(stderr, "missing peer: exit %d\n", end);
}

static void a_task_without_a_gpu_is_refused(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        (void)setenv("CUDA_VISIBLE_DEVICES", "", 1);
        _exit(try_gang(gang_of(COLL_NCCL, 0, 1, 0)));
    }
    assert_int_equal(status_of(pid), 77);
}

/* ---- Several ranks ---- */

static int move_as_machine(struct coll_gang gang)
{
    pretend_machine(&gang);
    int64_t start_ns = mlq_clock_boot_ns();
    int rc = move_bytes(gang);
    say("80 calls with open and close", &gang, start_ns);
    return rc;
}

static void bytes_of_all_ranks_arrive_in_order(void **state)
{
    (void)state;
    NEED_SHARED_GPU
    for (uint32_t size = 2; size <= RANKS_MAX; size += 2) {
        struct ranks ranks;
        int failed = 0;
        start_ranks(&ranks, COLL_NCCL, size, move_as_machine);
        for (uint32_t rank = 0; rank < size; rank++) {
            failed += end_of(&ranks, rank) != 0;
        }
        assert_int_equal(failed, 0);
    }
}

/* Rounds without end: 10 when a call failed and the gang could be closed. */
static int go_round(struct coll_gang gang)
{
    struct mlq_err err = MLQ_ERR_INIT;
    struct coll *coll = NULL;
    uint64_t bytes[RANKS_MAX] = {8, 8, 8, 8}, value = gang.rank, all[RANKS_MAX];
    pretend_machine(&gang);
    if (open_or_say(&gang, &coll) != 0) {
        return 1;
    }
    for (int round = 0;; round++) {
        if (round == 5 && write(rounds_fd[1], "r", 1) != 1) {
            return 1;
        }
        int64_t start_ns = mlq_clock_boot_ns();
        int rc = coll_allgather(coll, &value, all, bytes, 3 * MLQ_NS_PER_S, &err);
        if (rc != 0) {
            say("call beside a lost peer", &gang, start_ns);
            (void)fprintf(stderr, "rank %u: %s\n", gang.rank, err.text);
            start_ns = mlq_clock_boot_ns();
            coll_close(&coll);
            say("abort", &gang, start_ns);
            return 10;
        }
    }
}

static void lose_rank(int with_signal)
{
    struct ranks ranks;
    assert_int_equal(pipe(rounds_fd), 0);
    start_ranks(&ranks, COLL_NCCL, 2, go_round);
    for (int running = 0; running < 2; running++) {
        char byte;
        struct pollfd ready = {.fd = rounds_fd[0], .events = POLLIN};
        assert_int_equal(poll(&ready, 1, 60000), 1);
        assert_int_equal(read(rounds_fd[0], &byte, 1), 1);
    }
    (void)close(rounds_fd[0]);
    (void)close(rounds_fd[1]);
    assert_int_equal(kill(ranks.pids[1], with_signal), 0);
    int64_t start_ns = mlq_clock_boot_ns();
    int end = end_of(&ranks, 0);
    (void)fprintf(stderr, "survivor of signal %d: exit %d after %lld ms\n", with_signal, end,
                  (long long)((mlq_clock_boot_ns() - start_ns) / MLQ_NS_PER_MS));
    (void)kill(ranks.pids[1], SIGKILL);
    (void)end_of(&ranks, 1);
    assert_true(end == 10 || end == COLL_EXIT_STUCK);
    assert_in_range(mlq_clock_boot_ns() - start_ns, 0, 12 * MLQ_NS_PER_S);
}

static void the_survivor_of_a_killed_rank_goes_on_in_time(void **state)
{
    (void)state;
    NEED_SHARED_GPU
    lose_rank(SIGKILL);
}

static void a_rank_that_stands_still_does_not_hold_the_other(void **state)
{
    (void)state;
    NEED_SHARED_GPU
    lose_rank(SIGSTOP);
}

static int be_aborted_as_machine(struct coll_gang gang)
{
    pretend_machine(&gang);
    return wait_and_be_aborted(gang);
}

static void an_aborted_call_ends_soon_or_the_process_does(void **state)
{
    (void)state;
    NEED_SHARED_GPU
    int64_t took_ns;
    int end = abort_rank_0(COLL_NCCL, 2, be_aborted_as_machine, &took_ns);
    (void)fprintf(stderr, "aborted: exit %d after %lld ms\n", end,
                  (long long)(took_ns / MLQ_NS_PER_MS));
    assert_true(end == 10 || end == COLL_EXIT_STUCK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_of_one_rank_arrive),
        cmocka_unit_test(a_missing_peer_is_given_up_in_time),
        cmocka_unit_test(a_task_without_a_gpu_is_refused),
        cmocka_unit_test(bytes_of_all_ranks_arrive_in_order),
        cmocka_unit_test(the_survivor_of_a_killed_rank_goes_on_in_time),
        cmocka_unit_test(a_rank_that_stands_still_does_not_hold_the_other),
        cmocka_unit_test(an_aborted_call_ends_soon_or_the_process_does),
    };
    if (try_size(1) == 77) {
        (void)fprintf(stderr, "skipped: NCCL needs a GPU, and none can be used here (see above)\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
