/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The private PostgreSQL of a home: made once, on a Unix socket that only its owner reaches,
 * without passwords (peer authentication) and with fsync. As root it runs as the unprivileged user
 * "postgres".
 */
#ifndef MLQ_CLI_PG_H
#define MLQ_CLI_PG_H

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "client/cli/home.h"

/* Chooses home->pg_data and home->pg_socket_dir where they are not yet set. */
void pg_choose_place(struct home *home);

/* What its shared_buffers are made on a machine with this memory: a quarter, within bounds. */
long pg_buffers_mib(long memory_mib);

/* Makes the data folder when there is none. */
int pg_init(const struct home *home, struct mlq_err *err);

/* Starts the server unless it runs, and waits until it accepts connections (after a crash it
 * recovers first). */
int pg_start(const struct home *home, struct mlq_err *err);
void pg_stop(const struct home *home);

/* The path of a program of PostgreSQL: of the version that made the home's data (`home` may be NULL), else the
 * newest. NULL: err says what to install. */
MLQ_OWNED_RETURN char *pg_program(const struct home *home, const char *name, struct mlq_err *err);

/* An argv that begins with PG_AS_SERVER_USER, without that when we are not root. */
#define PG_SERVER_USER "postgres"
#define PG_AS_SERVER_USER                                                                          \
    "setpriv", "--reuid=" PG_SERVER_USER, "--regid=" PG_SERVER_USER, "--init-groups", "--"
#define PG_AS_SERVER_USER_WORDS 5
const char *const *pg_as_server_user(const char *const *argv);

/* For mlq-scheduler --database. */
MLQ_OWNED_RETURN char *pg_conninfo(const struct home *home);

#endif
