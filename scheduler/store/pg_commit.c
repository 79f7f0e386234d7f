/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The contract is in pg_commit.h. Values are checked by store_check.c before anything is sent: what
 * the server would refuse costs the leadership.
 */
#include "scheduler/store/pg_commit.h"

#include <inttypes.h>
#include <string.h>

#include "lib/base/list.h"
#include "lib/base/panic.h"
#include "lib/sys/mem.h"
#include "scheduler/store/store_check.h"
#include "scheduler/store/pg_value.h"

#define COLUMNS_MAX 19

/* mlq.make_partitions makes the next one too, so this much before the end is ahead of time. */
#define PARTITION_JOBS   INT64_C(100000)
#define PARTITION_MARGIN INT64_C(10000)

struct pg_commit {
    struct pg_conn *journal;
    struct pg_commit_events events;
    struct pg_timer *timer; /* answers refused batches that nothing in flight is ahead of */
    uint32_t epoch;         /* 0: none */
    struct mlq_list queue;  /* struct batch: in flight or refused, oldest first */
    size_t in_flight_count;
    bool is_closed;  /* a batch was refused: none after it may be sent */
    bool has_failed; /* one was answered with a failure */
    struct mlq_err cause;
    /* Partitions are known to exist for jobs in [low, high). */
    int64_t low;
    int64_t high;
    struct pg_array columns[COLUMNS_MAX];
};

struct batch {
    struct mlq_list node;
    struct pg_commit *commit;
    store_commit_cb cb;
    void *context;
    unsigned statements;
    bool is_committed; /* the server said COMMIT */
    bool is_refused;   /* nothing was sent; the reason is in rc and err */
    int rc;
    struct mlq_err err;
};

/* ---- Answers --------------------------------------------------------------------------------- */

static void on_result(void *context, unsigned statement, const PGresult *result)
{
    struct batch *batch = context;
    if (statement + 1 == batch->statements) {
        /* A COMMIT in a failed transaction succeeds too, with the tag ROLLBACK. */
        batch->is_committed = strcmp(PQcmdStatus((PGresult *)(uintptr_t)result), "COMMIT") == 0;
    }
}

/* What the caller is told about a batch that was sent and not committed. */
static int reason(const struct pg_commit *commit, int rc, const char *sqlstate,
                  const struct mlq_err *cause, struct mlq_err *err)
{
    if (rc == MLQ_ECONN) {
        return mlq_fail(err, MLQ_EUNKNOWN, "a commit was sent and its outcome is not known: %s",
                        cause->text);
    }
    if (strcmp(sqlstate, "MLQ01") == 0) {
        return mlq_fail(err, MLQ_EFENCED, "%s", cause->text);
    }
    if (commit->has_failed) {
        int code = commit->cause.code == MLQ_EFENCED ? MLQ_EFENCED : MLQ_ECANCELED;
        return mlq_fail(err, code, "an earlier commit failed: %s", commit->cause.text);
    }
    if (strcmp(sqlstate, "23505") == 0) {
        return mlq_fail(err, MLQ_EEXIST, "%s", cause->text);
    }
    return mlq_fail(err, MLQ_EDB, "%s",
                    rc == MLQ_OK ? "the transaction was rolled back" : cause->text);
}

static void finish(struct pg_commit *commit, struct batch *batch, int rc, const struct mlq_err *err)
{
    struct mlq_err copy = *err;
    struct batch done = *batch;
    mlq_list_remove(&batch->node);
    commit->in_flight_count -= batch->is_refused ? 0 : 1;
    mlq_free(batch);
    if (rc != MLQ_OK && !commit->has_failed) {
        commit->has_failed = true;
        commit->cause = copy;
    }
    done.cb(done.context, rc, &copy);
}

