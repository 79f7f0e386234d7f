/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/catalog.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/map.h"
#include "lib/base/panic.h"
#include "lib/base/prng.h"
#include "lib/sys/mem.h"
#include "lib/sys/region.h"

#define METRICS_MAX 10000 /* names of a job's metrics that expressions can refer to; all are in the record */
#define METRIC_NAME_BYTES_MAX 256
#define PROGRESS_BYTES_MAX 120

struct catalog {
    uint64_t version; /* the last one given to a change */
    void *block;      /* of the map */
    struct mlq_map map;
    struct catalog_job **jobs;
    uint32_t *free; /* stack of free places */
    uint32_t free_count;
    uint32_t room;
};

struct catalog *catalog_create(uint32_t jobs_max, uint32_t epoch)
{
    struct catalog *catalog = mlq_alloc(sizeof *catalog);
    catalog->version = (uint64_t)epoch << 32; /* newer than what watchers saw of an earlier leader */
    size_t bytes = mlq_map_footprint(jobs_max);
    struct mlq_arena arena;
    catalog->block = mlq_alloc(bytes);
    catalog->jobs = mlq_alloc_array(jobs_max, sizeof *catalog->jobs);
    catalog->free = mlq_alloc_array(jobs_max, sizeof *catalog->free);
    catalog->room = jobs_max;
    for (uint32_t i = 0; i < jobs_max; i++) {
        catalog->free[i] = jobs_max - 1 - i;
    }
    catalog->free_count = jobs_max;
    mlq_arena_init(&arena, catalog->block, bytes);
    MLQ_ASSERT(mlq_map_init(&catalog->map, &arena, jobs_max));
    return catalog;
}

void catalog_destroy(struct catalog **catalog)
{
    if (*catalog == NULL) {
        return;
    }
    for (uint32_t i = 0; i < (*catalog)->room; i++) {
        catalog_job_destroy(&(*catalog)->jobs[i]);
    }
    mlq_free((*catalog)->jobs);
    mlq_free((*catalog)->free);
    mlq_free((*catalog)->block);
    mlq_free(*catalog);
    *catalog = NULL;
}

struct catalog_job *catalog_job_create(struct specbook *book, struct mlq_str canonical, struct mlq_err *err)
{
    const struct specbook_spec *shared = specbook_take(book, canonical, err);
    if (shared == NULL) {
        return NULL;
    }
    uint16_t stage_count = shared->spec->stage_count;
    struct catalog_job *job = mlq_alloc(sizeof *job + stage_count * sizeof job->stages[0]);
    job->book = book;
    job->shared = shared;
    job->spec = shared->spec;
    job->desc = shared->desc;
    job->state = STATE_PENDING;
    for (uint16_t i = 0; i < stage_count; i++) {
        job->stages[i].fraction = -1;
    }
    return job;
}

void catalog_job_destroy(struct catalog_job **job)
{
    if (*job != NULL) {
        specbook_give((*job)->book, (*job)->shared);
        stall_fini(&(*job)->stall);
        points_fini(&(*job)->points);
        mlq_region_destroy(&(*job)->region);
        mlq_free(*job);
        *job = NULL;
    }
}

/* Most jobs never need one. */
static struct mlq_region *region_of(struct catalog_job *job)
{
    if (job->region == NULL) {
        job->region = mlq_region_create();
    }
    return job->region;
}

bool catalog_is_full(const struct catalog *catalog)
{
    return catalog->free_count == 0;
}

void catalog_add(struct catalog *catalog, struct catalog_job *job, uint64_t id)
{
    MLQ_ASSERT(catalog->free_count > 0); /* as many places as the core has */
    uint32_t place = catalog->free[--catalog->free_count];
    job->id = id;
    job->version = ++catalog->version;
    catalog->jobs[place] = job;
    mlq_map_insert(&catalog->map, id, place);
}

struct catalog_job *catalog_find(const struct catalog *catalog, uint64_t id)
{
    uint32_t place;
    return id != 0 && mlq_map_find(&catalog->map, id, &place) ? catalog->jobs[place] : NULL;
}

