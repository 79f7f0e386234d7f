/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A ZeroMQ socket on a libuv loop. ZMQ_FD is edge-triggered and its edge is lost by any call on
 * the socket, a send included: who waits for the descriptor alone sleeps beside a full queue. So
 * ZMQ_EVENTS is read before the loop sleeps and after it woke; the descriptor only wakes it
 * (the scheme of flux-core's zwatcher and libev's prepare, check and idle watchers).
 */
#ifndef MLQ_LOOP_ZPOLL_H
#define MLQ_LOOP_ZPOLL_H

#include "lib/base/err.h"
#include "lib/base/ownership.h"

struct uv_loop_s;
struct zpoll;

/* Once in each iteration in which the socket has something to read. Take a bounded number of
 * messages: what is left is offered again in the next iteration, after timers and other handles. */
typedef void (*zpoll_cb)(void *context);

/* The socket must live until `closed` of zpoll_close has run. */
int zpoll_create(struct uv_loop_s *loop,
                 MLQ_BORROWS void *socket,
                 zpoll_cb on_readable,
                 void *context,
                 MLQ_OWNED_RETURN struct zpoll **zpoll,
                 struct mlq_err *err);

/* Call after sending on the socket: from a callback that runs between this zpoll's look and the
 * loop's sleep, nothing else would see what the send has swallowed. */
void zpoll_sent(struct zpoll *zpoll);

/* Also from within on_readable, which is not called any more. Nulls; `closed` (may be NULL) runs
 * when libuv has let go of the descriptor: close the socket there, not before. */
void zpoll_close(struct zpoll **zpoll, void (*closed)(void *context), void *context);

#endif
