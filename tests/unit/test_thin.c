/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Products with few rows have the bits that thin.h promises, of the narrow kernels and of the wide
 * ones, for every remainder of a tile, and touch nothing around their result.
 */
#include "tests/unit/cm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/ownership.h"
#include "lib/base/prng.h"
#include "lib/sys/mem.h"
#include "worker/ml/thin.h"

#define GUARD 64u /* floats on either side of a result */

/* Of different sizes, so that the order of a sum shows. */
static float number(uint64_t key, uint64_t at)
{
    float value = (float)(mlq_hash_keyed(key, at, 0) >> 40) / (float)(1 << 24) - 0.5f;
    return at % 5 == 0 ? value * 1000.0f : value;
}

static float *numbers(uint64_t key, uint64_t count)
{
    float *values = mlq_alloc_array(count, sizeof(float));
    for (uint64_t i = 0; i < count; i++) {
        values[i] = number(key, i);
    }
    return values;
}

static void expect_bits(const float *got, const float *wanted, uint64_t count)
{
    for (uint64_t i = 0; i < GUARD; i++) {
        assert_true(isnan(got[i]) && isnan(got[GUARD + count + i]));
    }
    assert_memory_equal(got + GUARD, wanted, count * sizeof(float));
}

/* ---- One by one, in the promised order ---- */

static float chain(struct thin_size size, const float *a, struct thin_step step, const float *b,
                   uint32_t i, uint32_t j)
{
    float sum = 0;
    for (uint32_t p = 0; p < size.k; p++) {
        sum = fmaf(a[i * step.m + p * step.k], b[(uint64_t)p * size.n + j], sum);
    }
    return sum;
}

static float folded(struct thin_size size, const float *a, const float *b, uint32_t i, uint32_t j)
{
    float lanes[16] = {0};
    for (uint32_t p = 0; p < size.k; p++) {
        lanes[p % 16] =
            fmaf(a[(uint64_t)i * size.k + p], b[(uint64_t)j * size.k + p], lanes[p % 16]);
    }
    for (uint32_t half = 8; half > 0; half /= 2) {
        for (uint32_t lane = 0; lane < half; lane++) {
            lanes[lane] += lanes[lane + half];
        }
    }
    return lanes[0];
}

/* ---- All shapes ---- */

static void check_size(const struct thin_kernels *kernels, struct thin_size size)
{
    uint64_t count = (uint64_t)size.m * size.n;
    float *a = numbers(1, (uint64_t)size.m * size.k), *b = numbers(2, (uint64_t)size.n * size.k);
    float *got = mlq_alloc_array(count + 2 * GUARD, sizeof(float));
    float *wanted = mlq_alloc_array(count, sizeof(float));
    const struct thin_step steps[] = {{.m = size.k, .k = 1}, {.m = 1, .k = size.m}};
    for (uint32_t kind = 0; kind < 3; kind++) {
        memset(got, 0xff, (count + 2 * GUARD) * sizeof(float)); /* NaN */
        if (kind < 2) {
            kernels->outer(size, a, steps[kind], b, got + GUARD);
        } else {
            kernels->dots(size, a, b, got + GUARD);
        }
        for (uint64_t at = 0; at < count; at++) {
            uint32_t i = (uint32_t)(at / size.n), j = (uint32_t)(at % size.n);
            wanted[at] =
                kind < 2 ? chain(size, a, steps[kind], b, i, j) : folded(size, a, b, i, j);
        }
        expect_bits(got, wanted, count);
    }
    mlq_free(a);
    mlq_free(b);
    mlq_free(got);
    mlq_free(wanted);
}

/* ---- Folded ---- */

#define SHARDS 6u
#define FIRST  3u /* of the tree: places 0 and 1 are left, others come and go */
#define FILLED 5u

static const struct tree_near nears[] = {
    {.streams_rest = false}, {.streams_rest = true}, {.streams_rest = true, .begin = 40, .end = 150}};

struct folded_case {
    const struct thin_kernels *kernels;
    struct thin_size size;
    const float *a; /* of all shards */
    const float *b;
    uint64_t at; /* in a place */
    uint64_t width;
};

/* A shard's product, into a place. */
static void multiply_one(const struct folded_case *c, uint32_t shard, float *to)
{
    uint64_t rows = (uint64_t)shard * c->size.k;
    struct thin_step step = {.m = 1, .k = c->size.m};
    for (uint64_t i = 0; i < (uint64_t)c->size.m * c->size.n; i++) {
        to[i] = shard >= FILLED ? 0
                                : chain(c->size, c->a + rows * c->size.m, step,
                                        c->b + rows * c->size.n, (uint32_t)(i / c->size.n),
                                        (uint32_t)(i % c->size.n));
    }
}

/* `count` shards from `first` on, the next ones of a tree, number by number into the places `wanted`, and
 * by the kernel into `got`. */