void catalog_remove(struct catalog *catalog, uint64_t id)
{
    uint32_t place;
    if (id != 0 && mlq_map_find(&catalog->map, id, &place)) {
        catalog_job_destroy(&catalog->jobs[place]);
        catalog->free[catalog->free_count++] = place;
        mlq_map_remove(&catalog->map, id);
    }
}

/* Double *room when it is full; the old array stays in the region until the job ends. */
static void *grown(struct catalog_job *job, void *items, size_t count, size_t *room, size_t bytes)
{
    if (count < *room) {
        return items;
    }
    *room = *room == 0 ? 8 : *room * 2;
    void *larger = mlq_region_array(region_of(job), *room, bytes);
    if (count > 0) {
        memcpy(larger, items, count * bytes);
    }
    return larger;
}

/* ---- Tasks that were tried again ---- */

static struct catalog_restart *restart_place(struct catalog_restart *table, size_t room, uint32_t stage, uint32_t index)
{
    size_t at = (size_t)mlq_hash_u64((uint64_t)stage << 32 | index) & (room - 1);
    while (table[at].count != 0 && (table[at].stage != stage || table[at].index != index)) {
        at = (at + 1) & (room - 1);
    }
    return &table[at];
}

static struct catalog_restart *find_restart(const struct catalog_job *job, uint32_t stage, uint32_t index)
{
    if (job->restart_room == 0) {
        return NULL;
    }
    struct catalog_restart *found = restart_place(job->restarts, job->restart_room, stage, index);
    return found->count == 0 ? NULL : found;
}

static struct catalog_restart *add_restart(struct catalog_job *job, uint32_t stage, uint32_t index)
{
    if ((job->restart_count + 1) * 2 > job->restart_room) {
        size_t room = job->restart_room == 0 ? 8 : job->restart_room * 2;
        struct catalog_restart *table = mlq_region_array(region_of(job), room, sizeof *table);
        for (size_t i = 0; i < job->restart_room; i++) {
            const struct catalog_restart *old = &job->restarts[i];
            if (old->count != 0) {
                *restart_place(table, room, old->stage, old->index) = *old;
            }
        }
        job->restarts = table;
        job->restart_room = room;
    }
    job->restart_count++;
    struct catalog_restart *made = restart_place(job->restarts, job->restart_room, stage, index);
    *made = (struct catalog_restart){.stage = stage, .index = index};
    return made;
}

uint32_t catalog_restarts(const struct catalog_job *job, uint32_t stage, uint32_t index)
{
    const struct catalog_restart *restart = find_restart(job, stage, index);
    return restart == NULL ? 0 : restart->count;
}

/* ---- Attempts ---- */

/* What earlier attempts left: metrics of one that failed, and outputs of a gang whose rank 0 ended well and
 * another rank did not. */
static void drop_older(struct catalog_job *job, const struct core_fact *fact)
{
    size_t kept = 0;
    for (size_t i = 0; i < job->artifact_count; i++) {
        const struct catalog_artifact *artifact = &job->artifacts[i];
        bool is_old = artifact->stage == fact->stage && artifact->index == fact->index && artifact->attempt < fact->attempt;
        if (!is_old) {
            job->artifacts[kept++] = *artifact;
        }
    }
    job->artifact_count = kept;
    kept = 0;
    for (size_t i = 0; i < job->metric_count; i++) {
        const struct catalog_metric *metric = &job->metrics[i];
        bool is_old = metric->stage == fact->stage && metric->index == fact->index && metric->attempt < fact->attempt;
        if (!is_old) {
            job->metrics[kept++] = *metric;
        }
    }
    job->metric_count = kept;
}

static struct catalog_gang *find_gang(const struct catalog_job *job, uint64_t attempt)
{
    for (size_t i = 0; i < job->gang_count; i++) {
        if (job->gangs[i].attempt == attempt) {
            return &job->gangs[i];
        }
    }
    return NULL;
}

static void add_gang(struct catalog_job *job, const struct core_fact *fact)
{
    struct catalog_gang *gang = find_gang(job, 0);
    if (gang == NULL) {
        job->gangs = grown(job, job->gangs, job->gang_count, &job->gang_room, sizeof *job->gangs);
        gang = &job->gangs[job->gang_count++];
    }
    *gang = (struct catalog_gang){.attempt = fact->attempt, .ranks = fact->ranks, .open = fact->ranks};
}

