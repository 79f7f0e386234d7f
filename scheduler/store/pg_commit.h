/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Batches into transactions, over the journal connection. Each batch is one exchange:
 *     BEGIN · shared fence lock · epoch check · inserts · guarded updates · COMMIT
 * The facts of a batch become one row for each job and stage that they are of (0002_journal.up.sql), its jobs
 * one row together (pg_inbox.h).
 * A batch that fails leaves its session inside a failed transaction, so that those sent after it
 * fail too, and order is kept without waiting.
 */
#ifndef MLQ_SCHEDULER_STORE_PG_COMMIT_H
#define MLQ_SCHEDULER_STORE_PG_COMMIT_H

#include "scheduler/store/ledger.h"
#include "scheduler/store/pg_conn.h"
#include "scheduler/store/store.h"

struct pg_commit;

struct pg_commit_events {
    void *context;
    /* Once an epoch, after the answer to the last batch in flight, when one of them failed: the
     * epoch is over. */
    void (*failed)(void *context, const struct mlq_err *err);
    /* Nothing is in flight any more. */
    void (*drained)(void *context);
};

MLQ_OWNED_RETURN struct pg_commit *pg_commit_create(struct uv_loop_s *loop,
                                                    MLQ_BORROWS struct pg_conn *journal,
                                                    const struct pg_commit_events *events);
/* Answers nothing more. */
void pg_commit_destroy(MLQ_TAKES struct pg_commit *commit, void (*closed)(void *context),
                       void *context);

/* Commit as this epoch from now on. */
void pg_commit_begin(struct pg_commit *commit, uint32_t epoch);
/* Refuse what comes from now on; what is in flight goes on. */
void pg_commit_end(struct pg_commit *commit);
/* The same, and the journal's connection was closed: what is in flight is answered now, as of
 * unknown outcome. */
void pg_commit_abandon(struct pg_commit *commit, const struct mlq_err *cause);
/* Of this epoch, to learn what is loaded. */
struct ledger *pg_commit_ledger(struct pg_commit *commit);
bool pg_commit_is_idle(const struct pg_commit *commit);

/* `cb` answers from the loop, in the order of the calls, also when nothing was sent: MLQ_EFENCED
 * (no epoch), MLQ_EINVAL (a value that the record cannot hold), MLQ_EFULL (STORE_BATCHES_MAX),
 * MLQ_ECONN. */
void pg_commit_put(struct pg_commit *commit, const struct store_batch *batch, store_commit_cb cb,
                   void *context);

#endif
