/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Attempts whose ranks go and come: who works together, what a loss means, growing and giving back.
 */
#include "tests/unit/core_double.h"

#define ENGINE UINT64_C(0xabcdef)

static struct core_stage_desc elastic(uint32_t least, uint32_t most)
{
    struct core_stage_desc stage = simple_stage();
    stage.ranks = most;
    stage.ranks_min = least;
    stage.resize = RESIZE_LIVE;
    stage.retry = (struct core_retry){
        .limit = 1, .cause_mask = 1u << CAUSE_NODE | 1u << CAUSE_SIGNAL, .backoff_ns = SECOND};
    return stage;
}

static void say_ready(struct core_double *d, const struct core_fact *rank, uint64_t fingerprint,
                      uint64_t broken)
{
    double_step(d, (struct core_event){.kind = EV_READY,
                                       .worker = rank->worker,
                                       .attempt = rank->attempt,
                                       .rank = rank->rank,
                                       .port = (uint16_t)(1000 + rank->rank),
                                       .fingerprint = fingerprint,
                                       .generation = broken});
}

static void ready(struct core_double *d, const struct core_fact *rank)
{
    say_ready(d, rank, ENGINE, 0);
}

/* These ranks, and no others, are told of one new membership, which is theirs. */
static uint64_t take_membership(struct core_double *d, const struct core_fact *const *ranks,
                                uint32_t count)
{
    struct core_member_view members[8];
    struct core_membership now = {0};
    for (uint32_t i = 0; i < count; i++) {
        take_answer(d, ACT_MEMBERS, ranks[i]->worker, ranks[i]->attempt, ranks[i]->rank);
    }
    now = core_attempt_members(d->core, ranks[0]->attempt, members, 8);
    assert_int_equal(now.count, count);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(members[i].rank, ranks[i]->rank);
        assert_int_equal(members[i].worker, ranks[i]->worker);
        assert_int_equal(members[i].port, 1000 + ranks[i]->rank);
    }
    return now.generation;
}

/* Two ranks on workers 1 and 2, which have one CPU each; both are ready. */
struct pair {
    struct core_double *d;
    struct core_stage_desc stage;
    uint64_t job;
    struct core_fact rank[4];
    uint64_t generation;
    uint64_t session[3];
};

static struct pair open_pair(uint32_t least, uint32_t most)
{
    struct core_limits limits = double_limits();
    static struct core_stage_desc stage; /* the record keeps it */
    stage = elastic(least, most);
    struct pair p = {.d = double_open(&limits), .stage = stage};
    struct core_job_desc desc = simple_job(&stage, 1);
    p.session[1] = double_hello(p.d, 1, cpus(1));
    p.session[2] = double_hello(p.d, 2, cpus(1));
    p.job = double_submit(p.d, &desc);
    p.rank[0] = take_assigned(p.d, 1);
    p.rank[1] = take_assigned(p.d, 2);
    ready(p.d, &p.rank[0]); /* a gang begins together: nobody is told yet */
    double_done(p.d);
    ready(p.d, &p.rank[1]);
    p.generation =
        take_membership(p.d, (const struct core_fact *[]){&p.rank[0], &p.rank[1]}, 2);
    return p;
}

static void test_starts_with_what_is_free_and_grows(void **state)
{
    (void)state;
    struct pair p = open_pair(1, 3);
    double_hello(p.d, 3, cpus(4));
    p.rank[2] = take_assigned(p.d, 3); /* one more: three is the most */
    assert_int_equal(p.rank[2].rank, 2);
    assert_int_equal(p.rank[2].attempt, p.rank[0].attempt);
    ready(p.d, &p.rank[2]);
    uint64_t grown = take_membership(
        p.d, (const struct core_fact *[]){&p.rank[0], &p.rank[1], &p.rank[2]}, 3);
    assert_true(grown > p.generation);
    double_close(p.d);
}

static void test_does_not_start_below_its_least(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = elastic(2, 3);
    struct core_job_desc desc = simple_job(&stage, 1);
    double_hello(d, 1, cpus(1));
    double_submit(d, &desc);
    assert_false(core_is_feasible(d->core, &stage));
    double_hello(d, 2, cpus(1));
    take_assigned(d, 1);
    take_assigned(d, 2);
    assert_true(core_is_feasible(d->core, &stage));
    double_close(d);
}

