/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The texts that mean "no value". Asked for every cell, so nearly all are told apart by their length
 * and first byte.
 */
#ifndef MLQ_OP_MISSING_H
#define MLQ_OP_MISSING_H

#include "lib/base/ownership.h"
#include "lib/base/str.h"

struct missing {
    const char *const *texts; /* not owned */
    size_t count;
    size_t len_max;
    bool first[256];
    bool empty;         /* "" is one of them */
    bool looks_numeric; /* one of them reads as a number, such as -999 */
};

void missing_init(struct missing *missing, MLQ_BORROWS const char *const *texts, size_t count);
bool missing_has(const struct missing *missing, struct mlq_str cell);

#endif
