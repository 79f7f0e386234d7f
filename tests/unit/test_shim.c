/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * mlq-shim with real processes. Each test makes an attempt's folder, starts the shim as a worker
 * would, and reads what it leaves behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/base/ownership.h"
#include "lib/sys/clock.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "tests/support/patience.h"
#include "worker/exec/cgroup.h"
#include "worker/exec/joblog.h"
#include "worker/exec/shimfile.h"
#include "worker/exec/tree.h"

#define DIR_NAME   "attempt"
#define WAIT_MS    ((int)patience(60000))
#define LEASE_LONG (600 * MLQ_NS_PER_S)
#define LEASE_SHORT patience(3 * MLQ_NS_PER_S) /* no shim takes as long to start, on a busy machine either */

static struct cgroup_host host;
static char mark[64]; /* in the environment of this run's tasks, and of nobody else's */

struct run {
    pid_t pid;
    int fd; /* our end of its first client */
    struct shimfile_conf conf;
    struct shimfile_end end;
};

static void make_folder(void)
{
    assert_int_equal(mlq_fs_remove_tree(DIR_NAME, NULL), 0);
    assert_int_equal(mkdir(DIR_NAME, 0700), 0);
}

static void begin(struct run *run, const char **argv)
{
    static const char *env[] = {"PATH=/usr/local/bin:/usr/bin:/bin", mark, NULL};
    *run = (struct run){
        .conf = {.lease_deadline_ns = mlq_clock_boot_ns() + LEASE_LONG,
                 .grace_ns = 200 * MLQ_NS_PER_MS,
                 .log_head_bytes = 1 << 20,
                 .log_tail_bytes = 1 << 20,
                 .workdir = ".",
                 .argv = argv,
                 .env = env},
    };
    make_folder();
}

