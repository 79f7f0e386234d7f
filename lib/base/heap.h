/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A binary min-heap of intrusive nodes over an array that the caller gives. Each node knows its
 * place, so that any node is removed or moved in logarithmic time.
 */
#ifndef MLQ_BASE_HEAP_H
#define MLQ_BASE_HEAP_H

#include <stdbool.h>
#include <stdint.h>

struct mlq_heap_node {
    uint32_t place; /* 1-based place in the array; 0: in no heap */
};

/* True when a must leave the heap before b. It must be a total order: ties are a bug, because the
 * order of equal nodes would depend on history. */
typedef bool (*mlq_heap_before_fn)(const struct mlq_heap_node *a, const struct mlq_heap_node *b);

struct mlq_heap {
    struct mlq_heap_node **nodes; /* not owned */
    uint32_t capacity;
    uint32_t count;
    mlq_heap_before_fn before;
};

void mlq_heap_init(struct mlq_heap *heap, struct mlq_heap_node **nodes, uint32_t capacity,
                   mlq_heap_before_fn before);

/* The node must be in no heap and the heap must have room: both are asserted. */
void mlq_heap_push(struct mlq_heap *heap, struct mlq_heap_node *node);

/* The first node, or NULL. It stays in the heap. */
struct mlq_heap_node *mlq_heap_peek(const struct mlq_heap *heap);

/* The first node, removed, or NULL. */
struct mlq_heap_node *mlq_heap_pop(struct mlq_heap *heap);

/* Legal for a node that is in no heap. */
void mlq_heap_remove(struct mlq_heap *heap, struct mlq_heap_node *node);

/* Restore the order after the key of a node in the heap changed. */
void mlq_heap_moved(struct mlq_heap *heap, struct mlq_heap_node *node);

static inline bool mlq_heap_contains(const struct mlq_heap_node *node)
{
    return node->place != 0;
}

#endif
