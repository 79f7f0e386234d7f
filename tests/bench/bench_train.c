/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * How many samples a second one thread trains on, on random data in memory: forward, loss and
 * backward of each virtual shard, their sum by the canonical tree, and AdamW. Not a test: it prints
 * one line. Time is that of the thread, so that a busy machine does not count against it. It is what a
 * profiler looks at; train/train.py compares the whole operator with PyTorch.
 *
 *     bench_train mlp|cnn BATCH SHARDS AT_ONCE STEPS
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/ownership.h"
#include "lib/base/panic.h"
#include "lib/base/prng.h"
#include "lib/sys/mem.h"
#include "worker/ml/gemm.h"
#include "worker/ml/layout.h"
#include "worker/ml/loss.h"
#include "worker/ml/net.h"
#include "worker/ml/optim.h"
#include "worker/ml/tree.h"

#define CLASSES 10u
#define WARM_UP 3u

struct bench {
    struct model *model;
    struct net *net;
    struct optim *optim;
    uint32_t batch;
    uint32_t shards;
    uint32_t at_once; /* shards that go through the network together */
    uint32_t *labels;
    uint32_t *samples;
    float *inputs;
    float *sums; /* places of gradients (tree.h) */
};

static double thread_seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* 784-512-256-10; or 28 x 28 with 32 and 64 channels and 1.0M parameters. */
static struct model *make_model(const char *name)
{
    static const uint32_t hidden[] = {512, 256}, channels[] = {32, 64}, dense[] = {300};
    struct model *model = model_create();
    model->task = MODEL_MULTICLASS;
    model->class_count = CLASSES;
    model->classes = mlq_alloc_array(CLASSES, sizeof(char *));
    model->input_count = 784;
    const struct layout_mlp mlp = {.hidden = hidden, .hidden_count = 2, .activation = LAYER_RELU};
    const struct layout_cnn cnn = {
        .image = {.height = 28, .width = 28, .channels = 1},
        .channels = channels,
        .stage_count = 2,
        .depth = 1,
        .kernel = 3,
        .pool = LAYER_MAX_POOL,
        .norm = true,
        .head = {.hidden = dense, .hidden_count = 1, .activation = LAYER_RELU},
    };
    struct mlq_err err = MLQ_ERR_INIT;
    int rc =
        strcmp(name, "cnn") == 0 ? layout_cnn(model, &cnn, &err) : layout_mlp(model, &mlp, &err);
    MLQ_ASSERT(rc == 0);
    net_init_parameters(model, 1);
    return model;
}

static void make_data(struct bench *b)
{
    uint64_t count = (uint64_t)b->batch * b->model->input_count;
    b->inputs = mlq_alloc_array(count, sizeof(float));
    b->labels = mlq_alloc_array(b->batch, sizeof(uint32_t));
    b->samples = mlq_alloc_array(b->batch, sizeof(uint32_t));
    for (uint64_t i = 0; i < count; i++) {
        b->inputs[i] = (float)(mlq_hash_keyed(1, i, 0) >> 40) / (float)(1 << 24) - 0.5f;
    }
    for (uint32_t i = 0; i < b->batch; i++) {
        b->labels[i] = (uint32_t)(mlq_hash_keyed(2, i, 0) % CLASSES);
        b->samples[i] = i;
    }
}

/* Shards [first, first + at_once); the loss of all samples. */
static double add_shards(struct bench *b, struct tree *tree, uint32_t first)
{
    static const struct loss loss = {.kind = LOSS_CROSS_ENTROPY};
    uint32_t rows = b->batch / b->shards, width = b->model->input_count;
    struct tree_fold folds[TREE_SHARDS_MAX];
    struct tree_sums sums = {.shards = 0};
    double total = 0;
    tree_plan(tree, first, b->at_once, folds, &sums);
    for (uint32_t place = 0; place < MLQ_COUNT_OF(sums.places); place++) {
        sums.places[place] = b->sums + place * b->model->arena_count;
    }
    memcpy(net_inputs(b->net), b->inputs + (size_t)first * rows * width,
           (size_t)b->at_once * rows * width * sizeof(float));
    struct net_batch batch = {.used = b->at_once * rows, .samples = b->samples + first * rows};
    const float *outputs = net_forward_training(b->net, &batch);
    for (uint32_t shard = 0; shard < b->at_once; shard++) {
        struct loss_shape shape = {.rows = rows, .rows_padded = rows, .outputs = CLASSES};
        struct loss_truth truth = {.labels = b->labels + (first + shard) * rows};
        size_t at = (size_t)shard * rows * CLASSES;
        total += loss_compute(&loss, shape, outputs + at, truth, 1.0f / (float)b->batch,
                              net_output_gradient(b->net) + at);
    }
    net_backward_sums(b->net, &sums);
    return total;
}

static double step(struct bench *b)
{
    struct tree tree;
    double total = 0;
    tree_init(&tree, 0);
    for (uint32_t first = 0; first < b->shards; first += b->at_once) {
        total += add_shards(b, &tree, first);
    }
    optim_step(b->optim, b->model, 1e-3, b->sums);
    const struct tree_view whole = {.values = b->sums};
    struct tree_rest rest = {.views = &whole, .count = 1};
    net_move_state(b->model, b->batch, rest, b->model->parameter_count, b->model->arena_count);
    return total / b->batch;
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: bench_train mlp|cnn BATCH SHARDS AT_ONCE STEPS\n");
        return 2;
    }
    struct gemm_engine engine;
    gemm_ensure_kernels();
    gemm_start(&engine);
    struct bench b = {.model = make_model(argv[1]),
                      .batch = (uint32_t)strtoul(argv[2], NULL, 10),
                      .shards = (uint32_t)strtoul(argv[3], NULL, 10),
                      .at_once = (uint32_t)strtoul(argv[4], NULL, 10)};
    uint32_t steps = (uint32_t)strtoul(argv[5], NULL, 10);
    MLQ_ASSERT(b.shards > 0 && b.batch % b.shards == 0 && steps > 0);
    MLQ_ASSERT(b.at_once > 0 && b.shards % b.at_once == 0);
    b.net = net_create_shards(b.model, b.at_once, b.batch / b.shards);
    b.optim = optim_create((struct optim_options){.kind = OPTIM_ADAMW,
                                                  .beta1 = 0.9,
                                                  .beta2 = 0.999,
                                                  .epsilon = 1e-8,
                                                  .weight_decay = 0.01},
                           b.model->parameter_count);
    b.sums = mlq_alloc_array((TREE_NODES_MAX + 1) * b.model->arena_count, sizeof(float));
    make_data(&b);
    double loss = 0, start = 0;
    for (uint32_t i = 0; i < WARM_UP + steps; i++) {
        start = i == WARM_UP ? thread_seconds() : start;
        loss = step(&b);
    }
    double seconds = thread_seconds() - start;
    printf(
        "model=%s parameters=%llu batch=%u shards=%u core=%s samples_per_second=%.0f loss=%.4f\n",
        argv[1], (unsigned long long)b.model->parameter_count, b.batch, b.shards, engine.core,
        (double)b.batch * steps / seconds, loss);
    return 0;
}
