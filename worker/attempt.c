/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * One member's folder, processes and results. Long work (fetching, hashing, deleting) runs on
 * libuv's pool, one job of an attempt at a time; the agent asks for the next only after the last
 * was answered.
 */
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/base/prng.h"
#include "lib/spec/op_schema.h"
#include "lib/sys/clock.h"
#include "lib/sys/fs.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "worker/assignment.h"
#include "worker/outputs.h"
#include "worker/worker.h"

#define NOTES_DELAY_NS (100 * MLQ_NS_PER_MS) /* so that a burst of metrics is one message */

static struct attempt **bucket_of(struct worker *worker, uint64_t attempt, uint32_t rank)
{
    return &worker->buckets[mlq_hash_keyed(0, attempt, rank) & (WORKER_BUCKETS - 1)];
}

struct attempt *attempt_find(struct worker *worker, uint64_t attempt, uint32_t rank)
{
    struct attempt *found = *bucket_of(worker, attempt, rank);
    while (found != NULL && (found->attempt != attempt || found->rank != rank)) {
        found = found->next;
    }
    return found;
}

static struct attempt *must_find(struct worker *worker, const struct agent_action *action)
{
    struct attempt *attempt = attempt_find(worker, action->attempt, action->rank);
    MLQ_ASSERT(attempt != NULL);
    return attempt;
}

static struct attempt *create(struct worker *worker, uint64_t number, uint32_t rank)
{
    struct attempt *attempt = mlq_alloc(sizeof *attempt);
    mlq_list_init(&attempt->in_worker);
    mlq_list_push_back(&worker->attempts, &attempt->in_worker);
    attempt->worker = worker;
    attempt->attempt = number;
    attempt->rank = rank;
    attempt->region = mlq_region_create();
    attempt->dir = home_attempt_dir(&worker->home, attempt->region, number, rank);
    attempt->has_groups = true;
    attempt->spare_checkpoint = CHECKPOINT_NONE;
    attempt->mark = mlq_region_format(attempt->region, "MLQ_OUTPUT=%s/out", attempt->dir);
    struct attempt **bucket = bucket_of(worker, number, rank);
    attempt->next = *bucket;
    *bucket = attempt;
    return attempt;
}

static void destroy(struct attempt *attempt)
{
    struct attempt **link = bucket_of(attempt->worker, attempt->attempt, attempt->rank);
    while (*link != attempt) {
        link = &(*link)->next;
    }
    *link = attempt->next;
    mlq_list_remove(&attempt->in_worker);
    shimlink_close(&attempt->shim);
    control_close(&attempt->control);
    notes_destroy(&attempt->notes);
    mlq_region_destroy(&attempt->region);
    mlq_free(attempt);
}

static void feed(struct attempt *attempt, enum agent_event_kind kind, enum worker_cause cause)
{
    worker_feed(attempt->worker, (struct agent_event){.kind = kind,
                                                      .attempt = attempt->attempt,
                                                      .rank = attempt->rank,
                                                      .cause = cause,
                                                      .exit_code = -1});
}

static void say_detail(struct attempt *attempt, const char *text)
{
    (void)snprintf(attempt->detail, sizeof attempt->detail, "%.*s", (int)sizeof attempt->detail - 1,
                   text);
}

/* ---- Preparing ---- */

static void prepare_work(uv_work_t *work)
{
    struct attempt *attempt = work->data;
    prepare_run(&attempt->prepare);
}

static void prepared(uv_work_t *work, int status)
{
    struct attempt *attempt = work->data;
    const struct prepare_job *job = &attempt->prepare;
    (void)status;
    attempt->worker->jobs--;
    attempt->checkpoint = job->checkpoint;
    checkpoint_settle(&attempt->worker->checkpoint_spares, attempt->spare_checkpoint,
                      !job->used_spare_checkpoint);
    memcpy(attempt->groups, job->group_paths, sizeof attempt->groups);
    if (job->cause != WORKER_CAUSE_NONE) {
        say_detail(attempt, job->err.text);
        log_warn("attempt.unprepared", "attempt=%llu rank=%u error=\"%s\"",
                 (unsigned long long)attempt->attempt, attempt->rank, job->err.text);
        /* Untouched, or never made, or made and not to be found again but here. */
        for (int i = 0; attempt->groups[i] != NULL; i++) {
            (void)cgroup_remove(attempt->groups[i]);
        }
        (void)cgpool_give(&attempt->worker->cgpool, job->group, &job->bounds);
    }
    feed(attempt, AGENT_EV_PREPARED, job->cause);
}

