/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/agent/agent.h"

#include <string.h>

#include "lib/base/panic.h"
#include "worker/agent/members.h"

#define NEVER             INT64_MAX
#define SECOND_NS         INT64_C(1000000000)
#define HELLO_WAIT_NS     (4 * SECOND_NS)  /* for a welcome, before the next endpoint; */
#define HELLO_WAIT_MAX_NS (32 * SECOND_NS) /* twice as long after one that did not come, up to this */
#define CONNECT_WAIT_NS   (3 * SECOND_NS)  /* for a connection, before the next endpoint */
#define SILENT_HEARTBEATS 3               /* without acknowledgement: the leader may have changed */
#define LEAVE_MARGIN_NS                                                                            \
    (5 * SECOND_NS) /* beyond the grace, for ends to be collected and recorded */

static const char *const state_texts[AGENT_STATE_COUNT] = {
#define AGENT_STATE_TEXT(name, text) [AGENT_##name] = text,
    AGENT_STATES(AGENT_STATE_TEXT)
#undef AGENT_STATE_TEXT
};

/* Every move that a member can make. */
static const bool legal_moves[AGENT_STATE_COUNT][AGENT_STATE_COUNT] = {
    [AGENT_FREE] = {[AGENT_PREPARING] = true, [AGENT_RUNNING] = true, [AGENT_COLLECTING] = true},
    [AGENT_PREPARING] = {[AGENT_STARTING] = true, [AGENT_REPORTED] = true, [AGENT_FREE] = true},
    [AGENT_STARTING] = {[AGENT_RUNNING] = true, [AGENT_STOPPING] = true, [AGENT_COLLECTING] = true},
    [AGENT_RUNNING] = {[AGENT_STOPPING] = true, [AGENT_COLLECTING] = true},
    [AGENT_STOPPING] = {[AGENT_COLLECTING] = true, [AGENT_FREE] = true},
    [AGENT_COLLECTING] = {[AGENT_REPORTED] = true, [AGENT_FREE] = true},
    [AGENT_REPORTED] = {[AGENT_FREE] = true},
};

const char *agent_state_text(enum agent_state state)
{
    return state_texts[state];
}

static struct agent_action *emit(struct agent_actions *actions, enum agent_action_kind kind)
{
    MLQ_ASSERT(actions->count < AGENT_ACTIONS_MAX);
    struct agent_action *action = &actions->items[actions->count++];
    *action = (struct agent_action){.kind = kind, .exit_code = -1};
    return action;
}

static struct agent_action *emit_for(struct agent_actions *actions, enum agent_action_kind kind,
                                     const struct agent_member *member)
{
    struct agent_action *action = emit(actions, kind);
    action->attempt = member->attempt;
    action->rank = member->rank;
    return action;
}

/* ---- Members ---- */

static void move(struct agent_member *member, enum agent_state state)
{
    MLQ_ASSERT(legal_moves[member->state][state]);
    member->state = state;
}

/* NULL when the table is full. */
static struct agent_member *add(struct agent *agent, uint64_t attempt, uint32_t rank,
                                enum agent_state state)
{
    struct agent_member *member = members_add(agent, attempt, rank);
    if (member != NULL) {
        move(member, state);
    }
    return member;
}

static void forget(struct agent *agent, struct agent_member *member, struct agent_actions *actions)
{
    (void)emit_for(actions, AGENT_ACT_REMOVE, member);
    move(member, AGENT_FREE);
    members_remove(agent, member);
}

static bool has_shim(const struct agent_member *member)
{
    return member->state == AGENT_STARTING || member->state == AGENT_RUNNING ||
           member->state == AGENT_STOPPING;
}

static void report_ended(struct agent *agent, struct agent_member *member, int64_t now_ns,
                         struct agent_actions *actions)
{
    if (agent->link != AGENT_LINK_WELCOMED) {
        return; /* the welcome brings all of them */
    }
    struct agent_action *action = emit_for(actions, AGENT_ACT_REPORT_ENDED, member);
    action->cause = member->cause;
    action->exit_code = member->exit_code;
    action->signal = member->signal;
    member->reported_ns = now_ns;
}

