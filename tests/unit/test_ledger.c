/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "tests/unit/cm.h"

#include "lib/base/prng.h"
#include "scheduler/store/ledger.h"

TEST_CATCHES_PANICS

#define JOB 5

static const struct store_stage stages[] = {{.array_count = 100, .ranks = 1},
                                            {.array_count = 1, .ranks = 3}};
static const struct store_job row = {.id = JOB, .stages = stages, .stage_count = 2};

static struct core_fact fact(enum core_fact_kind kind, uint64_t attempt, uint32_t index)
{
    return (struct core_fact){
        .kind = kind, .job = JOB, .attempt = attempt, .index = index, .ranks = attempt > 0 ? 1 : 0};
}

static struct core_fact of_rank(enum core_fact_kind kind, uint64_t attempt, uint32_t rank)
{
    return (struct core_fact){
        .kind = kind, .job = JOB, .stage = 1, .attempt = attempt, .rank = rank, .ranks = 3};
}

static void put(struct ledger *ledger, struct core_fact what, enum ledger_verdict want)
{
    uint32_t round = 0;
    assert_int_equal(ledger_put_fact(ledger, &what, &round), want);
}

static struct ledger *with_job(void)
{
    struct ledger *ledger = ledger_create();
    ledger_put_job(ledger, &row);
    put(ledger, fact(FACT_JOB_SUBMITTED, 0, 0), LEDGER_NEW);
    return ledger;
}

static void test_an_attempt_lives_once(void **state)
{
    (void)state;
    static const enum core_fact_kind kinds[] = {FACT_ASSIGNED, FACT_STARTED, FACT_ENDED};
    struct ledger *ledger = with_job();
    for (unsigned i = 0; i < 3; i++) {
        put(ledger, fact(kinds[i], 7, 0), LEDGER_NEW);
        for (unsigned k = 0; k <= i; k++) {
            put(ledger, fact(kinds[k], 7, 0), LEDGER_REPEATED);
        }
    }
    put(ledger, fact(FACT_ASSIGNED, 6, 1), LEDGER_REPEATED); /* numbers grow */
    put(ledger, fact(FACT_ASSIGNED, 8, 1), LEDGER_NEW);
    put(ledger, fact(FACT_ENDED, 7, 0), LEDGER_REPEATED);
    ledger_destroy(&ledger);
    ledger_destroy(&ledger);
}

static void test_a_task_succeeds_once_a_round(void **state)
{
    (void)state;
    uint32_t round = 9;
    struct ledger *ledger = with_job();
    for (uint32_t index = 0; index < 100; index++) {
        put(ledger, fact(FACT_ASSIGNED, 10 + index, index), LEDGER_NEW);
        put(ledger, fact(FACT_ENDED, 10 + index, index), LEDGER_NEW);
    }
    for (uint32_t index = 0; index < 100; index += 33) {
        put(ledger, fact(FACT_ASSIGNED, 200 + index, index), LEDGER_NEW);
        put(ledger, fact(FACT_ENDED, 200 + index, index), LEDGER_REPEATED);
    }
    struct core_fact failed = fact(FACT_ENDED, 300, 5);
    failed.cause = CAUSE_EXIT;
    put(ledger, fact(FACT_ASSIGNED, 300, 5), LEDGER_NEW);
    put(ledger, failed, LEDGER_NEW);
    put(ledger, fact(FACT_JOB_ENDED, 0, 0), LEDGER_NEW);
    put(ledger, fact(FACT_JOB_RETRIED, 0, 0), LEDGER_NEW);
    ledger_forget_ended(ledger); /* it lives again */
    struct core_fact again = fact(FACT_ASSIGNED, 301, 5);
    assert_int_equal(ledger_put_fact(ledger, &again, &round), LEDGER_NEW);
    assert_int_equal(round, 1);
    put(ledger, fact(FACT_ENDED, 301, 5), LEDGER_NEW);
    ledger_destroy(&ledger);
}

static void test_ranks_are_told_apart(void **state)
{
    (void)state;
    struct ledger *ledger = with_job();
    for (uint64_t attempt = 7; attempt < 9; attempt++) { /* a gang's success is not a rank's */
        for (uint32_t rank = 0; rank < 3; rank++) {
            put(ledger, of_rank(FACT_ASSIGNED, attempt, rank), LEDGER_NEW);
            put(ledger, of_rank(FACT_ASSIGNED, attempt, rank), LEDGER_REPEATED);
        }
        put(ledger, of_rank(FACT_ENDED, attempt, 1), LEDGER_NEW);
        put(ledger, of_rank(FACT_ENDED, attempt, 1), LEDGER_REPEATED);
        put(ledger, of_rank(FACT_ASSIGNED, attempt, 1), LEDGER_REPEATED);
        put(ledger, of_rank(FACT_ASSIGNED, attempt, 255), LEDGER_NEW); /* joins later */
        put(ledger, of_rank(FACT_ASSIGNED, attempt, 255), LEDGER_REPEATED);
        put(ledger, of_rank(FACT_ENDED, attempt, 255), LEDGER_NEW);
        put(ledger, of_rank(FACT_ENDED, attempt, 0), LEDGER_NEW);
        put(ledger, of_rank(FACT_ENDED, attempt, 2), LEDGER_NEW);
        put(ledger, of_rank(FACT_ENDED, attempt, 2), LEDGER_REPEATED);
    }
    ledger_destroy(&ledger);
}

