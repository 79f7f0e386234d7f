/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Arithmetic of resource vectors. GPUs are whole and numbered: which ones are taken is a mask.
 */
#ifndef MLQ_SCHEDULER_CORE_RVEC_H
#define MLQ_SCHEDULER_CORE_RVEC_H

#include <stdbool.h>
#include <stdint.h>

#include "scheduler/core/core.h"

/* What one rank may ask for at most, so that no sum over a worker's ranks can overflow: a million
 * CPUs, a pebibyte. */
#define RVEC_CPU_MILLI_MAX INT64_C(1000000000)
#define RVEC_MEM_BYTES_MAX (INT64_C(1) << 50)

/* Within the limits above and CORE_GPUS_PER_WORKER_MAX, nothing negative. */
bool rvec_is_valid(const struct rvec *need);

/* A worker's word, forced into the range that arithmetic here is safe for. */
struct rvec rvec_clamp_capacity(const struct rvec *capacity);

/* A resource that is not asked for always fits, also where less than nothing is free. */
bool rvec_fits(const struct rvec *available, const struct rvec *need);

void rvec_add(struct rvec *sum, const struct rvec *need);
void rvec_subtract(struct rvec *sum, const struct rvec *need);

/* How many times `need` fits, at most `limit`. */
uint32_t rvec_times(const struct rvec *available, const struct rvec *need, uint32_t limit);

bool rvec_equal(const struct rvec *a, const struct rvec *b);

/* Mask of `gpus` GPUs: numbers 0 .. gpus - 1. */
uint64_t rvec_gpu_all(int32_t gpus);

/* The `count` lowest bits of `available`, which has as many. */
uint64_t rvec_gpu_pick(uint64_t available, int32_t count);

int32_t rvec_gpu_count(uint64_t mask);

#endif
