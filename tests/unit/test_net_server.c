/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Who gets in, and what is taken from those who did.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "lib/base/prng.h"
#include "lib/net/enrolled.h"
#include "lib/net/zap.h"
#include "lib/sys/fs.h"
#include "tests/unit/net_fixture.h"

static void test_enrolled_peers_are_heard(void **state)
{
    struct fixture *f = *state;
    struct raw client;
    struct raw worker;
    struct msg msg = sample_request(7);
    raw_connect(f, &client, &f->client_keys);
    raw_send(f, &client, &msg);
    FIXTURE_WAIT(f, f->received == 1);
    assert_int_equal(f->last_kind, MSG_REQUEST);
    assert_string_equal(f->last_name, "me");
    assert_int_equal(f->last_peer.role, NET_ROLE_CLIENT);
    assert_true(f->turns >= 1);

    msg = (struct msg){.kind = MSG_LEAVING};
    raw_connect(f, &worker, &f->worker_keys);
    raw_send(f, &worker, &msg);
    FIXTURE_WAIT(f, f->received == 2);
    assert_string_equal(f->last_name, "w1");
    assert_int_equal(f->last_peer.role, NET_ROLE_WORKER);

    struct msg answer = {.kind = MSG_REPLY, .reply = {.id = 7, .blob = MLQ_STR("yes")}};
    assert_int_equal(net_server_send(f->server, &f->addresses[0], &answer, NULL), MLQ_OK);
    struct msg got;
    FIXTURE_WAIT(f, raw_receive(f, &client, &got));
    assert_int_equal(got.kind, MSG_REPLY);
    assert_true(mlq_str_eq_c(got.reply.blob, "yes"));
    raw_close(&client);
    raw_close(&worker);
}

static void test_stranger_gets_nothing(void **state)
{
    struct fixture *f = *state;
    struct net_keypair strange;
    struct raw raw;
    struct msg msg = sample_request(1);
    assert_int_equal(net_keys_generate(&strange, NULL), MLQ_OK);
    raw_connect(f, &raw, &strange);
    raw_send(f, &raw, &msg);
    FIXTURE_WAIT(f, raw_has_failed(&raw));
    assert_true(net_server_refusals(f->server).not_enrolled >= 1);
    fixture_prove_alive(f);
    assert_int_equal(f->received, 1); /* the proof alone */
    assert_false(raw_receive(f, &raw, &msg));
    assert_false(raw_is_connected(&raw));
    raw_close(&raw);
}

static void test_wrong_server_key(void **state)
{
    struct fixture *f = *state;
    struct net_keypair other;
    struct raw raw;
    struct msg msg = sample_request(1);
    assert_int_equal(net_keys_generate(&other, NULL), MLQ_OK);
    raw_open(f, &raw, &f->client_keys, other.public_key);
    assert_int_equal(zmq_connect(raw.socket, f->endpoint), 0);
    raw_send(f, &raw, &msg);
    FIXTURE_WAIT(f, raw_has_failed(&raw));
    fixture_prove_alive(f);
    assert_int_equal(f->received, 1);
    assert_false(raw_is_connected(&raw));
    raw_close(&raw);
}

static void test_other_mechanisms(void **state)
{
    struct fixture *f = *state;
    struct msg msg = sample_request(1);
    for (int plain = 0; plain < 2; plain++) {
        struct raw raw;
        raw_open(f, &raw, NULL, NULL);
        if (plain) {
            assert_int_equal(zmq_setsockopt(raw.socket, ZMQ_PLAIN_USERNAME, "me", 2), 0);
            assert_int_equal(zmq_setsockopt(raw.socket, ZMQ_PLAIN_PASSWORD, "me", 2), 0);
        }
        assert_int_equal(zmq_connect(raw.socket, f->endpoint), 0);
        (void)raw_try_send(f, &raw, &msg); /* it may be refused already */
        FIXTURE_WAIT(f, raw_has_failed(&raw));
        assert_false(raw_is_connected(&raw));
        raw_close(&raw);
    }
    fixture_prove_alive(f);
    assert_int_equal(f->received, 1);
}

static int tcp_connect(const struct fixture *f)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    const char *port = strrchr(f->endpoint, ':') + 1;
    address.sin_port = htons((uint16_t)strtoul(port, NULL, 10));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static bool tcp_is_closed(int fd)
{
    char bytes[4096];
    ssize_t got = recv(fd, bytes, sizeof bytes, 0);
    return got == 0 || (got < 0 && errno != EAGAIN);
}

