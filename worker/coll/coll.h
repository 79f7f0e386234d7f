/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Collectives of a gang: the ranks of one training move bytes among themselves. Sums that must have
 * the same bits for any gang are made above, in an order of their own (worker/ml/tree.h), so a
 * backend may move bytes as it likes. Only coll_allreduce adds, and it promises no order.
 *
 * Every call takes a time limit. When a peer is dead or late, or somebody said coll_abort, the call
 * fails (MLQ_ECONN, MLQ_ETIMEOUT, MLQ_ECANCELED), the gang cannot be used again, and the caller
 * closes it; then it opens the next generation with whoever is left, or leaves with exit status 75,
 * to be run again from its checkpoint. Should the library below stay stuck past the limit, a
 * watchdog ends the process with _exit(75): a stuck rank is never waited for.
 *
 * All ranks make the same calls in the same order, from one thread. Only coll_abort and
 * coll_progress may be called from another.
 */
#ifndef MLQ_COLL_COLL_H
#define MLQ_COLL_COLL_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"

#ifdef __cplusplus
extern "C" {
#endif

#define COLL_RANKS_MAX      64u
#define COLL_NAME_BYTES_MAX 256u
#define COLL_EXIT_STUCK     75 /* EX_TEMPFAIL: run me again */

enum coll_kind {
    COLL_AUTO, /* self for one rank, else gloo */
    COLL_GLOO, /* by the network alone: ranks of one machine share no memory */
    COLL_LOOP, /* threads of one process */
    COLL_NCCL, /* each rank's first visible GPU */
};

struct coll_gang {
    uint32_t rank;
    uint32_t size;
    const char *address; /* where rank 0 is met: MASTER_ADDR */
    uint16_t port;       /* MASTER_PORT, free on rank 0's machine */
    const char *name;    /* one gang of one attempt: who says another name is refused */
    /* Of the membership: grows by one each time that somebody goes or comes, and is never used
     * twice. Who says another one is refused. */
    uint64_t generation;
    enum coll_kind kind;
    /* Rank 0: a socket that listens at `port` already, on which one generation after the other is
     * met; it stays the caller's. 0: one is bound to address and port for this gang alone. */
    int listen_fd;
    int cancel_fd; /* for backends: readable once the gang is aborted; 0: never */
};

struct coll;

/* Meets the others. From now on the process ignores SIGPIPE: a peer's death is an error of a call,
 * not a signal. MLQ_ETIMEOUT names the ranks that did not come, as far as rank 0 knows them.
 * MLQ_ENOTSUP: what the kind needs is not on this machine; the text says what to install.
 * MLQ_EFENCED: the gang is at a newer generation. Whoever is ahead of rank 0 waits for it. */
int coll_open(const struct coll_gang *gang,
              int64_t timeout_ns,
              MLQ_OWNED_RETURN struct coll **coll,
              struct mlq_err *err);
void coll_close(struct coll **coll); /* takes NULL, frees, nulls; does not wait for the others */

/* The same in two steps, so that another thread can end the second one with coll_abort (not the
 * loop's, which waits out its time). The gang's texts must live until then. After a coll_meet that
 * failed there is nothing to do but coll_close. */
int coll_create(const struct coll_gang *gang,
                MLQ_OWNED_RETURN struct coll **coll,
                struct mlq_err *err);
int coll_meet(struct coll *coll, int64_t timeout_ns, struct mlq_err *err);

uint32_t coll_rank(const struct coll *coll);
uint32_t coll_size(const struct coll *coll);
const char *coll_backend(const struct coll *coll); /* "self", "gloo", "loop", "nccl" */

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
/* `send` holds a piece for rank 0, for rank 1, ...; `receive` becomes the pieces that rank 0, rank 1,
 * ... have for this one. The lengths are known to both sides. The two do not overlap. */
int coll_alltoall(struct coll *coll,
                  const void *send,
                  const uint64_t *send_bytes,
                  void *receive,
                  const uint64_t *receive_bytes,
                  int64_t timeout_ns,
                  struct mlq_err *err);

/* Zeroed memory, until coll_close, that ranks of the same machine can read where it lies. What was
 * sent from it stays as it is until a later call has returned: until then others may be reading. */
void *coll_memory(struct coll *coll, uint64_t bytes);

/* Zeroed memory, until coll_close, that all ranks read and write: the same pages, whoever dies.
 * *memory is NULL, on all of them, when they are not all of one machine, or there is no more. */
int coll_shared_memory(struct coll *coll,
                       uint64_t bytes,
                       void **memory,
                       int64_t timeout_ns,
                       struct mlq_err *err);

/* As coll_allgather and coll_alltoall, but a piece that can be read where it lies is not moved:
 * views[r] becomes the place of rank r's, in its coll_memory or in `receive`. This rank's own is
 * where it was. A view is good as long as the sender leaves it (above). */
int coll_allgather_view(struct coll *coll,
                        const void *send,
                        void *receive,
                        const uint64_t *bytes,
                        const void **views,
                        int64_t timeout_ns,
                        struct mlq_err *err);
int coll_alltoall_view(struct coll *coll,
                       const void *send,
                       const uint64_t *send_bytes,
                       void *receive,
                       const uint64_t *receive_bytes,
                       const void **views,
                       int64_t timeout_ns,
                       struct mlq_err *err);

/* `values` become, on each rank, the sums over all ranks of what was there: the same bits on all
 * ranks. Which bits depends on the number of ranks and on the backend, and with NCCL on the machine
 * too: training that must not depend on its ranks adds otherwise. A NaN or an infinity of any rank
 * reaches all. `count` is the same everywhere and may be 0. After an error the values are lost.
 * Values in coll_memory are not copied on their way, and may be changed as soon as it returns. */
struct coll_floats {
    float *values;
    uint64_t count;
};
int coll_allreduce(struct coll *coll,
                   struct coll_floats data,
                   int64_t timeout_ns,
                   struct mlq_err *err);

/* ---- From another thread, between coll_create or coll_open and coll_close ---- */

/* Somebody knows better than a time limit (the scheduler saw a rank die): the running call and all
 * later ones fail at once with MLQ_ECANCELED. Should the library below not let go of it within
 * COLL_ABORT_NS, the watchdog ends the process. */
#define COLL_ABORT_NS INT64_C(5000000000)
void coll_abort(struct coll *coll);

/* Who has not begun call n while the others wait in it is to blame for a hang. */
struct coll_progress {
    uint64_t calls;   /* begun so far */
    const char *call; /* the running one, a constant; NULL: none */
    int64_t since_ns; /* mlq_clock_boot_ns of when the last one began or ended */
};
void coll_progress(const struct coll *coll, struct coll_progress *progress);

/* ---- For backends ---- */

#define COLL_MISSING_BYTES (4 * COLL_RANKS_MAX)
/* "1, 2": the ranks below `size` whose bit in `present` is not set, into text[COLL_MISSING_BYTES];
 * "" when all are there. */
void coll_missing_text(uint64_t present, uint32_t size, char *text);

/* `state` is the backend's own. `open` gives a ready one or cleans up after itself; it gives up with
 * MLQ_ECANCELED when gang->cancel_fd becomes readable. `abort` is called by any thread once open has
 * returned, and makes the running call and all later ones fail with MLQ_ECANCELED; NULL: the backend
 * goes on looking at cancel_fd. */
struct coll_ops {
    const char *name;
    bool may_stick; /* the library below may not come back: a watchdog stands by */
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
    int (*alltoall)(void *state,
                    const void *send,
                    const uint64_t *send_bytes,
                    void *receive,
                    const uint64_t *receive_bytes,
                    int64_t timeout_ns,
                    struct mlq_err *err);
    /* Both or none of: memory that others can read in place, NULL when there is no more; and the
     * two moves above that leave pieces where they lie. */
    void *(*memory)(void *state, uint64_t bytes);
    int (*allgather_view)(void *state,
                          const void *send,
                          void *receive,
                          const uint64_t *bytes,
                          const void **views,
                          int64_t timeout_ns,
                          struct mlq_err *err);
    int (*alltoall_view)(void *state,
                         const void *send,
                         const uint64_t *send_bytes,
                         void *receive,
                         const uint64_t *receive_bytes,
                         const void **views,
                         int64_t timeout_ns,
                         struct mlq_err *err);
    /* NULL: ranks share no memory that all can write. */
    int (*shared_memory)(void *state,
                         uint64_t bytes,
                         void **memory,
                         int64_t timeout_ns,
                         struct mlq_err *err);
    /* NULL: made of alltoall and allgather (coll_allreduce.h). */
    int (*allreduce)(void *state,
                     struct coll_floats data,
                     int64_t timeout_ns,
                     struct mlq_err *err);
    void (*abort)(void *state);
    void (*close)(void *state);
};

extern const struct coll_ops coll_self_ops;
extern const struct coll_ops coll_gloo_ops;
extern const struct coll_ops coll_loop_ops;

#ifdef __cplusplus
}
#endif

#endif
