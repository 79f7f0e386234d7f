/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Steps, epochs and validation. A step: each rank computes the gradients of its shards and adds
 * what its range allows (worker/ml/tree.h); the partial sums and the shards' losses go to all
 * ranks; each finishes the same sums and takes the same optimizer step, so that all hold the same
 * parameters without sending them.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/base/prng.h"
#include "lib/sys/clock.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "worker/ml/loss.h"
#include "worker/ml/net.h"
#include "worker/ml/order.h"
#include "worker/ml/tree.h"
#include "worker/op/op_train.h"

#define CHUNK_ROWS                                                                                 \
    256u /* of validation: fixed, since the number of rows of a product changes its bits */
#define EPOCH_KEY UINT64_C(0x65706f6368) /* "epoch": apart from other uses of the same seed */
/* Checkpoints may take this share of the time: 1 / 5. */
#define CHECKPOINT_COST_SHARE 5

/* What a rank sends: this, then a double per shard of its range (the losses), then its partial
 * sums. */
struct block_head {
    uint64_t stop;   /* it was asked to stop, and leaves behind this step */
    uint64_t newest; /* generation that it has heard of */
};

struct loop {
    struct op_train *train;
    const struct model *model;
    uint32_t shard_rows;
    uint32_t steps;          /* per epoch */
    struct tree_range range; /* this rank's shards */
    struct net *net;
    uint32_t *labels; /* of one shard, in the order of its rows */
    float *targets;
    uint32_t *others; /* what its rows are mixed with; NULL: they are not */
    float *shares;
    float *mixed_row;
    uint32_t *order;
    uint8_t *send;    /* a block; its partial sums are the tree's memory */
    uint8_t *receive; /* all blocks; equal to `send` for one rank */
    uint64_t block_bytes[COLL_RANKS_MAX];
    double losses[TREE_SHARDS_MAX];
    struct net *validation_net;
    struct schedule schedule;
    double train_weight; /* of all rows, in the loss */
    double validation_weight;
    float scale;          /* of the running step */
    struct block_head own;
    /* What the last step has told of all ranks: */
    uint32_t leaving;
    uint64_t newest;
};

/* ---- Memory ---- */

