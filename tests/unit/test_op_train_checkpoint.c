/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Checkpoints of train.native are written off the step: steps go on while the disk does not answer,
 * who stops waits for it, who dies leaves the last one whole, and a disk that takes no more is an
 * error with its name.
 *
 * The program is its own mlq-op (`test_op_train_checkpoint train.native`), with an fsync that waits
 * at a gate: the GATE_AT-th checkpoint is on its way to the disk until the test opens it.
 */
#include "tests/unit/op_trainings.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "lib/base/ownership.h"
#include "worker/op/op.h"
#include "worker/op/op_table.h"

#define GATE  "gate"
#define AT_IT "gate.reached"
#define SMALL "\"model\": {\"mlp\": {\"hidden\": [16, 8]}}, \"batch\": 64, \"seed\": 3"
#define SHORT "{" SMALL ", \"epochs\": 6}"
#define LONG  "{" SMALL ", \"epochs\": 400, \"early_stop\": {\"patience\": 1000}}"
/* A state of some 600 KB, beside a log of some ten. */
#define LARGE                                                                                      \
    "{\"model\": {\"mlp\": {\"hidden\": [512, 64]}}, \"epochs\": 30, \"early_stop\": "              \
    "{\"patience\": 1000}}"
#define LARGE_TOO_LARGE (128u << 10)

/* ---- The gate ---- */

static bool is_checkpoint(int fd)
{
    char link[64], path[4096];
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof(path) - 1);
    path[len > 0 ? len : 0] = '\0';
    return strstr(path, "/train-") != NULL;
}

/* In place of libc's, for the whole program. */
int fsync(int fd)
{
    static int checkpoints;
    const char *at = getenv("GATE_AT");
    if (at != NULL && is_checkpoint(fd) && ++checkpoints == (int)strtol(at, NULL, 10)) {
        (void)close(open(AT_IT, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
        (void)close(open(GATE, O_RDONLY | O_CLOEXEC)); /* until somebody opens the other end */
    }
    return (int)syscall(SYS_fsync, fd);
}

static pid_t start_with_gate(const struct op_run *run, const char *at)
{
    (void)unlink(AT_IT);
    op_run_set("GATE_AT", at);
    pid_t pid = op_run_start(run);
    op_run_set("GATE_AT", NULL);
    return pid;
}

static void open_gate(void)
{
    int fd = open(GATE, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    (void)close(fd);
}

static void expect_running(pid_t pid)
{
    siginfo_t info = {.si_pid = 0};
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT), 0);
    assert_int_equal(info.si_pid, 0);
}

static void await_gate(pid_t pid)
{
    int64_t deadline_ns = mlq_clock_boot_ns() + patience(60 * MLQ_NS_PER_S);
    while (!mlq_fs_exists(AT_IT)) {
        assert_true(mlq_clock_boot_ns() < deadline_ns);
        expect_running(pid);
        (void)poll(NULL, 0, 2);
    }
}

/* Until its log says so. */
static void await_log(const struct op_run *run, const char *text)
{
    char *path = mlq_format("%s.log", run->output);
    int64_t deadline_ns = mlq_clock_boot_ns() + patience(60 * MLQ_NS_PER_S);
    for (bool found = false; !found;) {
        size_t len = 0;
        char *log = op_run_read(path, &len);
        found = strstr(log, text) != NULL;
        mlq_free(log);
        if (!found && mlq_clock_boot_ns() > deadline_ns) {
            fail_msg("%s does not say '%s'", path, text);
        }
        (void)poll(NULL, 0, 2);
    }
    mlq_free(path);
}

static size_t count_checkpoints(const char *folder)
{
    char newest[300];
    return op_trainings_checkpoints(folder, newest);
}

/* ---- Runs ---- */

static int prepare(void **state)
{
    (void)state;
    static const char *const folders[] = {"ckpt-steps", "ckpt-stop", "ckpt-dies", "ckpt-asked",
                                          "ckpt-full",  "ckpt-old",  "out-full",  GATE};
    op_trainings_prepare(folders, MLQ_COUNT_OF(folders));
    return mkfifo(GATE, 0600);
}

static struct op_run training(const char *with, const char *output, const char *checkpoint)
{
    struct op_run run = op_training("train.native", with, output);
    run.program = "/proc/self/exe";
    run.checkpoint = checkpoint;
    return run;
}

/* The model of `with` without a checkpoint or a stop. */
static void expect_undisturbed(const char *with, const char *output)
{
    struct op_run run = training(with, "out-whole", NULL);
    char *path = mlq_format("%s/model.safetensors", output);
    op_run_expect(&run, 0, NULL);
    assert_true(op_run_same_file("out-whole/model.safetensors", path));
    mlq_free(path);
}

/* ---- Tests ---- */

static void steps_go_on_while_a_checkpoint_is_written(void **state)
{
    (void)state;
    struct op_run run = training(SHORT, "out-steps", "ckpt-steps");
    pid_t pid = start_with_gate(&run, "1");
    await_gate(pid);
    await_log(&run, "epoch=6/6");
    assert_int_equal(count_checkpoints("ckpt-steps"), 0);
    expect_running(pid); /* it does not leave what it has begun */
    open_gate();
    assert_int_equal(op_run_wait(pid), 0);
    assert_true(mlq_fs_exists("ckpt-steps/train-00000001-00000000.safetensors"));
    expect_undisturbed(SHORT, "out-steps");
}

static void who_stops_waits_until_all_is_written(void **state)
{
    (void)state;
    struct op_run run = training(LONG, "out-stop", "ckpt-stop");
    pid_t pid = start_with_gate(&run, "1");
    await_gate(pid);
    assert_int_equal(kill(pid, SIGTERM), 0);
    open_gate();
    assert_int_equal(op_run_wait(pid), 75);
    assert_int_equal(count_checkpoints("ckpt-stop"), 2); /* that one, and the state of the stop */
    op_run_expect(&run, 0, "train.resume");
    expect_undisturbed(LONG, "out-stop");
}

static void who_dies_while_it_writes_leaves_the_last_one_whole(void **state)
{
    (void)state;
    char newest[300];
    struct op_run run = training(LONG, "out-dies", "ckpt-dies");
    pid_t pid = start_with_gate(&run, "2");
    op_trainings_await("ckpt-dies", "", pid);
    assert_int_equal(kill(pid, SIGUSR1), 0); /* for another one, soon */
    await_gate(pid);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(op_run_wait(pid), 128 + SIGKILL);
    assert_int_equal(op_trainings_checkpoints("ckpt-dies", newest), 1);
    assert_string_equal(newest, "train-00000001-00000000.safetensors");
    op_run_expect(&run, 0, "checkpoint=ckpt-dies/train-00000001-00000000.safetensors epoch=1 ");
    expect_undisturbed(LONG, "out-dies");
}

/* The time at the gate counts as the checkpoint's cost, so none comes of itself for a while. */
static void one_that_is_asked_for_meanwhile_comes_next(void **state)
{
    (void)state;
    struct op_run run = training(LONG, "out-asked", "ckpt-asked");
    pid_t pid = start_with_gate(&run, "1");
    await_gate(pid);
    assert_int_equal(kill(pid, SIGUSR1), 0);
    await_log(&run, "epoch=20/400");
    open_gate();
    op_trainings_await("ckpt-asked", "", pid);
    op_trainings_await("ckpt-asked", "train-00000001-00000000.safetensors", pid);
    assert_true(count_checkpoints("ckpt-asked") >= 2);
    assert_int_equal(op_run_wait(pid), 0);
}

static void a_disk_that_takes_no_more_is_an_error(void **state)
{
    (void)state;
    struct rlimit before, little;
    struct op_run run = training(LARGE, "out-full", "ckpt-full");
    op_trainings_stop(&run);
    size_t count = count_checkpoints("ckpt-full");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    little = (struct rlimit){.rlim_cur = LARGE_TOO_LARGE, .rlim_max = before.rlim_max};
    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR); /* as the error of the call, also in it */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    op_run_expect(&run, 1,
                  "mlq-op train.native: checkpoint (an earlier one stays whole): write ckpt-full/");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_true(signal(SIGXFSZ, SIG_DFL) != SIG_ERR);
    assert_false(mlq_fs_exists("out-full/model.safetensors"));
    assert_int_equal(count_checkpoints("ckpt-full"), count);
    op_run_expect(&run, 0, "train.resume");
    expect_undisturbed(LARGE, "out-full");
}

