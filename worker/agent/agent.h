/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The worker's heart: events in, actions out. No clock, no chance, no allocation, no I/O. It knows
 * which ranks of which attempts are here, how far each has come, and what the scheduler knows of it;
 * folders, processes, sockets and bytes stay with the shell (worker/).
 *
 * What it promises:
 * - An end is reported again (at each heartbeat and each new connection) until it is acknowledged.
 * - The lease that it hands to the shims counts from when the last *acknowledged* heartbeat was sent,
 *   so it is over here before the scheduler gives the work to another.
 * - It obeys no leader of an epoch below the highest it has heard of, also across its own restarts:
 *   the shell makes that epoch durable before it does anything else of the same step.
 * - A stale or repeated assignment starts nothing; a finished attempt is never run again.
 * - Each scheduler that it meets is told which members are ready; a member is told no membership that is
 *   older than one it knows.
 *
 * Time is CLOCK_BOOTTIME in nanoseconds, given with each event; it never goes back.
 */
#ifndef MLQ_WORKER_AGENT_AGENT_H
#define MLQ_WORKER_AGENT_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/agent/cause.h"

/* What one hello may claim: twice what the scheduler places on a worker, so that those which are still
 * being killed leave room. */
#define AGENT_MEMBERS_MAX   2048
#define AGENT_BUCKETS       2048 /* of the index of members, a power of two */
#define AGENT_FORGOTTEN_MAX 1024 /* the last ones removed, so that a late repeat is known */
/* One event emits at most this many actions: two for each member and a few for the link. */
#define AGENT_ACTIONS_MAX (2 * AGENT_MEMBERS_MAX + 8)

/* Where a member (one rank of one attempt) stands. */
#define AGENT_STATES(X)                                                                            \
    X(FREE, "free")             /* no member */                                                    \
    X(PREPARING, "preparing")   /* its folder and inputs are being made */                         \
    X(STARTING, "starting")     /* its shim was started */                                         \
    X(RUNNING, "running")       /* its process runs */                                             \
    X(STOPPING, "stopping")     /* it was told to stop */                                          \
    X(COLLECTING, "collecting") /* it ended; its outputs go to the store */                        \
    X(REPORTED, "reported")     /* its end was reported and waits for the acknowledgement */

enum agent_state {
#define AGENT_STATE_ENUM(name, text) AGENT_##name,
    AGENT_STATES(AGENT_STATE_ENUM)
#undef AGENT_STATE_ENUM
        AGENT_STATE_COUNT
};

const char *agent_state_text(enum agent_state state);

/* ---- Events: what happened ------------------------------------------------------------------- */

enum agent_event_kind {
    AGENT_EV_TICK,         /* agent_next_deadline_ns was reached */
    AGENT_EV_FOUND,        /* member, at start: is_live, or ended with cause, exit_code, signal */
    AGENT_EV_CONNECTED,    /* a new connection to a scheduler */
    AGENT_EV_DISCONNECTED, /* it broke */
    AGENT_EV_QUIT,         /* grace_ns: stop everything and leave */
    /* from the scheduler, with its epoch */
    AGENT_EV_WELCOME,       /* session, lease_ns, heartbeat_ns */
    AGENT_EV_HEARTBEAT_ACK, /* session, sent_ns */
    AGENT_EV_ASSIGNED,      /* session, member */
    AGENT_EV_KILL,          /* member, cause, grace_ns */
    AGENT_EV_FENCED,        /* member */
    AGENT_EV_ACKED,         /* member */
    AGENT_EV_CHECKPOINT,    /* member: it is to save its state and go on */
    AGENT_EV_MEMBERSHIP,    /* member, generation: who works with it */
    AGENT_EV_REFUSED,       /* not the leader, or it does not want us: try the next */
    /* from the shell's work */
    AGENT_EV_PREPARED,     /* member, cause: NONE, or why it cannot run */
    AGENT_EV_SHIM_STARTED, /* member: its process runs */
    AGENT_EV_SHIM_ENDED,   /* member, cause, exit_code, signal */
    AGENT_EV_COLLECTED,    /* member, cause: NONE, or OUTPUT when they could not be stored */
    AGENT_EV_READY,        /* member, port, fingerprint, generation: its process can be met */
};

struct agent_event {
    enum agent_event_kind kind;
    int64_t now_ns;
    uint32_t epoch;
    uint64_t session;
    uint64_t attempt;
    uint32_t rank;
    bool is_live;
    enum worker_cause cause;
    int32_t exit_code; /* -1: none */
    int32_t signal;
    int64_t grace_ns;
    int64_t sent_ns;
    int64_t lease_ns;
    int64_t heartbeat_ns;
    uint64_t generation;  /* MEMBERSHIP; READY: of the one that broke, 0: none did */
    uint64_t fingerprint; /* READY; not 0 */
    uint16_t port;        /* READY */
};

/* ---- Actions: what is to be done, in this order ---------------------------------------------- */

