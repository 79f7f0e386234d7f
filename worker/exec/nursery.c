/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/exec/nursery.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "worker/exec/shimfork.h"

#define TRIES        2  /* it may be gone without our knowing; a new one is not */
#define NAME_BYTES   40 /* of a member's folder: "/ATTEMPT-RANK" */
#define PATIENCE_SEC 2  /* for one that does not take orders: stopped, or starved */

struct nursery {
    char *program;
    char *log;
    char *room; /* blanks: what a shim's title will need */
    pid_t pid;  /* 0: none */
    int fd;     /* -1: none */
};

struct nursery *nursery_create(const struct nursery_options *options)
{
    struct nursery *nursery = mlq_alloc(sizeof *nursery);
    size_t room = strlen(options->attempts) + NAME_BYTES;
    nursery->program = mlq_strdup(options->program);
    nursery->log = mlq_strdup(options->log);
    nursery->room = mlq_alloc(room + 1);
    memset(nursery->room, ' ', room);
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
    const char *argv[] = {"mlq-shim", SHIMFORK_FLAG, nursery->room, NULL};
    const char *env[] = {"PATH=/usr/bin:/bin", NULL}; /* a task's environment is in its file */
    posix_spawn_file_actions_t actions;
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

static bool send_order(struct nursery *nursery, const char *dir, int fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    struct iovec text = {.iov_base = (char *)(uintptr_t)dir, .iov_len = strlen(dir)};
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

int nursery_spawn(struct nursery *nursery, const char *dir, int fd, struct mlq_err *err)
{
    for (int i = 0; i < TRIES; i++) {
        int rc = nursery->fd >= 0 ? MLQ_OK : start(nursery, err);
        if (rc != MLQ_OK || send_order(nursery, dir, fd)) {
            return rc;
        }
        log_warn("nursery.lost", "pid=%d error=\"%s\"", (int)nursery->pid, strerror(errno));
        give_up(nursery);
    }
    return mlq_fail(err, MLQ_EIO, "%s takes no orders: see %s", nursery->program, nursery->log);
}

void nursery_destroy(struct nursery **nursery)
{
    struct nursery *closing = *nursery;
    *nursery = NULL;
    if (closing == NULL) {
        return;
    }
    if (closing->fd >= 0) {
        close(closing->fd);
    }
    mlq_free(closing->program);
    mlq_free(closing->log);
    mlq_free(closing->room);
    mlq_free(closing);
}
