/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A gang of one: the same calls, without a network.
 */
#include <string.h>

#include "worker/coll/coll.h"

static int
self_open(const struct coll_gang *gang, int64_t timeout_ns, void **state, struct mlq_err *err)
{
    (void)gang, (void)timeout_ns, (void)err;
    *state = NULL;
    return 0;
}

static int self_allgather(void *state,
                          const void *send,
                          void *receive,
                          const uint64_t *bytes,
                          int64_t timeout_ns,
                          struct mlq_err *err)
{
    (void)state, (void)timeout_ns, (void)err;
    if (bytes[0] > 0) {
        memcpy(receive, send, bytes[0]);
    }
    return 0;
}

static int self_broadcast(
    void *state, void *data, uint64_t bytes, uint32_t root, int64_t timeout_ns, struct mlq_err *err)
{
    (void)state, (void)data, (void)bytes, (void)root, (void)timeout_ns, (void)err;
    return 0;
}

static int self_barrier(void *state, int64_t timeout_ns, struct mlq_err *err)
{
    (void)state, (void)timeout_ns, (void)err;
    return 0;
}

static int self_alltoall(void *state,
                         const void *send,
                         const uint64_t *send_bytes,
                         void *receive,
                         const uint64_t *receive_bytes,
                         int64_t timeout_ns,
                         struct mlq_err *err)
{
    (void)send_bytes;
    return self_allgather(state, send, receive, receive_bytes, timeout_ns, err);
}

static int
self_allreduce(void *state, struct coll_floats data, int64_t timeout_ns, struct mlq_err *err)
{
    (void)state, (void)data, (void)timeout_ns, (void)err;
    return 0;
}

static void self_close(void *state)
{
    (void)state;
}

const struct coll_ops coll_self_ops = {
    .name = "self",
    .open = self_open,
    .allgather = self_allgather,
    .broadcast = self_broadcast,
    .barrier = self_barrier,
    .alltoall = self_alltoall,
    .allreduce = self_allreduce,
    .close = self_close,
};
