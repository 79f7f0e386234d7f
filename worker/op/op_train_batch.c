/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/clock.h"
#include "lib/sys/mem.h"
#include "worker/ml/loss.h"
#include "worker/ml/net.h"
#include "worker/ml/order.h"
#include "worker/op/op_train_step.h"

/* Of memory for all that go through the network at once. A layer's weights are then read, and its
 * gradients written, once for all their shards: for a small network eight shards at once are a fifth
 * faster, and where one shard takes more than a few MiB, two are about as good as eight. */
#define AT_ONCE_FLOATS (UINT64_C(8) << 20)

#define ROWS_AHEAD     4u
#define LINE_FLOATS    16u
#define FETCHED_FLOATS 512u /* behind these the processor has seen where it goes */

struct op_train_batch {
    struct op_train *train;
    const struct model *model;
    uint32_t shards; /* at once */
    uint32_t rows;   /* of each */
    struct net *net;
    uint32_t *labels; /* of the net's rows */
    float *targets;
    uint32_t *others; /* what they are mixed with; NULL: they are not */
    float *shares;
    float *mixed_row;
    float *room; /* of a row that is unpacked */
};

static uint32_t at_once(const struct model *model, uint32_t shards, uint32_t rows)
{
    uint64_t floats = net_shard_floats(model, rows);
    uint32_t count = shards > 0 ? shards : 1;
    while (count > 1 && count * floats > AT_ONCE_FLOATS) {
        count = (count + 1) / 2;
    }
    return count;
}

struct op_train_batch *op_train_batch_create(struct op_train *train, uint32_t shards, uint32_t rows)
{
    struct op_train_batch *batch = mlq_alloc(sizeof(*batch));
    const struct model *model = train->data.model;
    *batch = (struct op_train_batch){
        .train = train, .model = model, .shards = at_once(model, shards, rows), .rows = rows};
    uint64_t all = (uint64_t)batch->shards * rows;
    batch->net = net_create_shards(model, batch->shards, rows);
    batch->labels = mlq_alloc_array(all, sizeof(uint32_t));
    batch->targets = mlq_alloc_array(all, sizeof(float));
    batch->room = mlq_alloc_array(model->input_count, sizeof(float));
    if (train->config.augment.mixup > 0) {
        batch->others = mlq_alloc_array(all, sizeof(uint32_t));
        batch->shares = mlq_alloc_array(all, sizeof(float));
        batch->mixed_row = mlq_alloc_array(model->input_count, sizeof(float));
    }
    return batch;
}

void op_train_batch_destroy(struct op_train_batch **batch)
{
    if (*batch == NULL) {
        return;
    }
    mlq_free((*batch)->labels);
    mlq_free((*batch)->targets);
    mlq_free((*batch)->others);
    mlq_free((*batch)->shares);
    mlq_free((*batch)->mixed_row);
    mlq_free((*batch)->room);
    net_destroy(&(*batch)->net);
    mlq_free(*batch);
    *batch = NULL;
}

/* Where a sample is: its row, or that which mixup adds to it, at its position of the order. */
struct place {
    uint32_t position;
    uint32_t row;
};

static void copy_row(const struct op_train_batch *batch, struct place place, uint64_t key, float *to)
{
    const struct augment *augment = &batch->train->config.augment;
    const float *from =
        op_train_loader_row(batch->train->loader, place.position, place.row, batch->room);
    if (augment->flip || augment->crop > 0) {
        augment_image(augment, batch->model->image, key, place.row, from, to);
    } else {
        memcpy(to, from, batch->model->input_count * sizeof(float));
    }
}

/* Row i of the batch, which has been gathered, with the one that this epoch mixes it with. */
static void mix_row(struct op_train_batch *batch, uint32_t i, struct place place, uint64_t key,
                    float *to)
{
    const struct op_train_set *set = &batch->train->data.train;
    struct augment_mix mix =
        augment_mix(&batch->train->config.augment, key, place.row, set->rows);
    place.row = mix.other;
    copy_row(batch, place, key, batch->mixed_row);
    for (size_t k = 0; k < batch->model->input_count; k++) {
        to[k] = mix.share * to[k] + (1 - mix.share) * batch->mixed_row[k];
    }
    batch->shares[i] = mix.share;
    if (set->labels != NULL) {
        batch->others[i] = set->labels[mix.other];
    } else {
        batch->targets[i] =
            mix.share * batch->targets[i] + (1 - mix.share) * set->targets[mix.other];
    }
}

/* A row of the table in memory, a little before it is copied: the order is random, and no processor guesses it. */
static void fetch_row(const struct op_train_set *set, size_t width, uint32_t row)
{
    const float *inputs = set->inputs + (size_t)row * width;
    size_t count = width < FETCHED_FLOATS ? width : FETCHED_FLOATS;
    for (size_t k = 0; k < count; k += LINE_FLOATS) {
        __builtin_prefetch(inputs + k);
    }
}

