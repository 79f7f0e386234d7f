/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "tests/unit/cm.h"

#include <math.h>
#include <string.h>

#include "lib/sys/mem.h"
#include "lib/sys/region.h"
#include "scheduler/catalog.h"
#include "tests/unit/spec_text.h"

TEST_CATCHES_PANICS

/* 0: one task; 1: a gang of two; 2: an array of four. */
static const char spec[] = "apiVersion: mlq/v1\nkind: Pipeline\nmetadata: {name: t, labels: {a: b}}\nspec:\n  stages:\n"
                           "    one: {run: [echo, hi]}\n"
                           "    two: {run: [echo, hi], ranks: 2}\n"
                           "    many: {run: [echo, hi], array: 4}\n";

struct rig {
    struct specbook *book;
    struct catalog *catalog;
    struct catalog_job *job;
    struct mlq_region *region;
};

static int setup(void **state)
{
    struct rig *rig = mlq_alloc(sizeof *rig);
    struct mlq_err err = MLQ_ERR_INIT;
    rig->book = specbook_create();
    rig->catalog = catalog_create(2, 1);
    rig->region = mlq_region_create();
    rig->job = catalog_job_create(rig->book, spec_text_canonical(spec), &err);
    if (rig->job == NULL) {
        print_message("%s\n", err.text);
        return -1;
    }
    catalog_add(rig->catalog, rig->job, 5);
    *state = rig;
    return 0;
}

static int teardown(void **state)
{
    struct rig *rig = *state;
    catalog_destroy(&rig->catalog);
    specbook_destroy(&rig->book);
    mlq_region_destroy(&rig->region);
    mlq_free(rig);
    return 0;
}

static void assigned(struct rig *rig, uint32_t stage, uint32_t index, uint64_t attempt, uint32_t ranks)
{
    for (uint32_t rank = 0; rank < ranks; rank++) {
        catalog_apply(rig->catalog, &(struct core_fact){.kind = FACT_ASSIGNED,
                                                        .job = 5,
                                                        .stage = stage,
                                                        .index = index,
                                                        .attempt = attempt,
                                                        .rank = rank,
                                                        .ranks = ranks});
    }
}

static void ended(struct rig *rig, uint32_t stage, uint32_t index, uint64_t attempt, uint32_t ranks, uint32_t rank,
                  enum core_cause cause)
{
    catalog_apply(rig->catalog, &(struct core_fact){.kind = FACT_ENDED,
                                                    .job = 5,
                                                    .stage = stage,
                                                    .index = index,
                                                    .attempt = attempt,
                                                    .rank = rank,
                                                    .ranks = ranks,
                                                    .cause = cause});
}

static void put_artifact(struct rig *rig, uint32_t stage, uint64_t attempt, const char *digest)
{
    catalog_put_artifact(rig->job, &(struct catalog_artifact){.stage = stage,
                                                              .attempt = attempt,
                                                              .name = MLQ_STR("model"),
                                                              .digest = mlq_str_from(digest)});
}

static void test_places(void **state)
{
    struct rig *rig = *state;
    assert_ptr_equal(catalog_find(rig->catalog, 5), rig->job);
    assert_null(catalog_find(rig->catalog, 6));
    assert_null(catalog_find(rig->catalog, 0));
    assert_false(catalog_is_full(rig->catalog));
    catalog_add(rig->catalog, catalog_job_create(rig->book, spec_text_canonical(spec), NULL), 6);
    assert_true(catalog_is_full(rig->catalog));
    struct catalog_job *extra = catalog_job_create(rig->book, spec_text_canonical(spec), NULL);
    assert_panics(catalog_add(rig->catalog, extra, 7));
    catalog_remove(rig->catalog, 6);
    catalog_remove(rig->catalog, 6);
    catalog_remove(rig->catalog, 0);
    assert_false(catalog_is_full(rig->catalog));
    catalog_add(rig->catalog, extra, 7);
    assert_ptr_equal(catalog_find(rig->catalog, 7), extra);
    assert_null(catalog_job_create(rig->book, MLQ_STR("nonsense"), NULL));
}