/* Refused batches whose turn has come; then what follows from an empty queue. */
static void pump(struct pg_commit *commit)
{
    while (!mlq_list_empty(&commit->queue)) {
        struct batch *batch = MLQ_CONTAINER_OF(commit->queue.next, struct batch, node);
        if (!batch->is_refused) {
            return;
        }
        struct mlq_err err = batch->err;
        finish(commit, batch, batch->rc, &err);
    }
    if (commit->has_failed && commit->epoch != 0) {
        commit->epoch = 0;
        commit->events.failed(commit->events.context, &commit->cause);
    } else {
        commit->events.drained(commit->events.context);
    }
}

static void on_timer(void *context)
{
    pump(context);
}

static void on_end(void *context, int rc, const char *sqlstate, const struct mlq_err *cause)
{
    struct batch *batch = context;
    struct pg_commit *commit = batch->commit;
    struct mlq_err err = MLQ_ERR_INIT;
    rc = batch->is_committed ? MLQ_OK : reason(commit, rc, sqlstate, cause, &err);
    finish(commit, batch, rc, &err);
    pump(commit);
}

/* ---- Columns --------------------------------------------------------------------------------- */

static void begin(struct pg_commit *commit, const enum pg_type *types, unsigned count)
{
    MLQ_ASSERT(count <= COLUMNS_MAX);
    for (unsigned i = 0; i < count; i++) {
        pg_value_array_begin(&commit->columns[i], types[i]);
    }
}

static void send(struct pg_commit *commit, struct batch *batch, enum pg_sql_id id, unsigned columns)
{
    struct pg_param params[COLUMNS_MAX];
    for (unsigned i = 0; i < columns; i++) {
        params[i] = pg_value_array(&commit->columns[i]);
    }
    pg_conn_statement(commit->journal, id, params, columns);
    batch->statements++;
}

