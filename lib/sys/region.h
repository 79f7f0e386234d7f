/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A lifetime: everything allocated in a region dies with it. For what a turn, a request or a
 * document needs (the idea of PostgreSQL's memory contexts). Grows in blocks; allocations cannot
 * fail (mem.h).
 */
#ifndef MLQ_SYS_REGION_H
#define MLQ_SYS_REGION_H

#include <stddef.h>

#include "lib/base/ownership.h"
#include "lib/base/str.h"

struct mlq_region;

MLQ_OWNED_RETURN struct mlq_region *mlq_region_create(void);
void mlq_region_destroy(struct mlq_region **region);      /* takes NULL, frees, nulls */
void mlq_region_reset(struct mlq_region *region);         /* keeps one block for the next use */
size_t mlq_region_bytes(const struct mlq_region *region); /* handed out since creation or reset */

/* Zeroed, aligned for any type. Never NULL. */
void *mlq_region_alloc(struct mlq_region *region, size_t bytes);
void *mlq_region_array(struct mlq_region *region, size_t count, size_t bytes);
char *mlq_region_strdup(struct mlq_region *region, const char *text);     /* NULL gives NULL */
char *mlq_region_strndup(struct mlq_region *region, struct mlq_str text); /* terminated */
char *mlq_region_format(struct mlq_region *region, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
struct mlq_str mlq_region_copy(struct mlq_region *region, struct mlq_str text);

#endif
