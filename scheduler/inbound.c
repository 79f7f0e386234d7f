/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What workers say, as events. Who speaks is decided by the connection's key; a message can only speak of
 * that worker's own attempts, because the core compares the worker of each.
 */
#include <inttypes.h>

#include "lib/sys/clock.h"
#include "lib/sys/log.h"
#include "scheduler/shell_state.h"

static void on_hello(struct shell *shell, const struct net_peer *peer, const struct msg_hello *hello)
{
    struct roster_worker *worker = roster_enroll(shell->roster, peer);
    bool sane = hello->cpu_milli > 0 && hello->mem_bytes > 0 && hello->gpu_count <= CORE_GPUS_PER_WORKER_MAX;
    if (worker == NULL || !sane) {
        struct msg refused = {.kind = MSG_REFUSED,
                              .refused = {.code = worker == NULL ? MLQ_EFULL : MLQ_EINVAL,
                                          .text = worker == NULL ? MLQ_STR("as many workers are known as the limit allows")
                                                                 : MLQ_STR("hello: CPUs, memory or GPUs out of range")}};
        (void)net_server_send(shell->server, &peer->address, &refused, NULL);
        return;
    }
    roster_hello(worker, peer, hello, shell_now_ns());
    log_info("worker.hello", "worker=%u name=%s host=%s cpus=%" PRId64 "m gpus=%u claims=%zu", worker->id, worker->name,
             worker->host, worker->cpu_milli, worker->gpu_count, hello->claim_count);
    struct store_worker row = roster_row(worker, mlq_clock_wall_us());
    turn_add_worker(shell->open, &row);
    struct core_claim *claims = mlq_region_array(shell->open->region, hello->claim_count, sizeof *claims);
    for (size_t i = 0; i < hello->claim_count; i++) {
        claims[i] = (struct core_claim){.attempt = hello->claims[i].attempt, .rank = hello->claims[i].rank};
    }
    shell_step(shell, &(struct core_event){.kind = EV_WORKER_HELLO,
                                           .worker = worker->id,
                                           .session = hello->session,
                                           .capacity = {.cpu_milli = hello->cpu_milli,
                                                        .mem_bytes = hello->mem_bytes,
                                                        .gpus = (int32_t)hello->gpu_count},
                                           .claims = claims,
                                           .claim_count = (uint32_t)hello->claim_count});
}

/* An acknowledgement lengthens the worker's lease, so it is sent only while leadership is certain; it does
 * not wait for a commit, because tasks must outlive a slow database. */
static void on_heartbeat(struct shell *shell, struct roster_worker *worker, const struct msg_heartbeat *heartbeat)
{
    if (heartbeat->session != worker->session) {
        return;
    }
    if (shell_is_trusted(shell)) {
        struct msg ack = {.kind = MSG_HEARTBEAT_ACK,
                          .heartbeat_ack = {.session = heartbeat->session, .sent_ns = heartbeat->sent_ns}};
        outbound_worker(shell, worker, &ack);
        shell_step(shell, &(struct core_event){.kind = EV_WORKER_HEARTBEAT, .worker = worker->id, .session = heartbeat->session});
    }
    for (size_t i = 0; i < heartbeat->progress_count; i++) {
        const struct msg_progress *progress = &heartbeat->progress[i];
        shell_step(shell, &(struct core_event){.kind = EV_NOTE,
                                               .worker = worker->id,
                                               .attempt = progress->member.attempt,
                                               .rank = progress->member.rank,
                                               .payload = turn_add_progress(shell->open, progress->fraction, progress->text)});
    }
}

static void on_report_item(struct shell *shell, const struct roster_worker *worker, const struct msg_report_item *item)
{
    struct core_event event = {
        .worker = worker->id,
        .attempt = item->member.attempt,
        .rank = item->member.rank,
        .exit_code = item->exit_code,
        .signal = item->signal,
    };
    switch (item->kind) {
    case MSG_REPORT_STARTED:
        event.kind = EV_STARTED;
        break;
    case MSG_REPORT_NOTE:
        event.kind = EV_NOTE;
        event.payload = turn_add_payload(shell->open, item);
        break;
    case MSG_REPORT_ENDED:
        if (item->cause >= CAUSE_COUNT) {
            log_warn("worker.report", "worker=%u cause=%u error=\"no such cause\"", worker->id, item->cause);
            return;
        }
        event.kind = EV_ENDED;
        event.cause = (enum core_cause)item->cause;
        event.payload = turn_add_payload(shell->open, item);
        break;
    }
    shell_step(shell, &event);
}

static void on_record_request(struct shell *shell, const struct net_peer *peer, const struct roster_worker *worker,
                              const struct msg_record_request *request)
{
    uint64_t job = core_is_live(shell->core, request->member.attempt, request->member.rank, worker->id)
                       ? core_attempt_job(shell->core, request->member.attempt)
                       : 0;
    relay_record(shell, &peer->address, request, job);
}

void inbound_worker(struct shell *shell, const struct net_peer *peer, const struct msg *msg)
{
    if (msg->kind == MSG_HELLO) {
        on_hello(shell, peer, &msg->hello);
        return;
    }
    struct roster_worker *worker = roster_at(shell->roster, &peer->address);
    if (worker == NULL) { /* speaks before its hello, or an older connection of it */
        struct msg refused = {.kind = MSG_REFUSED,
                              .refused = {.code = MLQ_EAGAIN, .text = MLQ_STR("say hello first")}};
        (void)net_server_send(shell->server, &peer->address, &refused, NULL);
        return;
    }
    worker->heard_ns = shell_now_ns();
    if (msg->kind == MSG_HEARTBEAT) {
        on_heartbeat(shell, worker, &msg->heartbeat);
    } else if (msg->kind == MSG_REPORT) {
        for (size_t i = 0; i < msg->report.count; i++) {
            on_report_item(shell, worker, &msg->report.items[i]);
        }
    } else if (msg->kind == MSG_LOG_DATA) {
        relay_on_log_data(shell, &msg->log_data);
    } else if (msg->kind == MSG_RECORD_REQUEST) {
        on_record_request(shell, peer, worker, &msg->record_request);
    } else if (msg->kind == MSG_LEAVING) {
        log_info("worker.leaving", "worker=%u name=%s", worker->id, worker->name);
        worker->connected = false;
        shell_step(shell, &(struct core_event){.kind = EV_WORKER_LEAVING, .worker = worker->id, .session = worker->session});
    }
}
