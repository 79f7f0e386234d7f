/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The child is made by vfork: it runs in the shim's own memory until its exec, which saves the
 * copies of all pages that the two touch, a third of what a shim costs. So between vfork and exec
 * it allocates nothing and leaves nothing behind. The shim stands still meanwhile, and an exec from
 * a file server that is away would hold it up, deaf to its lease. Therefore the child has QUICK_SEC
 * for it: then a timer of its own kills it, which the kernel takes away with the exec, and a child
 * is made by fork, which takes the time that it takes.
 */
#include "worker/exec/shimchild.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/sys/clock.h"

#define NOFILE_MAX 65536
#define PIPE_BYTES (256 << 10)
#define PATH_BYTES 4096
#define NAME_BYTES 32
#define QUICK_SEC  2
#define MOMENTS_MAX 1000

struct failure { /* what the child says when it could not exec */
    int sys_errno;
    int step;
};

enum step { STEP_TIMER, STEP_WORKDIR, STEP_STDIN, STEP_EXEC };

struct start {
    const struct shimfile_conf *conf;
    pid_t shim;
    int log_fd; /* the child's ends */
    int exec_fd;
    bool is_quick;
};

static void set_rlimit(int resource, rlim_t soft_max, rlim_t hard_max)
{
    struct rlimit limit;
    if (getrlimit((__rlimit_resource_t)resource, &limit) != 0) {
        return;
    }
    limit.rlim_max = limit.rlim_max < hard_max ? limit.rlim_max : hard_max;
    limit.rlim_cur = limit.rlim_max < soft_max ? limit.rlim_max : soft_max;
    (void)setrlimit((__rlimit_resource_t)resource, &limit);
}

static void reset_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    for (int number = 1; number < 32; number++) {
        (void)signal(number, SIG_DFL); /* refused for SIGKILL and SIGSTOP */
    }
}

static void give_up(int exec_fd, enum step step)
{
    const struct failure failure = {.sys_errno = errno, .step = (int)step};
    (void)!write(exec_fd, &failure, sizeof failure);
    _exit(127);
}

static void limit_start(int exec_fd)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
    const struct itimerspec when = {.it_value = {.tv_sec = QUICK_SEC}};
    timer_t timer;
    if (timer_create(CLOCK_BOOTTIME, &event, &timer) != 0 ||
        timer_settime(timer, 0, &when, NULL) != 0) {
        give_up(exec_fd, STEP_TIMER);
    }
}

static void join(const char *group)
{
    static const char file[] = "/cgroup.procs";
    char path[PATH_BYTES];
    size_t len = strlen(group);
    if (len + sizeof file > sizeof path) {
        return;
    }
    memcpy(path, group, len);
    memcpy(path + len, file, sizeof file);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!write(fd, "0", 1); /* who writes it */
        close(fd);
    }
}

static _Noreturn void become(const struct start *start)
{
    const struct shimfile_conf *conf = start->conf;
    if (start->is_quick) {
        limit_start(start->exec_fd);
    }
    (void)setsid();
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a killed shim takes the task with it */
    if (getppid() != start->shim) {
        _exit(127); /* it was killed before that */
    }
    for (int i = 0; conf->cgroups[i] != NULL; i++) {
        join(conf->cgroups[i]);
    }
    set_rlimit(RLIMIT_CORE, 0, RLIM_INFINITY);
    set_rlimit(RLIMIT_NOFILE, NOFILE_MAX, RLIM_INFINITY);
    if (conf->nproc_max > 0) {
        set_rlimit(RLIMIT_NPROC, (rlim_t)conf->nproc_max, (rlim_t)conf->nproc_max);
    }
    int null_fd = open("/dev/null", O_RDONLY);
    if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0 || dup2(start->log_fd, STDOUT_FILENO) < 0 ||
        dup2(start->log_fd, STDERR_FILENO) < 0) {
        give_up(start->exec_fd, STEP_STDIN);
    }
    if (null_fd > STDERR_FILENO) {
        close(null_fd);
    }
    if (chdir(conf->workdir) != 0) {
        give_up(start->exec_fd, STEP_WORKDIR);
    }
    reset_signals();
    /* exec* take arrays of char * for history's sake and change nothing. */
    execvp(conf->argv[0], (char **)(uintptr_t)conf->argv);
    give_up(start->exec_fd, STEP_EXEC);
    _exit(127);
}

static __attribute__((noinline)) pid_t start_quick(const struct start *start)
{
    pid_t pid = vfork();
    if (pid == 0) {
        become(start);
    }
    return pid;
}

static pid_t start_slowly(const struct start *start)
{
    pid_t pid = fork();
    if (pid == 0) {
        become(start);
    }
    return pid;
}

static bool has_our_name(pid_t pid)
{
    char ours[NAME_BYTES] = "";
    char its[NAME_BYTES] = "";
    char path[NAME_BYTES];
    (void)prctl(PR_GET_NAME, ours);
    (void)snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, its, sizeof its - 1);
    if (fd >= 0) {
        close(fd);
    }
    return got > 0 && (size_t)got == strlen(ours) + 1 && memcmp(its, ours, strlen(ours)) == 0;
}

