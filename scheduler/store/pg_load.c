/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * One exchange: a read-only transaction with a statement per kind of row. Jobs come as the rows of
 * LOAD_JOBS (pg_sql.c): the job itself, its stages, then its artifacts and metrics.
 */
#include "scheduler/store/pg_load.h"

#include <inttypes.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"
#include "lib/sys/region.h"
#include "scheduler/store/pg_value.h"
#include "scheduler/store/store_check.h"

enum load_row { ROW_JOB, ROW_STAGE, ROW_ARTIFACT, ROW_METRIC };

/* Columns of LOAD_JOBS. */
enum load_column {
    COL_JOB,
    COL_WHAT,
    COL_STAGE,
    COL_A,
    COL_B,
    COL_ATTEMPT,
    COL_N,
    COL_VALUE,
    COL_AT,
    COL_T1,
    COL_T2,
    COL_T3,
    COL_T4,
    COL_T5,
    COL_T6,
    COL_NEEDS,
    COL_FLAG,
};

struct pg_load {
    struct store_loader loader;
    struct ledger *ledger; /* learns what is loaded */
    struct pg_load **place;    /* of the owner's pointer to this */
    uint64_t only;             /* 0: all */
    unsigned at_jobs;          /* number of the statement that gives the jobs; facts follow */
    struct mlq_region *region; /* of the job that is being gathered */
    struct store_job job;
    struct store_stage *stages; /* room for CORE_STAGES_PER_JOB_MAX */
    bool has_job;               /* gathered, not given yet */
    bool has_any;
    int rc;
    struct mlq_err err;
};

static void corrupt(struct pg_load *load, uint64_t job, const char *what)
{
    if (load->rc == MLQ_OK) {
        load->rc = mlq_fail(&load->err, MLQ_ECORRUPT, "job %" PRIu64 ": %s", job, what);
    }
}

static void give_job(struct pg_load *load)
{
    if (load->has_job) {
        load->has_job = false;
        ledger_load_job(load->ledger, &load->job);
        load->loader.job(load->loader.context, &load->job);
    }
}

static void take_stage(struct pg_load *load, const PGresult *result, int row)
{
    uint16_t needs[CORE_STAGES_PER_JOB_MAX];
    int count = pg_value_get_u16s(result, row, COL_NEEDS, needs, CORE_STAGES_PER_JOB_MAX);
    if (!load->has_job || load->job.stage_count >= CORE_STAGES_PER_JOB_MAX || count < 0 ||
        pg_value_get_i32(result, row, COL_STAGE) != load->job.stage_count) {
        corrupt(load, load->job.id, "its stages are not a row of 0, 1, ...");
        return;
    }
    uint16_t *kept = mlq_region_array(load->region, (size_t)count + 1, sizeof *kept);
    for (int i = 0; i < count; i++) {
        kept[i] = needs[i];
    }
    load->stages[load->job.stage_count++] = (struct store_stage){
        .name = mlq_region_copy(load->region, pg_value_get_text(result, row, COL_T1)),
        .uses = mlq_region_copy(load->region, pg_value_get_text(result, row, COL_T2)),
        .array_count = (uint32_t)pg_value_get_i32(result, row, COL_A),
        .ranks = (uint32_t)pg_value_get_i32(result, row, COL_B),
        .needs = kept,
        .needs_count = (uint16_t)count,
    };
}

static void take_job(struct pg_load *load, const PGresult *result, int row)
{
    give_job(load);
    struct mlq_region *region = load->region;
    mlq_region_reset(region);
    load->has_job = true;
    load->has_any = true;
    load->job = (struct store_job){
        .id = (uint64_t)pg_value_get_i64(result, row, COL_JOB),
        .name = mlq_region_copy(region, pg_value_get_text(result, row, COL_T1)),
        .kind = mlq_region_copy(region, pg_value_get_text(result, row, COL_T2)),
        .idempotency_key = mlq_region_copy(region, pg_value_get_text(result, row, COL_T3)),
        .submitter = mlq_region_copy(region, pg_value_get_text(result, row, COL_T4)),
        .spec = mlq_region_copy(region, pg_value_get_text(result, row, COL_T5)),
        .labels = mlq_region_copy(region, pg_value_get_text(result, row, COL_T6)),
        .priority = pg_value_get_i32(result, row, COL_A),
        .retries = (uint32_t)pg_value_get_i64(result, row, COL_N),
        .submitted_us = pg_value_get_time(result, row, COL_AT),
        .stages = load->stages,
    };
}

