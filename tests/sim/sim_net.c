/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "tests/sim/sim.h"

#include <string.h>

#include "lib/sys/mem.h"

/* ---- Connecting ---- */

static void on_connect(struct sim *sim, struct sim_event *event)
{
    struct sim_worker *worker = &sim->workers[event->index];
    struct sim_link *link = &worker->link;
    const struct sim_sched *sched = &sim->scheds[link->sched];
    if (event->a != link->token || link->is_up) {
        return;
    }
    bool is_cut =
        worker->is_cut[link->sched][SIM_TO_SCHED] || worker->is_cut[link->sched][SIM_TO_WORKER];
    if (!sched->actor.is_up || sched->phase != SIM_SERVING || is_cut) {
        sim_net_connect(sim, event->index, sim_between(sim, 200 * SIM_MILLI, 800 * SIM_MILLI));
        return;
    }
    link->number = ++sim->connections;
    link->server = sched->server;
    link->is_up = true;
    for (uint32_t way = 0; way < 2; way++) {
        link->is_dead[way] = false;
        link->last_due_ns[way] = sim->now_ns;
        memcpy(link->past[way], link->sent[way], sizeof link->past[way]);
        link->past_count[way] =
            link->sent_count[way] < SIM_LATE_MAX ? link->sent_count[way] : SIM_LATE_MAX;
        link->sent_count[way] = 0;
    }
    sim_worker_feed(sim, event->index, (struct agent_event){.kind = AGENT_EV_CONNECTED});
}

void sim_net_connect(struct sim *sim, uint32_t worker, int64_t delay_ns)
{
    struct sim_event *event =
        sim_post(sim, delay_ns, &sim->workers[worker].agent_actor, "connect", on_connect);
    event->index = worker;
    event->a = ++sim->workers[worker].link.token;
}

void sim_net_close(struct sim *sim, uint32_t worker)
{
    (void)sim;
    sim->workers[worker].link.is_up = false;
    sim->workers[worker].link.token++;
}

static void on_broken(struct sim *sim, struct sim_event *event)
{
    struct sim_link *link = &sim->workers[event->index].link;
    if (!link->is_up || link->number != event->a) {
        return;
    }
    link->is_up = false;
    sim_worker_feed(sim, event->index, (struct agent_event){.kind = AGENT_EV_DISCONNECTED});
    sim_net_connect(sim, event->index, sim_between(sim, 50 * SIM_MILLI, 500 * SIM_MILLI));
}

static void will_break(struct sim *sim, uint32_t worker, int64_t delay_ns)
{
    struct sim_event *event =
        sim_post(sim, delay_ns, &sim->workers[worker].agent_actor, "link broken", on_broken);
    event->index = worker;
    event->a = sim->workers[worker].link.number;
}

void sim_net_server_closed(struct sim *sim, uint32_t sched)
{
    for (uint32_t i = 0; i < sim->worker_count; i++) {
        struct sim_link *link = &sim->workers[i].link;
        if (link->is_up && link->sched == sched) {
            will_break(sim, i, sim_between(sim, SIM_MILLI, 200 * SIM_MILLI));
        }
    }
}

bool sim_net_is_open(const struct sim *sim, uint32_t sched, uint32_t worker, uint64_t connection)
{
    const struct sim_link *link = &sim->workers[worker].link;
    return link->is_up && link->number == connection && link->sched == sched &&
           link->server == sim->scheds[sched].server;
}

/* ---- Messages ---- */

static void on_message_to_sched(struct sim *sim, struct sim_event *event)
{
    const struct sim_message *message = event->data;
    const struct sim_sched *sched = &sim->scheds[event->index];
    if (sched->phase == SIM_SERVING && sched->server == event->b) {
        sim_shell_message(sim, event->index, event->a, message);
    }
}

static void on_message_to_worker(struct sim *sim, struct sim_event *event)
{
    const struct sim_link *link = &sim->workers[event->index].link;
    if (link->is_up && link->number == event->a) {
        sim_worker_message(sim, event->index, event->data);
    }
}

/* When it arrives; -1: never. A hello is not overtaken: nothing of its session is sent before the
 * welcome, and what an older connection carried cannot reach a server ahead of it (ZMQ_IMMEDIATE
 * drops what was not sent; a scheduler that leads again has a new socket). */
