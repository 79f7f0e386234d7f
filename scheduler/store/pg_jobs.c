/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Rows of jobs and stages. A job is put into the inbox, and gets its rows with the first commit that changes
 * something in them, or when it has waited there for long (pg_inbox.h). From then on they are updated.
 */
#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/clock.h"
#include "lib/sys/mem.h"
#include "scheduler/store/pg_rows_part.h"
#include "scheduler/store/store_check.h"

/* mlq.make_partitions makes the next one too, so this much before the end is ahead of time. */
#define PARTITION_JOBS   INT64_C(100000)
#define PARTITION_MARGIN INT64_C(10000)

/* ---- What is submitted ------------------------------------------------------------------------ */

static void put_partitions(struct pg_rows *rows, const struct store_batch *in)
{
    bool is_known = true;
    pg_rows_columns(rows, (const enum pg_type[]){PG_INT8}, 1);
    for (size_t i = 0; i < in->job_count; i++) {
        int64_t id = (int64_t)in->jobs[i].id;
        is_known = is_known && id >= rows->low && id < rows->high - PARTITION_MARGIN;
        pg_value_add_i64(&rows->columns[0], id);
    }
    if (is_known) {
        return;
    }
    pg_rows_statement(rows, PG_SQL_PARTITIONS, PG_NONE, 1);
    /* Made for the last job: its own range and the next. Ids grow, so that is the one to remember.
     */
    int64_t range = (int64_t)in->jobs[in->job_count - 1].id / PARTITION_JOBS;
    if (range < INT64_MAX / PARTITION_JOBS - 2) {
        rows->low = range * PARTITION_JOBS;
        rows->high = (range + 2) * PARTITION_JOBS;
    }
}

static void put_keys(struct pg_rows *rows, const struct store_batch *in)
{
    struct pg_array *c = rows->columns;
    bool has_keys = false;
    for (size_t i = 0; i < in->job_count; i++) {
        has_keys = has_keys || in->jobs[i].idempotency_key.len > 0;
    }
    if (!has_keys) {
        return;
    }
    pg_rows_columns(rows, (const enum pg_type[]){PG_TEXT, PG_INT8, PG_TIMESTAMPTZ}, 3);
    for (size_t i = 0; i < in->job_count; i++) {
        const struct store_job *job = &in->jobs[i];
        pg_rows_add_text(&c[0], job->idempotency_key);
        pg_value_add_i64(&c[1], (int64_t)job->id);
        pg_value_add_time(&c[2], job->submitted_us);
    }
    pg_rows_statement(rows, PG_SQL_PUT_KEYS, PG_NONE, 3);
}

static const enum pg_type job_types[] = {PG_INT8, PG_TEXT, PG_TEXT, PG_TEXT,       PG_TEXT,
                                         PG_TEXT, PG_TEXT, PG_INT4, PG_TIMESTAMPTZ};
static const enum pg_type stage_types[] = {PG_INT8, PG_INT4, PG_TEXT, PG_TEXT, PG_INT4,
                                           PG_INT4, PG_INT4, PG_TEXT, PG_TEXT};
/* Of what happened to either. */
static const enum pg_type change_types[] = {PG_TEXT, PG_TIMESTAMPTZ, PG_TIMESTAMPTZ};

#define JOB_COLUMNS    MLQ_COUNT_OF(job_types)
#define STAGE_COLUMNS  MLQ_COUNT_OF(stage_types)
#define CHANGE_COLUMNS MLQ_COUNT_OF(change_types)

static void add_job(struct pg_array *c, const struct store_job *job)
{
    pg_value_add_i64(&c[0], (int64_t)job->id);
    pg_value_add_repeated(&c[1], job->name);
    pg_value_add_repeated(&c[2], job->kind);
    pg_rows_add_text(&c[3], job->idempotency_key);
    pg_value_add_repeated(&c[4], job->submitter);
    pg_value_add_repeated(&c[5], job->spec);
    pg_rows_add_text(&c[6], job->labels);
    pg_rows_add_unless(&c[7], job->priority, 0);
    pg_value_add_time(&c[8], job->submitted_us);
}

