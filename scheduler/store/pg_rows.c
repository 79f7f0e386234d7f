/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/store/pg_rows.h"

#include <inttypes.h>
#include <stdlib.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"
#include "scheduler/store/pg_value.h"
#include "scheduler/store/store_check.h"

#define COLUMNS_MAX   18
#define ROUND_UNKNOWN UINT32_MAX

/* mlq.make_partitions makes the next one too, so this much before the end is ahead of time. */
#define PARTITION_JOBS   INT64_C(100000)
#define PARTITION_MARGIN INT64_C(10000)

struct place { /* of a fact in its run */
    uint64_t job;
    uint32_t stage;
    uint32_t nth;
};

struct pg_rows {
    struct pg_conn *conn;
    struct ledger *ledger;
    uint32_t epoch;
    unsigned statements; /* sent of this batch */
    /* Partitions are known to exist for jobs in [low, high). */
    int64_t low;
    int64_t high;
    struct pg_array columns[COLUMNS_MAX];
    struct place *places; /* of the facts that are being sent, by job and stage */
    size_t place_room;
    uint32_t *rounds; /* of each fact's job, or ROUND_UNKNOWN */
    size_t round_room;
};

/* ---- Columns --------------------------------------------------------------------------------- */

static void begin(struct pg_rows *rows, const enum pg_type *types, unsigned count)
{
    MLQ_ASSERT(count <= COLUMNS_MAX);
    for (unsigned i = 0; i < count; i++) {
        pg_value_array_begin(&rows->columns[i], types[i]);
    }
}

static void send(struct pg_rows *rows, enum pg_sql_id id, unsigned columns)
{
    struct pg_param params[COLUMNS_MAX];
    for (unsigned i = 0; i < columns; i++) {
        params[i] = pg_value_array(&rows->columns[i]);
    }
    pg_conn_statement(rows->conn, id, params, columns);
    rows->statements++;
}

static void send_plain(struct pg_rows *rows, enum pg_sql_id id)
{
    pg_conn_statement(rows->conn, id, NULL, 0);
    rows->statements++;
}

static void add_text_or_null(struct pg_array *array, struct mlq_str text)
{
    if (text.len == 0) {
        pg_value_add_null(array);
    } else {
        pg_value_add_text(array, text);
    }
}

/* ---- What a batch inserts -------------------------------------------------------------------- */

static void put_partitions(struct pg_rows *rows, const struct store_batch *in)
{
    bool is_known = true;
    begin(rows, (const enum pg_type[]){PG_INT8}, 1);
    for (size_t i = 0; i < in->job_count; i++) {
        int64_t id = (int64_t)in->jobs[i].id;
        is_known = is_known && id >= rows->low && id < rows->high - PARTITION_MARGIN;
        pg_value_add_i64(&rows->columns[0], id);
    }
    if (is_known) {
        return;
    }
    send(rows, PG_SQL_PARTITIONS, 1);
    /* Made for the last job: its own range and the next. Ids grow, so that is the one to remember.
     */
    int64_t range = (int64_t)in->jobs[in->job_count - 1].id / PARTITION_JOBS;
    if (range < INT64_MAX / PARTITION_JOBS - 2) {
        rows->low = range * PARTITION_JOBS;
        rows->high = (range + 2) * PARTITION_JOBS;
    }
}

