/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The documents are made by the statements of pg_sql_view.h; here a question is checked and becomes
 * a statement with parameters.
 */
#include "scheduler/store/pg_view.h"

#include <inttypes.h>
#include <string.h>

#include "lib/base/list.h"
#include "lib/base/panic.h"
#include "lib/sys/mem.h"
#include "scheduler/store/pg_value.h"
#include "scheduler/store/store_check.h"

#define QUESTIONS_MAX 1024
#define PARAMS_MAX    4
#define TEXT_MAX      1024 /* bytes of a name, label or selector */
#define LIST_MAX      1000
#define SETTINGS      "-c statement_timeout=20s -c default_transaction_read_only=on"

struct question {
    struct mlq_list node;
    struct pg_view *view;
    store_view_cb cb;
    void *context;
    enum pg_sql_id sql;
    bool may_be_empty;
    unsigned param_count;
    struct pg_param params[PARAMS_MAX]; /* data in `numbers` or `texts` */
    char numbers[PARAMS_MAX][8];
    char *texts[PARAMS_MAX];
    char *missing; /* what to say when there is no row */
    char *json;
    size_t json_len;
};

struct pg_view {
    struct pg_conn *conn;
    struct mlq_list waiting; /* struct question, for the connection */
    struct mlq_list asked;
    size_t count; /* of both */
};

/* ---- A question becomes a statement ---------------------------------------------------------- */

static void add_number(struct question *question, int64_t value)
{
    unsigned i = question->param_count++;
    question->params[i] = pg_value_i64(value, question->numbers[i]);
}

static void add_text(struct question *question, struct mlq_str text)
{
    unsigned i = question->param_count++;
    question->texts[i] = mlq_strndup(text);
    question->params[i] =
        pg_value_text((struct mlq_str){.ptr = question->texts[i], .len = text.len});
}

static bool is_text(struct mlq_str text)
{
    return text.len <= TEXT_MAX && mlq_str_is_utf8(text) &&
           (text.len == 0 || memchr(text.ptr, 0, text.len) == NULL);
}

static bool is_id(struct mlq_str text, int64_t *id)
{
    uint64_t value = 0;
    if (!mlq_str_u64(text, &value) || value > INT64_MAX) {
        return false;
    }
    *id = (int64_t)value;
    return true;
}

static int check_state(struct mlq_str text, struct mlq_err *err)
{
    enum core_state state = STATE_PENDING;
    if (!store_check_state(text, &state)) {
        return mlq_fail(
            err, MLQ_EINVAL,
            "unknown state '%.*s': one of pending, running, succeeded, failed, cancelled",
            (int)(text.len > 40 ? 40 : text.len), text.ptr);
    }
    return MLQ_OK;
}

/* "12", "12-40", "last", "@name", "state=failed", "label=value". */
static int set_selector(struct question *question, struct mlq_str text, struct mlq_err *err)
{
    struct mlq_str head = {0};
    struct mlq_str tail = {0};
    int64_t first = 0;
    int64_t last = 0;
    if (is_id(text, &first)) {
        question->sql = PG_SQL_RESOLVE_ID;
        add_number(question, first);
        return MLQ_OK;
    }
    if (mlq_str_eq_c(text, "last")) {
        question->sql = PG_SQL_RESOLVE_LAST;
        return MLQ_OK;
    }
    if (text.len > 1 && text.ptr[0] == '@') {
        question->sql = PG_SQL_RESOLVE_NAME;
        add_text(question, (struct mlq_str){.ptr = text.ptr + 1, .len = text.len - 1});
        return MLQ_OK;
    }
    if (mlq_str_cut(text, '=', &head, &tail) && head.len > 0) {
        if (mlq_str_eq_c(head, "state")) {
            question->sql = PG_SQL_RESOLVE_STATE;
            add_text(question, tail);
            return check_state(tail, err);
        }
        question->sql = PG_SQL_RESOLVE_LABEL;
        add_text(question, head);
        add_text(question, tail);
        return MLQ_OK;
    }
    if (mlq_str_cut(text, '-', &head, &tail) && is_id(head, &first) && is_id(tail, &last) &&
        first <= last) {
        question->sql = PG_SQL_RESOLVE_RANGE;
        add_number(question, first);
        add_number(question, last);
        return MLQ_OK;
    }
    return mlq_fail(err, MLQ_EINVAL,
                    "'%.*s' selects no jobs: write 12, 12-40, last, @name, state=failed or "
                    "label=value",
                    (int)(text.len > 80 ? 80 : text.len), text.ptr);
}

static int set_list(struct question *question, const struct store_query *query, struct mlq_err *err)
{
    uint32_t limit = query->limit == 0 ? 100 : query->limit;
    question->sql = PG_SQL_VIEW_LIST;
    add_number(question, query->before > INT64_MAX ? INT64_MAX : (int64_t)query->before);
    add_text(question, query->name);
    add_text(question, query->selector);
    add_number(question, limit > LIST_MAX ? LIST_MAX : limit);
    return query->selector.len == 0 ? MLQ_OK : check_state(query->selector, err);
}

