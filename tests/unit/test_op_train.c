/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * train.native and eval.metrics as processes: the same bits over ranks, stops, kills and damaged
 * checkpoints; what they refuse; and that what is trained predicts.
 */
#include "tests/unit/op_trainings.h"

#include <jansson.h>
#include <math.h>

#include "lib/artifact/safetensors.h"
#include "lib/base/ownership.h"
#include "lib/base/prng.h"
#include "lib/sys/clock.h"
#include "worker/ml/model.h"
#include "worker/op/table.h"

#define SMALL      "\"model\": {\"mlp\": {\"hidden\": [16, 8]}}, \"batch\": 64, \"seed\": 3"
#define QUICK      "{" SMALL ", \"epochs\": 6, \"early_stop\": {\"patience\": 50}}"
/* It overfits: the best epoch is early, and must come through every stop. */
#define LONG                                                                                       \
    "{" SMALL ", \"epochs\": 400, \"early_stop\": {\"patience\": 1000}, "                          \
    "\"optimizer\": {\"adamw\": {\"lr\": 0.02}}}"

/* The seven inputs (four numbers, three colours) as a narrow image: norm, residual and dropout. */
#define CNN                                                                                        \
    "\"model\": {\"cnn\": {\"image\": [7, 1, 1], \"channels\": [6], \"depth\": 2, \"residual\": "  \
    "true, "                                                                                       \
    "\"depthwise\": true, \"head\": \"mean\", \"hidden\": [8], \"dropout\": 0.2, \"crop\": 1}}, "  \
    "\"batch\": "                                                                                  \
    "50, "                                                                                         \
    "\"seed\": 5"
#define CNN_LONG "{" CNN ", \"epochs\": 120, \"early_stop\": {\"patience\": 1000}}"

static int write_tables(void **state)
{
    (void)state;
    static const char *const folders[] = {"ckpt",      "ckpt-kill",  "ckpt-gang",
                                          "ckpt-flip", "ckpt-quick", "ckpt-cnn"};
    op_trainings_prepare(folders, MLQ_COUNT_OF(folders));
    return 0;
}

static struct op_run training(const char *with, const char *output)
{
    return op_training("train.native", with, output);
}

/* The model of `with` without ranks, stops or checkpoints. */
static void train_reference(const char *with, const char *output)
{
    struct op_run run = training(with, output);
    op_run_expect(&run, 0, NULL);
}

/* ---- The same bits ---- */

static void the_seed_decides_every_byte(void **state)
{
    (void)state;
    train_reference(QUICK, "out-a");
    train_reference(QUICK, "out-b");
    assert_true(op_run_same_file("out-a/model.safetensors", "out-b/model.safetensors"));
    train_reference(
        "{\"model\": {\"mlp\": {\"hidden\": [16, 8]}}, \"batch\": 64, \"seed\": 4, \"epochs\": 6}",
        "out-c");
    assert_false(op_run_same_file("out-a/model.safetensors", "out-c/model.safetensors"));
}

static void any_number_of_ranks_gives_the_same_model(void **state)
{
    (void)state;
    static const char *const withs[] = {
        QUICK,
        "{\"model\": \"softmax\", \"optimizer\": {\"sgd\": {\"momentum\": 0.9, \"nesterov\": true, "
        "\"lr\": 0.05}}, "
        "\"l2\": 0.001, \"epochs\": 4, \"batch\": 50, \"shards\": 4, \"seed\": 1}",
        "{" CNN ", \"epochs\": 4}",
        "{" CNN ", \"epochs\": 4, \"mixup\": 0.4}",
        "{\"model\": {\"mlp\": {\"hidden\": [9], \"embedding\": 2}}, \"epochs\": 4, \"seed\": 6}",
        "{\"model\": {\"mlp\": {\"hidden\": [16], \"activation\": \"gelu\", \"dropout\": 0.3}}, "
        "\"epochs\": 4, \"batch\": 60, \"seed\": 2, \"schedule\": {\"one_cycle\": {}}, "
        "\"clip_norm\": 0.5, "
        "\"loss\": {\"cross_entropy\": {\"label_smoothing\": 0.1}}, \"balance\": true, "
        "\"accumulate\": 2}",
    };
    for (size_t i = 0; i < MLQ_COUNT_OF(withs); i++) {
        train_reference(withs[i], "out-one");
        for (uint32_t ranks = 2; ranks <= OP_GANG_RANKS_MAX; ranks++) {
            struct op_gang gang = op_gang_start(withs[i], "out-gang", NULL, ranks);
            for (uint32_t rank = 0; rank < ranks; rank++) {
                assert_int_equal(op_run_wait(gang.pids[rank]), 0);
            }
            assert_true(
                op_run_same_file("out-one/model.safetensors", "out-gang/model.safetensors"));
            assert_false(mlq_fs_exists("out-gang.rank1/model.safetensors"));
        }
    }
}

