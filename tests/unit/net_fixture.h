/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A server on a loop with enrolled keys, and raw ZeroMQ sockets that behave as badly as a test
 * wants. Everything on loopback; ports are chosen by the system.
 */
#ifndef MLQ_TESTS_UNIT_NET_FIXTURE_H
#define MLQ_TESTS_UNIT_NET_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <uv.h>
#include <zmq.h>

#include "lib/loop/loop.h"
#include "lib/net/codec.h"
#include "lib/net/limits.h"
#include "lib/net/net.h"
#include "lib/sys/clock.h"
#include "lib/sys/mem.h"
#include "tests/support/patience.h"

#define PATIENCE_NS patience(60 * MLQ_NS_PER_S) /* after that a test fails; none waits so long */

struct fixture {
    uv_loop_t *loop;
    struct net_server *server;
    struct net_keypair server_keys;
    struct net_keypair client_keys; /* enrolled as client "me" */
    struct net_keypair worker_keys; /* enrolled as worker "w1" */
    char endpoint[128];
    void *context; /* of the raw sockets */
    struct mlq_region *region;
    /* What the server was given. */
    unsigned received;
    unsigned turns;
    struct net_peer last_peer;
    char last_name[NET_NAME_BYTES_MAX + 1];
    enum msg_kind last_kind;
    uint64_t last_number; /* a request's id, a heartbeat's sent_ns */
    struct net_address addresses[8]; /* of the different senders, in order */
    unsigned address_count;
    bool echo; /* answer requests and heartbeats */
    bool server_closed;
    uint64_t echo_failed;
    unsigned raws_open;
};

static void fixture_note_address(struct fixture *f, const struct net_address *address)
{
    for (unsigned i = 0; i < f->address_count; i++) {
        if (memcmp(&f->addresses[i], address, sizeof *address) == 0) {
            return;
        }
    }
    assert_true(f->address_count < MLQ_COUNT_OF(f->addresses));
    f->addresses[f->address_count++] = *address;
}

static void fixture_on_message(void *context, const struct net_peer *peer, const struct msg *msg)
{
    struct fixture *f = context;
    f->received++;
    f->last_peer = *peer;
    snprintf(f->last_name, sizeof f->last_name, "%s", peer->name);
    f->last_kind = msg->kind;
    fixture_note_address(f, &peer->address);
    struct msg answer = {.kind = MSG_NONE};
    if (msg->kind == MSG_REQUEST) {
        f->last_number = msg->request.id;
        answer = (struct msg){.kind = MSG_REPLY,
                              .reply = {.id = msg->request.id, .blob = msg->request.spec}};
    } else if (msg->kind == MSG_HEARTBEAT) {
        f->last_number = (uint64_t)msg->heartbeat.sent_ns;
        answer = (struct msg){.kind = MSG_HEARTBEAT_ACK,
                              .heartbeat_ack = {.sent_ns = msg->heartbeat.sent_ns}};
    }
    if (f->echo && answer.kind != MSG_NONE &&
        net_server_send(f->server, &peer->address, &answer, NULL) != MLQ_OK) {
        f->echo_failed++;
    }
}

static void fixture_on_turn_end(void *context)
{
    struct fixture *f = context;
    f->turns++;
}

static void fixture_on_server_closed(void *context)
{
    struct fixture *f = context;
    f->server_closed = true;
}

static void fixture_start_server(struct fixture *f, const char *endpoint)
{
    struct mlq_err err = MLQ_ERR_INIT;
    struct net_server_options options = {
        .endpoint = endpoint, .key_path = "server.key", .enrolled_path = "enrolled"};
    if (net_server_create(f->loop, &options, fixture_on_message, f, &f->server, &err) != MLQ_OK) {
        fail_msg("%s", err.text);
    }
    net_server_on_turn_end(f->server, fixture_on_turn_end);
    snprintf(f->endpoint, sizeof f->endpoint, "%s", net_server_endpoint(f->server));
    f->server_closed = false;
}

/* One look at the loop; never waits long. */
static void fixture_pump(struct fixture *f)
{
    (void)uv_run(f->loop, UV_RUN_NOWAIT);
}

#define FIXTURE_WAIT(f, condition)                                                                 \
    do {                                                                                           \
        int64_t until_ns_ = mlq_clock_boot_ns() + PATIENCE_NS;                                     \
        while (!(condition)) {                                                                     \
            fixture_pump(f);                                                                       \
            if (mlq_clock_boot_ns() > until_ns_) {                                                 \
                fail_msg("waited in vain for %s", #condition);                                     \
            }                                                                                      \
        }                                                                                          \
    } while (0)

static inline void fixture_stop_server(struct fixture *f)
{
    net_server_close(&f->server, fixture_on_server_closed, f);
    FIXTURE_WAIT(f, f->server_closed);
}

static int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    *state = f;
    (void)unlink("enrolled");
    assert_int_equal(loop_create(&f->loop, NULL), MLQ_OK);
    assert_int_equal(net_keys_generate(&f->server_keys, NULL), MLQ_OK);
    assert_int_equal(net_keys_generate(&f->client_keys, NULL), MLQ_OK);
    assert_int_equal(net_keys_generate(&f->worker_keys, NULL), MLQ_OK);
    assert_int_equal(net_keys_save("server.key", &f->server_keys, NULL), MLQ_OK);
    assert_int_equal(
        net_keys_enroll("enrolled", NET_ROLE_CLIENT, "me", f->client_keys.public_key, NULL), 0);
    assert_int_equal(
        net_keys_enroll("enrolled", NET_ROLE_WORKER, "w1", f->worker_keys.public_key, NULL), 0);
    f->context = zmq_ctx_new();
    f->region = mlq_region_create();
    fixture_start_server(f, "tcp://127.0.0.1:0");
    return 0;
}

