/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cmd.h"
#include "client/cli/doc.h"
#include "client/cli/session.h"
#include "client/cli/table.h"
#include "lib/base/ownership.h"
#include "lib/sys/mem.h"

const char cmd_metrics_help[] =
    "  mlq metrics last                                  all of them: steps, last, least, "
    "greatest\n"
    "  mlq metrics 12 --name val_loss                    each step\n"
    "  mlq metrics 12 --stage eval --name accuracy --latest    just the number, for scripts\n"
    "  mlq metrics 12 --jsonl                            a line per point\n"
    "\n"
    "usage: mlq metrics JOB [--stage STAGE] [--name NAME] [--latest] [--json | --jsonl]\n"
    "\n"
    "  --stage STAGE  of this stage only\n"
    "  --name NAME    of this name only: each of its steps\n"
    "  --latest       the last value of each; one alone is printed as a bare number\n";

struct metrics {
    struct session session;
    const char *stage;
    const char *name;
    bool latest;
};

/* Of a point [step, value, time]. */
static double number_of(const json_t *point)
{
    const json_t *value = json_array_get(point, 1);
    return json_is_string(value) ? strtod(json_string_value(value), NULL)
                                 : json_number_value(value);
}

/* Whether a later series is of the same task: then this one is of an earlier attempt. */
static bool is_old(const json_t *all, size_t at)
{
    const json_t *series = json_array_get(all, at);
    for (size_t i = at + 1; i < json_array_size(all); i++) {
        const json_t *other = json_array_get(all, i);
        if (strcmp(doc_text(series, "stage"), doc_text(other, "stage")) != 0 ||
            doc_int(series, "index") != doc_int(other, "index")) {
            return false; /* sorted by stage, task, attempt */
        }
        if (strcmp(doc_text(series, "name"), doc_text(other, "name")) == 0) {
            return true;
        }
    }
    return false;
}

static void print_summary(struct metrics *metrics, const json_t *all)
{
    static const struct table_column columns[] = {
        {.title = "STAGE"},
        {.title = "TASK", .right = true},
        {.title = "METRIC"},
        {.title = "STEPS", .right = true},
        {.title = "LAST", .right = true},
        {.title = "LEAST", .right = true},
        {.title = "GREATEST", .right = true},
    };
    struct table *table = table_create(metrics->session.region, columns, MLQ_COUNT_OF(columns));
    for (size_t i = 0; i < json_array_size(all); i++) {
        const json_t *series = json_array_get(all, i);
        const json_t *points = json_object_get(series, "points");
        size_t count = json_array_size(points);
        char number[DOC_NUMBER_BYTES];
        if (count == 0 || is_old(all, i)) {
            continue;
        }
        double least = number_of(json_array_get(points, 0));
        double greatest = least;
        for (size_t p = 1; p < count; p++) {
            double value = number_of(json_array_get(points, p));
            least = value < least ? value : least;
            greatest = value > greatest ? value : greatest;
        }
        table_cell(table, "%s", doc_text(series, "stage"));
        table_cell(table, "%lld", (long long)doc_int(series, "index"));
        table_cell(table, "%s", doc_text(series, "name"));
        table_cell(table, "%zu", count);
        table_cell(table, "%s",
                   doc_number_short(json_array_get(json_array_get(points, count - 1), 1), number));
        table_cell(table, "%.6g", least);
        table_cell(table, "%.6g", greatest);
    }
    table_print(table, stdout, !metrics->session.no_header, table_width(stdout),
                table_colour(stdout));
}

static void print_points(struct metrics *metrics, const json_t *all)
{
    static const struct table_column columns[] = {
        {.title = "STAGE"},
        {.title = "TASK", .right = true},
        {.title = "METRIC"},
        {.title = "STEP", .right = true},
        {.title = "VALUE", .right = true},
        {.title = "TIME"},
    };
    struct table *table = table_create(metrics->session.region, columns, MLQ_COUNT_OF(columns));
    for (size_t i = 0; i < json_array_size(all); i++) {
        const json_t *series = json_array_get(all, i);
        const json_t *points = json_object_get(series, "points");
        for (size_t p = 0; p < json_array_size(points) && !is_old(all, i); p++) {
            const json_t *point = json_array_get(points, p);
            const char *time = json_string_value(json_array_get(point, 2));
            char number[DOC_NUMBER_BYTES];
            table_cell(table, "%s", doc_text(series, "stage"));
            table_cell(table, "%lld", (long long)doc_int(series, "index"));
            table_cell(table, "%s", doc_text(series, "name"));
            table_cell(table, "%s", doc_number(json_array_get(point, 0), number));
            table_cell(table, "%s", doc_number(json_array_get(point, 1), number));
            table_cell(table, "%s", time == NULL ? "" : time);
        }
    }
    table_print(table, stdout, !metrics->session.no_header, table_width(stdout),
                table_colour(stdout));
}

