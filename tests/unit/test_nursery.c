/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A nursery of real shims: what it starts is a shim like any other, and nothing that runs needs it.
 */
#include "tests/unit/cm.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/sys/clock.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "worker/exec/nursery.h"
#include "worker/exec/shimfile.h"

#define WAIT_MS  60000
#define LEASE_NS (600 * MLQ_NS_PER_S)

static char attempts[512];
static struct nursery *nursery;

/* The line to a shim, our end of it. */
static int spawn(const char *name, const char *script)
{
    const char *argv[] = {"sh", "-c", script, NULL};
    const char *env[] = {"PATH=/usr/local/bin:/usr/bin:/bin", NULL};
    const struct shimfile_conf conf = {.lease_deadline_ns = mlq_clock_boot_ns() + LEASE_NS,
                                       .grace_ns = MLQ_NS_PER_S,
                                       .log_head_bytes = 1 << 20,
                                       .log_tail_bytes = 1 << 20,
                                       .workdir = ".",
                                       .argv = argv,
                                       .env = env};
    struct mlq_err err = MLQ_ERR_INIT;
    int pair[2];
    char *dir = mlq_fs_join(attempts, name);
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_int_equal(shimfile_save_conf(dir, &conf, &err), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(nursery_spawn(nursery, dir, pair[1], &err), 0);
    close(pair[1]);
    mlq_free(dir);
    return pair[0];
}

/* What it says next; 0: it hung up. */
static size_t hear(int fd, char *text, size_t room)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&wait, 1, WAIT_MS), 1);
    ssize_t got = recv(fd, text, room - 1, 0);
    text[got > 0 ? got : 0] = '\0';
    return got > 0 ? (size_t)got : 0;
}

static int task_of(int fd)
{
    char text[256];
    int pid = 0;
    assert_true(hear(fd, text, sizeof text) > 0);
    assert_int_equal(sscanf(text, "started %d", &pid), 1);
    return pid;
}

static int finish(int fd, const char *name)
{
    struct shimfile_end end;
    char text[256];
    char *dir = mlq_fs_join(attempts, name);
    while (hear(fd, text, sizeof text) > 0) {
    }
    close(fd);
    assert_int_equal(shimfile_load_end(dir, &end, NULL), 0);
    mlq_free(dir);
    return end.exit_code;
}

static int parent_of(int pid)
{
    char path[64];
    char *text;
    size_t len;
    int parent = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
    assert_int_equal(mlq_fs_read(path, 4096, &text, &len, NULL), 0);
    assert_int_equal(sscanf(strrchr(text, ')') + 1, " %*c %d", &parent), 1);
    mlq_free(text);
    return parent;
}

static void expect_title(int pid, const char *name)
{
    char path[64];
    char *text;
    size_t len;
    char *dir = mlq_fs_join(attempts, name);
    (void)snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
    assert_int_equal(mlq_fs_read(path, 4096, &text, &len, NULL), 0);
    assert_true(len > 9 + strlen(dir));
    assert_string_equal(text, "mlq-shim");
    assert_string_equal(text + 9, dir);
    mlq_free(text);
    mlq_free(dir);
}

static void test_many(void **state)
{
    (void)state;
    int fds[50];
    char name[16];
    for (int i = 0; i < 50; i++) {
        char script[32];
        (void)snprintf(name, sizeof name, "%d-0", i + 1);
        (void)snprintf(script, sizeof script, "exit %d", i);
        fds[i] = spawn(name, script);
    }
    for (int i = 0; i < 50; i++) {
        (void)snprintf(name, sizeof name, "%d-0", i + 1);
        assert_int_equal(finish(fds[i], name), i);
    }
}

/* Its own session, no descriptor of the nursery, its name in the process list; the task has no more
 * than a task of any shim. */
static void test_is_a_shim(void **state)
{
    (void)state;
    int other = spawn("100-0", "read never");
    int fd = spawn("18446744073709551615-4294967295",
                   "[ $(ls /proc/self/fd | wc -l) -le 4 ] || exit 11;"
                   "grep -q 'SigIgn:.*0000000000000000' /proc/self/status || exit 12;"
                   "grep -q 'SigBlk:.*0000000000000000' /proc/self/status || exit 13;"
                   "[ -z \"$(cat)\" ] || exit 15;"
                   "until [ -e go ]; do sleep 0.01; done; exit 3");
    int shim = parent_of(task_of(fd));
    assert_int_equal(getsid(shim), shim);
    expect_title(shim, "18446744073709551615-4294967295");
    int nursery_pid = parent_of(shim);
    assert_int_equal(parent_of(nursery_pid), getpid());
    char *go = mlq_format("%s/18446744073709551615-4294967295/go", attempts);
    assert_int_equal(mlq_fs_write_whole(go, MLQ_STR(""), 0600, NULL), 0);
    mlq_free(go);
    assert_int_equal(finish(fd, "18446744073709551615-4294967295"), 3);
    (void)finish(other, "100-0"); /* stdin is empty, so it ended by itself */
}

