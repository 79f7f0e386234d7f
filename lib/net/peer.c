/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/net/peer.h"

#include <errno.h>
#include <string.h>
#include <zmq.h>

#include "lib/base/panic.h"
#include "lib/net/codec.h"
#include "lib/net/limits.h"
#include "lib/net/monitor.h"
#include "lib/net/zsock.h"
#include "lib/sys/mem.h"

#define RECONNECT_MS 100
#define RECONNECT_MAX_MS 1000
#define CONNECT_MS 3000

#define MONITORED                                                                                  \
    (ZMQ_EVENT_CONNECTED | ZMQ_EVENT_CONNECT_RETRIED | ZMQ_EVENT_DISCONNECTED |                    \
     ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |                        \
     ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)

static int set_options(struct peer *peer, const struct net_peer_options *options,
                       struct mlq_err *err)
{
    int rc = zsock_set_text(peer->socket, ZMQ_CURVE_SERVERKEY, options->server_public_key, err);
    if (rc != MLQ_OK) {
        return mlq_fail(err, MLQ_EINVAL, "the server's public key is not a key: 40 characters");
    }
    rc = zsock_set_text(peer->socket, ZMQ_CURVE_PUBLICKEY, options->keys->public_key, err);
    if (rc == MLQ_OK) {
        rc = zsock_set_text(peer->socket, ZMQ_CURVE_SECRETKEY, options->keys->secret_key, err);
    }
    if (rc != MLQ_OK) {
        return mlq_fail(err, MLQ_EINVAL, "the own key pair is not one: see net_keys_generate");
    }
    const struct {
        int option;
        int value;
    } numbers[] = {
        {ZMQ_IMMEDIATE, 1},
        {ZMQ_RECONNECT_IVL, RECONNECT_MS},
        {ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS},
        {ZMQ_CONNECT_TIMEOUT, CONNECT_MS},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0] && rc == MLQ_OK; i++) {
        rc = zsock_set_int(peer->socket, numbers[i].option, numbers[i].value, err);
    }
    return rc;
}

static int connect_socket(struct peer *peer, struct mlq_err *err)
{
    if (zmq_connect(peer->socket, peer->endpoint) != 0) {
        return mlq_fail(err, errno == EINVAL ? MLQ_EINVAL : MLQ_ECONN, "connect to %s: %s",
                        peer->endpoint, zmq_strerror(errno));
    }
    return MLQ_OK;
}

int peer_open(struct peer *peer, const struct net_peer_options *options, struct mlq_err *err)
{
    *peer = (struct peer){.endpoint = mlq_strdup(options->endpoint)};
    int rc = zsock_check_library(err);
    if (rc == MLQ_OK) {
        rc = zsock_check_endpoint(options->endpoint, err);
    }
    if (rc == MLQ_OK) {
        peer->context = zmq_ctx_new();
        MLQ_ASSERT(peer->context != NULL);
        rc = zsock_create(peer->context, ZMQ_DEALER, options->endpoint, LIMIT_FRAME_TO_PEER_BYTES,
                          &peer->socket, err);
    }
    if (rc == MLQ_OK) {
        rc = set_options(peer, options, err);
    }
    if (rc == MLQ_OK) {
        /* Before connecting: no event may be missed. */
        rc = monitor_open(peer->context, peer->socket, MONITORED, &peer->monitor, err);
    }
    if (rc == MLQ_OK) {
        rc = connect_socket(peer, err);
    }
    if (rc != MLQ_OK) {
        peer_close(peer, 0);
    }
    return rc;
}

void peer_close(struct peer *peer, int linger_ms)
{
    if (peer->socket != NULL) {
        (void)zsock_set_int(peer->socket, ZMQ_LINGER, linger_ms, NULL);
        (void)zmq_socket_monitor(peer->socket, NULL, 0);
    }
    zsock_close(peer->monitor);
    zsock_close(peer->socket);
    zsock_end_context(peer->context);
    mlq_free(peer->endpoint);
    *peer = (struct peer){.context = NULL};
}

enum peer_event peer_next(struct peer *peer)
{
    uint16_t event;
    uint32_t value;
    if (!monitor_next(peer->monitor, &event, &value)) {
        return PEER_NOTHING;
    }
    if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
        /* The I/O thread has told the socket of its new connection before it told us, but a send
         * may put off reading such news (libzmq's max_command_delay). This does not. */
        int events;
        size_t size = sizeof events;
        (void)zmq_getsockopt(peer->socket, ZMQ_EVENTS, &events, &size);
        peer->connected = true;
        peer->last_failure = PEER_NOTHING;
        return PEER_CONNECTED;
    }
    if (event == ZMQ_EVENT_DISCONNECTED && peer->connected) {
        peer->connected = false;
        return PEER_DISCONNECTED;
    }
    if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) {
        peer->last_failure = PEER_NOT_ENROLLED;
        return PEER_NOT_ENROLLED;
    }
    if (event == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL ||
        event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL) {
        peer->last_failure = PEER_CUT_OFF;
        return PEER_CUT_OFF;
    }
    if (event == ZMQ_EVENT_CONNECT_RETRIED && peer->last_failure == PEER_NOTHING) {
        peer->last_failure = PEER_NO_LISTENER;
        return PEER_NO_LISTENER;
    }
    return PEER_TRYING;
}

int peer_reconnect(struct peer *peer, struct mlq_err *err)
{
    (void)zmq_disconnect(peer->socket, peer->endpoint); /* may have ended by itself */
    peer->last_failure = PEER_NOTHING;
    return connect_socket(peer, err);
}

const char *peer_failure_text(enum peer_event failure)
{
    switch (failure) {
    case PEER_NO_LISTENER:
        return "nothing listens there";
    case PEER_CUT_OFF:
        return "something listens there but does not finish the handshake: the server key is another "
               "one, it hangs, or it is no mlq scheduler";
    case PEER_NOT_ENROLLED:
        return "the scheduler there does not know this key: enroll it";
    case PEER_NOTHING:
    case PEER_TRYING:
    case PEER_CONNECTED:
    case PEER_DISCONNECTED:
        return "no answer: no scheduler there, or this key is not enrolled";
    }
    return "no answer";
}

int peer_receive(struct peer *peer, struct mlq_region *region, struct msg *msg, uint32_t *version,
                 struct mlq_err *err)
{
    zmq_msg_t frame;
    (void)zmq_msg_init(&frame);
    int rc = MLQ_OK;
    *version = 0;
    if (zmq_msg_recv(&frame, peer->socket, ZMQ_DONTWAIT) < 0) {
        rc = MLQ_EAGAIN;
    } else if (zmq_msg_more(&frame) != 0) {
        while (zmq_msg_more(&frame) != 0 &&
               zmq_msg_recv(&frame, peer->socket, ZMQ_DONTWAIT) >= 0) {
        }
        rc = mlq_fail(err, MLQ_ECORRUPT, "a message of several frames");
    } else {
        struct mlq_str bytes = {.ptr = zmq_msg_data(&frame), .len = zmq_msg_size(&frame)};
        rc = codec_decode(bytes, LIMIT_FRAME_TO_PEER_BYTES, region, msg, version, err);
    }
    (void)zmq_msg_close(&frame);
    return rc;
}
