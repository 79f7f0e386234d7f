/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The documents that clients get, as a whole: a pipeline with a gang, a retry, a gate, metrics that
 * are no numbers in JSON, and every selector.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "lib/sys/clock.h"
#include "lib/sys/mem.h"
#include "tests/conformance/store_suite.h"
#include "tests/support/pg_cluster.h"

#define DIGEST "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" /* of "{}" */

/* The expected documents are long literals; ISO C promises only 4,095 bytes. */
#pragma GCC diagnostic ignored "-Woverlength-strings"

#define T0_US INT64_C(1763888400123456) /* 2025-11-23T09:00:00.123Z */
#define S_US  INT64_C(1000000)

static struct pg_cluster *cluster;
static const char *database;
static char *migrations;
static struct suite_client client;

static void fresh(void)
{
    database = pg_cluster_database(cluster);
}

static struct store *create(struct uv_loop_s *loop, int64_t lease_ns,
                            const struct store_callbacks *callbacks)
{
    struct store_pg_options options = {
        .conninfo = database, .migrations_dir = migrations, .lease_ns = lease_ns};
    return store_pg_create(loop, &options, callbacks);
}

static const struct suite_backend backend = {.fresh = fresh, .create = create};

static int setup(void **state)
{
    (void)state;
    fresh();
    suite_open(&client, &backend, 0);
    suite_elect(&client, "a");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    suite_close(&client);
    return 0;
}

/* The last view must be this document; single quotes stand for double ones. */
static void expect_json(const char *want_text)
{
    char *quoted = mlq_strdup(want_text);
    for (char *c = quoted; *c != '\0'; c++) {
        *c = *c == '\'' ? '"' : *c;
    }
    json_error_t error;
    json_t *want = json_loads(quoted, 0, &error);
    if (want == NULL) {
        fail_msg("the test's own JSON: %s at %d", error.text, error.position);
    }
    json_t *got = json_loads(client.json, JSON_REJECT_DUPLICATES, &error);
    if (got == NULL || !json_equal(got, want)) {
        char *a = json_dumps(got, JSON_INDENT(1) | JSON_SORT_KEYS);
        char *b = json_dumps(want, JSON_INDENT(1) | JSON_SORT_KEYS);
        print_message("got %s\nwant %s\n", a == NULL ? client.json : a, b);
        free(a);
        free(b);
        fail_msg("another document");
    }
    json_decref(want);
    json_decref(got);
    mlq_free(quoted);
}

static void show(const struct store_query *query, const char *want)
{
    assert_int_equal(suite_view(&client, query), MLQ_OK);
    expect_json(want);
}

/* Job 12: data (done), train (a gang of two, its first attempt lost), check (a gate that did not let
 * through), map (an array, half way: [0] done, [1] failed, [2] wants to be run again, [3] assigned, [4]
 * untouched), last (untouched). */
/* clang-format off: tables */
#define TXT(text) {.ptr = (text), .len = sizeof(text) - 1}

static const uint16_t train_needs[] = {0};
static const uint16_t check_needs[] = {1, 0};
static const struct store_stage stages[] = {
    {.name = TXT("data"), .uses = TXT("data.import"), .array_count = 1, .ranks = 1},
    {.name = TXT("train"), .uses = TXT("train.native"), .array_count = 1, .ranks = 2,
     .needs = train_needs, .needs_count = 1},
    {.name = TXT("check"), .uses = TXT("gate"), .array_count = 1, .ranks = 1,
     .needs = check_needs, .needs_count = 2},
    {.name = TXT("map"), .uses = TXT("run"), .array_count = 5, .ranks = 1},
    {.name = TXT("last"), .uses = TXT("run"), .array_count = 1, .ranks = 1},
};
static const struct store_job pipeline = {
    .id = 12, .name = TXT("digits"), .kind = TXT("pipeline"), .idempotency_key = TXT("k"),
    .submitter = TXT("alice"), .spec = TXT("{}"), .labels = TXT("{\"team\": \"vision\"}"),
    .priority = 5, .submitted_us = T0_US, .stages = stages, .stage_count = 5};
static const struct store_worker workers[] = {
    {.id = 1, .name = TXT("w1"), .public_key = TXT("k1"), .seen_us = T0_US},
    {.id = 2, .name = TXT("w2"), .public_key = TXT("k2"), .seen_us = T0_US}};

