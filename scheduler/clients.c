/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What clients ask. What changes something goes through the core, and its answer waits for the
 * transaction; what only reads is answered from memory or by the store.
 */
#include "lib/base/panic.h"
#include "scheduler/shell_state.h"

#define KEY_BYTES_MAX 255

static void refuse(struct shell *shell, const struct net_peer *peer, const struct msg_request *request, int code,
                   const char *text)
{
    outbound_reply(shell, &peer->address,
                   &(struct msg_reply){.id = request->id, .code = code, .text = mlq_str_from(text), .job = request->job});
}

static const char *amounts(struct shell *shell, const struct rvec *vector)
{
    return mlq_region_format(shell->open->region, "%g CPUs, %lld MiB, %d GPUs",
                             (double)vector->cpu_milli / 1000,
                             (long long)(vector->mem_bytes >> 20), (int)vector->gpus);
}

static bool is_larger(const struct rvec *a, const struct rvec *b)
{
    return a->gpus != b->gpus             ? a->gpus > b->gpus
           : a->cpu_milli != b->cpu_milli ? a->cpu_milli > b->cpu_milli
                                          : a->mem_bytes > b->mem_bytes;
}

/* The first stage that the workers which are connected now have no room for, and the largest of them: the two that
 * one has to bring together. Empty: there is none. */
static struct mlq_str too_large(struct shell *shell, const struct catalog_job *job)
{
    uint16_t number = 0;
    while (number < job->spec->stage_count && core_is_feasible(shell->core, &job->desc.stages[number])) {
        number++;
    }
    if (number == job->spec->stage_count) {
        return (struct mlq_str){0};
    }
    const struct core_stage_desc *stage = &job->desc.stages[number];
    struct rvec most = {0};
    const char *largest = NULL;
    for (size_t i = 0; i < roster_count(shell->roster); i++) {
        const struct roster_worker *worker = roster_get(shell->roster, i);
        struct core_worker_view view = {0};
        if (core_worker(shell->core, worker->id, &view) && view.known &&
            (largest == NULL || is_larger(&view.capacity, &most))) {
            most = view.capacity;
            largest = worker->name;
        }
    }
    const char *have = largest == NULL
                           ? "no worker is connected"
                           : mlq_region_format(shell->open->region, "the largest worker, %s, has %s",
                                               largest, amounts(shell, &most));
    return mlq_str_from(mlq_region_format(shell->open->region,
                                          "stage '%.*s' asks for %u x (%s), more than the workers that are connected "
                                          "now have (%s)",
                                          MLQ_STR_ARG(job->spec->stages[number].name),
                                          stage->ranks_min > 0 ? stage->ranks_min : stage->ranks,
                                          amounts(shell, &stage->per_rank), have));
}

static void submit(struct shell *shell, const struct net_peer *peer, const struct msg_request *request)
{
    uint64_t known = keybook_find(shell->keys, request->key);
    if (known != 0) { /* said again: the same answer, once it is durable */
        turn_hold_reply(shell->open, &peer->address, &(struct msg_reply){.id = request->id, .job = known});
        return;
    }
    if (request->key.len > KEY_BYTES_MAX) {
        refuse(shell, peer, request, MLQ_EINVAL, "the idempotency key is longer than 255 bytes");
        return;
    }
    if (keybook_find(shell->old_keys, request->key) != 0) {
        refuse(shell, peer, request, MLQ_EEXIST, "the idempotency key was used for a job more than seven days ago: use a new one");
        return;
    }
    if (catalog_is_full(shell->catalog)) {
        refuse(shell, peer, request, MLQ_EFULL, "the scheduler holds as many jobs as its limit allows: wait, or raise --jobs-max");
        return;
    }
    struct mlq_err err = MLQ_ERR_INIT;
    struct catalog_job *job = catalog_job_create(shell->specs, request->spec, &err);
    if (job == NULL) {
        refuse(shell, peer, request, err.code, err.text);
        return;
    }
    struct mlq_str problem = request->feasible_only ? too_large(shell, job) : (struct mlq_str){0};
    if (problem.len > 0) {
        catalog_job_destroy(&job);
        refuse(shell, peer, request, MLQ_EINVAL, problem.ptr);
        return;
    }
    shell->submitting = job;
    shell->submitter = mlq_str_from(peer->name);
    struct core_event event = {.kind = EV_SUBMIT, .request = 1, .desc = &job->desc};
    shell_step(shell, &event);
    if (shell->submitting != NULL) { /* refused */
        catalog_job_destroy(&shell->submitting);
    }
}

static void retry(struct shell *shell, const struct net_peer *peer, const struct msg_request *request)
{
    if (core_job_is_live(shell->core, request->job)) {
        refuse(shell, peer, request, MLQ_EEXIST, "the job has not ended: there is nothing to retry yet");
        return;
    }
    if (catalog_find(shell->catalog, request->job) != NULL) {
        refuse(shell, peer, request, MLQ_EAGAIN, "the end of the job is just being recorded: try again");
        return;
    }
    restore_job(shell, request->job, &peer->address, request->id);
}

