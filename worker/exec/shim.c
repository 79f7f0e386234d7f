/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * mlq-shim DIR: runs one rank of one attempt, described by DIR/state, and outlives the worker.
 *
 * It owns the task's process tree: as reaper of orphans it keeps every descendant, so that the end
 * of the tree is the moment when it has no child left. It owns the time limit, the lease (at its
 * end the tree is killed at once: another attempt may start elsewhere), the log, and the exit
 * status, which is whole in DIR/state before the shim goes away.
 *
 * Commands, lines on descriptor 3 (the worker that started it) and, once that one has hung up, on
 * DIR/shim.sock (one that was restarted):
 *     lease NS           live until then (CLOCK_BOOTTIME); never shortens, and never revives
 *     stop GRACE_NS CAUSE  SIGTERM, then SIGKILL to all after the grace
 *     kill CAUSE         SIGKILL to all
 *     usr1               SIGUSR1 to those that handle it: checkpoint and go on
 *     status             "waiting" or "running PID" or "stopping PID"
 * It says "started PID" to all its clients, and closes them when the end is in DIR/state.
 *
 * It must stay small and must not fail for want of anything: no threads, no libraries but ours.
 */
#include "worker/exec/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/panic.h"
#include "lib/sys/clock.h"
#include "lib/sys/fs.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "lib/sys/region.h"
#include "worker/exec/cgroup.h"
#include "worker/exec/joblog.h"
#include "worker/exec/shimchild.h"
#include "worker/exec/shimfile.h"
#include "worker/exec/tree.h"

#define CLIENTS_MAX     4
#define LINE_BYTES_MAX  128
#define PUMP_BYTES      (64u << 10)
#define WATCH_PERIOD_NS (200 * MLQ_NS_PER_MS)
#define LISTEN_RETRY_NS (1 * MLQ_NS_PER_S)
#define KILL_ROUND_MS   5
#define NEVER           INT64_MAX

struct client {
    int fd; /* -1: free */
    size_t used;
    char line[LINE_BYTES_MAX];
};

struct shim {
    struct shimfile_conf conf;
    struct joblog log;
    struct shimchild child;
    struct client clients[CLIENTS_MAX];
    struct shimfile_end end;
    int listen_fd; /* -1: nobody but the worker that started it needs to find it yet */
    int signal_fd;
    int timer_fd;
    int64_t lease_deadline_ns;
    int64_t timeout_deadline_ns;  /* NEVER: none */
    int64_t kill_deadline_ns;     /* end of the grace; NEVER: not stopping */
    int64_t watch_deadline_ns;    /* next look at the memory; NEVER: a cgroup does it */
    int64_t listen_deadline_ns;   /* next try to listen; NEVER: no need */
    enum worker_cause stop_cause; /* why we stop or killed it; NONE: we did not */
    bool is_child_gone;
    bool must_kill;
    int wait_status;
};

enum { POLL_SIGNAL, POLL_TIMER, POLL_LISTEN, POLL_LOG, POLL_EXEC, POLL_CLIENTS };

/* ---- Ways to stop ---- */

/* The first reason stands, but a lost lease or a kill makes an end at once. */
static void stop(struct shim *shim, enum worker_cause cause, int64_t grace_ns)
{
    if (shim->is_child_gone || shim->must_kill) {
        return;
    }
    int64_t now = mlq_clock_boot_ns();
    int64_t deadline = grace_ns <= 0 ? 0 : grace_ns < NEVER - now ? now + grace_ns : NEVER;
    bool is_first = shim->stop_cause == WORKER_CAUSE_NONE;
    shim->stop_cause = is_first ? cause : shim->stop_cause;
    shim->kill_deadline_ns = deadline < shim->kill_deadline_ns ? deadline : shim->kill_deadline_ns;
    if (grace_ns <= 0 || shim->child.pid <= 0) {
        shim->must_kill = true;
    } else if (is_first) {
        (void)kill(-shim->child.pid, SIGTERM);
        (void)kill(-shim->child.pid, SIGCONT); /* a stopped process could not hear it */
    }
}