/* A retried task is not counted twice. */
static void test_a_task_is_retried(void **state)
{
    struct rig *rig = *state;
    const struct catalog_stage *stage = &rig->job->stages[2];
    assigned(rig, 2, 1, 11, 1);
    assigned(rig, 2, 2, 12, 1);
    assert_int_equal(stage->running, 2);
    ended(rig, 2, 1, 11, 1, 0, CAUSE_EXIT);
    ended(rig, 2, 2, 12, 1, 0, CAUSE_REQUEUE); /* saved: not a failure */
    assert_int_equal(stage->running, 0);
    assert_int_equal(stage->failed, 1);
    assert_int_equal(catalog_restarts(rig->job, 2, 1), 1);
    assert_int_equal(catalog_restarts(rig->job, 2, 2), 1);
    assert_int_equal(catalog_restarts(rig->job, 2, 3), 0);
    assert_int_equal(catalog_restarts(rig->job, 0, 1), 0);
    assigned(rig, 2, 1, 13, 1);
    assert_int_equal(stage->failed, 0);
    ended(rig, 2, 1, 13, 1, 0, CAUSE_NONE);
    assert_int_equal(stage->succeeded, 1);
    assert_int_equal(stage->failed, 0);
    assert_int_equal(catalog_restarts(rig->job, 2, 1), 1);
}

static void test_many_restarts(void **state)
{
    struct rig *rig = *state;
    for (uint32_t i = 0; i < 1000; i++) {
        for (uint32_t n = 0; n <= i % 3; n++) {
            assigned(rig, 2, i, 1000 + i * 4 + n, 1);
            ended(rig, 2, i, 1000 + i * 4 + n, 1, 0, CAUSE_EXIT);
        }
    }
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(catalog_restarts(rig->job, 2, i), i % 3 + 1);
    }
    assert_int_equal(rig->job->stages[2].failed, 1000);
    catalog_apply(rig->catalog, &(struct core_fact){.kind = FACT_JOB_RETRIED, .job = 5, .at_ns = 9});
    assert_int_equal(rig->job->stages[2].failed, 0);
    assert_int_equal(rig->job->since_ns, 9);
    assigned(rig, 2, 0, 9000, 1);
    assert_int_equal(rig->job->stages[2].failed, 0);
}

/* An attempt of a gang has succeeded when all its ranks have; what rank 0 of another one left is not used. */
static void test_a_gang(void **state)
{
    struct rig *rig = *state;
    const struct catalog_stage *stage = &rig->job->stages[1];
    assigned(rig, 1, 0, 21, 2);
    assert_int_equal(stage->running, 1);
    put_artifact(rig, 1, 21, "sha256:old");
    ended(rig, 1, 0, 21, 2, 0, CAUSE_NONE);
    assert_int_equal(stage->running, 1);
    ended(rig, 1, 0, 21, 2, 1, CAUSE_NODE);
    assert_int_equal(stage->running, 0);
    assert_int_equal(stage->succeeded, 0);
    assert_int_equal(stage->failed, 1);
    put_artifact(rig, 0, 20, "sha256:another stage");
    assigned(rig, 1, 0, 22, 2);
    put_artifact(rig, 1, 22, "sha256:new");
    ended(rig, 1, 0, 22, 2, 1, CAUSE_NONE);
    ended(rig, 1, 0, 22, 2, 0, CAUSE_NONE);
    assert_int_equal(stage->succeeded, 1);
    assert_int_equal(stage->failed, 0);
    assert_int_equal(rig->job->artifact_count, 2);
    assert_true(mlq_str_eq_c(rig->job->artifacts[0].digest, "sha256:another stage"));
    assert_true(mlq_str_eq_c(rig->job->artifacts[1].digest, "sha256:new"));
}

/* From the record: artifacts of the last attempt come first, the facts of all attempts after them. */
static void test_loading_keeps_what_was_won(void **state)
{
    struct rig *rig = *state;
    put_artifact(rig, 1, 22, "sha256:new");
    (void)catalog_put_metric(rig->job, &(struct catalog_metric){.stage = 1, .attempt = 22, .name = MLQ_STR("m"), .value = 2});
    assigned(rig, 1, 0, 21, 2);
    ended(rig, 1, 0, 21, 2, 0, CAUSE_PEER);
    ended(rig, 1, 0, 21, 2, 1, CAUSE_EXIT);
    assigned(rig, 1, 0, 22, 2);
    assert_int_equal(rig->job->artifact_count, 1);
    assert_int_equal(rig->job->metric_count, 1);
}