/* The others go on at once; the place is filled after a pause, under a number that nobody had. */
static void test_a_lost_rank_stops_nobody(void **state)
{
    (void)state;
    struct pair p = open_pair(2, 2);
    double_ended(p.d, &p.rank[0], CAUSE_SIGNAL);
    take_ended(p.d, &p.rank[0], CAUSE_SIGNAL);
    take_answer(p.d, ACT_ACK, 1, p.rank[0].attempt, 0);
    uint64_t left = take_membership(p.d, (const struct core_fact *[]){&p.rank[1]}, 1);
    assert_true(left > p.generation);
    assert_true(core_next_deadline_ns(p.d->core) <= p.d->now_ns + SECOND);
    double_tick(p.d, SECOND);
    p.rank[2] = take_assigned(p.d, 1);
    assert_int_equal(p.rank[2].rank, 2);
    ready(p.d, &p.rank[2]);
    take_membership(p.d, (const struct core_fact *[]){&p.rank[1], &p.rank[2]}, 2);
    /* Late news of the one that is gone changes nothing. */
    double_ended(p.d, &p.rank[0], CAUSE_NONE);
    take_answer(p.d, ACT_ACK, 1, p.rank[0].attempt, 0);
    say_ready(p.d, &p.rank[0], ENGINE, 0);
    take_answer(p.d, ACT_FENCED, 1, p.rank[0].attempt, 0);
    double_close(p.d);
}

static void test_the_last_loss_ends_the_attempt(void **state)
{
    (void)state;
    struct pair p = open_pair(1, 2);
    double_ended(p.d, &p.rank[1], CAUSE_NODE);
    take_end(p.d, &p.rank[1], CAUSE_NODE);
    take_membership(p.d, (const struct core_fact *[]){&p.rank[0]}, 1);
    double_ended(p.d, &p.rank[0], CAUSE_OOM);
    take_end(p.d, &p.rank[0], CAUSE_OOM);
    take_stage_ended(p.d, 0, STATE_FAILED);
    take_job_ended(p.d, p.job, STATE_FAILED);
    double_close(p.d);
}

/* What one rank's command returns, every rank's would: no others are tried, whatever becomes of them. */
static void test_a_failure_of_the_work_stops_all(void **state)
{
    (void)state;
    static const enum core_cause others[] = {CAUSE_PEER, CAUSE_NODE, CAUSE_SIGNAL};
    for (size_t i = 0; i < MLQ_COUNT_OF(others); i++) {
        struct pair p = open_pair(1, 2);
        double_ended(p.d, &p.rank[1], CAUSE_EXIT);
        take_end(p.d, &p.rank[1], CAUSE_EXIT);
        take_kill(p.d, &p.rank[0], CAUSE_PEER);
        double_ended_by(p.d, &p.rank[0], others[i], 9);
        take_end(p.d, &p.rank[0], others[i]);
        take_stage_ended(p.d, 0, STATE_FAILED);
        take_job_ended(p.d, p.job, STATE_FAILED);
        double_close(p.d);
    }
}

static void assert_end_speaks(const struct core_double *d, bool speaks)
{
    assert_int_equal(d->items[0].kind, ACT_PERSIST);
    assert_int_equal(d->items[0].fact.kind, FACT_ENDED);
    assert_int_equal(d->items[0].speaks, speaks);
}

/* The others are told that the work is done, and after the grace to go; the first success is the task's. */
static void test_the_first_success_is_the_tasks(void **state)
{
    (void)state;
    struct pair p = open_pair(1, 2);
    double_ended(p.d, &p.rank[0], CAUSE_SIGNAL);
    assert_end_speaks(p.d, false);
    take_end(p.d, &p.rank[0], CAUSE_SIGNAL);
    take_membership(p.d, (const struct core_fact *[]){&p.rank[1]}, 1);
    double_tick(p.d, SECOND);
    p.rank[2] = take_assigned(p.d, 1);
    ready(p.d, &p.rank[2]);
    take_membership(p.d, (const struct core_fact *[]){&p.rank[1], &p.rank[2]}, 2);
    double_ended(p.d, &p.rank[1], CAUSE_NONE);
    assert_end_speaks(p.d, true);
    take_end(p.d, &p.rank[1], CAUSE_NONE);
    take_answer(p.d, ACT_MEMBERS, 1, p.rank[2].attempt, 2);
    struct core_membership now = core_attempt_members(p.d->core, p.rank[2].attempt, NULL, 0);
    assert_true(now.generation > p.generation);
    assert_int_equal(now.count, 0);
    double_tick(p.d, p.stage.grace_ns);
    take_kill(p.d, &p.rank[2], CAUSE_REQUEUE);
    double_ended(p.d, &p.rank[2], CAUSE_SIGNAL);
    assert_end_speaks(p.d, false);
    take_end(p.d, &p.rank[2], CAUSE_SIGNAL);
    take_stage_ended(p.d, 0, STATE_SUCCEEDED);
    take_job_ended(p.d, p.job, STATE_SUCCEEDED);
    double_close(p.d);
}

