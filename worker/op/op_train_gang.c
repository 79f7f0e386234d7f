/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/op_train_gang.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/panic.h"
#include "lib/base/str.h"
#include "lib/sys/clock.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "lib/task/task.h"

#define MEET_NS      (60 * MLQ_NS_PER_S) /* then a newer generation is asked for */
#define LOOK_NS      (MLQ_NS_PER_S / 5) /* how often a member that waits looks for a wish to stop */
#define BROKEN_NS    (2 * MLQ_NS_PER_S) /* without news after a loss: it says so */
#define SAY_AGAIN_NS (10 * MLQ_NS_PER_S)
#define REFUSED_NS   (10 * MLQ_NS_PER_S) /* ready, and still not a member */
#define DOOR_BACKLOG 128

_Static_assert(TASK_MEMBERS_MAX <= COLL_RANKS_MAX, "each membership can be met");

struct op_train_gang {
    struct op_train_gang_options options;
    struct coll *coll; /* NULL: none is met */
    char *name;
    uint64_t met;
    bool is_elastic;
    /* The rest is for elastic gangs. */
    uint32_t number; /* of this member */
    int door_fd;     /* where it is met while it leads */
    uint16_t door_port;
    int64_t ready_ns; /* when a worker first heard that it is ready; 0: not yet */
    bool is_member;   /* of some membership so far */
    bool is_finishing;
    bool leaves[TASK_MEMBER_NUMBER_MAX + 1]; /* the member of that number: it has said so */
    struct task_members members; /* of the generation that was tried or met last */
    int cancel_fd;
    struct task *task; /* the watcher's */
    pthread_t watcher;
    /* Guards what follows, and coll_abort(coll) against coll_close. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct task_members newest;
    bool is_meeting; /* coll is not yet open: any newer membership ends that */
    int watch_rc;    /* the watcher gave up, with watch_err */
    struct mlq_err watch_err;
};

bool op_train_gang_is_loss(int rc)
{
    return rc == MLQ_ECONN || rc == MLQ_ETIMEOUT || rc == MLQ_ECANCELED || rc == MLQ_EFENCED;
}

/* ---- A fixed gang ---- */

static int read_port(uint16_t *port, struct mlq_err *err)
{
    const char *text = getenv("MASTER_PORT");
    uint64_t value = 0;
    if (text == NULL || !mlq_str_u64(mlq_str_from(text), &value) || value == 0 ||
        value > UINT16_MAX) {
        return mlq_fail(err, MLQ_EINVAL, "MASTER_PORT is '%s': expected a port",
                        text == NULL ? "" : text);
    }
    *port = (uint16_t)value;
    return 0;
}

static int meet_fixed(struct op_train_gang *gang, struct mlq_err *err)
{
    struct op_context *ctx = gang->options.ctx;
    struct coll_gang fixed = {.rank = op_rank(ctx),
                              .size = op_world_size(ctx),
                              .address = getenv("MASTER_ADDR"),
                              .name = gang->name,
                              .kind = gang->options.kind};
    int rc = fixed.size > 1 ? read_port(&fixed.port, err) : 0;
    task_flight_note(gang->options.flight, TASK_FLIGHT_MEET, 0, 0, 0);
    return rc == 0 ? coll_open(&fixed, MEET_NS, &gang->coll, err) : rc;
}

/* ---- The watcher's thread ---- */

static void lock(struct op_train_gang *gang)
{
    MLQ_ASSERT(pthread_mutex_lock(&gang->lock) == 0);
}

static void unlock(struct op_train_gang *gang)
{
    MLQ_ASSERT(pthread_mutex_unlock(&gang->lock) == 0);
}

static bool has_member(const struct task_members *members, uint32_t number)
{
    for (uint32_t i = 0; i < members->count; i++) {
        if (members->list[i].number == number) {
            return true;
        }
    }
    return false;
}

static bool has_all(const struct task_members *members, const struct task_members *others)
{
    for (uint32_t i = 0; i < others->count; i++) {
        if (!has_member(members, others->list[i].number)) {
            return false;
        }
    }
    return true;
}

