/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A bump arena over a block that the caller gives. It never grows and never frees singly: reset it,
 * or rewind to a mark. For memory that grows, use lib/sys/region.h.
 */
#ifndef MLQ_BASE_ARENA_H
#define MLQ_BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

struct mlq_arena {
    uint8_t *block; /* not owned */
    size_t size;
    size_t used;
};

/* `block` must outlive the arena and be aligned for max_align_t. */
void mlq_arena_init(struct mlq_arena *arena, void *block, size_t size);

/* `bytes` of zeroed memory aligned for any type, or NULL when the block is full. 0 bytes give a
 * valid pointer. */
void *mlq_arena_alloc(struct mlq_arena *arena, size_t bytes);

/* `count` elements of `bytes` each, or NULL when full or when the product overflows. */
void *mlq_arena_array(struct mlq_arena *arena, size_t count, size_t bytes);

/* What mlq_arena_alloc(bytes) takes from the block, padding included: to size a block before. */
size_t mlq_arena_footprint(size_t bytes);

void mlq_arena_reset(struct mlq_arena *arena);
size_t mlq_arena_mark(const struct mlq_arena *arena);
void mlq_arena_rewind(struct mlq_arena *arena, size_t mark);

#endif
