/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The record as callbacks, row by row: what is held at any time is one job with its stages.
 */
#ifndef MLQ_SCHEDULER_STORE_PG_LOAD_H
#define MLQ_SCHEDULER_STORE_PG_LOAD_H

#include "scheduler/store/ledger.h"
#include "scheduler/store/pg_conn.h"
#include "scheduler/store/store.h"

struct pg_load;

/* `job` 0: all that have not ended. NULL when the connection is not up; otherwise loader->done
 * comes, before which *place is set to NULL. One snapshot; batches sent before on this connection
 * are in it. The ledger learns the jobs that it does not know. */
void pg_load_start(struct pg_conn *conn, MLQ_BORROWS struct ledger *ledger, uint64_t job,
                   const struct store_loader *loader, MLQ_BORROWS struct pg_load **place);
/* The connection was closed under it: loader->done comes now, unless `err` is NULL. */
void pg_load_abandon(struct pg_load **load, const struct mlq_err *err);

#endif
