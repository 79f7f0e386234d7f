/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Jobs and stages: their rows, their states, and the facts that change them.
 */
#ifndef MLQ_SCHEDULER_CORE_JOB_H
#define MLQ_SCHEDULER_CORE_JOB_H

#include "scheduler/core/core_state.h"

/* One allowed change of state. */
struct job_edge {
    enum core_state from;
    enum core_state to;
    bool of_job;
    bool of_stage;
    const char *when;
};

/* The transition table, for tests and for printing. */
const struct job_edge *job_edges(uint32_t *count);

bool job_state_is_end(enum core_state state);

/* More of its tasks failed than may: what runs goes on, nothing is started any more. */
bool job_stage_is_closed(const struct stage *stage);

/* The slot of a job, or SLOT_NONE. */
uint32_t job_slot(const struct core *core, uint64_t id);

/* Key of core.stage_of. */
uint64_t job_stage_key(uint64_t job, uint32_t stage);

/* The slot of a stage of a job that is in the tables: asserted. */
uint32_t job_stage_slot(const struct core *core, uint64_t job, uint32_t stage);

/* True when the tables can hold the job. */
bool job_has_room(const struct core *core, const struct core_job_desc *desc);

/* Apply one fact. The first is false when a table is full. */
bool job_apply_submitted(struct core *core, const struct core_fact *fact,
                         const struct core_job_desc *desc);
void job_apply_cancelled(struct core *core, const struct core_fact *fact);
void job_apply_retried(struct core *core, const struct core_fact *fact);
void job_apply_stage_ended(struct core *core, const struct core_fact *fact);
void job_apply_ended(struct core *core, const struct core_fact *fact);

/* An attempt of the stage begins: it and its job run. */
void job_stage_runs(struct core *core, uint32_t stage_slot);

/* Put on the to-do list, if it is not there. */
void job_todo(struct core *core, struct job *job);
void job_todo_stage(struct core *core, struct stage *stage);

/* Give back rows of tasks of a stage that ended: at most `rows`. True when there are none left. */
bool job_drop_tasks(struct core *core, struct stage *stage, uint32_t rows);

/* Give back rows of a job that ended, or that was restored in vain: at most `rows` of them. True
 * when the job is gone. */
bool job_remove(struct core *core, uint32_t job_slot, uint32_t rows);

#endif
