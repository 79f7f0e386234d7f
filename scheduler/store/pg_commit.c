/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The contract is in pg_commit.h. Values are checked by store_check.c, and what may not be said twice by
 * the ledger, before anything is sent: what the server would refuse costs the leadership.
 */
#include "scheduler/store/pg_commit.h"

#include <inttypes.h>
#include <string.h>

#include "lib/base/list.h"
#include "lib/base/panic.h"
#include "lib/sys/mem.h"
#include "scheduler/store/pg_inbox.h"
#include "scheduler/store/pg_rows.h"
#include "scheduler/store/store_check.h"

struct pg_commit {
    struct pg_conn *journal;
    struct pg_rows *rows;
    struct pg_commit_events events;
    struct pg_timer *timer; /* answers refused batches that nothing in flight is ahead of; else `settle` */
    uint32_t epoch;         /* 0: none */
    struct mlq_list queue;  /* struct batch: in flight or refused, oldest first */
    size_t in_flight_count;
    bool is_closed;  /* a batch was refused: none after it may be sent */
    bool has_failed; /* one was answered with a failure */
    struct mlq_err cause;
};

struct batch {
    struct mlq_list node;
    struct pg_commit *commit;
    store_commit_cb cb;
    void *context;
    unsigned statements;
    bool is_committed; /* the server said COMMIT */
    bool is_refused;   /* nothing was sent; the reason is in rc and err */
    int rc;
    struct mlq_err err;
};

/* ---- Answers --------------------------------------------------------------------------------- */

static void on_result(void *context, unsigned statement, const PGresult *result)
{
    struct batch *batch = context;
    if (statement + 1 == batch->statements) {
        /* A COMMIT in a failed transaction succeeds too, with the tag ROLLBACK. */
        batch->is_committed = strcmp(PQcmdStatus((PGresult *)(uintptr_t)result), "COMMIT") == 0;
    }
}

/* What the caller is told about a batch that was sent and not committed. */
static int reason(const struct pg_commit *commit, int rc, const char *sqlstate,
                  const struct mlq_err *cause, struct mlq_err *err)
{
    if (rc == MLQ_ECONN) {
        return mlq_fail(err, MLQ_EUNKNOWN, "a commit was sent and its outcome is not known: %s",
                        cause->text);
    }
    if (strcmp(sqlstate, "MLQ01") == 0) {
        return mlq_fail(err, MLQ_EFENCED, "%s", cause->text);
    }
    if (commit->has_failed) {
        int code = commit->cause.code == MLQ_EFENCED ? MLQ_EFENCED : MLQ_ECANCELED;
        return mlq_fail(err, code, "an earlier commit failed: %s", commit->cause.text);
    }
    if (strcmp(sqlstate, "23505") == 0) {
        return mlq_fail(err, MLQ_EEXIST, "%s", cause->text);
    }
    return mlq_fail(err, MLQ_EDB, "%s",
                    rc == MLQ_OK ? "the transaction was rolled back" : cause->text);
}

static void finish(struct pg_commit *commit, struct batch *batch, int rc, const struct mlq_err *err)
{
    struct mlq_err copy = *err;
    struct batch done = *batch;
    mlq_list_remove(&batch->node);
    commit->in_flight_count -= batch->is_refused ? 0 : 1;
    mlq_free(batch);
    if (rc != MLQ_OK && !commit->has_failed) {
        commit->has_failed = true;
        commit->cause = copy;
    }
    if (mlq_list_empty(&commit->queue)) {
        ledger_forget_ended(pg_rows_ledger(commit->rows)); /* all that was said of them is recorded */
    }
    done.cb(done.context, rc, &copy);
}

/* When nothing is in flight: if nothing comes, `settle` follows. */
static void await_silence(struct pg_commit *commit)
{
    if (commit->epoch != 0 && mlq_list_empty(&commit->queue) && !pg_rows_are_whole(commit->rows)) {
        pg_conn_timer_set(commit->timer, PG_INBOX_AGE_NS);
    }
}

/* Refused batches whose turn has come; then what follows from an empty queue. */
static void pump(struct pg_commit *commit)
{
    while (!mlq_list_empty(&commit->queue)) {
        struct batch *batch = MLQ_CONTAINER_OF(commit->queue.next, struct batch, node);
        if (!batch->is_refused) {
            return;
        }
        struct mlq_err err = batch->err;
        finish(commit, batch, batch->rc, &err);
    }
    if (commit->has_failed && commit->epoch != 0) {
        commit->epoch = 0;
        commit->events.failed(commit->events.context, &commit->cause);
    } else {
        commit->events.drained(commit->events.context);
        await_silence(commit);
    }
}

static void on_settled(void *context, int rc, const struct mlq_err *err)
{
    (void)context;
    (void)rc; /* a failure ends the epoch, like any other's */
    (void)err;
}