/* It will not run (any more) and there is nothing to collect. */
static void end_now(struct agent *agent, struct agent_member *member, enum worker_cause cause,
                    int64_t now_ns, struct agent_actions *actions)
{
    if (member->is_doomed) {
        forget(agent, member, actions);
        return;
    }
    member->cause = cause;
    move(member, AGENT_REPORTED);
    report_ended(agent, member, now_ns, actions);
}

static void report_ready(const struct agent *agent, const struct agent_member *member,
                         struct agent_actions *actions)
{
    if (agent->link != AGENT_LINK_WELCOMED || member->state != AGENT_RUNNING || member->port == 0 ||
        member->is_doomed) {
        return; /* the welcome brings all of them */
    }
    struct agent_action *action = emit_for(actions, AGENT_ACT_REPORT_READY, member);
    action->port = member->port;
    action->fingerprint = member->fingerprint;
    action->generation = member->broken;
}

static void stop(struct agent_member *member, enum worker_cause cause, int64_t grace_ns,
                 struct agent_actions *actions)
{
    if (member->state == AGENT_PREPARING) {
        member->must_stop = true;
        member->cause = cause;
        return;
    }
    if (!has_shim(member)) {
        return; /* it has ended */
    }
    struct agent_action *action =
        emit_for(actions, grace_ns > 0 ? AGENT_ACT_STOP : AGENT_ACT_KILL, member);
    action->cause = cause;
    action->grace_ns = grace_ns;
    if (member->state != AGENT_STOPPING) {
        move(member, AGENT_STOPPING);
    }
}

/* ---- The link ---- */

int64_t agent_lease_deadline_ns(const struct agent *agent)
{
    return agent->acked_sent_ns + agent->lease_ns;
}

/* Not again when a welcome is late: what a slow leader assigned meanwhile would be of another session,
 * and lost. A connection loses no hello. To turn to the next endpoint loses it as well, so a leader that
 * never answers in time is given more of it each time. */
static void say_hello(struct agent *agent, int64_t now_ns, struct agent_actions *actions)
{
    agent->link = AGENT_LINK_HELLO;
    agent->session++;
    agent->hello_sent_ns = now_ns;
    agent->link_deadline_ns = now_ns + agent->hello_wait_ns;
    agent->heartbeat_deadline_ns = NEVER;
    emit(actions, AGENT_ACT_HELLO)->session = agent->session;
}

static void rotate(struct agent *agent, int64_t now_ns, struct agent_actions *actions)
{
    if (agent->link == AGENT_LINK_HELLO && agent->hello_wait_ns < HELLO_WAIT_MAX_NS) {
        agent->hello_wait_ns *= 2;
    }
    agent->link = AGENT_LINK_DOWN;
    agent->link_deadline_ns = now_ns + CONNECT_WAIT_NS;
    agent->heartbeat_deadline_ns = NEVER;
    (void)emit(actions, AGENT_ACT_ROTATE);
}

static void disconnected(struct agent *agent, int64_t now_ns)
{
    agent->link = AGENT_LINK_DOWN;
    agent->link_deadline_ns = now_ns + CONNECT_WAIT_NS; /* it may come back by itself */
    agent->heartbeat_deadline_ns = NEVER;
}

