/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * How long a test waits for what must happen before it fails: what it says itself, times MLQ_PATIENCE (1)
 * where the machine is slow, as an emulated one is.
 */
#ifndef MLQ_TESTS_SUPPORT_PATIENCE_H
#define MLQ_TESTS_SUPPORT_PATIENCE_H

#include <stdint.h>
#include <stdlib.h>

static inline int64_t patience(int64_t time)
{
    const char *text = getenv("MLQ_PATIENCE");
    long factor = text == NULL ? 1 : strtol(text, NULL, 10);
    return time * (factor > 1 ? factor : 1);
}

#endif
