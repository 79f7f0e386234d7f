/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Rows are only appended; what else is known of a job (ended, its round) and the indexes follow
 * from the rows. So a batch that fails half way is undone by cutting the arrays and deriving all
 * that again.
 */
#include "scheduler/store/store_mem_record.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/clock.h"
#include "lib/sys/mem.h"
#include "lib/sys/region.h"
#include "scheduler/store/store_check.h"

#define LEASE_DEFAULT_NS (6 * MLQ_NS_PER_S)

struct job_row {
    struct store_job job;
    uint32_t retries;
    bool has_ended;
    bool *stage_ended;  /* per stage */
    bool *stage_failed; /* ended, and not well */
};

struct fact_row {
    struct store_fact row;
    uint32_t round;
    bool is_sole; /* the success of a task of one rank */
};

/* Finds rows by a key that `same` compares: open addressing, a row's number + 1 in each used slot.
 */
struct index {
    uint32_t *slots;
    size_t slot_count; /* a power of two */
    size_t used;
};

enum index_of { BY_ID, BY_KEY, BY_ATTEMPT, BY_SUCCESS, BY_NAME, INDEX_COUNT };

struct store_mem_rows {
    struct mlq_region *region; /* all texts and arrays of rows; those of undone rows stay too */
    struct job_row *jobs;
    size_t job_count;
    struct fact_row *facts;
    size_t fact_count;
    struct store_metric *metrics;
    size_t metric_count;
    struct store_artifact *artifacts;
    size_t artifact_count;
    struct store_worker *workers; /* by id */
    size_t worker_count;
    struct index indexes[INDEX_COUNT];
};

/* Room for one more element of an array that grows by doubling. */
#define PUSH(array, count)                                                                         \
    do {                                                                                           \
        if (((count) & ((count)-1)) == 0) {                                                        \
            (array) = mlq_realloc_array((array), (count) == 0 ? 1 : (count)*2, sizeof *(array));   \
        }                                                                                          \
    } while (0)

/* ---- Indexes --------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

static uint64_t mix_text(uint64_t hash, struct mlq_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        hash = mix(hash, (unsigned char)text.ptr[i]);
    }
    return hash;
}

static uint64_t hash_fact(uint64_t hash, const struct core_fact *fact)
{
    return mix(mix(mix(hash, fact->job), fact->attempt), fact->rank);
}

static uint64_t hash_of(const struct store_mem_rows *rows, enum index_of which, size_t number)
{
    switch (which) {
    case BY_ID:
        return mix(0, rows->jobs[number].job.id);
    case BY_KEY:
        return mix_text(1, rows->jobs[number].job.idempotency_key);
    case BY_ATTEMPT:
        return hash_fact(rows->facts[number].row.fact.kind, &rows->facts[number].row.fact);
    case BY_SUCCESS:
        return mix(mix(rows->facts[number].row.fact.job, rows->facts[number].row.fact.index),
                   rows->facts[number].row.fact.stage);
    case BY_NAME:
        return mix_text(mix(rows->artifacts[number].job, rows->artifacts[number].attempt),
                        rows->artifacts[number].name);
    case INDEX_COUNT:
        break;
    }
    MLQ_UNREACHABLE("an index that does not exist");
}

static bool is_same_fact(const struct fact_row *a, const struct fact_row *b, enum index_of which)
{
    const struct core_fact *x = &a->row.fact;
    const struct core_fact *y = &b->row.fact;
    if (x->job != y->job || x->stage != y->stage) {
        return false;
    }
    return which == BY_ATTEMPT
               ? x->attempt == y->attempt && x->rank == y->rank && x->kind == y->kind
               : x->index == y->index && a->round == b->round;
}

static bool is_same_artifact(const struct store_artifact *a, const struct store_artifact *b)
{
    return a->job == b->job && a->stage == b->stage && a->attempt == b->attempt &&
           a->rank == b->rank && mlq_str_eq(a->name, b->name);
}

static bool is_same(const struct store_mem_rows *rows, enum index_of which, size_t a, size_t b)
{
    switch (which) {
    case BY_ID:
        return rows->jobs[a].job.id == rows->jobs[b].job.id;
    case BY_KEY:
        return mlq_str_eq(rows->jobs[a].job.idempotency_key, rows->jobs[b].job.idempotency_key);
    case BY_ATTEMPT:
    case BY_SUCCESS:
        return is_same_fact(&rows->facts[a], &rows->facts[b], which);
    case BY_NAME:
        return is_same_artifact(&rows->artifacts[a], &rows->artifacts[b]);
    case INDEX_COUNT:
        break;
    }
    MLQ_UNREACHABLE("an index that does not exist");
}

/* The slot of row `number`, or of one with the same key. */
static uint32_t *slot_of(struct store_mem_rows *rows, enum index_of which, size_t number)
{
    struct index *index = &rows->indexes[which];
    size_t slot = hash_of(rows, which, number) & (index->slot_count - 1);
    while (index->slots[slot] != 0 && !is_same(rows, which, index->slots[slot] - 1, number)) {
        slot = (slot + 1) & (index->slot_count - 1);
    }
    return &index->slots[slot];
}

