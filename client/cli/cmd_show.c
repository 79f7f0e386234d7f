/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "client/cli/cmd.h"
#include "client/cli/doc.h"
#include "client/cli/session.h"
#include "client/cli/summary.h"
#include "client/cli/table.h"
#include "client/cli/text.h"
#include "client/cli/waiting.h"
#include "lib/base/ownership.h"

#define DIGEST_SHORT (sizeof "sha256:" - 1 + 12)
#define FAILURES_MAX 20

const char cmd_show_help[] = "  mlq show 12\n"
                             "  mlq show last --json\n"
                             "  mlq show @digits --full      whole digests, every failed attempt\n"
                             "\n"
                             "usage: mlq show JOB... [--full] [--json | --jsonl]\n"
                             "\n"
                             "  --full  whole digests, and every failed attempt\n";

static struct mlq_str safe(struct session *session, const json_t *object, const char *key)
{
    return text_safe(session->region, mlq_str_from(doc_text(object, key)), false);
}

/* Why a job is in its state, where the state alone does not say it. */
static const char *cause_text(const json_t *job)
{
    const char *cause = doc_text(job, "cause");
    if (strcmp(cause, "cancel") == 0) {
        return doc_text(job, "ended")[0] == '\0' ? "is being cancelled" : "";
    }
    return strcmp(cause, "none") == 0 ? "" : cause;
}

static void print_head(struct session *session, const json_t *job)
{
    char span[TEXT_BYTES];
    char ago[TEXT_BYTES];
    const char *state = doc_text(job, "state");
    const char *cause = cause_text(job);
    bool colour = table_colour(stdout);
    struct mlq_str submitter = safe(session, job, "submitter");
    struct mlq_str name = safe(session, job, "name");
    printf("job %s  %.*s  %s%s%s%s%s%s\n", doc_text(job, "id"), MLQ_STR_ARG(name),
           colour ? table_state_colour(mlq_str_from(state)) : "", state, colour ? TABLE_PLAIN : "",
           cause[0] == '\0' ? "" : " (", cause, cause[0] == '\0' ? "" : ")");
    printf("submitted %s by %.*s (%s)", doc_text(job, "submitted"), MLQ_STR_ARG(submitter),
           text_ago(doc_text(job, "submitted"), ago));
    if (doc_text(job, "started")[0] != '\0') {
        printf(", %s for %s", doc_text(job, "ended")[0] == '\0' ? "running" : "ran",
               text_span(doc_text(job, "started"), doc_text(job, "ended"), span));
    }
    const char *key;
    json_t *value;
    json_t *labels = json_object_get(job, "labels");
    fputs(json_object_size(labels) > 0 ? "\nlabels" : "", stdout);
    json_object_foreach(labels, key, value)
    {
        const char *text = json_string_value(value);
        struct mlq_str pair =
            text_safe(session->region,
                      mlq_str_from(mlq_region_format(session->region, "%s=%s", key,
                                                     text == NULL ? "" : text)),
                      false);
        printf(" %.*s", MLQ_STR_ARG(pair));
    }
    fputs("\n\n", stdout);
}

static const char *count_text(struct session *session, long long count, const char *what)
{
    return count > 0 ? mlq_region_format(session->region, ", %lld %s", count, what) : "";
}

/* A stage of which a task failed for good starts nothing more: the rest is said to be not run. */
static const char *task_text(struct session *session, const json_t *stage)
{
    const json_t *tasks = json_object_get(stage, "tasks");
    const char *state = doc_text(stage, "state");
    bool cancelled = strcmp(state, "cancelled") == 0;
    bool ended = cancelled || strcmp(state, "failed") == 0;
    long long total = doc_int(tasks, "total");
    long long succeeded = doc_int(tasks, "succeeded");
    long long failed = doc_int(tasks, "failed");
    long long running = doc_int(tasks, "running");
    return mlq_region_format(
        session->region, "%lld/%lld%s%s%s", succeeded, total,
        count_text(session, running, "running"),
        count_text(session, failed, cancelled ? "stopped" : "failed"),
        count_text(session, ended ? total - succeeded - failed - running : 0, "not run"));
}

/* The record has an entry per rank, by attempt; a gang is tried as one. Of a long list only the end is
 * there: the rest is taken to be like it. */
