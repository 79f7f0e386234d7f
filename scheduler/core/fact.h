/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Facts: the one way in which the record's part of the tables changes.
 */
#ifndef MLQ_SCHEDULER_CORE_FACT_H
#define MLQ_SCHEDULER_CORE_FACT_H

#include "scheduler/core/core_state.h"

/* Apply a fact that was recorded, or is about to be. `desc` for FACT_JOB_SUBMITTED only. False when
 * a table is full. */
bool fact_apply(struct core *core, const struct core_fact *fact, const struct core_job_desc *desc);

/* Live: emit ACT_PERSIST and apply. That there is room was checked before. */
void fact_decide(struct core *core, const struct core_fact *fact, uint32_t payload);
void fact_decide_submitted(struct core *core, const struct core_fact *fact,
                           const struct core_job_desc *desc, uint32_t payload);

#endif