/* Seconds after submission, then the fact. */
#define ROW(s, KIND, ...) {.at_us = T0_US + (s) * S_US, .fact = {.kind = FACT_##KIND, .job = 12, __VA_ARGS__}}
#define RANK0 .rank = 0, .ranks = 2, .worker = 1
#define RANK1 .rank = 1, .ranks = 2, .worker = 2
#define SOLE .ranks = 1, .worker = 1
static const struct store_fact facts[] = {
    ROW(0, JOB_SUBMITTED, .exit_code = -1),
    ROW(1, ASSIGNED, .stage = 0, .attempt = 101, SOLE),
    ROW(2, STARTED, .stage = 0, .attempt = 101, SOLE),
    ROW(3, ENDED, .stage = 0, .attempt = 101, SOLE),
    ROW(3, STAGE_ENDED, .stage = 0, .state = STATE_SUCCEEDED),
    ROW(4, ASSIGNED, .stage = 1, .attempt = 102, RANK0, .gpu_mask = UINT64_C(1) << 63 | 1),
    ROW(4, ASSIGNED, .stage = 1, .attempt = 102, RANK1),
    ROW(5, STARTED, .stage = 1, .attempt = 102, RANK0),
    {.at_us = T0_US + 6 * S_US, .detail = TXT("out of memory: \"8 GiB\""),
     .fact = {.kind = FACT_ENDED, .job = 12, .stage = 1, .attempt = 102, RANK0, .cause = CAUSE_OOM,
              .exit_code = -1, .signal = 9}},
    ROW(6, ENDED, .stage = 1, .attempt = 102, RANK1, .cause = CAUSE_PEER),
    ROW(7, ASSIGNED, .stage = 1, .attempt = 103, RANK0),
    ROW(7, ASSIGNED, .stage = 1, .attempt = 103, RANK1),
    ROW(8, STARTED, .stage = 1, .attempt = 103, RANK0),
    ROW(8, STARTED, .stage = 1, .attempt = 103, RANK1),
    ROW(9, ENDED, .stage = 1, .attempt = 103, RANK0),
    ROW(9, ENDED, .stage = 1, .attempt = 103, RANK1),
    ROW(9, STAGE_ENDED, .stage = 1, .state = STATE_SUCCEEDED),
    ROW(10, ASSIGNED, .stage = 2, .attempt = 104, SOLE),
    ROW(11, ENDED, .stage = 2, .attempt = 104, SOLE),
    ROW(11, STAGE_ENDED, .stage = 2, .state = STATE_SUCCEEDED),
    ROW(10, ASSIGNED, .stage = 3, .attempt = 105, SOLE),
    ROW(10, STARTED, .stage = 3, .attempt = 105, SOLE),
    ROW(11, ENDED, .stage = 3, .attempt = 105, SOLE),
    ROW(11, ASSIGNED, .stage = 3, .index = 1, .attempt = 106, SOLE),
    ROW(12, ENDED, .stage = 3, .index = 1, .attempt = 106, SOLE, .cause = CAUSE_EXIT, .exit_code = 3),
    ROW(12, ASSIGNED, .stage = 3, .index = 2, .attempt = 107, SOLE),
    ROW(13, ENDED, .stage = 3, .index = 2, .attempt = 107, SOLE, .cause = CAUSE_REQUEUE, .exit_code = 75),
    ROW(13, ASSIGNED, .stage = 3, .index = 3, .attempt = 108, SOLE),
};
#define OF(n, a) .job = 12, .stage = n, .attempt = a
static const struct store_metric metrics[] = {
    {OF(1, 102), .name = TXT("loss"), .step = 1, .value = 9, .at_us = T0_US},
    {OF(1, 103), .name = TXT("loss"), .step = 1, .value = 0.5, .at_us = T0_US},
    {OF(1, 103), .name = TXT("loss"), .step = 2, .value = 0.25, .at_us = T0_US},
    {OF(1, 103), .name = TXT("nan"), .step = INT64_MIN, .value = NAN, .at_us = T0_US},
    {OF(1, 103), .name = TXT("inf"), .step = INT64_MIN, .value = -INFINITY, .at_us = T0_US},
    {OF(2, 104), .name = TXT("gate_pass"), .step = INT64_MIN, .value = 0, .at_us = T0_US},
};
static const struct store_artifact artifacts[] = {
    {OF(1, 103), .name = TXT("model.safetensors"), .digest = TXT("sha256:aa"), .bytes = 812},
    {OF(1, 102), .name = TXT("partial"), .digest = TXT("sha256:bb"), .bytes = 1},
    {OF(1, 103), .name = TXT(".log"), .digest = TXT("sha256:l0"), .bytes = 1},
    {OF(1, 103), .rank = 1, .name = TXT(".log"), .digest = TXT("sha256:l1"), .bytes = 1},
};
/* clang-format on */

