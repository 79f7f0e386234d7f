/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What workers say, as events. Who speaks is decided by the connection's key; a message can only speak of
 * that worker's own attempts, because the core compares the worker of each.
 */
#include <inttypes.h>
#include <string.h>

#include "lib/sys/clock.h"
#include "lib/sys/log.h"
#include "scheduler/shell_state.h"

#define NAME_BYTES_MAX 1024 /* what an index row of the record holds */
#define DIGEST_BYTES_MAX 71

static void refuse(struct shell *shell, const struct net_peer *peer, int code, const char *why)
{
    struct msg refused = {.kind = MSG_REFUSED, .epoch = shell->epoch, .refused = {.code = code, .text = mlq_str_from(why)}};
    (void)net_server_send(shell->server, &peer->address, &refused, NULL);
}

/* A worker said what cannot be so: it is broken, its key is in use twice, or somebody tries. */
static void doubt(struct shell *shell, const char *name, const char *what)
{
    uint64_t times;
    shell->untrue++;
    if (mlq_log_paced(&shell->untrue_pace, shell_now_ns(), &times)) {
        log_warn("worker.untrue", "name=%s what=\"%s\" times=%" PRIu64, name, what, times);
    }
}

/* What stands against a hello; NULL: nothing. What the core would ignore in silence is said here. */
static const char *hello_problem(const struct roster_worker *worker, const struct msg_hello *hello)
{
    if (hello->session == 0 || hello->session <= worker->session) {
        return "hello: the session is not newer than the last one of this worker: is its key in use twice, or was "
               "its home emptied?";
    }
    if (hello->cpu_milli <= 0 || hello->mem_bytes <= 0 || hello->gpu_count > CORE_GPUS_PER_WORKER_MAX) {
        return "hello: CPUs, memory or GPUs out of range";
    }
    if (hello->port_first + (uint32_t)hello->port_count > 65536) {
        return "hello: the ports for gangs go beyond 65535";
    }
    return hello->claim_count > CORE_CLAIMS_MAX ? "hello: more attempts are claimed than a worker may hold" : NULL;
}

static void on_hello(struct shell *shell, const struct net_peer *peer, const struct msg_hello *hello)
{
    if (turn_is_full(shell->open)) {
        refuse(shell, peer, MLQ_EAGAIN, "the record is behind: say hello again in a moment");
        return;
    }
    struct roster_worker *worker = roster_enroll(shell->roster, peer);
    const char *problem = worker == NULL ? "as many workers are known as the limit allows" : hello_problem(worker, hello);
    if (problem != NULL) {
        doubt(shell, peer->name, problem);
        refuse(shell, peer, worker == NULL ? MLQ_EFULL : MLQ_EINVAL, problem);
        return;
    }
    roster_hello(worker, peer, hello, shell_now_ns());
    log_info("worker.hello", "worker=%u name=%s host=%s cpus=%" PRId64 "m gpus=%u claims=%zu", worker->id, worker->name,
             worker->host, worker->cpu_milli, worker->gpu_count, hello->claim_count);
    struct store_worker row = roster_row(worker, mlq_clock_wall_us());
    row.name = mlq_region_copy(shell->open->region, row.name); /* it may be enrolled under another one meanwhile */
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

/* The core has given this worker up (its lease was over while the machine slept): what it still runs may
 * run elsewhere, so its lease must not grow. A new hello settles what it has. */
static bool was_given_up(const struct shell *shell, const struct roster_worker *worker)
{
    struct core_worker_view view = {0};
    return !core_worker(shell->core, worker->id, &view) || !view.known;
}

/* An acknowledgement lengthens the worker's lease, so it is sent only while leadership is certain; it does
 * not wait for a commit, because tasks must outlive a slow database. */
static void take_flight(struct shell *shell, const struct roster_worker *worker, const struct msg_flight *flight)
{
    int64_t now_ns = shell_now_ns();
    uint64_t attempt = flight->member.attempt;
    bool is_live = core_is_live(shell->core, attempt, flight->member.rank, worker->id);
    struct catalog_job *job = is_live ? catalog_find(shell->catalog, core_attempt_job(shell->core, attempt)) : NULL;
    if (job == NULL || flight->age_ns < 0 || flight->age_ns > now_ns || flight->phase.len >= STALL_PHASE_BYTES) {
        return;
    }
    struct stall_rank rank = {.attempt = attempt,
                              .stage = core_attempt_stage(shell->core, attempt),
                              .rank = flight->member.rank,
                              .waits = flight->waits,
                              .epoch = flight->epoch,
                              .step = flight->step,
                              .since_ns = now_ns - flight->age_ns};
    memcpy(rank.phase, flight->phase.ptr, flight->phase.len);
    catalog_set_rank(shell->catalog, job, &rank, now_ns);
}

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
    for (size_t i = 0; i < heartbeat->progress_count && !turn_is_full(shell->open); i++) {
        const struct msg_progress *progress = &heartbeat->progress[i];
        shell_step(shell, &(struct core_event){.kind = EV_NOTE,
                                               .worker = worker->id,
                                               .attempt = progress->member.attempt,
                                               .rank = progress->member.rank,
                                               .payload = turn_add_progress(shell->open, progress->fraction, progress->text)});
    }
    for (size_t i = 0; i < heartbeat->flight_count; i++) {
        take_flight(shell, worker, &heartbeat->flights[i]);
    }
}

