/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/core/fact.h"

#include "scheduler/core/act.h"
#include "scheduler/core/attempt.h"
#include "scheduler/core/job.h"

bool fact_apply(struct core *core, const struct core_fact *fact, const struct core_job_desc *desc)
{
    MLQ_ASSERT((desc != NULL) == (fact->kind == FACT_JOB_SUBMITTED));
    MLQ_ASSERT(fact->job != 0);
    switch (fact->kind) {
    case FACT_JOB_SUBMITTED:
        return job_apply_submitted(core, fact, desc);
    case FACT_JOB_CANCELLED:
        job_apply_cancelled(core, fact);
        return true;
    case FACT_JOB_RETRIED:
        job_apply_retried(core, fact);
        return true;
    case FACT_ASSIGNED:
        return attempt_apply_assigned(core, fact);
    case FACT_STARTED:
        attempt_apply_started(core, fact);
        return true;
    case FACT_ENDED:
        attempt_apply_ended(core, fact);
        return true;
    case FACT_STAGE_ENDED:
        job_apply_stage_ended(core, fact);
        return true;
    case FACT_JOB_ENDED:
        job_apply_ended(core, fact);
        return true;
    }
    MLQ_UNREACHABLE("fact_apply: no such kind");
}

void fact_decide(struct core *core, const struct core_fact *fact, uint32_t payload)
{
    fact_decide_submitted(core, fact, NULL, payload);
}

void fact_decide_submitted(struct core *core, const struct core_fact *fact,
                           const struct core_job_desc *desc, uint32_t payload)
{
    MLQ_ASSERT(core->is_live && core->visitor == 0);
    act_persist(core, fact, payload);
    bool has_fitted = fact_apply(core, fact, desc);
    MLQ_ASSERT(has_fitted);
}
