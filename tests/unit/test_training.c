/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Losses, optimizers, clipping and learning-rate schedules against PyTorch
 * (tests/golden/make_training.py).
 */
#include "tests/unit/cm.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "lib/base/prng.h"
#include "lib/sys/mem.h"
#include "worker/ml/layout.h"
#include "worker/ml/augment.h"
#include "worker/ml/loss.h"
#include "worker/ml/optim.h"
#include "worker/ml/schedule.h"

#define NUMBERS_MAX 64

static json_t *golden;

static int open_golden(void **state)
{
    (void)state;
    char *path = mlq_format("%s/tests/golden/training.json", getenv("MLQ_SOURCE_DIR"));
    golden = json_load_file(path, 0, NULL);
    mlq_free(path);
    return golden == NULL ? -1 : 0;
}

static int close_golden(void **state)
{
    (void)state;
    json_decref(golden);
    return 0;
}

static double real(const json_t *object, const char *key, double fallback)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : fallback;
}

static size_t read_floats(const json_t *array, float values[NUMBERS_MAX])
{
    size_t count = json_array_size(array);
    assert_true(count <= NUMBERS_MAX);
    for (size_t i = 0; i < count; i++) {
        values[i] = (float)json_number_value(json_array_get(array, i));
    }
    return count;
}

static void assert_close(const char *what, size_t i, double got, double wanted, double tolerance)
{
    if (!(fabs(got - wanted) <= tolerance * fmax(1, fabs(wanted)))) {
        fail_msg("%s, number %zu: %.9g, PyTorch says %.9g", what, i, got, wanted);
    }
}

/* ---- Losses ---- */

static size_t place(const char *name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(name, names[i]) == 0) {
            return i;
        }
    }
    fail_msg("'%s' is not known", name);
    return 0;
}

static void check_loss(const json_t *json)
{
    static const char *const kinds[] = {[LOSS_CROSS_ENTROPY] = "cross_entropy",
                                        [LOSS_BCE] = "bce",
                                        [LOSS_SQUARED] = "squared",
                                        [LOSS_HUBER] = "huber"};
    float outputs[NUMBERS_MAX], targets[NUMBERS_MAX], weights[NUMBERS_MAX], gradient[NUMBERS_MAX];
    uint32_t labels[NUMBERS_MAX];
    const char *kind = json_string_value(json_object_get(json, "kind"));
    struct loss loss = {.kind = (enum loss_kind)place(kind, kinds, 4),
                        .smoothing = (float)real(json, "smoothing", 0),
                        .delta = (float)real(json, "delta", 1)};
    uint32_t rows = (uint32_t)real(json, "rows", 0), columns = (uint32_t)real(json, "columns", 0);
    struct loss_shape shape = {.rows = rows, .rows_padded = rows + 1, .outputs = columns};
    read_floats(json_object_get(json, "outputs"), outputs);
    read_floats(json_object_get(json, "truth"), targets);
    for (uint32_t i = 0; i < rows; i++) {
        labels[i] =
            loss.kind == LOSS_CROSS_ENTROPY || loss.kind == LOSS_BCE ? (uint32_t)targets[i] : 0;
    }
    if (read_floats(json_object_get(json, "weights"), weights) > 0) {
        loss.weights = weights;
    }
    double weight = loss_weight(&loss, rows, labels);
    struct loss_truth truth = {.labels = labels, .targets = targets};
    memset(gradient, 0x7f, sizeof(gradient));
    double sum = loss_compute(&loss, shape, outputs, truth, 1.0f / (float)weight, gradient);
    assert_close(kind, 0, sum / weight, real(json, "loss", 0), 1e-6);
    const json_t *wanted = json_object_get(json, "gradient");
    for (size_t i = 0; i < json_array_size(wanted); i++) {
        assert_close(kind, i, (double)gradient[i], json_number_value(json_array_get(wanted, i)),
                     5e-7);
    }
    for (size_t i = rows * columns; i < (rows + 1) * columns; i++) {
        assert_true(gradient[i] == 0); /* padding */
    }
    assert_true(loss_compute(&loss, shape, outputs, truth, 1, NULL) == sum);
}

static void losses_are_those_of_pytorch(void **state)
{
    (void)state;
    size_t i;
    json_t *json;
    assert_int_equal(json_array_size(json_object_get(golden, "losses")), 10);
    json_array_foreach(json_object_get(golden, "losses"), i, json)
    {
        check_loss(json);
    }
}

