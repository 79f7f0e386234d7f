/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Whether a failed attempt is followed by another, and when.
 */
#ifndef MLQ_SCHEDULER_CORE_RETRY_H
#define MLQ_SCHEDULER_CORE_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "scheduler/core/core.h"

/* Exit 75 asks to be run again at once; the pause keeps a task that does nothing else from
 * spinning. */
#define RETRY_REQUEUE_NS INT64_C(1000000000)

/* The longest wait of a policy that names none. */
#define RETRY_BACKOFF_MAX_NS (INT64_C(3600) * 1000000000)

/* A failure for `cause` after `failures` earlier ones that counted. */
bool retry_is_allowed(const struct core_retry *policy, enum core_cause cause, uint32_t failures);

/* How long to wait after the failure number `failures` (from 1): the first back-off doubled each
 * time, capped, and of that the upper half at random ("equal jitter", M. Brooker, AWS Architecture
 * Blog, 2015). The same arguments always give the same wait. */
int64_t retry_backoff_ns(const struct core_retry *policy, uint64_t seed, uint64_t attempt,
                         uint32_t failures);

#endif