/* "{0,1}": an array of arrays of unequal length does not exist, so each goes as text. */
static struct mlq_str needs_text(const struct store_stage *stage, char *room, size_t room_bytes)
{
    size_t len = 0;
    room[len++] = '{';
    for (uint16_t i = 0; i < stage->needs_count; i++) {
        char digits[8];
        size_t count = 0;
        unsigned value = stage->needs[i];
        do {
            digits[count++] = (char)('0' + value % 10);
            value /= 10;
        } while (value > 0);
        MLQ_ASSERT(len + count + 2 < room_bytes);
        if (i > 0) {
            room[len++] = ',';
        }
        while (count > 0) {
            room[len++] = digits[--count];
        }
    }
    room[len++] = '}';
    return (struct mlq_str){.ptr = room, .len = len};
}

/* What is as with most stages is NULL: one task of one rank, which never changes its size and needs nothing. */
static void add_stage(struct pg_array *c, const struct store_job *job, uint16_t idx)
{
    char room[CORE_STAGES_PER_JOB_MAX * 6 + 8];
    const struct store_stage *stage = &job->stages[idx];
    pg_value_add_i64(&c[0], (int64_t)job->id);
    pg_rows_add_unless(&c[1], idx, 0);
    pg_value_add_repeated(&c[2], stage->name);
    pg_value_add_repeated(&c[3], stage->uses);
    pg_rows_add_unless(&c[4], (int32_t)stage->array_count, 1);
    pg_rows_add_unless(&c[5], (int32_t)stage->ranks, 1);
    pg_rows_add_unless(&c[6], (int32_t)(stage->ranks_min > 0 ? stage->ranks_min : stage->ranks),
                       (int32_t)stage->ranks);
    pg_rows_add_text(&c[7], mlq_str_from(stage->resize == RESIZE_NEVER ? "" : store_check_resize_text(stage->resize)));
    pg_rows_add_text(&c[8], stage->needs_count == 0 ? (struct mlq_str){0} : needs_text(stage, room, sizeof room));
}

static void put_inbox(struct pg_rows *rows, const struct store_batch *in)
{
    enum pg_type types[JOB_COLUMNS + STAGE_COLUMNS];
    char room[8];
    memcpy(types, job_types, sizeof job_types);
    memcpy(types + JOB_COLUMNS, stage_types, sizeof stage_types);
    pg_rows_columns(rows, types, MLQ_COUNT_OF(types));
    for (size_t i = 0; i < in->job_count; i++) {
        add_job(rows->columns, &in->jobs[i]);
        for (uint16_t s = 0; s < in->jobs[i].stage_count; s++) {
            add_stage(rows->columns + JOB_COLUMNS, &in->jobs[i], s);
        }
    }
    pg_rows_statement(rows, PG_SQL_PUT_INBOX, pg_value_i64((int64_t)in->jobs[0].id, room), MLQ_COUNT_OF(types));
}

/* ---- What facts change ------------------------------------------------------------------------- */

struct change {
    size_t ends;
    enum core_state state; /* of the last end */
    enum core_cause cause; /* of a cancellation; NONE: there is none */
    int64_t began_us;      /* first start; -1: none */
    int64_t ended_us;
};

/* By the facts at the places low to high. */
static struct change change_of(const struct pg_rows *rows, const struct store_fact *facts,
                               size_t low, size_t high, enum core_fact_kind end)
{
    struct change change = {.began_us = -1};
    for (size_t i = low; i < high; i++) {
        const struct store_fact *row = &facts[rows->places[i].nth];
        if (row->fact.kind == FACT_STARTED &&
            (change.began_us < 0 || row->at_us < change.began_us)) {
            change.began_us = row->at_us;
        } else if (row->fact.kind == end) {
            change.ends++;
            change.state = row->fact.state;
            change.ended_us = row->at_us;
        } else if (row->fact.kind == FACT_JOB_CANCELLED && change.cause == CAUSE_NONE) {
            change.cause = row->fact.cause;
        }
    }
    return change;
}