static void take_job_row(struct pg_load *load, const PGresult *result, int row)
{
    switch ((enum load_row)pg_value_get_i32(result, row, COL_WHAT)) {
    case ROW_JOB:
        take_job(load, result, row);
        break;
    case ROW_STAGE:
        take_stage(load, result, row);
        break;
    case ROW_ARTIFACT:
        give_job(load);
        load->loader.artifact(load->loader.context,
                              &(struct store_artifact){
                                  .job = (uint64_t)pg_value_get_i64(result, row, COL_JOB),
                                  .attempt = (uint64_t)pg_value_get_i64(result, row, COL_ATTEMPT),
                                  .stage = (uint32_t)pg_value_get_i32(result, row, COL_STAGE),
                                  .index = (uint32_t)pg_value_get_i32(result, row, COL_A),
                                  .rank = (uint32_t)pg_value_get_i32(result, row, COL_B),
                                  .name = pg_value_get_text(result, row, COL_T1),
                                  .digest = pg_value_get_text(result, row, COL_T2),
                                  .bytes = (uint64_t)pg_value_get_i64(result, row, COL_N),
                                  .is_tree = pg_value_get_bool(result, row, COL_FLAG),
                              });
        break;
    case ROW_METRIC:
        give_job(load);
        load->loader.metric(load->loader.context,
                            &(struct store_metric){
                                .job = (uint64_t)pg_value_get_i64(result, row, COL_JOB),
                                .attempt = (uint64_t)pg_value_get_i64(result, row, COL_ATTEMPT),
                                .stage = (uint32_t)pg_value_get_i32(result, row, COL_STAGE),
                                .index = (uint32_t)pg_value_get_i32(result, row, COL_A),
                                .name = pg_value_get_text(result, row, COL_T1),
                                .step = pg_value_get_bool(result, row, COL_FLAG)
                                            ? INT64_MIN
                                            : pg_value_get_i64(result, row, COL_N),
                                .value = pg_value_get_f64(result, row, COL_VALUE),
                                .at_us = pg_value_get_time(result, row, COL_AT),
                            });
        break;
    }
}

/* Columns as in LOAD_FACTS. */
static void take_fact(struct pg_load *load, const PGresult *result, int row)
{
    struct store_fact out = {
        .fact =
            {
                .job = (uint64_t)pg_value_get_i64(result, row, 0),
                .attempt = (uint64_t)pg_value_get_i64(result, row, 2),
                .gpu_mask = (uint64_t)pg_value_get_i64(result, row, 3),
                .worker = (uint32_t)pg_value_get_i64(result, row, 4),
                .stage = (uint32_t)pg_value_get_i32(result, row, 5),
                .index = (uint32_t)pg_value_get_i32(result, row, 6),
                .rank = (uint32_t)pg_value_get_i32(result, row, 7),
                .ranks = (uint32_t)pg_value_get_i32(result, row, 8),
                .exit_code = pg_value_get_i32(result, row, 9),
                .signal = pg_value_get_i32(result, row, 10),
            },
        .at_us = pg_value_get_time(result, row, 1),
        .detail = pg_value_get_text(result, row, 14),
    };
    if (!store_check_kind(pg_value_get_text(result, row, 11), &out.fact.kind) ||
        !store_check_cause(pg_value_get_text(result, row, 12), &out.fact.cause) ||
        !store_check_state(pg_value_get_text(result, row, 13), &out.fact.state)) {
        corrupt(load, out.fact.job, "a fact of a kind that this binary does not know");
        return;
    }
    ledger_load_fact(load->ledger, &out.fact);
    load->loader.fact(load->loader.context, &out);
}

static void take_worker(struct pg_load *load, const PGresult *result, int row)
{
    load->loader.worker(load->loader.context, &(struct store_worker){
                                                  .id = (uint32_t)pg_value_get_i64(result, row, 0),
                                                  .name = pg_value_get_text(result, row, 1),
                                                  .public_key = pg_value_get_text(result, row, 2),
                                                  .cpu_milli = pg_value_get_i64(result, row, 3),
                                                  .mem_bytes = pg_value_get_i64(result, row, 4),
                                                  .gpus = pg_value_get_i32(result, row, 5),
                                                  .seen_us = pg_value_get_time(result, row, 6),
                                              });
}

