/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "tests/unit/cm.h"

#include "lib/base/heap.h"
#include "lib/base/ownership.h"
#include "lib/base/prng.h"

TEST_CATCHES_PANICS

#define NODES_MAX 64

struct item {
    struct mlq_heap_node node;
    uint32_t key;
    uint32_t id; /* breaks ties */
    bool inside; /* the naive model: a flag per item, searched in full */
};

static bool item_before(const struct mlq_heap_node *a, const struct mlq_heap_node *b)
{
    const struct item *x = (const struct item *)(const void *)a;
    const struct item *y = (const struct item *)(const void *)b;
    return x->key != y->key ? x->key < y->key : x->id < y->id;
}

static struct item *model_first(struct item *items)
{
    struct item *first = NULL;
    for (size_t i = 0; i < NODES_MAX; i++) {
        if (items[i].inside && (first == NULL || item_before(&items[i].node, &first->node))) {
            first = &items[i];
        }
    }
    return first;
}

static void check(const struct mlq_heap *heap, struct item *items)
{
    uint32_t inside = 0;
    for (size_t i = 0; i < NODES_MAX; i++) {
        assert_int_equal(mlq_heap_contains(&items[i].node), items[i].inside);
        inside += items[i].inside ? 1 : 0;
    }
    assert_int_equal(heap->count, inside);
    for (uint32_t place = 1; place <= heap->count; place++) {
        assert_int_equal(heap->nodes[place - 1]->place, place);
        assert_true(place == 1 || item_before(heap->nodes[place / 2 - 1], heap->nodes[place - 1]));
    }
    struct item *first = model_first(items);
    assert_ptr_equal(mlq_heap_peek(heap), first == NULL ? NULL : &first->node);
}

static void random_step(struct mlq_heap *heap, struct item *items, struct mlq_prng *prng,
                        uint32_t keys)
{
    struct item *item = &items[mlq_prng_below(prng, NODES_MAX)];
    switch (mlq_prng_below(prng, 5)) {
    case 0:
    case 1:
        if (!item->inside) {
            item->key = (uint32_t)mlq_prng_below(prng, keys);
            mlq_heap_push(heap, &item->node);
            item->inside = true;
        }
        break;
    case 2: {
        struct item *first = model_first(items);
        struct mlq_heap_node *popped = mlq_heap_pop(heap);
        assert_ptr_equal(popped, first == NULL ? NULL : &first->node);
        if (first != NULL) {
            first->inside = false;
        }
        break;
    }
    case 3:
        mlq_heap_remove(heap, &item->node);
        item->inside = false;
        break;
    case 4:
        if (item->inside) {
            item->key = (uint32_t)mlq_prng_below(prng, keys);
            mlq_heap_moved(heap, &item->node);
        }
        break;
    }
}

static void agrees_with_a_naive_model(void **state)
{
    (void)state;
    const uint32_t key_ranges[] = {1, 3, 50, UINT32_MAX};
    for (uint64_t seed = 0; seed < 12; seed++) {
        struct item items[NODES_MAX] = {0};
        struct mlq_heap_node *places[NODES_MAX];
        for (uint32_t i = 0; i < NODES_MAX; i++) {
            items[i].id = i;
        }
        struct mlq_heap heap;
        mlq_heap_init(&heap, places, NODES_MAX, item_before);
        struct mlq_prng prng;
        mlq_prng_seed(&prng, seed);
        for (int step = 0; step < 4000; step++) {
            random_step(&heap, items, &prng, key_ranges[seed % 4]);
            check(&heap, items);
        }
    }
}

static void drains_in_order(void **state)
{
    (void)state;
    static struct item items[5000];
    static struct mlq_heap_node *places[5000];
    struct mlq_heap heap;
    mlq_heap_init(&heap, places, 5000, item_before);
    struct mlq_prng prng;
    mlq_prng_seed(&prng, 9);
    for (uint32_t i = 0; i < 5000; i++) {
        items[i] = (struct item){.key = (uint32_t)mlq_prng_below(&prng, 100), .id = i};
        mlq_heap_push(&heap, &items[i].node);
    }
    struct mlq_heap_node *last = mlq_heap_pop(&heap);
    for (uint32_t i = 1; i < 5000; i++) {
        struct mlq_heap_node *node = mlq_heap_pop(&heap);
        assert_true(item_before(last, node));
        last = node;
    }
    assert_null(mlq_heap_pop(&heap));
    assert_null(mlq_heap_peek(&heap));
}

static void misuse_panics(void **state)
{
    (void)state;
    struct item a = {.id = 1};
    struct item b = {.id = 2};
    struct mlq_heap_node *places[1];
    struct mlq_heap heap;
    mlq_heap_init(&heap, places, 1, item_before);
    mlq_heap_push(&heap, &a.node);
    assert_panics(mlq_heap_push(&heap, &a.node));  /* twice */
    assert_panics(mlq_heap_push(&heap, &b.node));  /* full */
    assert_panics(mlq_heap_moved(&heap, &b.node)); /* in no heap */
    struct mlq_heap_node *other_places[1];
    struct mlq_heap other;
    mlq_heap_init(&other, other_places, 1, item_before);
    mlq_heap_push(&other, &b.node);
    assert_panics(mlq_heap_remove(&heap, &b.node)); /* in another heap */
    mlq_heap_remove(&other, &b.node);
    mlq_heap_remove(&other, &b.node); /* in none: legal */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_a_naive_model),
        cmocka_unit_test(drains_in_order),
        cmocka_unit_test(misuse_panics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