static void commit_pipeline(void)
{
    const struct store_batch batch = {.jobs = &pipeline,
                                      .job_count = 1,
                                      .facts = facts,
                                      .fact_count = MLQ_COUNT_OF(facts),
                                      .workers = workers,
                                      .worker_count = MLQ_COUNT_OF(workers),
                                      .metrics = metrics,
                                      .metric_count = MLQ_COUNT_OF(metrics),
                                      .artifacts = artifacts,
                                      .artifact_count = MLQ_COUNT_OF(artifacts)};
    assert_int_equal(suite_commit(&client, &batch), MLQ_OK);
}

#define T(s) "'2025-11-23T09:00:" s ".123Z'"
#define ATTEMPT(attempt, index, rank, worker, state, cause, exit, signal, gpus, detail, as, st,    \
                en)                                                                                \
    "{'attempt': '" attempt "', 'index': " index ", 'rank': " rank ", 'worker': '" worker          \
    "', 'state': '" state "', 'cause': " cause ", 'exit': " exit ", 'signal': " signal             \
    ", 'gpus': " gpus ", 'detail': " detail ", 'assigned': " as ", 'started': " st                 \
    ", 'ended': " en "}"
#define PIPELINE                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                               \
    "'schema': 'mlq/v1', 'job': {'id': '12', 'name': 'digits', 'kind': 'pipeline',"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                            \
    " 'state': 'running', 'cause': null, 'priority': 5, 'spec_digest': '" DIGEST "', 'submitter': 'alice',"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                 \
    " 'labels': {'team': 'vision'}, 'retries': 0, 'submitted': " T("00") ", 'started': " T(                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                    \
        "02") ", 'ended': null, 'stages': ["                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                   \
              "{'name': 'data', 'uses': 'data.import', 'state': 'succeeded', 'needs': [], "                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                    \
              "'array': 1,"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                    \
              " 'ranks': 1, 'ranks_min': 1, 'resize': 'never', 'started': " T("02") ", 'ended': " T(                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                              \
                  "03") ", 'verdict': null,"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                   \
                        " 'tasks': {'total': 1, 'succeeded': 1, 'failed': 0, 'running': 0, "                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                   \
                        "'queued': 0},"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                        \
                        " 'attempts_total': 1, 'attempts': [" ATTEMPT(                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                         \
                            "101", "0", "0", "w1", "succeeded", "null", "0", "null", "[]", "null",                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             \
                            T("01"), T("02"),                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                  \
                            T("03")) "], 'metrics': {}, 'artifacts': []},"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                     \
                                     "{'name': 'train', 'uses': 'train.native', 'state': "                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                     \
                                     "'succeeded', 'needs': ['data'], 'array': 1,"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             \
                                     " 'ranks': 2, 'ranks_min': 2, 'resize': 'never', 'started': " T("05") ", 'ended': " T(                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                       \
                                         "09") ", 'verdict': null,"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                            \
                                               " 'tasks': {'total': 1, 'succeeded': 1, 'failed': "                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             \
                                               "0, 'running': 0, 'queued': 0},"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                \
                                               " 'attempts_total': 4, 'attempts': [" ATTEMPT(                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                  \
                                                   "102", "0", "0", "w1", "failed", "'oom'",                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                   \
                                                   "null", "9", "[0, 63]",                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                     \
                                                   "'out of memory: \\'8 GiB\\''", T("04"),                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                    \
                                                   T("05"),                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                    \
                                                   T("06")) "," ATTEMPT("102", "0", "1", "w2",                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                 \
                                                                        "failed", "'peer'", "0",                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                               \
                                                                        "null", "[]", "null",                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                  \
                                                                        T("04"), "null",                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                       \
                                                                        T(                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                     \
                                                                            "06")) "," ATTEMPT("1"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             \
                                                                                               "0"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             \
                                                                                               "3",                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                            \
                                                                                               "0",                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                            \
                                                                                               "0",                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                            \
                                                                                               "w"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             \
                                                                                               "1",                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                            \
                                                                                               "s"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             \
                                                                                               "u"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             \
                                                                                               "c"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             \
                                                                                               "c"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             \
                                                                                               "e"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             \
                                                                                               "e"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             \
                                                                                               "d"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             \
                                                                                               "e"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             \
                                                                                               "d",                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                            \
                                                                                               "n"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             \
                                                                                               "u"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             \
                                                                                               "l"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             \
                                                                                               "l",                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                            \
                                                                                               "0",                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                            \
                                                                                               "n"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             \
                                                                                               "u"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             \
                                                                                               "l"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             \
                                                                                               "l",                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                            \
                                                                                               "["                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             \
                                                                                               "]",                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                            \
                                                                                               "n"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             \
                                                                                               "u"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             \
                                                                                               "l"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             \
                                                                                               "l",                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                            \
                                                                                               T("07"),                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                        \
                                                                                               T("08"), T("09")) "," ATTEMPT("103",                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                            \
                                                                                                                             "0",                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                              \
                                                                                                                             "1",                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                              \
                                                                                                                             "w2",                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             \
                                                                                                                             "succeeded", "null", "0", "null", "[]", "null", T("07"), T("08"), T("09")) "], 'metrics': {'loss': 0.25, 'nan': 'NaN', 'inf': '-Infinity'},"                                                                                                                                                                                                                                                                                                                                                                                                      \
                                                                                                                                                                                                        " 'artifacts': [{'name': 'model.safetensors', 'digest': 'sha256:aa', 'bytes': 812,"                                                                                                                                                                                                                                                                                                                                                                                    \
                                                                                                                                                                                                        " 'tree': false, 'index': 0, 'rank': 0}]},"                                                                                                                                                                                                                                                                                                                                                                                                                            \
                                                                                                                                                                                                        "{'name': 'check', 'uses': 'gate', 'state': 'succeeded', 'needs': ['data', 'train'],"                                                                                                                                                                                                                                                                                                                                                                                  \
                                                                                                                                                                                                        " 'array': 1, 'ranks': 1, 'ranks_min': 1, 'resize': 'never', 'started': null, 'ended': " T("11") ", 'verdict': 'fail',"                                                                                                                                                                                                                                                                                                                                                                                   \
                                                                                                                                                                                                                                                                      " 'tasks': {'total': 1, 'succeeded': 1, 'failed': 0, 'running': 0, 'queued': 0},"                                                                                                                                                                                                                                                                                                                        \
                                                                                                                                                                                                                                                                      " 'attempts_total': 1, 'attempts': [" ATTEMPT("104",                                                                                                                                                                                                                                                                                                                                                     \
                                                                                                                                                                                                                                                                                                                    "0",                                                                                                                                                                                                                                                                                                                                                       \
                                                                                                                                                                                                                                                                                                                    "0", "w1", "succeeded", "null", "0", "null",                                                                                                                                                                                                                                                                                                               \
                                                                                                                                                                                                                                                                                                                    "[]", "null", T("10"), "null", T("11")) "], 'metrics': {'gate_pass': 0}, 'artifacts': []},"                                                                                                                                                                                                                                                                \
                                                                                                                                                                                                                                                                                                                                                            "{'name': 'map', 'uses': 'run', 'state': 'running', 'needs': [], 'array': 5, 'ranks': 1, 'ranks_min': 1, 'resize': 'never',"                                                                                                                                                                                                                          \
                                                                                                                                                                                                                                                                                                                                                            " 'started': " T(                                                                                                                                                                                                                                                                                                  \
                                                                                                                                                                                                                                                                                                                                                                "10") ", 'ended': null, 'verdict': null,"                                                                                                                                                                                                                                                                      \
                                                                                                                                                                                                                                                                                                                                                                      " 'tasks': {'total': 5, 'succeeded': 1, 'failed': 1, 'running': 1, 'queued': 2},"                                                                                                                                                                                                                        \
                                                                                                                                                                                                                                                                                                                                                                      " 'attempts_total': 4, 'attempts': [" ATTEMPT(                                                                                                                                                                                                                                                           \
                                                                                                                                                                                                                                                                                                                                                                          "105", "0",                                                                                                                                                                                                                                                                                          \
                                                                                                                                                                                                                                                                                                                                                                          "0",                                                                                                                                                                                                                                                                                                 \
                                                                                                                                                                                                                                                                                                                                                                          "w1",                                                                                                                                                                                                                                                                                                \
                                                                                                                                                                                                                                                                                                                                                                          "succeeded",                                                                                                                                                                                                                                                                                         \
                                                                                                                                                                                                                                                                                                                                                                          "null",                                                                                                                                                                                                                                                                                              \
                                                                                                                                                                                                                                                                                                                                                                          "0",                                                                                                                                                                                                                                                                                                 \
                                                                                                                                                                                                                                                                                                                                                                          "null",                                                                                                                                                                                                                                                                                              \
                                                                                                                                                                                                                                                                                                                                                                          "[]",                                                                                                                                                                                                                                                                                                \
                                                                                                                                                                                                                                                                                                                                                                          "null", T("10"), T("10"), T("11")) "," ATTEMPT("106", "1", "0", "w1", "failed", "'exit'",                                                                                                                                                                                                            \
                                                                                                                                                                                                                                                                                                                                                                                                                         "3", "null", "[]", "null", T("11"),                                                                                                                                                                                                                   \
                                                                                                                                                                                                                                                                                                                                                                                                                         "null", T("12")) "," ATTEMPT("107",                                                                                                                                                                                                                   \
                                                                                                                                                                                                                                                                                                                                                                                                                                                      "2",                                                                                                                                                                                                                     \
                                                                                                                                                                                                                                                                                                                                                                                                                                                      "0",                                                                                                                                                                                                                     \
                                                                                                                                                                                                                                                                                                                                                                                                                                                      "w1", "failed", "'requeue'", "75", "null", "[]", "null", T("12"),                                                                                                                                                        \
                                                                                                                                                                                                                                                                                                                                                                                                                                                      "null", T("13")) "," ATTEMPT("108", "3", "0", "w1", "pending", "null", "null", "null", "[]", "null", T("13"), "null", "null") "], 'metrics': {}, 'artifacts': []},"                                                      \
                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                    "{'name': 'last', 'uses': 'run', 'state': 'pending', 'needs': [], 'array': 1, 'ranks': 1, 'ranks_min': 1, 'resize': 'never'," \
                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                    " 'started': null, 'ended': null, 'verdict': null,"                                        \
                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                    " 'tasks': {'total': 1, 'succeeded': 0, 'failed': 0, 'running': 0, 'queued': 1},"          \
                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                    " 'attempts_total': 0, 'attempts': [], 'metrics': {}, 'artifacts': []}]}"

