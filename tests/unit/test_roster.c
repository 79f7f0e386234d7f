/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "tests/unit/cm.h"

#include "scheduler/roster.h"

TEST_CATCHES_PANICS

static struct net_peer peer(const char *name, const char *key, uint8_t address)
{
    return (struct net_peer){.address = {.bytes = {0, address}, .len = 5}, .name = name, .public_key = key};
}

static void test_numbers_are_for_ever(void **state)
{
    (void)state;
    struct roster *roster = roster_create(4);
    struct net_peer new_one = peer("n", "key-n", 1);
    struct net_peer old_one = peer("other-name", "key-b", 2);
    roster_set_highest(roster, 9); /* of the record: 9 is not given again */
    roster_load(roster, &(struct store_worker){.id = 3, .name = MLQ_STR("a"), .public_key = MLQ_STR("key-a")});
    roster_load(roster, &(struct store_worker){.id = 7, .name = MLQ_STR("b"), .public_key = MLQ_STR("key-b")});
    assert_int_equal(roster_enroll(roster, &new_one)->id, 10);
    assert_int_equal(roster_enroll(roster, &new_one)->id, 10);
    struct roster_worker *renamed = roster_enroll(roster, &old_one);
    assert_int_equal(renamed->id, 7); /* a worker is its key */
    assert_string_equal(renamed->name, "other-name");
    assert_ptr_equal(roster_find(roster, 7), renamed);
    assert_null(roster_find(roster, 8));
    assert_null(roster_find(roster, 0));
    struct net_peer same_name = peer("n", "key-of-a-new-machine", 3);
    assert_int_equal(roster_enroll(roster, &same_name)->id, 11);
    struct net_peer one_more = peer("m", "key-m", 4);
    assert_null(roster_enroll(roster, &one_more)); /* full */
    assert_int_equal(roster_count(roster), 4);
    for (size_t i = 1; i < 4; i++) {
        assert_true(roster_get(roster, i - 1)->id < roster_get(roster, i)->id);
    }
    roster_destroy(&roster);
    roster_destroy(&roster);
}

/* The newest connection speaks for the worker. */
static void test_addresses(void **state)
{
    (void)state;
    struct roster *roster = roster_create(4);
    struct net_peer first = peer("n", "key-n", 1);
    struct net_peer second = peer("n", "key-n", 2);
    struct roster_worker *worker = roster_enroll(roster, &first);
    assert_null(roster_at(roster, &first.address)); /* no hello yet */
    roster_hello(worker, &first, &(struct msg_hello){.session = 1, .host = MLQ_STR("h1")}, 5);
    assert_ptr_equal(roster_at(roster, &first.address), worker);
    roster_hello(worker, &second, &(struct msg_hello){.session = 2, .host = MLQ_STR("h2"), .cpu_milli = 8}, 6);
    assert_null(roster_at(roster, &first.address));
    assert_ptr_equal(roster_at(roster, &second.address), worker);
    assert_string_equal(worker->host, "h2");
    struct store_worker row = roster_row(worker, 77);
    assert_int_equal(row.cpu_milli, 8);
    assert_int_equal(row.seen_us, 77);
    worker->connected = false;
    assert_null(roster_at(roster, &second.address));
    roster_destroy(&roster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_numbers_are_for_ever), cmocka_unit_test(test_addresses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
