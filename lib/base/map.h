/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A fixed-capacity map from a non-zero 64-bit id to a 32-bit value (a table slot), with linear
 * probing. It is never iterated: hash order must not reach a decision.
 */
#ifndef MLQ_BASE_MAP_H
#define MLQ_BASE_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/arena.h"

struct mlq_map_entry {
    uint64_t key; /* 0: free */
    uint32_t value;
};

struct mlq_map {
    struct mlq_map_entry *entries;
    uint32_t mask; /* number of entries - 1, a power of two - 1 */
    uint32_t count;
    uint32_t capacity; /* keys that fit; at most half of the entries, so probes stay short */
};

/* Bytes that mlq_map_init takes from an arena. The capacity must be under 2^30: asserted. */
size_t mlq_map_footprint(uint32_t capacity);

/* False when the arena has no room. */
bool mlq_map_init(struct mlq_map *map, struct mlq_arena *arena, uint32_t capacity);

/* The key must be non-zero and absent, and the map not full: asserted. */
void mlq_map_insert(struct mlq_map *map, uint64_t key, uint32_t value);

/* True and *value set when the key is present. */
bool mlq_map_find(const struct mlq_map *map, uint64_t key, uint32_t *value);

/* Legal for an absent key, 0 included. */
void mlq_map_remove(struct mlq_map *map, uint64_t key);

#endif