/* ---- Stops, kills and checkpoints ---- */

/* Runs with `signal` sent after each new checkpoint, at most `times`, then to the end. */
static void train_interrupted(
    const char *with, const char *folder, const char *output, int with_signal, int times)
{
    int interrupted = 0, status = 1, tries = 0;
    while (status != 0) {
        char before[300];
        struct op_run run = training(with, output);
        run.checkpoint = folder;
        (void)op_trainings_checkpoints(folder, before);
        pid_t pid = op_run_start(&run);
        if (interrupted < times) {
            op_trainings_await(folder, before, pid);
            (void)kill(pid, with_signal);
        }
        status = op_run_wait(pid);
        interrupted += status != 0;
        if (status != 0) {
            assert_int_equal(status, with_signal == SIGKILL ? 128 + SIGKILL : 75);
        }
        assert_true(op_trainings_checkpoints(folder, before) <= 3);
        if (status == 0 && interrupted < times) {
            op_trainings_begin_again(folder, &tries);
            interrupted = 0;
            status = 1;
        }
    }
    assert_int_equal(interrupted, times);
}

static void a_stopped_training_ends_with_the_same_bits(void **state)
{
    (void)state;
    train_reference(LONG, "out-whole");
    train_interrupted(LONG, "ckpt", "out-stopped", SIGTERM, 3);
    assert_true(op_run_same_file("out-whole/model.safetensors", "out-stopped/model.safetensors"));
    json_t *history = json_load_file("out-stopped/history.json", 0, NULL);
    assert_int_equal(json_array_size(json_object_get(history, "epochs")), 400);
    assert_true(json_is_true(json_object_get(history, "resumed")));
    assert_true(json_integer_value(json_object_get(history, "best_epoch")) < 100);
    json_decref(history);
}

static void a_killed_training_ends_with_the_same_bits(void **state)
{
    (void)state;
    train_interrupted(LONG, "ckpt-kill", "out-killed", SIGKILL, 3);
    assert_true(op_run_same_file("out-whole/model.safetensors", "out-killed/model.safetensors"));
}

/* Running statistics and the masks of dropout come through a kill as weights do. */
static void a_killed_cnn_ends_with_the_same_bits(void **state)
{
    (void)state;
    train_reference(CNN_LONG, "out-cnn-whole");
    train_interrupted(CNN_LONG, "ckpt-cnn", "out-cnn-killed", SIGKILL, 2);
    assert_true(
        op_run_same_file("out-cnn-whole/model.safetensors", "out-cnn-killed/model.safetensors"));
}

/* A gang loses rank 1; rank 0 saves and leaves with 75; the same gang, run again, ends as if
 * nothing was. */
static void a_gang_that_lost_a_rank_ends_with_the_same_bits(void **state)
{
    (void)state;
    op_gang_interrupt(LONG, "out-lost", "ckpt-gang", 3, SIGKILL);
    struct op_gang gang = op_gang_start(LONG, "out-lost", "ckpt-gang", 2); /* and with another size */
    op_gang_expect(&gang, 0);
    assert_true(op_run_same_file("out-whole/model.safetensors", "out-lost/model.safetensors"));
}

