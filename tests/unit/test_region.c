/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "tests/unit/cm.h"

#include <string.h>

#include "lib/base/prng.h"
#include "lib/sys/mem.h"
#include "lib/sys/region.h"

TEST_CATCHES_PANICS

/* Each piece is filled with its own byte; at the end all must still hold it. */
static void pieces_do_not_overlap(void **state)
{
    (void)state;
    enum { PIECES = 2000 };
    static unsigned char *pieces[PIECES];
    static size_t sizes[PIECES];
    struct mlq_region *region = mlq_region_create();
    struct mlq_prng prng;
    for (uint64_t round = 0; round < 3; round++) {
        mlq_prng_seed(&prng, round);
        size_t total = 0;
        for (size_t i = 0; i < PIECES; i++) {
            sizes[i] = (size_t)mlq_prng_below(&prng, i % 100 == 0 ? 30000 : 200);
            pieces[i] = mlq_region_alloc(region, sizes[i]);
            assert_non_null(pieces[i]);
            assert_int_equal((uintptr_t)pieces[i] % _Alignof(max_align_t), 0);
            for (size_t k = 0; k < sizes[i]; k++) {
                assert_int_equal(pieces[i][k], 0);
            }
            memset(pieces[i], (int)(i % 251) + 1, sizes[i]);
            total += sizes[i];
        }
        assert_int_equal(mlq_region_bytes(region), total);
        for (size_t i = 0; i < PIECES; i++) {
            for (size_t k = 0; k < sizes[i]; k++) {
                assert_int_equal(pieces[i][k], i % 251 + 1);
            }
        }
        mlq_region_reset(region);
        assert_int_equal(mlq_region_bytes(region), 0);
    }
    mlq_region_destroy(&region);
    assert_null(region);
    mlq_region_destroy(&region); /* NULL is fine */
}

static void block_sized_pieces(void **state)
{
    (void)state;
    struct mlq_region *region = mlq_region_create();
    for (size_t bytes = 8170; bytes < 8210; bytes++) {
        char *memory = mlq_region_alloc(region, bytes);
        memset(memory, 1, bytes);
    }
    mlq_region_destroy(&region);
}

static void texts(void **state)
{
    (void)state;
    struct mlq_region *region = mlq_region_create();
    assert_null(mlq_region_strdup(region, NULL));
    assert_string_equal(mlq_region_strdup(region, ""), "");
    assert_string_equal(mlq_region_strndup(region, (struct mlq_str){"abcdef", 3}), "abc");
    assert_string_equal(mlq_region_strndup(region, (struct mlq_str){0}), "");
    struct mlq_str copy = mlq_region_copy(region, MLQ_STR("a\0b"));
    assert_int_equal(copy.len, 3);
    assert_memory_equal(copy.ptr, "a\0b\0", 4);
    assert_string_equal(mlq_region_format(region, "%d-%s", 7, "x"), "7-x");
    char *long_text = mlq_region_format(region, "%0*d", 20000, 5);
    assert_int_equal(strlen(long_text), 20000);
    mlq_region_destroy(&region);
}

static void arrays(void **state)
{
    (void)state;
    struct mlq_region *region = mlq_region_create();
    uint64_t *numbers = mlq_region_array(region, 1000, sizeof *numbers);
    for (size_t i = 0; i < 1000; i++) {
        assert_true(numbers[i] == 0);
    }
    assert_int_equal(mlq_region_bytes(region), 8000);
    assert_non_null(mlq_region_array(region, 0, 8));
    mlq_region_destroy(&region);
}

static void sizes_that_wrap_panic(void **state)
{
    (void)state;
    struct mlq_region *region = mlq_region_create();
    assert_panics(mlq_region_alloc(region, SIZE_MAX));
    assert_panics(mlq_region_alloc(region, SIZE_MAX - 15)); /* wraps with the block's header */
    assert_panics(mlq_region_array(region, SIZE_MAX / 2, 3));
    assert_panics(mlq_region_strndup(region, (struct mlq_str){"x", SIZE_MAX}));
    mlq_region_destroy(&region);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_do_not_overlap),
        cmocka_unit_test(block_sized_pieces),
        cmocka_unit_test(texts),
        cmocka_unit_test(arrays),
        cmocka_unit_test(sizes_that_wrap_panic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