static void test_notes_of_the_lowest_member_count(void **state)
{
    (void)state;
    struct pair p = open_pair(1, 2);
    struct core_event note = {
        .kind = EV_NOTE, .worker = 2, .attempt = p.rank[1].attempt, .rank = 1, .payload = 5};
    double_step(p.d, note);
    assert_false(take(p.d, ACT_RECORD)->speaks);
    double_ended(p.d, &p.rank[0], CAUSE_NODE);
    take_end(p.d, &p.rank[0], CAUSE_NODE);
    take_membership(p.d, (const struct core_fact *[]){&p.rank[1]}, 1);
    double_step(p.d, note);
    assert_true(take(p.d, ACT_RECORD)->speaks);
    double_close(p.d);
}

/* It would compute other bits: it is sent away, and its worker is not asked again. */
static void test_another_engine_is_not_let_in(void **state)
{
    (void)state;
    struct pair p = open_pair(1, 3);
    double_hello(p.d, 3, cpus(1));
    p.rank[2] = take_assigned(p.d, 3);
    say_ready(p.d, &p.rank[2], ENGINE + 1, 0);
    take_kill(p.d, &p.rank[2], CAUSE_PEER);
    take_membership(p.d, (const struct core_fact *[]){&p.rank[0], &p.rank[1]}, 2);
    double_ended(p.d, &p.rank[2], CAUSE_PEER);
    take_end(p.d, &p.rank[2], CAUSE_PEER);
    double_tick(p.d, 10 * SECOND);
    double_done(p.d);
    double_hello(p.d, 4, cpus(1));
    take_assigned(p.d, 4);
    double_close(p.d);
}

/* Some cannot reach the others: the same members get a new generation, but for one whose worker has not
 * been heard of. Who says so of an older generation is only told the new one. */
static void test_a_broken_generation_is_replaced(void **state)
{
    (void)state;
    struct pair p = open_pair(1, 2);
    say_ready(p.d, &p.rank[1], ENGINE, p.generation);
    uint64_t second = take_membership(
        p.d, (const struct core_fact *[]){&p.rank[0], &p.rank[1]}, 2);
    assert_true(second > p.generation);
    say_ready(p.d, &p.rank[0], ENGINE, p.generation);
    take_answer(p.d, ACT_MEMBERS, 1, p.rank[0].attempt, 0);
    p.d->now_ns += 10 * SECOND;
    double_heartbeat(p.d, 1, p.session[1]);
    say_ready(p.d, &p.rank[0], ENGINE, second);
    uint64_t third = take_membership(p.d, (const struct core_fact *[]){&p.rank[0]}, 1);
    assert_true(third > second);
    /* It was only away: it comes back. */
    double_heartbeat(p.d, 2, p.session[2]);
    say_ready(p.d, &p.rank[1], ENGINE, third);
    take_membership(p.d, (const struct core_fact *[]){&p.rank[0], &p.rank[1]}, 2);
    double_close(p.d);
}

static struct core_job_desc urgent(const struct core_stage_desc *stage)
{
    struct core_job_desc desc = simple_job(stage, 1);
    desc.priority = 1;
    return desc;
}

