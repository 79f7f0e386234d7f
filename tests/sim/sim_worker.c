/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The rules of worker/worker.c, small: actions are done in their order, the epoch is kept before
 * anything else, and after a restart every folder is adopted.
 */
#include "tests/sim/sim.h"

#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"

static void set_tick(struct sim *sim, uint32_t index);

/* ---- What it says ---- */

static void send_hello(struct sim *sim, uint32_t index, const struct agent_action *action)
{
    struct sim_worker *worker = &sim->workers[index];
    struct sim_message hello = {.kind = SIM_HELLO, .worker = index, .session = action->session};
    for (uint32_t i = 0; i < AGENT_MEMBERS_MAX; i++) {
        const struct agent_member *member = &worker->agent.members[i];
        if (member->state != AGENT_FREE) {
            MLQ_ASSERT(hello.claim_count < SIM_CLAIMS_MAX);
            hello.claims[hello.claim_count++] =
                (struct core_claim){.attempt = member->attempt, .rank = member->rank};
        }
    }
    worker->session_kept = action->session;
    sim_net_send_to_sched(sim, index, &hello);
    sim_net_late(sim, index, SIM_TO_SCHED);
}

static void send(struct sim *sim, uint32_t index, enum sim_message_kind kind,
                 const struct agent_action *action)
{
    struct sim_worker *worker = &sim->workers[index];
    struct sim_message message = {.kind = kind,
                                  .worker = index,
                                  .session = action->session,
                                  .attempt = action->attempt,
                                  .rank = action->rank,
                                  .sent_ns = sim_local_ns(sim, &worker->clock),
                                  .cause = (uint32_t)action->cause,
                                  .exit_code = action->exit_code,
                                  .signal = action->signal,
                                  .port = action->port,
                                  .fingerprint = action->fingerprint,
                                  .generation = action->generation};
    sim_net_send_to_sched(sim, index, &message);
}

void sim_worker_note(struct sim *sim, uint32_t index, const struct sim_folder *folder)
{
    const struct sim_worker *worker = &sim->workers[index];
    if (!worker->agent_actor.is_up || sim_is_frozen(sim, &worker->agent_actor) ||
        worker->agent.link != AGENT_LINK_WELCOMED) {
        return;
    }
    struct sim_message note = {.kind = SIM_NOTE,
                               .worker = index,
                               .session = worker->agent.session,
                               .attempt = folder->fact.attempt,
                               .rank = folder->fact.rank,
                               .note = folder->notes};
    sim_net_send_to_sched(sim, index, &note);
}

/* ---- What it does ---- */

static void on_work_done(struct sim *sim, struct sim_event *event)
{
    struct sim_folder *folder =
        sim_shim_find(&sim->workers[event->index], event->a, (uint32_t)event->b);
    bool is_prepared = folder->state == SIM_SHIM_NONE;
    bool has_failed = !folder->is_collected && sim_buggify(sim, SIM_FAULT_TASKS, 15);
    enum worker_cause cause = WORKER_CAUSE_NONE;
    if (has_failed) {
        cause = is_prepared ? WORKER_CAUSE_INPUT : WORKER_CAUSE_OUTPUT;
        folder->lacks_input = is_prepared;
    }
    if (!is_prepared) {
        folder->is_collected = true;
        folder->cause = folder->cause == WORKER_CAUSE_NONE ? cause : folder->cause;
    }
    enum agent_event_kind kind = is_prepared ? AGENT_EV_PREPARED : AGENT_EV_COLLECTED;
    sim_worker_feed(sim, event->index,
                    (struct agent_event){.kind = kind,
                                         .attempt = event->a,
                                         .rank = (uint32_t)event->b,
                                         .cause = cause,
                                         .exit_code = -1});
}

static void work(struct sim *sim, uint32_t index, const char *name,
                 const struct agent_action *action)
{
    bool is_slow = sim_chance(sim, 5);
    int64_t delay_ns = is_slow ? sim_between(sim, SIM_SECOND, 8 * SIM_SECOND)
                               : sim_between(sim, SIM_MILLI, 50 * SIM_MILLI);
    struct sim_event *event =
        sim_post(sim, delay_ns, &sim->workers[index].agent_actor, name, on_work_done);
    event->index = index;
    event->a = action->attempt;
    event->b = action->rank;
}

static void make_folder(struct sim *sim, uint32_t index)
{
    struct sim_worker *worker = &sim->workers[index];
    const struct core_fact *fact = &worker->assigning->fact;
    MLQ_ASSERT(sim_shim_find(worker, fact->attempt, fact->rank) == NULL);
    for (uint32_t i = 0; i < SIM_FOLDERS_MAX; i++) {
        if (!worker->folders[i].is_used) {
            worker->folders[i] =
                (struct sim_folder){.is_used = true, .fact = *fact, .exit_code = -1};
            return;
        }
    }
    sim_fail("worker %u has more folders than it can have tasks", index);
}

