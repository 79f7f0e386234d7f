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
#include <uv.h>

#include "lib/base/ownership.h"
#include "lib/loop/loop.h"
#include "lib/sys/clock.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "tests/support/patience.h"
#include "worker/exec/nursery.h"
#include "worker/exec/shimfile.h"

#define WAIT_MS  ((int)patience(60000))
#define LEASE_NS (600 * MLQ_NS_PER_S)

static char attempts[512];
static struct uv_loop_s *loop;
static struct nursery *nursery;

static void describe(const char *name, const char *script)
{
    const char *argv[] = {"sh", "-c", script, NULL};
    const char *env[] = {"PATH=/usr/local/bin:/usr/bin:/bin", NULL};
    const struct shimfile_conf conf = {.grace_ns = MLQ_NS_PER_S,
                                       .log_head_bytes = 1 << 20,
                                       .log_tail_bytes = 1 << 20,
                                       .workdir = ".",
                                       .argv = argv,
                                       .env = env};
    char *dir = mlq_fs_join(attempts, name);
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_int_equal(shimfile_save_conf(dir, &conf, NULL), 0);
    mlq_free(dir);
}

/* The line to a shim, our end of it. */
static int spawn(const char *name, const char *script)
{
    struct mlq_err err = MLQ_ERR_INIT;
    int line;
    describe(name, script);
    assert_int_equal(nursery_run(nursery, name, mlq_clock_boot_ns() + LEASE_NS, &line, &err), 0);
    return line;
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

/* Until it says that the end is on file. */
static struct shimfile_end end_of(int fd, const char *name)
{
    struct shimfile_end end;
    char text[256] = "";
    char *dir = mlq_fs_join(attempts, name);
    while (strstr(text, "ended\n") == NULL) {
        assert_true(hear(fd, text, sizeof text) > 0);
    }
    assert_int_equal(shimfile_load_end(dir, &end, NULL), 0);
    mlq_free(dir);
    return end;
}

static int finish(int fd, const char *name)
{
    int exit_code = end_of(fd, name).exit_code;
    close(fd);
    return exit_code;
}

/* Its worker is gone: it hangs up. */
static int finish_last(int fd, const char *name)
{
    struct shimfile_end end;
    char text[256];
    char *dir = mlq_fs_join(attempts, name);
    (void)shutdown(fd, SHUT_WR);
    for (int i = 0; i < WAIT_MS && shimfile_load_end(dir, &end, NULL) != 0; i++) {
        (void)poll(NULL, 0, 1);
    }
    assert_int_equal(shimfile_load_end(dir, &end, NULL), 0);
    while (hear(fd, text, sizeof text) > 0) {
    }
    close(fd);
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
    char *dir = name[0] == '\0' ? mlq_strdup(attempts) : mlq_fs_join(attempts, name);
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
        was_started = hear(fd, text, sizeof text) > 0;
        assert_int_equal(shimfile_was_started(dir), was_started);
        mlq_free(dir);
        if (!was_started) {
            close(fd);
        } else if (strstr(text, "ended\n") == NULL) {
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

static size_t descriptors_of(int pid)
{
    char path[64];
    size_t count = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *folder = opendir(path);
    assert_non_null(folder);
    while (readdir(folder) != NULL) {
        count++;
    }
    closedir(folder);
    return count;
}

static bool is_gone(int pid)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
    return !mlq_fs_exists(path);
}

/* The task of a shim that rested. */
static struct shimfile_end again(int shim, const char *name, const char *script)
{
    int fd = spawn(name, script);
    struct shimfile_end end = end_of(fd, name);
    expect_title(shim, ""); /* the same one, and it rests */
    nursery_rest(nursery, fd);
    return end;
}

#define WAITING(end) "until [ -e go ]; do sleep 0.01; done; " end

static void release(const char *name)
{
    char *go = mlq_format("%s/%s/go", attempts, name);
    assert_int_equal(mlq_fs_write_whole(go, MLQ_STR(""), 0600, NULL), 0);
    mlq_free(go);
}

static int rest_one(const char *name)
{
    int fd = spawn(name, WAITING("exit 3"));
    int shim = parent_of(task_of(fd));
    expect_title(shim, name);
    release(name);
    assert_int_equal(end_of(fd, name).exit_code, 3);
    nursery_rest(nursery, fd);
    return shim;
}

static void test_serves_again(void **state)
{
    (void)state;
    int shim = rest_one("400-0");
    size_t descriptors = descriptors_of(shim);
    struct shimfile_end end =
        again(shim, "401-0", "dd if=/dev/zero of=/dev/null bs=64M count=16 2>/dev/null");
    assert_true(end.exit_code == 0 && end.rss_max_bytes > 64 << 20 && end.system_us > 0);
    struct shimfile_end next = again(shim, "402-0", "exit 75");
    assert_int_equal(next.cause, WORKER_CAUSE_REQUEUE);
    assert_true(next.rss_max_bytes < 32 << 20); /* what the last one used is not its */
    assert_true(next.user_us + next.system_us < end.user_us + end.system_us);
    end = again(shim, "403-0", "sleep 600 & echo $! >child; exec 3>&1; exit 0");
    assert_int_equal(end.exit_code, 0);
    end = again(shim, "404-0", "kill -9 $$");
    assert_int_equal(end.cause, WORKER_CAUSE_SIGNAL);
    assert_int_equal(end.signal, SIGKILL);
    end = again(shim, "405-0", "exit 0");
    assert_int_equal(end.cause, WORKER_CAUSE_NONE);
    assert_int_equal(end.detail[0], '\0');
    assert_int_equal(descriptors_of(shim), descriptors);
}

/* What a worker says to a task that has ended meanwhile reaches no other. */
static void test_late_words(void **state)
{
    (void)state;
    int first = spawn("410-0", "exit 0");
    (void)end_of(first, "410-0");
    assert_int_equal(send(first, "kill 7\nlease 1\nusr1\n", 20, MSG_NOSIGNAL), 20);
    nursery_rest(nursery, first);
    int fd = spawn("411-0", WAITING("exit 6"));
    assert_int_equal(fd, first);
    assert_true(task_of(fd) > 0);
    release("411-0");
    assert_int_equal(finish(fd, "411-0"), 6);
}

/* It is not kept by a worker that it does not understand. */
static void test_nonsense(void **state)
{
    (void)state;
    static const char *const lines[] = {"run\n", "run 412-0\n", "run 412-0 soon\n",
                                        "walk 412-0 1\n"};
    for (size_t i = 0; i < MLQ_COUNT_OF(lines); i++) {
        char text[64];
        char name[16];
        (void)snprintf(name, sizeof name, "413-%zu", i);
        int fd = spawn(name, "exit 0");
        (void)end_of(fd, name);
        assert_int_equal(send(fd, lines[i], strlen(lines[i]), MSG_NOSIGNAL), strlen(lines[i]));
        assert_int_equal(hear(fd, text, sizeof text), 0);
        close(fd);
    }
}

/* Each task has the lease of its order, and what is said behind the order is its. */
static void test_own_lease(void **state)
{
    (void)state;
    int shim = rest_one("420-0");
    int fd;
    describe("421-0", "exit 0");
    assert_int_equal(nursery_run(nursery, "421-0", mlq_clock_boot_ns() - 1, &fd, NULL), 0);
    assert_int_equal(end_of(fd, "421-0").cause, WORKER_CAUSE_LEASE);
    nursery_rest(nursery, fd);
    fd = spawn("422-0", "sleep 600");
    assert_int_equal(send(fd, "kill 7\n", 7, MSG_NOSIGNAL), 7);
    assert_int_equal(end_of(fd, "422-0").cause, WORKER_CAUSE_CANCEL);
    expect_title(shim, "");
    close(fd);
}

static void test_rests_and_is_killed(void **state)
{
    (void)state;
    int shim = rest_one("430-0");
    assert_int_equal(kill(shim, SIGKILL), 0);
    for (int i = 0; i < WAIT_MS && !is_gone(shim); i++) {
        (void)poll(NULL, 0, 1);
    }
    int fd = spawn("431-0", WAITING("exit 8"));
    assert_int_not_equal(parent_of(task_of(fd)), shim);
    release("431-0");
    assert_int_equal(finish(fd, "431-0"), 8);
}

static void test_rests_long(void **state)
{
    (void)state;
    int shim = rest_one("440-0");
    for (int i = 0; i < WAIT_MS && !is_gone(shim); i++) {
        (void)uv_run(loop, UV_RUN_NOWAIT);
        (void)poll(NULL, 0, 1);
    }
    assert_true(is_gone(shim));
    int fd = spawn("441-0", "exit 9");
    assert_int_equal(finish(fd, "441-0"), 9);
}

/* Its worker died while it rested. */
static void test_rests_alone(void **state)
{
    (void)state;
    int shim = rest_one("450-0");
    nursery_destroy(&nursery);
    for (int i = 0; i < WAIT_MS && !is_gone(shim); i++) {
        (void)poll(NULL, 0, 1);
    }
    assert_true(is_gone(shim));
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
    assert_int_equal(finish_last(fd, "300-0"), -1);
}

static void test_cannot_start(void **state)
{
    (void)state;
    struct mlq_err err = MLQ_ERR_INIT;
    const struct nursery_options options = {
        .loop = loop, .program = "/no/such/mlq-shim", .log = "shim.log", .attempts = attempts};
    struct nursery *none = nursery_create(&options);
    int line;
    assert_int_equal(nursery_run(none, "anywhere", 1, &line, &err), MLQ_EIO);
    assert_non_null(strstr(err.text, "/no/such/mlq-shim"));
    nursery_destroy(&none);
    /* A folder that is not there: the shim says so in the log, and hangs up. */
    char text[256];
    assert_int_equal(nursery_run(nursery, "7-0", mlq_clock_boot_ns() + LEASE_NS, &line, &err), 0);
    assert_int_equal(hear(line, text, sizeof text), 0);
    close(line);
    char *log;
    size_t len;
    assert_int_equal(mlq_fs_read("shim.log", 1 << 20, &log, &len, NULL), 0);
    assert_non_null(strstr(log, "7-0"));
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
    assert_int_equal(loop_create(&loop, NULL), 0);
    const struct nursery_options options = {
        .loop = loop, .program = program, .log = "shim.log", .attempts = attempts};
    nursery = nursery_create(&options);
    mlq_free(program);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    nursery_destroy(&nursery);
    assert_int_equal(loop_destroy(&loop), 0);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_is_a_shim, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nursery_is_killed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_serves_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_late_words, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nonsense, setup, teardown),
        cmocka_unit_test_setup_teardown(test_own_lease, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rests_and_is_killed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rests_long, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rests_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_worker_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cannot_start, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
