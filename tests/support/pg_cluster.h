/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A private PostgreSQL for a test: a folder of its own under $TMPDIR or /tmp, a Unix socket and no
 * port, fsync on, gone with the test. As root the server runs as the user postgres. It dies with
 * the process that started it.
 */
#ifndef MLQ_TESTS_SUPPORT_PG_CLUSTER_H
#define MLQ_TESTS_SUPPORT_PG_CLUSTER_H

#include <stdbool.h>
#include <sys/types.h>

struct pg_cluster;

/* NULL when PostgreSQL is not installed; the reason is on stderr. One that does not start aborts. */
struct pg_cluster *pg_cluster_start(void);
void pg_cluster_stop(struct pg_cluster **cluster);

/* "host=... dbname=... user=mlq", of a fresh database each time this is called; lives until stop.
 */
const char *pg_cluster_database(struct pg_cluster *cluster);

/* kill -9 of the server's first process, as a crash. All sessions end; nothing is flushed. */
void pg_cluster_kill(struct pg_cluster *cluster);
/* After pg_cluster_kill: start again on the same data. False when it does not come up. */
bool pg_cluster_restart(struct pg_cluster *cluster);

/* Run SQL (several statements are fine) synchronously; the first column of the first row, owned by
 * the caller (free), NULL for no row. A failure aborts the test, unless the text is wanted:
 * pg_cluster_try gives the SQLSTATE ("" for success). */
char *pg_cluster_query(const char *conninfo, const char *sql);
const char *pg_cluster_try(const char *conninfo, const char *sql);

#endif