/* Jobs that wait in the inbox get their rows with any batch, and here none comes: who reads a job, or takes over,
 * would look through all of them for as long. */
static void settle(struct pg_commit *commit)
{
    if (commit->epoch != 0) {
        pg_commit_put(commit, &(struct store_batch){0}, on_settled, NULL);
    }
}

static void on_timer(void *context)
{
    struct pg_commit *commit = context;
    if (mlq_list_empty(&commit->queue)) {
        settle(commit);
    } else {
        pump(commit);
    }
}

static void on_end(void *context, int rc, const char *sqlstate, const struct mlq_err *cause)
{
    struct batch *batch = context;
    struct pg_commit *commit = batch->commit;
    struct mlq_err err = MLQ_ERR_INIT;
    rc = batch->is_committed ? MLQ_OK : reason(commit, rc, sqlstate, cause, &err);
    finish(commit, batch, rc, &err);
    pump(commit);
}

/* ---- The interface --------------------------------------------------------------------------- */

struct pg_commit *pg_commit_create(struct uv_loop_s *loop, struct pg_conn *journal,
                                   const struct pg_commit_events *events)
{
    struct pg_commit *commit = mlq_alloc(sizeof *commit);
    commit->journal = journal;
    commit->events = *events;
    commit->timer = pg_conn_timer_create(loop, on_timer, commit);
    commit->rows = pg_rows_create(journal);
    mlq_list_init(&commit->queue);
    return commit;
}

void pg_commit_destroy(struct pg_commit *commit, void (*closed)(void *context), void *context)
{
    struct pg_timer *timer = commit->timer;
    for (struct mlq_list *node; (node = mlq_list_pop_front(&commit->queue)) != NULL;) {
        mlq_free(MLQ_CONTAINER_OF(node, struct batch, node));
    }
    pg_rows_destroy(&commit->rows);
    mlq_free(commit);
    pg_conn_timer_destroy(timer, closed, context);
}

void pg_commit_begin(struct pg_commit *commit, uint32_t epoch)
{
    MLQ_ASSERT(epoch != 0 && commit->in_flight_count == 0);
    commit->epoch = epoch;
    pg_rows_begin(commit->rows, epoch);
    commit->is_closed = false;
    commit->has_failed = false;
    await_silence(commit);
}

struct ledger *pg_commit_ledger(struct pg_commit *commit)
{
    return pg_rows_ledger(commit->rows);
}

void pg_commit_end(struct pg_commit *commit)
{
    commit->epoch = 0;
}

void pg_commit_abandon(struct pg_commit *commit, const struct mlq_err *cause)
{
    commit->epoch = 0;
    /* Only what is there now: answers may bring new ones, which are refused later. */
    while (commit->in_flight_count > 0) {
        struct batch *batch = MLQ_CONTAINER_OF(commit->queue.next, struct batch, node);
        struct mlq_err err = batch->err;
        int rc = batch->rc;
        if (!batch->is_refused) {
            rc = batch->is_committed ? MLQ_OK : reason(commit, MLQ_ECONN, "", cause, &err);
        }
        finish(commit, batch, rc, &err);
    }
}

bool pg_commit_is_idle(const struct pg_commit *commit)
{
    return mlq_list_empty(&commit->queue);
}

static int may_send(struct pg_commit *commit, const struct store_batch *in, struct mlq_err *err)
{
    if (commit->epoch == 0 || commit->is_closed || commit->has_failed) {
        return mlq_fail(err, MLQ_EFENCED, "not the leader: nothing was written");
    }
    if (commit->in_flight_count >= STORE_BATCHES_MAX) {
        return mlq_fail(err, MLQ_EFULL, "%d batches are in flight: wait for an answer",
                        STORE_BATCHES_MAX);
    }
    int rc = store_check_batch(in, err);
    return rc == MLQ_OK ? pg_rows_check(commit->rows, in, err) : rc;
}

void pg_commit_put(struct pg_commit *commit, const struct store_batch *in, store_commit_cb cb,
                   void *context)
{
    struct batch *batch = mlq_alloc(sizeof *batch);
    batch->commit = commit;
    batch->cb = cb;
    batch->context = context;
    mlq_list_init(&batch->node);
    mlq_list_push_back(&commit->queue, &batch->node);
    struct pg_answer answer = {.context = batch, .result = on_result, .end = on_end};
    batch->rc = may_send(commit, in, &batch->err);
    if (batch->rc == MLQ_OK && !pg_conn_begin(commit->journal, &answer, false)) {
        batch->rc = mlq_fail(&batch->err, MLQ_ECONN, "the journal's connection is down");
    }
    if (batch->rc != MLQ_OK) {
        batch->is_refused = true;
        commit->is_closed = true;
        pg_conn_timer_set(commit->timer, 0);
        return;
    }
    commit->in_flight_count++;
    batch->statements = pg_rows_send(commit->rows, in);
    pg_conn_end(commit->journal);
}
