/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/base/arena.h"

#include <string.h>

#include "lib/base/panic.h"

#define ARENA_ALIGN _Alignof(max_align_t)

void mlq_arena_init(struct mlq_arena *arena, void *block, size_t size)
{
    MLQ_ASSERT(((uintptr_t)block & (ARENA_ALIGN - 1)) == 0);
    *arena = (struct mlq_arena){.block = block, .size = size};
}

size_t mlq_arena_footprint(size_t bytes)
{
    return (bytes + ARENA_ALIGN - 1) & ~(ARENA_ALIGN - 1);
}

void *mlq_arena_alloc(struct mlq_arena *arena, size_t bytes)
{
    if (bytes > arena->size - arena->used) {
        return NULL;
    }
    size_t taken = mlq_arena_footprint(bytes);
    if (taken > arena->size - arena->used) {
        return NULL;
    }
    void *memory = arena->block + arena->used;
    arena->used += taken;
    memset(memory, 0, bytes);
    return memory;
}

void *mlq_arena_array(struct mlq_arena *arena, size_t count, size_t bytes)
{
    size_t total;
    if (__builtin_mul_overflow(count, bytes, &total)) {
        return NULL;
    }
    return mlq_arena_alloc(arena, total);
}

void mlq_arena_reset(struct mlq_arena *arena)
{
    arena->used = 0;
}

size_t mlq_arena_mark(const struct mlq_arena *arena)
{
    return arena->used;
}

void mlq_arena_rewind(struct mlq_arena *arena, size_t mark)
{
    MLQ_ASSERT(mark <= arena->used);
    arena->used = mark;
}