/* One rank is asked to stop: all stop at the same step. */
static void a_gang_stops_together(void **state)
{
    (void)state;
    assert_int_equal(mlq_fs_remove_tree("ckpt-gang", NULL), 0);
    op_gang_interrupt(LONG, "out-together", "ckpt-gang", 2, SIGTERM);
    struct op_run run = training(LONG, "out-together");
    run.checkpoint = "ckpt-gang";
    op_run_expect(&run, 0, "train.resume");
    assert_true(op_run_same_file("out-whole/model.safetensors", "out-together/model.safetensors"));
}

static void a_damaged_checkpoint_is_passed_over(void **state)
{
    (void)state;
    char newest[300];
    struct op_run run = training(LONG, "out-flip");
    run.checkpoint = "ckpt-flip";
    op_trainings_stop(&run); /* it saves another one, of a later step */
    assert_true(op_trainings_checkpoints("ckpt-flip", newest) >= 2);
    char *path = mlq_fs_join("ckpt-flip", newest);
    op_run_flip_a_bit(path, 5);
    op_run_expect(&run, 0, "train.checkpoint_damaged");
    assert_true(op_run_same_file("out-whole/model.safetensors", "out-flip/model.safetensors"));
    mlq_free(path);
}

static void a_checkpoint_of_another_training_is_refused(void **state)
{
    (void)state;
    struct op_run run = training(QUICK, "out-foreign");
    run.checkpoint = "ckpt-quick";
    op_run_expect(&run, 0, NULL);
    run.with = "{" SMALL ", \"epochs\": 6, \"l2\": 0.5, \"early_stop\": {\"patience\": 50}}";
    op_run_expect(&run, 1, "other parameters");
    run.with = QUICK;
    run.train = "test.safetensors";
    op_run_expect(&run, 1, "other rows");
    /* In a gang rank 0 says so and fails; the others have nothing to say. */
    struct op_gang gang = op_gang_start(LONG, "out-foreign", "ckpt-quick", 2);
    assert_int_equal(op_run_wait(gang.pids[0]), 1);
    assert_int_equal(op_run_wait(gang.pids[1]), 75);
    run.train = "train.safetensors";
    op_run_expect(&run, 0, "train.resume"); /* its own still goes on */
}

/* ---- What is learned ---- */

static void classes_are_learned_and_judged(void **state)
{
    (void)state;
    struct op_run eval = {.op = "eval.metrics",
                          .output = "out-eval",
                          .model = "out-model/model.safetensors",
                          .data = "test.safetensors"};
    train_reference("{" SMALL ", \"epochs\": 60, \"optimizer\": {\"adamw\": {\"lr\": 0.01}}}",
                    "out-model");
    op_run_expect(&eval, 0, "accuracy");
    double accuracy = op_run_metric("out-eval/metrics.json", "accuracy");
    assert_true(accuracy > 0.85 && accuracy < 1);
    assert_true(op_run_metric("out-eval/metrics.json", "roc_auc") > 0.95);
    /* The predictions are those that the metrics are about. */
    struct safetensors *file = NULL;
    assert_int_equal(safetensors_open("out-eval/predictions.safetensors", &file, NULL), 0);
    const struct safetensors_tensor *truth = safetensors_find(file, "true");
    const struct safetensors_tensor *guess = safetensors_find(file, "predicted");
    const struct safetensors_tensor *p = safetensors_find(file, "probabilities");
    assert_string_equal(safetensors_metadata(file, "classes"), "[\"disc\",\"ring\",\"star\"]");
    uint32_t correct = 0;
    for (uint32_t i = 0; i < OP_TRAININGS_OTHER_ROWS; i++) {
        const double *row = (const double *)p->data + 3 * i;
        assert_true(fabs(row[0] + row[1] + row[2] - 1) < 1e-12);
        int32_t t = ((const int32_t *)truth->data)[i], g = ((const int32_t *)guess->data)[i];
        assert_true(row[g] >= row[0] && row[g] >= row[1] && row[g] >= row[2]);
        correct += t == g;
    }
    assert_true(fabs(accuracy - (double)correct / OP_TRAININGS_OTHER_ROWS) < 1e-12);
    safetensors_close(&file);
}

