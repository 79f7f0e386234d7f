/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * mlq_radix_sort beside qsort, and keys beside comparisons of numbers.
 */
#include "tests/unit/cm.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "lib/base/ownership.h"
#include "lib/base/prng.h"
#include "lib/base/radix.h"
#include "lib/sys/mem.h"

TEST_CATCHES_PANICS

#define PAIRS_MAX 700

/* Stable: `with` is the place that a pair had. */
static int compare(const void *a, const void *b)
{
    const struct mlq_radix_pair *x = a;
    const struct mlq_radix_pair *y = b;
    if (x->key != y->key) {
        return x->key < y->key ? -1 : 1;
    }
    return x->with < y->with ? -1 : 1;
}

static void sorts_as_a_stable_comparison_does(void **state)
{
    (void)state;
    struct mlq_prng prng;
    mlq_prng_seed(&prng, 1);
    for (size_t count = 0; count <= PAIRS_MAX; count += count < 20 ? 1 : 97) {
        for (unsigned bits = 1; bits <= 64; bits += 7) {
            struct mlq_radix_pair pairs[PAIRS_MAX];
            struct mlq_radix_pair scratch[PAIRS_MAX];
            struct mlq_radix_pair wanted[PAIRS_MAX];
            for (size_t i = 0; i < count; i++) {
                uint64_t key = mlq_prng_next(&prng) >> (64 - bits) << (bits % 3 == 0 ? 64 - bits : 0);
                wanted[i] = pairs[i] = (struct mlq_radix_pair){.key = key, .with = i};
            }
            mlq_radix_sort(pairs, scratch, count);
            qsort(wanted, count, sizeof *wanted, compare);
            for (size_t i = 0; i < count; i++) {
                assert_int_equal(pairs[i].key, wanted[i].key);
                assert_int_equal(pairs[i].with, wanted[i].with);
            }
        }
    }
}

static int compare_keys(const void *a, const void *b)
{
    const uint64_t *x = a;
    const uint64_t *y = b;
    return *x < *y ? -1 : *x > *y ? 1 : 0;
}

static void sorts_keys_alone(void **state)
{
    (void)state;
    static const size_t counts[] = {0, 1, 2, 3, 100, 8191, 8192, 20000};
    uint64_t *keys = mlq_alloc_array(20000, sizeof *keys);
    uint64_t *scratch = mlq_alloc_array(20000, sizeof *scratch);
    uint64_t *wanted = mlq_alloc_array(20000, sizeof *wanted);
    struct mlq_prng prng;
    mlq_prng_seed(&prng, 2);
    for (size_t n = 0; n < MLQ_COUNT_OF(counts); n++) {
        for (unsigned bits = 1; bits <= 64; bits += 7) {
            for (size_t i = 0; i < counts[n]; i++) {
                keys[i] = mlq_prng_next(&prng) >> (64 - bits) << (bits % 3 == 0 ? 64 - bits : 0);
                wanted[i] = keys[i];
            }
            mlq_radix_sort_keys(keys, scratch, counts[n]);
            qsort(wanted, counts[n], sizeof *wanted, compare_keys);
            assert_memory_equal(keys, wanted, counts[n] * sizeof *keys);
        }
    }
    mlq_free(keys);
    mlq_free(scratch);
    mlq_free(wanted);
}

static void keys_are_in_the_order_of_numbers(void **state)
{
    (void)state;
    static const double ordered[] = {
        -(double)INFINITY, -DBL_MAX, -1.5, -1, -DBL_MIN, -DBL_TRUE_MIN, -0.0, 0.0,
        DBL_TRUE_MIN,      DBL_MIN,  1,    1.5, 1e300,   (double)INFINITY,
    };
    for (size_t i = 0; i < MLQ_COUNT_OF(ordered); i++) {
        double back = mlq_radix_value(mlq_radix_key(ordered[i]));
        assert_memory_equal(&back, &ordered[i], sizeof back);
        assert_true(i == 0 || mlq_radix_key(ordered[i - 1]) < mlq_radix_key(ordered[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sorts_as_a_stable_comparison_does),
        cmocka_unit_test(sorts_keys_alone),
        cmocka_unit_test(keys_are_in_the_order_of_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
