/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/gemm.h"

#include <cblas.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/ownership.h"
#include "lib/base/panic.h"
#include "lib/base/prng.h"
#include "lib/base/str.h"
#include "lib/sys/fs.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "worker/ml/thin.h"

#define CORE_VARIABLE         "OPENBLAS_CORETYPE"
#define COMMAND_BYTES_MAX     (4u << 20)
#define COMMAND_ARGUMENTS_MAX 4096u

/* OpenBLAS's names, slower kinds first within what an AVX-512 or AVX2 machine may be mistaken for
 * (driver/others/dynamic.c of 0.3.21). */
static const char *const cores_below_avx2[] = {
    "Prescott",   "Core2",     "Penryn",     "Dunnington",   "Nehalem",
    "Athlon",     "Opteron",   "Barcelona",  "Bobcat",       "Atom",
    "Nano",       "Bulldozer", "Piledriver", "Sandybridge",  "Katmai",
    "Coppermine", "Northwood", "Banias",     "Opteron_SSE3", "Steamroller",
};
static const char *const cores_avx2[] = {"Haswell", "Zen", "Excavator"};

static bool is_one_of(const char *text, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

const char *gemm_better_core(const char *chosen, struct gemm_cpu cpu)
{
    bool below_avx2 = is_one_of(chosen, cores_below_avx2, MLQ_COUNT_OF(cores_below_avx2));
    bool avx2 = is_one_of(chosen, cores_avx2, MLQ_COUNT_OF(cores_avx2));
    if (cpu.avx512 && (below_avx2 || avx2)) {
        return "SkylakeX";
    }
    if (cpu.avx2_fma && below_avx2) {
        return "Haswell";
    }
    return NULL;
}

static struct gemm_cpu detect_cpu(void)
{
    struct gemm_cpu cpu = {.avx2_fma = false};
#if defined(__x86_64__)
    /* These builtins also ask the system (XGETBV) whether it keeps the wide registers. */
    __builtin_cpu_init();
    cpu.avx2_fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    cpu.avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512cd") &&
                 __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                 __builtin_cpu_supports("avx512vl");
#endif
    return cpu;
}

/* The arguments of this process as the kernel keeps them: NUL-terminated texts in a row. */
static char **split_arguments(char *text, size_t len)
{
    size_t count = 0;
    for (size_t i = 0; i < len; i++) {
        count += text[i] == '\0';
    }
    if (count == 0 || count > COMMAND_ARGUMENTS_MAX) {
        return NULL;
    }
    char **arguments = mlq_alloc_array(count + 1, sizeof(char *));
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        arguments[i] = text + at;
        at += strlen(text + at) + 1;
    }
    return arguments;
}

void gemm_ensure_kernels(void)
{
    const char *better = gemm_better_core(openblas_get_corename(), detect_cpu());
    if (getenv(CORE_VARIABLE) != NULL || better == NULL) {
        return;
    }
    struct mlq_err err = MLQ_ERR_INIT;
    char *text = NULL;
    char **arguments = NULL;
    size_t len = 0;
    if (mlq_fs_read("/proc/self/cmdline", COMMAND_BYTES_MAX, &text, &len, &err) == 0) {
        arguments = split_arguments(text, len);
    }
    if (arguments != NULL && setenv(CORE_VARIABLE, better, 1) == 0) {
        log_info("blas.restart", "chosen=%s better=%s", openblas_get_corename(), better);
        (void)execv("/proc/self/exe", arguments);
        log_warn("blas.restart_failed", "reason=\"%s\" kernels=%s", strerror(errno),
                 openblas_get_corename());
    }
    mlq_free(arguments);
    mlq_free(text);
}

static float *numbers(uint64_t key, uint64_t count)
{
    float *values = mlq_alloc_array(count, sizeof(float));
    for (uint64_t i = 0; i < count; i++) {
        values[i] = (float)(mlq_hash_keyed(key, i, 0) >> 40) / (float)(1 << 24) - 0.5f;
    }
    return values;
}

/* Of the bits of all three products of one size. */
static uint64_t probe_size(uint64_t hash, struct gemm_size size)
{
    uint64_t m = size.m, n = size.n, k = size.k;
    float *a = numbers(1, m * k), *b = numbers(2, n * k);
    float *c = mlq_alloc_array(m * n, sizeof(float));
    for (int kind = 0; kind < 3; kind++) {
        if (kind == 0) {
            gemm_nn(size, a, b, c);
        } else if (kind == 1) {
            gemm_nt(size, a, b, c);
        } else {
            gemm_tn(size, a, b, c);
        }
        for (size_t i = 0; i < m * n; i++) {
            uint32_t bits;
            memcpy(&bits, &c[i], sizeof(bits));
            hash = mlq_hash_keyed(hash, bits, i);
        }
    }
    mlq_free(a);
    mlq_free(b);
    mlq_free(c);
    return hash;
}

/* Sizes whose sums are long enough to tell kernels, blockings and fused arithmetic apart: of each
 * product one by OpenBLAS and one by our kernels. */
static uint64_t probe_hash(void)
{
    uint64_t hash = probe_size(0, (struct gemm_size){.m = 24, .n = 40, .k = 520});
    hash = probe_size(hash, (struct gemm_size){.m = 24, .n = 88, .k = 24});
    return probe_size(hash, (struct gemm_size){.m = 72, .n = 40, .k = 1100});
}

