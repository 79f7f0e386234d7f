/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/op_crew.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>

#include <cmocka.h>

#define ROOM   5u
#define PIECES 2000u

struct work {
    uint64_t number;
    uint64_t outcome;
    pthread_barrier_t *meeting; /* NULL: nobody is met */
};

static atomic_uint runs;

static void run(void *argument)
{
    struct work *work = argument;
    if (work->meeting != NULL) {
        (void)pthread_barrier_wait(work->meeting);
    }
    for (uint64_t i = 0; i <= work->number % 7 * 1000; i++) { /* some take longer than others */
        work->outcome += i ^ work->number;
    }
    atomic_fetch_add(&runs, 1);
}

static uint64_t outcome_of(uint64_t number)
{
    struct work work = {.number = number};
    run(&work);
    atomic_fetch_sub(&runs, 1);
    return work.outcome;
}

static void assert_all_come_back_in_order(unsigned cpus)
{
    struct op_crew *crew = NULL;
    struct work works[ROOM];
    uint64_t given = 0;
    atomic_store(&runs, 0);
    assert_int_equal(op_crew_create(cpus, ROOM, run, &crew, NULL), MLQ_OK);
    for (uint64_t taken = 0; taken < PIECES; taken++) {
        /* Now all the room is used, now only a part. */
        for (; given < PIECES && given - taken < 1 + taken / 10 % ROOM; given++) {
            works[given % ROOM] = (struct work){.number = given};
            op_crew_give(crew, &works[given % ROOM]);
        }
        if (given == taken) {
            continue;
        }
        struct work *work = op_crew_take(crew);
        assert_ptr_equal(work, &works[taken % ROOM]);
        assert_int_equal(work->number, taken);
        assert_int_equal(work->outcome, outcome_of(taken));
    }
    assert_null(op_crew_take(crew));
    assert_int_equal(atomic_load(&runs), PIECES);
    op_crew_destroy(&crew);
    assert_null(crew);
}

static void test_outcomes_come_back_in_the_order_of_the_work(void **state)
{
    (void)state;
    assert_all_come_back_in_order(1);
    assert_all_come_back_in_order(2);
    assert_all_come_back_in_order(4);
}

/* Pieces that only end when all of them run at once. */
static void test_as_many_run_at_once_as_there_are_cpus(void **state)
{
    (void)state;
    struct op_crew *crew = NULL;
    pthread_barrier_t meeting;
    struct work works[3];
    assert_int_equal(pthread_barrier_init(&meeting, NULL, 3), 0);
    assert_int_equal(op_crew_create(3, 3, run, &crew, NULL), MLQ_OK);
    for (uint64_t i = 0; i < 3; i++) {
        works[i] = (struct work){.number = i, .meeting = &meeting};
        op_crew_give(crew, &works[i]);
    }
    for (uint64_t i = 0; i < 3; i++) {
        assert_ptr_equal(op_crew_take(crew), &works[i]);
    }
    op_crew_destroy(&crew);
    assert_int_equal(pthread_barrier_destroy(&meeting), 0);
}

static void test_it_can_end_with_work_left(void **state)
{
    (void)state;
    struct work works[ROOM];
    for (unsigned round = 0; round < 100; round++) {
        struct op_crew *crew = NULL;
        assert_int_equal(op_crew_create(1 + round % 3, ROOM, run, &crew, NULL), MLQ_OK);
        for (uint64_t i = 0; i < round % (ROOM + 1); i++) {
            works[i] = (struct work){.number = i};
            op_crew_give(crew, &works[i]);
        }
        op_crew_destroy(&crew);
    }
    struct op_crew *none = NULL;
    op_crew_destroy(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outcomes_come_back_in_the_order_of_the_work),
        cmocka_unit_test(test_as_many_run_at_once_as_there_are_cpus),
        cmocka_unit_test(test_it_can_end_with_work_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
