/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The rules of scheduler/shell.c, small: what the core decides is collected in a turn; its facts
 * become one transaction, and everything else is held until that is durable. One commit is in
 * flight. When one fails, all is dropped, and loaded again after the next election.
 */
#include "tests/sim/sim.h"

#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"

#define CAMPAIGN_PAUSE_NS (300 * SIM_MILLI)

static void campaign_later(struct sim *sim, uint32_t index, int64_t delay_ns);
static void turn_end(struct sim *sim, uint32_t index);

/* ---- Turns ---- */

static struct sim_turn *turn_create(void)
{
    return mlq_alloc(sizeof(struct sim_turn));
}

static void turn_destroy(struct sim_turn **turn)
{
    if (*turn != NULL) {
        mlq_free((*turn)->rows);
        mlq_free((*turn)->held);
        mlq_free(*turn);
        *turn = NULL;
    }
}

static void add_row(struct sim_turn *turn, const struct sim_row *row)
{
    if (turn->row_count == turn->row_room) {
        turn->row_room = turn->row_room == 0 ? 32 : turn->row_room * 2;
        turn->rows = mlq_realloc_array(turn->rows, turn->row_room, sizeof *turn->rows);
    }
    turn->rows[turn->row_count++] = *row;
}

static void hold(struct sim_turn *turn, const struct sim_held *held)
{
    if (turn->held_count == turn->held_room) {
        turn->held_room = turn->held_room == 0 ? 32 : turn->held_room * 2;
        turn->held = mlq_realloc_array(turn->held, turn->held_room, sizeof *turn->held);
    }
    turn->held[turn->held_count++] = *held;
}

/* ---- Step ---- */

static int64_t wall_ns(const struct sim *sim, const struct sim_sched *sched)
{
    return sim->now_ns + sched->wall_offset_ns;
}

static void take_fact(struct sim *sim, struct sim_sched *sched, const struct core_action *action)
{
    const struct core_fact *fact = &action->fact;
    int64_t age_ns = sim_local_ns(sim, &sched->clock) - fact->at_ns;
    if (fact->kind == FACT_ASSIGNED) {
        check_overtaking(sim, sched, fact);
    }
    struct sim_row row = {
        .fact = *fact, .wall_ns = wall_ns(sim, sched) - age_ns, .speaks = action->speaks};
    if (fact->kind == FACT_JOB_SUBMITTED) {
        MLQ_ASSERT(fact->job <= SIM_JOBS_MAX);
        row.key = sched->key;
        row.desc = &sim_client_text(sim, sched->key)->desc;
        sched->job_of_key[sched->key] = fact->job;
        sched->in_catalog[fact->job] = true;
    }
    add_row(sched->open, &row);
}

/* As the turn leaves it, and not as it is when the turn is released: what is decided later may never be
 * durable. */
static void hold_members(struct sim_sched *sched, const struct core_action *action)
{
    struct core_member_view members[SIM_NUMBERS_MAX];
    struct core_membership now =
        core_attempt_members(sched->core, action->attempt, members, SIM_NUMBERS_MAX);
    struct sim_held held = {
        .kind = SIM_HELD_ACTION, .action = *action, .generation = now.generation};
    bool is_in = now.count == 0;
    for (uint32_t i = 0; i < now.count; i++) {
        is_in = is_in || members[i].rank == action->rank;
        held.ranks.words[members[i].rank / 64] |= UINT64_C(1) << members[i].rank % 64;
    }
    if (now.generation != 0 && is_in) {
        hold(sched->open, &held);
    }
}

static void take_action(struct sim *sim, struct sim_sched *sched, const struct core_action *action)
{
    switch (action->kind) {
    case ACT_PERSIST:
        take_fact(sim, sched, action);
        return;
    case ACT_REPLY:
        if (action->reply == REPLY_FULL) {
            check_refused_full(sim, sched, sched->desc);
        }
        hold(sched->open, &(struct sim_held){.kind = SIM_HELD_REPLY,
                                             .client = sched->client,
                                             .request = sched->request,
                                             .reply = action->reply,
                                             .job = action->job});
        return;
    case ACT_WELCOME:
    case ACT_ASSIGN:
    case ACT_KILL:
    case ACT_ACK:
    case ACT_FENCED:
        hold(sched->open, &(struct sim_held){.kind = SIM_HELD_ACTION, .action = *action});
        return;
    case ACT_MEMBERS:
        hold_members(sched, action);
        return;
    case ACT_RECORD:
        add_row(sched->open, &(struct sim_row){.fact = action->fact, .note = action->payload});
        return;
    }
}