void gemm_start(struct gemm_engine *engine)
{
    openblas_set_num_threads(1);
    *engine = (struct gemm_engine){.threads = openblas_get_num_threads()};
    /* "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH ...": the first two words. */
    struct mlq_str config = mlq_str_from(openblas_get_config());
    struct mlq_str name, rest, version, options;
    (void)mlq_str_cut(config, ' ', &name, &rest);
    (void)mlq_str_cut(rest, ' ', &version, &options);
    size_t used = 0;
    for (size_t i = 0; i < name.len && used + 1 < sizeof(engine->library); i++) {
        engine->library[used++] = name.ptr[i];
    }
    if (used + 1 < sizeof(engine->library)) {
        engine->library[used++] = ' ';
    }
    for (size_t i = 0; i < version.len && used + 1 < sizeof(engine->library); i++) {
        engine->library[used++] = version.ptr[i];
    }
    (void)strncat(engine->core, openblas_get_corename(), sizeof(engine->core) - 1);
    engine->probe = probe_hash();
}

static blasint blas_int(uint32_t value)
{
    MLQ_ASSERT(value <= INT32_MAX);
    return (blasint)value;
}

/* ---- Whose product ----
 *
 * Measured on a Zen CPU with AVX-512 at all sizes of the networks in tests/bench/train, beside
 * OpenBLAS 0.3.21: with registers of 512 bits ours are as fast or faster as long as what one tile
 * reads of b fits into the second cache; those of 256 bits only where OpenBLAS spends its time on
 * packing. Few columns leave registers empty; few numbers to sum, and a dot product is all folding. */

#define THIN_K_MAX  1024u /* of an outer product: also, a chain of sums should not get longer */
#define THIN_N_MIN  64u
#define THIN_M_MAX  64u /* of dot products */
#define THIN_K_MIN  128u
#define NARROW_MAX  32u /* of what is thin, for 256 bits */

static struct thin_size thin_size_of(struct gemm_size size)
{
    return (struct thin_size){.m = size.m, .n = size.n, .k = size.k};
}

static bool are_dots_thin(const struct thin_kernels *kernels, struct gemm_size size)
{
    return kernels != NULL && size.m <= (kernels->is_wide ? THIN_M_MAX : NARROW_MAX) &&
           size.k >= THIN_K_MIN && size.n >= 16;
}

/* `thin`: the dimension that is, for OpenBLAS to lose by packing. */
static bool is_outer_thin(const struct thin_kernels *kernels, struct gemm_size size, uint32_t thin)
{
    return kernels != NULL && (kernels->is_wide || thin <= NARROW_MAX) && size.k <= THIN_K_MAX &&
           size.n >= THIN_N_MIN && size.m >= 4;
}

void gemm_nn(struct gemm_size size, const float *a, const float *b, float *c)
{
    const struct thin_kernels *kernels = thin_best();
    if (is_outer_thin(kernels, size, size.m)) {
        kernels->outer(thin_size_of(size), a, (struct thin_step){.m = size.k, .k = 1}, b, c);
        return;
    }
    blasint m = blas_int(size.m), n = blas_int(size.n), k = blas_int(size.k);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, n, k, 1.0f, a, k, b, n, 0.0f, c, n);
}

void gemm_nt(struct gemm_size size, const float *a, const float *b, float *c)
{
    const struct thin_kernels *kernels = thin_best();
    if (are_dots_thin(kernels, size)) {
        kernels->dots(thin_size_of(size), a, b, c);
        return;
    }
    blasint m = blas_int(size.m), n = blas_int(size.n), k = blas_int(size.k);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, 1.0f, a, k, b, k, 0.0f, c, n);
}

void gemm_tn(struct gemm_size size, const float *a, const float *b, float *c)
{
    const struct thin_kernels *kernels = thin_best();
    if (is_outer_thin(kernels, size, size.k)) {
        kernels->outer(thin_size_of(size), a, (struct thin_step){.m = 1, .k = size.m}, b, c);
        return;
    }
    blasint m = blas_int(size.m), n = blas_int(size.n), k = blas_int(size.k);
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, m, n, k, 1.0f, a, m, b, n, 0.0f, c, n);
}

/* ---- Of several shards ----
 *
 * Our kernels make each row of a product by itself, so that all shards can be one product. */

void gemm_nn_shards(struct gemm_size size, uint32_t shards, const float *a, const float *b, float *c)
{
    if (is_outer_thin(thin_best(), size, size.m)) {
        struct thin_size all = {.m = size.m * shards, .n = size.n, .k = size.k};
        thin_best()->outer(all, a, (struct thin_step){.m = size.k, .k = 1}, b, c);
        return;
    }
    for (size_t shard = 0; shard < shards; shard++) {
        gemm_nn(size, a + shard * size.m * size.k, b, c + shard * size.m * size.n);
    }
}

void gemm_nt_shards(struct gemm_size size, uint32_t shards, const float *a, const float *b, float *c)
{
    if (are_dots_thin(thin_best(), size)) {
        struct thin_size all = {.m = size.m * shards, .n = size.n, .k = size.k};
        thin_best()->dots(all, a, b, c);
        return;
    }
    for (size_t shard = 0; shard < shards; shard++) {
        gemm_nt(size, a + shard * size.m * size.k, b, c + shard * size.m * size.n);
    }
}

void gemm_tn_sums(struct gemm_size size, const float *a, const float *b,
                  const struct tree_sums *sums, uint64_t at)
{
    uint64_t count = (uint64_t)size.m * size.n;
    if (is_outer_thin(thin_best(), size, size.k)) {
        thin_best()->outer_sums(thin_size_of(size), a, b, sums, at);
        return;
    }
    for (uint32_t shard = 0; shard < sums->filled; shard++) {
        size_t rows_before = (size_t)shard * size.k;
        gemm_tn(size, a + rows_before * size.m, b + rows_before * size.n,
                sums->places[sums->folds[shard].top] + at);
        tree_fold(sums, shard, at, count);
    }
    tree_fold_zeros(sums, at, count);
}
