/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Waiting for jobs, with or without something to look at. A scheduler that restarts meanwhile does
 * not end it.
 */
#ifndef MLQ_CLI_FOLLOW_H
#define MLQ_CLI_FOLLOW_H

#include "client/cli/session.h"

struct follow_options {
    bool shows;  /* bars and a summary on stderr */
    bool prints; /* on stdout: the id and how it ended, or with --json what `mlq show` prints */
    bool has_timeout;
    int64_t timeout_ns; /* of all together */
};

/* CMD_OK when all succeeded, CMD_JOB_FAILED when one did not, CMD_TIMEOUT, or another exit code
 * after a message. */
int follow_jobs(struct session *session, const uint64_t *jobs, size_t count,
                const struct follow_options *options);

#endif