static void *watch(void *argument)
{
    struct op_train_gang *gang = argument;
    struct task_members members = {.generation = 0};
    struct mlq_err err = MLQ_ERR_INIT;
    int rc = 0;
    while (rc == 0) {
        rc = task_members(gang->task, members.generation, gang->cancel_fd, &members, &err);
        lock(gang);
        if (rc == 0) {
            gang->newest = members;
            bool is_broken = gang->is_meeting || !has_all(&members, &gang->members);
            if (gang->coll != NULL && is_broken) {
                coll_abort(gang->coll);
            }
        } else {
            gang->watch_rc = rc;
            gang->watch_err = err;
        }
        (void)pthread_cond_broadcast(&gang->changed);
        unlock(gang);
    }
    return NULL;
}

/* ---- Waiting for a membership ---- */

/* Memberships of before this process was counted in are none of its. */
static bool is_too_early(const struct op_train_gang *gang)
{
    return !gang->is_member && gang->newest.count > 0 &&
           !has_member(&gang->newest, gang->number) &&
           (gang->ready_ns == 0 || mlq_clock_boot_ns() < gang->ready_ns + REFUSED_NS);
}

/* Caller holds the lock. */
static bool is_news(const struct op_train_gang *gang)
{
    return gang->newest.generation > gang->members.generation && !is_too_early(gang) &&
           !(gang->is_finishing && has_member(&gang->newest, gang->members.list[0].number));
}

/* Until there is news, for LOOK_NS at most. */
static int look(struct op_train_gang *gang, bool *found, struct mlq_err *err)
{
    struct timespec until = mlq_clock_monotonic_after(LOOK_NS);
    int rc = 0, waited = 0;
    lock(gang);
    while (!is_news(gang) && gang->watch_rc == 0 && waited == 0) {
        waited = pthread_cond_timedwait(&gang->changed, &gang->lock, &until);
    }
    *found = is_news(gang);
    if (*found) {
        gang->members = gang->newest;
    } else if (gang->watch_rc != 0) {
        rc = mlq_fail(err, gang->watch_rc, "%s", gang->watch_err.text);
    }
    unlock(gang);
    return rc;
}

/* A worker that is away now is asked again. */
static int say_ready(struct op_train_gang *gang, bool *is_heard, struct mlq_err *err)
{
    bool stop = false;
    int rc = task_ready(op_task(gang->options.ctx), gang->door_port, gang->options.fingerprint,
                        gang->members.generation, &stop, err);
    *is_heard = rc == 0;
    return rc == MLQ_ECONN ? 0 : rc == 0 && stop ? OP_STOPPED : rc;
}

/* gang->members becomes a newer one. */
static int await_members(struct op_train_gang *gang, struct mlq_err *err)
{
    bool found = false;
    int64_t say_ns = mlq_clock_boot_ns() + (gang->ready_ns != 0 ? BROKEN_NS : 0);
    for (;;) {
        bool is_heard = false;
        int rc = 0;
        if (mlq_clock_boot_ns() >= say_ns && !gang->is_finishing) {
            rc = say_ready(gang, &is_heard, err);
            gang->ready_ns = is_heard && gang->ready_ns == 0 ? mlq_clock_boot_ns() : gang->ready_ns;
            say_ns = mlq_clock_boot_ns() + (is_heard ? SAY_AGAIN_NS : LOOK_NS);
        }
        if (rc == 0) {
            rc = look(gang, &found, err);
        }
        if (rc != 0 || found) {
            return rc;
        }
        if (op_should_stop(gang->options.ctx)) {
            return OP_STOPPED;
        }
    }
}

/* ---- Meeting one ---- */

static void close_coll(struct op_train_gang *gang)
{
    struct coll *coll = gang->coll;
    if (gang->is_elastic) {
        lock(gang);
        gang->coll = NULL; /* first: the watcher aborts what is there */
        unlock(gang);
        coll_close(&coll);
    } else {
        coll_close(&gang->coll);
    }
}

/* Shows the watcher what it may have to abort. False: there is a newer membership already. */
static bool expose(struct op_train_gang *gang, struct coll *coll, bool is_meeting)
{
    lock(gang);
    bool is_newest = gang->newest.generation == gang->members.generation;
    gang->coll = coll;
    gang->is_meeting = is_meeting;
    unlock(gang);
    return is_newest;
}