/* Noise, old protocols, half a greeting, nothing at all: each is closed within the time for a
 * handshake, and others are served meanwhile. */
static void test_raw_bytes(void **state)
{
    struct fixture *f = *state;
    static const char zmtp1[] = "\x01\x00\x05\x01hello";
    static const char zmtp2[] = "\xff\0\0\0\0\0\0\0\x01\x7f\x01\x05\0\0";
    static const char http[] = "POST / HTTP/1.1\r\nHost: x\r\n\r\n";
    enum { KINDS = 6, EACH = 20 };
    int fds[KINDS * EACH];
    struct mlq_prng prng;
    mlq_prng_seed(&prng, 3);
    for (int i = 0; i < KINDS * EACH; i++) {
        char noise[512];
        for (size_t k = 0; k < sizeof noise; k++) {
            noise[k] = (char)mlq_prng_next(&prng);
        }
        struct mlq_str text[KINDS] = {{noise, sizeof noise},
                                      {zmtp1, sizeof zmtp1 - 1},
                                      {zmtp2, sizeof zmtp2 - 1},
                                      {http, sizeof http - 1},
                                      {"\xff\0\0\0\0\0\0\0\x01\x7f\x03", 11},
                                      {"", 0}};
        struct mlq_str sent = text[i % KINDS];
        fds[i] = tcp_connect(f);
        if (sent.len > 0) {
            assert_int_equal(send(fds[i], sent.ptr, sent.len, MSG_NOSIGNAL), sent.len);
        }
    }
    fixture_prove_alive(f);
    for (int i = 0; i < KINDS * EACH; i++) {
        FIXTURE_WAIT(f, tcp_is_closed(fds[i]));
        close(fds[i]);
    }
    fixture_prove_alive(f);
    FIXTURE_WAIT(f, net_server_refusals(f->server).handshakes >= KINDS * EACH);
    assert_int_equal(net_server_refusals(f->server).handshakes, KINDS * EACH);
    assert_int_equal(f->received, 2);
}

static bool raw_was_cut(struct raw *raw)
{
    raw_look(raw);
    return raw->disconnected > 0;
}

static void test_size_limit(void **state)
{
    struct fixture *f = *state;
    struct raw raw;
    char *large = mlq_region_alloc(f->region, LIMIT_FRAME_TO_SERVER_BYTES);
    /* Envelope and log data around the bytes: version (2), two tags with lengths (2 + 4, 1 + 4). */
    size_t overhead = 13;
    struct msg msg = {.kind = MSG_LOG_DATA,
                      .log_data.bytes = {large, LIMIT_FRAME_TO_SERVER_BYTES - overhead}};
    raw_connect(f, &raw, &f->worker_keys);
    raw_send(f, &raw, &msg);
    FIXTURE_WAIT(f, f->received == 1);
    assert_int_equal(f->last_kind, MSG_LOG_DATA);
    assert_false(raw_was_cut(&raw));
    msg.log_data.bytes.len++;
    raw_send(f, &raw, &msg);
    FIXTURE_WAIT(f, raw_was_cut(&raw));
    fixture_prove_alive(f);
    assert_int_equal(f->received, 2);
    raw_close(&raw);
}

static void test_wrong_role(void **state)
{
    struct fixture *f = *state;
    struct raw client;
    struct raw worker;
    struct msg msg = {.kind = MSG_HELLO, .hello = {.session = 1, .host = MLQ_STR("w1")}};
    struct msg got;
    raw_connect(f, &client, &f->client_keys);
    raw_send(f, &client, &msg);
    FIXTURE_WAIT(f, raw_receive(f, &client, &got));
    assert_int_equal(got.kind, MSG_REFUSED);
    assert_int_equal(got.refused.code, MLQ_EPERM);
    assert_int_equal(net_server_refusals(f->server).wrong_role, 1);

    raw_connect(f, &worker, &f->worker_keys);
    enum msg_kind not_for_workers[] = {MSG_REQUEST, MSG_REPLY,        MSG_WELCOME, MSG_ASSIGN,
                                       MSG_KILL,    MSG_FENCED,       MSG_ACK,     MSG_LOG_READ,
                                       MSG_REFUSED, MSG_RECORD_REPLY, MSG_HEARTBEAT_ACK,
                                       MSG_CHECKPOINT};
    for (size_t i = 0; i < MLQ_COUNT_OF(not_for_workers); i++) {
        msg = (struct msg){.kind = not_for_workers[i]};
        raw_send(f, &worker, &msg);
        FIXTURE_WAIT(f, raw_receive(f, &worker, &got));
        assert_int_equal(got.kind, MSG_REFUSED);
    }
    assert_int_equal(net_server_refusals(f->server).wrong_role,
                     1 + MLQ_COUNT_OF(not_for_workers));
    assert_int_equal(f->received, 0);
    raw_close(&client);
    raw_close(&worker);
}

