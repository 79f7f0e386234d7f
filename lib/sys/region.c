/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/sys/region.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/arena.h"
#include "lib/base/panic.h"
#include "lib/sys/mem.h"

/* Small at first, since a scheduler keeps one for each of its jobs; then doubled. */
#define BLOCK_BYTES_MIN 1024
#define BLOCK_BYTES_MAX 8192

struct block {
    struct block *older;
    struct mlq_arena arena;
    _Alignas(max_align_t) unsigned char bytes[];
};

struct mlq_region {
    struct block *newest;
    size_t handed_out;
    size_t next_bytes; /* of the next block, if what is asked for is not larger */
};

static struct block *block_create(size_t bytes, struct block *older)
{
    size_t total;
    MLQ_ASSERT(!__builtin_add_overflow(sizeof(struct block), bytes, &total));
    struct block *block = mlq_alloc(total);
    block->older = older;
    mlq_arena_init(&block->arena, block->bytes, bytes);
    return block;
}

struct mlq_region *mlq_region_create(void)
{
    struct mlq_region *region = mlq_alloc(sizeof *region);
    region->newest = block_create(BLOCK_BYTES_MIN, NULL);
    region->next_bytes = 2 * BLOCK_BYTES_MIN;
    return region;
}

void mlq_region_reset(struct mlq_region *region)
{
    while (region->newest->older != NULL) {
        struct block *older = region->newest->older;
        mlq_free(region->newest);
        region->newest = older;
    }
    mlq_arena_reset(&region->newest->arena);
    region->handed_out = 0;
}

void mlq_region_destroy(struct mlq_region **region)
{
    if (*region == NULL) {
        return;
    }
    mlq_region_reset(*region);
    mlq_free((*region)->newest);
    mlq_free(*region);
    *region = NULL;
}

size_t mlq_region_bytes(const struct mlq_region *region)
{
    return region->handed_out;
}

void *mlq_region_alloc(struct mlq_region *region, size_t bytes)
{
    void *memory = mlq_arena_alloc(&region->newest->arena, bytes);
    if (memory == NULL) {
        size_t needed = mlq_arena_footprint(bytes);
        MLQ_ASSERT(needed >= bytes);
        size_t block_bytes = needed > region->next_bytes ? needed : region->next_bytes;
        region->newest = block_create(block_bytes, region->newest);
        region->next_bytes =
            region->next_bytes < BLOCK_BYTES_MAX ? 2 * region->next_bytes : BLOCK_BYTES_MAX;
        memory = mlq_arena_alloc(&region->newest->arena, bytes);
    }
    region->handed_out += bytes;
    return memory;
}

void *mlq_region_array(struct mlq_region *region, size_t count, size_t bytes)
{
    size_t total;
    MLQ_ASSERT(!__builtin_mul_overflow(count, bytes, &total));
    return mlq_region_alloc(region, total);
}

char *mlq_region_strndup(struct mlq_region *region, struct mlq_str text)
{
    MLQ_ASSERT(text.len < SIZE_MAX);
    char *copy = mlq_region_alloc(region, text.len + 1);
    if (text.len > 0) {
        memcpy(copy, text.ptr, text.len);
    }
    return copy;
}

char *mlq_region_strdup(struct mlq_region *region, const char *text)
{
    return text == NULL ? NULL : mlq_region_strndup(region, mlq_str_from(text));
}

struct mlq_str mlq_region_copy(struct mlq_region *region, struct mlq_str text)
{
    return (struct mlq_str){.ptr = mlq_region_strndup(region, text), .len = text.len};
}

char *mlq_region_format(struct mlq_region *region, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    MLQ_ASSERT(length >= 0);
    char *text = mlq_region_alloc(region, (size_t)length + 1);
    (void)vsnprintf(text, (size_t)length + 1, fmt, again);
    va_end(again);
    return text;
}