/* Only those that expect it: whoever has no handler would die of it. */
static void ask_for_checkpoint(struct shim *shim)
{
    static const char deaf[] = "mlq: a checkpoint was asked for, but no process of this task has a "
                               "handler for SIGUSR1\n";
    bool is_live = shim->child.is_started && !shim->is_child_gone && !shim->must_kill;
    if (is_live && tree_signal_handlers(SIGUSR1) == 0) {
        joblog_append(&shim->log, deaf, sizeof deaf - 1);
    }
}

static void watch_memory(struct shim *shim, int64_t now)
{
    if (now < shim->watch_deadline_ns) {
        return;
    }
    shim->watch_deadline_ns = now + WATCH_PERIOD_NS;
    int64_t bytes = tree_private_bytes();
    if (bytes > shim->conf.mem_bytes) {
        (void)snprintf(shim->end.detail, sizeof shim->end.detail,
                       "used %lld MiB, over its limit of %lld MiB (watched, no memory cgroup)",
                       (long long)(bytes >> 20), (long long)(shim->conf.mem_bytes >> 20));
        stop(shim, WORKER_CAUSE_OOM, 0);
    }
}

static int listen_here(int *fd, struct mlq_err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = SHIMFILE_SOCKET};
    (void)unlink(SHIMFILE_SOCKET);
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd >= 0 && bind(*fd, (const struct sockaddr *)&address, sizeof address) == 0 &&
        listen(*fd, CLIENTS_MAX) == 0) {
        return MLQ_OK;
    }
    int rc = mlq_fail(err, MLQ_EIO, "listen on %s: %s", SHIMFILE_SOCKET, strerror(errno));
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
    return rc;
}

/* Its worker is gone: the next one looks for it here. A disk may be full just now. */
static void try_to_listen(struct shim *shim, int64_t now)
{
    struct mlq_err err = MLQ_ERR_INIT;
    shim->listen_deadline_ns = NEVER;
    if (listen_here(&shim->listen_fd, &err) != MLQ_OK) {
        log_warn("shim.unreachable", "error=\"%s\"", err.text);
        shim->listen_deadline_ns = now + LISTEN_RETRY_NS;
    }
}

static void check_deadlines(struct shim *shim)
{
    int64_t now = mlq_clock_boot_ns();
    if (now >= shim->lease_deadline_ns && !shim->must_kill && !shim->is_child_gone) {
        shim->stop_cause = WORKER_CAUSE_LEASE;
        shim->must_kill = true;
    }
    if (now >= shim->timeout_deadline_ns) {
        shim->timeout_deadline_ns = NEVER;
        stop(shim, WORKER_CAUSE_TIMEOUT, shim->conf.grace_ns);
    }
    if (now >= shim->kill_deadline_ns) {
        shim->must_kill = true;
    }
    if (now >= shim->listen_deadline_ns) {
        try_to_listen(shim, now);
    }
    if (shim->watch_deadline_ns != NEVER && shim->child.pid > 0 && !shim->is_child_gone) {
        watch_memory(shim, now);
    }
}

/* A lease that is over stays over: after a freeze the renewal may be read before the clock, while
 * the work is already another's. */
static void renew(struct shim *shim, int64_t deadline_ns)
{
    bool is_first = shim->lease_deadline_ns == SHIMFILE_LEASE_NONE;
    if (deadline_ns > shim->lease_deadline_ns &&
        (is_first || mlq_clock_boot_ns() < shim->lease_deadline_ns)) {
        shim->lease_deadline_ns = deadline_ns;
    }
}

/* CLOCK_BOOTTIME and not a timeout of poll(): after a sleep of the machine a lease is over at once.
 */
