/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/store/store_check.h"

#include <inttypes.h>
#include <string.h>

#include "lib/base/panic.h"

/* The years 1970 to 9999. */
#define TIME_US_MAX INT64_C(253402300799999999)
/* PostgreSQL's limit of one value is 1 GiB; a message is far below this. */
#define TEXT_BYTES_MAX (64u << 20)

static const char *const kind_texts[] = {
    [FACT_JOB_SUBMITTED] = "job submitted",
    [FACT_JOB_CANCELLED] = "job cancelled",
    [FACT_JOB_RETRIED] = "job retried",
    [FACT_ASSIGNED] = "assigned",
    [FACT_STARTED] = "started",
    [FACT_ENDED] = "ended",
    [FACT_STAGE_ENDED] = "stage ended",
    [FACT_JOB_ENDED] = "job ended",
};

static const char *const cause_texts[CAUSE_COUNT] = {
#define CAUSE_TEXT(name, text) [CAUSE_##name] = text,
    CORE_CAUSES(CAUSE_TEXT)
#undef CAUSE_TEXT
};

static const char *const state_texts[STATE_COUNT] = {
#define STATE_TEXT(name, text) [STATE_##name] = text,
    CORE_STATES(STATE_TEXT)
#undef STATE_TEXT
};

const char *store_check_kind_text(enum core_fact_kind kind)
{
    MLQ_ASSERT((size_t)kind < MLQ_COUNT_OF(kind_texts));
    return kind_texts[kind];
}

const char *store_check_resize_text(enum core_resize resize)
{
    static const char *const texts[] = {
#define RESIZE_TEXT(name, text) [RESIZE_##name] = text,
        CORE_RESIZES(RESIZE_TEXT)
#undef RESIZE_TEXT
    };
    MLQ_ASSERT(resize < RESIZE_COUNT);
    return texts[resize];
}

const char *store_check_cause_text(enum core_cause cause)
{
    MLQ_ASSERT((size_t)cause < CAUSE_COUNT);
    return cause_texts[cause];
}

const char *store_check_state_text(enum core_state state)
{
    MLQ_ASSERT((size_t)state < STATE_COUNT);
    return state_texts[state];
}

static bool find_text(const char *const *texts, size_t count, struct mlq_str text, size_t *found)
{
    for (size_t i = 0; i < count; i++) {
        if (mlq_str_eq_c(text, texts[i])) {
            *found = i;
            return true;
        }
    }
    return false;
}

bool store_check_kind(struct mlq_str text, enum core_fact_kind *kind)
{
    size_t found = 0;
    bool ok = find_text(kind_texts, MLQ_COUNT_OF(kind_texts), text, &found);
    *kind = (enum core_fact_kind)found;
    return ok;
}

bool store_check_cause(struct mlq_str text, enum core_cause *cause)
{
    size_t found = 0;
    bool ok = find_text(cause_texts, CAUSE_COUNT, text, &found);
    *cause = (enum core_cause)found;
    return ok;
}

bool store_check_state(struct mlq_str text, enum core_state *state)
{
    size_t found = 0;
    bool ok = find_text(state_texts, STATE_COUNT, text, &found);
    *state = (enum core_state)found;
    return ok;
}

struct mlq_str store_check_detail(struct mlq_str detail, char room[STORE_CHECK_DETAIL_BYTES_MAX])
{
    size_t len = detail.len;
    if (len > STORE_CHECK_DETAIL_BYTES_MAX) {
        len = STORE_CHECK_DETAIL_BYTES_MAX;
        while (len > 0 && ((unsigned char)detail.ptr[len] & 0xc0) == 0x80) {
            len--; /* not in the middle of a character */
        }
    }
    struct mlq_str cut = {.ptr = detail.ptr, .len = len};
    if (len == 0 || (mlq_str_is_utf8(cut) && memchr(cut.ptr, 0, len) == NULL)) {
        return cut;
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)cut.ptr[i];
        room[i] = byte == 0 || byte >= 0x80 ? '?' : cut.ptr[i];
    }
    return (struct mlq_str){.ptr = room, .len = len};
}

/* ---- Batches --------------------------------------------------------------------------------- */

static bool is_text(struct mlq_str text)
{
    return text.len <= TEXT_BYTES_MAX && mlq_str_is_utf8(text) &&
           (text.len == 0 || memchr(text.ptr, 0, text.len) == NULL);
}

static bool is_id(uint64_t id)
{
    return id >= 1 && id <= INT64_MAX;
}

static bool is_time(int64_t us)
{
    return us >= 0 && us <= TIME_US_MAX;
}

