/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The harness of the native operators, in the environment that a worker makes.
 */
#include "worker/op/op.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

static struct op_context *ctx;

static void write_with(const char *json)
{
    FILE *file = fopen("with.json", "w");
    assert_non_null(file);
    assert_true(fputs(json, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(setenv("MLQ_WITH", "with.json", 1), 0);
}

static int setup(void **state)
{
    (void)state;
    const char *names[] = {"MLQ_WITH", "MLQ_OUTPUT", "MLQ_CONTROL", "RANK", "WORLD_SIZE"};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(unsetenv(names[i]), 0);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    op_close(&ctx);
    return 0;
}

static void test_parameters(void **state)
{
    (void)state;
    write_with("{\"path\": \"a.csv\", \"epochs\": 20, \"big\": 1e300, \"on\": true, \"off\": null,"
               "\"optimizer\": {\"adamw\": {\"lr\": 0.001}}}");
    struct mlq_err err = MLQ_ERR_INIT;
    assert_int_equal(op_open("test", &ctx, &err), MLQ_OK);
    const char *text = NULL;
    assert_int_equal(op_get_text(ctx, "path", NULL, &text, &err), MLQ_OK);
    assert_string_equal(text, "a.csv");
    assert_int_equal(op_get_text(ctx, "off", "fallback", &text, &err), MLQ_OK);
    assert_string_equal(text, "fallback");
    assert_int_equal(op_get_text(ctx, "epochs", NULL, &text, &err), MLQ_EINVAL);
    assert_string_equal(err.text, "with.epochs is 20: expected a text");
    int64_t count = 0;
    assert_int_equal(op_get_int(ctx, "epochs", (struct op_int_range){1, 1, 100}, &count, &err), 0);
    assert_int_equal(count, 20);
    assert_int_equal(op_get_int(ctx, "absent", (struct op_int_range){7, 1, 100}, &count, &err), 0);
    assert_int_equal(count, 7);
    assert_int_equal(op_get_int(ctx, "epochs", (struct op_int_range){1, 1, 10}, &count, &err),
                     MLQ_EINVAL);
    assert_string_equal(err.text, "with.epochs is 20: expected an integer in 1..10");
    double rate = 0;
    struct op_number_range range = {.fallback = 0.5, .min = 0, .max = 1};
    assert_int_equal(op_get_number(ctx, "optimizer.adamw.lr", range, &rate, &err), MLQ_OK);
    assert_true(rate == 0.001);
    assert_int_equal(op_get_number(ctx, "optimizer.sgd.lr", range, &rate, &err), MLQ_OK);
    assert_true(rate == 0.5);
    assert_int_equal(op_get_number(ctx, "big", range, &rate, &err), MLQ_EINVAL);
    bool flag = false;
    assert_int_equal(op_get_bool(ctx, "on", false, &flag, &err), MLQ_OK);
    assert_true(flag);
    assert_int_equal(op_get_bool(ctx, "epochs", false, &flag, &err), MLQ_EINVAL);
    assert_null(op_with(ctx, "path.inner"));
}

static void test_damaged_parameters_are_refused(void **state)
{
    (void)state;
    const char *bad[] = {"", "[]", "{\"a\":1,\"a\":2}", "{\"a\":", "{\"a\":\"\\u0000\"}"};
    for (size_t i = 0; i < 5; i++) {
        write_with(bad[i]);
        struct mlq_err err = MLQ_ERR_INIT;
        assert_true(op_open("test", &ctx, &err) < 0);
        assert_non_null(strstr(err.text, "MLQ_WITH=with.json"));
        assert_null(ctx);
    }
    assert_int_equal(setenv("MLQ_WITH", "absent.json", 1), 0);
    assert_int_equal(op_open("test", &ctx, NULL), MLQ_ENOENT);
}

static void test_ranks(void **state)
{
    (void)state;
    assert_int_equal(op_open("test", &ctx, NULL), MLQ_OK);
    assert_int_equal(op_rank(ctx), 0);
    assert_int_equal(op_world_size(ctx), 1);
    op_close(&ctx);
    assert_int_equal(setenv("RANK", "2", 1), 0);
    assert_int_equal(setenv("WORLD_SIZE", "3", 1), 0);
    assert_int_equal(op_open("test", &ctx, NULL), MLQ_OK);
    assert_int_equal(op_rank(ctx), 2);
    op_close(&ctx);
    assert_int_equal(setenv("RANK", "3", 1), 0);
    assert_int_equal(op_open("test", &ctx, NULL), MLQ_EINVAL);
    assert_int_equal(setenv("RANK", "x", 1), 0);
    assert_int_equal(op_open("test", &ctx, NULL), MLQ_EINVAL);
}

static void test_inputs_and_outputs(void **state)
{
    (void)state;
    assert_int_equal(setenv("MLQ_INPUT_DATA", "/in/table.safetensors", 1), 0);
    assert_int_equal(mlq_fs_make_dirs("out", 0755, NULL), MLQ_OK);
    assert_int_equal(setenv("MLQ_OUTPUT", "out", 1), 0);
    struct mlq_err err = MLQ_ERR_INIT;
    assert_int_equal(op_open("test", &ctx, &err), MLQ_OK);
    const char *path = NULL;
    assert_int_equal(op_need_input(ctx, "data", &path, &err), MLQ_OK);
    assert_string_equal(path, "/in/table.safetensors");
    assert_int_equal(op_need_input(ctx, "suite", &path, &err), MLQ_ENOENT);
    assert_non_null(strstr(err.text, "the input 'suite' is missing"));
    assert_string_equal(op_output(ctx, "x.json"), "out/x.json");
    json_t *json = json_pack("{s:i}", "rows", 3);
    assert_int_equal(op_write_json(ctx, "x.json", json, &err), MLQ_OK);
    json_decref(json);
    char *text = NULL;
    size_t len = 0;
    assert_int_equal(mlq_fs_read("out/x.json", 1000, &text, &len, &err), MLQ_OK);
    assert_non_null(strstr(text, "\"rows\": 3"));
    mlq_free(text);
}

static void test_signals(void **state)
{
    (void)state;
    assert_int_equal(op_open("test", &ctx, NULL), MLQ_OK);
    assert_false(op_should_stop(ctx));
    assert_false(op_should_checkpoint(ctx));
    assert_int_equal(raise(SIGUSR1), 0);
    assert_false(op_should_stop(ctx));
    assert_true(op_should_checkpoint(ctx));
    assert_false(op_should_checkpoint(ctx));
    assert_int_equal(raise(SIGTERM), 0);
    assert_true(op_should_stop(ctx));
    assert_true(op_should_stop(ctx));
}

static void test_reports_without_a_worker_are_silent_success(void **state)
{
    (void)state;
    assert_int_equal(op_open("test", &ctx, NULL), MLQ_OK);
    op_metric(ctx, "accuracy", 0.5, OP_NO_STEP);
    op_metric(ctx, "loss", 0.25, 3);
    op_progress(ctx, 0.5, "half");
    assert_false(op_should_stop(ctx));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_parameters),
        TEST(test_damaged_parameters_are_refused),
        TEST(test_ranks),
        TEST(test_inputs_and_outputs),
        TEST(test_signals),
        TEST(test_reports_without_a_worker_are_silent_success),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
