/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The worker's hold on its nursery of shims (shimfork.h): one process, started with the first shim
 * and again whenever it is gone. No task depends on it.
 */
#ifndef MLQ_WORKER_EXEC_NURSERY_H
#define MLQ_WORKER_EXEC_NURSERY_H

#include "lib/base/err.h"
#include "lib/base/ownership.h"

struct nursery;

struct nursery_options {
    const char *program; /* path of mlq-shim */
    const char *log;     /* file to which it, and the shims, append what goes wrong with them */
    const char *attempts; /* where the members' folders are: their names fit behind it */
};

MLQ_OWNED_RETURN struct nursery *nursery_create(const struct nursery_options *options);

/* A shim for the folder `dir`, with `fd` as its first client, which stays the caller's. If it does
 * not come to be after all, the other end of `fd` is hung up on. */
int nursery_spawn(struct nursery *nursery, const char *dir, int fd, struct mlq_err *err);

/* It ends by itself; its shims go on. Takes NULL, nulls. */
void nursery_destroy(struct nursery **nursery);

#endif
