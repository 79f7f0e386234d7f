/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The shell as a whole: what it says to workers and clients, and what is true after a crash.
 */
#include "tests/unit/shell_rig.h"

#include <libpq-fe.h>

#define HEAD "apiVersion: mlq/v1\nkind: Pipeline\nmetadata: {name: t}\nspec:\n  stages:\n"
#define ONE   HEAD "    one: {run: [echo, hi]}\n"
#define WIDE  HEAD "    wide: {run: [\"true\"], array: 16, resources: {cpus: 500m}}\n"
#define CHAIN HEAD "    one: {run: [echo, hi]}\n    two: {run: [cat, \"${{ stages.one.metrics.score }}\"], needs: [one]}\n"

static struct pg_cluster *cluster;

static char *show(struct rig *rig, uint64_t job)
{
    assert_int_equal(rig_call(rig, (struct msg_request){.op = MSG_OP_SHOW, .job = job}), MLQ_OK);
    return rig->blob;
}

/* The state of a job as `mlq show` tells it. */
static void expect_state(struct rig *rig, uint64_t job, const char *state)
{
    json_t *document = json_loads(show(rig, job), 0, NULL);
    assert_non_null(document);
    assert_string_equal(json_string_value(json_object_get(json_object_get(document, "job"), "state")), state);
    json_decref(document);
}

/* ---- One job ---- */

static void test_a_job_runs(void **state)
{
    (void)state;
    struct rig *rig = rig_open_serving(cluster);
    uint64_t job = rig_submit(rig, CHAIN, "");
    RIG_WAIT(rig, rig->w1.assigned_count == 1);
    assert_string_equal(rig->w1.assigned[0].stage, "one");
    uint64_t first = rig->w1.assigned[0].attempt;
    rig_started(&rig->w1, first, 0);
    rig_ended(&rig->w1, first, 0, CAUSE_NONE, "sha256:aa");
    RIG_WAIT(rig, rig->w1.acked_count == 1 && rig->w1.assigned_count == 2);
    assert_string_equal(rig->w1.assigned[1].stage, "two");
    assert_string_equal(rig->w1.assigned[1].argv1, "0.5");
    assert_string_equal(rig->w1.assigned[1].digest, "sha256:aa");
    uint64_t second = rig->w1.assigned[1].attempt;
    rig_started(&rig->w1, second, 0);
    /* What its end says again is recorded once. */
    struct msg_metric score = {.name = MLQ_STR("score"), .step = INT64_MIN, .value = 0.5, .at_us = 1000000};
    rig_report(&rig->w1, &(struct msg_report_item){.kind = MSG_REPORT_NOTE, .member = {second, 0}, .metrics = &score, .metric_count = 1});
    rig_ended(&rig->w1, second, 0, CAUSE_NONE, "sha256:bb");
    RIG_WAIT(rig, rig->w1.acked_count == 2);
    expect_state(rig, job, "succeeded");
    /* Duplicate and late reports change nothing; each is acknowledged, so that the worker forgets. */
    rig_ended(&rig->w1, second, 0, CAUSE_EXIT, "sha256:cc");
    rig_started(&rig->w1, first, 0);
    rig_ended(&rig->w1, first, 0, CAUSE_NONE, "sha256:aa");
    RIG_WAIT(rig, rig->w1.acked_count == 4 && rig->w1.fenced_count == 1);
    expect_state(rig, job, "succeeded");
    assert_int_equal(rig_count(rig, "mlq.fact WHERE kind = 'ended'"), 2);
    assert_int_equal(rig_count(rig, "mlq.metric"), 2);
    rig_close(rig);
}

/* What a task's end says again, of an array too. */
static void test_a_point_of_an_array_is_recorded_once(void **state)
{
    (void)state;
    struct rig *rig = rig_open_serving(cluster);
    struct msg_metric score = {.name = MLQ_STR("score"), .step = INT64_MIN, .value = 0.5, .at_us = 1000000};
    (void)rig_submit(rig, WIDE, "");
    RIG_WAIT(rig, rig->w1.assigned_count == 8);
    for (size_t i = 0; i < 2; i++) {
        struct msg_member member = {rig->w1.assigned[i].attempt, 0};
        rig_started(&rig->w1, member.attempt, 0);
        rig_report(&rig->w1, &(struct msg_report_item){.kind = MSG_REPORT_NOTE, .member = member, .metrics = &score, .metric_count = 1});
        rig_ended(&rig->w1, member.attempt, 0, CAUSE_NONE, "sha256:aa");
    }
    RIG_WAIT(rig, rig->w1.acked_count == 2);
    assert_int_equal(rig_count(rig, "mlq.metric"), 2);
    rig_close(rig);
}

/* Eight ends in one message, and room for eight others: one acknowledgement and one assignment. */
static void test_a_turn_of_ends_is_two_messages(void **state)
{
    (void)state;
    struct rig *rig = rig_open_serving(cluster);
    struct msg_report_item ends[8] = {0};
    (void)rig_submit(rig, WIDE, "");
    RIG_WAIT(rig, rig->w1.assigned_count == 8);
    unsigned assigns = rig->w1.assign_messages;
    for (size_t i = 0; i < 8; i++) {
        ends[i] = (struct msg_report_item){.kind = MSG_REPORT_ENDED,
                                           .member = {.attempt = rig->w1.assigned[i].attempt}};
    }
    rig_send(&rig->w1, &(struct msg){.kind = MSG_REPORT, .report = {.items = ends, .count = 8}});
    RIG_WAIT(rig, rig->w1.acked_count == 8 && rig->w1.assigned_count == 16);
    assert_int_equal(rig->w1.ack_messages, 1);
    assert_int_equal(rig->w1.assign_messages, assigns + 1);
    rig_close(rig);
}

static void tell_start(struct rig *rig, size_t nth, int64_t at_us)
{
    rig_report(&rig->w1, &(struct msg_report_item){.kind = MSG_REPORT_STARTED,
                                                   .member = {rig->w1.assigned[nth].attempt, 0},
                                                   .exit_code = -1,
                                                   .at_us = at_us});
}