static void arm_timer(struct shim *shim)
{
    int64_t next = shim->lease_deadline_ns;
    next = shim->timeout_deadline_ns < next ? shim->timeout_deadline_ns : next;
    next = shim->kill_deadline_ns < next ? shim->kill_deadline_ns : next;
    next = shim->watch_deadline_ns < next ? shim->watch_deadline_ns : next;
    next = shim->listen_deadline_ns < next ? shim->listen_deadline_ns : next;
    next = next < 1 ? 1 : next;
    struct itimerspec when = {
        .it_value = {.tv_sec = next / MLQ_NS_PER_S, .tv_nsec = next % MLQ_NS_PER_S}};
    MLQ_ASSERT(timerfd_settime(shim->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) == 0);
}

/* ---- Clients ---- */

static void drop_client(struct shim *shim, struct client *client)
{
    close(client->fd);
    client->fd = -1;
    client->used = 0;
    if (shim->listen_fd < 0) {
        shim->listen_deadline_ns = 0;
    }
}

static void say(struct client *client, const char *text)
{
    /* A client that does not read is not waited for. */
    (void)send(client->fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void say_status(struct shim *shim, struct client *client)
{
    char text[64];
    const char *word = !shim->child.is_started                 ? "waiting"
                       : shim->stop_cause == WORKER_CAUSE_NONE ? "running"
                                                               : "stopping";
    (void)snprintf(text, sizeof text, "%s %d\n", word, (int)shim->child.pid);
    say(client, text);
}

static bool take_cause(struct mlq_str text, enum worker_cause *cause)
{
    uint64_t number;
    if (!mlq_str_u64(text, &number) || number == 0 || number >= WORKER_CAUSE_COUNT) {
        return false;
    }
    *cause = (enum worker_cause)number;
    return true;
}

static bool obey(struct shim *shim, struct client *client, struct mlq_str line)
{
    struct mlq_str verb;
    struct mlq_str rest;
    struct mlq_str first;
    struct mlq_str second;
    int64_t number;
    enum worker_cause cause;
    (void)mlq_str_cut(line, ' ', &verb, &rest);
    (void)mlq_str_cut(rest, ' ', &first, &second);
    if (mlq_str_eq_c(verb, "lease") && mlq_str_i64(first, &number)) {
        renew(shim, number);
        return true;
    }
    if (mlq_str_eq_c(verb, "stop") && mlq_str_i64(first, &number) && take_cause(second, &cause)) {
        stop(shim, cause, number);
        return true;
    }
    if (mlq_str_eq_c(verb, "kill") && take_cause(first, &cause)) {
        stop(shim, cause, 0);
        return true;
    }
    if (mlq_str_eq_c(verb, "usr1")) {
        ask_for_checkpoint(shim);
        return true;
    }
    if (mlq_str_eq_c(verb, "status")) {
        say_status(shim, client);
        return true;
    }
    return false;
}

static void serve_client(struct shim *shim, struct client *client)
{
    ssize_t got = recv(client->fd, client->line + client->used, sizeof client->line - client->used,
                       MSG_DONTWAIT);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) {
        return;
    }
    if (got <= 0) {
        drop_client(shim, client); /* the worker went away; the lease says how long we go on */
        return;
    }
    client->used += (size_t)got;
    struct mlq_str rest = {.ptr = client->line, .len = client->used};
    struct mlq_str line;
    struct mlq_str tail;
    while (mlq_str_cut(rest, '\n', &line, &tail)) {
        if (!obey(shim, client, line)) {
            drop_client(shim, client);
            return;
        }
        rest = tail;
    }
    if (rest.len == sizeof client->line) {
        drop_client(shim, client); /* no command is that long */
        return;
    }
    memmove(client->line, rest.ptr, rest.len);
    client->used = rest.len;
}

static void accept_client(struct shim *shim)
{
    int fd = accept4(shim->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct ucred peer = {.uid = (uid_t)-1};
    socklen_t size = sizeof peer;
    if (fd < 0) {
        return;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 ||
        (peer.uid != geteuid() && peer.uid != 0)) {
        close(fd);
        return;
    }
    for (int i = 0; i < CLIENTS_MAX; i++) {
        if (shim->clients[i].fd < 0) {
            shim->clients[i] = (struct client){.fd = fd};
            if (shim->child.is_started) {
                say_status(shim, &shim->clients[i]);
            }
            return;
        }
    }
    close(fd);
}

/* ---- The child ---- */

/* True while the pipe is open. */
static bool pump_log(struct shim *shim)
{
    if (shim->child.log_fd < 0) {
        return false;
    }
    static char bytes[PUMP_BYTES]; /* memory that only a task that prints takes */
    ssize_t got = read(shim->child.log_fd, bytes, sizeof bytes);
    if (got > 0) {
        joblog_append(&shim->log, bytes, (size_t)got);
        return true;
    }
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return true;
    }
    close(shim->child.log_fd); /* the task closed its outputs, or ended */
    shim->child.log_fd = -1;
    return false;
}

static void note_started(struct shim *shim)
{
    char text[64];
    shim->end.started_us = mlq_clock_wall_us();
    (void)snprintf(text, sizeof text, "started %d\n", (int)shim->child.pid);
    for (int i = 0; i < CLIENTS_MAX; i++) {
        if (shim->clients[i].fd >= 0) {
            say(&shim->clients[i], text);
        }
    }
}

/* Reaps all that is dead. True when nothing is left: no child, hence no descendant. */
static bool reap(struct shim *shim)
{
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid == shim->child.pid && pid > 0) {
            shim->is_child_gone = true;
            shim->wait_status = status;
        }
        if (pid == 0) {
            return false;
        }
        if (pid < 0 && errno != EINTR) {
            return true;
        }
    }
}

