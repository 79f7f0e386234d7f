/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What it costs that another core reads what one writes (worker/ml/stream.h): two threads, each on a processor of its
 * own, write 1 MiB and read the other's and then their own again, in turns, by plain stores and past the caches.
 *     bench_stream [TURNS]
 * prints a line for each turn, as "name=value" words: microseconds, and the round trip of one line in nanoseconds.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/clock.h"
#include "worker/ml/stream.h"

#define FLOATS (UINT64_C(1) << 18)
#define PASSES 4
#define TRIPS  200

enum { PLAIN, STREAMED, WAYS };
enum { STORE, READ, AGAIN, PARTS };

struct half {
    float *from;
    float *numbers;
    _Atomic uint32_t arrived; /* at so many meetings */
    double us[WAYS][PARTS];
    double sum; /* so that nothing is left out */
} __attribute__((aligned(64)));

static struct half halves[2];
static _Atomic uint32_t ball;
static unsigned turns = 20;

static void meet(uint32_t me)
{
    uint32_t mine = atomic_fetch_add(&halves[me].arrived, 1) + 1;
    while (atomic_load(&halves[!me].arrived) < mine) {
    }
}

static double us_since(int64_t start_ns)
{
    return (double)(mlq_clock_boot_ns() - start_ns) / 1e3;
}

static void store(uint32_t me, int way)
{
    if (way == PLAIN) {
        memcpy(halves[me].numbers, halves[me].from, FLOATS * sizeof(float));
    } else {
        stream_copy(halves[me].numbers, halves[me].from, FLOATS);
        stream_fence();
    }
}

static double read_all(const float *numbers)
{
    float sums[64] = {0}; /* as many as do not wait for each other */
    for (uint64_t i = 0; i < FLOATS; i += 64) {
        for (uint32_t lane = 0; lane < 64; lane++) {
            sums[lane] += numbers[i + lane];
        }
    }
    return (double)sums[0];
}

static void pass(uint32_t me, int way)
{
    struct half *half = &halves[me];
    meet(me);
    int64_t start_ns = mlq_clock_boot_ns();
    store(me, way);
    half->us[way][STORE] += us_since(start_ns);
    meet(me);
    start_ns = mlq_clock_boot_ns();
    half->sum += read_all(halves[!me].numbers);
    half->us[way][READ] += us_since(start_ns);
    meet(me);
    start_ns = mlq_clock_boot_ns();
    half->sum += read_all(half->numbers);
    half->us[way][AGAIN] += us_since(start_ns);
}

/* Nanoseconds for a line to the other core and back. */
static double round_trip(uint32_t me)
{
    meet(me);
    int64_t start_ns = mlq_clock_boot_ns();
    for (uint32_t i = 0; i < TRIPS; i++) {
        while (atomic_load(&ball) % 2 != me) {
        }
        atomic_fetch_add(&ball, 1);
    }
    double ns = us_since(start_ns) * 1e3 / TRIPS;
    meet(me);
    return ns;
}

static void *run(void *argument)
{
    uint32_t me = argument == &halves[1];
    cpu_set_t mine;
    CPU_ZERO(&mine);
    CPU_SET(me, &mine);
    MLQ_ASSERT(pthread_setaffinity_np(pthread_self(), sizeof mine, &mine) == 0);
    for (unsigned turn = 0; turn < turns; turn++) {
        memset(halves[me].us, 0, sizeof halves[me].us);
        for (int i = 0; i < PASSES * WAYS; i++) {
            pass(me, i % WAYS);
        }
        double trip_ns = round_trip(me);
        double(*us)[PARTS] = halves[me].us;
        if (me == 0) {
            printf("round_trip_ns=%.0f plain_store=%.0f plain_read=%.0f plain_again=%.0f streamed_store=%.0f "
                   "streamed_read=%.0f streamed_again=%.0f\n",
                   trip_ns, us[PLAIN][STORE] / PASSES, us[PLAIN][READ] / PASSES, us[PLAIN][AGAIN] / PASSES,
                   us[STREAMED][STORE] / PASSES, us[STREAMED][READ] / PASSES, us[STREAMED][AGAIN] / PASSES);
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[2];
    if (argc > 1) {
        turns = (unsigned)strtoul(argv[1], NULL, 10);
    }
    for (uint32_t i = 0; i < 2; i++) {
        halves[i].from = aligned_alloc(64, FLOATS * sizeof(float));
        halves[i].numbers = aligned_alloc(64, FLOATS * sizeof(float));
        MLQ_ASSERT(halves[i].from != NULL && halves[i].numbers != NULL);
        memset(halves[i].from, 0, FLOATS * sizeof(float));
    }
    for (uint32_t i = 0; i < 2; i++) {
        MLQ_ASSERT(pthread_create(&threads[i], NULL, run, &halves[i]) == 0);
    }
    for (uint32_t i = 0; i < 2; i++) {
        (void)pthread_join(threads[i], NULL);
        free(halves[i].from);
        free(halves[i].numbers);
    }
    return halves[0].sum == 0 && halves[1].sum == 0 ? 0 : 1;
}
