/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The database as a scheduler meets it: a batch is durable as a whole or not at all, and only while
 * the epoch that sent it is still that of the leader's row. It may answer late, refuse, or break
 * off so that nobody knows. It never dies here: what it knows is the truth.
 */
#include "tests/sim/sim.h"

#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"

static int64_t query_ns(struct sim *sim)
{
    return sim_between(sim, SIM_MILLI / 10, 3 * SIM_MILLI);
}

/* How long what a scheduler sends is on its way. */
static int64_t send_ns(struct sim *sim, const struct sim_sched *sched, uint32_t slow_per_mille)
{
    int64_t cut_ns = sched->cut_until_ns > sim->now_ns ? sched->cut_until_ns - sim->now_ns : 0;
    int64_t usual_ns = query_ns(sim);
    bool is_slow = sim_buggify(sim, SIM_FAULT_COMMIT_SLOW, slow_per_mille);
    return cut_ns + (is_slow ? sim_fate_between(sim, 100 * SIM_MILLI, 5 * SIM_SECOND) : usual_ns);
}

/* ---- Commit ---- */

/* A batch on its way to the server and its answer on the way back. */
struct batch {
    uint32_t epoch;
    uint32_t row_count;
    struct sim_row rows[];
};

static void say_row(const struct sim *sim, const struct core_fact *fact)
{
    static const char *const kinds[] = {
        [FACT_JOB_SUBMITTED] = "submitted", [FACT_JOB_CANCELLED] = "cancelled",
        [FACT_JOB_RETRIED] = "retried",     [FACT_ASSIGNED] = "assigned",
        [FACT_STARTED] = "started",         [FACT_ENDED] = "ended",
        [FACT_STAGE_ENDED] = "stage ended", [FACT_JOB_ENDED] = "job ended",
    };
    sim_say(sim, "  row: job %u stage %u task %u attempt %lx rank %u worker %u %s, %s, %s",
            (unsigned)fact->job, fact->stage, fact->index, (unsigned long)fact->attempt, fact->rank,
            fact->worker, kinds[fact->kind], core_cause_text(fact->cause),
            core_state_text(fact->state));
}

/* The checker judges what is about to be durable; the record then has to take it. */
static void put(struct sim *sim, const struct batch *batch)
{
    for (uint32_t i = 0; i < batch->row_count; i++) {
        const struct sim_row *row = &batch->rows[i];
        if (row->note != 0) {
            check_note(sim, row);
            continue;
        }
        say_row(sim, &row->fact);
        check_row(sim, batch->epoch, row);
    }
    check_batch(sim, batch->rows, batch->row_count);
    enum sim_put put = sim_record_put(&sim->record, batch->epoch, batch->rows, batch->row_count);
    if (put == SIM_PUT_REFUSED) {
        sim_fail("epoch %u commits what the database refuses", batch->epoch);
    }
}

static void on_answer(struct sim *sim, struct sim_event *event)
{
    if (event->a == 0) {
        sim->commits_failed++;
    }
    if (sim->scheds[event->index].epoch == event->b) {
        sim_shell_committed(sim, event->index, event->a == 1);
    }
}

static void on_commit(struct sim *sim, struct sim_event *event)
{
    const struct batch *batch = event->data;
    struct sim_sched *sched = &sim->scheds[event->index];
    bool is_sender_gone = sched->actor.life != event->b;
    if (is_sender_gone && sim_chance(sim, 50)) {
        return; /* it died before its COMMIT had left */
    }
    bool is_unknown = sim_buggify(sim, SIM_FAULT_COMMIT_UNKNOWN, 12);
    bool is_lost = is_unknown && sim_fate_between(sim, 0, 1) == 0;
    bool is_done = batch->epoch == sim->record.epoch &&
                   !sim_buggify(sim, SIM_FAULT_COMMIT_REFUSED, 12) && !is_lost;
    if (is_done) {
        put(sim, batch);
    }
    sim_say(sim, "commit of epoch %u: %u rows %s%s", batch->epoch, batch->row_count,
            is_done ? "done" : "not done", is_unknown ? ", and nobody knows" : "");
    if (!is_sender_gone) {
        struct sim_event *answer =
            sim_post(sim, query_ns(sim), &sched->actor, "commit answered", on_answer);
        answer->index = event->index;
        answer->a = is_done && !is_unknown ? 1 : 0;
        answer->b = batch->epoch;
    }
}

void sim_store_commit(struct sim *sim, uint32_t sched, const struct sim_turn *turn)
{
    int64_t delay_ns = send_ns(sim, &sim->scheds[sched], 30);
    struct batch *batch = mlq_alloc(sizeof *batch + turn->row_count * sizeof batch->rows[0]);
    batch->epoch = sim->scheds[sched].epoch;
    batch->row_count = turn->row_count;
    if (turn->row_count > 0) {
        memcpy(batch->rows, turn->rows, turn->row_count * sizeof batch->rows[0]);
    }
    struct sim_event *event = sim_post(sim, delay_ns, NULL, "commit", on_commit);
    event->index = sched;
    event->b = sim->scheds[sched].actor.life;
    event->data = batch;
}

/* ---- The leader's row ---- */

static void on_elected(struct sim *sim, struct sim_event *event)
{
    sim_shell_elected(sim, event->index, (uint32_t)event->a, (int64_t)event->b);
}

static void on_campaign(struct sim *sim, struct sim_event *event)
{
    struct sim_sched *sched = &sim->scheds[event->index];
    uint32_t epoch = sim_record_campaign(&sim->record, sim->now_ns, SIM_LEAD_LEASE_NS);
    if (epoch == 0) {
        return; /* another leads; the shell asks again */
    }
    sim->elections++;
    struct sim_event *answer = sim_post(sim, query_ns(sim), &sched->actor, "elected", on_elected);
    answer->index = event->index;
    answer->a = epoch;
    answer->b = event->b;
}

void sim_store_campaign(struct sim *sim, uint32_t sched)
{
    struct sim_sched *me = &sim->scheds[sched];
    struct sim_event *event =
        sim_post(sim, send_ns(sim, me, 0), &me->actor, "campaign", on_campaign);
    event->index = sched;
    event->b = (uint64_t)sim_local_ns(sim, &me->clock);
}

static void on_renewed(struct sim *sim, struct sim_event *event)
{
    sim_shell_renewed(sim, event->index, event->a == sim->scheds[event->index].epoch,
                      (int64_t)event->b);
}

static void on_renew(struct sim *sim, struct sim_event *event)
{
    struct sim_sched *sched = &sim->scheds[event->index];
    bool is_ours =
        sim_record_renew(&sim->record, (uint32_t)event->a, sim->now_ns, SIM_LEAD_LEASE_NS);
    struct sim_event *answer =
        sim_post(sim, query_ns(sim), &sched->actor, "lead renewed", on_renewed);
    answer->index = event->index;
    answer->a = is_ours ? event->a : 0;
    answer->b = event->b;
}

void sim_store_renew(struct sim *sim, uint32_t sched)
{
    struct sim_sched *me = &sim->scheds[sched];
    int64_t delay_ns = send_ns(sim, me, 60);
    struct sim_event *event = sim_post(sim, delay_ns, NULL, "renew the lead", on_renew);
    event->index = sched;
    event->a = me->epoch;
    event->b = (uint64_t)sim_local_ns(sim, &me->clock);
}
