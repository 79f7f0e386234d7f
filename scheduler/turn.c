/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/turn.h"

#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"

#define DETAIL_BYTES_MAX 1024
#define FULL_BYTES       (64u << 20)
#define FULL_ITEMS       200000u

struct turn *turn_create(void)
{
    struct turn *turn = mlq_alloc(sizeof *turn);
    turn->region = mlq_region_create();
    return turn;
}

void turn_destroy(struct turn **turn)
{
    if (*turn == NULL) {
        return;
    }
    mlq_region_destroy(&(*turn)->region);
    mlq_free((*turn)->jobs);
    mlq_free((*turn)->facts);
    mlq_free((*turn)->metrics);
    mlq_free((*turn)->artifacts);
    mlq_free((*turn)->workers);
    mlq_free((*turn)->held);
    mlq_free((*turn)->payloads);
    mlq_free((*turn)->ended);
    mlq_free(*turn);
    *turn = NULL;
}

void turn_reset(struct turn *turn)
{
    mlq_region_reset(turn->region);
    turn->job_count = 0;
    turn->fact_count = 0;
    turn->metric_count = 0;
    turn->artifact_count = 0;
    turn->worker_count = 0;
    turn->held_count = 0;
    turn->payload_count = 0;
    turn->ended_count = 0;
}

bool turn_needs_commit(const struct turn *turn)
{
    return turn->job_count + turn->fact_count + turn->metric_count + turn->artifact_count +
               turn->worker_count > 0;
}

bool turn_is_empty(const struct turn *turn)
{
    /* Progress is a payload without a row: it is over with the turn, and watchers want to see it. */
    return turn->held_count == 0 && turn->payload_count == 0 && !turn_needs_commit(turn);
}

bool turn_is_full(const struct turn *turn)
{
    return mlq_region_bytes(turn->region) >= FULL_BYTES ||
           turn->fact_count + turn->metric_count + turn->artifact_count + turn->held_count + turn->payload_count >=
               FULL_ITEMS;
}

struct store_batch turn_batch(const struct turn *turn)
{
    return (struct store_batch){
        .jobs = turn->jobs,
        .job_count = turn->job_count,
        .facts = turn->facts,
        .fact_count = turn->fact_count,
        .metrics = turn->metrics,
        .metric_count = turn->metric_count,
        .artifacts = turn->artifacts,
        .artifact_count = turn->artifact_count,
        .workers = turn->workers,
        .worker_count = turn->worker_count,
    };
}

/* Room for one more of `bytes` in a growing array. */
static void *one_more(void *items, size_t count, size_t *room, size_t bytes)
{
    if (count < *room) {
        return items;
    }
    *room = *room == 0 ? 16 : *room * 2;
    return mlq_realloc_array(items, *room, bytes);
}

void turn_add_job(struct turn *turn, const struct store_job *job)
{
    turn->jobs = one_more(turn->jobs, turn->job_count, &turn->job_room, sizeof *job);
    turn->jobs[turn->job_count++] = *job;
}

void turn_add_fact(struct turn *turn, const struct store_fact *fact)
{
    turn->facts = one_more(turn->facts, turn->fact_count, &turn->fact_room, sizeof *fact);
    turn->facts[turn->fact_count++] = *fact;
}

void turn_add_metric(struct turn *turn, const struct store_metric *metric)
{
    turn->metrics = one_more(turn->metrics, turn->metric_count, &turn->metric_room, sizeof *metric);
    turn->metrics[turn->metric_count++] = *metric;
}

void turn_add_artifact(struct turn *turn, const struct store_artifact *artifact)
{
    turn->artifacts =
        one_more(turn->artifacts, turn->artifact_count, &turn->artifact_room, sizeof *artifact);
    turn->artifacts[turn->artifact_count++] = *artifact;
}

