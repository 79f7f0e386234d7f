/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <uv.h>
#include <zmq.h>

#include "lib/loop/loop.h"
#include "lib/loop/zpoll.h"
#include "lib/sys/clock.h"

struct fixture {
    uv_loop_t *loop;
    struct loop_timer *timer;
    struct loop_signals *signals;
    int calls;
    int signal;
    int64_t began_ns;
    int64_t delay_ns;
    void *context;
    void *sockets[2];
    struct zpoll *polls[2];
    uint32_t sent[2];
    uint32_t got[2];
    uint32_t wanted;
    unsigned closed;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    *state = f;
    return loop_create(&f->loop, NULL);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    unsigned forgotten = loop_destroy(&f->loop);
    free(f);
    return (int)forgotten;
}

static void on_once(void *context)
{
    struct fixture *f = context;
    f->calls++;
    f->delay_ns = mlq_clock_boot_ns() - f->began_ns;
    loop_timer_close(&f->timer);
}

static void test_timer_comes_once_and_not_early(void **state)
{
    struct fixture *f = *state;
    f->timer = loop_timer_create(f->loop, on_once, f);
    assert_false(loop_timer_is_set(f->timer));
    f->began_ns = mlq_clock_boot_ns();
    loop_timer_set(f->timer, 20 * MLQ_NS_PER_MS, 5 * MLQ_NS_PER_MS);
    assert_true(loop_timer_is_set(f->timer));
    loop_run(f->loop);
    assert_int_equal(f->calls, 1); /* closed in its callback, in spite of the period */
    assert_true(f->delay_ns >= 19 * MLQ_NS_PER_MS);
    assert_null(f->timer);
}

static void test_cleared_timer_does_not_come(void **state)
{
    struct fixture *f = *state;
    f->timer = loop_timer_create(f->loop, on_once, f);
    loop_timer_set(f->timer, 0, 0);
    loop_timer_clear(f->timer);
    loop_run(f->loop);
    assert_int_equal(f->calls, 0);
    loop_timer_close(&f->timer);
    loop_timer_close(&f->timer);
}

static void on_defer(void *context)
{
    struct fixture *f = context;
    if (++f->calls < 3) {
        loop_defer(f->loop, on_defer, f);
    }
}

static void test_deferred_calls(void **state)
{
    struct fixture *f = *state;
    loop_defer(f->loop, on_defer, f);
    assert_int_equal(f->calls, 0);
    loop_run(f->loop);
    assert_int_equal(f->calls, 3);
}

static void on_stop(void *context, int number)
{
    struct fixture *f = context;
    f->signal = number;
    loop_stop(f->loop);
}

static void test_signals(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(loop_signals_start(f->loop, on_stop, f, &f->signals, NULL), 0);
    f->timer = loop_timer_create(f->loop, on_once, f);
    loop_timer_set(f->timer, 60 * MLQ_NS_PER_S, 0); /* keeps the loop alive */
    assert_int_equal(kill(getpid(), SIGTERM), 0);
    loop_run(f->loop);
    assert_int_equal(f->signal, SIGTERM);
    assert_int_equal(kill(getpid(), SIGINT), 0);
    loop_run(f->loop);
    assert_int_equal(f->signal, SIGINT);
    loop_timer_close(&f->timer);
    loop_signals_close(&f->signals);
    loop_signals_close(&f->signals);
}

static void test_forgotten_handles_are_counted(void **state)
{
    (void)state;
    uv_loop_t *loop;
    uv_timer_t timer;
    assert_int_equal(loop_create(&loop, NULL), 0);
    uv_timer_init(loop, &timer);
    assert_int_equal(loop_destroy(&loop), 1);
    assert_null(loop);
}

/* Both ends of a pair on one loop, each sending whenever it receives: each send may swallow the
 * edge of what arrives meanwhile. Without the look before sleeping this stops within seconds. */
static void on_closed(void *context)
{
    struct fixture *f = context;
    f->closed++;
}

static void send_some(struct fixture *f, int side, uint32_t count)
{
    for (uint32_t i = 0; i < count && f->sent[side] < f->wanted; i++) {
        uint32_t number = f->sent[side];
        if (zmq_send(f->sockets[side], &number, sizeof number, ZMQ_DONTWAIT) < 0) {
            break;
        }
        f->sent[side]++;
    }
    zpoll_sent(f->polls[side]);
}

static void receive(struct fixture *f, int side)
{
    for (int i = 0; i < 4; i++) {
        uint32_t number;
        if (zmq_recv(f->sockets[side], &number, sizeof number, ZMQ_DONTWAIT) < 0) {
            break;
        }
        assert_int_equal(number, f->got[side]);
        f->got[side]++;
        send_some(f, side, 2);
    }
    send_some(f, side, 1);
    if (f->got[0] == f->wanted && f->got[1] == f->wanted) {
        loop_stop(f->loop);
    }
}

static void on_left(void *context)
{
    receive(context, 0);
}

static void on_right(void *context)
{
    receive(context, 1);
}

static void test_no_message_is_left_lying(void **state)
{
    struct fixture *f = *state;
    char endpoint[64];
    size_t size = sizeof endpoint;
    f->context = zmq_ctx_new();
    f->wanted = 100000;
    for (int side = 0; side < 2; side++) {
        f->sockets[side] = zmq_socket(f->context, ZMQ_PAIR);
    }
    assert_int_equal(zmq_bind(f->sockets[0], "tcp://127.0.0.1:*"), 0);
    assert_int_equal(zmq_getsockopt(f->sockets[0], ZMQ_LAST_ENDPOINT, endpoint, &size), 0);
    assert_int_equal(zmq_connect(f->sockets[1], endpoint), 0);
    assert_int_equal(zpoll_create(f->loop, f->sockets[0], on_left, f, &f->polls[0], NULL), 0);
    assert_int_equal(zpoll_create(f->loop, f->sockets[1], on_right, f, &f->polls[1], NULL), 0);
    send_some(f, 1, 1);
    loop_run(f->loop);
    assert_int_equal(f->got[0], f->wanted);
    assert_int_equal(f->got[1], f->wanted);
    zpoll_close(&f->polls[0], on_closed, f);
    zpoll_close(&f->polls[1], on_closed, f);
    assert_int_equal(f->closed, 0);
    loop_run(f->loop);
    assert_int_equal(f->closed, 2);
    assert_int_equal(zmq_close(f->sockets[0]), 0);
    assert_int_equal(zmq_close(f->sockets[1]), 0);
    assert_int_equal(zmq_ctx_term(f->context), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_timer_comes_once_and_not_early, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cleared_timer_does_not_come, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deferred_calls, setup, teardown),
        cmocka_unit_test_setup_teardown(test_signals, setup, teardown),
        cmocka_unit_test(test_forgotten_handles_are_counted),
        cmocka_unit_test_setup_teardown(test_no_message_is_left_lying, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
