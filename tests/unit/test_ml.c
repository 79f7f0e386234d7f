/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The numerics: products, gradients against differences in double, optimizers against numbers
 * worked out in double, orders, and the canonical tree.
 */
#include "tests/unit/cm.h"

#include <math.h>
#include <string.h>

#include "lib/base/ownership.h"
#include "lib/base/prng.h"
#include "lib/sys/mem.h"
#include "tests/unit/ml_double.h"
#include "worker/ml/func.h"
#include "worker/ml/gemm.h"
#include "worker/ml/layout.h"
#include "worker/ml/loss.h"
#include "worker/ml/net.h"
#include "worker/ml/order.h"
#include "worker/ml/tree.h"

/* ---- Products ---- */

static float number(uint64_t key, uint64_t at)
{
    return (float)((double)(mlq_hash_keyed(key, at, 0) >> 11) * 0x1.0p-53 - 0.5);
}

static void expect_product(struct gemm_size size)
{
    uint64_t m = size.m, n = size.n, k = size.k;
    float *a = mlq_alloc_array(m * k, sizeof(float)), *at = mlq_alloc_array(k * m, sizeof(float));
    float *b = mlq_alloc_array(k * n, sizeof(float)), *bt = mlq_alloc_array(n * k, sizeof(float));
    float *c = mlq_alloc_array(m * n, sizeof(float));
    for (uint64_t i = 0; i < m * k; i++) {
        a[i] = at[i % k * m + i / k] = number(1, i);
    }
    for (uint64_t i = 0; i < k * n; i++) {
        b[i] = bt[i % n * k + i / n] = number(2, i);
    }
    for (int kind = 0; kind < 3; kind++) {
        memset(c, 0x7f, m * n * sizeof(float)); /* what was there must not count */
        kind == 0   ? gemm_nn(size, a, b, c)
        : kind == 1 ? gemm_nt(size, a, bt, c)
                    : gemm_tn(size, at, b, c);
        for (uint64_t i = 0; i < m * n; i++) {
            double sum = 0;
            for (uint64_t p = 0; p < k; p++) {
                sum += (double)a[i / n * k + p] * (double)b[p * n + i % n];
            }
            assert_true(fabs(sum - (double)c[i]) < 1e-6 + 1e-7 * (double)k);
        }
    }
    mlq_free(a);
    mlq_free(at);
    mlq_free(b);
    mlq_free(bt);
    mlq_free(c);
}

static void products_equal_the_definition(void **state)
{
    (void)state;
    static const struct gemm_size sizes[] = {
        {.m = 5, .n = 7, .k = 11},     {.m = 1, .n = 1, .k = 1},     {.m = 3, .n = 64, .k = 128},
        {.m = 16, .n = 67, .k = 129},  {.m = 32, .n = 90, .k = 31},  {.m = 33, .n = 16, .k = 200},
        {.m = 64, .n = 128, .k = 300}, {.m = 65, .n = 63, .k = 130}, {.m = 20, .n = 100, .k = 1025},
    };
    for (size_t i = 0; i < MLQ_COUNT_OF(sizes); i++) {
        expect_product(sizes[i]);
    }
}

static void engine_is_named_and_repeats(void **state)
{
    (void)state;
    struct gemm_engine first, second;
    gemm_start(&first);
    gemm_start(&second);
    assert_memory_equal(first.library, "OpenBLAS ", 9);
    assert_true(strlen(first.core) > 0);
    assert_int_equal(first.threads, 1);
    assert_true(first.probe != 0 && first.probe == second.probe);
}

static void a_better_core_is_asked_for_only_where_it_runs(void **state)
{
    (void)state;
    struct gemm_cpu plain = {.avx2_fma = false}, avx2 = {.avx2_fma = true};
    struct gemm_cpu avx512 = {.avx2_fma = true, .avx512 = true};
    assert_string_equal(gemm_better_core("Haswell", avx512), "SkylakeX");
    assert_string_equal(gemm_better_core("Zen", avx512), "SkylakeX");
    assert_string_equal(gemm_better_core("Prescott", avx512), "SkylakeX");
    assert_string_equal(gemm_better_core("Sandybridge", avx2), "Haswell");
    assert_null(gemm_better_core("Haswell", avx2));
    assert_null(gemm_better_core("Prescott", plain));
    assert_null(gemm_better_core("SkylakeX", avx512));
    assert_null(gemm_better_core("Cooperlake", avx512));
    assert_null(
        gemm_better_core("neoversen1", avx512)); /* a name that we do not know is left alone */
}

/* ---- Gradients ---- */

#define ROWS   6u
#define PADDED 8u
#define INPUTS 5u