static void expect_start(struct rig *rig, size_t nth, const char *is_so)
{
    char sql[512];
    (void)snprintf(sql, sizeof sql,
                   "SELECT %s FROM mlq.fact s JOIN mlq.fact a USING (attempt) WHERE s.kind = 'started' AND "
                   "a.kind = 'assigned' AND attempt = %llu",
                   is_so, (unsigned long long)rig->w1.assigned[nth].attempt);
    rig_expect(rig, sql, "t");
}

/* A start is dated by the worker, and lies between its assignment and the word of it, whatever that worker's clock says. */
static void test_a_start_is_dated_by_its_worker(void **state)
{
    (void)state;
    struct rig *rig = rig_open_serving(cluster);
    char told[128];
    (void)rig_submit(rig, WIDE, "");
    RIG_WAIT(rig, rig->w1.assigned_count == 8);
    int64_t began_us = mlq_clock_wall_us();
    RIG_WAIT(rig, mlq_clock_wall_us() > began_us + 500000);
    int64_t said_us = mlq_clock_wall_us();
    tell_start(rig, 0, began_us);
    tell_start(rig, 1, INT64_MIN);
    tell_start(rig, 2, INT64_MAX);
    RIG_WAIT(rig, rig_count(rig, "mlq.fact WHERE kind = 'started'") == 3);
    (void)snprintf(told, sizeof told, "(extract(epoch FROM s.at) * 1e6)::bigint = %lld", (long long)began_us);
    expect_start(rig, 0, told);
    expect_start(rig, 1, "abs(extract(epoch FROM s.at - a.at)) < 0.2"); /* two readings of two clocks */
    (void)snprintf(told, sizeof told, "(extract(epoch FROM s.at) * 1e6)::bigint >= %lld AND s.at <= now()",
                   (long long)said_us);
    expect_start(rig, 2, told);
    rig_close(rig);
}

static void test_submissions_are_checked(void **state)
{
    (void)state;
    struct rig *rig = rig_open_serving(cluster);
    char key[400];
    memset(key, 'k', sizeof key);
    assert_int_equal(rig_call(rig, (struct msg_request){.op = MSG_OP_SUBMIT, .spec = MLQ_STR("nonsense")}), MLQ_EINVAL);
    assert_int_equal(rig_call(rig, (struct msg_request){.op = MSG_OP_SUBMIT, .spec = MLQ_STR("{\"apiVersion\":\"mlq/v1\",\"kind\":\"Pipeline\",\"metadata\":{\"name\":\"t\"},"
                                                                        "\"spec\":{\"stages\":{\"one\":{\"rum\":[\"a\"]}}}}")}),
                     MLQ_EINVAL);
    assert_non_null(strstr(rig->text, "rum"));
    /* A key that the record would refuse must not cost the leadership. */
    assert_int_equal(rig_call(rig, (struct msg_request){.op = MSG_OP_SUBMIT,
                                                        .spec = spec_text_canonical(ONE),
                                                        .key = {.ptr = key, .len = sizeof key}}),
                     MLQ_EINVAL);
    uint64_t job = rig_submit(rig, ONE, "same");
    assert_int_equal(rig_submit(rig, ONE, "same"), job);
    /* Twice while the first is on its way to the disk. */
    (void)rig_ask(rig, (struct msg_request){.op = MSG_OP_SUBMIT, .spec = spec_text_canonical(ONE), .key = MLQ_STR("twice")});
    uint64_t again = rig_submit(rig, ONE, "twice");
    assert_int_equal(again, job + 1);
    assert_int_equal(rig_count(rig, "mlq.job"), 2);
    assert_int_equal(rig_call(rig, (struct msg_request){.op = MSG_OP_CANCEL, .job = 999}), MLQ_ENOENT);
    assert_int_equal(rig_call(rig, (struct msg_request){.op = MSG_OP_SHOW, .job = 999}), MLQ_ENOENT);
    assert_int_equal(rig->a.shell->epoch, 1);
    rig_close(rig);
}

/* Larger than any worker: accepted with a warning that names the largest, or refused where that was asked for. */
static void test_what_nobody_has_room_for(void **state)
{
    (void)state;
    struct rig *rig = rig_open_serving(cluster);
    struct msg_request request = {
        .op = MSG_OP_SUBMIT,
        .spec = spec_text_canonical(HEAD "    one: {run: [a]}\n    big: {run: [a], ranks: 2, resources: {cpus: 500, gpus: 3}}\n"),
        .feasible_only = true};
    static const char larger[] = "stage 'big' asks for 2 x (500 CPUs, 0 MiB, 3 GPUs), more than the workers that are "
                                 "connected now have (the largest worker, ";
    assert_int_equal(rig_call(rig, request), MLQ_EINVAL);
    assert_memory_equal(rig->text, larger, sizeof larger - 1);
    assert_int_equal(rig_count(rig, "mlq.job"), 0);
    request.feasible_only = false;
    assert_int_equal(rig_call(rig, request), MLQ_OK);
    assert_memory_equal(rig->text, larger, sizeof larger - 1);
    assert_non_null(strstr(rig->text, "): it waits for larger ones"));
    assert_int_equal(rig_count(rig, "mlq.job"), 1);
    request.feasible_only = true;
    request.spec = spec_text_canonical(ONE);
    assert_int_equal(rig_call(rig, request), MLQ_OK);
    assert_string_equal(rig->text, "");
    rig_close(rig);
}

