/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The order of samples: a permutation keyed by (seed, epoch) alone, so that every rank, and every
 * resumed attempt, sees the same one.
 */
#ifndef MLQ_ML_ORDER_H
#define MLQ_ML_ORDER_H

#include <stdint.h>

/* order[0..count) becomes a permutation of 0..count-1 (Fisher and Yates's shuffle, Durstenfeld
 * 1964). */
void order_shuffle(uint32_t *order, uint32_t count, uint64_t seed, uint64_t epoch);

/* What else is drawn anew for each sample of an epoch is keyed by this and the sample. */
uint64_t order_key(uint64_t seed, uint64_t epoch);

#endif