/* One rank goes, the youngest, and only for a higher priority; it does not come back while others wait. */
static void test_ranks_are_given_back(void **state)
{
    (void)state;
    struct pair p = open_pair(1, 2);
    struct core_stage_desc one = simple_stage();
    struct core_job_desc equal = simple_job(&one, 1);
    uint64_t waiting = double_submit(p.d, &equal);
    double_done(p.d); /* it waits like any */
    struct core_job_desc desc = urgent(&one);
    double_submit_raw(p.d, &desc);
    take_fact(p.d, FACT_JOB_SUBMITTED);
    take_reply(p.d, REPLY_OK);
    take_kill(p.d, &p.rank[1], CAUSE_REQUEUE);
    /* Another one finds nothing that could still be given: rank 0 is the least. */
    double_submit(p.d, &desc);
    double_done(p.d);
    double_ended(p.d, &p.rank[1], CAUSE_REQUEUE);
    take_end(p.d, &p.rank[1], CAUSE_REQUEUE);
    take_membership(p.d, (const struct core_fact *[]){&p.rank[0]}, 1);
    struct core_fact first = take_assigned(p.d, 2);
    double_ended(p.d, &first, CAUSE_NONE);
    take_end(p.d, &first, CAUSE_NONE);
    take_stage_ended(p.d, 0, STATE_SUCCEEDED);
    take_job_ended(p.d, first.job, STATE_SUCCEEDED);
    struct core_fact second = take_assigned(p.d, 2);
    double_tick(p.d, 10 * SECOND);
    double_ended(p.d, &second, CAUSE_NONE);
    take_end(p.d, &second, CAUSE_NONE);
    take_stage_ended(p.d, 0, STATE_SUCCEEDED);
    take_job_ended(p.d, second.job, STATE_SUCCEEDED);
    struct core_fact third = take_assigned(p.d, 2);
    assert_int_equal(third.job, waiting);
    double_close(p.d);
}

/* What is taken from one worker is of no use on another: only what makes the place goes. */
static void test_no_more_is_given_than_it_takes(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = elastic(1, 4);
    struct core_job_desc desc = simple_job(&stage, 1);
    struct core_fact rank[4];
    double_hello(d, 1, cpus(2));
    double_hello(d, 2, cpus(2));
    double_submit(d, &desc);
    for (uint32_t i = 0; i < 4; i++) {
        rank[i] = take_assigned(d, 1 + i % 2);
    }
    struct core_stage_desc two = simple_stage();
    two.per_rank = cpus(2);
    struct core_job_desc wide = urgent(&two);
    double_submit_raw(d, &wide);
    take_fact(d, FACT_JOB_SUBMITTED);
    take_reply(d, REPLY_OK);
    take_kill(d, &rank[3], CAUSE_REQUEUE);
    take_kill(d, &rank[1], CAUSE_REQUEUE);
    double_close(d);
}

/* Room that somebody of its own priority waits for is not taken. */
static void test_does_not_grow_past_who_waits(void **state)
{
    (void)state;
    struct pair p = open_pair(1, 3);
    struct core_stage_desc two = simple_stage();
    two.per_rank = cpus(2);
    struct core_job_desc desc = simple_job(&two, 1);
    double_hello(p.d, 3, cpus(2));
    p.rank[2] = take_assigned(p.d, 3);
    uint64_t waiting = double_submit(p.d, &desc);
    double_done(p.d);
    double_ended(p.d, &p.rank[2], CAUSE_SIGNAL);
    take_end(p.d, &p.rank[2], CAUSE_SIGNAL);
    struct core_fact other = take_assigned(p.d, 3);
    assert_int_equal(other.job, waiting);
    double_tick(p.d, 10 * SECOND);
    double_close(p.d);
}

/* A new leader hears from all before it makes a membership, which is newer than every older one. */
static void test_a_new_leader_waits_for_all(void **state)
{
    (void)state;
    struct pair p = open_pair(1, 2);
    double_ended(p.d, &p.rank[0], CAUSE_SIGNAL);
    take_end(p.d, &p.rank[0], CAUSE_SIGNAL);
    take_membership(p.d, (const struct core_fact *[]){&p.rank[1]}, 1);
    double_tick(p.d, SECOND);
    p.rank[2] = take_assigned(p.d, 1);
    double_crash(p.d);
    double_step(p.d, (struct core_event){.kind = EV_RESTORED});
    const struct core_claim two = {.attempt = p.rank[2].attempt, .rank = 2};
    const struct core_claim one = {.attempt = p.rank[1].attempt, .rank = 1};
    double_hello_claiming(p.d, 1, cpus(1), &two, 1);
    take(p.d, ACT_WELCOME);
    double_hello_claiming(p.d, 2, cpus(1), &one, 1);
    take(p.d, ACT_WELCOME);
    ready(p.d, &p.rank[1]);
    double_done(p.d);
    ready(p.d, &p.rank[2]);
    uint64_t now =
        take_membership(p.d, (const struct core_fact *[]){&p.rank[1], &p.rank[2]}, 2);
    assert_true(now > p.generation && now >> 32 == p.d->epoch);
    /* What was lost before still counts: the next number is 3. */
    double_ended(p.d, &p.rank[2], CAUSE_SIGNAL);
    take_end(p.d, &p.rank[2], CAUSE_SIGNAL);
    take_membership(p.d, (const struct core_fact *[]){&p.rank[1]}, 1);
    double_tick(p.d, 10 * SECOND);
    assert_int_equal(take_assigned(p.d, 1).rank, 3);
    double_close(p.d);
}

