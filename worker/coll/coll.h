/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Collectives of a gang: the ranks of one training move bytes among themselves. Nothing here adds
 * floats; sums are made above, in an order that does not depend on the gang (worker/ml/tree.h), so
 * a backend may move bytes as it likes.
 *
 * Every call takes a time limit. When a peer is dead or late the call fails (MLQ_ECONN,
 * MLQ_ETIMEOUT), the gang cannot be used again, and the caller closes it and leaves with exit
 * status 75, to be run again from its checkpoint. Should the library below stay stuck past the
 * limit (seen with Gloo when a peer is killed), a watchdog ends the process with _exit(75): a stuck
 * rank is never waited for.
 *
 * All ranks make the same calls in the same order, from one thread.
 */
#ifndef MLQ_COLL_COLL_H
#define MLQ_COLL_COLL_H

#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"

#ifdef __cplusplus
extern "C" {
#endif

#define COLL_RANKS_MAX      64u
#define COLL_NAME_BYTES_MAX 256u
#define COLL_EXIT_STUCK     75 /* EX_TEMPFAIL: run me again */

struct coll_gang {
    uint32_t rank;
    uint32_t size;       /* 1: no network at all */
    const char *address; /* where rank 0 is met: MASTER_ADDR */
    uint16_t port;       /* MASTER_PORT, free on rank 0's machine */
    const char *name;    /* one gang of one attempt: who says another name is refused */
};

struct coll;

/* Meets the others. From now on the process ignores SIGPIPE: a peer's death is an error of a call,
 * not a signal. MLQ_ETIMEOUT names the ranks that did not come, as far as rank 0 knows them. */
int coll_open(const struct coll_gang *gang,
              int64_t timeout_ns,
              MLQ_OWNED_RETURN struct coll **coll,
              struct mlq_err *err);
void coll_close(struct coll **coll); /* takes NULL, frees, nulls; does not wait for the others */

uint32_t coll_rank(const struct coll *coll);
uint32_t coll_size(const struct coll *coll);
const char *coll_backend(const struct coll *coll); /* "self", "gloo" */

/* `receive` becomes the bytes of rank 0, of rank 1, ...; bytes[r] is what rank r sends, known to
 * all. */
int coll_allgather(struct coll *coll,
                   const void *send,
                   void *receive,
                   const uint64_t *bytes,
                   int64_t timeout_ns,
                   struct mlq_err *err);
int coll_broadcast(struct coll *coll,
                   void *data,
                   uint64_t bytes,
                   uint32_t root,
                   int64_t timeout_ns,
                   struct mlq_err *err);
int coll_barrier(struct coll *coll, int64_t timeout_ns, struct mlq_err *err);

/* ---- For backends ---- */

/* `state` is the backend's own. `open` gives a ready one or cleans up after itself. */
struct coll_ops {
    const char *name;
    int (*open)(const struct coll_gang *gang,
                int64_t timeout_ns,
                void **state,
                struct mlq_err *err);
    int (*allgather)(void *state,
                     const void *send,
                     void *receive,
                     const uint64_t *bytes,
                     int64_t timeout_ns,
                     struct mlq_err *err);
    int (*broadcast)(void *state,
                     void *data,
                     uint64_t bytes,
                     uint32_t root,
                     int64_t timeout_ns,
                     struct mlq_err *err);
    int (*barrier)(void *state, int64_t timeout_ns, struct mlq_err *err);
    void (*close)(void *state);
};

extern const struct coll_ops coll_self_ops;
extern const struct coll_ops coll_gloo_ops;

#ifdef __cplusplus
}
#endif

#endif
