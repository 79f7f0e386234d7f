/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The store over PostgreSQL: three connections and who uses them.
 *     lease    leader.c: the contest for leadership and its renewals, which no slow commit may
 * delay journal  pg_commit.c and pg_load.c: what is written, and what is read back to start from
 *     read     pg_view.c: documents for clients
 * Here they are joined: an epoch begins when leader.c wins and ends when either of the first two
 * says so, and everything in flight is answered before the caller hears of the end.
 */
#include "scheduler/store/leader.h"
#include "scheduler/store/pg_commit.h"
#include "scheduler/store/pg_conn.h"
#include "scheduler/store/pg_load.h"
#include "scheduler/store/pg_view.h"
#include "scheduler/store/store.h"

#include "lib/base/list.h"
#include "lib/base/panic.h"
#include "lib/sys/clock.h"
#include "lib/sys/mem.h"

#define LEASE_DEFAULT_NS (6 * MLQ_NS_PER_S)
#define LOADS_MAX        16
#define LEASE_SETTINGS   "-c statement_timeout=10min -c idle_in_transaction_session_timeout=5s"
/* A commit finds all its rows by index, and its statements are planned once, when tables are empty and
 * their scan looks cheap: so no other plan is offered. Loads take the planner as it is (pg_sql.c). */
#define JOURNAL_SETTINGS                                                                           \
    "-c statement_timeout=60s -c idle_in_transaction_session_timeout=5s "                          \
    "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off "          \
    "-c enable_mergejoin=off"

/* An answer that is due though nothing was asked of the server. */
struct later {
    struct mlq_list node;
    store_view_cb view; /* or */
    void (*done)(void *context, int rc, const struct mlq_err *err);
    void *context;
    struct mlq_err err;
};

struct store_pg {
    struct store base;
    struct store_callbacks callbacks;
    struct pg_conn *lease;
    struct pg_conn *journal;
    struct pg_view *views;
    struct pg_commit *commits;
    struct leader *leader;
    struct pg_load *loads[LOADS_MAX];
    struct pg_timer *timer;
    struct mlq_list later;
    bool is_resigning;
    unsigned closing; /* parts that libuv has not let go of yet */
    void (*closed)(void *context);
    void *closed_context;
};

static struct store_pg *from_store(struct store *store)
{
    return MLQ_CONTAINER_OF(store, struct store_pg, base);
}

/* ---- Answers that are due anyway ------------------------------------------------------------- */

static void answer_later(struct store_pg *pg, struct later later)
{
    struct later *kept = mlq_alloc(sizeof *kept);
    *kept = later;
    mlq_list_init(&kept->node);
    mlq_list_push_back(&pg->later, &kept->node);
    pg_conn_timer_set(pg->timer, 0);
}

static void on_timer(void *context)
{
    struct store_pg *pg = context;
    for (struct mlq_list *node; (node = mlq_list_pop_front(&pg->later)) != NULL;) {
        struct later *kept = MLQ_CONTAINER_OF(node, struct later, node);
        struct later later = *kept;
        mlq_free(kept);
        if (later.view != NULL) {
            later.view(later.context, later.err.code, (struct mlq_str){0}, &later.err);
        } else {
            later.done(later.context, later.err.code, &later.err);
        }
    }
}

/* ---- The epoch begins and ends --------------------------------------------------------------- */

static void on_elected(void *context, uint32_t epoch)
{
    struct store_pg *pg = context;
    pg_commit_begin(pg->commits, epoch);
    pg->callbacks.elected(pg->callbacks.context, epoch);
}

static void on_leader_ended(void *context, const struct mlq_err *err)
{
    struct store_pg *pg = context;
    struct mlq_err copy = *err;
    pg->is_resigning = false;
    pg_conn_close(pg->journal);
    pg_commit_abandon(pg->commits, &copy);
    for (unsigned i = 0; i < LOADS_MAX; i++) {
        pg_load_abandon(&pg->loads[i], &copy);
    }
    pg->callbacks.deposed(pg->callbacks.context, &copy);
}

static void on_commit_failed(void *context, const struct mlq_err *err)
{
    struct store_pg *pg = context;
    leader_give_up(pg->leader, err);
}

static void on_drained(void *context)
{
    struct store_pg *pg = context;
    if (pg->is_resigning) {
        pg->is_resigning = false;
        leader_resign(pg->leader);
    }
}

static void on_lease_up(void *context)
{
    struct store_pg *pg = context;
    leader_conn_up(pg->leader);
}

static void on_lease_down(void *context, const struct mlq_err *err)
{
    struct store_pg *pg = context;
    leader_conn_down(pg->leader, pg->lease, err);
}

static void on_journal_up(void *context)
{
    struct store_pg *pg = context;
    leader_conn_up(pg->leader);
}

static void on_journal_down(void *context, const struct mlq_err *err)
{
    struct store_pg *pg = context;
    leader_conn_down(pg->leader, pg->journal, err);
}

/* ---- Verbs ----------------------------------------------------------------------------------- */

static void campaign(struct store *store, const char *holder)
{
    leader_campaign(from_store(store)->leader, holder);
}

static void resign(struct store *store)
{
    struct store_pg *pg = from_store(store);
    pg_commit_end(pg->commits);
    if (pg_commit_is_idle(pg->commits)) {
        leader_resign(pg->leader);
    } else {
        pg->is_resigning = true;
    }
}

static int64_t trusted_until_ns(const struct store *store)
{
    const struct store_pg *pg = (const struct store_pg *)(const void *)store;
    return leader_trusted_until_ns(pg->leader);
}

