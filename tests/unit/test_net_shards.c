/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Shards that go through a network together have the bits of each alone, outputs and gradients, and
 * what is folded on the way is what the tree gives afterwards (worker/ml/tree.h).
 */
#include "tests/unit/cm.h"

#include <string.h>

#include "lib/base/ownership.h"
#include "lib/base/prng.h"
#include "lib/sys/mem.h"
#include "worker/ml/gemm.h"
#include "worker/ml/layout.h"
#include "worker/ml/net.h"

#define CLASSES    10u
#define ROWS       6u /* of a shard */
#define SHARDS_MAX 8u
#define KEY        77u

static float number(uint64_t key, uint64_t at)
{
    return (float)(mlq_hash_keyed(key, at, 0) >> 40) / (float)(1 << 24) - 0.5f;
}

static struct model *empty_model(uint32_t inputs)
{
    struct model *model = model_create();
    model->task = MODEL_MULTICLASS;
    model->class_count = CLASSES;
    model->classes = mlq_alloc_array(CLASSES, sizeof(char *));
    model->input_count = inputs;
    return model;
}

/* Its products are thin enough for our own kernels, but those of the last layer. */
static struct model *mlp_model(void)
{
    static const uint32_t hidden[] = {133, 70};
    const struct layout_mlp plan = {
        .hidden = hidden, .hidden_count = 2, .activation = LAYER_GELU, .dropout = 0.2};
    struct model *model = empty_model(150);
    assert_int_equal(layout_mlp(model, &plan, NULL), 0);
    return model;
}

/* Of every kind that has windows, two values or state. */
static struct model *cnn_model(void)
{
    static const uint32_t channels[] = {4, 8}, hidden[] = {70};
    const struct layout_cnn plan = {
        .image = {.height = 8, .width = 8, .channels = 2},
        .channels = channels,
        .stage_count = 2,
        .depth = 2,
        .kernel = 3,
        .pool = LAYER_MAX_POOL,
        .norm = true,
        .residual = true,
        .depthwise = true,
        .head = {.hidden = hidden, .hidden_count = 1, .activation = LAYER_RELU, .dropout = 0.1},
    };
    struct model *model = empty_model(128);
    assert_int_equal(layout_cnn(model, &plan, NULL), 0);
    return model;
}

/* `used` rows of shards [first, first + shards) through `net`, into places that were garbage. */
struct pass {
    uint32_t first;
    uint32_t shards;
    uint32_t used;
};

static void run(struct net *net, const struct model *model, struct pass pass,
                const struct tree_sums *sums, float *outputs)
{
    uint32_t samples[SHARDS_MAX * ROWS], row = pass.first * ROWS;
    for (uint32_t i = 0; i < pass.used; i++) {
        samples[i] = row + i;
    }
    memset(net_inputs(net), 0, (size_t)pass.shards * ROWS * model->input_count * sizeof(float));
    for (size_t i = 0; i < (size_t)pass.used * model->input_count; i++) {
        net_inputs(net)[i] = number(1, (size_t)row * model->input_count + i);
    }
    struct net_batch batch = {.used = pass.used, .samples = samples, .key = KEY};
    memcpy(outputs, net_forward_training(net, &batch), (size_t)pass.used * CLASSES * sizeof(float));
    memset(net_output_gradient(net), 0, (size_t)pass.shards * ROWS * CLASSES * sizeof(float));
    for (size_t i = 0; i < (size_t)pass.used * CLASSES; i++) {
        net_output_gradient(net)[i] = number(2, (size_t)row * CLASSES + i);
    }
    net_backward_sums(net, sums);
}

static float *garbage(uint64_t floats)
{
    float *values = mlq_alloc_array(floats, sizeof(float));
    memset(values, 0xff, floats * sizeof(float));
    return values;
}

/* The shard's rows that are there, when `used` are of all from the first shard on. */
static uint32_t rows_of(uint32_t used, uint32_t shard)
{
    uint32_t left = used > shard * ROWS ? used - shard * ROWS : 0;
    return left < ROWS ? left : ROWS;
}