static void test_show_and_record(void **state)
{
    (void)state;
    commit_pipeline();
    show(&(struct store_query){.view = VIEW_SHOW, .job = 12}, "{" PIPELINE "}");
    show(&(struct store_query){.view = VIEW_RECORD, .job = 12},
         "{" PIPELINE
         ", 'history': {'train': {'loss': [[1, 0.5], [2, 0.25]], 'nan': [[null, 'NaN']],"
         " 'inf': [[null, '-Infinity']]}, 'check': {'gate_pass': [[null, 0]]}}}");
    assert_int_equal(suite_view(&client, &(struct store_query){.view = VIEW_SHOW, .job = 13}),
                     MLQ_ENOENT);
    assert_int_equal(
        suite_view(&client, &(struct store_query){.view = VIEW_RECORD, .job = UINT64_MAX}),
        MLQ_ENOENT);
}

static void test_metrics_and_attempts(void **state)
{
    (void)state;
    commit_pipeline();
    show(
        &(struct store_query){
            .view = VIEW_METRICS, .job = 12, .stage = MLQ_STR("train"), .name = MLQ_STR("loss")},
        "{'schema': 'mlq/v1', 'job': '12', 'metrics': ["
        "{'stage': 'train', 'index': 0, 'attempt': '102', 'name': 'loss', 'points': [[1, 9, " T(
            "00") "]]},"
                  "{'stage': 'train', 'index': 0, 'attempt': '103', 'name': 'loss', 'points':"
                  " [[1, 0.5, " T("00") "], [2, 0.25, " T("00") "]]}]}");
    show(&(struct store_query){.view = VIEW_METRICS, .job = 12, .stage = MLQ_STR("data")},
         "{'schema': 'mlq/v1', 'job': '12', 'metrics': []}");
    assert_int_equal(suite_view(&client, &(struct store_query){.view = VIEW_METRICS, .job = 1}),
                     MLQ_ENOENT);
    show(
        &(struct store_query){
            .view = VIEW_ATTEMPT, .job = 12, .stage = MLQ_STR("train"), .rank = 1},
        "{'schema': 'mlq/v1', 'attempt': '103', 'rank': 1, 'ranks': 2, 'worker': 2, 'name': 'w2',"
        " 'state': 'succeeded', 'log': 'sha256:l1'}");
    show(
        &(struct store_query){.view = VIEW_ATTEMPT, .job = 12, .stage = MLQ_STR("map"), .index = 3},
        "{'schema': 'mlq/v1', 'attempt': '108', 'rank': 0, 'ranks': 1, 'worker': 1, 'name': 'w1',"
        " 'state': 'pending', 'log': null}");
    assert_int_equal(suite_view(&client, &(struct store_query){.view = VIEW_ATTEMPT,
                                                               .job = 12,
                                                               .stage = MLQ_STR("last")}),
                     MLQ_ENOENT);
    assert_int_equal(suite_view(&client, &(struct store_query){.view = VIEW_ATTEMPT,
                                                               .job = 12,
                                                               .stage = MLQ_STR("map"),
                                                               .index = UINT32_MAX}),
                     MLQ_ENOENT);
}