static long long tries(const json_t *stage)
{
    const json_t *listed = json_object_get(stage, "attempts");
    long long entries = (long long)json_array_size(listed);
    long long attempts = 0;
    const char *last = "";
    for (long long i = 0; i < entries; i++) {
        const char *attempt = doc_text(json_array_get(listed, (size_t)i), "attempt");
        attempts += strcmp(attempt, last) != 0 ? 1 : 0;
        last = attempt;
    }
    long long all = doc_int(stage, "attempts_total");
    return entries == 0 || all == entries ? attempts : (all * attempts + entries - 1) / entries;
}

/* " x4"; " x1..8" where the number may change. */
static const char *ranks_text(struct session *session, const json_t *stage)
{
    long long least = doc_int(stage, "ranks_min");
    long long most = doc_int(stage, "ranks");
    return most == 1      ? ""
           : least < most ? mlq_region_format(session->region, " x%lld..%lld", least, most)
                          : mlq_region_format(session->region, " x%lld", most);
}

static void print_stages(struct session *session, const json_t *stages)
{
    static const struct table_column columns[] = {
        {.title = "STAGE"},
        {.title = "USES"},
        {.title = "STATE", .state = true},
        {.title = "TASKS"},
        {.title = "TRIES", .right = true},
        {.title = "TIME", .right = true},
        {.title = "NEEDS", .may_cut = true},
    };
    struct table *table = table_create(session->region, columns, MLQ_COUNT_OF(columns));
    for (size_t i = 0; i < json_array_size(stages); i++) {
        const json_t *stage = json_array_get(stages, i);
        const json_t *needs = json_object_get(stage, "needs");
        const char *verdict = doc_text(stage, "verdict");
        const char *list = "";
        char span[TEXT_BYTES];
        for (size_t n = 0; n < json_array_size(needs); n++) {
            const char *need = json_string_value(json_array_get(needs, n));
            list = mlq_region_format(session->region, "%s%s%s", list, n == 0 ? "" : " ",
                                     need == NULL ? "" : need);
        }
        table_cell(table, "%s", doc_text(stage, "name"));
        table_cell(table, "%s%s", doc_text(stage, "uses"), ranks_text(session, stage));
        table_cell(table, "%s", doc_text(stage, "state"));
        const char *judged =
            verdict[0] == '\0' ? "" : mlq_region_format(session->region, " (%s)", verdict);
        table_cell(table, "%s%s", task_text(session, stage), judged);
        table_cell(table, "%lld", tries(stage));
        table_cell(table, "%s",
                   text_span(doc_text(stage, "started"), doc_text(stage, "ended"), span));
        table_cell(table, "%s", list);
    }
    table_print(table, stdout, !session->no_header, table_width(stdout), table_colour(stdout));
}

static void print_metrics(struct session *session, const json_t *stages)
{
    static const struct table_column columns[] = {
        {.title = "METRIC"}, {.title = "STAGE"}, {.title = "VALUE"}};
    struct table *table = table_create(session->region, columns, MLQ_COUNT_OF(columns));
    size_t count = 0;
    for (size_t i = 0; i < json_array_size(stages); i++) {
        const json_t *stage = json_array_get(stages, i);
        const char *name;
        json_t *value;
        json_object_foreach(json_object_get(stage, "metrics"), name, value)
        {
            char number[DOC_NUMBER_BYTES];
            table_cell(table, "%s", name);
            table_cell(table, "%s", doc_text(stage, "name"));
            table_cell(table, "%s", doc_number_short(value, number));
            count++;
        }
    }
    if (count > 0) {
        fputc('\n', stdout);
        table_print(table, stdout, !session->no_header, table_width(stdout), table_colour(stdout));
    }
}

static void print_artifacts(struct session *session, const json_t *stages, bool full)
{
    static const struct table_column columns[] = {
        {.title = "ARTIFACT"}, {.title = "SIZE", .right = true}, {.title = "DIGEST"}};
    struct table *table = table_create(session->region, columns, MLQ_COUNT_OF(columns));
    size_t count = 0;
    for (size_t i = 0; i < json_array_size(stages); i++) {
        const json_t *stage = json_array_get(stages, i);
        const json_t *artifacts = json_object_get(stage, "artifacts");
        for (size_t n = 0; n < json_array_size(artifacts); n++) {
            const json_t *artifact = json_array_get(artifacts, n);
            char size[TEXT_BYTES];
            table_cell(table, "%s/%s", doc_text(stage, "name"), doc_text(artifact, "name"));
            table_cell(table, "%s", text_bytes((uint64_t)doc_int(artifact, "bytes"), size));
            table_cell(table, "%.*s", full ? 128 : (int)DIGEST_SHORT, doc_text(artifact, "digest"));
            count++;
        }
    }
    if (count > 0) {
        fputc('\n', stdout);
        table_print(table, stdout, !session->no_header, table_width(stdout), table_colour(stdout));
    }
}