static int64_t transit_ns(struct sim *sim, uint32_t worker, enum sim_way way, bool is_hello)
{
    struct sim_link *link = &sim->workers[worker].link;
    int64_t usual_ns = sim_between(sim, SIM_MILLI / 10, 3 * SIM_MILLI);
    bool is_lost =
        sim->workers[worker].is_cut[link->sched][way] || sim_buggify(sim, SIM_FAULT_DROP, 8);
    if (is_lost && !link->is_dead[way]) {
        link->is_dead[way] = true;
        if (sim_buggify(sim, SIM_FAULT_HALF_OPEN, 400)) {
            return -1; /* the worker finds out by itself, or never */
        }
        will_break(sim, worker, sim_between(sim, 100 * SIM_MILLI, 12 * SIM_SECOND));
    }
    if (link->is_dead[way]) {
        return -1;
    }
    if (way == SIM_TO_SCHED && !is_hello && sim_buggify(sim, SIM_FAULT_REORDER, 30)) {
        return sim_fate_between(sim, SIM_MILLI, 2 * SIM_SECOND);
    }
    if (sim_buggify(sim, SIM_FAULT_DELAY, 60)) {
        usual_ns = sim_fate_between(sim, 10 * SIM_MILLI, 4 * SIM_SECOND);
    }
    int64_t due_ns = sim->now_ns + usual_ns;
    due_ns = due_ns > link->last_due_ns[way] ? due_ns : link->last_due_ns[way];
    link->last_due_ns[way] = due_ns;
    return due_ns - sim->now_ns;
}

static void remember(struct sim_link *link, enum sim_way way, const struct sim_message *message)
{
    link->sent[way][link->sent_count[way]++ % SIM_LATE_MAX] = *message;
}

static void post_after(struct sim *sim, uint32_t worker, enum sim_way way,
                       const struct sim_message *message, int64_t delay_ns)
{
    static const char *const names[] = {
        [SIM_HELLO] = "> hello",     [SIM_HEARTBEAT] = "> heartbeat",
        [SIM_STARTED] = "> started", [SIM_ENDED] = "> ended",
        [SIM_LEAVING] = "> leaving", [SIM_WELCOME] = "< welcome",
        [SIM_ASSIGN] = "< assign",   [SIM_HEARTBEAT_ACK] = "< heartbeat ack",
        [SIM_KILL] = "< kill",       [SIM_FENCED] = "< fenced",
        [SIM_ACK] = "< ack",         [SIM_REFUSED] = "< refused",
        [SIM_READY] = "> ready",     [SIM_MEMBERSHIP] = "< membership",
    };
    struct sim_link *link = &sim->workers[worker].link;
    bool is_up = way == SIM_TO_SCHED;
    struct sim_actor *actor =
        is_up ? &sim->scheds[link->sched].actor : &sim->workers[worker].agent_actor;
    struct sim_event *event = sim_post(sim, delay_ns, actor, names[message->kind],
                                       is_up ? on_message_to_sched : on_message_to_worker);
    event->index = is_up ? link->sched : worker;
    event->a = link->number;
    event->b = link->server;
    struct sim_message *copy = mlq_alloc(sizeof *copy);
    *copy = *message;
    event->data = copy;
}

static void post_message(struct sim *sim, uint32_t worker, enum sim_way way,
                         const struct sim_message *message)
{
    int64_t delay_ns = transit_ns(sim, worker, way, message->kind == SIM_HELLO);
    if (delay_ns < 0) {
        return;
    }
    post_after(sim, worker, way, message, delay_ns);
    if (sim_buggify(sim, SIM_FAULT_DUPLICATE, 20)) {
        post_after(sim, worker, way, message, delay_ns + sim_fate_between(sim, 0, 3 * SIM_SECOND));
    }
}

void sim_net_send_to_sched(struct sim *sim, uint32_t worker, const struct sim_message *message)
{
    struct sim_link *link = &sim->workers[worker].link;
    if (link->is_up) {
        remember(link, SIM_TO_SCHED, message);
        post_message(sim, worker, SIM_TO_SCHED, message);
    }
}

void sim_net_send_to_worker(struct sim *sim, uint32_t sched, uint32_t worker, uint64_t connection,
                            const struct sim_message *message)
{
    if (sim_net_is_open(sim, sched, worker, connection)) {
        remember(&sim->workers[worker].link, SIM_TO_WORKER, message);
        post_message(sim, worker, SIM_TO_WORKER, message);
    }
}

void sim_net_late(struct sim *sim, uint32_t worker, enum sim_way way)
{
    struct sim_link *link = &sim->workers[worker].link;
    for (uint32_t i = 0; i < link->past_count[way] && link->is_up; i++) {
        if (sim_buggify(sim, SIM_FAULT_LATE, 300)) {
            struct sim_message old = link->past[way][i];
            old.is_late = true;
            post_message(sim, worker, way, &old);
        }
    }
    link->past_count[way] = 0;
}
