/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The scheduler's socket. A frame passes, in this order: a key that is enrolled now (not only when
 * it connected), the version, the size and shape, the role. What fails is counted, logged at most
 * once a minute for each cause, and answered with MSG_REFUSED.
 */
#include "lib/net/net.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

#include "lib/base/panic.h"
#include "lib/loop/loop.h"
#include "lib/loop/zpoll.h"
#include "lib/net/codec.h"
#include "lib/net/enrolled.h"
#include "lib/net/limits.h"
#include "lib/net/monitor.h"
#include "lib/net/zap.h"
#include "lib/net/zsock.h"
#include "lib/sys/clock.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"

#define ENDPOINT_BYTES 256
#define REFRESH_NS MLQ_NS_PER_S
#define SETTLED_TICKS 5 /* seconds; a handshake has three */

/* The peers' side is heard by libzmq; more parts than address and payload are nobody's. */
#define PARTS 2

enum cause { CAUSE_HANDSHAKE, CAUSE_STRANGER, CAUSE_MALFORMED, CAUSE_VERSION, CAUSE_ROLE, CAUSES };

struct complaint { /* of one cause, the last one */
    struct mlq_log_pace pace;
    uint64_t count;
    char peer[NET_NAME_BYTES_MAX + 1];
    char why[160];
};

/* Connections that came, and those of which we know how their handshake ended. libzmq tells of no others: what is
 * left over when the time for a handshake has passed is who failed it. */
struct door {
    uint64_t came;
    uint64_t known;
    uint64_t came_before[SETTLED_TICKS]; /* a ring: one for each tick of the refresh */
    unsigned tick;
};

struct net_server {
    void *context;
    void *socket;
    void *monitor; /* of it, for the door */
    struct door door;
    struct zpoll *poll;
    struct zap *zap;
    struct enrolled *enrolled;
    struct loop_timer *refresh;
    struct mlq_region *in;
    struct mlq_region *out;
    net_server_cb on_message;
    void (*on_turn_end)(void *context);
    void *callback_context;
    struct complaint complaints[CAUSES];
    char endpoint[ENDPOINT_BYTES];
    bool closing;
    void (*closed)(void *context);
    void *closed_context;
};

/* ---- What comes in --------------------------------------------------------------------------- */

static bool may_send(enum net_role role, enum msg_kind kind)
{
    switch (kind) {
    case MSG_HELLO:
    case MSG_HEARTBEAT:
    case MSG_REPORT:
    case MSG_LOG_DATA:
    case MSG_RECORD_REQUEST:
    case MSG_LEAVING:
        return role == NET_ROLE_WORKER;
    case MSG_REQUEST:
        return role == NET_ROLE_CLIENT;
    case MSG_NONE:
    case MSG_WELCOME:
    case MSG_HEARTBEAT_ACK:
    case MSG_ASSIGN:
    case MSG_KILL:
    case MSG_FENCED:
    case MSG_ACK:
    case MSG_CHECKPOINT:
    case MSG_MEMBERSHIPS:
    case MSG_LOG_READ:
    case MSG_RECORD_REPLY:
    case MSG_REFUSED:
    case MSG_REPLY:
        return false;
    }
    return false;
}

static void say(const struct complaint *complaint, uint64_t frames)
{
    log_warn("net.refused", "peer=%s why=\"%s\" frames=%llu", complaint->peer, complaint->why,
             (unsigned long long)frames);
}

static void count(struct complaint *complaint, const char *name, struct mlq_str why)
{
    uint64_t frames;
    complaint->count++;
    (void)snprintf(complaint->peer, sizeof complaint->peer, "%s", name);
    (void)snprintf(complaint->why, sizeof complaint->why, "%.*s", MLQ_STR_ARG(why));
    if (mlq_log_paced(&complaint->pace, mlq_clock_boot_ns(), &frames)) {
        say(complaint, frames);
    }
}

static void refuse(struct net_server *server, enum cause cause, const struct net_address *to,
                   const char *name, const struct msg_refused *refused)
{
    struct msg msg = {.kind = MSG_REFUSED, .refused = *refused};
    msg.refused.version_ours = MSG_PROTOCOL_VERSION;
    count(&server->complaints[cause], name, refused->text);
    if (to->len > 0) {
        (void)net_server_send(server, to, &msg, NULL); /* best effort: the peer may be gone */
    }
}

