/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What the server's and the peers' sockets have in common: options, and a message in and out.
 */
#ifndef MLQ_NET_ZSOCK_H
#define MLQ_NET_ZSOCK_H

#include <stddef.h>

#include "lib/base/err.h"
#include "lib/net/net.h"

/* A message waits at most so long for its connection when a socket is closed. */
#define ZSOCK_LINGER_MS 500
#define ZSOCK_HANDSHAKE_MS 3000

/* Older ones have holes that need no key (CVE-2019-13132, CVE-2020-15166). */
#define ZSOCK_VERSION_MIN "4.3.4"

/* MLQ_ENOTSUP when the libzmq that is loaded is too old or was built without CURVE. */
int zsock_check_library(struct mlq_err *err);

/* Only transports that CURVE protects: tcp:// and ipc://. */
int zsock_check_endpoint(const char *endpoint, struct mlq_err *err);

/* Options for both sides: limits, heartbeats, time-outs. `type` is ZMQ_ROUTER or ZMQ_DEALER. */
int zsock_create(void *context,
                 int type,
                 const char *endpoint,
                 size_t frame_max,
                 void **socket,
                 struct mlq_err *err);

int zsock_set_int(void *socket, int option, int value, struct mlq_err *err);
int zsock_set_text(void *socket, int option, const char *value, struct mlq_err *err);

/* Encode and queue without waiting; `to` is NULL for a DEALER. `scratch` is reset. MLQ_ECONN: no
 * such connection; MLQ_EAGAIN: its queue is full; MLQ_EFULL: too large; MLQ_EINVAL: bad text. */
int zsock_send(void *socket,
               const struct net_address *to,
               const struct msg *msg,
               size_t frame_max,
               struct mlq_region *scratch,
               struct mlq_err *err);

/* Close both; waits for what is queued, at most ZSOCK_LINGER_MS. NULL is fine. */
void zsock_close(void *socket);
void zsock_end_context(void *context);

#endif
