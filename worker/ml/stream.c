/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/stream.h"

#include <stddef.h>
#include <string.h>

#include "lib/sys/clock.h"

/* So much slower do plain stores have to be: reading from memory takes away some of what is won. On
 * one cache they are 0.7 to 1.2 times as slow, on two 7 to 11. */
#define SLOWER 3

#if defined(__x86_64__)
#include <immintrin.h>

#define LINE_BYTES  64u
#define LANES       4u /* of the registers that all such CPUs have */
#define LINE_FLOATS (LINE_BYTES / sizeof(float))

/* By the same instructions but for the store: memcpy has ways of its own. */
static void copy_plainly(float *restrict to, const float *restrict from, uint64_t count)
{
    uint64_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        _mm_storeu_ps(to + i, _mm_loadu_ps(from + i));
    }
    for (; i < count; i++) {
        to[i] = from[i];
    }
}

/* Whole lines; part of one would be read, to be written back whole. */
void stream_copy(float *restrict to, const float *restrict from, uint64_t count)
{
    uint64_t i = 0;
    for (; i < count && (uintptr_t)(to + i) % LINE_BYTES != 0; i++) {
        to[i] = from[i];
    }
    for (; i + LINE_FLOATS <= count; i += LINE_FLOATS) {
        for (uint64_t lane = 0; lane < LINE_FLOATS; lane += LANES) {
            _mm_stream_ps(to + i + lane, _mm_loadu_ps(from + i + lane));
        }
    }
    for (; i < count; i++) {
        to[i] = from[i];
    }
}

void stream_fence(void)
{
    _mm_sfence();
}

#else
#include <stdatomic.h>

static void copy_plainly(float *restrict to, const float *restrict from, uint64_t count)
{
    memcpy(to, from, count * sizeof(float));
}

void stream_copy(float *restrict to, const float *restrict from, uint64_t count)
{
    memcpy(to, from, count * sizeof(float));
}

void stream_fence(void)
{
    atomic_thread_fence(memory_order_release);
}

#endif

/* ---- Which way ---- */

enum { PLAIN_BLOCK, STREAMED_BLOCK, MEASURED_BLOCKS };

void stream_choice_init(struct stream_choice *choice, const char *way)
{
    bool is_always = way != NULL && strcmp(way, "always") == 0;
    bool is_never = way != NULL && strcmp(way, "never") == 0;
    *choice = (struct stream_choice){.is_fixed = is_always || is_never, .streams = is_always};
}

void stream_choice_begin(struct stream_choice *choice)
{
    choice->block = 0;
}

bool stream_choice_next(struct stream_choice *choice)
{
    bool is_measured = !choice->is_fixed && choice->block < MEASURED_BLOCKS;
    if (!is_measured && !choice->streams) {
        choice->block++;
        return false;
    }
    return true;
}

static void put_streaming(float *restrict to, const float *restrict from, uint64_t count)
{
    stream_copy(to, from, count);
    stream_fence();
}

void stream_choice_put(struct stream_choice *choice, float *restrict to, const float *restrict from,
                       uint64_t count)
{
    uint32_t block = choice->block++;
    if (choice->is_fixed || block >= MEASURED_BLOCKS) {
        put_streaming(to, from, count);
        return;
    }
    int64_t start_ns = mlq_clock_boot_ns();
    (block == PLAIN_BLOCK ? copy_plainly : put_streaming)(to, from, count);
    int64_t took_ns = mlq_clock_boot_ns() - start_ns;
    if (block == PLAIN_BLOCK) {
        choice->plain_count = count;
        choice->plain_ns = took_ns;
    } else if (count == choice->plain_count) {
        choice->streams = choice->plain_ns > SLOWER * took_ns;
    }
}
