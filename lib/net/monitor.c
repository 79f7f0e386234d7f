/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/net/monitor.h"

#include <errno.h>
#include <string.h>
#include <zmq.h>

#include "lib/base/panic.h"
#include "lib/net/zsock.h"

#define ENDPOINT "inproc://monitor" /* each of our contexts has one socket that is watched */

int monitor_open(void *context, void *socket, int events, void **monitor, struct mlq_err *err)
{
    *monitor = zmq_socket(context, ZMQ_PAIR);
    if (*monitor == NULL || zmq_socket_monitor(socket, ENDPOINT, events) != 0) {
        return mlq_fail(err, MLQ_EIO, "watch the connections: %s", zmq_strerror(errno));
    }
    /* No limit: with one, libzmq's own thread would wait for us once it is reached. */
    int rc = zsock_set_int(*monitor, ZMQ_RCVHWM, 0, err);
    if (rc == MLQ_OK) {
        rc = zsock_set_int(*monitor, ZMQ_LINGER, 0, err);
    }
    if (rc == MLQ_OK && zmq_connect(*monitor, ENDPOINT) != 0) {
        rc = mlq_fail(err, MLQ_EIO, "watch the connections: %s", zmq_strerror(errno));
    }
    return rc;
}

/* An event is two frames: number (16 bits) and value (32 bits), in the machine's order, then the
 * endpoint (zmq_socket_monitor(3)). */
bool monitor_next(void *monitor, uint16_t *event, uint32_t *value)
{
    char head[sizeof *event + sizeof *value];
    int more = 0;
    size_t size = sizeof more;
    int len = zmq_recv(monitor, head, sizeof head, ZMQ_DONTWAIT);
    if (len < 0) {
        return false;
    }
    memcpy(event, head, sizeof *event);
    memcpy(value, head + sizeof *event, sizeof *value);
    while (zmq_getsockopt(monitor, ZMQ_RCVMORE, &more, &size) == 0 && more != 0) {
        char endpoint[256];
        (void)zmq_recv(monitor, endpoint, sizeof endpoint, ZMQ_DONTWAIT);
    }
    MLQ_ASSERT((size_t)len == sizeof head);
    return true;
}