/* Orders that the dying one still takes are hung up on; then a new one takes them. */
static void expect_new_nursery(void)
{
    bool was_started = false;
    for (int i = 1; i < 1000 && !was_started; i++) {
        char name[16];
        char text[256];
        (void)snprintf(name, sizeof name, "201-%d", i);
        char *dir = mlq_fs_join(attempts, name);
        int fd = spawn(name, "exit 5");
        while (hear(fd, text, sizeof text) > 0) {
        }
        was_started = shimfile_was_started(dir);
        mlq_free(dir);
        if (was_started) {
            assert_int_equal(finish(fd, name), 5);
        } else {
            close(fd);
        }
    }
    assert_true(was_started);
}

static void test_nursery_is_killed(void **state)
{
    (void)state;
    char text[256];
    int fd = spawn("200-0", "until [ -e go ]; do sleep 0.01; done; exit 4");
    int shim = parent_of(task_of(fd));
    int first = parent_of(shim);
    assert_int_equal(kill(first, SIGKILL), 0);
    expect_new_nursery();
    assert_int_not_equal(parent_of(shim), first);
    expect_title(shim, "200-0"); /* it lives, and its line works */
    assert_int_equal(send(fd, "status\n", 7, MSG_NOSIGNAL), 7);
    assert_true(hear(fd, text, sizeof text) > 0);
    assert_memory_equal(text, "running ", 8);
    assert_int_equal(send(fd, "kill 7\n", 7, MSG_NOSIGNAL), 7);
    assert_int_equal(finish(fd, "200-0"), -1);
}

static void test_worker_is_gone(void **state)
{
    (void)state;
    char text[256];
    int fd = spawn("300-0", "sleep 600");
    int shim = parent_of(task_of(fd));
    int nursery_pid = parent_of(shim);
    nursery_destroy(&nursery);
    assert_int_equal(waitpid(nursery_pid, NULL, 0), nursery_pid); /* by itself */
    assert_int_equal(send(fd, "status\n", 7, MSG_NOSIGNAL), 7);
    assert_true(hear(fd, text, sizeof text) > 0);
    assert_memory_equal(text, "running ", 8);
    assert_int_equal(send(fd, "kill 7\n", 7, MSG_NOSIGNAL), 7);
    assert_int_equal(finish(fd, "300-0"), -1);
}

static void test_cannot_start(void **state)
{
    (void)state;
    struct mlq_err err = MLQ_ERR_INIT;
    const struct nursery_options options = {
        .program = "/no/such/mlq-shim", .log = "shim.log", .attempts = attempts};
    struct nursery *none = nursery_create(&options);
    assert_int_equal(nursery_spawn(none, "anywhere", 0, &err), MLQ_EIO);
    assert_non_null(strstr(err.text, "/no/such/mlq-shim"));
    nursery_destroy(&none);
    /* A folder that is not there: the shim says so in the log, and hangs up. */
    int pair[2];
    char text[256];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(nursery_spawn(nursery, "/nowhere/7-0", pair[1], &err), 0);
    close(pair[1]);
    assert_int_equal(hear(pair[0], text, sizeof text), 0);
    close(pair[0]);
    char *log;
    size_t len;
    assert_int_equal(mlq_fs_read("shim.log", 1 << 20, &log, &len, NULL), 0);
    assert_non_null(strstr(log, "/nowhere/7-0"));
    mlq_free(log);
}

static int setup(void **state)
{
    (void)state;
    char cwd[400];
    assert_non_null(getcwd(cwd, sizeof cwd));
    (void)snprintf(attempts, sizeof attempts, "%s/attempts", cwd);
    assert_int_equal(mlq_fs_remove_tree(attempts, NULL), 0);
    assert_int_equal(mkdir(attempts, 0700), 0);
    (void)unlink("shim.log");
    char *program = mlq_format("%s/mlq-shim", getenv("MLQ_BIN_DIR"));
    const struct nursery_options options = {
        .program = program, .log = "shim.log", .attempts = attempts};
    nursery = nursery_create(&options);
    mlq_free(program);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    nursery_destroy(&nursery);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_is_a_shim, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nursery_is_killed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_worker_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cannot_start, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