static void watch_job(struct shell *shell, const struct net_peer *peer, const struct msg_request *request)
{
    const struct catalog_job *job = catalog_find(shell->catalog, request->job);
    if (job == NULL) {
        outbound_reply(shell, &peer->address, &(struct msg_reply){.id = request->id, .job = request->job, .end = true});
        return;
    }
    int64_t wait_ns = request->wait_ns < 0 ? 0 : request->wait_ns > WATCH_WAIT_MAX_NS ? WATCH_WAIT_MAX_NS : request->wait_ns;
    if (job->version > request->version) {
        watch_reply(shell->watch, shell, &peer->address, request->id, request->job);
        return;
    }
    if (!watch_add(shell->watch, &peer->address, request->id, request->job, request->version,
                   shell_now_ns() + wait_ns)) {
        refuse(shell, peer, request, MLQ_EFULL, "too many watchers: try again");
    }
}

static void view(struct shell *shell, const struct net_peer *peer, const struct msg_request *request, enum store_view kind)
{
    relay_view(shell, &peer->address, request->id,
               &(struct store_query){.view = kind,
                                     .job = request->job,
                                     .stage = request->stage,
                                     .name = request->name,
                                     .selector = request->selector,
                                     .index = request->index,
                                     .rank = request->rank,
                                     .limit = request->limit,
                                     .before = request->before});
}

static void reply_json(struct shell *shell, const struct net_peer *peer, const struct msg_request *request,
                       struct mlq_str (*make)(struct shell *, struct mlq_region *))
{
    struct mlq_region *region = mlq_region_create();
    outbound_reply(shell, &peer->address, &(struct msg_reply){.id = request->id, .blob = make(shell, region), .end = true});
    mlq_region_destroy(&region);
}

static bool changes_something(enum msg_op op)
{
    return op == MSG_OP_SUBMIT || op == MSG_OP_CANCEL || op == MSG_OP_RETRY;
}

void clients_request(struct shell *shell, const struct net_peer *peer, const struct msg_request *request)
{
    if (turn_is_full(shell->open) && (changes_something(request->op) || request->op == MSG_OP_WATCH)) {
        refuse(shell, peer, request, MLQ_EAGAIN, "the record is behind: try again in a moment");
        return;
    }
    shell->request = request;
    shell->asker = peer->address;
    switch (request->op) {
    case MSG_OP_SUBMIT:
        submit(shell, peer, request);
        break;
    case MSG_OP_CANCEL:
        shell_step(shell, &(struct core_event){.kind = EV_CANCEL,
                                               .request = 1,
                                               .job = request->job,
                                               .payload = turn_add_payload(
                                                   shell->open, &(struct msg_report_item){.detail = request->text})});
        break;
    case MSG_OP_RETRY:
        retry(shell, peer, request);
        break;
    case MSG_OP_WATCH:
        watch_job(shell, peer, request);
        break;
    case MSG_OP_CHECKPOINT:
        checkpoint_ask(shell, &peer->address, request);
        break;
    case MSG_OP_LOG:
        relay_log(shell, &peer->address, request);
        break;
    case MSG_OP_SHOW:
        view(shell, peer, request, VIEW_SHOW);
        break;
    case MSG_OP_LIST:
        view(shell, peer, request, VIEW_LIST);
        break;
    case MSG_OP_METRICS:
        view(shell, peer, request, VIEW_METRICS);
        break;
    case MSG_OP_RESOLVE:
        view(shell, peer, request, VIEW_RESOLVE);
        break;
    case MSG_OP_STATUS:
        reply_json(shell, peer, request, status_cluster);
        break;
    case MSG_OP_NODES:
        reply_json(shell, peer, request, status_nodes);
        break;
    }
    shell->request = NULL;
}

void clients_on_reply(struct shell *shell, const struct core_action *action)
{
    MLQ_ASSERT(shell->request != NULL); /* the core answers within the request's own event */
    struct msg_reply reply = {.id = shell->request->id, .job = action->job};
    bool request_is_retry = shell->request->op == MSG_OP_RETRY;
    switch (action->reply) {
    case REPLY_OK:
        break;
    case REPLY_FULL:
        reply.code = MLQ_EFULL;
        reply.text = MLQ_STR("the scheduler's tables are full: wait for jobs to end, or raise its limits");
        break;
    case REPLY_INVALID:
        reply.code = MLQ_EINVAL;
        reply.text = MLQ_STR("the job's numbers are out of range or its stages need each other in a circle");
        break;
    case REPLY_NOT_FOUND:
        reply.code = MLQ_ENOENT;
        reply.text = MLQ_STR("no such job");
        break;
    case REPLY_ENDED:
        reply.code = MLQ_EEXIST;
        reply.text = request_is_retry ? MLQ_STR("the job has succeeded, or has not ended yet: there is nothing to retry")
                                      : MLQ_STR("the job has ended already");
        break;
    }
    if (action->reply == REPLY_OK && shell->request->op == MSG_OP_SUBMIT) {
        struct mlq_str problem = too_large(shell, catalog_find(shell->catalog, action->job));
        if (problem.len > 0) {
            reply.text = mlq_str_from(
                mlq_region_format(shell->open->region, "%s: it waits for larger ones", problem.ptr));
        }
    }
    turn_hold_reply(shell->open, &shell->asker, &reply);
}
