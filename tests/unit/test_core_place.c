/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Order and place: who goes first, where to, who may overtake whom. And the small pure parts below:
 * resource vectors and slots.
 */
#include "tests/unit/core_double.h"

#include "scheduler/core/dispatch.h"
#include "scheduler/core/rvec.h"
#include "scheduler/core/slots.h"

static struct core_stage_desc stage_asking(int64_t cpu_count, int32_t gpus)
{
    struct core_stage_desc stage = simple_stage();
    stage.per_rank = cpus(cpu_count);
    stage.per_rank.gpus = gpus;
    return stage;
}

static void finish(struct core_double *d, const struct core_fact *run)
{
    double_ended(d, run, CAUSE_NONE);
    take_end(d, run, CAUSE_NONE);
    take_stage_ended(d, 0, STATE_SUCCEEDED);
    take_job_ended(d, run->job, STATE_SUCCEEDED);
}

/* Priority first, then the order of submission. */
static void test_order_of_the_queue(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = simple_stage();
    const int32_t priorities[] = {0, 5, -5, 5, 0, INT32_MAX, INT32_MIN};
    const uint64_t order[] = {6, 2, 4, 1, 5, 3, 7};
    struct core_job_desc descs[7];
    for (uint32_t i = 0; i < 7; i++) {
        descs[i] = simple_job(&stage, 1);
        descs[i].priority = priorities[i];
        double_submit(d, &descs[i]);
    }
    double_hello(d, 1, cpus(1));
    for (uint32_t i = 0; i < 7; i++) {
        struct core_fact run = take_assigned(d, 1);
        assert_int_equal(run.job, order[i]);
        finish(d, &run);
    }
    double_close(d);
}

/* A retry keeps the place in the queue that its job has. */
static void test_stages_of_one_job_go_in_order(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stages[] = {simple_stage(), stage_asking(2, 0), simple_stage()};
    struct core_job_desc desc = simple_job(stages, 3);
    double_submit(d, &desc);
    double_hello(d, 1, cpus(8));
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(take_assigned(d, 1).stage, i);
    }
    double_close(d);
}

static void test_cpu_work_goes_where_most_is_free(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct rvec with_gpus = cpus(64);
    with_gpus.gpus = 8;
    double_hello(d, 1, with_gpus);
    double_hello(d, 3, cpus(2));
    double_hello(d, 2, cpus(4));
    struct core_stage_desc stage = simple_stage();
    stage.array_count = 8;
    struct core_job_desc desc = simple_job(&stage, 1);
    double_submit(d, &desc);
    /* 4 3 | 2:2 tie, lower number first | … and the machine with GPUs only when no other has room
     */
    const uint32_t expected[] = {2, 2, 2, 3, 2, 3, 1, 1};
    for (uint32_t i = 0; i < 8; i++) {
        take_assigned(d, expected[i]);
    }
    double_close(d);
}

/* The worker with the most CPUs lacks memory: another one is found. */
static void test_memory_counts_too(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    double_hello(d, 1, (struct rvec){.cpu_milli = 64000, .mem_bytes = GIB / 2});
    double_hello(d, 2, (struct rvec){.cpu_milli = 2000, .mem_bytes = 4 * GIB});
    struct core_stage_desc stage = simple_stage();
    struct core_job_desc desc = simple_job(&stage, 1);
    double_submit(d, &desc);
    take_assigned(d, 2);
    double_close(d);
}

/* Small work overtakes big work that does not fit (backfill) … */
static void test_small_work_runs_past_big_work(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    struct core_double *d = double_open(&limits);
    struct core_stage_desc small = simple_stage();
    struct core_stage_desc big = stage_asking(2, 0);
    struct core_job_desc small_job = simple_job(&small, 1);
    struct core_job_desc big_job = simple_job(&big, 1);
    double_hello(d, 1, cpus(2));
    double_submit(d, &small_job);
    struct core_fact a = take_assigned(d, 1);
    double_submit(d, &big_job);
    double_submit(d, &small_job);
    struct core_fact b = take_assigned(d, 1);
    finish(d, &a);
    finish(d, &b);
    assert_int_equal(take_assigned(d, 1).job, 2);
    double_close(d);
}

