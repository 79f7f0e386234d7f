/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A blocking call says what is known: not sent, or sent and the outcome open. Calls run in a thread
 * of their own while the server's loop turns in the test's.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "lib/sys/fs.h"
#include "tests/unit/net_fixture.h"

#define SOON_NS      (PATIENCE_NS / 2) /* long before the limit of a call */
#define HANDSHAKE_NS patience(3 * MLQ_NS_PER_S) /* no handshake takes as long, on a busy machine either */

struct call {
    struct net_peer_options options;
    struct net_caller *caller; /* NULL: one is opened and closed for this call */
    struct msg_request request;
    int64_t timeout_ns;
    int rc;
    struct msg_reply reply;
    struct mlq_region *region;
    struct mlq_err err;
    int64_t took_ns;
    unsigned repeat;
    atomic_bool done;
};

static void call_run(struct call *call)
{
    struct net_caller *own = NULL;
    struct net_caller *caller = call->caller;
    call->region = mlq_region_create();
    int64_t began_ns = mlq_clock_boot_ns();
    if (caller == NULL) {
        call->rc = net_caller_open(&call->options, &own, &call->err);
        caller = own;
    }
    for (unsigned i = 0; i <= call->repeat && call->rc == MLQ_OK; i++) {
        call->rc = net_caller_call(caller, &call->request, call->timeout_ns, call->region,
                                   &call->reply, &call->err);
    }
    call->took_ns = mlq_clock_boot_ns() - began_ns;
    net_caller_close(&own);
    call->done = true;
}

static void *call_thread(void *context)
{
    call_run(context);
    return NULL;
}

static void call_in_thread(struct fixture *f, struct call *call)
{
    pthread_t thread;
    call->done = false;
    call->rc = MLQ_OK;
    assert_int_equal(pthread_create(&thread, NULL, call_thread, call), 0);
    FIXTURE_WAIT(f, call->done);
    pthread_join(thread, NULL);
}

static struct call call_of(const struct fixture *f, const struct net_keypair *keys)
{
    return (struct call){.options = {.endpoint = f->endpoint,
                                     .server_public_key = f->server_keys.public_key,
                                     .keys = keys},
                         .request = {.op = MSG_OP_SUBMIT, .spec = MLQ_STR("kind: Job\n")},
                         .timeout_ns = PATIENCE_NS};
}

/* A server with the right key but no manners: it has no ZAP handler and a loop of the test's. */
static void *rude_server(struct fixture *f, char *endpoint, size_t size)
{
    int on = 1;
    int linger = 0;
    void *router = zmq_socket(f->context, ZMQ_ROUTER);
    assert_int_equal(zmq_setsockopt(router, ZMQ_CURVE_SERVER, &on, sizeof on), 0);
    assert_int_equal(zmq_setsockopt(router, ZMQ_LINGER, &linger, sizeof linger), 0);
    assert_int_equal(zmq_setsockopt(router, ZMQ_CURVE_SECRETKEY, f->server_keys.secret_key, 40), 0);
    assert_int_equal(zmq_bind(router, "tcp://127.0.0.1:*"), 0);
    assert_int_equal(zmq_getsockopt(router, ZMQ_LAST_ENDPOINT, endpoint, &size), 0);
    return router;
}

/* Answer the next request with `frame`; true when there was one. */
static bool rude_answer(void *router, struct mlq_str frame)
{
    char address[64];
    char request[4096];
    int len = zmq_recv(router, address, sizeof address, ZMQ_DONTWAIT);
    if (len < 0) {
        return false;
    }
    assert_true(zmq_recv(router, request, sizeof request, 0) > 0);
    assert_int_equal(zmq_send(router, address, (size_t)len, ZMQ_SNDMORE), len);
    assert_true(zmq_send(router, frame.ptr, frame.len, 0) >= 0);
    return true;
}

static void test_calls(void **state)
{
    struct fixture *f = *state;
    struct call call = call_of(f, &f->client_keys);
    f->echo = true;
    call.repeat = 499;
    call_in_thread(f, &call);
    assert_int_equal(call.rc, MLQ_OK);
    assert_int_equal(f->received, 500);
    assert_int_equal(call.reply.id, 500);
    assert_true(mlq_str_eq_c(call.reply.blob, "kind: Job\n"));
    mlq_region_destroy(&call.region);
}

