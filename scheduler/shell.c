/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The turn. Messages become events, core_step decides, and what it decided is split in two: facts go
 * into one transaction, everything else is held until that transaction is durable. One transaction is
 * in flight; what arrives meanwhile is the next one, so the batch grows by itself with the load and a
 * lone message never lingers.
 *
 * A failed commit is not repaired: memory is ahead of the disk. The store gives up leadership, the whole
 * state is dropped, and the next campaign loads it again.
 */
#include "scheduler/shell.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/panic.h"
#include "lib/sys/clock.h"
#include "lib/sys/fs.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "scheduler/shell_state.h"

/* Between the end of a leadership and the next campaign: doubled each time one ended without a single
 * commit (its port is taken, its record cannot be loaded), so that a fault that stays is no busy loop. */
#define CAMPAIGN_PAUSE_MS     200
#define CAMPAIGN_PAUSE_MAX_MS 10000
/* How long a stop waits for the commit in flight and for the leader's row to be cleared. */
#define STOP_WAIT_MS 3000

#define ENDPOINT_FILE_BYTES_MAX 4096
#define OLD_KEYS_MAX            10000

int64_t shell_now_ns(void)
{
    return mlq_clock_boot_ns();
}

int64_t shell_wall_us(const struct shell *shell, int64_t at_ns)
{
    return at_ns / 1000 + shell->wall_ahead_us;
}

int64_t shell_line_ns(int64_t wall_us)
{
    int64_t age_us = mlq_clock_wall_us() - wall_us;
    /* Recorded in the future: the wall clock was set back since. It has happened, so it is not later than now. */
    return shell_now_ns() - (age_us < 0 ? 0 : age_us) * 1000;
}

bool shell_is_trusted(const struct shell *shell)
{
    return shell->phase == SHELL_SERVING &&
           shell_now_ns() < shell->store->ops->trusted_until_ns(shell->store);
}

/* ---- Step --------------------------------------------------------------------------------- */

/* Written down now: when the turn is released the core may know what is not durable yet, that the work is done
 * for instance. */
static void hold_membership(struct shell *shell, const struct core_action *action)
{
    struct msg_membership *membership = mlq_region_alloc(shell->open->region, sizeof *membership);
    if (assign_membership(shell, action, shell->open->region, membership) == MLQ_OK) {
        turn_hold_membership(shell->open, action, membership);
    }
}

static void take_action(struct shell *shell, const struct core_action *action)
{
    switch (action->kind) {
    case ACT_PERSIST:
        journal_fact(shell, action);
        return;
    case ACT_RECORD:
        journal_note(shell, action);
        return;
    case ACT_REPLY:
        clients_on_reply(shell, action);
        return;
    case ACT_WELCOME:
    case ACT_ASSIGN:
    case ACT_KILL:
    case ACT_ACK:
    case ACT_FENCED:
        turn_hold_action(shell->open, action);
        return;
    case ACT_MEMBERS:
        hold_membership(shell, action);
        return;
    }
}

void shell_step(struct shell *shell, struct core_event *event)
{
    event->now_ns = shell_now_ns();
    shell->wall_ahead_us = mlq_clock_wall_us() - event->now_ns / 1000;
    core_step(shell->core, event, &shell->actions);
    for (uint32_t i = 0; i < shell->actions.count; i++) {
        take_action(shell, &shell->actions.items[i]);
    }
}

/* ---- Commit and release ------------------------------------------------------------------- */

/* The open turn, which is the next one's place from here on: what a release makes the core decide (an
 * assignment that cannot be described ends) is collected there. */
static struct turn *close_open(struct shell *shell)
{
    struct turn *turn = shell->open;
    watch_answer(shell->watch, shell);
    MLQ_ASSERT(shell->spare_count > 0);
    shell->open = shell->spares[--shell->spare_count];
    return turn;
}