static void welcomed(struct agent *agent, const struct agent_event *event,
                     struct agent_actions *actions)
{
    if (agent->link != AGENT_LINK_HELLO || event->session != agent->session ||
        event->lease_ns <= 0 || event->heartbeat_ns <= 0) {
        return;
    }
    /* Past its lease the work may have been given to another, and the order that says so comes only
     * after this welcome: what is not started yet must not be. (Shims see to the rest.) */
    bool has_lapsed = agent_lease_deadline_ns(agent) <= event->now_ns;
    agent->link = AGENT_LINK_WELCOMED;
    agent->epoch_welcomed = agent->epoch;
    agent->lease_ns = event->lease_ns;
    agent->heartbeat_ns = event->heartbeat_ns;
    agent->acked_sent_ns = agent->hello_sent_ns; /* the welcome acknowledges the hello */
    agent->acked_ns = event->now_ns;
    agent->link_deadline_ns = NEVER;
    agent->heartbeat_deadline_ns = event->now_ns + agent->heartbeat_ns;
    agent->hello_wait_ns = HELLO_WAIT_NS;
    emit(actions, AGENT_ACT_LEASE)->deadline_ns = agent_lease_deadline_ns(agent);
    for (uint32_t i = 0; i < agent->fresh; i++) {
        struct agent_member *member = &agent->members[i];
        if (member->state == AGENT_RUNNING || member->state == AGENT_STOPPING) {
            (void)emit_for(actions, AGENT_ACT_REPORT_STARTED, member);
            report_ready(agent, member, actions);
        } else if (member->state == AGENT_REPORTED) {
            report_ended(agent, member, event->now_ns, actions);
        } else if (member->state == AGENT_PREPARING && has_lapsed) {
            stop(member, WORKER_CAUSE_LEASE, 0, actions);
        }
    }
}

static void heartbeat_acked(struct agent *agent, const struct agent_event *event,
                            struct agent_actions *actions)
{
    /* A time that we cannot have sent would stretch the lease. */
    if (agent->link != AGENT_LINK_WELCOMED || event->session != agent->session ||
        event->sent_ns > event->now_ns || event->sent_ns < agent->acked_sent_ns) {
        return;
    }
    agent->acked_sent_ns = event->sent_ns;
    agent->acked_ns = event->now_ns;
    emit(actions, AGENT_ACT_LEASE)->deadline_ns = agent_lease_deadline_ns(agent);
}

static void beat(struct agent *agent, int64_t now_ns, struct agent_actions *actions)
{
    if (now_ns - agent->acked_ns > SILENT_HEARTBEATS * agent->heartbeat_ns) {
        say_hello(agent, now_ns, actions);
        return;
    }
    agent->heartbeat_deadline_ns = now_ns + agent->heartbeat_ns;
    emit(actions, AGENT_ACT_HEARTBEAT)->session = agent->session;
    for (uint32_t i = 0; i < agent->fresh; i++) {
        struct agent_member *member = &agent->members[i];
        if (member->state == AGENT_REPORTED &&
            now_ns - member->reported_ns >= agent->heartbeat_ns) {
            report_ended(agent, member, now_ns, actions);
        }
    }
}

static void tick(struct agent *agent, int64_t now_ns, struct agent_actions *actions)
{
    if (now_ns >= agent->heartbeat_deadline_ns) {
        beat(agent, now_ns, actions);
    }
    if (now_ns >= agent->link_deadline_ns) {
        rotate(agent, now_ns, actions);
    }
}

/* ---- What the scheduler says of members ---- */

static void assigned(struct agent *agent, const struct agent_event *event,
                     struct agent_actions *actions)
{
    if (agent->link != AGENT_LINK_WELCOMED || event->session != agent->session ||
        event->attempt == 0 || agent->leave_deadline_ns != NEVER ||
        members_find(agent, event->attempt, event->rank) != NULL ||
        members_was_forgotten(agent, event->attempt, event->rank)) {
        return; /* stale or repeated; one that is lost by this is missing in the next hello's claims
                 */
    }
    struct agent_member *member = add(agent, event->attempt, event->rank, AGENT_PREPARING);
    if (member == NULL) {
        struct agent_action *action = emit(actions, AGENT_ACT_REFUSE);
        action->attempt = event->attempt;
        action->rank = event->rank;
        action->cause = WORKER_CAUSE_NODE;
        return;
    }
    (void)emit_for(actions, AGENT_ACT_PREPARE, member);
}

