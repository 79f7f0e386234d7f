/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "client/cli/cmd.h"
#include "client/cli/doc.h"
#include "client/cli/session.h"
#include "client/cli/table.h"
#include "client/cli/text.h"
#include "lib/base/ownership.h"
#include "lib/sys/mem.h"

#define PAGE 1000

const char cmd_ls_help[] = "  mlq ls                    the newest jobs\n"
                           "  mlq ls --state running\n"
                           "  mlq ls team=vision --json\n"
                           "  mlq cancel $(mlq ls -q --name digits --state pending)\n"
                           "\n"
                           "usage: mlq ls [JOB...] [--state STATE] [--name NAME] [--limit N] "
                           "[--before ID] [--json | --jsonl | -q]\n"
                           "\n"
                           "  --state STATE  pending, running, succeeded, failed or cancelled\n"
                           "  --name NAME    exactly this name\n"
                           "  --limit N      at most so many (default 100)\n"
                           "  --before ID    only older ones: the next page\n"
                           "  --no-header    the table without its first line\n";

struct ls {
    struct session session;
    const char *state;
    const char *name;
    uint64_t limit;
    uint64_t before;
    uint64_t *ids; /* only these, ascending */
    size_t id_count;
};

static uint64_t id_of(const json_t *job)
{
    uint64_t id = 0;
    (void)mlq_str_u64(mlq_str_from(doc_text(job, "id")), &id);
    return id;
}

static bool is_wanted(const struct ls *ls, uint64_t id)
{
    for (size_t i = 0; i < ls->id_count; i++) {
        if (ls->ids[i] == id) {
            return true;
        }
    }
    return ls->id_count == 0;
}

/* Pages of the scheduler's answer into one document, newest first. */
static int load(struct ls *ls, json_t **jobs, struct mlq_err *err)
{
    uint64_t least = 0;
    for (size_t i = 0; i < ls->id_count; i++) {
        least = i == 0 || ls->ids[i] < least ? ls->ids[i] : least;
        ls->before = ls->ids[i] >= ls->before ? ls->ids[i] + 1 : ls->before;
    }
    *jobs = json_array();
    for (;;) {
        uint64_t left = ls->limit - json_array_size(*jobs);
        uint64_t page = ls->id_count > 0 || left > PAGE ? PAGE : left;
        struct mlq_client_list filter = {.state = mlq_str_from(ls->state),
                                         .name = mlq_str_from(ls->name),
                                         .limit = (uint32_t)page,
                                         .before = ls->before};
        struct mlq_str json;
        json_t *document;
        int rc = mlq_client_list(ls->session.client, &filter, ls->session.region, &json, err);
        if (rc == MLQ_OK) {
            rc = doc_parse(json, &document, err);
        }
        if (rc != MLQ_OK) {
            return rc;
        }
        json_t *found = json_object_get(document, "jobs");
        size_t count = json_array_size(found);
        uint64_t last = count == 0 ? 0 : id_of(json_array_get(found, count - 1));
        for (size_t i = 0; i < count && json_array_size(*jobs) < ls->limit; i++) {
            if (is_wanted(ls, id_of(json_array_get(found, i)))) {
                (void)json_array_append(*jobs, json_array_get(found, i));
            }
        }
        json_decref(document);
        if (count < page || json_array_size(*jobs) >= ls->limit || last <= 1 ||
            (ls->id_count > 0 && last <= least)) {
            return MLQ_OK;
        }
        ls->before = last;
    }
}

static void print_table(struct ls *ls, const json_t *jobs)
{
    static const struct table_column columns[] = {
        {.title = "ID", .right = true},    {.title = "NAME", .may_cut = true},
        {.title = "STATE", .state = true}, {.title = "STAGES", .right = true},
        {.title = "TIME", .right = true},  {.title = "SUBMITTED", .right = true},
        {.title = "BY", .may_cut = true},
    };
    struct table *table = table_create(ls->session.region, columns, MLQ_COUNT_OF(columns));
    for (size_t i = 0; i < json_array_size(jobs); i++) {
        const json_t *job = json_array_get(jobs, i);
        const json_t *stages = json_object_get(job, "stages");
        const char *ended = doc_text(job, "ended");
        char span[TEXT_BYTES];
        char ago[TEXT_BYTES];
        table_cell(table, "%s", doc_text(job, "id"));
        table_cell(table, "%s", doc_text(job, "name"));
        table_cell(table, "%s", doc_text(job, "state"));
        table_cell(table, "%lld/%lld", (long long)doc_int(stages, "succeeded"),
                   (long long)doc_int(stages, "total"));
        table_cell(table, "%s", text_span(doc_text(job, "started"), ended, span));
        table_cell(table, "%s", text_ago(doc_text(job, "submitted"), ago));
        table_cell(table, "%s", doc_text(job, "submitter"));
    }
    table_print(table, stdout, !ls->session.no_header, table_width(stdout), table_colour(stdout));
}

static void print(struct ls *ls, json_t *jobs)
{
    if (ls->session.json) {
        json_t *document = json_pack("{s:s, s:O}", "schema", "mlq/v1", "jobs", jobs);
        char *text = json_dumps(document, JSON_COMPACT);
        doc_print(stdout, mlq_str_from(text));
        mlq_free(text);
        json_decref(document);
    } else if (ls->session.jsonl || ls->session.quiet) {
        for (size_t i = 0; i < json_array_size(jobs); i++) {
            if (ls->session.quiet) {
                printf("%s\n", doc_text(json_array_get(jobs, i), "id"));
            } else {
                doc_print_line(stdout, json_array_get(jobs, i));
            }
        }
    } else if (json_array_size(jobs) == 0) {
        fputs("no jobs\n", stderr);
    } else {
        print_table(ls, jobs);
    }
}

int cmd_ls(int argc, char **argv)
{
    struct ls ls = {.session = {.verb = "ls"}, .limit = 100};
    struct session *session = &ls.session;
    const struct args_option own[] = {
        {.name = "state", .kind = ARGS_TEXT, .value = &ls.state},
        {.name = "name", .kind = ARGS_TEXT, .value = &ls.name},
        {.name = "limit", .letter = 'n', .kind = ARGS_NUMBER, .value = &ls.limit, .max = 1000000},
        {.name = "before", .kind = ARGS_NUMBER, .value = &ls.before, .max = INT64_MAX},
        {0},
    };
    struct mlq_err err = MLQ_ERR_INIT;
    json_t *jobs = NULL;
    int code = session_parse(session, own, argc, argv);
    if (code != CMD_OK) {
        return code;
    }
    code = session_open(session);
    if (code == CMD_OK && session->args.count > 0) {
        code = session_jobs(session, 0, &ls.ids, &ls.id_count);
    }
    if (code == CMD_OK && ls.limit > 0) {
        code = load(&ls, &jobs, &err) == MLQ_OK ? CMD_OK : session_fail(session, NULL, &err);
    }
    if (code == CMD_OK) {
        print(&ls, jobs);
        code = session_finish(session, code);
    }
    json_decref(jobs);
    session_close(session);
    return code;
}