static void kill_tree(struct shim *shim)
{
    bool is_empty = reap(shim); /* as most are */
    for (int i = 0; !is_empty && shim->conf.cgroups[i] != NULL; i++) {
        cgroup_forbid_forks(shim->conf.cgroups[i]);
    }
    while (!is_empty) {
        for (int i = 0; shim->conf.cgroups[i] != NULL; i++) {
            (void)cgroup_kill(shim->conf.cgroups[i]);
        }
        (void)tree_signal(SIGKILL);
        struct pollfd wait = {.fd = shim->child.log_fd, .events = POLLIN};
        if (poll(&wait, 1, KILL_ROUND_MS) > 0) {
            (void)pump_log(shim);
        }
        is_empty = reap(shim);
    }
    while (pump_log(shim)) { /* nobody is left to write: this ends at what the pipe holds */
        struct pollfd wait = {.fd = shim->child.log_fd, .events = POLLIN};
        if (poll(&wait, 1, 0) == 0) {
            break;
        }
    }
}

/* ---- The loop ---- */

static void turn(struct shim *shim)
{
    struct pollfd fds[POLL_CLIENTS + CLIENTS_MAX] = {
        [POLL_SIGNAL] = {.fd = shim->signal_fd, .events = POLLIN},
        [POLL_TIMER] = {.fd = shim->timer_fd, .events = POLLIN},
        [POLL_LISTEN] = {.fd = shim->listen_fd, .events = POLLIN},
        [POLL_LOG] = {.fd = shim->child.log_fd, .events = POLLIN},
        [POLL_EXEC] = {.fd = shim->child.exec_fd, .events = POLLIN},
    };
    for (int i = 0; i < CLIENTS_MAX; i++) {
        fds[POLL_CLIENTS + i] = (struct pollfd){.fd = shim->clients[i].fd, .events = POLLIN};
    }
    arm_timer(shim);
    if (poll(fds, POLL_CLIENTS + CLIENTS_MAX, -1) < 0) {
        MLQ_ASSERT(errno == EINTR);
        return;
    }
    if (fds[POLL_EXEC].revents != 0 && shimchild_take_exec_result(&shim->child)) {
        note_started(shim);
    }
    for (int i = 0; i < CLIENTS_MAX; i++) {
        if (fds[POLL_CLIENTS + i].revents != 0) {
            serve_client(shim, &shim->clients[i]);
        }
    }
    if (fds[POLL_LISTEN].revents != 0) {
        accept_client(shim);
    }
    if (fds[POLL_LOG].revents != 0) {
        (void)pump_log(shim);
    }
    if (fds[POLL_TIMER].revents != 0) {
        uint64_t count;
        (void)!read(shim->timer_fd, &count, sizeof count);
    }
    if (fds[POLL_SIGNAL].revents != 0) {
        struct signalfd_siginfo info;
        (void)!read(shim->signal_fd, &info, sizeof info);
        if (info.ssi_signo == SIGTERM) { /* the machine goes down */
            stop(shim, WORKER_CAUSE_NODE, shim->conf.grace_ns);
        }
        (void)reap(shim);
    }
    check_deadlines(shim);
}

