/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The store in memory: leadership and answers from the loop here, the rows in store_mem_record.c.
 * A commit changes the record when it is called and is answered from the loop.
 */
#include <inttypes.h>

#include "lib/base/list.h"
#include "lib/base/panic.h"
#include "lib/sys/clock.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "scheduler/store/pg_conn.h"
#include "scheduler/store/store.h"
#include "scheduler/store/store_mem_record.h"

#define STANDBY_LOOKS_NS (20 * MLQ_NS_PER_MS)
#define KEYS_US          (INT64_C(7) * 86400 * 1000000)

enum mem_state { MEM_IDLE, MEM_CAMPAIGNING, MEM_LEADING, MEM_ENDING };

/* An answer that is due, in the order of the calls. */
struct due {
    struct mlq_list node;
    store_commit_cb commit; /* or */
    store_view_cb view;     /* or */
    bool is_load;
    struct store_loader loader;
    uint64_t job;
    void *context;
    struct mlq_err err;
};

struct store_mem {
    struct store base;
    struct store_mem_record *record;
    struct store_callbacks callbacks;
    struct pg_timer *answers;
    struct pg_timer *lease;
    struct mlq_list due;
    enum mem_state state;
    struct mlq_err reason; /* of the end */
    uint32_t epoch;
    int64_t trusted_ns;
    unsigned closing;
    void (*closed)(void *context);
    void *closed_context;
};

static struct store_mem *from_store(struct store *store)
{
    return MLQ_CONTAINER_OF(store, struct store_mem, base);
}

/* The epoch is over; `deposed` comes after the answers that are due. */
static void end(struct store_mem *mem, const struct mlq_err *err)
{
    if (mem->state == MEM_LEADING || mem->state == MEM_CAMPAIGNING) {
        mem->state = MEM_ENDING;
        mem->reason = *err;
        mem->trusted_ns = 0;
        pg_conn_timer_stop(mem->lease);
        pg_conn_timer_set(mem->answers, 0);
    }
}

static struct due *push_due(struct store_mem *mem, void *context)
{
    struct due *due = mlq_alloc(sizeof *due);
    due->context = context;
    mlq_list_init(&due->node);
    mlq_list_push_back(&mem->due, &due->node);
    pg_conn_timer_set(mem->answers, 0);
    return due;
}

static void on_answers(void *context)
{
    struct store_mem *mem = context;
    for (struct mlq_list *node; (node = mlq_list_pop_front(&mem->due)) != NULL;) {
        struct due *kept = MLQ_CONTAINER_OF(node, struct due, node);
        struct due due = *kept;
        mlq_free(kept);
        if (due.commit != NULL) {
            due.commit(due.context, due.err.code, &due.err);
        } else if (due.view != NULL) {
            due.view(due.context, due.err.code, (struct mlq_str){0}, &due.err);
        } else if (due.err.code != MLQ_OK) {
            due.loader.done(due.loader.context, due.err.code, &due.err);
        } else {
            store_mem_record_load(mem->record, due.job, mlq_clock_wall_us() - KEYS_US, &due.loader);
        }
    }
    if (mem->state == MEM_ENDING) {
        struct mlq_err reason = mem->reason;
        mem->state = MEM_IDLE;
        mem->callbacks.deposed(mem->callbacks.context, &reason);
    }
}

/* ---- Leadership ------------------------------------------------------------------------------ */

static void trust(struct store_mem *mem)
{
    int64_t now_ns = mlq_clock_boot_ns();
    mem->record->expires_ns = now_ns + mem->record->lease_ns;
    mem->trusted_ns = now_ns + mem->record->lease_ns - mem->record->lease_ns / 6;
    pg_conn_timer_set(mem->lease, mem->record->lease_ns / 3);
}

static void on_lease(void *context)
{
    struct store_mem *mem = context;
    struct mlq_err err = MLQ_ERR_INIT;
    if (mem->state == MEM_LEADING && mem->record->epoch == mem->epoch) {
        trust(mem);
    } else if (mem->state == MEM_LEADING) {
        (void)mlq_fail(&err, MLQ_EFENCED, "epoch %" PRIu32 " was superseded", mem->epoch);
        end(mem, &err);
    } else if (mem->state == MEM_CAMPAIGNING && mem->record->expires_ns > mlq_clock_boot_ns()) {
        pg_conn_timer_set(mem->lease, STANDBY_LOOKS_NS);
    } else if (mem->state == MEM_CAMPAIGNING) {
        mem->epoch = ++mem->record->epoch;
        mem->state = MEM_LEADING;
        trust(mem);
        mem->callbacks.elected(mem->callbacks.context, mem->epoch);
    }
}