/* False when a row with the same key is there. */
static bool index_add(struct store_mem_rows *rows, enum index_of which, size_t number)
{
    struct index *index = &rows->indexes[which];
    if (index->used * 2 >= index->slot_count) {
        struct index old = *index;
        index->slot_count = old.slot_count == 0 ? 64 : old.slot_count * 2;
        index->slots = mlq_alloc_array(index->slot_count, sizeof *index->slots);
        for (size_t i = 0; i < old.slot_count; i++) {
            if (old.slots[i] != 0) {
                *slot_of(rows, which, old.slots[i] - 1) = old.slots[i];
            }
        }
        mlq_free(old.slots);
    }
    uint32_t *slot = slot_of(rows, which, number);
    if (*slot != 0) {
        return false;
    }
    *slot = (uint32_t)number + 1;
    index->used++;
    return true;
}

static struct job_row *find_job(const struct store_mem_rows *rows, uint64_t id)
{
    const struct index *index = &rows->indexes[BY_ID];
    if (index->slot_count == 0) {
        return NULL;
    }
    size_t slot = mix(0, id) & (index->slot_count - 1);
    while (index->slots[slot] != 0) {
        struct job_row *job = &rows->jobs[index->slots[slot] - 1];
        if (job->job.id == id) {
            return job;
        }
        slot = (slot + 1) & (index->slot_count - 1);
    }
    return NULL;
}

/* ---- Adding ---------------------------------------------------------------------------------- */

static int exists(struct mlq_err *err, const char *what, uint64_t job)
{
    return mlq_fail(err, MLQ_EEXIST, "job %" PRIu64 ": %s is in the record already", job, what);
}

static int add_job(struct store_mem_rows *rows, const struct store_job *in, struct mlq_err *err)
{
    struct mlq_region *region = rows->region;
    struct store_stage *stages =
        mlq_region_array(region, (size_t)in->stage_count + 1, sizeof *stages);
    for (uint16_t i = 0; i < in->stage_count; i++) {
        stages[i] = in->stages[i];
        stages[i].name = mlq_region_copy(region, in->stages[i].name);
        stages[i].uses = mlq_region_copy(region, in->stages[i].uses);
        uint16_t *needs =
            mlq_region_array(region, (size_t)stages[i].needs_count + 1, sizeof *needs);
        for (uint16_t n = 0; n < stages[i].needs_count; n++) {
            needs[n] = in->stages[i].needs[n];
        }
        stages[i].needs = needs;
        for (uint16_t j = 0; j < i; j++) {
            if (mlq_str_eq(stages[i].name, stages[j].name)) {
                return exists(err, "a stage of this name", in->id);
            }
        }
    }
    PUSH(rows->jobs, rows->job_count);
    size_t number = rows->job_count++;
    struct job_row *row = &rows->jobs[number];
    *row = (struct job_row){.job = *in};
    row->job.name = mlq_region_copy(region, in->name);
    row->job.kind = mlq_region_copy(region, in->kind);
    row->job.idempotency_key = mlq_region_copy(region, in->idempotency_key);
    row->job.submitter = mlq_region_copy(region, in->submitter);
    row->job.spec = mlq_region_copy(region, in->spec);
    row->job.labels = mlq_region_copy(region, in->labels);
    row->job.stages = stages;
    row->stage_ended = mlq_region_array(region, (size_t)in->stage_count + 1, sizeof(bool));
    row->stage_failed = mlq_region_array(region, (size_t)in->stage_count + 1, sizeof(bool));
    if (!index_add(rows, BY_ID, number)) {
        return exists(err, "it", in->id);
    }
    if (in->idempotency_key.len > 0 && !index_add(rows, BY_KEY, number)) {
        return exists(err, "its idempotency key", in->id);
    }
    return MLQ_OK;
}

