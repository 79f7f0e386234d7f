/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What every verb that talks to a cluster needs: the common options, the cluster that they name, an
 * open client, and one way to say what went wrong. Data goes to stdout, all else to stderr.
 */
#ifndef MLQ_CLI_SESSION_H
#define MLQ_CLI_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "client/cli/args.h"
#include "client/cli/cmd.h"
#include "client/libmlq/mlq.h"
#include "lib/artifact/cas.h"
#include "lib/base/err.h"
#include "lib/base/str.h"
#include "lib/sys/region.h"

struct session {
    const char *verb; /* for messages: "show" */
    const char *home_flag;
    const char *endpoint_flag;
    const char *server_key_flag;
    const char *key_flag;
    const char *store_flag;
    bool json;
    bool jsonl;
    bool quiet;
    bool no_header;
    int64_t timeout_ns; /* of a call; 0: the usual */
    struct args args;
    /* Since session_open: */
    struct mlq_client *client;
    struct mlq_region *region; /* lives as long as the session */
    struct cas *cas;           /* since session_store */
    char *store;               /* NULL: not known */
    char *home;                /* NULL: a remote cluster */
    struct args_option common[10];
};

/* Parses the arguments: `own` ends with {0} and may be NULL. CMD_OK, or CMD_USAGE after a message.
 */
int session_parse(struct session *session, const struct args_option *own, int argc, char **argv);

/* Opens the cluster that the options, else MLQ_ENDPOINT & co, else the home name. CMD_OK or an exit
 * code after a message. session_close in any case. */
int session_open(struct session *session);
void session_close(struct session *session);

/* Opens the artifact store of the cluster, once. */
int session_store(struct session *session, struct mlq_err *err);

/* The ids that operand `at` and all that follow select, ascending within each. CMD_OK with at least
 * one, or an exit code after a message. session_job: exactly one. */
int session_jobs(struct session *session, size_t at, uint64_t **jobs, size_t *count);
int session_job(struct session *session, size_t at, uint64_t *job);

/* "mlq VERB: THING: TEXT" on stderr (thing may be NULL) and the exit code for err->code. */
int session_fail(const struct session *session, const char *thing, const struct mlq_err *err);
/* The same for wrong usage. */
int session_usage(const struct session *session, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

enum cmd_exit session_exit(int code);

/* True for what goes away by itself: the scheduler restarts, another one takes over. */
bool session_is_passing(int code);

/* Flushes stdout: CMD_OK, or the failure (a full disk) is said and becomes the exit code. */
int session_finish(const struct session *session, int code);

#endif