/* Each shard by itself, and then the tree. */
static void sum_one_by_one(const struct model *model, struct pass all, struct tree *tree,
                           float *memory, float *outputs)
{
    struct net *net = net_create(model, ROWS, true);
    const struct tree_fold alone = {.top = 0, .to = 0};
    tree_init(tree, model->arena_count);
    for (uint32_t i = 0; i < all.shards; i++) {
        struct tree_node node = {.index = all.first + i,
                                 .values = memory + tree->count * model->arena_count};
        struct tree_sums sums = {.shards = 1, .folds = &alone, .left = 1, .places = {node.values}};
        struct pass pass = {.first = all.first + i, .shards = 1, .used = rows_of(all.used, i)};
        run(net, model, pass, &sums, outputs + (size_t)i * ROWS * CLASSES);
        tree_push(tree, node);
    }
    net_destroy(&net);
}

/* `at_once` of them together. */
static void sum_together(const struct model *model, struct pass all, uint32_t at_once,
                         float *memory, float *outputs)
{
    struct net *net = net_create_shards(model, at_once, ROWS);
    struct tree_fold folds[SHARDS_MAX];
    struct tree_sums sums = {.shards = 0};
    struct tree tree;
    for (uint32_t i = 0; i < MLQ_COUNT_OF(sums.places); i++) {
        sums.places[i] = memory + i * model->arena_count;
    }
    tree_init(&tree, 0);
    for (uint32_t i = 0; i < all.shards; i += at_once) {
        uint32_t count = all.shards - i < at_once ? all.shards - i : at_once, used = 0;
        for (uint32_t shard = i; shard < i + count; shard++) {
            used += rows_of(all.used, shard);
        }
        tree_plan(&tree, all.first + i, count, folds, &sums);
        run(net, model, (struct pass){.first = all.first + i, .shards = count, .used = used}, &sums,
            outputs + (size_t)i * ROWS * CLASSES);
    }
    net_destroy(&net);
}

static void compare(const struct model *model, struct pass pass, uint32_t at_once)
{
    uint64_t floats = (TREE_NODES_MAX + 1) * model->arena_count;
    float *wanted = garbage(floats), *got = garbage(floats);
    float wanted_outputs[SHARDS_MAX * ROWS * CLASSES], outputs[SHARDS_MAX * ROWS * CLASSES];
    struct tree tree;
    sum_one_by_one(model, pass, &tree, wanted, wanted_outputs);
    sum_together(model, pass, at_once, got, outputs);
    assert_memory_equal(outputs, wanted_outputs, (size_t)pass.used * CLASSES * sizeof(float));
    assert_memory_equal(got, wanted, tree.count * model->arena_count * sizeof(float));
    mlq_free(wanted);
    mlq_free(got);
}

/* Ranges as ranks have them, steps that are short of rows, and any number at once. */
static void check_model(struct model *model)
{
    static const struct pass passes[] = {
        {.first = 0, .shards = 8, .used = 8 * ROWS},
        {.first = 0, .shards = 8, .used = 5 * ROWS + 2},
        {.first = 3, .shards = 5, .used = 5 * ROWS},
        {.first = 3, .shards = 5, .used = 3 * ROWS + 1},
        {.first = 2, .shards = 3, .used = 1},
        {.first = 4, .shards = 4, .used = 0},
        {.first = 1, .shards = 1, .used = ROWS},
    };
    struct gemm_engine engine;
    gemm_start(&engine);
    net_init_parameters(model, 5);
    for (size_t i = 0; i < MLQ_COUNT_OF(passes); i++) {
        for (uint32_t at_once = 1; at_once <= passes[i].shards; at_once++) {
            compare(model, passes[i], at_once);
        }
    }
    model_destroy(&model);
}

static void an_mlp_has_the_same_bits(void **state)
{
    (void)state;
    check_model(mlp_model());
}

static void a_cnn_has_the_same_bits(void **state)
{
    (void)state;
    check_model(cnn_model());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_mlp_has_the_same_bits),
        cmocka_unit_test(a_cnn_has_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