static void numbers_are_learned_and_judged(void **state)
{
    (void)state;
    op_tables_write("numbers.safetensors",
                    (struct op_tables_plan){.key = 1000, .rows = 900, .numeric_target = true});
    op_tables_write(
        "numbers-test.safetensors",
        (struct op_tables_plan){.key = 3000, .rows = OP_TRAININGS_OTHER_ROWS, .numeric_target = true});
    struct op_run run = {
        .op = "train.native",
        .output = "out-numbers",
        .train = "numbers.safetensors",
        .with = "{\"model\": {\"linear\": {}}, \"epochs\": 60, \"optimizer\": {\"adamw\": "
                "{\"lr\": 0.01, \"weight_decay\": 0}}}"};
    struct op_run eval = {.op = "eval.metrics",
                          .output = "out-numbers-eval",
                          .model = "out-numbers/model.safetensors",
                          .data = "numbers-test.safetensors"};
    op_run_expect(&run, 0, "task=regression");
    op_run_expect(&eval, 0, NULL);
    assert_true(op_run_metric("out-numbers-eval/metrics.json", "r2") > 0.9);
    assert_true(isnan(op_run_metric("out-numbers-eval/metrics.json", "accuracy")));
}

/* Mixed rows are other rows: the model differs, learns, and does not fit the training rows as well.
 */
static void mixup_holds_the_fit_back(void **state)
{
    (void)state;
    static const char plain[] =
        "{" SMALL ", \"epochs\": 60, \"optimizer\": {\"adamw\": {\"lr\": 0.01}}}";
    static const char mixed[] =
        "{" SMALL ", \"epochs\": 60, \"optimizer\": {\"adamw\": {\"lr\": 0.01}}, \"mixup\": 0.4}";
    const char *const withs[] = {plain, mixed};
    double losses[2], accuracies[2];
    for (size_t i = 0; i < 2; i++) {
        train_reference(withs[i], "out-mixed");
        json_t *history = json_load_file("out-mixed/history.json", 0, NULL);
        const json_t *last = json_array_get(json_object_get(history, "epochs"), 59);
        losses[i] = json_real_value(json_object_get(last, "train_loss"));
        accuracies[i] = json_real_value(json_object_get(last, "val_accuracy"));
        json_decref(history);
    }
    assert_true(losses[1] > losses[0] + 0.1);
    assert_true(accuracies[1] > 0.8);
}

/* Losses of numbers are in deviations of the target, and so is what of Huber's is beyond: another unit of the
 * target (a power of two, which rounds nothing) gives the same network. */
static void the_unit_of_the_target_changes_no_weight(void **state)
{
    (void)state;
    static const char with[] =
        "{\"model\": \"linear\", \"epochs\": 5, \"loss\": {\"huber\": {\"delta\": 0.5}}}";
    static const char *const outputs[] = {"out-metres", "out-kilometres"};
    struct model *models[2] = {NULL, NULL};
    json_t *histories[2];
    for (size_t i = 0; i < 2; i++) {
        char *path = mlq_format("%s/history.json", outputs[i]);
        char *model = mlq_format("%s/model.safetensors", outputs[i]);
        op_tables_write("numbers.safetensors",
                        (struct op_tables_plan){.key = 1000,
                                                .rows = 900,
                                                .numeric_target = true,
                                                .target_factor = i == 0 ? 1024 : 1});
        struct op_run run = training(with, outputs[i]);
        run.train = run.validation = "numbers.safetensors";
        op_run_expect(&run, 0, NULL);
        histories[i] = json_load_file(path, 0, NULL);
        assert_int_equal(model_load(model, &models[i], NULL), 0);
        mlq_free(path);
        mlq_free(model);
    }
    assert_true(models[0]->target_scale == 1024 * models[1]->target_scale);
    assert_memory_equal(models[0]->parameters, models[1]->parameters,
                        models[0]->arena_count * sizeof(float));
    const json_t *far = json_array_get(json_object_get(histories[0], "epochs"), 4);
    const json_t *near = json_array_get(json_object_get(histories[1], "epochs"), 4);
    assert_true(json_equal(json_object_get(far, "val_loss"), json_object_get(near, "val_loss")));
    assert_true(json_real_value(json_object_get(far, "val_rmse")) ==
                1024 * json_real_value(json_object_get(near, "val_rmse")));
    for (size_t i = 0; i < 2; i++) {
        model_destroy(&models[i]);
        json_decref(histories[i]);
    }
}