static struct model *small_model_with(enum model_task task,
                                      uint32_t classes,
                                      uint32_t hidden_count,
                                      enum layer_activation activation)
{
    static const uint32_t hidden[] = {7, 4};
    struct model *model = model_create();
    model->task = task;
    model->class_count = classes;
    model->classes = classes == 0 ? NULL : mlq_alloc_array(classes, sizeof(char *));
    model->input_count = INPUTS;
    assert_int_equal(layout_mlp(model,
                                &(struct layout_mlp){.hidden = hidden,
                                                     .hidden_count = hidden_count,
                                                     .activation = activation},
                                NULL),
                     0);
    net_init_parameters(model, 3);
    for (uint32_t i = 0; i < model->layer_count; i++) {
        for (uint32_t j = 0; j < model->layers[i].out.channels; j++) {
            model->parameters[model->layers[i].bias_at + j] = 0.1f * number(4, i * 100 + j);
        }
    }
    return model;
}

static struct model *small_model(enum model_task task, uint32_t classes, uint32_t hidden_count)
{
    return small_model_with(task, classes, hidden_count, LAYER_RELU);
}

/* The mean loss, in double from the definition, with parameter `nudged` moved by `by`. */
static double reference_loss(const struct model *model,
                             const float *inputs,
                             const uint32_t *labels,
                             const float *targets,
                             uint64_t nudged,
                             double by)
{
    double total = 0;
    for (uint32_t row = 0; row < ROWS; row++) {
        double x[16], y[16];
        for (uint32_t i = 0; i < INPUTS; i++) {
            x[i] = (double)inputs[row * INPUTS + i];
        }
        uint32_t outputs = 0;
        for (uint32_t l = 0; l < model->layer_count; l++) {
            const struct layer *layer = &model->layers[l];
            outputs = layer->out.channels;
            for (uint32_t j = 0; j < outputs; j++) {
                uint64_t at = layer->bias_at + j;
                y[j] = (double)model->parameters[at] + (at == nudged ? by : 0);
                for (uint32_t i = 0; i < layer->in.channels; i++) {
                    at = layer->weight_at + (uint64_t)j * layer->in.channels + i;
                    y[j] += x[i] * ((double)model->parameters[at] + (at == nudged ? by : 0));
                }
                y[j] = ml_double_activate(layer->activation, y[j]);
            }
            memcpy(x, y, sizeof(x));
        }
        if (labels == NULL) {
            total += (x[0] - (double)targets[row]) * (x[0] - (double)targets[row]);
            continue;
        }
        double sum = 0;
        for (uint32_t j = 0; j < outputs; j++) {
            sum += exp(x[j]);
        }
        total += log(sum) - x[labels[row]];
    }
    return total / ROWS;
}

static void check_gradient(struct model *model)
{
    float inputs[PADDED * INPUTS] = {0}, targets[ROWS];
    uint32_t labels[ROWS];
    for (uint32_t i = 0; i < ROWS * INPUTS; i++) {
        inputs[i] = 4 * number(5, i);
    }
    for (uint32_t i = 0; i < ROWS; i++) {
        targets[i] = 3 * number(6, i);
        labels[i] = i % 3;
    }
    bool regression = model->task == MODEL_REGRESSION;
    struct net *net = net_create(model, PADDED, true);
    float *gradient = mlq_alloc_array(model->parameter_count, sizeof(float));
    memset(gradient, 0x7f, model->parameter_count * sizeof(float)); /* it must be overwritten */
    memcpy(net_inputs(net), inputs, sizeof(inputs));
    const float *outputs = net_forward_training(net, &(struct net_batch){.used = ROWS});
    float *output_gradient = net_output_gradient(net);
    struct loss_shape shape = {
        .rows = ROWS, .rows_padded = PADDED, .outputs = model_output_count(model)};
    struct loss kind = {.kind = regression ? LOSS_SQUARED : LOSS_CROSS_ENTROPY};
    struct loss_truth truth = {.labels = labels, .targets = targets};
    double loss = loss_compute(&kind, shape, outputs, truth, 1.0f / ROWS, output_gradient);
    net_backward(net, gradient);
    const uint32_t *classes = regression ? NULL : labels;
    assert_true(fabs(loss / ROWS - reference_loss(model, inputs, classes, targets, UINT64_MAX, 0)) <
                1e-5);
    for (uint64_t i = 0; i < model->parameter_count; i++) {
        double h = 1e-6;
        double slope = (reference_loss(model, inputs, classes, targets, i, h) -
                        reference_loss(model, inputs, classes, targets, i, -h)) /
                       (2 * h);
        if (fabs(slope - (double)gradient[i]) > 1e-5 + 1e-4 * fabs(slope)) {
            fail_msg("parameter %lu: gradient %g, difference %g", (unsigned long)i,
                     (double)gradient[i], slope);
        }
    }
    mlq_free(gradient);
    net_destroy(&net);
    model_destroy(&model);
}