/* Statements: BEGIN, no timeout, [header, workers, keys,] jobs, facts, COMMIT. */
static void on_result(void *context, unsigned statement, const PGresult *result)
{
    struct pg_load *load = context;
    void *to = load->loader.context;
    for (int row = 0; load->rc == MLQ_OK && row < PQntuples(result); row++) {
        if (statement == load->at_jobs) {
            take_job_row(load, result, row);
        } else if (statement == load->at_jobs + 1) {
            give_job(load);
            take_fact(load, result, row);
        } else if (load->only == 0 && statement == 2) {
            load->loader.header(to, (uint64_t)pg_value_get_i64(result, row, 0),
                                (uint32_t)pg_value_get_i64(result, row, 1));
        } else if (load->only == 0 && statement == 3) {
            take_worker(load, result, row);
        } else if (load->only == 0 && statement == 4) {
            load->loader.key(to, pg_value_get_text(result, row, 0),
                             (uint64_t)pg_value_get_i64(result, row, 1));
        }
    }
}

static void finish(struct pg_load *load, int rc, const struct mlq_err *err)
{
    struct store_loader loader = load->loader;
    *load->place = NULL;
    mlq_region_destroy(&load->region);
    mlq_free(load->stages);
    mlq_free(load);
    if (err != NULL) {
        loader.done(loader.context, rc, err);
    }
}

static void on_end(void *context, int rc, const char *sqlstate, const struct mlq_err *err)
{
    (void)sqlstate;
    struct pg_load *load = context;
    if (rc == MLQ_OK && load->rc == MLQ_OK) {
        give_job(load);
    }
    if (rc == MLQ_OK && load->rc == MLQ_OK && load->only != 0 && !load->has_any) {
        load->rc = mlq_fail(&load->err, MLQ_ENOENT, "there is no job %" PRIu64, load->only);
    }
    ledger_loaded(load->ledger, rc == MLQ_OK && load->rc == MLQ_OK);
    struct mlq_err reason = load->rc != MLQ_OK ? load->err : *err;
    finish(load, load->rc != MLQ_OK ? load->rc : rc, &reason);
}

void pg_load_abandon(struct pg_load **load, const struct mlq_err *err)
{
    if (*load != NULL) {
        finish(*load, err == NULL ? MLQ_OK : err->code, err);
    }
}

void pg_load_start(struct pg_conn *conn, struct ledger *ledger, uint64_t job, const struct store_loader *loader,
                   struct pg_load **place)
{
    char room[8];
    struct pg_load *load = mlq_alloc(sizeof *load);
    struct pg_answer answer = {.context = load, .result = on_result, .end = on_end};
    if (!pg_conn_begin(conn, &answer, true)) {
        mlq_free(load);
        *place = NULL;
        return;
    }
    *place = load;
    load->place = place;
    load->loader = *loader;
    load->ledger = ledger;
    load->only = job;
    load->region = mlq_region_create();
    load->stages = mlq_alloc_array(CORE_STAGES_PER_JOB_MAX, sizeof *load->stages);
    load->at_jobs = job == 0 ? 5 : 2;
    pg_conn_statement(conn, PG_SQL_BEGIN_LOAD, NULL, 0);
    pg_conn_statement(conn, PG_SQL_LOAD_SETTINGS, NULL, 0);
    if (job == 0) {
        pg_conn_statement(conn, PG_SQL_LOAD_HEADER, NULL, 0);
        pg_conn_statement(conn, PG_SQL_LOAD_WORKERS, NULL, 0);
        pg_conn_statement(conn, PG_SQL_LOAD_KEYS, NULL, 0);
        pg_conn_statement(conn, PG_SQL_LOAD_JOBS, NULL, 0);
        pg_conn_statement(conn, PG_SQL_LOAD_FACTS, NULL, 0);
    } else {
        struct pg_param id = pg_value_i64((int64_t)job, room);
        pg_conn_statement(conn, PG_SQL_LOAD_ONE_JOB, &id, 1);
        pg_conn_statement(conn, PG_SQL_LOAD_ONE_FACTS, &id, 1);
    }
    pg_conn_statement(conn, PG_SQL_COMMIT, NULL, 0);
    pg_conn_end(conn);
}
