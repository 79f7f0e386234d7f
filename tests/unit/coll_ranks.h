/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What every backend of worker/coll must do, and how to run it: ranks as processes, or as threads
 * for the loop.
 */
#ifndef MLQ_TESTS_UNIT_COLL_RANKS_H
#define MLQ_TESTS_UNIT_COLL_RANKS_H

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/ownership.h"
#include "lib/sys/clock.h"
#include "lib/sys/mem.h"
#include "tests/support/patience.h"
#include "tests/unit/cm.h"
#include "tests/unit/free_port.h"
#include "worker/coll/coll.h"

#define LIMIT_NS  patience(30 * MLQ_NS_PER_S)
#define SOON_NS   (LIMIT_NS / 2) /* long before a call's own limit, on a busy machine too */
#define SHORT_NS  (1 * MLQ_NS_PER_S)
#define RANKS_MAX 4u

static inline struct coll_gang gang_of(enum coll_kind kind, uint32_t rank, uint32_t size,
                                       uint16_t port)
{
    return (struct coll_gang){.rank = rank,
                              .size = size,
                              .address = "127.0.0.1",
                              .port = port,
                              .name = "test/1",
                              .generation = 1,
                              .kind = kind};
}

/* ---- Ranks ---- */

typedef int (*rank_fn)(struct coll_gang gang); /* 0: all well */

struct ranks {
    uint32_t size;
    bool are_threads;
    rank_fn body;
    struct coll_gang gangs[RANKS_MAX];
    pid_t pids[RANKS_MAX];
    pthread_t threads[RANKS_MAX];
    int results[RANKS_MAX];
    struct ranks *selves[RANKS_MAX]; /* selves[r] tells thread r its number: by its own place */
};

static inline void *run_thread(void *argument)
{
    struct ranks **self = argument;
    size_t rank = (size_t)(self - (*self)->selves);
    (*self)->results[rank] = (*self)->body((*self)->gangs[rank]);
    return NULL;
}

/* Runs `body` once per rank. */
static inline void start_ranks(struct ranks *ranks, enum coll_kind kind, uint32_t size, rank_fn body)
{
    uint16_t port = free_port();
    *ranks = (struct ranks){.size = size, .are_threads = kind == COLL_LOOP, .body = body};
    for (uint32_t rank = 0; rank < size; rank++) {
        ranks->gangs[rank] = gang_of(kind, rank, size, port);
        ranks->selves[rank] = ranks;
        if (ranks->are_threads) {
            assert_int_equal(
                pthread_create(&ranks->threads[rank], NULL, run_thread, &ranks->selves[rank]), 0);
            continue;
        }
        ranks->pids[rank] = fork();
        assert_true(ranks->pids[rank] >= 0);
        if (ranks->pids[rank] == 0) {
            _exit(body(ranks->gangs[rank]));
        }
    }
}

