/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The agent: scenarios that read as its rules, and random event streams against a small model.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "lib/base/ownership.h"
#include "lib/base/prng.h"
#include "worker/agent/agent.h"

#define SECOND INT64_C(1000000000)
#define LEASE  (15 * SECOND)
#define BEAT   (3 * SECOND)

static struct agent agent;
static struct agent_actions actions;
static int64_t now;

static void step(struct agent_event event)
{
    event.now_ns = now;
    agent_step(&agent, &event, &actions);
    agent_audit(&agent);
}

static const struct agent_action *only(enum agent_action_kind kind)
{
    assert_int_equal(actions.count, 1);
    assert_int_equal(actions.items[0].kind, kind);
    return &actions.items[0];
}

static const struct agent_action *has(enum agent_action_kind kind)
{
    for (uint32_t i = 0; i < actions.count; i++) {
        if (actions.items[i].kind == kind) {
            return &actions.items[i];
        }
    }
    return NULL;
}

static void nothing(void)
{
    assert_int_equal(actions.count, 0);
}

/* A scheduler's message of epoch 1. */
static struct agent_event said(enum agent_event_kind kind, uint64_t attempt)
{
    return (struct agent_event){.kind = kind,
                                .epoch = 1,
                                .session = agent.session,
                                .attempt = attempt,
                                .exit_code = -1,
                                .lease_ns = LEASE,
                                .heartbeat_ns = BEAT};
}

static struct agent_event did(enum agent_event_kind kind, uint64_t attempt)
{
    return (struct agent_event){.kind = kind, .attempt = attempt, .exit_code = -1};
}

static void welcome(void)
{
    now = 1000 * SECOND;
    agent_init(&agent, 100, 0, now);
    step(did(AGENT_EV_CONNECTED, 0));
    assert_int_equal(only(AGENT_ACT_HELLO)->session, 101);
    now += SECOND;
    step(said(AGENT_EV_WELCOME, 0));
    assert_int_equal(actions.items[0].kind, AGENT_ACT_EPOCH); /* first of all */
    assert_int_equal(has(AGENT_ACT_LEASE)->deadline_ns, 1000 * SECOND + LEASE);
}

static void run_one(uint64_t attempt)
{
    step(said(AGENT_EV_ASSIGNED, attempt));
    assert_int_equal(only(AGENT_ACT_PREPARE)->attempt, attempt);
    step(did(AGENT_EV_PREPARED, attempt));
    assert_int_equal(only(AGENT_ACT_SPAWN)->deadline_ns, agent_lease_deadline_ns(&agent));
    step(did(AGENT_EV_SHIM_STARTED, attempt));
    (void)only(AGENT_ACT_REPORT_STARTED);
}

/* ---- Scenarios ---- */

static void test_life(void **state)
{
    (void)state;
    welcome();
    run_one(7);
    struct agent_event ended = did(AGENT_EV_SHIM_ENDED, 7);
    ended.cause = WORKER_CAUSE_EXIT;
    ended.exit_code = 3;
    step(ended);
    (void)only(AGENT_ACT_COLLECT);
    step(did(AGENT_EV_COLLECTED, 7));
    const struct agent_action *report = only(AGENT_ACT_REPORT_ENDED);
    assert_int_equal(report->cause, WORKER_CAUSE_EXIT);
    assert_int_equal(report->exit_code, 3);
    /* Repeated at the next heartbeat, and the one after, until acknowledged. */
    for (int i = 0; i < 2; i++) {
        now = agent_next_deadline_ns(&agent);
        step(did(AGENT_EV_TICK, 0));
        assert_non_null(has(AGENT_ACT_HEARTBEAT));
        assert_int_equal(has(AGENT_ACT_REPORT_ENDED)->exit_code, 3);
    }
    step(said(AGENT_EV_ACKED, 7));
    (void)only(AGENT_ACT_REMOVE);
    assert_int_equal(agent.count, 0);
    step(said(AGENT_EV_ACKED, 7)); /* twice is fine */
    nothing();
    step(said(AGENT_EV_ASSIGNED, 7)); /* late repeat: never run again */
    nothing();
}

static void test_stale_and_repeated(void **state)
{
    (void)state;
    welcome();
    struct agent_event stale = said(AGENT_EV_ASSIGNED, 7);
    stale.session--;
    step(stale);
    nothing();
    run_one(7);
    step(said(AGENT_EV_ASSIGNED, 7));
    nothing();
    step(did(AGENT_EV_PREPARED, 7));
    nothing();
    step(did(AGENT_EV_COLLECTED, 7));
    nothing();
    step(said(AGENT_EV_KILL, 8)); /* of nobody */
    nothing();
}

