/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Level fast of train.native as processes: it learns what the exact levels learn on any number of
 * ranks, stops and resumes as a whole, and says that its bits are its own.
 */
#include "tests/unit/op_trainings.h"

#include <jansson.h>
#include <math.h>

#include "lib/base/ownership.h"
#include "worker/ml/model.h"

#define MLP                                                                                        \
    "\"model\": {\"mlp\": {\"hidden\": [16, 8], \"dropout\": 0.1}}, \"batch\": 60, \"seed\": 3, "  \
    "\"optimizer\": {\"adamw\": {\"lr\": 0.01}}"
#define SGD                                                                                        \
    "\"model\": \"softmax\", \"batch\": 50, \"seed\": 1, \"mixup\": 0.2, \"clip_norm\": 0.5, "     \
    "\"optimizer\": {\"sgd\": {\"momentum\": 0.9, \"lr\": 0.05}}, \"schedule\": {\"cosine\": {}}"
/* Batch norm over the rows of a rank, not of a shard: another training, which learns as much. */
#define CNN                                                                                        \
    "\"model\": {\"cnn\": {\"image\": [7, 1, 1], \"channels\": [6], \"depth\": 2, \"residual\": "  \
    "true, \"depthwise\": true, \"head\": \"mean\", \"hidden\": [8], \"crop\": 1}}, \"batch\": "   \
    "64, \"seed\": 5, \"optimizer\": {\"adamw\": {\"lr\": 0.01}}"
#define FAST ", \"level\": \"fast\""
#define LONG "{" MLP ", \"epochs\": 300, \"early_stop\": {\"patience\": 1000}" FAST "}"

static int prepare(void **state)
{
    (void)state;
    static const char *const folders[] = {"ckpt-lost", "ckpt-stop", "ckpt-level"};
    op_trainings_prepare(folders, MLQ_COUNT_OF(folders));
    return 0;
}

/* ---- What is learned ---- */

struct outcome {
    double train_loss; /* of the last epoch */
    double val_loss;
    double val_accuracy;
};

static json_t *history_of(const char *folder)
{
    char *path = mlq_fs_join(folder, "history.json");
    json_t *history = json_load_file(path, 0, NULL);
    assert_non_null(history);
    mlq_free(path);
    return history;
}

static struct outcome outcome_of(const char *folder)
{
    json_t *history = history_of(folder);
    const json_t *epochs = json_object_get(history, "epochs");
    const json_t *last = json_array_get(epochs, json_array_size(epochs) - 1);
    struct outcome outcome = {
        .train_loss = json_real_value(json_object_get(last, "train_loss")),
        .val_loss = json_real_value(json_object_get(last, "val_loss")),
        .val_accuracy = json_real_value(json_object_get(last, "val_accuracy"))};
    json_decref(history);
    return outcome;
}

static struct outcome train(const char *with, uint32_t ranks)
{
    struct op_gang gang = op_gang_start(with, "out-gang", NULL, ranks);
    op_gang_expect(&gang, 0);
    return outcome_of("out-gang");
}

static void assert_near(const char *what, double got, double wanted, double tolerance)
{
    if (!(fabs(got - wanted) <= tolerance)) {
        fail_msg("%s: %.9g, the exact level has %.9g", what, got, wanted);
    }
}

/* Without batch norm only the rounding of sums differs; what that grows to over some epochs stays
 * far below what a wrong sum, row or mask does. */
static void any_number_of_ranks_learns_what_the_exact_level_learns(void **state)
{
    (void)state;
    static const struct {
        const char *exact;
        const char *fast;
        double loss; /* tolerances */
        double accuracy;
    } cases[] = {
        {"{" MLP ", \"epochs\": 5}", "{" MLP FAST ", \"epochs\": 5}", 1e-4, 0.01},
        {"{" SGD ", \"epochs\": 5}", "{" SGD FAST ", \"epochs\": 5}", 1e-4, 0.01},
        {"{" CNN ", \"epochs\": 60}", "{" CNN FAST ", \"epochs\": 60}", 0.1, 0.05},
    };
    for (size_t i = 0; i < MLQ_COUNT_OF(cases); i++) {
        struct outcome exact = train(cases[i].exact, 1);
        for (uint32_t ranks = 1; ranks <= 4; ranks++) {
            struct outcome fast = train(cases[i].fast, ranks);
            assert_near("train_loss", fast.train_loss, exact.train_loss, cases[i].loss);
            assert_near("val_loss", fast.val_loss, exact.val_loss, cases[i].loss);
            assert_near("val_accuracy", fast.val_accuracy, exact.val_accuracy, cases[i].accuracy);
        }
    }
}

