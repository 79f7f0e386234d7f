/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "tests/unit/cm.h"

#include <string.h>

#include "lib/base/arena.h"

TEST_CATCHES_PANICS

static _Alignas(max_align_t) unsigned char block[1024];

static void gives_zeroed_aligned_memory_that_does_not_overlap(void **state)
{
    (void)state;
    memset(block, 0xff, sizeof block);
    struct mlq_arena arena;
    mlq_arena_init(&arena, block, sizeof block);
    unsigned char *end = block;
    for (size_t bytes = 0; bytes < 20; bytes++) {
        unsigned char *memory = mlq_arena_alloc(&arena, bytes);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % _Alignof(max_align_t), 0);
        assert_true(memory >= end);
        for (size_t i = 0; i < bytes; i++) {
            assert_int_equal(memory[i], 0);
        }
        memset(memory, 0xaa, bytes);
        end = memory + bytes;
    }
}

static void footprint_is_what_is_taken(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < 100; bytes++) {
        struct mlq_arena arena;
        mlq_arena_init(&arena, block, sizeof block);
        assert_non_null(mlq_arena_alloc(&arena, bytes));
        assert_int_equal(mlq_arena_mark(&arena), mlq_arena_footprint(bytes));
    }
}

static void a_full_block_refuses_and_stays_usable(void **state)
{
    (void)state;
    struct mlq_arena arena;
    mlq_arena_init(&arena, block, 64);
    assert_non_null(mlq_arena_alloc(&arena, 48));
    assert_null(mlq_arena_alloc(&arena, 17));
    assert_int_equal(mlq_arena_mark(&arena), 48);
    assert_non_null(mlq_arena_alloc(&arena, 16));
    assert_null(mlq_arena_alloc(&arena, 1));
    assert_non_null(mlq_arena_alloc(&arena, 0));
}

/* The last bytes of a block that is no multiple of the alignment must not be promised. */
static void an_odd_block_is_never_overrun(void **state)
{
    (void)state;
    struct mlq_arena arena;
    mlq_arena_init(&arena, block, 40);
    assert_non_null(mlq_arena_alloc(&arena, 32));
    assert_null(mlq_arena_alloc(&arena, 8));
    assert_true(arena.used <= arena.size);
}

static void huge_sizes_are_refused_not_wrapped(void **state)
{
    (void)state;
    struct mlq_arena arena;
    mlq_arena_init(&arena, block, sizeof block);
    assert_null(mlq_arena_alloc(&arena, SIZE_MAX));
    assert_null(mlq_arena_alloc(&arena, SIZE_MAX - 14));
    assert_null(mlq_arena_array(&arena, SIZE_MAX / 2, 3));
    assert_null(mlq_arena_array(&arena, SIZE_MAX / 8 + 2, 8)); /* the product wraps to 8 */
    assert_int_equal(mlq_arena_mark(&arena), 0);
    assert_non_null(mlq_arena_array(&arena, 4, 8));
}

static void rewind_and_reset_give_memory_back_zeroed(void **state)
{
    (void)state;
    struct mlq_arena arena;
    mlq_arena_init(&arena, block, sizeof block);
    void *first = mlq_arena_alloc(&arena, 16);
    size_t mark = mlq_arena_mark(&arena);
    unsigned char *second = mlq_arena_alloc(&arena, 32);
    memset(second, 0xcc, 32);
    mlq_arena_rewind(&arena, mark);
    unsigned char *again = mlq_arena_alloc(&arena, 32);
    assert_ptr_equal(second, again);
    assert_int_equal(again[31], 0);
    mlq_arena_reset(&arena);
    assert_ptr_equal(mlq_arena_alloc(&arena, 1), first);
}

static void misuse_panics(void **state)
{
    (void)state;
    struct mlq_arena arena;
    assert_panics(mlq_arena_init(&arena, block + 1, 64));
    mlq_arena_init(&arena, block, 64);
    assert_panics(mlq_arena_rewind(&arena, 16)); /* forwards */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_zeroed_aligned_memory_that_does_not_overlap),
        cmocka_unit_test(footprint_is_what_is_taken),
        cmocka_unit_test(a_full_block_refuses_and_stays_usable),
        cmocka_unit_test(an_odd_block_is_never_overrun),
        cmocka_unit_test(huge_sizes_are_refused_not_wrapped),
        cmocka_unit_test(rewind_and_reset_give_memory_back_zeroed),
        cmocka_unit_test(misuse_panics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