static void resolve(const char *selector, int rc, const char *want)
{
    assert_int_equal(suite_view(&client, &(struct store_query){.view = VIEW_RESOLVE,
                                                               .selector = mlq_str_from(selector)}),
                     rc);
    if (rc == MLQ_OK) {
        char *text = mlq_format("{'schema': 'mlq/v1', 'jobs': %s}", want);
        expect_json(text);
        mlq_free(text);
    }
}

static void test_selectors(void **state)
{
    (void)state;
    resolve("last", MLQ_ENOENT, NULL);
    resolve("1-9", MLQ_OK, "[]");
    for (uint64_t id = 1; id <= 3; id++) {
        assert_int_equal(suite_commit(&client, suite_job(id, NULL)), MLQ_OK);
    }
    commit_pipeline();
    struct store_fact end = suite_fact(FACT_JOB_ENDED, 2, 0);
    end.fact.state = STATE_FAILED;
    assert_int_equal(suite_commit_facts(&client, &end, 1), MLQ_OK);
    resolve("last", MLQ_OK, "['12']");
    resolve("2", MLQ_OK, "['2']");
    resolve("4", MLQ_ENOENT, NULL);
    resolve("2-12", MLQ_OK, "['2', '3', '12']");
    resolve("@digits", MLQ_OK, "['12']");
    resolve("@nobody", MLQ_ENOENT, NULL);
    resolve("team=vision", MLQ_OK, "['12']");
    resolve("team=\"'); DROP TABLE mlq.job; --", MLQ_OK, "[]");
    resolve("state=failed", MLQ_OK, "['2']");
    resolve("state=pending", MLQ_OK, "['1', '3']");
    resolve("state=lost", MLQ_EINVAL, NULL);
    static const char *const bad[] = {"",
                                      "@",
                                      "=",
                                      "=x",
                                      "12-",
                                      "-12",
                                      "9-2",
                                      "1-2-3",
                                      "LAST",
                                      " 1",
                                      "99999999999999999999",
                                      "1,2",
                                      "\xff=1",
                                      "*"};
    for (size_t i = 0; i < MLQ_COUNT_OF(bad); i++) {
        resolve(bad[i], MLQ_EINVAL, NULL);
    }
    assert_int_equal(
        suite_view(&client, &(struct store_query){.view = VIEW_RESOLVE,
                                                  .selector = {.ptr = "a=\0", .len = 3}}),
        MLQ_EINVAL);
}

