/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Ranks of one machine that read each other's memory: what they find there, call after call, beside
 * ranks that they only reach by the network, and what is said of one that dies or is late.
 */
#include "tests/unit/cm.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

#include "tests/unit/coll_ranks.h"

#define ROUNDS 300u
#define FLOATS 50000u /* more than the small pieces that are copied */

static void run_all(enum coll_kind kind, uint32_t size, rank_fn body)
{
    struct ranks ranks;
    int failed = 0;
    start_ranks(&ranks, kind, size, body);
    for (uint32_t rank = 0; rank < size; rank++) {
        failed += end_of(&ranks, rank) != 0;
    }
    assert_int_equal(failed, 0);
}

/* ---- What is found ---- */

static float value_of(uint32_t rank, uint32_t round, uint64_t i)
{
    return (float)(rank * 1000 + round) + (float)(i % 97) / 128;
}

static void fill(float *values, uint32_t rank, uint32_t round)
{
    for (uint64_t i = 0; i < FLOATS; i++) {
        values[i] = value_of(rank, round, i);
    }
}

static bool holds(const float *values, uint32_t rank, uint32_t round, uint64_t begin, uint64_t end)
{
    bool is_right = true;
    for (uint64_t i = begin; i < end; i++) {
        is_right = is_right && values[i - begin] == value_of(rank, round, i);
    }
    return is_right;
}

static bool lies_in(const void *at, const void *memory, uint64_t bytes)
{
    uintptr_t from = (uintptr_t)memory, place = (uintptr_t)at;
    return place >= from && place < from + bytes;
}

/* Two memories in turns, one call a round: each rank sees what each other one wrote for that round,
 * and what it saw is there until it comes to the next call. */
static int read_in_turns(struct coll_gang gang)
{
    struct coll *coll = NULL;
    uint64_t bytes[RANKS_MAX], all = gang.size * FLOATS * sizeof(float);
    const void *views[RANKS_MAX];
    if (open_or_say(&gang, &coll) != 0) {
        return 1;
    }
    float *memories[2], *receive = mlq_alloc(all);
    for (uint32_t i = 0; i < 2; i++) {
        memories[i] = coll_memory(coll, FLOATS * sizeof(float));
        CHECK(memories[i][0] == 0 && memories[i][FLOATS - 1] == 0);
    }
    for (uint32_t rank = 0; rank < gang.size; rank++) {
        bytes[rank] = FLOATS * sizeof(float);
    }
    for (uint32_t round = 0; round < ROUNDS; round++) {
        fill(memories[round % 2], gang.rank, round);
        CHECK(coll_allgather_view(coll, memories[round % 2], receive, bytes, views, LIMIT_NS,
                                  NULL) == 0);
        for (uint32_t rank = 0; rank < gang.size; rank++) {
            CHECK(holds(views[rank], rank, round, 0, FLOATS));
            CHECK(lies_in(views[rank], receive, all) == (gang.kind == COLL_GLOO));
        }
    }
    coll_close(&coll);
    mlq_free(receive);
    return 0;
}

static void memory_is_read_where_it_lies(void **state)
{
    (void)state;
    for (uint32_t size = 2; size <= RANKS_MAX; size++) {
        run_all(COLL_AUTO, size, read_in_turns);
    }
}

/* The same pages, which each rank writes a part of: there is more than one such memory, and one's own
 * is not disturbed. */
static int write_in_turns(struct coll_gang gang)
{
    struct coll *coll = NULL;
    float *both[2] = {NULL, NULL};
    void *memory = NULL;
    if (open_or_say(&gang, &coll) != 0) {
        return 1;
    }
    float *own = coll_memory(coll, FLOATS * sizeof(float));
    fill(own, gang.rank, 7);
    for (uint32_t i = 0; i < 2; i++) {
        CHECK(coll_shared_memory(coll, gang.size * FLOATS * sizeof(float), &memory, LIMIT_NS,
                                 NULL) == 0);
        both[i] = memory;
        CHECK(both[i] != NULL && both[i][0] == 0 && both[i][gang.size * FLOATS - 1] == 0);
    }
    CHECK(coll_barrier(coll, LIMIT_NS, NULL) == 0);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        fill(both[round % 2] + gang.rank * FLOATS, gang.rank, round);
        CHECK(coll_barrier(coll, LIMIT_NS, NULL) == 0);
        for (uint32_t rank = 0; rank < gang.size; rank++) {
            CHECK(holds(both[round % 2] + rank * FLOATS, rank, round, 0, FLOATS));
        }
    }
    CHECK(holds(own, gang.rank, 7, 0, FLOATS));
    coll_close(&coll);
    return 0;
}

static void memory_that_all_write(void **state)
{
    (void)state;
    for (uint32_t size = 2; size <= RANKS_MAX; size++) {
        run_all(COLL_AUTO, size, write_in_turns);
    }
}

