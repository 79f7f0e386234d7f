/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Brings the schema to what this binary knows: files NNNN_name.up.sql of one folder, applied in
 * order, each in a transaction that also records its sha256. A file that was changed after it was
 * applied, a gap, and a schema newer than the files are refused.
 */
#ifndef MLQ_SCHEDULER_STORE_PG_MIGRATE_H
#define MLQ_SCHEDULER_STORE_PG_MIGRATE_H

#include "scheduler/store/pg_conn.h"

struct pg_migrate;

/* Over an idle connection; others wait on an advisory lock meanwhile. `done` comes once, from the
 * loop: 0, MLQ_ENOENT or MLQ_EIO (the folder), MLQ_ECORRUPT (changed, gap), MLQ_ENOTSUP (schema too
 * new), MLQ_EDB, MLQ_ECONN. After a failure close the connection: it may hold the lock. */
MLQ_OWNED_RETURN struct pg_migrate *
pg_migrate_create(const char *dir, void (*done)(void *context, int rc, const struct mlq_err *err),
                  void *context);
void pg_migrate_destroy(struct pg_migrate **migrate);
/* False: the folder is not readable or not in order; `err` says what, and `done` does not come. */
bool pg_migrate_start(struct pg_migrate *migrate, struct pg_conn *conn, struct mlq_err *err);

#endif