/* Fenced, or its end is on record: it goes as soon as nothing of it runs. */
static void doom(struct agent *agent, struct agent_member *member, struct agent_actions *actions)
{
    if (member->state == AGENT_REPORTED) {
        forget(agent, member, actions);
        return;
    }
    member->is_doomed = true;
    stop(member, WORKER_CAUSE_CANCEL, 0, actions);
}

static void checkpoint(const struct agent_member *member, struct agent_actions *actions)
{
    /* One that is stopping saves anyway, and one that has not begun has nothing yet. */
    if (member->state == AGENT_RUNNING) {
        (void)emit_for(actions, AGENT_ACT_CHECKPOINT, member);
    }
}

static void take_membership(struct agent_member *member, const struct agent_event *event,
                            struct agent_actions *actions)
{
    if (member->state != AGENT_RUNNING || event->generation < member->generation) {
        return;
    }
    member->generation = event->generation;
    member->broken = event->generation > member->broken ? 0 : member->broken;
    (void)emit_for(actions, AGENT_ACT_MEMBERSHIP, member);
}

/* ---- What the shell did for members ---- */

static void found(struct agent *agent, const struct agent_event *event,
                  struct agent_actions *actions)
{
    if (members_find(agent, event->attempt, event->rank) != NULL) {
        return;
    }
    struct agent_member *member =
        add(agent, event->attempt, event->rank, event->is_live ? AGENT_RUNNING : AGENT_COLLECTING);
    if (member == NULL) {
        return; /* more folders than this worker can have made: left to themselves */
    }
    if (!event->is_live) {
        member->cause = event->cause;
        member->exit_code = event->exit_code;
        member->signal = event->signal;
        (void)emit_for(actions, AGENT_ACT_COLLECT, member);
    }
}

static void prepared(struct agent *agent, struct agent_member *member,
                     const struct agent_event *event, struct agent_actions *actions)
{
    if (member->state != AGENT_PREPARING) {
        return;
    }
    if (member->must_stop || member->is_doomed) {
        end_now(agent, member, member->cause, event->now_ns, actions);
    } else if (event->cause != WORKER_CAUSE_NONE) {
        end_now(agent, member, event->cause, event->now_ns, actions);
    } else if (agent_lease_deadline_ns(agent) <= event->now_ns) {
        end_now(agent, member, WORKER_CAUSE_LEASE, event->now_ns, actions);
    } else {
        move(member, AGENT_STARTING);
        emit_for(actions, AGENT_ACT_SPAWN, member)->deadline_ns = agent_lease_deadline_ns(agent);
    }
}

static void shim_started(struct agent *agent, struct agent_member *member,
                         struct agent_actions *actions)
{
    if (member->state == AGENT_STARTING) {
        move(member, AGENT_RUNNING);
    }
    if (agent->link == AGENT_LINK_WELCOMED && has_shim(member) && !member->is_doomed) {
        (void)emit_for(actions, AGENT_ACT_REPORT_STARTED, member);
    }
    report_ready(agent, member, actions); /* it may have been quicker than the news of its start */
}

static void ready(const struct agent *agent, struct agent_member *member,
                  const struct agent_event *event, struct agent_actions *actions)
{
    MLQ_ASSERT(event->port != 0 && event->fingerprint != 0);
    member->port = event->port;
    member->fingerprint = event->fingerprint;
    member->broken = event->generation;
    report_ready(agent, member, actions);
}

static void shim_ended(struct agent *agent, struct agent_member *member,
                       const struct agent_event *event, struct agent_actions *actions)
{
    if (!has_shim(member)) {
        return;
    }
    member->cause = event->cause;
    member->exit_code = event->exit_code;
    member->signal = event->signal;
    if (member->is_doomed) {
        if (member->state != AGENT_STOPPING) {
            move(member, AGENT_STOPPING);
        }
        forget(agent, member, actions);
        return;
    }
    move(member, AGENT_COLLECTING);
    (void)emit_for(actions, AGENT_ACT_COLLECT, member);
}