/* None where a rank is apart, or there is not so much. */
static int find_none(struct coll_gang gang)
{
    struct coll *coll = NULL;
    void *memory = &coll;
    gang.kind = gang.rank == 1 ? COLL_GLOO : COLL_AUTO;
    if (open_or_say(&gang, &coll) != 0) {
        return 1;
    }
    CHECK(coll_shared_memory(coll, 4096, &memory, LIMIT_NS, NULL) == 0);
    CHECK(memory == NULL);
    coll_close(&coll);
    return 0;
}

static int ask_for_too_much(struct coll_gang gang)
{
    struct coll *coll = NULL;
    void *memory = &coll;
    if (open_or_say(&gang, &coll) != 0) {
        return 1;
    }
    CHECK(coll_shared_memory(coll, UINT64_MAX, &memory, LIMIT_NS, NULL) == 0 && memory == NULL);
    CHECK(coll_shared_memory(coll, 4096, &memory, LIMIT_NS, NULL) == 0 && memory != NULL);
    coll_close(&coll);
    return 0;
}

static void no_memory_that_all_write(void **state)
{
    (void)state;
    run_all(COLL_AUTO, 3, find_none);
    run_all(COLL_AUTO, 2, ask_for_too_much);
}

/* Slices to their owners, and a sum back to all: one memory of each is enough. */
static int sum_by_slices(struct coll_gang gang)
{
    struct coll *coll = NULL;
    uint64_t out[RANKS_MAX], in[RANKS_MAX];
    const void *views[RANKS_MAX];
    if (open_or_say(&gang, &coll) != 0) {
        return 1;
    }
    uint64_t slice = FLOATS / gang.size, begin = gang.rank * slice;
    float *values = coll_memory(coll, FLOATS * sizeof(float));
    float *sums = coll_memory(coll, slice * sizeof(float));
    float *receive = mlq_alloc(FLOATS * sizeof(float)), *all = mlq_alloc(FLOATS * sizeof(float));
    for (uint32_t rank = 0; rank < gang.size; rank++) {
        out[rank] = in[rank] = slice * sizeof(float);
    }
    for (uint32_t round = 0; round < ROUNDS; round++) {
        fill(values, gang.rank, round);
        CHECK(coll_alltoall_view(coll, values, out, receive, in, views, LIMIT_NS, NULL) == 0);
        memset(sums, 0, slice * sizeof(float));
        for (uint32_t rank = 0; rank < gang.size; rank++) {
            CHECK(holds(views[rank], rank, round, begin, begin + slice));
            const float *piece = views[rank];
            for (uint64_t i = 0; i < slice; i++) {
                sums[i] += piece[i];
            }
        }
        CHECK(coll_allgather(coll, sums, all, in, LIMIT_NS, NULL) == 0);
        for (uint64_t i = 0; i < slice * gang.size; i++) {
            float wanted = 0;
            for (uint32_t rank = 0; rank < gang.size; rank++) {
                wanted += value_of(rank, round, i);
            }
            CHECK(all[i] == wanted);
        }
    }
    coll_close(&coll);
    mlq_free(receive);
    mlq_free(all);
    return 0;
}

static void slices_are_read_where_they_lie(void **state)
{
    (void)state;
    run_all(COLL_AUTO, 2, sum_by_slices);
    run_all(COLL_AUTO, 3, sum_by_slices);
}

/* The values are changed as soon as the call returns. */
static int reduce_again_and_again(struct coll_gang gang)
{
    struct coll *coll = NULL;
    if (open_or_say(&gang, &coll) != 0) {
        return 1;
    }
    struct coll_floats data = {.values = coll_memory(coll, FLOATS * sizeof(float)),
                               .count = FLOATS};
    for (uint32_t round = 0; round < ROUNDS; round++) {
        fill(data.values, gang.rank, round);
        CHECK(coll_allreduce(coll, data, LIMIT_NS, NULL) == 0);
        for (uint64_t i = 0; i < FLOATS; i++) {
            float wanted = 0;
            for (uint32_t rank = 0; rank < gang.size; rank++) {
                wanted += value_of(rank, round, i); /* exact: any order will do */
            }
            CHECK(data.values[i] == wanted);
        }
    }
    coll_close(&coll);
    return 0;
}

static void sums_in_shared_memory_may_be_changed_at_once(void **state)
{
    (void)state;
    run_all(COLL_AUTO, 2, reduce_again_and_again);
    run_all(COLL_AUTO, 4, reduce_again_and_again);
}

/* ---- Who shares ---- */

/* The odd ranks are as if on machines of their own. */
static int some_by_the_network(struct coll_gang gang)
{
    gang.kind = gang.rank % 2 == 0 ? COLL_AUTO : COLL_GLOO;
    return move_bytes(gang);
}