static void test_list(void **state)
{
    (void)state;
    assert_int_equal(suite_commit(&client, suite_job(3, NULL)), MLQ_OK);
    commit_pipeline();
#define JOB_3                                                                                      \
    "{'id': '3', 'name': 'digits', 'kind': 'job', 'state': 'pending', 'priority': 0,"              \
    " 'submitter': 'alice', 'labels': {}, 'submitted': " T(                                        \
        "00") ", 'started': null, 'ended': null,"                                                  \
              " 'stages': {'total': 1, 'succeeded': 0, 'failed': 0, 'running': 0}}"
#define JOB_12                                                                                     \
    "{'id': '12', 'name': 'digits', 'kind': 'pipeline', 'state': 'running', 'priority': 5,"        \
    " 'submitter': 'alice', 'labels': {'team': 'vision'}, 'submitted': " T(                        \
        "00") ", 'started': " T("02") ", 'ended': null,"                                           \
                                      " 'stages': {'total': 5, 'succeeded': 3, 'failed': 0, "      \
                                      "'running': 1}}"
    show(&(struct store_query){.view = VIEW_LIST},
         "{'schema': 'mlq/v1', 'jobs': [" JOB_12 ", " JOB_3 "]}");
    show(&(struct store_query){.view = VIEW_LIST, .limit = 1},
         "{'schema': 'mlq/v1', 'jobs': [" JOB_12 "]}");
    show(&(struct store_query){.view = VIEW_LIST, .before = 12},
         "{'schema': 'mlq/v1', 'jobs': [" JOB_3 "]}");
    show(&(struct store_query){.view = VIEW_LIST,
                               .selector = MLQ_STR("running"),
                               .name = MLQ_STR("digits")},
         "{'schema': 'mlq/v1', 'jobs': [" JOB_12 "]}");
    show(&(struct store_query){.view = VIEW_LIST, .name = MLQ_STR("x")},
         "{'schema': 'mlq/v1', 'jobs': []}");
    assert_int_equal(
        suite_view(&client, &(struct store_query){.view = VIEW_LIST, .selector = MLQ_STR("x")}),
        MLQ_EINVAL);
}