static void early_stopping_keeps_the_best_epoch(void **state)
{
    (void)state;
    train_reference(
        "{" SMALL ", \"epochs\": 500, \"optimizer\": {\"adamw\": {\"lr\": 0.02}}, \"early_stop\": "
        "{\"patience\": 4}}",
        "out-early");
    json_t *history = json_load_file("out-early/history.json", 0, NULL);
    const json_t *epochs = json_object_get(history, "epochs");
    const json_t *phases = json_object_get(history, "phases");
    assert_true(json_number_value(json_object_get(phases, "compute")) > 0);
    assert_true(json_number_value(json_object_get(phases, "data")) > 0);
    assert_true(json_number_value(json_object_get(phases, "validation")) > 0);
    assert_true(json_number_value(json_object_get(phases, "exchange")) == 0); /* one rank */
    size_t best = (size_t)json_integer_value(json_object_get(history, "best_epoch"));
    assert_true(json_is_true(json_object_get(history, "stopped_early")));
    assert_int_equal(json_array_size(epochs), best + 4);
    double least = json_number_value(json_object_get(json_array_get(epochs, best - 1), "val_loss"));
    for (size_t i = 0; i < json_array_size(epochs); i++) {
        assert_true(json_number_value(json_object_get(json_array_get(epochs, i), "val_loss")) >=
                    least);
    }
    json_decref(history);
    /* The saved weights are those of the best epoch: they score its validation loss. */
    struct op_run eval = {.op = "eval.metrics",
                          .output = "out-early-eval",
                          .model = "out-early/model.safetensors",
                          .data = "validation.safetensors"};
    op_run_expect(&eval, 0, NULL);
    assert_true(fabs(op_run_metric("out-early-eval/metrics.json", "log_loss") - least) < 1e-5);
}

/* Nothing of the validation rows is in the model: other ones change no byte of it. */
static void preprocessing_is_fitted_on_the_training_rows(void **state)
{
    (void)state;
    static const char with[] = "{" SMALL ", \"epochs\": 3}";
    struct op_run run = training(with, "out-other-validation");
    train_reference(with, "out-fit");
    run.validation = "test.safetensors";
    op_run_expect(&run, 0, NULL);
    assert_true(
        op_run_same_file("out-fit/model.safetensors", "out-other-validation/model.safetensors"));
    struct model *model = NULL;
    assert_int_equal(model_load("out-fit/model.safetensors", &model, NULL), 0);
    assert_int_equal(model->feature_count, 5); /* not the target */
    assert_true(model->features[3].mean > 3000 && model->features[3].mean < 3100);
    model_destroy(&model);
}

/* ---- Refusals ---- */