static void add_change(struct pg_array *state, struct pg_array *began, struct pg_array *ended,
                       const struct change *change)
{
    pg_rows_add_text(state,
                     mlq_str_from(change->ends > 0 ? store_check_state_text(change->state) : ""));
    if (change->began_us < 0) {
        pg_value_add_null(began);
    } else {
        pg_value_add_time(began, change->began_us);
    }
    if (change->ends == 0) {
        pg_value_add_null(ended);
    } else {
        pg_value_add_time(ended, change->ended_us);
    }
}

static void add_cancellation(struct pg_array *cause, const struct change *change)
{
    pg_rows_add_text(cause,
                     mlq_str_from(change->cause != CAUSE_NONE ? store_check_cause_text(change->cause) : ""));
}

static void send_changes(struct pg_rows *rows, enum pg_sql_id id, size_t ends)
{
    char room[8];
    if (rows->columns[0].count > 0) {
        pg_rows_statement(rows, id, pg_value_i64((int64_t)ends, room), 5);
    }
}

static void set_stages(struct pg_rows *rows, const struct store_fact *facts, size_t count)
{
    struct pg_array *c = rows->columns;
    size_t ends = 0;
    pg_rows_columns(rows, (const enum pg_type[]){PG_INT8, PG_INT4, PG_TEXT, PG_TIMESTAMPTZ, PG_TIMESTAMPTZ},
          5);
    for (size_t low = 0, high; low < count; low = high) {
        high = pg_rows_end_of_stage(rows, low, count);
        struct change change = change_of(rows, facts, low, high, FACT_STAGE_ENDED);
        if (!rows->places[low].is_new && (change.ends > 0 || change.began_us >= 0)) {
            pg_value_add_i64(&c[0], (int64_t)rows->places[low].job);
            pg_value_add_i32(&c[1], (int32_t)rows->places[low].stage);
            add_change(&c[2], &c[3], &c[4], &change);
            ends += change.ends;
        }
    }
    send_changes(rows, PG_SQL_SET_STAGES, ends);
}

static void set_jobs(struct pg_rows *rows, const struct store_fact *facts, size_t count)
{
    struct pg_array *c = rows->columns;
    size_t ends = 0;
    pg_rows_columns(rows, (const enum pg_type[]){PG_INT8, PG_TEXT, PG_TEXT, PG_TIMESTAMPTZ, PG_TIMESTAMPTZ},
          5);
    for (size_t low = 0, high; low < count; low = high) {
        high = low + 1;
        while (high < count && rows->places[high].job == rows->places[low].job) {
            high++;
        }
        struct change change = change_of(rows, facts, low, high, FACT_JOB_ENDED);
        bool is_cancelled = change.cause != CAUSE_NONE;
        if (!rows->places[low].is_new && (change.ends > 0 || change.began_us >= 0 || is_cancelled)) {
            pg_value_add_i64(&c[0], (int64_t)rows->places[low].job);
            add_cancellation(&c[2], &change);
            add_change(&c[1], &c[3], &c[4], &change);
            ends += change.ends;
        }
    }
    send_changes(rows, PG_SQL_SET_JOBS, ends);
}

/* ---- Rows of jobs that have none ---------------------------------------------------------------- */

/* One stage of one task, which has ended together with the job, by facts that need only their
 * numbers. */
static bool is_whole(const struct pg_rows *rows, const struct store_fact *facts,
                     const struct pg_arrival *arrival, const struct change *job)
{
    const struct store_stage *stage = &arrival->job->stages[0];
    struct change change = change_of(rows, facts, arrival->low, arrival->high, FACT_STAGE_ENDED);
    bool is_so = arrival->job->stage_count == 1 && stage->array_count == 1 && stage->ranks == 1 &&
                 stage->resize == RESIZE_NEVER && job->ends == 1 && change.ends == 1 &&
                 change.state == job->state && change.ended_us == job->ended_us;
    for (size_t i = arrival->low; is_so && i < arrival->high; i++) {
        const struct store_fact *row = &facts[rows->places[i].nth];
        is_so = row->fact.stage == 0 && row->fact.index == 0 && row->fact.gpu_mask == 0 &&
                row->detail.len == 0;
    }
    return is_so;
}