static void test_cancel_while_assigned(void **state)
{
    (void)state;
    struct rig *rig = rig_open_serving(cluster);
    uint64_t job = rig_submit(rig, ONE, "");
    RIG_WAIT(rig, rig->w1.assigned_count == 1);
    uint64_t attempt = rig->w1.assigned[0].attempt;
    struct msg_request cancel = {.op = MSG_OP_CANCEL, .job = job, .text = MLQ_STR("wrong data")};
    assert_int_equal(rig_call(rig, cancel), MLQ_OK);
    rig_expect(rig, "SELECT detail FROM mlq.fact WHERE kind = 'job cancelled'", "wrong data");
    RIG_WAIT(rig, rig->w1.killed_count == 1);
    assert_int_equal(rig->w1.killed[0], attempt);
    rig_ended(&rig->w1, attempt, 0, CAUSE_CANCEL, "");
    RIG_WAIT(rig, rig->w1.acked_count == 1);
    expect_state(rig, job, "cancelled");
    assert_int_equal(rig_call(rig, (struct msg_request){.op = MSG_OP_CANCEL, .job = job}), MLQ_EEXIST);
    rig_close(rig);
}

static void test_what_runs_is_asked_to_save(void **state)
{
    (void)state;
    struct rig *rig = rig_open_serving(cluster);
    uint64_t job = rig_submit(rig, HEAD "    gang: {run: [echo, hi], ranks: 2}\n", "");
    struct msg_request save = {.op = MSG_OP_CHECKPOINT, .job = job};
    RIG_WAIT(rig, rig->w1.assigned_count == 2);
    uint64_t attempt = rig->w1.assigned[0].attempt;
    assert_int_equal(rig_call(rig, save), MLQ_OK);
    assert_non_null(strstr(rig->blob, "\"asked\": 0")); /* assigned, but not said to run */
    rig_started(&rig->w1, attempt, 1);
    RIG_WAIT(rig, rig_call(rig, save) == MLQ_OK && strstr(rig->blob, "\"asked\": 1") != NULL);
    RIG_WAIT(rig, rig->w1.saving_count == 1);
    assert_int_equal(rig->w1.saving[0].attempt, attempt);
    assert_int_equal(rig->w1.saving[0].rank, 1);
    save.stage = MLQ_STR("gang");
    assert_int_equal(rig_call(rig, save), MLQ_OK);
    RIG_WAIT(rig, rig->w1.saving_count == 2);
    save.stage = MLQ_STR("gong");
    assert_int_equal(rig_call(rig, save), MLQ_ENOENT);
    assert_string_equal(rig->text, "the job has no stage 'gong'");
    rig_ended(&rig->w1, attempt, 1, CAUSE_NONE, "sha256:aa");
    rig_ended(&rig->w1, attempt, 0, CAUSE_NONE, "sha256:aa");
    RIG_WAIT(rig, rig->w1.acked_count == 2);
    expect_state(rig, job, "succeeded");
    save.stage = (struct mlq_str){0};
    assert_int_equal(rig_call(rig, save), MLQ_EEXIST);
    rig_close(rig);
}

static void test_an_ended_job_is_retried(void **state)
{
    (void)state;
    struct rig *rig = rig_open_serving(cluster);
    uint64_t job = rig_submit(rig, CHAIN, "");
    RIG_WAIT(rig, rig->w1.assigned_count == 1);
    assert_int_equal(rig_call(rig, (struct msg_request){.op = MSG_OP_RETRY, .job = job}), MLQ_EEXIST);
    rig_ended(&rig->w1, rig->w1.assigned[0].attempt, 0, CAUSE_NONE, "sha256:aa");
    RIG_WAIT(rig, rig->w1.assigned_count == 2);
    rig_ended(&rig->w1, rig->w1.assigned[1].attempt, 0, CAUSE_EXIT, "");
    RIG_WAIT(rig, rig->w1.acked_count == 2);
    expect_state(rig, job, "failed");
    /* Two at once: one begins, the other is told. What had succeeded stays, with what it made. */
    uint64_t first = rig_ask(rig, (struct msg_request){.op = MSG_OP_RETRY, .job = job});
    unsigned before = rig->answers;
    (void)first;
    (void)rig_ask(rig, (struct msg_request){.op = MSG_OP_RETRY, .job = job});
    RIG_WAIT(rig, rig->answers == before + 2);
    RIG_WAIT(rig, rig->w1.assigned_count == 3);
    assert_string_equal(rig->w1.assigned[2].stage, "two");
    assert_string_equal(rig->w1.assigned[2].digest, "sha256:aa");
    assert_string_equal(rig->w1.assigned[2].argv1, "0.5");
    assert_int_equal(rig->w1.assigned[2].restarts, 1);
    rig_ended(&rig->w1, rig->w1.assigned[2].attempt, 0, CAUSE_NONE, "sha256:bb");
    RIG_WAIT(rig, rig->w1.acked_count == 3);
    expect_state(rig, job, "succeeded");
    assert_int_equal(rig_call(rig, (struct msg_request){.op = MSG_OP_RETRY, .job = job}), MLQ_EEXIST);
    assert_int_equal(rig_call(rig, (struct msg_request){.op = MSG_OP_RETRY, .job = 999}), MLQ_ENOENT);
    rig_expect(rig, "SELECT retries::text FROM mlq.job", "1");
    rig_close(rig);
}

/* An assignment that cannot be described ends before it starts, even when nothing else is to commit. */
static void test_a_missing_input_fails_the_task(void **state)
{
    (void)state;
    struct rig *rig = rig_open_serving(cluster);
    uint64_t job = rig_submit(rig, CHAIN, "");
    RIG_WAIT(rig, rig->w1.assigned_count == 1);
    rig_report(&rig->w1, &(struct msg_report_item){.kind = MSG_REPORT_ENDED,
                                                   .member = {rig->w1.assigned[0].attempt, 0}});
    RIG_WAIT(rig, rig_call(rig, (struct msg_request){.op = MSG_OP_WATCH, .job = job}) == MLQ_OK && rig->end);
    expect_state(rig, job, "failed");
    assert_non_null(strstr(rig->blob, "reported no metric 'score'"));
    assert_int_equal(rig->w1.assigned_count, 1);
    rig_close(rig);
}

