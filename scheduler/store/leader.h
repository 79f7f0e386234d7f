/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Who leads. The truth is one row with an epoch and an expiry by the server's clock, taken over by
 * one conditional update under an exclusive lock that every commit takes shared. A session advisory
 * lock is only a hint: a standby sleeps on it and looks at the row when it falls.
 *
 * The leader trusts itself until `lease` after it *sent* the last renewal that was answered, minus
 * a sixth of it, on CLOCK_BOOTTIME: a stopped process, a sleeping machine and a stepped wall clock are
 * safe. A lapse alone does not end the epoch: when the next renewal finds that nobody took over,
 * trust returns. After a whole lease more without an answer the leader gives up.
 */
#ifndef MLQ_SCHEDULER_STORE_LEADER_H
#define MLQ_SCHEDULER_STORE_LEADER_H

#include "scheduler/store/pg_conn.h"

struct leader;

struct leader_options {
    const char *migrations_dir;
    int64_t lease_ns;
    bool allow_unsafe;
};

struct leader_events {
    void *context;
    void (*elected)(void *context, uint32_t epoch);
    /* Not leader and not campaigning any more. */
    void (*ended)(void *context, const struct mlq_err *err);
};

/* The connections' events must be passed on (leader_conn_up, leader_conn_down). */
MLQ_OWNED_RETURN struct leader *leader_create(struct uv_loop_s *loop,
                                              MLQ_BORROWS struct pg_conn *lease,
                                              MLQ_BORROWS struct pg_conn *journal,
                                              const struct leader_options *options,
                                              const struct leader_events *events);
void leader_destroy(MLQ_TAKES struct leader *leader, void (*closed)(void *context), void *context);

void leader_campaign(struct leader *leader, const char *holder);
/* Clear the row, so that a standby need not wait; `ended` follows. */
void leader_resign(struct leader *leader);
/* The epoch is over for a reason of the journal's: `ended` is called now, the row cleared if
 * possible. */
void leader_give_up(struct leader *leader, const struct mlq_err *err);
void leader_conn_up(struct leader *leader);
void leader_conn_down(struct leader *leader, const struct pg_conn *which,
                      const struct mlq_err *err);

int64_t leader_trusted_until_ns(const struct leader *leader);
bool leader_is_leading(const struct leader *leader);

#endif
