/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "tests/unit/cm.h"

#include <string.h>

#include "lib/sys/mem.h"

TEST_CATCHES_PANICS

static void memory_comes_zeroed(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < 5000; bytes += 37) {
        unsigned char *memory = mlq_alloc(bytes);
        assert_non_null(memory);
        for (size_t i = 0; i < bytes; i++) {
            assert_int_equal(memory[i], 0);
        }
        memset(memory, 0xff, bytes);
        mlq_free(memory);
    }
    mlq_free(mlq_alloc_array(0, 8));
    mlq_free(mlq_alloc_array(8, 0));
    mlq_free(NULL);
}

static void realloc_keeps_what_was_there(void **state)
{
    (void)state;
    uint32_t *numbers = mlq_realloc_array(NULL, 4, sizeof *numbers);
    for (uint32_t i = 0; i < 4; i++) {
        numbers[i] = i;
    }
    numbers = mlq_realloc_array(numbers, 4000, sizeof *numbers);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(numbers[i], i);
    }
    numbers = mlq_realloc_array(numbers, 0, sizeof *numbers);
    assert_non_null(numbers);
    mlq_free(numbers);
    assert_panics(mlq_realloc_array(NULL, SIZE_MAX / 4 + 2, 4));
}

static void texts(void **state)
{
    (void)state;
    assert_null(mlq_strdup(NULL));
    char *copy = mlq_strdup("text");
    assert_string_equal(copy, "text");
    mlq_free_p(&copy);
    assert_null(copy);
    mlq_free_p(&copy);
    copy = mlq_strndup((struct mlq_str){"abcdef", 2});
    assert_string_equal(copy, "ab");
    mlq_free(copy);
    copy = mlq_strndup((struct mlq_str){0});
    assert_string_equal(copy, "");
    mlq_free(copy);
    copy = mlq_format("%s %05d", "n", 42);
    assert_string_equal(copy, "n 00042");
    mlq_free(copy);
    assert_panics(mlq_strndup((struct mlq_str){"x", SIZE_MAX}));
}

static void cleanup_frees_at_the_end_of_the_block(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) { /* the leak check of the sanitizer is the assertion */
        MLQ_CLEANUP(mlq_free_p) char *text = mlq_format("%d", i);
        assert_int_equal(text[0], '0' + i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_comes_zeroed),
        cmocka_unit_test(realloc_keeps_what_was_there),
        cmocka_unit_test(texts),
        cmocka_unit_test(cleanup_frees_at_the_end_of_the_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
