/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * mlq-shim DIR: runs one rank of one attempt, described by DIR/state, and outlives the worker. One
 * that a nursery made (shimfork.h) runs one such task after the other, as long as the worker that
 * it began with is there to order them: between two it holds nothing of either.
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
 *     run NAME NS        when it rests: the task of this folder, with this lease
 * It says "started PID" to all its clients. When the end is in DIR/state, and its lock is free, it
 * says "ended" and rests, or closes all of them and ends.
 *
 * It must stay small and must not fail for want of anything: no threads, no libraries but ours.
 */
#include "worker/exec/shim.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/panic.h"
#include "lib/sys/clock.h"
#include "lib/sys/fs.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "lib/sys/region.h"
#include "worker/exec/cgroup.h"
#include "worker/exec/shim_state.h"
#include "worker/exec/shimend.h"
#include "worker/exec/tree.h"

#define PUMP_BYTES      (64u << 10)
#define WATCH_PERIOD_NS (200 * MLQ_NS_PER_MS)
#define KILL_ROUND_MS   5

enum { POLL_SIGNAL, POLL_TIMER, POLL_LISTEN, POLL_LOG, POLL_EXEC, POLL_CLIENTS };

/* ---- Ways to stop ---- */

void shim_stop(struct shim *shim, enum worker_cause cause, int64_t grace_ns)
{
    if (shim->task.is_child_gone || shim->task.must_kill) {
        return;
    }
    int64_t now = mlq_clock_boot_ns();
    int64_t deadline = grace_ns <= 0                 ? 0
                       : grace_ns < SHIM_NEVER - now ? now + grace_ns
                                                     : SHIM_NEVER;
    bool is_first = shim->task.stop_cause == WORKER_CAUSE_NONE;
    shim->task.stop_cause = is_first ? cause : shim->task.stop_cause;
    shim->task.kill_deadline_ns =
        deadline < shim->task.kill_deadline_ns ? deadline : shim->task.kill_deadline_ns;
    if (grace_ns <= 0 || shim->task.child.pid <= 0) {
        shim->task.must_kill = true;
    } else if (is_first) {
        (void)kill(-shim->task.child.pid, SIGTERM);
        (void)kill(-shim->task.child.pid, SIGCONT); /* a stopped process could not hear it */
    }
}

/* Only those that expect it: whoever has no handler would die of it. */
void shim_checkpoint(struct shim *shim)
{
    static const char deaf[] = "mlq: a checkpoint was asked for, but no process of this task has a "
                               "handler for SIGUSR1\n";
    bool is_live =
        shim->task.child.is_started && !shim->task.is_child_gone && !shim->task.must_kill;
    if (is_live && tree_signal_handlers(SIGUSR1) == 0) {
        joblog_append(&shim->task.log, deaf, sizeof deaf - 1);
    }
}

static void watch_memory(struct shim *shim, int64_t now)
{
    if (now < shim->task.watch_deadline_ns) {
        return;
    }
    shim->task.watch_deadline_ns = now + WATCH_PERIOD_NS;
    int64_t bytes = tree_private_bytes();
    if (bytes > shim->task.conf.mem_bytes) {
        (void)snprintf(shim->task.end.detail, sizeof shim->task.end.detail,
                       "used %lld MiB, over its limit of %lld MiB (watched, no memory cgroup)",
                       (long long)(bytes >> 20), (long long)(shim->task.conf.mem_bytes >> 20));
        shim_stop(shim, WORKER_CAUSE_OOM, 0);
    }
}

static void check_deadlines(struct shim *shim)
{
    int64_t now = mlq_clock_boot_ns();
    if (now >= shim->task.lease_deadline_ns && !shim->task.must_kill && !shim->task.is_child_gone) {
        shim->task.stop_cause = WORKER_CAUSE_LEASE;
        shim->task.must_kill = true;
    }
    if (now >= shim->task.timeout_deadline_ns) {
        shim->task.timeout_deadline_ns = SHIM_NEVER;
        shim_stop(shim, WORKER_CAUSE_TIMEOUT, shim->task.conf.grace_ns);
    }
    if (now >= shim->task.kill_deadline_ns) {
        shim->task.must_kill = true;
    }
    if (now >= shim->task.listen_deadline_ns) {
        shimtalk_listen(shim, now);
    }
    if (shim->task.watch_deadline_ns != SHIM_NEVER && shim->task.child.pid > 0 &&
        !shim->task.is_child_gone) {
        watch_memory(shim, now);
    }
}