static void release(struct shell *shell, struct turn *turn)
{
    MLQ_ASSERT(turn != shell->open);
    outbound_release(shell, turn);
    for (size_t i = 0; i < turn->ended_count; i++) {
        catalog_remove(shell->catalog, turn->ended[i]);
    }
    if (turn->ended_count > 0) {
        watch_answer(shell->watch, shell); /* who watches a job that is gone is told so, by the next turn */
    }
    turn_reset(turn);
    shell->spares[shell->spare_count++] = turn;
}

static void on_committed(void *context, int rc, const struct mlq_err *err);

static void commit_open(struct shell *shell)
{
    struct turn *turn = close_open(shell);
    struct store_batch batch = turn_batch(turn);
    shell->committing = turn;
    shell->store->ops->commit(shell->store, &batch, on_committed, shell);
}

static void on_tick(uv_timer_t *timer);

static void arm_tick(struct shell *shell)
{
    int64_t due = core_next_deadline_ns(shell->core);
    int64_t watch_due = watch_deadline_ns(shell->watch);
    int64_t relay_due = relay_deadline_ns(shell->relay);
    due = watch_due < due ? watch_due : due;
    due = relay_due < due ? relay_due : due;
    if (due == INT64_MAX) {
        uv_timer_stop(&shell->tick);
        return;
    }
    int64_t wait_ms = (due - shell_now_ns() + MLQ_NS_PER_MS - 1) / MLQ_NS_PER_MS;
    uv_update_time(shell->loop);
    (void)uv_timer_start(&shell->tick, on_tick, wait_ms < 0 ? 0 : (uint64_t)wait_ms, 0);
}

/* The record knows keys of all times, we those of the last days. A submission that repeats an older one fails
 * its commit, and that costs the leadership: once, not each time that the client tries again. */
static void remember_old_key(struct shell *shell, const struct turn *turn)
{
    bool is_plain = turn->job_count == 1 && turn->jobs[0].idempotency_key.len > 0; /* else it may be another's */
    if (is_plain && shell->old_key_count < OLD_KEYS_MAX && keybook_find(shell->old_keys, turn->jobs[0].idempotency_key) == 0) {
        keybook_put(shell->old_keys, turn->jobs[0].idempotency_key, turn->jobs[0].id);
        shell->old_key_count++;
    }
}

static void on_committed(void *context, int rc, const struct mlq_err *err)
{
    struct shell *shell = context;
    if (rc == MLQ_EEXIST && shell->committing != NULL) {
        remember_old_key(shell, shell->committing);
    }
    bool is_ours = shell->phase == SHELL_SERVING || shell->phase == SHELL_STOPPING;
    if (rc != MLQ_OK || !is_ours || shell->committing == NULL) {
        /* The store answers `deposed` next; everything is dropped there. */
        log_warn("commit.failed", "epoch=%u error=\"%s\"", shell->epoch, err == NULL ? "" : err->text);
        return;
    }
    struct turn *turn = shell->committing;
    shell->committing = NULL;
    shell->commits++;
    shell->pause_ms = CAMPAIGN_PAUSE_MS;
    shell->last_failure[0] = '\0';
    if (shell->notes_lost > 0) {
        log_error("turn.full", "metric_points_lost=%llu", (unsigned long long)shell->notes_lost);
        shell->notes_lost = 0;
    }
    if (shell->phase == SHELL_SERVING && turn_needs_commit(shell->open)) {
        commit_open(shell); /* the database works while we send */
    }
    release(shell, turn);
    shell_turn_end(shell);
}

void shell_turn_end(struct shell *shell)
{
    if (shell->phase != SHELL_SERVING) {
        return;
    }
    while (shell->committing == NULL && (!turn_is_empty(shell->open) || watch_is_behind(shell->watch))) {
        if (turn_needs_commit(shell->open)) {
            commit_open(shell);
        } else {
            release(shell, close_open(shell));
        }
    }
    arm_tick(shell);
}

