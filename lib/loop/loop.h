/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What the daemons share of libuv: a loop, its signals, timers whose memory lives until their
 * handle is closed, and an end that finds what was forgotten. One thread owns a loop and all that
 * is on it.
 */
#ifndef MLQ_LOOP_LOOP_H
#define MLQ_LOOP_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"

struct uv_loop_s;

int loop_create(MLQ_OWNED_RETURN struct uv_loop_s **loop, struct mlq_err *err);

/* Run until loop_stop, or until nothing on the loop is alive. */
void loop_run(struct uv_loop_s *loop);
void loop_stop(struct uv_loop_s *loop);

/* Let all close callbacks run, then free the loop. A handle that nobody closed is logged by its
 * type and closed; the number of those is returned: 0 in a correct program, and tests demand it. */
unsigned loop_destroy(struct uv_loop_s **loop);

/* ---- Signals --------------------------------------------------------------------------------- */

struct loop_signals;

/* SIGINT and SIGTERM call `stop`, each time they come. SIGPIPE is ignored from then on. They do not
 * keep the loop alive. */
int loop_signals_start(struct uv_loop_s *loop,
                       void (*stop)(void *context, int signal),
                       void *context,
                       MLQ_OWNED_RETURN struct loop_signals **signals,
                       struct mlq_err *err);
void loop_signals_close(struct loop_signals **signals); /* takes NULL, nulls */

/* ---- Timers ---------------------------------------------------------------------------------- */

struct loop_timer;
typedef void (*loop_timer_cb)(void *context);

/* A timer that is not set yet. */
MLQ_OWNED_RETURN struct loop_timer *loop_timer_create(struct uv_loop_s *loop,
                                                      loop_timer_cb on_time,
                                                      void *context);

/* Call once after `delay_ns` (not before; rounded up to a millisecond), or at each `period_ns` as
 * well when that is not 0. Setting again replaces. A delay <= 0 is the next iteration. */
void loop_timer_set(struct loop_timer *timer, int64_t delay_ns, int64_t period_ns);
void loop_timer_clear(struct loop_timer *timer); /* the callback does not run any more */
bool loop_timer_is_set(const struct loop_timer *timer);

/* Also from within the callback. Takes NULL, nulls; memory is freed when libuv has let go. */
void loop_timer_close(struct loop_timer **timer);

/* Call once in the next iteration, without a timer to keep: for work that must leave the stack. */
void loop_defer(struct uv_loop_s *loop, loop_timer_cb call, void *context);

#endif
