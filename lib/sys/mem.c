/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/sys/mem.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/panic.h"

void *mlq_alloc(size_t bytes)
{
    return mlq_alloc_array(1, bytes);
}

void *mlq_alloc_array(size_t count, size_t bytes)
{
    void *memory = calloc(count == 0 ? 1 : count, bytes == 0 ? 1 : bytes);
    MLQ_ASSERT(memory != NULL);
    return memory;
}

void *mlq_realloc_array(void *memory, size_t count, size_t bytes)
{
    size_t total;
    MLQ_ASSERT(!__builtin_mul_overflow(count, bytes, &total));
    void *grown = realloc(memory, total == 0 ? 1 : total);
    MLQ_ASSERT(grown != NULL);
    return grown;
}

void mlq_free(void *memory)
{
    free(memory);
}

void mlq_free_p(void *pointer_to_pointer)
{
    void **pointer = pointer_to_pointer;
    free(*pointer);
    *pointer = NULL;
}

char *mlq_strdup(const char *text)
{
    return text == NULL ? NULL : mlq_strndup(mlq_str_from(text));
}

char *mlq_strndup(struct mlq_str text)
{
    MLQ_ASSERT(text.len < SIZE_MAX);
    char *copy = mlq_alloc(text.len + 1);
    if (text.len > 0) {
        memcpy(copy, text.ptr, text.len);
    }
    return copy;
}

char *mlq_format(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *text = mlq_vformat(fmt, args);
    va_end(args);
    return text;
}

char *mlq_vformat(const char *fmt, va_list args)
{
    char *text = NULL;
    MLQ_ASSERT(vasprintf(&text, fmt, args) >= 0);
    return text;
}
