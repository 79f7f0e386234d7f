/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Users: each has one request out at a time and repeats it, with the same idempotency key, until an
 * answer comes. What was acknowledged goes into their own journal, which the checker holds against
 * the record.
 */
#include "tests/sim/sim.h"

#include "lib/base/panic.h"

static uint64_t below(struct sim_client *client, uint64_t bound)
{
    return mlq_prng_below(&client->prng, bound);
}

/* Drawn apart from everything else, so that other draws are the same with and without. */
static void make_elastic(const struct sim_plan *plan, uint64_t key, struct sim_text *text)
{
    for (uint16_t i = 0; i < text->desc.stage_count; i++) {
        struct core_stage_desc *stage = &text->stages[i];
        uint64_t dice = mlq_hash_keyed(plan->seed, key, UINT64_C(77) + i);
        if (stage->ranks > 1 && dice % 100 < 70) {
            stage->ranks_min = 1 + (uint32_t)(dice >> 8) % stage->ranks;
            stage->resize = (dice >> 16) % 100 < 70 ? RESIZE_LIVE : RESIZE_RESTART;
        }
    }
}

static void write_job(struct sim_client *client, struct sim_text *text)
{
    text->desc = (struct core_job_desc){
        .priority = (int32_t)below(client, 3) - 1,
        .deadline_ns = below(client, 100) < 10 ? (int64_t)(5 + below(client, 60)) * SIM_SECOND : 0,
        .stage_count = (uint16_t)(1 + below(client, SIM_STAGES_MAX)),
        .stages = text->stages,
    };
    for (uint16_t i = 0; i < text->desc.stage_count; i++) {
        struct core_stage_desc *stage = &text->stages[i];
        bool is_array = below(client, 100) < 30;
        bool is_gang = below(client, 100) < 30;
        uint32_t rare = (uint32_t)below(client, UINT64_C(1) << CAUSE_COUNT);
        *stage = (struct core_stage_desc){
            .array_count = is_array ? (uint32_t)(1 + below(client, SIM_ARRAY_MAX)) : 1,
            .array_parallel = (uint32_t)below(client, 3),
            .failures_max = (uint32_t)below(client, 3),
            .ranks = is_gang ? (uint32_t)(2 + below(client, SIM_RANKS_MAX - 1)) : 1,
            .per_rank = {.cpu_milli = 500 + 500 * (int64_t)below(client, 3),
                         .mem_bytes = INT64_C(1) << (28 + below(client, 3)),
                         .gpus = below(client, 100) < 25 ? 1 : 0},
            .retry = {.limit = (uint32_t)below(client, 5),
                      .cause_mask =
                          (rare | UINT32_C(1) << CAUSE_NODE | UINT32_C(1) << CAUSE_LEASE) &
                          ~UINT32_C(1),
                      .backoff_ns = (int64_t)below(client, 1500) * SIM_MILLI},
            .grace_ns = (int64_t)below(client, 3) * SIM_SECOND,
            .needs = text->needs[i],
        };
        for (uint16_t k = 0; k < i; k++) {
            if (below(client, 100) < 40) {
                text->needs[i][stage->needs_count++] = k;
            }
        }
    }
    MLQ_ASSERT(core_job_desc_check(&text->desc) == NULL);
}

const struct sim_text *sim_client_text(const struct sim *sim, uint64_t key)
{
    return &sim->clients[key / SIM_SUBMITS_MAX].texts[key % SIM_SUBMITS_MAX];
}

/* ---- Asking ---- */

static void on_asked(struct sim *sim, struct sim_event *event)
{
    uint32_t index = event->index;
    struct sim_client *client = &sim->clients[index];
    if (client->request != event->a || sim_buggify(sim, SIM_FAULT_DROP, 50)) {
        return; /* lost on its way */
    }
    for (uint32_t i = 0; i < sim->sched_count; i++) {
        struct sim_sched *sched = &sim->scheds[(i + event->a) % sim->sched_count];
        if (sched->actor.is_up && sched->phase == SIM_SERVING &&
            !sim_is_frozen(sim, &sched->actor)) {
            uint64_t key = (uint64_t)index * SIM_SUBMITS_MAX + client->submits - 1;
            sim_shell_request(sim, (uint32_t)(sched - sim->scheds), index, event->a, client->asked,
                              client->asked == EV_SUBMIT ? key : 0, client->asked_job);
            return;
        }
    }
}

static void on_repeat(struct sim *sim, struct sim_event *event)
{
    if (sim->clients[event->index].request != event->a) {
        return;
    }
    struct sim_event *ask =
        sim_post(sim, sim_between(sim, 0, 5 * SIM_MILLI), NULL, "client asks", on_asked);
    ask->index = event->index;
    ask->a = event->a;
    struct sim_event *repeat = sim_post(sim, sim_between(sim, SIM_SECOND, 3 * SIM_SECOND), NULL,
                                        "client waits", on_repeat);
    repeat->index = event->index;
    repeat->a = event->a;
}