static int set_statement(struct question *question, const struct store_query *query,
                         struct mlq_err *err)
{
    if (!is_text(query->stage) || !is_text(query->name) || !is_text(query->selector)) {
        return mlq_fail(err, MLQ_EINVAL, "a name or selector over %d bytes, or not UTF-8",
                        TEXT_MAX);
    }
    int64_t job = query->job > INT64_MAX ? 0 : (int64_t)query->job;
    question->missing = mlq_format("there is no job %" PRIu64, query->job);
    switch (query->view) {
    case VIEW_SHOW:
    case VIEW_RECORD:
        question->sql = query->view == VIEW_SHOW ? PG_SQL_VIEW_JOB : PG_SQL_VIEW_RECORD;
        add_number(question, job);
        return MLQ_OK;
    case VIEW_LIST:
        return set_list(question, query, err);
    case VIEW_METRICS:
        question->sql = PG_SQL_VIEW_METRICS;
        add_number(question, job);
        add_text(question, query->stage);
        add_text(question, query->name);
        return MLQ_OK;
    case VIEW_ATTEMPT:
        question->sql = PG_SQL_VIEW_ATTEMPT;
        mlq_free(question->missing);
        question->missing = mlq_format(
            "job %" PRIu64 " has no attempt of stage '%.*s', index %" PRIu32 ", rank %" PRIu32,
            query->job, MLQ_STR_ARG(query->stage), query->index, query->rank);
        add_number(question, job);
        add_text(question, query->stage);
        add_number(question, query->index);
        add_number(question, query->rank);
        return MLQ_OK;
    case VIEW_RESOLVE:
        mlq_free(question->missing);
        question->missing = mlq_format("no job matches '%.*s'", MLQ_STR_ARG(query->selector));
        return set_selector(question, query->selector, err);
    }
    MLQ_UNREACHABLE("a view that is not in store.h");
}

/* ---- Sending and answering ------------------------------------------------------------------- */

static void free_question(struct question *question)
{
    for (unsigned i = 0; i < PARAMS_MAX; i++) {
        mlq_free(question->texts[i]);
    }
    mlq_free(question->missing);
    mlq_free(question->json);
    mlq_free(question);
}

static void answer(struct question *question, int rc, const struct mlq_err *err)
{
    mlq_list_remove(&question->node);
    question->view->count--;
    struct mlq_str json = {.ptr = question->json, .len = question->json_len};
    question->cb(question->context, rc, rc == MLQ_OK ? json : (struct mlq_str){0}, err);
    free_question(question);
}

static void on_result(void *context, unsigned statement, const PGresult *result)
{
    (void)statement;
    struct question *question = context;
    if (PQntuples(result) > 0 && question->json == NULL) {
        struct mlq_str json = pg_value_get_text(result, 0, 0);
        question->json = mlq_strndup(json);
        question->json_len = json.len;
    }
}

static void on_end(void *context, int rc, const char *sqlstate, const struct mlq_err *err)
{
    struct question *question = context;
    struct mlq_err reason = *err;
    if (rc == MLQ_EDB && strcmp(sqlstate, "57014") == 0) {
        rc = mlq_fail(&reason, MLQ_ETIMEOUT, "the database took too long to answer");
    } else if (rc == MLQ_OK && question->json == NULL) {
        rc = mlq_fail(&reason, MLQ_ENOENT, "%s", question->missing);
    }
    answer(question, rc, &reason);
}

static void send_waiting(struct pg_view *view)
{
    for (struct mlq_list *node; (node = mlq_list_pop_front(&view->waiting)) != NULL;) {
        struct question *question = MLQ_CONTAINER_OF(node, struct question, node);
        struct pg_answer to = {.context = question, .result = on_result, .end = on_end};
        mlq_list_push_back(&view->asked, node);
        if (!pg_conn_begin(view->conn, &to, false)) {
            mlq_list_remove(node);
            mlq_list_push_back(&view->waiting, node);
            return;
        }
        pg_conn_statement(view->conn, question->sql, question->params, question->param_count);
        pg_conn_end(view->conn);
    }
}

static void on_up(void *context)
{
    send_waiting(context);
}

static void on_down(void *context, const struct mlq_err *err)
{
    struct pg_view *view = context;
    while (!mlq_list_empty(&view->waiting)) {
        struct mlq_list *node = view->waiting.next;
        answer(MLQ_CONTAINER_OF(node, struct question, node), MLQ_ECONN, err);
    }
    if (view->count == 0) {
        pg_conn_close(view->conn); /* nobody waits: no attempts until the next question */
    }
}

struct pg_view *pg_view_create(struct uv_loop_s *loop, const char *conninfo)
{
    struct pg_view *view = mlq_alloc(sizeof *view);
    struct pg_conn_options options = {
        .conninfo = conninfo, .name = "mlq scheduler read", .settings = SETTINGS};
    struct pg_conn_events events = {.context = view, .up = on_up, .down = on_down};
    mlq_list_init(&view->waiting);
    mlq_list_init(&view->asked);
    view->conn = pg_conn_create(loop, &options, &events);
    return view;
}

static void free_list(struct mlq_list *list)
{
    for (struct mlq_list *node; (node = mlq_list_pop_front(list)) != NULL;) {
        free_question(MLQ_CONTAINER_OF(node, struct question, node));
    }
}

void pg_view_destroy(struct pg_view *view, void (*closed)(void *context), void *context)
{
    struct pg_conn *conn = view->conn;
    free_list(&view->waiting);
    free_list(&view->asked);
    mlq_free(view);
    pg_conn_destroy(conn, closed, context);
}

int pg_view_ask(struct pg_view *view, const struct store_query *query, store_view_cb cb,
                void *context, struct mlq_err *err)
{
    if (view->count >= QUESTIONS_MAX) {
        return mlq_fail(err, MLQ_EFULL, "%d questions wait for the database: try again",
                        QUESTIONS_MAX);
    }
    struct question *question = mlq_alloc(sizeof *question);
    question->view = view;
    question->cb = cb;
    question->context = context;
    mlq_list_init(&question->node);
    int rc = set_statement(question, query, err);
    if (rc != MLQ_OK) {
        free_question(question);
        return rc;
    }
    mlq_list_push_back(&view->waiting, &question->node);
    view->count++;
    pg_conn_open(view->conn);
    if (pg_conn_is_up(view->conn)) {
        send_waiting(view);
    }
    return MLQ_OK;
}