static bool is_completed_here(const struct msg_assignment *assignment)
{
    const struct op_schema *op = op_schema_find(assignment->uses);
    return op != NULL && op->in_agent;
}

void attempt_prepare(struct worker *worker, const struct agent_action *action)
{
    struct mlq_err err = MLQ_ERR_INIT;
    const struct msg_assignment *from = worker->assigning;
    MLQ_ASSERT(from != NULL && from->member.attempt == action->attempt);
    struct attempt *attempt = create(worker, action->attempt, action->rank);
    if (is_completed_here(from)) {
        attempt->in_agent = true;
        feed(attempt, AGENT_EV_PREPARED, WORKER_CAUSE_NONE);
        return;
    }
    log_info("attempt.assigned", "attempt=%llu rank=%u job=%llu stage=%u index=%u",
             (unsigned long long)action->attempt, action->rank, (unsigned long long)from->job,
             from->stage, from->index);
    int rc = assignment_copy(from, attempt->region, &attempt->assignment, &err);
    if (rc == MLQ_OK && mlq_fs_exists(attempt->dir)) {
        rc = mlq_fail(&err, MLQ_EEXIST, "%s is there already: a leftover that could not be removed",
                      attempt->dir);
    }
    rc = rc == MLQ_OK
             ? home_control_path(&worker->home, attempt->region, attempt->dir, attempt->attempt,
                                 attempt->rank, &attempt->control_path, &err)
             : rc;
    if (rc != MLQ_OK) {
        say_detail(attempt, err.text);
        feed(attempt, AGENT_EV_PREPARED, rc == MLQ_EINVAL ? WORKER_CAUSE_SPAWN : WORKER_CAUSE_NODE);
        return;
    }
    const struct cgroup_bounds bounds = prepare_bounds(&attempt->assignment);
    attempt->prepare = (struct prepare_job){
        .dir = attempt->dir,
        .spare = folder_take(&worker->spares, attempt->region, &attempt->control),
        .spare_checkpoint = attempt->assignment.restart_count == 0
                                ? checkpoint_take(&worker->checkpoint_spares,
                                                  &attempt->spare_checkpoint, attempt->region)
                                : NULL,
        .store = worker->config->store,
        .bin_dir = worker->config->bin_dir,
        .control = attempt->control_path,
        .assignment = &attempt->assignment,
        .probe = &worker->probe,
        .cgroups = &worker->cgroups,
        .bounds = bounds,
        .group =
            cgpool_take(&worker->cgpool, &bounds, attempt->attempt, attempt->rank, attempt->region),
        .region = attempt->region,
    };
    attempt->work.data = attempt;
    worker->jobs++;
    MLQ_ASSERT(uv_queue_work(worker->loop, &attempt->work, prepare_work, prepared) == 0);
}

/* ---- What a task says on its control socket ---- */

static int on_metric(void *context, struct mlq_str name, double value, int64_t step,
                     struct mlq_err *err)
{
    struct attempt *attempt = context;
    struct worker *worker = attempt->worker;
    if (!loop_timer_is_set(worker->notes_timer)) {
        loop_timer_set(worker->notes_timer, NOTES_DELAY_NS, 0);
    }
    return notes_add_metric(attempt->notes, name, value, step, mlq_clock_wall_us(), err);
}

static int on_progress(void *context, double fraction, struct mlq_str text, struct mlq_err *err)
{
    struct attempt *attempt = context;
    (void)err;
    notes_set_progress(attempt->notes, fraction, text);
    return MLQ_OK;
}

