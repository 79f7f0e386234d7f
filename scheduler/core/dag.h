/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The edges between the stages of a job.
 */
#ifndef MLQ_SCHEDULER_CORE_DAG_H
#define MLQ_SCHEDULER_CORE_DAG_H

#include "scheduler/core/core_state.h"

/* NULL when every need names another stage of the job, each once, and there is no cycle; else a
 * fixed text. */
const char *dag_check(const struct core_job_desc *desc);

uint32_t dag_edge_count(const struct core_job_desc *desc);

/* Enter the edges of a job whose stages are in the tables; there is room (dag_edge_count). */
void dag_link(struct core *core, struct job *job, const struct core_job_desc *desc);

/* Give back the edges to what this stage needs. Called for all stages of a job, or for none. */
void dag_unlink(struct core *core, struct stage *stage);

/* Count anew what the stage waits for, from the states of the stages that it needs. */
void dag_recount(struct core *core, struct stage *stage);

#endif
