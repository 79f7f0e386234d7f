/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The scheduler's shell: it owns the loop's life around the pure core. Campaign, load, serve; and when a
 * commit fails or leadership is lost: stop serving, drop everything, campaign again.
 */
#ifndef MLQ_SCHEDULER_SHELL_H
#define MLQ_SCHEDULER_SHELL_H

#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "scheduler/core/core.h"

struct uv_loop_s;
struct shell;

struct shell_options {
    const char *listen;         /* tcp://127.0.0.1:PORT */
    const char *endpoint_file;  /* written when serving, removed when not; NULL: none */
    const char *key_path;       /* the server's key pair */
    const char *enrolled_path;  /* the enrolled keys */
    const char *conninfo;       /* of PostgreSQL */
    const char *migrations_dir;
    const char *cluster; /* its name, told to workers and clients */
    const char *holder;  /* names this process in the leader row */
    int64_t heartbeat_ns; /* how often workers shall report */
    int64_t leader_lease_ns;
    struct core_limits limits;
};

MLQ_OWNED_RETURN struct shell *shell_create(struct uv_loop_s *loop, const struct shell_options *options);
void shell_start(struct shell *shell);

/* Resign, so that a standby need not wait, close everything; `stopped` runs when the loop may end. */
void shell_stop(struct shell *shell, void (*stopped)(void *context), void *context);
void shell_destroy(struct shell **shell);

#endif
