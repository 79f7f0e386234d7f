/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What is in the columns of a table, one column in memory at a time. For each a JSON object:
 *
 *     name kind role count missing distinct distinct_exact
 *     number    integer min max mean std quantiles{"0.01" ... "0.99"} quantiles_exact
 *     both      top: the ten most frequent values with their counts (when distinct is exact)
 *
 * `std` is the sample's (n - 1), as in pandas. `distinct` is exact up to PROFILE_DISTINCT_MAX; beyond, it is
 * that limit and means "at least". Quantiles interpolate linearly (type 7 of Hyndman and Fan, as in
 * NumPy); they are exact while `distinct` is; beyond, they come from a uniform sample of PROFILE_SAMPLE_MAX
 * values, whose ranks err by less than 0.8 % with 99.9 % confidence (Dvoretzky, Kiefer and Wolfowitz).
 * A column without any value has no statistics.
 */
#ifndef MLQ_OP_PROFILE_H
#define MLQ_OP_PROFILE_H

#include <jansson.h>

#include "lib/base/ownership.h"
#include "worker/op/table.h"

#define PROFILE_DISTINCT_MAX 65536u
#define PROFILE_SAMPLE_MAX   65536u
#define PROFILE_TOP_MAX      10u

/* Room that one column after the other uses, at most 6 MiB; for one thread. */
struct profile;
MLQ_OWNED_RETURN struct profile *profile_create(void);
void profile_destroy(struct profile **profile); /* takes NULL */

MLQ_OWNED_RETURN json_t *profile_column(struct profile *profile, const struct table *table, size_t i);

#endif
