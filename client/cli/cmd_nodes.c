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

const char cmd_nodes_help[] =
    "  mlq nodes\n"
    "  mlq nodes --json\n"
    "\n"
    "usage: mlq nodes [--json | --jsonl | -q]\n"
    "\n"
    "The workers: what each offers, what of it is free, and when it was last heard of.\n";

static void add_sizes(struct table *table, const json_t *spare, const json_t *all)
{
    char spare_bytes[TEXT_BYTES];
    char all_bytes[TEXT_BYTES];
    table_cell(table, "%g/%g", doc_real(spare, "cpus"), doc_real(all, "cpus"));
    table_cell(table, "%s/%s", text_bytes((uint64_t)doc_int(spare, "memory"), spare_bytes),
               text_bytes((uint64_t)doc_int(all, "memory"), all_bytes));
    table_cell(table, "%lld/%lld", (long long)doc_int(spare, "gpus"), (long long)doc_int(all, "gpus"));
}

/* "NVIDIA H200 140 GiB", of the first: a machine's GPUs are mostly alike. */
static void add_gpu(struct table *table, const json_t *gpus)
{
    const json_t *gpu = json_array_get(gpus, 0);
    char bytes[TEXT_BYTES];
    if (gpu == NULL || doc_int(gpu, "memory") == 0) {
        table_cell(table, "%s", gpu == NULL ? "-" : doc_text(gpu, "model"));
    } else {
        table_cell(table, "%s, %s", doc_text(gpu, "model"),
                   text_bytes((uint64_t)doc_int(gpu, "memory"), bytes));
    }
}

static void print_table(struct session *session, const json_t *nodes)
{
    static const struct table_column columns[] = {
        {.title = "NODE"},
        {.title = "STATE", .state = true},
        {.title = "CPUS FREE", .right = true},
        {.title = "MEMORY FREE", .right = true},
        {.title = "GPUS", .right = true},
        {.title = "MODEL", .may_cut = true},
        {.title = "RUNNING", .right = true},
        {.title = "HEARD", .right = true},
        {.title = "HOST", .may_cut = true},
        {.title = "SOFTWARE", .may_cut = true},
    };
    struct table *table = table_create(session->region, columns, MLQ_COUNT_OF(columns));
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i);
        const json_t *all = json_object_get(node, "capacity");
        const json_t *spare = json_object_get(node, "free");
        char heard[TEXT_BYTES];
        table_cell(table, "%s", doc_text(node, "name"));
        table_cell(table, "%s", doc_text(node, "state"));
        if (strcmp(doc_text(node, "state"), "up") != 0) { /* what it offers is known when it is back */
            table_cell(table, "-");
            table_cell(table, "-");
            table_cell(table, "-");
        } else {
            add_sizes(table, spare, all);
        }
        add_gpu(table, json_object_get(node, "gpus"));
        table_cell(table, "%lld", (long long)doc_int(node, "running"));
        table_cell(table, "%s%s",
                   json_object_get(node, "heard_s") == NULL
                       ? "never"
                       : text_duration(doc_real(node, "heard_s"), heard),
                   json_object_get(node, "heard_s") == NULL ? "" : " ago");
        table_cell(table, "%s", doc_text(node, "host"));
        table_cell(table, "%s", doc_text(node, "software"));
    }
    table_print(table, stdout, !session->no_header, table_width(stdout), table_colour(stdout));
}

static int show(struct session *session, struct mlq_err *err)
{
    struct mlq_str json;
    json_t *document = NULL;
    int rc = mlq_client_nodes(session->client, session->region, &json, err);
    if (rc == MLQ_OK && session->json) {
        doc_print(stdout, json);
        return MLQ_OK;
    }
    if (rc == MLQ_OK) {
        rc = doc_parse(json, &document, err);
    }
    if (rc != MLQ_OK) {
        return rc;
    }
    const json_t *nodes = json_object_get(document, "nodes");
    for (size_t i = 0; (session->quiet || session->jsonl) && i < json_array_size(nodes); i++) {
        if (session->quiet) {
            printf("%s\n", doc_text(json_array_get(nodes, i), "name"));
        } else {
            doc_print_line(stdout, json_array_get(nodes, i));
        }
    }
    if (!session->quiet && !session->jsonl) {
        print_table(session, nodes);
    }
    json_decref(document);
    return MLQ_OK;
}

int cmd_nodes(int argc, char **argv)
{
    struct session session = {.verb = "nodes"};
    struct mlq_err err = MLQ_ERR_INIT;
    int code = session_parse(&session, NULL, argc, argv);
    if (code != CMD_OK) {
        return code;
    }
    code = session_open(&session);
    if (code == CMD_OK && show(&session, &err) != MLQ_OK) {
        code = session_fail(&session, NULL, &err);
    }
    code = session_finish(&session, code);
    session_close(&session);
    return code;
}