static int on_checkpoint(void *context, struct mlq_str path, struct mlq_err *err)
{
    struct attempt *attempt = context;
    char real[PATH_MAX];
    char root[PATH_MAX];
    char *given = mlq_strndup(path);
    int rc = MLQ_OK;
    if (attempt->checkpoint == NULL || realpath(attempt->checkpoint, root) == NULL ||
        realpath(given, real) == NULL) {
        rc = mlq_fail(err, MLQ_ENOENT, "checkpoint %.200s is not there", given);
    } else if (strncmp(real, root, strlen(root)) != 0 || real[strlen(root)] != '/') {
        rc = mlq_fail(err, MLQ_EINVAL, "checkpoint %.200s does not lie in MLQ_CHECKPOINT", given);
    } else {
        log_info("attempt.checkpoint", "attempt=%llu rank=%u", (unsigned long long)attempt->attempt,
                 attempt->rank);
    }
    mlq_free(given);
    return rc;
}

static bool on_must_stop(void *context)
{
    const struct attempt *attempt = context;
    return attempt->must_stop;
}

static int on_record(void *context, uint64_t request, struct mlq_err *err)
{
    return records_ask(context, request, err);
}

static int on_ready(void *context, uint16_t port, uint64_t fingerprint, uint64_t generation,
                    struct mlq_err *err)
{
    const struct attempt *attempt = context;
    (void)err;
    worker_feed(attempt->worker, (struct agent_event){.kind = AGENT_EV_READY,
                                                      .attempt = attempt->attempt,
                                                      .rank = attempt->rank,
                                                      .port = port,
                                                      .fingerprint = fingerprint,
                                                      .generation = generation});
    return MLQ_OK;
}

static int open_control(struct attempt *attempt, struct mlq_err *err)
{
    const struct control_callbacks callbacks = {
        .context = attempt,
        .metric = on_metric,
        .progress = on_progress,
        .checkpoint = on_checkpoint,
        .must_stop = on_must_stop,
        .ready = on_ready,
        .record = on_record,
    };
    if (attempt->control != NULL) { /* came with its folder */
        if (control_wake(attempt->control, attempt->control_path, &callbacks)) {
            return MLQ_OK;
        }
        control_close(&attempt->control);
    }
    return control_create(attempt->worker->loop, attempt->control_path, &callbacks,
                          &attempt->control, err);
}

/* Nobody is left to use it, until its folder serves again. */
static void rest_control(struct attempt *attempt)
{
    if (attempt->control != NULL &&
        strncmp(attempt->control_path, attempt->dir, strlen(attempt->dir)) == 0) {
        control_rest(attempt->control);
    } else {
        control_close(&attempt->control);
    }
}

/* As the task reads it: the generation, then a line for each member. */
void attempt_membership(struct worker *worker, const struct agent_action *action)
{
    const struct attempt *attempt = must_find(worker, action);
    const struct msg_membership *membership = worker->membership;
    MLQ_ASSERT(membership != NULL && membership->member.attempt == action->attempt);
    if (attempt->control == NULL || attempt->has_ended) {
        return;
    }
    char *text = mlq_format("%llu\n", (unsigned long long)membership->generation);
    for (size_t i = 0; i < membership->peer_count; i++) {
        const struct msg_peer *peer = &membership->peers[i];
        char *longer = mlq_format("%s%u %.*s %u\n", text, peer->rank, MLQ_STR_ARG(peer->address),
                                  (unsigned)peer->port);
        mlq_free(text);
        text = longer;
    }
    log_info("attempt.members", "attempt=%llu rank=%u generation=%llu members=%zu",
             (unsigned long long)attempt->attempt, attempt->rank,
             (unsigned long long)membership->generation, membership->peer_count);
    control_set_members(attempt->control, membership->generation, mlq_str_from(text));
    mlq_free(text);
}

/* ---- Running ---- */

