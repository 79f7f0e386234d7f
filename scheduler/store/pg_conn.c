/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The contract is in pg_conn.h. What must be known to change this file:
 * - In pipeline mode a call may leave bytes unsent: watch for writability and call PQflush until it
 *   says 0, and read in the meantime, because the server may be blocked on us.
 * - While connecting, libpq may close its socket and open another one of the same number, of which
 *   libuv would know nothing. So the poll handle is given up before each PQconnectPoll.
 * - A uv handle's memory is free only in its close callback.
 * - PQgetResult gives NULL after each statement's results, and a PGRES_PIPELINE_SYNC after each
 *   exchange; row-by-row mode is asked for anew before each statement's first result.
 */
#include "scheduler/store/pg_conn.h"

#include <limits.h>
#include <string.h>
#include <uv.h>

#include "lib/base/list.h"
#include "lib/base/panic.h"
#include "lib/sys/clock.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"

#define CONNECT_TIMEOUT_MS        10000
#define BACKOFF_FIRST_MS          50
#define BACKOFF_LAST_MS           2000
#define PREPARES_PER_EXCHANGE_MAX 64

/* Every session: nothing but the system catalogue is found by an unqualified name. */
#define SESSION_SETTINGS                                                                           \
    "-c search_path=pg_catalog,pg_temp -c timezone=UTC -c default_transaction_isolation=read\\ "   \
    "committed -c jit=off"

enum conn_state { CONN_CLOSED, CONN_CONNECTING, CONN_UP, CONN_PAUSED };

struct exchange {
    struct mlq_list node;
    struct pg_answer answer;
    uint64_t prepares;  /* bit i: the i-th message is a Parse of ours, of which nobody is told */
    unsigned sent;      /* messages sent in it */
    unsigned messages;  /* of those, answered */
    unsigned statement; /* the caller's statements answered */
    bool row_by_row;
    bool is_script;
    bool mode_is_set; /* row-by-row mode was asked for the current statement */
    int rc;
    char sqlstate[6];
    struct mlq_err err;
};

/* On its own, because libuv lets go of it only some time after uv_close. */
struct poll_handle {
    uv_poll_t uv;
    struct pg_conn *conn;
};

struct pg_conn {
    struct uv_loop_s *loop;
    char *conninfo;
    char *name;
    char *settings;
    struct pg_conn_events events;
    enum conn_state state;
    PGconn *pg;
    struct poll_handle *poll; /* NULL: none */
    int polled;               /* events asked for */
    uv_timer_t timer; /* connecting: the limit; paused: the next attempt; up: it is broken */
    uint64_t backoff_ms;
    uint64_t generation;          /* grows with each teardown: a callback may have caused one */
    struct mlq_list in_flight;    /* struct exchange, oldest first */
    struct mlq_list unanswerable; /* of a lost connection, being answered */
    struct exchange *open;        /* begun, not ended */
    uint32_t closing;             /* uv handles whose close callback is due */
    bool prepared[PG_SQL_COUNT];
    bool is_destroyed;
    void (*closed)(void *context);
    void *closed_context;
};

static void on_poll(uv_poll_t *handle, int status, int events);
static void on_timer(uv_timer_t *timer);

static void free_exchanges(struct mlq_list *list)
{
    for (struct mlq_list *node; (node = mlq_list_pop_front(list)) != NULL;) {
        mlq_free(MLQ_CONTAINER_OF(node, struct exchange, node));
    }
}

static void finish_destroy(struct pg_conn *conn)
{
    if (!conn->is_destroyed || conn->closing > 0) {
        return;
    }
    void (*closed)(void *) = conn->closed;
    void *context = conn->closed_context;
    mlq_free(conn->conninfo);
    mlq_free(conn->name);
    mlq_free(conn->settings);
    mlq_free(conn);
    if (closed != NULL) {
        closed(context);
    }
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct poll_handle *poll =
        MLQ_CONTAINER_OF((uv_poll_t *)(void *)handle, struct poll_handle, uv);
    struct pg_conn *conn = poll->conn;
    mlq_free(poll);
    conn->closing--;
    finish_destroy(conn);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct pg_conn *conn = handle->data;
    conn->closing--;
    finish_destroy(conn);
}

static void drop_poll(struct pg_conn *conn)
{
    if (conn->poll != NULL) {
        conn->closing++;
        uv_close((uv_handle_t *)&conn->poll->uv, on_poll_closed);
        conn->poll = NULL;
        conn->polled = 0;
    }
}

