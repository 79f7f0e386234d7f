/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Detached processes of a home: started once, found again by pid and start time (never by name, and
 * a reused pid is not mistaken), stopped with bounds.
 */
#ifndef MLQ_CLI_DAEMON_H
#define MLQ_CLI_DAEMON_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "client/cli/home.h"

/* Where this program lies, and the others beside it. */
MLQ_OWNED_RETURN char *daemon_bin_dir(void);

/* The pid recorded under `name` when that very process still runs, else 0. */
pid_t daemon_pid(const struct home *home, const char *name);

/* Starts argv (NULL-terminated) in a session of its own, with / as folder, no input, and output
 * appended to logs/<name>.log; records it in pids/<name>. */
int daemon_start(const struct home *home, const char *name, const char *const *argv,
                 struct mlq_err *err);

/* Records a process that somebody else started as `name`. */
int daemon_adopt(const struct home *home, const char *name, pid_t pid, struct mlq_err *err);

/* Sends `signal`, waits up to timeout_ms, then SIGKILL. True when it had to be killed. */
bool daemon_stop(const struct home *home, const char *name, int signal, int timeout_ms);

/* Waits until the process is gone (true) or the time is over. */
bool daemon_wait_gone(const struct home *home, const char *name, int timeout_ms);

/* The size of logs/<name>.log, and its last lines for messages, none from before `from`. */
long daemon_log_bytes(const struct home *home, const char *name);
MLQ_OWNED_RETURN char *daemon_log_tail(const struct home *home, const char *name, long from);

/* Run to the end, output to logs/<name>.log. MLQ_EIO with the log's tail when it fails. */
int daemon_run(const struct home *home, const char *name, const char *const *argv,
               struct mlq_err *err);

#endif
