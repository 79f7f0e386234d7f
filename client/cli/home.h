/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Where a cluster lives: the folder of `mlq up`, and cluster.json in it, by which every verb finds
 * scheduler, keys and store. Several homes live side by side.
 *
 *   cluster.json  keys/{server.key,enrolled,client.key,w1.key,…}  store/  logs/  pids/  w1/ w2/ …
 *   pg/ and run/  PostgreSQL's data and socket; elsewhere when PostgreSQL's user cannot reach the
 * home or a socket's path would be too long (cluster.json says where)
 */
#ifndef MLQ_CLI_HOME_H
#define MLQ_CLI_HOME_H

#include <stdbool.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"

struct home {
    char *dir; /* absolute */
    char *cluster;
    char *endpoint;   /* tcp://127.0.0.1:PORT */
    char *server_key; /* public, Z85 */
    char *store;
    char *pg_data;
    char *pg_socket_dir;
    int workers;         /* that `mlq up` started, */
    char *worker_cpus;   /* what each offers, as --cpus */
    char *worker_memory; /* and --memory have it: kept, so that one that died comes back as it was */
};

/* --home, else $MLQ_HOME, else ~/.local/state/mlq; absolute. */
MLQ_OWNED_RETURN char *home_path(const char *flag);

/* MLQ_ENOENT with the way out when there is no cluster.json. */
int home_load(const char *dir, struct home *home, struct mlq_err *err);
int home_save(const struct home *home, struct mlq_err *err);
void home_clear(struct home *home); /* frees the members */

/* <dir>/<name> */
MLQ_OWNED_RETURN char *home_file(const struct home *home, const char *name);

#endif
