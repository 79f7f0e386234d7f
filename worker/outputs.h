/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What a task left, on its way into the store. To hash it takes longest, a second for two gigabytes, and the processors that
 * the task had are idle by then: large files go side by side. Blocks on disks; for collect.c.
 */
#ifndef MLQ_WORKER_OUTPUTS_H
#define MLQ_WORKER_OUTPUTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "lib/artifact/cas.h"
#include "lib/base/err.h"

#define OUTPUTS_THREADS_MAX 4u
#define OUTPUTS_LARGE_BYTES (4u << 20) /* others are not worth a thread */

struct output {
    const char *name;
    const char *path;   /* of a file or a folder, not of a link */
    struct stat status; /* of that */
    /* Results. */
    int rc; /* Not MLQ_OK from the beginning: leave it alone */
    struct mlq_err err;
    struct cas_digest digest;
    uint64_t bytes;
};

/* Puts each as cas_put_own_file or cas_put_own_tree do, by at most `threads` at once, of which the caller's is one and
 * uses `cas`; others open the store at `root`. Returns when all is done. */
void outputs_put(struct cas *cas, const char *root, struct output *outputs, size_t count, unsigned threads);

#endif
