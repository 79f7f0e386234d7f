/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What a running task reports: metrics and progress. Metrics wait until they are sent; the latest
 * value of each name is kept for the attempt's final report, since a message may be lost, and is
 * written to a file, since the worker may be restarted.
 */
#ifndef MLQ_WORKER_NOTES_H
#define MLQ_WORKER_NOTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "lib/net/msg.h"

#define NOTES_NAMES_MAX 1000    /* metric names of one attempt */
#define NOTES_PENDING_MAX 20000 /* values that wait while the scheduler is away */
#define NOTES_TEXT_BYTES_MAX 256

struct notes;

/* With what an earlier run of the worker wrote to <dir>/metrics. */
MLQ_OWNED_RETURN struct notes *notes_create(const char *dir);
void notes_destroy(struct notes **notes); /* takes NULL, frees, nulls */

/* MLQ_EFULL: too many names, or too many values wait. */
int notes_add_metric(struct notes *notes,
                     struct mlq_str name,
                     double value,
                     int64_t step,
                     int64_t at_us,
                     struct mlq_err *err);
void notes_set_progress(struct notes *notes, double fraction, struct mlq_str text);

/* Values that were not sent yet, in the order in which they came; valid until the next call. */
size_t notes_pending(const struct notes *notes, const struct msg_metric **metrics);
void notes_sent(struct notes *notes, size_t count);

/* Each name's latest value. */
size_t notes_latest(const struct notes *notes, const struct msg_metric **metrics);

/* True when there is progress that was not taken yet. The text is valid until the next set. */
bool notes_take_progress(struct notes *notes, double *fraction, struct mlq_str *text);

#endif
