/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * One request line, one reply line, with a bound on each wait. The connection is made when it is
 * needed and made again when it broke, because a worker may be restarted under a running task.
 */
#include "lib/task/task.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/str.h"
#include "lib/sys/clock.h"
#include "lib/sys/mem.h"

#define REPLY_WAIT_S       10 /* a worker that is busy longer counts as lost */
#define NAME_BYTES_MAX     128
#define ENV_NAME_BYTES_MAX 256
#define MEMBERS_BYTES_MAX  (TASK_MEMBERS_MAX * (TASK_ADDRESS_BYTES + 16) + 32)
#define AWAY_MS            100 /* how often a worker that is away is looked for */

struct task {
    char *path; /* of the socket; NULL: run by hand, reports go nowhere */
    int fd;     /* -1: not connected now */
    char line[TASK_LINE_BYTES_MAX];
};

int task_open(struct task **task, struct mlq_err *err)
{
    const char *path = getenv("MLQ_CONTROL");
    if (path != NULL && path[0] == '\0') {
        path = NULL;
    }
    if (path != NULL && path[0] != '/') {
        return mlq_fail(err, MLQ_EINVAL,
                        "MLQ_CONTROL is '%s': expected the absolute path of a socket", path);
    }
    *task = mlq_alloc(sizeof **task);
    (*task)->fd = -1;
    (*task)->path = mlq_strdup(path);
    return MLQ_OK;
}

static void disconnect(struct task *task)
{
    if (task->fd >= 0) {
        close(task->fd);
    }
    task->fd = -1;
}

void task_close(struct task **task)
{
    if (*task == NULL) {
        return;
    }
    disconnect(*task);
    mlq_free((*task)->path);
    mlq_free(*task);
    *task = NULL;
}

static void set_wait(int fd, int seconds)
{
    struct timeval wait = {.tv_sec = seconds};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
}

/* A socket's address holds 107 bytes. A longer path is reached through a descriptor of its folder.
 */
static bool fill_address(struct sockaddr_un *address, const char *path, int *folder_fd)
{
    address->sun_family = AF_UNIX;
    if (strlen(path) < sizeof address->sun_path) {
        memcpy(address->sun_path, path, strlen(path) + 1);
        return true;
    }
    const char *slash = strrchr(path, '/');
    char *folder = mlq_strndup((struct mlq_str){.ptr = path, .len = (size_t)(slash - path) + 1});
    *folder_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    mlq_free(folder);
    int used = snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s",
                        *folder_fd, slash + 1);
    return *folder_fd >= 0 && used > 0 && (size_t)used < sizeof address->sun_path;
}

static bool ensure_connected(struct task *task)
{
    if (task->fd >= 0) {
        return true;
    }
    int folder_fd = -1;
    struct sockaddr_un address = {0};
    if (fill_address(&address, task->path, &folder_fd)) {
        task->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    }
    if (task->fd >= 0) {
        set_wait(task->fd, REPLY_WAIT_S);
        if (connect(task->fd, (const struct sockaddr *)&address, sizeof address) != 0) {
            disconnect(task);
        }
    }
    if (folder_fd >= 0) {
        close(folder_fd);
    }
    return task->fd >= 0;
}

static bool send_line(struct task *task, const char *line, size_t len)
{
    while (len > 0) {
        ssize_t put = send(task->fd, line, len, MSG_NOSIGNAL);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) {
            return false;
        }
        line += put;
        len -= (size_t)put;
    }
    return true;
}

/* The reply line without its newline, terminated, in task->line; what follows it (the start of a
 * record) is moved behind it by the caller through `rest`. */
static bool receive_line(struct task *task, size_t *rest_at, size_t *rest_len)
{
    size_t used = 0;
    for (;;) {
        ssize_t got = recv(task->fd, task->line + used, sizeof task->line - used, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return false;
        }
        char *end = memchr(task->line + used, '\n', (size_t)got);
        used += (size_t)got;
        if (end != NULL) {
            *end = '\0';
            *rest_at = (size_t)(end - task->line) + 1;
            *rest_len = used - *rest_at;
            return true;
        }
        if (used == sizeof task->line) {
            return false;
        }
    }
}

/* True when a reply is in task->line. A connection that was kept from an earlier request may be
 * that of a worker which was restarted since: then the request is made once more on a new one. */
