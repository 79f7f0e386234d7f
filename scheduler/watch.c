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
    struct mlq_region *region; /* of one answer */
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

static void answer(struct watch *watch, struct shell *shell, const struct watcher *watcher)
{
    const struct catalog_job *job = catalog_find(shell->catalog, watcher->job);
    struct msg_reply reply = {.id = watcher->request_id, .job = watcher->job};
    if (job == NULL) { /* ended and gone: the client asks for the record */
        reply.end = true;
    } else {
        reply.blob = catalog_watch_json(job, watch->region);
    }
    outbound_reply(shell, &watcher->to, &reply);
    mlq_region_reset(watch->region);
}

static bool has_changed(const struct shell *shell, const struct watcher *watcher)
{
    const struct catalog_job *job = catalog_find(shell->catalog, watcher->job);
    return job == NULL || job->version > watcher->version;
}

void watch_notify(struct watch *watch, struct shell *shell)
{
    size_t kept = 0;
    for (size_t i = 0; i < watch->count; i++) {
        if (has_changed(shell, &watch->watchers[i])) {
            answer(watch, shell, &watch->watchers[i]);
        } else {
            watch->watchers[kept++] = watch->watchers[i];
        }
    }
    watch->count = kept;
}

void watch_expire(struct watch *watch, struct shell *shell, int64_t now_ns)
{
    size_t kept = 0;
    for (size_t i = 0; i < watch->count; i++) {
        if (watch->watchers[i].deadline_ns <= now_ns) {
            answer(watch, shell, &watch->watchers[i]);
        } else {
            watch->watchers[kept++] = watch->watchers[i];
        }
    }
    watch->count = kept;
}

int64_t watch_deadline_ns(const struct watch *watch)
{
    int64_t due = INT64_MAX;
    for (size_t i = 0; i < watch->count; i++) {
        due = watch->watchers[i].deadline_ns < due ? watch->watchers[i].deadline_ns : due;
    }
    return due;
}
