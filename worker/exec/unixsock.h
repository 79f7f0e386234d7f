/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Unix stream sockets whose path may be longer than the 107 bytes that an address holds: the folder
 * is opened and named through /proc/self/fd.
 */
#ifndef MLQ_WORKER_EXEC_UNIXSOCK_H
#define MLQ_WORKER_EXEC_UNIXSOCK_H

#include <stdbool.h>

#include "lib/base/err.h"

/* True when a program of any language can connect to this path as it is. */
bool unixsock_fits(const char *path);

/* *fd is non-blocking and not inherited. Listening replaces a socket that is there. */
int unixsock_connect(const char *path, int *fd, struct mlq_err *err);
int unixsock_listen(const char *path, int backlog, int *fd, struct mlq_err *err);

#endif
