/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The only malloc. Memory comes zeroed. Running out of it is a panic: limits are checked before,
 * and a daemon that cannot allocate cannot keep its promises; its record can.
 */
#ifndef MLQ_SYS_MEM_H
#define MLQ_SYS_MEM_H

#include <stdarg.h>
#include <stddef.h>

#include "lib/base/ownership.h"
#include "lib/base/str.h"

MLQ_OWNED_RETURN void *mlq_alloc(size_t bytes);
MLQ_OWNED_RETURN void *mlq_alloc_array(size_t count, size_t bytes);

/* Grow or shrink to `count` elements of `bytes`; new memory is not zeroed. NULL allocates. */
MLQ_OWNED_RETURN void *mlq_realloc_array(MLQ_TAKES void *memory, size_t count, size_t bytes);

void mlq_free(MLQ_TAKES void *memory); /* NULL is fine */

MLQ_OWNED_RETURN char *mlq_strdup(const char *text);     /* NULL gives NULL */
MLQ_OWNED_RETURN char *mlq_strndup(struct mlq_str text); /* terminated copy of a slice */
MLQ_OWNED_RETURN char *mlq_format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
MLQ_OWNED_RETURN char *mlq_vformat(const char *fmt, va_list args)
    __attribute__((format(printf, 1, 0)));

/* For MLQ_CLEANUP(mlq_free_p) on local pointers. */
void mlq_free_p(void *pointer_to_pointer);
#define MLQ_CLEANUP(fn) __attribute__((cleanup(fn)))

#endif
