/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/relay.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/sys/clock.h"
#include "lib/sys/mem.h"
#include "scheduler/record.h"
#include "scheduler/shell_state.h"

#define ANSWER_SLACK_NS (5 * MLQ_NS_PER_S) /* beyond what the client waits for by itself */
#define LOG_WAIT_MAX_NS (30 * MLQ_NS_PER_S)
#define LOG_BYTES_MAX (1u << 20)

enum pending_kind { PENDING_LOG_LOOKUP, PENDING_LOG_READ, PENDING_RECORD, PENDING_VIEW };

struct pending {
    uint64_t handle;
    enum pending_kind kind;
    struct net_address to;
    uint64_t request_id; /* of the asker */
    uint32_t epoch;      /* an answer for an earlier leadership finds another relay */
    int64_t deadline_ns;
    uint64_t offset;
    uint32_t bytes_max;
    int64_t wait_ns;
    uint64_t job;
    uint32_t worker; /* LOG_READ: who was asked; an answer of another one is none */
};

struct relay {
    struct pending *pending;
    size_t count;
    size_t room;
    uint64_t next_handle;
};

/* What a store's callback carries: the shell and the handle, since the relay may be gone by then. */
struct ticket {
    struct shell_errand errand;
    struct shell *shell;
    uint64_t handle;
    uint32_t epoch;
};

struct relay *relay_create(void)
{
    return mlq_alloc(sizeof(struct relay));
}

void relay_destroy(struct relay **relay)
{
    if (*relay != NULL) {
        mlq_free((*relay)->pending);
        mlq_free(*relay);
        *relay = NULL;
    }
}

static struct pending *add(struct shell *shell, const struct pending *pending)
{
    struct relay *relay = shell->relay;
    if (relay->count == RELAY_MAX) {
        return NULL;
    }
    if (relay->count == relay->room) {
        relay->room = relay->room == 0 ? 64 : relay->room * 2;
        relay->pending = mlq_realloc_array(relay->pending, relay->room, sizeof *relay->pending);
    }
    struct pending *place = &relay->pending[relay->count++];
    *place = *pending;
    place->handle = ++relay->next_handle;
    place->epoch = shell->epoch;
    return place;
}

/* `worker`: whose answer it is; 0: the store's. */
static bool take(struct relay *relay, uint64_t handle, uint32_t worker, struct pending *pending)
{
    for (size_t i = 0; relay != NULL && i < relay->count; i++) {
        if (relay->pending[i].handle == handle && relay->pending[i].worker == worker) {
            *pending = relay->pending[i];
            relay->pending[i] = relay->pending[--relay->count];
            return true;
        }
    }
    return false;
}

static void refuse(struct shell *shell, const struct net_address *to, uint64_t request_id, int code,
                   const char *text)
{
    outbound_reply(shell, to, &(struct msg_reply){.id = request_id, .code = code, .text = mlq_str_from(text)});
}

static void drop_ticket(struct shell_errand *errand)
{
    mlq_free(MLQ_CONTAINER_OF(errand, struct ticket, errand));
}

static void ask_store(struct shell *shell, const struct pending *pending, const struct store_query *query,
                      store_view_cb cb)
{
    struct ticket *ticket = mlq_alloc(sizeof *ticket);
    *ticket = (struct ticket){.shell = shell, .handle = pending->handle, .epoch = shell->epoch};
    shell_errand_begin(shell, &ticket->errand, drop_ticket);
    shell->store->ops->view(shell->store, query, cb, ticket);
}

/* The asker of a store's answer; false when it is not waited for any more. Frees the ticket. */
static bool redeem(void *context, struct shell **shell, struct pending *pending)
{
    struct ticket *ticket = context;
    *shell = ticket->shell;
    bool valid = (*shell)->phase == SHELL_SERVING && (*shell)->epoch == ticket->epoch &&
                 take((*shell)->relay, ticket->handle, 0, pending);
    shell_errand_end(&ticket->errand);
    mlq_free(ticket);
    return valid;
}

/* ---- Views ---- */