static void gradients_equal_differences(void **state)
{
    (void)state;
    check_gradient(small_model(MODEL_MULTICLASS, 3, 2));
    check_gradient(small_model(MODEL_MULTICLASS, 3, 0));
    check_gradient(small_model(MODEL_REGRESSION, 0, 2));
    check_gradient(small_model(MODEL_REGRESSION, 0, 1));
    check_gradient(small_model_with(MODEL_MULTICLASS, 3, 2, LAYER_GELU));
    check_gradient(small_model_with(MODEL_REGRESSION, 0, 2, LAYER_TANH));
    check_gradient(small_model_with(MODEL_MULTICLASS, 3, 1, LAYER_IDENTITY));
}

/* Against the C library in double, over all sizes of argument. */
static void functions_are_those_of_the_library(void **state)
{
    (void)state;
    for (int i = -20000; i <= 20000; i++) {
        float x = (float)i * 0.005f; /* -100 to 100 */
        double d = (double)x, e = exp(d);
        if (x > -87.0f && x < 88.0f) {
            assert_true(fabs((double)func_exp(x) - e) <= 3e-7 * e);
        }
        assert_true(fabs((double)func_tanh(x) - tanh(d)) <= 3e-7 * fabs(tanh(d)) + 1e-12);
        double integral = 0.5 * erfc(-d / sqrt(2.0));
        assert_true(fabs((double)func_normal(x).integral - integral) <= 2e-7);
        assert_true(fabs((double)func_normal(x).density - exp(-d * d / 2) / sqrt(2 * M_PI)) <=
                    2e-7);
    }
    assert_true(func_exp(-200) == 0 && isfinite(func_exp(200)) && func_exp(0) == 1);
    assert_true(isnan(func_exp((float)NAN)) && isnan(func_tanh((float)NAN)));
    assert_true(isnan(func_normal((float)NAN).integral));
    assert_true(func_tanh(-0.3f) == -func_tanh(0.3f) && func_tanh(20) == 1);
}

static void not_finite_numbers_are_found_by_layer(void **state)
{
    (void)state;
    struct model *model = small_model(MODEL_MULTICLASS, 3, 2);
    assert_int_equal(net_find_not_finite(model, model->parameters), -1);
    model->parameters[model->layers[1].bias_at] = (float)NAN;
    assert_int_equal(net_find_not_finite(model, model->parameters), 1);
    model->parameters[model->layers[0].weight_at + 3] = (float)INFINITY;
    assert_int_equal(net_find_not_finite(model, model->parameters), 0);
    model_destroy(&model);
}

static void weights_start_with_hes_variance(void **state)
{
    (void)state;
    const uint32_t hidden = 400;
    struct model *model = model_create();
    model->input_count = 200;
    model->task = MODEL_REGRESSION;
    assert_int_equal(layout_mlp(model,
                                &(struct layout_mlp){
                                    .hidden = &hidden, .hidden_count = 1, .activation = LAYER_RELU},
                                NULL),
                     0);
    net_init_parameters(model, 1);
    double squares = 0, sum = 0, count = 200.0 * 400.0;
    for (uint64_t i = 0; i < model->layers[0].bias_at; i++) {
        sum += (double)model->parameters[i];
        squares += (double)model->parameters[i] * (double)model->parameters[i];
    }
    assert_true(fabs(squares / count - 2.0 / 200) < 2e-4);
    assert_true(fabs(sum / count) < 1e-3);
    assert_true(model->parameters[model->layers[0].bias_at] == 0);
    float first = model->parameters[0];
    net_init_parameters(model, 2);
    assert_true(model->parameters[0] != first);
    model_destroy(&model);
}

/* ---- Order ---- */

static void orders_are_permutations_keyed_by_seed_and_epoch(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    uint32_t a[COUNT], b[COUNT];
    bool seen[COUNT] = {false};
    order_shuffle(a, COUNT, 5, 2);
    for (int i = 0; i < COUNT; i++) {
        assert_true(a[i] < COUNT && !seen[a[i]]);
        seen[a[i]] = true;
    }
    order_shuffle(b, COUNT, 5, 2);
    assert_memory_equal(a, b, sizeof(a));
    order_shuffle(b, COUNT, 5, 3);
    assert_memory_not_equal(a, b, sizeof(a));
    order_shuffle(b, COUNT, 6, 2);
    assert_memory_not_equal(a, b, sizeof(a));
    order_shuffle(b, 1, 6, 2);
    assert_int_equal(b[0], 0);
}

/* ---- The canonical tree ---- */

#define WIDTH 1031u /* several blocks of tree_finish, and a part of one */

