/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A worker's link and a server on one loop: nothing is lost while the connection stands, and a
 * server that comes back finds its workers again.
 */
#include "lib/sys/fs.h"
#include "tests/unit/net_fixture.h"

struct end {
    struct fixture *fixture;
    struct net_link *link;
    unsigned connected;
    unsigned disconnected;
    unsigned messages;
    unsigned refused;
    struct msg_refused last_refused;
    char refused_text[256];
    int64_t sent;     /* numbers 1 .. sent went out */
    int64_t answered; /* and 1 .. answered came back, in this order */
    bool out_of_order;
    bool send_in_answer; /* flood: each answer sends again */
    int64_t wanted;
    bool closed;
    bool close_in_callback;
};

static void on_link_closed(void *context)
{
    struct end *end = context;
    end->closed = true;
}

static void send_next(struct end *end, int count)
{
    for (int i = 0; i < count && end->sent < end->wanted; i++) {
        struct msg msg = {.kind = MSG_HEARTBEAT, .heartbeat = {.sent_ns = end->sent + 1}};
        if (net_link_send(end->link, &msg, NULL) != MLQ_OK) {
            return;
        }
        end->sent++;
    }
}

static void on_connected(void *context)
{
    struct end *end = context;
    end->connected++;
}

static void on_disconnected(void *context)
{
    struct end *end = context;
    end->disconnected++;
}

static void on_link_message(void *context, const struct msg *msg)
{
    struct end *end = context;
    end->messages++;
    if (end->close_in_callback) {
        net_link_close(&end->link, on_link_closed, end);
        return;
    }
    if (msg->kind == MSG_REFUSED) {
        end->refused++;
        end->last_refused = msg->refused;
        snprintf(end->refused_text, sizeof end->refused_text, "%.*s",
                 MLQ_STR_ARG(msg->refused.text));
    }
    if (msg->kind == MSG_HEARTBEAT_ACK) {
        end->out_of_order = end->out_of_order || msg->heartbeat_ack.sent_ns != end->answered + 1;
        end->answered = msg->heartbeat_ack.sent_ns;
        if (end->send_in_answer) {
            send_next(end, 2);
        }
    }
}

static void link_open(struct fixture *f, struct end *end, const struct net_keypair *keys)
{
    struct net_peer_options options = {
        .endpoint = f->endpoint, .server_public_key = f->server_keys.public_key, .keys = keys};
    struct net_link_callbacks callbacks = {.context = end,
                                           .connected = on_connected,
                                           .disconnected = on_disconnected,
                                           .message = on_link_message};
    *end = (struct end){.fixture = f};
    assert_int_equal(net_link_create(f->loop, &options, &callbacks, &end->link, NULL), MLQ_OK);
}

static void link_close(struct fixture *f, struct end *end)
{
    net_link_close(&end->link, on_link_closed, end);
    FIXTURE_WAIT(f, end->closed);
}

static void test_connects_and_speaks(void **state)
{
    struct fixture *f = *state;
    struct end end;
    struct msg msg = {.kind = MSG_LEAVING};
    struct mlq_err err = MLQ_ERR_INIT;
    link_open(f, &end, &f->worker_keys);
    assert_int_equal(net_link_send(end.link, &msg, &err), MLQ_ECONN);
    FIXTURE_WAIT(f, end.connected == 1);
    assert_int_equal(net_link_send(end.link, &msg, &err), MLQ_OK);
    FIXTURE_WAIT(f, f->received == 1);
    assert_string_equal(f->last_name, "w1");
    link_close(f, &end);
    assert_int_equal(end.disconnected, 0);
}

/* What a worker says as it leaves still arrives. */
static void test_last_words(void **state)
{
    struct fixture *f = *state;
    struct end end;
    struct msg msg = {.kind = MSG_LEAVING};
    link_open(f, &end, &f->worker_keys);
    FIXTURE_WAIT(f, end.connected == 1);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(net_link_send(end.link, &msg, NULL), MLQ_OK);
    }
    link_close(f, &end);
    FIXTURE_WAIT(f, f->received == 100);
}

/* The server answers each message, the link answers each answer with two more: both sockets send
 * and receive all the time. With real sleeps in uv_run, an edge that is lost would stop it. */
static void test_heavy_traffic_both_ways(void **state)
{
    struct fixture *f = *state;
    struct end end;
    f->echo = true;
    link_open(f, &end, &f->worker_keys);
    FIXTURE_WAIT(f, end.connected == 1);
    end.wanted = 50000;
    end.send_in_answer = true;
    send_next(&end, 1);
    int64_t until_ns = mlq_clock_boot_ns() + PATIENCE_NS;
    while (end.answered < end.wanted && mlq_clock_boot_ns() < until_ns) {
        (void)uv_run(f->loop, UV_RUN_ONCE);
    }
    assert_int_equal(end.answered, end.wanted);
    assert_false(end.out_of_order);
    assert_int_equal(f->received, end.wanted);
    assert_int_equal(f->echo_failed, 0);
    assert_true(f->turns < f->received); /* several messages share a turn */
    link_close(f, &end);
}

/* More than all queues hold: the sender is told, nothing that was taken is lost. */
static void test_flood(void **state)
{
    struct fixture *f = *state;
    struct end end;
    link_open(f, &end, &f->worker_keys);
    FIXTURE_WAIT(f, end.connected == 1);
    static char bytes[4096];
    struct msg msg = {.kind = MSG_LOG_DATA, .log_data = {.bytes = {bytes, sizeof bytes}}};
    unsigned sent = 0;
    int rc = MLQ_OK;
    while (rc == MLQ_OK && sent < 200000) {
        rc = net_link_send(end.link, &msg, NULL);
        sent += rc == MLQ_OK;
    }
    assert_int_equal(rc, MLQ_EFULL);
    FIXTURE_WAIT(f, f->received == sent);
    link_close(f, &end);
}