static void put_jobs(struct pg_rows *rows, const struct store_batch *in)
{
    struct pg_array *c = rows->columns;
    bool has_keys = false;
    begin(rows,
          (const enum pg_type[]){PG_INT8, PG_TEXT, PG_TEXT, PG_TEXT, PG_TEXT, PG_TEXT, PG_TEXT,
                                 PG_INT4, PG_TIMESTAMPTZ},
          9);
    for (size_t i = 0; i < in->job_count; i++) {
        const struct store_job *job = &in->jobs[i];
        pg_value_add_i64(&c[0], (int64_t)job->id);
        pg_value_add_text(&c[1], job->name);
        pg_value_add_text(&c[2], job->kind);
        add_text_or_null(&c[3], job->idempotency_key);
        pg_value_add_text(&c[4], job->submitter);
        pg_value_add_text(&c[5], job->spec);
        add_text_or_null(&c[6], job->labels);
        pg_value_add_i32(&c[7], job->priority);
        pg_value_add_time(&c[8], job->submitted_us);
        has_keys = has_keys || job->idempotency_key.len > 0;
    }
    send(rows, PG_SQL_PUT_JOBS, 9);
    if (!has_keys) {
        return;
    }
    begin(rows, (const enum pg_type[]){PG_TEXT, PG_INT8, PG_TIMESTAMPTZ}, 3);
    for (size_t i = 0; i < in->job_count; i++) {
        const struct store_job *job = &in->jobs[i];
        add_text_or_null(&c[0], job->idempotency_key);
        pg_value_add_i64(&c[1], (int64_t)job->id);
        pg_value_add_time(&c[2], job->submitted_us);
    }
    send(rows, PG_SQL_PUT_KEYS, 3);
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

static void put_stages(struct pg_rows *rows, const struct store_batch *in)
{
    char room[CORE_STAGES_PER_JOB_MAX * 6 + 8];
    struct pg_array *c = rows->columns;
    begin(rows,
          (const enum pg_type[]){PG_INT8, PG_INT4, PG_TEXT, PG_TEXT, PG_INT4, PG_INT4, PG_INT4,
                                 PG_TEXT, PG_TEXT},
          9);
    for (size_t i = 0; i < in->job_count; i++) {
        const struct store_job *job = &in->jobs[i];
        for (uint16_t s = 0; s < job->stage_count; s++) {
            const struct store_stage *stage = &job->stages[s];
            pg_value_add_i64(&c[0], (int64_t)job->id);
            pg_value_add_i32(&c[1], s);
            pg_value_add_text(&c[2], stage->name);
            pg_value_add_text(&c[3], stage->uses);
            pg_value_add_i32(&c[4], (int32_t)stage->array_count);
            pg_value_add_i32(&c[5], (int32_t)stage->ranks);
            uint32_t ranks_min = stage->ranks_min > 0 ? stage->ranks_min : stage->ranks;
            pg_value_add_i32(&c[6], (int32_t)ranks_min);
            pg_value_add_text(&c[7], mlq_str_from(store_check_resize_text(stage->resize)));
            pg_value_add_text(&c[8], needs_text(stage, room, sizeof room));
        }
    }
    if (c[0].count > 0) {
        send(rows, PG_SQL_PUT_STAGES, 9);
    }
}

/* ---- The journal ------------------------------------------------------------------------------
 */

/* Bits of the journal's arrays, as migrations/0002_journal.up.sql says them. */
static int64_t what_of(const struct core_fact *fact)
{
    return (int64_t)((uint64_t)fact->kind | (uint64_t)fact->cause << 4 |
                     (uint64_t)fact->state << 9 | (uint64_t)fact->rank << 13 |
                     (uint64_t)fact->ranks << 22 | (uint64_t)(uint32_t)fact->signal << 31);
}

static int64_t who_of(const struct core_fact *fact)
{
    return (int64_t)((uint64_t)fact->worker | (uint64_t)(uint32_t)fact->exit_code << 32);
}

static int64_t task_of(const struct core_fact *fact, size_t nth)
{
    return (int64_t)((uint64_t)fact->index | (uint64_t)nth << 32);
}

/* By job and stage, and those alike in their order. */
static int compare_places(const void *left, const void *right)
{
    const struct place *a = left;
    const struct place *b = right;
    return a->job != b->job       ? (a->job < b->job ? -1 : 1)
           : a->stage != b->stage ? (a->stage < b->stage ? -1 : 1)
                                  : (a->nth > b->nth) - (a->nth < b->nth);
}

static void sort_facts(struct pg_rows *rows, const struct store_fact *facts, size_t count)
{
    bool is_sorted = true;
    if (count > rows->place_room) {
        rows->place_room = count * 2;
        rows->places = mlq_realloc_array(rows->places, rows->place_room, sizeof *rows->places);
    }
    for (size_t i = 0; i < count; i++) {
        rows->places[i] = (struct place){
            .job = facts[i].fact.job, .stage = facts[i].fact.stage, .nth = (uint32_t)i};
        is_sorted =
            is_sorted && (i == 0 || compare_places(&rows->places[i - 1], &rows->places[i]) < 0);
    }
    if (!is_sorted) {
        qsort(rows->places, count, sizeof *rows->places, compare_places);
    }
}

/* The facts from `low` that are of one job and stage end before this place. */
static size_t end_of_stage(const struct pg_rows *rows, size_t low, size_t count)
{
    const struct place *places = rows->places;
    size_t high = low + 1;
    while (high < count && places[high].job == places[low].job &&
           places[high].stage == places[low].stage) {
        high++;
    }
    return high;
}

/* A run of the sorted facts from `low`, all of one job and stage: the row of the journal, without
 * its arrays. */
static size_t put_row(struct pg_rows *rows, const struct store_fact *facts, const uint32_t *rounds,
                      size_t low, size_t count)
{
    struct pg_array *c = rows->columns;
    const struct place *places = rows->places;
    size_t high = end_of_stage(rows, low, count);
    bool has_gpus = false;
    bool has_detail = false;
    uint32_t lowest = UINT32_MAX;
    uint32_t highest = 0;
    for (size_t i = low; i < high; i++) {
        uint32_t index = facts[places[i].nth].fact.index;
        lowest = index < lowest ? index : lowest;
        highest = index > highest ? index : highest;
        has_gpus = has_gpus || facts[places[i].nth].fact.gpu_mask != 0;
        has_detail = has_detail || facts[places[i].nth].detail.len > 0;
    }
    pg_value_add_i64(&c[0], (int64_t)places[low].job);
    pg_value_add_i32(&c[1], (int32_t)places[low].stage);
    if (rounds[places[low].nth] == ROUND_UNKNOWN) {
        pg_value_add_null(&c[2]);
    } else {
        pg_value_add_i32(&c[2], (int32_t)rounds[places[low].nth]);
    }
    pg_value_add_time(&c[3], facts[places[low].nth].at_us);
    pg_value_add_i32(&c[4], (int32_t)low + 1);
    pg_value_add_i32(&c[5], (int32_t)high);
    pg_value_add_bool(&c[6], has_gpus);
    pg_value_add_bool(&c[7], has_detail);
    pg_value_add_i32(&c[15], (int32_t)lowest);
    pg_value_add_i32(&c[16], (int32_t)highest);
    return high;
}

static void put_facts(struct pg_rows *rows, const struct store_fact *facts, const uint32_t *rounds,
                      size_t count)
{
    static const enum pg_type types[] = {PG_INT8, PG_INT4, PG_INT4, PG_TIMESTAMPTZ, PG_INT4,
                                         PG_INT4, PG_BOOL, PG_BOOL, PG_INT8,        PG_INT8,
                                         PG_INT8, PG_INT8, PG_INT8, PG_INT8,        PG_TEXT,
                                         PG_INT4, PG_INT4};
    struct pg_array *c = rows->columns;
    int64_t first_us = 0;
    begin(rows, types, MLQ_COUNT_OF(types));
    for (size_t i = 0, end = 0; i < count; i++) {
        const struct store_fact *row = &facts[rows->places[i].nth];
        char room[STORE_CHECK_DETAIL_BYTES_MAX];
        if (i == end) {
            end = put_row(rows, facts, rounds, i, count);
            first_us = row->at_us;
        }
        pg_value_add_i64(&c[8], what_of(&row->fact));
        pg_value_add_i64(&c[9], who_of(&row->fact));
        pg_value_add_i64(&c[10], task_of(&row->fact, rows->places[i].nth));
        pg_value_add_i64(&c[11], (int64_t)row->fact.attempt);
        pg_value_add_i64(&c[12], row->at_us - first_us);
        pg_value_add_i64(&c[13], (int64_t)row->fact.gpu_mask);
        add_text_or_null(&c[14], store_check_detail(row->detail, room));
    }
    struct pg_param params[COLUMNS_MAX];
    char epoch[8];
    params[0] = pg_value_i64(rows->epoch, epoch);
    for (unsigned i = 0; i < MLQ_COUNT_OF(types); i++) {
        params[i + 1] = pg_value_array(&c[i]);
    }
    pg_conn_statement(rows->conn, PG_SQL_PUT_FACTS, params, MLQ_COUNT_OF(types) + 1);
    rows->statements++;
}

/* Facts of jobs that the ledger does not know: the server looks whether they are new. */
static void expect_new(struct pg_rows *rows, const struct store_fact *facts, const uint32_t *rounds,
                       size_t count)
{
    struct pg_array *c = rows->columns;
    begin(rows,
          (const enum pg_type[]){PG_INT8, PG_INT4, PG_INT4, PG_INT8, PG_INT4, PG_TEXT, PG_TEXT}, 7);
    for (size_t i = 0; i < count; i++) {
        const struct core_fact *fact = &facts[i].fact;
        if (rounds[i] == ROUND_UNKNOWN) {
            pg_value_add_i64(&c[0], (int64_t)fact->job);
            pg_value_add_i32(&c[1], (int32_t)fact->stage);
            pg_value_add_i32(&c[2], (int32_t)fact->index);
            pg_value_add_i64(&c[3], (int64_t)fact->attempt);
            pg_value_add_i32(&c[4], (int32_t)fact->rank);
            pg_value_add_text(&c[5], mlq_str_from(store_check_kind_text(fact->kind)));
            pg_value_add_text(&c[6], mlq_str_from(store_check_cause_text(fact->cause)));
        }
    }
    if (c[0].count > 0) {
        send(rows, PG_SQL_EXPECT_NEW, 7);
    }
}

static void put_metrics(struct pg_rows *rows, const struct store_batch *in)
{
    struct pg_array *c = rows->columns;
    begin(rows,
          (const enum pg_type[]){PG_INT8, PG_INT8, PG_INT8, PG_FLOAT8, PG_TIMESTAMPTZ, PG_INT4,
                                 PG_INT4, PG_TEXT},
          8);
    for (size_t i = 0; i < in->metric_count; i++) {
        const struct store_metric *metric = &in->metrics[i];
        pg_value_add_i64(&c[0], (int64_t)metric->job);
        pg_value_add_i64(&c[1], (int64_t)metric->attempt);
        if (metric->step == INT64_MIN) {
            pg_value_add_null(&c[2]);
        } else {
            pg_value_add_i64(&c[2], metric->step);
        }
        pg_value_add_f64(&c[3], metric->value);
        pg_value_add_time(&c[4], metric->at_us);
        pg_value_add_i32(&c[5], (int32_t)metric->stage);
        pg_value_add_i32(&c[6], (int32_t)metric->index);
        pg_value_add_text(&c[7], metric->name);
    }
    send(rows, PG_SQL_PUT_METRICS, 8);
}

static void put_artifacts(struct pg_rows *rows, const struct store_batch *in)
{
    struct pg_array *c = rows->columns;
    begin(rows,
          (const enum pg_type[]){PG_INT8, PG_INT8, PG_INT8, PG_INT4, PG_INT4, PG_INT4, PG_BOOL,
                                 PG_TEXT, PG_TEXT},
          9);
    for (size_t i = 0; i < in->artifact_count; i++) {
        const struct store_artifact *artifact = &in->artifacts[i];
        pg_value_add_i64(&c[0], (int64_t)artifact->job);
        pg_value_add_i64(&c[1], (int64_t)artifact->attempt);
        pg_value_add_i64(&c[2], (int64_t)artifact->bytes);
        pg_value_add_i32(&c[3], (int32_t)artifact->stage);
        pg_value_add_i32(&c[4], (int32_t)artifact->index);
        pg_value_add_i32(&c[5], (int32_t)artifact->rank);
        pg_value_add_bool(&c[6], artifact->is_tree);
        pg_value_add_text(&c[7], artifact->name);
        pg_value_add_text(&c[8], artifact->digest);
    }
    send(rows, PG_SQL_PUT_ARTIFACTS, 9);
}

static void put_workers(struct pg_rows *rows, const struct store_batch *in)
{
    struct pg_array *c = rows->columns;
    begin(rows,
          (const enum pg_type[]){PG_INT8, PG_TEXT, PG_TEXT, PG_INT8, PG_INT8, PG_INT4,
                                 PG_TIMESTAMPTZ},
          7);
    for (size_t i = 0; i < in->worker_count; i++) {
        const struct store_worker *worker = &in->workers[i];
        pg_value_add_i64(&c[0], worker->id);
        pg_value_add_text(&c[1], worker->name);
        pg_value_add_text(&c[2], worker->public_key);
        pg_value_add_i64(&c[3], worker->cpu_milli);
        pg_value_add_i64(&c[4], worker->mem_bytes);
        pg_value_add_i32(&c[5], worker->gpus);
        pg_value_add_time(&c[6], worker->seen_us);
    }
    send(rows, PG_SQL_PUT_WORKERS, 7);
}

/* ---- What facts change in the rows of their jobs and stages -----------------------------------
 */

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
    add_text_or_null(state,
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

static void send_changes(struct pg_rows *rows, enum pg_sql_id id, size_t ends)
{
    char room[8];
    struct pg_param params[6] = {pg_value_i64((int64_t)ends, room)};
    if (rows->columns[0].count == 0) {
        return;
    }
    for (unsigned i = 0; i < 5; i++) {
        params[i + 1] = pg_value_array(&rows->columns[i]);
    }
    pg_conn_statement(rows->conn, id, params, 6);
    rows->statements++;
}

static void set_stages(struct pg_rows *rows, const struct store_fact *facts, size_t count)
{
    struct pg_array *c = rows->columns;
    size_t ends = 0;
    begin(rows, (const enum pg_type[]){PG_INT8, PG_INT4, PG_TEXT, PG_TIMESTAMPTZ, PG_TIMESTAMPTZ},
          5);
    for (size_t low = 0, high; low < count; low = high) {
        high = end_of_stage(rows, low, count);
        struct change change = change_of(rows, facts, low, high, FACT_STAGE_ENDED);
        if (change.ends > 0 || change.began_us >= 0) {
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
    begin(rows, (const enum pg_type[]){PG_INT8, PG_TEXT, PG_TEXT, PG_TIMESTAMPTZ, PG_TIMESTAMPTZ},
          5);
    for (size_t low = 0, high; low < count; low = high) {
        high = low + 1;
        while (high < count && rows->places[high].job == rows->places[low].job) {
            high++;
        }
        struct change change = change_of(rows, facts, low, high, FACT_JOB_ENDED);
        bool is_cancelled = change.cause != CAUSE_NONE;
        if (change.ends > 0 || change.began_us >= 0 || is_cancelled) {
            pg_value_add_i64(&c[0], (int64_t)rows->places[low].job);
            add_text_or_null(
                &c[2], mlq_str_from(is_cancelled ? store_check_cause_text(change.cause) : ""));
            add_change(&c[1], &c[3], &c[4], &change);
            ends += change.ends;
        }
    }
    send_changes(rows, PG_SQL_SET_JOBS, ends);
}

/* A retry undoes what came before it and not what comes after, and begins a new round, so the facts
 * are taken in runs that each begin with one. */
static void take_facts(struct pg_rows *rows, const struct store_batch *in)
{
    size_t from = 0;
    while (from < in->fact_count) {
        size_t to = from + 1;
        while (to < in->fact_count && in->facts[to].fact.kind != FACT_JOB_RETRIED) {
            to++;
        }
        if (in->facts[from].fact.kind == FACT_JOB_RETRIED) {
            begin(rows, (const enum pg_type[]){PG_INT8}, 1);
            pg_value_add_i64(&rows->columns[0], (int64_t)in->facts[from].fact.job);
            send(rows, PG_SQL_SET_RETRIED, 1);
        }
        sort_facts(rows, in->facts + from, to - from);
        set_stages(rows, in->facts + from, to - from);
        set_jobs(rows, in->facts + from, to - from);
        expect_new(rows, in->facts + from, rows->rounds + from, to - from);
        put_facts(rows, in->facts + from, rows->rounds + from, to - from);
        from = to;
    }
}

/* ---- The interface --------------------------------------------------------------------------- */

struct pg_rows *pg_rows_create(struct pg_conn *conn)
{
    struct pg_rows *rows = mlq_alloc(sizeof *rows);
    rows->conn = conn;
    rows->ledger = ledger_create();
    return rows;
}

void pg_rows_destroy(struct pg_rows **rows)
{
    if (*rows == NULL) {
        return;
    }
    for (unsigned i = 0; i < COLUMNS_MAX; i++) {
        pg_value_array_fini(&(*rows)->columns[i]);
    }
    ledger_destroy(&(*rows)->ledger);
    mlq_free((*rows)->places);
    mlq_free((*rows)->rounds);
    mlq_free(*rows);
    *rows = NULL;
}

void pg_rows_begin(struct pg_rows *rows, uint32_t epoch)
{
    rows->epoch = epoch;
    rows->low = 0;
    rows->high = 0;
    ledger_clear(rows->ledger);
}

struct ledger *pg_rows_ledger(struct pg_rows *rows)
{
    return rows->ledger;
}

int pg_rows_check(struct pg_rows *rows, const struct store_batch *in, struct mlq_err *err)
{
    if (in->fact_count > rows->round_room) {
        rows->round_room = in->fact_count * 2;
        rows->rounds = mlq_realloc_array(rows->rounds, rows->round_room, sizeof *rows->rounds);
    }
    for (size_t i = 0; i < in->job_count; i++) {
        ledger_put_job(rows->ledger, &in->jobs[i]);
    }
    for (size_t i = 0; i < in->fact_count; i++) {
        const struct core_fact *fact = &in->facts[i].fact;
        rows->rounds[i] = ROUND_UNKNOWN;
        if (ledger_put_fact(rows->ledger, fact, &rows->rounds[i]) == LEDGER_REPEATED) {
            return mlq_fail(err, MLQ_EEXIST,
                            "job %" PRIu64 ", attempt %" PRIu64 ", rank %" PRIu32
                            ": it was recorded before that this one %s",
                            fact->job, fact->attempt, fact->rank,
                            store_check_kind_text(fact->kind));
        }
    }
    return MLQ_OK;
}

unsigned pg_rows_send(struct pg_rows *rows, const struct store_batch *in)
{
    char epoch[8];
    struct pg_param mine = pg_value_i64(rows->epoch, epoch);
    rows->statements = 0;
    send_plain(rows, PG_SQL_BEGIN);
    send_plain(rows, PG_SQL_FENCE_SHARED);
    pg_conn_statement(rows->conn, PG_SQL_FENCE, &mine, 1);
    rows->statements++;
    if (in->worker_count > 0) {
        put_workers(rows, in);
    }
    if (in->job_count > 0) {
        put_partitions(rows, in);
        put_jobs(rows, in);
        put_stages(rows, in);
    }
    take_facts(rows, in);
    if (in->metric_count > 0) {
        put_metrics(rows, in);
    }
    if (in->artifact_count > 0) {
        put_artifacts(rows, in);
    }
    send_plain(rows, PG_SQL_COMMIT);
    return rows->statements;
}