static void what_the_dead_left_is_removed_with_what_is_old(void **state)
{
    (void)state;
    static const char old[] = "ckpt-old/train-00000000-00000003.safetensors.tmp.a1B2c3";
    static const char later[] = "ckpt-old/train-99999999-00000000.safetensors.tmp.a1B2c3";
    static const char foreign[] = "ckpt-old/notes.tmp.txt";
    static const char *const files[] = {old, later, foreign};
    assert_int_equal(mlq_fs_make_dirs("ckpt-old", 0755, NULL), 0);
    for (size_t i = 0; i < MLQ_COUNT_OF(files); i++) {
        assert_int_equal(mlq_fs_write_whole(files[i], MLQ_STR("x"), 0644, NULL), 0);
    }
    struct op_run run = training(SHORT, "out-old", "ckpt-old");
    op_run_expect(&run, 0, NULL);
    assert_true(count_checkpoints("ckpt-old") > 0);
    assert_false(mlq_fs_exists(old));
    assert_true(mlq_fs_exists(later) && mlq_fs_exists(foreign));
}

/* As op_main.c does. */
static int be_operator(const char *name)
{
    struct mlq_err err = MLQ_ERR_INIT;
    struct op_context *ctx = NULL;
    int rc = op_open(name, &ctx, &err);
    if (rc == 0) {
        rc = op_train_run(ctx, &err);
    }
    op_close(&ctx);
    if (rc < 0) {
        (void)fprintf(stderr, "mlq-op %s: %s\n", name, err.text);
    }
    return rc == 0 ? 0 : rc == OP_STOPPED ? 75 : 1;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_go_on_while_a_checkpoint_is_written),
        cmocka_unit_test(who_stops_waits_until_all_is_written),
        cmocka_unit_test(who_dies_while_it_writes_leaves_the_last_one_whole),
        cmocka_unit_test(one_that_is_asked_for_meanwhile_comes_next),
        cmocka_unit_test(a_disk_that_takes_no_more_is_an_error),
        cmocka_unit_test(what_the_dead_left_is_removed_with_what_is_old),
    };
    return argc > 1 ? be_operator(argv[1]) : cmocka_run_group_tests(tests, prepare, NULL);
}