static void test_epochs(void **state)
{
    (void)state;
    welcome();
    run_one(7);
    struct agent_event event = said(AGENT_EV_KILL, 7);
    event.epoch = 0;
    step(event);
    nothing();
    /* A new leader behind the same connection: remember it, then introduce ourselves. */
    event = said(AGENT_EV_HEARTBEAT_ACK, 0);
    event.epoch = 5;
    event.sent_ns = now;
    step(event);
    assert_int_equal(actions.items[0].kind, AGENT_ACT_EPOCH);
    assert_int_equal(actions.items[0].epoch, 5);
    assert_non_null(has(AGENT_ACT_HELLO));
    /* The old one is not obeyed any more. */
    event = said(AGENT_EV_KILL, 7);
    event.epoch = 4;
    step(event);
    nothing();
    assert_int_equal(agent_find(&agent, 7, 0)->state, AGENT_RUNNING);
    event = said(AGENT_EV_WELCOME, 0);
    event.epoch = 5;
    step(event);
    assert_non_null(has(AGENT_ACT_REPORT_STARTED));
    /* Also not after a restart. */
    agent_init(&agent, 200, 5, now);
    step(did(AGENT_EV_CONNECTED, 0));
    step(said(AGENT_EV_WELCOME, 0));
    nothing();
}

static void test_lease(void **state)
{
    (void)state;
    welcome();
    int64_t sent = now;
    struct agent_event ack = said(AGENT_EV_HEARTBEAT_ACK, 0);
    ack.sent_ns = sent;
    now += SECOND;
    step(ack);
    assert_int_equal(only(AGENT_ACT_LEASE)->deadline_ns, sent + LEASE); /* not from when it came */
    ack.sent_ns = now + 1;                                              /* cannot be ours */
    step(ack);
    nothing();
    ack.sent_ns = sent - 1; /* an old one does not shorten */
    step(ack);
    nothing();
    ack.sent_ns = now;
    ack.session--;
    step(ack);
    nothing();
    /* Prepared when the lease is over: it is not started. */
    step(said(AGENT_EV_ASSIGNED, 9));
    now = agent_lease_deadline_ns(&agent);
    step(did(AGENT_EV_PREPARED, 9));
    assert_int_equal(only(AGENT_ACT_REPORT_ENDED)->cause, WORKER_CAUSE_LEASE);
}

/* The lease ended while the link was down, and its work may run elsewhere by now: the order that
 * says so comes after the welcome, and what is not started yet must not start in between. */
static void test_lapsed_while_preparing(void **state)
{
    (void)state;
    welcome();
    step(said(AGENT_EV_ASSIGNED, 9));
    step(did(AGENT_EV_DISCONNECTED, 0));
    now = agent_lease_deadline_ns(&agent);
    step(did(AGENT_EV_CONNECTED, 0));
    step(said(AGENT_EV_WELCOME, 0));
    assert_true(agent_lease_deadline_ns(&agent) > now);
    step(did(AGENT_EV_PREPARED, 9));
    assert_int_equal(only(AGENT_ACT_REPORT_ENDED)->cause, WORKER_CAUSE_LEASE);
}

static void test_silence(void **state)
{
    (void)state;
    welcome();
    int hellos = 0;
    int rotations = 0;
    int beats = 0;
    for (int i = 0; i < 10 && rotations == 0; i++) {
        now = agent_next_deadline_ns(&agent);
        step(did(AGENT_EV_TICK, 0));
        beats += has(AGENT_ACT_HEARTBEAT) != NULL;
        hellos += has(AGENT_ACT_HELLO) != NULL;
        rotations += has(AGENT_ACT_ROTATE) != NULL;
    }
    assert_int_equal(beats, 3);
    assert_int_equal(hellos, 1); /* another would lose what a slow leader has assigned after the first */
    assert_int_equal(rotations, 1);
    /* And on through the endpoints for as long as nobody is there. */
    now = agent_next_deadline_ns(&agent);
    step(did(AGENT_EV_TICK, 0));
    (void)only(AGENT_ACT_ROTATE);
    step(did(AGENT_EV_CONNECTED, 0));
    (void)only(AGENT_ACT_HELLO);
    step(did(AGENT_EV_REFUSED, 0)); /* a standby */
    nothing();
    now = agent_next_deadline_ns(&agent);
    step(did(AGENT_EV_TICK, 0));
    (void)only(AGENT_ACT_ROTATE);
}