/* What a fact changes in its job. False: the job is not in the state that the fact needs. */
static bool apply(struct job_row *job, const struct core_fact *fact)
{
    switch (fact->kind) {
    case FACT_STAGE_ENDED:
        if (fact->stage >= job->job.stage_count || job->stage_ended[fact->stage]) {
            return false;
        }
        job->stage_ended[fact->stage] = true;
        job->stage_failed[fact->stage] = fact->state != STATE_SUCCEEDED;
        return true;
    case FACT_JOB_ENDED:
        if (job->has_ended) {
            return false;
        }
        job->has_ended = true;
        return true;
    case FACT_JOB_RETRIED:
        if (!job->has_ended) {
            return false;
        }
        job->has_ended = false;
        job->retries++;
        for (uint16_t i = 0; i < job->job.stage_count; i++) {
            job->stage_ended[i] = job->stage_ended[i] && !job->stage_failed[i];
        }
        return true;
    case FACT_JOB_SUBMITTED:
    case FACT_JOB_CANCELLED:
    case FACT_ASSIGNED:
    case FACT_STARTED:
    case FACT_ENDED:
        return true;
    }
    MLQ_UNREACHABLE("a fact of an unknown kind");
}

/* Derives what follows from a row that stands in the array. */
static int derive_fact(struct store_mem_rows *rows, size_t number, struct mlq_err *err)
{
    struct fact_row *row = &rows->facts[number];
    const struct core_fact *fact = &row->row.fact;
    struct job_row *job = find_job(rows, fact->job);
    bool is_success = fact->kind == FACT_ENDED && fact->cause == CAUSE_NONE;
    if (job == NULL || (is_success && fact->stage >= job->job.stage_count)) {
        return mlq_fail(err, MLQ_EDB, "job %" PRIu64 ": a fact of a job or stage that is not there",
                        fact->job);
    }
    if (!apply(job, fact)) {
        return mlq_fail(err, MLQ_EDB, "job %" PRIu64 " is not in the state for '%s'", fact->job,
                        store_check_kind_text(fact->kind));
    }
    row->round = job->retries;
    row->is_sole = is_success && job->job.stages[fact->stage].ranks == 1;
    if (fact->attempt > 0 && !index_add(rows, BY_ATTEMPT, number)) {
        return exists(err, "this fact of an attempt", fact->job);
    }
    if (row->is_sole && !index_add(rows, BY_SUCCESS, number)) {
        return exists(err, "a success of this task", fact->job);
    }
    return MLQ_OK;
}

static int add_fact(struct store_mem_rows *rows, const struct store_fact *in, struct mlq_err *err)
{
    char room[STORE_CHECK_DETAIL_BYTES_MAX];
    PUSH(rows->facts, rows->fact_count);
    size_t number = rows->fact_count++;
    rows->facts[number] = (struct fact_row){.row = *in};
    rows->facts[number].row.detail =
        mlq_region_copy(rows->region, store_check_detail(in->detail, room));
    return derive_fact(rows, number, err);
}

static void add_metric(struct store_mem_rows *rows, const struct store_metric *in)
{
    PUSH(rows->metrics, rows->metric_count);
    struct store_metric *row = &rows->metrics[rows->metric_count++];
    *row = *in;
    row->name = mlq_region_copy(rows->region, in->name);
}

static void add_artifact(struct store_mem_rows *rows, const struct store_artifact *in)
{
    PUSH(rows->artifacts, rows->artifact_count);
    size_t number = rows->artifact_count++;
    struct store_artifact *row = &rows->artifacts[number];
    *row = *in;
    row->name = mlq_region_copy(rows->region, in->name);
    row->digest = mlq_region_copy(rows->region, in->digest);
    if (!index_add(rows, BY_NAME, number)) {
        rows->artifact_count--; /* the first one stays */
    }
}