static bool exchange(struct task *task, const char *line, size_t len, size_t *rest_at,
                     size_t *rest_len)
{
    for (int round = 0; round < 2; round++) {
        bool was_kept = task->fd >= 0;
        if (!ensure_connected(task)) {
            return false;
        }
        if (send_line(task, line, len) && receive_line(task, rest_at, rest_len)) {
            return true;
        }
        disconnect(task);
        if (!was_kept) {
            return false;
        }
    }
    return false;
}

/* MLQ_ECONN: run by hand, or the worker is away. */
static int ask(struct task *task, const char *line, int len, bool *stop, struct mlq_err *err)
{
    if (stop != NULL) {
        *stop = false;
    }
    if (len < 0 || len >= TASK_LINE_BYTES_MAX) {
        return mlq_fail(err, MLQ_EFULL, "a report to the worker is limited to %d bytes",
                        TASK_LINE_BYTES_MAX);
    }
    size_t rest_at = 0;
    size_t rest_len = 0;
    if (task->path == NULL || !exchange(task, line, (size_t)len, &rest_at, &rest_len)) {
        return mlq_fail(err, MLQ_ECONN, "no worker answers (MLQ_CONTROL)");
    }
    if (strcmp(task->line, "ok go") == 0) {
        return MLQ_OK;
    }
    if (strcmp(task->line, "ok stop") == 0) {
        if (stop != NULL) {
            *stop = true;
        }
        return MLQ_OK;
    }
    if (strncmp(task->line, "error ", 6) == 0) {
        return mlq_fail(err, MLQ_EINVAL, "the worker refused the report: %.400s", task->line + 6);
    }
    disconnect(task);
    return mlq_fail(err, MLQ_EPROTO, "the worker's reply '%.80s' is not understood", task->line);
}

/* The same, where a report that nobody hears is dropped. */
static int request(struct task *task, const char *line, int len, bool *stop, struct mlq_err *err)
{
    struct mlq_err own = MLQ_ERR_INIT;
    int rc = ask(task, line, len, stop, &own);
    return rc == MLQ_OK || rc == MLQ_ECONN ? MLQ_OK : mlq_fail(err, rc, "%s", own.text);
}

static bool is_metric_name(const char *name)
{
    size_t len =
        strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:/@-");
    return len > 0 && len <= NAME_BYTES_MAX && name[len] == '\0';
}

int task_metric(struct task *task, const char *name, double value, int64_t step, bool *stop,
                struct mlq_err *err)
{
    if (!is_metric_name(name)) {
        return mlq_fail(err, MLQ_EINVAL,
                        "metric name '%.128s': expected 1 to %d of A-Z a-z 0-9 _ . : / @ -", name,
                        NAME_BYTES_MAX);
    }
    char number[40] = "nan"; /* printf would say "-nan" for some */
    if (!isnan(value)) {
        (void)snprintf(number, sizeof number, "%.17g", value);
    }
    char line[TASK_LINE_BYTES_MAX];
    int len = step == TASK_NO_STEP ? snprintf(line, sizeof line, "metric %s %s\n", name, number)
                                   : snprintf(line, sizeof line, "metric %s %s %lld\n", name,
                                              number, (long long)step);
    return request(task, line, len, stop, err);
}

int task_progress(struct task *task, double fraction, const char *text, bool *stop,
                  struct mlq_err *err)
{
    if (!(fraction >= 0.0 && fraction <= 1.0)) {
        return mlq_fail(err, MLQ_EINVAL, "progress %g: expected 0 to 1", fraction);
    }
    char line[512]; /* a longer text is cut: it is for one line of a table */
    int len = snprintf(line, sizeof line - 1, "progress %.6g%s%s", fraction,
                       text == NULL || text[0] == '\0' ? "" : " ", text == NULL ? "" : text);
    len = len < (int)sizeof line - 1 ? len : (int)sizeof line - 2;
    for (int i = 0; i < len; i++) {
        line[i] = (unsigned char)line[i] < 0x20 || line[i] == 0x7f ? ' ' : line[i];
    }
    line[len] = '\n';
    return request(task, line, len + 1, stop, err);
}

int task_checkpoint(struct task *task, const char *path, bool *stop, struct mlq_err *err)
{
    if (path[0] == '\0' || strpbrk(path, "\n\r") != NULL) {
        return mlq_fail(err, MLQ_EINVAL, "checkpoint: expected the path of a file or folder");
    }
    char line[TASK_LINE_BYTES_MAX];
    int len = snprintf(line, sizeof line, "checkpoint %s\n", path);
    return request(task, line, len, stop, err);
}