/* How long after the agent's hello it turned away; 0: it was welcomed. */
static int64_t wait_for_a_welcome(int64_t takes_ns)
{
    step(did(AGENT_EV_CONNECTED, 0));
    (void)only(AGENT_ACT_HELLO);
    int64_t said_ns = now;
    int64_t patience_ns = agent_next_deadline_ns(&agent) - said_ns;
    if (takes_ns < patience_ns) {
        now += takes_ns;
        step(said(AGENT_EV_WELCOME, 0));
        assert_int_equal(agent.link, AGENT_LINK_WELCOMED);
        return 0;
    }
    now = agent_next_deadline_ns(&agent);
    step(did(AGENT_EV_TICK, 0));
    (void)only(AGENT_ACT_ROTATE);
    return patience_ns;
}

/* Each hello throws away what a slow leader assigned after the one before, so some hello must have time enough. */
static void test_a_leader_that_needs_long_for_a_welcome(void **state)
{
    (void)state;
    now = 5 * SECOND;
    agent_init(&agent, 1, 0, now);
    for (int round = 0; round < 2; round++) { /* the next slow one is not waited for longer at once */
        int64_t seconds = 4;
        for (int64_t waited = wait_for_a_welcome(20 * SECOND); waited > 0; waited = wait_for_a_welcome(20 * SECOND)) {
            assert_int_equal(waited, seconds * SECOND);
            seconds *= 2;
        }
        assert_int_equal(seconds, 32);
        step(did(AGENT_EV_DISCONNECTED, 0));
    }
    int64_t longest = 0;
    for (int i = 0; i < 10; i++) { /* there may be another leader */
        longest = wait_for_a_welcome(3600 * SECOND);
    }
    assert_int_equal(longest, 32 * SECOND);
}

static void test_first_endpoint_dead(void **state)
{
    (void)state;
    now = 5 * SECOND;
    agent_init(&agent, 1, 0, now);
    assert_true(agent_next_deadline_ns(&agent) > now &&
                agent_next_deadline_ns(&agent) < 60 * SECOND);
    now = agent_next_deadline_ns(&agent);
    step(did(AGENT_EV_TICK, 0));
    (void)only(AGENT_ACT_ROTATE);
}

static void test_kill(void **state)
{
    (void)state;
    welcome();
    run_one(7);
    struct agent_event kill = said(AGENT_EV_KILL, 7);
    kill.cause = WORKER_CAUSE_CANCEL;
    kill.grace_ns = SECOND;
    step(kill);
    assert_int_equal(only(AGENT_ACT_STOP)->grace_ns, SECOND);
    kill.grace_ns = 0;
    step(kill);
    assert_int_equal(only(AGENT_ACT_KILL)->cause, WORKER_CAUSE_CANCEL);
    struct agent_event ended = did(AGENT_EV_SHIM_ENDED, 7);
    ended.cause = WORKER_CAUSE_CANCEL;
    step(ended);
    step(kill);
    nothing();
    step(did(AGENT_EV_COLLECTED, 7));
    assert_int_equal(only(AGENT_ACT_REPORT_ENDED)->cause, WORKER_CAUSE_CANCEL);
    /* While it is prepared: it never starts. */
    step(said(AGENT_EV_ASSIGNED, 8));
    kill.attempt = 8;
    step(kill);
    nothing();
    step(did(AGENT_EV_PREPARED, 8));
    assert_int_equal(only(AGENT_ACT_REPORT_ENDED)->cause, WORKER_CAUSE_CANCEL);
    /* While it starts. */
    step(said(AGENT_EV_ASSIGNED, 9));
    step(did(AGENT_EV_PREPARED, 9));
    kill.attempt = 9;
    step(kill);
    (void)only(AGENT_ACT_KILL);
    step(did(AGENT_EV_SHIM_STARTED, 9));
    assert_int_equal(agent_find(&agent, 9, 0)->state, AGENT_STOPPING);
}