/* The batch of a step in the memory of a smaller one, on ranks whose shares are no multiples. */
static void accumulated_batches_are_one_step(void **state)
{
    (void)state;
    struct outcome whole = train("{" SGD FAST ", \"epochs\": 5}", 3);
    struct outcome parts = train(
        "{\"model\": \"softmax\", \"batch\": 25, \"accumulate\": 2, \"seed\": 1, \"mixup\": 0.2, "
        "\"clip_norm\": 0.5, \"optimizer\": {\"sgd\": {\"momentum\": 0.9, \"lr\": 0.05}}, "
        "\"schedule\": {\"cosine\": {}}, \"epochs\": 5" FAST "}",
        3);
    assert_near("train_loss", parts.train_loss, whole.train_loss, 1e-4);
    assert_near("val_loss", parts.val_loss, whole.val_loss, 1e-4);
    /* More parts than a step of the exact levels may have shards. */
    (void)train("{\"model\": \"softmax\", \"batch\": 1, \"accumulate\": 256" FAST "}", 1);
}

/* A step of fewer rows than ranks, and fewer rows than shards. */
static void small_steps_leave_ranks_without_rows(void **state)
{
    (void)state;
    op_tables_write("few.safetensors", (struct op_tables_plan){.key = 1000, .rows = 7});
    struct op_run runs[3];
    pid_t pids[3];
    uint16_t port = free_port();
    for (uint32_t rank = 0; rank < 3; rank++) {
        runs[rank] = op_training("train.native", "{\"batch\": 6, \"epochs\": 2" FAST "}",
                                 rank == 0 ? "out-few" : "out-few-more");
        runs[rank].train = "few.safetensors";
        runs[rank].rank = rank;
        runs[rank].ranks = 3;
        runs[rank].port = port;
        pids[rank] = op_run_start(&runs[rank]);
    }
    for (uint32_t rank = 0; rank < 3; rank++) {
        assert_int_equal(op_run_wait(pids[rank]), 0);
    }
    assert_true(mlq_fs_exists("out-few/model.safetensors"));
}

static void the_history_says_that_the_bits_are_its_own(void **state)
{
    (void)state;
    static const char *const withs[] = {"{" MLP FAST ", \"epochs\": 1}", "{" MLP ", \"epochs\": 1}",
                                        "{" MLP ", \"epochs\": 1, \"level\": \"repeat\"}"};
    static const char *const levels[] = {"fast", "elastic", "repeat"};
    for (size_t i = 0; i < MLQ_COUNT_OF(withs); i++) {
        (void)train(withs[i], 2);
        json_t *history = history_of("out-gang");
        assert_string_equal(json_string_value(json_object_get(history, "level")), levels[i]);
        assert_true(json_is_boolean(json_object_get(history, "same_bits")));
        assert_int_equal(json_is_true(json_object_get(history, "same_bits")), i != 0);
        assert_int_equal(json_is_null(json_object_get(history, "shards")), i == 0);
        assert_int_equal(json_integer_value(json_object_get(history, "ranks")), 2);
        json_decref(history);
    }
}

/* ---- All or none ---- */

