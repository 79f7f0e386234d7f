/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Matrix products: the only file that knows OpenBLAS, and which products are better made by our own
 * kernels (thin.h): that depends on the shape and on the CPU. Always one BLAS thread, because the
 * number of threads changes the bits of a product (measured with OpenBLAS 0.3.21); several shards may run at
 * once instead. All matrices are row-major and dense, and results are overwritten (beta = 0),
 * because accumulating inside the library changes the bits too.
 */
#ifndef MLQ_ML_GEMM_H
#define MLQ_ML_GEMM_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/ml/tree.h"

#define GEMM_TEXT_BYTES 64

/* What computes: a result is reproduced bit for bit only under an equal engine. */
struct gemm_engine {
    char library[GEMM_TEXT_BYTES]; /* "OpenBLAS 0.3.21" */
    char core[GEMM_TEXT_BYTES];    /* the kernels in use: "SkylakeX", "Haswell", ... */
    int threads;
    uint64_t probe; /* hash of fixed products' bits: equal probes, equal arithmetic */
};

/* The kernels are chosen by the library's constructor, before main, from OPENBLAS_CORETYPE. When
 * that is unset and the library took slower kernels than this CPU can run (0.3.21 takes CPUs that
 * it does not know for older ones: half the speed), this sets it and runs the program again from
 * the start, in the same process: call it before the first side effect. Returns when nothing is to
 * be done, or when the program cannot be run again (slower, not wrong). */
void gemm_ensure_kernels(void);

/* One thread from now on, and what the engine is. */
void gemm_start(struct gemm_engine *engine);

/* The core type to ask for, given what the library chose and what the CPU can do; NULL: it chose
 * well.
 * Pure, for tests. */
struct gemm_cpu {
    bool avx2_fma;
    bool avx512; /* F, CD, BW, DQ and VL, which the SkylakeX kernels need */
};
const char *gemm_better_core(const char *chosen, struct gemm_cpu cpu);

struct gemm_size {
    uint32_t m; /* rows of c */
    uint32_t n; /* columns of c */
    uint32_t k; /* summed over */
};
/* c[m][n] = a[m][k] * b[k][n] */
void gemm_nn(struct gemm_size size, const float *a, const float *b, float *c);
/* c[m][n] = a[m][k] * transpose(b[n][k]) */
void gemm_nt(struct gemm_size size, const float *a, const float *b, float *c);
/* c[m][n] = transpose(a[k][m]) * b[k][n] */
void gemm_tn(struct gemm_size size, const float *a, const float *b, float *c);

/* The same for several shards of `size`, whose rows lie behind one another: the bits of a shard are
 * those of its product alone, whatever the others are. */
void gemm_nn_shards(struct gemm_size size, uint32_t shards, const float *a, const float *b, float *c);
void gemm_nt_shards(struct gemm_size size, uint32_t shards, const float *a, const float *b, float *c);
/* Folded, in the numbers [at, at + m * n) of the places. */
void gemm_tn_sums(struct gemm_size size, const float *a, const float *b,
                  const struct tree_sums *sums, uint64_t at);

#endif
