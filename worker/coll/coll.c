/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/coll/coll.h"

#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"
#include "worker/coll/coll_watchdog.h"

struct coll {
    const struct coll_ops *ops;
    void *state;
    struct coll_watchdog *watchdog; /* NULL where nothing can get stuck */
    uint32_t rank;
    uint32_t size;
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
    if (gang->address == NULL || gang->address[0] == '\0' || gang->port == 0) {
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

int coll_open(const struct coll_gang *gang,
              int64_t timeout_ns,
              struct coll **coll,
              struct mlq_err *err)
{
    *coll = NULL;
    int rc = check_gang(gang, err);
    if (rc != 0) {
        return rc;
    }
    struct coll *opened = mlq_alloc(sizeof(*opened));
    opened->ops = gang->size == 1 ? &coll_self_ops : &coll_gloo_ops;
    opened->rank = gang->rank;
    opened->size = gang->size;
    if (gang->size > 1) {
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

static void begin_call(struct coll *coll, const char *what, int64_t timeout_ns)
{
    if (coll->watchdog != NULL) {
        coll_watchdog_arm(coll->watchdog, what, timeout_ns);
    }
}

static int end_call(struct coll *coll, const char *what, int rc, struct mlq_err *err)
{
    if (coll->watchdog != NULL) {
        coll_watchdog_disarm(coll->watchdog);
    }
    return rc == 0 ? 0 : mlq_wrap(err, rc, "%s of rank %u among %u", what, coll->rank, coll->size);
}

int coll_allgather(struct coll *coll,
                   const void *send,
                   void *receive,
                   const uint64_t *bytes,
                   int64_t timeout_ns,
                   struct mlq_err *err)
{
    begin_call(coll, "allgather", timeout_ns);
    int rc = coll->ops->allgather(coll->state, send, receive, bytes, timeout_ns, err);
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
    begin_call(coll, "broadcast", timeout_ns);
    int rc = coll->ops->broadcast(coll->state, data, bytes, root, timeout_ns, err);
    return end_call(coll, "broadcast", rc, err);
}

int coll_barrier(struct coll *coll, int64_t timeout_ns, struct mlq_err *err)
{
    begin_call(coll, "barrier", timeout_ns);
    int rc = coll->ops->barrier(coll->state, timeout_ns, err);
    return end_call(coll, "barrier", rc, err);
}
