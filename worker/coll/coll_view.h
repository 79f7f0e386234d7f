/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Moves that leave pieces where they lie, by any backend: one that shares no memory moves them into
 * `receive`, and the views point there.
 */
#ifndef MLQ_COLL_COLL_VIEW_H
#define MLQ_COLL_COLL_VIEW_H

#include <stdint.h>

#include "lib/base/err.h"
#include "worker/coll/coll.h"

/* An open backend of a gang. */
struct coll_opened {
    const struct coll_ops *ops;
    void *state;
    const struct coll_gang *gang;
};

/* As the calls of coll.h. */
int coll_view_allgather(const struct coll_opened *opened, const void *send, void *receive,
                        const uint64_t *bytes, const void **views, int64_t timeout_ns,
                        struct mlq_err *err);
int coll_view_alltoall(const struct coll_opened *opened, const void *send,
                       const uint64_t *send_bytes, void *receive, const uint64_t *receive_bytes,
                       const void **views, int64_t timeout_ns, struct mlq_err *err);

#endif
