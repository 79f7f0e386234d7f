/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/thin.h"

#include "worker/ml/stream.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX2   __attribute__((target("avx2,fma")))
#define AVX512 __attribute__((target("avx2,fma,avx512f,avx512dq,avx512vl")))

/* The last folds, which all kernels share. */
AVX2 static inline float sum8(__m256 lanes)
{
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* ---- Registers of 512 bits: 32 of them ---- */

AVX512 static inline float sum16_wide(const __m512 *lanes)
{
    return sum8(_mm256_add_ps(_mm512_castps512_ps256(*lanes), _mm512_extractf32x8_ps(*lanes, 1)));
}

AVX512 static inline __mmask16 first_wide(uint32_t count)
{
    return (__mmask16)((1u << count) - 1);
}

#define NAME(x)                  x##_wide
#define TARGET                   AVX512
#define VEC                      __m512
#define LANES                    16u
#define ROWS                     8u
#define VECS                     3u
#define DOT_ROWS                 4u
#define DOT_COLUMNS              4u
#define LOAD(at)                 _mm512_loadu_ps(at)
#define LOAD_PART(at, count)     _mm512_maskz_loadu_ps(first_wide(count), at)
#define STORE(at, v)             _mm512_storeu_ps(at, v)
#define STORE_PART(at, count, v) _mm512_mask_storeu_ps(at, first_wide(count), v)
#define STREAM(at, v)            _mm512_stream_ps(at, v)
#define ALL_OF(x)                _mm512_set1_ps(x)
#define FMA(a, b, c)             _mm512_fmadd_ps(a, b, c)
#define ADD(a, b)                _mm512_add_ps(a, b)
#define ZERO()                   _mm512_setzero_ps()
#define SUM16(lanes)             sum16_wide(lanes)
#include "worker/ml/thin_kernels.inc"

/* ---- Registers of 256 bits: 16 of them ---- */

AVX2 static inline float sum16_narrow(const __m256 lanes[2])
{
    return sum8(_mm256_add_ps(lanes[0], lanes[1]));
}

AVX2 static inline __m256i first_narrow(uint32_t count)
{
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), lane);
}

#define NAME(x)                  x##_narrow
#define TARGET                   AVX2
#define VEC                      __m256
#define LANES                    8u
#define ROWS                     4u
#define VECS                     3u
#define DOT_ROWS                 2u
#define DOT_COLUMNS              2u
#define LOAD(at)                 _mm256_loadu_ps(at)
#define LOAD_PART(at, count)     _mm256_maskload_ps(at, first_narrow(count))
#define STORE(at, v)             _mm256_storeu_ps(at, v)
#define STORE_PART(at, count, v) _mm256_maskstore_ps(at, first_narrow(count), v)
#define STREAM(at, v)            _mm256_stream_ps(at, v)
#define ALL_OF(x)                _mm256_set1_ps(x)
#define FMA(a, b, c)             _mm256_fmadd_ps(a, b, c)
#define ADD(a, b)                _mm256_add_ps(a, b)
#define ZERO()                   _mm256_setzero_ps()
#define SUM16(lanes)             sum16_narrow(lanes)
#include "worker/ml/thin_kernels.inc"

/* ---- Which ---- */

const struct thin_kernels *thin_narrow(void)
{
    static const struct thin_kernels narrow = {.outer = outer_narrow, .outer_sums = outer_sums_narrow, .dots = dots_narrow};
    bool is_able = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return is_able ? &narrow : NULL;
}

const struct thin_kernels *thin_best(void)
{
    static const struct thin_kernels wide = {
        .is_wide = true, .outer = outer_wide, .outer_sums = outer_sums_wide, .dots = dots_wide};
    bool is_wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512vl");
    return is_wide ? &wide : thin_narrow();
}

#else

const struct thin_kernels *thin_best(void)
{
    return NULL;
}

const struct thin_kernels *thin_narrow(void)
{
    return NULL;
}

#endif
