/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What the agent wants said becomes messages. A message that cannot be sent is dropped here: the
 * agent repeats what matters, and metrics wait in their notes.
 */
#include <stdio.h>
#include <string.h>

#include "lib/sys/clock.h"
#include "lib/sys/log.h"
#include "worker/worker.h"

#define NOTES_RETRY_NS    (500 * MLQ_NS_PER_MS)
#define NOTES_PER_MESSAGE 5000

bool outbound_send(struct worker *worker, struct msg *msg)
{
    struct mlq_err err = MLQ_ERR_INIT;
    msg->epoch = worker->agent.epoch;
    if (worker->link == NULL) {
        return false;
    }
    int rc = net_link_send(worker->link, msg, &err);
    if (rc != MLQ_OK && rc != MLQ_ECONN) {
        log_warn("link.unsent", "kind=%d error=\"%s\"", (int)msg->kind, err.text);
    }
    return rc == MLQ_OK;
}

void outbound_hello(struct worker *worker, const struct agent_action *action)
{
    const struct config *config = worker->config;
    struct msg_member claims[AGENT_MEMBERS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < AGENT_MEMBERS_MAX; i++) {
        const struct agent_member *member = &worker->agent.members[i];
        if (member->state != AGENT_FREE) {
            claims[count++] = (struct msg_member){.attempt = member->attempt, .rank = member->rank};
        }
    }
    struct msg msg = {
        .kind = MSG_HELLO,
        .hello = {.session = action->session,
                  .software = mlq_str_from(worker->software),
                  .host = mlq_str_from(worker->probe.host),
                  .cpu_milli = worker->probe.cpu_milli,
                  .mem_bytes = worker->probe.mem_bytes,
                  .gpu_count = worker->probe.gpu_count,
                  .gpu_uuids = worker->probe.gpu_uuids,
                  .address = mlq_str_from(config->address),
                  .port_first = config->port_first,
                  .port_count = config->port_count,
                  .claims = claims,
                  .claim_count = count},
    };
    (void)outbound_send(worker, &msg);
}

void outbound_heartbeat(struct worker *worker, const struct agent_action *action)
{
    struct msg_progress progress[AGENT_MEMBERS_MAX];
    size_t count = 0;
    for (struct mlq_list *at = worker->attempts.next;
         at != &worker->attempts && count < AGENT_MEMBERS_MAX; at = at->next) {
        struct attempt *attempt = MLQ_CONTAINER_OF(at, struct attempt, in_worker);
        struct msg_progress *item = &progress[count];
        if (attempt->notes != NULL &&
            notes_take_progress(attempt->notes, &item->fraction, &item->text)) {
            item->member = (struct msg_member){.attempt = attempt->attempt, .rank = attempt->rank};
            count++;
        }
    }
    struct msg msg = {
        .kind = MSG_HEARTBEAT,
        .heartbeat = {.session = action->session,
                      .sent_ns = mlq_clock_boot_ns(),
                      .progress = progress,
                      .progress_count = count},
    };
    (void)outbound_send(worker, &msg);
}

/* ---- Reports ---- */

static void send_item(struct worker *worker, const struct msg_report_item *item)
{
    struct msg msg = {.kind = MSG_REPORT, .report = {.items = item, .count = 1}};
    (void)outbound_send(worker, &msg);
}

/* The latest values of what it reported, then metrics.json's, which win. */
static size_t gather_metrics(const struct attempt *attempt, struct msg_metric *metrics)
{
    const struct msg_metric *latest = NULL;
    size_t latest_count = attempt->notes == NULL ? 0 : notes_latest(attempt->notes, &latest);
    size_t count = 0;
    for (size_t i = 0; i < latest_count; i++) {
        bool is_replaced = false;
        for (size_t k = 0; k < attempt->collect.metric_count && !is_replaced; k++) {
            is_replaced = mlq_str_eq(attempt->collect.metrics[k].name, latest[i].name) &&
                          latest[i].step == INT64_MIN;
        }
        if (!is_replaced) {
            metrics[count++] = latest[i];
        }
    }
    for (size_t k = 0; k < attempt->collect.metric_count; k++) {
        metrics[count++] = attempt->collect.metrics[k];
    }
    return count;
}

static void report_ended(struct worker *worker, const struct agent_action *action,
                         struct msg_report_item *item)
{
    struct attempt *attempt = attempt_find(worker, action->attempt, action->rank);
    struct msg_metric metrics[NOTES_NAMES_MAX + COLLECT_METRICS_MAX];
    item->kind = MSG_REPORT_ENDED;
    item->cause = (uint32_t)action->cause;
    item->exit_code = action->exit_code;
    item->signal = action->signal;
    if (attempt == NULL) { /* refused: there was no room for it */
        item->detail = MLQ_STR("this worker is full");
    } else {
        item->detail = mlq_str_from(attempt->detail);
        item->artifacts = attempt->collect.artifacts;
        item->artifact_count = attempt->collect.artifact_count;
        item->metrics = metrics;
        item->metric_count = gather_metrics(attempt, metrics);
    }
    send_item(worker, item);
}

void outbound_report(struct worker *worker, const struct agent_action *action)
{
    struct msg_report_item item = {
        .kind = MSG_REPORT_STARTED,
        .member = {.attempt = action->attempt, .rank = action->rank},
        .exit_code = -1,
        .at_us = mlq_clock_wall_us(),
    };
    if (action->kind == AGENT_ACT_REPORT_STARTED) {
        send_item(worker, &item);
    } else {
        outbound_notes(worker); /* in order: what it said, then that it ended */
        report_ended(worker, action, &item);
    }
}

void outbound_leaving(struct worker *worker)
{
    struct msg msg = {.kind = MSG_LEAVING};
    (void)outbound_send(worker, &msg);
}

/* ---- Notes ---- */

static bool send_notes(struct worker *worker, struct attempt *attempt)
{
    const struct msg_metric *metrics;
    size_t count = attempt->notes == NULL ? 0 : notes_pending(attempt->notes, &metrics);
    while (count > 0) {
        size_t part = count < NOTES_PER_MESSAGE ? count : NOTES_PER_MESSAGE;
        const struct msg_report_item item = {
            .kind = MSG_REPORT_NOTE,
            .member = {.attempt = attempt->attempt, .rank = attempt->rank},
            .exit_code = -1,
            .metrics = metrics,
            .metric_count = part,
            .at_us = mlq_clock_wall_us(),
        };
        struct msg msg = {.kind = MSG_REPORT, .report = {.items = &item, .count = 1}};
        if (!outbound_send(worker, &msg)) {
            return false;
        }
        notes_sent(attempt->notes, part);
        count = notes_pending(attempt->notes, &metrics);
    }
    return true;
}

void outbound_notes(void *context)
{
    struct worker *worker = context;
    bool is_all_sent = worker->agent.link == AGENT_LINK_WELCOMED;
    for (struct mlq_list *at = worker->attempts.next; is_all_sent && at != &worker->attempts;
         at = at->next) {
        is_all_sent = send_notes(worker, MLQ_CONTAINER_OF(at, struct attempt, in_worker));
    }
    if (!is_all_sent) {
        loop_timer_set(worker->notes_timer, NOTES_RETRY_NS, 0);
    }
}