/* A row of two classes: that mixture of what each alone gives, in loss and gradient. */
static void the_loss_of_a_mixed_row_is_the_mixture_of_losses(void **state)
{
    (void)state;
    static const float outputs[] = {0.3f, -1.2f, 2.0f};
    const uint32_t first = 1, second = 0;
    const float share = 0.3f;
    for (int kind = LOSS_CROSS_ENTROPY; kind <= LOSS_BCE; kind++) {
        uint32_t columns = kind == LOSS_CROSS_ENTROPY ? 3 : 1;
        struct loss loss = {.kind = (enum loss_kind)kind, .smoothing = 0.1f};
        struct loss_shape shape = {.rows = 1, .rows_padded = 1, .outputs = columns};
        float of_first[3], of_second[3], of_both[3];
        double a =
            loss_compute(&loss, shape, outputs, (struct loss_truth){.labels = &first}, 1, of_first);
        double b = loss_compute(&loss, shape, outputs, (struct loss_truth){.labels = &second}, 1,
                                of_second);
        struct loss_truth mixed = {.labels = &first, .others = &second, .shares = &share};
        double both = loss_compute(&loss, shape, outputs, mixed, 1, of_both);
        assert_true(fabs(both - (0.3 * a + 0.7 * b)) < 1e-6 && fabs(a - b) > 0.1);
        for (uint32_t k = 0; k < columns; k++) {
            assert_true(fabsf(of_both[k] - (0.3f * of_first[k] + 0.7f * of_second[k])) < 1e-6f);
        }
    }
}

/* Beta(a, a) has the mean 1/2 and the variance 1 / (4 (2 a + 1)); partners are all alike. */
static void mixtures_are_those_of_beta(void **state)
{
    (void)state;
    static const double alphas[] = {0.05, 0.2, 0.5, 1.0};
    enum { SAMPLES = 20000, PARTNERS = 10 };
    for (size_t i = 0; i < MLQ_COUNT_OF(alphas); i++) {
        struct augment augment = {.mixup = alphas[i]};
        double sum = 0, squares = 0;
        uint32_t counts[PARTNERS] = {0};
        for (uint32_t sample = 0; sample < SAMPLES; sample++) {
            struct augment_mix mix = augment_mix(&augment, 77, sample, PARTNERS);
            assert_true(mix.share >= 0 && mix.share <= 1 && mix.other < PARTNERS);
            sum += (double)mix.share;
            squares += (double)mix.share * (double)mix.share;
            counts[mix.other]++;
        }
        double mean = sum / SAMPLES, variance = squares / SAMPLES - mean * mean;
        assert_true(fabs(mean - 0.5) < 0.015);
        assert_true(fabs(variance - 0.25 / (2 * alphas[i] + 1)) < 0.005);
        for (uint32_t k = 0; k < PARTNERS; k++) {
            assert_true(counts[k] > SAMPLES / PARTNERS * 9 / 10);
        }
    }
}

static void a_nan_among_outputs_reaches_the_loss(void **state)
{
    (void)state;
    const uint32_t label = 0;
    const float target = 1;
    struct loss_truth truth = {.labels = &label, .targets = &target};
    for (int kind = LOSS_CROSS_ENTROPY; kind <= LOSS_HUBER; kind++) {
        struct loss loss = {.kind = (enum loss_kind)kind, .delta = 1};
        uint32_t columns = kind == LOSS_CROSS_ENTROPY ? 3 : 1;
        struct loss_shape shape = {.rows = 1, .rows_padded = 1, .outputs = columns};
        for (uint32_t i = 0; i < columns; i++) {
            float outputs[3] = {1, 2, 3};
            outputs[i] = (float)NAN;
            assert_true(isnan(loss_compute(&loss, shape, outputs, truth, 1, NULL)));
        }
    }
    const float large[3] = {1e30f, 0, -1e30f}; /* no overflow where there is none to be had */
    struct loss_shape shape = {.rows = 1, .rows_padded = 1, .outputs = 3};
    struct loss loss = {.kind = LOSS_CROSS_ENTROPY};
    assert_true(loss_compute(&loss, shape, large, truth, 1, NULL) == 0);
}

static void probabilities_of_one_logit_are_a_pair(void **state)
{
    (void)state;
    const float z[] = {0, 2, -800};
    double p[6];
    loss_probabilities_sigmoid(3, z, p);
    assert_true(p[0] == 0.5 && p[1] == 0.5 && p[4] == 1 && p[5] == 0);
    assert_true(fabs(p[3] - 1 / (1 + exp(-2.0))) < 1e-15 && fabs(p[2] + p[3] - 1) < 1e-15);
}

/* ---- Optimizers ---- */

