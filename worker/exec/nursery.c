/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/exec/nursery.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/panic.h"
#include "lib/loop/loop.h"
#include "lib/sys/clock.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "worker/exec/shimfork.h"

#define REST_NS      (5 * MLQ_NS_PER_S)
#define TRIES        2  /* it may be gone without our knowing; a new one is not */
#define NAME_BYTES   40 /* of a member's folder: "/ATTEMPT-RANK" */
#define PATIENCE_SEC 2  /* for one that does not take orders: stopped, or starved */

struct nursery {
    char *program;
    char *log;
    char *attempts;
    pid_t pid; /* 0: none */
    int fd;    /* -1: none */
    struct loop_timer *timer;
    struct resting {
        int line;
        int64_t since_ns;
    } resting[NURSERY_RESTING_MAX]; /* the longest first */
    unsigned resting_count;
};

/* ---- Shims that rest ---- */

/* Only here is one let go: it never ends by itself while it may be given a task. */
static void let_go(struct nursery *nursery, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        close(nursery->resting[i].line);
    }
    nursery->resting_count -= count;
    memmove(nursery->resting, nursery->resting + count,
            nursery->resting_count * sizeof *nursery->resting);
}

static void on_rested(void *context)
{
    struct nursery *nursery = context;
    const int64_t now = mlq_clock_boot_ns();
    unsigned count = 0;
    while (count < nursery->resting_count && now - nursery->resting[count].since_ns >= REST_NS) {
        count++;
    }
    let_go(nursery, count);
    if (nursery->resting_count > 0) {
        loop_timer_set(nursery->timer, nursery->resting[0].since_ns + REST_NS - now, 0);
    }
}

void nursery_rest(struct nursery *nursery, int line)
{
    if (nursery->resting_count == NURSERY_RESTING_MAX) {
        let_go(nursery, 1);
    }
    nursery->resting[nursery->resting_count++] =
        (struct resting){.line = line, .since_ns = mlq_clock_boot_ns()};
    if (!loop_timer_is_set(nursery->timer)) {
        loop_timer_set(nursery->timer, REST_NS, 0);
    }
}

/* ---- The process that makes them ---- */

struct nursery *nursery_create(const struct nursery_options *options)
{
    struct nursery *nursery = mlq_alloc(sizeof *nursery);
    nursery->program = mlq_strdup(options->program);
    nursery->log = mlq_strdup(options->log);
    nursery->attempts = mlq_strdup(options->attempts);
    nursery->timer = loop_timer_create(options->loop, on_rested, nursery);
    nursery->fd = -1;
    return nursery;
}

/* Its shims are not its own: they go on. */
static void give_up(struct nursery *nursery)
{
    if (nursery->fd >= 0) {
        close(nursery->fd);
    }
    if (nursery->pid > 0) {
        (void)kill(nursery->pid, SIGKILL);
        (void)waitpid(nursery->pid, NULL, 0);
    }
    nursery->fd = -1;
    nursery->pid = 0;
}

static int run(struct nursery *nursery, int fd, struct mlq_err *err)
{
    char room[NAME_BYTES + 1]; /* blanks: with its other arguments, what a shim's title will need */
    const char *argv[] = {"mlq-shim", SHIMFORK_FLAG, nursery->attempts, room, NULL};
    const char *env[] = {"PATH=/usr/bin:/bin", NULL}; /* a task's environment is in its file */
    posix_spawn_file_actions_t actions;
    memset(room, ' ', NAME_BYTES);
    room[NAME_BYTES] = '\0';
    int rc = posix_spawn_file_actions_init(&actions);
    if (rc == 0) {
        (void)posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        (void)posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
        (void)posix_spawn_file_actions_addopen(&actions, 2, nursery->log,
                                               O_WRONLY | O_CREAT | O_APPEND, 0600);
        (void)posix_spawn_file_actions_adddup2(&actions, fd, SHIMFORK_FD);
        rc = posix_spawn(&nursery->pid, nursery->program, &actions, NULL, (char **)(uintptr_t)argv,
                         (char **)(uintptr_t)env);
        (void)posix_spawn_file_actions_destroy(&actions);
    }
    if (rc != 0) {
        nursery->pid = 0;
        return mlq_fail(err, MLQ_EIO, "start %s: %s", nursery->program, strerror(rc));
    }
    return MLQ_OK;
}

