/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * One turn: all that a group of messages made the core decide. Its facts become one transaction; its other
 * actions wait in `held` until that transaction is durable. A turn owns a region that holds every byte
 * its rows and actions point to.
 */
#ifndef MLQ_SCHEDULER_TURN_H
#define MLQ_SCHEDULER_TURN_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/ownership.h"
#include "lib/net/msg.h"
#include "lib/net/net.h"
#include "lib/sys/region.h"
#include "scheduler/core/core.h"
#include "scheduler/store/store.h"

/* An action of the core, or a reply of the shell, that must not be seen before its turn is durable. */
enum turn_held_kind { HELD_ACTION, HELD_REPLY };

struct turn_held {
    enum turn_held_kind kind;
    struct core_action action; /* HELD_ACTION */
    const struct msg_membership *membership; /* of ACT_MEMBERS, as this turn leaves it; in the region */
    struct net_address to;     /* HELD_REPLY */
    struct msg_reply reply;
};

/* What came with a report: rows to record if the core says so. Handle = place + 1 in `payloads`. */
struct turn_payload {
    const struct msg_report_item *item; /* copied into the region; NULL for progress */
    struct mlq_str detail;
    double fraction; /* progress */
};

struct turn {
    struct mlq_region *region;
    struct store_job *jobs;
    size_t job_count, job_room;
    struct store_fact *facts;
    size_t fact_count, fact_room;
    struct store_metric *metrics;
    size_t metric_count, metric_room;
    struct store_artifact *artifacts;
    size_t artifact_count, artifact_room;
    struct store_worker *workers;
    size_t worker_count, worker_room;
    struct turn_held *held;
    size_t held_count, held_room;
    struct turn_payload *payloads;
    size_t payload_count, payload_room;
    uint64_t *ended; /* jobs that ended: forgotten when the turn is durable */
    size_t ended_count, ended_room;
};

MLQ_OWNED_RETURN struct turn *turn_create(void);
void turn_destroy(struct turn **turn); /* takes NULL */
void turn_reset(struct turn *turn);

bool turn_is_empty(const struct turn *turn);      /* nothing was put into it */
/* So much waits in it (the disk is slow, or somebody floods) that what can be refused has to be: a row of
 * what is already running still fits, since the core's tables bound those. */
bool turn_is_full(const struct turn *turn);
bool turn_needs_commit(const struct turn *turn);  /* has rows */
struct store_batch turn_batch(const struct turn *turn);

/* Append; the row's slices must live as long as the turn (copy them into its region). */
void turn_add_job(struct turn *turn, const struct store_job *job);
void turn_add_fact(struct turn *turn, const struct store_fact *fact);
void turn_add_metric(struct turn *turn, const struct store_metric *metric);
void turn_add_artifact(struct turn *turn, const struct store_artifact *artifact);
void turn_add_worker(struct turn *turn, const struct store_worker *worker);
void turn_add_ended(struct turn *turn, uint64_t job);
void turn_hold_action(struct turn *turn, const struct core_action *action);
void turn_hold_membership(struct turn *turn, const struct core_action *action, const struct msg_membership *membership);
void turn_hold_reply(struct turn *turn, const struct net_address *to, const struct msg_reply *reply);

/* Copies the item with all its texts. Returns the handle for core_event.payload. */
uint32_t turn_add_payload(struct turn *turn, const struct msg_report_item *item);
uint32_t turn_add_progress(struct turn *turn, double fraction, struct mlq_str text);
const struct turn_payload *turn_payload_at(const struct turn *turn, uint32_t handle); /* NULL for 0 */

#endif