static void judge(struct net_server *server, const struct net_address *from, zmq_msg_t *frame)
{
    const char *key = zmq_msg_gets(frame, "User-Id"); /* what ZAP answered in the handshake */
    const struct enrolled_entry *entry =
        key == NULL ? NULL : enrolled_find(server->enrolled, key);
    if (entry == NULL) {
        refuse(server, CAUSE_STRANGER, from, "?",
               &(struct msg_refused){.code = MLQ_EPERM,
                                     .text = MLQ_STR("this key is not enrolled, or no longer")});
        return;
    }
    struct msg msg;
    uint32_t version;
    struct mlq_err err = MLQ_ERR_INIT;
    struct mlq_str bytes = {.ptr = zmq_msg_data(frame), .len = zmq_msg_size(frame)};
    mlq_region_reset(server->in);
    int rc = codec_decode(bytes, LIMIT_FRAME_TO_SERVER_BYTES, server->in, &msg, &version, &err);
    if (rc == MLQ_EPROTO) {
        char text[128];
        (void)snprintf(text, sizeof text,
                       "you speak protocol version %u, the scheduler speaks %d: use the same "
                       "release of mlq",
                       version, MSG_PROTOCOL_VERSION);
        refuse(server, CAUSE_VERSION, from, entry->name,
               &(struct msg_refused){
                   .code = rc, .text = mlq_str_from(text), .version_theirs = version});
        return;
    }
    if (rc != MLQ_OK) {
        refuse(server, CAUSE_MALFORMED, from, entry->name,
               &(struct msg_refused){
                   .code = rc, .text = mlq_str_from(err.text), .version_theirs = version});
        return;
    }
    if (!may_send(entry->role, msg.kind)) {
        char text[128];
        (void)snprintf(text, sizeof text, "a %s may not send '%s'",
                       entry->role == NET_ROLE_WORKER ? "worker" : "client",
                       codec_kind_text(msg.kind));
        refuse(server, CAUSE_ROLE, from, entry->name,
               &(struct msg_refused){
                   .code = MLQ_EPERM, .text = mlq_str_from(text), .version_theirs = version});
        return;
    }
    struct net_peer peer = {.address = *from,
                            .role = entry->role,
                            .name = entry->name,
                            .public_key = entry->public_key};
    server->on_message(server->callback_context, &peer, &msg);
}

/* Address and payload of one message, to its last part. False: nothing to read. `*parts` is their
 * number; of a third and later ones nothing is kept. */
static bool receive(void *socket, zmq_msg_t *address, zmq_msg_t *payload, unsigned *parts)
{
    zmq_msg_t spare;
    (void)zmq_msg_init(&spare);
    *parts = 0;
    bool more = true;
    while (more) {
        zmq_msg_t *part = *parts == 0 ? address : *parts == 1 ? payload : &spare;
        if (zmq_msg_recv(part, socket, ZMQ_DONTWAIT) < 0) {
            break; /* only before the first part: libzmq hands over whole messages */
        }
        more = zmq_msg_more(part) != 0;
        ++*parts;
    }
    (void)zmq_msg_close(&spare);
    return *parts > 0;
}

static bool take_one(struct net_server *server)
{
    zmq_msg_t address;
    zmq_msg_t payload;
    unsigned parts;
    (void)zmq_msg_init(&address);
    (void)zmq_msg_init(&payload);
    bool taken = receive(server->socket, &address, &payload, &parts);
    if (taken) {
        struct net_address from = {.len = 0};
        size_t len = zmq_msg_size(&address);
        /* libzmq gives addresses of five bytes; a peer that chose its own might take the place of
         * one that is gone, so such a peer is not heard. */
        bool given = len == 5 && *(const char *)zmq_msg_data(&address) == '\0';
        if (given) {
            memcpy(from.bytes, zmq_msg_data(&address), len);
            from.len = (uint8_t)len;
        }
        if (!given || parts != PARTS) {
            refuse(server, CAUSE_MALFORMED, &from, "?",
                   &(struct msg_refused){.code = MLQ_ECORRUPT,
                                         .text = MLQ_STR("not one frame from one unnamed socket")});
        } else {
            judge(server, &from, &payload);
        }
    }
    (void)zmq_msg_close(&address);
    (void)zmq_msg_close(&payload);
    return taken;
}

