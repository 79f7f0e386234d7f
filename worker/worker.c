/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/worker.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/sys/clock.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "worker/version.h"

#define QUIT_GRACE_NS (10 * MLQ_NS_PER_S)

static int open_link(struct worker *worker);

/* ---- The turn ---- */

static void rotate(struct worker *worker)
{
    net_link_close(&worker->link, NULL, NULL);
    worker->endpoint = (worker->endpoint + 1) % worker->config->endpoint_count;
    if (open_link(worker) != MLQ_OK) {
        worker_stop(worker, 1);
    }
}

static void link_closed(void *context)
{
    worker_stop(context, 0);
}

static void leave(struct worker *worker)
{
    if (worker->link != NULL) {
        outbound_leaving(worker);
        net_link_close(&worker->link, link_closed, worker);
        log_info("worker.leaving", "members=%u", worker->agent.count);
    }
}

static void save_epoch(struct worker *worker, uint32_t epoch)
{
    struct mlq_err err = MLQ_ERR_INIT;
    if (home_save_epoch(&worker->home, epoch, &err) != MLQ_OK) {
        /* Obeying this leader and forgetting it would let an older one in later. */
        log_error("worker.epoch", "epoch=%u error=\"%s\"", epoch, err.text);
        worker_stop(worker, 1);
    }
}

static void perform(struct worker *worker, const struct agent_action *action)
{
    switch (action->kind) {
    case AGENT_ACT_EPOCH:
        save_epoch(worker, action->epoch);
        break;
    case AGENT_ACT_HELLO:
        outbound_hello(worker, action);
        break;
    case AGENT_ACT_HEARTBEAT:
        outbound_heartbeat(worker, action);
        break;
    case AGENT_ACT_ROTATE:
        rotate(worker);
        break;
    case AGENT_ACT_LEASE:
        attempt_lease_all(worker, action->deadline_ns);
        break;
    case AGENT_ACT_PREPARE:
        attempt_prepare(worker, action);
        break;
    case AGENT_ACT_SPAWN:
        attempt_spawn(worker, action);
        break;
    case AGENT_ACT_STOP:
    case AGENT_ACT_KILL:
        attempt_stop(worker, action);
        break;
    case AGENT_ACT_CHECKPOINT:
        attempt_checkpoint(worker, action);
        break;
    case AGENT_ACT_MEMBERSHIP:
        attempt_membership(worker, action);
        break;
    case AGENT_ACT_COLLECT:
        attempt_collect(worker, action);
        break;
    case AGENT_ACT_REFUSE:
    case AGENT_ACT_REPORT_STARTED:
    case AGENT_ACT_REPORT_READY:
    case AGENT_ACT_REPORT_ENDED:
        outbound_report(worker, action);
        break;
    case AGENT_ACT_REMOVE:
        attempt_remove(worker, action);
        break;
    case AGENT_ACT_LEAVE:
        leave(worker);
        break;
    }
}

static void push(struct worker *worker, const struct agent_event *event)
{
    if (worker->event_count == worker->event_room) {
        size_t room = worker->event_room == 0 ? 64 : worker->event_room * 2;
        struct agent_event *grown = mlq_alloc_array(room, sizeof *grown);
        for (size_t i = 0; i < worker->event_count; i++) {
            grown[i] = worker->events[(worker->event_first + i) % worker->event_room];
        }
        mlq_free(worker->events);
        worker->events = grown;
        worker->event_room = room;
        worker->event_first = 0;
    }
    worker->events[(worker->event_first + worker->event_count) % worker->event_room] = *event;
    worker->event_count++;
}

static struct agent_event pop(struct worker *worker)
{
    struct agent_event event = worker->events[worker->event_first];
    worker->event_first = (worker->event_first + 1) % worker->event_room;
    worker->event_count--;
    return event;
}

static void set_tick(struct worker *worker)
{
    int64_t next = agent_next_deadline_ns(&worker->agent);
    if (next == INT64_MAX) {
        loop_timer_clear(worker->tick);
    } else {
        loop_timer_set(worker->tick, next - mlq_clock_boot_ns(), 0);
    }
}

static void end_turn(struct worker *worker)
{
    outbound_turn_end(worker);
    set_tick(worker);
}

/* Carrying out an action may raise events (a start that fails); they wait for the end of the turn.
 */