static void bad_parameters_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *with;
        const char *text;
    } cases[] = {
        {"{\"shards\": 6}", "shards: 6 is not a power of two: use 4 or 8"},
        {"{\"shards\": 2048}", "shards"},
        {"{\"epochs\": 0}", "epochs"},
        {"{\"batch\": 1.5}", "batch"},
        {"{\"model\": {\"mlp\": {\"hidden\": [0]}}}", "hidden[0]"},
        {"{\"model\": {\"mlp\": {\"hidden\": 7}}}", "hidden"},
        {"{\"model\": {\"forest\": {}}}", "forest"},
        {"{\"model\": {\"mlp\": {}, \"linear\": {}}}", "exactly one"},
        {"{\"optimizer\": {\"adamw\": {\"lr\": 0}}}", "optimizer.adamw.lr"},
        {"{\"optimizer\": {\"sgd\": {\"momentum\": 1}}}", "optimizer.sgd.momentum"},
        {"{\"optimizer\": {\"sgd\": {\"momentum\": 0, \"nesterov\": true}}}", "nesterov"},
        {"{\"optimizer\": \"lion\"}", "lion"},
        {"{\"model\": {\"mlp\": {\"activation\": \"cosh\"}}}",
         "not one of identity, relu, gelu, tanh"},
        {"{\"model\": {\"mlp\": {\"dropout\": 1}}}", "model.mlp.dropout"},
        {"{\"loss\": \"hinge\"}", "'hinge' is not one of auto, cross_entropy, bce, squared, huber"},
        {"{\"loss\": \"bce\"}", "bce is for two classes, and 'shape' has 3"},
        {"{\"loss\": \"huber\"}", "squared and huber are for numbers"},
        {"{\"loss\": {\"cross_entropy\": {\"label_smoothing\": 1}}}", "label_smoothing"},
        {"{\"class_weights\": {\"blob\": 2}}", "'blob': no such class"},
        {"{\"class_weights\": {\"disc\": 0}}", "'disc': expected a number"},
        {"{\"schedule\": \"zigzag\"}", "zigzag"},
        {"{\"schedule\": {\"step\": {\"factor\": 2}}}", "schedule.step.factor"},
        {"{\"accumulate\": 3}", "accumulate: 3 is not a power of two"},
        {"{\"accumulate\": 512}", "accumulate: 512 times shards, which is 8, is more than 1024 shards"},
        {"{\"mixup\": 0.01}", "mixup: 0.01: expected 0, or a number from 0.05 to 1"},
        {"{\"mixup\": 0.2, \"balance\": true}", "balance: means nothing with mixup: a mixed row has no one weight"},
        {"{\"mixup\": 0.2, \"model\": {\"mlp\": {\"embedding\": 2}}}", "model.mlp.embedding: means nothing with mixup"},
        {"{\"model\": \"cnn\"}", "expected [height, width, channels]"},
        {"{\"model\": {\"cnn\": {\"image\": [28, 28, 1]}}}", "has 784 numbers, but a row has 7"},
        {"{\"model\": {\"cnn\": {\"image\": [7, 1, 1]}}}",
         "layer 2 (max_pool): a window of 2 x 2 does not fit an image of 7 x 1"},
        {"{\"model\": {\"cnn\": {\"image\": [7, 1, 1], \"kernel\": 4}}}", "only an odd one"},
        {"{\"model\": {\"cnn\": {\"image\": [7, 1, 1], \"residual\": true}}}", "a depth of 2"},
        {"{\"model\": {\"cnn\": {\"image\": [7, 1, 1], \"channels\": []}}}", "at least one stage"},
        {"{\"task\": \"guess\"}", "guess"},
        {"{\"collectives\": \"mpi\"}", "not one of auto, gloo, nccl"},
        {"{\"task\": \"regression\"}", "category"},
        {"{\"shards\": 512}", "fewer than shards"},
    };
    for (size_t i = 0; i < MLQ_COUNT_OF(cases); i++) {
        struct op_run run = training(cases[i].with, "out-refused");
        op_run_expect(&run, 1, cases[i].text);
        assert_false(mlq_fs_exists("out-refused/model.safetensors"));
    }
}