/* A task reads its job's record: what the store knows, and what the spec says. */
static void test_a_task_reads_the_record(void **state)
{
    (void)state;
    static const char spec[] =
        HEAD "    one: {run: [echo, hi]}\n    two: {uses: gate, needs: [one], inputs: {metrics: one.m.json}, with: {require: [\"score > 0\"]}}\n";
    struct rig *rig = rig_open_serving(cluster);
    struct rig_worker *w = &rig->w1;
    uint64_t job = rig_submit(rig, spec, "");
    RIG_WAIT(rig, w->assigned_count == 1);
    rig_send(w, &(struct msg){.kind = MSG_RECORD_REQUEST,
                              .record_request = {.request = 9, .member = {w->assigned[0].attempt, 0}}});
    RIG_WAIT(rig, w->record_request == 9);
    assert_int_equal(w->record_code, MLQ_OK);
    json_t *document = json_loads(w->record, 0, NULL);
    const char *word;
    const char *input;
    const char *condition;
    const char *digest;
    assert_int_equal(json_unpack(document, "{s:{s:s, s:[{s:[s, s!]}, {s:{s:[s]}, s:{s:s}}]}}", "job", "spec_digest",
                                 &digest, "stages", "run", &word, &word, "with", "require", &condition,
                                 "inputs", "metrics", &input),
                     0);
    assert_string_equal(word, "hi");
    assert_string_equal(condition, "score > 0");
    assert_string_equal(input, "one.m.json");
    char *spec_digest = pg_cluster_query(rig->database, "SELECT 'sha256:' || encode(sha256(spec::bytea), 'hex') FROM mlq.job");
    assert_string_equal(digest, spec_digest);
    free(spec_digest);
    json_decref(document);
    assert_int_equal(job, 1);
    rig_close(rig);
}

/* What rank 0 of a failed attempt left is not what the next stage gets. */
static void test_a_gang_is_tried_again(void **state)
{
    (void)state;
    static const char spec[] = HEAD "    one: {run: [echo], ranks: 2, retry: {limit: 1, on: [exit], backoff: 1ms}}\n"
                                    "    two: {run: [cat], needs: [one], inputs: {x: one.out.txt}}\n";
    struct rig *rig = rig_open_serving(cluster);
    struct rig_worker *w = &rig->w1;
    uint64_t job = rig_submit(rig, spec, "");
    RIG_WAIT(rig, w->assigned_count == 2);
    uint64_t first = w->assigned[0].attempt;
    rig_ended(w, first, 0, CAUSE_NONE, "sha256:01d0");
    rig_ended(w, first, 1, CAUSE_EXIT, "");
    RIG_WAIT(rig, w->assigned_count == 4);
    assert_int_equal(w->assigned[2].restarts, 1);
    uint64_t second = w->assigned[2].attempt;
    assert_true(second > first);
    rig_ended(w, second, 1, CAUSE_NONE, "sha256:0f01");
    rig_ended(w, second, 0, CAUSE_NONE, "sha256:2e30");
    RIG_WAIT(rig, w->assigned_count == 5);
    assert_string_equal(w->assigned[4].digest, "sha256:2e30");
    rig_ended(w, w->assigned[4].attempt, 0, CAUSE_NONE, "sha256:bb");
    RIG_WAIT(rig, w->acked_count == 5);
    expect_state(rig, job, "succeeded");
    rig_close(rig);
}

static void test_a_log_is_relayed(void **state)
{
    (void)state;
    struct rig *rig = rig_open_serving(cluster);
    struct rig_worker *w = &rig->w1;
    uint64_t job = rig_submit(rig, ONE, "");
    struct msg_request request = {.op = MSG_OP_LOG, .job = job, .stage = MLQ_STR("one"), .offset = 7};
    RIG_WAIT(rig, w->assigned_count == 1);
    uint64_t id = rig_ask(rig, request);
    RIG_WAIT(rig, w->log_request != 0);
    rig_send(w, &(struct msg){.kind = MSG_LOG_DATA, .log_data = {.request = w->log_request, .offset = 7, .bytes = MLQ_STR("line")}});
    RIG_WAIT(rig, rig->answered == id);
    assert_int_equal(rig->code, MLQ_OK);
    assert_string_equal(rig->blob, "line");
    assert_false(rig->end);
    /* No answer: the client is told after a while, and the late one goes nowhere. */
    assert_int_equal(rig_call(rig, request), MLQ_ETIMEOUT);
    unsigned answers = rig->answers;
    rig_send(w, &(struct msg){.kind = MSG_LOG_DATA, .log_data = {.request = w->log_request, .bytes = MLQ_STR("late")}});
    request.stage = MLQ_STR("none");
    assert_int_equal(rig_call(rig, request), MLQ_ENOENT);
    assert_int_equal(rig->answers, answers + 1);
    rig_disconnect(rig, w);
    request.stage = MLQ_STR("one");
    RIG_WAIT(rig, rig_call(rig, request) == MLQ_ECONN);
    rig_close(rig);
}

/* ---- Hostile and broken peers ---- */

/* What `mlq status` says of the lies of workers. */
static void expect_untrue(struct rig *rig, int count)
{
    assert_int_equal(rig_call(rig, (struct msg_request){.op = MSG_OP_STATUS}), MLQ_OK);
    json_t *document = json_loads(rig->blob, 0, NULL);
    json_t *refused = json_object_get(json_object_get(document, "cluster"), "refused");
    assert_int_equal(json_integer_value(json_object_get(refused, "untrue")), count);
    json_decref(document);
}