static void collected(struct agent *agent, struct agent_member *member,
                      const struct agent_event *event, struct agent_actions *actions)
{
    if (member->state != AGENT_COLLECTING) {
        return;
    }
    /* Outputs that could not be kept make a success a failure; another failure stays what it was.
     */
    enum worker_cause cause = member->cause == WORKER_CAUSE_NONE ? event->cause : member->cause;
    end_now(agent, member, cause, event->now_ns, actions);
}

/* ---- One step ---- */

static void quit(struct agent *agent, const struct agent_event *event,
                 struct agent_actions *actions)
{
    if (agent->leave_deadline_ns != NEVER) {
        return;
    }
    agent->leave_deadline_ns = event->now_ns + event->grace_ns + LEAVE_MARGIN_NS;
    for (uint32_t i = 0; i < agent->fresh; i++) {
        if (agent->members[i].state != AGENT_FREE) {
            /* Not the task's failure, nor a lost machine: it runs again and no retry is used up. */
            stop(&agent->members[i], WORKER_CAUSE_REQUEUE, event->grace_ns, actions);
        }
    }
}

static void step_member(struct agent *agent, const struct agent_event *event,
                        struct agent_actions *actions)
{
    struct agent_member *member = members_find(agent, event->attempt, event->rank);
    if (member == NULL) {
        return;
    }
    switch (event->kind) {
    case AGENT_EV_KILL:
        stop(member, event->cause, event->grace_ns, actions);
        break;
    case AGENT_EV_FENCED:
    case AGENT_EV_ACKED:
        doom(agent, member, actions);
        break;
    case AGENT_EV_CHECKPOINT:
        checkpoint(member, actions);
        break;
    case AGENT_EV_MEMBERSHIP:
        take_membership(member, event, actions);
        break;
    case AGENT_EV_READY:
        ready(agent, member, event, actions);
        break;
    case AGENT_EV_PREPARED:
        prepared(agent, member, event, actions);
        break;
    case AGENT_EV_SHIM_STARTED:
        shim_started(agent, member, actions);
        break;
    case AGENT_EV_SHIM_ENDED:
        shim_ended(agent, member, event, actions);
        break;
    case AGENT_EV_COLLECTED:
        collected(agent, member, event, actions);
        break;
    case AGENT_EV_TICK:
    case AGENT_EV_FOUND:
    case AGENT_EV_CONNECTED:
    case AGENT_EV_DISCONNECTED:
    case AGENT_EV_QUIT:
    case AGENT_EV_WELCOME:
    case AGENT_EV_HEARTBEAT_ACK:
    case AGENT_EV_ASSIGNED:
    case AGENT_EV_REFUSED:
        MLQ_UNREACHABLE("an event of the link came to a member");
    }
}

/* Of the highest epoch that we know, or higher: then it is remembered first. */
static bool take_epoch(struct agent *agent, const struct agent_event *event,
                       struct agent_actions *actions)
{
    if (event->epoch < agent->epoch || event->epoch == 0) {
        return false;
    }
    if (event->epoch > agent->epoch) {
        agent->epoch = event->epoch;
        emit(actions, AGENT_ACT_EPOCH)->epoch = event->epoch;
    }
    return true;
}

static bool is_from_scheduler(enum agent_event_kind kind)
{
    return kind == AGENT_EV_WELCOME || kind == AGENT_EV_HEARTBEAT_ACK ||
           kind == AGENT_EV_ASSIGNED || kind == AGENT_EV_KILL || kind == AGENT_EV_FENCED ||
           kind == AGENT_EV_ACKED || kind == AGENT_EV_CHECKPOINT || kind == AGENT_EV_MEMBERSHIP;
}

