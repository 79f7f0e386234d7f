/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/coll/coll.h"

#include <stdatomic.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/clock.h"
#include "lib/sys/mem.h"
#include "worker/coll/coll_plugin.h"
#include "worker/coll/coll_watchdog.h"

struct coll {
    const struct coll_ops *ops;
    void *state;
    struct coll_watchdog *watchdog; /* NULL where nothing can get stuck */
    uint32_t rank;
    uint32_t size;
    /* Read and written by other threads: */
    atomic_bool aborted;
    _Atomic uint64_t calls;
    _Atomic(const char *) call;
    _Atomic int64_t since_ns;
};

static int check_gang(const struct coll_gang *gang, struct mlq_err *err)
{
    if (gang->size == 0 || gang->size > COLL_RANKS_MAX || gang->rank >= gang->size) {
        return mlq_fail(err, MLQ_EINVAL, "rank %u of %u: expected 0 <= RANK < WORLD_SIZE <= %u",
                        gang->rank, gang->size, COLL_RANKS_MAX);
    }
    if (gang->size == 1) {
        return 0;
    }
    bool is_met = gang->address != NULL && gang->address[0] != '\0' && gang->port != 0;
    if (!is_met && gang->kind != COLL_LOOP) {
        return mlq_fail(err, MLQ_EINVAL,
                        "a gang of %u ranks needs MASTER_ADDR and MASTER_PORT, where "
                        "rank 0 is met",
                        gang->size);
    }
    if (gang->name == NULL || strlen(gang->name) > COLL_NAME_BYTES_MAX) {
        return mlq_fail(err, MLQ_EINVAL, "the gang's name is missing or over %u bytes",
                        COLL_NAME_BYTES_MAX);
    }
    return 0;
}

static int choose_ops(const struct coll_gang *gang, const struct coll_ops **ops, struct mlq_err *err)
{
    const struct coll_plugin *plugin = NULL;
    int rc = 0;
    switch (gang->kind) {
    case COLL_AUTO:
    case COLL_GLOO:
        *ops = gang->size == 1 ? &coll_self_ops : &coll_gloo_ops;
        break;
    case COLL_LOOP:
        *ops = &coll_loop_ops;
        break;
    case COLL_NCCL:
        rc = coll_plugin_load(NULL, &plugin, err);
        *ops = rc == 0 ? plugin->nccl : NULL;
        break;
    }
    return rc;
}

int coll_open(const struct coll_gang *gang,
              int64_t timeout_ns,
              struct coll **coll,
              struct mlq_err *err)
{
    const struct coll_ops *ops = NULL;
    *coll = NULL;
    int rc = check_gang(gang, err);
    if (rc == 0) {
        rc = choose_ops(gang, &ops, err);
    }
    if (rc != 0) {
        return rc;
    }
    struct coll *opened = mlq_alloc(sizeof(*opened));
    opened->ops = ops;
    opened->rank = gang->rank;
    opened->size = gang->size;
    opened->since_ns = mlq_clock_boot_ns();
    if (ops->may_stick) {
        rc = coll_watchdog_start(&opened->watchdog, err);
    }
    if (rc == 0 && opened->watchdog != NULL) {
        coll_watchdog_arm(opened->watchdog, "open", timeout_ns);
    }
    if (rc == 0) {
        rc = opened->ops->open(gang, timeout_ns, &opened->state, err);
    }
    if (opened->watchdog != NULL) {
        coll_watchdog_disarm(opened->watchdog);
    }
    if (rc != 0) {
        coll_watchdog_stop(&opened->watchdog);
        mlq_free(opened);
        return mlq_wrap(err, rc, "rank %u of %u", gang->rank, gang->size);
    }
    *coll = opened;
    return 0;
}

void coll_close(struct coll **coll)
{
    struct coll *c = *coll;
    if (c == NULL) {
        return;
    }
    if (c->watchdog != NULL) {
        coll_watchdog_arm(c->watchdog, "close", 0);
    }
    c->ops->close(c->state);
    coll_watchdog_stop(&c->watchdog);
    mlq_free(c);
    *coll = NULL;
}

