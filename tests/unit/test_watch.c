/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Watchers are answered into a turn: what a watcher is told waits for the turn's commit.
 */
#include "tests/unit/cm.h"

#include <string.h>

#include "lib/sys/mem.h"
#include "scheduler/shell_state.h"
#include "tests/unit/spec_text.h"

TEST_CATCHES_PANICS

static const char spec[] = "apiVersion: mlq/v1\nkind: Pipeline\nmetadata: {name: t}\nspec:\n  stages:\n"
                           "    one: {run: [echo, hi]}\n";
static const struct net_address to = {.len = 5};

static int setup(void **state)
{
    struct shell *shell = mlq_alloc(sizeof *shell);
    shell->specs = specbook_create();
    shell->catalog = catalog_create(8, 1);
    shell->watch = watch_create();
    shell->open = turn_create();
    for (uint64_t id = 1; id <= 2; id++) {
        catalog_add(shell->catalog, catalog_job_create(shell->specs, spec_text_canonical(spec), NULL), id);
    }
    *state = shell;
    return 0;
}

static int teardown(void **state)
{
    struct shell *shell = *state;
    catalog_destroy(&shell->catalog);
    watch_destroy(&shell->watch);
    watch_destroy(&shell->watch);
    specbook_destroy(&shell->specs);
    turn_destroy(&shell->open);
    mlq_free(shell);
    return 0;
}

static uint64_t version(struct shell *shell, uint64_t job)
{
    return catalog_find(shell->catalog, job)->version;
}

static void change(struct shell *shell, uint64_t job)
{
    catalog_apply(shell->catalog, &(struct core_fact){.kind = FACT_JOB_CANCELLED, .job = job});
}

static void test_only_who_has_news(void **state)
{
    struct shell *shell = *state;
    assert_true(watch_add(shell->watch, &to, 11, 1, version(shell, 1), 100));
    assert_true(watch_add(shell->watch, &to, 12, 2, version(shell, 2), 50));
    watch_answer(shell->watch, shell);
    assert_true(turn_is_empty(shell->open));
    change(shell, 1);
    watch_answer(shell->watch, shell);
    assert_int_equal(shell->open->held_count, 1);
    assert_int_equal(shell->open->held[0].reply.id, 11);
    assert_non_null(strstr(shell->open->held[0].reply.blob.ptr, "\"id\":\"1\""));
    watch_answer(shell->watch, shell); /* once */
    assert_int_equal(shell->open->held_count, 1);
    assert_int_equal(watch_deadline_ns(shell->watch), 50);
    watch_expire(shell->watch, shell, 49);
    assert_int_equal(shell->open->held_count, 1);
    watch_expire(shell->watch, shell, 50);
    assert_int_equal(shell->open->held_count, 2);
    assert_int_equal(shell->open->held[1].reply.id, 12);
    assert_true(watch_deadline_ns(shell->watch) == INT64_MAX);
}

static void test_a_job_that_is_gone(void **state)
{
    struct shell *shell = *state;
    assert_true(watch_add(shell->watch, &to, 11, 1, UINT64_MAX, 100));
    catalog_remove(shell->catalog, 1);
    watch_answer(shell->watch, shell);
    assert_int_equal(shell->open->held_count, 1);
    assert_true(shell->open->held[0].reply.end);
    assert_int_equal(shell->open->held[0].reply.blob.len, 0);
}

/* Answers share one document; another job, or a change, makes another one. */
static void test_each_gets_its_own_job(void **state)
{
    struct shell *shell = *state;
    static const uint64_t jobs[] = {1, 1, 2, 1};
    for (uint64_t i = 0; i < 4; i++) {
        watch_reply(shell->watch, shell, &to, i, jobs[i]);
    }
    change(shell, 1);
    watch_reply(shell->watch, shell, &to, 4, 1);
    for (uint64_t i = 0; i < 4; i++) {
        const char *wanted = jobs[i] == 1 ? "\"id\":\"1\"" : "\"id\":\"2\"";
        assert_non_null(strstr(shell->open->held[i].reply.blob.ptr, wanted));
    }
    assert_string_not_equal(shell->open->held[4].reply.blob.ptr, shell->open->held[0].reply.blob.ptr);
}

static void test_bounds(void **state)
{
    struct shell *shell = *state;
    for (uint64_t i = 0; i < WATCH_MAX; i++) {
        assert_true(watch_add(shell->watch, &to, i, 1, 0, 100));
    }
    assert_false(watch_add(shell->watch, &to, 1, 1, 0, 100));
    /* A turn that is full takes no answers; the next one does, and nobody spins until then. */
    while (!turn_is_full(shell->open)) {
        turn_add_fact(shell->open, &(struct store_fact){.at_us = 1});
    }
    watch_answer(shell->watch, shell);
    assert_int_equal(shell->open->held_count, 0);
    assert_true(watch_is_behind(shell->watch));
    assert_true(watch_deadline_ns(shell->watch) == INT64_MAX);
    turn_reset(shell->open);
    watch_answer(shell->watch, shell);
    assert_int_equal(shell->open->held_count, WATCH_MAX);
    assert_false(watch_is_behind(shell->watch));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_only_who_has_news, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_job_that_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_each_gets_its_own_job, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bounds, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
