/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * One random sequence of verbs on three records: PostgreSQL, store_mem, and the record of the
 * simulator (tests/sim/sim_record.h). They must take and refuse the same batches, give the same
 * epochs, and load the same rows: what the simulator proves rests on that.
 *
 * More of it, of other seeds, under MLQ_SOURCE_DIR=. (ctest gives it 8 seeds of 200 verbs):
 *   MLQ_RANDOM_FIRST=100 MLQ_RANDOM_SEEDS=50 MLQ_RANDOM_VERBS=300
 * build/asan/tests/test_store_random
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/prng.h"
#include "lib/sys/clock.h"
#include "lib/sys/mem.h"
#include "tests/conformance/store_suite.h"
#include "tests/sim/sim_record.h"
#include "tests/support/pg_cluster.h"

#define LEASE_NS    (1500 * MLQ_NS_PER_MS)
#define SEEDS       8
#define VERBS       200 /* of one seed */
#define ROWS_MAX    4   /* of one batch */
#define ATTEMPTS    64  /* that later rows are about */
#define MODEL_SCALE INT64_C(1000000000000)

static struct pg_cluster *cluster;
static const char *database;
static char *migrations;
static struct store_mem_record *mem_record;

/* ---- The two stores ---- */

static void pg_fresh(void)
{
    database = pg_cluster_database(cluster);
}

static struct store *pg_create(struct uv_loop_s *loop, int64_t lease_ns,
                               const struct store_callbacks *callbacks)
{
    struct store_pg_options options = {
        .conninfo = database, .migrations_dir = migrations, .lease_ns = lease_ns};
    return store_pg_create(loop, &options, callbacks);
}

static void mem_fresh(void)
{
    store_mem_record_destroy(&mem_record);
    mem_record = store_mem_record_create();
}

static struct store *mem_create(struct uv_loop_s *loop, int64_t lease_ns,
                                const struct store_callbacks *callbacks)
{
    store_mem_record_set_lease_ns(mem_record, lease_ns);
    return store_mem_create(loop, mem_record, callbacks);
}

enum { PG, MEM, STORES };

static const struct suite_backend backends[STORES] = {
    [PG] = {.fresh = pg_fresh, .create = pg_create},
    [MEM] = {.fresh = mem_fresh, .create = mem_create},
};

/* ---- A sequence ---- */

struct known {
    uint64_t attempt;
    uint64_t job;
    uint32_t stage, index, rank, ranks, worker;
};

struct world {
    struct mlq_prng prng;
    uint32_t seed;
    uint32_t verb;
    uint32_t taken, refused, elections;
    struct suite_client clients[STORES][2];
    uint32_t leader; /* 0 or 1: the same in both stores */
    struct sim_record model;
    uint32_t model_epoch;
    int64_t model_ns; /* its own time: a lease lasts for ever, unless it is resigned */
    struct core_job_desc descs[SIM_JOBS_MAX + 1];
    struct core_stage_desc stages[SIM_JOBS_MAX + 1][SIM_STAGES_MAX];
    uint64_t attempts;
    struct known known[ATTEMPTS];
    int64_t now_us;
};

static uint64_t below(struct world *world, uint64_t bound)
{
    return mlq_prng_below(&world->prng, bound);
}

static bool chance(struct world *world, uint32_t percent)
{
    return below(world, 100) < percent;
}

static struct suite_client *client_of(struct world *world, uint32_t store)
{
    return &world->clients[store][world->leader];
}

/* ---- Leadership ---- */

static void elect(struct world *world, uint32_t who)
{
    world->leader = who;
    world->elections++;
    for (uint32_t i = 0; i < STORES; i++) {
        suite_elect(client_of(world, i), who == 0 ? "a" : "b");
    }
    world->model_ns++;
    world->model_epoch = sim_record_campaign(&world->model, world->model_ns, MODEL_SCALE);
    assert_int_not_equal(world->model_epoch, 0);
    for (uint32_t i = 0; i < STORES; i++) {
        assert_int_equal(client_of(world, i)->epoch, world->model_epoch);
    }
}

static void wait_deposed(struct world *world, uint32_t store, int depositions)
{
    suite_until(&client_of(world, store)->depositions, depositions, client_of(world, store), NULL);
}