static void on_started(void *context)
{
    struct attempt *attempt = context;
    feed(attempt, AGENT_EV_SHIM_STARTED, WORKER_CAUSE_NONE);
}

static void on_ended(void *context, const struct shimfile_end *end)
{
    struct attempt *attempt = context;
    say_detail(attempt, end->detail);
    attempt->has_ended = true;
    attempt->cause = end->cause;
    log_info("attempt.ended", "attempt=%llu rank=%u cause=%d exit=%d signal=%d detail=\"%s\"",
             (unsigned long long)attempt->attempt, attempt->rank, (int)end->cause, end->exit_code,
             end->signal, end->detail);
    shimlink_close(&attempt->shim);
    rest_control(attempt);
    worker_feed(attempt->worker, (struct agent_event){.kind = AGENT_EV_SHIM_ENDED,
                                                      .attempt = attempt->attempt,
                                                      .rank = attempt->rank,
                                                      .cause = end->cause,
                                                      .exit_code = end->exit_code,
                                                      .signal = end->signal});
}

static int open_shim(struct attempt *attempt, struct nursery *nursery, int64_t lease_deadline_ns,
                     struct mlq_err *err)
{
    const struct shimlink_options options = {
        .dir = attempt->dir,
        .nursery = nursery,
        .lease_deadline_ns = lease_deadline_ns,
        .mark = attempt->mark,
    };
    const struct shimlink_callbacks callbacks = {
        .context = attempt, .started = on_started, .ended = on_ended};
    return shimlink_create(attempt->worker->loop, &options, &callbacks, &attempt->shim, err);
}

/* What the worker completes itself starts and ends here, and is otherwise like any task. */
static void complete_here(struct attempt *attempt)
{
    attempt->has_ended = true;
    feed(attempt, AGENT_EV_SHIM_STARTED, WORKER_CAUSE_NONE);
    worker_feed(attempt->worker, (struct agent_event){.kind = AGENT_EV_SHIM_ENDED,
                                                      .attempt = attempt->attempt,
                                                      .rank = attempt->rank,
                                                      .cause = WORKER_CAUSE_NONE,
                                                      .exit_code = 0});
}

void attempt_spawn(struct worker *worker, const struct agent_action *action)
{
    struct attempt *attempt = must_find(worker, action);
    if (attempt->in_agent) {
        complete_here(attempt);
        return;
    }
    struct mlq_err err = MLQ_ERR_INIT;
    attempt->notes = notes_create(attempt->dir);
    int rc = open_control(attempt, &err);
    rc = rc == MLQ_OK ? open_shim(attempt, worker->nursery, action->deadline_ns, &err) : rc;
    if (rc != MLQ_OK) {
        struct shimfile_end end = {.cause = WORKER_CAUSE_NODE, .exit_code = -1};
        (void)snprintf(end.detail, sizeof end.detail, "%.*s", (int)sizeof end.detail - 1, err.text);
        on_ended(attempt, &end);
    }
}

void attempt_stop(struct worker *worker, const struct agent_action *action)
{
    struct attempt *attempt = must_find(worker, action);
    attempt->must_stop = true;
    if (attempt->shim == NULL) {
        return; /* it has ended; the agent is about to hear of it */
    }
    if (action->kind == AGENT_ACT_STOP) {
        shimlink_stop(attempt->shim, action->cause, action->grace_ns);
    } else {
        shimlink_kill(attempt->shim, action->cause);
    }
}

void attempt_checkpoint(struct worker *worker, const struct agent_action *action)
{
    const struct attempt *attempt = must_find(worker, action);
    if (attempt->shim != NULL) {
        shimlink_checkpoint(attempt->shim);
    }
}

void attempt_lease_all(struct worker *worker, int64_t deadline_ns)
{
    for (struct mlq_list *at = worker->attempts.next; at != &worker->attempts; at = at->next) {
        struct attempt *attempt = MLQ_CONTAINER_OF(at, struct attempt, in_worker);
        if (attempt->shim != NULL) {
            shimlink_lease(attempt->shim, deadline_ns);
        }
    }
}

