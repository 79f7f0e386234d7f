/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "tests/unit/cm.h"

#include "lib/base/list.h"
#include "lib/base/ownership.h"
#include "lib/base/prng.h"

struct item {
    int before; /* makes the offset of `link` non-zero */
    struct mlq_list link;
};

static void pushes_and_pops_in_order(void **state)
{
    (void)state;
    struct mlq_list list;
    mlq_list_init(&list);
    assert_true(mlq_list_empty(&list));
    assert_null(mlq_list_pop_front(&list));
    struct item items[3];
    for (int i = 0; i < 3; i++) {
        items[i].before = i;
        mlq_list_push_back(&list, &items[i].link);
        assert_false(mlq_list_empty(&list));
    }
    for (int i = 0; i < 3; i++) {
        struct mlq_list *node = mlq_list_pop_front(&list);
        assert_ptr_equal(MLQ_CONTAINER_OF(node, struct item, link), &items[i]);
        assert_true(mlq_list_empty(node)); /* in no list: points to itself */
    }
    assert_true(mlq_list_empty(&list));
}

static void remove_is_legal_twice(void **state)
{
    (void)state;
    struct mlq_list list;
    struct mlq_list node;
    mlq_list_init(&list);
    mlq_list_init(&node);
    mlq_list_remove(&node); /* was in none */
    mlq_list_push_back(&list, &node);
    mlq_list_remove(&node);
    mlq_list_remove(&node);
    assert_true(mlq_list_empty(&list));
}

static void agrees_with_an_array(void **state)
{
    (void)state;
    struct mlq_list list;
    struct mlq_list nodes[16];
    int order[16];
    int count = 0;
    struct mlq_prng prng;
    mlq_list_init(&list);
    mlq_prng_seed(&prng, 4);
    for (int i = 0; i < 16; i++) {
        mlq_list_init(&nodes[i]);
    }
    for (int step = 0; step < 20000; step++) {
        int pick = (int)mlq_prng_below(&prng, 16);
        int at = 0;
        while (at < count && order[at] != pick) {
            at++;
        }
        if (at == count) {
            mlq_list_push_back(&list, &nodes[pick]);
            order[count++] = pick;
        } else {
            mlq_list_remove(&nodes[pick]);
            count--;
            for (; at < count; at++) {
                order[at] = order[at + 1];
            }
        }
        const struct mlq_list *node = list.next;
        for (int i = 0; i < count; i++, node = node->next) {
            assert_ptr_equal(node, &nodes[order[i]]);
            assert_ptr_equal(node->next->prev, node);
        }
        assert_ptr_equal(node, &list);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pushes_and_pops_in_order),
        cmocka_unit_test(remove_is_legal_twice),
        cmocka_unit_test(agrees_with_an_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
