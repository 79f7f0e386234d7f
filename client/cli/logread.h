/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Logs of tasks, wherever they are: with the worker while a task runs, in the store once it is
 * complete.
 */
#ifndef MLQ_CLI_LOGREAD_H
#define MLQ_CLI_LOGREAD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/cli/session.h"
#include "client/libmlq/mlq.h"

struct logread {
    struct mlq_client_log where; /* stage, index and rank are the caller's; offset moves */
    bool end;                    /* the attempt has ended and all was read */
};

/* The next bytes from where.offset on; may be none when wait_ns passed. */
int logread_next(struct session *session, struct logread *log, struct mlq_region *region,
                 struct mlq_str *bytes, struct mlq_err *err);

/* The last `lines` lines of a task's newest attempt; empty when there is no log. */
struct mlq_str logread_tail(struct session *session, uint64_t job, const char *stage,
                            uint32_t index, uint32_t rank, size_t lines, struct mlq_region *region);

/* Which log one wants to see when one does not say: of the stage that failed, else the only one,
 * else the one that ran last. `job` is the "job" of `mlq show`. NULL when nothing has run. */
const json_t *logread_pick_stage(const json_t *job);

/* The newest attempt that failed, else the newest one; of this index and rank unless negative.
 * NULL: none. */
const json_t *logread_pick_attempt(const json_t *stage, int64_t index, int64_t rank);

#endif
