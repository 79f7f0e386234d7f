/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "client/libmlq/mlq.h"

#include <jansson.h>
#include <stdlib.h>

#include "lib/net/net.h"
#include "lib/sys/clock.h"
#include "lib/sys/mem.h"

#define TIMEOUT_NS (10 * MLQ_NS_PER_S)
#define LOG_TRIES  5

struct mlq_client {
    struct net_caller *caller;
    int64_t timeout_ns;
};

int mlq_client_open(const struct mlq_client_options *options, struct mlq_client **client,
                    struct mlq_err *err)
{
    struct net_keypair keys;
    struct net_caller *caller = NULL;
    int rc = net_keys_load(options->key_path, &keys, err);
    if (rc == MLQ_OK) {
        rc = net_caller_open(&(struct net_peer_options){.endpoint = options->endpoint,
                                                        .server_public_key = options->server_key,
                                                        .keys = &keys},
                             &caller, err);
    }
    if (rc != MLQ_OK) {
        return rc;
    }
    *client = mlq_alloc(sizeof **client);
    (*client)->caller = caller;
    (*client)->timeout_ns = options->timeout_ns == 0 ? TIMEOUT_NS : options->timeout_ns;
    return MLQ_OK;
}

void mlq_client_close(struct mlq_client **client)
{
    if (*client != NULL) {
        net_caller_close(&(*client)->caller);
        mlq_free(*client);
        *client = NULL;
    }
}

/* A refusal in the reply becomes the call's error. */
static int call(struct mlq_client *client, struct msg_request *request, struct mlq_region *region,
                struct msg_reply *reply, struct mlq_err *err)
{
    int64_t timeout_ns = client->timeout_ns + (request->wait_ns > 0 ? request->wait_ns : 0);
    int rc = net_caller_call(client->caller, request, timeout_ns, region, reply, err);
    if (rc == MLQ_OK && reply->code != MLQ_OK) {
        rc = mlq_fail(err, reply->code, "%.*s", MLQ_STR_ARG(reply->text));
    }
    return rc;
}

static int call_for_json(struct mlq_client *client, struct msg_request *request,
                         struct mlq_region *region, struct mlq_str *json, struct mlq_err *err)
{
    struct msg_reply reply;
    int rc = call(client, request, region, &reply, err);
    if (rc == MLQ_OK) {
        *json = reply.blob;
    }
    return rc;
}

static int call_for_done(struct mlq_client *client, struct msg_request *request,
                         struct mlq_err *err)
{
    struct mlq_region *region = mlq_region_create();
    struct msg_reply reply;
    int rc = call(client, request, region, &reply, err);
    mlq_region_destroy(&region);
    return rc;
}

int mlq_client_submit(struct mlq_client *client, const struct mlq_client_submission *submission,
                      uint64_t *job, struct mlq_region *region, struct mlq_str *warning,
                      struct mlq_err *err)
{
    struct msg_request request = {.op = MSG_OP_SUBMIT,
                                  .spec = submission->spec,
                                  .key = submission->idempotency_key,
                                  .feasible_only = submission->feasible_only};
    struct msg_reply reply;
    int rc = call(client, &request, region, &reply, err);
    if (rc == MLQ_OK) {
        *job = reply.job;
        if (warning != NULL) {
            *warning = reply.text;
        }
    }
    return rc;
}

int mlq_client_cancel(struct mlq_client *client, uint64_t job, struct mlq_str reason,
                      struct mlq_err *err)
{
    return call_for_done(
        client, &(struct msg_request){.op = MSG_OP_CANCEL, .job = job, .text = reason}, err);
}

int mlq_client_retry(struct mlq_client *client, uint64_t job, struct mlq_err *err)
{
    return call_for_done(client, &(struct msg_request){.op = MSG_OP_RETRY, .job = job}, err);
}

int mlq_client_checkpoint(struct mlq_client *client, uint64_t job, struct mlq_str stage,
                          struct mlq_region *region, struct mlq_str *json, struct mlq_err *err)
{
    return call_for_json(client,
                         &(struct msg_request){.op = MSG_OP_CHECKPOINT, .job = job, .stage = stage},
                         region, json, err);
}