/* The samples into the net, changed as this epoch has it, zeros behind them. */
static void gather(struct op_train_batch *batch, struct op_train_piece piece, uint64_t key)
{
    const struct op_train_set *set = &batch->train->data.train;
    size_t width = batch->model->input_count;
    float *inputs = net_inputs(batch->net);
    int64_t start_ns = mlq_clock_boot_ns();
    uint32_t begin = (uint32_t)(piece.samples - op_train_loader_order(batch->train->loader));
    for (uint32_t i = 0; i < piece.count; i++) {
        uint32_t row = piece.samples[i];
        struct place place = {.position = begin + i, .row = row};
        if (set->inputs != NULL && i + ROWS_AHEAD < piece.count) {
            fetch_row(set, width, piece.samples[i + ROWS_AHEAD]);
        }
        float *to = inputs + i * width;
        copy_row(batch, place, key, to);
        if (set->labels != NULL) {
            batch->labels[i] = set->labels[row];
        } else {
            batch->targets[i] = set->targets[row];
        }
        if (batch->mixed_row != NULL) {
            mix_row(batch, i, place, key, to);
        }
    }
    size_t padding = (size_t)batch->shards * batch->rows - piece.count;
    memset(inputs + piece.count * width, 0, padding * width * sizeof(float));
    batch->train->time.gather_ns += mlq_clock_boot_ns() - start_ns;
}

/* The shard's loss, and its gradient by the outputs. */
static double lose(struct op_train_batch *batch, uint32_t shard, uint32_t used, float scale,
                   const float *outputs)
{
    size_t row = (size_t)shard * batch->rows;
    bool is_mixed = batch->mixed_row != NULL;
    struct loss_shape shape = {
        .rows = used, .rows_padded = batch->rows, .outputs = model_output_count(batch->model)};
    struct loss_truth truth = {.labels = batch->labels + row,
                               .targets = batch->targets + row,
                               .others = is_mixed ? batch->others + row : NULL,
                               .shares = is_mixed ? batch->shares + row : NULL};
    return loss_compute(&batch->train->data.loss, shape, outputs + row * shape.outputs, truth, scale,
                        net_output_gradient(batch->net) + row * shape.outputs);
}

/* A piece of as many shards as go at once, or fewer. */
static void run_shards(struct op_train_batch *batch, struct op_train_piece piece,
                       const struct tree_sums *sums, double *losses)
{
    const struct op_train *train = batch->train;
    struct net_batch pass = {
        .used = piece.count,
        .samples = piece.samples,
        .key = order_key(train->config.seed, train->cursor.epoch)};
    MLQ_ASSERT(piece.count <= sums->shards * batch->rows);
    gather(batch, piece, pass.key);
    const float *outputs = net_forward_training(batch->net, &pass);
    for (uint32_t shard = 0; shard < sums->shards; shard++) {
        uint32_t before = shard * batch->rows;
        uint32_t left = piece.count > before ? piece.count - before : 0;
        uint32_t used = left < batch->rows ? left : batch->rows;
        losses[shard] = used > 0 ? lose(batch, shard, used, piece.scale, outputs) : 0;
    }
    net_backward_sums(batch->net, sums);
}

double op_train_batch_run(struct op_train_batch *batch, struct op_train_piece piece,
                          float *gradient)
{
    const struct tree_range alone = {.begin = 0, .end = 1};
    float *const places[TREE_NODES_MAX + 1] = {gradient};
    double loss = 0;
    op_train_batch_sum(batch, piece, alone, places, (struct tree_near){.streams_rest = false}, &loss);
    return loss;
}

/* What of the step the shards [begin, end) have: nothing for the last ones of a short step. */
static struct op_train_piece piece_of(struct op_train_piece step, uint32_t begin, uint32_t end,
                                      uint32_t rows)
{
    uint32_t from = begin * rows, to = end * rows;
    to = to < step.count ? to : step.count;
    from = from < to ? from : to;
    return (struct op_train_piece){
        .samples = step.samples + from, .count = to - from, .scale = step.scale};
}

void op_train_batch_sum(struct op_train_batch *batch, struct op_train_piece step,
                        struct tree_range range, float *const places[TREE_NODES_MAX + 1],
                        struct tree_near near, double *losses)
{
    struct tree_fold folds[TREE_SHARDS_MAX];
    struct tree_sums sums = {.near = near};
    struct tree tree;
    memcpy(sums.places, places, sizeof(sums.places));
    tree_init(&tree, 0);
    for (uint32_t begin = range.begin; begin < range.end; begin += sums.shards) {
        uint32_t left = range.end - begin, count = left < batch->shards ? left : batch->shards;
        tree_plan(&tree, begin, count, folds, &sums);
        run_shards(batch, piece_of(step, begin, begin + count, batch->rows), &sums, losses + begin);
    }
}
