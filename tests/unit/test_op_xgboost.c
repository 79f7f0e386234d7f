/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * train.xgboost as a process: the same bits over threads, stops, kills and damaged checkpoints;
 * what it refuses; and that its model, which eval.metrics reads without XGBoost, predicts what
 * XGBoost said.
 */
#include "tests/unit/op_trainings.h"

#include <jansson.h>
#include <math.h>
#include <poll.h>
#include <sys/stat.h>

#include "lib/base/ownership.h"
#include "lib/sys/clock.h"
#include "worker/ml/model.h"

#define SAMPLED    "\"subsample\": 0.7, \"colsample_bytree\": 0.5, \"seed\": 3"
#define QUICK      "{\"rounds\": 12, " SAMPLED "}"
/* It overfits: the best round is early, and must come through every stop. */
#define LONG       "{\"rounds\": 300, \"eta\": 0.2, " SAMPLED ", \"early_stop\": {\"patience\": 1000}}"
#define CHECKPOINT "xgboost.safetensors"

static int write_tables(void **state)
{
    (void)state;
    static const char *const folders[] = {"ckpt-stop", "ckpt-kill", "ckpt-flip", "ckpt-quick"};
    op_trainings_prepare(folders, MLQ_COUNT_OF(folders));
    op_run_set("OMP_NUM_THREADS", "2");
    return 0;
}

static struct op_run training(const char *with, const char *output)
{
    return op_training("train.xgboost", with, output);
}

static void train(const char *with, const char *output)
{
    struct op_run run = training(with, output);
    op_run_expect(&run, 0, NULL);
}

static bool is_same(const char *a, const char *b, const char *file)
{
    char *x = mlq_fs_join(a, file), *y = mlq_fs_join(b, file);
    bool same = op_run_same_file(x, y);
    mlq_free(x);
    mlq_free(y);
    return same;
}

static bool is_same_model(const char *a, const char *b)
{
    return is_same(a, b, "model.safetensors") && is_same(a, b, "model.ubj");
}

/* The history but for its times. */
static json_t *history_of(const char *folder)
{
    char *path = mlq_fs_join(folder, "history.json");
    json_t *history = json_load_file(path, 0, NULL);
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(history, "epochs"), i, row)
    {
        assert_int_equal(json_object_del(row, "samples_per_second"), 0);
    }
    mlq_free(path);
    return history;
}

/* ---- The same bits ---- */

static void the_seed_decides_every_byte(void **state)
{
    (void)state;
    train(QUICK, "out-a");
    train(QUICK, "out-b");
    assert_true(is_same_model("out-a", "out-b"));
    train("{\"rounds\": 12, \"subsample\": 0.7, \"colsample_bytree\": 0.5, \"seed\": 4}", "out-c");
    assert_false(is_same("out-a", "out-c", "model.safetensors"));
}

static void the_number_of_threads_changes_nothing(void **state)
{
    (void)state;
    train(QUICK, "out-two");
    op_run_set("OMP_NUM_THREADS", "1");
    train(QUICK, "out-one");
    op_run_set("OMP_NUM_THREADS", "5");
    train(QUICK, "out-five");
    op_run_set("OMP_NUM_THREADS", "2");
    assert_true(is_same_model("out-two", "out-one") && is_same_model("out-two", "out-five"));
}

/* Sampling of columns starts the tree maker anew in each round: with all that it was told. */
static void sampling_forgets_no_parameter(void **state)
{
    (void)state;
    train("{\"rounds\": 9, \"max_depth\": 2, \"eta\": 0.001, \"colsample_bytree\": 0.5}",
          "out-slow");
    json_t *history = history_of("out-slow");
    const json_t *last = json_array_get(json_object_get(history, "epochs"), 8);
    assert_int_equal(json_integer_value(json_object_get(history, "depth")), 2);
    assert_true(fabs(json_number_value(json_object_get(last, "train_loss")) - log(3)) < 0.02);
    train("{\"rounds\": 9, \"colsample_bytree\": 0.5}", "out-columns");
    train("{\"rounds\": 9}", "out-all");
    assert_false(is_same("out-columns", "out-all", "model.safetensors"));
    json_decref(history);
}

/* ---- Stops, kills and checkpoints ---- */