static struct optim_options read_options(const json_t *json)
{
    static const char *const kinds[] = {
        [OPTIM_SGD] = "sgd", [OPTIM_ADAM] = "adam", [OPTIM_ADAMW] = "adamw"};
    const json_t *options = json_object_get(json, "options");
    const json_t *betas = json_object_get(options, "betas");
    const char *kind = json_string_value(json_object_get(json, "kind"));
    struct optim_options result = {.kind = (enum optim_kind)place(kind, kinds, 3),
                                   .weight_decay = real(options, "weight_decay", 0),
                                   .momentum = real(options, "momentum", 0),
                                   .nesterov = json_is_true(json_object_get(options, "nesterov")),
                                   .beta1 = 0.9,
                                   .beta2 = 0.999,
                                   .epsilon = 1e-8};
    if (betas != NULL) {
        result.beta1 = json_number_value(json_array_get(betas, 0));
        result.beta2 = json_number_value(json_array_get(betas, 1));
    }
    return result;
}

/* One dense layer of three weights; the bias has no gradient, and no decay may touch it. */
static void check_optimizer(const json_t *json)
{
    static const float start[] = {0.5f, -1.25f, 2, 0.75f};
    struct model *model = model_create();
    model->task = MODEL_REGRESSION;
    model->input_count = 3;
    assert_int_equal(layout_mlp(model, &(struct layout_mlp){.hidden_count = 0}, NULL), 0);
    memcpy(model->parameters, start, sizeof(start));
    struct optim *optim = optim_create(read_options(json), model->parameter_count);
    const json_t *steps = json_object_get(json, "gradients");
    double clip = real(json, "clip", 0), lr = real(json_object_get(json, "options"), "lr", 0);
    for (size_t t = 0; t < json_array_size(steps); t++) {
        float gradient[NUMBERS_MAX] = {0};
        read_floats(json_array_get(steps, t), gradient);
        double norm = optim_norm(gradient, model->parameter_count);
        assert_close("norm", t, norm,
                     json_number_value(json_array_get(json_object_get(json, "norms"), t)), 1e-7);
        const struct tree_view whole = {.values = gradient};
        struct tree_rest rest = {.views = &whole, .count = 1};
        float scale = clip > 0 ? optim_clip_scale(norm, clip) : 1.0f;
        struct optim_step step = optim_next(optim, lr, rest, scale);
        optim_step_part(optim, model, &step, 0, model->parameter_count);
    }
    for (size_t i = 0; i < 3; i++) {
        assert_close("weights", i, (double)model->parameters[i],
                     json_number_value(json_array_get(json_object_get(json, "weights"), i)), 5e-7);
    }
    assert_true(model->parameters[3] == 0.75f);
    optim_destroy(&optim);
    model_destroy(&model);
}

/* Larger than a block, and no multiple of one. */
static struct model *wide_model(void)
{
    static const uint32_t hidden[] = {37};
    const struct layout_mlp plan = {
        .hidden = hidden, .hidden_count = 1, .activation = LAYER_RELU};
    struct model *model = model_create();
    model->task = MODEL_REGRESSION;
    model->input_count = 20;
    assert_int_equal(layout_mlp(model, &plan, NULL), 0);
    return model;
}

/* Three steps with the gradient in parts, as two ranks hold it, a slice after the other, which do not
 * end where layers do; and with its sum. */
static void check_parts(struct optim_options options)
{
    struct model *models[2] = {wide_model(), wide_model()};
    uint64_t count = models[0]->parameter_count;
    struct optim *optims[2] = {optim_create(options, count), optim_create(options, count)};
    float *parts = mlq_alloc_array(3 * count, sizeof(float));
    float *sum = mlq_alloc_array(count, sizeof(float));
    const struct tree_view views[] = {{.level = 1, .index = 0, .values = parts},
                                      {.level = 0, .index = 2, .values = parts + count},
                                      {.level = 0, .index = 3, .values = parts + 2 * count}};
    struct tree_rest rest = {.views = views, .count = 3};
    for (uint64_t step = 0; step < 3; step++) {
        for (uint64_t i = 0; i < 3 * count; i++) {
            parts[i] = (float)(mlq_hash_keyed(step, i, 0) >> 40) / (float)(1 << 24) - 0.5f;
        }
        for (uint64_t i = 0; i < count; i++) {
            sum[i] = parts[i] + (parts[count + i] + parts[2 * count + i]);
        }
        struct optim_step part = optim_next(optims[0], 0.01, rest, 1.0f);
        optim_step_part(optims[0], models[0], &part, 300, count);
        optim_step_part(optims[0], models[0], &part, 0, 300);
        optim_step(optims[1], models[1], 0.01, sum);
        assert_memory_equal(models[0]->parameters, models[1]->parameters, count * sizeof(float));
    }
    for (size_t i = 0; i < 2; i++) {
        optim_destroy(&optims[i]);
        model_destroy(&models[i]);
    }
    mlq_free(parts);
    mlq_free(sum);
}

