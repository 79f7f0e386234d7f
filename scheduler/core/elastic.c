/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/core/elastic.h"

#include "scheduler/core/act.h"
#include "scheduler/core/attempt.h"
#include "scheduler/core/deadline.h"
#include "scheduler/core/retry.h"

/* A worker that was silent for this share of its lease is left out of a membership that broke: some
 * three heartbeats. */
#define SILENT_LEASE_SHARE 4

static enum core_resize resize_of(const struct core *core, const struct task *task)
{
    return core->stages[task->stage].resize;
}

static bool is_live(const struct member *member)
{
    return !member->is_ended && member->worker != SLOT_NONE;
}

static void want_regroup(struct core *core, struct task *task)
{
    if (mlq_list_empty(&task->regroup)) {
        mlq_list_push_back(&core->todo_regroup, &task->regroup);
    }
}

/* ---- Beginning and end ------------------------------------------------------------------------- */

void elastic_begin(struct core *core, struct task *task, int64_t at_ns)
{
    task->began_ns = at_ns;
    task->generation = 0;
    task->fingerprint = 0;
    task->losses = 0;
    task->refused_count = 0;
    task->is_broken = false;
    task->is_done = false;
    if (resize_of(core, task) != RESIZE_NEVER) {
        mlq_list_push_back(&core->elastic_tasks, &task->in_elastic);
        core->elastic_count++;
    }
}

void elastic_join(struct core *core, struct task *task, const struct core_fact *fact)
{
    MLQ_ASSERT(resize_of(core, task) == RESIZE_LIVE && task->ranks < CORE_RANKS_MAX);
    MLQ_ASSERT(fact->rank == task->ranks && fact->ranks == task->ranks + 1);
    task->ranks++;
    task->open++;
    core->elastic_count++;
}

void elastic_end(struct core *core, struct task *task)
{
    mlq_list_remove(&task->in_elastic);
    mlq_list_remove(&task->regroup);
    deadline_disarm(core, &task->due);
}

/* Whether the others can do without a rank that ended so: the reason is not theirs too. */
static bool spares_others(enum core_cause cause)
{
    switch (cause) {
    case CAUSE_NONE:
    case CAUSE_SIGNAL:
    case CAUSE_OOM:
    case CAUSE_NODE:
    case CAUSE_LEASE:
    case CAUSE_PEER:
    case CAUSE_SPAWN:
    case CAUSE_INPUT:
    case CAUSE_REQUEUE:
        return true;
    case CAUSE_EXIT:
    case CAUSE_TIMEOUT:
    case CAUSE_CANCEL:
    case CAUSE_OUTPUT:
        return false;
    case CAUSE_COUNT:
        break;
    }
    MLQ_UNREACHABLE("spares_others: no such cause");
}

/* The rank could not take part there, and another one could not either. */
static void refuse_worker(struct task *task, uint32_t worker)
{
    if (task->refused_count < ELASTIC_REFUSED_MAX) {
        task->refused[task->refused_count++] = worker;
    }
}

static void take_loss(struct core *core, struct task *task, const struct core_fact *fact)
{
    task->losses++;
    if (fact->cause == CAUSE_PEER || fact->cause == CAUSE_SPAWN || fact->cause == CAUSE_INPUT) {
        refuse_worker(task, fact->worker);
    }
    int64_t wait_ns = retry_backoff_ns(&core->stages[task->stage].retry, core->seed, task->attempt,
                                       task->losses);
    deadline_arm(core, &task->due, fact->at_ns + wait_ns);
}

bool elastic_absorbs(struct core *core, struct task *task, const struct member *member,
                     const struct core_fact *fact)
{
    if (resize_of(core, task) != RESIZE_LIVE) {
        return false;
    }
    if (fact->cause == CAUSE_NONE && !task->is_done) {
        task->is_done = true;
        task->cause = CAUSE_NONE;
        deadline_arm(core, &task->due, fact->at_ns + core->stages[task->stage].grace_ns);
    }
    if (task->is_done || member->generation == task->generation) {
        want_regroup(core, task);
    }
    if (task->is_done) {
        return true;
    }
    if (task->open == 0 || !spares_others(fact->cause)) {
        return false;
    }
    take_loss(core, task, fact);
    return true;
}

/* ---- Who works together ------------------------------------------------------------------------ */

static uint32_t lowest_rank(const struct core *core, const struct task *task)
{
    uint32_t lowest = UINT32_MAX;
    for (uint32_t m = task->member_first; m != SLOT_NONE; m = core->members[m].next) {
        const struct member *member = &core->members[m];
        if (!is_live(member)) {
            continue;
        }
        if (task->generation != 0 && member->generation == task->generation) {
            return member->rank;
        }
        lowest = lowest == UINT32_MAX ? member->rank : lowest;
    }
    return lowest;
}

bool elastic_speaks(const struct core *core, const struct core_fact *fact)
{
    const struct member *member = attempt_member(core, fact->attempt, fact->rank);
    MLQ_ASSERT(member != NULL);
    const struct task *task = &core->tasks[member->task];
    if (resize_of(core, task) != RESIZE_LIVE) {
        return fact->rank == 0;
    }
    if (fact->kind == FACT_ENDED) {
        return fact->cause == CAUSE_NONE && !task->is_done;
    }
    return fact->rank == lowest_rank(core, task);
}

