/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The learning-rate range test of train.native as a process: what it writes, the same on any number
 * of ranks and wherever the rows are, that a loss that explodes is its normal end, and what it does
 * not go with.
 */
#include "tests/unit/op_trainings.h"

#include <math.h>

#include "lib/base/ownership.h"

#define SMALL "\"model\": {\"mlp\": {\"hidden\": [16, 8]}}, \"batch\": 32, \"seed\": 3"
#define SGD   "\"optimizer\": {\"sgd\": {}}"

static int prepare(void **state)
{
    (void)state;
    static const char *const folders[] = {"ckpt", "out-range"};
    op_trainings_prepare(folders, MLQ_COUNT_OF(folders));
    return 0;
}

/* More steps than an epoch has; the second run has its rows on disk, and others have more ranks. */
static void any_number_of_ranks_finds_the_same_rates(void **state)
{
    (void)state;
    struct op_run run =
        op_training("train.native", "{" SMALL ", " SGD ", \"range_test\": {}}", "out-range");
    run.checkpoint = "ckpt";
    op_run_expect(&run, 0, "no model is written");
    assert_false(mlq_fs_exists("out-range/model.safetensors"));
    assert_false(mlq_fs_exists("out-range/history.json"));
    char newest[300];
    assert_int_equal(op_trainings_checkpoints("ckpt", newest), 0);
    run.with = "{" SMALL ", " SGD ", \"range_test\": {}, \"rows\": \"disk\"}";
    run.output = "out-disk";
    op_run_expect(&run, 0, NULL);
    assert_true(op_run_same_file("out-range/range_test.json", "out-disk/range_test.json"));
    for (uint32_t ranks = 2; ranks <= 3; ranks++) {
        struct op_gang gang =
            op_gang_start("{" SMALL ", " SGD ", \"range_test\": {}}", "out-gang", NULL, ranks);
        op_gang_expect(&gang, 0);
        assert_true(op_run_same_file("out-range/range_test.json", "out-gang/range_test.json"));
    }
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static void the_outcome_tells_points_and_suggestions(void **state)
{
    (void)state;
    json_t *test = json_load_file("out-range/range_test.json", 0, NULL);
    const json_t *points = json_object_get(test, "points");
    size_t count = json_array_size(points);
    assert_true(count > 50 && count <= 200);
    assert_true(number(json_array_get(points, 0), "rate") == 1e-5);
    double best = INFINITY, last = 0;
    for (size_t i = 0; i < count; i++) {
        const json_t *point = json_array_get(points, i);
        assert_true(number(point, "step") == (double)i + 1);
        assert_true(number(point, "rate") > last);
        last = number(point, "rate");
        best = fmin(best, number(point, "smoothed"));
        bool is_over = number(point, "smoothed") > 4 * best;
        assert_true(!is_over || i + 1 == count);
    }
    const json_t *suggestions = json_object_get(test, "suggestions");
    double steepest = number(json_object_get(suggestions, "steepest"), "rate");
    double tenth = number(json_object_get(suggestions, "minimum_10"), "rate");
    assert_true(steepest > 1e-5 && steepest < last && tenth > 1e-6 && tenth < last / 10);
    json_decref(test);
}

/* A target in which a large step is a far one: the loss grows until it is no number. */
static void a_loss_that_explodes_is_its_normal_end(void **state)
{
    (void)state;
    op_tables_write("numbers.safetensors",
                    (struct op_tables_plan){.key = 5, .rows = 300, .numeric_target = true});
    static const struct {
        const char *with;
        const char *end;
    } cases[] = {
        {"{\"model\": \"linear\", " SGD ", \"range_test\": {\"from\": 0.001}}", "rose"},
        /* From the first step far beyond what can be learned with, and what floats hold. */
        {"{" SMALL ", " SGD ", \"range_test\": {\"from\": 100, \"to\": 1000, \"steps\": 20}}",
         "rose"},
        {"{\"model\": {\"mlp\": {\"hidden\": [32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, "
         "32, 32, 32, 32, 32, 32, 32]}}, \"range_test\": "
         "{\"from\": 100, \"to\": 1000, \"steps\": 20}}",
         "not_finite"},
        {"{\"model\": \"linear\", " SGD ", \"range_test\": {\"to\": 1e-4, \"steps\": 20}}",
         "steps"},
    };
    for (size_t i = 0; i < MLQ_COUNT_OF(cases); i++) {
        struct op_run run = op_training("train.native", cases[i].with, "out-end");
        run.train = "numbers.safetensors";
        run.validation = NULL;
        op_run_expect(&run, 0, NULL);
        json_t *test = json_load_file("out-end/range_test.json", 0, NULL);
        const char *end = json_string_value(json_object_get(test, "end"));
        assert_string_equal(end, cases[i].end);
        bool is_told = json_object_get(test, "suggestions") != NULL;
        assert_true(is_told == (json_array_size(json_object_get(test, "points")) > 10));
        json_decref(test);
    }
}

static void what_moves_the_rate_itself_is_refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"\"early_stop\": {}", "early_stop: means nothing with range_test: the test moves the learning rate itself, and ends "
                               "when the loss rises: leave it out, or range_test"},
        {"\"schedule\": {\"cosine\": {}}", "schedule: means nothing with range_test"},
        {"\"warmup\": 1", "warmup: means nothing with range_test"},
        {"\"range_test\": {\"from\": 1, \"to\": 1}", "range_test.from: 1 is not below range_test.to, which is 1"},
        {"\"range_test\": {\"from\": 20}", "range_test.from: 20 is not below range_test.to, which is 10"},
        {"\"range_test\": {\"steps\": 5}", "range_test.steps"},
    };
    for (size_t i = 0; i < MLQ_COUNT_OF(cases); i++) {
        char *with =
            mlq_format("{" SMALL "%s, %s}", i < 3 ? ", \"range_test\": {}" : "", cases[i][0]);
        struct op_run run = op_training("train.native", with, "out-refused");
        op_run_expect(&run, 1, cases[i][1]);
        mlq_free(with);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_ranks_finds_the_same_rates),
        cmocka_unit_test(the_outcome_tells_points_and_suggestions),
        cmocka_unit_test(a_loss_that_explodes_is_its_normal_end),
        cmocka_unit_test(what_moves_the_rate_itself_is_refused),
    };
    return cmocka_run_group_tests(tests, prepare, NULL);
}