static bool was_oom_killed(const struct shim *shim)
{
    uint64_t kills = 0;
    for (int i = 0; shim->conf.cgroups[i] != NULL; i++) {
        kills += cgroup_oom_kills(shim->conf.cgroups[i]);
    }
    return kills > 0;
}

static void say_detail(struct shimfile_end *end, const char *text)
{
    if (end->detail[0] == '\0') {
        (void)snprintf(end->detail, sizeof end->detail, "%s", text);
    }
}

/* Why it ended. What we did comes first; exit status 0 is a success only where we did not step in.
 */
static void judge(struct shim *shim)
{
    struct shimfile_end *end = &shim->end;
    char text[SHIMFILE_DETAIL_BYTES];
    bool has_status = shim->is_child_gone;
    end->exit_code =
        has_status && WIFEXITED(shim->wait_status) ? WEXITSTATUS(shim->wait_status) : -1;
    end->signal = has_status && WIFSIGNALED(shim->wait_status) ? WTERMSIG(shim->wait_status) : 0;
    bool is_success = end->exit_code == 0;
    if (shim->child.exec_errno != 0) {
        end->cause = WORKER_CAUSE_SPAWN;
        end->exit_code = -1;
        (void)snprintf(text, sizeof text, "%s: %s", shim->child.failed_step,
                       strerror(shim->child.exec_errno));
    } else if (shim->stop_cause != WORKER_CAUSE_NONE) {
        end->cause = shim->stop_cause;
        (void)snprintf(text, sizeof text, "%s",
                       end->cause == WORKER_CAUSE_LEASE     ? "killed: the lease ended"
                       : end->cause == WORKER_CAUSE_TIMEOUT ? "stopped: the time limit was reached"
                                                            : "stopped");
    } else if (!is_success && was_oom_killed(shim)) {
        end->cause = WORKER_CAUSE_OOM;
        (void)snprintf(text, sizeof text, "killed for memory: it was over its limit");
    } else if (end->signal != 0) {
        end->cause = WORKER_CAUSE_SIGNAL;
        (void)snprintf(text, sizeof text, "died by signal %d (%s)", end->signal,
                       strsignal(end->signal));
    } else if (end->exit_code == 75) {
        end->cause = WORKER_CAUSE_REQUEUE;
        (void)snprintf(text, sizeof text, "exit status 75: saved, to be run again");
    } else if (!is_success) {
        end->cause = WORKER_CAUSE_EXIT;
        (void)snprintf(text, sizeof text, "exit status %d", end->exit_code);
    } else {
        end->cause = WORKER_CAUSE_NONE;
        text[0] = '\0';
    }
    say_detail(end, text);
}

static int64_t timeval_us(struct timeval time)
{
    return (int64_t)time.tv_sec * 1000000 + time.tv_usec;
}

static bool has_client(const struct shim *shim)
{
    for (int i = 0; i < CLIENTS_MAX; i++) {
        if (shim->clients[i].fd >= 0) {
            return true;
        }
    }
    return false;
}

static int finish(struct shim *shim, struct mlq_err *err)
{
    struct rusage used = {0};
    (void)getrusage(RUSAGE_CHILDREN, &used);
    judge(shim);
    shim->end.ended_us = mlq_clock_wall_us();
    shim->end.user_us = timeval_us(used.ru_utime);
    shim->end.system_us = timeval_us(used.ru_stime);
    shim->end.rss_max_bytes = used.ru_maxrss * 1024;
    shim->end.log_lost_bytes = shim->log.lost;
    joblog_close(&shim->log);
    for (int i = 0; !has_client(shim) && shim->conf.cgroups[i] != NULL; i++) {
        (void)cgroup_remove(shim->conf.cgroups[i]); /* else its worker does, or uses them again */
    }
    return shimfile_save_end(".", &shim->end, err);
}

