/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Questions on their way: a client's log read that a worker answers, a task's record request that the store
 * answers. Each has a handle, an asker and a deadline; an answer that comes late finds nothing.
 */
#ifndef MLQ_SCHEDULER_RELAY_H
#define MLQ_SCHEDULER_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/ownership.h"
#include "lib/net/msg.h"
#include "lib/net/net.h"
#include "scheduler/store/store.h"

#define RELAY_MAX 10000

struct shell;
struct relay;

MLQ_OWNED_RETURN struct relay *relay_create(void);
void relay_destroy(struct relay **relay);

/* Ask for the log of a job's task: finds the attempt in the record, then asks its worker. */
void relay_log(struct shell *shell, const struct net_address *to, const struct msg_request *request);
/* A worker's answer to that. */
void relay_on_log_data(struct shell *shell, uint32_t worker, const struct msg_log_data *data);

/* A task asks for its job's record. */
void relay_record(struct shell *shell, const struct net_address *to, const struct msg_record_request *request,
                  uint64_t job);

/* A client's read-only question to the store. */
void relay_view(struct shell *shell, const struct net_address *to, uint64_t request_id, const struct store_query *query);

void relay_expire(struct relay *relay, struct shell *shell, int64_t now_ns);
int64_t relay_deadline_ns(const struct relay *relay);

#endif