static void on_tick(uv_timer_t *timer)
{
    struct shell *shell = timer->data;
    if (shell->phase != SHELL_SERVING) {
        return;
    }
    int64_t now = shell_now_ns();
    if (core_next_deadline_ns(shell->core) <= now) {
        shell_step(shell, &(struct core_event){.kind = EV_TICK});
    }
    watch_expire(shell->watch, shell, now);
    relay_expire(shell->relay, shell, now);
    shell_turn_end(shell);
}

/* ---- Leadership --------------------------------------------------------------------------- */

static void state_create(struct shell *shell)
{
    shell->catalog = catalog_create(shell->options.limits.jobs_max + 4096, shell->epoch);
    shell->roster = roster_create(shell->options.limits.workers_max);
    shell->keys = keybook_create();
    shell->watch = watch_create();
    shell->relay = relay_create();
    shell->open = turn_create();
    for (shell->spare_count = 0; shell->spare_count < SHELL_SPARES; shell->spare_count++) {
        shell->spares[shell->spare_count] = turn_create();
    }
    shell->core_memory = mlq_alloc(core_memory_need(&shell->options.limits));
}

static void state_drop(struct shell *shell)
{
    catalog_destroy(&shell->catalog);
    roster_destroy(&shell->roster);
    keybook_destroy(&shell->keys);
    watch_destroy(&shell->watch);
    relay_destroy(&shell->relay);
    turn_destroy(&shell->open);
    turn_destroy(&shell->committing);
    while (shell->spare_count > 0) {
        turn_destroy(&shell->spares[--shell->spare_count]);
    }
    mlq_free(shell->core_memory);
    shell->core_memory = NULL;
    shell->core = NULL;
    uv_timer_stop(&shell->tick);
}

static void on_message(void *context, const struct net_peer *peer, const struct msg *msg)
{
    struct shell *shell = context;
    if (shell->phase != SHELL_SERVING) {
        return;
    }
    if (msg->kind == MSG_REQUEST) {
        clients_request(shell, peer, &msg->request);
    } else {
        inbound_worker(shell, peer, msg);
    }
}

static void on_messages_end(void *context)
{
    shell_turn_end(context);
}

/* ---- The endpoint, in a file: it says where this process serves, and only while it does ---- */

static void publish_endpoint(struct shell *shell)
{
    struct mlq_err err = MLQ_ERR_INIT;
    const char *endpoint = net_server_endpoint(shell->server);
    log_info("leader.serving", "epoch=%u endpoint=%s jobs=%u", shell->epoch, endpoint,
             core_count(shell->core).jobs);
    mlq_free(shell->endpoint);
    shell->endpoint = mlq_strdup(endpoint);
    if (shell->options.endpoint_file == NULL) {
        return;
    }
    shell->is_published = true;
    if (mlq_fs_write_durable(shell->options.endpoint_file, mlq_str_from(endpoint), 0644, &err) != MLQ_OK) {
        log_error("leader.endpoint_file", "error=\"%s\"", err.text);
    }
}

/* Another leader may have written the file since: its words stay. */
static void withdraw_endpoint(struct shell *shell)
{
    if (!shell->is_published) {
        return;
    }
    char *said = NULL;
    size_t len = 0;
    shell->is_published = false;
    if (mlq_fs_read(shell->options.endpoint_file, ENDPOINT_FILE_BYTES_MAX, &said, &len, NULL) == MLQ_OK &&
        mlq_str_eq_c((struct mlq_str){.ptr = said, .len = len}, shell->endpoint)) {
        (void)unlink(shell->options.endpoint_file);
    }
    mlq_free(said);
}

/* ---- Serving ------------------------------------------------------------------------------ */

static int listen_at(struct shell *shell, const char *endpoint, struct mlq_err *err)
{
    struct net_server_options options = {
        .endpoint = endpoint,
        .key_path = shell->options.key_path,
        .enrolled_path = shell->options.enrolled_path,
    };
    return net_server_create(shell->loop, &options, on_message, shell, &shell->server, err);
}