static void send_plain(struct pg_commit *commit, struct batch *batch, enum pg_sql_id id)
{
    pg_conn_statement(commit->journal, id, NULL, 0);
    batch->statements++;
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

static void put_partitions(struct pg_commit *commit, struct batch *batch,
                           const struct store_batch *in)
{
    bool is_known = true;
    begin(commit, (const enum pg_type[]){PG_INT8}, 1);
    for (size_t i = 0; i < in->job_count; i++) {
        int64_t id = (int64_t)in->jobs[i].id;
        is_known = is_known && id >= commit->low && id < commit->high - PARTITION_MARGIN;
        pg_value_add_i64(&commit->columns[0], id);
    }
    if (is_known) {
        return;
    }
    send(commit, batch, PG_SQL_PARTITIONS, 1);
    /* Made for the last job: its own range and the next. Ids grow, so that is the one to remember.
     */
    int64_t range = (int64_t)in->jobs[in->job_count - 1].id / PARTITION_JOBS;
    if (range < INT64_MAX / PARTITION_JOBS - 2) {
        commit->low = range * PARTITION_JOBS;
        commit->high = (range + 2) * PARTITION_JOBS;
    }
}

static void put_jobs(struct pg_commit *commit, struct batch *batch, const struct store_batch *in)
{
    struct pg_array *c = commit->columns;
    bool has_keys = false;
    begin(commit,
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
    send(commit, batch, PG_SQL_PUT_JOBS, 9);
    if (!has_keys) {
        return;
    }
    begin(commit, (const enum pg_type[]){PG_TEXT, PG_INT8, PG_TIMESTAMPTZ}, 3);
    for (size_t i = 0; i < in->job_count; i++) {
        const struct store_job *job = &in->jobs[i];
        add_text_or_null(&c[0], job->idempotency_key);
        pg_value_add_i64(&c[1], (int64_t)job->id);
        pg_value_add_time(&c[2], job->submitted_us);
    }
    send(commit, batch, PG_SQL_PUT_KEYS, 3);
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

static void put_stages(struct pg_commit *commit, struct batch *batch, const struct store_batch *in)
{
    char room[CORE_STAGES_PER_JOB_MAX * 6 + 8];
    struct pg_array *c = commit->columns;
    begin(commit,
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
        send(commit, batch, PG_SQL_PUT_STAGES, 9);
    }
}

/* Neighbours are mostly of one stage: its place in the arrays of stages that are looked up. */
static int32_t place_of(struct pg_array *job, struct pg_array *stage, const struct core_fact *fact,
                        const struct core_fact *before)
{
    if (before == NULL || before->job != fact->job || before->stage != fact->stage) {
        pg_value_add_i64(job, (int64_t)fact->job);
        pg_value_add_i32(stage, (int32_t)fact->stage);
    }
    return (int32_t)job->count;
}

static void put_facts(struct pg_commit *commit, struct batch *batch, const struct store_fact *facts,
                      size_t from, size_t to)
{
    static const enum pg_type types[] = {PG_INT8, PG_TIMESTAMPTZ, PG_INT8, PG_INT8, PG_INT8, PG_INT4,
                                         PG_INT4, PG_INT4,        PG_INT4, PG_INT4, PG_INT4, PG_TEXT,
                                         PG_TEXT, PG_TEXT,        PG_TEXT, PG_INT4, PG_INT8, PG_INT4};
    struct pg_array *c = commit->columns;
    begin(commit, types, MLQ_COUNT_OF(types));
    for (size_t i = from; i < to; i++) {
        const struct core_fact *fact = &facts[i].fact;
        char room[STORE_CHECK_DETAIL_BYTES_MAX];
        pg_value_add_i64(&c[0], (int64_t)fact->job);
        pg_value_add_time(&c[1], facts[i].at_us);
        pg_value_add_i64(&c[2], (int64_t)fact->attempt);
        pg_value_add_i64(&c[3], (int64_t)fact->gpu_mask);
        pg_value_add_i64(&c[4], fact->worker);
        pg_value_add_i32(&c[5], (int32_t)fact->stage);
        pg_value_add_i32(&c[6], (int32_t)fact->index);
        pg_value_add_i32(&c[7], (int32_t)fact->rank);
        pg_value_add_i32(&c[8], (int32_t)fact->ranks);
        pg_value_add_i32(&c[9], fact->exit_code);
        pg_value_add_i32(&c[10], fact->signal);
        pg_value_add_text(&c[11], mlq_str_from(store_check_kind_text(fact->kind)));
        pg_value_add_text(&c[12], mlq_str_from(store_check_cause_text(fact->cause)));
        pg_value_add_text(&c[13], mlq_str_from(store_check_state_text(fact->state)));
        add_text_or_null(&c[14], store_check_detail(facts[i].detail, room));
        pg_value_add_i32(&c[15], place_of(&c[16], &c[17], fact, i == from ? NULL : &facts[i - 1].fact));
    }
    struct pg_param params[COLUMNS_MAX];
    char epoch[8];
    params[0] = pg_value_i64(commit->epoch, epoch);
    for (unsigned i = 0; i < MLQ_COUNT_OF(types); i++) {
        params[i + 1] = pg_value_array(&c[i]);
    }
    pg_conn_statement(commit->journal, PG_SQL_PUT_FACTS, params, MLQ_COUNT_OF(types) + 1);
    batch->statements++;
}

static void put_metrics(struct pg_commit *commit, struct batch *batch, const struct store_batch *in)
{
    struct pg_array *c = commit->columns;
    begin(commit,
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
    send(commit, batch, PG_SQL_PUT_METRICS, 8);
}

static void put_artifacts(struct pg_commit *commit, struct batch *batch,
                          const struct store_batch *in)
{
    struct pg_array *c = commit->columns;
    begin(commit,
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
    send(commit, batch, PG_SQL_PUT_ARTIFACTS, 9);
}

static void put_workers(struct pg_commit *commit, struct batch *batch, const struct store_batch *in)
{
    struct pg_array *c = commit->columns;
    begin(commit,
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
    send(commit, batch, PG_SQL_PUT_WORKERS, 7);
}

/* ---- What facts change in the rows of their jobs and stages -----------------------------------
 */

/* The first start counts, and tasks of one stage mostly start together. */
static bool is_start(const struct store_fact *facts, size_t from, size_t at)
{
    const struct core_fact *fact = &facts[at].fact;
    const struct core_fact *before = at == from ? NULL : &facts[at - 1].fact;
    return fact->kind == FACT_STARTED && (before == NULL || before->kind != FACT_STARTED ||
                                          before->job != fact->job || before->stage != fact->stage);
}

static void set_stages(struct pg_commit *commit, struct batch *batch, const struct store_fact *facts,
                       size_t from, size_t to)
{
    struct pg_array *c = commit->columns;
    begin(commit, (const enum pg_type[]){PG_INT8, PG_INT4, PG_TEXT, PG_TIMESTAMPTZ}, 4);
    for (size_t i = from; i < to; i++) {
        const struct core_fact *fact = &facts[i].fact;
        bool has_ended = fact->kind == FACT_STAGE_ENDED;
        if (has_ended || is_start(facts, from, i)) {
            pg_value_add_i64(&c[0], (int64_t)fact->job);
            pg_value_add_i32(&c[1], (int32_t)fact->stage);
            add_text_or_null(&c[2], mlq_str_from(has_ended ? store_check_state_text(fact->state) : ""));
            pg_value_add_time(&c[3], facts[i].at_us);
        }
    }
    if (c[0].count > 0) {
        send(commit, batch, PG_SQL_SET_STAGES, 4);
    }
}

static void set_jobs(struct pg_commit *commit, struct batch *batch, const struct store_fact *facts,
                     size_t from, size_t to)
{
    struct pg_array *c = commit->columns;
    begin(commit, (const enum pg_type[]){PG_INT8, PG_TEXT, PG_TEXT, PG_TIMESTAMPTZ}, 4);
    for (size_t i = from; i < to; i++) {
        const struct core_fact *fact = &facts[i].fact;
        bool has_ended = fact->kind == FACT_JOB_ENDED;
        bool is_cancelled = fact->kind == FACT_JOB_CANCELLED;
        if (has_ended || is_cancelled || is_start(facts, from, i)) {
            pg_value_add_i64(&c[0], (int64_t)fact->job);
            add_text_or_null(&c[1], mlq_str_from(has_ended ? store_check_state_text(fact->state) : ""));
            add_text_or_null(&c[2], mlq_str_from(is_cancelled ? store_check_cause_text(fact->cause) : ""));
            pg_value_add_time(&c[3], facts[i].at_us);
        }
    }
    if (c[0].count > 0) {
        send(commit, batch, PG_SQL_SET_JOBS, 4);
    }
}

/* A retry undoes what came before it and not what comes after, and begins a new round, so the facts
 * are taken in runs that each begin with one. */
static void take_facts(struct pg_commit *commit, struct batch *batch, const struct store_batch *in)
{
    size_t from = 0;
    while (from < in->fact_count) {
        size_t to = from + 1;
        while (to < in->fact_count && in->facts[to].fact.kind != FACT_JOB_RETRIED) {
            to++;
        }
        if (in->facts[from].fact.kind == FACT_JOB_RETRIED) {
            begin(commit, (const enum pg_type[]){PG_INT8}, 1);
            pg_value_add_i64(&commit->columns[0], (int64_t)in->facts[from].fact.job);
            send(commit, batch, PG_SQL_SET_RETRIED, 1);
        }
        set_stages(commit, batch, in->facts, from, to);
        set_jobs(commit, batch, in->facts, from, to);
        put_facts(commit, batch, in->facts, from, to);
        from = to;
    }
}

static void send_batch(struct pg_commit *commit, struct batch *batch, const struct store_batch *in)
{
    char epoch[8];
    struct pg_param mine = pg_value_i64(commit->epoch, epoch);
    send_plain(commit, batch, PG_SQL_BEGIN);
    send_plain(commit, batch, PG_SQL_FENCE_SHARED);
    pg_conn_statement(commit->journal, PG_SQL_FENCE, &mine, 1);
    batch->statements++;
    if (in->worker_count > 0) {
        put_workers(commit, batch, in);
    }
    if (in->job_count > 0) {
        put_partitions(commit, batch, in);
        put_jobs(commit, batch, in);
        put_stages(commit, batch, in);
    }
    take_facts(commit, batch, in);
    if (in->metric_count > 0) {
        put_metrics(commit, batch, in);
    }
    if (in->artifact_count > 0) {
        put_artifacts(commit, batch, in);
    }
    send_plain(commit, batch, PG_SQL_COMMIT);
}

/* ---- The interface --------------------------------------------------------------------------- */

struct pg_commit *pg_commit_create(struct uv_loop_s *loop, struct pg_conn *journal,
                                   const struct pg_commit_events *events)
{
    struct pg_commit *commit = mlq_alloc(sizeof *commit);
    commit->journal = journal;
    commit->events = *events;
    commit->timer = pg_conn_timer_create(loop, on_timer, commit);
    mlq_list_init(&commit->queue);
    return commit;
}

void pg_commit_destroy(struct pg_commit *commit, void (*closed)(void *context), void *context)
{
    struct pg_timer *timer = commit->timer;
    for (struct mlq_list *node; (node = mlq_list_pop_front(&commit->queue)) != NULL;) {
        mlq_free(MLQ_CONTAINER_OF(node, struct batch, node));
    }
    for (unsigned i = 0; i < COLUMNS_MAX; i++) {
        pg_value_array_fini(&commit->columns[i]);
    }
    mlq_free(commit);
    pg_conn_timer_destroy(timer, closed, context);
}

void pg_commit_begin(struct pg_commit *commit, uint32_t epoch)
{
    MLQ_ASSERT(epoch != 0 && commit->in_flight_count == 0);
    commit->epoch = epoch;
    commit->is_closed = false;
    commit->has_failed = false;
    commit->low = 0;
    commit->high = 0;
}

void pg_commit_end(struct pg_commit *commit)
{
    commit->epoch = 0;
}

void pg_commit_abandon(struct pg_commit *commit, const struct mlq_err *cause)
{
    commit->epoch = 0;
    /* Only what is there now: answers may bring new ones, which are refused later. */
    while (commit->in_flight_count > 0) {
        struct batch *batch = MLQ_CONTAINER_OF(commit->queue.next, struct batch, node);
        struct mlq_err err = batch->err;
        int rc = batch->rc;
        if (!batch->is_refused) {
            rc = batch->is_committed ? MLQ_OK : reason(commit, MLQ_ECONN, "", cause, &err);
        }
        finish(commit, batch, rc, &err);
    }
}

bool pg_commit_is_idle(const struct pg_commit *commit)
{
    return mlq_list_empty(&commit->queue);
}

static int may_send(struct pg_commit *commit, const struct store_batch *in, struct mlq_err *err)
{
    if (commit->epoch == 0 || commit->is_closed || commit->has_failed) {
        return mlq_fail(err, MLQ_EFENCED, "not the leader: nothing was written");
    }
    if (commit->in_flight_count >= STORE_BATCHES_MAX) {
        return mlq_fail(err, MLQ_EFULL, "%d batches are in flight: wait for an answer",
                        STORE_BATCHES_MAX);
    }
    return store_check_batch(in, err);
}

void pg_commit_put(struct pg_commit *commit, const struct store_batch *in, store_commit_cb cb,
                   void *context)
{
    struct batch *batch = mlq_alloc(sizeof *batch);
    batch->commit = commit;
    batch->cb = cb;
    batch->context = context;
    mlq_list_init(&batch->node);
    mlq_list_push_back(&commit->queue, &batch->node);
    struct pg_answer answer = {.context = batch, .result = on_result, .end = on_end};
    batch->rc = may_send(commit, in, &batch->err);
    if (batch->rc == MLQ_OK && !pg_conn_begin(commit->journal, &answer, false)) {
        batch->rc = mlq_fail(&batch->err, MLQ_ECONN, "the journal's connection is down");
    }
    if (batch->rc != MLQ_OK) {
        batch->is_refused = true;
        commit->is_closed = true;
        pg_conn_timer_set(commit->timer, 0);
        return;
    }
    commit->in_flight_count++;
    send_batch(commit, batch, in);
    pg_conn_end(commit->journal);
}
