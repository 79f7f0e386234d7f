/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/watch.h"

#include "lib/sys/mem.h"
#include "lib/sys/region.h"
#include "scheduler/shell_state.h"

struct watcher {
    struct net_address to;
    uint64_t request_id;
    uint64_t job;
    uint64_t version;
    int64_t deadline_ns;
};

struct watch {
    struct watcher *watchers;
    size_t count;
    size_t room;
    bool is_behind;
    struct mlq_region *region; /* of the answer below */
    uint64_t said_job;         /* the last answer: many may watch one job */
    uint64_t said_version;
    struct mlq_str said;
};

struct watch *watch_create(void)
{
    struct watch *watch = mlq_alloc(sizeof *watch);
    watch->region = mlq_region_create();
    return watch;
}

void watch_destroy(struct watch **watch)
{
    if (*watch != NULL) {
        mlq_region_destroy(&(*watch)->region);
        mlq_free((*watch)->watchers);
        mlq_free(*watch);
        *watch = NULL;
    }
}

bool watch_add(struct watch *watch, const struct net_address *to, uint64_t request_id, uint64_t job,
               uint64_t version, int64_t deadline_ns)
{
    if (watch->count == WATCH_MAX) {
        return false;
    }
    if (watch->count == watch->room) {
        watch->room = watch->room == 0 ? 64 : watch->room * 2;
        watch->watchers = mlq_realloc_array(watch->watchers, watch->room, sizeof *watch->watchers);
    }
    watch->watchers[watch->count++] = (struct watcher){
        .to = *to,
        .request_id = request_id,
        .job = job,
        .version = version,
        .deadline_ns = deadline_ns,
    };
    return true;
}

void watch_reply(struct watch *watch, struct shell *shell, const struct net_address *to, uint64_t request_id,
                 uint64_t job_id)
{
    const struct catalog_job *job = catalog_find(shell->catalog, job_id);
    struct msg_reply reply = {.id = request_id, .job = job_id};
    if (job == NULL) { /* ended and gone: the client asks for the record */
        reply.end = true;
    } else if (watch->said_job != job->id || watch->said_version != job->version) {
        mlq_region_reset(watch->region);
        watch->said = catalog_watch_json(job, watch->region);
        watch->said_job = job->id;
        watch->said_version = job->version;
    }
    reply.blob = job == NULL ? reply.blob : watch->said;
    turn_hold_reply(shell->open, to, &reply);
}

static bool has_changed(const struct shell *shell, const struct watcher *watcher)
{
    const struct catalog_job *job = catalog_find(shell->catalog, watcher->job);
    return job == NULL || job->version > watcher->version;
}

/* Answer those that are due at `now_ns` or, when that is INT64_MIN, whose job has changed. */
static void sweep(struct watch *watch, struct shell *shell, int64_t now_ns)
{
    size_t kept = 0;
    bool is_behind = false;
    for (size_t i = 0; i < watch->count; i++) {
        struct watcher watcher = watch->watchers[i];
        bool is_due = now_ns == INT64_MIN ? has_changed(shell, &watcher) : watcher.deadline_ns <= now_ns;
        if (is_due && turn_is_full(shell->open)) {
            is_behind = true;
            is_due = false;
        }
        if (is_due) {
            watch_reply(watch, shell, &watcher.to, watcher.request_id, watcher.job);
        } else {
            watch->watchers[kept++] = watcher;
        }
    }
    watch->count = kept;
    watch->is_behind = is_behind;
}

void watch_answer(struct watch *watch, struct shell *shell)
{
    sweep(watch, shell, INT64_MIN);
}

bool watch_is_behind(const struct watch *watch)
{
    return watch->is_behind;
}

void watch_expire(struct watch *watch, struct shell *shell, int64_t now_ns)
{
    if (watch_deadline_ns(watch) <= now_ns) {
        sweep(watch, shell, now_ns);
    }
}

int64_t watch_deadline_ns(const struct watch *watch)
{
    int64_t due = INT64_MAX;
    for (size_t i = 0; !watch->is_behind && i < watch->count; i++) {
        due = watch->watchers[i].deadline_ns < due ? watch->watchers[i].deadline_ns : due;
    }
    return due;
}
