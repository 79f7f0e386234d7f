/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The worker's parts that need no process: options, its folder, notes, GPUs, assignments.
 */
#include "tests/unit/cm.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/ownership.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "worker/assignment.h"
#include "worker/config.h"
#include "worker/exec/shimfile.h"
#include "worker/exec/unixsock.h"
#include "worker/home.h"
#include "worker/notes.h"
#include "worker/probe.h"
#include "worker/taskenv.h"

static struct mlq_region *region;

static int setup(void **state)
{
    (void)state;
    region = mlq_region_create();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mlq_region_destroy(&region);
    return 0;
}

/* ---- Options ---- */

static int parse(struct config *config, const char *extra, const char *value, struct mlq_err *err)
{
    const char *argv[] = {"mlq-worker",
                          "--name",
                          "w1",
                          "--home",
                          "h",
                          "--endpoint",
                          "tcp://a:1,tcp://b:2",
                          "--server-key",
                          "server.pub",
                          "--key",
                          "w1.key",
                          "--store",
                          "s",
                          extra,
                          value,
                          NULL};
    int argc = extra == NULL ? 13 : value == NULL ? 14 : 15;
    enum config_wish wish;
    *err = (struct mlq_err)MLQ_ERR_INIT;
    return config_parse(argc, (char **)(uintptr_t)argv, region, config, &wish, err);
}

static void test_config(void **state)
{
    (void)state;
    struct config config;
    struct net_keypair keys;
    struct mlq_err err;
    (void)unlink("w1.key");
    assert_int_equal(net_keys_generate(&keys, NULL), 0);
    assert_int_equal(net_keys_save("w1.key", &keys, NULL), 0);
    char *line = mlq_format("public %s\n", keys.public_key);
    assert_int_equal(mlq_fs_write_durable("server.pub", mlq_str_from(line), 0644, NULL), 0);
    mlq_free(line);
    /* The tests' folder has no mlq-shim: everything before that is checked. */
    assert_int_equal(parse(&config, NULL, NULL, &err), MLQ_ENOENT);
    assert_non_null(strstr(err.text, "mlq-shim"));
    assert_string_equal(config.server_key, keys.public_key);
    assert_int_equal(config.endpoint_count, 2);
    assert_string_equal(config.endpoints[1], "tcp://b:2");
    assert_true(config.base[0] == '/' && config.store[0] == '/');
    assert_true(config.port_first >= 20000 && config.port_first + config.port_count <= 32768);
    assert_int_equal(parse(&config, "--cpus", "500m", &err), MLQ_ENOENT);
    assert_int_equal(config.cpu_milli, 500);
    assert_int_equal(parse(&config, "--memory", "4Gi", &err), MLQ_ENOENT);
    assert_int_equal(config.mem_bytes, INT64_C(4) << 30);
    assert_int_equal(parse(&config, "--ports", "5000-5009", &err), MLQ_ENOENT);
    assert_int_equal(config.port_count, 10);
    static const char *const bad[][2] = {
        {"--cpus", "0"},           {"--cpus", "two"},         {"--cpus", "99999999999999999999"},
        {"--memory", "4Q"},        {"--memory", "9999999Ti"}, {"--memory", "-1"},
        {"--ports", "80-90"},      {"--ports", "6000"},       {"--ports", "6000-5000"},
        {"--ports", "6000-70000"}, {"--gpus", "some"},        {"--log-level", "loud"},
        {"--name", "Bad/Name"},    {"--name", ".."},          {"--endpoint", "tcp://a:1,,x"},
        {"--nothing", "x"},        {"--name", NULL},          {"stray", NULL}};
    for (size_t i = 0; i < MLQ_COUNT_OF(bad); i++) {
        assert_int_equal(parse(&config, bad[i][0], bad[i][1], &err), MLQ_EINVAL);
        assert_true(strlen(err.text) > 10);
    }
}

/* ---- Its folder ---- */

static int seen;

static void see(void *context, uint64_t attempt, uint32_t rank)
{
    (void)context;
    seen += attempt == 4294967299 && rank == 1 ? 1 : 100;
}

