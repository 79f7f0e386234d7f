/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * libuv's order in an iteration: timers, idle, prepare, sleep and descriptors, check. An active
 * idle handle makes the sleep a look.
 */
#include "lib/loop/zpoll.h"

#include <errno.h>
#include <stdbool.h>
#include <uv.h>
#include <zmq.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"

#define HANDLES 4

struct zpoll {
    uv_poll_t wake;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;
    unsigned open;
    bool closing;
    void *socket;
    zpoll_cb on_readable;
    void *context;
    void (*closed)(void *context);
    void *closed_context;
};

/* Reading ZMQ_EVENTS also lets the socket take in what its I/O thread has sent. */
static bool readable(const struct zpoll *zpoll)
{
    int events = 0;
    size_t size = sizeof events;
    int rc;
    do {
        rc = zmq_getsockopt(zpoll->socket, ZMQ_EVENTS, &events, &size);
    } while (rc != 0 && errno == EINTR);
    MLQ_ASSERT(rc == 0);
    return (events & ZMQ_POLLIN) != 0;
}

static void on_idle(uv_idle_t *handle)
{
    (void)handle; /* being active is its whole work */
}

static void on_wake(uv_poll_t *handle, int status, int events)
{
    (void)handle;
    (void)status;
    (void)events;
}

static void stay_awake(struct zpoll *zpoll)
{
    MLQ_ASSERT(uv_idle_start(&zpoll->idle, on_idle) == 0);
}

static void on_prepare(uv_prepare_t *handle)
{
    struct zpoll *zpoll = handle->data;
    if (readable(zpoll)) {
        stay_awake(zpoll);
    }
}

static void on_check(uv_check_t *handle)
{
    struct zpoll *zpoll = handle->data;
    (void)uv_idle_stop(&zpoll->idle);
    if (readable(zpoll)) {
        zpoll->on_readable(zpoll->context);
    }
}

void zpoll_sent(struct zpoll *zpoll)
{
    if (!zpoll->closing && readable(zpoll)) {
        stay_awake(zpoll);
    }
}

static void on_closed(uv_handle_t *handle)
{
    struct zpoll *zpoll = handle->data;
    if (--zpoll->open > 0) {
        return;
    }
    void (*closed)(void *context) = zpoll->closed;
    void *context = zpoll->closed_context;
    mlq_free(zpoll);
    if (closed != NULL) {
        closed(context);
    }
}

int zpoll_create(uv_loop_t *loop, void *socket, zpoll_cb on_readable, void *context,
                 struct zpoll **zpoll, struct mlq_err *err)
{
    int fd = -1;
    size_t size = sizeof fd;
    if (zmq_getsockopt(socket, ZMQ_FD, &fd, &size) != 0) {
        return mlq_fail(err, MLQ_EIO, "descriptor of a ZeroMQ socket: %s", zmq_strerror(errno));
    }
    struct zpoll *made = mlq_alloc(sizeof *made);
    made->socket = socket;
    made->on_readable = on_readable;
    made->context = context;
    int rc = uv_poll_init(loop, &made->wake, fd);
    if (rc != 0) {
        mlq_free(made);
        return mlq_fail(err, MLQ_EIO, "watch a ZeroMQ socket: %s", uv_strerror(rc));
    }
    MLQ_ASSERT(uv_prepare_init(loop, &made->prepare) == 0);
    MLQ_ASSERT(uv_check_init(loop, &made->check) == 0);
    MLQ_ASSERT(uv_idle_init(loop, &made->idle) == 0);
    made->open = HANDLES;
    made->wake.data = made;
    made->prepare.data = made;
    made->check.data = made;
    made->idle.data = made;
    MLQ_ASSERT(uv_poll_start(&made->wake, UV_READABLE, on_wake) == 0);
    MLQ_ASSERT(uv_prepare_start(&made->prepare, on_prepare) == 0);
    MLQ_ASSERT(uv_check_start(&made->check, on_check) == 0);
    *zpoll = made;
    return MLQ_OK;
}

void zpoll_close(struct zpoll **zpoll, void (*closed)(void *context), void *context)
{
    struct zpoll *closing = *zpoll;
    *zpoll = NULL;
    closing->closing = true;
    closing->closed = closed;
    closing->closed_context = context;
    uv_close((uv_handle_t *)&closing->wake, on_closed);
    uv_close((uv_handle_t *)&closing->prepare, on_closed);
    uv_close((uv_handle_t *)&closing->check, on_closed);
    uv_close((uv_handle_t *)&closing->idle, on_closed);
}