static void a_gradient_may_be_in_parts(void **state)
{
    (void)state;
    check_parts((struct optim_options){.kind = OPTIM_SGD, .l2 = 0.1});
    check_parts((struct optim_options){.kind = OPTIM_SGD, .momentum = 0.9, .nesterov = true});
    check_parts((struct optim_options){
        .kind = OPTIM_ADAM, .beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-8, .l2 = 0.1});
    check_parts((struct optim_options){.kind = OPTIM_ADAMW,
                                       .beta1 = 0.9,
                                       .beta2 = 0.99,
                                       .epsilon = 1e-8,
                                       .weight_decay = 0.1});
}

static void optimizers_are_those_of_pytorch(void **state)
{
    (void)state;
    size_t i;
    json_t *json;
    assert_int_equal(json_array_size(json_object_get(golden, "optimizers")), 8);
    json_array_foreach(json_object_get(golden, "optimizers"), i, json)
    {
        check_optimizer(json);
    }
}

static void the_norm_takes_every_number_once(void **state)
{
    (void)state;
    float ones[37];
    for (size_t i = 0; i < 37; i++) {
        ones[i] = 1;
        assert_true(fabs(optim_norm(ones, i + 1) - sqrt((double)(i + 1))) < 1e-12);
    }
}

/* ---- Schedules ---- */

static void schedules_are_those_of_pytorch(void **state)
{
    (void)state;
    static const char *const kinds[] = {[SCHEDULE_CONSTANT] = "constant",
                                        [SCHEDULE_STEP] = "step",
                                        [SCHEDULE_COSINE] = "cosine",
                                        [SCHEDULE_LINEAR] = "linear",
                                        [SCHEDULE_ONE_CYCLE] = "one_cycle"};
    size_t i;
    json_t *json;
    assert_int_equal(json_array_size(json_object_get(golden, "schedules")), 6);
    json_array_foreach(json_object_get(golden, "schedules"), i, json)
    {
        const char *kind = json_string_value(json_object_get(json, "kind"));
        const json_t *rates = json_object_get(json, "rates");
        struct schedule schedule = {
            .kind = (enum schedule_kind)place(kind, kinds, 5),
            .lr = real(json, "lr", 0),
            .steps = (uint64_t)real(json, "steps", 0),
            .warmup = (uint64_t)real(json, "warmup", 0),
            .every = (uint64_t)real(json, "every", 1),
            .factor = real(json, "factor", 1),
            .final = real(json, "final", 0),
            .rise = real(json, "rise", 0.3),
        };
        for (size_t t = 0; t < json_array_size(rates); t++) {
            assert_close(kind, t, schedule_rate(&schedule, t),
                         json_number_value(json_array_get(rates, t)), 1e-10);
        }
        double last = schedule_rate(&schedule, schedule.steps - 1);
        assert_true(schedule_rate(&schedule, schedule.steps + 7) == last);
    }
}

/* Trainings of one or two steps, and warm-ups of the whole of them, give finite rates. */
static void short_trainings_have_rates(void **state)
{
    (void)state;
    for (int kind = SCHEDULE_CONSTANT; kind <= SCHEDULE_ONE_CYCLE; kind++) {
        for (uint64_t steps = 1; steps <= 5; steps++) {
            for (uint64_t warmup = 0; warmup <= steps; warmup++) {
                struct schedule schedule = {.kind = (enum schedule_kind)kind,
                                            .lr = 1,
                                            .steps = steps,
                                            .warmup = warmup,
                                            .every = 1,
                                            .factor = 0.5,
                                            .rise = 0.3};
                for (uint64_t t = 0; t < steps; t++) {
                    double rate = schedule_rate(&schedule, t);
                    assert_true(rate >= 0 && rate <= 1);
                }
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_are_those_of_pytorch),
        cmocka_unit_test(the_loss_of_a_mixed_row_is_the_mixture_of_losses),
        cmocka_unit_test(mixtures_are_those_of_beta),
        cmocka_unit_test(a_nan_among_outputs_reaches_the_loss),
        cmocka_unit_test(probabilities_of_one_logit_are_a_pair),
        cmocka_unit_test(optimizers_are_those_of_pytorch),
        cmocka_unit_test(a_gradient_may_be_in_parts),
        cmocka_unit_test(the_norm_takes_every_number_once),
        cmocka_unit_test(schedules_are_those_of_pytorch),
        cmocka_unit_test(short_trainings_have_rates),
    };
    return cmocka_run_group_tests(tests, open_golden, close_golden);
}