/* The work was done when the leader died: the next one still lets the others go. */
static void test_done_outlives_the_leader(void **state)
{
    (void)state;
    struct pair p = open_pair(1, 2);
    double_ended(p.d, &p.rank[0], CAUSE_NONE);
    take_end(p.d, &p.rank[0], CAUSE_NONE);
    take_answer(p.d, ACT_MEMBERS, 2, p.rank[1].attempt, 1);
    double_crash(p.d);
    double_step(p.d, (struct core_event){.kind = EV_RESTORED});
    const struct core_claim one = {.attempt = p.rank[1].attempt, .rank = 1};
    double_hello_claiming(p.d, 2, cpus(1), &one, 1);
    take(p.d, ACT_WELCOME);
    ready(p.d, &p.rank[1]);
    take_answer(p.d, ACT_MEMBERS, 2, p.rank[1].attempt, 1);
    assert_int_equal(core_attempt_members(p.d->core, p.rank[1].attempt, NULL, 0).count, 0);
    double_ended(p.d, &p.rank[1], CAUSE_NONE);
    assert_end_speaks(p.d, false);
    take_end(p.d, &p.rank[1], CAUSE_NONE);
    take_stage_ended(p.d, 0, STATE_SUCCEEDED);
    take_job_ended(p.d, p.job, STATE_SUCCEEDED);
    double_close(p.d);
}

/* A command starts with what is free; another size is another attempt. */
static void test_a_command_resizes_by_starting_again(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    limits.lease_ns = 1000 * SECOND;
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = elastic(1, 2);
    stage.resize = RESIZE_RESTART;
    struct core_job_desc desc = simple_job(&stage, 1);
    double_hello(d, 1, cpus(1));
    double_submit(d, &desc);
    struct core_fact alone = take_assigned(d, 1);
    assert_int_equal(alone.ranks, 1);
    double_hello(d, 2, cpus(1));
    double_done(d); /* not at once: it would lose what it did */
    double_tick(d, 60 * SECOND);
    take_kill(d, &alone, CAUSE_REQUEUE);
    double_ended(d, &alone, CAUSE_REQUEUE);
    take_end(d, &alone, CAUSE_REQUEUE);
    double_tick(d, SECOND);
    assert_int_equal(take_assigned(d, 1).ranks, 2);
    assert_int_equal(take_assigned(d, 2).rank, 1);
    double_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_starts_with_what_is_free_and_grows),
        cmocka_unit_test(test_does_not_start_below_its_least),
        cmocka_unit_test(test_a_lost_rank_stops_nobody),
        cmocka_unit_test(test_the_last_loss_ends_the_attempt),
        cmocka_unit_test(test_a_failure_of_the_work_stops_all),
        cmocka_unit_test(test_the_first_success_is_the_tasks),
        cmocka_unit_test(test_notes_of_the_lowest_member_count),
        cmocka_unit_test(test_another_engine_is_not_let_in),
        cmocka_unit_test(test_a_broken_generation_is_replaced),
        cmocka_unit_test(test_ranks_are_given_back),
        cmocka_unit_test(test_no_more_is_given_than_it_takes),
        cmocka_unit_test(test_does_not_grow_past_who_waits),
        cmocka_unit_test(test_a_new_leader_waits_for_all),
        cmocka_unit_test(test_done_outlives_the_leader),
        cmocka_unit_test(test_a_command_resizes_by_starting_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
