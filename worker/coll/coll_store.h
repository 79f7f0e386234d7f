/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The meeting point of a gang: a small key-value store over TCP, in a thread of rank 0, at
 * MASTER_ADDR and MASTER_PORT. It lives while the ranks find each other's addresses. Values are set
 * once and never changed; reading waits for the value.
 *
 * One connection per rank, one request at a time. Integers are little-endian u32:
 *     hello     "mlqkv2\n\0", rank, size, generation (low, high half), name length, name
                                                             -> status, 0
 *     set       1, key length, value length, key, value          -> status, 0
 *     get       2, key length, 0, key                            -> status, value length, value
 * A status other than 0 is one of STORE_REFUSED_...; the server then closes the connection. A hello
 * with another gang's name or generation is refused, so that a late rank of an older attempt or
 * membership cannot join a newer one; a rank that is ahead of rank 0 asks again until it has come.
 * Memory is bounded by the limits below, and a stranger who says nothing is dropped after a while.
 */
#ifndef MLQ_COLL_COLL_STORE_H
#define MLQ_COLL_COLL_STORE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "worker/coll/coll.h"

#ifdef __cplusplus
extern "C" {
#endif

#define COLL_STORE_KEY_BYTES_MAX   128u
#define COLL_STORE_VALUE_BYTES_MAX (64u << 10)
#define COLL_STORE_KEYS_MAX        512u
#define COLL_STORE_HELLO_NS        INT64_C(10000000000) /* a connection must say hello within */

#define COLL_STORE_ADDRESS_BYTES 64 /* a numeric address, terminated */

/* ---- Rank 0: the server ---- */
struct coll_store_server;

/* On gang->listen_fd, which must not block, or else bound to gang->address and gang->port. */
int coll_store_serve(const struct coll_gang *gang,
                     MLQ_OWNED_RETURN struct coll_store_server **server,
                     struct mlq_err *err);
void coll_store_stop(struct coll_store_server **server); /* takes NULL, frees, nulls */
/* Bit r is set when rank r has said hello. */
uint64_t coll_store_present(const struct coll_store_server *server);

/* ---- All ranks: the client ---- */
struct coll_store_client;

/* Tries until the deadline (mlq_clock_boot_ns), since rank 0 may start later. `local_address`
 * [COLL_STORE_ADDRESS_BYTES] becomes this machine's numeric address on the way to rank 0: the one
 * for the gang to use. All three calls give up with MLQ_ECANCELED once gang->cancel_fd is readable. */
int coll_store_client_open(const struct coll_gang *gang,
                           int64_t deadline_ns,
                           MLQ_OWNED_RETURN struct coll_store_client **store,
                           char *local_address,
                           struct mlq_err *err);
void coll_store_client_close(struct coll_store_client **store); /* takes NULL, frees, nulls */

int coll_store_client_set(struct coll_store_client *store,
                          const char *key,
                          const void *value,
                          size_t len,
                          int64_t deadline_ns,
                          struct mlq_err *err);
/* Waits for the value; `value` has room for COLL_STORE_VALUE_BYTES_MAX. */
int coll_store_client_get(struct coll_store_client *store,
                          const char *key,
                          void *value,
                          size_t *len,
                          int64_t deadline_ns,
                          struct mlq_err *err);

#ifdef __cplusplus
}
#endif

#endif
