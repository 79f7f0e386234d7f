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

struct op_train_batch {
    struct op_train *train;
    const struct model *model;
    uint32_t rows;
    struct net *net;
    uint32_t *labels; /* of the net's rows */
    float *targets;
    uint32_t *others; /* what they are mixed with; NULL: they are not */
    float *shares;
    float *mixed_row;
    float *room; /* of a row that is unpacked */
};

struct op_train_batch *op_train_batch_create(struct op_train *train, uint32_t rows)
{
    struct op_train_batch *batch = mlq_alloc(sizeof(*batch));
    *batch = (struct op_train_batch){
        .train = train, .model = train->data.model, .rows = rows};
    batch->net = net_create(batch->model, rows, true);
    batch->labels = mlq_alloc_array(rows, sizeof(uint32_t));
    batch->targets = mlq_alloc_array(rows, sizeof(float));
    batch->room = mlq_alloc_array(batch->model->input_count, sizeof(float));
    if (train->config.augment.mixup > 0) {
        batch->others = mlq_alloc_array(rows, sizeof(uint32_t));
        batch->shares = mlq_alloc_array(rows, sizeof(float));
        batch->mixed_row = mlq_alloc_array(batch->model->input_count, sizeof(float));
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
    size_t padding = batch->rows - piece.count;
    memset(inputs + piece.count * width, 0, padding * width * sizeof(float));
    batch->train->time.gather_ns += mlq_clock_boot_ns() - start_ns;
}

double op_train_batch_run(struct op_train_batch *batch, struct op_train_piece piece,
                          float *gradient)
{
    const struct op_train *train = batch->train;
    MLQ_ASSERT(piece.count <= batch->rows);
    if (piece.count == 0) {
        memset(gradient, 0, batch->model->arena_count * sizeof(float));
        return 0;
    }
    struct net_batch pass = {
        .used = piece.count,
        .samples = piece.samples,
        .key = order_key(train->config.seed, train->cursor.epoch)};
    gather(batch, piece, pass.key);
    const float *outputs = net_forward_training(batch->net, &pass);
    struct loss_shape shape = {.rows = piece.count,
                               .rows_padded = batch->rows,
                               .outputs = model_output_count(batch->model)};
    struct loss_truth truth = {.labels = batch->labels,
                               .targets = batch->targets,
                               .others = batch->others,
                               .shares = batch->shares};
    double loss = loss_compute(&train->data.loss, shape, outputs, truth, piece.scale,
                               net_output_gradient(batch->net));
    net_backward(batch->net, gradient);
    return loss;
}
