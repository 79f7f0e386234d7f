/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Work that must not hold up its caller, one piece at a time, on a thread of its own. Signals go to
 * the other threads. All calls are from the thread that created it.
 */
#ifndef MLQ_OP_OP_BACKGROUND_H
#define MLQ_OP_OP_BACKGROUND_H

#include <stdbool.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"

struct op_background;

/* On the thread: returns 0 or an error, as functions do. What it works on is its own until its
 * outcome was collected. */
typedef int (*op_background_fn)(void *work, struct mlq_err *err);

int op_background_create(MLQ_OWNED_RETURN struct op_background **background, struct mlq_err *err);
/* Waits for what is under way; takes NULL, frees, nulls. */
void op_background_destroy(struct op_background **background);

/* Nothing may be under way, nor wait to be collected. */
void op_background_start(struct op_background *background, op_background_fn run,
                         MLQ_BORROWS void *work);

/* Something was started whose outcome was not collected yet. */
bool op_background_is_busy(const struct op_background *background);

/* True once for each start, when it has ended: *rc is its outcome, and *err its error. With `wait` it is
 * waited for; without, and when nothing was started: false. */
bool op_background_collect(struct op_background *background, bool wait, int *rc,
                           struct mlq_err *err);

#endif
