/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "tests/conformance/store_suite.h"

#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/sys/clock.h"
#include "lib/sys/mem.h"
#include "tests/support/patience.h"

#define LEASE_NS (600 * MLQ_NS_PER_MS)
#define NOW_US   INT64_C(1763888400123456)
#define LIMIT_NS patience(60 * MLQ_NS_PER_S)
#define RIVAL_NS patience(3 * MLQ_NS_PER_S) /* a lease that another one is after: a disk may be busy for a while */

static const struct suite_backend *suite_backend;

/* ---- The client ------------------------------------------------------------------------------ */

static void on_elected(void *context, uint32_t epoch)
{
    struct suite_client *client = context;
    assert_false(client->commit_in_call);
    assert_true(epoch > 0);
    client->epoch = epoch;
    client->elections++;
}

static void on_deposed(void *context, const struct mlq_err *err)
{
    struct suite_client *client = context;
    assert_false(client->commit_in_call);
    assert_int_equal(client->commit_answers, client->commit_calls); /* all answered before */
    client->epoch = 0;
    client->deposed_code = err->code;
    client->depositions++;
}

void suite_open(struct suite_client *client, const struct suite_backend *backend, int64_t lease_ns)
{
    memset(client, 0, sizeof *client);
    assert_int_equal(uv_loop_init(&client->loop), 0);
    struct store_callbacks callbacks = {
        .context = client, .elected = on_elected, .deposed = on_deposed};
    client->store = backend->create(&client->loop, lease_ns, &callbacks);
}

static void on_closed(void *context)
{
    struct suite_client *client = context;
    client->is_closed = true;
}

void suite_close(struct suite_client *client)
{
    if (client->store == NULL) {
        return;
    }
    client->store->ops->close(client->store, on_closed, client);
    client->store = NULL;
    assert_int_equal(uv_run(&client->loop, UV_RUN_DEFAULT), 0); /* nothing keeps it alive */
    assert_true(client->is_closed);
    assert_int_equal(uv_loop_close(&client->loop), 0);
    mlq_free(client->dump);
    mlq_free(client->json);
    client->dump = NULL;
    client->json = NULL;
}

void suite_until(const int *counter, int want, struct suite_client *first,
                 struct suite_client *second)
{
    int64_t limit_ns = mlq_clock_boot_ns() + LIMIT_NS;
    struct suite_client *clients[] = {first, second};
    while (*counter < want) {
        struct pollfd fds[2];
        int wait_ms = 1000;
        nfds_t count = 0;
        for (size_t i = 0; i < 2; i++) {
            if (clients[i] != NULL) {
                (void)uv_run(&clients[i]->loop, UV_RUN_NOWAIT);
                int timeout_ms = uv_backend_timeout(&clients[i]->loop);
                wait_ms = timeout_ms >= 0 && timeout_ms < wait_ms ? timeout_ms : wait_ms;
                fds[count++] =
                    (struct pollfd){.fd = uv_backend_fd(&clients[i]->loop), .events = POLLIN};
            }
        }
        if (*counter < want) {
            (void)poll(fds, count, wait_ms);
        }
        if (mlq_clock_boot_ns() > limit_ns) {
            fail_msg("nothing happened in a minute");
        }
    }
}

void suite_elect(struct suite_client *client, const char *holder)
{
    int before = client->elections;
    client->commit_in_call = true;
    client->store->ops->campaign(client->store, holder);
    client->commit_in_call = false;
    suite_until(&client->elections, before + 1, client, NULL);
}

struct commit_call {
    struct suite_client *client;
    int number;
};

static void on_commit(void *context, int rc, const struct mlq_err *err)
{
    struct commit_call *call = context;
    struct suite_client *client = call->client;
    assert_false(client->commit_in_call);
    assert_int_equal(call->number, client->commit_answers);
    if (rc != MLQ_OK) {
        assert_int_equal(err->code, rc);
        assert_true(err->text[0] != '\0');
        print_message("commit %d: %s\n", call->number, err->text);
    }
    client->commit_rc[client->commit_answers++ % SUITE_COMMITS_MAX] = rc;
    mlq_free(call);
}

int suite_commit_async(struct suite_client *client, const struct store_batch *batch)
{
    struct commit_call *call = mlq_alloc(sizeof *call);
    call->client = client;
    call->number = client->commit_calls++;
    client->commit_in_call = true;
    client->store->ops->commit(client->store, batch, on_commit, call);
    client->commit_in_call = false;
    return client->commit_calls - 1;
}

int suite_commit(struct suite_client *client, const struct store_batch *batch)
{
    int number = suite_commit_async(client, batch);
    suite_until(&client->commit_answers, number + 1, client, NULL);
    return client->commit_rc[number % SUITE_COMMITS_MAX];
}

/* ---- A load as text -------------------------------------------------------------------------- */