/* Once its end is on file, its groups may have gone to another task, which may live. */
static void adopt_groups(struct attempt *attempt, const struct shimfile_conf *conf)
{
    struct shimfile_end end;
    attempt->has_groups = shimfile_load_end(attempt->dir, &end, NULL) == MLQ_ENOENT;
    for (int i = 0; attempt->has_groups && conf->cgroups[i] != NULL; i++) {
        attempt->groups[i] = mlq_region_strdup(attempt->region, conf->cgroups[i]);
    }
}

void attempt_adopt(struct worker *worker, uint64_t number, uint32_t rank)
{
    struct attempt *attempt = create(worker, number, rank);
    struct mlq_err err = MLQ_ERR_INIT;
    struct shimfile_conf conf;
    struct mlq_region *region = mlq_region_create(); /* an environment may be large */
    attempt->notes = notes_create(attempt->dir);
    int rc = shimfile_load_conf(attempt->dir, region, &conf, &err);
    if (rc == MLQ_OK) {
        attempt->control_path = mlq_region_strdup(attempt->region, conf.control);
        attempt->checkpoint = mlq_region_strdup(attempt->region, conf.checkpoint);
        adopt_groups(attempt, &conf);
        rc = open_control(attempt, &err);
    }
    mlq_region_destroy(&region);
    if (rc != MLQ_OK) {
        /* It was killed while it was prepared: nothing of it runs, which the lock will prove. */
        log_info("attempt.incomplete", "attempt=%llu rank=%u note=\"%s\"",
                 (unsigned long long)number, rank, err.text);
    }
    log_info("attempt.found", "attempt=%llu rank=%u", (unsigned long long)number, rank);
    worker_feed(worker,
                (struct agent_event){
                    .kind = AGENT_EV_FOUND, .attempt = number, .rank = rank, .is_live = true});
    if (agent_find(&worker->agent, number, rank) == NULL) {
        destroy(attempt); /* no room: its shim lives as long as its lease */
        return;
    }
    MLQ_ASSERT(open_shim(attempt, NULL, 0, NULL) == MLQ_OK);
}

/* ---- Collecting and removing ---- */

static void collect_work(uv_work_t *work)
{
    struct attempt *attempt = work->data;
    collect_run(&attempt->collect);
}

static void collected(uv_work_t *work, int status)
{
    struct attempt *attempt = work->data;
    const struct collect_job *job = &attempt->collect;
    (void)status;
    attempt->worker->jobs--;
    attempt->has_groups = false;
    checkpoint_settle(&attempt->worker->checkpoint_spares, attempt->spare_checkpoint,
                      job->is_checkpoint_kept);
    if (job->has_fresh_groups) {
        (void)cgpool_give(&attempt->worker->cgpool, attempt->prepare.group,
                          &attempt->prepare.bounds);
    }
    if (job->was_silent && !attempt->worker->has_silence) {
        attempt->worker->silence = job->log;
        attempt->worker->has_silence = true;
    }
    if (job->cause != WORKER_CAUSE_NONE) {
        log_warn("attempt.outputs", "attempt=%llu rank=%u error=\"%s\"",
                 (unsigned long long)attempt->attempt, attempt->rank, job->err.text);
        if (attempt->detail[0] == '\0') {
            say_detail(attempt, job->err.text);
        }
    }
    feed(attempt, AGENT_EV_COLLECTED, job->cause);
}

/* One rank's, which ended well: no other has it, and none will want it. */
static const char *place_of_checkpoint(struct attempt *attempt)
{
    const struct msg_assignment *a = &attempt->assignment; /* ranks 0: it was found */
    bool is_alone = a->ranks == 1 && a->ranks_max == 0 && attempt->cause == WORKER_CAUSE_NONE;
    attempt->spare_checkpoint = CHECKPOINT_NONE;
    return is_alone ? checkpoint_place(&attempt->worker->checkpoint_spares,
                                       &attempt->spare_checkpoint, attempt->region)
                    : NULL;
}

