/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/exec/control.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "lib/base/ownership.h"
#include "lib/sys/mem.h"
#include "lib/task/task.h"
#include "worker/exec/unixsock.h"

#define BACKLOG               16
#define METRIC_NAME_BYTES_MAX 128
#define NUMBER_BYTES_MAX      64
#define UNREAD_BYTES_MAX      (64u << 10) /* of replies that a client does not read */

struct client {
    struct control *control;
    uv_pipe_t pipe;
    bool is_open;
    bool is_reading;
    uint64_t request; /* the record request that it waits for; 0: none */
    bool waits_for_members;
    uint64_t members_after; /* of a newer generation than this */
    size_t used;
    char line[TASK_LINE_BYTES_MAX];
};

struct control {
    struct control_callbacks callbacks;
    char *path;
    uv_pipe_t listener;
    struct client *clients[CONTROL_CLIENTS_MAX];
    unsigned handles; /* open or closing: this is freed after the last */
    uint64_t requests;
    uint64_t members_generation; /* 0: none was told yet */
    char *members;               /* owned */
    size_t members_len;
    uint64_t inode;
    bool is_resting;
    bool is_closing;
};

struct reply {
    uv_write_t write;
    char *text; /* owned */
};

/* ---- Lifetimes ---- */

static void release(struct control *control)
{
    control->handles--;
    if (control->is_closing && control->handles == 0) {
        mlq_free(control->members);
        mlq_free(control->path);
        mlq_free(control);
    }
}

static void client_closed(uv_handle_t *handle)
{
    struct client *client = handle->data;
    struct control *control = client->control;
    mlq_free(client);
    release(control);
}

static void hang_up(struct client *client)
{
    if (!client->is_open) {
        return;
    }
    client->is_open = false;
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        if (client->control->clients[i] == client) {
            client->control->clients[i] = NULL;
        }
    }
    uv_close((uv_handle_t *)&client->pipe, client_closed);
}

static void listener_closed(uv_handle_t *handle)
{
    release(handle->data);
}

/* ---- Replies ---- */

static void written(uv_write_t *write, int status)
{
    struct reply *reply = write->data;
    (void)status; /* a client that is gone shows when it is read */
    mlq_free(reply->text);
    mlq_free(reply);
}

static void send_text(struct client *client, MLQ_TAKES char *text, size_t len)
{
    bool reads = uv_stream_get_write_queue_size((uv_stream_t *)&client->pipe) < UNREAD_BYTES_MAX;
    if (!client->is_open || !reads) {
        mlq_free(text);
        hang_up(client);
        return;
    }
    struct reply *reply = mlq_alloc(sizeof *reply);
    reply->text = text;
    reply->write.data = reply;
    uv_buf_t buffer = uv_buf_init(text, (unsigned)len);
    if (uv_write(&reply->write, (uv_stream_t *)&client->pipe, &buffer, 1, written) != 0) {
        written(&reply->write, 0);
        hang_up(client);
    }
}

static void say(struct client *client, int rc, const struct mlq_err *err)
{
    char *text;
    if (rc != MLQ_OK) {
        text = mlq_format("error %s\n", err->text[0] != '\0' ? err->text : mlq_code_text(rc));
        for (char *at = text; at[1] != '\0'; at++) {
            *at = *at == '\n' ? ' ' : *at;
        }
    } else {
        const struct control *control = client->control;
        bool stop = control->callbacks.must_stop(control->callbacks.context);
        text = mlq_strdup(stop ? "ok stop\n" : "ok go\n");
    }
    send_text(client, text, strlen(text));
}

/* ---- Requests ---- */

/* Decimal, or nan, inf, -inf; all of the slice. */
static bool parse_number(struct mlq_str text, double *value)
{
    char copy[NUMBER_BYTES_MAX];
    char *end = NULL;
    if (text.len == 0 || text.len >= sizeof copy || memchr(text.ptr, '\0', text.len) != NULL ||
        text.ptr[0] == ' ') {
        return false;
    }
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    *value = strtod(copy, &end);
    return end == copy + text.len;
}