static int add_worker(struct store_mem_rows *rows, const struct store_worker *in,
                      struct mlq_err *err)
{
    size_t at = 0;
    for (size_t i = 0; i < rows->worker_count; i++) {
        if (rows->workers[i].id != in->id &&
            mlq_str_eq(rows->workers[i].public_key, in->public_key)) {
            return mlq_fail(err, MLQ_EEXIST,
                            "worker %" PRIu32 ": its key belongs to worker %" PRIu32, in->id,
                            rows->workers[i].id);
        }
        at += rows->workers[i].id < in->id ? 1 : 0;
    }
    if (at == rows->worker_count || rows->workers[at].id != in->id) {
        PUSH(rows->workers, rows->worker_count);
        memmove(rows->workers + at + 1, rows->workers + at,
                (rows->worker_count - at) * sizeof *rows->workers);
        rows->worker_count++;
    }
    rows->workers[at] = *in;
    rows->workers[at].name = mlq_region_copy(rows->region, in->name);
    rows->workers[at].public_key = mlq_region_copy(rows->region, in->public_key);
    return MLQ_OK;
}

/* ---- A batch --------------------------------------------------------------------------------- */

/* After the arrays were cut: indexes and the states of jobs anew. */
static void derive_all(struct store_mem_rows *rows)
{
    for (int i = 0; i < INDEX_COUNT; i++) {
        mlq_free(rows->indexes[i].slots);
        rows->indexes[i] = (struct index){0};
    }
    bool ok = true;
    for (size_t i = 0; i < rows->job_count; i++) {
        struct job_row *job = &rows->jobs[i];
        job->has_ended = false;
        job->retries = 0;
        memset(job->stage_ended, 0, job->job.stage_count * sizeof(bool));
        ok = index_add(rows, BY_ID, i) && ok;
        ok = (job->job.idempotency_key.len == 0 || index_add(rows, BY_KEY, i)) && ok;
    }
    for (size_t i = 0; i < rows->fact_count; i++) {
        ok = derive_fact(rows, i, NULL) == MLQ_OK && ok;
    }
    for (size_t i = 0; i < rows->artifact_count; i++) {
        ok = index_add(rows, BY_NAME, i) && ok;
    }
    MLQ_ASSERT(ok); /* they stood there before */
}