static bool is_silent(const struct core *core, const struct member *member)
{
    const struct worker *worker = &core->workers[member->worker];
    int64_t heard_ns =
        worker->lease.at_ns - core->limits.lease_ns - core->limits.lease_margin_ns;
    return !worker->is_known ||
           core->now_ns - heard_ns > core->limits.lease_ns / SILENT_LEASE_SHARE;
}

static bool can_take_part(const struct core *core, const struct task *task,
                          const struct member *member)
{
    return is_live(member) && member->is_ready && !member->is_leaving &&
           !(task->is_broken && is_silent(core, member));
}

/* Before the first membership of this leader: somebody is still to be heard of. */
static bool must_wait(const struct core *core, const struct task *task)
{
    for (uint32_t m = task->member_first; m != SLOT_NONE && task->generation == 0;
         m = core->members[m].next) {
        const struct member *member = &core->members[m];
        if (is_live(member) && !member->is_ready && !member->is_leaving &&
            !(task->is_broken && is_silent(core, member))) {
            return true;
        }
    }
    return false;
}

static void tell(struct core *core, const struct task *task, const struct member *member)
{
    if (core->workers[member->worker].is_known) {
        act_members(core, task, member); /* the others are told when they say again that they are ready */
    }
}

void elastic_regroup(struct core *core, struct task *task)
{
    MLQ_ASSERT(task->state == TASK_RUNNING && resize_of(core, task) == RESIZE_LIVE);
    uint32_t count = 0;
    for (uint32_t m = task->member_first; m != SLOT_NONE; m = core->members[m].next) {
        count += can_take_part(core, task, &core->members[m]) ? 1 : 0;
    }
    if (count == 0 || task->stop != CAUSE_NONE || (!task->is_done && must_wait(core, task))) {
        return;
    }
    MLQ_ASSERT(core->generation_count < UINT32_MAX);
    task->generation = (uint64_t)core->epoch << 32 | ++core->generation_count;
    for (uint32_t m = task->member_first; m != SLOT_NONE; m = core->members[m].next) {
        struct member *member = &core->members[m];
        if (can_take_part(core, task, member)) {
            member->generation = task->is_done ? 0 : task->generation;
            tell(core, task, member);
        }
    }
    task->is_broken = false;
}

void elastic_release(struct core *core, struct task *task, struct member *member,
                     enum core_cause cause)
{
    MLQ_ASSERT(is_live(member) && !member->is_leaving);
    member->is_leaving = true;
    if (core->workers[member->worker].is_known) {
        act_kill(core, task, member, cause);
    }
}

void elastic_due(struct core *core, struct task *task)
{
    core->dispatch_wanted = true; /* it may grow again */
    for (uint32_t m = task->member_first; m != SLOT_NONE && task->is_done;
         m = core->members[m].next) {
        struct member *member = &core->members[m];
        if (is_live(member) && !member->is_leaving && task->stop == CAUSE_NONE) {
            elastic_release(core, task, member, CAUSE_REQUEUE);
        }
    }
}

void elastic_on_ready(struct core *core, const struct core_event *event)
{
    struct member *member = attempt_live_member(core, event->attempt, event->rank, event->worker);
    if (member == NULL) {
        act_answer(core, ACT_FENCED, event->worker, event->attempt, event->rank);
        return;
    }
    struct task *task = &core->tasks[member->task];
    if (resize_of(core, task) != RESIZE_LIVE || member->is_leaving || task->stop != CAUSE_NONE) {
        return;
    }
    if (task->fingerprint == 0) {
        task->fingerprint = event->fingerprint;
    }
    if (task->fingerprint != event->fingerprint) {
        elastic_release(core, task, member, CAUSE_PEER);
        want_regroup(core, task); /* who waits for it waits no longer */
        return;
    }
    bool is_moved = member->is_ready && member->port != event->port;
    bool has_broken = event->generation != 0 && event->generation >= task->generation;
    bool is_member = task->generation != 0 && member->generation == task->generation;
    member->is_ready = true;
    member->port = event->port;
    task->is_broken = task->is_broken || has_broken;
    if (is_member && !is_moved && !has_broken) {
        tell(core, task, member); /* it may have missed the last one */
    } else {
        want_regroup(core, task);
    }
}

struct core_membership core_attempt_members(const struct core *core, uint64_t attempt,
                                            struct core_member_view *members, uint32_t room)
{
    uint32_t slot;
    struct core_membership membership = {0};
    if (attempt == 0 || !mlq_map_find(&core->attempt_of, attempt, &slot)) {
        return membership;
    }
    const struct task *task = &core->tasks[slot];
    membership.generation = task->generation;
    for (uint32_t m = task->member_first; m != SLOT_NONE && task->generation != 0;
         m = core->members[m].next) {
        const struct member *member = &core->members[m];
        if (member->generation == task->generation && membership.count++ < room) {
            members[membership.count - 1] =
                (struct core_member_view){.rank = member->rank,
                                          .worker = core->workers[member->worker].id,
                                          .port = member->port};
        }
    }
    return membership;
}
