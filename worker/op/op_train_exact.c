/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Levels elastic and repeat: the same bits for any number of ranks. Each rank computes the
 * gradients of its shards, by kernel calls that depend on nothing but the shapes, and adds what its
 * range allows (worker/ml/tree.h); the partial sums and the shards' losses go to all ranks, and
 * each finishes the same sums.
 */
#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"
#include "worker/ml/tree.h"
#include "worker/op/op_train_step.h"

/* What a rank sends: this, then a double per shard of its range (the losses), then its partial
 * sums. */
struct block_head {
    uint64_t stop;   /* it was asked to stop, and leaves behind this step */
    uint64_t newest; /* generation that it has heard of */
};

struct exact {
    struct op_train *train;
    uint32_t shard_rows;
    struct tree_range range; /* this rank's shards */
    struct op_train_batch *batch;
    uint8_t *send;    /* a block; its partial sums are the tree's memory */
    uint8_t *receive; /* all blocks; equal to `send` for one rank */
    uint64_t block_bytes[COLL_RANKS_MAX];
    double losses[TREE_SHARDS_MAX];
};

static uint32_t shard_rows(const struct op_train_config *config)
{
    return (config->batch + config->shards - 1) / config->shards;
}

/* ---- Memory ---- */

static uint64_t block_bytes(const struct op_train *train, uint32_t rank, uint32_t nodes_min)
{
    struct tree_node nodes[TREE_NODES_MAX];
    struct tree_range range = tree_deal(train->config.shards, coll_size(train->coll), rank);
    uint64_t partials = tree_partials(range, nodes);
    partials = partials < nodes_min ? nodes_min : partials;
    return sizeof(struct block_head) + (range.end - range.begin) * sizeof(double) +
           partials * train->data.model->arena_count * sizeof(float);
}

static double *block_losses(uint8_t *block)
{
    return (double *)(void *)(block + sizeof(struct block_head));
}

/* The sums after the losses. Doubles before floats: both are aligned. */
static float *block_sums(uint8_t *block, uint32_t shards)
{
    return (float *)(void *)(block + sizeof(struct block_head) + shards * sizeof(double));
}

static void *exact_create(struct op_train *train)
{
    const struct op_train_config *config = &train->config;
    uint32_t ranks = coll_size(train->coll), rank = coll_rank(train->coll);
    struct exact *exact = mlq_alloc(sizeof(*exact));
    exact->train = train;
    exact->shard_rows = shard_rows(config);
    exact->range = tree_deal(config->shards, ranks, rank);
    exact->batch = op_train_batch_create(train, exact->shard_rows);
    /* While sums are made, the tree holds more nodes than in the end. */
    exact->send = mlq_alloc(block_bytes(train, rank, TREE_NODES_MAX + 1));
    uint64_t total = 0;
    for (uint32_t r = 0; r < ranks; r++) {
        exact->block_bytes[r] = block_bytes(train, r, 0);
        /* Blocks lie one behind the other: each must keep the next one's doubles aligned. */
        exact->block_bytes[r] = (exact->block_bytes[r] + 7) / 8 * 8;
        total += exact->block_bytes[r];
    }
    exact->receive = ranks == 1 ? exact->send : mlq_alloc(total);
    return exact;
}

static void exact_destroy(void *state)
{
    struct exact *exact = state;
    if (exact->receive != exact->send) {
        mlq_free(exact->receive);
    }
    mlq_free(exact->send);
    op_train_batch_destroy(&exact->batch);
    mlq_free(exact);
}

/* ---- Sums ---- */

/* What of the step is the shard's: nothing for the last ones of a short step. */
static struct op_train_piece piece_of(const struct exact *exact, struct op_train_piece step,
                                      uint32_t shard)
{
    uint32_t from = shard * exact->shard_rows, to = from + exact->shard_rows;
    to = to < step.count ? to : step.count;
    from = from < to ? from : to;
    return (struct op_train_piece){
        .samples = step.samples + from, .count = to - from, .scale = step.scale};
}