static void on_readable(void *context)
{
    struct net_server *server = context;
    int taken = 0;
    while (taken < LIMIT_BURST_MESSAGES && !server->closing && take_one(server)) {
        taken++;
    }
    if (taken > 0 && !server->closing && server->on_turn_end != NULL) {
        server->on_turn_end(server->callback_context);
    }
}

/* Keys that are not enrolled are the ZAP handler's to count. */
static void count_handshakes(struct net_server *server)
{
    struct door *door = &server->door;
    struct complaint *complaint = &server->complaints[CAUSE_HANDSHAKE];
    uint16_t event;
    uint32_t value;
    while (monitor_next(server->monitor, &event, &value)) {
        door->came += event == ZMQ_EVENT_ACCEPTED ? 1 : 0;
        door->known += event != ZMQ_EVENT_ACCEPTED ? 1 : 0;
    }
    uint64_t *before = &door->came_before[door->tick++ % SETTLED_TICKS];
    uint64_t failed = *before > door->known ? *before - door->known : 0;
    *before = door->came;
    while (complaint->count < failed) {
        count(complaint, "?", MLQ_STR("a connection ended in its handshake: not ZeroMQ, not CURVE, or for another "
                                      "server's key"));
    }
}

static void on_refresh(void *context)
{
    struct net_server *server = context;
    int64_t now_ns = mlq_clock_boot_ns();
    uint64_t frames;
    enrolled_refresh(server->enrolled);
    count_handshakes(server);
    for (int i = 0; i < CAUSES; i++) {
        if (mlq_log_pace_rest(&server->complaints[i].pace, now_ns, &frames)) {
            say(&server->complaints[i], frames);
        }
    }
}

/* ---- Life ------------------------------------------------------------------------------------ */

/* With the ZAP handler bound: see net.h. */
static int open_socket(struct net_server *server, const struct net_server_options *options,
                       const struct net_keypair *keys, struct mlq_err *err)
{
    int rc = zsock_create(server->context, ZMQ_ROUTER, options->endpoint,
                          LIMIT_FRAME_TO_SERVER_BYTES, &server->socket, err);
    if (rc == MLQ_OK) {
        rc = zsock_set_int(server->socket, ZMQ_CURVE_SERVER, 1, err);
    }
    if (rc == MLQ_OK) {
        rc = zsock_set_text(server->socket, ZMQ_CURVE_SECRETKEY, keys->secret_key, err);
    }
    if (rc == MLQ_OK) {
        rc = zsock_set_text(server->socket, ZMQ_ZAP_DOMAIN, ZAP_DOMAIN, err);
    }
    if (rc == MLQ_OK) {
        rc = zsock_set_int(server->socket, ZMQ_ROUTER_MANDATORY, 1, err);
    }
    if (rc == MLQ_OK) {
        rc = monitor_open(server->context, server->socket,
                          ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH,
                          &server->monitor, err);
    }
    if (rc == MLQ_OK && zmq_bind(server->socket, options->endpoint) != 0) {
        rc = mlq_fail(err, errno == EADDRINUSE ? MLQ_EEXIST : MLQ_EIO, "listen on %s: %s",
                      options->endpoint, zmq_strerror(errno));
    }
    size_t size = sizeof server->endpoint;
    if (rc == MLQ_OK &&
        zmq_getsockopt(server->socket, ZMQ_LAST_ENDPOINT, server->endpoint, &size) != 0) {
        rc = mlq_fail(err, MLQ_EIO, "name of %s: %s", options->endpoint, zmq_strerror(errno));
    }
    return rc;
}

/* The end, in this order: the loop lets go of the socket, the socket closes, then the ZAP handler:
 * at no time is there a socket without it. */