enum agent_action_kind {
    AGENT_ACT_EPOCH,          /* epoch: keep it durably, before the actions that follow */
    AGENT_ACT_HELLO,          /* session: with all members as claims */
    AGENT_ACT_HEARTBEAT,      /* session; sent_ns is this event's time */
    AGENT_ACT_ROTATE,         /* connect to the next endpoint */
    AGENT_ACT_LEASE,          /* deadline_ns: for every shim that lives */
    AGENT_ACT_PREPARE,        /* member: fetch its inputs, answer PREPARED */
    AGENT_ACT_REFUSE,         /* member: report once that there is no room for it */
    AGENT_ACT_SPAWN,          /* member, deadline_ns of its lease; answer SHIM_STARTED, SHIM_ENDED */
    AGENT_ACT_STOP,           /* member, cause, grace_ns: SIGTERM, then SIGKILL */
    AGENT_ACT_KILL,           /* member, cause: SIGKILL now */
    AGENT_ACT_CHECKPOINT,     /* member: SIGUSR1 */
    AGENT_ACT_COLLECT,        /* member: store its outputs and log, answer COLLECTED */
    AGENT_ACT_REPORT_STARTED, /* member */
    AGENT_ACT_REPORT_READY,   /* member, port, fingerprint, generation */
    AGENT_ACT_REPORT_ENDED,   /* member, cause, exit_code, signal */
    AGENT_ACT_MEMBERSHIP,     /* member: hand it what the event brought */
    AGENT_ACT_REMOVE,         /* member: its folder may go */
    AGENT_ACT_LEAVE,          /* all is over: send LEAVING and exit */
};

struct agent_action {
    enum agent_action_kind kind;
    enum worker_cause cause;
    uint32_t epoch;
    uint32_t rank;
    uint64_t session;
    uint64_t attempt;
    int64_t deadline_ns;
    int64_t grace_ns;
    int32_t exit_code;
    int32_t signal;
    uint64_t generation;
    uint64_t fingerprint;
    uint16_t port;
};

struct agent_actions {
    struct agent_action items[AGENT_ACTIONS_MAX];
    uint32_t count; /* set to 0 by agent_step */
};

/* ---- The machine ----------------------------------------------------------------------------- */

struct agent_member {
    uint64_t attempt;
    uint32_t rank;
    enum agent_state state;
    /* Why it ended; while it is live: why it was told to stop. */
    enum worker_cause cause;
    int32_t exit_code;
    int32_t signal;
    int64_t reported_ns;
    bool must_stop; /* told to stop before it was started */
    bool is_doomed; /* the scheduler does not want to hear of it any more: forget it when it ends */
    /* Of an elastic attempt: what it said of itself, for each scheduler that is met. */
    uint16_t port;        /* 0: not ready */
    uint64_t fingerprint;
    uint64_t generation; /* the last that it was told, */
    uint64_t broken;     /* and the one that it says is broken; 0: none */
    uint32_t next;  /* 1 + place of the next one of its bucket, or of the free ones; 0: none */
};

struct agent_name {
    uint64_t attempt;
    uint32_t rank;
};

enum agent_link { AGENT_LINK_DOWN, AGENT_LINK_HELLO, AGENT_LINK_WELCOMED };

/* Plain data of fixed size. Read it, but only agent.c and members.c write it. */
struct agent {
    struct agent_member members[AGENT_MEMBERS_MAX];
    uint32_t count;
    uint32_t buckets[AGENT_BUCKETS]; /* members.c: 1 + place of the first; 0: none */
    uint32_t fresh;                  /* places from here on were never used */
    uint32_t free;                   /* 1 + the first place that was given back; 0: none */
    struct agent_name forgotten[AGENT_FORGOTTEN_MAX]; /* a ring */
    uint32_t forgotten_next;
    enum agent_link link;
    uint32_t epoch;  /* the highest heard of */
    uint32_t epoch_welcomed;
    uint64_t session;
    int64_t hello_sent_ns;
    int64_t hello_wait_ns; /* for the welcome of the next hello */
    int64_t acked_sent_ns; /* when what was last acknowledged was sent */
    int64_t acked_ns;      /* when that acknowledgement came */
    int64_t lease_ns;
    int64_t heartbeat_ns;
    int64_t link_deadline_ns;      /* rotation; INT64_MAX: none */
    int64_t heartbeat_deadline_ns; /* INT64_MAX: none */
    int64_t leave_deadline_ns;     /* INT64_MAX: stays */
};

/* `session` is above every session that this worker ever used; `epoch` is the highest kept. The shell
 * connects to the first endpoint by itself. */
void agent_init(struct agent *agent, uint64_t session, uint32_t epoch, int64_t now_ns);
void agent_step(struct agent *agent,
                const struct agent_event *event,
                struct agent_actions *actions);

/* When the next AGENT_EV_TICK is due; INT64_MAX: never. */
int64_t agent_next_deadline_ns(const struct agent *agent);

/* The member, or NULL. Valid until the next step. */
const struct agent_member *agent_find(const struct agent *agent, uint64_t attempt, uint32_t rank);

/* End of the lease of everything here. */
int64_t agent_lease_deadline_ns(const struct agent *agent);

/* Every invariant; asserts. */
void agent_audit(const struct agent *agent);

#endif