static void begin_attempt(struct catalog_job *job, struct catalog_stage *stage, const struct core_fact *fact)
{
    struct catalog_restart *restart = find_restart(job, fact->stage, fact->index);
    stage->running++;
    stage->state = STATE_RUNNING;
    job->state = STATE_RUNNING;
    if (restart != NULL && restart->is_down) {
        restart->is_down = false;
        stage->failed -= stage->failed > 0 ? 1 : 0;
    }
    bool is_gang = job->spec->stages[fact->stage].ranks > 1;
    if (is_gang) {
        add_gang(job, fact);
    }
    /* A task of an array has no metrics here and, unless it is a gang, outputs only if it is not run again. */
    if (restart != NULL && (is_gang || job->spec->stages[fact->stage].array_count == 1)) {
        drop_older(job, fact);
    }
}

/* A rank more of an attempt that runs. */
static void join_attempt(const struct catalog_job *job, const struct core_fact *fact)
{
    struct catalog_gang *gang = find_gang(job, fact->attempt);
    if (gang != NULL && fact->rank >= gang->ranks) {
        gang->ranks++;
        gang->open++;
    }
}

static void end_attempt(struct catalog_job *job, struct catalog_stage *stage, const struct core_fact *fact, bool has_failed)
{
    points_drop(&job->points, fact->attempt);
    stage->running -= stage->running > 0 ? 1 : 0;
    stage->fraction = -1;
    stage->text = NULL;
    if (!has_failed) {
        stage->succeeded++;
        return;
    }
    struct catalog_restart *restart = find_restart(job, fact->stage, fact->index);
    if (restart == NULL) {
        restart = add_restart(job, fact->stage, fact->index);
    }
    restart->count++;
    if (fact->cause != CAUSE_REQUEUE) { /* saved, to be run again: not a failure */
        restart->is_down = true;
        stage->failed++;
    }
}

static void end_rank(struct catalog_job *job, struct catalog_stage *stage, const struct core_fact *fact)
{
    bool has_failed = fact->cause != CAUSE_NONE;
    const struct spec_stage *said = &job->spec->stages[fact->stage];
    if (said->ranks > 1) {
        struct catalog_gang *gang = find_gang(job, fact->attempt);
        if (gang == NULL) {
            return;
        }
        gang->has_failed = gang->has_failed || has_failed;
        gang->has_succeeded = gang->has_succeeded || !has_failed;
        has_failed = said->is_live_resize ? !gang->has_succeeded : gang->has_failed;
        if (--gang->open > 0) {
            return;
        }
        *gang = (struct catalog_gang){0};
    }
    end_attempt(job, stage, fact, has_failed);
}

static void reset_stages(struct catalog_job *job)
{
    for (uint16_t i = 0; i < job->spec->stage_count; i++) {
        if (job->stages[i].state != STATE_SUCCEEDED) {
            job->stages[i].state = STATE_PENDING;
            job->stages[i].failed = 0;
        }
    }
    for (size_t i = 0; i < job->restart_room; i++) {
        job->restarts[i].is_down = false;
    }
    job->state = STATE_PENDING;
}

void catalog_apply(struct catalog *catalog, const struct core_fact *fact)
{
    struct catalog_job *job = catalog_find(catalog, fact->job);
    if (job == NULL) {
        return;
    }
    MLQ_ASSERT(fact->stage < job->spec->stage_count);
    job->version = ++catalog->version;
    struct catalog_stage *stage = &job->stages[fact->stage];
    switch (fact->kind) {
    case FACT_ASSIGNED:
        if (fact->rank == 0) {
            begin_attempt(job, stage, fact);
        } else {
            join_attempt(job, fact);
        }
        return;
    case FACT_ENDED:
        stall_drop(&job->stall, fact->attempt, fact->rank);
        end_rank(job, stage, fact);
        return;
    case FACT_STAGE_ENDED:
        stage->state = fact->state;
        return;
    case FACT_JOB_ENDED:
        job->state = fact->state;
        return;
    case FACT_JOB_RETRIED:
        reset_stages(job);
        job->since_ns = fact->at_ns;
        return;
    case FACT_JOB_SUBMITTED:
        job->since_ns = fact->at_ns;
        return;
    case FACT_JOB_CANCELLED:
    case FACT_STARTED:
        return;
    }
}