static void start(struct run *run)
{
    char path[4096];
    int pair[2];
    assert_int_equal(shimfile_save_conf(DIR_NAME, &run->conf, NULL), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    (void)snprintf(path, sizeof path, "%s/mlq-shim", getenv("MLQ_BIN_DIR"));
    run->pid = fork();
    if (run->pid == 0) {
        if (pair[1] == SHIMFILE_FIRST_CLIENT_FD) {
            (void)fcntl(pair[1], F_SETFD, 0);
        } else {
            (void)dup2(pair[1], SHIMFILE_FIRST_CLIENT_FD);
        }
        execl(path, "mlq-shim", DIR_NAME, (char *)NULL);
        _exit(126);
    }
    close(pair[1]);
    run->fd = pair[0];
}

static void say(struct run *run, const char *line)
{
    assert_int_equal(send(run->fd, line, strlen(line), MSG_NOSIGNAL), strlen(line));
}

/* Until the shim says "started" (true) or hangs up. */
static bool wait_started(struct run *run)
{
    char text[256];
    struct pollfd wait = {.fd = run->fd, .events = POLLIN};
    assert_int_equal(poll(&wait, 1, WAIT_MS), 1);
    ssize_t got = recv(run->fd, text, sizeof text - 1, 0);
    return got > 8 && memcmp(text, "started ", 8) == 0;
}

/* Until it hangs up; then its status and journal. */
static void finish(struct run *run)
{
    char text[256];
    struct pollfd wait = {.fd = run->fd, .events = POLLIN};
    int status;
    do {
        assert_int_equal(poll(&wait, 1, WAIT_MS), 1);
    } while (recv(run->fd, text, sizeof text, 0) > 0);
    close(run->fd);
    assert_int_equal(waitpid(run->pid, &status, 0), run->pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(shimfile_load_end(DIR_NAME, &run->end, NULL), 0);
    assert_int_equal(tree_sweep(mark), 0); /* nobody is left */
}

static struct shimfile_end run_shell(const char *script)
{
    const char *argv[] = {"sh", "-c", script, NULL};
    struct run run;
    begin(&run, argv);
    start(&run);
    finish(&run);
    return run.end;
}

static char *read_log(void)
{
    char *data;
    size_t len;
    assert_int_equal(joblog_flatten(DIR_NAME, "flat", NULL), 0);
    assert_int_equal(mlq_fs_read("flat", 16 << 20, &data, &len, NULL), 0);
    return data;
}

/* A group of this process alone: the same test may run in another build on this machine. */
static void make_groups(struct run *run, const char *what, const struct cgroup_bounds *bounds, struct mlq_region *region,
                        bool *bounded)
{
    char name[64];
    (void)snprintf(name, sizeof name, "mlq-test-%s-%d", what, (int)getpid());
    cgroup_make(&host, name, bounds, region, run->conf.cgroups, bounded);
}

/* Waits for a file that the task makes. */
static void wait_file(const char *name)
{
    for (int i = 0; i < WAIT_MS && !mlq_fs_exists(name); i++) {
        (void)poll(NULL, 0, 1);
    }
    assert_true(mlq_fs_exists(name));
}

/* The kernel gives the memory of what is dead back a little later. */
static void wait_fresh(const char *const *cgroups)
{
    for (int i = 0; i < WAIT_MS && !cgroup_is_fresh(&host, cgroups); i++) {
        (void)poll(NULL, 0, 1);
    }
    assert_true(cgroup_is_fresh(&host, cgroups));
}

/* ---- How a task ends ---- */

static void test_exit_status(void **state)
{
    (void)state;
    struct shimfile_end end = run_shell("echo hello; echo there >&2");
    assert_int_equal(end.cause, WORKER_CAUSE_NONE);
    assert_int_equal(end.exit_code, 0);
    assert_true(end.started_us > 0 && end.ended_us >= end.started_us);
    char *log = read_log();
    assert_string_equal(log, "hello\nthere\n");
    mlq_free(log);
    end = run_shell("exit 7");
    assert_int_equal(end.cause, WORKER_CAUSE_EXIT);
    assert_int_equal(end.exit_code, 7);
    assert_string_equal(end.detail, "exit status 7");
    end = run_shell("exit 75");
    assert_int_equal(end.cause, WORKER_CAUSE_REQUEUE);
    end = run_shell("kill -SEGV $$");
    assert_int_equal(end.cause, WORKER_CAUSE_SIGNAL);
    assert_int_equal(end.signal, SIGSEGV);
    assert_int_equal(end.exit_code, -1);
}

static void test_cannot_run(void **state)
{
    (void)state;
    const char *argv[] = {"no-such-program-here", NULL};
    struct run run;
    begin(&run, argv);
    start(&run);
    finish(&run);
    assert_int_equal(run.end.cause, WORKER_CAUSE_SPAWN);
    assert_int_equal(run.end.exit_code, -1);
    assert_string_equal(run.end.detail, "run 'no-such-program-here': No such file or directory");
    argv[0] = "/etc/passwd";
    begin(&run, argv);
    start(&run);
    finish(&run);
    assert_int_equal(run.end.cause, WORKER_CAUSE_SPAWN);
    assert_non_null(strstr(run.end.detail, "Permission denied"));
    argv[0] = "true";
    begin(&run, argv);
    run.conf.workdir = "nowhere";
    start(&run);
    finish(&run);
    assert_int_equal(run.end.cause, WORKER_CAUSE_SPAWN);
    assert_non_null(strstr(run.end.detail, "work folder"));
}

static void test_clean_start(void **state)
{
    (void)state;
    /* Signals at their defaults, no stray descriptors, own session, environment as given, no core.
     */
    struct shimfile_end end =
        run_shell("[ \"$(env | grep -c -v -e ^PATH= -e ^MLQ_MARK= -e ^PWD= -e ^_= -e ^SHLVL= -e "
                  "^OLDPWD=)\" = 0 ] || exit 10;"
                  "[ $(ls /proc/self/fd | wc -l) -le 4 ] || exit 11;"
                  "grep -q 'SigIgn:.*0000000000000000' /proc/self/status || exit 12;"
                  "grep -q 'SigBlk:.*0000000000000000' /proc/self/status || exit 13;"
                  "[ \"$(ulimit -c)\" = 0 ] || exit 14;"
                  "[ -z \"$(cat)\" ] || exit 15");
    assert_int_equal(end.exit_code, 0);
}

static void test_ignores_term(void **state)
{
    (void)state;
    const char *argv[] = {"sh", "-c",
                          "trap '' TERM; touch attempt/ready; while :; do sleep 60; done", NULL};
    struct run run;
    begin(&run, argv);
    run.conf.workdir = "..";
    start(&run);
    wait_file("attempt/ready");
    say(&run, "stop 100000000 7\n"); /* 100 ms, cancel */
    finish(&run);
    assert_int_equal(run.end.cause, WORKER_CAUSE_CANCEL);
    assert_int_equal(run.end.signal, SIGKILL);
}

static void test_stops_in_grace(void **state)
{
    (void)state;
    const char *argv[] = {"sh", "-c",
                          "trap 'echo saved; exit 75' TERM; trap 'echo check' USR1; touch ready;"
                          "while :; do sleep 0.01; done",
                          NULL};
    struct run run;
    begin(&run, argv);
    start(&run);
    wait_file("attempt/ready");
    say(&run, "usr1\n");
    say(&run, "stop 60000000000 8\n");
    finish(&run);
    assert_int_equal(run.end.cause, WORKER_CAUSE_PEER);
    assert_int_equal(run.end.exit_code, 75);
    char *log = read_log();
    assert_non_null(strstr(log, "check\n"));
    assert_non_null(strstr(log, "saved\n"));
    mlq_free(log);
}

static void test_time_limit(void **state)
{
    (void)state;
    const char *argv[] = {"sleep", "600", NULL};
    struct run run;
    begin(&run, argv);
    run.conf.timeout_ns = 150 * MLQ_NS_PER_MS;
    int64_t before = mlq_clock_boot_ns();
    start(&run);
    finish(&run);
    assert_int_equal(run.end.cause, WORKER_CAUSE_TIMEOUT);
    assert_int_equal(run.end.signal, SIGTERM);
    assert_true(mlq_clock_boot_ns() - before >= run.conf.timeout_ns);
}

/* Whoever handles SIGUSR1 gets it; whoever would die of it does not, and the log says so. */
static void test_checkpoint(void **state)
{
    (void)state;
    const char *argv[] = {"sh", "-c",
                          "trap 'touch saved' USR1; sleep 600 & until grep -q sleep /proc/$!/comm; do sleep 0.01; done;"
                          "touch ready;"
                          "until [ -e saved ]; do sleep 0.02; done; kill $! || exit 5",
                          NULL};
    struct run run;
    begin(&run, argv);
    start(&run);
    wait_file("attempt/ready");
    say(&run, "usr1\n");
    finish(&run);
    assert_int_equal(run.end.cause, WORKER_CAUSE_NONE);

    const char *deaf[] = {"sh", "-c", "sleep 600", NULL};
    begin(&run, deaf);
    start(&run);
    assert_true(wait_started(&run));
    say(&run, "usr1\nstatus\n");
    char text[64] = "";
    assert_true(recv(run.fd, text, sizeof text - 1, 0) > 0);
    assert_memory_equal(text, "running", 7); /* it lives on */
    say(&run, "kill 1\n");
    finish(&run);
    assert_int_equal(run.end.signal, SIGKILL);
    char *log = read_log();
    assert_non_null(strstr(log, "no process of this task has a handler for SIGUSR1"));
    mlq_free(log);
}

static void wait_until(int64_t time_ns)
{
    while (mlq_clock_boot_ns() <= time_ns) {
        (void)poll(NULL, 0, 10);
    }
}

static void test_lease(void **state)
{
    (void)state;
    /* Nobody extends it: killed at once, whatever the task does about SIGTERM. */
    const char *argv[] = {"sh", "-c", "trap '' TERM; sleep 600", NULL};
    struct run run;
    char line[64];
    begin(&run, argv);
    run.conf.lease_deadline_ns = mlq_clock_boot_ns() + LEASE_SHORT;
    run.conf.grace_ns = LEASE_LONG;
    start(&run);
    finish(&run);
    assert_int_equal(run.end.cause, WORKER_CAUSE_LEASE);
    assert_int_equal(run.end.signal, SIGKILL);
    /* Extended: it lives past the first deadline. It never shortens. */
    const char *long_argv[] = {"sh", "-c", "until [ -e go ]; do sleep 0.02; done; exit 3", NULL};
    begin(&run, long_argv);
    run.conf.lease_deadline_ns = mlq_clock_boot_ns() + LEASE_SHORT;
    start(&run);
    (void)snprintf(line, sizeof line, "lease %lld\nlease 1\n",
                   (long long)(mlq_clock_boot_ns() + LEASE_LONG));
    say(&run, line);
    wait_until(run.conf.lease_deadline_ns + MLQ_NS_PER_S / 2);
    assert_int_equal(mlq_fs_write_whole("attempt/go", MLQ_STR(""), 0600, NULL), 0);
    finish(&run);
    assert_int_equal(run.end.cause, WORKER_CAUSE_EXIT);
    assert_int_equal(run.end.exit_code, 3);
    /* Over before the start: nothing may run for long. */
    begin(&run, argv);
    run.conf.lease_deadline_ns = 1;
    start(&run);
    finish(&run);
    assert_int_equal(run.end.cause, WORKER_CAUSE_LEASE);
}

/* A frozen machine: the lease runs out, and a renewal waits in the socket when it wakes. */
static void test_lease_is_not_revived(void **state)
{
    (void)state;
    const char *argv[] = {"sleep", "600", NULL};
    struct run run;
    char line[64];
    int status;
    begin(&run, argv);
    run.conf.lease_deadline_ns = mlq_clock_boot_ns() + LEASE_SHORT;
    start(&run);
    assert_true(wait_started(&run));
    assert_int_equal(kill(run.pid, SIGSTOP), 0);
    assert_int_equal(waitpid(run.pid, &status, WUNTRACED), run.pid);
    assert_true(WIFSTOPPED(status));
    wait_until(run.conf.lease_deadline_ns);
    (void)snprintf(line, sizeof line, "lease %lld\n",
                   (long long)(mlq_clock_boot_ns() + LEASE_LONG));
    say(&run, line);
    assert_int_equal(kill(run.pid, SIGCONT), 0);
    finish(&run);
    assert_int_equal(run.end.cause, WORKER_CAUSE_LEASE);
    assert_int_equal(run.end.signal, SIGKILL);
}

/* ---- The tree ---- */

static void test_many_children(void **state)
{
    (void)state;
    struct shimfile_end end = run_shell("for i in $(seq 1000); do sleep 600 & done; exit 4");
    assert_int_equal(end.exit_code, 4);
}

static void test_double_fork(void **state)
{
    (void)state;
    /* A daemon: own session, parent gone, outputs closed. It dies with the task. */
    struct shimfile_end end =
        run_shell("(setsid sh -c 'sleep 600 & sleep 600' </dev/null >/dev/null 2>&1 &) ; exit 0");
    assert_int_equal(end.cause, WORKER_CAUSE_NONE);
    const char *argv[] = {
        "sh", "-c", "(setsid sh -c 'touch ready; trap \"\" TERM; sleep 600' &); sleep 600", NULL};
    struct run run;
    begin(&run, argv);
    start(&run);
    wait_file("attempt/ready");
    say(&run, "kill 7\n");
    finish(&run);
    assert_int_equal(run.end.cause, WORKER_CAUSE_CANCEL);
}

static void test_fork_storm(void **state)
{
    (void)state;
    /* Each process starts two and goes on; the bound on processes keeps this machine usable. */
    if (host.parents[CGROUP_PIDS][0] == '\0') {
        print_message("no cgroup that limits processes is writable here\n");
        skip();
    }
    const char *argv[] = {"sh", "-c", "f() { f & f & sleep 600; }; touch ready; f", NULL};
    struct cgroup_bounds bounds = {.pids_max = 200};
    bool bounded;
    struct mlq_region *region = mlq_region_create();
    struct run run;
    begin(&run, argv);
    make_groups(&run, "storm", &bounds, region, &bounded);
    start(&run);
    wait_file("attempt/ready");
    say(&run, "kill 7\n");
    finish(&run);
    assert_int_equal(run.end.cause, WORKER_CAUSE_CANCEL);
    wait_fresh(run.conf.cgroups);
    for (int i = 0; run.conf.cgroups[i] != NULL; i++) {
        assert_true(mlq_fs_exists(run.conf.cgroups[i])); /* its worker lives, and they are its own */
    }
    /* They serve again, with their bounds set again; and without a worker the shim removes them. */
    const char *alone[] = {"sh", "-c", "touch ready; until [ -e go ]; do sleep 0.02; done", NULL};
    int lock = -1;
    run.conf.argv = alone;
    make_folder();
    make_groups(&run, "storm", &bounds, region, &bounded);
    start(&run);
    wait_file("attempt/ready");
    close(run.fd);
    wait_file("attempt/shim.sock");
    assert_int_equal(mlq_fs_write_whole("attempt/go", MLQ_STR(""), 0600, NULL), 0);
    assert_int_equal(waitpid(run.pid, NULL, 0), run.pid);
    assert_int_equal(shimfile_lock(DIR_NAME, &lock, NULL), 0);
    close(lock);
    for (int i = 0; run.conf.cgroups[i] != NULL; i++) {
        assert_false(mlq_fs_exists(run.conf.cgroups[i]));
    }
    mlq_region_destroy(&region);
}

/* ---- Output ---- */

static void test_closed_outputs(void **state)
{
    (void)state;
    struct shimfile_end end = run_shell("echo before; exec >&- 2>&-; sleep 0.1; exit 5");
    assert_int_equal(end.exit_code, 5);
    char *log = read_log();
    assert_string_equal(log, "before\n");
    mlq_free(log);
}

static void test_large_log(void **state)
{
    (void)state;
    struct shimfile_end end =
        run_shell("echo first; head -c 200000000 /dev/zero | tr '\\0' x; echo; echo last");
    assert_int_equal(end.cause, WORKER_CAUSE_NONE);
    struct stat status;
    assert_int_equal(stat("attempt/log", &status), 0);
    assert_true(status.st_size <= 2 << 20);
    char *log = read_log();
    size_t len = strlen(log);
    assert_memory_equal(log, "first\nxxx", 9);
    assert_string_equal(log + len - 7, "x\nlast\n");
    assert_non_null(strstr(log, "bytes of output were dropped here]"));
    mlq_free(log);
}

static void test_binary_log(void **state)
{
    (void)state;
    (void)run_shell("printf 'a\\000b\\377\\033[31m'");
    char *data;
    size_t len;
    assert_int_equal(mlq_fs_read("attempt/log", 100, &data, &len, NULL), 0);
    assert_int_equal(len, 9);
    assert_memory_equal(data, "a\0b\377\033[31m", 9);
    mlq_free(data);
}

/* ---- Memory ---- */

#define HOG      "import sys\nb=[]\nfor i in range(400): b.append(bytearray(1<<20))\nsys.stdin.read()\n"
#define HOG_SLOW HOG "import time\ntime.sleep(600)\n"

static void test_oom_cgroup(void **state)
{
    (void)state;
    if (host.parents[CGROUP_MEMORY][0] == '\0') {
        print_message("no cgroup that limits memory is writable here\n");
        skip();
    }
    const char *argv[] = {"python3", "-c", HOG, NULL};
    struct cgroup_bounds bounds = {.mem_bytes = 64 << 20};
    bool bounded;
    struct mlq_region *region = mlq_region_create();
    struct run run;
    begin(&run, argv);
    make_groups(&run, "oom", &bounds, region, &bounded);
    assert_true(bounded);
    start(&run);
    finish(&run);
    assert_int_equal(run.end.cause, WORKER_CAUSE_OOM);
    assert_int_equal(run.end.signal, SIGKILL);
    mlq_region_destroy(&region);
}

static void test_oom_watched(void **state)
{
    (void)state;
    const char *argv[] = {"python3", "-c", HOG_SLOW, NULL};
    struct run run;
    begin(&run, argv);
    run.conf.mem_bytes = 100 << 20;
    start(&run);
    finish(&run);
    assert_int_equal(run.end.cause, WORKER_CAUSE_OOM);
    assert_non_null(strstr(run.end.detail, "over its limit of 100 MiB"));
}

/* ---- Who talks to it ---- */

/* It listens from the moment when its worker has hung up. */
static int connect_shim(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "attempt/shim.sock"};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = -1;
    for (int i = 0; i < WAIT_MS && rc != 0; i++) {
        rc = connect(fd, (struct sockaddr *)&address, sizeof address);
        (void)poll(NULL, 0, rc == 0 ? 0 : 1);
    }
    assert_int_equal(rc, 0);
    return fd;
}

static void test_worker_dies(void **state)
{
    (void)state;
    const char *argv[] = {"sh", "-c", "touch ready; sleep 600", NULL};
    struct run run;
    int lock;
    begin(&run, argv);
    start(&run);
    assert_true(wait_started(&run));
    wait_file("attempt/ready");
    close(run.fd); /* as if the worker had been killed */
    assert_int_equal(shimfile_lock(DIR_NAME, &lock, NULL), MLQ_EAGAIN);
    run.fd = connect_shim();
    assert_int_equal(tree_sweep("MLQ_MARK=nobody"), 0);
    int nonsense = connect_shim();
    assert_int_equal(send(nonsense, "rm -rf\n", 7, 0), 7);
    char byte[256];
    while (recv(nonsense, byte, sizeof byte, 0) > 0) {
    } /* dropped, with no harm done */
    close(nonsense);
    say(&run, "kill 7\n");
    finish(&run);
    assert_int_equal(run.end.cause, WORKER_CAUSE_CANCEL);
    assert_int_equal(shimfile_lock(DIR_NAME, &lock, NULL), 0);
    close(lock);
}

/* Garbage on its socket: whoever sends it is hung up on, the task and the worker's own line go on. */
static void test_garbage_on_the_socket(void **state)
{
    (void)state;
    const struct mlq_str garbage[] = {
        MLQ_STR("\0\xff\xfe\x80\n"), MLQ_STR("lease\n"),      MLQ_STR("lease 99999999999999999999\n"),
        MLQ_STR("kill 0\n"),           MLQ_STR("kill 4000\n"),  MLQ_STR("stop 1s 7\n"),
        MLQ_STR("stop 5\n"),           MLQ_STR("\n"),           MLQ_STR("LEASE 5\n"),
    };
    const char *argv[] = {"sh", "-c", "touch ready; until [ -e go ]; do sleep 0.02; done; exit 5", NULL};
    struct run run;
    char endless[8192];
    char answer[256];
    begin(&run, argv);
    start(&run);
    wait_file("attempt/ready");
    assert_false(mlq_fs_exists("attempt/shim.sock")); /* nobody needs it */
    close(run.fd);
    run.fd = connect_shim();
    memset(endless, 'x', sizeof endless);
    for (size_t i = 0; i <= MLQ_COUNT_OF(garbage); i++) {
        struct mlq_str bytes = i < MLQ_COUNT_OF(garbage) ? garbage[i] : (struct mlq_str){endless, sizeof endless};
        int stranger = connect_shim();
        assert_true(send(stranger, bytes.ptr, bytes.len, MSG_NOSIGNAL) > 0);
        while (recv(stranger, answer, sizeof answer, 0) > 0) {
        }
        close(stranger);
    }
    int crowd[64];
    for (size_t i = 0; i < MLQ_COUNT_OF(crowd); i++) { /* more than it serves, and they say nothing */
        crowd[i] = connect_shim();
    }
    assert_int_equal(mlq_fs_write_whole("attempt/go", MLQ_STR(""), 0600, NULL), 0);
    finish(&run);
    assert_int_equal(run.end.cause, WORKER_CAUSE_EXIT);
    assert_int_equal(run.end.exit_code, 5);
    for (size_t i = 0; i < MLQ_COUNT_OF(crowd); i++) {
        close(crowd[i]);
    }
}

/* A grace without end is bounded by nothing but the lease, and does not wrap around to none. */
static void test_endless_grace(void **state)
{
    (void)state;
    const char *argv[] = {"sh", "-c", "trap 'touch asked; sleep 0.3; exit 6' TERM; touch ready; while :; do sleep 0.02; done", NULL};
    struct run run;
    begin(&run, argv);
    start(&run);
    wait_file("attempt/ready");
    say(&run, "stop 9223372036854775807 7\n");
    finish(&run);
    assert_true(mlq_fs_exists("attempt/asked"));
    assert_int_equal(run.end.exit_code, 6);
}

static void test_never_twice(void **state)
{
    (void)state;
    (void)run_shell("echo x >> count");
    const char *argv[] = {"sh", "-c", "echo x >> count", NULL};
    struct run run;
    char path[4096];
    int status;
    (void)snprintf(path, sizeof path, "\"%s/mlq-shim\" %s 2>/dev/null", getenv("MLQ_BIN_DIR"),
                   DIR_NAME);
    status = system(path);
    assert_int_equal(WEXITSTATUS(status), 1);
    struct stat count;
    assert_int_equal(stat("attempt/count", &count), 0);
    assert_int_equal(count.st_size, 2);
    /* Nor late: whoever gave it up for lost has written how it ended. */
    begin(&run, argv);
    const struct shimfile_end end = {.cause = WORKER_CAUSE_NODE};
    assert_int_equal(shimfile_save_conf(DIR_NAME, &run.conf, NULL), 0);
    assert_int_equal(shimfile_save_end(DIR_NAME, &end, NULL), 0);
    status = system(path);
    assert_int_equal(WEXITSTATUS(status), 1);
    assert_false(mlq_fs_exists("attempt/count"));
}

static void test_shim_killed(void **state)
{
    (void)state;
    /* The first process dies with it; what had left the tree is found by its environment. */
    const char *argv[] = {"sh", "-c", "(setsid sleep 600 &); touch ready; sleep 600", NULL};
    struct run run;
    int lock;
    begin(&run, argv);
    start(&run);
    wait_file("attempt/ready");
    assert_int_equal(kill(run.pid, SIGKILL), 0);
    assert_int_equal(waitpid(run.pid, NULL, 0), run.pid);
    close(run.fd);
    assert_int_equal(shimfile_lock(DIR_NAME, &lock, NULL), 0);
    close(lock);
    assert_int_equal(shimfile_load_end(DIR_NAME, &run.end, NULL), MLQ_ENOENT);
    while (tree_sweep(mark) > 0) {
        while (waitpid(-1, NULL, WNOHANG) > 0) {
        }
    }
}

static int setup(void **state)
{
    (void)state;
    cgroup_probe(&host);
    char text[128];
    cgroup_probe_describe(&host, text, sizeof text);
    (void)printf("limits: %s\n", text);
    (void)snprintf(mark, sizeof mark, "MLQ_MARK=shim-test-%d", (int)getpid());
    return prctl(PR_SET_CHILD_SUBREAPER, 1); /* for test_shim_killed */
}

/* ---- An exec that takes long: from a file server that is away, for instance ---- */

static char frozen[256]; /* a control group that holds still whoever enters it */

static void write_frozen(const char *file, const char *text)
{
    char path[300];
    (void)snprintf(path, sizeof path, "%s/%s", frozen, file);
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static bool make_frozen(void)
{
    static const char *const roots[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
    for (size_t i = 0; i < MLQ_COUNT_OF(roots); i++) {
        char path[300];
        (void)snprintf(frozen, sizeof frozen, "%s/mlq-test-%d", roots[i], (int)getpid());
        (void)snprintf(path, sizeof path, "%s/cgroup.freeze", frozen);
        if (mkdir(frozen, 0755) == 0 && mlq_fs_exists(path)) {
            write_frozen("cgroup.freeze", "1");
            return true;
        }
        (void)rmdir(frozen);
    }
    return false;
}

/* The task's first process has entered it, and got no further. */
static void wait_frozen(void)
{
    for (int i = 0; i < WAIT_MS && cgroup_is_empty(frozen); i++) {
        (void)poll(NULL, 0, 1);
    }
    assert_false(cgroup_is_empty(frozen));
}

static void expect_answer(struct run *run, const char *words)
{
    char text[256];
    struct pollfd wait = {.fd = run->fd, .events = POLLIN};
    say(run, "status\n");
    assert_int_equal(poll(&wait, 1, WAIT_MS), 1);
    ssize_t got = recv(run->fd, text, sizeof text - 1, 0);
    assert_true(got > 0);
    text[got] = '\0';
    assert_memory_equal(text, words, strlen(words));
}

static void test_slow_exec(void **state)
{
    (void)state;
    const char *argv[] = {"sh", "-c", "exit 5", NULL};
    struct run run;
    if (!make_frozen()) {
        print_message("no control group that can be frozen here\n");
        skip();
    }
    begin(&run, argv);
    run.conf.cgroups[0] = frozen;
    start(&run);
    wait_frozen();
    expect_answer(&run, "waiting "); /* the shim is not held up */
    write_frozen("cgroup.freeze", "0");
    finish(&run);
    assert_int_equal(run.end.cause, WORKER_CAUSE_EXIT); /* and it was started after all */
    assert_int_equal(run.end.exit_code, 5);
    write_frozen("cgroup.freeze", "1");
    begin(&run, argv);
    run.conf.cgroups[0] = frozen;
    start(&run);
    wait_frozen();
    say(&run, "kill 7\n");
    finish(&run);
    assert_int_equal(run.end.cause, WORKER_CAUSE_CANCEL);
    assert_int_equal(run.end.started_us, 0);
    for (int i = 0; i < WAIT_MS && rmdir(frozen) != 0; i++) {
        (void)poll(NULL, 0, 1);
    }
    assert_false(mlq_fs_exists(frozen));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exit_status),
        cmocka_unit_test(test_cannot_run),
        cmocka_unit_test(test_clean_start),
        cmocka_unit_test(test_ignores_term),
        cmocka_unit_test(test_stops_in_grace),
        cmocka_unit_test(test_time_limit),
        cmocka_unit_test(test_checkpoint),
        cmocka_unit_test(test_lease),
        cmocka_unit_test(test_lease_is_not_revived),
        cmocka_unit_test(test_many_children),
        cmocka_unit_test(test_double_fork),
        cmocka_unit_test(test_fork_storm),
        cmocka_unit_test(test_closed_outputs),
        cmocka_unit_test(test_large_log),
        cmocka_unit_test(test_binary_log),
        cmocka_unit_test(test_oom_cgroup),
        cmocka_unit_test(test_oom_watched),
        cmocka_unit_test(test_worker_dies),
        cmocka_unit_test(test_garbage_on_the_socket),
        cmocka_unit_test(test_endless_grace),
        cmocka_unit_test(test_slow_exec),
        cmocka_unit_test(test_never_twice),
        cmocka_unit_test(test_shim_killed),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
