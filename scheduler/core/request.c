/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/core/request.h"

#include "scheduler/core/act.h"
#include "scheduler/core/fact.h"
#include "scheduler/core/job.h"

void request_on_submit(struct core *core, const struct core_event *event)
{
    if (event->desc == NULL || core_job_desc_check(event->desc) != NULL) {
        act_reply(core, event->request, REPLY_INVALID, 0);
        return;
    }
    if (!job_has_room(core, event->desc)) {
        act_reply(core, event->request, REPLY_FULL, 0);
        return;
    }
    MLQ_ASSERT(event->desc->retries == 0);
    struct core_fact fact = {
        .kind = FACT_JOB_SUBMITTED,
        .at_ns = core->now_ns,
        .job = core->next_job,
        .exit_code = -1,
    };
    fact_decide_submitted(core, &fact, event->desc, event->payload);
    MLQ_ASSERT(core->next_job == fact.job + 1);
    act_reply(core, event->request, REPLY_OK, fact.job);
}

void request_on_cancel(struct core *core, const struct core_event *event)
{
    uint32_t slot = job_slot(core, event->job);
    if (slot == SLOT_NONE) {
        bool was_given = event->job > 0 && event->job < core->next_job;
        act_reply(core, event->request, was_given ? REPLY_ENDED : REPLY_NOT_FOUND, event->job);
        return;
    }
    const struct job *job = &core->jobs[slot];
    if (job_state_is_end(job->state)) {
        act_reply(core, event->request, REPLY_ENDED, event->job);
        return;
    }
    if (job->stop == CAUSE_NONE) {
        struct core_fact fact = {
            .kind = FACT_JOB_CANCELLED,
            .at_ns = core->now_ns,
            .job = job->id,
            .cause = CAUSE_CANCEL,
            .exit_code = -1,
        };
        fact_decide(core, &fact, event->payload);
    }
    act_reply(core, event->request, REPLY_OK, event->job);
}

void request_on_retry(struct core *core, const struct core_event *event, enum core_reply restored)
{
    uint32_t slot = job_slot(core, event->job);
    if (restored != REPLY_OK) {
        bool is_live = slot != SLOT_NONE && !job_state_is_end(core->jobs[slot].state);
        act_reply(core, event->request, is_live ? REPLY_ENDED : restored, event->job);
        return;
    }
    MLQ_ASSERT(slot != SLOT_NONE);
    struct core_fact fact = {
        .kind = FACT_JOB_RETRIED,
        .at_ns = core->now_ns,
        .job = event->job,
        .exit_code = -1,
    };
    fact_decide(core, &fact, event->payload);
    act_reply(core, event->request, REPLY_OK, event->job);
}