static void test_a_worker_speaks_for_itself_only(void **state)
{
    (void)state;
    struct rig *rig = rig_open_serving(cluster);
    uint64_t job = rig_submit(rig, ONE, "");
    RIG_WAIT(rig, rig->w1.assigned_count == 1);
    uint64_t attempt = rig->w1.assigned[0].attempt;
    rig_join(rig, &rig->w2, &rig->a);
    rig_started(&rig->w2, attempt, 0);
    rig_ended(&rig->w2, attempt, 0, CAUSE_NONE, "sha256:evil");
    RIG_WAIT(rig, rig->w2.acked_count == 1 && rig->w2.fenced_count == 1);
    expect_state(rig, job, "running");
    assert_int_equal(rig_count(rig, "mlq.artifact"), 0);
    expect_untrue(rig, 3); /* a start, an end, a digest that is none */
    rig_started(&rig->w2, attempt, 300); /* a rank that there is not */
    rig_started(&rig->w2, attempt + 1000, 0); /* an attempt of which nobody knows: it may be of old */
    RIG_WAIT(rig, rig->w2.fenced_count == 3);
    expect_untrue(rig, 4);
    /* Nor does it read the record of a job that it does not run, or answer for another's log. */
    rig_send(&rig->w2, &(struct msg){.kind = MSG_RECORD_REQUEST, .record_request = {.request = 5, .member = {attempt, 0}}});
    RIG_WAIT(rig, rig->w2.record_request == 5);
    assert_int_equal(rig->w2.record_code, MLQ_EFENCED);
    uint64_t id = rig_ask(rig, (struct msg_request){.op = MSG_OP_LOG, .job = job, .stage = MLQ_STR("one"), .wait_ns = MLQ_NS_PER_S});
    RIG_WAIT(rig, rig->w1.log_request != 0);
    rig_send(&rig->w2, &(struct msg){.kind = MSG_LOG_DATA, .log_data = {.request = rig->w1.log_request, .bytes = MLQ_STR("evil")}});
    rig_send(&rig->w1, &(struct msg){.kind = MSG_LOG_DATA, .log_data = {.request = rig->w1.log_request, .bytes = MLQ_STR("good")}});
    RIG_WAIT(rig, rig->answered == id);
    assert_string_equal(rig->blob, "good");
    rig_close(rig);
}

static void test_what_the_record_cannot_hold(void **state)
{
    (void)state;
    struct rig *rig = rig_open_serving(cluster);
    struct rig_worker *w = &rig->w1;
    char *name = mlq_alloc(5001);
    memset(name, 'n', 5000);
    struct msg_metric metric = {.name = MLQ_STR("m"), .step = 1, .value = 1, .at_us = -5};
    struct msg_metric later = {.name = MLQ_STR("m"), .step = 2, .value = 2, .at_us = INT64_MAX};
    struct msg_metric named = {.name = mlq_str_from(name), .step = 3, .value = 3};
    struct msg_artifact artifact = {.name = mlq_str_from(name), .digest = MLQ_STR("sha256:aa"), .bytes = UINT64_MAX};
    uint64_t job = rig_submit(rig, ONE, "");
    RIG_WAIT(rig, w->assigned_count == 1);
    struct msg_member member = {w->assigned[0].attempt, 0};
    rig_report(w, &(struct msg_report_item){.kind = MSG_REPORT_NOTE, .member = member, .metrics = &metric, .metric_count = 1});
    rig_report(w, &(struct msg_report_item){.kind = MSG_REPORT_NOTE, .member = member, .metrics = &later, .metric_count = 1});
    rig_report(w, &(struct msg_report_item){.kind = MSG_REPORT_NOTE, .member = member, .metrics = &named, .metric_count = 1});
    rig_report(w, &(struct msg_report_item){.kind = MSG_REPORT_ENDED, .member = member, .cause = 99});
    rig_report(w, &(struct msg_report_item){.kind = MSG_REPORT_ENDED, .member = member, .artifacts = &artifact, .artifact_count = 1});
    RIG_WAIT(rig, w->acked_count == 1);
    expect_state(rig, job, "failed");
    assert_non_null(strstr(rig->blob, "\"output\""));
    assert_int_equal(rig_count(rig, "mlq.metric"), 2);
    expect_untrue(rig, 3);
    const char *const digests[] = {"", "md5:aa", "sha256:", "sha256:../../etc/passwd", "sha256:AA"};
    for (size_t i = 0; i < MLQ_COUNT_OF(digests); i++) {
        job = rig_submit(rig, ONE, "");
        RIG_WAIT(rig, w->assigned_count == i + 2);
        artifact = (struct msg_artifact){.name = MLQ_STR("a"), .digest = mlq_str_from(digests[i])};
        rig_report(w, &(struct msg_report_item){.kind = MSG_REPORT_ENDED, .member = {w->assigned[i + 1].attempt, 0}, .artifacts = &artifact, .artifact_count = 1});
        RIG_WAIT(rig, w->acked_count == i + 2);
        expect_state(rig, job, "failed");
        assert_non_null(strstr(rig->blob, "an output's digest or size cannot be"));
    }
    expect_untrue(rig, 8);
    assert_int_equal(rig_count(rig, "mlq.artifact"), 0);
    assert_int_equal(rig->a.shell->epoch, 1);
    mlq_free(name);
    rig_close(rig);
}

static void test_hellos_that_are_refused(void **state)
{
    (void)state;
    struct rig *rig = rig_open_serving(cluster);
    struct rig_worker *w = &rig->w2;
    struct msg hello = {.kind = MSG_HELLO, .hello = {.session = 7, .cpu_milli = 1000, .mem_bytes = 1 << 30, .port_first = 65000, .port_count = 537}};
    w->says_hello = false;
    rig_connect(rig, w, &rig->a);
    RIG_WAIT(rig, w->is_connected);
    rig_heartbeat(w); /* before its hello */
    RIG_WAIT(rig, w->refused == 1 && w->refused_code == MLQ_EAGAIN);
    rig_send(w, &hello);
    RIG_WAIT(rig, w->refused == 2 && w->refused_code == MLQ_EINVAL);
    hello.hello.port_count = 536;
    hello.hello.session = 0;
    rig_send(w, &hello);
    RIG_WAIT(rig, w->refused == 3);
    hello.hello.session = 7;
    hello.hello.cpu_milli = 0;
    rig_send(w, &hello);
    RIG_WAIT(rig, w->refused == 4);
    hello.hello.cpu_milli = 1000;
    rig_send(w, &hello);
    RIG_WAIT(rig, w->welcomed == 7);
    hello.hello.session = 6; /* stale: the newer session goes on */
    rig_send(w, &hello);
    RIG_WAIT(rig, w->refused == 5);
    w->session = 7;
    rig_heartbeat(w);
    RIG_WAIT(rig, w->heartbeats_acked == 1);
    w->session = 6; /* a heartbeat of another session renews nothing */
    rig_heartbeat(w);
    rig_send(w, &(struct msg){.kind = MSG_LEAVING});
    rig_heartbeat(w);
    RIG_WAIT(rig, w->refused == 6);
    assert_int_equal(w->heartbeats_acked, 1);
    expect_untrue(rig, 4); /* each hello that could not be */
    rig_close(rig);
}

