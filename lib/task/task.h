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
 *     ready PORT FINGERPRINT [GENERATION]    a member of an elastic gang may be counted in
 *     members AFTER                 the membership that follows generation AFTER; the reply waits for it
 *
 *     ok go            and go on
 *     ok stop          stop within the grace: save, then exit 75 (or 0 when done)
 *     data LENGTH      and LENGTH bytes follow (reply to record: the JSON of `mlq show --json`, plus
 *                      "history": {stage: {metric: [[step, value], ...]}}; reply to members: a line
 *                      GENERATION, and for each member, sorted by number, NUMBER ADDRESS PORT)
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

/* The record as JSON text. It is asked for again while the worker or the scheduler is away, for
 * TASK_RECORD_WAIT_S; then MLQ_ENOENT, which a task without a control socket has at once. */
#define TASK_RECORD_WAIT_S 60
int task_record(struct task *task, MLQ_OWNED_RETURN char **json, size_t *len, struct mlq_err *err);

/* ---- A member of an elastic gang (MLQ_ELASTIC=MIN..MAX) ----
 *
 * RANK is its number, which nobody else ever has within the attempt. A membership is the numbers of
 * those that live and said ready; each has a generation of its own, which only grows. */

#define TASK_MEMBERS_MAX       64u
#define TASK_MEMBER_NUMBER_MAX 255u
#define TASK_ADDRESS_BYTES     64

struct task_member {
    uint32_t number;
    uint16_t port; /* where it meets the others while it leads */
    char address[TASK_ADDRESS_BYTES];
};

struct task_members {
    uint64_t generation; /* from 1 on */
    uint32_t count;      /* 0: the attempt is over */
    struct task_member list[TASK_MEMBERS_MAX]; /* the lowest number, which leads, first */
};

/* This member has loaded all it needs and listens on `port`. Members with another `fingerprint` would
 * not compute the same bits. `generation` != 0: that one broke, and no newer one came; saying either
 * again does no harm. MLQ_ECONN: no worker answers, so nobody has heard it. */
int task_ready(struct task *task, uint16_t port, uint64_t fingerprint, uint64_t generation, bool *stop,
               struct mlq_err *err);

/* Waits for a membership that is newer than `after`, however long and however often the worker is
 * away, until cancel_fd is readable (MLQ_ECANCELED). The connection is of no other use meanwhile.
 * MLQ_EINVAL, MLQ_EPROTO: the worker refuses, or says what is not understood. */
int task_members(struct task *task, uint64_t after, int cancel_fd, struct task_members *members,
                 struct mlq_err *err);

/* Environment of the contract; NULL when unset. Names without the MLQ_ prefix: task_env("OUTPUT"). */
const char *task_env(const char *name);
/* MLQ_INPUT_<NAME>, name in any case, '-' and '.' become '_'; NULL when the input is absent. */
const char *task_input(const char *name);
/* MLQ_DIGEST_<NAME>, of an input that is one file; NULL when it is not, and by hand. */
const char *task_digest(const char *name);

#endif
