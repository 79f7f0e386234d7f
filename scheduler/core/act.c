/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/core/act.h"

#include "scheduler/core/elastic.h"

static struct core_action *add(struct core *core, enum core_action_kind kind)
{
    MLQ_ASSERT(core->actions != NULL);
    MLQ_ASSERT(core->actions->count < CORE_ACTIONS_PER_EVENT);
    struct core_action *action = &core->actions->items[core->actions->count++];
    *action = (struct core_action){.kind = kind};
    return action;
}

uint32_t act_room(const struct core *core)
{
    MLQ_ASSERT(core->actions != NULL && core->actions->count <= CORE_ACTIONS_PER_EVENT);
    return CORE_ACTIONS_PER_EVENT - core->actions->count;
}

void act_persist(struct core *core, const struct core_fact *fact, uint32_t payload)
{
    struct core_action *action = add(core, ACT_PERSIST);
    action->fact = *fact;
    action->job = fact->job;
    action->attempt = fact->attempt;
    action->rank = fact->rank;
    action->worker = fact->worker;
    action->payload = payload;
    action->speaks = fact->kind == FACT_ENDED && elastic_speaks(core, fact);
}

void act_reply(struct core *core, uint64_t request, enum core_reply reply, uint64_t job)
{
    struct core_action *action = add(core, ACT_REPLY);
    action->request = request;
    action->reply = reply;
    action->job = job;
}

void act_welcome(struct core *core, const struct worker *worker)
{
    struct core_action *action = add(core, ACT_WELCOME);
    action->worker = worker->id;
    action->session = worker->session;
}

void act_assign(struct core *core, const struct worker *worker, const struct core_fact *fact)
{
    MLQ_ASSERT(worker->is_known && worker->id == fact->worker);
    MLQ_ASSERT(fact->kind == FACT_ASSIGNED);
    struct core_action *action = add(core, ACT_ASSIGN);
    action->worker = worker->id;
    action->session = worker->session;
    action->job = fact->job;
    action->attempt = fact->attempt;
    action->rank = fact->rank;
    action->fact = *fact;
}

void act_kill(struct core *core, const struct task *task, const struct member *member,
              enum core_cause cause)
{
    const struct stage *stage = &core->stages[task->stage];
    struct core_action *action = add(core, ACT_KILL);
    action->worker = core->workers[member->worker].id;
    action->session = core->workers[member->worker].session;
    action->job = core->jobs[stage->job].id;
    action->attempt = task->attempt;
    action->rank = member->rank;
    action->cause = cause;
    action->grace_ns = stage->grace_ns;
}

void act_answer(struct core *core, enum core_action_kind kind, uint32_t worker, uint64_t attempt,
                uint32_t rank)
{
    MLQ_ASSERT(kind == ACT_ACK || kind == ACT_FENCED);
    struct core_action *action = add(core, kind);
    action->worker = worker;
    action->attempt = attempt;
    action->rank = rank;
}

void act_record(struct core *core, const struct core_fact *fact, uint32_t payload)
{
    struct core_action *action = add(core, ACT_RECORD);
    action->fact = *fact;
    action->job = fact->job;
    action->attempt = fact->attempt;
    action->rank = fact->rank;
    action->worker = fact->worker;
    action->payload = payload;
    action->speaks = elastic_speaks(core, fact);
}

void act_members(struct core *core, const struct task *task, const struct member *member)
{
    const struct worker *worker = &core->workers[member->worker];
    MLQ_ASSERT(worker->is_known);
    struct core_action *action = add(core, ACT_MEMBERS);
    action->worker = worker->id;
    action->session = worker->session;
    action->attempt = task->attempt;
    action->rank = member->rank;
}