/* The last value of each, alone when one metric was named. */
static void print_latest(struct metrics *metrics, const json_t *all)
{
    static const struct table_column columns[] = {{.title = "STAGE"},
                                                  {.title = "TASK", .right = true},
                                                  {.title = "METRIC"},
                                                  {.title = "VALUE", .right = true}};
    struct table *table = table_create(metrics->session.region, columns, MLQ_COUNT_OF(columns));
    for (size_t i = 0; i < json_array_size(all); i++) {
        const json_t *series = json_array_get(all, i);
        const json_t *points = json_object_get(series, "points");
        size_t count = json_array_size(points);
        char number[DOC_NUMBER_BYTES];
        if (count == 0 || is_old(all, i)) {
            continue;
        }
        (void)doc_number(json_array_get(json_array_get(points, count - 1), 1), number);
        if (metrics->name != NULL) {
            printf("%s\n", number);
            continue;
        }
        table_cell(table, "%s", doc_text(series, "stage"));
        table_cell(table, "%lld", (long long)doc_int(series, "index"));
        table_cell(table, "%s", doc_text(series, "name"));
        table_cell(table, "%s", number);
    }
    if (metrics->name == NULL) {
        table_print(table, stdout, !metrics->session.no_header, table_width(stdout),
                    table_colour(stdout));
    }
}

static void print_lines(const json_t *all)
{
    for (size_t i = 0; i < json_array_size(all); i++) {
        const json_t *series = json_array_get(all, i);
        const json_t *points = json_object_get(series, "points");
        for (size_t p = 0; p < json_array_size(points); p++) {
            json_t *point = json_array_get(points, p);
            char number[DOC_NUMBER_BYTES];
            json_t *line = json_pack(
                "{s:O, s:O, s:O, s:O, s:O, s:O}", "stage", json_object_get(series, "stage"),
                "index", json_object_get(series, "index"), "attempt",
                json_object_get(series, "attempt"), "name", json_object_get(series, "name"), "step",
                json_array_get(point, 0), "time", json_array_get(point, 2));
            char *text = json_dumps(line, JSON_COMPACT);
            bool quoted = json_is_string(json_array_get(point, 1)); /* NaN */
            if (text != NULL) {
                printf("%.*s,\"value\":%s%s%s}\n", (int)strlen(text) - 1, text, quoted ? "\"" : "",
                       json_is_null(json_array_get(point, 1))
                           ? "null"
                           : doc_number(json_array_get(point, 1), number),
                       quoted ? "\"" : "");
            }
            mlq_free(text);
            json_decref(line);
        }
    }
}

static int print(struct metrics *metrics, struct mlq_str json, struct mlq_err *err)
{
    json_t *document;
    if (metrics->session.json) {
        doc_print(stdout, json);
        return MLQ_OK;
    }
    int rc = doc_parse(json, &document, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    const json_t *all = json_object_get(document, "metrics");
    if (json_array_size(all) == 0) {
        rc = metrics->name == NULL
                 ? MLQ_OK
                 : mlq_fail(err, MLQ_ENOENT, "no metric '%s' was reported%s%s", metrics->name,
                            metrics->stage == NULL ? "" : " by stage ",
                            metrics->stage == NULL ? "" : metrics->stage);
        fputs(rc == MLQ_OK ? "no metrics\n" : "", stderr);
    } else if (metrics->session.jsonl) {
        print_lines(all);
    } else if (metrics->latest) {
        print_latest(metrics, all);
    } else if (metrics->name != NULL) {
        print_points(metrics, all);
    } else {
        print_summary(metrics, all);
    }
    json_decref(document);
    return rc;
}

int cmd_metrics(int argc, char **argv)
{
    struct metrics metrics = {.session = {.verb = "metrics"}};
    struct session *session = &metrics.session;
    const struct args_option own[] = {
        {.name = "stage", .kind = ARGS_TEXT, .value = &metrics.stage},
        {.name = "name", .kind = ARGS_TEXT, .value = &metrics.name},
        {.name = "latest", .kind = ARGS_FLAG, .value = &metrics.latest},
        {0},
    };
    struct mlq_err err = MLQ_ERR_INIT;
    struct mlq_str json;
    uint64_t job;
    int code = session_parse(session, own, argc, argv);
    if (code != CMD_OK) {
        return code;
    }
    code = session_open(session);
    if (code == CMD_OK) {
        code = session_job(session, 0, &job);
    }
    if (code == CMD_OK) {
        int rc = mlq_client_metrics(session->client, job, mlq_str_from(metrics.stage),
                                    mlq_str_from(metrics.name), session->region, &json, &err);
        if (rc == MLQ_OK) {
            rc = print(&metrics, json, &err);
        }
        code = rc == MLQ_OK ? CMD_OK : session_fail(session, session->args.operands[0], &err);
    }
    code = session_finish(session, code);
    session_close(session);
    return code;
}
