/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Who may connect: the handler that libzmq asks in each CURVE handshake (rfc.zeromq.org/spec/27).
 * It runs on the server's loop. Without a handler libzmq lets every key in: create it before any
 * socket of the context and close it after all.
 */
#ifndef MLQ_NET_ZAP_H
#define MLQ_NET_ZAP_H

#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"

#define ZAP_DOMAIN "mlq"

struct enrolled;
struct uv_loop_s;
struct zap;

/* MLQ_EPERM when the handler's place is taken or cannot be had. The key that an admitted connection
 * has proved is the "User-Id" of each of its messages. */
int zap_create(struct uv_loop_s *loop,
               void *context,
               MLQ_BORROWS struct enrolled *enrolled,
               MLQ_OWNED_RETURN struct zap **zap,
               struct mlq_err *err);

uint64_t zap_refused(const struct zap *zap); /* handshakes */

/* `closed` runs when the loop has let go; the socket is closed then. */
void zap_close(struct zap **zap, void (*closed)(void *context), void *context);

#endif
