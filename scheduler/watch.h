/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Clients that wait for a live job to change (MSG_OP_WATCH): each is answered when the job's version is
 * above the one it has seen, or when its time is up. Bounded: WATCH_MAX at once.
 */
#ifndef MLQ_SCHEDULER_WATCH_H
#define MLQ_SCHEDULER_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/ownership.h"
#include "lib/net/net.h"

#define WATCH_MAX 10000
#define WATCH_WAIT_MAX_NS INT64_C(60000000000)

struct shell;
struct watch;

MLQ_OWNED_RETURN struct watch *watch_create(void);
void watch_destroy(struct watch **watch);

/* False when there are too many. */
bool watch_add(struct watch *watch,
               const struct net_address *to,
               uint64_t request_id,
               uint64_t job,
               uint64_t version,
               int64_t deadline_ns);

/* Put an answer into the open turn: the job as it stands after what that turn decides, so it is told when
 * that is durable and not before. */
void watch_reply(struct watch *watch, struct shell *shell, const struct net_address *to, uint64_t request_id, uint64_t job);

/* Answer those whose job has changed; called when a turn is closed. When there are too many for one turn the
 * rest wait for the next one, and the watch is behind. */
void watch_answer(struct watch *watch, struct shell *shell);
bool watch_is_behind(const struct watch *watch);
/* Answer those whose time is up with the state as it is. */
void watch_expire(struct watch *watch, struct shell *shell, int64_t now_ns);
int64_t watch_deadline_ns(const struct watch *watch); /* INT64_MAX: none */

#endif