void shell_serve(struct shell *shell)
{
    struct mlq_err err = MLQ_ERR_INIT;
    /* Workers know the port that we had before, if any was good enough ("tcp://…:0"). */
    bool had_one = shell->endpoint != NULL && listen_at(shell, shell->endpoint, NULL) == MLQ_OK;
    int rc = had_one ? MLQ_OK : listen_at(shell, shell->options.listen, &err);
    if (rc == MLQ_EPERM) {
        /* Nobody would be kept out, or the server's key lies open: that does not mend itself. */
        log_error("scheduler.unsafe", "error=\"%s\"", err.text);
        exit(EXIT_FAILURE);
    }
    if (rc != MLQ_OK) {
        shell_give_up(shell, &err);
        return;
    }
    net_server_on_turn_end(shell->server, on_messages_end);
    shell->phase = SHELL_SERVING;
    shell->serving_us = mlq_clock_wall_us();
    shell_step(shell, &(struct core_event){.kind = EV_RESTORED});
    publish_endpoint(shell);
    shell_turn_end(shell);
}

static void campaign(uv_timer_t *timer)
{
    struct shell *shell = timer->data;
    log_info("leader.campaign", "holder=\"%s\"", shell->options.holder);
    shell->store->ops->campaign(shell->store, shell->options.holder);
}

static void on_elected(void *context, uint32_t epoch)
{
    struct shell *shell = context;
    if (shell->phase != SHELL_STANDBY) {
        return; /* stopping: the row was given up already */
    }
    log_info("leader.elected", "epoch=%u", epoch);
    shell->phase = SHELL_LOADING;
    shell->epoch = epoch;
    state_create(shell);
    restore_begin(shell, epoch);
}

static void on_part_closed(struct shell *shell)
{
    if (--shell->closing == 0) {
        shell->stopped(shell->stopped_context);
    }
}

static void on_server_closed(void *context)
{
    struct shell *shell = context;
    shell->server_closing = false;
    if (shell->phase == SHELL_STANDBY) {
        (void)uv_timer_start(&shell->campaign, campaign, shell->pause_ms, 0);
        shell->pause_ms = shell->pause_ms * 2 > CAMPAIGN_PAUSE_MAX_MS ? CAMPAIGN_PAUSE_MAX_MS : shell->pause_ms * 2;
    }
    if (shell->phase == SHELL_STOPPING && shell->closing > 0) {
        on_part_closed(shell);
    }
}

static void close_server(struct shell *shell)
{
    if (shell->server != NULL) {
        shell->server_closing = true;
        net_server_close(&shell->server, on_server_closed, shell);
    }
}

static void on_stop_timer(uv_timer_t *timer);

static void on_deposed(void *context, const struct mlq_err *err)
{
    struct shell *shell = context;
    log_warn("leader.deposed", "epoch=%u reason=\"%s\"", shell->epoch, err == NULL ? "" : err->text);
    if (shell->phase == SHELL_STOPPING) { /* what it waited for; not from inside the store, though */
        (void)uv_timer_start(&shell->campaign, on_stop_timer, 0, 0);
        return;
    }
    shell->phase = SHELL_STANDBY;
    withdraw_endpoint(shell);
    state_drop(shell);
    close_server(shell);
    if (!shell->server_closing) {
        on_server_closed(shell);
    }
}

void shell_give_up(struct shell *shell, const struct mlq_err *err)
{
    if (strncmp(shell->last_failure, err->text, sizeof shell->last_failure - 1) != 0) { /* once */
        log_error("leader.give_up", "epoch=%u error=\"%s\"", shell->epoch, err->text);
        (void)snprintf(shell->last_failure, sizeof shell->last_failure, "%s", err->text);
    }
    shell->store->ops->resign(shell->store); /* answers deposed */
}

