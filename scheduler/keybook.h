/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Idempotency keys of submissions and the jobs that they made: a client that repeats a submission
 * gets the same job. Those of the last days are loaded at start; the record's unique constraint
 * guards the rest.
 */
#ifndef MLQ_SCHEDULER_KEYBOOK_H
#define MLQ_SCHEDULER_KEYBOOK_H

#include <stdint.h>

#include "lib/base/ownership.h"
#include "lib/base/str.h"

struct keybook;

MLQ_OWNED_RETURN struct keybook *keybook_create(void);
void keybook_destroy(struct keybook **book);
void keybook_put(struct keybook *book, struct mlq_str key, uint64_t job); /* the key must be new */
uint64_t keybook_find(const struct keybook *book, struct mlq_str key);    /* 0: unknown */

#endif
