/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A batch as statements: one for each table, with an array a column, in the order in which they
 * refer to each other. For pg_commit.c.
 */
#ifndef MLQ_SCHEDULER_STORE_PG_ROWS_H
#define MLQ_SCHEDULER_STORE_PG_ROWS_H

#include "scheduler/store/ledger.h"
#include "scheduler/store/pg_conn.h"
#include "scheduler/store/store.h"

struct pg_rows;

MLQ_OWNED_RETURN struct pg_rows *pg_rows_create(MLQ_BORROWS struct pg_conn *conn);
void pg_rows_destroy(struct pg_rows **rows);

void pg_rows_begin(struct pg_rows *rows, uint32_t epoch);
struct ledger *pg_rows_ledger(struct pg_rows *rows);

/* No job waits for its rows, neither of this epoch nor, before the first batch, of the one before. */
bool pg_rows_are_whole(const struct pg_rows *rows);

/* Before pg_rows_send, once for each batch that will be sent: MLQ_EEXIST for what the record says
 * already, as far as the ledger knows; the server says the rest. */
int pg_rows_check(struct pg_rows *rows, const struct store_batch *in, struct mlq_err *err);
/* Into the exchange that is open on the connection. Returns the number of statements, BEGIN to
 * COMMIT. */
unsigned pg_rows_send(struct pg_rows *rows, const struct store_batch *in);

#endif