static bool is_metric_name(struct mlq_str name)
{
    static const char legal[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:/@-";
    for (size_t i = 0; i < name.len; i++) {
        if (memchr(legal, name.ptr[i], sizeof legal - 1) == NULL) {
            return false;
        }
    }
    return name.len > 0 && name.len <= METRIC_NAME_BYTES_MAX;
}

static int take_metric(const struct control_callbacks *to, struct mlq_str rest, struct mlq_err *err)
{
    struct mlq_str name;
    struct mlq_str number;
    struct mlq_str step_text;
    double value;
    int64_t step = TASK_NO_STEP;
    (void)mlq_str_cut(rest, ' ', &name, &rest);
    bool has_step = mlq_str_cut(rest, ' ', &number, &step_text);
    if (!is_metric_name(name)) {
        return mlq_fail(err, MLQ_EINVAL, "metric name: expected 1 to %d of A-Z a-z 0-9 _ . : / @ -",
                        METRIC_NAME_BYTES_MAX);
    }
    if (!parse_number(number, &value) || (has_step && !mlq_str_i64(step_text, &step))) {
        return mlq_fail(err, MLQ_EINVAL, "expected: metric NAME VALUE [STEP]");
    }
    return to->metric(to->context, name, value, step, err);
}

static int take_progress(const struct control_callbacks *to, struct mlq_str rest,
                         struct mlq_err *err)
{
    struct mlq_str number;
    struct mlq_str text;
    double fraction;
    (void)mlq_str_cut(rest, ' ', &number, &text);
    if (!parse_number(number, &fraction) || !(fraction >= 0.0 && fraction <= 1.0)) {
        return mlq_fail(err, MLQ_EINVAL, "expected: progress FRACTION [TEXT], 0 to 1");
    }
    if (!mlq_str_is_utf8(text)) {
        return mlq_fail(err, MLQ_EINVAL, "progress: the text is not UTF-8");
    }
    return to->progress(to->context, fraction, text, err);
}

static void take_record(struct client *client)
{
    struct control *control = client->control;
    struct mlq_err err = MLQ_ERR_INIT;
    client->request = ++control->requests;
    int rc = control->callbacks.record(control->callbacks.context, client->request, &err);
    if (rc != MLQ_OK) {
        client->request = 0;
        say(client, rc, &err);
    }
}

/* 16 hexadecimal digits, not all 0. */
static bool parse_fingerprint(struct mlq_str text, uint64_t *value)
{
    static const char digits[] = "0123456789abcdef";
    *value = 0;
    for (size_t i = 0; i < text.len && text.len == 16; i++) {
        const char *digit = text.ptr[i] == '\0' ? NULL : strchr(digits, text.ptr[i]);
        if (digit == NULL) {
            return false;
        }
        *value = *value << 4 | (uint64_t)(digit - digits);
    }
    return text.len == 16 && *value != 0;
}

static int take_ready(const struct control_callbacks *to, struct mlq_str rest, struct mlq_err *err)
{
    struct mlq_str port_text;
    struct mlq_str fingerprint_text;
    struct mlq_str generation_text;
    uint64_t port = 0;
    uint64_t fingerprint = 0;
    uint64_t generation = 0;
    (void)mlq_str_cut(rest, ' ', &port_text, &rest);
    bool has_generation = mlq_str_cut(rest, ' ', &fingerprint_text, &generation_text);
    if (!mlq_str_u64(port_text, &port) || port == 0 || port > UINT16_MAX ||
        !parse_fingerprint(fingerprint_text, &fingerprint) ||
        (has_generation && !mlq_str_u64(generation_text, &generation))) {
        return mlq_fail(err, MLQ_EINVAL,
                        "expected: ready PORT FINGERPRINT [GENERATION], the fingerprint as 16 "
                        "hexadecimal digits");
    }
    return to->ready(to->context, (uint16_t)port, fingerprint, generation, err);
}

static void send_data(struct client *client, const char *data, size_t len)
{
    char *text = mlq_alloc(len + 32);
    int head = snprintf(text, 32, "data %zu\n", len);
    memcpy(text + head, data, len);
    send_text(client, text, (size_t)head + len);
}

static void take_members(struct client *client, struct mlq_str rest)
{
    const struct control *control = client->control;
    struct mlq_err err = MLQ_ERR_INIT;
    if (!mlq_str_u64(rest, &client->members_after)) {
        say(client, mlq_fail(&err, MLQ_EINVAL, "expected: members GENERATION"), &err);
    } else if (control->members_generation > client->members_after) {
        send_data(client, control->members, control->members_len);
    } else {
        client->waits_for_members = true;
    }
}

static void obey(struct client *client, struct mlq_str line)
{
    const struct control_callbacks *to = &client->control->callbacks;
    struct mlq_err err = MLQ_ERR_INIT;
    struct mlq_str verb;
    struct mlq_str rest;
    int rc = MLQ_OK;
    (void)mlq_str_cut(line, ' ', &verb, &rest);
    if (mlq_str_eq_c(verb, "metric")) {
        rc = take_metric(to, rest, &err);
    } else if (mlq_str_eq_c(verb, "progress")) {
        rc = take_progress(to, rest, &err);
    } else if (mlq_str_eq_c(verb, "checkpoint")) {
        rc = to->checkpoint(to->context, rest, &err);
    } else if (mlq_str_eq_c(verb, "record")) {
        take_record(client);
        return;
    } else if (mlq_str_eq_c(verb, "ready")) {
        rc = take_ready(to, rest, &err);
    } else if (mlq_str_eq_c(verb, "members")) {
        take_members(client, rest);
        return;
    } else if (!mlq_str_eq_c(verb, "status")) {
        rc = mlq_fail(&err, MLQ_EINVAL,
                      "unknown request: expected metric, progress, checkpoint, status, record, ready "
                      "or members");
    }
    say(client, rc, &err);
}

static bool is_waiting(const struct client *client)
{
    return client->request != 0 || client->waits_for_members;
}

/* Whole lines, one at a time: after `record` and `members` the rest waits for the answer. */
static void take_lines(struct client *client)
{
    struct mlq_str rest = {.ptr = client->line, .len = client->used};
    struct mlq_str line;
    struct mlq_str tail;
    while (client->is_open && !is_waiting(client) && mlq_str_cut(rest, '\n', &line, &tail)) {
        rest = tail;
        obey(client, line);
    }
    if (!client->is_open) {
        return;
    }
    if (rest.len == sizeof client->line && !is_waiting(client)) {
        struct mlq_err err = MLQ_ERR_INIT;
        (void)mlq_fail(&err, MLQ_EFULL, "a line is at most %d bytes long", TASK_LINE_BYTES_MAX);
        say(client, MLQ_EFULL, &err);
        hang_up(client);
        return;
    }
    memmove(client->line, rest.ptr, rest.len);
    client->used = rest.len;
}

static void give_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    struct client *client = handle->data;
    (void)suggested;
    *buffer =
        uv_buf_init(client->line + client->used, (unsigned)(sizeof client->line - client->used));
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buffer)
{
    struct client *client = stream->data;
    (void)buffer;
    if (got == UV_ENOBUFS) { /* full of what waits for an answer: read on later */
        (void)uv_read_stop(stream);
        client->is_reading = false;
        return;
    }
    if (got < 0) {
        hang_up(client);
        return;
    }
    client->used += (size_t)got;
    take_lines(client);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct control *control = listener->data;
    int slot = 0;
    if (status != 0) {
        return;
    }
    struct client *client = mlq_alloc(sizeof *client);
    client->control = control;
    client->is_open = true;
    (void)uv_pipe_init(listener->loop, &client->pipe, 0);
    client->pipe.data = client;
    control->handles++;
    while (slot < CONTROL_CLIENTS_MAX && control->clients[slot] != NULL) {
        slot++;
    }
    if (uv_accept(listener, (uv_stream_t *)&client->pipe) != 0 || slot == CONTROL_CLIENTS_MAX ||
        control->is_resting ||
        uv_read_start((uv_stream_t *)&client->pipe, give_buffer, on_read) != 0) {
        hang_up(client);
        return;
    }
    client->is_reading = true;
    control->clients[slot] = client;
}