/* … but not for longer than starve_ns: then the workers that it could use are kept for it. Others
 * are not. */
static void test_starving_work_is_not_overtaken(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    limits.lease_ns = 1000 * SECOND;
    struct core_double *d = double_open(&limits);
    struct core_stage_desc small = simple_stage();
    struct core_stage_desc big = stage_asking(2, 0);
    struct core_job_desc small_job = simple_job(&small, 1);
    struct core_job_desc big_job = simple_job(&big, 1);
    double_hello(d, 1, cpus(2));
    double_submit(d, &small_job);
    struct core_fact a = take_assigned(d, 1);
    uint64_t big_id = double_submit(d, &big_job);
    d->now_ns += limits.starve_ns + 1;
    uint64_t later = double_submit(d, &small_job); /* there is room for it, but it has to wait */
    double_hello(d, 2, cpus(1));                   /* too small to be of use to the big one */
    assert_int_equal(take_assigned(d, 2).job, later);
    uint64_t last = double_submit(d, &small_job);
    finish(d, &a);
    struct core_fact run = take_assigned(d, 1);
    assert_int_equal(run.job, big_id);
    finish(d, &run);
    assert_int_equal(take_assigned(d, 1).job, last);
    double_close(d);
}

/* What could never run holds nobody back; nor does what was cancelled. */
static void test_infeasible_work_holds_nobody_back(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    limits.lease_ns = 1000 * SECOND;
    struct core_double *d = double_open(&limits);
    struct core_stage_desc small = simple_stage();
    struct core_stage_desc big = stage_asking(2, 0);
    struct core_stage_desc huge = stage_asking(3, 0);
    struct core_job_desc small_job = simple_job(&small, 1);
    struct core_job_desc big_job = simple_job(&big, 1);
    struct core_job_desc huge_job = simple_job(&huge, 1);
    double_hello(d, 1, cpus(2));
    double_submit(d, &huge_job);
    assert_false(core_is_feasible(d->core, &huge));
    d->now_ns += limits.starve_ns + 1;
    double_submit(d, &small_job);
    take_assigned(d, 1);
    uint64_t big_id = double_submit(d, &big_job);
    d->now_ns += limits.starve_ns + 1;
    uint64_t waiting = double_submit(d, &small_job);
    double_step(d, (struct core_event){.kind = EV_CANCEL, .request = ++d->requests, .job = big_id});
    take_fact(d, FACT_JOB_CANCELLED);
    take_reply(d, REPLY_OK);
    take_stage_ended(d, 0, STATE_CANCELLED);
    take_job_ended(d, big_id, STATE_CANCELLED);
    assert_int_equal(take_assigned(d, 1).job, waiting);
    double_close(d);
}

/* However many tasks of one kind wait in front, one of another kind behind them finds its place. */
static void test_a_queue_of_one_kind_hides_no_other(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    limits.jobs_max = limits.stages_max = 300;
    struct core_double *d = double_open(&limits);
    struct core_stage_desc gpu = stage_asking(1, 1);
    struct core_job_desc gpu_job = simple_job(&gpu, 1);
    struct core_stage_desc small = simple_stage();
    struct core_job_desc small_job = simple_job(&small, 1);
    double_hello(d, 1, cpus(2));
    for (uint32_t i = 0; i < 4 * DISPATCH_SCAN_MAX; i++) {
        double_submit(d, &gpu_job);
    }
    assert_int_equal(core_count(d->core).stages_ready, 4 * DISPATCH_SCAN_MAX);
    double_submit(d, &small_job);
    take_assigned(d, 1);
    double_close(d);
}