static void test_other_version(void **state)
{
    struct fixture *f = *state;
    struct raw raw;
    struct msg got;
    raw_connect(f, &raw, &f->worker_keys);
    static const char frame[] = "\x08\xe7\x07\xff\xff nothing that version 1 could read";
    assert_true(zmq_send(raw.socket, frame, sizeof frame - 1, 0) > 0);
    FIXTURE_WAIT(f, raw_receive(f, &raw, &got));
    assert_int_equal(got.kind, MSG_REFUSED);
    assert_int_equal(got.refused.code, MLQ_EPROTO);
    assert_int_equal(got.refused.version_theirs, 999);
    assert_int_equal(got.refused.version_ours, MSG_PROTOCOL_VERSION);
    char text[256];
    snprintf(text, sizeof text, "%.*s", MLQ_STR_ARG(got.refused.text));
    assert_non_null(strstr(text, "999"));
    assert_non_null(strstr(text, "speaks 1"));
    assert_int_equal(net_server_refusals(f->server).version, 1);
    assert_int_equal(f->received, 0);
    raw_close(&raw);
}

static void test_malformed_frames(void **state)
{
    struct fixture *f = *state;
    struct raw raw;
    struct msg got;
    raw_connect(f, &raw, &f->client_keys);
    assert_int_equal(zmq_send(raw.socket, "", 0, 0), 0);
    FIXTURE_WAIT(f, raw_receive(f, &raw, &got));
    assert_int_equal(got.kind, MSG_REFUSED);
    assert_true(zmq_send(raw.socket, "\x08\x01\x82\x04\x02\x10\x63", 7, 0) > 0);
    FIXTURE_WAIT(f, raw_receive(f, &raw, &got));
    for (int i = 0; i < 5; i++) {
        assert_int_equal(zmq_send(raw.socket, "x", 1, i < 4 ? ZMQ_SNDMORE : 0), 1);
    }
    FIXTURE_WAIT(f, raw_receive(f, &raw, &got));
    assert_int_equal(net_server_refusals(f->server).malformed, 3);
    assert_int_equal(f->received, 0);
    raw_close(&raw);
}

static unsigned lines_with(const char *path, const char *word)
{
    char *data = NULL;
    size_t len = 0;
    unsigned count = 0;
    assert_int_equal(mlq_fs_read(path, 1 << 20, &data, &len, NULL), MLQ_OK);
    for (const char *at = strstr(data, word); at != NULL; at = strstr(at + 1, word)) {
        count++;
    }
    mlq_free(data);
    return count;
}

/* Frames that the codec's tests cut and blow up one by one, here in a flood over the socket: each is refused and
 * counted, the log has one line for each cause, and whoever behaves is served. */
