/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Seeded chance. The same seed gives the same numbers on every machine.
 */
#ifndef MLQ_BASE_PRNG_H
#define MLQ_BASE_PRNG_H

#include <stddef.h>
#include <stdint.h>

/* xoshiro256** 1.0 (Blackman and Vigna, prng.di.unimi.it), seeded through splitmix64. */
struct mlq_prng {
    uint64_t state[4];
};

void mlq_prng_seed(struct mlq_prng *prng, uint64_t seed);
uint64_t mlq_prng_next(struct mlq_prng *prng);

/* Uniform in [0, bound), without modulo bias (Lemire 2019). bound must be > 0. */
uint64_t mlq_prng_below(struct mlq_prng *prng, uint64_t bound);

/* The finaliser of splitmix64: a bijection whose output bits all depend on all input bits. */
uint64_t mlq_hash_u64(uint64_t value);

/* The same for the places of a table whose keys are numbered in order: of eight that follow each other the places do,
 * too, so that what is used together is found in the same lines of the cache. */
uint64_t mlq_hash_in_runs(uint64_t value);

/* A counter generator: the same (seed, a, b) always gives the same number, whatever came before. */
uint64_t mlq_hash_keyed(uint64_t seed, uint64_t a, uint64_t b);

/* Of any bytes: shows what changed by accident, does not withstand who wants to deceive. */
uint64_t mlq_hash_bytes(uint64_t seed, const void *data, size_t bytes);

/* The same of bytes that come in pieces, wherever they are cut. */
struct mlq_hasher {
    uint64_t hash;
    uint64_t bytes; /* so far */
    uint64_t word;  /* the last of them that are no whole word yet */
};
void mlq_hasher_begin(struct mlq_hasher *hasher, uint64_t seed);
void mlq_hasher_add(struct mlq_hasher *hasher, const void *data, size_t bytes);
uint64_t mlq_hasher_end(const struct mlq_hasher *hasher);

#endif
