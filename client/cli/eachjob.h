/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A verb that asks the same of each job that its operands select: cancel, retry, checkpoint.
 */
#ifndef MLQ_CLI_EACHJOB_H
#define MLQ_CLI_EACHJOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/cli/session.h"

struct eachjob {
    const char *verb;
    const struct args_option *own; /* NULL: none */
    void *context;
    /* Before the first is asked; NULL: nobody has to confirm. */
    bool (*is_confirmed)(const struct session *session, const void *context, size_t count);
    /* MLQ_OK or an error; `answer` is "" before, and lives in session->region. */
    int (*ask)(struct session *session, const void *context, uint64_t job, struct mlq_str *answer,
               struct mlq_err *err);
    /* NULL: the job's id. */
    void (*print)(const struct session *session, const char *id, struct mlq_str answer);
};

/* The whole verb: returns its exit code. A job that fails keeps none of the others from being
 * asked. */
int eachjob_run(const struct eachjob *verb, int argc, char **argv);

#endif
