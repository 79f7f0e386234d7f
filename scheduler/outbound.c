/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Held actions as messages, once their turn is durable, worker by worker. Actions for one worker that follow
 * each other and are of one kind travel in one message; acknowledgements go ahead of the assignments that they
 * make room for, so that a turn of ends is two messages. A message that cannot be sent is dropped: the worker
 * says hello again and the core settles what it missed.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/base/ownership.h"
#include "lib/base/panic.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "scheduler/shell_state.h"

#define ITEMS_MAX 256
#define PARCEL_BYTES_MAX (4u << 20) /* with one more assignment a frame still holds it */

/* What is being collected for one worker. */
struct parcel {
    struct shell *shell;
    struct mlq_region *region;
    const struct turn_held **sorted; /* owned: the actions of a turn by worker */
    size_t sorted_room;
    struct roster_worker *worker; /* NULL: it is not known */
    enum core_action_kind kind;   /* of what is collected beside acknowledgements */
    uint64_t session;
    size_t ack_count;
    size_t count;
    size_t bytes; /* of the assignments */
    struct msg_member acks[ITEMS_MAX];
    struct msg_assignment assignments[ITEMS_MAX];
    struct msg_kill_item kills[ITEMS_MAX];
    struct msg_member fenced[ITEMS_MAX];
    struct msg_membership memberships[ITEMS_MAX];
};

void outbound_worker(struct shell *shell, struct roster_worker *worker, const struct msg *msg)
{
    struct msg stamped = *msg;
    struct mlq_err err = MLQ_ERR_INIT;
    stamped.epoch = shell->epoch;
    if (worker->connected && net_server_send(shell->server, &worker->address, &stamped, &err) != MLQ_OK) {
        /* Within a session no message may be skipped: this one is over, and whatever the worker says next is
         * answered with "say hello first" (inbound.c). */
        worker->connected = false;
        log_warn("worker.send", "worker=%u kind=%d error=\"%s\"", worker->id, (int)msg->kind, err.text);
    }
}

void outbound_reply(struct shell *shell, const struct net_address *to, const struct msg_reply *reply)
{
    struct msg msg = {.kind = MSG_REPLY, .epoch = shell->epoch, .reply = *reply};
    struct mlq_err err = MLQ_ERR_INIT;
    int rc = net_server_send(shell->server, to, &msg, &err);
    if (rc == MLQ_EFULL) { /* too large: say so instead of staying silent */
        msg.reply.blob = (struct mlq_str){0};
        msg.reply.code = MLQ_EFULL;
        msg.reply.text = MLQ_STR("the answer is larger than one message may be: ask for less");
        (void)net_server_send(shell->server, to, &msg, NULL);
    }
}

static void flush_acks(struct parcel *parcel)
{
    if (parcel->ack_count > 0) {
        struct msg msg = {.kind = MSG_ACK, .ack = {.items = parcel->acks, .count = parcel->ack_count}};
        outbound_worker(parcel->shell, parcel->worker, &msg);
        parcel->ack_count = 0;
    }
}

static void flush(struct parcel *parcel)
{
    flush_acks(parcel);
    if (parcel->count == 0) {
        return;
    }
    struct msg msg = {0};
    switch (parcel->kind) {
    case ACT_ASSIGN:
        msg.kind = MSG_ASSIGN;
        msg.assign = (struct msg_assign){.session = parcel->session, .items = parcel->assignments, .count = parcel->count};
        break;
    case ACT_KILL:
        msg.kind = MSG_KILL;
        msg.kill = (struct msg_kill){.items = parcel->kills, .count = parcel->count};
        break;
    case ACT_FENCED:
        msg.kind = MSG_FENCED;
        msg.fenced = (struct msg_members){.items = parcel->fenced, .count = parcel->count};
        break;
    case ACT_MEMBERS:
        msg.kind = MSG_MEMBERSHIPS;
        msg.memberships = (struct msg_memberships){.items = parcel->memberships, .count = parcel->count};
        break;
    case ACT_ACK:
    case ACT_WELCOME:
    case ACT_PERSIST:
    case ACT_REPLY:
    case ACT_RECORD:
        MLQ_UNREACHABLE("never collected");
    }
    outbound_worker(parcel->shell, parcel->worker, &msg);
    parcel->count = 0;
    parcel->bytes = 0;
    mlq_region_reset(parcel->region);
}

/* Make room for one more of this kind. */
static void begin(struct parcel *parcel, const struct core_action *action)
{
    bool other = parcel->kind != action->kind || (action->kind == ACT_ASSIGN && parcel->session != action->session) ||
                 parcel->count == ITEMS_MAX || parcel->bytes > PARCEL_BYTES_MAX;
    if (other) {
        flush(parcel);
        parcel->kind = action->kind;
        parcel->session = action->session;
    }
}

/* A rank that cannot be described (an input is missing) ends before it starts. */
static void fail_assignment(struct shell *shell, const struct core_fact *fact, const struct mlq_err *err)
{
    struct msg_report_item item = {
        .kind = MSG_REPORT_ENDED,
        .member = {.attempt = fact->attempt, .rank = fact->rank},
        .cause = CAUSE_INPUT,
        .exit_code = -1,
        .detail = mlq_str_from(err->text),
    };
    shell_step(shell, &(struct core_event){.kind = EV_ENDED,
                                           .worker = fact->worker,
                                           .attempt = fact->attempt,
                                           .rank = fact->rank,
                                           .cause = CAUSE_INPUT,
                                           .exit_code = -1,
                                           .payload = turn_add_payload(shell->open, &item)});
}

