/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * How the ranks of one machine get each other's memory (coll_local.h): a rank tells the others a
 * name by the meeting point, those with a higher number try to connect to it, tell whom they
 * reached, and both sides of a connection send a descriptor.
 */
#ifndef MLQ_COLL_COLL_LOCAL_TRADE_H
#define MLQ_COLL_COLL_LOCAL_TRADE_H

#include <stdint.h>

#include "lib/base/err.h"
#include "worker/coll/coll.h"
#include "worker/coll/coll_store.h"

struct coll_local_trade {
    uint64_t peers;              /* bit r: rank r is on this machine, and what follows is there */
    int sockets[COLL_RANKS_MAX]; /* open while the peer lives; -1: none. The caller's. */
    int regions[COLL_RANKS_MAX]; /* what the peer sent; -1: none. Until coll_local_trade_fini. */
};

/* All ranks of the gang call it alike, with what they have for the others; -1: nothing, and then
 * nobody is found. The result is right, if empty, after an error, too. */
int coll_local_trade_run(struct coll_local_trade *trade, const struct coll_gang *gang,
                         int region_fd, struct coll_store_client *store, int64_t deadline_ns,
                         struct mlq_err *err);
void coll_local_trade_fini(struct coll_local_trade *trade);

#endif