/* ---- Life --------------------------------------------------------------------------------- */

struct shell *shell_create(struct uv_loop_s *loop, const struct shell_options *options)
{
    struct shell *shell = mlq_alloc(sizeof *shell);
    *shell = (struct shell){.loop = loop, .options = *options, .phase = SHELL_STANDBY};
    shell->pause_ms = CAMPAIGN_PAUSE_MS;
    shell->parcel = outbound_create(shell);
    mlq_list_init(&shell->errands);
    shell->old_keys = keybook_create();
    shell->specs = specbook_create();
    shell->actions.items = mlq_alloc_array(CORE_ACTIONS_PER_EVENT, sizeof *shell->actions.items);
    (void)uv_timer_init(loop, &shell->tick);
    (void)uv_timer_init(loop, &shell->campaign);
    shell->tick.data = shell;
    shell->campaign.data = shell;
    shell->store = store_pg_create(loop,
                                   &(struct store_pg_options){.conninfo = options->conninfo,
                                                              .migrations_dir = options->migrations_dir,
                                                              .lease_ns = options->leader_lease_ns},
                                   &(struct store_callbacks){.context = shell, .elected = on_elected, .deposed = on_deposed});
    return shell;
}

void shell_start(struct shell *shell)
{
    (void)uv_timer_start(&shell->campaign, campaign, 0, 0);
}

static void on_handle_closed(uv_handle_t *handle)
{
    on_part_closed(handle->data);
}

static void on_store_closed(void *context)
{
    on_part_closed(context);
}

static void close_all(struct shell *shell)
{
    close_server(shell);
    state_drop(shell);
    shell->closing = shell->server_closing ? 4 : 3;
    uv_close((uv_handle_t *)&shell->tick, on_handle_closed);
    uv_close((uv_handle_t *)&shell->campaign, on_handle_closed);
    shell->store->ops->close(shell->store, on_store_closed, shell);
}

static void on_stop_timer(uv_timer_t *timer)
{
    close_all(timer->data);
}

void shell_stop(struct shell *shell, void (*stopped)(void *context), void *context)
{
    if (shell->phase == SHELL_STOPPING) {
        return;
    }
    bool leads = shell->phase == SHELL_SERVING || shell->phase == SHELL_LOADING;
    shell->phase = SHELL_STOPPING;
    shell->stopped = stopped;
    shell->stopped_context = context;
    uv_timer_stop(&shell->tick);
    uv_timer_stop(&shell->campaign);
    withdraw_endpoint(shell);
    if (!leads) {
        close_all(shell);
        return;
    }
    /* Who waits for the commit in flight gets its answer; then the row is cleared and we are deposed. */
    shell->store->ops->resign(shell->store);
    (void)uv_timer_start(&shell->campaign, on_stop_timer, STOP_WAIT_MS, 0);
}

void shell_errand_begin(struct shell *shell, struct shell_errand *errand, void (*drop)(struct shell_errand *))
{
    errand->drop = drop;
    mlq_list_init(&errand->node);
    mlq_list_push_back(&shell->errands, &errand->node);
}

void shell_errand_end(struct shell_errand *errand)
{
    mlq_list_remove(&errand->node);
}

void shell_destroy(struct shell **shell)
{
    if (*shell == NULL) {
        return;
    }
    /* What the store was asked and did not answer before it was closed. */
    for (struct mlq_list *node; (node = mlq_list_pop_front(&(*shell)->errands)) != NULL;) {
        struct shell_errand *errand = MLQ_CONTAINER_OF(node, struct shell_errand, node);
        errand->drop(errand);
    }
    outbound_destroy(&(*shell)->parcel);
    keybook_destroy(&(*shell)->old_keys);
    specbook_destroy(&(*shell)->specs);
    mlq_free((*shell)->endpoint);
    mlq_free((*shell)->actions.items);
    mlq_free(*shell);
    *shell = NULL;
}