/* By its form; whether the store has such an object, whoever reads it finds out. */
static bool is_digest(struct mlq_str text)
{
    static const char algorithm[] = "sha256:";
    bool good = mlq_str_starts(text, algorithm) && text.len > sizeof algorithm - 1 && text.len <= DIGEST_BYTES_MAX;
    for (size_t i = sizeof algorithm - 1; good && i < text.len; i++) {
        good = (text.ptr[i] >= '0' && text.ptr[i] <= '9') || (text.ptr[i] >= 'a' && text.ptr[i] <= 'f');
    }
    return good;
}

/* The first thing of a report that the record cannot hold, or NULL. One such row would fail the whole
 * transaction, and the worker would bring it again. */
static const char *report_problem(const struct msg_report_item *item)
{
    for (size_t i = 0; i < item->metric_count; i++) {
        size_t len = item->metrics[i].name.len;
        if (len == 0 || len > NAME_BYTES_MAX) {
            return "a metric's name is empty or over 1024 bytes";
        }
    }
    for (size_t i = 0; i < item->artifact_count; i++) {
        const struct msg_artifact *artifact = &item->artifacts[i];
        if (artifact->name.len == 0 || artifact->name.len > NAME_BYTES_MAX) {
            return "an output's name is empty or over 1024 bytes";
        }
        if (!is_digest(artifact->digest) || artifact->bytes > INT64_MAX) {
            return "an output's digest or size cannot be";
        }
    }
    return NULL;
}

/* The end counts; what it brought does not, and is no success then. */
static void take_end(struct shell *shell, struct core_event *event, const struct msg_report_item *item)
{
    struct msg_report_item told = *item;
    const char *problem = report_problem(item);
    if (problem != NULL) {
        told.metric_count = 0;
        told.artifact_count = 0;
        told.cause = item->cause == CAUSE_NONE ? CAUSE_OUTPUT : item->cause;
        told.detail = mlq_str_from(problem);
    }
    event->kind = EV_ENDED;
    event->cause = (enum core_cause)told.cause;
    event->payload = turn_add_payload(shell->open, &told);
}

/* Whether this worker has no business with that rank: the attempt is live, and others run it. */
static bool is_of_another(const struct shell *shell, const struct roster_worker *worker, struct msg_member member)
{
    uint32_t workers[CORE_RANKS_MAX] = {0};
    uint32_t ranks = core_attempt_workers(shell->core, member.attempt, workers, CORE_RANKS_MAX);
    return ranks > 0 && (member.rank >= ranks || (workers[member.rank] != worker->id &&
                                                  roster_find(shell->roster, workers[member.rank]) != NULL));
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
    bool is_live = core_is_live(shell->core, event.attempt, event.rank, worker->id);
    if (!is_live && is_of_another(shell, worker, item->member)) {
        doubt(shell, worker->name, "it reports of an attempt that is another worker's");
    }
    if (turn_is_full(shell->open) && (!is_live || item->kind == MSG_REPORT_NOTE)) {
        /* Workers repeat ends until they are acknowledged. Points of a metric are lost, and it is said. */
        shell->notes_lost += item->kind == MSG_REPORT_NOTE ? item->metric_count : 0;
        return;
    }
    switch (item->kind) {
    case MSG_REPORT_STARTED:
        event.kind = EV_STARTED;
        event.payload = turn_add_payload(shell->open, item);
        break;
    case MSG_REPORT_READY:
        if (item->port == 0 || item->fingerprint == 0) {
            doubt(shell, worker->name, "a rank is ready without a port or a fingerprint");
            return;
        }
        event.kind = EV_READY;
        event.port = item->port;
        event.fingerprint = item->fingerprint;
        event.generation = item->generation;
        break;
    case MSG_REPORT_NOTE:
        if (report_problem(item) != NULL) {
            doubt(shell, worker->name, report_problem(item));
            return;
        }
        event.kind = EV_NOTE;
        event.payload = turn_add_payload(shell->open, item);
        break;
    case MSG_REPORT_ENDED:
        if (item->cause >= CAUSE_COUNT) {
            doubt(shell, worker->name, "a task ended by a cause that there is not");
            return;
        }
        if (report_problem(item) != NULL) {
            doubt(shell, worker->name, report_problem(item));
        }
        take_end(shell, &event, item);
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
        refuse(shell, peer, MLQ_EAGAIN, "say hello first");
        return;
    }
    if (msg->kind == MSG_HEARTBEAT && was_given_up(shell, worker)) {
        refuse(shell, peer, MLQ_EAGAIN, "say hello first");
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
        relay_on_log_data(shell, worker->id, &msg->log_data);
    } else if (msg->kind == MSG_RECORD_REQUEST) {
        on_record_request(shell, peer, worker, &msg->record_request);
    } else if (msg->kind == MSG_LEAVING) {
        log_info("worker.leaving", "worker=%u name=%s", worker->id, worker->name);
        worker->connected = false;
        shell_step(shell, &(struct core_event){.kind = EV_WORKER_LEAVING, .worker = worker->id, .session = worker->session});
    }
}