static void test_home(void **state)
{
    (void)state;
    struct home home;
    struct home other;
    struct mlq_err err = MLQ_ERR_INIT;
    assert_int_equal(mlq_fs_remove_tree("base", NULL), 0);
    assert_int_equal(home_open(&home, "base", region, &err), 0);
    uint64_t first = home.session;
    assert_int_equal(home.epoch, 0);
    assert_int_equal(home_open(&other, "base", region, &err), MLQ_EEXIST);
    assert_int_equal(home_save_epoch(&home, 7, &err), 0);
    home_close(&home);
    assert_int_equal(home_open(&home, "base", region, &err), 0);
    assert_true(home.session > first + 1000000);
    assert_int_equal(home.epoch, 7);
    static const char *const folders[] = {"4294967299-1",  "x-1",    "5", "5-", "-5", "0-1", "5-x",
                                          "5-99999999999", "5-1.tmp"};
    for (size_t i = 0; i < MLQ_COUNT_OF(folders); i++) {
        char *path = mlq_fs_join("base/attempts", folders[i]);
        assert_int_equal(mkdir(path, 0700), 0);
        mlq_free(path);
    }
    seen = 0;
    assert_int_equal(home_each_attempt(&home, see, NULL, &err), 0);
    assert_int_equal(seen, 1);
    home_close(&home);

    /* Another run on the same boot keeps how tasks ended; a boot in between drops it. */
    const char *dir = "base/attempts/4294967299-1";
    const char *none[] = {NULL};
    const char *words[] = {"true", NULL};
    const struct shimfile_conf conf = {
        .workdir = "/w", .argv = words, .env = none, .log_tail_bytes = 1};
    const struct shimfile_end end = {.cause = WORKER_CAUSE_NONE};
    struct shimfile_end got;
    assert_int_equal(shimfile_save_conf(dir, &conf, NULL), 0);
    assert_int_equal(shimfile_save_end(dir, &end, NULL), 0);
    assert_int_equal(home_open(&home, "base", region, &err), 0);
    assert_int_equal(shimfile_load_end(dir, &got, NULL), 0);
    home_close(&home);
    assert_int_equal(mlq_fs_write_durable("base/boot", MLQ_STR("an earlier one\n"), 0600, NULL), 0);
    assert_int_equal(home_open(&home, "base", region, &err), 0);
    assert_int_equal(shimfile_load_end(dir, &got, NULL), MLQ_ENOENT);
    assert_int_equal(shimfile_save_end(dir, &end, NULL), 0);
    home_close(&home);
    assert_int_equal(home_open(&home, "base", region, &err), 0);
    assert_int_equal(shimfile_load_end(dir, &got, NULL), 0);
    home_close(&home);
    assert_int_equal(mlq_fs_write_durable("base/epoch", MLQ_STR("seven"), 0600, NULL), 0);
    assert_int_equal(home_open(&home, "base", region, &err), MLQ_ECORRUPT);
}

