/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The canonical sum over virtual shards. Float addition is not associative, so the order of a sum
 * is part of its result. A job fixes a number of shards V, a power of two; the sum of their vectors
 * is always
 *
 *     T(lo, hi) = T(lo, mid) + T(mid, hi),   mid = (lo + hi) / 2,   T(i, i + 1) = shard i
 *
 * whoever computes which shard. A rank owns a contiguous range of shards and adds what it can:
 * every aligned subtree inside its range, kept on a carry stack like the digits of a binary
 * counter. The partial sums that remain are moved as bytes, and whoever holds all of them, in
 * order, finishes the same tree with the same code.
 */
#ifndef MLQ_ML_TREE_H
#define MLQ_ML_TREE_H

#include <stdbool.h>
#include <stdint.h>

#define TREE_SHARDS_MAX 1024u
#define TREE_LEVELS_MAX 10u /* log2 of the above */
#define TREE_NODES_MAX  (2 * TREE_LEVELS_MAX + 2)

/* A subtree: shards [index << level, (index + 1) << level). */
struct tree_node {
    uint32_t level;
    uint32_t index;
    float *values;
};

/* A carry stack. Values are the caller's memory. */
struct tree {
    uint64_t width; /* floats per vector */
    uint32_t count;
    struct tree_node nodes[TREE_NODES_MAX];
};

void tree_init(struct tree *tree, uint64_t width);

/* The next subtree to the right. While the two top nodes are the two halves of one, the right one
 * is added into the left one's memory and leaves the stack. */
void tree_push(struct tree *tree, struct tree_node node);

/* Shards that follow one another. */
struct tree_range {
    uint32_t begin;
    uint32_t end;
};

/* ---- Added as they come into being ---- */

/* One tree_push, as places 0, 1, ... on the stack: a vector comes at `top`, and is added to those at
 * top - 1, top - 2, ... down to `to`, where the sum then is. */
struct tree_fold {
    uint32_t top;
    uint32_t to;
};

/* The numbers [begin, end) of the sums are this core's to read next. If others read the rest, it may
 * pay to store that past the caches (stream.h). */
struct tree_near {
    bool streams_rest;
    uint64_t begin;
    uint64_t end;
};

/* What is to become of the vectors of some shards that follow one another. */
struct tree_sums {
    uint32_t shards;
    uint32_t filled;               /* the first of them; the vectors of the others are zero */
    const struct tree_fold *folds; /* [shards] */
    uint32_t held; /* so many places hold a sum before the first fold */
    uint32_t left; /* and behind the last one: nothing is needed of the others */
    float *places[TREE_NODES_MAX + 1];
    struct tree_near near;
};

/* The folds of shards [first, first + count), the next ones of `tree`, whose width is 0. `sums` gets
 * them, but neither places nor what is near, and refers to `folds` [count]. */
void tree_plan(struct tree *tree, uint32_t first, uint32_t count, struct tree_fold *folds,
               struct tree_sums *sums);

/* How many places the vectors of a range take until they are folded; one at least. */
uint32_t tree_places(struct tree_range range);

/* What lies at the shard's `top` is folded, in the numbers [at, at + count) of all places. */
void tree_fold(const struct tree_sums *sums, uint32_t shard, uint64_t at, uint64_t count);

/* The same, for all shards that are not filled. */
void tree_fold_zeros(const struct tree_sums *sums, uint64_t at, uint64_t count);

/* ---- Finished out of place ---- */

/* What a rank has of the tree, to be read only. */
struct tree_view {
    uint32_t level;
    uint32_t index;
    const float *values;
};

/* All that is left of one tree, in order. */
struct tree_rest {
    const struct tree_view *views; /* [count] */
    uint32_t count;
};

/* The same sum out of place: `sum` [width] becomes that of the rest, whose views have `width` values
 * each. Reads each once, a block at a time, whatever the number of nodes. Nothing may overlap. */
void tree_finish(struct tree_rest rest, uint64_t width, float *sum);

/* One block of it, for who uses the sum at once: where the numbers [begin, begin + width) of it are,
 * in `room` or, if there is one view alone, in that. width <= TREE_BLOCK_FLOATS. */
#define TREE_BLOCK_FLOATS 256u /* a block of each node stays in the first-level cache */
struct tree_room {
    float places[TREE_NODES_MAX][TREE_BLOCK_FLOATS];
};
const float *tree_finish_block(struct tree_rest rest, uint64_t begin, uint64_t width,
                               struct tree_room *room);

/* The shards of `rank` when `shards` are dealt to `ranks`: none for some when there are more ranks. */
struct tree_range tree_deal(uint32_t shards, uint32_t ranks, uint32_t rank);

/* The partial sums that remain of a range, in order, values NULL. Returns how many (<=
 * TREE_NODES_MAX). */
uint32_t tree_partials(struct tree_range range, struct tree_node nodes[TREE_NODES_MAX]);

/* The same tree over V doubles (losses): the result is left in values[0]. */
double tree_sum_doubles(double *values, uint32_t shards);

#endif
