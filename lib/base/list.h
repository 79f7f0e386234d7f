/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * An intrusive, circular, doubly linked list. A node that is in no list points to itself.
 */
#ifndef MLQ_BASE_LIST_H
#define MLQ_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct mlq_list {
    struct mlq_list *next;
    struct mlq_list *prev;
};

static inline void mlq_list_init(struct mlq_list *list)
{
    list->next = list;
    list->prev = list;
}

static inline bool mlq_list_empty(const struct mlq_list *list)
{
    return list->next == list;
}

static inline void mlq_list_push_back(struct mlq_list *list, struct mlq_list *node)
{
    node->prev = list->prev;
    node->next = list;
    list->prev->next = node;
    list->prev = node;
}

/* Legal for a node that is in no list. Afterwards the node is in none. */
static inline void mlq_list_remove(struct mlq_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    mlq_list_init(node);
}

/* The first node, removed; NULL when empty. */
static inline struct mlq_list *mlq_list_pop_front(struct mlq_list *list)
{
    if (mlq_list_empty(list)) {
        return NULL;
    }
    struct mlq_list *node = list->next;
    mlq_list_remove(node);
    return node;
}

#endif
