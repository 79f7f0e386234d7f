/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/core/deadline.h"

bool deadline_before(const struct mlq_heap_node *a, const struct mlq_heap_node *b)
{
    const struct deadline *left = STATE_CONST_OF(a, struct deadline, node);
    const struct deadline *right = STATE_CONST_OF(b, struct deadline, node);
    if (left->at_ns != right->at_ns) {
        return left->at_ns < right->at_ns;
    }
    if (left->kind != right->kind) {
        return left->kind < right->kind;
    }
    if (left->major != right->major) {
        return left->major < right->major;
    }
    return left->minor < right->minor;
}

void deadline_arm(struct core *core, struct deadline *deadline, int64_t at_ns)
{
    deadline->at_ns = at_ns;
    if (deadline_is_armed(deadline)) {
        mlq_heap_moved(&core->deadlines, &deadline->node);
    } else {
        mlq_heap_push(&core->deadlines, &deadline->node);
    }
    MLQ_ASSERT(deadline_is_armed(deadline));
}

void deadline_disarm(struct core *core, struct deadline *deadline)
{
    mlq_heap_remove(&core->deadlines, &deadline->node);
}

bool deadline_is_armed(const struct deadline *deadline)
{
    return mlq_heap_contains(&deadline->node);
}

struct deadline *deadline_pop_due(struct core *core, int64_t now_ns)
{
    if (deadline_next_ns(core) > now_ns) {
        return NULL;
    }
    struct mlq_heap_node *node = mlq_heap_pop(&core->deadlines);
    return node == NULL ? NULL : MLQ_CONTAINER_OF(node, struct deadline, node);
}

int64_t deadline_next_ns(const struct core *core)
{
    struct mlq_heap_node *node = mlq_heap_peek(&core->deadlines);
    return node == NULL ? INT64_MAX : MLQ_CONTAINER_OF(node, struct deadline, node)->at_ns;
}
