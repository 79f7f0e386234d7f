/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/tree.h"

#include <stddef.h>
#include <string.h>

#include "lib/base/panic.h"
#include "worker/ml/wide.h"

void tree_init(struct tree *tree, uint64_t width)
{
    *tree = (struct tree){.width = width};
}

/* Of two subtrees behind each other: whether they are the halves of one. */
static bool are_halves(uint32_t left_level, uint32_t left, uint32_t right_level, uint32_t right)
{
    return left_level == right_level && left % 2 == 0 && right == left + 1;
}

ML_WIDE
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
        if (!are_halves(left->level, left->index, right->level, right->index)) {
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

void tree_plan(struct tree *tree, uint32_t first, uint32_t count, struct tree_fold *folds,
               struct tree_sums *sums)
{
    MLQ_ASSERT(tree->width == 0);
    sums->held = tree->count;
    for (uint32_t i = 0; i < count; i++) {
        folds[i].top = tree->count;
        tree_push(tree, (struct tree_node){.index = first + i});
        folds[i].to = tree->count - 1;
    }
    sums->shards = sums->filled = count;
    sums->folds = folds;
    sums->left = tree->count;
}

void tree_fold(const struct tree_sums *sums, uint32_t shard, uint64_t at, uint64_t count)
{
    const struct tree_fold *fold = &sums->folds[shard];
    for (uint32_t place = fold->top; place > fold->to; place--) {
        add_into(sums->places[place - 1] + at, sums->places[place] + at, count);
    }
}

void tree_fold_zeros(const struct tree_sums *sums, uint64_t at, uint64_t count)
{
    for (uint32_t shard = sums->filled; shard < sums->shards; shard++) {
        memset(sums->places[sums->folds[shard].top] + at, 0, count * sizeof(float));
        tree_fold(sums, shard, at, count);
    }
}

/* The carry stack for one block. A sum of two lies in the memory of its place: place 0, where the
 * whole sum ends up, is the caller's. */
struct block {
    uint64_t width;
    uint32_t count;
    struct tree_view nodes[TREE_NODES_MAX];
    float *first; /* place 0 */
    struct tree_room *room; /* the others */
};

ML_WIDE
static void add(float *restrict to, const float *restrict left, const float *restrict right,
                uint64_t width)
{
    for (uint64_t i = 0; i < width; i++) {
        to[i] = left[i] + right[i];
    }
}

static void block_push(struct block *block, struct tree_view node)
{
    MLQ_ASSERT(block->count < TREE_NODES_MAX);
    block->nodes[block->count++] = node;
    while (block->count >= 2) {
        struct tree_view *left = &block->nodes[block->count - 2];
        const struct tree_view *right = left + 1;
        uint32_t place = block->count - 2;
        float *to = place == 0 ? block->first : block->room->places[place];
        if (!are_halves(left->level, left->index, right->level, right->index)) {
            return;
        }
        if (left->values == to) {
            add_into(to, right->values, block->width);
        } else {
            add(to, left->values, right->values, block->width);
        }
        *left = (struct tree_view){
            .level = left->level + 1, .index = left->index / 2, .values = to};
        block->count--;
    }
}

/* Where the sum is: at `first`, or where it was. */
static const float *finish_block(struct tree_rest rest, uint64_t begin, uint64_t width,
                                 float *first, struct tree_room *room)
{
    struct block block = {.width = width, .first = first, .room = room};
    for (uint32_t i = 0; i < rest.count; i++) {
        struct tree_view node = rest.views[i];
        node.values += begin;
        block_push(&block, node);
    }
    MLQ_ASSERT(block.count == 1 && block.nodes[0].index == 0);
    return block.nodes[0].values;
}

void tree_finish(struct tree_rest rest, uint64_t width, float *sum)
{
    struct tree_room room;
    for (uint64_t begin = 0; begin < width; begin += TREE_BLOCK_FLOATS) {
        uint64_t left = width - begin, floats = left < TREE_BLOCK_FLOATS ? left : TREE_BLOCK_FLOATS;
        const float *at = finish_block(rest, begin, floats, sum + begin, &room);
        if (at != sum + begin) { /* it was one node alone */
            memcpy(sum + begin, at, floats * sizeof(float));
        }
    }
}

const float *tree_finish_block(struct tree_rest rest, uint64_t begin, uint64_t width,
                               struct tree_room *room)
{
    MLQ_ASSERT(width <= TREE_BLOCK_FLOATS);
    return finish_block(rest, begin, width, room->places[0], room);
}

struct tree_range tree_deal(uint32_t shards, uint32_t ranks, uint32_t rank)
{
    MLQ_ASSERT(ranks > 0 && rank < ranks);
    return (struct tree_range){
        .begin = (uint32_t)((uint64_t)shards * rank / ranks),
        .end = (uint32_t)((uint64_t)shards * (rank + 1) / ranks),
    };
}

uint32_t tree_places(struct tree_range range)
{
    struct tree tree;
    uint32_t places = 1;
    tree_init(&tree, 0);
    for (uint32_t shard = range.begin; shard < range.end; shard++) {
        places = tree.count + 1 > places ? tree.count + 1 : places;
        tree_push(&tree, (struct tree_node){.level = 0, .index = shard});
    }
    return places;
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
