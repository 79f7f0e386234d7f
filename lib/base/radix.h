/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Sorting by numbers of 64 bits, a byte at a time from the lowest (Knuth 5.2.5, algorithm R): linear,
 * stable, and without a comparison that would have to be called.
 */
#ifndef MLQ_BASE_RADIX_H
#define MLQ_BASE_RADIX_H

#include <stddef.h>
#include <stdint.h>

struct mlq_radix_pair {
    uint64_t key;
    uint64_t with; /* goes where its key goes */
};

/* By key, the least first. `scratch` has room for as many; what it holds afterwards means nothing. */
void mlq_radix_sort(struct mlq_radix_pair *pairs, struct mlq_radix_pair *scratch, size_t count);

/* Keys alone, which takes half the time; fewer than 2^32. */
void mlq_radix_sort_keys(uint64_t *keys, uint64_t *scratch, size_t count);

/* A key in the order of numbers, and back, bit for bit: -inf first, -0 before 0; no NaN. */
uint64_t mlq_radix_key(double value);
double mlq_radix_value(uint64_t key);

#endif
