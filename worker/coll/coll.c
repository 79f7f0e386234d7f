/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/coll/coll.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/base/panic.h"
#include "lib/sys/clock.h"
#include "lib/sys/mem.h"
#include "worker/coll/coll_allreduce.h"
#include "worker/coll/coll_plugin.h"
#include "worker/coll/coll_view.h"
#include "worker/coll/coll_watchdog.h"

struct block {
    struct block *next;
    _Alignas(max_align_t) uint8_t bytes[];
};

struct coll {
    const struct coll_ops *ops;
    void *state;
    struct coll_watchdog *watchdog; /* NULL where nothing can get stuck */
    struct coll_gang gang;          /* with this gang's cancel_fd */
    struct coll_allreduce allreduce;
    struct block *blocks; /* coll_memory that the backend had none for */
    /* Read and written by other threads: */
    atomic_bool aborted;
    atomic_bool is_open;
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

int coll_create(const struct coll_gang *gang, struct coll **coll, struct mlq_err *err)
{
    const struct coll_ops *ops = NULL;
    *coll = NULL;
    int rc = check_gang(gang, err);
    if (rc == 0) {
        rc = choose_ops(gang, &ops, err);
    }
    if (rc != 0) {
        return mlq_wrap(err, rc, "rank %u of %u", gang->rank, gang->size);
    }
    struct coll *created = mlq_alloc(sizeof(*created));
    created->ops = ops;
    created->gang = *gang;
    created->since_ns = mlq_clock_boot_ns();
    created->gang.cancel_fd = eventfd(0, EFD_CLOEXEC);
    if (created->gang.cancel_fd < 0) {
        rc = mlq_fail(err, MLQ_EIO, "collectives: eventfd: %s", strerror(errno));
    } else if (ops->may_stick) {
        rc = coll_watchdog_start(&created->watchdog, err);
    }
    if (rc != 0) {
        coll_close(&created);
    }
    *coll = created;
    return rc;
}

static int begin_call(struct coll *coll, const char *what, int64_t timeout_ns, struct mlq_err *err)
{
    atomic_store(&coll->since_ns, mlq_clock_boot_ns());
    atomic_store(&coll->call, what);
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
    return rc == 0 ? 0
                   : mlq_wrap(err, rc, "%s of rank %u among %u", what, coll->gang.rank,
                              coll->gang.size);
}

int coll_meet(struct coll *coll, int64_t timeout_ns, struct mlq_err *err)
{
    MLQ_ASSERT(!atomic_load(&coll->is_open));
    int rc = begin_call(coll, "open", timeout_ns, err);
    if (rc == 0) {
        rc = coll->ops->open(&coll->gang, timeout_ns, &coll->state, err);
    }
    /* An abort during `open` was for cancel_fd; one from now on may also use the state. */
    atomic_store(&coll->is_open, rc == 0);
    return end_call(coll, "open", rc, err);
}

int coll_open(const struct coll_gang *gang,
              int64_t timeout_ns,
              struct coll **coll,
              struct mlq_err *err)
{
    int rc = coll_create(gang, coll, err);
    if (rc == 0) {
        rc = coll_meet(*coll, timeout_ns, err);
    }
    if (rc != 0) {
        coll_close(coll);
    }
    return rc;
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
    if (atomic_load(&c->is_open)) {
        c->ops->close(c->state);
    }
    coll_watchdog_stop(&c->watchdog);
    if (c->gang.cancel_fd >= 0) {
        (void)close(c->gang.cancel_fd);
    }
    coll_allreduce_fini(&c->allreduce);
    for (struct block *block = c->blocks; block != NULL; block = c->blocks) {
        c->blocks = block->next;
        mlq_free(block);
    }
    mlq_free(c);
    *coll = NULL;
}

uint32_t coll_rank(const struct coll *coll)
{
    return coll->gang.rank;
}

uint32_t coll_size(const struct coll *coll)
{
    return coll->gang.size;
}

const char *coll_backend(const struct coll *coll)
{
    return coll->ops->name;
}

int coll_allgather(struct coll *coll,
                   const void *send,
                   void *receive,
                   const uint64_t *bytes,
                   int64_t timeout_ns,
                   struct mlq_err *err)
{
    atomic_fetch_add(&coll->calls, 1);
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
    MLQ_ASSERT(root < coll->gang.size);
    atomic_fetch_add(&coll->calls, 1);
    int rc = begin_call(coll, "broadcast", timeout_ns, err);
    if (rc == 0) {
        rc = coll->ops->broadcast(coll->state, data, bytes, root, timeout_ns, err);
    }
    return end_call(coll, "broadcast", rc, err);
}

int coll_barrier(struct coll *coll, int64_t timeout_ns, struct mlq_err *err)
{
    atomic_fetch_add(&coll->calls, 1);
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
    MLQ_ASSERT(send_bytes[coll->gang.rank] == receive_bytes[coll->gang.rank]);
    atomic_fetch_add(&coll->calls, 1);
    int rc = begin_call(coll, "alltoall", timeout_ns, err);
    if (rc == 0) {
        rc = coll->ops->alltoall(coll->state, send, send_bytes, receive, receive_bytes, timeout_ns,
                                 err);
    }
    return end_call(coll, "alltoall", rc, err);
}

static struct coll_opened opened_of(const struct coll *coll)
{
    return (struct coll_opened){.ops = coll->ops, .state = coll->state, .gang = &coll->gang};
}

void *coll_memory(struct coll *coll, uint64_t bytes)
{
    const struct coll_ops *ops = coll->ops;
    void *memory = ops->memory != NULL ? ops->memory(coll->state, bytes) : NULL;
    if (memory != NULL) {
        return memory;
    }
    struct block *block = mlq_alloc(sizeof(*block) + bytes);
    block->next = coll->blocks;
    coll->blocks = block;
    return block->bytes;
}

int coll_shared_memory(struct coll *coll,
                       uint64_t bytes,
                       void **memory,
                       int64_t timeout_ns,
                       struct mlq_err *err)
{
    *memory = NULL;
    if (coll->ops->shared_memory == NULL) {
        return 0;
    }
    atomic_fetch_add(&coll->calls, 1);
    int rc = begin_call(coll, "shared memory", timeout_ns, err);
    if (rc == 0) {
        rc = coll->ops->shared_memory(coll->state, bytes, memory, timeout_ns, err);
    }
    return end_call(coll, "shared memory", rc, err);
}

int coll_allgather_view(struct coll *coll,
                        const void *send,
                        void *receive,
                        const uint64_t *bytes,
                        const void **views,
                        int64_t timeout_ns,
                        struct mlq_err *err)
{
    struct coll_opened opened = opened_of(coll);
    atomic_fetch_add(&coll->calls, 1);
    int rc = begin_call(coll, "allgather", timeout_ns, err);
    if (rc == 0) {
        rc = coll_view_allgather(&opened, send, receive, bytes, views, timeout_ns, err);
    }
    return end_call(coll, "allgather", rc, err);
}

int coll_alltoall_view(struct coll *coll,
                       const void *send,
                       const uint64_t *send_bytes,
                       void *receive,
                       const uint64_t *receive_bytes,
                       const void **views,
                       int64_t timeout_ns,
                       struct mlq_err *err)
{
    struct coll_opened opened = opened_of(coll);
    MLQ_ASSERT(send_bytes[coll->gang.rank] == receive_bytes[coll->gang.rank]);
    atomic_fetch_add(&coll->calls, 1);
    int rc = begin_call(coll, "alltoall", timeout_ns, err);
    if (rc == 0) {
        rc = coll_view_alltoall(&opened, send, send_bytes, receive, receive_bytes, views,
                                timeout_ns, err);
    }
    return end_call(coll, "alltoall", rc, err);
}

int coll_allreduce(struct coll *coll,
                   struct coll_floats data,
                   int64_t timeout_ns,
                   struct mlq_err *err)
{
    const struct coll_ops *ops = coll->ops;
    struct coll_opened opened = opened_of(coll);
    atomic_fetch_add(&coll->calls, 1);
    int rc = begin_call(coll, "allreduce", timeout_ns, err);
    if (rc == 0 && ops->allreduce != NULL) {
        rc = ops->allreduce(coll->state, data, timeout_ns, err);
    } else if (rc == 0) {
        rc = coll_allreduce_by_moves(&coll->allreduce, &opened, data, timeout_ns, err);
    }
    return end_call(coll, "allreduce", rc, err);
}

void coll_abort(struct coll *coll)
{
    uint64_t one = 1;
    atomic_store(&coll->aborted, true);
    if (coll->watchdog != NULL) {
        coll_watchdog_hurry(coll->watchdog, COLL_ABORT_NS);
    }
    ssize_t written = write(coll->gang.cancel_fd, &one, sizeof(one));
    MLQ_ASSERT(written == (ssize_t)sizeof(one));
    if (coll->ops->abort != NULL && atomic_load(&coll->is_open)) {
        coll->ops->abort(coll->state);
    }
}

void coll_progress(const struct coll *coll, struct coll_progress *progress)
{
    *progress = (struct coll_progress){.calls = atomic_load(&coll->calls),
                                       .call = atomic_load(&coll->call),
                                       .since_ns = atomic_load(&coll->since_ns)};
}