static int read_some_in_turns(struct coll_gang gang)
{
    struct coll *coll = NULL;
    bool is_apart = gang.rank % 2 != 0;
    gang.kind = is_apart ? COLL_GLOO : COLL_AUTO;
    uint64_t bytes[RANKS_MAX], all = gang.size * FLOATS * sizeof(float);
    const void *views[RANKS_MAX];
    if (open_or_say(&gang, &coll) != 0) {
        return 1;
    }
    float *memory = coll_memory(coll, FLOATS * sizeof(float)), *receive = mlq_alloc(all);
    for (uint32_t rank = 0; rank < gang.size; rank++) {
        bytes[rank] = FLOATS * sizeof(float);
    }
    fill(memory, gang.rank, 1);
    CHECK(coll_allgather_view(coll, memory, receive, bytes, views, LIMIT_NS, NULL) == 0);
    for (uint32_t rank = 0; rank < gang.size; rank++) {
        bool has_moved = rank != gang.rank && (is_apart || rank % 2 != 0);
        CHECK(holds(views[rank], rank, 1, 0, FLOATS));
        CHECK(lies_in(views[rank], receive, all) == has_moved);
    }
    CHECK(coll_barrier(coll, LIMIT_NS, NULL) == 0);
    coll_close(&coll);
    mlq_free(receive);
    return 0;
}

static void some_share_memory_and_others_do_not(void **state)
{
    (void)state;
    run_all(COLL_AUTO, 4, some_by_the_network);
    run_all(COLL_AUTO, 4, read_some_in_turns);
    run_all(COLL_AUTO, 3, read_some_in_turns);
}

/* Rank 1 has no room for the others' memory. */
static int without_room(struct coll_gang gang)
{
    struct rlimit limit = {.rlim_cur = (rlim_t)8 << 30, .rlim_max = (rlim_t)8 << 30};
    CHECK(gang.rank != 1 || setrlimit(RLIMIT_AS, &limit) == 0);
    return move_bytes(gang);
}

static void a_rank_without_room_uses_the_network(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* sanitizers need all addresses themselves */
#endif
    run_all(COLL_AUTO, 3, without_room);
}

/* ---- Who is gone, who is late ---- */

static int done_fds[2]; /* closed when nobody waits for rank 1 any more */

static int be_late(struct coll_gang gang)
{
    struct mlq_err err = MLQ_ERR_INIT;
    struct coll *coll = NULL;
    char byte;
    (void)close(done_fds[1]);
    if (open_or_say(&gang, &coll) != 0) {
        return 1;
    }
    if (gang.rank == 1) {
        CHECK(read(done_fds[0], &byte, 1) == 0);
    } else {
        CHECK(coll_barrier(coll, SHORT_NS / 5, &err) == MLQ_ETIMEOUT);
        CHECK(strstr(err.text, "ranks that are late: 1") != NULL);
    }
    coll_close(&coll);
    return 0;
}

static void who_is_late_is_named(void **state)
{
    (void)state;
    struct ranks ranks;
    assert_int_equal(pipe(done_fds), 0);
    start_ranks(&ranks, COLL_AUTO, 3, be_late);
    assert_int_equal(end_of(&ranks, 0), 0);
    assert_int_equal(end_of(&ranks, 2), 0);
    (void)close(done_fds[0]);
    (void)close(done_fds[1]);
    assert_int_equal(end_of(&ranks, 1), 0);
}

/* Nobody tells the others but the kernel. */
static int die(struct coll_gang gang)
{
    struct mlq_err err = MLQ_ERR_INIT;
    struct coll *coll = NULL;
    if (open_or_say(&gang, &coll) != 0) {
        return 1;
    }
    if (gang.rank == 1) {
        (void)raise(SIGKILL);
    }
    int64_t start_ns = mlq_clock_boot_ns();
    CHECK(coll_barrier(coll, LIMIT_NS, &err) == MLQ_ECONN);
    CHECK(strstr(err.text, "ranks that are gone: 1") != NULL);
    CHECK(mlq_clock_boot_ns() - start_ns < SOON_NS);
    coll_close(&coll);
    return 0;
}

static void who_is_gone_is_named_at_once(void **state)
{
    (void)state;
    struct ranks ranks;
    start_ranks(&ranks, COLL_AUTO, 3, die);
    assert_int_equal(end_of(&ranks, 0), 0);
    assert_int_equal(end_of(&ranks, 2), 0);
    assert_int_equal(end_of(&ranks, 1), 128 + SIGKILL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_read_where_it_lies),
        cmocka_unit_test(memory_that_all_write),
        cmocka_unit_test(no_memory_that_all_write),
        cmocka_unit_test(slices_are_read_where_they_lie),
        cmocka_unit_test(sums_in_shared_memory_may_be_changed_at_once),
        cmocka_unit_test(some_share_memory_and_others_do_not),
        cmocka_unit_test(a_rank_without_room_uses_the_network),
        cmocka_unit_test(who_is_late_is_named),
        cmocka_unit_test(who_is_gone_is_named_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
