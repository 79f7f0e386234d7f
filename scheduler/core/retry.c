/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/core/retry.h"

#include "lib/base/panic.h"
#include "lib/base/prng.h"

bool retry_is_allowed(const struct core_retry *policy, enum core_cause cause, uint32_t failures)
{
    MLQ_ASSERT(cause != CAUSE_NONE && cause < CAUSE_COUNT);
    return failures < policy->limit && (policy->cause_mask & (UINT32_C(1) << cause)) != 0;
}

int64_t retry_backoff_ns(const struct core_retry *policy, uint64_t seed, uint64_t attempt,
                         uint32_t failures)
{
    MLQ_ASSERT(failures > 0 && policy->backoff_ns >= 0);
    int64_t max_ns = policy->backoff_max_ns > 0 ? policy->backoff_max_ns : RETRY_BACKOFF_MAX_NS;
    int64_t wait_ns = policy->backoff_ns < max_ns ? policy->backoff_ns : max_ns;
    for (uint32_t i = 1; i < failures && wait_ns > 0 && wait_ns < max_ns; i++) {
        wait_ns = wait_ns <= max_ns / 2 ? wait_ns * 2 : max_ns;
    }
    int64_t half_ns = wait_ns / 2;
    uint64_t chance = mlq_hash_keyed(seed, attempt, failures);
    wait_ns = wait_ns - half_ns + (int64_t)(chance % ((uint64_t)half_ns + 1));
    MLQ_ASSERT(wait_ns >= 0 && wait_ns <= max_ns);
    return wait_ns;
}
