/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Places are 1-based, so that the parent of i is i/2 and its children are 2i and 2i+1.
 */
#include "lib/base/heap.h"

#include <stddef.h>

#include "lib/base/panic.h"

static struct mlq_heap_node *at(const struct mlq_heap *heap, uint32_t place)
{
    return heap->nodes[place - 1];
}

static void put(struct mlq_heap *heap, uint32_t place, struct mlq_heap_node *node)
{
    heap->nodes[place - 1] = node;
    node->place = place;
}

static void sift_up(struct mlq_heap *heap, struct mlq_heap_node *node)
{
    uint32_t place = node->place;
    while (place > 1 && heap->before(node, at(heap, place / 2))) {
        put(heap, place, at(heap, place / 2));
        place /= 2;
    }
    put(heap, place, node);
}

static void sift_down(struct mlq_heap *heap, struct mlq_heap_node *node)
{
    uint32_t place = node->place;
    while (place <= heap->count / 2) {
        uint32_t child = place * 2;
        if (child < heap->count && heap->before(at(heap, child + 1), at(heap, child))) {
            child++;
        }
        if (!heap->before(at(heap, child), node)) {
            break;
        }
        put(heap, place, at(heap, child));
        place = child;
    }
    put(heap, place, node);
}

void mlq_heap_init(struct mlq_heap *heap, struct mlq_heap_node **nodes, uint32_t capacity,
                   mlq_heap_before_fn before)
{
    *heap = (struct mlq_heap){.nodes = nodes, .capacity = capacity, .before = before};
}

void mlq_heap_push(struct mlq_heap *heap, struct mlq_heap_node *node)
{
    MLQ_ASSERT(node->place == 0);
    MLQ_ASSERT(heap->count < heap->capacity);
    heap->count++;
    put(heap, heap->count, node);
    sift_up(heap, node);
}

struct mlq_heap_node *mlq_heap_peek(const struct mlq_heap *heap)
{
    return heap->count == 0 ? NULL : at(heap, 1);
}

struct mlq_heap_node *mlq_heap_pop(struct mlq_heap *heap)
{
    struct mlq_heap_node *first = mlq_heap_peek(heap);
    if (first != NULL) {
        mlq_heap_remove(heap, first);
    }
    return first;
}

void mlq_heap_remove(struct mlq_heap *heap, struct mlq_heap_node *node)
{
    if (node->place == 0) {
        return;
    }
    MLQ_ASSERT(node->place <= heap->count && at(heap, node->place) == node);
    uint32_t place = node->place;
    struct mlq_heap_node *last = at(heap, heap->count);
    heap->count--;
    node->place = 0;
    if (last != node) {
        put(heap, place, last);
        mlq_heap_moved(heap, last);
    }
}

void mlq_heap_moved(struct mlq_heap *heap, struct mlq_heap_node *node)
{
    MLQ_ASSERT(node->place != 0);
    sift_up(heap, node);
    sift_down(heap, node);
}