static void step(struct agent *agent, const struct agent_event *event,
                 struct agent_actions *actions)
{
    switch (event->kind) {
    case AGENT_EV_TICK:
        tick(agent, event->now_ns, actions);
        break;
    case AGENT_EV_FOUND:
        found(agent, event, actions);
        break;
    case AGENT_EV_CONNECTED:
        say_hello(agent, event->now_ns, actions);
        break;
    case AGENT_EV_DISCONNECTED:
        disconnected(agent, event->now_ns);
        break;
    case AGENT_EV_QUIT:
        quit(agent, event, actions);
        break;
    case AGENT_EV_WELCOME:
        welcomed(agent, event, actions);
        break;
    case AGENT_EV_HEARTBEAT_ACK:
        heartbeat_acked(agent, event, actions);
        break;
    case AGENT_EV_ASSIGNED:
        assigned(agent, event, actions);
        break;
    case AGENT_EV_REFUSED:
        disconnected(agent, event->now_ns); /* not at once: it would be a storm */
        break;
    case AGENT_EV_KILL:
    case AGENT_EV_FENCED:
    case AGENT_EV_ACKED:
    case AGENT_EV_CHECKPOINT:
    case AGENT_EV_MEMBERSHIP:
    case AGENT_EV_READY:
    case AGENT_EV_PREPARED:
    case AGENT_EV_SHIM_STARTED:
    case AGENT_EV_SHIM_ENDED:
    case AGENT_EV_COLLECTED:
        step_member(agent, event, actions);
        break;
    }
}

void agent_init(struct agent *agent, uint64_t session, uint32_t epoch, int64_t now_ns)
{
    memset(agent, 0, sizeof *agent);
    agent->session = session;
    agent->epoch = epoch;
    agent->hello_wait_ns = HELLO_WAIT_NS;
    agent->link_deadline_ns = now_ns + CONNECT_WAIT_NS;
    agent->heartbeat_deadline_ns = NEVER;
    agent->leave_deadline_ns = NEVER;
}

void agent_step(struct agent *agent, const struct agent_event *event, struct agent_actions *actions)
{
    actions->count = 0;
    if (is_from_scheduler(event->kind) && !take_epoch(agent, event, actions)) {
        return;
    }
    step(agent, event, actions);
    /* A leader that we have not said hello to took over behind the same connection. */
    if (agent->link == AGENT_LINK_WELCOMED && agent->epoch > agent->epoch_welcomed) {
        say_hello(agent, event->now_ns, actions);
    }
    if (agent->leave_deadline_ns != NEVER &&
        (agent->count == 0 || event->now_ns >= agent->leave_deadline_ns)) {
        (void)emit(actions, AGENT_ACT_LEAVE);
    }
}

int64_t agent_next_deadline_ns(const struct agent *agent)
{
    int64_t next = agent->link_deadline_ns;
    next = agent->heartbeat_deadline_ns < next ? agent->heartbeat_deadline_ns : next;
    return agent->leave_deadline_ns < next ? agent->leave_deadline_ns : next;
}

void agent_audit(const struct agent *agent)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < agent->fresh; i++) {
        const struct agent_member *member = &agent->members[i];
        if (member->state == AGENT_FREE) {
            continue;
        }
        count++;
        MLQ_ASSERT(member->attempt != 0);
        MLQ_ASSERT(agent_find(agent, member->attempt, member->rank) == member);
        MLQ_ASSERT(!(member->state == AGENT_REPORTED && member->is_doomed));
        MLQ_ASSERT(!(member->must_stop && has_shim(member)));
    }
    MLQ_ASSERT(count == agent->count);
    MLQ_ASSERT(agent->hello_wait_ns >= HELLO_WAIT_NS && agent->hello_wait_ns <= HELLO_WAIT_MAX_NS);
    MLQ_ASSERT((agent->link == AGENT_LINK_WELCOMED) == (agent->heartbeat_deadline_ns != NEVER));
    MLQ_ASSERT(agent->link != AGENT_LINK_WELCOMED || agent->epoch == agent->epoch_welcomed);
    MLQ_ASSERT(agent->link == AGENT_LINK_WELCOMED || agent->link != AGENT_LINK_HELLO ||
               agent->link_deadline_ns != NEVER);
}