static void bad_tables_are_refused(void **state)
{
    (void)state;
    static const struct {
        struct op_tables_plan plan;
        const char *text;
    } cases[] = {
        {{.key = 1, .rows = 100, .no_target = true}, "no target column"},
        {{.key = 1, .rows = 100, .one_class = true}, "one class"},
        {{.key = 1, .rows = 100, .missing_target = true}, "row 2"},
        {{.key = 1000, .rows = 7}, "7 rows, fewer than shards (8)"},
    };
    for (size_t i = 0; i < MLQ_COUNT_OF(cases); i++) {
        struct op_run run = training("{}", "out-refused");
        op_tables_write("bad.safetensors", cases[i].plan);
        run.train = "bad.safetensors";
        op_run_expect(&run, 1, cases[i].text);
    }
    struct op_run run = training("{}", "out-refused");
    op_tables_write("foreign.safetensors",
                    (struct op_tables_plan){.key = 1, .rows = 100, .foreign_class = true});
    run.validation = "foreign.safetensors";
    op_run_expect(&run, 1, "'blob' of 'shape' was never seen in training");
    run.validation = NULL;
    run.with = "{\"early_stop\": {}}";
    op_run_expect(&run, 1, "early_stop needs validation rows");
    run.train = NULL;
    op_run_expect(&run, 1, "train");
    run.train = "out-refused.log";
    op_run_expect(&run, 1, "out-refused.log");
}

static void a_loss_that_is_no_number_stops_the_training(void **state)
{
    (void)state;
    op_tables_write("numbers.safetensors",
                    (struct op_tables_plan){.key = 1000, .rows = 400, .numeric_target = true});
    struct op_run run = {.op = "train.native",
                         .output = "out-nan",
                         .train = "numbers.safetensors",
                         .with = "{\"optimizer\": {\"sgd\": {\"lr\": 100}}, \"epochs\": 50}"};
    op_run_expect(&run, 1,
                  "the loss is not a finite number (first in the weights of layer 0, dense)");
    assert_false(mlq_fs_exists("out-nan/model.safetensors"));
}

static void gangs_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    struct op_run run = training("{\"shards\": 2}", "out-refused");
    run.ranks = 4;
    run.port = 1;
    op_run_expect(&run, 1, "4 ranks, but only 2 shards");
    run.with = "{}";
    run.port = 0;
    op_run_expect(&run, 1, "MASTER_PORT");
    op_run_set("CUDA_VISIBLE_DEVICES", ""); /* as in a task without a GPU, on any machine */
    run.ranks = 0;
    run.with = "{\"collectives\": \"nccl\"}";
    op_run_expect(&run, 1, "{gpus: 1}");
    assert_false(mlq_fs_exists("out-refused/model.safetensors"));
    op_run_set("CUDA_VISIBLE_DEVICES", NULL);
}

static void a_model_is_not_judged_on_what_does_not_fit_it(void **state)
{
    (void)state;
    struct op_run eval = {.op = "eval.metrics",
                          .output = "out-eval-bad",
                          .model = "out-fit/model.safetensors",
                          .data = "numbers.safetensors"};
    op_run_expect(&eval, 1, "no column 'shape'");
    eval.data = "foreign.safetensors";
    op_run_expect(&eval, 1, "'blob'");
    eval.data = "test.safetensors";
    eval.with = "{\"positive\": \"ring\"}";
    op_run_expect(&eval, 1, "two classes");
    eval.with = "{\"threshold\": 2}";
    op_run_expect(&eval, 1, "threshold");
    eval.with = NULL;
    eval.model = "test.safetensors";
    op_run_expect(&eval, 1, "is not a model");
    assert_false(mlq_fs_exists("out-eval-bad/metrics.json"));
}

/* The last number of the file becomes another, or the file loses its end. */
static void damage_model(const char *path, const char *end, size_t end_len, size_t lost)
{
    size_t len = 0;
    char *bytes = op_run_read("out-fit/model.safetensors", &len);
    memcpy(bytes + len - end_len, end, end_len);
    assert_int_equal(mlq_fs_write_durable(path, (struct mlq_str){bytes, len - lost}, 0644, NULL),
                     MLQ_OK);
    mlq_free(bytes);
}