static void want(struct pg_conn *conn, int events)
{
    if (conn->poll == NULL) {
        conn->poll = mlq_alloc(sizeof *conn->poll);
        conn->poll->conn = conn;
        int rc = uv_poll_init(conn->loop, &conn->poll->uv, PQsocket(conn->pg));
        MLQ_ASSERT(rc == 0); /* libpq's socket is non-blocking and in no other loop */
    }
    if (conn->polled != events) {
        conn->polled = events;
        int rc = uv_poll_start(&conn->poll->uv, events, on_poll);
        MLQ_ASSERT(rc == 0);
    }
}

/* Forget the connection; exchanges stay where they are. */
static void teardown(struct pg_conn *conn)
{
    conn->generation++;
    drop_poll(conn);
    (void)uv_timer_stop(&conn->timer);
    if (conn->pg != NULL) {
        PQfinish(conn->pg);
        conn->pg = NULL;
    }
    mlq_free(conn->open);
    conn->open = NULL;
    memset(conn->prepared, 0, sizeof conn->prepared);
}

/* libpq's words without the line end. */
static void pg_words(const char *text, struct mlq_err *err, int code, const char *what)
{
    size_t len = strlen(text);
    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' ')) {
        len--;
    }
    (void)mlq_fail(err, code, "%s: %.*s", what, len > 400 ? 400 : (int)len, text);
}

static void lost(struct pg_conn *conn, const struct mlq_err *err)
{
    teardown(conn);
    conn->state = CONN_PAUSED;
    while (!mlq_list_empty(&conn->in_flight)) {
        mlq_list_push_back(&conn->unanswerable, mlq_list_pop_front(&conn->in_flight));
    }
    (void)uv_timer_start(&conn->timer, on_timer, conn->backoff_ms, 0);
    conn->backoff_ms =
        conn->backoff_ms * 2 > BACKOFF_LAST_MS ? BACKOFF_LAST_MS : conn->backoff_ms * 2;
    uint64_t generation = conn->generation;
    for (struct mlq_list *node; (node = mlq_list_pop_front(&conn->unanswerable)) != NULL;) {
        struct exchange *exchange = MLQ_CONTAINER_OF(node, struct exchange, node);
        struct pg_answer answer = exchange->answer;
        mlq_free(exchange);
        answer.end(answer.context, MLQ_ECONN, "", err);
    }
    if (conn->generation == generation && conn->events.down != NULL) {
        conn->events.down(conn->events.context, err);
    }
}

static void lost_by_libpq(struct pg_conn *conn, const char *what)
{
    struct mlq_err err = MLQ_ERR_INIT;
    pg_words(conn->pg == NULL ? "out of memory" : PQerrorMessage(conn->pg), &err, MLQ_ECONN, what);
    lost(conn, &err);
}

/* A send failed inside a call of the owner: say so from the loop. */
static void break_later(struct pg_conn *conn)
{
    (void)uv_timer_start(&conn->timer, on_timer, 0, 0);
}

static void flush(struct pg_conn *conn)
{
    int left = PQflush(conn->pg);
    if (left < 0) {
        break_later(conn);
        return;
    }
    want(conn, left > 0 ? UV_READABLE | UV_WRITABLE : UV_READABLE);
}

/* ---- Answers --------------------------------------------------------------------------------- */

static void note_error(struct exchange *exchange, const PGresult *result)
{
    if (exchange->rc != MLQ_OK) {
        return; /* the first one is the cause */
    }
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *words = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    exchange->rc = MLQ_EDB;
    if (state != NULL) {
        memcpy(exchange->sqlstate, state, strnlen(state, sizeof exchange->sqlstate - 1));
    }
    pg_words(words != NULL ? words : PQresultErrorMessage(result), &exchange->err, MLQ_EDB,
             state != NULL ? exchange->sqlstate : "PostgreSQL");
}

static void complete(struct pg_conn *conn, struct exchange *exchange)
{
    mlq_list_remove(&exchange->node);
    if (exchange->is_script && PQenterPipelineMode(conn->pg) != 1) {
        break_later(conn);
    }
    struct exchange done = *exchange;
    mlq_free(exchange);
    done.answer.end(done.answer.context, done.rc, done.sqlstate, &done.err);
}