void catalog_put_artifact(struct catalog_job *job, const struct catalog_artifact *artifact)
{
    /* Only what succeeded is put here, and a task succeeds once: no search for an older one. */
    job->artifacts =
        grown(job, job->artifacts, job->artifact_count, &job->artifact_room, sizeof *job->artifacts);
    struct catalog_artifact *place = &job->artifacts[job->artifact_count++];
    *place = *artifact;
    place->name = mlq_region_copy(region_of(job), artifact->name);
    place->digest = mlq_region_copy(region_of(job), artifact->digest);
}

static bool is_same_point(const struct catalog_metric *a, const struct catalog_metric *b)
{
    return a->attempt == b->attempt && a->step == b->step && a->at_us == b->at_us &&
           memcmp(&a->value, &b->value, sizeof a->value) == 0;
}

bool catalog_put_metric(struct catalog_job *job, const struct catalog_metric *metric)
{
    if (metric->name.len > METRIC_NAME_BYTES_MAX) {
        return true;
    }
    if (job->spec->stages[metric->stage].array_count > 1) { /* expressions name metrics of single tasks */
        return points_put(&job->points, metric->attempt,
                          &(struct point){.name = metric->name, .value = metric->value, .step = metric->step, .at_us = metric->at_us});
    }
    for (size_t i = 0; i < job->metric_count; i++) {
        struct catalog_metric *known = &job->metrics[i];
        if (known->stage == metric->stage && known->index == metric->index && mlq_str_eq(known->name, metric->name)) {
            bool is_new = !is_same_point(known, metric);
            struct mlq_str name = known->name;
            *known = *metric;
            known->name = name;
            return is_new;
        }
    }
    if (job->metric_count == METRICS_MAX) {
        return true;
    }
    job->metrics = grown(job, job->metrics, job->metric_count, &job->metric_room, sizeof *job->metrics);
    job->metrics[job->metric_count] = *metric;
    job->metrics[job->metric_count++].name = mlq_region_copy(region_of(job), metric->name);
    return true;
}

/* Not cut in the middle of a character. */
static struct mlq_str cut(struct mlq_str text)
{
    if (text.len > PROGRESS_BYTES_MAX) {
        text.len = PROGRESS_BYTES_MAX;
        while (text.len > 0 && ((unsigned char)text.ptr[text.len] & 0xc0) == 0x80) {
            text.len--;
        }
    }
    return text;
}

void catalog_set_progress(struct catalog *catalog, struct catalog_job *job, uint32_t stage, double fraction,
                          struct mlq_str text)
{
    struct catalog_stage *entry = &job->stages[stage];
    struct mlq_str shown = cut(text);
    entry->fraction = fraction >= 0 && fraction <= 1 ? fraction : -1;
    if (shown.len > 0 && (entry->text == NULL || !mlq_str_eq_c(shown, entry->text))) {
        /* Texts of progress are kept until the job ends: bound what a talkative task may take. */
        if (mlq_region_bytes(region_of(job)) < (16u << 20)) {
            entry->text = mlq_region_strndup(region_of(job), shown);
        }
    }
    job->version = ++catalog->version;
}

void catalog_set_rank(struct catalog *catalog, struct catalog_job *job, const struct stall_rank *rank, int64_t now_ns)
{
    if (stall_put(&job->stall, rank, now_ns)) {
        job->version = ++catalog->version;
    }
}

static void set_stalled(json_t *entry, const struct catalog_job *job, uint32_t stage)
{
    int64_t since_ns = 0;
    char attempt[24];
    const struct stall_rank *rank = stall_culprit(&job->stall, stage, &since_ns);
    if (rank == NULL) {
        return;
    }
    (void)snprintf(attempt, sizeof attempt, "%llu", (unsigned long long)rank->attempt);
    (void)json_object_set_new(entry, "stalled",
                              json_pack("{s:s, s:I, s:s, s:I, s:I, s:f}", "attempt", attempt, "rank",
                                        (json_int_t)rank->rank, "phase", rank->phase, "epoch", (json_int_t)rank->epoch,
                                        "step", (json_int_t)rank->step, "seconds",
                                        (double)(job->stall.heard_ns - since_ns) / 1e9));
}