int store_mem_record_put(struct store_mem_record *record, const struct store_batch *batch,
                         struct mlq_err *err)
{
    struct store_mem_rows *rows = record->rows;
    struct store_mem_rows before = *rows;
    int rc = store_check_batch(batch, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    struct store_worker *workers = mlq_alloc_array(rows->worker_count + 1, sizeof *workers);
    for (size_t i = 0; i < rows->worker_count; i++) {
        workers[i] = rows->workers[i];
    }
    for (size_t i = 0; rc == MLQ_OK && i < batch->worker_count; i++) {
        rc = add_worker(rows, &batch->workers[i], err);
    }
    for (size_t i = 0; rc == MLQ_OK && i < batch->job_count; i++) {
        rc = add_job(rows, &batch->jobs[i], err);
    }
    for (size_t i = 0; rc == MLQ_OK && i < batch->fact_count; i++) {
        rc = add_fact(rows, &batch->facts[i], err);
    }
    for (size_t i = 0; rc == MLQ_OK && i < batch->metric_count; i++) {
        add_metric(rows, &batch->metrics[i]);
    }
    for (size_t i = 0; rc == MLQ_OK && i < batch->artifact_count; i++) {
        add_artifact(rows, &batch->artifacts[i]);
    }
    if (rc != MLQ_OK) {
        rows->job_count = before.job_count;
        rows->fact_count = before.fact_count;
        rows->worker_count = before.worker_count;
        for (size_t i = 0; i < before.worker_count; i++) {
            rows->workers[i] = workers[i];
        }
        derive_all(rows);
    }
    mlq_free(workers);
    return rc;
}

/* ---- Loading --------------------------------------------------------------------------------- */

/* It succeeded, or it still runs: no rank of it has failed. */
static bool has_not_failed(const struct store_mem_rows *rows, uint64_t job, uint32_t stage,
                           uint32_t index, uint64_t attempt)
{
    for (size_t i = 0; i < rows->fact_count; i++) {
        const struct core_fact *fact = &rows->facts[i].row.fact;
        bool is_of_it = fact->job == job && fact->stage == stage && fact->index == index &&
                        fact->attempt == attempt;
        if (is_of_it && fact->kind == FACT_ENDED && fact->cause != CAUSE_NONE) {
            return false;
        }
    }
    return true;
}

/* By what they are of, the latest first: `rank` of metrics is 0, their number their age. */
struct pick {
    uint32_t stage;
    uint32_t index;
    uint32_t rank;
    struct mlq_str name;
    uint64_t attempt;
    size_t number;
};

static int by_place(const void *a, const void *b)
{
    const struct pick *x = a;
    const struct pick *y = b;
    if (x->stage != y->stage) {
        return x->stage < y->stage ? -1 : 1;
    }
    if (x->index != y->index) {
        return x->index < y->index ? -1 : 1;
    }
    if (x->rank != y->rank) {
        return x->rank < y->rank ? -1 : 1;
    }
    int order = mlq_str_cmp(x->name, y->name);
    if (order != 0) {
        return order;
    }
    if (x->attempt != y->attempt) {
        return x->attempt > y->attempt ? -1 : 1;
    }
    return x->number > y->number ? -1 : 1;
}

static bool is_older_of_the_same(const struct pick *picks, size_t i)
{
    return i > 0 && picks[i].stage == picks[i - 1].stage && picks[i].index == picks[i - 1].index &&
           picks[i].rank == picks[i - 1].rank && mlq_str_eq(picks[i].name, picks[i - 1].name);
}

static void load_artifacts(const struct store_mem_rows *rows, uint64_t job,
                           const struct store_loader *loader)
{
    size_t count = 0;
    struct pick *picks = mlq_alloc_array(rows->artifact_count + 1, sizeof *picks);
    for (size_t i = 0; i < rows->artifact_count; i++) {
        const struct store_artifact *row = &rows->artifacts[i];
        if (row->job == job && !mlq_str_eq_c(row->name, ".log") &&
            has_not_failed(rows, job, row->stage, row->index, row->attempt)) {
            picks[count++] = (struct pick){.stage = row->stage,
                                           .index = row->index,
                                           .rank = row->rank,
                                           .name = row->name,
                                           .attempt = row->attempt,
                                           .number = i};
        }
    }
    qsort(picks, count, sizeof *picks, by_place);
    for (size_t i = 0; i < count; i++) {
        if (!is_older_of_the_same(picks, i)) {
            struct store_artifact row = rows->artifacts[picks[i].number];
            loader->artifact(loader->context, &row);
        }
    }
    mlq_free(picks);
}

static void load_metrics(const struct store_mem_rows *rows, uint64_t job,
                         const struct store_loader *loader)
{
    size_t count = 0;
    struct pick *picks = mlq_alloc_array(rows->metric_count + 1, sizeof *picks);
    for (size_t i = 0; i < rows->metric_count; i++) {
        const struct store_metric *row = &rows->metrics[i];
        if (row->job == job && has_not_failed(rows, job, row->stage, row->index, row->attempt)) {
            picks[count++] = (struct pick){.stage = row->stage,
                                           .index = row->index,
                                           .name = row->name,
                                           .attempt = row->attempt,
                                           .number = i};
        }
    }
    qsort(picks, count, sizeof *picks, by_place);
    for (size_t i = 0; i < count; i++) {
        if (!is_older_of_the_same(picks, i)) {
            struct store_metric row = rows->metrics[picks[i].number];
            loader->metric(loader->context, &row);
        }
    }
    mlq_free(picks);
}

static int by_id(const void *a, const void *b)
{
    const uint64_t *x = a;
    const uint64_t *y = b;
    return (*x > *y) - (*x < *y);
}

static void load_keys(const struct store_mem_rows *rows, int64_t since_us,
                      const struct store_loader *loader)
{
    uint64_t *ids = mlq_alloc_array(rows->job_count + 1, sizeof *ids);
    for (size_t i = 0; i < rows->job_count; i++) {
        ids[i] = rows->jobs[i].job.id;
    }
    qsort(ids, rows->job_count, sizeof *ids, by_id);
    for (size_t i = 0; i < rows->job_count; i++) {
        const struct store_job *job = &find_job(rows, ids[i])->job;
        if (job->idempotency_key.len > 0 && job->submitted_us >= since_us) {
            loader->key(loader->context, job->idempotency_key, job->id);
        }
    }
    mlq_free(ids);
}

static void load_head(const struct store_mem_rows *rows, int64_t keys_since_us,
                      const struct store_loader *loader)
{
    uint64_t highest = 0;
    for (size_t i = 0; i < rows->job_count; i++) {
        highest = rows->jobs[i].job.id > highest ? rows->jobs[i].job.id : highest;
    }
    loader->header(loader->context, highest,
                   rows->worker_count == 0 ? 0 : rows->workers[rows->worker_count - 1].id);
    for (size_t i = 0; i < rows->worker_count; i++) {
        struct store_worker worker = rows->workers[i];
        loader->worker(loader->context, &worker);
    }
    load_keys(rows, keys_since_us, loader);
}

static bool is_wanted(const struct store_mem_rows *rows, uint64_t id, uint64_t only)
{
    const struct job_row *job = find_job(rows, id);
    return job != NULL && (only == 0 ? !job->has_ended : id == only);
}

static uint32_t count_retries(const struct store_mem_rows *rows, uint64_t job)
{
    uint32_t count = 0;
    for (size_t i = 0; i < rows->fact_count; i++) {
        const struct core_fact *fact = &rows->facts[i].row.fact;
        count += fact->job == job && fact->kind == FACT_JOB_RETRIED ? 1 : 0;
    }
    return count;
}

void store_mem_record_load(const struct store_mem_record *record, uint64_t job,
                           int64_t keys_since_us, const struct store_loader *loader)
{
    const struct store_mem_rows *rows = record->rows;
    struct mlq_err err = MLQ_ERR_INIT;
    size_t fact_count = rows->fact_count;
    size_t count = 0;
    uint64_t *ids = mlq_alloc_array(rows->job_count + 1, sizeof *ids);
    for (size_t i = 0; i < rows->job_count; i++) {
        if (is_wanted(rows, rows->jobs[i].job.id, job)) {
            ids[count++] = rows->jobs[i].job.id;
        }
    }
    qsort(ids, count, sizeof *ids, by_id);
    if (job == 0) {
        load_head(rows, keys_since_us, loader);
    } else if (count == 0) {
        (void)mlq_fail(&err, MLQ_ENOENT, "there is no job %" PRIu64, job);
    }
    for (size_t i = 0; i < count; i++) {
        struct store_job row = find_job(rows, ids[i])->job;
        row.retries = count_retries(rows, ids[i]);
        loader->job(loader->context, &row);
        load_artifacts(rows, ids[i], loader);
        load_metrics(rows, ids[i], loader);
    }
    for (size_t i = 0; i < fact_count; i++) {
        struct store_fact row = rows->facts[i].row;
        if (bsearch(&row.fact.job, ids, count, sizeof *ids, by_id) != NULL) {
            loader->fact(loader->context, &row);
        }
    }
    mlq_free(ids);
    loader->done(loader->context, err.code, &err);
}

/* ---- Life ------------------------------------------------------------------------------------ */

struct store_mem_record *store_mem_record_create(void)
{
    struct store_mem_record *record = mlq_alloc(sizeof *record);
    record->rows = mlq_alloc(sizeof *record->rows);
    record->rows->region = mlq_region_create();
    record->lease_ns = LEASE_DEFAULT_NS;
    return record;
}

void store_mem_record_destroy(struct store_mem_record **record)
{
    if (*record == NULL) {
        return;
    }
    struct store_mem_rows *rows = (*record)->rows;
    for (int i = 0; i < INDEX_COUNT; i++) {
        mlq_free(rows->indexes[i].slots);
    }
    mlq_region_destroy(&rows->region);
    mlq_free(rows->jobs);
    mlq_free(rows->facts);
    mlq_free(rows->metrics);
    mlq_free(rows->artifacts);
    mlq_free(rows->workers);
    mlq_free(rows);
    mlq_free(*record);
    *record = NULL;
}

void store_mem_record_set_lease_ns(struct store_mem_record *record, int64_t lease_ns)
{
    record->lease_ns = lease_ns;
}