/* The processors of the task, which it needs no more; two at least, since it is soon done. */
static unsigned threads_of(const struct attempt *attempt)
{
    int64_t cpus = (attempt->assignment.cpu_milli + 999) / 1000;
    return cpus < 2 ? 2 : cpus < OUTPUTS_THREADS_MAX ? (unsigned)cpus : OUTPUTS_THREADS_MAX;
}

void attempt_collect(struct worker *worker, const struct agent_action *action)
{
    struct attempt *attempt = must_find(worker, action);
    if (attempt->in_agent) {
        feed(attempt, AGENT_EV_COLLECTED, WORKER_CAUSE_NONE);
        return;
    }
    attempt->collect = (struct collect_job){
        .dir = attempt->dir,
        .store = worker->config->store,
        .threads = threads_of(attempt),
        .host = &worker->cgroups,
        .groups = attempt->groups,
        .may_keep_groups = attempt->prepare.group != NULL, /* else it was found */
        .checkpoint = attempt->checkpoint,
        .checkpoint_place = place_of_checkpoint(attempt),
        .silence = worker->has_silence ? &worker->silence : NULL,
        .region = attempt->region,
    };
    attempt->work.data = attempt;
    worker->jobs++;
    MLQ_ASSERT(uv_queue_work(worker->loop, &attempt->work, collect_work, collected) == 0);
}

struct removal {
    uv_work_t work;
    struct worker *worker;
    struct mlq_region *region; /* of its texts */
    const char *dir;
    const char *place; /* where it may wait as a spare one; NULL: it may not */
    uint64_t number;   /* of that place */
    struct control *control; /* owned: rests in the folder; NULL: none */
    uint64_t socket_inode;
    bool is_kept;
    bool has_groups;
    struct mlq_err err;
};

static void remove_work(uv_work_t *work)
{
    struct removal *removal = work->data;
    if (removal->has_groups) {
        (void)shimlink_clean_groups(removal->dir);
    }
    removal->is_kept =
        removal->place != NULL && folder_keep(removal->dir, removal->place, removal->socket_inode);
    if (!removal->is_kept) {
        (void)mlq_fs_remove_tree(removal->dir, &removal->err);
    }
}

static void removed(uv_work_t *work, int status)
{
    struct removal *removal = work->data;
    (void)status;
    removal->worker->jobs--;
    if (removal->place != NULL) {
        folder_kept(&removal->worker->spares, removal->number, removal->is_kept, removal->control);
    }
    if (removal->err.code != MLQ_OK) {
        log_warn("attempt.unremoved", "dir=\"%s\" error=\"%s\"", removal->dir, removal->err.text);
    }
    mlq_region_destroy(&removal->region);
    mlq_free(removal);
}

static void remove_folder(struct worker *worker, struct attempt *attempt)
{
    struct removal *removal = mlq_alloc(sizeof *removal);
    removal->work.data = removal;
    removal->worker = worker;
    removal->region = mlq_region_create();
    removal->dir = mlq_region_strdup(removal->region, attempt->dir);
    removal->place = folder_place(&worker->spares, &removal->number, removal->region);
    removal->has_groups = attempt->has_groups;
    if (removal->place != NULL && attempt->control != NULL) {
        removal->control = attempt->control;
        removal->socket_inode = control_inode(attempt->control);
        attempt->control = NULL;
    }
    worker->jobs++;
    MLQ_ASSERT(uv_queue_work(worker->loop, &removal->work, remove_work, removed) == 0);
}

void attempt_remove(struct worker *worker, const struct agent_action *action)
{
    struct attempt *attempt = must_find(worker, action);
    if (!attempt->in_agent) {
        remove_folder(worker, attempt);
    }
    outbound_flush(worker);
    destroy(attempt);
    logs_serve(worker); /* who waits for its log hears that it is gone */
}

void attempt_release_all(struct worker *worker)
{
    while (!mlq_list_empty(&worker->attempts)) {
        destroy(MLQ_CONTAINER_OF(worker->attempts.next, struct attempt, in_worker));
    }
}
