/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The connection is a hint, the lock and the state file are the truth: when the connection ends, the
 * file says how the task ended, and if there is none, holding the lock proves that the shim is
 * gone. Until one of the two is so, it is looked at again soon.
 */
#include "worker/exec/shimlink.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "lib/loop/loop.h"
#include "lib/sys/clock.h"
#include "lib/sys/fs.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "worker/exec/cgroup.h"
#include "worker/exec/nursery.h"
#include "worker/exec/tree.h"
#include "worker/exec/unixsock.h"

#define LOOK_PERIOD_NS (20 * MLQ_NS_PER_MS)
#define READ_BYTES     256

struct shimlink {
    struct shimlink_callbacks callbacks;
    char *dir;
    char *mark;
    struct nursery *nursery; /* where its shim may rest; NULL: it was found */
    uv_loop_t *loop;
    uv_poll_t poll;
    struct loop_timer *timer;
    int fd;      /* -1: no connection */
    int lock_fd; /* -1: not held. While held, no shim can start here */
    int64_t lease_deadline_ns;
    bool is_started;
};

static void look(void *context);

/* ---- Words to the shim ---- */

static void say(struct shimlink *link, const char *text)
{
    /* Lines are short and few; a socket that does not take them belongs to a shim that hangs, whose
     * lease ends. */
    if (link->fd >= 0 && send(link->fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        log_warn("shim.deaf", "dir=\"%s\" error=\"%s\"", link->dir, strerror(errno));
    }
}

void shimlink_lease(struct shimlink *link, int64_t deadline_ns)
{
    char text[64];
    link->lease_deadline_ns = deadline_ns;
    (void)snprintf(text, sizeof text, "lease %lld\n", (long long)deadline_ns);
    say(link, text);
}

void shimlink_stop(struct shimlink *link, enum worker_cause cause, int64_t grace_ns)
{
    char text[64];
    (void)snprintf(text, sizeof text, "stop %lld %d\n", (long long)grace_ns, (int)cause);
    say(link, text);
}

void shimlink_kill(struct shimlink *link, enum worker_cause cause)
{
    char text[64];
    (void)snprintf(text, sizeof text, "kill %d\n", (int)cause);
    say(link, text);
}

void shimlink_checkpoint(struct shimlink *link)
{
    say(link, "usr1\n");
}

/* ---- What comes from it ---- */

static void poll_closed(uv_handle_t *handle)
{
    struct shimlink *link = handle->data;
    mlq_free(link->dir);
    mlq_free(link->mark);
    mlq_free(link);
}

static void disconnect(struct shimlink *link)
{
    if (link->fd >= 0) {
        (void)uv_poll_stop(&link->poll);
        close(link->fd);
        link->fd = -1;
    }
}

/* What waited there. */
struct words {
    bool has_started;
    bool has_ended;
    bool is_gone; /* it hung up */
};

static struct words hear(const struct shimlink *link)
{
    struct words words = {0};
    char text[READ_BYTES];
    for (;;) {
        ssize_t got = recv(link->fd, text, sizeof text - 1, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            words.is_gone = got == 0 || errno != EAGAIN;
            return words;
        }
        text[got] = '\0'; /* lines are short: none comes in two parts */
        words.has_started = words.has_started || strstr(text, "started ") != NULL ||
                            strstr(text, "running ") != NULL || strstr(text, "stopping ") != NULL;
        words.has_ended = words.has_ended || strstr(text, "ended\n") != NULL;
    }
}

/* The line is the next task's. */
static void let_rest(struct shimlink *link)
{
    (void)uv_poll_stop(&link->poll);
    nursery_rest(link->nursery, link->fd);
    link->fd = -1;
}

/* A shim that ends with a line unread (a lease that came late) leaves its last words and an error on
 * the socket. libuv calls once for both, with a status, and never again. */
static void on_readable(uv_poll_t *handle, int status, int events)
{
    struct shimlink *link = handle->data;
    (void)events;
    struct words words = hear(link);
    words.is_gone = words.is_gone || status != 0;
    if (words.has_started && !link->is_started) {
        link->is_started = true;
        link->callbacks.started(link->callbacks.context);
    }
    if (words.is_gone) {
        disconnect(link);
    } else if (words.has_ended && link->nursery != NULL) {
        let_rest(link);
    }
    if (link->fd < 0) {
        look(link);
    }
}

static int watch(struct shimlink *link, int fd, struct mlq_err *err)
{
    link->fd = fd;
    int rc = uv_poll_init(link->loop, &link->poll, fd);
    if (rc == 0) {
        link->poll.data = link;
        rc = uv_poll_start(&link->poll, UV_READABLE, on_readable);
    }
    return rc == 0 ? MLQ_OK : mlq_fail(err, MLQ_EIO, "watch a shim: %s", uv_strerror(rc));
}

/* ---- Whether it lives ---- */

static void end(struct shimlink *link, const struct shimfile_end *result)
{
    link->callbacks.ended(link->callbacks.context, result);
}

/* The lock is ours: no shim lives here and none will. */
static void end_without_journal(struct shimlink *link)
{
    struct shimfile_end result = {
        .cause = WORKER_CAUSE_NODE, .exit_code = -1, .ended_us = mlq_clock_wall_us()};
    (void)snprintf(result.detail, sizeof result.detail, "%s",
                   shimfile_was_started(link->dir)
                       ? "its shim was killed"
                       : "the worker or its nursery of shims stopped before it was started");
    (void)shimfile_save_end(link->dir, &result, NULL); /* a shim that comes late finds it over */
    end(link, &result);
}

int shimlink_clean_groups(const char *dir)
{
    struct mlq_region *region = mlq_region_create();
    struct shimfile_conf conf;
    int seen = 0;
    if (shimfile_load_conf(dir, region, &conf, NULL) == MLQ_OK) {
        for (int i = 0; conf.cgroups[i] != NULL; i++) {
            if (!cgroup_remove(conf.cgroups[i])) {
                seen += cgroup_kill(conf.cgroups[i]);
                (void)cgroup_remove(conf.cgroups[i]);
            }
        }
    }
    mlq_region_destroy(&region);
    return seen;
}

static void look(void *context)
{
    struct shimlink *link = context;
    struct shimfile_end result;
    struct mlq_err err = MLQ_ERR_INIT;
    int fd;
    int rc = shimfile_load_end(link->dir, &result, &err);
    if (rc == MLQ_OK) {
        end(link, &result);
        return;
    }
    if (rc != MLQ_ENOENT) {
        log_error("shim.journal", "error=\"%s\"", err.text);
    }
    if (link->lock_fd >= 0 || shimfile_lock(link->dir, &link->lock_fd, NULL) == MLQ_OK) {
        if (mlq_fs_exists(link->dir) && shimfile_load_end(link->dir, &result, NULL) == MLQ_OK) {
            end(link, &result); /* it came between the two looks */
        } else if (shimlink_clean_groups(link->dir) + tree_sweep(link->mark) == 0) {
            end_without_journal(link);
        } else {
            loop_timer_set(link->timer, LOOK_PERIOD_NS, 0);
        }
        return;
    }
    char *path = mlq_fs_join(link->dir, SHIMFILE_SOCKET);
    bool was_connected = link->poll.data != NULL; /* then it hung up, and is about to end */
    if (!was_connected && unixsock_connect(path, &fd, NULL) == MLQ_OK &&
        watch(link, fd, NULL) == MLQ_OK) {
        say(link, "status\n");
        if (link->lease_deadline_ns > 0) {
            shimlink_lease(link, link->lease_deadline_ns);
        }
    } else {
        loop_timer_set(link->timer, LOOK_PERIOD_NS, 0); /* it starts, or ends, this very moment */
    }
    mlq_free(path);
}

/* ---- Start ---- */

/* A shim that has the lease before it runs. */
static int start(struct shimlink *link, const struct shimlink_options *options, struct mlq_err *err)
{
    int line;
    const char *slash = strrchr(link->dir, '/');
    int rc = nursery_run(options->nursery, slash == NULL ? link->dir : slash + 1,
                         options->lease_deadline_ns, &line, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    link->nursery = options->nursery;
    link->lease_deadline_ns = options->lease_deadline_ns;
    rc = watch(link, line, err);
    if (rc != MLQ_OK) {
        close(line);
        link->fd = -1;
    }
    return rc;
}

int shimlink_create(struct uv_loop_s *loop, const struct shimlink_options *options,
                    const struct shimlink_callbacks *callbacks, struct shimlink **link,
                    struct mlq_err *err)
{
    struct shimlink *made = mlq_alloc(sizeof *made);
    made->callbacks = *callbacks;
    made->dir = mlq_strdup(options->dir);
    made->mark = mlq_strdup(options->mark);
    made->loop = loop;
    made->fd = -1;
    made->lock_fd = -1;
    made->timer = loop_timer_create(loop, look, made);
    if (options->nursery == NULL) {
        loop_timer_set(made->timer, 0, 0);
        *link = made;
        return MLQ_OK;
    }
    int rc = start(made, options, err);
    *link = made;
    if (rc != MLQ_OK) {
        shimlink_close(link);
    }
    return rc;
}

void shimlink_close(struct shimlink **link)
{
    struct shimlink *closing = *link;
    *link = NULL;
    if (closing == NULL) {
        return;
    }
    loop_timer_close(&closing->timer);
    if (closing->lock_fd >= 0) {
        close(closing->lock_fd);
    }
    disconnect(closing);
    if (closing->poll.data == closing) {
        uv_close((uv_handle_t *)&closing->poll, poll_closed);
    } else {
        closing->poll.data = closing;
        poll_closed((uv_handle_t *)&closing->poll);
    }
}
