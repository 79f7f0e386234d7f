/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * When a worker asks for its tasks, when it asks again, and when it gives up.
 */
#include "tests/unit/cm.h"

#include "lib/base/err.h"
#include "lib/sys/mem.h"
#include "worker/questions.h"

#define SECOND INT64_C(1000000000)

static struct questions *questions;
static struct question had;

static int setup(void **state)
{
    (void)state;
    questions = mlq_alloc(sizeof *questions);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mlq_free(questions);
    return 0;
}

static void expect_due(int64_t now_ns, uint64_t control_request)
{
    const struct question *due = questions_take_due(questions, now_ns);
    assert_int_equal(due == NULL ? 0 : due->control_request, control_request);
}

static uint64_t request_of(uint64_t control_request)
{
    for (size_t i = 0; i < QUESTIONS_MAX; i++) {
        if (questions->items[i].control_request == control_request) {
            return questions->items[i].request;
        }
    }
    return 0;
}

static void test_is_asked_until_it_is_answered(void **state)
{
    (void)state;
    assert_true(questions_add(questions, 7, 1, 11, SECOND));
    expect_due(SECOND, 11);
    expect_due(SECOND, 0); /* and one answer is waited for */
    expect_due(SECOND + QUESTIONS_AGAIN_NS - 1, 0);
    expect_due(SECOND + QUESTIONS_AGAIN_NS, 11);
    questions_renew(questions, 40 * SECOND); /* another leader */
    expect_due(40 * SECOND, 11);
    assert_false(questions_settle(questions, request_of(11), MLQ_EAGAIN, 41 * SECOND, &had));
    expect_due(41 * SECOND + QUESTIONS_LATER_NS - 1, 0);
    expect_due(41 * SECOND + QUESTIONS_LATER_NS, 11);
    assert_true(questions_settle(questions, request_of(11), MLQ_OK, 44 * SECOND, &had));
    assert_true(had.attempt == 7 && had.rank == 1 && had.control_request == 11);
    questions_renew(questions, 45 * SECOND);
    expect_due(200 * SECOND, 0);
    assert_true(questions_is_empty(questions));
}

/* An answer that comes twice, late, or to nobody's question settles no other one. */
static void test_answers_that_are_none(void **state)
{
    (void)state;
    assert_true(questions_add(questions, 7, 0, 11, 0));
    uint64_t first = request_of(11);
    assert_true(questions_settle(questions, first, MLQ_OK, 1, &had));
    assert_true(questions_add(questions, 8, 0, 12, 2)); /* in the same place */
    assert_false(questions_settle(questions, first, MLQ_OK, 3, &had));
    assert_false(questions_settle(questions, 0, MLQ_OK, 3, &had)); /* free places have this number */
    assert_false(questions_settle(questions, first, MLQ_EAGAIN, 3, &had));
    expect_due(4, 12);
    assert_true(questions_settle(questions, request_of(12), MLQ_EFENCED, 5, &had)); /* a refusal is one */
    assert_int_equal(had.attempt, 8);
}

static void test_is_given_up_in_the_end(void **state)
{
    (void)state;
    assert_true(questions_add(questions, 7, 0, 11, 0));
    assert_true(questions_add(questions, 7, 0, 12, SECOND));
    assert_false(questions_take_expired(questions, TASK_RECORD_WAIT_S * SECOND - 1, &had));
    assert_true(questions_take_expired(questions, TASK_RECORD_WAIT_S * SECOND, &had));
    assert_int_equal(had.control_request, 11);
    assert_false(questions_take_expired(questions, TASK_RECORD_WAIT_S * SECOND, &had));
    assert_false(questions_is_empty(questions));
}

static void test_there_is_room_for_so_many(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= QUESTIONS_MAX; i++) {
        assert_true(questions_add(questions, i, 0, i, 0));
    }
    assert_false(questions_add(questions, 1, 0, 1000, 0));
    assert_true(questions_settle(questions, request_of(9), MLQ_OK, 1, &had));
    assert_true(questions_add(questions, 1, 0, 1000, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_is_asked_until_it_is_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(test_answers_that_are_none, setup, teardown),
        cmocka_unit_test_setup_teardown(test_is_given_up_in_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_there_is_room_for_so_many, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