static bool is_stage_valid(const struct store_stage *stage, uint16_t stage_count)
{
    for (uint16_t i = 0; i < stage->needs_count; i++) {
        if (stage->needs[i] >= stage_count) {
            return false;
        }
    }
    return stage->needs_count <= CORE_STAGES_PER_JOB_MAX && is_text(stage->name) &&
           is_text(stage->uses) && stage->array_count >= 1 &&
           stage->array_count <= CORE_ARRAY_MAX && stage->ranks >= 1 &&
           stage->ranks <= CORE_RANKS_MAX && stage->ranks_min <= stage->ranks &&
           stage->resize < RESIZE_COUNT;
}

static int check_job(const struct store_job *job, struct mlq_err *err)
{
    if (!is_id(job->id) || !is_time(job->submitted_us) || !is_text(job->name) ||
        !is_text(job->kind) || !is_text(job->idempotency_key) || job->idempotency_key.len > 1024 ||
        !is_text(job->submitter) || !is_text(job->spec) || !is_text(job->labels)) {
        return mlq_fail(err, MLQ_EINVAL, "job %" PRIu64 ": a value that the record cannot hold",
                        job->id);
    }
    for (uint16_t i = 0; i < job->stage_count; i++) {
        if (job->stage_count > CORE_STAGES_PER_JOB_MAX ||
            !is_stage_valid(&job->stages[i], job->stage_count)) {
            return mlq_fail(err, MLQ_EINVAL, "job %" PRIu64 ": stage %u is not valid", job->id, i);
        }
    }
    return MLQ_OK;
}

static int check_fact(const struct store_fact *row, struct mlq_err *err)
{
    const struct core_fact *fact = &row->fact;
    bool is_of_attempt =
        fact->kind == FACT_ASSIGNED || fact->kind == FACT_STARTED || fact->kind == FACT_ENDED;
    bool ok = (size_t)fact->kind < MLQ_COUNT_OF(kind_texts) && (size_t)fact->cause < CAUSE_COUNT &&
              (size_t)fact->state < STATE_COUNT;
    if (!ok || !is_id(fact->job) || !is_time(row->at_us) || fact->attempt > INT64_MAX ||
        is_of_attempt != (fact->attempt > 0) || fact->stage > INT32_MAX ||
        fact->index > INT32_MAX || fact->rank >= CORE_RANKS_MAX || fact->ranks > CORE_RANKS_MAX) {
        return mlq_fail(err, MLQ_EINVAL, "job %" PRIu64 ": a fact (%s) that the record cannot hold",
                        fact->job, ok ? kind_texts[fact->kind] : "of an unknown kind");
    }
    return MLQ_OK;
}

/* The bits that the journal has for them (migrations/0002_journal.up.sql). */
_Static_assert(MLQ_COUNT_OF(kind_texts) <= 16 && CAUSE_COUNT <= 32 && STATE_COUNT <= 16 && CORE_RANKS_MAX < 512,
               "the journal's columns are too narrow");

int store_check_batch(const struct store_batch *batch, struct mlq_err *err)
{
    int rc = MLQ_OK;
    for (size_t i = 0; rc == MLQ_OK && i < batch->job_count; i++) {
        rc = check_job(&batch->jobs[i], err);
    }
    for (size_t i = 0; rc == MLQ_OK && i < batch->fact_count; i++) {
        rc = check_fact(&batch->facts[i], err);
    }
    for (size_t i = 0; rc == MLQ_OK && i < batch->metric_count; i++) {
        const struct store_metric *row = &batch->metrics[i];
        if (!is_id(row->job) || !is_id(row->attempt) || row->stage > INT32_MAX ||
            row->index > INT32_MAX || !is_text(row->name) || !is_time(row->at_us)) {
            rc = mlq_fail(err, MLQ_EINVAL, "job %" PRIu64 ": a metric that the record cannot hold",
                          row->job);
        }
    }
    for (size_t i = 0; rc == MLQ_OK && i < batch->artifact_count; i++) {
        const struct store_artifact *row = &batch->artifacts[i];
        if (!is_id(row->job) || !is_id(row->attempt) || row->stage > INT32_MAX ||
            row->index > INT32_MAX || row->rank > INT32_MAX || row->bytes > INT64_MAX ||
            !is_text(row->name) || !is_text(row->digest)) {
            rc = mlq_fail(err, MLQ_EINVAL,
                          "job %" PRIu64 ": an artifact that the record cannot hold", row->job);
        }
    }
    for (size_t i = 0; rc == MLQ_OK && i < batch->worker_count; i++) {
        const struct store_worker *row = &batch->workers[i];
        if (row->id == 0 || !is_text(row->name) || !is_text(row->public_key) || row->gpus < 0 ||
            !is_time(row->seen_us)) {
            rc = mlq_fail(err, MLQ_EINVAL,
                          "worker %" PRIu32 ": a value that the record cannot hold", row->id);
        }
    }
    return rc;
}
