/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Removal shifts the rest of the probe run back instead of leaving tombstones, so the map does not
 * slow down with age (Knuth, The Art of Computer Programming 3, 6.4, algorithm R).
 */
#include "lib/base/map.h"

#include "lib/base/panic.h"
#include "lib/base/prng.h"

static uint32_t entry_count(uint32_t capacity)
{
    MLQ_ASSERT(capacity < UINT32_C(1) << 30); /* or the count of entries would wrap */
    uint32_t entries = 8;
    while (entries < capacity * 2) {
        entries *= 2;
    }
    return entries;
}

static uint32_t home(const struct mlq_map *map, uint64_t key)
{
    return (uint32_t)mlq_hash_in_runs(key) & map->mask;
}

size_t mlq_map_footprint(uint32_t capacity)
{
    return mlq_arena_footprint((size_t)entry_count(capacity) * sizeof(struct mlq_map_entry));
}

bool mlq_map_init(struct mlq_map *map, struct mlq_arena *arena, uint32_t capacity)
{
    uint32_t entries = entry_count(capacity);
    *map = (struct mlq_map){.mask = entries - 1, .capacity = capacity};
    map->entries = mlq_arena_array(arena, entries, sizeof *map->entries);
    return map->entries != NULL;
}

void mlq_map_insert(struct mlq_map *map, uint64_t key, uint32_t value)
{
    MLQ_ASSERT(key != 0 && map->count < map->capacity);
    uint32_t place = home(map, key);
    while (map->entries[place].key != 0) {
        MLQ_ASSERT(map->entries[place].key != key);
        place = (place + 1) & map->mask;
    }
    map->entries[place] = (struct mlq_map_entry){.key = key, .value = value};
    map->count++;
}

bool mlq_map_find(const struct mlq_map *map, uint64_t key, uint32_t *value)
{
    for (uint32_t place = home(map, key); map->entries[place].key != 0;
         place = (place + 1) & map->mask) {
        if (map->entries[place].key == key) {
            *value = map->entries[place].value;
            return true;
        }
    }
    return false;
}

void mlq_map_remove(struct mlq_map *map, uint64_t key)
{
    if (key == 0) {
        return; /* the mark of a free entry: the loop below would "find" it */
    }
    uint32_t hole = home(map, key);
    while (map->entries[hole].key != key) {
        if (map->entries[hole].key == 0) {
            return;
        }
        hole = (hole + 1) & map->mask;
    }
    map->count--;
    for (uint32_t next = (hole + 1) & map->mask; map->entries[next].key != 0;
         next = (next + 1) & map->mask) {
        uint32_t distance_home = (next - home(map, map->entries[next].key)) & map->mask;
        uint32_t distance_hole = (next - hole) & map->mask;
        if (distance_home >= distance_hole) {
            map->entries[hole] = map->entries[next];
            hole = next;
        }
    }
    map->entries[hole].key = 0;
}
