/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/store/pg_rows.h"

#include <inttypes.h>
#include <stdlib.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"
#include "scheduler/store/pg_rows_part.h"
#include "scheduler/store/store_check.h"

#define ROUND_UNKNOWN UINT32_MAX

/* ---- Columns --------------------------------------------------------------------------------- */

void pg_rows_columns(struct pg_rows *rows, const enum pg_type *types, unsigned count)
{
    MLQ_ASSERT(count <= PG_COLUMNS_MAX);
    for (unsigned i = 0; i < count; i++) {
        pg_value_array_begin(&rows->columns[i], types[i]);
    }
}

void pg_rows_statement(struct pg_rows *rows, enum pg_sql_id id, struct pg_param first, unsigned columns)
{
    struct pg_param params[PG_COLUMNS_MAX + 1] = {first};
    unsigned count = first.data == NULL ? 0 : 1;
    for (unsigned i = 0; i < columns; i++) {
        params[count++] = pg_value_array(&rows->columns[i]);
    }
    pg_conn_statement(rows->conn, id, params, count);
    rows->statements++;
}

static void send_plain(struct pg_rows *rows, enum pg_sql_id id)
{
    pg_conn_statement(rows->conn, id, NULL, 0);
    rows->statements++;
}

void pg_rows_add_text(struct pg_array *array, struct mlq_str text)
{
    if (text.len == 0) {
        pg_value_add_null(array);
    } else {
        pg_value_add_text(array, text);
    }
}

void pg_rows_add_unless(struct pg_array *array, int32_t number, int32_t usual)
{
    if (number == usual) {
        pg_value_add_null(array);
    } else {
        pg_value_add_i32(array, number);
    }
}

/* False as NULL: a column of nothing else takes no time. */
static void add_flag(struct pg_array *array, bool flag)
{
    if (flag) {
        pg_value_add_bool(array, true);
    } else {
        pg_value_add_null(array);
    }
}

/* ---- The journal ------------------------------------------------------------------------------
 */

/* Bits of a fact's numbers, as migrations/0002_journal.up.sql says them. */
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

void pg_rows_add_facts(const struct pg_rows *rows, struct pg_array *array,
                       const struct store_fact *facts, size_t low, size_t high, int64_t base_us)
{
    const struct pg_place *places = rows->places;
    for (size_t i = low; i < high; i++) {
        pg_value_add_i64(array, what_of(&facts[places[i].nth].fact));
    }
    for (size_t i = low; i < high; i++) {
        pg_value_add_i64(array, who_of(&facts[places[i].nth].fact));
    }
    for (size_t i = low; i < high; i++) {
        pg_value_add_i64(array, task_of(&facts[places[i].nth].fact, places[i].nth));
    }
    for (size_t i = low; i < high; i++) {
        pg_value_add_i64(array, (int64_t)facts[places[i].nth].fact.attempt);
    }
    for (size_t i = low; i < high; i++) {
        pg_value_add_i64(array, facts[places[i].nth].at_us - base_us);
    }
}

void pg_rows_add_slice(struct pg_array *first, struct pg_array *last, size_t count, size_t more)
{
    pg_value_add_i32(first, (int32_t)(count + 1));
    pg_value_add_i32(last, (int32_t)(count + more));
}

/* By job and stage, and those alike in their order. */
static int compare_places(const void *left, const void *right)
{
    const struct pg_place *a = left;
    const struct pg_place *b = right;
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
        rows->places[i] = (struct pg_place){
            .job = facts[i].fact.job, .stage = facts[i].fact.stage, .nth = (uint32_t)i};
        is_sorted =
            is_sorted && (i == 0 || compare_places(&rows->places[i - 1], &rows->places[i]) < 0);
    }
    if (!is_sorted) {
        qsort(rows->places, count, sizeof *rows->places, compare_places);
    }
}

/* The facts from `low` that are of one job and stage end before this place. */
size_t pg_rows_end_of_stage(const struct pg_rows *rows, size_t low, size_t count)
{
    const struct pg_place *places = rows->places;
    size_t high = low + 1;
    while (high < count && places[high].job == places[low].job &&
           places[high].stage == places[low].stage) {
        high++;
    }
    return high;
}

/* The facts at the places low to high, all of one job and stage: a row of the journal, after
 * `count` facts. */
static void put_row(struct pg_rows *rows, const struct store_fact *facts, const uint32_t *rounds,
                    size_t low, size_t high, size_t count)
{
    struct pg_array *c = rows->columns;
    const struct pg_place *places = rows->places;
    bool has_gpus = false;
    bool has_detail = false;
    uint32_t lowest = UINT32_MAX;
    uint32_t highest = 0;
    for (size_t i = low; i < high; i++) {
        const struct store_fact *row = &facts[places[i].nth];
        char room[STORE_CHECK_DETAIL_BYTES_MAX];
        lowest = row->fact.index < lowest ? row->fact.index : lowest;
        highest = row->fact.index > highest ? row->fact.index : highest;
        has_gpus = has_gpus || row->fact.gpu_mask != 0;
        has_detail = has_detail || row->detail.len > 0;
        pg_value_add_i64(&c[11], (int64_t)row->fact.gpu_mask);
        pg_rows_add_text(&c[12], store_check_detail(row->detail, room));
    }
    pg_value_add_i64(&c[0], (int64_t)places[low].job);
    pg_rows_add_unless(&c[1], (int32_t)places[low].stage, 0);
    pg_rows_add_unless(&c[2], (int32_t)rounds[places[low].nth], 0); /* ROUND_UNKNOWN: -1 */
    pg_value_add_time(&c[3], facts[places[low].nth].at_us);
    pg_rows_add_slice(&c[4], &c[5], count, high - low);
    add_flag(&c[6], has_gpus);
    add_flag(&c[7], has_detail);
    pg_rows_add_unless(&c[8], (int32_t)lowest, 0);
    pg_rows_add_unless(&c[9], (int32_t)highest, 0);
    pg_rows_add_facts(rows, &c[10], facts, low, high, facts[places[low].nth].at_us);
}