static void test_nothing_listens(void **state)
{
    struct fixture *f = *state;
    struct call call = call_of(f, &f->client_keys);
    fixture_stop_server(f);
    call.timeout_ns = 600 * MLQ_NS_PER_MS;
    call_run(&call);
    assert_int_equal(call.rc, MLQ_ECONN);
    assert_non_null(strstr(call.err.text, "nothing listens"));
    assert_non_null(strstr(call.err.text, f->endpoint));
    assert_true(call.took_ns >= 600 * MLQ_NS_PER_MS && call.took_ns < SOON_NS);
    mlq_region_destroy(&call.region);
}

static void test_bad_options(void **state)
{
    struct fixture *f = *state;
    struct net_caller *caller;
    struct mlq_err err = MLQ_ERR_INIT;
    struct net_peer_options options = call_of(f, &f->client_keys).options;
    options.server_public_key = "short";
    assert_int_equal(net_caller_open(&options, &caller, &err), MLQ_EINVAL);
    options = call_of(f, &f->client_keys).options;
    options.endpoint = "inproc://x";
    assert_int_equal(net_caller_open(&options, &caller, &err), MLQ_EINVAL);
    options.endpoint = "tcp://no port";
    assert_int_equal(net_caller_open(&options, &caller, &err), MLQ_EINVAL);
}

static void test_stranger_hears_why_and_may_enroll(void **state)
{
    struct fixture *f = *state;
    struct net_keypair strange;
    assert_int_equal(net_keys_generate(&strange, NULL), MLQ_OK);
    struct call call = call_of(f, &strange);
    assert_int_equal(net_caller_open(&call.options, &call.caller, NULL), MLQ_OK);
    f->echo = true;
    call_in_thread(f, &call);
    assert_int_equal(call.rc, MLQ_ECONN);
    assert_non_null(strstr(call.err.text, "enroll"));
    assert_true(call.took_ns < SOON_NS); /* at once, not at its limit */
    assert_int_equal(f->received, 0);
    mlq_region_destroy(&call.region);

    assert_int_equal(
        net_keys_enroll("enrolled", NET_ROLE_CLIENT, "new", strange.public_key, NULL), 0);
    call_in_thread(f, &call);
    assert_int_equal(call.rc, MLQ_OK);
    mlq_region_destroy(&call.region);
    net_caller_close(&call.caller);
}

static void test_wrong_server_key(void **state)
{
    struct fixture *f = *state;
    struct net_keypair other;
    assert_int_equal(net_keys_generate(&other, NULL), MLQ_OK);
    struct call call = call_of(f, &f->client_keys);
    call.options.server_public_key = other.public_key;
    call.timeout_ns = HANDSHAKE_NS;
    call_in_thread(f, &call);
    assert_int_equal(call.rc, MLQ_ECONN);
    assert_non_null(strstr(call.err.text, "server key"));
    assert_int_equal(f->received, 0);
    mlq_region_destroy(&call.region);
}

/* A scheduler whose loop does not turn finishes no handshake, so nothing was sent. */
static void test_server_stands_still(void **state)
{
    struct fixture *f = *state;
    struct call call = call_of(f, &f->client_keys);
    call.timeout_ns = 500 * MLQ_NS_PER_MS;
    call_run(&call);
    assert_int_equal(call.rc, MLQ_ECONN);
    mlq_region_destroy(&call.region);
}

static void test_no_answer(void **state)
{
    struct fixture *f = *state;
    char endpoint[128];
    void *router = rude_server(f, endpoint, sizeof endpoint);
    struct call call = call_of(f, &f->client_keys);
    call.options.endpoint = endpoint;
    assert_int_equal(net_caller_open(&call.options, &call.caller, NULL), MLQ_OK);
    call.timeout_ns = HANDSHAKE_NS;
    call_run(&call);
    assert_int_equal(call.rc, MLQ_EUNKNOWN);
    assert_true(call.took_ns < SOON_NS);
    mlq_region_destroy(&call.region);

    /* The late answer to the first call is not taken for the second one's. */
    static const char late[] = "\x08\x01\x8a\x04\x02\x08\x01"; /* reply {id: 1} */
    assert_true(rude_answer(router, (struct mlq_str){late, sizeof late - 1}));
    call.rc = MLQ_OK;
    call.timeout_ns = 500 * MLQ_NS_PER_MS; /* they are connected */
    call_run(&call);
    assert_int_equal(call.rc, MLQ_EUNKNOWN);
    mlq_region_destroy(&call.region);
    net_caller_close(&call.caller);
    zmq_close(router);
}