void worker_feed(struct worker *worker, struct agent_event event)
{
    push(worker, &event);
    if (worker->is_in_turn) {
        return;
    }
    worker->is_in_turn = true;
    while (worker->event_count > 0 && !worker->is_stopping) {
        event = pop(worker);
        event.now_ns = mlq_clock_boot_ns();
        agent_step(&worker->agent, &event, &worker->actions);
        for (uint32_t i = 0; i < worker->actions.count && !worker->is_stopping; i++) {
            perform(worker, &worker->actions.items[i]);
        }
    }
    worker->is_in_turn = false;
    if (!worker->is_stopping && !worker->is_in_message) {
        end_turn(worker);
    }
}

void worker_stop(struct worker *worker, int exit_code)
{
    worker->is_stopping = true;
    worker->exit_code = exit_code != 0 ? exit_code : worker->exit_code;
    loop_stop(worker->loop);
}

/* ---- What calls in ---- */

static void on_tick(void *context)
{
    worker_feed(context, (struct agent_event){.kind = AGENT_EV_TICK});
}

static void on_connected(void *context)
{
    struct worker *worker = context;
    log_info("link.connected", "endpoint=%s", worker->config->endpoints[worker->endpoint]);
    worker_feed(worker, (struct agent_event){.kind = AGENT_EV_CONNECTED});
}

static void on_disconnected(void *context)
{
    struct worker *worker = context;
    log_warn("link.lost", "endpoint=%s", worker->config->endpoints[worker->endpoint]);
    worker_feed(worker, (struct agent_event){.kind = AGENT_EV_DISCONNECTED});
}

/* All that one message brings is one turn. */
static void on_message(void *context, const struct msg *msg)
{
    struct worker *worker = context;
    worker->is_in_message = true;
    inbound_message(worker, msg);
    worker->is_in_message = false;
    if (!worker->is_stopping) {
        end_turn(worker);
    }
}

static void on_stop_signal(void *context, int number)
{
    struct worker *worker = context;
    log_info("worker.stop", "signal=%d members=%u note=\"tasks go on under their leases\"", number,
             worker->agent.count);
    worker_stop(worker, 0);
}

static void on_quit_signal(uv_signal_t *handle, int number)
{
    struct worker *worker = handle->data;
    (void)number;
    log_info("worker.quit", "members=%u note=\"stopping all tasks\"", worker->agent.count);
    worker_feed(worker, (struct agent_event){.kind = AGENT_EV_QUIT, .grace_ns = QUIT_GRACE_NS});
}

static int open_link(struct worker *worker)
{
    struct mlq_err err = MLQ_ERR_INIT;
    const struct net_peer_options options = {
        .endpoint = worker->config->endpoints[worker->endpoint],
        .server_public_key = worker->config->server_key,
        .keys = &worker->config->keys,
    };
    const struct net_link_callbacks callbacks = {
        .context = worker,
        .connected = on_connected,
        .disconnected = on_disconnected,
        .message = on_message,
    };
    int rc = net_link_create(worker->loop, &options, &callbacks, &worker->link, &err);
    if (rc != MLQ_OK) {
        log_error("link.failed", "endpoint=%s error=\"%s\"", options.endpoint, err.text);
    }
    return rc;
}

/* ---- Start and end ---- */

static void adopt(void *context, uint64_t attempt, uint32_t rank)
{
    attempt_adopt(context, attempt, rank);
}

static void probe_all(struct worker *worker)
{
    const struct config *config = worker->config;
    char limits[96];
    probe_machine(&worker->probe, worker->region);
    if (config->use_gpus) {
        probe_gpus(&worker->probe, worker->region);
    }
    if (config->cpu_milli > 0) {
        worker->probe.cpu_milli = config->cpu_milli;
    }
    if (config->mem_bytes > 0) {
        worker->probe.mem_bytes = config->mem_bytes;
    }
    cgroup_probe(&worker->cgroups);
    cgroup_probe_describe(&worker->cgroups, limits, sizeof limits);
    (void)snprintf(worker->software, sizeof worker->software, "mlq " MLQ_VERSION " (limits: %s)",
                   limits);
    log_info("worker.limits", "how=\"%s\"", limits);
    log_info("worker.machine", "host=%s cpu_milli=%lld mem_mib=%lld gpus=%u gpu_source=\"%s\"",
             worker->probe.host, (long long)worker->probe.cpu_milli,
             (long long)(worker->probe.mem_bytes >> 20), worker->probe.gpu_count,
             config->use_gpus ? worker->probe.gpu_source : "not wanted");
}

