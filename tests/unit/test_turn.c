/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "tests/unit/cm.h"

#include <string.h>

#include "lib/sys/mem.h"
#include "scheduler/turn.h"

TEST_CATCHES_PANICS

static void test_empty_and_not(void **state)
{
    (void)state;
    struct turn *turn = turn_create();
    const struct net_address to = {.len = 5};
    assert_true(turn_is_empty(turn) && !turn_needs_commit(turn) && !turn_is_full(turn));
    (void)turn_add_progress(turn, 0.5, MLQ_STR("half")); /* a watcher wants to see it */
    assert_true(!turn_is_empty(turn) && !turn_needs_commit(turn));
    turn_reset(turn);
    assert_true(turn_is_empty(turn));
    turn_hold_reply(turn, &to, &(struct msg_reply){.id = 1});
    assert_true(!turn_is_empty(turn) && !turn_needs_commit(turn));
    turn_add_fact(turn, &(struct store_fact){.at_us = 1});
    assert_true(turn_needs_commit(turn));
    turn_reset(turn);
    assert_true(turn_is_empty(turn));
    turn_destroy(&turn);
    turn_destroy(&turn);
}

/* What a caller gives may be gone as soon as it is added. */
static void test_it_owns_its_bytes(void **state)
{
    (void)state;
    struct turn *turn = turn_create();
    char text[2000];
    memset(text, 'a', sizeof text);
    struct msg_metric metric = {.name = {text, 3}, .value = 1};
    struct msg_artifact artifact = {.name = {text, 4}, .digest = {text, 5}};
    struct msg_report_item item = {.detail = {text, sizeof text},
                                   .metrics = &metric,
                                   .metric_count = 1,
                                   .artifacts = &artifact,
                                   .artifact_count = 1};
    uint32_t handle = turn_add_payload(turn, &item);
    turn_hold_reply(turn, &(struct net_address){.len = 5}, &(struct msg_reply){.text = {text, 2}, .blob = {text, 6}});
    memset(text, 'b', sizeof text);
    memset(&metric, 0, sizeof metric);
    memset(&artifact, 0, sizeof artifact);
    const struct turn_payload *payload = turn_payload_at(turn, handle);
    assert_true(mlq_str_eq_c(payload->item->metrics[0].name, "aaa"));
    assert_true(mlq_str_eq_c(payload->item->artifacts[0].name, "aaaa"));
    assert_true(mlq_str_eq_c(payload->item->artifacts[0].digest, "aaaaa"));
    assert_int_equal(payload->detail.len, 1024);
    assert_true(mlq_str_eq_c(turn->held[0].reply.text, "aa") && mlq_str_eq_c(turn->held[0].reply.blob, "aaaaaa"));
    assert_null(turn_payload_at(turn, 0));
    assert_panics(turn_payload_at(turn, handle + 1));
    turn_destroy(&turn);
}

static void test_details_are_cut_between_characters(void **state)
{
    (void)state;
    struct turn *turn = turn_create();
    char text[1026];
    memset(text, 'a', sizeof text);
    memcpy(text + 1022, "\xe2\x82\xac", 3); /* the euro sign lies over the limit */
    uint32_t handle = turn_add_payload(turn, &(struct msg_report_item){.detail = {text, 1025}});
    assert_int_equal(turn_payload_at(turn, handle)->detail.len, 1022);
    turn_destroy(&turn);
}

static void test_a_worker_is_written_once(void **state)
{
    (void)state;
    struct turn *turn = turn_create();
    turn_add_worker(turn, &(struct store_worker){.id = 1, .cpu_milli = 1});
    turn_add_worker(turn, &(struct store_worker){.id = 2, .cpu_milli = 2});
    turn_add_worker(turn, &(struct store_worker){.id = 1, .cpu_milli = 3});
    struct store_batch batch = turn_batch(turn);
    assert_int_equal(batch.worker_count, 2);
    assert_int_equal(batch.workers[0].cpu_milli, 3);
    turn_destroy(&turn);
}

static void test_full(void **state)
{
    (void)state;
    struct turn *turn = turn_create();
    size_t items = 0;
    while (!turn_is_full(turn)) {
        turn_add_fact(turn, &(struct store_fact){.at_us = 1});
        items++;
    }
    assert_true(items > 100000 && items < 1000000);
    turn_reset(turn);
    assert_false(turn_is_full(turn));
    char *large = mlq_alloc(1 << 20);
    for (size_t i = 0; i < 64; i++) {
        assert_false(turn_is_full(turn));
        turn_hold_reply(turn, &(struct net_address){.len = 5}, &(struct msg_reply){.blob = {large, 1 << 20}});
    }
    assert_true(turn_is_full(turn));
    mlq_free(large);
    turn_destroy(&turn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_and_not),
        cmocka_unit_test(test_it_owns_its_bytes),
        cmocka_unit_test(test_details_are_cut_between_characters),
        cmocka_unit_test(test_a_worker_is_written_once),
        cmocka_unit_test(test_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