static void test_server_restarts(void **state)
{
    struct fixture *f = *state;
    struct end end;
    char endpoint[128];
    f->echo = true;
    link_open(f, &end, &f->worker_keys);
    FIXTURE_WAIT(f, end.connected == 1);
    snprintf(endpoint, sizeof endpoint, "%s", f->endpoint);
    for (unsigned round = 1; round <= 3; round++) {
        fixture_stop_server(f);
        FIXTURE_WAIT(f, end.disconnected == round);
        struct msg msg = {.kind = MSG_LEAVING};
        assert_int_equal(net_link_send(end.link, &msg, NULL), MLQ_ECONN);
        fixture_start_server(f, endpoint);
        FIXTURE_WAIT(f, end.connected == round + 1);
        end.wanted = end.sent + 10;
        send_next(&end, 10);
        FIXTURE_WAIT(f, end.answered == end.wanted);
    }
    link_close(f, &end);
}

static void test_enrolled_later(void **state)
{
    struct fixture *f = *state;
    struct end end;
    struct net_keypair keys;
    assert_int_equal(net_keys_generate(&keys, NULL), MLQ_OK);
    link_open(f, &end, &keys);
    FIXTURE_WAIT(f, net_server_refusals(f->server).not_enrolled >= 2);
    assert_int_equal(end.connected, 0);
    assert_int_equal(net_keys_enroll("enrolled", NET_ROLE_WORKER, "w2", keys.public_key, NULL), 0);
    FIXTURE_WAIT(f, end.connected == 1);
    struct msg msg = {.kind = MSG_LEAVING};
    assert_int_equal(net_link_send(end.link, &msg, NULL), MLQ_OK);
    FIXTURE_WAIT(f, f->received == 1);
    assert_string_equal(f->last_name, "w2");
    link_close(f, &end);
}

static void test_server_of_another_version(void **state)
{
    struct fixture *f = *state;
    struct end end;
    int on = 1;
    int linger = 0;
    size_t size = sizeof f->endpoint;
    char address[64];
    char frame[256];
    void *router = zmq_socket(f->context, ZMQ_ROUTER);
    assert_int_equal(zmq_setsockopt(router, ZMQ_CURVE_SERVER, &on, sizeof on), 0);
    assert_int_equal(zmq_setsockopt(router, ZMQ_LINGER, &linger, sizeof linger), 0);
    assert_int_equal(zmq_setsockopt(router, ZMQ_CURVE_SECRETKEY, f->server_keys.secret_key, 40), 0);
    assert_int_equal(zmq_bind(router, "tcp://127.0.0.1:*"), 0);
    assert_int_equal(zmq_getsockopt(router, ZMQ_LAST_ENDPOINT, f->endpoint, &size), 0);
    link_open(f, &end, &f->worker_keys);
    FIXTURE_WAIT(f, end.connected == 1);
    struct msg msg = {.kind = MSG_LEAVING};
    assert_int_equal(net_link_send(end.link, &msg, NULL), MLQ_OK);
    int len = -1;
    FIXTURE_WAIT(f, (len = zmq_recv(router, address, sizeof address, ZMQ_DONTWAIT)) > 0);
    assert_true(zmq_recv(router, frame, sizeof frame, 0) > 0);
    assert_int_equal(zmq_send(router, address, (size_t)len, ZMQ_SNDMORE), len);
    assert_true(zmq_send(router, "\x08\x05", 2, 0) == 2);
    FIXTURE_WAIT(f, end.refused == 1);
    assert_int_equal(end.last_refused.code, MLQ_EPROTO);
    assert_int_equal(end.last_refused.version_theirs, 5);
    assert_non_null(strstr(end.refused_text, "version 5"));
    assert_non_null(strstr(end.refused_text, "speaks 1"));

    /* A frame over the limit ends the connection; the link finds its way back by itself. */
    size_t large_bytes = LIMIT_FRAME_TO_PEER_BYTES + 1;
    char *large = mlq_alloc(large_bytes);
    assert_int_equal(zmq_send(router, address, (size_t)len, ZMQ_SNDMORE), len);
    assert_true(zmq_send(router, large, large_bytes, 0) >= 0);
    mlq_free(large);
    FIXTURE_WAIT(f, end.disconnected == 1);
    FIXTURE_WAIT(f, end.connected == 2);
    link_close(f, &end);
    zmq_close(router);
}

static void test_close_in_a_callback(void **state)
{
    struct fixture *f = *state;
    struct end end;
    f->echo = true;
    link_open(f, &end, &f->worker_keys);
    end.close_in_callback = true;
    end.wanted = 10;
    FIXTURE_WAIT(f, end.connected == 1);
    send_next(&end, 10);
    FIXTURE_WAIT(f, end.closed);
    assert_int_equal(end.messages, 1);
    assert_null(end.link);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_connects_and_speaks),
        TEST(test_last_words),
        TEST(test_heavy_traffic_both_ways),
        TEST(test_flood),
        TEST(test_server_restarts),
        TEST(test_enrolled_later),
        TEST(test_server_of_another_version),
        TEST(test_close_in_a_callback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