/* ---- Crashes and takeovers ---- */

/* The scheduler dies after the commit of a result and before its acknowledgement: another one takes over,
 * the worker brings the result again, and it counts once. */
static void test_a_result_counts_once(void **state)
{
    (void)state;
    struct rig *rig = rig_open(cluster);
    struct rig_worker *w = &rig->w1;
    rig->leader_lease_ns = patience(4 * MLQ_NS_PER_S); /* is waited for */
    rig_serve(rig);
    uint64_t job = rig_submit(rig, ONE, "");
    RIG_WAIT(rig, w->assigned_count == 1);
    uint64_t attempt = w->assigned[0].attempt;
    rig_started(w, attempt, 0);
    RIG_WAIT(rig, rig_count(rig, "mlq.fact WHERE kind = 'started'") == 1 && rig->a.shell->committing == NULL);
    rig_ended(w, attempt, 0, CAUSE_NONE, "sha256:aa");
    RIG_WAIT(rig, rig->a.shell->committing != NULL);
    rig->a.is_frozen = true; /* as good as dead for the others */
    RIG_WAIT(rig, rig_count(rig, "mlq.fact WHERE kind = 'ended'") == 1);
    assert_int_equal(w->acked_count, 0);
    rig_start(rig, &rig->b, "b");
    RIG_WAIT(rig, rig_serves(&rig->b));
    w->claims[0] = (struct msg_member){attempt, 0};
    w->claim_count = 1;
    rig_join(rig, w, &rig->b);
    rig_ended(w, attempt, 0, CAUSE_NONE, "sha256:aa");
    RIG_WAIT(rig, w->acked_count == 1);
    rig_client(rig, &rig->b);
    expect_state(rig, job, "succeeded");
    assert_int_equal(rig_count(rig, "mlq.fact WHERE kind = 'ended'"), 1);
    assert_int_equal(rig_count(rig, "mlq.metric"), 1);
    /* The old one wakes up, learns that it was superseded, and waits as a standby. */
    rig->a.is_frozen = false;
    RIG_WAIT(rig, rig->a.shell->phase == SHELL_STANDBY);
    assert_int_equal(access(rig->a.file, F_OK), -1);
    assert_int_equal(access(rig->b.file, F_OK), 0);
    rig_close(rig);
}

/* A leader that was superseded cannot write: it drops what it decided, and the next one has the same state. */
static void test_a_superseded_leader_is_refused(void **state)
{
    (void)state;
    struct rig *rig = rig_open(cluster);
    struct rig_worker *w = &rig->w1;
    rig->leader_lease_ns = patience(4 * MLQ_NS_PER_S); /* is waited for */
    rig_serve(rig);
    uint64_t job = rig_submit(rig, ONE, "");
    RIG_WAIT(rig, w->assigned_count == 1);
    uint64_t attempt = w->assigned[0].attempt;
    rig->a.is_frozen = true;
    rig_start(rig, &rig->b, "b");
    RIG_WAIT(rig, rig_serves(&rig->b));
    assert_true(rig->b.shell->epoch > rig->a.shell->epoch);
    rig_ended(w, attempt, 0, CAUSE_NONE, "sha256:aa"); /* said to the old one */
    (void)rig_ask(rig, (struct msg_request){.op = MSG_OP_SUBMIT, .spec = spec_text_canonical(ONE)});
    rig->a.is_frozen = false;
    RIG_WAIT(rig, rig->a.shell->phase == SHELL_STANDBY);
    assert_int_equal(w->acked_count, 0);
    assert_int_equal(rig_count(rig, "mlq.job"), 1);
    assert_int_equal(rig_count(rig, "mlq.fact WHERE kind = 'ended'"), 0);
    /* The new one adopts the running task, and takes its end. */
    w->claims[0] = (struct msg_member){attempt, 0};
    w->claim_count = 1;
    rig_join(rig, w, &rig->b);
    rig_client(rig, &rig->b);
    expect_state(rig, job, "running");
    rig_ended(w, attempt, 0, CAUSE_NONE, "sha256:aa");
    RIG_WAIT(rig, w->acked_count == 1);
    expect_state(rig, job, "succeeded");
    assert_int_equal(w->fenced_count, 0);
    rig_close(rig);
}

/* A leader that stops resigns: the standby need not wait for the lease. What was asked before is answered. */
static void test_a_stop_hands_over(void **state)
{
    (void)state;
    struct rig *rig = rig_open(cluster);
    rig->leader_lease_ns = 120 * MLQ_NS_PER_S; /* longer than anybody's patience here */
    rig_start(rig, &rig->a, "a");
    RIG_WAIT(rig, rig_serves(&rig->a));
    rig_start(rig, &rig->b, "b");
    rig_client(rig, &rig->a);
    rig_join(rig, &rig->w1, &rig->a);
    uint64_t job = rig_submit(rig, CHAIN, "");
    RIG_WAIT(rig, rig->w1.assigned_count == 1);
    uint64_t attempt = rig->w1.assigned[0].attempt;
    uint64_t id = rig_ask(rig, (struct msg_request){.op = MSG_OP_SUBMIT, .spec = spec_text_canonical(ONE)});
    (void)rig_ask(rig, (struct msg_request){.op = MSG_OP_LIST}); /* its answer comes too late, or not */
    RIG_WAIT(rig, rig->a.shell->committing != NULL);
    rig_stop(rig, &rig->a);
    RIG_WAIT(rig, rig->answered >= id);
    assert_int_equal(rig_count(rig, "mlq.job"), 2);
    assert_int_equal(access("endpoint-a", F_OK), -1);
    RIG_WAIT(rig, rig_serves(&rig->b));
    rig->w1.claims[0] = (struct msg_member){attempt, 0};
    rig->w1.claim_count = 1;
    rig_join(rig, &rig->w1, &rig->b);
    rig_client(rig, &rig->b);
    rig_ended(&rig->w1, attempt, 0, CAUSE_NONE, "sha256:aa");
    RIG_WAIT(rig, rig->w1.acked_count == 1);
    expect_state(rig, job, "running");
    rig_close(rig);
}