struct mlq_str catalog_watch_json(const struct catalog_job *job, struct mlq_region *region)
{
    json_t *stages = json_array();
    for (uint16_t i = 0; i < job->spec->stage_count; i++) {
        const struct catalog_stage *stage = &job->stages[i];
        const struct spec_stage *said = &job->spec->stages[i];
        json_t *entry = json_pack(
            "{s:s%, s:s, s:s, s:I, s:I, s:I, s:I}", "name", said->name.ptr, (int)said->name.len, "uses",
            said->op == NULL ? "run" : said->op->name, "state", core_state_text(stage->state), "total",
            (json_int_t)said->array_count, "succeeded", (json_int_t)stage->succeeded, "failed",
            (json_int_t)stage->failed, "running", (json_int_t)stage->running);
        MLQ_ASSERT(entry != NULL);
        (void)json_object_set_new(entry, "wants",
                                  json_pack("{s:I, s:f, s:I, s:I}", "ranks", (json_int_t)said->ranks_min, "cpus",
                                            (double)said->cpu_milli / 1000, "memory", (json_int_t)said->mem_bytes,
                                            "gpus", (json_int_t)said->gpus));
        set_stalled(entry, job, i);
        if (stage->fraction >= 0) {
            (void)json_object_set_new(entry, "progress", json_real(stage->fraction));
        }
        if (stage->text != NULL) {
            (void)json_object_set_new(entry, "text", json_string(stage->text));
        }
        (void)json_array_append_new(stages, entry);
    }
    char id[24];
    (void)snprintf(id, sizeof id, "%llu", (unsigned long long)job->id);
    json_t *document = json_pack("{s:s, s:I, s:{s:s, s:s%, s:s, s:o}}", "schema", "mlq/v1", "version",
                                 (json_int_t)job->version, "job", "id", id, "name", job->spec->name.ptr,
                                 (int)job->spec->name.len, "state", core_state_text(job->state), "stages",
                                 stages);
    MLQ_ASSERT(document != NULL);
    char *text = json_dumps(document, JSON_COMPACT);
    json_decref(document);
    struct mlq_str copy = mlq_region_copy(region, mlq_str_from(text));
    mlq_free(text);
    return copy;
}

static struct mlq_str labels_json(const struct spec *spec, struct mlq_region *region)
{
    if (spec->label_count == 0) {
        return (struct mlq_str){0};
    }
    json_t *labels = json_object();
    for (size_t i = 0; i < spec->label_count; i++) {
        const char *name = mlq_region_strndup(region, spec->labels[i].name);
        (void)json_object_set_new(labels, name, json_stringn(spec->labels[i].value.ptr, spec->labels[i].value.len));
    }
    char *text = json_dumps(labels, JSON_COMPACT);
    json_decref(labels);
    struct mlq_str copy = mlq_region_copy(region, mlq_str_from(text));
    mlq_free(text);
    return copy;
}

struct store_job catalog_store_job(const struct catalog_job *job, struct mlq_region *region)
{
    const struct spec *spec = job->spec;
    struct store_stage *stages = mlq_region_array(region, spec->stage_count, sizeof *stages);
    for (uint16_t i = 0; i < spec->stage_count; i++) {
        const struct spec_stage *stage = &spec->stages[i];
        stages[i] = (struct store_stage){
            .name = stage->name,
            .uses = stage->op == NULL ? MLQ_STR("run") : mlq_str_from(stage->op->name),
            .array_count = stage->array_count,
            .ranks = stage->ranks,
            .ranks_min = stage->ranks_min,
            .resize = job->desc.stages[i].resize,
            .needs = stage->needs,
            .needs_count = stage->needs_count,
        };
    }
    return (struct store_job){
        .id = job->id,
        .name = spec->name,
        .kind = mlq_str_eq_c(spec->kind, "Job") ? MLQ_STR("job") : MLQ_STR("pipeline"),
        .spec = job->shared->text,
        .labels = labels_json(spec, region),
        .priority = spec->priority,
        .stages = stages,
        .stage_count = spec->stage_count,
    };
}
