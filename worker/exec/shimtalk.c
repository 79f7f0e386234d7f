/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The shim's clients: its worker, and one that was restarted. The words are in shim.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/ownership.h"
#include "lib/base/str.h"
#include "lib/sys/clock.h"
#include "lib/sys/log.h"
#include "worker/exec/shim_state.h"

#define LISTEN_RETRY_NS (1 * MLQ_NS_PER_S)

static void drop_client(struct shim *shim, struct shim_client *client)
{
    close(client->fd);
    client->fd = -1;
    client->used = 0;
    shim->has_worker = shim->has_worker && client != &shim->clients[0];
    if (shim->listen_fd < 0) {
        shim->task.listen_deadline_ns = 0;
    }
}

void shimtalk_say(const struct shim_client *client, const char *text)
{
    (void)send(client->fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void say_status(struct shim *shim, struct shim_client *client)
{
    char text[64];
    const char *word = !shim->task.child.is_started                 ? "waiting"
                       : shim->task.stop_cause == WORKER_CAUSE_NONE ? "running"
                                                                    : "stopping";
    (void)snprintf(text, sizeof text, "%s %d\n", word, (int)shim->task.child.pid);
    shimtalk_say(client, text);
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

/* The next task, or what was meant for the last one, whose end crossed it. */
static bool obey_at_rest(struct shim *shim, struct mlq_str verb, struct mlq_str name,
                         struct mlq_str lease)
{
    static const char *const late[] = {"lease", "stop", "kill", "usr1", "status"};
    for (size_t i = 0; i < MLQ_COUNT_OF(late); i++) {
        if (mlq_str_eq_c(verb, late[i])) {
            return true;
        }
    }
    shim->has_order = mlq_str_eq_c(verb, "run") && name.len > 0 && name.len < sizeof shim->order &&
                      mlq_str_i64(lease, &shim->order_lease_ns);
    if (shim->has_order) {
        (void)snprintf(shim->order, sizeof shim->order, "%.*s", MLQ_STR_ARG(name));
    }
    return shim->has_order;
}

static bool obey(struct shim *shim, struct shim_client *client, struct mlq_str line)
{
    struct mlq_str verb;
    struct mlq_str rest;
    struct mlq_str first;
    struct mlq_str second;
    int64_t number;
    enum worker_cause cause;
    (void)mlq_str_cut(line, ' ', &verb, &rest);
    (void)mlq_str_cut(rest, ' ', &first, &second);
    if (shim->is_resting) {
        return obey_at_rest(shim, verb, first, second);
    }
    if (mlq_str_eq_c(verb, "lease") && mlq_str_i64(first, &number)) {
        shim_renew(shim, number);
        return true;
    }
    if (mlq_str_eq_c(verb, "stop") && mlq_str_i64(first, &number) && take_cause(second, &cause)) {
        shim_stop(shim, cause, number);
        return true;
    }
    if (mlq_str_eq_c(verb, "kill") && take_cause(first, &cause)) {
        shim_stop(shim, cause, 0);
        return true;
    }
    if (mlq_str_eq_c(verb, "usr1")) {
        shim_checkpoint(shim);
        return true;
    }
    if (mlq_str_eq_c(verb, "status")) {
        say_status(shim, client);
        return true;
    }
    return false;
}

void shimtalk_take_lines(struct shim *shim, struct shim_client *client)
{
    struct mlq_str rest = {.ptr = client->line, .len = client->used};
    struct mlq_str line;
    struct mlq_str tail;
    while (!shim->has_order && mlq_str_cut(rest, '\n', &line, &tail)) {
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

void shimtalk_serve(struct shim *shim, struct shim_client *client)
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
    shimtalk_take_lines(shim, client);
}

void shimtalk_accept(struct shim *shim)
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
    for (int i = 0; i < SHIM_CLIENTS_MAX; i++) {
        if (shim->clients[i].fd < 0) {
            shim->clients[i] = (struct shim_client){.fd = fd};
            if (shim->task.child.is_started) {
                say_status(shim, &shim->clients[i]);
            }
            return;
        }
    }
    close(fd);
}

/* ---- Who looks for it ---- */

static int listen_here(int *fd, struct mlq_err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = SHIMFILE_SOCKET};
    (void)unlink(SHIMFILE_SOCKET);
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd >= 0 && bind(*fd, (const struct sockaddr *)&address, sizeof address) == 0 &&
        listen(*fd, SHIM_CLIENTS_MAX) == 0) {
        return MLQ_OK;
    }
    int rc = mlq_fail(err, MLQ_EIO, "listen on %s: %s", SHIMFILE_SOCKET, strerror(errno));
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
    return rc;
}

void shimtalk_listen(struct shim *shim, int64_t now_ns)
{
    struct mlq_err err = MLQ_ERR_INIT;
    shim->task.listen_deadline_ns = SHIM_NEVER;
    if (listen_here(&shim->listen_fd, &err) != MLQ_OK) {
        log_warn("shim.unreachable", "error=\"%s\"", err.text);
        shim->task.listen_deadline_ns = now_ns + LISTEN_RETRY_NS;
    }
}

/* ---- All of them ---- */

void shimtalk_begin(struct shim *shim)
{
    for (int i = 0; i < SHIM_CLIENTS_MAX; i++) {
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

bool shimtalk_has_client(const struct shim *shim)
{
    for (int i = 0; i < SHIM_CLIENTS_MAX; i++) {
        if (shim->clients[i].fd >= 0) {
            return true;
        }
    }
    return false;
}

void shimtalk_say_all(const struct shim *shim, const char *text)
{
    for (int i = 0; i < SHIM_CLIENTS_MAX; i++) {
        if (shim->clients[i].fd >= 0) {
            shimtalk_say(&shim->clients[i], text);
        }
    }
}
