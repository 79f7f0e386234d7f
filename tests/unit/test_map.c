/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "tests/unit/cm.h"

#include "lib/base/map.h"
#include "lib/base/prng.h"

TEST_CATCHES_PANICS

#define CAPACITY 100
#define UNIVERSE 300 /* keys the random test draws from */

static _Alignas(max_align_t) unsigned char block[1 << 16];

static void make(struct mlq_map *map, uint32_t capacity)
{
    struct mlq_arena arena;
    mlq_arena_init(&arena, block, sizeof block);
    assert_true(mlq_map_init(map, &arena, capacity));
    assert_int_equal(mlq_arena_mark(&arena), mlq_map_footprint(capacity));
}

struct model {
    uint64_t keys[UNIVERSE];
    uint32_t values[UNIVERSE];
    bool present[UNIVERSE];
};

static void check(const struct mlq_map *map, const struct model *model)
{
    for (size_t i = 0; i < UNIVERSE; i++) {
        uint32_t value = 0xdeadbeef;
        assert_int_equal(mlq_map_find(map, model->keys[i], &value), model->present[i]);
        assert_int_equal(value, model->present[i] ? model->values[i] : 0xdeadbeef);
    }
}

/* Keys whose hashes end alike: they all want the same place, so runs are long and wrap around. */
static uint64_t colliding_key(uint64_t *from, uint32_t mask, uint32_t home)
{
    do {
        (*from)++;
    } while (((uint32_t)mlq_hash_in_runs(*from) & mask) != home);
    return *from;
}

static void random_steps(struct mlq_map *map, struct model *model, uint64_t seed)
{
    struct mlq_prng prng;
    mlq_prng_seed(&prng, seed);
    for (int step = 0; step < 3000; step++) {
        size_t i = (size_t)mlq_prng_below(&prng, UNIVERSE);
        if (model->present[i]) {
            mlq_map_remove(map, model->keys[i]);
            model->present[i] = false;
        } else if (map->count < CAPACITY) {
            model->values[i] = (uint32_t)mlq_prng_next(&prng);
            model->present[i] = true;
            mlq_map_insert(map, model->keys[i], model->values[i]);
        } else {
            mlq_map_remove(map, model->keys[i]); /* absent: legal, changes nothing */
        }
        if (step % 7 == 0) {
            check(map, model);
        }
    }
    check(map, model);
}

static void agrees_with_a_naive_model(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        struct mlq_map map;
        make(&map, CAPACITY);
        struct model model = {0};
        uint64_t from = seed * 1000;
        for (size_t i = 0; i < UNIVERSE; i++) {
            /* Even seeds: consecutive ids, as tables have them. Odd ones: the worst case, near the
             * array's end so that probe runs wrap. */
            model.keys[i] = seed % 2 == 0
                                ? from + i + 1
                                : colliding_key(&from, map.mask, map.mask - (uint32_t)(i % 3));
        }
        random_steps(&map, &model, seed);
    }
}

static void extreme_keys_and_values(void **state)
{
    (void)state;
    struct mlq_map map;
    make(&map, 3);
    uint32_t value = 0;
    mlq_map_insert(&map, 1, 0);
    mlq_map_insert(&map, UINT64_MAX, UINT32_MAX);
    mlq_map_insert(&map, UINT64_C(1) << 63, 7);
    assert_true(mlq_map_find(&map, UINT64_MAX, &value));
    assert_int_equal(value, UINT32_MAX);
    assert_true(mlq_map_find(&map, 1, &value));
    assert_int_equal(value, 0);
}

/* Key 0 marks a free entry inside: from outside it is just a key that is never there. */
static void key_zero_is_absent(void **state)
{
    (void)state;
    struct mlq_map map;
    make(&map, 4);
    uint32_t value;
    mlq_map_insert(&map, 5, 50);
    assert_false(mlq_map_find(&map, 0, &value));
    mlq_map_remove(&map, 0);
    assert_int_equal(map.count, 1);
    assert_true(mlq_map_find(&map, 5, &value));
}

static void every_capacity_can_be_filled(void **state)
{
    (void)state;
    for (uint32_t capacity = 0; capacity < 70; capacity++) {
        struct mlq_map map;
        make(&map, capacity);
        for (uint64_t key = 1; key <= capacity; key++) {
            mlq_map_insert(&map, key, (uint32_t)key);
        }
        uint32_t value;
        assert_false(mlq_map_find(&map, capacity + 1, &value)); /* and the search ends */
        assert_panics(mlq_map_insert(&map, capacity + 1, 0));
    }
}

static void no_room_is_said(void **state)
{
    (void)state;
    struct mlq_arena arena;
    struct mlq_map map;
    mlq_arena_init(&arena, block, mlq_map_footprint(10) - 16);
    assert_false(mlq_map_init(&map, &arena, 10));
}

static void misuse_panics(void **state)
{
    (void)state;
    struct mlq_map map;
    make(&map, 2);
    mlq_map_insert(&map, 9, 1);
    assert_panics(mlq_map_insert(&map, 9, 2));
    assert_panics(mlq_map_insert(&map, 0, 2));
    assert_panics(mlq_map_footprint(UINT32_C(1) << 30));
    assert_panics(mlq_map_footprint(UINT32_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_a_naive_model), cmocka_unit_test(extreme_keys_and_values),
        cmocka_unit_test(key_zero_is_absent),        cmocka_unit_test(every_capacity_can_be_filled),
        cmocka_unit_test(no_room_is_said),           cmocka_unit_test(misuse_panics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