/* Each checkpoint is a new file under the same name. */
static ino_t checkpoint_of(const char *folder)
{
    struct stat info = {.st_ino = 0};
    char *path = mlq_fs_join(folder, CHECKPOINT);
    bool there = stat(path, &info) == 0;
    mlq_free(path);
    return there ? info.st_ino : 0;
}

/* Waits until another checkpoint than `before` is there, or the process has ended. */
static void await_checkpoint(const char *folder, ino_t before, pid_t pid)
{
    siginfo_t info = {.si_pid = 0};
    int64_t deadline_ns = mlq_clock_boot_ns() + patience(60 * MLQ_NS_PER_S);
    ino_t now;
    do {
        assert_true(mlq_clock_boot_ns() < deadline_ns);
        (void)poll(NULL, 0, 2);
        now = checkpoint_of(folder);
        assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT), 0);
    } while (info.si_pid == 0 && (now == 0 || now == before));
}

static void train_interrupted(const char *folder, const char *output, int with_signal, int times)
{
    int interrupted = 0, status = 1, tries = 0;
    struct op_run run = training(LONG, output);
    run.checkpoint = folder;
    while (status != 0) {
        ino_t before = checkpoint_of(folder);
        pid_t pid = op_run_start(&run);
        if (interrupted < times) {
            await_checkpoint(folder, before, pid);
            (void)kill(pid, with_signal);
        }
        status = op_run_wait(pid);
        interrupted += status != 0;
        if (status != 0) {
            assert_int_equal(status, with_signal == SIGKILL ? 128 + SIGKILL : 75);
        } else if (interrupted < times) {
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
    train(LONG, "out-whole");
    train_interrupted("ckpt-stop", "out-stopped", SIGTERM, 3);
    assert_true(is_same_model("out-whole", "out-stopped"));
    json_t *whole = history_of("out-whole"), *stopped = history_of("out-stopped");
    assert_true(json_equal(json_object_get(whole, "epochs"), json_object_get(stopped, "epochs")));
    assert_true(
        json_equal(json_object_get(whole, "importance"), json_object_get(stopped, "importance")));
    assert_int_equal(json_array_size(json_object_get(whole, "epochs")), 300);
    assert_true(json_integer_value(json_object_get(whole, "best_epoch")) < 200);
    assert_true(json_is_true(json_object_get(stopped, "resumed")));
    assert_false(json_is_true(json_object_get(whole, "resumed")));
    json_decref(whole);
    json_decref(stopped);
}

static void a_killed_training_ends_with_the_same_bits(void **state)
{
    (void)state;
    train_interrupted("ckpt-kill", "out-killed", SIGKILL, 3);
    assert_true(is_same_model("out-whole", "out-killed"));
}

static void a_damaged_checkpoint_is_passed_over(void **state)
{
    (void)state;
    struct op_run run = training(LONG, "out-flip");
    run.checkpoint = "ckpt-flip";
    int status = 0, tries = 0;
    while (status == 0) {
        pid_t pid = op_run_start(&run);
        await_checkpoint("ckpt-flip", 0, pid);
        await_checkpoint("ckpt-flip", checkpoint_of("ckpt-flip"), pid);
        (void)kill(pid, SIGTERM);
        status = op_run_wait(pid);
        if (status == 0) {
            op_trainings_begin_again("ckpt-flip", &tries);
        }
    }
    assert_int_equal(status, 75);
    op_run_flip_a_bit("ckpt-flip/" CHECKPOINT, 300);
    op_run_expect(&run, 0, "train.checkpoint_damaged");
    op_run_expect(&run, 0, "train.resume"); /* from the one before, and then from its own */
    assert_true(is_same_model("out-whole", "out-flip"));
}

static void a_checkpoint_of_another_training_is_refused(void **state)
{
    (void)state;
    struct op_run run = training(QUICK, "out-foreign");
    run.checkpoint = "ckpt-quick";
    op_run_expect(&run, 0, NULL);
    run.with = "{\"rounds\": 12, \"lambda\": 2, " SAMPLED "}";
    op_run_expect(&run, 1, "other parameters");
    run.with = QUICK;
    run.train = "test.safetensors";
    op_run_expect(&run, 1, "other rows");
    run.train = "train.safetensors";
    op_run_expect(&run, 0, "train.resume");
}

/* ---- What is learned ---- */

static struct op_run evaluation(const char *model, const char *data, const char *output)
{
    return (struct op_run){.op = "eval.metrics", .output = output, .model = model, .data = data};
}

/* XGBoost computed the history, eval.metrics walks the trees of the file: both say the same. */
static void the_model_predicts_what_xgboost_said(void **state)
{
    (void)state;
    train("{\"rounds\": 200, \"eta\": 0.3, \"early_stop\": {\"patience\": 8}}", "out-early");
    json_t *history = history_of("out-early");
    const json_t *epochs = json_object_get(history, "epochs");
    size_t best = (size_t)json_integer_value(json_object_get(history, "best_epoch"));
    assert_true(json_is_true(json_object_get(history, "stopped_early")));
    assert_int_equal(json_array_size(epochs), best + 8);
    assert_int_equal(json_integer_value(json_object_get(history, "trees")), 3 * best);
    const json_t *row = json_array_get(epochs, best - 1);
    double loss = json_number_value(json_object_get(row, "val_loss"));
    double accuracy = json_number_value(json_object_get(row, "val_accuracy"));
    struct op_run eval =
        evaluation("out-early/model.safetensors", "validation.safetensors", "out-early-eval");
    op_run_expect(&eval, 0, NULL);
    assert_true(fabs(op_run_metric("out-early-eval/metrics.json", "log_loss") - loss) < 1e-9);
    assert_true(op_run_metric("out-early-eval/metrics.json", "accuracy") == accuracy);
    eval = evaluation("out-early/model.safetensors", "test.safetensors", "out-test-eval");
    op_run_expect(&eval, 0, NULL);
    assert_true(op_run_metric("out-test-eval/metrics.json", "accuracy") > 0.8);
    json_decref(history);
}

/* The class hangs on the numbers and the colour: what gained most says so, and all shares are one.
 */
static void features_are_told_by_what_they_gained(void **state)
{
    (void)state;
    json_t *history = history_of("out-early");
    const json_t *list = json_object_get(history, "importance");
    double sum = 0, last = 1;
    size_t i;
    json_t *one;
    json_array_foreach((json_t *)(uintptr_t)list, i, one)
    {
        double gain = json_number_value(json_object_get(one, "gain"));
        assert_true(gain <= last && gain > 0);
        last = gain;
        sum += gain;
    }
    assert_int_equal(json_array_size(list), 5); /* the three inputs of the colour are one feature */
    assert_true(fabs(sum - 1) < 1e-6);
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "feature")),
                        "d");
    json_decref(history);
}

