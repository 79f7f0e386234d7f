/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/core/rvec.h"

#include "lib/base/panic.h"

/* A worker may offer more than one rank may ask for. */
#define CAPACITY_CPU_MILLI_MAX (RVEC_CPU_MILLI_MAX * 1024)
#define CAPACITY_MEM_BYTES_MAX (RVEC_MEM_BYTES_MAX * 1024)

static int64_t clamp(int64_t value, int64_t max)
{
    if (value < 0) {
        return 0;
    }
    return value < max ? value : max;
}

bool rvec_is_valid(const struct rvec *need)
{
    return need->cpu_milli >= 0 && need->cpu_milli <= RVEC_CPU_MILLI_MAX && need->mem_bytes >= 0 &&
           need->mem_bytes <= RVEC_MEM_BYTES_MAX && need->gpus >= 0 &&
           need->gpus <= CORE_GPUS_PER_WORKER_MAX;
}

struct rvec rvec_clamp_capacity(const struct rvec *capacity)
{
    return (struct rvec){
        .cpu_milli = clamp(capacity->cpu_milli, CAPACITY_CPU_MILLI_MAX),
        .mem_bytes = clamp(capacity->mem_bytes, CAPACITY_MEM_BYTES_MAX),
        .gpus = (int32_t)clamp(capacity->gpus, CORE_GPUS_PER_WORKER_MAX),
    };
}

bool rvec_fits(const struct rvec *available, const struct rvec *need)
{
    return (need->cpu_milli == 0 || need->cpu_milli <= available->cpu_milli) &&
           (need->mem_bytes == 0 || need->mem_bytes <= available->mem_bytes) &&
           (need->gpus == 0 || need->gpus <= available->gpus);
}

void rvec_add(struct rvec *sum, const struct rvec *need)
{
    sum->cpu_milli += need->cpu_milli;
    sum->mem_bytes += need->mem_bytes;
    sum->gpus += need->gpus;
}

void rvec_subtract(struct rvec *sum, const struct rvec *need)
{
    sum->cpu_milli -= need->cpu_milli;
    sum->mem_bytes -= need->mem_bytes;
    sum->gpus -= need->gpus;
    MLQ_ASSERT(sum->cpu_milli >= 0 && sum->mem_bytes >= 0 && sum->gpus >= 0);
}

static uint32_t times(int64_t available, int64_t need, uint32_t limit)
{
    if (need == 0) {
        return limit;
    }
    int64_t count = available > 0 ? available / need : 0;
    return count < (int64_t)limit ? (uint32_t)count : limit;
}

uint32_t rvec_times(const struct rvec *available, const struct rvec *need, uint32_t limit)
{
    limit = times(available->cpu_milli, need->cpu_milli, limit);
    limit = times(available->mem_bytes, need->mem_bytes, limit);
    return times(available->gpus, need->gpus, limit);
}

bool rvec_equal(const struct rvec *a, const struct rvec *b)
{
    return a->cpu_milli == b->cpu_milli && a->mem_bytes == b->mem_bytes && a->gpus == b->gpus;
}

uint64_t rvec_gpu_all(int32_t gpus)
{
    MLQ_ASSERT(gpus >= 0 && gpus <= CORE_GPUS_PER_WORKER_MAX);
    return gpus == 64 ? UINT64_MAX : (UINT64_C(1) << gpus) - 1;
}

uint64_t rvec_gpu_pick(uint64_t available, int32_t count)
{
    uint64_t picked = 0;
    for (int32_t i = 0; i < count; i++) {
        MLQ_ASSERT(available != 0);
        uint64_t lowest = available & (~available + 1);
        picked |= lowest;
        available ^= lowest;
    }
    return picked;
}

/* Sums of neighbouring bits, in place (Warren, Hacker's Delight, 5-1). The compiler's own would be
 * a call into its support library. */
int32_t rvec_gpu_count(uint64_t mask)
{
    mask -= (mask >> 1) & UINT64_C(0x5555555555555555);
    mask = (mask & UINT64_C(0x3333333333333333)) + ((mask >> 2) & UINT64_C(0x3333333333333333));
    mask = (mask + (mask >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return (int32_t)((mask * UINT64_C(0x0101010101010101)) >> 56);
}
