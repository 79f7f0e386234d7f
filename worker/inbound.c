/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Messages of the scheduler become events of the agent. Whether one is stale is the agent's to say.
 */
#include "lib/sys/log.h"
#include "worker/worker.h"

static enum worker_cause to_cause(uint32_t number)
{
    return number < WORKER_CAUSE_COUNT && number != WORKER_CAUSE_NONE ? (enum worker_cause)number
                                                                      : WORKER_CAUSE_CANCEL;
}

static void feed_members(struct worker *worker, const struct msg *msg,
                         const struct msg_members *members, enum agent_event_kind kind)
{
    for (size_t i = 0; i < members->count; i++) {
        worker_feed(worker, (struct agent_event){.kind = kind,
                                                 .epoch = msg->epoch,
                                                 .attempt = members->items[i].attempt,
                                                 .rank = members->items[i].rank});
    }
}

static void take_assign(struct worker *worker, const struct msg *msg)
{
    for (size_t i = 0; i < msg->assign.count; i++) {
        const struct msg_assignment *item = &msg->assign.items[i];
        worker->assigning = item;
        worker_feed(worker, (struct agent_event){.kind = AGENT_EV_ASSIGNED,
                                                 .epoch = msg->epoch,
                                                 .session = msg->assign.session,
                                                 .attempt = item->member.attempt,
                                                 .rank = item->member.rank});
        worker->assigning = NULL;
    }
}

static void take_memberships(struct worker *worker, const struct msg *msg)
{
    for (size_t i = 0; i < msg->memberships.count; i++) {
        const struct msg_membership *item = &msg->memberships.items[i];
        worker->membership = item;
        worker_feed(worker, (struct agent_event){.kind = AGENT_EV_MEMBERSHIP,
                                                 .epoch = msg->epoch,
                                                 .attempt = item->member.attempt,
                                                 .rank = item->member.rank,
                                                 .generation = item->generation});
        worker->membership = NULL;
    }
}

static void take_kill(struct worker *worker, const struct msg *msg)
{
    for (size_t i = 0; i < msg->kill.count; i++) {
        const struct msg_kill_item *item = &msg->kill.items[i];
        worker_feed(worker, (struct agent_event){.kind = AGENT_EV_KILL,
                                                 .epoch = msg->epoch,
                                                 .attempt = item->member.attempt,
                                                 .rank = item->member.rank,
                                                 .cause = to_cause(item->cause),
                                                 .grace_ns = item->grace_ns});
    }
}

static void take_refused(struct worker *worker, const struct msg_refused *refused)
{
    log_error("link.refused", "code=%d text=\"%.*s\" version_ours=%u version_theirs=%u",
              refused->code, MLQ_STR_ARG(refused->text), refused->version_theirs,
              refused->version_ours);
    worker_feed(worker, (struct agent_event){.kind = AGENT_EV_REFUSED});
}

/* A welcome of another session is none: the agent says. */
static void take_welcome(struct worker *worker, const struct msg *msg)
{
    log_info("link.welcomed", "cluster=%.*s worker=%u epoch=%u", MLQ_STR_ARG(msg->welcome.cluster),
             msg->welcome.worker, msg->epoch);
    worker_feed(worker, (struct agent_event){.kind = AGENT_EV_WELCOME,
                                             .epoch = msg->epoch,
                                             .session = msg->welcome.session,
                                             .lease_ns = msg->welcome.lease_ns,
                                             .heartbeat_ns = msg->welcome.heartbeat_ns});
    records_welcomed(worker);
}

void inbound_message(struct worker *worker, const struct msg *msg)
{
    switch (msg->kind) {
    case MSG_WELCOME:
        take_welcome(worker, msg);
        break;
    case MSG_HEARTBEAT_ACK:
        worker_feed(worker, (struct agent_event){.kind = AGENT_EV_HEARTBEAT_ACK,
                                                 .epoch = msg->epoch,
                                                 .session = msg->heartbeat_ack.session,
                                                 .sent_ns = msg->heartbeat_ack.sent_ns});
        break;
    case MSG_ASSIGN:
        take_assign(worker, msg);
        break;
    case MSG_KILL:
        take_kill(worker, msg);
        break;
    case MSG_FENCED:
        feed_members(worker, msg, &msg->fenced, AGENT_EV_FENCED);
        break;
    case MSG_ACK:
        feed_members(worker, msg, &msg->ack, AGENT_EV_ACKED);
        break;
    case MSG_CHECKPOINT:
        feed_members(worker, msg, &msg->checkpoint, AGENT_EV_CHECKPOINT);
        break;
    case MSG_MEMBERSHIPS:
        take_memberships(worker, msg);
        break;
    case MSG_LOG_READ:
        logs_read(worker, &msg->log_read);
        break;
    case MSG_RECORD_REPLY:
        records_answered(worker, &msg->record_reply);
        break;
    case MSG_REFUSED:
        take_refused(worker, &msg->refused);
        break;
    case MSG_NONE:
    case MSG_HELLO:
    case MSG_HEARTBEAT:
    case MSG_REPORT:
    case MSG_LOG_DATA:
    case MSG_RECORD_REQUEST:
    case MSG_LEAVING:
    case MSG_REQUEST:
    case MSG_REPLY:
        log_warn("link.unexpected", "kind=%d", (int)msg->kind);
        break;
    }
}