uint32_t coll_rank(const struct coll *coll)
{
    return coll->rank;
}

uint32_t coll_size(const struct coll *coll)
{
    return coll->size;
}

const char *coll_backend(const struct coll *coll)
{
    return coll->ops->name;
}

static int begin_call(struct coll *coll, const char *what, int64_t timeout_ns, struct mlq_err *err)
{
    atomic_store(&coll->since_ns, mlq_clock_boot_ns());
    atomic_store(&coll->call, what);
    atomic_fetch_add(&coll->calls, 1);
    if (coll->watchdog != NULL) {
        coll_watchdog_arm(coll->watchdog, what, timeout_ns);
    }
    /* After arming: an abort that came before that is seen here, a later one arms for itself. */
    return atomic_load(&coll->aborted) ? mlq_fail(err, MLQ_ECANCELED, "the gang was aborted") : 0;
}

static int end_call(struct coll *coll, const char *what, int rc, struct mlq_err *err)
{
    if (coll->watchdog != NULL) {
        coll_watchdog_disarm(coll->watchdog);
    }
    atomic_store(&coll->since_ns, mlq_clock_boot_ns());
    atomic_store(&coll->call, NULL);
    return rc == 0 ? 0 : mlq_wrap(err, rc, "%s of rank %u among %u", what, coll->rank, coll->size);
}

int coll_allgather(struct coll *coll,
                   const void *send,
                   void *receive,
                   const uint64_t *bytes,
                   int64_t timeout_ns,
                   struct mlq_err *err)
{
    int rc = begin_call(coll, "allgather", timeout_ns, err);
    if (rc == 0) {
        rc = coll->ops->allgather(coll->state, send, receive, bytes, timeout_ns, err);
    }
    return end_call(coll, "allgather", rc, err);
}

int coll_broadcast(struct coll *coll,
                   void *data,
                   uint64_t bytes,
                   uint32_t root,
                   int64_t timeout_ns,
                   struct mlq_err *err)
{
    MLQ_ASSERT(root < coll->size);
    int rc = begin_call(coll, "broadcast", timeout_ns, err);
    if (rc == 0) {
        rc = coll->ops->broadcast(coll->state, data, bytes, root, timeout_ns, err);
    }
    return end_call(coll, "broadcast", rc, err);
}

int coll_barrier(struct coll *coll, int64_t timeout_ns, struct mlq_err *err)
{
    int rc = begin_call(coll, "barrier", timeout_ns, err);
    if (rc == 0) {
        rc = coll->ops->barrier(coll->state, timeout_ns, err);
    }
    return end_call(coll, "barrier", rc, err);
}

int coll_alltoall(struct coll *coll,
                  const void *send,
                  const uint64_t *send_bytes,
                  void *receive,
                  const uint64_t *receive_bytes,
                  int64_t timeout_ns,
                  struct mlq_err *err)
{
    MLQ_ASSERT(send_bytes[coll->rank] == receive_bytes[coll->rank]);
    int rc = begin_call(coll, "alltoall", timeout_ns, err);
    if (rc == 0) {
        rc = coll->ops->alltoall(coll->state, send, send_bytes, receive, receive_bytes, timeout_ns,
                                 err);
    }
    return end_call(coll, "alltoall", rc, err);
}

void coll_abort(struct coll *coll)
{
    atomic_store(&coll->aborted, true);
    if (coll->watchdog != NULL) {
        coll_watchdog_hurry(coll->watchdog, COLL_ABORT_NS);
    }
    if (coll->ops->abort != NULL) {
        coll->ops->abort(coll->state);
    }
}

void coll_progress(const struct coll *coll, struct coll_progress *progress)
{
    *progress = (struct coll_progress){.calls = atomic_load(&coll->calls),
                                       .call = atomic_load(&coll->call),
                                       .since_ns = atomic_load(&coll->since_ns)};
}