static void fold_both(const struct folded_case *c, struct tree *tree, uint32_t first, uint32_t count,
                      struct tree_near near, float *wanted, float *got)
{
    struct tree_fold folds[SHARDS];
    struct tree_sums sums = {.near = near};
    tree_plan(tree, FIRST + first, count, folds, &sums);
    sums.filled = first + count <= FILLED ? count : FILLED - first;
    for (uint32_t place = 0; place < SHARDS; place++) {
        sums.places[place] = wanted + place * c->width;
    }
    for (uint32_t shard = 0; shard < count; shard++) {
        multiply_one(c, first + shard, sums.places[folds[shard].top] + c->at);
        tree_fold(&sums, shard, c->at, (uint64_t)c->size.m * c->size.n);
    }
    for (uint32_t place = 0; place < SHARDS; place++) {
        sums.places[place] = got + place * c->width;
    }
    c->kernels->outer_sums(c->size, c->a + (uint64_t)first * c->size.k * c->size.m,
                           c->b + (uint64_t)first * c->size.k * c->size.n, &sums, c->at);
}

/* All at once, or some and then the others; what is not asked for is not touched. */
static void check_sums(const struct thin_kernels *kernels, struct thin_size size)
{
    uint64_t count = (uint64_t)size.m * size.n, at = 16, width = (at + count + 31) / 16 * 16;
    float *a = numbers(3, SHARDS * (uint64_t)size.m * size.k);
    float *b = numbers(4, SHARDS * (uint64_t)size.n * size.k);
    float *got = aligned_alloc(64, SHARDS * width * sizeof(float));
    float *wanted = aligned_alloc(64, SHARDS * width * sizeof(float));
    struct folded_case c = {.kernels = kernels, .size = size, .a = a, .b = b, .at = at, .width = width};
    for (uint32_t cut = 0; cut < SHARDS; cut += 2) {
        struct tree tree;
        tree_init(&tree, 0);
        memset(got, 0xff, SHARDS * width * sizeof(float));
        memset(wanted, 0xff, SHARDS * width * sizeof(float));
        if (cut > 0) {
            fold_both(&c, &tree, 0, cut, nears[cut % 3], wanted, got);
        }
        fold_both(&c, &tree, cut, SHARDS - cut, nears[cut / 2], wanted, got);
        assert_memory_equal(got, wanted, tree.count * width * sizeof(float));
        assert_true(isnan(got[tree.count * width + at]) || cut > 0); /* a place that is not left costs no memory */
    }
    mlq_free(a);
    mlq_free(b);
    free(got);
    free(wanted);
}

static void check_kernels(const struct thin_kernels *kernels)
{
    static const uint32_t columns[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 24, 31, 47, 48, 49, 63, 96, 101};
    static const uint32_t depths[] = {1, 2, 15, 16, 17, 31, 32, 40, 129};
    for (uint32_t m = 1; m <= 17; m++) {
        for (size_t n = 0; n < MLQ_COUNT_OF(columns); n++) {
            for (size_t k = 0; k < MLQ_COUNT_OF(depths); k++) {
                struct thin_size size = {.m = m, .n = columns[n], .k = depths[k]};
                check_size(kernels, size);
                check_sums(kernels, size);
            }
        }
    }
}

static void narrow_kernels_keep_the_order(void **state)
{
    (void)state;
    if (thin_narrow() == NULL) {
        print_message("left out: this CPU has no AVX2 and FMA\n");
        skip();
    }
    assert_false(thin_narrow()->is_wide);
    check_kernels(thin_narrow());
}

static void wide_kernels_keep_the_order(void **state)
{
    (void)state;
    if (thin_best() == NULL || !thin_best()->is_wide) {
        print_message("left out: this CPU has no AVX-512\n");
        skip();
    }
    check_kernels(thin_best());
}

static void what_is_not_finite_stays_where_it_belongs(void **state)
{
    (void)state;
    const struct thin_kernels *kernels = thin_best();
    if (kernels == NULL) {
        skip();
    }
    enum { M = 9, N = 70, K = 33 };
    struct thin_size size = {.m = M, .n = N, .k = K};
    float *a = numbers(1, M * K), *b = numbers(2, N * K), c[M * N];
    a[4 * K + 20] = NAN;
    kernels->outer(size, a, (struct thin_step){.m = K, .k = 1}, b, c);
    for (uint32_t i = 0; i < M * N; i++) {
        assert_true(isnan(c[i]) == (i / N == 4));
    }
    b[60 * K + 32] = INFINITY;
    kernels->dots(size, a, b, c);
    for (uint32_t i = 0; i < M * N; i++) {
        assert_true(isfinite(c[i]) == (i / N != 4 && i % N != 60));
    }
    mlq_free(a);
    mlq_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(narrow_kernels_keep_the_order),
        cmocka_unit_test(wide_kernels_keep_the_order),
        cmocka_unit_test(what_is_not_finite_stays_where_it_belongs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
