/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/tree.h"

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/panic.h"

void tree_init(struct tree *tree, uint64_t width)
{
    *tree = (struct tree){.width = width};
}

static bool is_pair(const struct tree_node *left, const struct tree_node *right)
{
    return left->level == right->level && left->index % 2 == 0 && right->index == left->index + 1;
}

static void add_into(float *restrict to, const float *restrict from, uint64_t width)
{
    for (uint64_t i = 0; i < width; i++) {
        to[i] += from[i];
    }
}

void tree_push(struct tree *tree, struct tree_node node)
{
    MLQ_ASSERT(tree->count < TREE_NODES_MAX);
    tree->nodes[tree->count++] = node;
    while (tree->count >= 2) {
        struct tree_node *left = &tree->nodes[tree->count - 2];
        const struct tree_node *right = &tree->nodes[tree->count - 1];
        if (!is_pair(left, right)) {
            return;
        }
        if (tree->width > 0) {
            add_into(left->values, right->values, tree->width);
        }
        left->level++;
        left->index /= 2;
        tree->count--;
    }
}

struct tree_range tree_deal(uint32_t shards, uint32_t ranks, uint32_t rank)
{
    MLQ_ASSERT(ranks > 0 && rank < ranks);
    return (struct tree_range){
        .begin = (uint32_t)((uint64_t)shards * rank / ranks),
        .end = (uint32_t)((uint64_t)shards * (rank + 1) / ranks),
    };
}

uint32_t tree_partials(struct tree_range range, struct tree_node nodes[TREE_NODES_MAX])
{
    struct tree tree;
    tree_init(&tree, 0);
    for (uint32_t shard = range.begin; shard < range.end; shard++) {
        tree_push(&tree, (struct tree_node){.level = 0, .index = shard});
    }
    for (uint32_t i = 0; i < tree.count; i++) {
        nodes[i] = tree.nodes[i];
    }
    return tree.count;
}

double tree_sum_doubles(double *values, uint32_t shards)
{
    MLQ_ASSERT(shards > 0 && (shards & (shards - 1)) == 0);
    for (uint32_t step = 1; step < shards; step *= 2) {
        for (uint32_t i = 0; i < shards; i += 2 * step) {
            values[i] += values[i + step];
        }
    }
    return values[0];
}
