/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/exec/shimfork.h"

#include <errno.h>
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

/* False: the worker is gone. *client: -1 if none came. */
static bool take_client(int *client)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    char byte;
    struct iovec text = {.iov_base = &byte, .iov_len = sizeof byte};
    struct msghdr message = {.msg_iov = &text,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    ssize_t got;
    do {
        got = recvmsg(SHIMFORK_FD, &message, MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    *client = -1;
    const struct cmsghdr *head = got <= 0 ? NULL : CMSG_FIRSTHDR(&message);
    if (head != NULL && head->cmsg_type == SCM_RIGHTS && head->cmsg_len == CMSG_LEN(sizeof(int))) {
        memcpy(client, CMSG_DATA(head), sizeof *client);
    }
    return got > 0;
}

static int become(const struct shim_title *title, int client)
{
    (void)signal(SIGCHLD, SIG_DFL);
    if (dup2(client, SHIMFILE_FIRST_CLIENT_FD) < 0) { /* in place of the worker's line */
        return 1;
    }
    return shim_serve(title);
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

/* Without the folder, which is for shims: who looks for them by it does not want it. */
static void set_title(const struct shim_title *title)
{
    static const char words[] = "mlq-shim\0" SHIMFORK_FLAG;
    memset(title->text, 0, title->room);
    if (title->room >= sizeof words) {
        memcpy(title->text, words, sizeof words);
    }
}

int shimfork_serve(const struct shim_title *title)
{
    int client;
    set_title(title);
    (void)setsid();                 /* a Ctrl-C at the worker's terminal is not for it */
    (void)signal(SIGCHLD, SIG_IGN); /* nobody waits for a shim: its file says how it ended */
    reset_hidden_signals();
    (void)close_range(SHIMFORK_FD + 1, ~0U, 0);
    if (chdir(title->attempts) != 0) {
        log_error("nursery.folder", "dir=\"%s\" error=\"%s\"", title->attempts, strerror(errno));
        return 1;
    }
    while (take_client(&client)) {
        if (client < 0) {
            continue;
        }
        pid_t pid = fork();
        if (pid == 0) {
            return become(title, client);
        }
        if (pid < 0) { /* its client sees it hang up, and nobody started */
            log_error("nursery.fork", "error=\"%s\"", strerror(errno));
        }
        close(client);
    }
    return 0;
}