static int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    if (f->server != NULL) {
        fixture_stop_server(f);
    }
    unsigned forgotten = loop_destroy(&f->loop);
    if (f->raws_open == 0) {
        zmq_ctx_term(f->context); /* waits for all sockets: not after a test that failed */
    }
    mlq_region_destroy(&f->region);
    free(f);
    return (int)forgotten;
}

/* ---- Raw sockets ------------------------------------------------------------------------------ */

struct raw {
    struct fixture *fixture;
    void *socket;
    void *monitor;
    bool connected;
    bool failed;
    unsigned disconnected;
};

/* `keys` NULL: no CURVE. */
static inline void raw_open(struct fixture *f, struct raw *raw, const struct net_keypair *keys,
                            const char *server_key)
{
    static unsigned number;
    char name[64];
    int linger = 0;
    *raw = (struct raw){.fixture = f, .socket = zmq_socket(f->context, ZMQ_DEALER)};
    f->raws_open++;
    zmq_setsockopt(raw->socket, ZMQ_LINGER, &linger, sizeof linger);
    if (keys != NULL) {
        assert_int_equal(zmq_setsockopt(raw->socket, ZMQ_CURVE_SERVERKEY, server_key, 40), 0);
        assert_int_equal(zmq_setsockopt(raw->socket, ZMQ_CURVE_PUBLICKEY, keys->public_key, 40), 0);
        assert_int_equal(zmq_setsockopt(raw->socket, ZMQ_CURVE_SECRETKEY, keys->secret_key, 40), 0);
    }
    snprintf(name, sizeof name, "inproc://raw-monitor-%u", number++);
    assert_int_equal(zmq_socket_monitor(raw->socket, name, ZMQ_EVENT_ALL), 0);
    raw->monitor = zmq_socket(f->context, ZMQ_PAIR);
    assert_int_equal(zmq_connect(raw->monitor, name), 0);
}

static inline void raw_connect(struct fixture *f, struct raw *raw, const struct net_keypair *keys)
{
    raw_open(f, raw, keys, f->server_keys.public_key);
    assert_int_equal(zmq_connect(raw->socket, f->endpoint), 0);
}

static inline void raw_look(struct raw *raw)
{
    char bytes[256];
    while (zmq_recv(raw->monitor, bytes, sizeof bytes, ZMQ_DONTWAIT) >= 0) {
        uint16_t event;
        int more;
        size_t size = sizeof more;
        memcpy(&event, bytes, sizeof event);
        while (zmq_getsockopt(raw->monitor, ZMQ_RCVMORE, &more, &size) == 0 && more) {
            (void)zmq_recv(raw->monitor, bytes, sizeof bytes, ZMQ_DONTWAIT);
        }
        raw->connected = raw->connected || event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED;
        raw->disconnected += event == ZMQ_EVENT_DISCONNECTED;
        raw->failed = raw->failed || event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH ||
                      event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL ||
                      event == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL;
    }
}

static inline bool raw_is_connected(struct raw *raw)
{
    raw_look(raw);
    return raw->connected;
}

static inline bool raw_has_failed(struct raw *raw)
{
    raw_look(raw);
    return raw->failed;
}

static inline void raw_close(struct raw *raw)
{
    zmq_socket_monitor(raw->socket, NULL, 0);
    zmq_close(raw->monitor);
    zmq_close(raw->socket);
    raw->fixture->raws_open--;
}

/* False when there is no connection to send it by, as after the server has hung up. */
static inline bool raw_try_send(struct fixture *f, struct raw *raw, const struct msg *msg)
{
    struct codec_packing packing;
    assert_int_equal(codec_prepare(msg, SIZE_MAX, f->region, &packing, NULL), MLQ_OK);
    uint8_t *frame = mlq_region_alloc(f->region, packing.bytes);
    (void)codec_pack(&packing, frame, NULL);
    return zmq_send(raw->socket, frame, packing.bytes, ZMQ_DONTWAIT) >= 0;
}

static inline void raw_send(struct fixture *f, struct raw *raw, const struct msg *msg)
{
    assert_true(raw_try_send(f, raw, msg));
}

/* True and *msg set when a message has come. */
static inline bool raw_receive(struct fixture *f, struct raw *raw, struct msg *msg)
{
    zmq_msg_t frame;
    uint32_t version;
    zmq_msg_init(&frame);
    bool got = zmq_msg_recv(&frame, raw->socket, ZMQ_DONTWAIT) >= 0;
    if (got) {
        struct mlq_str bytes = {zmq_msg_data(&frame), zmq_msg_size(&frame)};
        assert_int_equal(
            codec_decode(bytes, LIMIT_FRAME_TO_PEER_BYTES, f->region, msg, &version, NULL), MLQ_OK);
    }
    zmq_msg_close(&frame);
    return got;
}

static inline struct msg sample_request(uint64_t id)
{
    return (struct msg){.kind = MSG_REQUEST, .request = {.id = id, .op = MSG_OP_STATUS}};
}

/* The server is alive and has read all that came before: a request of a good client arrives. */
static inline void fixture_prove_alive(struct fixture *f)
{
    static uint64_t next = 1000000;
    struct raw good;
    uint64_t id = next++;
    struct msg request = sample_request(id);
    raw_connect(f, &good, &f->client_keys);
    raw_send(f, &good, &request);
    FIXTURE_WAIT(f, f->last_number == id);
    raw_close(&good);
}

#endif
