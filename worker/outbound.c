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
#define FLIGHTS_PER_HEARTBEAT 256
/* How long a start waits for company, of the task's end for instance: then they are one message and
 * one commit of the scheduler's. Nothing follows from a start but that people see it. */
#define STARTS_DELAY_NS   (10 * MLQ_NS_PER_MS)
#define REPORT_BYTES_MAX  (1u << 20) /* with one more item a frame still holds them */

static bool send_now(struct worker *worker, struct msg *msg)
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

static void forget_reports(struct worker *worker)
{
    worker->report_count = 0;
    worker->report_bytes = 0;
    worker->has_urgent_report = false;
    mlq_region_reset(worker->report_region);
    loop_timer_clear(worker->starts_timer);
}

void outbound_flush(struct worker *worker)
{
    if (worker->report_count == 0) {
        return;
    }
    struct msg msg = {.kind = MSG_REPORT,
                      .report = {.items = worker->reports, .count = worker->report_count}};
    (void)send_now(worker, &msg);
    forget_reports(worker);
}

void outbound_starts(void *context)
{
    outbound_flush(context);
}

void outbound_turn_end(struct worker *worker)
{
    if (worker->has_urgent_report) {
        outbound_flush(worker);
    } else if (worker->report_count > 0 && !loop_timer_is_set(worker->starts_timer)) {
        loop_timer_set(worker->starts_timer, STARTS_DELAY_NS, 0);
    }
}

bool outbound_send(struct worker *worker, struct msg *msg)
{
    outbound_flush(worker);
    return send_now(worker, msg);
}

void outbound_hello(struct worker *worker, const struct agent_action *action)
{
    const struct config *config = worker->config;
    struct msg_member claims[AGENT_MEMBERS_MAX];
    size_t count = 0;
    forget_reports(worker); /* of the last session: the welcome brings all of them */
    for (size_t i = 0; i < worker->agent.fresh; i++) {
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
                  .gpus = worker->probe.gpus,
                  .gpu_detail_count = worker->probe.gpu_count,
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
    struct msg_flight flights[FLIGHTS_PER_HEARTBEAT];
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
                      .progress_count = count,
                      .flights = flights,
                      .flight_count = flights_gather(worker, flights, FLIGHTS_PER_HEARTBEAT)},
    };
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

/* ---- Reports ---- */

/* About what it takes in a message. */
static size_t item_bytes(const struct msg_report_item *item)
{
    size_t bytes = 64 + item->detail.len;
    for (size_t i = 0; i < item->artifact_count; i++) {
        bytes += 32 + item->artifacts[i].name.len + item->artifacts[i].digest.len;
    }
    for (size_t i = 0; i < item->metric_count; i++) {
        bytes += 32 + item->metrics[i].name.len;
    }
    return bytes;
}

static void add_item(struct worker *worker, const struct msg_report_item *item)
{
    worker->reports[worker->report_count++] = *item;
    worker->report_bytes += item_bytes(item);
    worker->has_urgent_report = worker->has_urgent_report || item->kind != MSG_REPORT_STARTED;
    if (worker->report_count == WORKER_REPORTS_MAX || worker->report_bytes > REPORT_BYTES_MAX) {
        outbound_flush(worker);
    }
}

/* The latest values of what it reported, then metrics.json's, which win. */
static void gather_metrics(const struct attempt *attempt, struct mlq_region *region,
                           struct msg_report_item *item)
{
    const struct msg_metric *latest = NULL;
    size_t latest_count = attempt->notes == NULL ? 0 : notes_latest(attempt->notes, &latest);
    struct msg_metric *metrics =
        mlq_region_array(region, latest_count + attempt->collect.metric_count, sizeof *metrics);
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
    item->metrics = metrics;
    item->metric_count = count;
}

static void report_ended(struct worker *worker, const struct agent_action *action,
                         struct msg_report_item *item)
{
    struct attempt *attempt = attempt_find(worker, action->attempt, action->rank);
    item->kind = MSG_REPORT_ENDED;
    item->cause = (uint32_t)action->cause;
    item->exit_code = action->exit_code;
    item->signal = action->signal;
    if (attempt == NULL) { /* refused: there was no room for it */
        item->detail = MLQ_STR("this worker is full");
    } else {
        if (!send_notes(worker, attempt)) { /* in order: what it said, then that it ended */
            loop_timer_set(worker->notes_timer, NOTES_RETRY_NS, 0);
        }
        item->detail = mlq_str_from(attempt->detail);
        item->artifacts = attempt->collect.artifacts;
        item->artifact_count = attempt->collect.artifact_count;
        gather_metrics(attempt, worker->report_region, item);
    }
    add_item(worker, item);
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
        add_item(worker, &item);
    } else if (action->kind == AGENT_ACT_REPORT_READY) {
        item.kind = MSG_REPORT_READY;
        item.port = action->port;
        item.fingerprint = action->fingerprint;
        item.generation = action->generation;
        add_item(worker, &item);
    } else {
        report_ended(worker, action, &item);
    }
}

void outbound_leaving(struct worker *worker)
{
    struct msg msg = {.kind = MSG_LEAVING};
    (void)outbound_send(worker, &msg);
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