/* Rank 1 is killed; the others save and leave with 75; run again, with another size too, they end. */
static void a_gang_that_lost_a_rank_is_run_again_from_its_checkpoint(void **state)
{
    (void)state;
    struct outcome whole = train(LONG, 1);
    op_gang_interrupt(LONG, "out-lost", "ckpt-lost", 3, SIGKILL);
    struct op_gang gang = op_gang_start(LONG, "out-lost", "ckpt-lost", 2);
    op_gang_expect(&gang, 0);
    json_t *history = history_of("out-lost");
    assert_true(json_is_true(json_object_get(history, "resumed")));
    assert_int_equal(json_array_size(json_object_get(history, "epochs")), 300);
    json_decref(history);
    assert_near("val_accuracy", outcome_of("out-lost").val_accuracy, whole.val_accuracy, 0.05);
}

static void a_gang_stops_together(void **state)
{
    (void)state;
    op_gang_interrupt(LONG, "out-stop", "ckpt-stop", 2, SIGTERM);
    struct op_gang gang = op_gang_start(LONG, "out-stop", "ckpt-stop", 2);
    op_gang_expect(&gang, 0);
}

static void a_loss_that_is_no_number_stops_all_ranks(void **state)
{
    (void)state;
    op_tables_write("numbers.safetensors",
                    (struct op_tables_plan){.key = 1000, .rows = 400, .numeric_target = true});
    pid_t pids[2];
    struct op_run run = {.op = "train.native",
                         .train = "numbers.safetensors",
                         .with = "{\"optimizer\": {\"sgd\": {\"lr\": 100}}, \"epochs\": 50" FAST "}",
                         .ranks = 2,
                         .port = free_port()};
    for (uint32_t rank = 0; rank < 2; rank++) {
        run.output = rank == 0 ? "out-nan" : "out-nan-more";
        run.rank = rank;
        pids[rank] = op_run_start(&run);
    }
    assert_int_equal(op_run_wait(pids[0]), 1);
    assert_int_equal(op_run_wait(pids[1]), 1);
    assert_false(mlq_fs_exists("out-nan/model.safetensors"));
}

/* ---- Refusals ---- */

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    struct op_run run = op_training("train.native", "{\"level\": \"loose\"}", "out-refused");
    op_run_expect(&run, 1, "'loose' is not one of elastic, repeat, fast");
    run.with = "{\"shards\": 8" FAST "}";
    op_run_expect(&run, 1, "shards: means nothing with level: fast");
    run.with = "{\"batch\": 3" FAST "}";
    run.ranks = 4;
    run.port = 1;
    op_run_expect(&run, 1, "4 ranks, but only 3 rows to deal: raise batch or lower ranks");
    run.ranks = 0;
    op_run_set("MLQ_ELASTIC", "1..4");
    op_run_expect(&run, 1, "level: fast is for a gang of a fixed size");
    run.with = "{\"level\": \"repeat\"}";
    op_run_expect(&run, 1, "level: repeat is for a gang of a fixed size");
    op_run_set("MLQ_ELASTIC", NULL);
    assert_false(mlq_fs_exists("out-refused/model.safetensors"));
}

/* What has the bits of its ranks is no beginning of what promises to have none of them. */
static void a_level_does_not_go_on_with_the_others_checkpoint(void **state)
{
    (void)state;
    struct op_run run =
        op_training("train.native", "{" MLP FAST ", \"epochs\": 3}", "out-level");
    run.checkpoint = "ckpt-level";
    op_run_expect(&run, 0, NULL);
    run.with = "{" MLP ", \"epochs\": 3}";
    op_run_expect(&run, 1, "other parameters");
    run.with = "{" MLP FAST ", \"epochs\": 3}";
    op_run_expect(&run, 0, "train.resume");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_ranks_learns_what_the_exact_level_learns),
        cmocka_unit_test(accumulated_batches_are_one_step),
        cmocka_unit_test(small_steps_leave_ranks_without_rows),
        cmocka_unit_test(the_history_says_that_the_bits_are_its_own),
        cmocka_unit_test(a_gang_that_lost_a_rank_is_run_again_from_its_checkpoint),
        cmocka_unit_test(a_gang_stops_together),
        cmocka_unit_test(a_loss_that_is_no_number_stops_all_ranks),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(a_level_does_not_go_on_with_the_others_checkpoint),
    };
    return cmocka_run_group_tests(tests, prepare, NULL);
}