static bool is_prepare(const struct exchange *exchange)
{
    return exchange->messages < PREPARES_PER_EXCHANGE_MAX &&
           (exchange->prepares >> exchange->messages & 1) != 0;
}

static void take_result(struct pg_conn *conn, struct exchange *exchange, PGresult *result)
{
    switch (PQresultStatus(result)) {
    case PGRES_PIPELINE_SYNC:
        PQclear(result);
        complete(conn, exchange);
        return;
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
    case PGRES_SINGLE_TUPLE:
    case PGRES_EMPTY_QUERY:
        if (exchange->answer.result != NULL && !is_prepare(exchange)) {
            exchange->answer.result(exchange->answer.context, exchange->statement, result);
        }
        break;
    case PGRES_PIPELINE_ABORTED:
        break;
    case PGRES_FATAL_ERROR:
    case PGRES_BAD_RESPONSE:
    case PGRES_NONFATAL_ERROR:
    case PGRES_COPY_IN:
    case PGRES_COPY_OUT:
    case PGRES_COPY_BOTH:
        note_error(exchange, result);
        break;
    }
    PQclear(result);
}

/* All results that libpq has whole. */
static void process(struct pg_conn *conn)
{
    uint64_t generation = conn->generation;
    while (conn->generation == generation && !mlq_list_empty(&conn->in_flight)) {
        struct exchange *exchange = MLQ_CONTAINER_OF(conn->in_flight.next, struct exchange, node);
        if (exchange->row_by_row && !exchange->mode_is_set && exchange->messages < exchange->sent) {
            exchange->mode_is_set = PQsetSingleRowMode(conn->pg) == 1;
        }
        if (PQisBusy(conn->pg)) {
            break;
        }
        PGresult *result = PQgetResult(conn->pg);
        if (result != NULL) {
            take_result(conn, exchange, result);
        } else if (PQstatus(conn->pg) == CONNECTION_BAD) {
            break;
        } else if (exchange->is_script) {
            complete(conn, exchange);
        } else {
            exchange->statement += is_prepare(exchange) ? 0 : 1;
            exchange->messages++;
            exchange->mode_is_set = false;
        }
    }
    if (conn->generation == generation && PQstatus(conn->pg) == CONNECTION_BAD) {
        lost_by_libpq(conn, "the connection to PostgreSQL was lost");
    }
}

/* ---- Connecting ------------------------------------------------------------------------------ */

static void on_notice(void *context, const PGresult *result)
{
    const struct pg_conn *conn = context;
    const char *words = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    log_info("pg.notice", "connection=\"%s\" text=\"%.300s\"", conn->name,
             words == NULL ? "" : words);
}

static void established(struct pg_conn *conn)
{
    if (PQenterPipelineMode(conn->pg) != 1) {
        lost_by_libpq(conn, "PostgreSQL: pipeline mode");
        return;
    }
    (void)uv_timer_stop(&conn->timer);
    conn->state = CONN_UP;
    conn->backoff_ms = BACKOFF_FIRST_MS;
    want(conn, UV_READABLE);
    conn->events.up(conn->events.context);
}

static void connect_step(struct pg_conn *conn)
{
    drop_poll(conn);
    switch (PQconnectPoll(conn->pg)) {
    case PGRES_POLLING_READING:
        want(conn, UV_READABLE);
        return;
    case PGRES_POLLING_WRITING:
        want(conn, UV_WRITABLE);
        return;
    case PGRES_POLLING_OK:
        established(conn);
        return;
    case PGRES_POLLING_FAILED:
    case PGRES_POLLING_ACTIVE: /* "unused; keep for backwards compatibility" */
        lost_by_libpq(conn, "cannot reach PostgreSQL");
        return;
    }
}