int task_status(struct task *task, bool *stop, struct mlq_err *err)
{
    return request(task, "status\n", 7, stop, err);
}

static bool receive_body(struct task *task, char *body, size_t len, size_t have)
{
    while (have < len) {
        ssize_t got = recv(task->fd, body + have, len - have, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return false;
        }
        have += (size_t)got;
    }
    return true;
}

/* The reply "data LENGTH" in task->line, and what follows it, as a terminated text of *len bytes. */
static int receive_data(struct task *task, size_t rest_at, size_t rest_len, size_t len_max, char **text,
                        size_t *len, struct mlq_err *err)
{
    uint64_t size = 0;
    if (strncmp(task->line, "data ", 5) != 0 || !mlq_str_u64(mlq_str_from(task->line + 5), &size) ||
        size > len_max || rest_len > size) {
        disconnect(task);
        return mlq_fail(err, MLQ_EPROTO, "the worker's reply '%.80s' is not understood",
                        task->line);
    }
    char *body = mlq_alloc((size_t)size + 1);
    memcpy(body, task->line + rest_at, rest_len);
    if (!receive_body(task, body, (size_t)size, rest_len)) {
        disconnect(task);
        mlq_free(body);
        return mlq_fail(err, MLQ_ECONN, "the worker broke off");
    }
    *text = body;
    *len = (size_t)size;
    return MLQ_OK;
}

/* One try: MLQ_ECONN when the worker is away, or goes. Its own wait ends before ours does. */
static int ask_record(struct task *task, char **json, size_t *len, struct mlq_err *err)
{
    size_t rest_at = 0;
    size_t rest_len = 0;
    if (ensure_connected(task)) {
        set_wait(task->fd, TASK_RECORD_WAIT_S + REPLY_WAIT_S);
    }
    if (task->fd < 0 || !send_line(task, "record\n", 7) ||
        !receive_line(task, &rest_at, &rest_len)) {
        disconnect(task);
        return mlq_fail(err, MLQ_ECONN, "no worker answers at %.200s", task->path);
    }
    int rc = strncmp(task->line, "error ", 6) == 0
                 ? mlq_fail(err, MLQ_ENOENT, "no record: %.400s", task->line + 6)
                 : receive_data(task, rest_at, rest_len, TASK_RECORD_BYTES_MAX, json, len, err);
    if (task->fd >= 0) {
        set_wait(task->fd, REPLY_WAIT_S);
    }
    return rc;
}

int task_record(struct task *task, char **json, size_t *len, struct mlq_err *err)
{
    struct mlq_err why = MLQ_ERR_INIT;
    int64_t until_ns = mlq_clock_boot_ns() + TASK_RECORD_WAIT_S * MLQ_NS_PER_S;
    if (task->path == NULL) {
        return mlq_fail(err, MLQ_ENOENT,
                        "no record: MLQ_CONTROL is not set, so no worker runs this task");
    }
    int rc = ask_record(task, json, len, &why);
    while (rc == MLQ_ECONN && mlq_clock_boot_ns() < until_ns) {
        (void)poll(NULL, 0, AWAY_MS);
        rc = ask_record(task, json, len, &why);
    }
    if (rc == MLQ_ECONN) {
        return mlq_fail(err, MLQ_ENOENT, "no record: %s", why.text);
    }
    return rc == MLQ_OK ? rc : mlq_fail(err, rc, "%s", why.text);
}

/* ---- Members ---- */

int task_ready(struct task *task, uint16_t port, uint64_t fingerprint, uint64_t generation, bool *stop,
               struct mlq_err *err)
{
    char line[96];
    int len = snprintf(line, sizeof line, "ready %u %016" PRIx64, port, fingerprint);
    if (generation != 0) {
        len += snprintf(line + len, sizeof line - (size_t)len, " %" PRIu64, generation);
    }
    line[len++] = '\n';
    return ask(task, line, len, stop, err);
}

static bool parse_member(struct mlq_str line, struct task_member *member)
{
    struct mlq_str number;
    struct mlq_str address;
    struct mlq_str port;
    uint64_t number_value = 0;
    uint64_t port_value = 0;
    if (!mlq_str_cut(line, ' ', &number, &line) || !mlq_str_cut(line, ' ', &address, &port) ||
        !mlq_str_u64(number, &number_value) || number_value > TASK_MEMBER_NUMBER_MAX ||
        !mlq_str_u64(port, &port_value) || port_value == 0 || port_value > UINT16_MAX ||
        address.len == 0 || address.len >= sizeof member->address) {
        return false;
    }
    *member = (struct task_member){.number = (uint32_t)number_value, .port = (uint16_t)port_value};
    memcpy(member->address, address.ptr, address.len);
    return true;
}