static void test_metrics(void **state)
{
    struct rig *rig = *state;
    struct catalog_metric metric = {.stage = 0, .attempt = 1, .name = MLQ_STR("loss"), .value = 1};
    assert_true(catalog_put_metric(rig->job, &metric));
    metric.value = (double)NAN;
    assert_true(catalog_put_metric(rig->job, &metric));
    assert_false(catalog_put_metric(rig->job, &metric)); /* the same point once more */
    metric.at_us++;
    assert_true(catalog_put_metric(rig->job, &metric));
    metric.step++;
    assert_true(catalog_put_metric(rig->job, &metric));
    assert_int_equal(rig->job->metric_count, 1);
    assert_true(isnan(rig->job->metrics[0].value));
    metric.stage = 2; /* of an array: expressions cannot name one, but its end repeats it, too */
    assert_true(catalog_put_metric(rig->job, &metric));
    assert_false(catalog_put_metric(rig->job, &metric));
    assert_int_equal(rig->job->metric_count, 1);
    assigned(rig, 2, 0, metric.attempt, 1);
    ended(rig, 2, 0, metric.attempt, 1, 0, CAUSE_NONE);
    assert_int_equal(rig->job->points.count, 0);
    /* What a failed attempt said is not what the next one says. */
    assigned(rig, 0, 0, 1, 1);
    ended(rig, 0, 0, 1, 1, 0, CAUSE_EXIT);
    assert_int_equal(rig->job->metric_count, 1);
    assigned(rig, 0, 0, 2, 1);
    assert_int_equal(rig->job->metric_count, 0);
    for (int i = 0; i < 12000; i++) {
        metric = (struct catalog_metric){.stage = 0, .attempt = 2, .name = mlq_str_from(mlq_region_format(rig->region, "m%d", i))};
        assert_true(catalog_put_metric(rig->job, &metric));
    }
    assert_int_equal(rig->job->metric_count, 10000);
}

static void test_progress(void **state)
{
    struct rig *rig = *state;
    const struct catalog_stage *stage = &rig->job->stages[0];
    char text[200];
    memset(text, 'a', sizeof text);
    memcpy(text + 119, "\xc3\xa9", 2); /* an accent over the limit */
    uint64_t before = rig->job->version;
    catalog_set_progress(rig->catalog, rig->job, 0, 0.25, (struct mlq_str){text, sizeof text});
    assert_true(rig->job->version > before);
    assert_int_equal(strlen(stage->text), 119);
    assert_true(strstr(catalog_watch_json(rig->job, rig->region).ptr, "\"progress\":0.25") != NULL);
    catalog_set_progress(rig->catalog, rig->job, 0, (double)NAN, MLQ_STR("x"));
    assert_true(stage->fraction < 0);
    catalog_set_progress(rig->catalog, rig->job, 0, 1.5, MLQ_STR("x"));
    assert_true(stage->fraction < 0);
    catalog_set_progress(rig->catalog, rig->job, 0, (double)INFINITY, MLQ_STR("x"));
    assert_true(stage->fraction < 0);
    assert_null(strstr(catalog_watch_json(rig->job, rig->region).ptr, "progress"));
}

/* A watcher's version of an earlier leader, or of the job's earlier life, is older than any of this one. */
static void test_versions(void **state)
{
    struct rig *rig = *state;
    uint64_t first = rig->job->version;
    assigned(rig, 0, 0, 1, 1);
    uint64_t last = rig->job->version;
    assert_true(last > first);
    catalog_remove(rig->catalog, 5);
    catalog_add(rig->catalog, catalog_job_create(rig->book, spec_text_canonical(spec), NULL), 5);
    assert_true(catalog_find(rig->catalog, 5)->version > last);
    struct catalog *next = catalog_create(1, 2);
    catalog_add(next, catalog_job_create(rig->book, spec_text_canonical(spec), NULL), 5);
    assert_true(catalog_find(next, 5)->version > catalog_find(rig->catalog, 5)->version);
    catalog_destroy(&next);
}

static void test_rows(void **state)
{
    struct rig *rig = *state;
    struct store_job row = catalog_store_job(rig->job, rig->region);
    assert_int_equal(row.id, 5);
    assert_int_equal(row.stage_count, 3);
    assert_true(mlq_str_eq_c(row.labels, "{\"a\":\"b\"}"));
    assert_true(mlq_str_eq_c(row.stages[1].uses, "run"));
    assert_int_equal(row.stages[1].ranks, 2);
    assert_int_equal(row.stages[2].array_count, 4);
    assert_panics(catalog_apply(rig->catalog, &(struct core_fact){.kind = FACT_STAGE_ENDED, .job = 5, .stage = 3}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_places, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_task_is_retried, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_restarts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_gang, setup, teardown),
        cmocka_unit_test_setup_teardown(test_loading_keeps_what_was_won, setup, teardown),
        cmocka_unit_test_setup_teardown(test_metrics, setup, teardown),
        cmocka_unit_test_setup_teardown(test_progress, setup, teardown),
        cmocka_unit_test_setup_teardown(test_versions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rows, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
