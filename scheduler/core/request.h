/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What users ask for: submit, cancel, retry. Each gets exactly one ACT_REPLY, after the facts that
 * make it true.
 */
#ifndef MLQ_SCHEDULER_CORE_REQUEST_H
#define MLQ_SCHEDULER_CORE_REQUEST_H

#include "scheduler/core/core_state.h"

void request_on_submit(struct core *core, const struct core_event *event);
void request_on_cancel(struct core *core, const struct core_event *event);

/* `restored` says what came of the job's restoring: OK when it is in the tables, for good, and may
 * be retried. */
void request_on_retry(struct core *core, const struct core_event *event, enum core_reply restored);

#endif