/* It was answered: what it said meanwhile is taken up. */
static void resume(struct client *client)
{
    if (client->is_open && !client->is_reading) {
        client->is_reading = uv_read_start((uv_stream_t *)&client->pipe, give_buffer, on_read) == 0;
    }
    take_lines(client);
}

void control_set_members(struct control *control, uint64_t generation, struct mlq_str text)
{
    if (generation <= control->members_generation) {
        return;
    }
    mlq_free(control->members);
    control->members = mlq_strndup(text);
    control->members_len = text.len;
    control->members_generation = generation;
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        struct client *client = control->clients[i];
        if (client != NULL && client->waits_for_members && generation > client->members_after) {
            client->waits_for_members = false;
            send_data(client, control->members, control->members_len);
            resume(client);
        }
    }
}

static struct client *find_waiting(const struct control *control, uint64_t request)
{
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        struct client *client = control->clients[i];
        if (client != NULL && client->request == request && request != 0) {
            return client;
        }
    }
    return NULL;
}

bool control_waits(const struct control *control, uint64_t request)
{
    return find_waiting(control, request) != NULL;
}

bool control_answer(struct control *control, uint64_t request, int code, struct mlq_str json)
{
    struct client *client = find_waiting(control, request);
    struct mlq_err err = MLQ_ERR_INIT;
    if (client == NULL) {
        return false;
    }
    client->request = 0;
    if (code != MLQ_OK || json.len > TASK_RECORD_BYTES_MAX) {
        (void)mlq_fail(&err, MLQ_ENOENT, "the record is not to be had: %s",
                       mlq_code_text(code != MLQ_OK ? code : MLQ_EFULL));
        say(client, MLQ_ENOENT, &err);
    } else {
        send_data(client, json.ptr, json.len);
    }
    resume(client);
    return true;
}