static void resign(struct world *world)
{
    for (uint32_t i = 0; i < STORES; i++) {
        struct suite_client *client = client_of(world, i);
        int depositions = client->depositions;
        client->store->ops->resign(client->store);
        wait_deposed(world, i, depositions + 1);
    }
    sim_record_resign(&world->model, world->model_epoch, world->model_ns);
}

/* ---- Rows ---- */

static struct sim_row submitted(struct world *world)
{
    uint64_t id = world->model.highest_job + 1;
    if (id > SIM_JOBS_MAX || chance(world, 5)) {
        id = 1 + below(world, SIM_JOBS_MAX);
    }
    uint64_t key = chance(world, 95) ? id : 1 + below(world, SIM_JOBS_MAX);
    bool is_new = world->model.jobs[id].desc == NULL;
    if (is_new) {
        struct core_job_desc *desc = &world->descs[id];
        *desc = (struct core_job_desc){.stage_count = (uint16_t)(1 + below(world, SIM_STAGES_MAX)),
                                       .stages = world->stages[id]};
        for (uint16_t i = 0; i < desc->stage_count; i++) {
            world->stages[id][i] =
                (struct core_stage_desc){.array_count = 1 + (uint32_t)below(world, 3),
                                         .ranks = 1 + (uint32_t)below(world, 2)};
        }
    }
    return (struct sim_row){.fact = {.kind = FACT_JOB_SUBMITTED, .job = id, .exit_code = -1},
                            .key = key,
                            .desc = &world->descs[id]};
}

static struct sim_row assigned(struct world *world, uint64_t job)
{
    const struct core_job_desc *desc = &world->descs[job];
    uint32_t stage = (uint32_t)below(world, desc->stage_count);
    bool is_repeated = world->attempts > 0 && chance(world, 8);
    struct known known = {
        .attempt = ++world->attempts,
        .job = job,
        .stage = stage,
        .index = (uint32_t)below(world, desc->stages[stage].array_count),
        .rank = (uint32_t)below(world, desc->stages[stage].ranks),
        .ranks = desc->stages[stage].ranks,
        .worker = 1 + (uint32_t)below(world, 3),
    };
    if (is_repeated) {
        known = world->known[below(world, world->attempts - 1 < ATTEMPTS ? world->attempts - 1
                                                                         : ATTEMPTS)];
    }
    world->known[world->attempts % ATTEMPTS] = known;
    return (struct sim_row){.fact = {.kind = FACT_ASSIGNED,
                                     .job = known.job,
                                     .attempt = known.attempt,
                                     .stage = known.stage,
                                     .index = known.index,
                                     .rank = known.rank,
                                     .ranks = known.ranks,
                                     .worker = known.worker,
                                     .gpu_mask = below(world, 4),
                                     .exit_code = -1}};
}

static struct sim_row news(struct world *world, enum core_fact_kind kind)
{
    struct known known = world->known[below(world, ATTEMPTS)];
    struct core_fact fact = {.kind = kind,
                             .job = known.job,
                             .attempt = known.attempt,
                             .stage = known.stage,
                             .index = known.index,
                             .rank = known.rank,
                             .ranks = known.ranks,
                             .worker = known.worker,
                             .exit_code = -1};
    if (kind == FACT_ENDED) {
        fact.cause = chance(world, 60) ? CAUSE_NONE : (enum core_cause)below(world, CAUSE_COUNT);
        fact.exit_code = (int32_t)below(world, 3);
        fact.signal = (int32_t)below(world, 2) * 9;
    }
    return (struct sim_row){.fact = fact};
}

static struct sim_row of_job(struct world *world, enum core_fact_kind kind, uint64_t job)
{
    static const enum core_state ends[] = {STATE_SUCCEEDED, STATE_FAILED, STATE_CANCELLED};
    struct core_fact fact = {.kind = kind, .job = job, .exit_code = -1};
    if (kind == FACT_JOB_CANCELLED) {
        fact.cause = chance(world, 50) ? CAUSE_CANCEL : CAUSE_TIMEOUT;
    } else if (kind == FACT_JOB_ENDED) {
        fact.state = ends[below(world, 3)];
    } else if (kind == FACT_STAGE_ENDED) {
        fact.stage = (uint32_t)below(world, world->descs[job].stage_count);
        fact.state = ends[below(world, 3)];
    }
    return (struct sim_row){.fact = fact};
}