static void numbers_are_learned_in_their_own_units(void **state)
{
    (void)state;
    op_tables_write("numbers.safetensors",
                    (struct op_tables_plan){.key = 1000, .rows = 900, .numeric_target = true});
    op_tables_write(
        "numbers-test.safetensors",
        (struct op_tables_plan){.key = 3000, .rows = OP_TRAININGS_OTHER_ROWS, .numeric_target = true});
    struct op_run run = training("{\"rounds\": 60, \"learning_rate\": 0.2}", "out-numbers");
    run.train = "numbers.safetensors";
    run.validation = "numbers-test.safetensors";
    op_run_expect(&run, 0, "task=regression");
    json_t *history = history_of("out-numbers");
    const json_t *row = json_array_get(json_object_get(history, "epochs"), 59);
    double rmse = json_number_value(json_object_get(row, "val_rmse"));
    struct op_run eval =
        evaluation("out-numbers/model.safetensors", "numbers-test.safetensors", "out-numbers-eval");
    op_run_expect(&eval, 0, NULL);
    assert_true(fabs(op_run_metric("out-numbers-eval/metrics.json", "rmse") - rmse) < 1e-6 * rmse);
    assert_true(op_run_metric("out-numbers-eval/metrics.json", "r2") > 0.9);
    json_decref(history);
}

/* ---- Refusals ---- */

