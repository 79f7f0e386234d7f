/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Another program, run to its end for what it prints: git, psql, the worker's probe.
 */
#ifndef MLQ_CLI_CAPTURE_H
#define MLQ_CLI_CAPTURE_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/ownership.h"

struct capture {
    MLQ_OWNED_RETURN char *text; /* terminated; never NULL */
    size_t len;
    int status; /* its exit code; -1: it did not start, died by a signal, or printed more than the limit */
};

/* argv ends with NULL and is found on PATH; no input; errors go nowhere, or into the text. Free
 * with capture_clear. */
struct capture capture_run(const char *const *argv, size_t bytes_max, bool errors_too);
void capture_clear(struct capture *capture);

#endif
