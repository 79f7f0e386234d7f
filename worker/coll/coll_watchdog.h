/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Ends the process when a library call does not come back. For calls that promise a time limit and
 * do not keep it; a thread of its own, since the calling one is the one that is stuck.
 */
#ifndef MLQ_COLL_COLL_WATCHDOG_H
#define MLQ_COLL_COLL_WATCHDOG_H

#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"

/* What a call may take beyond its own limit before it counts as stuck. */
#define COLL_WATCHDOG_GRACE_NS INT64_C(5000000000)

struct coll_watchdog;

int coll_watchdog_start(MLQ_OWNED_RETURN struct coll_watchdog **watchdog, struct mlq_err *err);
void coll_watchdog_stop(struct coll_watchdog **watchdog); /* takes NULL, frees, nulls */

/* Unless disarmed within timeout_ns + COLL_WATCHDOG_GRACE_NS, logs `what` (a constant) and leaves
 * the process with _exit(COLL_EXIT_STUCK). */
void coll_watchdog_arm(struct coll_watchdog *watchdog, const char *what, int64_t timeout_ns);
void coll_watchdog_disarm(struct coll_watchdog *watchdog);
/* From another thread: when it is armed, no later than after_ns from now. */
void coll_watchdog_hurry(struct coll_watchdog *watchdog, int64_t after_ns);

#endif