/* A moment after vfork returned: until then a child that dies, and one that has its new program, both
 * have our memory still. True: it has none, it dies. */
static bool is_dying(pid_t pid)
{
    char path[NAME_BYTES];
    char ours[PATH_BYTES];
    char its[PATH_BYTES];
    ssize_t our_len = readlink("/proc/self/exe", ours, sizeof ours);
    (void)snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
    for (int i = 0; i < MOMENTS_MAX; i++) {
        ssize_t len = readlink(path, its, sizeof its);
        if (len < 0) {
            return errno == ENOENT;
        }
        if (len != our_len || memcmp(its, ours, (size_t)len) != 0) {
            return false;
        }
        (void)poll(NULL, 0, 1);
    }
    return false;
}

/* Killed by its timer: it dies of that, and has still the name that an exec would have changed. */
static bool was_too_slow(pid_t pid)
{
    siginfo_t info = {.si_pid = 0};
    return is_dying(pid) && waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0 &&
           info.si_code == CLD_KILLED && info.si_status == SIGKILL && has_our_name(pid);
}

static void note_failure(struct shimchild *child, const struct failure *failure)
{
    const char *text = failure->step == (int)STEP_WORKDIR ? "enter the work folder"
                       : failure->step == (int)STEP_STDIN ? "redirect the outputs"
                                                          : NULL;
    child->exec_errno = failure->sys_errno;
    if (text != NULL) {
        (void)snprintf(child->failed_step, sizeof child->failed_step, "%s", text);
    }
}

/* The read end is ours. With our own write end open it is empty as long as nothing failed. */
static void start_child(struct shimchild *child, struct start *start, int failures_fd)
{
    char **saved = environ;
    struct failure failure;
    const int64_t began_ns = mlq_clock_boot_ns();
    environ = (char **)(uintptr_t)start->conf->env; /* execvp searches the task's PATH */
    start->is_quick = true;
    child->pid = start_quick(start);
    bool has_failed =
        child->pid > 0 && read(failures_fd, &failure, sizeof failure) == (ssize_t)sizeof failure;
    bool is_late = child->pid > 0 && mlq_clock_boot_ns() - began_ns >= QUICK_SEC * MLQ_NS_PER_S;
    if ((has_failed && failure.step == (int)STEP_TIMER) || (is_late && was_too_slow(child->pid))) {
        (void)waitpid(child->pid, NULL, 0);
        start->is_quick = false;
        child->pid = start_slowly(start);
    } else if (has_failed) {
        note_failure(child, &failure);
    }
    environ = saved;
}

int shimchild_start(struct shimchild *child, const struct shimfile_conf *conf, struct mlq_err *err)
{
    int log_pipe[2];
    int exec_pipe[2];
    *child = (struct shimchild){.log_fd = -1, .exec_fd = -1};
    (void)snprintf(child->failed_step, sizeof child->failed_step, "run '%.140s'", conf->argv[0]);
    if (pipe2(log_pipe, O_CLOEXEC) != 0) {
        return mlq_fail(err, MLQ_EIO, "pipe: %s", strerror(errno));
    }
    if (pipe2(exec_pipe, O_CLOEXEC | O_NONBLOCK) != 0) {
        close(log_pipe[0]);
        close(log_pipe[1]);
        return mlq_fail(err, MLQ_EIO, "pipe: %s", strerror(errno));
    }
    (void)fcntl(log_pipe[0], F_SETPIPE_SZ, PIPE_BYTES);
    (void)fcntl(log_pipe[0], F_SETFL, O_NONBLOCK);
    struct start start = {
        .conf = conf, .shim = getpid(), .log_fd = log_pipe[1], .exec_fd = exec_pipe[1]};
    start_child(child, &start, exec_pipe[0]);
    int saved = errno;
    close(log_pipe[1]);
    close(exec_pipe[1]);
    child->log_fd = log_pipe[0];
    child->exec_fd = exec_pipe[0];
    return child->pid > 0 ? MLQ_OK : mlq_fail(err, MLQ_EIO, "fork: %s", strerror(saved));
}

void shimchild_close(struct shimchild *child)
{
    if (child->log_fd >= 0) {
        close(child->log_fd);
    }
    if (child->exec_fd >= 0) {
        close(child->exec_fd);
    }
    child->log_fd = -1;
    child->exec_fd = -1;
}

bool shimchild_take_exec_result(struct shimchild *child)
{
    if (child->exec_fd < 0) {
        return false;
    }
    struct failure failure = {0};
    ssize_t got = read(child->exec_fd, &failure, sizeof failure);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return false;
    }
    close(child->exec_fd); /* closed by exec, or by the death of the child before it */
    child->exec_fd = -1;
    if (got == (ssize_t)sizeof failure) {
        note_failure(child, &failure);
    }
    child->is_started = child->exec_errno == 0;
    return child->is_started;
}