static void mix(struct sim *sim, uint32_t index, const struct core_action *a)
{
    const uint64_t words[] = {index,
                              (uint64_t)sim->now_ns,
                              (uint64_t)a->kind,
                              a->attempt,
                              a->rank,
                              a->worker,
                              a->job,
                              (uint64_t)a->cause,
                              (uint64_t)a->reply,
                              (uint64_t)a->fact.kind,
                              a->fact.job,
                              a->fact.attempt,
                              a->fact.index,
                              a->fact.gpu_mask,
                              (uint64_t)a->fact.at_ns};
    sim_mix(sim, words, sizeof words / sizeof words[0]);
}

static void step(struct sim *sim, uint32_t index, struct core_event event)
{
    struct sim_sched *sched = &sim->scheds[index];
    event.now_ns = sim_local_ns(sim, &sched->clock);
    core_step(sched->core, &event, &sched->actions);
    for (uint32_t i = 0; i < sched->actions.count; i++) {
        mix(sim, index, &sched->actions.items[i]);
        take_action(sim, sched, &sched->actions.items[i]);
    }
    core_audit(sched->core);
}

/* ---- Release ---- */

static void send(struct sim *sim, uint32_t index, uint32_t worker, struct sim_message *message)
{
    struct sim_sched *sched = &sim->scheds[index];
    struct sim_peer *peer = &sched->peers[worker];
    message->epoch = sched->epoch;
    message->worker = worker;
    if (peer->is_connected && !sim_net_is_open(sim, index, worker, peer->connection)) {
        peer->is_connected = false; /* this session is over */
    }
    if (peer->is_connected) {
        sim_net_send_to_worker(sim, index, worker, peer->connection, message);
    }
}

static void send_action(struct sim *sim, uint32_t index, const struct sim_held *held)
{
    const struct core_action *action = &held->action;
    struct sim_sched *sched = &sim->scheds[index];
    struct sim_message message = {.session = action->session,
                                  .attempt = action->attempt,
                                  .rank = action->rank,
                                  .cause = (uint32_t)action->cause,
                                  .grace_ns = action->grace_ns,
                                  .fact = action->fact};
    switch (action->kind) {
    case ACT_WELCOME:
        message.kind = SIM_WELCOME;
        send(sim, index, action->worker, &message);
        sim_net_late(sim, action->worker, SIM_TO_WORKER);
        return;
    case ACT_ASSIGN:
        message.kind = SIM_ASSIGN;
        message.attempt = action->fact.attempt;
        message.rank = action->fact.rank;
        if (!core_is_live(sched->core, message.attempt, message.rank, action->worker)) {
            return; /* ended meanwhile */
        }
        break;
    case ACT_KILL:
        message.kind = SIM_KILL;
        break;
    case ACT_ACK:
        message.kind = SIM_ACK;
        break;
    case ACT_FENCED:
        message.kind = SIM_FENCED;
        break;
    case ACT_MEMBERS:
        message.kind = SIM_MEMBERSHIP;
        message.generation = held->generation;
        message.ranks = held->ranks;
        check_membership(sim, &message);
        break;
    case ACT_PERSIST:
    case ACT_REPLY:
    case ACT_RECORD:
        MLQ_UNREACHABLE("never held");
    }
    send(sim, index, action->worker, &message);
}

static void release(struct sim *sim, uint32_t index, struct sim_turn *turn)
{
    struct sim_sched *sched = &sim->scheds[index];
    for (uint32_t i = 0; i < turn->held_count; i++) {
        const struct sim_held *held = &turn->held[i];
        if (held->kind == SIM_HELD_ACTION) {
            send_action(sim, index, held);
        } else {
            sim_client_reply(sim, held->client, held->request, held->reply, held->job);
        }
    }
    for (uint32_t i = 0; i < turn->row_count; i++) {
        if (turn->rows[i].note == 0 && turn->rows[i].fact.kind == FACT_JOB_ENDED) {
            sched->in_catalog[turn->rows[i].fact.job] = false;
        }
    }
}

/* ---- Commit ---- */

static void on_tick(struct sim *sim, struct sim_event *event)
{
    struct sim_sched *sched = &sim->scheds[event->index];
    if (event->a != sched->tick_token || sched->phase != SIM_SERVING) {
        return;
    }
    if (core_next_deadline_ns(sched->core) <= sim_local_ns(sim, &sched->clock)) {
        step(sim, event->index, (struct core_event){.kind = EV_TICK});
    }
    turn_end(sim, event->index);
}