static inline int status_of(pid_t pid)
{
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The result of one rank, once. */
static inline int end_of(struct ranks *ranks, uint32_t rank)
{
    if (!ranks->are_threads) {
        return status_of(ranks->pids[rank]);
    }
    assert_int_equal(pthread_join(ranks->threads[rank], NULL), 0);
    return ranks->results[rank];
}

/* ---- What is moved ---- */

#define CHECK(condition)                                                                           \
    if (!(condition)) {                                                                            \
        (void)fprintf(stderr, "rank %u, line %d: %s\n", gang.rank, __LINE__, #condition);          \
        return 1;                                                                                  \
    }

static inline int open_or_say(const struct coll_gang *gang, struct coll **coll)
{
    struct mlq_err err = MLQ_ERR_INIT;
    int rc = coll_open(gang, LIMIT_NS, coll, &err);
    if (rc != 0) {
        (void)fprintf(stderr, "rank %u: open: %s\n", gang->rank, err.text);
    }
    return rc;
}

/* Rank r sends r + 1 blocks of `block` bytes of its own; rank 1 sends nothing at all. */
static inline int check_allgather(struct coll_gang gang, struct coll *coll, uint32_t round,
                                  uint64_t block)
{
    uint64_t bytes[RANKS_MAX], total = 0, at = 0;
    for (uint32_t r = 0; r < gang.size; r++) {
        bytes[r] = r == 1 ? 0 : (r + 1) * block;
        total += bytes[r];
    }
    uint8_t *send = mlq_alloc(bytes[gang.rank]), *receive = mlq_alloc(total);
    memset(send, (int)(round + gang.rank), bytes[gang.rank]);
    CHECK(coll_allgather(coll, send, receive, bytes, LIMIT_NS, NULL) == 0);
    for (uint32_t r = 0; r < gang.size; r++) {
        for (uint64_t i = 0; i < bytes[r]; i++) {
            CHECK(receive[at++] == (uint8_t)(round + r));
        }
    }
    mlq_free(send);
    mlq_free(receive);
    return 0;
}

/* What rank a sends to rank b has 100 * a + b bytes of the value 16 * a + b. */
static inline int check_alltoall(struct coll_gang gang, struct coll *coll)
{
    uint64_t out[RANKS_MAX] = {0}, in[RANKS_MAX] = {0};
    uint8_t send[RANKS_MAX * 400] = {0}, receive[RANKS_MAX * 400], *to = send;
    for (uint32_t r = 0; r < gang.size; r++) {
        out[r] = 100 * gang.rank + r;
        in[r] = 100 * r + gang.rank;
        memset(to, (int)(16 * gang.rank + r), out[r]);
        to += out[r];
    }
    CHECK(coll_alltoall(coll, send, out, receive, in, LIMIT_NS, NULL) == 0);
    const uint8_t *from = receive;
    for (uint32_t r = 0; r < gang.size; r++) {
        for (uint64_t i = 0; i < in[r]; i++) {
            CHECK(*from++ == 16 * r + gang.rank);
        }
    }
    return 0;
}

/* Number i of rank r: no sum of them is exact, and they differ in size. */
static inline float summand(uint32_t rank, uint64_t i)
{
    return (float)(rank + 1) / (float)(3 + i % 7) * (i % 5 == 0 ? 1000.0f : 1.0f);
}

/* Sums that are right, and the same bits on each rank; and a NaN of one rank is everyone's. */
static inline int check_allreduce(struct coll_gang gang, struct coll *coll, uint64_t count)
{
    float *values = mlq_alloc_array(count + 1, sizeof(float));
    float *all = mlq_alloc_array(count * gang.size, sizeof(float));
    struct coll_floats data = {.values = values, .count = count};
    uint64_t bytes[RANKS_MAX];
    for (uint64_t i = 0; i < count; i++) {
        values[i] = summand(gang.rank, i);
    }
    values[count] = 77; /* behind the end */
    CHECK(coll_allreduce(coll, data, LIMIT_NS, NULL) == 0);
    for (uint64_t i = 0; i < count; i++) {
        double wanted = 0;
        for (uint32_t r = 0; r < gang.size; r++) {
            wanted += (double)summand(r, i);
        }
        CHECK(fabs((double)values[i] - wanted) <= 1e-6 * wanted);
    }
    CHECK(values[count] == 77);
    for (uint32_t r = 0; r < gang.size; r++) {
        bytes[r] = count * sizeof(float);
    }
    CHECK(coll_allgather(coll, values, all, bytes, LIMIT_NS, NULL) == 0);
    for (uint32_t r = 0; r < gang.size && count > 0; r++) {
        CHECK(memcmp(all + r * count, values, count * sizeof(float)) == 0);
    }
    if (count > 0 && gang.rank == gang.size - 1) {
        values[count / 2] = NAN;
    }
    CHECK(coll_allreduce(coll, data, LIMIT_NS, NULL) == 0);
    for (uint64_t i = 0; i < count; i++) {
        CHECK(isnan(values[i]) == (i == count / 2));
    }
    mlq_free(values);
    mlq_free(all);
    return 0;
}

static inline int move_bytes(struct coll_gang gang)
{
    struct coll *coll = NULL;
    if (open_or_say(&gang, &coll) != 0) {
        return 1;
    }
    CHECK(coll_rank(coll) == gang.rank && coll_size(coll) == gang.size);
    for (uint32_t round = 0; round < 20; round++) {
        CHECK(check_allgather(gang, coll, round, 1000) == 0);
        uint32_t root = round % gang.size, word = gang.rank == root ? 1000 + round : 0;
        CHECK(coll_broadcast(coll, &word, sizeof(word), root, LIMIT_NS, NULL) == 0);
        CHECK(word == 1000 + round);
        CHECK(check_alltoall(gang, coll) == 0);
    }
    CHECK(check_allgather(gang, coll, 7, 3 << 20) == 0); /* a gradient's size */
    static const uint64_t counts[] = {100, 0, 1, 3, RANKS_MAX + 1, 300007};
    for (size_t i = 0; i < MLQ_COUNT_OF(counts); i++) {
        CHECK(check_allreduce(gang, coll, counts[i]) == 0);
    }
    CHECK(coll_barrier(coll, LIMIT_NS, NULL) == 0);
    struct coll_progress progress;
    coll_progress(coll, &progress);
    CHECK(progress.calls == 80 && progress.call == NULL);
    coll_close(&coll);
    CHECK(coll == NULL);
    return 0;
}

static inline void check_bytes_of_all_ranks(enum coll_kind kind, uint32_t ranks_max)
{
    for (uint32_t size = 1; size <= ranks_max; size++) {
        struct ranks ranks;
        start_ranks(&ranks, kind, size, move_bytes);
        int failed = 0;
        for (uint32_t rank = 0; rank < size; rank++) {
            failed += end_of(&ranks, rank) != 0;
        }
        assert_int_equal(failed, 0);
    }
}

/* ---- A gang that is aborted ---- */

static int idle_fds[2]; /* a pipe: a byte lets one idle rank go */

static inline void *abort_when_it_waits(void *argument)
{
    struct coll *coll = argument;
    struct coll_progress progress = {.call = NULL};
    while (progress.call == NULL) {
        (void)sched_yield();
        coll_progress(coll, &progress);
    }
    coll_abort(coll);
    return NULL;
}

/* Rank 0 waits for one that does not call, and is aborted by a thread that knows better: 10 when
 * its call ends with MLQ_ECANCELED, and so does the next. */
static inline int wait_and_be_aborted(struct coll_gang gang)
{
    struct coll *coll = NULL;
    pthread_t thread;
    char byte;
    if (open_or_say(&gang, &coll) != 0) {
        return 1;
    }
    if (gang.rank != 0) {
        CHECK(read(idle_fds[0], &byte, 1) == 1);
        coll_close(&coll);
        return 0;
    }
    CHECK(pthread_create(&thread, NULL, abort_when_it_waits, coll) == 0);
    CHECK(coll_barrier(coll, LIMIT_NS, NULL) == MLQ_ECANCELED);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(coll_barrier(coll, LIMIT_NS, NULL) == MLQ_ECANCELED);
    coll_close(&coll);
    return 10;
}

/* How rank 0 of at most 4 ended, and how long it took. `body` is wait_and_be_aborted, or ends in it. */
static inline int
abort_rank_0(enum coll_kind kind, uint32_t size, rank_fn body, int64_t *took_ns)
{
    struct ranks ranks;
    assert_int_equal(pipe(idle_fds), 0);
    *took_ns = -mlq_clock_boot_ns();
    start_ranks(&ranks, kind, size, body);
    int result = end_of(&ranks, 0);
    *took_ns += mlq_clock_boot_ns();
    /* All first: any of them may take any byte. */
    assert_int_equal(write(idle_fds[1], "ggg", size - 1), size - 1);
    for (uint32_t rank = 1; rank < size; rank++) {
        assert_int_equal(end_of(&ranks, rank), 0);
    }
    (void)close(idle_fds[0]);
    (void)close(idle_fds[1]);
    return result;
}

#endif
