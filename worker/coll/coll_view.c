/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/coll/coll_view.h"

#include <stddef.h>

/* Of pieces that lie behind each other. */
static void point_into(const void **views, const void *pieces, const uint64_t *bytes, uint32_t size)
{
    const uint8_t *at = pieces;
    for (uint32_t rank = 0; rank < size; rank++) {
        views[rank] = at;
        at += bytes[rank];
    }
}

int coll_view_allgather(const struct coll_opened *opened, const void *send, void *receive,
                        const uint64_t *bytes, const void **views, int64_t timeout_ns,
                        struct mlq_err *err)
{
    const struct coll_ops *ops = opened->ops;
    if (ops->allgather_view != NULL) {
        return ops->allgather_view(opened->state, send, receive, bytes, views, timeout_ns, err);
    }
    point_into(views, receive, bytes, opened->gang->size);
    return ops->allgather(opened->state, send, receive, bytes, timeout_ns, err);
}

int coll_view_alltoall(const struct coll_opened *opened, const void *send,
                       const uint64_t *send_bytes, void *receive, const uint64_t *receive_bytes,
                       const void **views, int64_t timeout_ns, struct mlq_err *err)
{
    const struct coll_ops *ops = opened->ops;
    if (ops->alltoall_view != NULL) {
        return ops->alltoall_view(opened->state, send, send_bytes, receive, receive_bytes, views,
                                  timeout_ns, err);
    }
    point_into(views, receive, receive_bytes, opened->gang->size);
    return ops->alltoall(opened->state, send, send_bytes, receive, receive_bytes, timeout_ns, err);
}