static void test_checkpoint(void **state)
{
    (void)state;
    welcome();
    step(said(AGENT_EV_CHECKPOINT, 7)); /* of one that is not here */
    nothing();
    step(said(AGENT_EV_ASSIGNED, 7));
    step(said(AGENT_EV_CHECKPOINT, 7)); /* it has nothing to save yet */
    nothing();
    step(did(AGENT_EV_PREPARED, 7));
    step(did(AGENT_EV_SHIM_STARTED, 7));
    step(said(AGENT_EV_CHECKPOINT, 7));
    assert_int_equal(only(AGENT_ACT_CHECKPOINT)->attempt, 7);
    struct agent_event old = said(AGENT_EV_CHECKPOINT, 7);
    old.epoch = 0;
    step(old);
    nothing();
    struct agent_event kill = said(AGENT_EV_KILL, 7);
    kill.cause = WORKER_CAUSE_CANCEL;
    kill.grace_ns = SECOND;
    step(kill);
    (void)only(AGENT_ACT_STOP);
    step(said(AGENT_EV_CHECKPOINT, 7)); /* SIGTERM says it already */
    nothing();
}

static void test_fenced(void **state)
{
    (void)state;
    welcome();
    run_one(7);
    step(said(AGENT_EV_FENCED, 7));
    (void)only(AGENT_ACT_KILL);
    step(did(AGENT_EV_SHIM_ENDED, 7));
    (void)only(AGENT_ACT_REMOVE); /* nothing is collected, nothing reported */
    step(said(AGENT_EV_ASSIGNED, 8));
    step(said(AGENT_EV_FENCED, 8));
    nothing();
    step(did(AGENT_EV_PREPARED, 8));
    (void)only(AGENT_ACT_REMOVE);
    run_one(9);
    step(did(AGENT_EV_SHIM_ENDED, 9));
    step(said(AGENT_EV_FENCED, 9));
    nothing();
    step(did(AGENT_EV_COLLECTED, 9));
    (void)only(AGENT_ACT_REMOVE);
}

static void test_restart(void **state)
{
    (void)state;
    now = 5 * SECOND;
    agent_init(&agent, 1000, 1, now);
    struct agent_event live = did(AGENT_EV_FOUND, 7);
    live.is_live = true;
    step(live);
    nothing();
    step(live);
    nothing();
    struct agent_event ended = did(AGENT_EV_FOUND, 8);
    ended.exit_code = 0;
    step(ended);
    (void)only(AGENT_ACT_COLLECT);
    step(did(AGENT_EV_COLLECTED, 8));
    nothing(); /* nobody to tell yet */
    step(did(AGENT_EV_CONNECTED, 0));
    assert_int_equal(only(AGENT_ACT_HELLO)->session, 1001);
    step(said(AGENT_EV_WELCOME, 0));
    assert_int_equal(has(AGENT_ACT_REPORT_STARTED)->attempt, 7);
    assert_int_equal(has(AGENT_ACT_REPORT_ENDED)->attempt, 8);
    assert_int_equal(has(AGENT_ACT_REPORT_ENDED)->cause, WORKER_CAUSE_NONE);
}

static void test_failures(void **state)
{
    (void)state;
    welcome();
    step(said(AGENT_EV_ASSIGNED, 7));
    struct agent_event bad = did(AGENT_EV_PREPARED, 7);
    bad.cause = WORKER_CAUSE_INPUT;
    step(bad);
    assert_int_equal(only(AGENT_ACT_REPORT_ENDED)->cause, WORKER_CAUSE_INPUT);
    run_one(8);
    struct agent_event ended = did(AGENT_EV_SHIM_ENDED, 8);
    ended.exit_code = 0;
    step(ended);
    bad = did(AGENT_EV_COLLECTED, 8);
    bad.cause = WORKER_CAUSE_OUTPUT;
    step(bad);
    assert_int_equal(only(AGENT_ACT_REPORT_ENDED)->cause, WORKER_CAUSE_OUTPUT);
    run_one(9);
    ended = did(AGENT_EV_SHIM_ENDED, 9);
    ended.cause = WORKER_CAUSE_OOM;
    step(ended);
    bad.attempt = 9;
    step(bad);
    assert_int_equal(only(AGENT_ACT_REPORT_ENDED)->cause, WORKER_CAUSE_OOM);
}

static void test_full(void **state)
{
    (void)state;
    welcome();
    for (uint64_t i = 1; i <= AGENT_MEMBERS_MAX; i++) {
        step(said(AGENT_EV_ASSIGNED, i));
        (void)only(AGENT_ACT_PREPARE);
    }
    step(said(AGENT_EV_ASSIGNED, 100000));
    assert_int_equal(only(AGENT_ACT_REFUSE)->attempt, 100000);
    struct agent_event quit = did(AGENT_EV_QUIT, 0);
    step(quit);
    nothing();
    for (uint64_t i = 1; i <= AGENT_MEMBERS_MAX; i++) {
        step(did(AGENT_EV_PREPARED, i));
    }
    /* A welcome reports all of them at once and fits. */
    step(did(AGENT_EV_CONNECTED, 0));
    step(said(AGENT_EV_WELCOME, 0));
    assert_int_equal(actions.count, AGENT_MEMBERS_MAX + 1);
}

