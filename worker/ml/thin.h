/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Products of matrices with few rows, as a virtual shard of a small network makes them. A library
 * for large products packs both matrices, zeroes the result and adds to it block by block: where
 * one side is thin that moves several times the bytes that the product needs, and takes as long as
 * its arithmetic. Here each matrix is read where it lies, and a result is written once.
 *
 * The order of a sum is a promise: the same bits on any CPU that these run on, with AVX2 or with
 * AVX-512, for any number of rows beside the one that is asked for.
 *
 *     outer   one chain of fused multiply-adds, in the order of k, from zero
 *     dots    sixteen such chains, over k = i modulo 16, folded in halves: i + (i + 8), then
 *             i + (i + 4), (i + 2), (i + 1)
 *
 * All matrices are row-major and dense; `c` is overwritten and overlaps nothing.
 */
#ifndef MLQ_ML_THIN_H
#define MLQ_ML_THIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/ml/tree.h"

struct thin_size {
    uint32_t m; /* rows of c */
    uint32_t n; /* columns of c */
    uint32_t k; /* summed over */
};

struct thin_step {
    size_t m;
    size_t k;
};

struct thin_kernels {
    bool is_wide; /* AVX-512 */
    /* c[i][j] = sum over p of a[i * step.m + p * step.k] * b[p][j] */
    void (*outer)(struct thin_size size, const float *a, struct thin_step step, const float *b,
                  float *c);
    /* Of each shard, sum over p of a[p][i] * b[p][j], an outer product; they are folded, in the numbers
     * [at, at + m * n) of the places. The shards' rows of `a` and `b` lie behind one another, `k` of
     * each that is filled. What is stored past the caches is in order behind it (stream_fence); narrow
     * kernels store nothing so, since their tiles end within a line. */
    void (*outer_sums)(struct thin_size size, const float *a, const float *b,
                       const struct tree_sums *sums, uint64_t at);
    /* c[i][j] = sum over p of a[i][p] * b[j][p] */
    void (*dots)(struct thin_size size, const float *a, const float *b, float *c);
};

/* What this CPU can: the wide ones, the narrow ones (AVX2 and FMA), or NULL. */
const struct thin_kernels *thin_best(void);
const struct thin_kernels *thin_narrow(void); /* NULL: it cannot */

#endif
