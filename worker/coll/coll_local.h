/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Ranks of one machine read each other's memory. Over loopback the kernel copies each byte twice
 * and wakes a thread on either side: for the 2 MB of a small network's gradient that takes longer
 * than to compute it.
 *
 * Each rank has a region of shared memory (a memfd: a crash leaves nothing behind), which holds a
 * few control words and what coll_local_memory gives out. Regions are traded over an abstract
 * socket of a random name, which the meeting point tells: who can connect to it is on this machine,
 * in the same network namespace. The connection stays open, since its end says that the peer died.
 *
 * A call begins with coll_local_offer, where a rank says where its pieces for the others lie, and
 * goes on with coll_local_await, until all ranks of this machine have said so. What was offered
 * stays as it is until a later call has returned: only then has everybody read it.
 *
 * One thread makes the calls; what may be called from another one stands last.
 */
#ifndef MLQ_COLL_COLL_LOCAL_H
#define MLQ_COLL_COLL_LOCAL_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "worker/coll/coll.h"
#include "worker/coll/coll_store.h"

#ifdef __cplusplus
extern "C" {
#endif

struct coll_local;

/* Finds the ranks of this machine: all ranks of the gang call it alike. Where memory cannot be
 * shared (no memfd, an address space that is too small, kind COLL_GLOO), none are found. */
int coll_local_open(const struct coll_gang *gang, struct coll_store_client *store,
                    int64_t deadline_ns, MLQ_OWNED_RETURN struct coll_local **local,
                    struct mlq_err *err);
void coll_local_close(struct coll_local **local); /* takes NULL, frees, nulls */

bool coll_local_has(const struct coll_local *local, uint32_t peer); /* not this rank itself */
bool coll_local_has_all(const struct coll_local *local);            /* the others */

/* Zeroed memory that the others can read, until coll_local_close. NULL: there are no others, or
 * there is no more. */
void *coll_local_memory(struct coll_local *local, uint64_t bytes);

/* The same, but whole pages, which the others can be made able to write. *place is where they are, for
 * coll_local_open_pages. */
void *coll_local_pages(struct coll_local *local, uint64_t bytes, uint64_t *place);
/* Such pages of rank `owner`, which may be this one, to be written here too. NULL: the system refuses. */
void *coll_local_open_pages(struct coll_local *local, uint32_t owner, uint64_t place,
                            uint64_t bytes);

/* The piece for rank r begins at in + at[r]. Small ones are copied, large ones must lie in
 * coll_local_memory: else it returns false, and the caller sends them by the network. */
bool coll_local_offer(struct coll_local *local, const void *in, uint64_t in_bytes,
                      const uint64_t at[COLL_RANKS_MAX]);

/* MLQ_ETIMEOUT and MLQ_ECONN name the ranks that did not come, or are gone. */
int coll_local_await(struct coll_local *local, int64_t deadline_ns, struct mlq_err *err);

/* What `peer` offers to this rank in the call that was awaited; NULL: it comes by the network. */
const void *coll_local_piece(const struct coll_local *local, uint32_t peer);

/* ---- From another thread ---- */

/* Readable when the peer is gone, for poll; -1 when it is not one of this machine. */
int coll_local_socket(const struct coll_local *local, uint32_t peer);
void coll_local_lost(struct coll_local *local, uint32_t peer); /* that was seen */
void coll_local_abort(struct coll_local *local); /* the running wait ends with MLQ_ECANCELED */

#ifdef __cplusplus
}
#endif

#endif