/* A lease that is over stays over: after a freeze the renewal may be read before the clock, while
 * the work is already another's. */
void shim_renew(struct shim *shim, int64_t deadline_ns)
{
    bool is_first = shim->task.lease_deadline_ns == SHIMFILE_LEASE_NONE;
    if (deadline_ns > shim->task.lease_deadline_ns &&
        (is_first || mlq_clock_boot_ns() < shim->task.lease_deadline_ns)) {
        shim->task.lease_deadline_ns = deadline_ns;
    }
}

/* CLOCK_BOOTTIME and not a timeout of poll(): after a sleep of the machine a lease is over at once.
 */
static void arm_timer(struct shim *shim)
{
    int64_t next = shim->task.lease_deadline_ns;
    next = shim->task.timeout_deadline_ns < next ? shim->task.timeout_deadline_ns : next;
    next = shim->task.kill_deadline_ns < next ? shim->task.kill_deadline_ns : next;
    next = shim->task.watch_deadline_ns < next ? shim->task.watch_deadline_ns : next;
    next = shim->task.listen_deadline_ns < next ? shim->task.listen_deadline_ns : next;
    next = next < 1 ? 1 : next;
    struct itimerspec when = {
        .it_value = {.tv_sec = next / MLQ_NS_PER_S, .tv_nsec = next % MLQ_NS_PER_S}};
    MLQ_ASSERT(timerfd_settime(shim->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) == 0);
}

/* ---- The child ---- */

/* True while the pipe is open. */
static bool pump_log(struct shim *shim)
{
    if (shim->task.child.log_fd < 0) {
        return false;
    }
    static char bytes[PUMP_BYTES]; /* memory that only a task that prints takes */
    ssize_t got = read(shim->task.child.log_fd, bytes, sizeof bytes);
    if (got > 0) {
        joblog_append(&shim->task.log, bytes, (size_t)got);
        return true;
    }
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return true;
    }
    close(shim->task.child.log_fd); /* the task closed its outputs, or ended */
    shim->task.child.log_fd = -1;
    return false;
}

static void note_started(struct shim *shim)
{
    char text[64];
    shim->task.end.started_us = mlq_clock_wall_us();
    (void)snprintf(text, sizeof text, "started %d\n", (int)shim->task.child.pid);
    shimtalk_say_all(shim, text);
}

static int64_t timeval_us(struct timeval time)
{
    return (int64_t)time.tv_sec * 1000000 + time.tv_usec;
}

/* Each process that is reaped brings what it used, and what it had reaped itself. */
static void add_usage(struct shimfile_end *end, const struct rusage *used)
{
    int64_t rss = used->ru_maxrss * 1024;
    end->user_us += timeval_us(used->ru_utime);
    end->system_us += timeval_us(used->ru_stime);
    end->rss_max_bytes = rss > end->rss_max_bytes ? rss : end->rss_max_bytes;
}

