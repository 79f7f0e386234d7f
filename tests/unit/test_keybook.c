/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "tests/unit/cm.h"

#include "lib/sys/mem.h"
#include "scheduler/keybook.h"

TEST_CATCHES_PANICS

static void test_keys_are_found(void **state)
{
    (void)state;
    struct keybook *book = keybook_create();
    char room[4] = "abc";
    assert_int_equal(keybook_find(book, MLQ_STR("abc")), 0);
    assert_int_equal(keybook_find(book, (struct mlq_str){0}), 0);
    keybook_put(book, mlq_str_from(room), 7);
    room[0] = 'x'; /* it has its own copy */
    assert_int_equal(keybook_find(book, MLQ_STR("abc")), 7);
    assert_int_equal(keybook_find(book, MLQ_STR("ab")), 0);
    assert_int_equal(keybook_find(book, MLQ_STR("xbc")), 0);
    assert_panics(keybook_put(book, MLQ_STR("abc"), 8));
    assert_panics(keybook_put(book, MLQ_STR("d"), 0));
    keybook_destroy(&book);
    assert_null(book);
    keybook_destroy(&book);
}

/* It grows several times, and forgets nothing. */
static void test_it_grows(void **state)
{
    (void)state;
    struct keybook *book = keybook_create();
    char key[32];
    for (uint64_t i = 1; i <= 5000; i++) {
        (void)snprintf(key, sizeof key, "key-%llu", (unsigned long long)i);
        keybook_put(book, mlq_str_from(key), i);
    }
    for (uint64_t i = 1; i <= 5000; i++) {
        (void)snprintf(key, sizeof key, "key-%llu", (unsigned long long)i);
        assert_int_equal(keybook_find(book, mlq_str_from(key)), i);
    }
    assert_int_equal(keybook_find(book, MLQ_STR("key-0")), 0);
    keybook_destroy(&book);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_keys_are_found), cmocka_unit_test(test_it_grows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
