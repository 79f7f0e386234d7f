/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/base/prng.h"

#include <string.h>

#include "lib/base/panic.h"

#define SPLITMIX_STEP UINT64_C(0x9e3779b97f4a7c15)

uint64_t mlq_hash_u64(uint64_t value)
{
    value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

uint64_t mlq_hash_in_runs(uint64_t value)
{
    return mlq_hash_u64(value >> 3) << 3 | (value & 7);
}

uint64_t mlq_hash_keyed(uint64_t seed, uint64_t a, uint64_t b)
{
    uint64_t mixed = mlq_hash_u64(seed + SPLITMIX_STEP);
    mixed = mlq_hash_u64((mixed ^ a) + SPLITMIX_STEP);
    return mlq_hash_u64((mixed ^ b) + SPLITMIX_STEP);
}

void mlq_hasher_begin(struct mlq_hasher *hasher, uint64_t seed)
{
    *hasher = (struct mlq_hasher){.hash = seed};
}

/* Little-endian, byte by byte: for what does not fill a word. */
static size_t add_loose(struct mlq_hasher *hasher, const uint8_t *at, size_t bytes)
{
    size_t used = 0;
    for (; used < bytes && (used == 0 || hasher->bytes % sizeof(hasher->word) != 0); used++) {
        size_t place = hasher->bytes++ % sizeof(hasher->word);
        hasher->word |= (uint64_t)at[used] << (8 * place);
        if (place + 1 == sizeof(hasher->word)) {
            hasher->hash = mlq_hash_u64(hasher->hash ^ hasher->word) + hasher->bytes -
                           sizeof(hasher->word);
            hasher->word = 0;
        }
    }
    return used;
}

void mlq_hasher_add(struct mlq_hasher *hasher, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    uint64_t word;
    size_t i = hasher->bytes % sizeof(word) == 0 ? 0 : add_loose(hasher, at, bytes);
    for (; i + sizeof(word) <= bytes; i += sizeof(word)) {
        memcpy(&word, at + i, sizeof(word));
        hasher->hash = mlq_hash_u64(hasher->hash ^ word) + hasher->bytes;
        hasher->bytes += sizeof(word);
    }
    (void)add_loose(hasher, at + i, bytes - i);
}

uint64_t mlq_hasher_end(const struct mlq_hasher *hasher)
{
    return mlq_hash_keyed(hasher->hash, hasher->word, hasher->bytes);
}

uint64_t mlq_hash_bytes(uint64_t seed, const void *data, size_t bytes)
{
    struct mlq_hasher hasher;
    mlq_hasher_begin(&hasher, seed);
    mlq_hasher_add(&hasher, data, bytes);
    return mlq_hasher_end(&hasher);
}

void mlq_prng_seed(struct mlq_prng *prng, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += SPLITMIX_STEP;
        prng->state[i] = mlq_hash_u64(seed);
    }
}

static uint64_t rotate_left(uint64_t value, int bits)
{
    return (value << bits) | (value >> (64 - bits));
}

uint64_t mlq_prng_next(struct mlq_prng *prng)
{
    uint64_t *s = prng->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t mlq_prng_below(struct mlq_prng *prng, uint64_t bound)
{
    MLQ_ASSERT(bound > 0);
    __uint128_t product = (__uint128_t)mlq_prng_next(prng) * bound;
    if ((uint64_t)product < bound) {
        uint64_t threshold = (UINT64_C(0) - bound) % bound;
        while ((uint64_t)product < threshold) {
            product = (__uint128_t)mlq_prng_next(prng) * bound;
        }
    }
    return (uint64_t)(product >> 64);
}
