/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/sys/clock.h"
#include "lib/sys/mem.h"
#include "tests/conformance/store_suite.h"
#include "tests/support/pg_cluster.h"

static struct pg_cluster *cluster;
static const char *database;
static char *migrations;

static void fresh(void)
{
    database = pg_cluster_database(cluster);
}

static struct store *create(struct uv_loop_s *loop, int64_t lease_ns,
                            const struct store_callbacks *callbacks)
{
    struct store_pg_options options = {
        .conninfo = database, .migrations_dir = migrations, .lease_ns = lease_ns};
    return store_pg_create(loop, &options, callbacks);
}

int main(void)
{
    static const struct suite_backend backend = {.fresh = fresh, .create = create};
    cluster = pg_cluster_start();
    if (cluster == NULL) {
        return 77;
    }
    migrations = mlq_format("%s/migrations", getenv("MLQ_SOURCE_DIR"));
    int failed = suite_run(&backend, "store_pg");
    pg_cluster_stop(&cluster);
    mlq_free(migrations);
    return failed;
}