/* A big array: its document stays small and is made in time. */
static void test_an_array_of_thousands_is_bounded(void **state)
{
    (void)state;
    enum { TASKS = 20000 };
    struct store_batch batch = *suite_job(1, NULL);
    struct store_stage stage = batch.jobs[0].stages[0];
    struct store_job job = batch.jobs[0];
    stage.array_count = CORE_ARRAY_MAX;
    job.stages = &stage;
    batch.jobs = &job;
    assert_int_equal(suite_commit(&client, &batch), MLQ_OK);
    struct store_fact *life = mlq_alloc_array(TASKS * 2, sizeof *life);
    for (uint32_t i = 0; i < TASKS; i++) {
        life[2 * i] = suite_fact(FACT_ASSIGNED, 1, 1000 + i);
        life[2 * i + 1] = suite_fact(FACT_ENDED, 1, 1000 + i);
        life[2 * i].fact.index = life[2 * i + 1].fact.index = i;
    }
    assert_int_equal(suite_commit_facts(&client, life, TASKS * 2), MLQ_OK);
    mlq_free(life);
    assert_int_equal(suite_view(&client, &(struct store_query){.view = VIEW_SHOW, .job = 1}),
                     MLQ_OK);
    json_error_t error;
    json_t *doc = json_loads(client.json, 0, &error);
    json_t *shown = json_array_get(json_object_get(json_object_get(doc, "job"), "stages"), 0);
    json_t *attempts = json_object_get(shown, "attempts");
    assert_int_equal(json_array_size(attempts), 1000);
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(attempts, 999), "attempt")), "20999");
    assert_int_equal(json_integer_value(json_object_get(shown, "attempts_total")), TASKS);
    json_t *tasks = json_object_get(shown, "tasks");
    assert_int_equal(json_integer_value(json_object_get(tasks, "succeeded")), TASKS);
    assert_int_equal(json_integer_value(json_object_get(tasks, "queued")), CORE_ARRAY_MAX - TASKS);
    json_decref(doc);
}

static void test_no_database_is_said_in_time(void **state)
{
    (void)state;
    struct suite_client alone;
    database = "host=/nonexistent/mlq user=mlq dbname=mlq";
    suite_open(&alone, &backend, 0);
    assert_int_equal(suite_view(&alone, &(struct store_query){.view = VIEW_LIST}), MLQ_ECONN);
    assert_int_equal(suite_view(&alone, &(struct store_query){.view = VIEW_LIST}), MLQ_ECONN);
    suite_close(&alone);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_show_and_record, setup, teardown),
        cmocka_unit_test_setup_teardown(test_metrics_and_attempts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_selectors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_list, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_array_of_thousands_is_bounded, setup, teardown),
        cmocka_unit_test(test_no_database_is_said_in_time),
    };
    cluster = pg_cluster_start();
    if (cluster == NULL) {
        return 77;
    }
    migrations = mlq_format("%s/migrations", getenv("MLQ_SOURCE_DIR"));
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pg_cluster_stop(&cluster);
    mlq_free(migrations);
    return failed;
}