static uint64_t inode_at(const char *path)
{
    struct stat status;
    return lstat(path, &status) == 0 && S_ISSOCK(status.st_mode) ? (uint64_t)status.st_ino : 0;
}

int control_create(struct uv_loop_s *loop, const char *path,
                   const struct control_callbacks *callbacks, struct control **control,
                   struct mlq_err *err)
{
    int fd;
    int rc = unixsock_listen(path, BACKLOG, &fd, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    struct control *made = mlq_alloc(sizeof *made);
    made->callbacks = *callbacks;
    made->path = mlq_strdup(path);
    made->inode = inode_at(path);
    made->handles = 1;
    (void)uv_pipe_init(loop, &made->listener, 0);
    made->listener.data = made;
    rc = uv_pipe_open(&made->listener, fd);
    rc = rc == 0 ? uv_listen((uv_stream_t *)&made->listener, BACKLOG, on_connection) : rc;
    *control = made;
    if (rc != 0) {
        rc = mlq_fail(err, MLQ_EIO, "listen on %s: %s", path, uv_strerror(rc));
        control_close(control);
    }
    return rc;
}

static void hang_up_on_all(struct control *control)
{
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        if (control->clients[i] != NULL) {
            hang_up(control->clients[i]);
        }
    }
}

void control_rest(struct control *control)
{
    control->is_resting = true;
    hang_up_on_all(control);
    mlq_free(control->members);
    control->members = NULL;
    control->members_len = 0;
    control->members_generation = 0;
}

/* Those whom the loop has not come to. */
static void refuse_early(const struct control *control)
{
    uv_os_fd_t listener = -1;
    int fd;
    (void)uv_fileno((const uv_handle_t *)&control->listener, &listener);
    while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        close(fd);
    }
}

bool control_wake(struct control *control, const char *path,
                  const struct control_callbacks *callbacks)
{
    if (control->inode == 0 || inode_at(path) != control->inode) {
        return false;
    }
    refuse_early(control);
    control->callbacks = *callbacks;
    mlq_free(control->path);
    control->path = mlq_strdup(path);
    control->is_resting = false;
    return true;
}

uint64_t control_inode(const struct control *control)
{
    return control->inode;
}

void control_close(struct control **control)
{
    struct control *closing = *control;
    *control = NULL;
    if (closing == NULL) {
        return;
    }
    closing->is_closing = true;
    (void)unlink(closing->path);
    hang_up_on_all(closing);
    uv_close((uv_handle_t *)&closing->listener, listener_closed);
}