static void on_view(void *context, int rc, struct mlq_str json, const struct mlq_err *err)
{
    struct shell *shell;
    struct pending pending;
    if (!redeem(context, &shell, &pending)) {
        return;
    }
    if (rc != MLQ_OK) {
        refuse(shell, &pending.to, pending.request_id, rc, err->text);
        return;
    }
    outbound_reply(shell, &pending.to, &(struct msg_reply){.id = pending.request_id, .blob = json, .job = pending.job, .end = true});
}

void relay_view(struct shell *shell, const struct net_address *to, uint64_t request_id,
                const struct store_query *query)
{
    struct pending *pending = add(shell, &(struct pending){.kind = PENDING_VIEW,
                                                           .to = *to,
                                                           .request_id = request_id,
                                                           .job = query->job,
                                                           .deadline_ns = shell_now_ns() + 30 * MLQ_NS_PER_S});
    if (pending == NULL) {
        refuse(shell, to, request_id, MLQ_EFULL, "too many questions at once: try again");
        return;
    }
    ask_store(shell, pending, query, on_view);
}

/* ---- Records ---- */

/* Not among the messages that a session must not lose: a record that is too large is said to be, and the
 * session goes on. */
static void record_reply(struct shell *shell, const struct pending *pending, int code, struct mlq_str json)
{
    struct msg msg = {.kind = MSG_RECORD_REPLY,
                      .epoch = shell->epoch,
                      .record_reply = {.request = pending->request_id, .code = code, .json = json}};
    if (net_server_send(shell->server, &pending->to, &msg, NULL) == MLQ_EFULL) {
        msg.record_reply.code = MLQ_EFULL;
        msg.record_reply.json = (struct mlq_str){0};
        (void)net_server_send(shell->server, &pending->to, &msg, NULL);
    }
}

static void on_record(void *context, int rc, struct mlq_str json, const struct mlq_err *err)
{
    (void)err;
    struct shell *shell;
    struct pending pending;
    if (!redeem(context, &shell, &pending)) {
        return;
    }
    const struct catalog_job *job = catalog_find(shell->catalog, pending.job);
    struct mlq_region *region = mlq_region_create();
    if (rc == MLQ_OK && job != NULL) { /* it lives: the asker is one of its tasks, or was a moment ago */
        json = record_complete(job, json, region);
    }
    record_reply(shell, &pending, rc, json);
    mlq_region_destroy(&region);
}

void relay_record(struct shell *shell, const struct net_address *to,
                  const struct msg_record_request *request, uint64_t job)
{
    struct pending asked = {.kind = PENDING_RECORD,
                            .to = *to,
                            .request_id = request->request,
                            .job = job,
                            .deadline_ns = shell_now_ns() + 30 * MLQ_NS_PER_S};
    struct pending *pending = job == 0 ? NULL : add(shell, &asked);
    if (pending == NULL) {
        record_reply(shell, &asked, job == 0 ? MLQ_EFENCED : MLQ_EAGAIN, (struct mlq_str){0});
        return;
    }
    ask_store(shell, pending, &(struct store_query){.view = VIEW_RECORD, .job = job}, on_record);
}

/* ---- Logs ---- */

static bool has_ended(const json_t *attempt)
{
    const char *state = json_string_value(json_object_get(attempt, "state"));
    return state != NULL && strcmp(state, "pending") != 0 && strcmp(state, "running") != 0;
}