static void campaign(struct store *store, const char *holder)
{
    struct store_mem *mem = from_store(store);
    MLQ_ASSERT(mem->state == MEM_IDLE);
    log_debug("leader.campaign", "holder=\"%s\"", holder);
    mem->state = MEM_CAMPAIGNING;
    pg_conn_timer_set(mem->lease, 0);
}

static void resign(struct store *store)
{
    struct store_mem *mem = from_store(store);
    struct mlq_err err = MLQ_ERR_INIT;
    (void)mlq_fail(&err, MLQ_ECANCELED, "resigned");
    if (mem->state == MEM_LEADING && mem->record->epoch == mem->epoch) {
        mem->record->expires_ns = 0;
    }
    end(mem, &err);
}

static int64_t trusted_until_ns(const struct store *store)
{
    return ((const struct store_mem *)(const void *)store)->trusted_ns;
}

/* ---- Verbs ----------------------------------------------------------------------------------- */

static void commit(struct store *store, const struct store_batch *batch, store_commit_cb cb,
                   void *context)
{
    struct store_mem *mem = from_store(store);
    struct due *due = push_due(mem, context);
    due->commit = cb;
    if (mem->state != MEM_LEADING) {
        (void)mlq_fail(&due->err, MLQ_EFENCED, "not the leader: nothing was written");
    } else if (mem->record->epoch != mem->epoch) {
        (void)mlq_fail(&due->err, MLQ_EFENCED, "epoch %" PRIu32 " was superseded", mem->epoch);
        end(mem, &due->err);
    } else if (store_mem_record_put(mem->record, batch, &due->err) != MLQ_OK) {
        end(mem, &due->err);
        mem->record->expires_ns = 0;
    }
}

static void start_load(struct store_mem *mem, uint64_t job, const struct store_loader *loader)
{
    struct due *due = push_due(mem, NULL);
    due->loader = *loader;
    due->job = job;
    if (mem->state != MEM_LEADING) {
        (void)mlq_fail(&due->err, MLQ_ECONN, "not the leader");
    }
}

static void load(struct store *store, const struct store_loader *loader)
{
    start_load(from_store(store), 0, loader);
}

static void load_job(struct store *store, uint64_t job, const struct store_loader *loader)
{
    MLQ_ASSERT(job != 0);
    start_load(from_store(store), job, loader);
}

static void view(struct store *store, const struct store_query *query, store_view_cb cb,
                 void *context)
{
    (void)query;
    struct due *due = push_due(from_store(store), context);
    due->view = cb;
    (void)mlq_fail(&due->err, MLQ_ENOTSUP, "the store in memory has no views: use PostgreSQL");
}

/* ---- Life ------------------------------------------------------------------------------------ */

static void on_part_closed(void *context)
{
    struct store_mem *mem = context;
    mem->closing--;
    if (mem->closing == 0) {
        void (*closed)(void *) = mem->closed;
        void *closed_context = mem->closed_context;
        mlq_free(mem);
        if (closed != NULL) {
            closed(closed_context);
        }
    }
}

static void close_store(struct store *store, void (*closed)(void *context), void *context)
{
    struct store_mem *mem = from_store(store);
    for (struct mlq_list *node; (node = mlq_list_pop_front(&mem->due)) != NULL;) {
        mlq_free(MLQ_CONTAINER_OF(node, struct due, node));
    }
    mem->closed = closed;
    mem->closed_context = context;
    mem->closing = 2;
    pg_conn_timer_destroy(mem->answers, on_part_closed, mem);
    pg_conn_timer_destroy(mem->lease, on_part_closed, mem);
}

static const struct store_ops store_mem_ops = {
    .campaign = campaign,
    .resign = resign,
    .trusted_until_ns = trusted_until_ns,
    .load = load,
    .load_job = load_job,
    .commit = commit,
    .view = view,
    .close = close_store,
};

struct store *store_mem_create(struct uv_loop_s *loop, struct store_mem_record *record,
                               const struct store_callbacks *callbacks)
{
    struct store_mem *mem = mlq_alloc(sizeof *mem);
    mem->base.ops = &store_mem_ops;
    mem->record = record;
    mem->callbacks = *callbacks;
    mlq_list_init(&mem->due);
    mem->answers = pg_conn_timer_create(loop, on_answers, mem);
    mem->lease = pg_conn_timer_create(loop, on_lease, mem);
    return &mem->base;
}