static int start(struct nursery *nursery, struct mlq_err *err)
{
    const struct timeval patience = {.tv_sec = PATIENCE_SEC};
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        return mlq_fail(err, MLQ_EIO, "socketpair: %s", strerror(errno));
    }
    (void)setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    /* dup2 onto the same number would leave it closed on exec. */
    int theirs = fcntl(pair[1], F_DUPFD_CLOEXEC, SHIMFORK_FD + 1);
    int rc = theirs >= 0 ? run(nursery, theirs, err)
                         : mlq_fail(err, MLQ_EIO, "dup: %s", strerror(errno));
    close(pair[1]);
    if (theirs >= 0) {
        close(theirs);
    }
    if (rc != MLQ_OK) {
        close(pair[0]);
        return rc;
    }
    nursery->fd = pair[0];
    log_info("nursery.started", "pid=%d", (int)nursery->pid);
    return MLQ_OK;
}

static bool send_client(struct nursery *nursery, int fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    char byte = 0;
    struct iovec text = {.iov_base = &byte, .iov_len = sizeof byte};
    struct msghdr message = {.msg_iov = &text,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(head), &fd, sizeof fd);
    return sendmsg(nursery->fd, &message, MSG_NOSIGNAL) == (ssize_t)text.iov_len;
}

static int make_shim(struct nursery *nursery, int fd, struct mlq_err *err)
{
    for (int i = 0; i < TRIES; i++) {
        int rc = nursery->fd >= 0 ? MLQ_OK : start(nursery, err);
        if (rc != MLQ_OK || send_client(nursery, fd)) {
            return rc;
        }
        log_warn("nursery.lost", "pid=%d error=\"%s\"", (int)nursery->pid, strerror(errno));
        give_up(nursery);
    }
    return mlq_fail(err, MLQ_EIO, "%s takes no orders: see %s", nursery->program, nursery->log);
}

/* ---- Tasks ---- */

static bool order(int line, const char *name, int64_t lease_deadline_ns)
{
    char text[96];
    int len = snprintf(text, sizeof text, "run %s %lld\n", name, (long long)lease_deadline_ns);
    MLQ_ASSERT(len > 0 && (size_t)len < sizeof text);
    return send(line, text, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT) == len;
}

int nursery_run(struct nursery *nursery, const char *name, int64_t lease_deadline_ns, int *line,
                struct mlq_err *err)
{
    while (nursery->resting_count >
           0) { /* who rested last is warm; one that was killed takes no order */
        *line = nursery->resting[--nursery->resting_count].line;
        if (order(*line, name, lease_deadline_ns)) {
            return MLQ_OK;
        }
        close(*line);
    }
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
        return mlq_fail(err, MLQ_EIO, "socketpair: %s", strerror(errno));
    }
    int rc = order(pair[0], name, lease_deadline_ns)
                 ? make_shim(nursery, pair[1], err)
                 : mlq_fail(err, MLQ_EIO, "order a shim: %s", strerror(errno));
    close(pair[1]);
    if (rc != MLQ_OK) {
        close(pair[0]);
        pair[0] = -1;
    }
    *line = pair[0];
    return rc;
}

void nursery_destroy(struct nursery **nursery)
{
    struct nursery *closing = *nursery;
    *nursery = NULL;
    if (closing == NULL) {
        return;
    }
    let_go(closing, closing->resting_count);
    loop_timer_close(&closing->timer);
    if (closing->fd >= 0) {
        close(closing->fd);
    }
    mlq_free(closing->program);
    mlq_free(closing->log);
    mlq_free(closing->attempts);
    mlq_free(closing);
}