static void sum_range(struct exact *exact, struct op_train_piece step)
{
    struct tree tree;
    uint32_t shards = exact->range.end - exact->range.begin;
    float *sums = block_sums(exact->send, shards);
    tree_init(&tree, exact->train->data.model->arena_count);
    for (uint32_t i = 0; i < shards; i++) {
        /* The stack's nodes lie one behind the other, so that they can be sent as one block. */
        float *gradient = sums + tree.count * tree.width;
        uint32_t shard = exact->range.begin + i;
        block_losses(exact->send)[i] =
            op_train_batch_run(exact->batch, piece_of(exact, step, shard), gradient);
        tree_push(&tree, (struct tree_node){.level = 0, .index = shard, .values = gradient});
    }
}

/* All blocks into the step's gradient (in `receive`), the shards' losses, and what comes next. */
static void finish_sums(struct exact *exact, struct op_train_total *total)
{
    struct tree tree;
    struct op_train *train = exact->train;
    uint32_t shards = train->config.shards, ranks = coll_size(train->coll);
    uint8_t *block = exact->receive;
    tree_init(&tree, train->data.model->arena_count);
    for (uint32_t rank = 0; rank < ranks; rank++) {
        struct block_head head;
        struct tree_node nodes[TREE_NODES_MAX];
        struct tree_range range = tree_deal(shards, ranks, rank);
        uint32_t own = range.end - range.begin;
        memcpy(&head, block, sizeof(head));
        if (head.stop != 0) {
            total->leaving++;
            op_train_gang_leaves(train->gang, rank);
        }
        total->newest = head.newest > total->newest ? head.newest : total->newest;
        memcpy(&exact->losses[range.begin], block_losses(block), own * sizeof(double));
        uint32_t count = tree_partials(range, nodes);
        for (uint32_t i = 0; i < count; i++) {
            nodes[i].values = block_sums(block, own) + i * tree.width;
            tree_push(&tree, nodes[i]);
        }
        block += exact->block_bytes[rank];
    }
    MLQ_ASSERT(tree.count == 1 && tree.nodes[0].index == 0);
    total->gradient = tree.nodes[0].values;
    total->loss = tree_sum_doubles(exact->losses, shards);
}

static int exact_run(void *state, struct op_train_piece step, bool stop,
                     struct op_train_total *total, struct mlq_err *err)
{
    struct exact *exact = state;
    struct op_train *train = exact->train;
    struct block_head head = {.stop = stop, .newest = op_train_gang_newest(train->gang)};
    *total = (struct op_train_total){.gradient = NULL};
    memcpy(exact->send, &head, sizeof(head));
    op_train_note(train, TASK_FLIGHT_COMPUTE);
    sum_range(exact, step);
    if (exact->receive != exact->send) {
        op_train_note(train, TASK_FLIGHT_EXCHANGE);
        int rc = coll_allgather(train->coll, exact->send, exact->receive, exact->block_bytes,
                                OP_TRAIN_TIMEOUT_NS, err);
        if (rc != 0) {
            return rc;
        }
    }
    op_train_note(train, TASK_FLIGHT_APPLY);
    finish_sums(exact, total);
    return 0;
}

static struct op_train_span exact_share(const struct op_train *train, uint32_t count)
{
    const struct op_train_config *config = &train->config;
    struct tree_range range =
        tree_deal(config->shards, coll_size(train->coll), coll_rank(train->coll));
    uint32_t rows = shard_rows(config), end = range.end * rows, begin = range.begin * rows;
    end = end < count ? end : count;
    return (struct op_train_span){.begin = begin < end ? begin : end, .end = end};
}

const struct op_train_sum_ops op_train_exact_ops = {
    .create = exact_create,
    .destroy = exact_destroy,
    .share = exact_share,
    .run = exact_run,
};