static void assign(struct parcel *parcel, const struct core_action *action)
{
    struct shell *shell = parcel->shell;
    const struct core_fact *fact = &action->fact;
    struct mlq_err err = MLQ_ERR_INIT;
    if (!core_is_live(shell->core, fact->attempt, fact->rank, fact->worker)) {
        return; /* ended meanwhile */
    }
    begin(parcel, action);
    if (assign_compose(shell, fact, parcel->region, &parcel->assignments[parcel->count], &err) != MLQ_OK) {
        fail_assignment(shell, fact, &err);
        return;
    }
    parcel->bytes += assign_bytes(&parcel->assignments[parcel->count]);
    parcel->count++;
}

static void welcome(struct shell *shell, struct roster_worker *worker, const struct core_action *action)
{
    struct msg msg = {.kind = MSG_WELCOME,
                      .welcome = {.cluster = mlq_str_from(shell->options.cluster),
                                  .session = action->session,
                                  .worker = worker->id,
                                  .lease_ns = shell->options.limits.lease_ns,
                                  .heartbeat_ns = shell->options.heartbeat_ns}};
    outbound_worker(shell, worker, &msg);
}

/* For the parcel's worker. */
static void collect(struct parcel *parcel, const struct turn_held *held)
{
    const struct core_action *action = &held->action;
    const struct msg_member member = {.attempt = action->attempt, .rank = action->rank};
    switch (action->kind) {
    case ACT_WELCOME:
        flush(parcel);
        welcome(parcel->shell, parcel->worker, action);
        return;
    case ACT_ASSIGN:
        assign(parcel, action);
        return;
    case ACT_KILL:
        begin(parcel, action);
        parcel->kills[parcel->count++] = (struct msg_kill_item){
            .member = member, .cause = (uint32_t)action->cause, .grace_ns = action->grace_ns};
        return;
    case ACT_ACK:
        if (parcel->ack_count == ITEMS_MAX) {
            flush_acks(parcel);
        }
        parcel->acks[parcel->ack_count++] = member;
        return;
    case ACT_FENCED:
        begin(parcel, action);
        parcel->fenced[parcel->count++] = member;
        return;
    case ACT_MEMBERS:
        begin(parcel, action);
        parcel->memberships[parcel->count++] = *held->membership;
        return;
    case ACT_PERSIST:
    case ACT_REPLY:
    case ACT_RECORD:
        MLQ_UNREACHABLE("never held");
    }
}

struct parcel *outbound_create(struct shell *shell)
{
    struct parcel *parcel = mlq_alloc(sizeof *parcel);
    parcel->shell = shell;
    parcel->region = mlq_region_create();
    return parcel;
}

void outbound_destroy(struct parcel **parcel)
{
    if (*parcel != NULL) {
        mlq_region_destroy(&(*parcel)->region);
        mlq_free((*parcel)->sorted);
        mlq_free(*parcel);
        *parcel = NULL;
    }
}

/* By worker; what is for one worker keeps its order. */
static int compare_held(const void *a, const void *b)
{
    const struct turn_held *x = *(const struct turn_held *const *)a;
    const struct turn_held *y = *(const struct turn_held *const *)b;
    return x->action.worker != y->action.worker ? (x->action.worker > y->action.worker) - (x->action.worker < y->action.worker)
                                                : (x > y) - (x < y);
}

static size_t sort_actions(struct parcel *parcel, const struct turn *turn)
{
    size_t count = 0;
    if (parcel->sorted_room < turn->held_count) {
        mlq_free(parcel->sorted);
        parcel->sorted_room = turn->held_room;
        parcel->sorted = mlq_alloc_array(parcel->sorted_room, sizeof *parcel->sorted);
    }
    for (size_t i = 0; i < turn->held_count; i++) {
        if (turn->held[i].kind == HELD_ACTION) {
            parcel->sorted[count++] = &turn->held[i];
        }
    }
    qsort(parcel->sorted, count, sizeof *parcel->sorted, compare_held);
    return count;
}

static void release_actions(struct parcel *parcel, const struct turn *turn)
{
    size_t count = sort_actions(parcel, turn);
    for (size_t i = 0; i < count; i++) {
        const struct core_action *action = &parcel->sorted[i]->action;
        if (i == 0 || action->worker != parcel->sorted[i - 1]->action.worker) {
            flush(parcel);
            parcel->worker = roster_find(parcel->shell->roster, action->worker);
        }
        if (parcel->worker != NULL) {
            collect(parcel, parcel->sorted[i]);
        }
    }
    flush(parcel);
}

/* Assignments go before answers: the client has what it wants to know either way. A failed assignment steps
 * the core, which adds to the open turn: not to this one (shell.c). */
void outbound_release(struct shell *shell, const struct turn *turn)
{
    release_actions(shell->parcel, turn);
    for (size_t i = 0; i < turn->held_count; i++) {
        const struct turn_held *held = &turn->held[i];
        if (held->kind == HELD_REPLY) {
            outbound_reply(shell, &held->to, &held->reply);
        }
    }
}