static void arm_tick(struct sim *sim, uint32_t index)
{
    struct sim_sched *sched = &sim->scheds[index];
    sched->tick_token++;
    int64_t due_ns = core_next_deadline_ns(sched->core);
    if (due_ns == INT64_MAX) {
        return;
    }
    struct sim_event *event = sim_post(sim, sim_wait_ns(sim, &sched->clock, due_ns), &sched->actor,
                                       "scheduler tick", on_tick);
    event->index = index;
    event->a = sched->tick_token;
}

static void turn_end(struct sim *sim, uint32_t index)
{
    struct sim_sched *sched = &sim->scheds[index];
    while (sched->committing == NULL &&
           (sched->open->held_count > 0 || sched->open->row_count > 0)) {
        struct sim_turn *turn = sched->open;
        sched->open = turn_create();
        if (turn->row_count > 0 || turn->has_worker) {
            sched->committing = turn;
            sim_store_commit(sim, index, turn);
        } else {
            release(sim, index, turn);
            turn_destroy(&turn);
        }
    }
    arm_tick(sim, index);
}

/* ---- Leadership ---- */

static void depose(struct sim *sim, uint32_t index)
{
    struct sim_sched *sched = &sim->scheds[index];
    sim_say(sim, "scheduler %u of epoch %u is deposed", index, sched->epoch);
    sched->phase = SIM_STANDBY;
    sched->trusted_until_ns = 0;
    sched->core = NULL;
    sched->tick_token++;
    turn_destroy(&sched->open);
    turn_destroy(&sched->committing);
    sim_net_server_closed(sim, index);
    sched->server++;
    /* The row is cleared when the database can be reached; else it lapses. */
    if (sim_chance(sim, 50)) {
        sim_record_resign(&sim->record, sched->epoch, sim->now_ns);
    }
}

void sim_shell_committed(struct sim *sim, uint32_t index, bool is_ok)
{
    struct sim_sched *sched = &sim->scheds[index];
    if (sched->phase != SIM_SERVING || sched->committing == NULL) {
        return; /* of a leadership that is over */
    }
    if (!is_ok) {
        depose(sim, index);
        campaign_later(sim, index, CAMPAIGN_PAUSE_NS);
        return;
    }
    struct sim_turn *turn = sched->committing;
    sched->committing = NULL;
    release(sim, index, turn);
    turn_destroy(&turn);
    turn_end(sim, index);
}

static void on_renew(struct sim *sim, struct sim_event *event)
{
    struct sim_sched *sched = &sim->scheds[event->index];
    if (sched->phase == SIM_STANDBY || sched->epoch != event->a) {
        return;
    }
    sim_store_renew(sim, event->index);
    struct sim_event *next =
        sim_post(sim, SIM_LEAD_LEASE_NS / 3, &sched->actor, "lead due", on_renew);
    next->index = event->index;
    next->a = event->a;
}

void sim_shell_renewed(struct sim *sim, uint32_t index, bool is_ours, int64_t sent_ns)
{
    struct sim_sched *sched = &sim->scheds[index];
    if (sched->phase != SIM_STANDBY && is_ours) {
        int64_t until_ns = sent_ns + SIM_LEAD_LEASE_NS - SIM_LEAD_MARGIN_NS;
        sched->trusted_until_ns =
            until_ns > sched->trusted_until_ns ? until_ns : sched->trusted_until_ns;
    } else if (sched->phase != SIM_STANDBY && sim->record.epoch != sched->epoch) {
        depose(sim, index);
        campaign_later(sim, index, CAMPAIGN_PAUSE_NS);
    }
}

static bool restore_fact(struct core *core, const struct core_fact *fact,
                         const struct sim_record_job *job)
{
    struct core_job_desc desc = *job->desc;
    desc.retries = job->retries;
    return core_restore(core, fact, fact->kind == FACT_JOB_SUBMITTED ? &desc : NULL);
}

/* False when a table is full: the rest was not fed. */
static bool restore_job(struct sim *sim, struct sim_sched *sched, uint64_t job)
{
    const struct sim_record *record = &sim->record;
    for (uint32_t i = 0; i < record->row_count; i++) {
        struct core_fact fact = record->rows[i].fact;
        if (!sim_record_is_loaded(record, &record->rows[i], job)) {
            continue;
        }
        int64_t age_ns = wall_ns(sim, sched) - record->rows[i].wall_ns;
        fact.at_ns = sim_local_ns(sim, &sched->clock) - (age_ns < 0 ? 0 : age_ns);
        if (!restore_fact(sched->core, &fact, &record->jobs[fact.job])) {
            return false;
        }
        sched->in_catalog[fact.job] = true;
    }
    return true;
}

