/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/net/zsock.h"

#include <errno.h>
#include <string.h>
#include <zmq.h>

#include "lib/base/panic.h"
#include "lib/net/codec.h"
#include "lib/net/limits.h"

#define HEARTBEAT_MS 2000
#define HEARTBEAT_LOST_MS 10000
#define BACKLOG 1024

/* libzmq counts what lies on the wire: command name, nonce, authenticator and flags around each
 * frame (rfc.zeromq.org/spec/26, "MESSAGE"). The codec has the exact limit. */
#define CURVE_OVERHEAD_BYTES (8 + 8 + 16 + 1)

int zsock_check_library(struct mlq_err *err)
{
    int major;
    int minor;
    int patch;
    zmq_version(&major, &minor, &patch);
    if (ZMQ_MAKE_VERSION(major, minor, patch) < ZMQ_MAKE_VERSION(4, 3, 4)) {
        return mlq_fail(err, MLQ_ENOTSUP, "libzmq is %d.%d.%d: at least " ZSOCK_VERSION_MIN
                        " is needed", major, minor, patch);
    }
    if (zmq_has("curve") == 0) {
        return mlq_fail(err, MLQ_ENOTSUP, "libzmq was built without CURVE: use one that has it");
    }
    return MLQ_OK;
}

int zsock_check_endpoint(const char *endpoint, struct mlq_err *err)
{
    struct mlq_str text = mlq_str_from(endpoint);
    if (!mlq_str_starts(text, "tcp://") && !mlq_str_starts(text, "ipc://")) {
        return mlq_fail(err, MLQ_EINVAL,
                        "endpoint '%s': expected tcp://HOST:PORT or ipc://PATH (CURVE protects no "
                        "other)",
                        endpoint);
    }
    return MLQ_OK;
}

int zsock_set_int(void *socket, int option, int value, struct mlq_err *err)
{
    if (zmq_setsockopt(socket, option, &value, sizeof value) != 0) {
        return mlq_fail(err, MLQ_EIO, "set option %d of a ZeroMQ socket: %s", option,
                        zmq_strerror(errno));
    }
    return MLQ_OK;
}

int zsock_set_text(void *socket, int option, const char *value, struct mlq_err *err)
{
    if (zmq_setsockopt(socket, option, value, strlen(value)) != 0) {
        return mlq_fail(err, MLQ_EINVAL, "set option %d of a ZeroMQ socket: %s", option,
                        zmq_strerror(errno));
    }
    return MLQ_OK;
}

int zsock_create(void *context, int type, const char *endpoint, size_t frame_max, void **socket,
                 struct mlq_err *err)
{
    const struct {
        int option;
        int value;
    } options[] = {
        {ZMQ_LINGER, ZSOCK_LINGER_MS},
        {ZMQ_HANDSHAKE_IVL, ZSOCK_HANDSHAKE_MS},
        {ZMQ_RCVHWM, LIMIT_QUEUE_IN_MESSAGES},
        {ZMQ_SNDHWM, LIMIT_QUEUE_OUT_MESSAGES},
        /* Answered by the I/O threads, so a busy loop is not taken for a dead one, unless its queue
         * stays full for that long: then nothing is read from the connection, heartbeats neither. */
        {ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS},
        {ZMQ_HEARTBEAT_TIMEOUT, HEARTBEAT_LOST_MS},
        {ZMQ_HEARTBEAT_TTL, HEARTBEAT_LOST_MS},
        {ZMQ_TCP_KEEPALIVE, 1},
        {ZMQ_BACKLOG, BACKLOG},
        {ZMQ_IPV6, strchr(endpoint, '[') != NULL},
    };
    void *made = zmq_socket(context, type);
    if (made == NULL) {
        return mlq_fail(err, MLQ_EIO, "create a ZeroMQ socket: %s", zmq_strerror(errno));
    }
    int rc = MLQ_OK;
    for (size_t i = 0; i < sizeof options / sizeof options[0] && rc == MLQ_OK; i++) {
        rc = zsock_set_int(made, options[i].option, options[i].value, err);
    }
    int64_t bytes_max = (int64_t)frame_max + CURVE_OVERHEAD_BYTES;
    if (rc == MLQ_OK && zmq_setsockopt(made, ZMQ_MAXMSGSIZE, &bytes_max, sizeof bytes_max) != 0) {
        rc = mlq_fail(err, MLQ_EIO, "limit the messages of a ZeroMQ socket: %s",
                      zmq_strerror(errno));
    }
    if (rc != MLQ_OK) {
        zsock_close(made);
        return rc;
    }
    *socket = made;
    return MLQ_OK;
}

static int send_failed(const struct msg *msg, struct mlq_err *err)
{
    int reason = errno;
    const char *kind = codec_kind_text(msg->kind);
    if (reason == EHOSTUNREACH) {
        return mlq_fail(err, MLQ_ECONN, "send %s: that connection is gone", kind);
    }
    if (reason == EAGAIN) {
        return mlq_fail(err, MLQ_EAGAIN, "send %s: the connection's queue is full", kind);
    }
    return mlq_fail(err, MLQ_EIO, "send %s: %s", kind, zmq_strerror(reason));
}

int zsock_send(void *socket, const struct net_address *to, const struct msg *msg, size_t frame_max,
               struct mlq_region *scratch, struct mlq_err *err)
{
    struct codec_packing packing;
    zmq_msg_t frame;
    mlq_region_reset(scratch);
    int rc = codec_prepare(msg, frame_max, scratch, &packing, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    MLQ_ASSERT(zmq_msg_init_size(&frame, packing.bytes) == 0); /* out of memory */
    rc = codec_pack(&packing, zmq_msg_data(&frame), err);
    if (rc != MLQ_OK) {
        (void)mlq_wrap(err, rc, "encode %s", codec_kind_text(msg->kind));
    } else if (to != NULL &&
               zmq_send(socket, to->bytes, to->len, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0) {
        rc = send_failed(msg, err);
    } else if (zmq_msg_send(&frame, socket, ZMQ_DONTWAIT) < 0) {
        rc = send_failed(msg, err);
    }
    (void)zmq_msg_close(&frame); /* after a send, an empty one */
    return rc;
}

void zsock_close(void *socket)
{
    if (socket != NULL) {
        (void)zmq_close(socket);
    }
}

void zsock_end_context(void *context)
{
    while (context != NULL && zmq_ctx_term(context) != 0 && errno == EINTR) {
    }
}