static void test_server_dies_while_we_wait(void **state)
{
    struct fixture *f = *state;
    struct call call = call_of(f, &f->client_keys);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, call_thread, &call), 0);
    FIXTURE_WAIT(f, f->received == 1); /* it has the request and does not answer */
    fixture_stop_server(f);
    pthread_join(thread, NULL);
    assert_int_equal(call.rc, MLQ_EUNKNOWN);
    assert_non_null(strstr(call.err.text, "broke"));
    assert_true(call.took_ns < SOON_NS);
    mlq_region_destroy(&call.region);
}

static void test_answers_of_another_version(void **state)
{
    struct fixture *f = *state;
    char endpoint[128];
    void *router = rude_server(f, endpoint, sizeof endpoint);
    struct call call = call_of(f, &f->client_keys);
    call.options.endpoint = endpoint;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, call_thread, &call), 0);
    FIXTURE_WAIT(f, rude_answer(router, MLQ_STR("\x08\x07 whatever seven means by it")));
    pthread_join(thread, NULL);
    assert_int_equal(call.rc, MLQ_EPROTO);
    assert_non_null(strstr(call.err.text, "version 7"));
    assert_non_null(strstr(call.err.text, "speaks 1"));
    mlq_region_destroy(&call.region);
    zmq_close(router);
}

static void test_garbled_answer(void **state)
{
    struct fixture *f = *state;
    char endpoint[128];
    void *router = rude_server(f, endpoint, sizeof endpoint);
    struct call call = call_of(f, &f->client_keys);
    call.options.endpoint = endpoint;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, call_thread, &call), 0);
    FIXTURE_WAIT(f, rude_answer(router, MLQ_STR("\x08\x01\xff\xff\xff")));
    pthread_join(thread, NULL);
    assert_int_equal(call.rc, MLQ_EUNKNOWN);
    mlq_region_destroy(&call.region);
    zmq_close(router);
}

static void test_key_is_revoked_between_calls(void **state)
{
    struct fixture *f = *state;
    struct call call = call_of(f, &f->client_keys);
    f->echo = true;
    assert_int_equal(net_caller_open(&call.options, &call.caller, NULL), MLQ_OK);
    call_in_thread(f, &call);
    assert_int_equal(call.rc, MLQ_OK);
    mlq_region_destroy(&call.region);
    assert_int_equal(mlq_fs_write_durable("enrolled", MLQ_STR("# nobody\n"), 0600, NULL), MLQ_OK);
    int64_t revoked_ns = mlq_clock_boot_ns();
    do {
        call_in_thread(f, &call);
        mlq_region_destroy(&call.region);
    } while (call.rc == MLQ_OK && mlq_clock_boot_ns() - revoked_ns < PATIENCE_NS);
    assert_int_equal(call.rc, MLQ_EPERM);
    assert_non_null(strstr(call.err.text, "not enrolled"));
    net_caller_close(&call.caller);
}

/* A worker's key may not call. */
static void test_role(void **state)
{
    struct fixture *f = *state;
    struct call call = call_of(f, &f->worker_keys);
    call_in_thread(f, &call);
    assert_int_equal(call.rc, MLQ_EPERM);
    assert_int_equal(f->received, 0);
    mlq_region_destroy(&call.region);
}

static void test_too_large_is_said_at_once(void **state)
{
    struct fixture *f = *state;
    struct call call = call_of(f, &f->client_keys);
    char *spec = mlq_alloc(LIMIT_DOCUMENT_BYTES + 1);
    memset(spec, ' ', LIMIT_DOCUMENT_BYTES + 1);
    call.request.spec = (struct mlq_str){spec, LIMIT_DOCUMENT_BYTES + 1};
    call_in_thread(f, &call);
    assert_int_equal(call.rc, MLQ_EFULL);
    assert_true(call.took_ns < SOON_NS);
    mlq_region_destroy(&call.region);

    f->echo = true;
    call.request.spec.len--;
    call_in_thread(f, &call);
    assert_int_equal(call.rc, MLQ_OK);
    assert_int_equal(call.reply.blob.len, LIMIT_DOCUMENT_BYTES);
    mlq_region_destroy(&call.region);
    mlq_free(spec);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_calls),
        TEST(test_nothing_listens),
        TEST(test_bad_options),
        TEST(test_stranger_hears_why_and_may_enroll),
        TEST(test_wrong_server_key),
        TEST(test_server_stands_still),
        TEST(test_no_answer),
        TEST(test_server_dies_while_we_wait),
        TEST(test_answers_of_another_version),
        TEST(test_garbled_answer),
        TEST(test_key_is_revoked_between_calls),
        TEST(test_role),
        TEST(test_too_large_is_said_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