/* Its stage, and its facts, after `count` of others. Returns how many there are then. */
static size_t add_whole(struct pg_rows *rows, struct pg_array *c, const struct store_fact *facts,
                        const struct pg_arrival *arrival, size_t count)
{
    const struct store_job *job = arrival->job;
    bool has_stage = job->stage_count > 0;
    pg_value_add_repeated(&c[0], has_stage ? job->stages[0].name : MLQ_STR(""));
    pg_value_add_repeated(&c[1], has_stage ? job->stages[0].uses : MLQ_STR(""));
    if (!arrival->is_whole) {
        pg_value_add_null(&c[2]);
        pg_value_add_null(&c[3]);
        return count;
    }
    pg_rows_add_slice(&c[2], &c[3], count, arrival->high - arrival->low);
    pg_rows_add_facts(rows, &c[4], facts, arrival->low, arrival->high, job->submitted_us);
    for (size_t i = arrival->low; i < arrival->high; i++) {
        rows->places[i].is_within = true;
    }
    return count + arrival->high - arrival->low;
}

static void put_job_rows(struct pg_rows *rows, const struct store_fact *facts)
{
    static const enum pg_type whole_types[] = {PG_TEXT, PG_TEXT, PG_INT4, PG_INT4, PG_INT8};
    struct pg_array *c = rows->columns;
    enum pg_type types[JOB_COLUMNS + CHANGE_COLUMNS + 1 + MLQ_COUNT_OF(whole_types)];
    char seq[8];
    size_t count = 0;
    memcpy(types, job_types, sizeof job_types);
    memcpy(types + JOB_COLUMNS, change_types, sizeof change_types);
    types[JOB_COLUMNS + CHANGE_COLUMNS] = PG_TEXT; /* why it was cancelled */
    memcpy(types + JOB_COLUMNS + CHANGE_COLUMNS + 1, whole_types, sizeof whole_types);
    pg_rows_columns(rows, types, MLQ_COUNT_OF(types));
    for (size_t i = 0; i < rows->arrival_count; i++) {
        struct pg_arrival *arrival = &rows->arrivals[i];
        struct change change = change_of(rows, facts, arrival->low, arrival->high, FACT_JOB_ENDED);
        arrival->is_whole = is_whole(rows, facts, arrival, &change);
        add_job(c, arrival->job);
        add_change(&c[9], &c[10], &c[11], &change);
        add_cancellation(&c[12], &change);
        count = add_whole(rows, c + 13, facts, arrival, count);
    }
    pg_rows_statement(rows, PG_SQL_PUT_JOBS, pg_value_i64((int64_t)rows->seq, seq),
                      MLQ_COUNT_OF(types));
}

static void put_stage_rows(struct pg_rows *rows, const struct store_fact *facts)
{
    struct pg_array *c = rows->columns;
    enum pg_type types[STAGE_COLUMNS + CHANGE_COLUMNS];
    memcpy(types, stage_types, sizeof stage_types);
    memcpy(types + STAGE_COLUMNS, change_types, sizeof change_types);
    pg_rows_columns(rows, types, MLQ_COUNT_OF(types));
    for (size_t i = 0; i < rows->arrival_count; i++) {
        const struct pg_arrival *arrival = &rows->arrivals[i];
        size_t low = arrival->low;
        for (uint16_t s = 0; s < arrival->job->stage_count && !arrival->is_whole; s++) {
            size_t high = low;
            while (high < arrival->high && rows->places[high].stage == s) {
                high++;
            }
            struct change change = change_of(rows, facts, low, high, FACT_STAGE_ENDED);
            add_stage(c, arrival->job, s);
            add_change(&c[9], &c[10], &c[11], &change);
            low = high;
        }
    }
    if (c[0].count > 0) {
        pg_rows_statement(rows, PG_SQL_PUT_STAGES, PG_NONE, MLQ_COUNT_OF(types));
    }
}

