/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/exec/shimfork.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/sys/log.h"
#include "worker/exec/shim.h"
#include "worker/exec/shimfile.h"

struct order {
    char dir[PATH_MAX];
    int fd; /* of the shim's first client; -1: none came with it */
};

/* False: the worker is gone. */
static bool take_order(struct order *order)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    struct iovec text = {.iov_base = order->dir, .iov_len = sizeof order->dir - 1};
    struct msghdr message = {.msg_iov = &text,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    ssize_t got;
    do {
        got = recvmsg(SHIMFORK_FD, &message, MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    if (got <= 0) {
        return false;
    }
    order->dir[got] = '\0';
    order->fd = -1;
    const struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    if (head != NULL && head->cmsg_type == SCM_RIGHTS && head->cmsg_len == CMSG_LEN(sizeof(int))) {
        memcpy(&order->fd, CMSG_DATA(head), sizeof order->fd);
    }
    return true;
}

/* As ps and pgrep know a shim. In place: the kernel shows what lies where the arguments were. */
static void set_title(const struct shimfork_title *title, const char *dir)
{
    static const char name[] = "mlq-shim";
    size_t len = strlen(dir) + 1;
    memset(title->text, 0, title->room);
    if (sizeof name + len <= title->room) {
        memcpy(title->text, name, sizeof name);
        memcpy(title->text + sizeof name, dir, len);
    }
}

static int become(const struct shimfork_title *title, const struct order *order)
{
    (void)signal(SIGCHLD, SIG_DFL);
    if (dup2(order->fd, SHIMFILE_FIRST_CLIENT_FD) < 0) { /* in place of the worker's line */
        return 1;
    }
    set_title(title, order->dir);
    return shim_run(order->dir);
}

/* Two that posix_spawn() leaves ignored, tasks and all, and that signal() does not know: those which
 * threads of the C library send each other. */
static void reset_hidden_signals(void)
{
    const unsigned long standard[8] = {0}; /* the kernel's struct sigaction: SIG_DFL, no flags */
    for (int number = 32; number < SIGRTMIN; number++) {
        (void)syscall(SYS_rt_sigaction, number, standard, NULL, sizeof(uint64_t));
    }
}

int shimfork_serve(const struct shimfork_title *title)
{
    struct order order;
    (void)setsid();                 /* a Ctrl-C at the worker's terminal is not for it */
    (void)signal(SIGCHLD, SIG_IGN); /* nobody waits for a shim: its file says how it ended */
    reset_hidden_signals();
    (void)close_range(SHIMFORK_FD + 1, ~0U, 0);
    while (take_order(&order)) {
        if (order.fd < 0) {
            continue;
        }
        pid_t pid = fork();
        if (pid == 0) {
            return become(title, &order);
        }
        if (pid < 0) { /* its client sees it hang up, and nobody started */
            log_error("nursery.fork", "dir=\"%s\" error=\"%s\"", order.dir, strerror(errno));
        }
        close(order.fd);
    }
    return 0;
}
