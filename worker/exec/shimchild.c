/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * fork is cheap here: the shim is a few pages. Between fork and exec the child is alone with one
 * thread, so it may do what it likes.
 */
#include "worker/exec/shimchild.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "worker/exec/cgroup.h"

#define NOFILE_MAX 65536
#define PIPE_BYTES (256 << 10)

struct failure { /* what the child says when it could not exec */
    int sys_errno;
    int step;
};

enum step { STEP_WORKDIR, STEP_STDIN, STEP_EXEC };

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

static _Noreturn void become(const struct shimfile_conf *conf, pid_t shim, int log_fd, int exec_fd)
{
    (void)setsid();
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a killed shim takes the task with it */
    if (getppid() != shim) {
        _exit(127); /* it was killed before that */
    }
    for (int i = 0; conf->cgroups[i] != NULL; i++) {
        (void)cgroup_join(conf->cgroups[i], getpid());
    }
    set_rlimit(RLIMIT_CORE, 0, RLIM_INFINITY);
    set_rlimit(RLIMIT_NOFILE, NOFILE_MAX, RLIM_INFINITY);
    if (conf->nproc_max > 0) {
        set_rlimit(RLIMIT_NPROC, (rlim_t)conf->nproc_max, (rlim_t)conf->nproc_max);
    }
    int null_fd = open("/dev/null", O_RDONLY);
    if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0 || dup2(log_fd, STDOUT_FILENO) < 0 ||
        dup2(log_fd, STDERR_FILENO) < 0) {
        give_up(exec_fd, STEP_STDIN);
    }
    if (null_fd > STDERR_FILENO) {
        close(null_fd);
    }
    if (chdir(conf->workdir) != 0) {
        give_up(exec_fd, STEP_WORKDIR);
    }
    reset_signals();
    /* exec* take arrays of char * for history's sake and change nothing. execvp searches the PATH
     * of `environ`: the task's. */
    environ = (char **)(uintptr_t)conf->env;
    execvp(conf->argv[0], (char **)(uintptr_t)conf->argv);
    give_up(exec_fd, STEP_EXEC);
    _exit(127);
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
    if (pipe2(exec_pipe, O_CLOEXEC) != 0) {
        close(log_pipe[0]);
        close(log_pipe[1]);
        return mlq_fail(err, MLQ_EIO, "pipe: %s", strerror(errno));
    }
    (void)fcntl(log_pipe[0], F_SETPIPE_SZ, PIPE_BYTES);
    (void)fcntl(log_pipe[0], F_SETFL, O_NONBLOCK);
    (void)fcntl(exec_pipe[0], F_SETFL, O_NONBLOCK);
    const pid_t self = getpid();
    child->pid = fork();
    if (child->pid == 0) {
        become(conf, self, log_pipe[1], exec_pipe[1]);
    }
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
        child->exec_errno = failure.sys_errno;
        const char *text = failure.step == (int)STEP_WORKDIR ? "enter the work folder"
                           : failure.step == (int)STEP_STDIN ? "redirect the outputs"
                                                             : NULL;
        if (text != NULL) {
            (void)snprintf(child->failed_step, sizeof child->failed_step, "%s", text);
        }
        return false;
    }
    child->is_started = true;
    return true;
}
