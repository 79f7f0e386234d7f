/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What happens to the connections of a socket (zmq_socket_monitor(3)), read without waiting.
 */
#ifndef MLQ_NET_MONITOR_H
#define MLQ_NET_MONITOR_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"

/* `events`: of ZMQ_EVENT_*. Close *monitor before the socket. */
int monitor_open(void *context, void *socket, int events, void **monitor, struct mlq_err *err);

/* The next event, or false: none. */
bool monitor_next(void *monitor, uint16_t *event, uint32_t *value);

#endif