static void connect_start(struct pg_conn *conn)
{
    char *settings = mlq_format("%s %s", SESSION_SETTINGS, conn->settings);
    /* Later ones win over those in conninfo. A dead network is noticed within some 20 s. */
    const char *const keywords[] = {"dbname",           "application_name", "options",
                                    "client_encoding",  "keepalives_idle",  "keepalives_interval",
                                    "keepalives_count", "tcp_user_timeout", NULL};
    const char *const values[] = {conn->conninfo, conn->name, settings, "UTF8", "5", "3", "3",
                                  "15000",        NULL};
    conn->state = CONN_CONNECTING;
    conn->pg = PQconnectStartParams(keywords, values, 1);
    mlq_free(settings);
    if (conn->pg == NULL || PQstatus(conn->pg) == CONNECTION_BAD ||
        PQsetnonblocking(conn->pg, 1) != 0) {
        lost_by_libpq(conn, "cannot reach PostgreSQL");
        return;
    }
    (void)PQsetNoticeReceiver(conn->pg, on_notice, conn);
    (void)uv_timer_start(&conn->timer, on_timer, CONNECT_TIMEOUT_MS, 0);
    want(conn, UV_WRITABLE);
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
    struct pg_conn *conn = MLQ_CONTAINER_OF(handle, struct poll_handle, uv)->conn;
    if (conn->state == CONN_CONNECTING) {
        connect_step(conn);
        return;
    }
    uint64_t generation = conn->generation;
    if (status < 0) {
        conn->polled = 0; /* libuv stopped it (POLLERR); what was received may be still to read */
    }
    if (status < 0 || (events & UV_READABLE) != 0) {
        if (PQconsumeInput(conn->pg) != 1) {
            /* What arrived before the end is still there, for instance the reason. */
            process(conn);
            if (conn->generation == generation) {
                lost_by_libpq(conn, "the connection to PostgreSQL was lost");
            }
            return;
        }
        process(conn);
    }
    if (conn->generation == generation) {
        flush(conn);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct pg_conn *conn = timer->data;
    struct mlq_err err = MLQ_ERR_INIT;
    switch (conn->state) {
    case CONN_CLOSED:
        break;
    case CONN_PAUSED:
        connect_start(conn);
        break;
    case CONN_CONNECTING:
        (void)mlq_fail(&err, MLQ_ECONN, "cannot reach PostgreSQL: no answer in %d s",
                       CONNECT_TIMEOUT_MS / 1000);
        lost(conn, &err);
        break;
    case CONN_UP:
        lost_by_libpq(conn, "the connection to PostgreSQL was lost");
        break;
    }
}

/* ---- Life ------------------------------------------------------------------------------------ */

struct pg_conn *pg_conn_create(struct uv_loop_s *loop, const struct pg_conn_options *options,
                               const struct pg_conn_events *events)
{
    struct pg_conn *conn = mlq_alloc(sizeof *conn);
    conn->loop = loop;
    conn->conninfo = mlq_strdup(options->conninfo);
    conn->name = mlq_strdup(options->name);
    conn->settings = mlq_strdup(options->settings);
    conn->events = *events;
    conn->backoff_ms = BACKOFF_FIRST_MS;
    mlq_list_init(&conn->in_flight);
    mlq_list_init(&conn->unanswerable);
    int rc = uv_timer_init(loop, &conn->timer);
    MLQ_ASSERT(rc == 0);
    conn->timer.data = conn;
    return conn;
}

void pg_conn_open(struct pg_conn *conn)
{
    if (conn->state == CONN_CLOSED) {
        conn->state = CONN_PAUSED;
        (void)uv_timer_start(&conn->timer, on_timer, 0, 0);
    }
}

void pg_conn_close(struct pg_conn *conn)
{
    teardown(conn);
    conn->state = CONN_CLOSED;
    conn->backoff_ms = BACKOFF_FIRST_MS;
    free_exchanges(&conn->in_flight);
    free_exchanges(&conn->unanswerable);
}

void pg_conn_destroy(struct pg_conn *conn, void (*closed)(void *context), void *context)
{
    pg_conn_close(conn);
    conn->is_destroyed = true;
    conn->closed = closed;
    conn->closed_context = context;
    conn->closing++;
    uv_close((uv_handle_t *)&conn->timer, on_timer_closed);
}

bool pg_conn_is_up(const struct pg_conn *conn)
{
    return conn->state == CONN_UP;
}

int32_t pg_conn_backend_pid(const struct pg_conn *conn)
{
    return conn->state == CONN_UP ? PQbackendPID(conn->pg) : 0;
}

/* ---- Exchanges ------------------------------------------------------------------------------- */

bool pg_conn_begin(struct pg_conn *conn, const struct pg_answer *answer, bool row_by_row)
{
    MLQ_ASSERT(conn->open == NULL);
    if (conn->state != CONN_UP) {
        return false;
    }
    conn->open = mlq_alloc(sizeof *conn->open);
    conn->open->answer = *answer;
    conn->open->row_by_row = row_by_row;
    mlq_list_init(&conn->open->node);
    return true;
}

void pg_conn_statement(struct pg_conn *conn, enum pg_sql_id id, const struct pg_param *params,
                       unsigned param_count)
{
    MLQ_ASSERT(conn->open != NULL && param_count <= PG_PARAMS_MAX);
    const char *values[PG_PARAMS_MAX] = {0};
    int lengths[PG_PARAMS_MAX] = {0};
    int formats[PG_PARAMS_MAX] = {0};
    for (unsigned i = 0; i < param_count; i++) {
        values[i] = params[i].data;
        lengths[i] = params[i].len;
        formats[i] = 1;
    }
    const struct pg_sql *sql = pg_sql_get(id);
    struct exchange *exchange = conn->open;
    int ok = 1;
    if (sql->prepare && !conn->prepared[id] && exchange->sent < PREPARES_PER_EXCHANGE_MAX) {
        ok = PQsendPrepare(conn->pg, pg_sql_name(id), sql->text, 0, NULL);
        exchange->prepares |= UINT64_C(1) << exchange->sent;
        exchange->sent++;
        conn->prepared[id] = true;
    }
    if (ok == 1 && sql->prepare && conn->prepared[id]) {
        ok = PQsendQueryPrepared(conn->pg, pg_sql_name(id), (int)param_count, values, lengths,
                                 formats, sql->binary ? 1 : 0);
    } else if (ok == 1) {
        ok = PQsendQueryParams(conn->pg, sql->text, (int)param_count, NULL, values, lengths,
                               formats, sql->binary ? 1 : 0);
    }
    exchange->sent++;
    if (ok != 1) {
        break_later(conn);
    }
}

void pg_conn_end(struct pg_conn *conn)
{
    MLQ_ASSERT(conn->open != NULL);
    mlq_list_push_back(&conn->in_flight, &conn->open->node);
    conn->open = NULL;
    if (PQpipelineSync(conn->pg) != 1) {
        break_later(conn);
        return;
    }
    flush(conn);
}

bool pg_conn_script(struct pg_conn *conn, const char *sql, const struct pg_answer *answer)
{
    if (conn->state != CONN_UP) {
        return false;
    }
    MLQ_ASSERT(conn->open == NULL && mlq_list_empty(&conn->in_flight));
    struct exchange *exchange = mlq_alloc(sizeof *exchange);
    exchange->answer = *answer;
    exchange->is_script = true;
    mlq_list_init(&exchange->node);
    mlq_list_push_back(&conn->in_flight, &exchange->node);
    if (PQexitPipelineMode(conn->pg) != 1 || PQsendQuery(conn->pg, sql) != 1) {
        break_later(conn);
        return true;
    }
    flush(conn);
    return true;
}

/* ---- Timer ----------------------------------------------------------------------------------- */

struct pg_timer {
    uv_timer_t uv;
    pg_timer_cb cb;
    void *context;
    void (*closed)(void *context);
    void *closed_context;
};

static void on_pg_timer(uv_timer_t *handle)
{
    struct pg_timer *timer = handle->data;
    timer->cb(timer->context);
}

static void on_pg_timer_closed(uv_handle_t *handle)
{
    struct pg_timer *timer = handle->data;
    void (*closed)(void *) = timer->closed;
    void *context = timer->closed_context;
    mlq_free(timer);
    if (closed != NULL) {
        closed(context);
    }
}

struct pg_timer *pg_conn_timer_create(struct uv_loop_s *loop, pg_timer_cb cb, void *context)
{
    struct pg_timer *timer = mlq_alloc(sizeof *timer);
    int rc = uv_timer_init(loop, &timer->uv);
    MLQ_ASSERT(rc == 0);
    timer->uv.data = timer;
    timer->cb = cb;
    timer->context = context;
    return timer;
}

void pg_conn_timer_set(struct pg_timer *timer, int64_t delay_ns)
{
    uint64_t ms = delay_ns <= 0 ? 0 : (uint64_t)((delay_ns + MLQ_NS_PER_MS - 1) / MLQ_NS_PER_MS);
    uv_update_time(timer->uv.loop);
    (void)uv_timer_start(&timer->uv, on_pg_timer, ms, 0);
}

void pg_conn_timer_stop(struct pg_timer *timer)
{
    (void)uv_timer_stop(&timer->uv);
}

void pg_conn_timer_destroy(struct pg_timer *timer, void (*closed)(void *context), void *context)
{
    timer->closed = closed;
    timer->closed_context = context;
    uv_close((uv_handle_t *)&timer->uv, on_pg_timer_closed);
}