static void clear_inbox(struct pg_rows *rows)
{
    uint64_t first;
    pg_rows_columns(rows, (const enum pg_type[]){PG_INT8}, 1);
    while (pg_inbox_sweep(rows->inbox, &first)) {
        pg_value_add_i64(&rows->columns[0], (int64_t)first);
    }
    if (rows->columns[0].count > 0) {
        pg_rows_statement(rows, PG_SQL_CLEAR_INBOX, PG_NONE, 1);
    }
}

static void put_rows(struct pg_rows *rows, const struct store_fact *facts)
{
    if (rows->arrival_count > 0) {
        put_job_rows(rows, facts);
        put_stage_rows(rows, facts);
        clear_inbox(rows);
        rows->arrival_count = 0;
    }
}

static void add_arrival(struct pg_rows *rows, const struct store_job *job, size_t low, size_t high)
{
    if (rows->arrival_count == rows->arrival_room) {
        rows->arrival_room = rows->arrival_room * 2 + 64;
        rows->arrivals = mlq_realloc_array(rows->arrivals, rows->arrival_room, sizeof *rows->arrivals);
    }
    rows->arrivals[rows->arrival_count++] = (struct pg_arrival){.job = job, .low = low, .high = high};
    pg_inbox_take(rows->inbox, job);
}

static void add_due(struct pg_rows *rows, bool all)
{
    int64_t now_ns = mlq_clock_boot_ns();
    for (const struct store_job *job; (job = pg_inbox_oldest(rows->inbox, now_ns, all)) != NULL;) {
        add_arrival(rows, job, 0, 0);
    }
}

/* Of the facts at the places low to high, which are of this job: do they change its rows, and only as they may?
 * What may not be is left to the updates, which refuse it. */
static bool changes(const struct pg_rows *rows, const struct store_fact *facts, const struct store_job *job,
                    size_t low, size_t high, bool *is_allowed)
{
    bool has_changed = false;
    size_t job_ends = 0;
    *is_allowed = true;
    for (size_t from = low, to; from < high; from = to) {
        size_t stage_ends = 0;
        to = pg_rows_end_of_stage(rows, from, high);
        for (size_t i = from; i < to; i++) {
            enum core_fact_kind kind = facts[rows->places[i].nth].fact.kind;
            job_ends += kind == FACT_JOB_ENDED;
            stage_ends += kind == FACT_STAGE_ENDED;
            has_changed = has_changed || kind == FACT_STARTED || kind == FACT_STAGE_ENDED || kind == FACT_JOB_ENDED ||
                          kind == FACT_JOB_CANCELLED;
        }
        *is_allowed = *is_allowed && stage_ends <= (rows->places[from].stage < job->stage_count ? 1 : 0);
    }
    *is_allowed = *is_allowed && job_ends <= 1;
    return has_changed;
}

/* Jobs of the inbox to which something happens. */
static void add_changed(struct pg_rows *rows, const struct store_fact *facts, size_t count)
{
    struct pg_place *places = rows->places;
    for (size_t low = 0, high; low < count; low = high) {
        bool is_allowed = false;
        for (high = low + 1; high < count && places[high].job == places[low].job;) {
            high++;
        }
        const struct store_job *job = pg_inbox_find(rows->inbox, places[low].job);
        if (job == NULL || !changes(rows, facts, job, low, high, &is_allowed)) {
            continue;
        }
        add_arrival(rows, job, low, is_allowed ? high : low);
        for (size_t i = low; is_allowed && i < high; i++) {
            places[i].is_new = true;
        }
    }
}

/* ---- The interface ----------------------------------------------------------------------------- */

void pg_jobs_put(struct pg_rows *rows, const struct store_batch *in)
{
    put_partitions(rows, in);
    put_keys(rows, in);
    if (pg_inbox_put(rows->inbox, in->jobs, in->job_count, mlq_clock_boot_ns())) {
        put_inbox(rows, in);
    } else {
        add_due(rows, true);
        put_rows(rows, NULL);
    }
}

void pg_jobs_change(struct pg_rows *rows, const struct store_fact *facts, size_t count, bool is_last)
{
    add_changed(rows, facts, count);
    if (is_last) {
        add_due(rows, false);
    }
    put_rows(rows, facts);
    set_stages(rows, facts, count);
    set_jobs(rows, facts, count);
}