/* PostgreSQL dies and comes back while a task runs. Until then, and as long as leadership is certain, its
 * heartbeats are acknowledged; after it the worker is adopted and the job has one result. */
static void test_postgresql_dies(void **state)
{
    (void)state;
    struct rig *rig = rig_open(cluster);
    struct rig_worker *w = &rig->w1;
    rig_serve(rig);
    char endpoint[128];
    (void)snprintf(endpoint, sizeof endpoint, "%s", rig->a.shell->endpoint);
    uint64_t job = rig_submit(rig, ONE, "");
    RIG_WAIT(rig, w->assigned_count == 1);
    uint64_t attempt = w->assigned[0].attempt;
    rig_started(w, attempt, 0);
    RIG_WAIT(rig, rig_count(rig, "mlq.fact WHERE kind = 'started'") == 1);
    w->claims[0] = (struct msg_member){attempt, 0};
    w->claim_count = 1;
    pg_cluster_kill(cluster);
    RIG_WAIT(rig, rig->a.shell->phase == SHELL_STANDBY);
    assert_int_equal(access(rig->a.file, F_OK), -1);
    assert_true(pg_cluster_restart(cluster));
    RIG_WAIT(rig, rig_serves(&rig->a));
    assert_string_equal(rig->a.shell->endpoint, endpoint); /* where its workers look for it */
    RIG_WAIT(rig, w->is_connected && w->welcomed == w->session);
    rig_heartbeat(w);
    RIG_WAIT(rig, w->heartbeats_acked > 0);
    assert_int_equal(w->fenced_count, 0);
    rig_ended(w, attempt, 0, CAUSE_NONE, "sha256:aa");
    RIG_WAIT(rig, w->acked_count == 1 && rig->client_is_connected);
    expect_state(rig, job, "succeeded");
    assert_int_equal(rig_count(rig, "mlq.fact WHERE kind = 'ended'"), 1);
    assert_int_equal(w->assigned_count, 1);
    rig_close(rig);
}

/* Whoever holds this lock keeps each commit waiting. */
static PGconn *hold_commits(struct rig *rig)
{
    PGconn *session = PQconnectdb(rig->database);
    PGresult *result = PQexec(session, "SELECT pg_advisory_lock(x'6d6c7166'::bigint)");
    assert_int_equal(PQresultStatus(result), PGRES_TUPLES_OK);
    PQclear(result);
    return session;
}

/* A commit that hangs: heartbeats are answered all the same, nobody is told what is not durable. */
static void test_a_slow_commit(void **state)
{
    (void)state;
    struct rig *rig = rig_open(cluster);
    struct rig_worker *w = &rig->w1;
    rig->leader_lease_ns = 60 * MLQ_NS_PER_S;
    rig_start(rig, &rig->a, "a");
    RIG_WAIT(rig, rig_serves(&rig->a));
    rig_client(rig, &rig->a);
    rig_join(rig, w, &rig->a);
    uint64_t job = rig_submit(rig, ONE, "");
    RIG_WAIT(rig, w->assigned_count == 1);
    assert_int_equal(rig_call(rig, (struct msg_request){.op = MSG_OP_WATCH, .job = job}), MLQ_OK);
    json_t *document = json_loads(rig->blob, 0, NULL);
    uint64_t version = (uint64_t)json_integer_value(json_object_get(document, "version"));
    json_decref(document);
    PGconn *holder = hold_commits(rig);
    rig_ended(w, w->assigned[0].attempt, 0, CAUSE_NONE, "sha256:aa");
    RIG_WAIT(rig, rig->a.shell->committing != NULL);
    uint64_t id = rig_ask(rig, (struct msg_request){.op = MSG_OP_WATCH, .job = job, .version = version, .wait_ns = 60 * MLQ_NS_PER_S});
    rig_heartbeat(w);
    rig_heartbeat(w);
    RIG_WAIT(rig, w->heartbeats_acked == 2);
    assert_int_equal(w->acked_count, 0);
    assert_true(rig->answered < id);
    PQfinish(holder);
    RIG_WAIT(rig, w->acked_count == 1 && rig->answered == id);
    expect_state(rig, job, "succeeded");
    rig_close(rig);
}

/* More than a turn holds comes while a commit hangs: what can be refused is, and nothing else is lost. */
static void test_a_flood_behind_a_slow_commit(void **state)
{
    (void)state;
    const size_t count = 90000;
    struct rig *rig = rig_open(cluster);
    struct rig_worker *w = &rig->w1;
    rig->leader_lease_ns = 60 * MLQ_NS_PER_S;
    rig_start(rig, &rig->a, "a");
    RIG_WAIT(rig, rig_serves(&rig->a));
    rig_client(rig, &rig->a);
    rig_join(rig, w, &rig->a);
    uint64_t job = rig_submit(rig, ONE, "");
    RIG_WAIT(rig, w->assigned_count == 1);
    struct msg_member member = {w->assigned[0].attempt, 0};
    struct msg_metric *metrics = mlq_alloc_array(count, sizeof *metrics);
    for (size_t i = 0; i < count; i++) {
        metrics[i] = (struct msg_metric){.name = MLQ_STR("m"), .step = (int64_t)i, .value = 1, .at_us = 1};
    }
    RIG_WAIT(rig, rig->a.shell->committing == NULL);
    PGconn *holder = hold_commits(rig);
    rig_started(w, member.attempt, 0);
    RIG_WAIT(rig, rig->a.shell->committing != NULL);
    for (int i = 0; i < 5; i++) {
        rig_report(w, &(struct msg_report_item){.kind = MSG_REPORT_NOTE, .member = member, .metrics = metrics, .metric_count = count});
    }
    RIG_WAIT(rig, rig->a.shell->notes_lost == 2 * count);
    assert_int_equal(rig_call(rig, (struct msg_request){.op = MSG_OP_SUBMIT, .spec = spec_text_canonical(ONE)}), MLQ_EAGAIN);
    assert_int_equal(rig_call(rig, (struct msg_request){.op = MSG_OP_STATUS}), MLQ_OK);
    rig_ended(w, member.attempt, 0, CAUSE_NONE, "sha256:aa"); /* the result of what runs is taken */
    rig_heartbeat(w);
    RIG_WAIT(rig, w->heartbeats_acked == 1);
    assert_int_equal(w->acked_count, 0);
    PQfinish(holder);
    RIG_WAIT(rig, w->acked_count == 1);
    expect_state(rig, job, "succeeded");
    assert_int_equal(rig_count(rig, "mlq.metric WHERE name = 'm'"), 3 * count);
    assert_int_equal(rig_count(rig, "mlq.metric WHERE name = 'score'"), 1);
    mlq_free(metrics);
    rig_close(rig);
}