/* Mostly what a scheduler could say, now and then what none may. */
static struct sim_row any_row(struct world *world, bool may_submit)
{
    uint64_t dice = below(world, 100);
    uint64_t highest = world->model.highest_job;
    if (highest == 0 || (may_submit && dice < 15)) {
        return submitted(world);
    }
    uint64_t job = 1 + below(world, highest);
    for (uint32_t i = 0; i < 8 && (world->model.jobs[job].desc == NULL ||
                                   (world->model.jobs[job].has_ended && dice >= 30));
         i++) {
        job = 1 + below(world, highest);
    }
    if (world->model.jobs[job].desc == NULL) {
        return submitted(world);
    }
    if (dice < 30) {
        enum core_fact_kind end =
            world->model.jobs[job].has_ended ? FACT_JOB_RETRIED : FACT_JOB_ENDED;
        enum core_fact_kind other = end == FACT_JOB_ENDED ? FACT_JOB_RETRIED : FACT_JOB_ENDED;
        return of_job(world, chance(world, 90) ? end : other, job);
    }
    if (dice < 40) {
        return of_job(world, FACT_JOB_CANCELLED, job);
    }
    if (dice < 50) {
        return of_job(world, FACT_STAGE_ENDED, job);
    }
    if (dice < 75 || world->attempts < ATTEMPTS) {
        return assigned(world, job);
    }
    return news(world, dice < 85 ? FACT_STARTED : FACT_ENDED);
}

/* Nobody says that a rank started whose end is known; the ledger of PostgreSQL's store does not
 * know it any more, and calls it a repetition. */
static bool is_late_start(const struct world *world, const struct sim_row *rows, uint32_t count)
{
    const struct core_fact *fact = &rows[count - 1].fact;
    if (fact->kind != FACT_STARTED) {
        return false;
    }
    for (uint32_t i = 0; i < world->model.row_count + count - 1; i++) {
        const struct core_fact *old = i < world->model.row_count
                                          ? &world->model.rows[i].fact
                                          : &rows[i - world->model.row_count].fact;
        if (old->kind == FACT_ENDED && old->attempt == fact->attempt && old->rank == fact->rank) {
            return true;
        }
    }
    return false;
}

/* ---- Verbs ---- */

static int put(struct world *world, uint32_t store, const struct sim_row *rows, uint32_t count)
{
    struct store_job jobs[ROWS_MAX];
    struct store_stage stages[ROWS_MAX][SIM_STAGES_MAX];
    struct store_fact facts[ROWS_MAX];
    char keys[ROWS_MAX][32];
    static const char *const names[] = {"s0", "s1", "s2", "s3"};
    struct store_batch batch = {.jobs = jobs, .facts = facts, .fact_count = count};
    for (uint32_t i = 0; i < count; i++) {
        facts[i] = (struct store_fact){.fact = rows[i].fact, .at_us = rows[i].wall_ns / 1000};
        if (rows[i].fact.kind != FACT_JOB_SUBMITTED) {
            continue;
        }
        const struct core_job_desc *desc = rows[i].desc;
        for (uint16_t k = 0; k < desc->stage_count; k++) {
            stages[i][k] = (struct store_stage){.name = mlq_str_from(names[k]),
                                                .uses = MLQ_STR("run"),
                                                .array_count = desc->stages[k].array_count,
                                                .ranks = desc->stages[k].ranks};
        }
        (void)snprintf(keys[i], sizeof keys[i], "key-%" PRIu64, rows[i].key);
        jobs[batch.job_count++] = (struct store_job){.id = rows[i].fact.job,
                                                     .name = MLQ_STR("j"),
                                                     .kind = MLQ_STR("job"),
                                                     .idempotency_key = mlq_str_from(keys[i]),
                                                     .submitter = MLQ_STR("alice"),
                                                     .spec = MLQ_STR("{}"),
                                                     .submitted_us = facts[i].at_us,
                                                     .stages = stages[i],
                                                     .stage_count = desc->stage_count};
    }
    return suite_commit(client_of(world, store), &batch);
}