/* Reaps all that is dead. True when nothing is left: no child, hence no descendant. */
static bool reap(struct shim *shim)
{
    for (;;) {
        int status;
        struct rusage used;
        pid_t pid = wait4(-1, &status, WNOHANG, &used);
        if (pid > 0) {
            add_usage(&shim->task.end, &used);
        }
        if (pid == shim->task.child.pid && pid > 0) {
            shim->task.is_child_gone = true;
            shim->task.wait_status = status;
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
    for (int i = 0; !is_empty && shim->task.conf.cgroups[i] != NULL; i++) {
        cgroup_forbid_forks(shim->task.conf.cgroups[i]);
    }
    while (!is_empty) {
        for (int i = 0; shim->task.conf.cgroups[i] != NULL; i++) {
            (void)cgroup_kill(shim->task.conf.cgroups[i]);
        }
        (void)tree_signal(SIGKILL);
        struct pollfd wait = {.fd = shim->task.child.log_fd, .events = POLLIN};
        if (poll(&wait, 1, KILL_ROUND_MS) > 0) {
            (void)pump_log(shim);
        }
        is_empty = reap(shim);
    }
    while (pump_log(shim)) { /* nobody is left to write: this ends at what the pipe holds */
        struct pollfd wait = {.fd = shim->task.child.log_fd, .events = POLLIN};
        if (poll(&wait, 1, 0) == 0) {
            break;
        }
    }
}

/* ---- The loop ---- */

static void turn(struct shim *shim)
{
    struct pollfd fds[POLL_CLIENTS + SHIM_CLIENTS_MAX] = {
        [POLL_SIGNAL] = {.fd = shim->signal_fd, .events = POLLIN},
        [POLL_TIMER] = {.fd = shim->timer_fd, .events = POLLIN},
        [POLL_LISTEN] = {.fd = shim->listen_fd, .events = POLLIN},
        [POLL_LOG] = {.fd = shim->task.child.log_fd, .events = POLLIN},
        [POLL_EXEC] = {.fd = shim->task.child.exec_fd, .events = POLLIN},
    };
    for (int i = 0; i < SHIM_CLIENTS_MAX; i++) {
        fds[POLL_CLIENTS + i] = (struct pollfd){.fd = shim->clients[i].fd, .events = POLLIN};
    }
    arm_timer(shim);
    if (poll(fds, POLL_CLIENTS + SHIM_CLIENTS_MAX, -1) < 0) {
        MLQ_ASSERT(errno == EINTR);
        return;
    }
    if (fds[POLL_EXEC].revents != 0 && shimchild_take_exec_result(&shim->task.child)) {
        note_started(shim);
    }
    for (int i = 0; i < SHIM_CLIENTS_MAX; i++) {
        if (fds[POLL_CLIENTS + i].revents != 0) {
            shimtalk_serve(shim, &shim->clients[i]);
        }
    }
    if (fds[POLL_LISTEN].revents != 0) {
        shimtalk_accept(shim);
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
            shim_stop(shim, WORKER_CAUSE_NODE, shim->task.conf.grace_ns);
        }
        (void)reap(shim);
    }
    check_deadlines(shim);
}

static int finish(struct shim *shim, struct mlq_err *err)
{
    struct shim_task *task = &shim->task;
    const struct shimend_facts facts = {.child = &task->child,
                                        .cgroups = task->conf.cgroups,
                                        .stop_cause = task->stop_cause,
                                        .has_status = task->is_child_gone,
                                        .wait_status = task->wait_status};
    shimend_judge(&facts, &task->end);
    task->end.ended_us = mlq_clock_wall_us();
    task->end.log_lost_bytes = task->log.lost;
    joblog_close(&task->log);
    for (int i = 0; !shimtalk_has_client(shim) && task->conf.cgroups[i] != NULL; i++) {
        (void)cgroup_remove(task->conf.cgroups[i]); /* else its worker does, or uses them again */
    }
    return shimfile_save_end(".", &task->end, err);
}

/* ---- A task ---- */

static int open_task(struct shim *shim, const char *dir, struct mlq_err *err)
{
    struct shim_task *task = &shim->task;
    *task = (struct shim_task){.region = mlq_region_create(),
                               .log = {.fd = -1, .pos_fd = -1},
                               .child = {.log_fd = -1, .exec_fd = -1},
                               .lock_fd = -1,
                               .timeout_deadline_ns = SHIM_NEVER,
                               .kill_deadline_ns = SHIM_NEVER,
                               .watch_deadline_ns = SHIM_NEVER,
                               .listen_deadline_ns = shim->clients[0].fd >= 0 ? SHIM_NEVER : 0};
    /* Locked, then entered: so it is this folder, and not one that got its place meanwhile
     * (folder.h). */
    int rc = shimfile_lock(dir, &task->lock_fd, err);
    rc = rc != MLQ_OK || chdir(dir) == 0
             ? rc
             : mlq_fail(err, MLQ_ENOENT, "%s: %s", dir, strerror(errno));
    rc = rc == MLQ_OK ? shimfile_load_conf(".", task->region, &task->conf, err) : rc;
    rc = rc == MLQ_OK ? shimfile_note_start(task->lock_fd, err) : rc;
    return rc == MLQ_OK ? joblog_create(&task->log, ".", task->conf.log_head_bytes,
                                        task->conf.log_tail_bytes, err)
                        : rc;
}

/* What the worker says from here on, it says of what it finds in the folder: so it is left first.
 */
static void close_task(struct shim_task *task)
{
    shimchild_close(&task->child);
    joblog_close(&task->log);
    if (task->lock_fd >= 0) {
        close(task->lock_fd);
    }
    mlq_region_destroy(&task->region);
}

static int run_open(struct shim *shim, int64_t lease_ns, struct mlq_err *err)
{
    struct shim_task *task = &shim->task;
    int64_t now = mlq_clock_boot_ns();
    task->lease_deadline_ns =
        lease_ns > task->conf.lease_deadline_ns ? lease_ns : task->conf.lease_deadline_ns;
    task->timeout_deadline_ns =
        task->conf.timeout_ns > 0 ? now + task->conf.timeout_ns : SHIM_NEVER;
    task->watch_deadline_ns = task->conf.mem_bytes > 0 ? now + WATCH_PERIOD_NS : SHIM_NEVER;
    if (shim->clients[0].fd >= 0) {
        shimtalk_take_lines(shim, &shim->clients[0]); /* the lease as it is now, or an early kill */
    }
    if (shim->clients[0].fd >= 0) {
        shimtalk_serve(shim, &shim->clients[0]);
    }
    check_deadlines(shim);
    int rc = task->must_kill ? MLQ_OK : shimchild_start(&task->child, &task->conf, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    if (shimchild_take_exec_result(&task->child)) {
        note_started(shim);
    }
    while (!task->is_child_gone && !task->must_kill) {
        turn(shim);
    }
    /* With its command a task is over: what it left in the background goes, too. */
    kill_tree(shim);
    (void)shimchild_take_exec_result(&task->child);
    return finish(shim, err);
}

static int run(struct shim *shim, const char *dir, int64_t lease_ns)
{
    struct mlq_err err = MLQ_ERR_INIT;
    int rc = open_task(shim, dir, &err);
    rc = rc == MLQ_OK ? run_open(shim, lease_ns, &err) : rc;
    if (rc != MLQ_OK) {
        log_error("shim.failed", "dir=\"%s\" error=\"%s\"", dir, err.text);
    }
    close_task(&shim->task);
    return rc;
}

/* ---- The process ---- */

static bool open_shim(struct shim *shim)
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
    shimtalk_begin(shim);
    shim->listen_fd = -1;
    shim->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    shim->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    bool good =
        shim->signal_fd >= 0 && shim->timer_fd >= 0 && prctl(PR_SET_CHILD_SUBREAPER, 1) == 0;
    if (!good) {
        log_error("shim.failed", "error=\"set up: %s\"", strerror(errno));
    }
    return good;
}

int shim_run(const char *dir)
{
    struct shim *shim = mlq_alloc(sizeof *shim);
    int rc = open_shim(shim) ? run(shim, dir, SHIMFILE_LEASE_NONE) : MLQ_EIO;
    mlq_free(shim);
    return rc == MLQ_OK ? 0 : 1; /* all clients go with the process */
}

/* False: the worker is gone, or the machine goes down. */
static bool wait_for_order(struct shim *shim)
{
    struct shim_client *worker = &shim->clients[0];
    bool must_end = false;
    shim->is_resting = true;
    shimtalk_take_lines(shim, worker);
    while (shim->has_worker && !shim->has_order && !must_end) {
        struct pollfd fds[] = {{.fd = worker->fd, .events = POLLIN},
                               {.fd = shim->signal_fd, .events = POLLIN}};
        struct signalfd_siginfo info;
        (void)poll(fds, 2, -1);
        while (read(shim->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
            must_end = must_end || info.ssi_signo == SIGTERM;
        }
        if (fds[0].revents != 0) {
            shimtalk_serve(shim, worker);
        }
    }
    shim->is_resting = false;
    return shim->has_order && !must_end;
}

/* As ps and pgrep know a shim: "mlq-shim DIR", of one that rests the folder of all. */
static void set_title(const struct shim_title *title, const char *name)
{
    static const char program[] = "mlq-shim";
    memset(title->text, 0, title->room);
    if (title->room > sizeof program) {
        memcpy(title->text, program, sizeof program);
        (void)snprintf(title->text + sizeof program, title->room - sizeof program, "%s%s%s",
                       title->attempts, name[0] == '\0' ? "" : "/", name);
    }
}

int shim_serve(const struct shim_title *title)
{
    struct shim *shim = mlq_alloc(sizeof *shim);
    bool good = open_shim(shim);
    shim->has_worker = shim->clients[0].fd >= 0;
    while (good && shim->has_worker && wait_for_order(shim)) {
        set_title(title, shim->order);
        shim->has_order = false;
        good = run(shim, shim->order, shim->order_lease_ns) == MLQ_OK &&
               (!shim->has_worker || chdir(title->attempts) == 0);
        if (good && shim->has_worker) {
            set_title(title, "");
            shimtalk_say(&shim->clients[0], "ended\n");
        }
    }
    mlq_free(shim);
    return good ? 0 : 1;
}