static void start_load(struct store_pg *pg, uint64_t job, const struct store_loader *loader)
{
    struct later later = {.done = loader->done, .context = loader->context};
    unsigned slot = 0;
    while (slot < LOADS_MAX && pg->loads[slot] != NULL) {
        slot++;
    }
    if (slot == LOADS_MAX) {
        (void)mlq_fail(&later.err, MLQ_EFULL, "%d loads are in flight", LOADS_MAX);
        answer_later(pg, later);
        return;
    }
    pg_load_start(pg->journal, pg_commit_ledger(pg->commits), job, loader, &pg->loads[slot]);
    if (pg->loads[slot] == NULL) {
        (void)mlq_fail(&later.err, MLQ_ECONN, "not the leader: the journal's connection is down");
        answer_later(pg, later);
    }
}

static void load(struct store *store, const struct store_loader *loader)
{
    start_load(from_store(store), 0, loader);
}

static void load_job(struct store *store, uint64_t job, const struct store_loader *loader)
{
    struct store_pg *pg = from_store(store);
    if (job == 0 || job > INT64_MAX) {
        struct later later = {.done = loader->done, .context = loader->context};
        (void)mlq_fail(&later.err, MLQ_ENOENT, "there is no such job");
        answer_later(pg, later);
        return;
    }
    start_load(pg, job, loader);
}

static void commit(struct store *store, const struct store_batch *batch, store_commit_cb cb,
                   void *context)
{
    pg_commit_put(from_store(store)->commits, batch, cb, context);
}

static void view(struct store *store, const struct store_query *query, store_view_cb cb,
                 void *context)
{
    struct store_pg *pg = from_store(store);
    struct later later = {.view = cb, .context = context};
    if (pg_view_ask(pg->views, query, cb, context, &later.err) != MLQ_OK) {
        answer_later(pg, later);
    }
}

/* ---- Life ------------------------------------------------------------------------------------ */

static void on_part_closed(void *context)
{
    struct store_pg *pg = context;
    pg->closing--;
    if (pg->closing > 0) {
        return;
    }
    void (*closed)(void *) = pg->closed;
    void *closed_context = pg->closed_context;
    mlq_free(pg);
    if (closed != NULL) {
        closed(closed_context);
    }
}

static void close_store(struct store *store, void (*closed)(void *context), void *context)
{
    struct store_pg *pg = from_store(store);
    pg->closed = closed;
    pg->closed_context = context;
    pg->closing = 6;
    for (struct mlq_list *node; (node = mlq_list_pop_front(&pg->later)) != NULL;) {
        mlq_free(MLQ_CONTAINER_OF(node, struct later, node));
    }
    for (unsigned i = 0; i < LOADS_MAX; i++) {
        pg_load_abandon(&pg->loads[i], NULL);
    }
    leader_destroy(pg->leader, on_part_closed, pg);
    pg_commit_destroy(pg->commits, on_part_closed, pg);
    pg_view_destroy(pg->views, on_part_closed, pg);
    pg_conn_destroy(pg->lease, on_part_closed, pg);
    pg_conn_destroy(pg->journal, on_part_closed, pg);
    pg_conn_timer_destroy(pg->timer, on_part_closed, pg);
}

static const struct store_ops store_pg_ops = {
    .campaign = campaign,
    .resign = resign,
    .trusted_until_ns = trusted_until_ns,
    .load = load,
    .load_job = load_job,
    .commit = commit,
    .view = view,
    .close = close_store,
};

static void create_connections(struct store_pg *pg, struct uv_loop_s *loop, const char *conninfo)
{
    struct pg_conn_options lease = {
        .conninfo = conninfo, .name = "mlq scheduler lease", .settings = LEASE_SETTINGS};
    struct pg_conn_events lease_events = {.context = pg, .up = on_lease_up, .down = on_lease_down};
    struct pg_conn_options journal = {
        .conninfo = conninfo, .name = "mlq scheduler journal", .settings = JOURNAL_SETTINGS};
    struct pg_conn_events journal_events = {
        .context = pg, .up = on_journal_up, .down = on_journal_down};
    pg->lease = pg_conn_create(loop, &lease, &lease_events);
    pg->journal = pg_conn_create(loop, &journal, &journal_events);
    pg->views = pg_view_create(loop, conninfo);
}

struct store *store_pg_create(struct uv_loop_s *loop, const struct store_pg_options *options,
                              const struct store_callbacks *callbacks)
{
    struct store_pg *pg = mlq_alloc(sizeof *pg);
    struct leader_options leader = {
        .migrations_dir = options->migrations_dir,
        .lease_ns = options->lease_ns > 0 ? options->lease_ns : LEASE_DEFAULT_NS,
        .allow_unsafe = options->allow_unsafe,
    };
    struct leader_events leader_events = {
        .context = pg, .elected = on_elected, .ended = on_leader_ended};
    struct pg_commit_events commit_events = {
        .context = pg, .failed = on_commit_failed, .drained = on_drained};
    pg->base.ops = &store_pg_ops;
    pg->callbacks = *callbacks;
    mlq_list_init(&pg->later);
    create_connections(pg, loop, options->conninfo);
    pg->commits = pg_commit_create(loop, pg->journal, &commit_events);
    pg->leader = leader_create(loop, pg->lease, pg->journal, &leader, &leader_events);
    pg->timer = pg_conn_timer_create(loop, on_timer, pg);
    return &pg->base;
}