/* With a loss, gang->coll is to be closed. */
static int meet_members(struct op_train_gang *gang, uint32_t rank, struct mlq_err *err)
{
    const struct task_members *members = &gang->members;
    struct coll_gang elastic = {.rank = rank,
                                .size = members->count,
                                .address = members->list[0].address,
                                .port = members->list[0].port,
                                .name = gang->name,
                                .generation = members->generation,
                                .kind = gang->options.kind,
                                .listen_fd = rank == 0 ? gang->door_fd : 0};
    struct coll *coll = NULL;
    task_flight_note(gang->options.flight, TASK_FLIGHT_MEET, members->generation, 0, 0);
    int rc = coll_create(&elastic, &coll, err);
    if (rc != 0) {
        return rc;
    }
    if (!expose(gang, coll, true)) {
        return mlq_fail(err, MLQ_EFENCED, "there is a newer generation");
    }
    rc = coll_meet(coll, MEET_NS, err);
    (void)expose(gang, coll, false);
    return rc;
}

static int meet_elastic(struct op_train_gang *gang, struct mlq_err *err)
{
    for (;;) {
        task_flight_note(gang->options.flight, TASK_FLIGHT_WAIT, gang->members.generation, 0, 0);
        int rc = await_members(gang, err);
        if (rc != 0) {
            return rc;
        }
        const struct task_members *members = &gang->members;
        if (!has_member(members, gang->number)) {
            log_info("train.not_a_member", "number=%u generation=%" PRIu64 " members=%u",
                     gang->number, members->generation, members->count);
            return members->count == 0 ? OP_TRAIN_OVER : OP_STOPPED;
        }
        uint32_t rank = 0;
        while (members->list[rank].number != gang->number) {
            rank++;
        }
        gang->is_finishing = false;
        gang->is_member = true;
        struct mlq_err own = MLQ_ERR_INIT;
        rc = meet_members(gang, rank, &own);
        if (rc == 0) {
            return 0;
        }
        close_coll(gang);
        if (!op_train_gang_is_loss(rc)) {
            return mlq_fail(err, rc, "%s", own.text);
        }
        log_warn("train.not_met", "generation=%" PRIu64 " members=%u reason=\"%s\"",
                 members->generation, members->count, own.text);
    }
}

int op_train_gang_next(struct op_train_gang *gang, struct coll **coll, struct mlq_err *err)
{
    close_coll(gang);
    *coll = NULL;
    int rc = gang->is_elastic ? meet_elastic(gang, err) : meet_fixed(gang, err);
    gang->met += rc == 0;
    *coll = gang->coll;
    return rc;
}

/* ---- Life ---- */

/* One gang of one attempt. TORCHELASTIC_RUN_ID and the restart count are the same on all ranks. */
static char *gang_name(bool is_elastic)
{
    const char *run = is_elastic ? task_env("ATTEMPT") : getenv("TORCHELASTIC_RUN_ID");
    const char *restart = is_elastic ? "elastic" : getenv("TORCHELASTIC_RESTART_COUNT");
    const char *job = task_env("JOB"), *stage = task_env("STAGE");
    return mlq_format("%.64s/%.64s/%.64s/%.16s", job == NULL ? "" : job, stage == NULL ? "" : stage,
                      run == NULL ? "" : run, restart == NULL ? "" : restart);
}

/* On a port of the system's choice, for both kinds of addresses where the machine has both. */
static int open_door(struct op_train_gang *gang, struct mlq_err *err)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    const int type = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    int off = 0, fd = socket(AF_INET6, type, 0);
    bool is_bound = fd >= 0 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) == 0 &&
                    bind(fd, (const struct sockaddr *)&six, sizeof(six)) == 0;
    if (!is_bound) {
        if (fd >= 0) {
            (void)close(fd);
        }
        fd = socket(AF_INET, type, 0);
        is_bound = fd >= 0 && bind(fd, (const struct sockaddr *)&four, sizeof(four)) == 0;
    }
    gang->door_fd = fd;
    socklen_t len = sizeof(six);
    if (!is_bound || listen(fd, DOOR_BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&six, &len) != 0) {
        return mlq_fail(err, MLQ_ECONN, "a port to be met at: %s", strerror(errno));
    }
    gang->door_port = ntohs(six.sin6_port); /* at the same place in both */
    return 0;
}