static uint64_t any_acked(struct sim_client *client)
{
    uint32_t first = (uint32_t)below(client, SIM_SUBMITS_MAX);
    for (uint32_t i = 0; i < SIM_SUBMITS_MAX; i++) {
        uint64_t job = client->acked_job[(first + i) % SIM_SUBMITS_MAX];
        if (job != 0) {
            return job;
        }
    }
    return 0;
}

/* The next one that is not left out; false: all are done. */
static bool write_next(struct sim *sim, uint32_t index)
{
    struct sim_client *client = &sim->clients[index];
    while (client->submits < client->submits_wanted) {
        uint32_t number = client->submits++;
        write_job(client, &client->texts[number]);
        if (sim->plan->is_elastic) {
            make_elastic(sim->plan, (uint64_t)index * SIM_SUBMITS_MAX + number,
                         &client->texts[number]);
        }
        if (!sim->plan->is_skipped[index][number]) {
            return true;
        }
    }
    return false;
}

/* While there are faults it also cancels and retries; then it only submits what is left. */
static void on_next(struct sim *sim, struct sim_event *event)
{
    struct sim_client *client = &sim->clients[event->index];
    uint64_t job = any_acked(client);
    if (client->request != 0) {
        return;
    }
    if (job != 0 && sim_buggify(sim, SIM_FAULT_CANCEL, 150)) {
        client->asked = EV_CANCEL;
        sim->check[job].is_cancel_wanted = true;
    } else if (job != 0 && sim_buggify(sim, SIM_FAULT_RETRY, 350)) {
        client->asked = EV_RETRY;
        sim->check[job].is_retry_wanted = true;
    } else if (write_next(sim, event->index)) {
        client->asked = EV_SUBMIT;
        job = 0;
    } else if (sim->is_quiet) {
        return;
    } else {
        sim_post(sim, SIM_SECOND, NULL, "client idles", on_next)->index = event->index;
        return;
    }
    client->asked_job = job;
    client->retries_before = sim->check[job].retries;
    client->request = ++sim->seq;
    event->a = client->request;
    on_repeat(sim, event);
}

/* ---- Answers ---- */

/* It was refused, since a table is full: with the same key, later. */
static void ask_again(struct sim *sim, uint32_t index, int64_t pause_ns)
{
    struct sim_client *client = &sim->clients[index];
    if (!sim->has_fault[SIM_FAULT_TABLES]) {
        sim_fail("client %u: a job that fits every limit was refused", index);
    }
    client->request = ++sim->seq;
    struct sim_event *event = sim_post(sim, pause_ns, NULL, "client tries again", on_repeat);
    event->index = index;
    event->a = client->request;
}

static void on_answer(struct sim *sim, struct sim_event *event)
{
    struct sim_client *client = &sim->clients[event->index];
    if (client->request != event->a || sim_buggify(sim, SIM_FAULT_DROP, 50)) {
        return; /* of an earlier try, or lost on its way */
    }
    int64_t pause_ns = (int64_t)below(client, 3000) * SIM_MILLI;
    if (client->asked == EV_SUBMIT && event->b == 0) {
        ask_again(sim, event->index, pause_ns);
        return;
    }
    client->request = 0;
    if (client->asked == EV_SUBMIT) {
        client->acked_job[client->submits - 1] = event->b;
        check_ack(sim, event->index, (uint64_t)event->index * SIM_SUBMITS_MAX + client->submits - 1,
                  event->b);
    }
    sim_post(sim, pause_ns, NULL, "client goes on", on_next)->index = event->index;
}

void sim_client_reply(struct sim *sim, uint32_t index, uint64_t request, enum core_reply reply,
                      uint64_t job)
{
    struct sim_event *event =
        sim_post(sim, sim_between(sim, 0, 5 * SIM_MILLI), NULL, "client hears", on_answer);
    event->index = index;
    event->a = request;
    event->b = reply == REPLY_OK ? job : 0;
    if (reply == REPLY_OK && sim->clients[index].asked == EV_SUBMIT &&
        sim->clients[index].request == request) {
        check_ack(sim, index, (uint64_t)index * SIM_SUBMITS_MAX + sim->clients[index].submits - 1,
                  job);
    } else if (reply == REPLY_OK && sim->clients[index].request == request) {
        check_asked(sim, &sim->clients[index], job);
    }
}

void sim_client_start(struct sim *sim, uint32_t index)
{
    struct sim_client *client = &sim->clients[index];
    client->submits_wanted = (uint32_t)(2 + below(client, SIM_SUBMITS_MAX - 1));
    sim_post(sim, (int64_t)below(client, 2000) * SIM_MILLI, NULL, "client begins", on_next)->index =
        index;
}

bool sim_client_is_done(const struct sim_client *client)
{
    return client->submits == client->submits_wanted && client->request == 0;
}
