/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * How fast the journal is, on a private PostgreSQL with fsync on: batches of 1, 10, 100 and 1000
 * tasks' lives (assigned, started, ended: three facts each), one batch in flight and eight. Not a
 * test: it prints figures. Usage: bench_store [seconds per line, default 2]
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "lib/sys/clock.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "scheduler/store/store.h"
#include "tests/support/pg_cluster.h"

#define LIVES_MAX 1000

struct bench {
    uv_loop_t loop;
    struct store *store;
    bool is_leader;
    int in_flight;
    int failures;
    uint64_t commits;
    uint64_t attempt;
};

static void on_elected(void *context, uint32_t epoch)
{
    (void)epoch;
    ((struct bench *)context)->is_leader = true;
}

static void on_deposed(void *context, const struct mlq_err *err)
{
    (void)context;
    (void)fprintf(stderr, "bench_store: %s\n", err->text);
    exit(1);
}

static void on_commit(void *context, int rc, const struct mlq_err *err)
{
    struct bench *bench = context;
    bench->in_flight--;
    bench->commits++;
    if (rc != MLQ_OK) {
        (void)fprintf(stderr, "bench_store: %s\n", err->text);
        bench->failures++;
    }
}

static void put_job(struct bench *bench, uint64_t id)
{
    struct store_stage stage = {
        .name = MLQ_STR("main"), .uses = MLQ_STR("run"), .array_count = CORE_ARRAY_MAX, .ranks = 1};
    struct store_job job = {.id = id,
                            .name = MLQ_STR("bench"),
                            .kind = MLQ_STR("job"),
                            .submitter = MLQ_STR("bench"),
                            .spec = MLQ_STR("{}"),
                            .submitted_us = mlq_clock_wall_us(),
                            .stages = &stage,
                            .stage_count = 1};
    struct store_batch batch = {.jobs = &job, .job_count = 1};
    bench->in_flight++;
    bench->store->ops->commit(bench->store, &batch, on_commit, bench);
}

static void put_lives(struct bench *bench, uint64_t job, uint32_t lives, uint32_t *index)
{
    static const enum core_fact_kind kinds[] = {FACT_ASSIGNED, FACT_STARTED, FACT_ENDED};
    static struct store_fact facts[LIVES_MAX * 3];
    int64_t now_us = mlq_clock_wall_us();
    for (uint32_t i = 0; i < lives * 3; i++) {
        facts[i] = (struct store_fact){.at_us = now_us,
                                       .fact = {.kind = kinds[i % 3],
                                                .job = job,
                                                .attempt = bench->attempt + i / 3,
                                                .index = *index + i / 3,
                                                .ranks = 1,
                                                .worker = 1}};
    }
    bench->attempt += lives;
    *index += lives;
    struct store_batch batch = {.facts = facts, .fact_count = (size_t)lives * 3};
    bench->in_flight++;
    bench->store->ops->commit(bench->store, &batch, on_commit, bench);
}

static void measure(struct bench *bench, uint64_t job, uint32_t lives, int depth,
                    int64_t duration_ns)
{
    uint32_t index = 0;
    put_job(bench, job);
    while (bench->in_flight > 0) {
        (void)uv_run(&bench->loop, UV_RUN_ONCE);
    }
    bench->commits = 0;
    int64_t start_ns = mlq_clock_boot_ns();
    while (mlq_clock_boot_ns() < start_ns + duration_ns || bench->in_flight > 0) {
        while (bench->in_flight < depth && mlq_clock_boot_ns() < start_ns + duration_ns) {
            put_lives(bench, job, lives, &index);
        }
        (void)uv_run(&bench->loop, UV_RUN_ONCE);
    }
    double seconds = (double)(mlq_clock_boot_ns() - start_ns) / (double)MLQ_NS_PER_S;
    printf("%6" PRIu32 " %9d %11.0f %11.0f %11.0f\n", lives, depth,
           (double)bench->commits / seconds, (double)bench->commits * lives * 3 / seconds,
           (double)bench->commits * lives / seconds);
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    static const uint32_t lives[] = {1, 10, 100, 1000};
    static const int depths[] = {1, 8};
    long seconds = argc > 1 ? strtol(argv[1], NULL, 10) : 2;
    const char *source = getenv("MLQ_SOURCE_DIR");
    struct pg_cluster *cluster = pg_cluster_start();
    if (cluster == NULL || seconds < 1) {
        return 1;
    }
    mlq_log_set_level(MLQ_LOG_WARN);
    char *migrations = mlq_format("%s/migrations", source == NULL ? "." : source);
    struct bench bench = {.attempt = 1};
    struct store_pg_options options = {.conninfo = pg_cluster_database(cluster),
                                       .migrations_dir = migrations};
    struct store_callbacks callbacks = {
        .context = &bench, .elected = on_elected, .deposed = on_deposed};
    (void)uv_loop_init(&bench.loop);
    bench.store = store_pg_create(&bench.loop, &options, &callbacks);
    bench.store->ops->campaign(bench.store, "bench");
    while (!bench.is_leader) {
        (void)uv_run(&bench.loop, UV_RUN_ONCE);
    }
    printf(" lives in flight   commits/s     facts/s     lives/s\n");
    uint64_t job = 1;
    for (size_t d = 0; d < MLQ_COUNT_OF(depths); d++) {
        for (size_t i = 0; i < MLQ_COUNT_OF(lives); i++) {
            measure(&bench, job++, lives[i], depths[d], seconds * MLQ_NS_PER_S);
        }
    }
    bench.store->ops->close(bench.store, NULL, NULL);
    (void)uv_run(&bench.loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&bench.loop);
    mlq_free(migrations);
    pg_cluster_stop(&cluster);
    return bench.failures == 0 ? 0 : 1;
}