int mlq_client_status(struct mlq_client *client, struct mlq_region *region, struct mlq_str *json,
                      struct mlq_err *err)
{
    return call_for_json(client, &(struct msg_request){.op = MSG_OP_STATUS}, region, json, err);
}

int mlq_client_nodes(struct mlq_client *client, struct mlq_region *region, struct mlq_str *json,
                     struct mlq_err *err)
{
    return call_for_json(client, &(struct msg_request){.op = MSG_OP_NODES}, region, json, err);
}

int mlq_client_show(struct mlq_client *client, uint64_t job, struct mlq_region *region,
                    struct mlq_str *json, struct mlq_err *err)
{
    return call_for_json(client, &(struct msg_request){.op = MSG_OP_SHOW, .job = job}, region, json,
                         err);
}

int mlq_client_metrics(struct mlq_client *client, uint64_t job, struct mlq_str stage,
                       struct mlq_str name, struct mlq_region *region, struct mlq_str *json,
                       struct mlq_err *err)
{
    return call_for_json(
        client,
        &(struct msg_request){.op = MSG_OP_METRICS, .job = job, .stage = stage, .name = name},
        region, json, err);
}

int mlq_client_list(struct mlq_client *client, const struct mlq_client_list *filter,
                    struct mlq_region *region, struct mlq_str *json, struct mlq_err *err)
{
    return call_for_json(client,
                         &(struct msg_request){.op = MSG_OP_LIST,
                                               .selector = filter->state,
                                               .name = filter->name,
                                               .limit = filter->limit,
                                               .before = filter->before},
                         region, json, err);
}

int mlq_client_resolve(struct mlq_client *client, struct mlq_str selector,
                       struct mlq_region *region, uint64_t **jobs, size_t *count,
                       struct mlq_err *err)
{
    struct mlq_str json;
    int rc =
        call_for_json(client, &(struct msg_request){.op = MSG_OP_RESOLVE, .selector = selector},
                      region, &json, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    json_t *document = json_loadb(json.ptr, json.len, 0, NULL);
    json_t *ids = json_object_get(document, "jobs");
    if (!json_is_array(ids)) {
        json_decref(document);
        return mlq_fail(err, MLQ_EPROTO,
                        "the scheduler's answer is not understood: is it of another version?");
    }
    *count = json_array_size(ids);
    *jobs = mlq_region_array(region, *count, sizeof **jobs);
    for (size_t i = 0; i < *count; i++) {
        const char *id = json_string_value(json_array_get(ids, i));
        (*jobs)[i] = id == NULL ? 0 : strtoull(id, NULL, 10);
    }
    json_decref(document);
    return MLQ_OK;
}

int mlq_client_watch(struct mlq_client *client, uint64_t job, uint64_t version, int64_t wait_ns,
                     struct mlq_region *region, struct mlq_str *json, bool *ended,
                     struct mlq_err *err)
{
    struct msg_request request = {
        .op = MSG_OP_WATCH, .job = job, .version = version, .wait_ns = wait_ns};
    struct msg_reply reply;
    int rc = call(client, &request, region, &reply, err);
    if (rc == MLQ_OK) {
        *json = reply.blob;
        *ended = reply.end;
    }
    return rc;
}

int mlq_client_log(struct mlq_client *client, struct mlq_client_log *where,
                   struct mlq_region *region, struct mlq_str *bytes, struct mlq_str *digest,
                   bool *end, struct mlq_err *err)
{
    struct msg_request request = {.op = MSG_OP_LOG,
                                  .job = where->job,
                                  .stage = where->stage,
                                  .index = where->index,
                                  .rank = where->rank,
                                  .offset = where->offset,
                                  .wait_ns = where->wait_ns};
    struct msg_reply reply;
    int rc = MLQ_EAGAIN;
    for (int i = 0; rc == MLQ_EAGAIN && i < LOG_TRIES;
         i++) { /* it moves from the worker to the store once */
        rc = call(client, &request, region, &reply, err);
    }
    if (rc == MLQ_OK) {
        *bytes = reply.blob;
        *digest = reply.text;
        *end = reply.end;
        if (reply.blob.len > 0) {
            where->offset = reply.offset + reply.blob.len;
        }
    }
    return rc;
}