static void on_loaded(struct sim *sim, struct sim_event *event)
{
    struct sim_sched *sched = &sim->scheds[event->index];
    if (sched->phase != SIM_LOADING || sched->epoch != event->a) {
        return;
    }
    size_t size = core_memory_need(&sim->limits);
    mlq_free(sched->memory);
    sched->memory = mlq_alloc(size);
    sched->core =
        core_init(&sim->limits, sched->memory, size, sched->epoch, sim->record.highest_job + 1,
                  mlq_hash_keyed(sim->plan->seed, 4, sched->epoch));
    sched->open = turn_create();
    memset(sched->peers, 0, sizeof sched->peers);
    memset(sched->job_of_key, 0, sizeof sched->job_of_key);
    memset(sched->in_catalog, 0, sizeof sched->in_catalog);
    for (uint64_t job = 1; job <= sim->record.highest_job; job++) {
        sched->job_of_key[sim->record.jobs[job].key] = job;
    }
    bool fits = restore_job(sim, sched, 0);
    MLQ_ASSERT(fits);
    sched->phase = SIM_SERVING;
    sched->server++;
    step(sim, event->index, (struct core_event){.kind = EV_RESTORED});
    turn_end(sim, event->index);
}

void sim_shell_elected(struct sim *sim, uint32_t index, uint32_t epoch, int64_t sent_ns)
{
    struct sim_sched *sched = &sim->scheds[index];
    if (sched->phase != SIM_STANDBY) {
        return;
    }
    sched->phase = SIM_LOADING;
    sched->epoch = epoch;
    sched->trusted_until_ns = sent_ns + SIM_LEAD_LEASE_NS - SIM_LEAD_MARGIN_NS;
    struct sim_event *event = sim_post(sim, sim_between(sim, SIM_MILLI, 50 * SIM_MILLI),
                                       &sched->actor, "loaded", on_loaded);
    event->index = index;
    event->a = epoch;
    event = sim_post(sim, SIM_LEAD_LEASE_NS / 3, &sched->actor, "lead due", on_renew);
    event->index = index;
    event->a = epoch;
}

static void on_campaign(struct sim *sim, struct sim_event *event)
{
    if (sim->scheds[event->index].phase == SIM_STANDBY) {
        sim_store_campaign(sim, event->index);
        campaign_later(sim, event->index, CAMPAIGN_PAUSE_NS);
    }
}

static void campaign_later(struct sim *sim, uint32_t index, int64_t delay_ns)
{
    sim_post(sim, delay_ns, &sim->scheds[index].actor, "campaign due", on_campaign)->index = index;
}

void sim_shell_start(struct sim *sim, uint32_t index)
{
    struct sim_sched *sched = &sim->scheds[index];
    sched->actor.is_up = true;
    sched->actor.life++;
    sched->phase = SIM_STANDBY;
    campaign_later(sim, index, sim_between(sim, 0, 200 * SIM_MILLI));
}

void sim_shell_crash(struct sim *sim, uint32_t index)
{
    struct sim_sched *sched = &sim->scheds[index];
    sim_net_server_closed(sim, index);
    sched->server++;
    sched->phase = SIM_STANDBY;
    sched->core = NULL;
    sched->actor.is_up = false;
    turn_destroy(&sched->open);
    turn_destroy(&sched->committing);
}

/* ---- What comes in ---- */

static bool is_trusted(const struct sim *sim, const struct sim_sched *sched)
{
    return sim_local_ns(sim, &sched->clock) < sched->trusted_until_ns;
}

static void refuse(struct sim *sim, uint32_t index, uint32_t worker, uint64_t connection)
{
    struct sim_message refused = {
        .kind = SIM_REFUSED, .worker = worker, .epoch = sim->scheds[index].epoch};
    sim_net_send_to_worker(sim, index, worker, connection, &refused);
}

static void on_hello(struct sim *sim, uint32_t index, uint64_t connection,
                     const struct sim_message *hello)
{
    struct sim_sched *sched = &sim->scheds[index];
    struct sim_peer *peer = &sched->peers[hello->worker];
    if (hello->session <= peer->session) {
        refuse(sim, index, hello->worker, connection);
        return;
    }
    *peer = (struct sim_peer){
        .connection = connection, .session = hello->session, .is_connected = true};
    sched->open->has_worker = true;
    step(sim, index,
         (struct core_event){.kind = EV_WORKER_HELLO,
                             .worker = hello->worker,
                             .session = hello->session,
                             .capacity = sim->workers[hello->worker].capacity,
                             .claims = hello->claims,
                             .claim_count = hello->claim_count});
}