static void damaged_models_are_refused_by_all_who_read_them(void **state)
{
    (void)state;
    struct op_run eval = {
        .op = "eval.metrics", .output = "out-damaged", .data = "test.safetensors"};
    struct op_run onnx = {.op = "package.onnx", .output = "out-damaged"};
    eval.model = onnx.model = "nan.safetensors";
    damage_model("nan.safetensors", "\0\0\xc0\x7f", 4, 0);
    op_run_expect(
        &eval, 1,
        "mlq-op eval.metrics: nan.safetensors: tensor layers.2.bias holds a NaN or an infinity\n");
    op_run_expect(
        &onnx, 1,
        "mlq-op package.onnx: nan.safetensors: tensor layers.2.bias holds a NaN or an infinity\n");
    eval.model = onnx.model = "short.safetensors";
    damage_model("short.safetensors", "", 0, 4);
    op_run_expect(&eval, 1,
                  "mlq-op eval.metrics: short.safetensors: not a sound safetensors file: tensor "
                  "'layers.2.bias': bytes 1152..1164 lie outside the 1160 bytes of data\n");
    op_run_expect(&onnx, 1,
                  "mlq-op package.onnx: short.safetensors: not a sound safetensors file: tensor "
                  "'layers.2.bias': bytes 1152..1164 lie outside the 1160 bytes of data\n");
    eval.model = onnx.model = "none.safetensors";
    op_run_expect(&eval, 1,
                  "mlq-op eval.metrics: open none.safetensors: No such file or directory\n");
    op_run_expect(&onnx, 1,
                  "mlq-op package.onnx: open none.safetensors: No such file or directory\n");
    eval.model = "out-fit/model.safetensors";
    eval.data = "short.safetensors";
    op_run_expect(&eval, 1,
                  "mlq-op eval.metrics: short.safetensors: not a sound safetensors file: tensor "
                  "'layers.2.bias': bytes 1152..1164 lie outside the 1160 bytes of data\n");
    eval.data = "out-fit/model.safetensors";
    op_run_expect(&eval, 1,
                  "mlq-op eval.metrics: out-fit/model.safetensors: no table: its metadata lack "
                  "'mlq.table' (data.import makes tables)\n");
    assert_false(mlq_fs_exists("out-damaged/metrics.json"));
    assert_false(mlq_fs_exists("out-damaged/model.onnx"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_seed_decides_every_byte),
        cmocka_unit_test(any_number_of_ranks_gives_the_same_model),
        cmocka_unit_test(a_stopped_training_ends_with_the_same_bits),
        cmocka_unit_test(a_killed_training_ends_with_the_same_bits),
        cmocka_unit_test(a_killed_cnn_ends_with_the_same_bits),
        cmocka_unit_test(a_gang_that_lost_a_rank_ends_with_the_same_bits),
        cmocka_unit_test(a_gang_stops_together),
        cmocka_unit_test(a_damaged_checkpoint_is_passed_over),
        cmocka_unit_test(a_checkpoint_of_another_training_is_refused),
        cmocka_unit_test(classes_are_learned_and_judged),
        cmocka_unit_test(numbers_are_learned_and_judged),
        cmocka_unit_test(mixup_holds_the_fit_back),
        cmocka_unit_test(the_unit_of_the_target_changes_no_weight),
        cmocka_unit_test(early_stopping_keeps_the_best_epoch),
        cmocka_unit_test(preprocessing_is_fitted_on_the_training_rows),
        cmocka_unit_test(bad_parameters_are_refused),
        cmocka_unit_test(bad_tables_are_refused),
        cmocka_unit_test(a_loss_that_is_no_number_stops_the_training),
        cmocka_unit_test(gangs_that_do_not_fit_are_refused),
        cmocka_unit_test(a_model_is_not_judged_on_what_does_not_fit_it),
        cmocka_unit_test(damaged_models_are_refused_by_all_who_read_them),
    };
    return cmocka_run_group_tests(tests, write_tables, NULL);
}