/* As the shims do: a lease that is over is not renewed. */
static void renew_leases(const struct sim *sim, struct sim_worker *worker, int64_t lease_ns)
{
    int64_t local_ns = sim_local_ns(sim, &worker->clock);
    for (uint32_t i = 0; i < SIM_FOLDERS_MAX; i++) {
        struct sim_folder *folder = &worker->folders[i];
        if (folder->is_used && local_ns < folder->lease_ns && lease_ns > folder->lease_ns) {
            folder->lease_ns = lease_ns;
        }
    }
}

static void rotate(struct sim *sim, uint32_t index)
{
    struct sim_link *link = &sim->workers[index].link;
    sim_net_close(sim, index);
    link->sched = (link->sched + 1) % sim->sched_count;
    sim_net_connect(sim, index, sim_between(sim, SIM_MILLI, 20 * SIM_MILLI));
}

static void on_restart(struct sim *sim, struct sim_event *event)
{
    if (!sim->workers[event->index].agent_actor.is_up) {
        sim_worker_start(sim, event->index);
    }
}

static void perform(struct sim *sim, uint32_t index, const struct agent_action *action)
{
    struct sim_worker *worker = &sim->workers[index];
    struct sim_folder *folder = sim_shim_find(worker, action->attempt, action->rank);
    check_machine_action(sim, index, action, folder);
    switch (action->kind) {
    case AGENT_ACT_EPOCH:
        worker->epoch_kept = action->epoch;
        break;
    case AGENT_ACT_HELLO:
        send_hello(sim, index, action);
        break;
    case AGENT_ACT_HEARTBEAT:
        send(sim, index, SIM_HEARTBEAT, action);
        break;
    case AGENT_ACT_ROTATE:
        rotate(sim, index);
        break;
    case AGENT_ACT_LEASE:
        renew_leases(sim, worker, action->deadline_ns);
        break;
    case AGENT_ACT_PREPARE:
        make_folder(sim, index);
        work(sim, index, "prepared", action);
        break;
    case AGENT_ACT_SPAWN:
        sim_shim_spawn(sim, index, folder, action->deadline_ns);
        break;
    case AGENT_ACT_STOP:
    case AGENT_ACT_KILL:
        sim_shim_stop(sim, index, folder, action->cause,
                      action->kind == AGENT_ACT_KILL ? 0 : action->grace_ns);
        break;
    case AGENT_ACT_CHECKPOINT: /* no task here has anything to save */
        break;
    case AGENT_ACT_MEMBERSHIP:
        sim_member_told(sim, index, folder, worker->assigning);
        break;
    case AGENT_ACT_REPORT_READY:
        send(sim, index, SIM_READY, action);
        break;
    case AGENT_ACT_COLLECT:
        work(sim, index, "collected", action);
        break;
    case AGENT_ACT_REPORT_STARTED:
        send(sim, index, SIM_STARTED, action);
        break;
    case AGENT_ACT_REFUSE:
    case AGENT_ACT_REPORT_ENDED:
        send(sim, index, SIM_ENDED, action);
        break;
    case AGENT_ACT_REMOVE:
        folder->is_used = false;
        break;
    case AGENT_ACT_LEAVE:
        send(sim, index, SIM_LEAVING, action);
        sim_worker_crash(sim, index);
        sim_post(sim, sim_between(sim, SIM_SECOND, 10 * SIM_SECOND), NULL, "worker comes back",
                 on_restart)
            ->index = index;
        break;
    }
}

static void mix(struct sim *sim, uint32_t index, const struct agent_action *a)
{
    const uint64_t words[] = {100 + index,
                              (uint64_t)sim->now_ns,
                              (uint64_t)a->kind,
                              a->attempt,
                              a->rank,
                              a->session,
                              (uint64_t)a->cause,
                              a->epoch,
                              (uint64_t)a->deadline_ns};
    sim_mix(sim, words, sizeof words / sizeof words[0]);
}

void sim_worker_feed(struct sim *sim, uint32_t index, struct agent_event event)
{
    struct sim_worker *worker = &sim->workers[index];
    MLQ_ASSERT(worker->agent_actor.is_up);
    event.now_ns = sim_local_ns(sim, &worker->clock);
    agent_step(&worker->agent, &event, &worker->actions);
    agent_audit(&worker->agent);
    for (uint32_t i = 0; i < worker->actions.count && worker->agent_actor.is_up; i++) {
        mix(sim, index, &worker->actions.items[i]);
        perform(sim, index, &worker->actions.items[i]);
    }
    if (worker->agent_actor.is_up) {
        set_tick(sim, index);
    }
}

/* ---- What it hears ---- */

static struct agent *copy_agent(const struct agent *agent)
{
    struct agent *copy = mlq_alloc(sizeof *copy);
    memcpy(copy, agent, sizeof *copy);
    return copy;
}