static void on_zap_closed(void *context)
{
    struct net_server *server = context;
    void (*closed)(void *context) = server->closed;
    void *closed_context = server->closed_context;
    zsock_end_context(server->context);
    enrolled_destroy(&server->enrolled);
    mlq_region_destroy(&server->in);
    mlq_region_destroy(&server->out);
    mlq_free(server);
    if (closed != NULL) {
        closed(closed_context);
    }
}

static void on_poll_closed(void *context)
{
    struct net_server *server = context;
    if (server->socket != NULL) {
        (void)zmq_socket_monitor(server->socket, NULL, 0);
    }
    zsock_close(server->monitor);
    zsock_close(server->socket);
    if (server->zap != NULL) {
        zap_close(&server->zap, on_zap_closed, server);
    } else {
        on_zap_closed(server);
    }
}

static int check_options(const struct net_server_options *options, struct net_keypair *keys,
                         struct mlq_err *err)
{
    int rc = zsock_check_library(err);
    if (rc == MLQ_OK) {
        rc = zsock_check_endpoint(options->endpoint, err);
    }
    return rc == MLQ_OK ? net_keys_load(options->key_path, keys, err) : rc;
}

int net_server_create(struct uv_loop_s *loop, const struct net_server_options *options,
                      net_server_cb on_message, void *context, struct net_server **server,
                      struct mlq_err *err)
{
    struct net_keypair keys;
    struct net_server *made = NULL;
    int rc = check_options(options, &keys, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    made = mlq_alloc(sizeof *made);
    made->on_message = on_message;
    made->callback_context = context;
    made->in = mlq_region_create();
    made->out = mlq_region_create();
    made->context = zmq_ctx_new();
    MLQ_ASSERT(made->context != NULL);
    rc = enrolled_create(options->enrolled_path, &made->enrolled, err);
    if (rc == MLQ_OK) {
        rc = zap_create(loop, made->context, made->enrolled, &made->zap, err);
    }
    if (rc == MLQ_OK) {
        rc = open_socket(made, options, &keys, err);
    }
    if (rc == MLQ_OK) {
        rc = zpoll_create(loop, made->socket, on_readable, made, &made->poll, err);
    }
    explicit_bzero(&keys, sizeof keys);
    if (rc != MLQ_OK) {
        on_poll_closed(made); /* there is no poll yet */
        return rc;
    }
    made->refresh = loop_timer_create(loop, on_refresh, made);
    loop_timer_set(made->refresh, REFRESH_NS, REFRESH_NS);
    log_info("net.listen", "endpoint=%s enrolled=%zu", made->endpoint,
             enrolled_count(made->enrolled));
    *server = made;
    return MLQ_OK;
}

void net_server_on_turn_end(struct net_server *server, void (*cb)(void *context))
{
    server->on_turn_end = cb;
}

const char *net_server_endpoint(const struct net_server *server)
{
    return server->endpoint;
}

int net_server_send(struct net_server *server, const struct net_address *to, const struct msg *msg,
                    struct mlq_err *err)
{
    MLQ_ASSERT(to->len > 0);
    int rc = zsock_send(server->socket, to, msg, LIMIT_FRAME_TO_PEER_BYTES, server->out, err);
    if (!server->closing) {
        zpoll_sent(server->poll);
    }
    return rc == MLQ_EAGAIN ? MLQ_EFULL : rc;
}

struct net_refusals net_server_refusals(const struct net_server *server)
{
    const struct complaint *complaints = server->complaints;
    return (struct net_refusals){
        .handshakes = complaints[CAUSE_HANDSHAKE].count,
        .not_enrolled = complaints[CAUSE_STRANGER].count + zap_refused(server->zap),
        .malformed = complaints[CAUSE_MALFORMED].count,
        .version = complaints[CAUSE_VERSION].count,
        .wrong_role = complaints[CAUSE_ROLE].count};
}

void net_server_close(struct net_server **server, void (*closed)(void *context), void *context)
{
    struct net_server *closing = *server;
    *server = NULL;
    if (closing == NULL) {
        return;
    }
    closing->closing = true;
    closing->closed = closed;
    closing->closed_context = context;
    loop_timer_close(&closing->refresh);
    zpoll_close(&closing->poll, on_poll_closed, closing);
}