/* More work than one event has room for is done in the next ones, which are due at once. */
static void test_one_event_does_bounded_work(void **state)
{
    (void)state;
    struct core_limits limits = double_limits();
    limits.tasks_max = limits.members_max = 4000;
    struct core_double *d = double_open(&limits);
    struct core_stage_desc stage = simple_stage();
    stage.array_count = 3900;
    struct core_job_desc desc = simple_job(&stage, 1);
    for (uint32_t worker = 0; worker < 4; worker++) {
        double_hello(d, worker, cpus(1000));
    }
    double_submit(d, &desc);
    uint32_t steps = 0;
    uint32_t assigned = 0;
    for (;;) {
        for (uint32_t i = d->taken; i < d->actions.count; i++) {
            assigned += d->items[i].kind == ACT_ASSIGN ? 1 : 0;
        }
        d->taken = d->actions.count;
        d->fact_count = 0;
        if (core_next_deadline_ns(d->core) > d->now_ns) {
            break;
        }
        double_tick(d, 0);
        steps++;
    }
    assert_int_equal(assigned, 3900);
    assert_in_range(steps, 2, 4);
    double_step(d, (struct core_event){.kind = EV_CANCEL, .request = ++d->requests, .job = 1});
    uint32_t kills = 0;
    for (;;) {
        for (uint32_t i = 0; i < d->actions.count; i++) {
            kills += d->items[i].kind == ACT_KILL ? 1 : 0;
        }
        d->taken = d->actions.count;
        if (core_next_deadline_ns(d->core) > d->now_ns) {
            break;
        }
        double_tick(d, 0);
    }
    assert_int_equal(kills, 3900);
    /* A worker with 975 tasks is lost; a thousand facts do fit. The others end by themselves. */
    double_step(d, (struct core_event){.kind = EV_WORKER_LEAVING, .worker = 1});
    assert_int_equal(d->actions.count, 975);
    d->taken = d->actions.count;
    d->fact_count = 0;
    assert_int_equal(core_count(d->core).members, 3900 - 975);
    double_close(d);
}

/* ---- Small parts --------------------------------------------------------------------------------
 */

static void test_vectors(void **state)
{
    (void)state;
    struct rvec two = {.cpu_milli = 2000, .mem_bytes = 10, .gpus = 1};
    struct rvec none = {0};
    struct rvec less_than_none = {.cpu_milli = -1, .mem_bytes = -1};
    assert_true(rvec_fits(&two, &two));
    assert_true(rvec_fits(&two, &none));
    assert_true(rvec_fits(&less_than_none, &none));
    assert_false(rvec_fits(&none, &two));
    struct rvec sum = two;
    rvec_add(&sum, &two);
    assert_int_equal(rvec_times(&sum, &two, 100), 2);
    assert_int_equal(rvec_times(&sum, &none, 100), 100);
    assert_int_equal(rvec_times(&less_than_none, &two, 100), 0);
    rvec_subtract(&sum, &two);
    assert_true(rvec_equal(&sum, &two));
    assert_int_equal(rvec_gpu_all(0), 0);
    assert_int_equal(rvec_gpu_all(3), 7);
    assert_true(rvec_gpu_all(64) == UINT64_MAX);
    assert_int_equal(rvec_gpu_pick(0xf0f0, 3), 0x70);
    for (int32_t i = 0; i <= 64; i++) {
        assert_int_equal(rvec_gpu_count(rvec_gpu_all(i)), i);
    }
    assert_int_equal(rvec_gpu_count(UINT64_C(0x8000000100000001)), 3);
}

static void test_slots(void **state)
{
    (void)state;
    uint32_t next[3];
    struct slots slots;
    slots_init(&slots, next, 3);
    assert_int_equal(slots_take(&slots), 0);
    assert_int_equal(slots_take(&slots), 1);
    assert_int_equal(slots_take(&slots), 2);
    assert_int_equal(slots_take(&slots), SLOT_NONE);
    assert_int_equal(slots_room(&slots), 0);
    slots_give(&slots, 1);
    assert_false(slots_in_use(&slots, 1));
    assert_true(slots_in_use(&slots, 2));
    slots_audit(&slots);
    assert_int_equal(slots_take(&slots), 1);
    slots_audit(&slots);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_of_the_queue),
        cmocka_unit_test(test_stages_of_one_job_go_in_order),
        cmocka_unit_test(test_cpu_work_goes_where_most_is_free),
        cmocka_unit_test(test_memory_counts_too),
        cmocka_unit_test(test_small_work_runs_past_big_work),
        cmocka_unit_test(test_starving_work_is_not_overtaken),
        cmocka_unit_test(test_infeasible_work_holds_nobody_back),
        cmocka_unit_test(test_a_queue_of_one_kind_hides_no_other),
        cmocka_unit_test(test_one_event_does_bounded_work),
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_slots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