static void test_what_is_not_known_whole_is_asked(void **state)
{
    (void)state;
    struct ledger *ledger = with_job();
    struct core_fact other = fact(FACT_ASSIGNED, 7, 0);
    other.job = JOB + 1;
    put(ledger, other, LEDGER_ASK);
    put(ledger, fact(FACT_ASSIGNED, 7, 100), LEDGER_ASK); /* the array ends before */
    put(ledger, fact(FACT_ASSIGNED, 8, 0), LEDGER_ASK);   /* since that may have been taken */
    ledger_load_job(ledger, &row);                        /* too late to learn it */
    ledger_loaded(ledger, true);
    put(ledger, fact(FACT_ASSIGNED, 9, 0), LEDGER_ASK);
    ledger_clear(ledger);
    ledger_put_job(ledger, &row);
    put(ledger, fact(FACT_ASSIGNED, 7, 0), LEDGER_NEW);
    put(ledger, fact(FACT_JOB_ENDED, 0, 0), LEDGER_NEW);
    put(ledger, fact(FACT_ASSIGNED, 7, 0), LEDGER_REPEATED);
    ledger_forget_ended(ledger);
    put(ledger, fact(FACT_ASSIGNED, 7, 0), LEDGER_ASK);
    ledger_destroy(&ledger);
}

/* The same, by facts that are loaded; and whether the load came to its end. */
static void test_what_is_loaded_is_known(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_create();
    for (int is_whole = 0; is_whole < 2; is_whole++) {
        ledger_load_job(ledger, &row);
        const struct core_fact past[] = {
            fact(FACT_JOB_SUBMITTED, 0, 0), fact(FACT_ASSIGNED, 7, 0),
            fact(FACT_ENDED, 7, 0),         fact(FACT_ASSIGNED, 8, 1),
            fact(FACT_JOB_ENDED, 0, 0),     fact(FACT_JOB_RETRIED, 0, 0),
            fact(FACT_ASSIGNED, 9, 0)};
        for (size_t i = 0; i < MLQ_COUNT_OF(past); i++) {
            ledger_load_fact(ledger, &past[i]);
        }
        ledger_loaded(ledger, is_whole == 1);
    }
    uint32_t round = 0;
    struct core_fact end = fact(FACT_ENDED, 9, 0);
    assert_int_equal(ledger_put_fact(ledger, &end, &round), LEDGER_NEW);
    assert_int_equal(round, 1);
    put(ledger, fact(FACT_ENDED, 7, 0), LEDGER_REPEATED);
    put(ledger, fact(FACT_ASSIGNED, 8, 1), LEDGER_REPEATED);
    put(ledger, fact(FACT_STARTED, 8, 1), LEDGER_NEW);
    ledger_clear(ledger);
    ledger_load_job(ledger, &row);
    ledger_loaded(ledger, false);
    put(ledger, fact(FACT_ASSIGNED, 7, 0), LEDGER_ASK);
    ledger_destroy(&ledger);
}

/* Jobs that have ended are loaded to be retried; those that are not do not pile up. */
static void test_loaded_ends_are_bounded(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_create();
    enum { JOBS = 6000 };
    for (uint64_t id = 1; id <= JOBS; id++) {
        struct store_job other = row;
        other.id = id;
        struct core_fact end = {.kind = FACT_JOB_ENDED, .job = id};
        ledger_load_job(ledger, &other);
        ledger_load_fact(ledger, &end);
        ledger_loaded(ledger, true);
    }
    struct core_fact retried = {.kind = FACT_JOB_RETRIED, .job = JOBS};
    put(ledger, retried, LEDGER_NEW);
    retried.job = 1;
    put(ledger, retried, LEDGER_ASK);
    ledger_forget_ended(ledger);
    struct core_fact assigned = {.kind = FACT_ASSIGNED, .job = JOBS, .attempt = 1, .ranks = 1};
    put(ledger, assigned, LEDGER_NEW);
    put(ledger, assigned, LEDGER_REPEATED);
    ledger_destroy(&ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_attempt_lives_once),
        cmocka_unit_test(test_a_task_succeeds_once_a_round),
        cmocka_unit_test(test_ranks_are_told_apart),
        cmocka_unit_test(test_what_is_not_known_whole_is_asked),
        cmocka_unit_test(test_what_is_loaded_is_known),
        cmocka_unit_test(test_loaded_ends_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