static void commit(struct world *world)
{
    struct sim_row rows[ROWS_MAX];
    uint32_t count = 1 + (uint32_t)below(world, ROWS_MAX);
    int depositions[STORES];
    struct known known[ATTEMPTS];
    memcpy(known, world->known, sizeof known);
    for (uint32_t i = 0; i < count; i++) {
        /* Jobs come before what is said of them. */
        do {
            rows[i] = any_row(world, i == 0 || rows[i - 1].fact.kind == FACT_JOB_SUBMITTED);
        } while (is_late_start(world, rows, i + 1));
        rows[i].wall_ns = ++world->now_us * 1000;
    }
    int rc[STORES];
    for (uint32_t i = 0; i < STORES; i++) {
        depositions[i] = client_of(world, i)->depositions;
        rc[i] = put(world, i, rows, count);
    }
    enum sim_put model = sim_record_put(&world->model, world->model_epoch, rows, count);
    bool is_done = model == SIM_PUT_DONE;
    /* Of several wrong rows the first that is looked at gives the code. */
    bool is_alike = count == 1 ? rc[PG] == rc[MEM] : (rc[PG] == MLQ_OK) == (rc[MEM] == MLQ_OK);
    if (!is_alike || is_done != (rc[PG] == MLQ_OK)) {
        fail_msg(
            "seed %u, verb %u: PostgreSQL %d, store_mem %d, the simulator %d; kinds %d %d %d %d",
            world->seed, world->verb, rc[PG], rc[MEM], (int)model, (int)rows[0].fact.kind,
            count > 1 ? (int)rows[1].fact.kind : -1, count > 2 ? (int)rows[2].fact.kind : -1,
            count > 3 ? (int)rows[3].fact.kind : -1);
    }
    world->taken += is_done ? 1 : 0;
    if (is_done) {
        return;
    }
    memcpy(world->known, known, sizeof known); /* what is not there has no news */
    /* A leader whose commit fails gives up: whoever is next reads what is there. */
    world->refused++;
    for (uint32_t i = 0; i < STORES; i++) {
        wait_deposed(world, i, depositions[i] + 1);
    }
    sim_record_resign(&world->model, world->model_epoch, world->model_ns);
    elect(world, (uint32_t)below(world, 2));
}

/* ---- Comparing ---- */

/* Of a dump: the header, which jobs, and every fact; keys and specs are not the simulator's. */
static char *gist(const char *dump)
{
    char *text = mlq_strdup("");
    while (*dump != '\0') {
        size_t len = strcspn(dump, "\n");
        bool is_job = strncmp(dump, "job ", 4) == 0;
        bool is_wanted =
            is_job || strncmp(dump, "header ", 7) == 0 || strncmp(dump, "fact ", 5) == 0;
        if (is_wanted) {
            size_t part = is_job ? 4 + strspn(dump + 4, "0123456789") : len;
            char *more = mlq_format("%s%.*s\n", text, (int)part, dump);
            mlq_free(text);
            text = more;
        }
        dump += len + (dump[len] == '\n' ? 1 : 0);
    }
    return text;
}

static char *add_fact(char *text, const struct sim_row *row)
{
    const struct core_fact *f = &row->fact;
    char *more = mlq_format(
        "%sfact %d %" PRIu64 " %" PRIu64 " %" PRIx64 " %" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu32
        " %" PRIu32 " %d %d %" PRId32 " %" PRId32 " %" PRId64 " []\n",
        text, (int)f->kind, f->job, f->attempt, f->gpu_mask, f->stage, f->index, f->rank, f->ranks,
        f->worker, (int)f->cause, (int)f->state, f->exit_code, f->signal, row->wall_ns / 1000);
    mlq_free(text);
    return more;
}

static char *model_gist(const struct sim_record *model, uint64_t only)
{
    char *text =
        only == 0 ? mlq_format("header %" PRIu64 " 0\n", model->highest_job) : mlq_strdup("");
    for (uint64_t job = 1; job <= model->highest_job; job++) {
        bool is_loaded = model->jobs[job].desc != NULL &&
                         (only == 0 ? !model->jobs[job].has_ended : job == only);
        if (is_loaded) {
            char *more = mlq_format("%sjob %" PRIu64 "\n", text, job);
            mlq_free(text);
            text = more;
        }
    }
    for (uint32_t i = 0; i < model->row_count; i++) {
        if (sim_record_is_loaded(model, &model->rows[i], only)) {
            text = add_fact(text, &model->rows[i]);
        }
    }
    return text;
}