static void test_quit(void **state)
{
    (void)state;
    welcome();
    struct agent_event quit = did(AGENT_EV_QUIT, 0);
    quit.grace_ns = 10 * SECOND;
    run_one(7);
    step(quit);
    assert_int_equal(only(AGENT_ACT_STOP)->cause, WORKER_CAUSE_REQUEUE);
    step(said(AGENT_EV_ASSIGNED, 8));
    nothing();
    step(did(AGENT_EV_SHIM_ENDED, 7));
    step(did(AGENT_EV_COLLECTED, 7));
    step(said(AGENT_EV_ACKED, 7));
    assert_non_null(has(AGENT_ACT_LEAVE));
    welcome();
    run_one(7);
    step(quit);
    now += 16 * SECOND; /* it does not die: leave all the same */
    step(did(AGENT_EV_TICK, 0));
    assert_non_null(has(AGENT_ACT_LEAVE));
}

/* ---- Random streams ---- */

#define IDS 12

/* What the shell must be able to rely on, per attempt. */
struct model {
    bool prepared; /* PREPARE was asked and not answered */
    bool spawned;  /* a shim lives */
    bool collecting;
    bool was_spawned;
    bool removed;
    bool is_ready; /* it said where it can be met */
};

#define PORT_OF(attempt) (1000 + (attempt))

static struct model models[IDS + 1];

static void check_member(const struct agent_action *action)
{
    struct model *model = &models[action->attempt];
    switch (action->kind) {
    case AGENT_ACT_PREPARE:
        assert_false(model->prepared || model->spawned || model->collecting);
        assert_false(model->was_spawned); /* nothing runs twice */
        model->prepared = true;
        break;
    case AGENT_ACT_SPAWN:
        assert_false(model->spawned || model->was_spawned);
        assert_true(action->deadline_ns > now);
        model->spawned = true;
        model->was_spawned = true;
        break;
    case AGENT_ACT_STOP:
    case AGENT_ACT_KILL:
    case AGENT_ACT_CHECKPOINT:
        assert_true(model->spawned);
        break;
    case AGENT_ACT_COLLECT:
        assert_false(model->spawned || model->collecting);
        model->collecting = true;
        break;
    case AGENT_ACT_REPORT_STARTED:
        assert_true(model->spawned);
        break;
    case AGENT_ACT_REPORT_READY:
        assert_true(model->spawned && model->is_ready);
        assert_int_equal(action->port, PORT_OF(action->attempt));
        assert_int_equal(agent.link, AGENT_LINK_WELCOMED);
        break;
    case AGENT_ACT_MEMBERSHIP:
        assert_true(model->spawned);
        break;
    case AGENT_ACT_REPORT_ENDED:
        assert_false(model->spawned || model->collecting || model->prepared || model->removed);
        assert_int_equal(agent.link, AGENT_LINK_WELCOMED);
        break;
    case AGENT_ACT_REMOVE:
        assert_false(model->spawned || model->collecting || model->prepared || model->removed);
        model->removed = true;
        break;
    case AGENT_ACT_EPOCH:
    case AGENT_ACT_HELLO:
    case AGENT_ACT_HEARTBEAT:
    case AGENT_ACT_ROTATE:
    case AGENT_ACT_LEASE:
    case AGENT_ACT_REFUSE:
    case AGENT_ACT_LEAVE:
        break;
    }
}

/* An event that the world may bring now: messages at any time and in any order, answers of the
 * shell only to what was asked. False: not possible now. */