static int start_watching(struct op_train_gang *gang, struct mlq_err *err)
{
    pthread_condattr_t attributes;
    MLQ_ASSERT(pthread_mutex_init(&gang->lock, NULL) == 0);
    MLQ_ASSERT(pthread_condattr_init(&attributes) == 0);
    MLQ_ASSERT(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    MLQ_ASSERT(pthread_cond_init(&gang->changed, &attributes) == 0);
    (void)pthread_condattr_destroy(&attributes);
    gang->number = op_rank(gang->options.ctx);
    int rc = open_door(gang, err);
    if (rc == 0) {
        rc = task_open(&gang->task, err);
    }
    if (rc == 0) {
        gang->cancel_fd = eventfd(0, EFD_CLOEXEC);
        int error = gang->cancel_fd < 0 ? errno : pthread_create(&gang->watcher, NULL, watch, gang);
        rc = error == 0 ? 0 : mlq_fail(err, MLQ_EIO, "watcher: %s", strerror(error));
    }
    if (rc != 0) {
        task_close(&gang->task); /* which says that there is no thread */
    }
    return rc;
}

int op_train_gang_create(const struct op_train_gang_options *options, struct op_train_gang **gang,
                         struct mlq_err *err)
{
    struct op_train_gang *created = mlq_alloc(sizeof(*created));
    created->options = *options;
    created->door_fd = -1;
    created->cancel_fd = -1;
    created->is_elastic = op_is_elastic(options->ctx);
    created->name = gang_name(created->is_elastic);
    int rc = created->is_elastic ? start_watching(created, err) : 0;
    if (rc != 0) {
        op_train_gang_destroy(&created);
    }
    *gang = created;
    return rc;
}

static void stop_watching(struct op_train_gang *gang)
{
    if (gang->task != NULL) {
        MLQ_ASSERT(eventfd_write(gang->cancel_fd, 1) == 0);
        (void)pthread_join(gang->watcher, NULL);
        task_close(&gang->task);
    }
    if (gang->cancel_fd >= 0) {
        (void)close(gang->cancel_fd);
    }
    if (gang->door_fd >= 0) {
        (void)close(gang->door_fd);
    }
    (void)pthread_cond_destroy(&gang->changed);
    (void)pthread_mutex_destroy(&gang->lock);
}

void op_train_gang_destroy(struct op_train_gang **gang)
{
    if (*gang == NULL) {
        return;
    }
    close_coll(*gang);
    if ((*gang)->is_elastic) {
        stop_watching(*gang);
    }
    mlq_free((*gang)->name);
    mlq_free(*gang);
    *gang = NULL;
}

/* ---- Questions ---- */

void op_train_gang_finish(struct op_train_gang *gang)
{
    gang->is_finishing = gang->is_elastic;
}

void op_train_gang_leaves(struct op_train_gang *gang, uint32_t rank)
{
    if (gang->is_elastic) {
        gang->leaves[gang->members.list[rank].number] = true;
    }
}

bool op_train_gang_is_elastic(const struct op_train_gang *gang)
{
    return gang->is_elastic;
}

bool op_train_gang_is_first(struct op_train_gang *gang)
{
    if (!gang->is_elastic) {
        return op_rank(gang->options.ctx) == 0;
    }
    uint32_t first = 0;
    lock(gang);
    const struct task_members *newest = &gang->newest;
    while (first < newest->count && gang->leaves[newest->list[first].number]) {
        first++;
    }
    bool is_first = first < newest->count && newest->list[first].number == gang->number;
    unlock(gang);
    return is_first;
}

uint64_t op_train_gang_generation(const struct op_train_gang *gang)
{
    return gang->members.generation;
}

uint64_t op_train_gang_newest(struct op_train_gang *gang)
{
    if (!gang->is_elastic) {
        return 0;
    }
    lock(gang);
    uint64_t newest = gang->newest.generation;
    unlock(gang);
    return newest;
}

uint64_t op_train_gang_count(const struct op_train_gang *gang)
{
    return gang->met;
}