static void test_flood_of_malformed_frames(void **state)
{
    struct fixture *f = *state;
    struct raw raw;
    struct mlq_prng prng;
    char deep[256] = "\x08\x01";
    enum { ROUNDS = 100, KINDS = 4 };
    mlq_prng_seed(&prng, 11);
    for (size_t i = 2; i + 4 < sizeof deep; i += 3) { /* a request in a request in a request ... */
        memcpy(deep + i, "\x82\x04\x7d", 3);
    }
    int stderr_kept = dup(STDERR_FILENO);
    int log = open("flood.log", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(dup2(log, STDERR_FILENO) >= 0);
    raw_connect(f, &raw, &f->client_keys);
    for (int i = 0; i < ROUNDS; i++) {
        char noise[200];
        for (size_t k = 0; k < sizeof noise; k++) {
            noise[k] = (char)mlq_prng_next(&prng);
        }
        noise[0] = 0; /* never by chance a version that another release speaks */
        assert_true(zmq_send(raw.socket, noise, sizeof noise, 0) > 0);
        assert_true(zmq_send(raw.socket, "\x08\x01\x82\x04\x50\x10", 6, 0) > 0); /* cut off */
        assert_true(zmq_send(raw.socket, deep, sizeof deep, 0) > 0);
        assert_true(zmq_send(raw.socket, "", 0, 0) == 0);
    }
    FIXTURE_WAIT(f, net_server_refusals(f->server).malformed == ROUNDS * KINDS);
    fixture_prove_alive(f);
    assert_true(dup2(stderr_kept, STDERR_FILENO) >= 0);
    close(stderr_kept);
    close(log);
    assert_int_equal(lines_with("flood.log", "net.refused"), 1);
    assert_int_equal(f->received, 1); /* the proof alone */
    raw_close(&raw);
}

/* An enrolled peer that names its own address could wait for another's to become free. */
static void test_chosen_address(void **state)
{
    struct fixture *f = *state;
    struct raw raw;
    struct msg msg = sample_request(1);
    raw_open(f, &raw, &f->client_keys, f->server_keys.public_key);
    assert_int_equal(zmq_setsockopt(raw.socket, ZMQ_ROUTING_ID, "w1", 2), 0);
    assert_int_equal(zmq_connect(raw.socket, f->endpoint), 0);
    raw_send(f, &raw, &msg);
    FIXTURE_WAIT(f, net_server_refusals(f->server).malformed == 1);
    assert_int_equal(f->received, 0);
    raw_close(&raw);
}

static void test_revoked_key(void **state)
{
    struct fixture *f = *state;
    struct raw raw;
    struct msg msg = {.kind = MSG_LEAVING};
    struct msg got;
    char line[256];
    raw_connect(f, &raw, &f->worker_keys);
    raw_send(f, &raw, &msg);
    FIXTURE_WAIT(f, f->received == 1);

    snprintf(line, sizeof line, "client me %s\n", f->client_keys.public_key);
    assert_int_equal(mlq_fs_write_durable("enrolled", mlq_str_from(line), 0600, NULL), MLQ_OK);
    int64_t revoked_ns = mlq_clock_boot_ns();
    bool refused = false;
    while (!refused) {
        assert_true(mlq_clock_boot_ns() - revoked_ns < PATIENCE_NS);
        raw_send(f, &raw, &msg);
        unsigned before = f->received;
        FIXTURE_WAIT(f, f->received > before || (refused = raw_receive(f, &raw, &got)));
    }
    assert_int_equal(got.kind, MSG_REFUSED);
    assert_int_equal(got.refused.code, MLQ_EPERM);
    unsigned received = f->received;
    raw_send(f, &raw, &msg);
    FIXTURE_WAIT(f, raw_receive(f, &raw, &got));
    assert_int_equal(f->received, received);
    assert_true(net_server_refusals(f->server).not_enrolled >= 2);

    /* A new connection of that key does not come about at all. */
    struct raw again;
    raw_connect(f, &again, &f->worker_keys);
    FIXTURE_WAIT(f, raw_has_failed(&again));
    fixture_prove_alive(f);
    raw_close(&again);
    raw_close(&raw);
}

static void test_two_connections_of_one_key(void **state)
{
    struct fixture *f = *state;
    struct raw raws[2];
    struct msg msg = {.kind = MSG_LEAVING};
    for (int i = 0; i < 2; i++) {
        raw_connect(f, &raws[i], &f->worker_keys);
        raw_send(f, &raws[i], &msg);
        FIXTURE_WAIT(f, f->address_count == (unsigned)i + 1);
        assert_string_equal(f->last_name, "w1");
    }
    for (int i = 0; i < 2; i++) {
        struct msg got;
        msg = (struct msg){.kind = MSG_WELCOME, .welcome.session = (uint64_t)i + 1};
        assert_int_equal(net_server_send(f->server, &f->addresses[i], &msg, NULL), MLQ_OK);
        FIXTURE_WAIT(f, raw_receive(f, &raws[i], &got));
        assert_int_equal(got.welcome.session, i + 1);
    }
    raw_close(&raws[0]);
    raw_close(&raws[1]);
}

static void test_send_to_who_is_gone(void **state)
{
    struct fixture *f = *state;
    struct raw raw;
    struct msg msg = sample_request(1);
    struct mlq_err err = MLQ_ERR_INIT;
    raw_connect(f, &raw, &f->client_keys);
    raw_send(f, &raw, &msg);
    FIXTURE_WAIT(f, f->received == 1);
    raw_close(&raw);
    msg = (struct msg){.kind = MSG_REPLY};
    FIXTURE_WAIT(f, net_server_send(f->server, &f->addresses[0], &msg, &err) == MLQ_ECONN);
    struct net_address nobody = {.bytes = {0, 1, 2, 3, 4}, .len = 5};
    assert_int_equal(net_server_send(f->server, &nobody, &msg, &err), MLQ_ECONN);
    fixture_prove_alive(f);
}

/* A peer that does not read: its queue fills, the server is told, others are served. */
static void test_full_queue(void **state)
{
    struct fixture *f = *state;
    struct raw raw;
    struct msg msg = sample_request(1);
    struct mlq_err err = MLQ_ERR_INIT;
    int rc = MLQ_OK;
    raw_connect(f, &raw, &f->client_keys);
    raw_send(f, &raw, &msg);
    FIXTURE_WAIT(f, f->received == 1);
    static char blob[8192];
    msg = (struct msg){.kind = MSG_REPLY, .reply.blob = {blob, sizeof blob}};
    for (int i = 0; i < 100000 && rc == MLQ_OK; i++) {
        rc = net_server_send(f->server, &f->addresses[0], &msg, &err);
    }
    assert_int_equal(rc, MLQ_EFULL);
    fixture_prove_alive(f);
    raw_close(&raw);
}

static void test_start_is_refused(void **state)
{
    struct fixture *f = *state;
    struct net_server *second;
    struct mlq_err err = MLQ_ERR_INIT;
    struct net_server_options options = {
        .endpoint = f->endpoint, .key_path = "server.key", .enrolled_path = "enrolled"};
    assert_int_equal(net_server_create(f->loop, &options, fixture_on_message, f, &second, &err),
                     MLQ_EEXIST); /* the port is taken */
    options.endpoint = "inproc://open-to-all";
    assert_int_equal(net_server_create(f->loop, &options, fixture_on_message, f, &second, &err),
                     MLQ_EINVAL);
    options.endpoint = "tcp://127.0.0.1:0";
    options.enrolled_path = "not-there";
    assert_int_equal(net_server_create(f->loop, &options, fixture_on_message, f, &second, &err),
                     MLQ_ENOENT);
    options.enrolled_path = "enrolled";
    assert_int_equal(chmod("server.key", 0644), 0);
    assert_int_equal(net_server_create(f->loop, &options, fixture_on_message, f, &second, &err),
                     MLQ_EPERM);
    fixture_prove_alive(f);
}

static void on_zap_closed(void *context)
{
    *(bool *)context = true;
}

/* The place of the handler can be had once in a context: a second server there does not start. */
static void test_no_handler_no_server(void **state)
{
    struct fixture *f = *state;
    struct enrolled *enrolled;
    struct zap *first;
    struct zap *second;
    struct mlq_err err = MLQ_ERR_INIT;
    bool closed = false;
    assert_int_equal(enrolled_create("enrolled", &enrolled, NULL), MLQ_OK);
    assert_int_equal(zap_create(f->loop, f->context, enrolled, &first, &err), MLQ_OK);
    assert_int_equal(zap_create(f->loop, f->context, enrolled, &second, &err), MLQ_EPERM);
    assert_non_null(strstr(err.text, "anyone could connect"));
    zap_close(&first, on_zap_closed, &closed);
    FIXTURE_WAIT(f, closed);
    enrolled_destroy(&enrolled);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_enrolled_peers_are_heard),
        TEST(test_stranger_gets_nothing),
        TEST(test_wrong_server_key),
        TEST(test_other_mechanisms),
        TEST(test_raw_bytes),
        TEST(test_size_limit),
        TEST(test_wrong_role),
        TEST(test_other_version),
        TEST(test_malformed_frames),
        TEST(test_flood_of_malformed_frames),
        TEST(test_chosen_address),
        TEST(test_revoked_key),
        TEST(test_two_connections_of_one_key),
        TEST(test_send_to_who_is_gone),
        TEST(test_full_queue),
        TEST(test_start_is_refused),
        TEST(test_no_handler_no_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