static void say(struct suite_client *client, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static void say(struct suite_client *client, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *line = mlq_vformat(fmt, args);
    va_end(args);
    size_t len = strlen(line);
    client->dump = mlq_realloc_array(client->dump, client->dump_len + len + 1, 1);
    memcpy(client->dump + client->dump_len, line, len + 1);
    client->dump_len += len;
    mlq_free(line);
}

static void dump_header(void *context, uint64_t highest_job, uint32_t highest_worker)
{
    say(context, "header %" PRIu64 " %" PRIu32 "\n", highest_job, highest_worker);
}

static void dump_worker(void *context, const struct store_worker *w)
{
    say(context, "worker %" PRIu32 " %.*s %.*s %" PRId64 " %" PRId64 " %" PRId32 " %" PRId64 "\n",
        w->id, MLQ_STR_ARG(w->name), MLQ_STR_ARG(w->public_key), w->cpu_milli, w->mem_bytes,
        w->gpus, w->seen_us);
}

static void dump_key(void *context, struct mlq_str key, uint64_t job)
{
    say(context, "key %.*s %" PRIu64 "\n", MLQ_STR_ARG(key), job);
}

static void dump_job(void *context, const struct store_job *job)
{
    say(context,
        "job %" PRIu64 " [%.*s] [%.*s] [%.*s] [%.*s] [%.*s] [%.*s] %" PRId32 " %" PRId64 "\n",
        job->id, MLQ_STR_ARG(job->name), MLQ_STR_ARG(job->kind), MLQ_STR_ARG(job->idempotency_key),
        MLQ_STR_ARG(job->submitter), MLQ_STR_ARG(job->spec), MLQ_STR_ARG(job->labels),
        job->priority, job->submitted_us);
    for (uint16_t i = 0; i < job->stage_count; i++) {
        const struct store_stage *stage = &job->stages[i];
        say(context, "  stage %.*s %.*s %" PRIu32 " %" PRIu32 " needs", MLQ_STR_ARG(stage->name),
            MLQ_STR_ARG(stage->uses), stage->array_count, stage->ranks);
        for (uint16_t n = 0; n < stage->needs_count; n++) {
            say(context, " %u", stage->needs[n]);
        }
        say(context, "\n");
    }
    if (job->retries > 0) {
        say(context, "  retried %" PRIu32 "\n", job->retries);
    }
}

static void dump_artifact(void *context, const struct store_artifact *a)
{
    say(context,
        "artifact %" PRIu64 " %" PRIu64 " %" PRIu32 " %" PRIu32 " %" PRIu32
        " [%.*s] [%.*s] %" PRIu64 " %d\n",
        a->job, a->attempt, a->stage, a->index, a->rank, MLQ_STR_ARG(a->name),
        MLQ_STR_ARG(a->digest), a->bytes, a->is_tree);
}

static void dump_metric(void *context, const struct store_metric *m)
{
    say(context,
        "metric %" PRIu64 " %" PRIu64 " %" PRIu32 " %" PRIu32 " [%.*s] %" PRId64 " %a %" PRId64
        "\n",
        m->job, m->attempt, m->stage, m->index, MLQ_STR_ARG(m->name), m->step, m->value, m->at_us);
}

static void dump_fact(void *context, const struct store_fact *row)
{
    const struct core_fact *f = &row->fact;
    say(context,
        "fact %d %" PRIu64 " %" PRIu64 " %" PRIx64 " %" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu32
        " %" PRIu32 " %d %d %" PRId32 " %" PRId32 " %" PRId64 " [%.*s]\n",
        (int)f->kind, f->job, f->attempt, f->gpu_mask, f->stage, f->index, f->rank, f->ranks,
        f->worker, (int)f->cause, (int)f->state, f->exit_code, f->signal, row->at_us,
        MLQ_STR_ARG(row->detail));
}

static void dump_done(void *context, int rc, const struct mlq_err *err)
{
    struct suite_client *client = context;
    assert_false(client->commit_in_call);
    if (rc != MLQ_OK) {
        assert_int_equal(err->code, rc);
    }
    client->load_rc = rc;
    client->is_loading = false;
    client->views++;
}

static struct store_loader dumper(struct suite_client *client)
{
    return (struct store_loader){
        .context = client,
        .header = dump_header,
        .worker = dump_worker,
        .key = dump_key,
        .job = dump_job,
        .artifact = dump_artifact,
        .metric = dump_metric,
        .fact = dump_fact,
        .done = dump_done,
    };
}

const char *suite_load(struct suite_client *client, uint64_t job)
{
    struct store_loader loader = dumper(client);
    mlq_free(client->dump);
    client->dump = mlq_strdup("");
    client->dump_len = 0;
    client->is_loading = true;
    int before = client->views;
    client->commit_in_call = true;
    if (job == 0) {
        client->store->ops->load(client->store, &loader);
    } else {
        client->store->ops->load_job(client->store, job, &loader);
    }
    client->commit_in_call = false;
    suite_until(&client->views, before + 1, client, NULL);
    return client->dump;
}

static void on_view(void *context, int rc, struct mlq_str json, const struct mlq_err *err)
{
    struct suite_client *client = context;
    assert_false(client->commit_in_call);
    if (rc != MLQ_OK) {
        assert_int_equal(err->code, rc);
        assert_int_equal(json.len, 0);
    }
    mlq_free(client->json);
    client->json = mlq_strndup(json);
    client->view_rc = rc;
    client->views++;
}

int suite_view(struct suite_client *client, const struct store_query *query)
{
    int before = client->views;
    client->commit_in_call = true;
    client->store->ops->view(client->store, query, on_view, client);
    client->commit_in_call = false;
    suite_until(&client->views, before + 1, client, NULL);
    return client->view_rc;
}

/* ---- Rows ------------------------------------------------------------------------------------ */

struct store_fact suite_fact(enum core_fact_kind kind, uint64_t job, uint64_t attempt)
{
    return (struct store_fact){
        .fact = {.kind = kind,
                 .job = job,
                 .attempt = attempt,
                 .ranks = attempt == 0 ? 0 : 1,
                 .worker = attempt == 0 ? 0 : 1,
                 .state = kind == FACT_JOB_ENDED || kind == FACT_STAGE_ENDED ? STATE_SUCCEEDED
                                                                             : STATE_PENDING,
                 .exit_code = kind == FACT_ENDED ? 0 : -1},
        .at_us = NOW_US + (int64_t)kind,
    };
}

const struct store_batch *suite_job(uint64_t id, const char *key)
{
    static struct store_stage stage;
    static struct store_job job;
    static struct store_fact fact;
    static struct store_batch batch;
    stage = (struct store_stage){
        .name = MLQ_STR("main"), .uses = MLQ_STR("run"), .array_count = 4, .ranks = 1};
    job = (struct store_job){
        .id = id,
        .name = MLQ_STR("digits"),
        .kind = MLQ_STR("job"),
        .idempotency_key = mlq_str_from(key),
        .submitter = MLQ_STR("alice"),
        .spec = MLQ_STR("{}"),
        .submitted_us = NOW_US,
        .stages = &stage,
        .stage_count = 1,
    };
    fact = suite_fact(FACT_JOB_SUBMITTED, id, 0);
    batch = (struct store_batch){.jobs = &job, .job_count = 1, .facts = &fact, .fact_count = 1};
    return &batch;
}

int suite_commit_facts(struct suite_client *client, const struct store_fact *facts, size_t count)
{
    return suite_commit(client, &(struct store_batch){.facts = facts, .fact_count = count});
}

static void open_leader(struct suite_client *client)
{
    suite_backend->fresh();
    suite_open(client, suite_backend, LEASE_NS);
    suite_elect(client, "a");
}

/* ---- What every store must do ---------------------------------------------------------------- */

/* clang-format off: tables */
#define S(text)                                                                                    \
    {                                                                                              \
        .ptr = (text), .len = sizeof(text) - 1                                                     \
    }

static const uint16_t extreme_needs[] = {0, 2};
static const struct store_stage extreme_stages[] = {
    {.name = S("data"), .uses = S("data.import"), .array_count = 1, .ranks = 1},
    {.name = S("train é"),
     .uses = S("run"),
     .array_count = CORE_ARRAY_MAX,
     .ranks = CORE_RANKS_MAX,
     .needs = extreme_needs,
     .needs_count = 2},
    {.name = S("{\"\\}"), .uses = S(""), .array_count = 2, .ranks = 1},
};
static const struct store_job extreme_jobs[] = {
    {.id = 1,
     .name = S("a 'quoted' \\ \"name\""),
     .kind = S("pipeline"),
     .idempotency_key = S("NULL"),
     .submitter = S("alice"),
     .spec = S("{\"a\": [1, 2,\n 3]}"),
     .labels = S("{\"team\":  \"x\", \"b\":\"\"}"),
     .priority = INT32_MIN,
     .submitted_us = NOW_US,
     .stages = extreme_stages,
     .stage_count = 3},
    {.id = INT64_MAX,
     .name = S(""),
     .kind = S("job"),
     .spec = S(""),
     .priority = INT32_MAX,
     .submitted_us = 0,
     .stages = extreme_stages,
     .stage_count = 1},
};
static const struct store_fact extreme_facts[] = {
    {.fact = {.kind = FACT_ENDED, .job = 1, .attempt = 7, .stage = 0, .ranks = 1, .worker = 1},
     .at_us = NOW_US + 3,
     .detail = S("not \xff utf-8")},
    {.fact = {.kind = FACT_ASSIGNED,
              .job = 1,
              .attempt = INT64_MAX,
              .gpu_mask = UINT64_MAX,
              .stage = 1,
              .index = CORE_ARRAY_MAX - 1,
              .rank = 255,
              .ranks = 256,
              .worker = UINT32_MAX,
              .exit_code = -1},
     .at_us = NOW_US},
    {.fact = {.kind = FACT_STARTED,
              .job = 1,
              .attempt = INT64_MAX,
              .stage = 1,
              .index = CORE_ARRAY_MAX - 1,
              .rank = 255,
              .worker = UINT32_MAX,
              .exit_code = -1},
     .at_us = NOW_US + 1},
    {.fact = {.kind = FACT_ENDED,
              .job = 1,
              .attempt = INT64_MAX,
              .stage = 1,
              .index = CORE_ARRAY_MAX - 1,
              .rank = 255,
              .worker = UINT32_MAX,
              .cause = CAUSE_REQUEUE,
              .exit_code = INT32_MIN,
              .signal = 64},
     .at_us = NOW_US + 2,
     .detail = S("exit 1: ValueError: 'x' \"y\" \\ {,}")},
    {.fact = {.kind = FACT_JOB_CANCELLED, .job = INT64_MAX, .cause = CAUSE_TIMEOUT},
     .at_us = NOW_US + 4},
};
static const struct store_metric extreme_metrics[] = {
    {.job = 1, .attempt = 7, .name = S("loss"), .step = 3, .value = 0.1, .at_us = NOW_US},
    {.job = 1,
     .attempt = 7,
     .name = S("loss"),
     .step = 4,
     .value = 0x1.fffffffffffffp1023,
     .at_us = NOW_US},
    {.job = 1,
     .attempt = 7,
     .name = S("tiny"),
     .step = INT64_MIN,
     .value = 0x1p-1074,
     .at_us = NOW_US},
    {.job = 1, .attempt = 7, .name = S("inf"), .step = INT64_MAX, .value = -INFINITY, .at_us = 0},
    {.job = 1,
     .attempt = INT64_MAX,
     .stage = 1,
     .index = CORE_ARRAY_MAX - 1,
     .name = S("not won"),
     .value = 1,
     .at_us = NOW_US},
};
static const struct store_artifact extreme_artifacts[] = {
    {.job = 1,
     .attempt = 7,
     .name = S("model"),
     .digest = S("sha256:00"),
     .bytes = INT64_MAX,
     .is_tree = true},
    {.job = 1,
     .attempt = 7,
     .name = S("model"),
     .digest = S("sha256:11")}, /* the first one stays */
    {.job = 1, .attempt = 7, .name = S(".log"), .digest = S("sha256:22")},
    {.job = 1,
     .attempt = INT64_MAX,
     .stage = 1,
     .index = CORE_ARRAY_MAX - 1,
     .name = S("not won"),
     .digest = S("sha256:33")},
};
static const struct store_worker extreme_workers[] = {
    {.id = 1, .name = S("old"), .public_key = S("k1"), .seen_us = 1},
    {.id = UINT32_MAX,
     .name = S("w2"),
     .public_key = S("k2"),
     .cpu_milli = INT64_MAX,
     .mem_bytes = INT64_MAX,
     .gpus = INT32_MAX,
     .seen_us = NOW_US},
    {.id = 1,
     .name = S("w1"),
     .public_key = S("k1"),
     .cpu_milli = 2000,
     .mem_bytes = 1,
     .seen_us = NOW_US},
};
static const char extreme_dump[] =
    "header 9223372036854775807 4294967295\n"
    "worker 1 w1 k1 2000 1 0 1763888400123456\n"
    "worker 4294967295 w2 k2 9223372036854775807 9223372036854775807 2147483647 1763888400123456\n"
    "job 1 [a 'quoted' \\ \"name\"] [pipeline] [NULL] [alice] [{\"a\": [1, 2,\n 3]}]"
    " [{\"team\":  \"x\", \"b\":\"\"}] -2147483648 1763888400123456\n"
    "  stage data data.import 1 1 needs\n"
    "  stage train é run 1000000 256 needs 0 2\n"
    "  stage {\"\\}  2 1 needs\n"
    "artifact 1 7 0 0 0 [model] [sha256:00] 9223372036854775807 1\n"
    "metric 1 7 0 0 [inf] 9223372036854775807 -inf 0\n"
    "metric 1 7 0 0 [loss] 4 0x1.fffffffffffffp+1023 1763888400123456\n"
    "metric 1 7 0 0 [tiny] -9223372036854775808 0x0.0000000000001p-1022 1763888400123456\n"
    "job 9223372036854775807 [] [job] [] [] [] [] 2147483647 0\n"
    "  stage data data.import 1 1 needs\n"
    "fact 5 1 7 0 0 0 0 1 1 0 0 0 0 1763888400123459 [not ? utf-8]\n"
    "fact 3 1 9223372036854775807 ffffffffffffffff 1 999999 255 256 4294967295 0 0 -1 0"
    " 1763888400123456 []\n"
    "fact 4 1 9223372036854775807 0 1 999999 255 0 4294967295 0 0 -1 0 1763888400123457 []\n"
    "fact 5 1 9223372036854775807 0 1 999999 255 0 4294967295 12 0 -2147483648 64"
    " 1763888400123458 [exit 1: ValueError: 'x' \"y\" \\ {,}]\n"
    "fact 1 9223372036854775807 0 0 0 0 0 0 0 4 0 0 0 1763888400123460 []\n";
/* clang-format on */

static void test_round_trip_of_all_fields(void **state)
{
    (void)state;
    struct suite_client a;
    open_leader(&a);
    const struct store_batch batch = {
        .jobs = extreme_jobs,
        .job_count = MLQ_COUNT_OF(extreme_jobs),
        .facts = extreme_facts,
        .fact_count = MLQ_COUNT_OF(extreme_facts),
        .metrics = extreme_metrics,
        .metric_count = MLQ_COUNT_OF(extreme_metrics),
        .artifacts = extreme_artifacts,
        .artifact_count = MLQ_COUNT_OF(extreme_artifacts),
        .workers = extreme_workers,
        .worker_count = MLQ_COUNT_OF(extreme_workers),
    };
    assert_int_equal(suite_commit(&a, &batch), MLQ_OK);
    assert_string_equal(suite_load(&a, 0), extreme_dump);
    assert_int_equal(a.load_rc, MLQ_OK);
    suite_close(&a);
}

static void test_batches_complete_in_order(void **state)
{
    (void)state;
    struct suite_client a;
    open_leader(&a);
    for (uint64_t i = 1; i <= 40; i++) {
        (void)suite_commit_async(&a, suite_job(i, NULL));
    }
    suite_until(&a.commit_answers, 40, &a, NULL); /* on_commit checks the order */
    for (int i = 0; i < 40; i++) {
        assert_int_equal(a.commit_rc[i], MLQ_OK);
    }
    const char *place = suite_load(&a, 0);
    for (int i = 1; i <= 40; i++) {
        char line[40];
        (void)snprintf(line, sizeof line, "fact 0 %d 0 ", i);
        place = strstr(place, line);
        assert_non_null(place);
    }
    assert_int_equal(a.depositions, 0);
    suite_close(&a);
}

static void test_an_empty_batch_is_a_batch(void **state)
{
    (void)state;
    struct suite_client a;
    open_leader(&a);
    assert_int_equal(suite_commit(&a, &(struct store_batch){0}), MLQ_OK);
    suite_close(&a);
}

/* One row that may not be; the batch must leave nothing, and those sent after it neither. */
static void refuse_whole(const struct store_batch *bad, int code)
{
    struct suite_client a;
    open_leader(&a);
    struct store_fact assigned = suite_fact(FACT_ASSIGNED, 1, 7);
    assert_int_equal(suite_commit(&a, suite_job(1, "k")), MLQ_OK);
    assert_int_equal(suite_commit_facts(&a, &assigned, 1), MLQ_OK);
    int first = suite_commit_async(&a, bad);
    int second = suite_commit_async(&a, suite_job(99, NULL));
    suite_until(&a.depositions, 1, &a, NULL);
    assert_int_equal(a.commit_rc[first], code);
    assert_int_not_equal(a.commit_rc[second], MLQ_OK);
    assert_int_equal(a.store->ops->trusted_until_ns(a.store), 0);
    int third = suite_commit_async(&a, suite_job(100, NULL));
    suite_until(&a.commit_answers, third + 1, &a, NULL);
    assert_int_equal(a.commit_rc[third], MLQ_EFENCED);

    uint32_t before = a.epoch;
    suite_elect(&a, "a again");
    assert_true(a.epoch > before);
    const char *dump = suite_load(&a, 0);
    assert_non_null(strstr(dump, "header 1 "));
    assert_non_null(strstr(dump, "job 1 "));
    assert_null(strstr(dump, "job 2 "));
    assert_null(strstr(dump, "job 99 "));
    assert_null(strstr(dump, "fact 4 "));
    suite_close(&a);
}

static void test_a_bad_row_takes_its_batch_along(void **state)
{
    (void)state;
    struct store_batch two = *suite_job(2, NULL);
    struct store_job jobs[2] = {two.jobs[0], two.jobs[0]};
    jobs[0].id = 2;
    jobs[1].id = 1; /* there already */
    two.jobs = jobs;
    two.job_count = 2;
    refuse_whole(&two, MLQ_EEXIST);
}

static void test_a_key_names_one_job(void **state)
{
    (void)state;
    refuse_whole(suite_job(2, "k"), MLQ_EEXIST);
}

static void test_an_attempt_is_assigned_once(void **state)
{
    (void)state;
    struct store_fact facts[] = {suite_fact(FACT_STARTED, 1, 7), suite_fact(FACT_ASSIGNED, 1, 7)};
    refuse_whole(&(struct store_batch){.facts = facts, .fact_count = 2}, MLQ_EEXIST);
}

static void test_a_task_succeeds_once(void **state)
{
    (void)state;
    struct store_fact facts[] = {suite_fact(FACT_STARTED, 1, 7), suite_fact(FACT_ENDED, 1, 7),
                                 suite_fact(FACT_ENDED, 1, 8)};
    refuse_whole(&(struct store_batch){.facts = facts, .fact_count = 3}, MLQ_EEXIST);
}

static void test_facts_need_their_job(void **state)
{
    (void)state;
    struct store_fact facts[] = {suite_fact(FACT_STARTED, 1, 7), suite_fact(FACT_STARTED, 3, 9)};
    refuse_whole(&(struct store_batch){.facts = facts, .fact_count = 2}, MLQ_EDB);
}

static void test_a_job_ends_once(void **state)
{
    (void)state;
    struct store_fact facts[] = {suite_fact(FACT_STARTED, 1, 7), suite_fact(FACT_JOB_ENDED, 1, 0),
                                 suite_fact(FACT_JOB_ENDED, 1, 0)};
    refuse_whole(&(struct store_batch){.facts = facts, .fact_count = 3}, MLQ_EDB);
}

static void test_what_the_record_cannot_hold_is_refused(void **state)
{
    (void)state;
    struct store_batch batch = *suite_job(2, NULL);
    struct store_job job = batch.jobs[0];
    batch.jobs = &job;
    job.name = (struct mlq_str){.ptr = "a\0b", .len = 3};
    refuse_whole(&batch, MLQ_EINVAL);
    batch = *suite_job(2, NULL);
    job = batch.jobs[0];
    batch.jobs = &job;
    job.id = UINT64_MAX;
    refuse_whole(&batch, MLQ_EINVAL);
    batch = *suite_job(2, NULL);
    job = batch.jobs[0];
    batch.jobs = &job;
    job.submitted_us = INT64_MAX;
    refuse_whole(&batch, MLQ_EINVAL);
    struct store_fact fact = suite_fact(FACT_STARTED, 1, UINT64_MAX);
    refuse_whole(&(struct store_batch){.facts = &fact, .fact_count = 1}, MLQ_EINVAL);
    struct store_metric metric = {.job = 1, .attempt = 7, .name = MLQ_STR("\xff")};
    refuse_whole(&(struct store_batch){.metrics = &metric, .metric_count = 1}, MLQ_EINVAL);
}

static void test_who_does_not_lead_writes_nothing(void **state)
{
    (void)state;
    struct suite_client a;
    suite_backend->fresh();
    suite_open(&a, suite_backend, LEASE_NS);
    assert_int_equal(a.store->ops->trusted_until_ns(a.store), 0);
    assert_int_equal(suite_commit(&a, suite_job(1, NULL)), MLQ_EFENCED);
    assert_int_equal(a.depositions, 0);
    suite_elect(&a, "a");
    assert_int_equal(suite_commit(&a, suite_job(1, NULL)), MLQ_OK);
    suite_close(&a);
}

/* After it no renewal is under way. */
static void await_renewal(struct suite_client *client)
{
    int64_t limit_ns = mlq_clock_boot_ns() + LIMIT_NS;
    int64_t before_ns = client->store->ops->trusted_until_ns(client->store);
    while (client->store->ops->trusted_until_ns(client->store) <= before_ns) {
        (void)uv_run(&client->loop, UV_RUN_ONCE);
        assert_true(mlq_clock_boot_ns() < limit_ns);
    }
}

static void test_trust_is_counted_from_before_the_renewal(void **state)
{
    (void)state;
    struct suite_client a;
    suite_backend->fresh();
    int64_t before_ns = mlq_clock_boot_ns();
    suite_open(&a, suite_backend, LEASE_NS);
    suite_elect(&a, "a");
    int64_t first_ns = a.store->ops->trusted_until_ns(a.store);
    assert_true(first_ns > before_ns);
    assert_true(first_ns < mlq_clock_boot_ns() + LEASE_NS);
    await_renewal(&a);
    assert_true(a.store->ops->trusted_until_ns(a.store) < mlq_clock_boot_ns() + LEASE_NS);
    suite_close(&a);
}

static void test_a_stopped_leader_is_superseded_and_fenced(void **state)
{
    (void)state;
    struct suite_client a;
    struct suite_client b;
    open_leader(&a);
    assert_int_equal(suite_commit(&a, suite_job(1, NULL)), MLQ_OK);
    uint32_t first = a.epoch;
    await_renewal(&a); /* or it wakes up to find that none was answered, and does not ask who leads */
    suite_open(&b, suite_backend, LEASE_NS);
    suite_elect(&b, "b"); /* the loop of `a` does not run: SIGSTOP */
    assert_true(b.epoch > first);
    assert_true(a.store->ops->trusted_until_ns(a.store) <= mlq_clock_boot_ns());
    assert_int_equal(suite_commit(&b, suite_job(2, NULL)), MLQ_OK);

    int late = suite_commit_async(&a, suite_job(3, NULL));
    suite_until(&a.depositions, 1, &a, &b);
    assert_true(a.commit_rc[late] == MLQ_EFENCED || a.commit_rc[late] == MLQ_EUNKNOWN);
    assert_int_equal(a.deposed_code, MLQ_EFENCED);
    assert_int_equal(b.depositions, 0);
    const char *dump = suite_load(&b, 0);
    assert_non_null(strstr(dump, "job 1 "));
    assert_non_null(strstr(dump, "job 2 "));
    assert_null(strstr(dump, "job 3 "));
    suite_close(&a);
    suite_close(&b);
}

static void test_a_standby_waits_and_follows_a_death(void **state)
{
    (void)state;
    struct suite_client a;
    struct suite_client b;
    suite_backend->fresh();
    suite_open(&a, suite_backend, RIVAL_NS);
    suite_elect(&a, "a");
    suite_open(&b, suite_backend, RIVAL_NS);
    b.store->ops->campaign(b.store, "b");
    for (int i = 0; i < 20; i++) {
        assert_int_equal(suite_commit(&a, suite_job((uint64_t)i + 1, NULL)), MLQ_OK);
        (void)uv_run(&b.loop, UV_RUN_NOWAIT);
    }
    /* For longer than a lease the leader renews, and the standby stays one. */
    int64_t until_ns = mlq_clock_boot_ns() + RIVAL_NS * 4 / 3;
    int passed = 0;
    while (!passed) {
        (void)uv_run(&a.loop, UV_RUN_NOWAIT);
        (void)uv_run(&b.loop, UV_RUN_NOWAIT);
        (void)poll(NULL, 0, 1);
        passed = mlq_clock_boot_ns() > until_ns;
    }
    assert_int_equal(b.elections, 0);
    assert_int_equal(a.depositions, 0);
    suite_close(&a); /* no resignation: as if it were killed */
    int64_t died_ns = mlq_clock_boot_ns();
    suite_until(&b.elections, 1, &b, NULL);
    assert_true(mlq_clock_boot_ns() < died_ns + 3 * RIVAL_NS);
    assert_non_null(strstr(suite_load(&b, 0), "job 20 "));
    suite_close(&b);
}

static void test_resignation_hands_over_at_once(void **state)
{
    (void)state;
    struct suite_client a;
    struct suite_client b;
    const int64_t lease_ns = 20 * MLQ_NS_PER_S;
    suite_backend->fresh();
    suite_open(&a, suite_backend, lease_ns);
    suite_open(&b, suite_backend, lease_ns);
    suite_elect(&a, "a");
    b.store->ops->campaign(b.store, "b");
    int number = suite_commit_async(&a, suite_job(1, NULL)); /* in flight: answered before */
    a.commit_in_call = true;
    a.store->ops->resign(a.store);
    a.commit_in_call = false;
    int64_t before_ns = mlq_clock_boot_ns();
    suite_until(&a.depositions, 1, &a, &b);
    assert_int_equal(a.commit_rc[number], MLQ_OK);
    suite_until(&b.elections, 1, &b, NULL);
    assert_true(mlq_clock_boot_ns() < before_ns + lease_ns / 2);
    assert_non_null(strstr(suite_load(&b, 0), "job 1 "));
    suite_close(&a);
    suite_close(&b);
}

static void test_ended_jobs_are_loaded_by_name_only(void **state)
{
    (void)state;
    struct suite_client a;
    open_leader(&a);
    struct store_fact life[] = {suite_fact(FACT_ASSIGNED, 1, 7), suite_fact(FACT_STARTED, 1, 7),
                                suite_fact(FACT_ENDED, 1, 7), suite_fact(FACT_STAGE_ENDED, 1, 0),
                                suite_fact(FACT_JOB_ENDED, 1, 0)};
    assert_int_equal(suite_commit(&a, suite_job(1, "first")), MLQ_OK);
    assert_int_equal(suite_commit(&a, suite_job(2, NULL)), MLQ_OK);
    assert_int_equal(suite_commit_facts(&a, life, 5), MLQ_OK);

    const char *dump = suite_load(&a, 0);
    assert_null(strstr(dump, "job 1 "));
    assert_null(strstr(dump, "fact 3 1 "));
    assert_non_null(strstr(dump, "job 2 "));
    assert_string_equal(suite_load(&a, 1),
                        "job 1 [digits] [job] [first] [alice] [{}] [] 0 1763888400123456\n"
                        "  stage main run 4 1 needs\n"
                        "fact 0 1 0 0 0 0 0 0 0 0 0 -1 0 1763888400123456 []\n"
                        "fact 3 1 7 0 0 0 0 1 1 0 0 -1 0 1763888400123459 []\n"
                        "fact 4 1 7 0 0 0 0 1 1 0 0 -1 0 1763888400123460 []\n"
                        "fact 5 1 7 0 0 0 0 1 1 0 0 0 0 1763888400123461 []\n"
                        "fact 6 1 0 0 0 0 0 0 0 0 2 -1 0 1763888400123462 []\n"
                        "fact 7 1 0 0 0 0 0 0 0 0 2 -1 0 1763888400123463 []\n");
    (void)suite_load(&a, 12345);
    assert_int_equal(a.load_rc, MLQ_ENOENT);
    (void)suite_load(&a, UINT64_MAX);
    assert_int_equal(a.load_rc, MLQ_ENOENT);
    assert_int_equal(a.depositions, 0);
    suite_close(&a);
}

static void test_a_retry_starts_a_job_anew(void **state)
{
    (void)state;
    struct suite_client a;
    open_leader(&a);
    struct store_fact life[] = {suite_fact(FACT_ASSIGNED, 1, 7), suite_fact(FACT_STARTED, 1, 7),
                                suite_fact(FACT_ENDED, 1, 7), suite_fact(FACT_STAGE_ENDED, 1, 0),
                                suite_fact(FACT_JOB_ENDED, 1, 0),
                                /* and at once again, in one batch, to the same end */
                                suite_fact(FACT_JOB_RETRIED, 1, 0), suite_fact(FACT_ASSIGNED, 1, 8),
                                suite_fact(FACT_ENDED, 1, 8), suite_fact(FACT_STAGE_ENDED, 1, 0),
                                suite_fact(FACT_JOB_ENDED, 1, 0),
                                suite_fact(FACT_JOB_RETRIED, 1, 0)};
    life[3].fact.state = STATE_FAILED;
    life[4].fact.state = STATE_FAILED;
    life[8].fact.state = STATE_FAILED;
    life[9].fact.state = STATE_FAILED;
    assert_int_equal(suite_commit(&a, suite_job(1, NULL)), MLQ_OK);
    assert_int_equal(suite_commit_facts(&a, life, 5), MLQ_OK);
    assert_null(strstr(suite_load(&a, 0), "job 1 "));
    assert_int_equal(suite_commit_facts(&a, life + 5, 6), MLQ_OK);
    assert_non_null(
        strstr(suite_load(&a, 0), "job 1 ")); /* live: retried twice, ended once since */
    assert_non_null(strstr(suite_load(&a, 0), "\n  retried 2\n"));
    assert_non_null(strstr(suite_load(&a, 1), "\n  retried 2\n"));
    struct store_fact end = suite_fact(FACT_ENDED, 1, 9);
    assert_int_equal(suite_commit_facts(&a, &end, 1), MLQ_OK);
    suite_close(&a);
}

/* A rank of a gang ends well, the gang fails, and so twice: no success is recorded twice. */
static void test_ranks_of_a_failed_gang_may_end_well_again(void **state)
{
    (void)state;
    struct suite_client a;
    open_leader(&a);
    struct store_batch batch = *suite_job(1, NULL);
    struct store_stage stage = batch.jobs[0].stages[0];
    struct store_job job = batch.jobs[0];
    stage.ranks = 2;
    job.stages = &stage;
    batch.jobs = &job;
    assert_int_equal(suite_commit(&a, &batch), MLQ_OK);
    struct store_fact facts[] = {suite_fact(FACT_ENDED, 1, 7), suite_fact(FACT_ENDED, 1, 7),
                                 suite_fact(FACT_ENDED, 1, 8), suite_fact(FACT_ENDED, 1, 8)};
    facts[1].fact.rank = 1;
    facts[1].fact.cause = CAUSE_PEER;
    facts[3].fact.rank = 1;
    assert_int_equal(suite_commit_facts(&a, facts, 4), MLQ_OK);
    const struct store_metric metrics[] = {
        {.job = 1, .attempt = 7, .name = MLQ_STR("m"), .step = 1, .value = 7, .at_us = NOW_US},
        {.job = 1, .attempt = 8, .name = MLQ_STR("m"), .step = 1, .value = 8, .at_us = NOW_US}};
    assert_int_equal(suite_commit(&a, &(struct store_batch){.metrics = metrics, .metric_count = 2}),
                     MLQ_OK);
    const char *dump = suite_load(&a, 0);
    assert_non_null(strstr(dump, "metric 1 8 0 0 [m] 1 0x1p+3 "));
    assert_null(strstr(dump, "metric 1 7 "));
    suite_close(&a);
}

/* Rank 0 of a gang has ended and left its outputs, rank 1 still runs, and the leader changes: the
 * new one must know the outputs, because nobody will send them again. */
static void test_outputs_of_a_gang_that_still_runs_are_loaded(void **state)
{
    (void)state;
    struct suite_client a;
    open_leader(&a);
    struct store_batch batch = *suite_job(1, NULL);
    struct store_stage stage = batch.jobs[0].stages[0];
    struct store_job job = batch.jobs[0];
    stage.ranks = 2;
    job.stages = &stage;
    batch.jobs = &job;
    assert_int_equal(suite_commit(&a, &batch), MLQ_OK);
    struct store_fact facts[] = {suite_fact(FACT_ASSIGNED, 1, 7), suite_fact(FACT_ASSIGNED, 1, 7),
                                 suite_fact(FACT_ENDED, 1, 7)};
    facts[1].fact.rank = 1;
    assert_int_equal(suite_commit_facts(&a, facts, 3), MLQ_OK);
    const struct store_artifact model = {.job = 1,
                                         .attempt = 7,
                                         .name = MLQ_STR("model"),
                                         .digest = MLQ_STR("sha256:00"),
                                         .bytes = 9};
    assert_int_equal(
        suite_commit(&a, &(struct store_batch){.artifacts = &model, .artifact_count = 1}), MLQ_OK);
    assert_non_null(strstr(suite_load(&a, 0), "artifact 1 7 0 0 0 [model] "));
    struct store_fact failed = suite_fact(FACT_ENDED, 1, 7);
    failed.fact.rank = 1;
    failed.fact.cause = CAUSE_EXIT;
    assert_int_equal(suite_commit_facts(&a, &failed, 1), MLQ_OK);
    assert_null(strstr(suite_load(&a, 0), "artifact 1 7 "));
    suite_close(&a);
}

static void test_keys_of_the_last_days_are_loaded(void **state)
{
    (void)state;
    struct suite_client a;
    open_leader(&a);
    struct store_batch batch = *suite_job(1, "of today");
    struct store_job job = batch.jobs[0];
    job.submitted_us = mlq_clock_wall_us();
    batch.jobs = &job;
    assert_int_equal(suite_commit(&a, &batch), MLQ_OK);
    batch = *suite_job(2, "of last month");
    job = batch.jobs[0];
    job.submitted_us = mlq_clock_wall_us() - INT64_C(30) * 86400 * 1000000;
    batch.jobs = &job;
    assert_int_equal(suite_commit(&a, &batch), MLQ_OK);
    const char *dump = suite_load(&a, 0);
    assert_non_null(strstr(dump, "key of today 1\n"));
    assert_null(strstr(dump, "key of last month"));
    suite_close(&a);
}

static void test_closing_answers_nothing_more(void **state)
{
    (void)state;
    struct suite_client a;
    open_leader(&a);
    struct store_loader loader = dumper(&a);
    struct commit_call call = {.client = &a}; /* ours, since no answer comes */
    a.store->ops->commit(a.store, suite_job(1, NULL), on_commit, &call);
    a.store->ops->load(a.store, &loader);
    int answers = a.commit_answers;
    int views = a.views;
    struct suite_client *p = &a;
    p->store->ops->close(p->store, on_closed, p);
    p->store = NULL;
    assert_int_equal(uv_run(&p->loop, UV_RUN_DEFAULT), 0);
    assert_true(p->is_closed);
    assert_int_equal(a.commit_answers, answers);
    assert_int_equal(a.views, views);
    assert_int_equal(uv_loop_close(&p->loop), 0);
    mlq_free(p->dump);
}

static void test_a_campaign_can_be_called_off(void **state)
{
    (void)state;
    struct suite_client a;
    struct suite_client b;
    open_leader(&a);
    suite_open(&b, suite_backend, LEASE_NS);
    b.store->ops->campaign(b.store, "b");
    b.commit_in_call = true;
    b.store->ops->resign(b.store);
    b.commit_in_call = false;
    suite_until(&b.depositions, 1, &a, &b);
    assert_int_equal(b.elections, 0);
    suite_close(&a);
    suite_elect(&b, "b");
    suite_close(&b);
}

int suite_run(const struct suite_backend *backend, const char *name)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip_of_all_fields),
        cmocka_unit_test(test_batches_complete_in_order),
        cmocka_unit_test(test_an_empty_batch_is_a_batch),
        cmocka_unit_test(test_a_bad_row_takes_its_batch_along),
        cmocka_unit_test(test_a_key_names_one_job),
        cmocka_unit_test(test_an_attempt_is_assigned_once),
        cmocka_unit_test(test_a_task_succeeds_once),
        cmocka_unit_test(test_facts_need_their_job),
        cmocka_unit_test(test_a_job_ends_once),
        cmocka_unit_test(test_what_the_record_cannot_hold_is_refused),
        cmocka_unit_test(test_who_does_not_lead_writes_nothing),
        cmocka_unit_test(test_trust_is_counted_from_before_the_renewal),
        cmocka_unit_test(test_a_stopped_leader_is_superseded_and_fenced),
        cmocka_unit_test(test_a_standby_waits_and_follows_a_death),
        cmocka_unit_test(test_resignation_hands_over_at_once),
        cmocka_unit_test(test_ended_jobs_are_loaded_by_name_only),
        cmocka_unit_test(test_a_retry_starts_a_job_anew),
        cmocka_unit_test(test_ranks_of_a_failed_gang_may_end_well_again),
        cmocka_unit_test(test_outputs_of_a_gang_that_still_runs_are_loaded),
        cmocka_unit_test(test_keys_of_the_last_days_are_loaded),
        cmocka_unit_test(test_closing_answers_nothing_more),
        cmocka_unit_test(test_a_campaign_can_be_called_off),
    };
    suite_backend = backend;
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}