/* Of stages or of attempts: both have a state. */
static size_t count_failed(const json_t *list)
{
    size_t count = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        count += strcmp(doc_text(json_array_get(list, i), "state"), "failed") == 0;
    }
    return count;
}

/* Every attempt that failed, unless the failures above tell it all. */
static void print_failures(struct session *session, const json_t *stages, bool full)
{
    size_t shown = 0;
    size_t hidden = 0;
    size_t failed = 0;
    for (size_t i = 0; i < json_array_size(stages); i++) {
        failed += count_failed(json_object_get(json_array_get(stages, i), "attempts"));
    }
    if (!full && failed <= count_failed(stages)) {
        return;
    }
    for (size_t i = 0; i < json_array_size(stages); i++) {
        const json_t *stage = json_array_get(stages, i);
        const json_t *attempts = json_object_get(stage, "attempts");
        for (size_t n = 0; n < json_array_size(attempts); n++) {
            const json_t *attempt = json_array_get(attempts, n);
            if (strcmp(doc_text(attempt, "state"), "failed") != 0) {
                continue;
            }
            if (!full && shown == FAILURES_MAX) {
                hidden++;
                continue;
            }
            struct mlq_str cause = text_safe(
                session->region, mlq_str_from(summary_cause(session->region, attempt)), false);
            printf("%s  %s[%lld] rank %lld on %s at %s: %.*s\n",
                   shown++ == 0 ? "\nfailed attempts\n" : "", doc_text(stage, "name"),
                   (long long)doc_int(attempt, "index"), (long long)doc_int(attempt, "rank"),
                   doc_text(attempt, "worker"), doc_text(attempt, "ended"), MLQ_STR_ARG(cause));
        }
    }
    if (hidden > 0) {
        printf("  and %zu more (--full shows them)\n", hidden);
    }
}

/* What one looks for first: why a job failed, or what it waits for. */
static void print_why(struct session *session, const json_t *job)
{
    if (strcmp(doc_text(job, "state"), "failed") == 0) {
        (void)fflush(stdout);
        fputc('\n', stdout);
        summary_failures(session, job, stdout);
    }
    waiting_print(session, job);
}

static int show(struct session *session, uint64_t id, bool full)
{
    struct mlq_err err = MLQ_ERR_INIT;
    struct mlq_str json;
    json_t *document = NULL;
    char name[24];
    (void)snprintf(name, sizeof name, "%llu", (unsigned long long)id);
    int rc = mlq_client_show(session->client, id, session->region, &json, &err);
    if (rc == MLQ_OK && session->json) {
        doc_print(stdout, json);
        return CMD_OK;
    }
    if (rc == MLQ_OK) {
        rc = doc_parse(json, &document, &err);
    }
    if (rc != MLQ_OK) {
        return session_fail(session, name, &err);
    }
    const json_t *job = json_object_get(document, "job");
    const json_t *stages = json_object_get(job, "stages");
    if (session->jsonl) {
        doc_print_line(stdout, document);
    } else if (session->quiet) {
        printf("%s\n", doc_text(job, "id"));
    } else {
        print_head(session, job);
        print_stages(session, stages);
        print_why(session, job);
        print_metrics(session, stages);
        print_artifacts(session, stages, full);
        print_failures(session, stages, full);
    }
    json_decref(document);
    return CMD_OK;
}

int cmd_show(int argc, char **argv)
{
    struct session session = {.verb = "show"};
    bool full = false;
    const struct args_option own[] = {{.name = "full", .kind = ARGS_FLAG, .value = &full}, {0}};
    uint64_t *jobs;
    size_t count = 0;
    int code = session_parse(&session, own, argc, argv);
    if (code != CMD_OK) {
        return code;
    }
    code = session_open(&session);
    if (code == CMD_OK) {
        code = session_jobs(&session, 0, &jobs, &count);
    }
    for (size_t i = 0; code == CMD_OK && i < count; i++) {
        if (i > 0 && !session.json && !session.jsonl && !session.quiet) {
            fputc('\n', stdout);
        }
        code = show(&session, jobs[i], full);
    }
    code = session_finish(&session, code);
    session_close(&session);
    return code;
}