static uint64_t block_bytes(const struct loop *loop, uint32_t rank, uint32_t nodes_min)
{
    const struct op_train_config *config = &loop->train->config;
    struct tree_node nodes[TREE_NODES_MAX];
    struct tree_range range = tree_deal(config->shards, coll_size(loop->train->coll), rank);
    uint64_t partials = tree_partials(range, nodes);
    partials = partials < nodes_min ? nodes_min : partials;
    return sizeof(struct block_head) + (range.end - range.begin) * sizeof(double) +
           partials * loop->model->arena_count * sizeof(float);
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

/* Epochs become steps. */
static struct schedule schedule_of(const struct op_train_config *config, uint64_t epoch_steps)
{
    struct schedule schedule = config->schedule;
    double warmup = config->warmup_epochs * (double)epoch_steps;
    schedule.steps = config->epochs * epoch_steps;
    schedule.warmup = warmup >= (double)schedule.steps ? schedule.steps : (uint64_t)warmup;
    schedule.every *= epoch_steps;
    return schedule;
}

static void loop_init(struct loop *loop, struct op_train *train)
{
    const struct op_train_config *config = &train->config;
    const struct model *model = train->data.model;
    uint32_t ranks = coll_size(train->coll), rank = coll_rank(train->coll);
    *loop = (struct loop){.train = train,
                          .model = model,
                          .newest = op_train_gang_generation(train->gang)};
    loop->shard_rows = (config->batch + config->shards - 1) / config->shards;
    loop->steps = (train->data.train.rows + config->batch - 1) / config->batch;
    loop->range = tree_deal(config->shards, ranks, rank);
    loop->schedule = schedule_of(config, loop->steps);
    loop->train_weight =
        loss_weight(&train->data.loss, train->data.train.rows, train->data.train.labels);
    loop->validation_weight =
        loss_weight(&train->data.loss, train->data.validation.rows, train->data.validation.labels);
    loop->net = net_create(model, loop->shard_rows, true);
    loop->labels = mlq_alloc_array(loop->shard_rows, sizeof(uint32_t));
    loop->targets = mlq_alloc_array(loop->shard_rows, sizeof(float));
    loop->order = mlq_alloc_array(train->data.train.rows, sizeof(uint32_t));
    if (config->augment.mixup > 0) {
        loop->others = mlq_alloc_array(loop->shard_rows, sizeof(uint32_t));
        loop->shares = mlq_alloc_array(loop->shard_rows, sizeof(float));
        loop->mixed_row = mlq_alloc_array(model->input_count, sizeof(float));
    }
    /* While sums are made, the tree holds more nodes than in the end. */
    loop->send = mlq_alloc(block_bytes(loop, rank, TREE_NODES_MAX + 1));
    uint64_t total = 0;
    for (uint32_t r = 0; r < ranks; r++) {
        loop->block_bytes[r] = block_bytes(loop, r, 0);
        /* Blocks lie one behind the other: each must keep the next one's doubles aligned. */
        loop->block_bytes[r] = (loop->block_bytes[r] + 7) / 8 * 8;
        total += loop->block_bytes[r];
    }
    loop->receive = ranks == 1 ? loop->send : mlq_alloc(total);
    if (train->data.validation.rows > 0) {
        loop->validation_net = net_create(model, CHUNK_ROWS, false);
    }
}

static void loop_fini(struct loop *loop)
{
    if (loop->receive != loop->send) {
        mlq_free(loop->receive);
    }
    mlq_free(loop->send);
    mlq_free(loop->order);
    mlq_free(loop->targets);
    mlq_free(loop->labels);
    mlq_free(loop->others);
    mlq_free(loop->shares);
    mlq_free(loop->mixed_row);
    net_destroy(&loop->net);
    net_destroy(&loop->validation_net);
}

/* ---- One step ---- */

static void copy_row(const struct loop *loop, size_t row, uint64_t key, float *to)
{
    const struct augment *augment = &loop->train->config.augment;
    size_t width = loop->model->input_count;
    const float *from = loop->train->data.train.inputs + row * width;
    if (augment->flip || augment->crop > 0) {
        augment_image(augment, loop->model->image, key, (uint32_t)row, from, to);
    } else {
        memcpy(to, from, width * sizeof(float));
    }
}

/* Row i of the shard, which has been gathered, with the one that this epoch mixes it with. */
static void mix_row(struct loop *loop, uint32_t i, size_t row, uint64_t key, float *to)
{
    const struct op_train_set *set = &loop->train->data.train;
    struct augment_mix mix =
        augment_mix(&loop->train->config.augment, key, (uint32_t)row, set->rows);
    copy_row(loop, mix.other, key, loop->mixed_row);
    for (size_t k = 0; k < loop->model->input_count; k++) {
        to[k] = mix.share * to[k] + (1 - mix.share) * loop->mixed_row[k];
    }
    loop->shares[i] = mix.share;
    if (set->labels != NULL) {
        loop->others[i] = set->labels[mix.other];
    } else {
        loop->targets[i] = mix.share * loop->targets[i] + (1 - mix.share) * set->targets[mix.other];
    }
}

/* Rows order[begin..end) into the net, changed as this epoch has it, zeros behind them. */
static void gather(struct loop *loop, uint32_t begin, uint32_t end, uint64_t key)
{
    const struct op_train_set *set = &loop->train->data.train;
    size_t width = loop->model->input_count;
    float *inputs = net_inputs(loop->net);
    int64_t start_ns = mlq_clock_boot_ns();
    for (uint32_t i = begin; i < end; i++) {
        size_t row = loop->order[i];
        float *to = inputs + (i - begin) * width;
        copy_row(loop, row, key, to);
        if (set->labels != NULL) {
            loop->labels[i - begin] = set->labels[row];
        } else {
            loop->targets[i - begin] = set->targets[row];
        }
        if (loop->mixed_row != NULL) {
            mix_row(loop, i - begin, row, key, to);
        }
    }
    size_t used = end - begin;
    memset(inputs + used * width, 0, (loop->shard_rows - used) * width * sizeof(float));
    loop->train->time.gather_ns += mlq_clock_boot_ns() - start_ns;
}

/* The gradient of one shard of the step that has samples [begin, begin + count). Its kernel calls
 * depend on nothing but the shapes. */
static double
compute_shard(struct loop *loop, uint32_t shard, uint32_t begin, uint32_t count, float *gradient)
{
    uint32_t from = shard * loop->shard_rows, to = from + loop->shard_rows;
    to = to < count ? to : count;
    if (from >= to) {
        memset(gradient, 0, loop->model->arena_count * sizeof(float));
        return 0;
    }
    struct net_batch batch = {
        .used = to - from,
        .samples = loop->order + begin + from,
        .key = mlq_hash_keyed(loop->train->config.seed, loop->train->cursor.epoch, EPOCH_KEY)};
    gather(loop, begin + from, begin + to, batch.key);
    const float *outputs = net_forward_training(loop->net, &batch);
    struct loss_shape shape = {.rows = to - from,
                               .rows_padded = loop->shard_rows,
                               .outputs = model_output_count(loop->model)};
    struct loss_truth truth = {.labels = loop->labels,
                               .targets = loop->targets,
                               .others = loop->others,
                               .shares = loop->shares};
    double loss = loss_compute(&loop->train->data.loss, shape, outputs, truth, loop->scale,
                               net_output_gradient(loop->net));
    net_backward(loop->net, gradient);
    return loss;
}

static void compute_range(struct loop *loop, uint32_t begin, uint32_t count)
{
    struct tree tree;
    uint32_t shards = loop->range.end - loop->range.begin;
    float *sums = block_sums(loop->send, shards);
    tree_init(&tree, loop->model->arena_count);
    for (uint32_t i = 0; i < shards; i++) {
        /* The stack's nodes lie one behind the other, so that they can be sent as one block. */
        float *gradient = sums + tree.count * tree.width;
        uint32_t shard = loop->range.begin + i;
        block_losses(loop->send)[i] = compute_shard(loop, shard, begin, count, gradient);
        tree_push(&tree, (struct tree_node){.level = 0, .index = shard, .values = gradient});
    }
}

/* All blocks into the step's gradient (in `receive`), the shards' losses, and what comes next. */
static float *finish_sums(struct loop *loop)
{
    struct tree tree;
    uint32_t shards = loop->train->config.shards, ranks = coll_size(loop->train->coll);
    uint8_t *block = loop->receive;
    tree_init(&tree, loop->model->arena_count);
    for (uint32_t rank = 0; rank < ranks; rank++) {
        struct block_head head;
        struct tree_node nodes[TREE_NODES_MAX];
        struct tree_range range = tree_deal(shards, ranks, rank);
        uint32_t own = range.end - range.begin;
        memcpy(&head, block, sizeof(head));
        if (head.stop != 0) {
            loop->leaving++;
            op_train_gang_leaves(loop->train->gang, rank);
        }
        loop->newest = head.newest > loop->newest ? head.newest : loop->newest;
        memcpy(&loop->losses[range.begin], block_losses(block), own * sizeof(double));
        uint32_t count = tree_partials(range, nodes);
        for (uint32_t i = 0; i < count; i++) {
            nodes[i].values = block_sums(block, own) + i * tree.width;
            tree_push(&tree, nodes[i]);
        }
        block += loop->block_bytes[rank];
    }
    MLQ_ASSERT(tree.count == 1 && tree.nodes[0].index == 0);
    return tree.nodes[0].values;
}

static int refuse_not_finite(const struct loop *loop, const float *gradient, struct mlq_err *err)
{
    const struct op_train_cursor *cursor = &loop->train->cursor;
    int layer = net_find_not_finite(loop->model, loop->model->parameters);
    const char *what = "weights";
    if (layer < 0) {
        layer = net_find_not_finite(loop->model, gradient);
        what = "gradient";
    }
    char where[64] = "the outputs overflow";
    if (layer >= 0) {
        (void)snprintf(where, sizeof(where), "first in the %s of layer %d, %s", what, layer,
                       layer_ops(loop->model->layers[layer].kind)->name);
    }
    return mlq_fail(err, MLQ_EINVAL,
                    "epoch %" PRIu64 ", step %" PRIu64 ": the loss is not a finite number "
                    "(%s): lower the learning rate, or look for outliers in the data",
                    cursor->epoch + 1, cursor->step + 1, where);
}

/* What the samples [begin, begin + count) of the epoch's order weigh in the loss. */
static double step_weight(const struct loop *loop, uint32_t begin, uint32_t count)
{
    const float *weights = loop->train->data.loss.weights;
    double sum = 0;
    for (uint32_t i = begin; weights != NULL && i < begin + count; i++) {
        sum += (double)weights[loop->train->data.train.labels[loop->order[i]]];
    }
    return weights == NULL ? count : sum;
}

/* Clips, steps, and moves running statistics. */
static void apply_gradient(struct loop *loop, uint32_t count, float *gradient)
{
    struct op_train *train = loop->train;
    struct model *model = train->data.model;
    bool last = train->cursor.step + 1 == loop->steps;
    if (train->config.clip_norm > 0 || last) {
        train->cursor.gradient_norm = optim_norm(gradient, model->parameter_count);
    }
    if (train->config.clip_norm > 0) {
        optim_clip(gradient, model->parameter_count, train->cursor.gradient_norm,
                   train->config.clip_norm);
    }
    train->cursor.rate = schedule_rate(&loop->schedule, train->optim->steps);
    optim_step(train->optim, model, train->cursor.rate, gradient);
    net_move_state(model, count, gradient);
}

static int run_step(struct loop *loop, struct mlq_err *err)
{
    struct op_train *train = loop->train;
    uint32_t begin = (uint32_t)train->cursor.step * train->config.batch;
    uint32_t left = train->data.train.rows - begin;
    uint32_t count = left < train->config.batch ? left : train->config.batch;
    loop->own = (struct block_head){.stop = op_should_stop(train->ctx),
                                    .newest = op_train_gang_newest(train->gang)};
    memcpy(loop->send, &loop->own, sizeof(loop->own));
    loop->scale = 1.0f / (float)step_weight(loop, begin, count);
    op_train_note(train, TASK_FLIGHT_COMPUTE);
    compute_range(loop, begin, count);
    if (loop->receive != loop->send) {
        op_train_note(train, TASK_FLIGHT_EXCHANGE);
        int rc = coll_allgather(train->coll, loop->send, loop->receive, loop->block_bytes,
                                OP_TRAIN_TIMEOUT_NS, err);
        if (rc != 0) {
            return rc;
        }
    }
    op_train_note(train, TASK_FLIGHT_APPLY);
    float *gradient = finish_sums(loop);
    double loss = tree_sum_doubles(loop->losses, train->config.shards);
    if (!isfinite(loss)) {
        return refuse_not_finite(loop, gradient, err);
    }
    apply_gradient(loop, count, gradient);
    train->cursor.epoch_loss += loss;
    train->cursor.step++;
    train->samples += count;
    return 0;
}

/* ---- Validation ---- */

struct chunk_score {
    double loss;
    double correct; /* classification */
    double squared; /* regression: of errors */
};

static struct chunk_score score_chunk(struct loop *loop, uint32_t begin)
{
    const struct op_train_set *set = &loop->train->data.validation;
    size_t width = loop->model->input_count;
    uint32_t rows = set->rows - begin < CHUNK_ROWS ? set->rows - begin : CHUNK_ROWS;
    uint32_t outputs = model_output_count(loop->model);
    float *inputs = net_inputs(loop->validation_net);
    memcpy(inputs, set->inputs + begin * width, rows * width * sizeof(float));
    memset(inputs + rows * width, 0, (CHUNK_ROWS - rows) * width * sizeof(float));
    const float *z = net_forward(loop->validation_net, rows);
    struct loss_shape shape = {.rows = rows, .rows_padded = CHUNK_ROWS, .outputs = outputs};
    struct chunk_score score = {.loss = 0};
    struct loss_truth truth = {.labels = set->labels == NULL ? NULL : set->labels + begin,
                               .targets = set->targets == NULL ? NULL : set->targets + begin};
    score.loss = loss_compute(&loop->train->data.loss, shape, z, truth, 1, NULL);
    if (loop->model->task == MODEL_REGRESSION) {
        const struct loss squared = {.kind = LOSS_SQUARED};
        score.squared = loss_compute(&squared, shape, z, truth, 1, NULL);
        return score;
    }
    for (size_t row = 0; row < rows; row++) {
        uint32_t guess = outputs == 1 ? z[row] > 0 : loss_argmax(z + row * outputs, outputs);
        score.correct += guess == truth.labels[row];
    }
    return score;
}

/* Chunks are dealt to the ranks; their scores are added in the order of chunks by everyone. */
static int validate(struct loop *loop, struct chunk_score *total, struct mlq_err *err)
{
    struct coll *coll = loop->train->coll;
    uint32_t rows = loop->train->data.validation.rows, ranks = coll_size(coll);
    uint64_t chunks = (rows + CHUNK_ROWS - 1) / CHUNK_ROWS;
    uint64_t first = chunks * coll_rank(coll) / ranks, end = chunks * (coll_rank(coll) + 1) / ranks;
    struct chunk_score *own = mlq_alloc_array(end - first, sizeof(*own));
    struct chunk_score *all = mlq_alloc_array(chunks, sizeof(*all));
    uint64_t bytes[COLL_RANKS_MAX];
    for (uint32_t rank = 0; rank < ranks; rank++) {
        bytes[rank] = (chunks * (rank + 1) / ranks - chunks * rank / ranks) * sizeof(*own);
    }
    for (uint64_t i = first; i < end; i++) {
        own[i - first] = score_chunk(loop, (uint32_t)i * CHUNK_ROWS);
    }
    int rc = coll_allgather(coll, own, all, bytes, OP_TRAIN_TIMEOUT_NS, err);
    *total = (struct chunk_score){.loss = 0};
    for (uint64_t i = 0; i < chunks && rc == 0; i++) {
        total->loss += all[i].loss;
        total->correct += all[i].correct;
        total->squared += all[i].squared;
    }
    mlq_free(own);
    mlq_free(all);
    return rc;
}

/* ---- Epochs ---- */

/* A line per epoch: the log of a training is read by people. */
static void log_epoch(const struct op_train *train, json_t *row)
{
    char text[320];
    size_t used = 0;
    const char *name;
    json_t *value;
    text[0] = '\0';
    json_object_foreach(row, name, value)
    {
        if (json_is_real(value) && used < sizeof(text)) {
            int more = snprintf(text + used, sizeof(text) - used, " %s=%.6g", name,
                                json_real_value(value));
            used += more > 0 ? (size_t)more : 0;
        }
    }
    if (coll_rank(train->coll) == 0) {
        log_info("train.epoch", "epoch=%" PRIu64 "/%" PRIu64 "%s", train->cursor.epoch,
                 train->config.epochs, text);
    }
}

static void note(struct op_train *train, json_t *row, const char *name, double value)
{
    if (coll_rank(train->coll) == 0) {
        op_metric(train->ctx, name, value, (int64_t)train->cursor.epoch);
    }
    json_object_set_new(row, name, json_real(value)); /* of any rank: it may be the first one later */
}

/* Whether this epoch is the best so far, decided from numbers that all ranks hold. */
static void keep_best(struct op_train *train, double val_loss)
{
    struct op_train_cursor *cursor = &train->cursor;
    if (cursor->best_epoch != 0 && val_loss >= cursor->best_score) {
        cursor->stale++;
        return;
    }
    cursor->best_score = val_loss;
    cursor->best_epoch = cursor->epoch;
    cursor->stale = 0;
    if (train->best != NULL) {
        memcpy(train->best, train->data.model->parameters,
               train->data.model->arena_count * sizeof(float));
    }
}

/* The epoch is over: everything that can fail comes first, and then the cursor moves, so that a
 * checkpoint never holds an epoch without its validation. */
static int
end_epoch(struct loop *loop, int64_t epoch_ns, uint64_t epoch_samples, struct mlq_err *err)
{
    struct op_train *train = loop->train;
    const struct model *model = loop->model;
    double rows = train->data.validation.rows, seconds = (double)epoch_ns / (double)MLQ_NS_PER_S;
    struct chunk_score score = {.loss = 0};
    op_train_note(train, TASK_FLIGHT_VALIDATE);
    int rc = rows > 0 ? validate(loop, &score, err) : 0;
    if (rc == 0 && !isfinite(score.loss)) {
        rc = mlq_fail(err, MLQ_EINVAL,
                      "epoch %" PRIu64 ": the validation loss is not a finite number: lower "
                      "the learning rate",
                      train->cursor.epoch + 1);
    }
    if (rc != 0) {
        return rc;
    }
    double train_loss = train->cursor.epoch_loss / loop->train_weight;
    train->cursor.epoch++;
    train->cursor.step = 0;
    train->cursor.epoch_loss = 0;
    json_t *row = json_object();
    json_object_set_new(row, "epoch", json_integer((json_int_t)train->cursor.epoch));
    note(train, row, "train_loss", train_loss);
    if (rows > 0) {
        note(train, row, "val_loss", score.loss / loop->validation_weight);
        if (model->task == MODEL_REGRESSION) {
            note(train, row, "val_rmse", sqrt(score.squared / rows) * model->target_scale);
        } else {
            note(train, row, "val_accuracy", score.correct / rows);
        }
        keep_best(train, score.loss / loop->validation_weight);
    }
    note(train, row, "lr", train->cursor.rate);
    note(train, row, "grad_norm", train->cursor.gradient_norm);
    note(train, row, "samples_per_second", (double)epoch_samples / (seconds > 0 ? seconds : 1e-9));
    log_epoch(train, row);
    json_array_append_new(train->history, row);
    return 0;
}

static int save_checkpoint(struct op_train *train, struct mlq_err *err)
{
    return coll_rank(train->coll) == 0 ? op_train_checkpoint_save(train, err) : 0;
}

/* After the first epoch, and then whenever checkpoints stay under their share of the time: an epoch
 * of a few milliseconds does not wait for a disk. */
static bool is_checkpoint_due(const struct op_train *train)
{
    int64_t since_ns = mlq_clock_boot_ns() - train->checkpoint_at_ns;
    return since_ns >= train->checkpoint_cost_ns * (CHECKPOINT_COST_SHARE - 1);
}

/* What this rank does behind the step, as all see it alike: 0 goes on. With the last of a gang goes its
 * state, which is saved; the others of an elastic gang go on without who leaves. */
static int decide_next(struct loop *loop, struct mlq_err *err)
{
    struct op_train *train = loop->train;
    bool is_elastic = op_train_gang_is_elastic(train->gang);
    if (loop->leaving > 0 && (!is_elastic || loop->leaving == coll_size(train->coll))) {
        int rc = save_checkpoint(train, err);
        return rc == 0 ? OP_STOPPED : rc;
    }
    if (loop->own.stop != 0) {
        return OP_STOPPED;
    }
    bool is_changing = loop->leaving > 0 || loop->newest > op_train_gang_generation(train->gang);
    return is_elastic && is_changing ? OP_TRAIN_CHANGED : 0;
}

static void report_progress(const struct loop *loop)
{
    const struct op_train *train = loop->train;
    char text[64];
    double epochs = (double)train->config.epochs, epoch = (double)train->cursor.epoch;
    double part = (double)train->cursor.step / loop->steps;
    (void)snprintf(text, sizeof(text), "epoch %" PRIu64 "/%" PRIu64, train->cursor.epoch,
                   train->config.epochs);
    op_progress(train->ctx, (epoch + part) / epochs, text);
}

/* From the cursor's step to the end of its epoch, or until somebody leaves or comes. */
static int run_epoch(struct loop *loop, struct mlq_err *err)
{
    struct op_train *train = loop->train;
    int64_t start_ns = mlq_clock_boot_ns();
    uint64_t samples = train->samples;
    order_shuffle(loop->order, train->data.train.rows, train->config.seed, train->cursor.epoch);
    while (train->cursor.step < loop->steps) {
        int rc = run_step(loop, err);
        if (rc != 0) {
            return rc;
        }
        if (coll_rank(train->coll) == 0) {
            report_progress(loop);
        }
        if (op_should_checkpoint(train->ctx)) {
            rc = save_checkpoint(train, err);
        }
        if (rc == 0) {
            rc = decide_next(loop, err);
        }
        if (rc != 0) {
            return rc;
        }
    }
    int64_t epoch_ns = mlq_clock_boot_ns() - start_ns;
    train->busy_ns += epoch_ns;
    return end_epoch(loop, epoch_ns, train->samples - samples, err);
}

static bool is_done(const struct op_train *train)
{
    return train->cursor.epoch >= train->config.epochs ||
           (train->config.early_stop && train->cursor.stale >= train->config.patience);
}

int op_train_loop_run(struct op_train *train, struct mlq_err *err)
{
    struct loop loop;
    int rc = 0;
    loop_init(&loop, train);
    while (rc == 0 && !is_done(train)) {
        rc = run_epoch(&loop, err);
        if (rc == 0 && !is_done(train) && is_checkpoint_due(train)) {
            rc = save_checkpoint(train, err);
        }
    }
    loop_fini(&loop);
    return rc;
}
