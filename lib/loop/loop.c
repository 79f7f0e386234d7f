/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/loop/loop.h"

#include <signal.h>
#include <uv.h>

#include "lib/base/panic.h"
#include "lib/sys/clock.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"

/* ---- The loop -------------------------------------------------------------------------------- */

int loop_create(uv_loop_t **loop, struct mlq_err *err)
{
    uv_loop_t *made = mlq_alloc(sizeof *made);
    int rc = uv_loop_init(made);
    if (rc != 0) {
        mlq_free(made);
        return mlq_fail(err, MLQ_EIO, "create the event loop: %s", uv_strerror(rc));
    }
    *loop = made;
    return MLQ_OK;
}

void loop_run(uv_loop_t *loop)
{
    (void)uv_run(loop, UV_RUN_DEFAULT);
}

void loop_stop(uv_loop_t *loop)
{
    uv_stop(loop);
}

static void close_forgotten(uv_handle_t *handle, void *count)
{
    if (!uv_is_closing(handle)) {
        log_error("loop.forgotten", "handle=%s", uv_handle_type_name(uv_handle_get_type(handle)));
        ++*(unsigned *)count;
        uv_close(handle, NULL); /* whose memory this is, is not known: it leaks */
    }
}

unsigned loop_destroy(uv_loop_t **loop)
{
    unsigned forgotten = 0;
    if (*loop == NULL) {
        return 0;
    }
    /* Without waiting: only what is closing already is run to its end. */
    (void)uv_run(*loop, UV_RUN_NOWAIT);
    uv_walk(*loop, close_forgotten, &forgotten);
    while (uv_loop_close(*loop) == UV_EBUSY) {
        (void)uv_run(*loop, UV_RUN_NOWAIT);
    }
    mlq_free(*loop);
    *loop = NULL;
    return forgotten;
}

/* ---- Signals --------------------------------------------------------------------------------- */

#define SIGNALS 2

struct loop_signals {
    uv_signal_t handles[SIGNALS];
    unsigned open;
    void (*stop)(void *context, int signal);
    void *context;
};

static void on_signal(uv_signal_t *handle, int number)
{
    struct loop_signals *signals = handle->data;
    signals->stop(signals->context, number);
}

static void on_signal_closed(uv_handle_t *handle)
{
    struct loop_signals *signals = handle->data;
    if (--signals->open == 0) {
        mlq_free(signals);
    }
}

int loop_signals_start(uv_loop_t *loop, void (*stop)(void *context, int signal), void *context,
                       struct loop_signals **signals, struct mlq_err *err)
{
    static const int numbers[SIGNALS] = {SIGINT, SIGTERM};
    struct loop_signals *made = mlq_alloc(sizeof *made);
    made->stop = stop;
    made->context = context;
    int rc = 0;
    for (unsigned i = 0; i < SIGNALS; i++) {
        MLQ_ASSERT(uv_signal_init(loop, &made->handles[i]) == 0);
        made->handles[i].data = made;
        made->open++;
        int started = uv_signal_start(&made->handles[i], on_signal, numbers[i]);
        rc = rc == 0 ? started : rc;
        uv_unref((uv_handle_t *)&made->handles[i]);
    }
    (void)signal(SIGPIPE, SIG_IGN);
    if (rc != 0) {
        loop_signals_close(&made);
        return mlq_fail(err, MLQ_EIO, "watch SIGINT and SIGTERM: %s", uv_strerror(rc));
    }
    *signals = made;
    return MLQ_OK;
}

void loop_signals_close(struct loop_signals **signals)
{
    if (*signals == NULL) {
        return;
    }
    for (unsigned i = 0; i < SIGNALS; i++) {
        uv_close((uv_handle_t *)&(*signals)->handles[i], on_signal_closed);
    }
    *signals = NULL;
}

/* ---- Timers ---------------------------------------------------------------------------------- */

struct loop_timer {
    uv_timer_t handle;
    loop_timer_cb on_time;
    void *context;
};

static void on_timer(uv_timer_t *handle)
{
    struct loop_timer *timer = handle->data;
    timer->on_time(timer->context);
}

static void on_timer_closed(uv_handle_t *handle)
{
    mlq_free(handle->data);
}

struct loop_timer *loop_timer_create(uv_loop_t *loop, loop_timer_cb on_time, void *context)
{
    struct loop_timer *timer = mlq_alloc(sizeof *timer);
    MLQ_ASSERT(uv_timer_init(loop, &timer->handle) == 0);
    timer->handle.data = timer;
    timer->on_time = on_time;
    timer->context = context;
    return timer;
}

static uint64_t whole_ms(int64_t ns)
{
    return ns <= 0 ? 0 : ((uint64_t)ns + (uint64_t)MLQ_NS_PER_MS - 1) / (uint64_t)MLQ_NS_PER_MS;
}

void loop_timer_set(struct loop_timer *timer, int64_t delay_ns, int64_t period_ns)
{
    /* libuv counts from the time at which this iteration began: without this, a timer set after
     * long work comes too early. */
    uv_update_time(timer->handle.loop);
    MLQ_ASSERT(uv_timer_start(&timer->handle, on_timer, whole_ms(delay_ns), whole_ms(period_ns)) ==
               0);
}

void loop_timer_clear(struct loop_timer *timer)
{
    (void)uv_timer_stop(&timer->handle);
}

bool loop_timer_is_set(const struct loop_timer *timer)
{
    return uv_is_active((const uv_handle_t *)&timer->handle) != 0;
}

void loop_timer_close(struct loop_timer **timer)
{
    if (*timer == NULL) {
        return;
    }
    uv_close((uv_handle_t *)&(*timer)->handle, on_timer_closed);
    *timer = NULL;
}

struct deferred {
    struct loop_timer *timer;
    loop_timer_cb call;
    void *context;
};

static void on_deferred(void *context)
{
    struct deferred deferred = *(struct deferred *)context;
    mlq_free(context);
    loop_timer_close(&deferred.timer);
    deferred.call(deferred.context);
}

void loop_defer(uv_loop_t *loop, loop_timer_cb call, void *context)
{
    struct deferred *deferred = mlq_alloc(sizeof *deferred);
    deferred->call = call;
    deferred->context = context;
    deferred->timer = loop_timer_create(loop, on_deferred, deferred);
    loop_timer_set(deferred->timer, 0, 0);
}