static void on_heartbeat(struct sim *sim, uint32_t index, const struct sim_message *heartbeat)
{
    struct sim_sched *sched = &sim->scheds[index];
    struct core_worker_view view;
    if (!core_worker(sched->core, heartbeat->worker, &view) || !view.known) {
        /* The core has given it up: an acknowledgement would keep alive what is started elsewhere.
         */
        refuse(sim, index, heartbeat->worker, sched->peers[heartbeat->worker].connection);
        return;
    }
    if (heartbeat->session != sched->peers[heartbeat->worker].session || !is_trusted(sim, sched)) {
        return;
    }
    struct sim_message ack = {
        .kind = SIM_HEARTBEAT_ACK, .session = heartbeat->session, .sent_ns = heartbeat->sent_ns};
    send(sim, index, heartbeat->worker, &ack);
    step(sim, index,
         (struct core_event){.kind = EV_WORKER_HEARTBEAT,
                             .worker = heartbeat->worker,
                             .session = heartbeat->session});
}

void sim_shell_message(struct sim *sim, uint32_t index, uint64_t connection,
                       const struct sim_message *message)
{
    struct sim_sched *sched = &sim->scheds[index];
    struct sim_peer *peer = &sched->peers[message->worker];
    struct core_event event = {.kind = EV_STARTED,
                               .worker = message->worker,
                               .attempt = message->attempt,
                               .rank = message->rank,
                               .cause = (enum core_cause)message->cause,
                               .exit_code = message->exit_code,
                               .signal = message->signal};
    if (message->kind == SIM_HELLO) {
        on_hello(sim, index, connection, message);
    } else if (!peer->is_connected || peer->connection != connection) {
        refuse(sim, index, message->worker, connection);
    } else if (message->kind == SIM_HEARTBEAT) {
        on_heartbeat(sim, index, message);
    } else if (message->kind == SIM_LEAVING) {
        peer->is_connected = false;
        event.kind = EV_WORKER_LEAVING;
        event.session = peer->session;
        step(sim, index, event);
    } else if (message->kind == SIM_NOTE) {
        event.kind = EV_NOTE;
        event.payload = message->note;
        step(sim, index, event);
        check_noted(sched, message);
    } else {
        event.kind = message->kind == SIM_ENDED   ? EV_ENDED
                     : message->kind == SIM_READY ? EV_READY
                                                  : EV_STARTED;
        event.port = message->port;
        event.fingerprint = message->fingerprint;
        event.generation = message->generation;
        step(sim, index, event);
    }
    turn_end(sim, index);
}

/* An answer of the shell's own waits for what was decided before it. */
static void answer(struct sim *sim, uint32_t index, enum core_reply reply, uint64_t job)
{
    struct sim_sched *sched = &sim->scheds[index];
    hold(sched->open, &(struct sim_held){.kind = SIM_HELD_REPLY,
                                         .client = sched->client,
                                         .request = sched->request,
                                         .reply = reply,
                                         .job = job});
}

static void retry(struct sim *sim, uint32_t index, uint64_t job)
{
    struct sim_sched *sched = &sim->scheds[index];
    if (sched->in_catalog[job] || !sim->record.jobs[job].has_ended) {
        answer(sim, index, REPLY_ENDED, job); /* it lives, or its end is just being recorded */
        return;
    }
    (void)restore_job(sim, sched, job); /* if it did not fit, the answer says so */
    step(sim, index, (struct core_event){.kind = EV_RETRY, .request = 1, .job = job});
    /* One whose stages had all succeeded is over again at once: then it stays until that is
     * durable, so that nobody retries it from a record that does not know yet. */
    bool is_accepted = false;
    for (uint32_t i = 0; i < sched->actions.count; i++) {
        is_accepted = is_accepted || sched->actions.items[i].kind == ACT_PERSIST;
    }
    sched->in_catalog[job] = is_accepted;
}

void sim_shell_request(struct sim *sim, uint32_t index, uint32_t client, uint64_t request,
                       enum core_event_kind kind, uint64_t key, uint64_t job)
{
    struct sim_sched *sched = &sim->scheds[index];
    sched->client = client;
    sched->request = request;
    sched->key = key;
    sched->desc = kind == EV_SUBMIT ? &sim_client_text(sim, key)->desc : NULL;
    if (kind == EV_SUBMIT && sched->job_of_key[key] != 0) {
        answer(sim, index, REPLY_OK, sched->job_of_key[key]);
    } else if (kind == EV_SUBMIT) {
        step(sim, index, (struct core_event){.kind = kind, .request = 1, .desc = sched->desc});
    } else if (kind == EV_RETRY) {
        retry(sim, index, job);
    } else {
        step(sim, index, (struct core_event){.kind = kind, .request = 1, .job = job});
    }
    turn_end(sim, index);
}