static void on_attempt(void *context, int rc, struct mlq_str json, const struct mlq_err *err)
{
    struct shell *shell;
    struct pending pending;
    if (!redeem(context, &shell, &pending)) {
        return;
    }
    json_t *attempt = rc == MLQ_OK ? json_loadb(json.ptr, json.len, 0, NULL) : NULL;
    if (attempt == NULL) {
        refuse(shell, &pending.to, pending.request_id, rc == MLQ_OK ? MLQ_EDB : rc,
               rc == MLQ_OK ? "the record of this attempt cannot be read" : err->text);
        return;
    }
    const char *number = json_string_value(json_object_get(attempt, "attempt"));
    const char *digest = json_string_value(json_object_get(attempt, "log"));
    uint32_t rank = (uint32_t)json_integer_value(json_object_get(attempt, "rank"));
    struct roster_worker *worker =
        roster_find(shell->roster, (uint32_t)json_integer_value(json_object_get(attempt, "worker")));
    if (digest != NULL || has_ended(attempt)) { /* complete: the client reads it in the store, if there was any */
        outbound_reply(shell, &pending.to, &(struct msg_reply){.id = pending.request_id,
                                                               .text = mlq_str_from(digest == NULL ? "" : digest),
                                                               .end = true});
    } else if (worker == NULL || !worker->connected || number == NULL) {
        refuse(shell, &pending.to, pending.request_id, MLQ_ECONN,
               "the worker that has this log is not connected");
    } else {
        pending.kind = PENDING_LOG_READ;
        pending.worker = worker->id;
        struct pending *asked = add(shell, &pending);
        struct msg msg = {.kind = MSG_LOG_READ,
                          .log_read = {.request = asked->handle,
                                       .member = {.attempt = strtoull(number, NULL, 10), .rank = rank},
                                       .offset = pending.offset,
                                       .bytes_max = pending.bytes_max,
                                       .wait_ns = pending.wait_ns}};
        outbound_worker(shell, worker, &msg);
        if (!worker->connected && take(shell->relay, msg.log_read.request, worker->id, &pending)) { /* just gone */
            refuse(shell, &pending.to, pending.request_id, MLQ_ECONN, "the worker that has this log is not connected");
        }
    }
    json_decref(attempt);
}

void relay_log(struct shell *shell, const struct net_address *to, const struct msg_request *request)
{
    int64_t wait_ns = request->wait_ns < 0 ? 0 : request->wait_ns > LOG_WAIT_MAX_NS ? LOG_WAIT_MAX_NS : request->wait_ns;
    uint32_t bytes = request->bytes_max == 0 || request->bytes_max > LOG_BYTES_MAX ? LOG_BYTES_MAX : request->bytes_max;
    struct pending *pending = add(shell, &(struct pending){.kind = PENDING_LOG_LOOKUP,
                                                           .to = *to,
                                                           .request_id = request->id,
                                                           .deadline_ns = shell_now_ns() + wait_ns + ANSWER_SLACK_NS,
                                                           .offset = request->offset,
                                                           .bytes_max = bytes,
                                                           .wait_ns = wait_ns,
                                                           .job = request->job});
    if (pending == NULL) {
        refuse(shell, to, request->id, MLQ_EFULL, "too many questions at once: try again");
        return;
    }
    ask_store(shell, pending,
              &(struct store_query){.view = VIEW_ATTEMPT,
                                    .job = request->job,
                                    .stage = request->stage,
                                    .index = request->index,
                                    .rank = request->rank},
              on_attempt);
}

void relay_on_log_data(struct shell *shell, uint32_t worker, const struct msg_log_data *data)
{
    const struct mlq_str gone = MLQ_STR("its worker does not have this log");
    struct pending pending;
    if (!take(shell->relay, data->request, worker, &pending)) {
        return;
    }
    if (data->code == MLQ_ENOENT) {
        /* The worker has forgotten the attempt: its end, with the log's digest, is in the record by now. */
        refuse(shell, &pending.to, pending.request_id, MLQ_EAGAIN, "the log has just moved to the store: ask again");
        return;
    }
    outbound_reply(shell, &pending.to, &(struct msg_reply){.id = pending.request_id,
                                                           .code = data->code,
                                                           .text = data->code == MLQ_OK ? (struct mlq_str){0} : gone,
                                                           .blob = data->bytes,
                                                           .offset = data->offset,
                                                           .end = data->end});
}

/* ---- Time ---- */

void relay_expire(struct relay *relay, struct shell *shell, int64_t now_ns)
{
    for (size_t i = 0; i < relay->count;) {
        struct pending pending = relay->pending[i];
        if (pending.deadline_ns > now_ns) {
            i++;
            continue;
        }
        relay->pending[i] = relay->pending[--relay->count];
        if (pending.kind == PENDING_RECORD) {
            record_reply(shell, &pending, MLQ_ETIMEOUT, (struct mlq_str){0});
        } else {
            refuse(shell, &pending.to, pending.request_id, MLQ_ETIMEOUT, "no answer in time");
        }
    }
}

int64_t relay_deadline_ns(const struct relay *relay)
{
    int64_t due = INT64_MAX;
    for (size_t i = 0; i < relay->count; i++) {
        due = relay->pending[i].deadline_ns < due ? relay->pending[i].deadline_ns : due;
    }
    return due;
}