static void bad_parameters_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *with;
        const char *text;
    } cases[] = {
        {"{\"rounds\": 0}", "rounds"},
        {"{\"rounds\": 1.5}", "rounds"},
        {"{\"max_depth\": 0}", "max_depth"},
        {"{\"eta\": 0}", "eta"},
        {"{\"eta\": 0.1, \"learning_rate\": 0.1}", "two names of one parameter"},
        {"{\"subsample\": 0}", "subsample"},
        {"{\"colsample_bytree\": 1.1}", "colsample_bytree"},
        {"{\"lambda\": -1}", "lambda"},
        {"{\"gamma\": \"high\"}", "gamma"},
        {"{\"max_bin\": 1}", "max_bin"},
        {"{\"seed\": 4294967296}", "seed"},
        {"{\"tree_method\": \"exact\"}", "'exact' is not one of hist"},
        {"{\"task\": \"guess\"}", "guess"},
        {"{\"task\": \"regression\"}", "category"},
    };
    for (size_t i = 0; i < MLQ_COUNT_OF(cases); i++) {
        struct op_run run = training(cases[i].with, "out-refused");
        op_run_expect(&run, 1, cases[i].text);
        assert_false(mlq_fs_exists("out-refused/model.safetensors"));
    }
    struct op_run gang = training("{}", "out-refused");
    gang.ranks = 2;
    gang.port = 1;
    op_run_expect(&gang, 1, "runs on one rank");
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
    };
    struct op_run run = training("{}", "out-refused");
    for (size_t i = 0; i < MLQ_COUNT_OF(cases); i++) {
        op_tables_write("bad.safetensors", cases[i].plan);
        run.train = "bad.safetensors";
        op_run_expect(&run, 1, cases[i].text);
    }
    run = training("{}", "out-refused");
    op_tables_write("foreign.safetensors",
                    (struct op_tables_plan){.key = 1, .rows = 100, .foreign_class = true});
    run.validation = "foreign.safetensors";
    op_run_expect(&run, 1, "'blob' of 'shape' was never seen in training");
    run.validation = NULL;
    run.with = "{\"early_stop\": {}}";
    op_run_expect(&run, 1, "early_stop needs validation rows");
}

/* Each byte of the file's end, where the arrays are: what loads is walked without a fault. */
static void a_damaged_model_is_refused_or_still_safe(void **state)
{
    (void)state;
    struct model *model = NULL;
    size_t len = 0, refused = 0;
    char *good = op_run_read("out-a/model.safetensors", &len);
    for (size_t i = 0; i < 400; i++) {
        size_t at = len - 1 - i * (len / 2) / 400;
        good[at] ^= (char)0x80;
        assert_int_equal(mlq_fs_write_whole("flipped.safetensors",
                                            (struct mlq_str){.ptr = good, .len = len}, 0644, NULL),
                         0);
        good[at] ^= (char)0x80;
        if (model_load("flipped.safetensors", &model, NULL) != 0) {
            refused++;
            continue;
        }
        float *row = mlq_alloc_array(model->input_count, sizeof(float));
        float outputs[3];
        assert_int_equal(model->forest->outputs, 3);
        forest_forward(model->forest, row, model->input_count, 1, outputs);
        mlq_free(row);
        model_destroy(&model);
    }
    assert_true(refused > 50 && refused < 400);
    mlq_free(good);
    struct op_run eval = evaluation("out-a/model.ubj", "test.safetensors", "out-refused");
    op_run_expect(&eval, 1, "model.ubj");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_seed_decides_every_byte),
        cmocka_unit_test(the_number_of_threads_changes_nothing),
        cmocka_unit_test(sampling_forgets_no_parameter),
        cmocka_unit_test(a_stopped_training_ends_with_the_same_bits),
        cmocka_unit_test(a_killed_training_ends_with_the_same_bits),
        cmocka_unit_test(a_damaged_checkpoint_is_passed_over),
        cmocka_unit_test(a_checkpoint_of_another_training_is_refused),
        cmocka_unit_test(the_model_predicts_what_xgboost_said),
        cmocka_unit_test(features_are_told_by_what_they_gained),
        cmocka_unit_test(numbers_are_learned_in_their_own_units),
        cmocka_unit_test(bad_parameters_are_refused),
        cmocka_unit_test(bad_tables_are_refused),
        cmocka_unit_test(a_damaged_model_is_refused_or_still_safe),
    };
    return cmocka_run_group_tests(tests, write_tables, NULL);
}