static bool pick(struct mlq_prng *prng, struct agent_event *event)
{
    uint64_t id = 1 + mlq_prng_below(prng, IDS);
    struct model *model = &models[id];
    *event = said((enum agent_event_kind)mlq_prng_below(prng, AGENT_EV_READY + 1), id);
    event->epoch = 1 + (uint32_t)mlq_prng_below(prng, 2) * (agent.epoch > 3 ? 0 : 1);
    event->epoch =
        mlq_prng_below(prng, 200) == 0 ? agent.epoch + 1 : agent.epoch - (event->epoch & 1);
    event->session -= mlq_prng_below(prng, 10) == 0;
    event->sent_ns = now - (int64_t)mlq_prng_below(prng, 3) * SECOND;
    event->grace_ns = (int64_t)mlq_prng_below(prng, 2) * SECOND;
    event->cause = (enum worker_cause)mlq_prng_below(prng, WORKER_CAUSE_COUNT);
    switch (event->kind) {
    case AGENT_EV_PREPARED:
        event->cause = mlq_prng_below(prng, 4) == 0 ? WORKER_CAUSE_INPUT : WORKER_CAUSE_NONE;
        return model->prepared;
    case AGENT_EV_SHIM_STARTED:
        return model->spawned;
    case AGENT_EV_SHIM_ENDED:
        return model->spawned;
    case AGENT_EV_COLLECTED:
        return model->collecting;
    case AGENT_EV_READY:
        event->port = (uint16_t)PORT_OF(id);
        event->fingerprint = 1;
        event->generation = mlq_prng_below(prng, 3);
        model->is_ready = model->is_ready || model->spawned;
        return model->spawned;
    case AGENT_EV_FOUND:
    case AGENT_EV_QUIT:
        return false;
    case AGENT_EV_TICK:
    case AGENT_EV_CONNECTED:
    case AGENT_EV_DISCONNECTED:
    case AGENT_EV_WELCOME:
    case AGENT_EV_HEARTBEAT_ACK:
    case AGENT_EV_ASSIGNED:
    case AGENT_EV_KILL:
    case AGENT_EV_FENCED:
    case AGENT_EV_ACKED:
    case AGENT_EV_CHECKPOINT:
    case AGENT_EV_REFUSED:
        break;
    case AGENT_EV_MEMBERSHIP:
        event->generation = mlq_prng_below(prng, 5);
        break;
    }
    return true;
}

static void answer(const struct agent_event *event)
{
    struct model *model = &models[event->attempt];
    model->prepared = model->prepared && event->kind != AGENT_EV_PREPARED;
    model->spawned = model->spawned && event->kind != AGENT_EV_SHIM_ENDED;
    model->collecting = model->collecting && event->kind != AGENT_EV_COLLECTED;
}

static void random_stream(uint64_t seed)
{
    struct mlq_prng prng;
    mlq_prng_seed(&prng, seed);
    memset(models, 0, sizeof models);
    now = SECOND;
    agent_init(&agent, 0, 1, now);
    int64_t lease = 0;
    uint32_t epoch = agent.epoch;
    for (int i = 0; i < 2000; i++) {
        struct agent_event event;
        now += (int64_t)mlq_prng_below(&prng, 1 + SECOND / 4);
        if (!pick(&prng, &event)) {
            continue;
        }
        answer(&event);
        step(event);
        assert_true(agent.epoch >= epoch);
        epoch = agent.epoch;
        /* The lease never runs backwards while the link is up, and never past a lease from now. */
        assert_true(agent_lease_deadline_ns(&agent) >= lease);
        assert_true(agent_lease_deadline_ns(&agent) <= now + LEASE);
        lease = agent_lease_deadline_ns(&agent);
        for (uint32_t k = 0; k < actions.count; k++) {
            check_member(&actions.items[k]);
        }
    }
    /* Then the world heals: everything ends, is reported and forgotten. */
    for (int round = 0; round < 4; round++) {
        step(did(AGENT_EV_CONNECTED, 0));
        struct agent_event event = said(AGENT_EV_WELCOME, 0);
        event.epoch = agent.epoch;
        step(event);
        for (uint64_t id = 1; id <= IDS; id++) {
            static const enum agent_event_kind kinds[] = {AGENT_EV_PREPARED, AGENT_EV_SHIM_STARTED,
                                                          AGENT_EV_SHIM_ENDED, AGENT_EV_COLLECTED,
                                                          AGENT_EV_ACKED};
            for (size_t k = 0; k < MLQ_COUNT_OF(kinds); k++) {
                event = said(kinds[k], id);
                event.epoch = agent.epoch;
                step(event);
            }
        }
    }
    assert_int_equal(agent.count, 0);
}

static void test_random(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        random_stream(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life),
        cmocka_unit_test(test_stale_and_repeated),
        cmocka_unit_test(test_epochs),
        cmocka_unit_test(test_lease),
        cmocka_unit_test(test_lapsed_while_preparing),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_a_leader_that_needs_long_for_a_welcome),
        cmocka_unit_test(test_first_endpoint_dead),
        cmocka_unit_test(test_kill),
        cmocka_unit_test(test_checkpoint),
        cmocka_unit_test(test_fenced),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_quit),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