static void fill_shard(uint32_t shard, float values[WIDTH])
{
    for (uint64_t i = 0; i < WIDTH; i++) {
        values[i] = number(9, shard * WIDTH + i) * powf(10, (float)(shard % 7));
    }
}

/* As the trainer does it: each rank's range on a carry stack, then the partial sums of all. */
static void sum_dealt(uint32_t shards, uint32_t ranks, float result[WIDTH])
{
    struct tree_view views[TREE_SHARDS_MAX];
    uint32_t count = 0;
    float *memory = mlq_alloc_array((size_t)ranks * (TREE_NODES_MAX + 1) * WIDTH, sizeof(float));
    for (uint32_t rank = 0; rank < ranks; rank++) {
        float *own = memory + (size_t)rank * (TREE_NODES_MAX + 1) * WIDTH;
        struct tree tree;
        struct tree_node nodes[TREE_NODES_MAX];
        struct tree_range range = tree_deal(shards, ranks, rank);
        uint32_t places = tree_places(range), used = 1;
        tree_init(&tree, WIDTH);
        for (uint32_t shard = range.begin; shard < range.end; shard++) {
            float *values = own + tree.count * WIDTH;
            used = tree.count + 1 > used ? tree.count + 1 : used;
            fill_shard(shard, values);
            tree_push(&tree, (struct tree_node){.index = shard, .values = values});
        }
        assert_int_equal(tree_partials(range, nodes), tree.count);
        assert_int_equal(places, used);
        for (uint32_t i = 0; i < tree.count; i++) {
            assert_ptr_equal(tree.nodes[i].values,
                             own + i * WIDTH); /* they can be sent as one block */
            assert_int_equal(nodes[i].level, tree.nodes[i].level);
            views[count++] = (struct tree_view){
                .level = nodes[i].level, .index = nodes[i].index, .values = tree.nodes[i].values};
        }
    }
    struct tree_rest rest = {.views = views, .count = count};
    tree_finish(rest, WIDTH, result);
    struct tree_room room;
    for (uint64_t at = 0; at < WIDTH; at += 250) { /* any part alone */
        uint64_t floats = WIDTH - at < 250 ? WIDTH - at : 250;
        const float *block = tree_finish_block(rest, at, floats, &room);
        assert_memory_equal(block, result + at, floats * sizeof(float));
    }
    mlq_free(memory);
}

static void sums_do_not_depend_on_who_adds(void **state)
{
    (void)state;
    for (uint32_t shards = 1; shards <= 64; shards *= 2) {
        float alone[WIDTH], dealt[WIDTH];
        sum_dealt(shards, 1, alone);
        for (uint32_t ranks = 2; ranks <= shards + 3; ranks++) { /* also more than there are shards */
            sum_dealt(shards, ranks, dealt);
            assert_memory_equal(alone, dealt, sizeof(alone));
        }
    }
    /* That the order matters for these numbers at all: from left to right gives other bits. */
    float tree_result[WIDTH], plain[WIDTH] = {0}, shard[WIDTH];
    sum_dealt(64, 1, tree_result);
    for (uint32_t i = 0; i < 64; i++) {
        fill_shard(i, shard);
        for (uint32_t j = 0; j < WIDTH; j++) {
            plain[j] += shard[j];
        }
    }
    assert_memory_not_equal(tree_result, plain, sizeof(plain));
}

static void shards_are_dealt_whole_and_in_order(void **state)
{
    (void)state;
    for (uint32_t ranks = 1; ranks <= 11; ranks++) {
        uint32_t next = 0;
        for (uint32_t rank = 0; rank < ranks; rank++) {
            struct tree_range range = tree_deal(8, ranks, rank);
            assert_int_equal(range.begin, next);
            assert_true(ranks > 8 ? range.end <= range.begin + 1 : range.end > range.begin);
            next = range.end;
        }
        assert_int_equal(next, 8);
    }
}

static void losses_add_in_the_same_tree(void **state)
{
    (void)state;
    double values[] = {1, 1e16, -1e16, 1};
    assert_true(tree_sum_doubles(values, 4) == (1 + 1e16) + (-1e16 + 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_equal_the_definition),
        cmocka_unit_test(engine_is_named_and_repeats),
        cmocka_unit_test(a_better_core_is_asked_for_only_where_it_runs),
        cmocka_unit_test(gradients_equal_differences),
        cmocka_unit_test(functions_are_those_of_the_library),
        cmocka_unit_test(not_finite_numbers_are_found_by_layer),
        cmocka_unit_test(weights_start_with_hes_variance),
        cmocka_unit_test(orders_are_permutations_keyed_by_seed_and_epoch),
        cmocka_unit_test(sums_do_not_depend_on_who_adds),
        cmocka_unit_test(shards_are_dealt_whole_and_in_order),
        cmocka_unit_test(losses_add_in_the_same_tree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
