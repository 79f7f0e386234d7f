/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The task's side of the task contract (ARCHITECTURE.md, "What a task sees"): the environment, and
 * the control socket of MLQ_CONTROL. For mlq-task and the native operators. All calls block, with a
 * bound; a task without a control socket (run by hand) gets silent success.
 *
 * The protocol is lines over a Unix stream socket, so that any language can speak it. One request
 * line, one reply line:
 *
 *     metric NAME VALUE [STEP]      VALUE a decimal number or nan/inf/-inf; STEP an integer
 *     progress FRACTION [TEXT]      0..1
 *     checkpoint PATH               PATH lies in MLQ_CHECKPOINT and is complete and fsynced
 *     status                        nothing but the reply
 *     record                        the job's record so far
 *
 *     ok go            and go on
 *     ok stop          stop within the grace: save, then exit 75 (or 0 when done)
 *     data LENGTH      and LENGTH bytes follow (reply to record: the JSON of `mlq show --json`, plus
 *                      "history": {stage: {metric: [[step, value], ...]}})
 *     error TEXT       the request was refused; the connection stays open
 *
 * A line is at most TASK_LINE_BYTES_MAX long. Metric names: [A-Za-z0-9_.:/@-]{1,128}.
 */
#ifndef MLQ_TASK_TASK_H
#define MLQ_TASK_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"

#define TASK_LINE_BYTES_MAX 4096
#define TASK_RECORD_BYTES_MAX (64u << 20)
#define TASK_EXIT_REQUEUE 75 /* EX_TEMPFAIL: saved, run me again; not a failure */

struct task; /* a connection to the worker */

/* Connects to $MLQ_CONTROL. Unset: a task whose reports go nowhere. */
int task_open(MLQ_OWNED_RETURN struct task **task, struct mlq_err *err);
void task_close(struct task **task);

/* Each sets *stop (may be NULL) to whether the worker asks to stop. A lost worker is not an error: the
 * report is dropped and *stop is false, since the task outlives the worker. */
#define TASK_NO_STEP INT64_MIN
int task_metric(struct task *task, const char *name, double value, int64_t step, bool *stop, struct mlq_err *err);
int task_progress(struct task *task, double fraction, const char *text, bool *stop, struct mlq_err *err);
int task_checkpoint(struct task *task, const char *path, bool *stop, struct mlq_err *err);
int task_status(struct task *task, bool *stop, struct mlq_err *err);

/* The record as JSON text; MLQ_ENOENT without a worker. */
int task_record(struct task *task, MLQ_OWNED_RETURN char **json, size_t *len, struct mlq_err *err);

/* Environment of the contract; NULL when unset. Names without the MLQ_ prefix: task_env("OUTPUT"). */
const char *task_env(const char *name);
/* MLQ_INPUT_<NAME>, name in any case, '-' and '.' become '_'; NULL when the input is absent. */
const char *task_input(const char *name);

#endif