/* The first line that differs: a dump is long. */
static void assert_same(const struct world *world, const char *who, const char *a, const char *b)
{
    while (*a != '\0' || *b != '\0') {
        size_t a_len = strcspn(a, "\n");
        size_t b_len = strcspn(b, "\n");
        if (a_len != b_len || memcmp(a, b, a_len) != 0) {
            fail_msg("seed %u, verb %u, %s:\n%.*s\n%.*s", world->seed, world->verb, who, (int)a_len,
                     a, (int)b_len, b);
        }
        a += a_len + (a[a_len] == '\n' ? 1 : 0);
        b += b_len + (b[b_len] == '\n' ? 1 : 0);
    }
}

static void load(struct world *world, uint64_t job)
{
    const char *pg = suite_load(client_of(world, PG), job);
    const char *mem = suite_load(client_of(world, MEM), job);
    assert_same(world, "PostgreSQL, then store_mem", pg, mem);
    char *real = gist(pg);
    char *model = model_gist(&world->model, job);
    assert_same(world, "the stores, then the simulator", real, model);
    mlq_free(real);
    mlq_free(model);
}

/* The leader stands still past its lease, another is elected, and what the first still sends is not
 * taken by anyone. */
static void supersede(struct world *world)
{
    struct sim_row row = any_row(world, true);
    while (row.fact.job == 0) { /* news of nothing: that is refused before it is sent */
        row = any_row(world, true);
    }
    uint32_t old = world->leader;
    uint32_t old_epoch = world->model_epoch;
    world->model_ns += 2 * MODEL_SCALE;
    elect(world, 1 - old);
    world->leader = old;
    row.wall_ns = ++world->now_us * 1000;
    for (uint32_t i = 0; i < STORES; i++) {
        int depositions = client_of(world, i)->depositions;
        int rc = put(world, i, &row, 1);
        assert_true(rc == MLQ_EFENCED || rc == MLQ_ECONN || rc == MLQ_EUNKNOWN);
        wait_deposed(world, i, depositions + 1);
    }
    assert_int_equal(sim_record_put(&world->model, old_epoch, &row, 1), SIM_PUT_FENCED);
    world->leader = 1 - old;
}

static void run_seed(uint32_t seed, uint32_t verbs)
{
    struct world *world = mlq_alloc(sizeof *world);
    world->seed = seed;
    world->now_us = mlq_clock_wall_us();
    mlq_prng_seed(&world->prng, seed);
    for (uint32_t i = 0; i < STORES; i++) {
        backends[i].fresh();
        for (uint32_t k = 0; k < 2; k++) {
            suite_open(&world->clients[i][k], &backends[i], LEASE_NS);
        }
    }
    elect(world, 0);
    for (world->verb = 0; world->verb < verbs; world->verb++) {
        uint64_t dice = below(world, 100);
        if (dice < 80) {
            commit(world);
        } else if (dice < 95) {
            load(world, chance(world, 50) ? 0 : below(world, world->model.highest_job + 1));
        } else {
            resign(world);
            elect(world, (uint32_t)below(world, 2));
        }
    }
    supersede(world);
    load(world, 0);
    print_message("seed %u: %u batches taken, %u refused, %u elections, %u rows\n", seed,
                  world->taken, world->refused, world->elections, world->model.row_count);
    assert_true(world->taken > world->refused && world->refused > 0);
    for (uint32_t i = 0; i < STORES; i++) {
        for (uint32_t k = 0; k < 2; k++) {
            suite_close(&world->clients[i][k]);
        }
    }
    sim_record_fini(&world->model);
    mlq_free(world);
}

static uint32_t asked(const char *variable, uint32_t usual)
{
    uint64_t number;
    const char *text = getenv(variable);
    return text != NULL && mlq_str_u64(mlq_str_from(text), &number) ? (uint32_t)number : usual;
}

static void test_three_records_are_one(void **state)
{
    (void)state;
    uint32_t first = asked("MLQ_RANDOM_FIRST", 1);
    uint32_t verbs = asked("MLQ_RANDOM_VERBS", VERBS);
    for (uint32_t i = 0; i < asked("MLQ_RANDOM_SEEDS", SEEDS); i++) {
        run_seed(first + i, verbs);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_three_records_are_one)};
    cluster = pg_cluster_start();
    if (cluster == NULL) {
        return 77;
    }
    migrations = mlq_format("%s/migrations", getenv("MLQ_SOURCE_DIR"));
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pg_cluster_stop(&cluster);
    store_mem_record_destroy(&mem_record);
    mlq_free(migrations);
    return failed;
}
