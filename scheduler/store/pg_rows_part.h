/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What the files share that turn a batch into statements; not for others.
 *
 *   pg_rows.c   the exchange, the journal, metrics, artifacts, workers
 *   pg_jobs.c   jobs and stages: what is submitted, and what facts change in their rows
 */
#ifndef MLQ_SCHEDULER_STORE_PG_ROWS_PART_H
#define MLQ_SCHEDULER_STORE_PG_ROWS_PART_H

#include "scheduler/store/pg_inbox.h"
#include "scheduler/store/pg_rows.h"
#include "scheduler/store/pg_value.h"

#define PG_COLUMNS_MAX 18

struct pg_place { /* of a fact in its run */
    uint64_t job;
    uint32_t stage;
    uint32_t nth;
    bool is_new; /* the rows of its job are written with what it changes: nothing is left to do in them */
    bool is_within; /* the job's row holds it: nothing is left to do in the journal */
};

/* A job that gets its rows, and the places of the facts that they are written with. */
struct pg_arrival {
    const struct store_job *job;
    size_t low;
    size_t high;
    bool is_whole; /* the job's row is all that there will be of its stage and of these facts */
};

struct pg_rows {
    struct pg_conn *conn;
    struct ledger *ledger;
    struct pg_inbox *inbox;
    uint64_t seq;        /* of the run of facts that is being sent: the epoch, and a count */
    bool has_begun;      /* it has sent a batch */
    unsigned statements; /* sent of this batch */
    /* Partitions are known to exist for jobs in [low, high). */
    int64_t low;
    int64_t high;
    struct pg_array columns[PG_COLUMNS_MAX];
    struct pg_place *places; /* of the facts that are being sent, by job and stage */
    size_t place_room;
    struct pg_arrival *arrivals;
    size_t arrival_count;
    size_t arrival_room;
    uint32_t *rounds; /* of each fact's job, or ROUND_UNKNOWN */
    size_t round_room;
};

/* ---- pg_rows.c ---- */

void pg_rows_columns(struct pg_rows *rows, const enum pg_type *types, unsigned count); /* empty ones */
#define PG_NONE ((struct pg_param){0})
/* With the first `columns` of them as parameters, and before them `first`, unless that is PG_NONE. */
void pg_rows_statement(struct pg_rows *rows, enum pg_sql_id id, struct pg_param first, unsigned columns);
void pg_rows_add_text(struct pg_array *array, struct mlq_str text); /* empty: NULL */
/* The usual number as NULL, which takes nothing where it stands alone. */
void pg_rows_add_unless(struct pg_array *array, int32_t number, int32_t usual);
/* The facts at places from `low` that are of one job and stage end before this place. */
size_t pg_rows_end_of_stage(const struct pg_rows *rows, size_t low, size_t count);
/* The numbers of the facts at the places low to high, as columns `facts` have them; times are after
 * `base_us`. */
void pg_rows_add_facts(const struct pg_rows *rows, struct pg_array *array,
                       const struct store_fact *facts, size_t low, size_t high, int64_t base_us);
/* Where such facts are in an array that holds `count` facts: first and last element, from 1. */
void pg_rows_add_slice(struct pg_array *first, struct pg_array *last, size_t count, size_t more);

/* ---- pg_jobs.c ---- */

void pg_jobs_put(struct pg_rows *rows, const struct store_batch *in);
/* What a run of facts, which have their places, changes in rows of jobs and stages. With the last one of a batch,
 * which may be empty, all jobs go that have waited long in the inbox. */
void pg_jobs_change(struct pg_rows *rows, const struct store_fact *facts, size_t count, bool is_last);

#endif