/* ---- Start ---- */

static void take_first_client(struct shim *shim)
{
    for (int i = 0; i < CLIENTS_MAX; i++) {
        shim->clients[i].fd = -1;
    }
    /* Nothing else that whoever started us had open may reach the task. */
    (void)close_range(SHIMFILE_FIRST_CLIENT_FD + 1, ~0U, 0);
    int type;
    socklen_t size = sizeof type;
    if (getsockopt(SHIMFILE_FIRST_CLIENT_FD, SOL_SOCKET, SO_TYPE, &type, &size) == 0) {
        (void)fcntl(SHIMFILE_FIRST_CLIENT_FD, F_SETFD, FD_CLOEXEC);
        shim->clients[0].fd = SHIMFILE_FIRST_CLIENT_FD;
    }
}

static int open_all(struct shim *shim, struct mlq_err *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT); /* a Ctrl-C at the worker's terminal is not for its tasks */
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGPIPE);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    sigdelset(&set, SIGPIPE);
    (void)setsid();
    shim->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    shim->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (shim->signal_fd < 0 || shim->timer_fd < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) {
        return mlq_fail(err, MLQ_EIO, "set up the shim: %s", strerror(errno));
    }
    return joblog_create(&shim->log, ".", shim->conf.log_head_bytes, shim->conf.log_tail_bytes,
                         err);
}

static int run(struct shim *shim, struct mlq_err *err)
{
    int rc = open_all(shim, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    int64_t now = mlq_clock_boot_ns();
    shim->lease_deadline_ns = shim->conf.lease_deadline_ns;
    shim->timeout_deadline_ns = shim->conf.timeout_ns > 0 ? now + shim->conf.timeout_ns : NEVER;
    shim->kill_deadline_ns = NEVER;
    shim->watch_deadline_ns = shim->conf.mem_bytes > 0 ? now + WATCH_PERIOD_NS : NEVER;
    shim->listen_fd = -1;
    shim->listen_deadline_ns = shim->clients[0].fd >= 0 ? NEVER : 0;
    shim->child = (struct shimchild){.log_fd = -1, .exec_fd = -1};
    if (shim->clients[0].fd >= 0) {
        serve_client(shim, &shim->clients[0]); /* the lease as it is now, or an early kill */
    }
    check_deadlines(shim);
    rc = shim->must_kill ? MLQ_OK : shimchild_start(&shim->child, &shim->conf, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    while (!shim->is_child_gone && !shim->must_kill) {
        turn(shim);
    }
    /* With its command a task is over: what it left in the background goes, too. */
    kill_tree(shim);
    (void)shimchild_take_exec_result(&shim->child);
    return finish(shim, err);
}

int shim_run(const char *dir)
{
    struct mlq_err err = MLQ_ERR_INIT;
    int lock_fd = -1;
    struct shim *shim = mlq_alloc(sizeof *shim);
    struct mlq_region *region = mlq_region_create();
    take_first_client(shim);
    int rc =
        chdir(dir) == 0 ? MLQ_OK : mlq_fail(&err, MLQ_ENOENT, "%s: %s", dir, strerror(errno));
    rc = rc == MLQ_OK ? shimfile_lock(".", &lock_fd, &err) : rc;
    rc = rc == MLQ_OK ? shimfile_load_conf(".", region, &shim->conf, &err) : rc;
    rc = rc == MLQ_OK ? shimfile_note_start(lock_fd, &err) : rc;
    rc = rc == MLQ_OK ? run(shim, &err) : rc;
    if (rc != MLQ_OK) {
        log_error("shim.failed", "dir=\"%s\" error=\"%s\"", dir, err.text);
    }
    mlq_region_destroy(&region);
    mlq_free(shim);
    return rc == MLQ_OK ? 0 : 1; /* the lock and all clients go with the process */
}