void turn_add_worker(struct turn *turn, const struct store_worker *worker)
{
    for (size_t i = 0; i < turn->worker_count; i++) { /* a row is written once in a transaction */
        if (turn->workers[i].id == worker->id) {
            turn->workers[i] = *worker;
            return;
        }
    }
    turn->workers = one_more(turn->workers, turn->worker_count, &turn->worker_room, sizeof *worker);
    turn->workers[turn->worker_count++] = *worker;
}

void turn_add_ended(struct turn *turn, uint64_t job)
{
    turn->ended = one_more(turn->ended, turn->ended_count, &turn->ended_room, sizeof job);
    turn->ended[turn->ended_count++] = job;
}

static struct turn_held *hold(struct turn *turn)
{
    turn->held = one_more(turn->held, turn->held_count, &turn->held_room, sizeof *turn->held);
    return &turn->held[turn->held_count++];
}

void turn_hold_action(struct turn *turn, const struct core_action *action)
{
    *hold(turn) = (struct turn_held){.kind = HELD_ACTION, .action = *action};
}

void turn_hold_membership(struct turn *turn, const struct core_action *action, const struct msg_membership *membership)
{
    *hold(turn) = (struct turn_held){.kind = HELD_ACTION, .action = *action, .membership = membership};
}

void turn_hold_reply(struct turn *turn, const struct net_address *to, const struct msg_reply *reply)
{
    struct turn_held held = {.kind = HELD_REPLY, .to = *to, .reply = *reply};
    held.reply.text = mlq_region_copy(turn->region, reply->text);
    held.reply.blob = mlq_region_copy(turn->region, reply->blob);
    *hold(turn) = held;
}

static struct msg_report_item *copy_item(struct mlq_region *region, const struct msg_report_item *item)
{
    struct msg_report_item *copy = mlq_region_alloc(region, sizeof *copy);
    struct msg_metric *metrics = mlq_region_array(region, item->metric_count, sizeof *metrics);
    struct msg_artifact *artifacts = mlq_region_array(region, item->artifact_count, sizeof *artifacts);
    *copy = *item;
    for (size_t i = 0; i < item->metric_count; i++) {
        metrics[i] = item->metrics[i];
        metrics[i].name = mlq_region_copy(region, item->metrics[i].name);
    }
    for (size_t i = 0; i < item->artifact_count; i++) {
        artifacts[i] = item->artifacts[i];
        artifacts[i].name = mlq_region_copy(region, item->artifacts[i].name);
        artifacts[i].digest = mlq_region_copy(region, item->artifacts[i].digest);
    }
    copy->metrics = metrics;
    copy->artifacts = artifacts;
    return copy;
}

static uint32_t add_payload(struct turn *turn, const struct turn_payload *payload)
{
    turn->payloads =
        one_more(turn->payloads, turn->payload_count, &turn->payload_room, sizeof *turn->payloads);
    turn->payloads[turn->payload_count++] = *payload;
    return (uint32_t)turn->payload_count;
}

/* At most DETAIL_BYTES_MAX, not cut in the middle of a character. */
static struct mlq_str copy_detail(struct mlq_region *region, struct mlq_str detail)
{
    if (detail.len > DETAIL_BYTES_MAX) {
        detail.len = DETAIL_BYTES_MAX;
        while (detail.len > 0 && ((unsigned char)detail.ptr[detail.len] & 0xc0) == 0x80) {
            detail.len--;
        }
    }
    return mlq_region_copy(region, detail);
}

uint32_t turn_add_payload(struct turn *turn, const struct msg_report_item *item)
{
    return add_payload(turn, &(struct turn_payload){
                                 .item = copy_item(turn->region, item),
                                 .detail = copy_detail(turn->region, item->detail),
                             });
}

uint32_t turn_add_progress(struct turn *turn, double fraction, struct mlq_str text)
{
    return add_payload(turn, &(struct turn_payload){
                                 .detail = copy_detail(turn->region, text),
                                 .fraction = fraction,
                             });
}

const struct turn_payload *turn_payload_at(const struct turn *turn, uint32_t handle)
{
    MLQ_ASSERT(handle <= turn->payload_count);
    return handle == 0 ? NULL : &turn->payloads[handle - 1];
}
