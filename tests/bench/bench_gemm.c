/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What the machine's BLAS can do at best: each thread multiplies large matrices of its own, and the sum of
 * their speeds is what a training that were nothing but such products would have. Time is that of the wall.
 *
 *     bench_gemm THREADS FLOP_PER_SAMPLE     prints gflops=... samples_per_s=...
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/panic.h"
#include "lib/sys/clock.h"
#include "lib/sys/mem.h"
#include "worker/ml/gemm.h"

#define SIDE        1024u
#define REPEATS     20u
#define THREADS_MAX 64u

static void *multiply(void *unused)
{
    (void)unused;
    float *a = mlq_alloc_array(SIDE * SIDE, sizeof(float));
    float *b = mlq_alloc_array(SIDE * SIDE, sizeof(float));
    float *c = mlq_alloc_array(SIDE * SIDE, sizeof(float));
    for (uint32_t i = 0; i < SIDE * SIDE; i++) {
        a[i] = b[i] = (float)(i % 17) / 17.0f;
    }
    for (uint32_t i = 0; i < REPEATS; i++) {
        gemm_nn((struct gemm_size){.m = SIDE, .n = SIDE, .k = SIDE}, a, b, c);
    }
    mlq_free(a);
    mlq_free(b);
    mlq_free(c);
    return NULL;
}

int main(int argc, char **argv)
{
    gemm_ensure_kernels();
    unsigned long threads = argc == 3 ? strtoul(argv[1], NULL, 10) : 0;
    double flop_per_sample = argc == 3 ? strtod(argv[2], NULL) : 0;
    if (threads == 0 || threads > THREADS_MAX || flop_per_sample <= 0) {
        (void)fprintf(stderr, "usage: bench_gemm THREADS FLOP_PER_SAMPLE\n");
        return 2;
    }
    struct gemm_engine engine;
    gemm_start(&engine);
    pthread_t ids[THREADS_MAX];
    int64_t start_ns = mlq_clock_boot_ns();
    for (unsigned long i = 0; i < threads; i++) {
        MLQ_ASSERT(pthread_create(&ids[i], NULL, multiply, NULL) == 0);
    }
    for (unsigned long i = 0; i < threads; i++) {
        MLQ_ASSERT(pthread_join(ids[i], NULL) == 0);
    }
    double flop = 2.0 * SIDE * SIDE * SIDE * REPEATS * (double)threads;
    double gflops = flop / (double)(mlq_clock_boot_ns() - start_ns);
    (void)printf("gflops=%.1f samples_per_s=%.0f\n", gflops, gflops * 1e9 / flop_per_sample);
    return 0;
}