static void put_facts(struct pg_rows *rows, const struct store_fact *facts, const uint32_t *rounds,
                      size_t count)
{
    static const enum pg_type types[] = {PG_INT8, PG_INT4, PG_INT4, PG_TIMESTAMPTZ, PG_INT4,
                                         PG_INT4, PG_BOOL, PG_BOOL, PG_INT4,        PG_INT4,
                                         PG_INT8, PG_INT8, PG_TEXT};
    char seq[8];
    size_t put = 0;
    pg_rows_columns(rows, types, MLQ_COUNT_OF(types));
    for (size_t low = 0, high; low < count; low = high) {
        high = pg_rows_end_of_stage(rows, low, count);
        if (!rows->places[low].is_within) {
            put_row(rows, facts, rounds, low, high, put);
            put += high - low;
        }
    }
    if (put > 0) {
        pg_rows_statement(rows, PG_SQL_PUT_FACTS, pg_value_i64((int64_t)rows->seq, seq),
                          MLQ_COUNT_OF(types));
    }
}

/* Facts of jobs that the ledger does not know: the server looks whether they are new. */
static void expect_new(struct pg_rows *rows, const struct store_fact *facts, const uint32_t *rounds,
                       size_t count)
{
    struct pg_array *c = rows->columns;
    pg_rows_columns(rows,
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
        pg_rows_statement(rows, PG_SQL_EXPECT_NEW, PG_NONE, 7);
    }
}

static void put_metrics(struct pg_rows *rows, const struct store_batch *in)
{
    struct pg_array *c = rows->columns;
    pg_rows_columns(rows,
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
    pg_rows_statement(rows, PG_SQL_PUT_METRICS, PG_NONE, 8);
}

static void put_artifacts(struct pg_rows *rows, const struct store_batch *in)
{
    struct pg_array *c = rows->columns;
    pg_rows_columns(rows,
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
    pg_rows_statement(rows, PG_SQL_PUT_ARTIFACTS, PG_NONE, 9);
}

static void put_workers(struct pg_rows *rows, const struct store_batch *in)
{
    struct pg_array *c = rows->columns;
    pg_rows_columns(rows,
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
    pg_rows_statement(rows, PG_SQL_PUT_WORKERS, PG_NONE, 7);
}

/* ---- All of it ----------------------------------------------------------------------------- */

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
            pg_rows_columns(rows, (const enum pg_type[]){PG_INT8}, 1);
            pg_value_add_i64(&rows->columns[0], (int64_t)in->facts[from].fact.job);
            pg_rows_statement(rows, PG_SQL_SET_RETRIED, PG_NONE, 1);
        }
        rows->seq++;
        sort_facts(rows, in->facts + from, to - from);
        pg_jobs_change(rows, in->facts + from, to - from, to == in->fact_count);
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
    rows->inbox = pg_inbox_create();
    return rows;
}

void pg_rows_destroy(struct pg_rows **rows)
{
    if (*rows == NULL) {
        return;
    }
    for (unsigned i = 0; i < PG_COLUMNS_MAX; i++) {
        pg_value_array_fini(&(*rows)->columns[i]);
    }
    ledger_destroy(&(*rows)->ledger);
    pg_inbox_destroy(&(*rows)->inbox);
    mlq_free((*rows)->arrivals);
    mlq_free((*rows)->places);
    mlq_free((*rows)->rounds);
    mlq_free(*rows);
    *rows = NULL;
}

void pg_rows_begin(struct pg_rows *rows, uint32_t epoch)
{
    rows->seq = (uint64_t)epoch << 32;
    rows->low = 0;
    rows->high = 0;
    rows->has_begun = false;
    ledger_clear(rows->ledger);
    pg_inbox_clear(rows->inbox);
}

struct ledger *pg_rows_ledger(struct pg_rows *rows)
{
    return rows->ledger;
}

bool pg_rows_are_whole(const struct pg_rows *rows)
{
    return rows->has_begun && pg_inbox_is_empty(rows->inbox);
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
    struct pg_param mine = pg_value_i64((int64_t)(rows->seq >> 32), epoch);
    rows->statements = 0;
    send_plain(rows, PG_SQL_BEGIN);
    send_plain(rows, PG_SQL_FENCE_SHARED);
    pg_conn_statement(rows->conn, PG_SQL_FENCE, &mine, 1);
    rows->statements++;
    if (!rows->has_begun) {
        rows->has_begun = true;
        send_plain(rows, PG_SQL_EMPTY_INBOX); /* what the leader before left: our memory of it is empty */
    }
    if (in->worker_count > 0) {
        put_workers(rows, in);
    }
    if (in->job_count > 0) {
        pg_jobs_put(rows, in);
    }
    if (in->fact_count > 0) {
        take_facts(rows, in);
    } else {
        pg_jobs_change(rows, NULL, 0, true);
    }
    if (in->metric_count > 0) {
        put_metrics(rows, in);
    }
    if (in->artifact_count > 0) {
        put_artifacts(rows, in);
    }
    send_plain(rows, PG_SQL_COMMIT);
    return rows->statements;
}