static void test_control_path(void **state)
{
    (void)state;
    struct home home;
    struct mlq_err err = MLQ_ERR_INIT;
    const char *path;
    char dir[200];
    assert_int_equal(mlq_fs_remove_tree("base", NULL), 0);
    assert_int_equal(home_open(&home, "base", region, &err), 0);
    assert_int_equal(home_control_path(&home, region, "/short", 5, 1, &path, &err), 0);
    assert_string_equal(path, "/short/control.sock");
    memset(dir, 'd', sizeof dir);
    dir[0] = '/';
    dir[sizeof dir - 1] = '\0';
    assert_int_equal(home_control_path(&home, region, dir, 5, 1, &path, &err), 0);
    assert_true(unixsock_fits(path));
    struct stat status;
    assert_int_equal(stat(home.run_dir, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
    /* Somebody else's folder of that name is not trusted. */
    assert_int_equal(chmod(home.run_dir, 0777), 0);
    assert_int_equal(home_control_path(&home, region, dir, 5, 1, &path, &err), MLQ_EPERM);
    assert_int_equal(rmdir(home.run_dir), 0);
    home_close(&home);
}

/* ---- Notes ---- */

static void test_notes(void **state)
{
    (void)state;
    const struct msg_metric *metrics;
    struct mlq_err err = MLQ_ERR_INIT;
    double fraction;
    struct mlq_str text;
    (void)unlink("metrics");
    struct notes *notes = notes_create(".");
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(notes_add_metric(notes, MLQ_STR("loss"), i, i, i, &err), 0);
    }
    assert_int_equal(notes_add_metric(notes, MLQ_STR("nan"), NAN, INT64_MIN, 5, &err), 0);
    assert_int_equal(notes_pending(notes, &metrics), 1001);
    assert_true(metrics[999].value == 999);
    notes_sent(notes, 1000);
    assert_int_equal(notes_pending(notes, &metrics), 1);
    assert_true(isnan(metrics[0].value));
    assert_int_equal(notes_latest(notes, &metrics), 2);
    assert_int_equal(metrics[0].step, 999);
    assert_false(notes_take_progress(notes, &fraction, &text));
    notes_set_progress(notes, 0.5, MLQ_STR("half"));
    assert_true(notes_take_progress(notes, &fraction, &text));
    assert_false(notes_take_progress(notes, &fraction, &text));
    char accents[600];
    for (size_t i = 0; i < sizeof accents; i += 2) {
        memcpy(accents + i, "\xc3\xa9", 2);
    }
    notes_set_progress(notes, 1, (struct mlq_str){.ptr = accents, .len = sizeof accents});
    assert_true(notes_take_progress(notes, &fraction, &text));
    assert_true(mlq_str_is_utf8(text) && text.len == 254); /* cut between characters */
    notes_destroy(&notes);
    /* After a restart: the latest values are still known; a torn last line does no harm. */
    FILE *file = fopen("metrics", "a");
    assert_non_null(file);
    (void)fputs("torn 1.5 3", file);
    (void)fclose(file);
    notes = notes_create(".");
    assert_int_equal(notes_latest(notes, &metrics), 2);
    assert_true(metrics[0].value == 999 && metrics[0].step == 999);
    assert_int_equal(notes_pending(notes, &metrics), 0);
    notes_destroy(&notes);
}

static void test_notes_bounds(void **state)
{
    (void)state;
    const struct msg_metric *metrics;
    struct mlq_err err = MLQ_ERR_INIT;
    char name[32];
    (void)unlink("metrics");
    struct notes *notes = notes_create(".");
    for (int i = 0; i < NOTES_NAMES_MAX; i++) {
        (void)snprintf(name, sizeof name, "m%d", i);
        assert_int_equal(notes_add_metric(notes, mlq_str_from(name), i, i, i, &err), 0);
    }
    assert_int_equal(notes_add_metric(notes, MLQ_STR("more"), 1, 1, 1, &err), MLQ_EFULL);
    for (int i = NOTES_NAMES_MAX; i < NOTES_PENDING_MAX; i++) {
        assert_int_equal(notes_add_metric(notes, MLQ_STR("m1"), i, i, i, &err), 0);
    }
    assert_int_equal(notes_add_metric(notes, MLQ_STR("m1"), 1, 1, 1, &err), MLQ_EFULL);
    notes_sent(notes, notes_pending(notes, &metrics));
    assert_int_equal(notes_add_metric(notes, MLQ_STR("m1"), 1, 1, 1, &err), 0);
    notes_destroy(&notes);
}

/* ---- GPUs ---- */

static void test_smi(void **state)
{
    (void)state;
    struct probe probe = {0};
    probe_parse_smi(&probe,
                    MLQ_STR("GPU-5e1f0000-1111-2222-3333-444444444444, 143771, NVIDIA H200\n"
                            "MIG-abc, 1, not a whole one\n"
                            "GPU-aaaa, [N/A], Odd, name\nGPU 2: cut\nnonsense\n"),
                    region);
    assert_int_equal(probe.gpu_count, 2);
    assert_true(probe.gpus[0].mem_bytes == INT64_C(143771) << 20);
    assert_true(mlq_str_eq_c(probe.gpus[0].model, "NVIDIA H200"));
    assert_true(probe.gpus[1].mem_bytes == 0);
    assert_true(mlq_str_eq_c(probe.gpus[1].model, "Odd, name"));
    assert_true(mlq_str_eq_c(probe.gpu_uuids[1], "GPU-aaaa"));
    struct msg_input inputs[70]; /* more than variables of our own */
    for (size_t i = 0; i < MLQ_COUNT_OF(inputs); i++) {
        inputs[i] = (struct msg_input){
            .name = mlq_str_from(mlq_region_format(region, "in-%zu", i)),
            .file = MLQ_STR("f"),
            .digest = MLQ_STR("sha256:d"),
            .in_folder = i == 1,
        };
    }
    struct msg_assignment a = {.ranks = 1,
                               .gpu_mask = 2,
                               .member = {.attempt = 9},
                               .inputs = inputs,
                               .input_count = MLQ_COUNT_OF(inputs)};
    const struct taskenv_paths paths = {.dir = "/d",
                                        .work = "/d/work",
                                        .tmp = "/t",
                                        .in = "/i",
                                        .out = "/o",
                                        .checkpoint = "/c",
                                        .control = "/s",
                                        .bin_dir = "/b"};
    a.timeout_ns = INT64_C(10000000000);
    a.deadline_wall_us = 5000000;
    a.mem_bytes = 4096;
    const char **env = taskenv_build(&a, &paths, &probe, 1000000, region);
    bool gpu = false;
    bool deadline = false;
    bool memory = false;
    bool folder = false;
    size_t digests = 0;
    for (size_t i = 0; env[i] != NULL; i++) {
        gpu = gpu || strcmp(env[i], "CUDA_VISIBLE_DEVICES=GPU-aaaa") == 0;
        deadline = deadline || strcmp(env[i], "MLQ_DEADLINE=5") == 0; /* the earlier of both */
        memory = memory || strcmp(env[i], "MLQ_MEMORY=4096") == 0;
        digests += strncmp(env[i], "MLQ_DIGEST_IN_", 14) == 0 ? 1 : 0;
        folder = folder || strcmp(env[i], "MLQ_INPUT_IN_1=/i/in-1") == 0;
        assert_false(strncmp(env[i], "RANK=", 5) == 0);
    }
    assert_true(gpu && deadline && memory && folder);
    assert_int_equal(digests, MLQ_COUNT_OF(inputs) - 1); /* a folder has none */
    struct probe machine;
    probe_machine(&machine, region);
    assert_true(machine.cpu_milli > 0 && machine.mem_bytes > 0 && machine.host[0] != '\0');
}

/* ---- Assignments ---- */

static void test_assignment(void **state)
{
    (void)state;
    const struct mlq_str argv[] = {MLQ_STR("true")};
    const struct msg_assignment good = {
        .member = {.attempt = 1}, .ranks = 1, .argv = argv, .argc = 1};
    struct msg_assignment copy;
    struct msg_assignment bad;
    struct mlq_err err = MLQ_ERR_INIT;
    assert_int_equal(assignment_copy(&good, region, &copy, &err), 0);
    assert_string_equal(copy.argv[0].ptr, "true");
    assert_true(copy.argv[0].ptr != argv[0].ptr);
    const struct mlq_str nul[] = {{.ptr = "a\0b", .len = 3}};
    const struct msg_env env[] = {{.name = MLQ_STR("A=B"), .value = MLQ_STR("")}};
    const struct msg_input inputs[] = {{.name = MLQ_STR("../x"), .file = MLQ_STR("f")},
                                       {.name = MLQ_STR("a"), .file = MLQ_STR("../f")},
                                       {.name = MLQ_STR("a"), .file = MLQ_STR("/etc/x")},
                                       {.name = MLQ_STR(""), .file = MLQ_STR("f")}};
    bad = good, bad.argv = nul;
    assert_int_equal(assignment_copy(&bad, region, &copy, &err), MLQ_EINVAL);
    bad = good, bad.env = env, bad.env_count = 1;
    assert_int_equal(assignment_copy(&bad, region, &copy, &err), MLQ_EINVAL);
    for (size_t i = 0; i < MLQ_COUNT_OF(inputs); i++) {
        bad = good, bad.inputs = &inputs[i], bad.input_count = 1;
        assert_int_equal(assignment_copy(&bad, region, &copy, &err), MLQ_EINVAL);
    }
    bad = good, bad.argc = 0;
    assert_int_equal(assignment_copy(&bad, region, &copy, &err), MLQ_EINVAL);
    bad = good, bad.member.rank = 1;
    assert_int_equal(assignment_copy(&bad, region, &copy, &err), MLQ_EINVAL);
    bad = good, bad.uses = MLQ_STR("../../bin/sh");
    assert_int_equal(assignment_copy(&bad, region, &copy, &err), MLQ_EINVAL);
    bad = good, bad.mem_bytes = -1;
    assert_int_equal(assignment_copy(&bad, region, &copy, &err), MLQ_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config),       cmocka_unit_test(test_home),
        cmocka_unit_test(test_control_path), cmocka_unit_test(test_notes),
        cmocka_unit_test(test_notes_bounds), cmocka_unit_test(test_smi),
        cmocka_unit_test(test_assignment),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