static int parse_members(struct mlq_str text, uint64_t after, struct task_members *members,
                         struct mlq_err *err)
{
    struct mlq_str line;
    (void)mlq_str_cut(text, '\n', &line, &text);
    *members = (struct task_members){.count = 0};
    bool sane = mlq_str_u64(line, &members->generation) && members->generation > after;
    while (sane && text.len > 0) {
        (void)mlq_str_cut(text, '\n', &line, &text);
        struct task_member *member = &members->list[members->count];
        sane = members->count < TASK_MEMBERS_MAX && parse_member(line, member) &&
               (members->count == 0 || member->number > member[-1].number);
        members->count += sane;
    }
    return sane ? MLQ_OK
                : mlq_fail(err, MLQ_EPROTO, "the worker's list of members is not understood, at '%.*s'",
                           line.len > 80 ? 80 : (int)line.len, line.ptr);
}

/* True when it may be tried; false: cancel_fd is readable. */
static bool wait_readable(int fd, int cancel_fd, int timeout_ms)
{
    struct pollfd waiting[] = {{.fd = cancel_fd, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    while (poll(waiting, 2, timeout_ms) < 0 && errno == EINTR) {
    }
    return waiting[0].revents == 0;
}

/* One try: MLQ_ECONN when the worker is away, or goes. */
static int ask_members(struct task *task, uint64_t after, int cancel_fd, struct task_members *members,
                       struct mlq_err *err)
{
    char line[40];
    char *text = NULL;
    size_t rest_at = 0;
    size_t rest_len = 0;
    int len = snprintf(line, sizeof line, "members %" PRIu64 "\n", after);
    bool asked = ensure_connected(task) && send_line(task, line, (size_t)len);
    if (asked && !wait_readable(task->fd, cancel_fd, -1)) {
        disconnect(task); /* the reply would be taken for another one */
        return mlq_fail(err, MLQ_ECANCELED, "members: cancelled");
    }
    if (!asked || !receive_line(task, &rest_at, &rest_len)) {
        disconnect(task);
        return mlq_fail(err, MLQ_ECONN, "members: no worker answers");
    }
    if (strncmp(task->line, "error ", 6) == 0) {
        return mlq_fail(err, MLQ_EINVAL, "members: %.400s", task->line + 6);
    }
    size_t size = 0;
    int rc = receive_data(task, rest_at, rest_len, MEMBERS_BYTES_MAX, &text, &size, err);
    if (rc == MLQ_OK) {
        rc = parse_members((struct mlq_str){.ptr = text, .len = size}, after, members, err);
    }
    mlq_free(text);
    return rc;
}

int task_members(struct task *task, uint64_t after, int cancel_fd, struct task_members *members,
                 struct mlq_err *err)
{
    if (task->path == NULL) {
        return mlq_fail(err, MLQ_EINVAL,
                        "an elastic gang (MLQ_ELASTIC) needs a worker: MLQ_CONTROL is not set");
    }
    int rc = ask_members(task, after, cancel_fd, members, err);
    while (rc == MLQ_ECONN) {
        rc = wait_readable(-1, cancel_fd, AWAY_MS)
                 ? ask_members(task, after, cancel_fd, members, err)
                 : mlq_fail(err, MLQ_ECANCELED, "members: cancelled");
    }
    return rc;
}

const char *task_env(const char *name)
{
    char full[ENV_NAME_BYTES_MAX];
    int used = snprintf(full, sizeof full, "MLQ_%s", name);
    return used > 0 && (size_t)used < sizeof full ? getenv(full) : NULL;
}

static const char *env_of_input(const char *prefix, const char *name)
{
    char full[ENV_NAME_BYTES_MAX];
    int used = snprintf(full, sizeof full, "%s_%s", prefix, name);
    if (used < 0 || (size_t)used >= sizeof full) {
        return NULL;
    }
    for (char *at = full; *at != '\0'; at++) {
        *at = (char)(*at == '-' || *at == '.' ? '_' : toupper((unsigned char)*at));
    }
    return task_env(full);
}

const char *task_input(const char *name)
{
    return env_of_input("INPUT", name);
}

const char *task_digest(const char *name)
{
    return env_of_input("DIGEST", name);
}