/* A task that was found may be about to enter its groups. */
static bool is_group_used(void *context, const char *path)
{
    struct worker *worker = context;
    for (struct mlq_list *at = worker->attempts.next; at != &worker->attempts; at = at->next) {
        const struct attempt *attempt = MLQ_CONTAINER_OF(at, struct attempt, in_worker);
        for (int i = 0; attempt->groups[i] != NULL; i++) {
            if (strcmp(attempt->groups[i], path) == 0) {
                return true;
            }
        }
    }
    return false;
}

static void create_nursery(struct worker *worker)
{
    const struct nursery_options options = {
        .loop = worker->loop,
        .program = mlq_region_format(worker->region, "%s/mlq-shim", worker->config->bin_dir),
        .log = mlq_region_format(worker->region, "%s/shim.log", worker->home.base),
        .attempts = worker->home.attempts,
    };
    worker->nursery = nursery_create(&options);
}

static int start(struct worker *worker, struct mlq_err *err)
{
    int rc = home_open(&worker->home, worker->config->base, worker->region, err);
    rc = rc == MLQ_OK ? loop_create(&worker->loop, err) : rc;
    if (rc != MLQ_OK) {
        return rc;
    }
    probe_all(worker);
    create_nursery(worker);
    folder_spares_init(&worker->spares, worker->home.base, worker->region);
    checkpoint_spares_init(&worker->checkpoint_spares, worker->config->store,
                           worker->config->keys.public_key, worker->region);
    cgpool_init(&worker->cgpool, &worker->cgroups, worker->home.base);
    agent_init(&worker->agent, worker->home.session, worker->home.epoch, mlq_clock_boot_ns());
    worker->tick = loop_timer_create(worker->loop, on_tick, worker);
    worker->notes_timer = loop_timer_create(worker->loop, outbound_notes, worker);
    worker->logs_timer = loop_timer_create(worker->loop, logs_serve, worker);
    worker->records_timer = loop_timer_create(worker->loop, records_serve, worker);
    worker->starts_timer = loop_timer_create(worker->loop, outbound_starts, worker);
    rc = loop_signals_start(worker->loop, on_stop_signal, worker, &worker->signals, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    (void)uv_signal_init(worker->loop, &worker->quit_signal);
    worker->quit_signal.data = worker;
    (void)uv_signal_start(&worker->quit_signal, on_quit_signal, SIGQUIT);
    rc = home_each_attempt(&worker->home, adopt, worker, err);
    cgpool_sweep(&worker->cgpool, is_group_used, worker);
    set_tick(worker);
    return rc == MLQ_OK ? open_link(worker) : rc;
}

/* Jobs on the pool use what is freed here, so they are waited for; what they store is idempotent.
 */
static void finish(struct worker *worker)
{
    worker->is_stopping = true;
    while (worker->jobs > 0) {
        (void)uv_run(worker->loop, UV_RUN_ONCE);
    }
    attempt_release_all(worker);
    folder_spares_fini(&worker->spares);
    nursery_destroy(&worker->nursery);
    cgpool_fini(&worker->cgpool);
    if (worker->link != NULL) {
        net_link_close(&worker->link, NULL, NULL);
    }
    loop_timer_close(&worker->tick);
    loop_timer_close(&worker->notes_timer);
    loop_timer_close(&worker->logs_timer);
    loop_timer_close(&worker->records_timer);
    loop_timer_close(&worker->starts_timer);
    loop_signals_close(&worker->signals);
    if (worker->quit_signal.data != NULL) {
        uv_close((uv_handle_t *)&worker->quit_signal, NULL);
    }
    if (worker->loop != NULL) {
        (void)loop_destroy(&worker->loop);
    }
    home_close(&worker->home);
}

int worker_run(const struct config *config)
{
    struct mlq_err err = MLQ_ERR_INIT;
    struct worker *worker = mlq_alloc(sizeof *worker);
    worker->config = config;
    worker->region = mlq_region_create();
    worker->report_region = mlq_region_create();
    worker->home.lock_fd = -1;
    mlq_list_init(&worker->attempts);
    if (start(worker, &err) != MLQ_OK) {
        log_error("worker.failed", "error=\"%s\"", err.text);
        worker->exit_code = 1;
    } else {
        log_info("worker.started", "name=%s base=\"%s\" members=%u", config->name, config->base,
                 worker->agent.count);
        loop_run(worker->loop);
    }
    finish(worker);
    int exit_code = worker->exit_code;
    mlq_free(worker->events);
    mlq_region_destroy(&worker->report_region);
    mlq_region_destroy(&worker->region);
    mlq_free(worker);
    return exit_code;
}
