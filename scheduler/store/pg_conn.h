/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * One PostgreSQL connection on a libuv loop, never blocking: the only place where libpq meets
 * libuv.
 *
 * Statements are sent in exchanges: begin, one or more statements, end (a pipeline sync). Exchanges
 * are answered in the order they were sent, and any number may be in flight: the owner bounds it. A
 * statement that fails aborts the rest of its exchange. An exchange is not a transaction unless its
 * statements say so.
 *
 * All callbacks run from the loop, never inside a call of this interface. A callback may call
 * anything here, pg_conn_close included.
 */
#ifndef MLQ_SCHEDULER_STORE_PG_CONN_H
#define MLQ_SCHEDULER_STORE_PG_CONN_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "scheduler/store/pg_sql.h"

struct uv_loop_s;
struct pg_conn;

struct pg_conn_options {
    const char *conninfo;
    const char *name;     /* application_name */
    const char *settings; /* "-c name=value ..." for the session, besides what every one gets */
};

struct pg_conn_events {
    void *context;
    void (*up)(void *context);
    /* An attempt to connect failed, or the connection was lost (its exchanges were answered with
     * MLQ_ECONN before). Another attempt follows by itself, after a pause that grows to 2 s, until
     * pg_conn_close. */
    void (*down)(void *context, const struct mlq_err *err);
};

/* How an exchange is answered. `result` gets every result with rows or a command tag, counted by
 * statement from 0; in row-by-row mode each row is a result (PGRES_SINGLE_TUPLE) and a last one of
 * 0 rows follows. `end` comes once, last: rc 0, MLQ_EDB (a statement failed: err->text is the
 * server's words, sqlstate its code) or MLQ_ECONN. */
struct pg_answer {
    void *context;
    void (*result)(void *context, unsigned statement, const PGresult *result); /* may be NULL */
    void (*end)(void *context, int rc, const char *sqlstate, const struct mlq_err *err);
};

/* A parameter in binary format (pg_value.h makes them); data NULL: SQL NULL. */
struct pg_param {
    const char *data;
    int len;
};

#define PG_PARAMS_MAX 24

MLQ_OWNED_RETURN struct pg_conn *pg_conn_create(struct uv_loop_s *loop,
                                                const struct pg_conn_options *options,
                                                const struct pg_conn_events *events);
/* Begin to connect and keep trying. Nothing when open already. */
void pg_conn_open(struct pg_conn *conn);
/* End the connection and stop trying; exchanges in flight are dropped without an answer. */
void pg_conn_close(struct pg_conn *conn);
/* Closes and frees; `closed` runs when libuv has let go of the memory. */
void pg_conn_destroy(MLQ_TAKES struct pg_conn *conn, void (*closed)(void *context), void *context);

bool pg_conn_is_up(const struct pg_conn *conn);
int32_t
pg_conn_backend_pid(const struct pg_conn *conn); /* as the server told at connect; 0: not up */

/* False when the connection is not up: nothing is sent and no answer comes. */
bool pg_conn_begin(struct pg_conn *conn, const struct pg_answer *answer, bool row_by_row);
/* A named statement of pg_sql.h; it is prepared on this connection at its first use here when
 * `prepare` is set there. */
void pg_conn_statement(struct pg_conn *conn, enum pg_sql_id id, const struct pg_param *params,
                       unsigned param_count);
/* Any text without parameters, for instance a migration's; several statements are allowed only in
 * an exchange of its own, because libpq sends it outside of the pipeline. */
bool pg_conn_script(struct pg_conn *conn, const char *sql, const struct pg_answer *answer);
void pg_conn_end(struct pg_conn *conn);

/* ---- A one-shot timer on the same loop ------------------------------------------------------- */

struct pg_timer;
typedef void (*pg_timer_cb)(void *context);

MLQ_OWNED_RETURN struct pg_timer *pg_conn_timer_create(struct uv_loop_s *loop, pg_timer_cb cb,
                                                       void *context);
/* Fires once, `delay_ns` from now (rounded up to milliseconds), replacing an earlier setting. */
void pg_conn_timer_set(struct pg_timer *timer, int64_t delay_ns);
void pg_conn_timer_stop(struct pg_timer *timer);
void pg_conn_timer_destroy(MLQ_TAKES struct pg_timer *timer, void (*closed)(void *context),
                           void *context);

#endif