/* A key from before what is loaded: one commit fails, and after it the client is told. */
static void test_a_very_old_key(void **state)
{
    (void)state;
    struct rig *rig = rig_open_serving(cluster);
    free(pg_cluster_query(rig->database, "INSERT INTO mlq.submission VALUES ('old', 1000, now() - interval '8 days')"));
    (void)rig_ask(rig, (struct msg_request){.op = MSG_OP_SUBMIT, .spec = spec_text_canonical(ONE), .key = MLQ_STR("old")});
    RIG_WAIT(rig, rig->a.shell->epoch == 2 && rig_serves(&rig->a));
    rig_client(rig, &rig->a);
    assert_int_equal(rig_call(rig, (struct msg_request){.op = MSG_OP_SUBMIT, .spec = spec_text_canonical(ONE), .key = MLQ_STR("old")}), MLQ_EEXIST);
    assert_int_equal(rig_submit(rig, ONE, "new"), 1001);
    assert_int_equal(rig->a.shell->epoch, 2);
    rig_close(rig);
}

static void test_a_port_that_is_taken(void **state)
{
    (void)state;
    struct rig *rig = rig_open_serving(cluster);
    rig->database = pg_cluster_database(cluster); /* another cluster, on the same port */
    (void)snprintf(rig->b.listen, sizeof rig->b.listen, "%s", rig->a.shell->endpoint);
    rig_start(rig, &rig->b, "b");
    RIG_WAIT(rig, rig->b.shell->pause_ms > 1000); /* each time it waits longer */
    assert_true(rig->b.shell->epoch <= 4);
    assert_non_null(strstr(rig->b.shell->last_failure, rig->a.shell->endpoint));
    rig_stop(rig, &rig->a);
    RIG_WAIT(rig, rig_serves(&rig->b));
    rig->client_is_connected = false;
    rig_close(rig);
}

/* Stopping at any moment leaves nothing behind (the sanitizer looks). */
static void test_stops_at_any_moment(void **state)
{
    (void)state;
    for (int moment = 0; moment < 4; moment++) {
        struct rig *rig = rig_open(cluster);
        rig_start(rig, &rig->a, "a");
        if (moment == 1) {
            RIG_WAIT(rig, rig->a.shell->phase == SHELL_LOADING);
        } else if (moment > 1) {
            RIG_WAIT(rig, rig_serves(&rig->a));
            rig_client(rig, &rig->a);
            uint64_t job = rig_submit(rig, ONE, "");
            (void)rig_ask(rig, (struct msg_request){.op = MSG_OP_SHOW, .job = job});
            (void)rig_ask(rig, (struct msg_request){.op = moment == 2 ? MSG_OP_RETRY : MSG_OP_WATCH, .job = job + 1});
            RIG_WAIT(rig, !mlq_list_empty(&rig->a.shell->errands) || rig->answers > 2);
        }
        rig_stop(rig, &rig->a);
        rig_close(rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_job_runs),
        cmocka_unit_test(test_a_point_of_an_array_is_recorded_once),
        cmocka_unit_test(test_a_turn_of_ends_is_two_messages),
        cmocka_unit_test(test_a_start_is_dated_by_its_worker),
        cmocka_unit_test(test_submissions_are_checked),
        cmocka_unit_test(test_what_nobody_has_room_for),
        cmocka_unit_test(test_cancel_while_assigned),
        cmocka_unit_test(test_what_runs_is_asked_to_save),
        cmocka_unit_test(test_an_ended_job_is_retried),
        cmocka_unit_test(test_a_missing_input_fails_the_task),
        cmocka_unit_test(test_a_task_reads_the_record),
        cmocka_unit_test(test_a_gang_is_tried_again),
        cmocka_unit_test(test_a_log_is_relayed),
        cmocka_unit_test(test_a_worker_speaks_for_itself_only),
        cmocka_unit_test(test_what_the_record_cannot_hold),
        cmocka_unit_test(test_hellos_that_are_refused),
        cmocka_unit_test(test_a_result_counts_once),
        cmocka_unit_test(test_a_superseded_leader_is_refused),
        cmocka_unit_test(test_a_stop_hands_over),
        cmocka_unit_test(test_postgresql_dies),
        cmocka_unit_test(test_a_slow_commit),
        cmocka_unit_test(test_a_flood_behind_a_slow_commit),
        cmocka_unit_test(test_a_very_old_key),
        cmocka_unit_test(test_a_port_that_is_taken),
        cmocka_unit_test(test_stops_at_any_moment),
    };
    cluster = pg_cluster_start();
    if (cluster == NULL) {
        return 77; /* no PostgreSQL here: skipped */
    }
    if (getenv("MLQ_TEST_FILTER") != NULL) {
        cmocka_set_test_filter(getenv("MLQ_TEST_FILTER"));
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pg_cluster_stop(&cluster);
    return failed;
}