void sim_worker_message(struct sim *sim, uint32_t index, const struct sim_message *message)
{
    static const enum agent_event_kind kinds[] = {
        [SIM_WELCOME] = AGENT_EV_WELCOME, [SIM_HEARTBEAT_ACK] = AGENT_EV_HEARTBEAT_ACK,
        [SIM_ASSIGN] = AGENT_EV_ASSIGNED, [SIM_KILL] = AGENT_EV_KILL,
        [SIM_FENCED] = AGENT_EV_FENCED,   [SIM_ACK] = AGENT_EV_ACKED,
        [SIM_REFUSED] = AGENT_EV_REFUSED, [SIM_MEMBERSHIP] = AGENT_EV_MEMBERSHIP,
    };
    MLQ_ASSERT(message->kind >= SIM_WELCOME && message->worker == index);
    struct sim_worker *worker = &sim->workers[index];
    bool is_old = message->kind != SIM_REFUSED && message->epoch < worker->epoch_heard;
    struct agent *before = is_old ? copy_agent(&worker->agent) : NULL;
    worker->epoch_heard = message->kind != SIM_REFUSED && message->epoch > worker->epoch_heard
                              ? message->epoch
                              : worker->epoch_heard;
    worker->assigning = message;
    sim_worker_feed(sim, index,
                    (struct agent_event){.kind = kinds[message->kind],
                                         .epoch = message->epoch,
                                         .session = message->session,
                                         .attempt = message->attempt,
                                         .rank = message->rank,
                                         .cause = (enum worker_cause)message->cause,
                                         .exit_code = -1,
                                         .grace_ns = message->grace_ns,
                                         .sent_ns = message->sent_ns,
                                         .generation = message->generation,
                                         .lease_ns = SIM_LEASE_NS,
                                         .heartbeat_ns = SIM_HEARTBEAT_NS});
    worker->assigning = NULL;
    if (is_old &&
        (worker->actions.count > 0 || memcmp(before, &worker->agent, sizeof *before) != 0)) {
        sim_fail("worker %u obeys epoch %u, and has heard of %u", index, message->epoch,
                 worker->epoch_heard);
    }
    if (message->kind == SIM_FENCED && !is_old) {
        check_machine_fenced(sim, index, message->attempt, message->rank);
    }
    if (worker->epoch_kept != worker->epoch_heard) {
        sim_fail("worker %u would forget epoch %u if it died now", index, worker->epoch_heard);
    }
    mlq_free(before);
}

static void on_tick(struct sim *sim, struct sim_event *event)
{
    struct sim_worker *worker = &sim->workers[event->index];
    if (event->a == worker->tick_token) {
        sim_worker_feed(sim, event->index, (struct agent_event){.kind = AGENT_EV_TICK});
    }
}

static void set_tick(struct sim *sim, uint32_t index)
{
    struct sim_worker *worker = &sim->workers[index];
    int64_t next_ns = agent_next_deadline_ns(&worker->agent);
    worker->tick_token++;
    if (next_ns == INT64_MAX) {
        return;
    }
    int64_t wait_ns = sim_wait_ns(sim, &worker->clock, next_ns) + sim_between(sim, 0, SIM_MILLI);
    struct sim_event *event = sim_post(sim, wait_ns, &worker->agent_actor, "agent tick", on_tick);
    event->index = index;
    event->a = worker->tick_token;
}

/* ---- Life ---- */

/* Of one that has ended the agent may be told at once, or as of one that lives and then ends. */
static void find_folder(struct sim *sim, uint32_t index, struct sim_folder *folder)
{
    bool is_told_ended = folder->state == SIM_SHIM_ENDED && sim_chance(sim, 50);
    sim_worker_feed(sim, index,
                    (struct agent_event){.kind = AGENT_EV_FOUND,
                                         .attempt = folder->fact.attempt,
                                         .rank = folder->fact.rank,
                                         .is_live = !is_told_ended,
                                         .cause = folder->cause,
                                         .exit_code = folder->exit_code,
                                         .signal = folder->signal});
    if (!is_told_ended) {
        sim_shim_report(sim, index, folder);
        sim_member_greet(sim, index, folder);
    }
}

void sim_worker_start(struct sim *sim, uint32_t index)
{
    struct sim_worker *worker = &sim->workers[index];
    worker->agent_actor.is_up = true;
    worker->agent_actor.life++;
    worker->lease_ns = 0;
    /* worker/home.c: the runs of a worker count in the high bits of its sessions. */
    worker->session_kept = ((worker->session_kept >> 20) + 1) << 20;
    agent_init(&worker->agent, worker->session_kept, worker->epoch_kept,
               sim_local_ns(sim, &worker->clock));
    for (uint32_t i = 0; i < SIM_FOLDERS_MAX; i++) {
        struct sim_folder *folder = &worker->folders[i];
        if (!folder->is_used) {
            continue;
        }
        if (folder->state == SIM_SHIM_NONE) { /* it died while it prepared this one */
            folder->state = SIM_SHIM_ENDED;
            folder->cause = WORKER_CAUSE_NODE;
        }
        find_folder(sim, index, folder);
    }
    sim_net_close(sim, index);
    /* What an earlier process had not sent died with it. */
    worker->link.sent_count[SIM_TO_SCHED] = 0;
    sim_net_connect(sim, index, sim_between(sim, SIM_MILLI, 50 * SIM_MILLI));
    set_tick(sim, index);
}

void sim_worker_crash(struct sim *sim, uint32_t index)
{
    struct sim_worker *worker = &sim->workers[index];
    worker->agent_actor.is_up = false;
    sim_net_close(sim, index);
}
