/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The simulator's record: the verbs of scheduler/store/store.h over rows in memory, as far as the
 * core's facts and the leader's row go.
 */
#ifndef MLQ_TESTS_SIM_SIM_RECORD_H
#define MLQ_TESTS_SIM_SIM_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "scheduler/core/core.h"

#define SIM_CLIENTS_MAX 3
#define SIM_SUBMITS_MAX 10 /* of one client */
#define SIM_JOBS_MAX    (SIM_CLIENTS_MAX * SIM_SUBMITS_MAX)
#define SIM_STAGES_MAX  4

struct sim_row {
    struct core_fact fact;
    int64_t wall_ns;
    bool speaks;                      /* with FACT_ENDED: what the rank left is the task's */
    uint64_t key;                     /* with FACT_JOB_SUBMITTED, unique for ever */
    const struct core_job_desc *desc; /* with FACT_JOB_SUBMITTED; outlives the record */
    uint32_t note;                    /* not 0: no fact, but what the rank of `fact` noted */
};

struct sim_record_job {
    const struct core_job_desc *desc; /* NULL: no such job */
    uint64_t key;
    uint32_t retries;
    bool has_ended;
    enum core_state end_state;
    bool has_stage_ended[SIM_STAGES_MAX];
    bool has_stage_failed[SIM_STAGES_MAX];
};

/* Zeroed: an empty one. */
struct sim_record {
    struct sim_row *rows; /* in the order of their commits */
    uint32_t row_count, row_room;
    uint64_t highest_job;
    struct sim_record_job jobs[SIM_JOBS_MAX + 1];
    uint32_t epoch; /* of the leader's row */
    int64_t lead_until_ns;
};

enum sim_put { SIM_PUT_DONE, SIM_PUT_FENCED, SIM_PUT_REFUSED };

void sim_record_fini(struct sim_record *record);

/* The new epoch, or 0: another leads. */
uint32_t sim_record_campaign(struct sim_record *record, int64_t now_ns, int64_t lease_ns);
/* False: the epoch is not the row's any more. */
bool sim_record_renew(struct sim_record *record, uint32_t epoch, int64_t now_ns, int64_t lease_ns);
void sim_record_resign(struct sim_record *record, uint32_t epoch, int64_t now_ns);

/* All rows or none. Notes are no facts: they stand elsewhere, and no load gives them. */
enum sim_put sim_record_put(struct sim_record *record, uint32_t epoch, const struct sim_row *rows,
                            uint32_t count);

/* Whether a load gives this row: of one job, or (job 0) of all that have not ended. */
bool sim_record_is_loaded(const struct sim_record *record, const struct sim_row *row, uint64_t job);

#endif
