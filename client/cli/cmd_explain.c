/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "client/cli/cmd.h"
#include "client/cli/doc.h"
#include "client/cli/session.h"
#include "client/cli/specfile.h"
#include "client/cli/table.h"
#include "lib/base/ownership.h"
#include "lib/spec/spec.h"

const char cmd_explain_help[] =
    "  mlq explain                   the native operators\n"
    "  mlq explain train.native      its parameters, inputs and outputs\n"
    "  mlq explain pipeline.yaml     the spec with every default and the wiring of its stages\n"
    "\n"
    "usage: mlq explain [OPERATOR | FILE] [--set K=V]... [--json]\n"
    "\n"
    "  --set K=V  a param of the spec\n"
    "\n"
    "Needs no cluster. Exit code 5 when the spec is not valid; all that is wrong is said with its "
    "place.\n";

static void list_operators(struct session *session)
{
    static const struct table_column columns[] = {{.title = "OPERATOR"},
                                                  {.title = "WHAT IT DOES", .may_cut = true}};
    struct table *table = table_create(session->region, columns, MLQ_COUNT_OF(columns));
    for (size_t i = 0; i < op_schema_count(); i++) {
        const struct op_schema *op = op_schema_at(i);
        if (session->quiet) {
            printf("%s\n", op->name);
        } else if (session->jsonl) {
            json_t *line = json_pack("{s:s, s:s}", "name", op->name, "help", op->help);
            doc_print_line(stdout, line);
            json_decref(line);
        }
        table_cell(table, "%s", op->name);
        table_cell(table, "%s", op->help);
    }
    if (!session->quiet && !session->jsonl) {
        table_print(table, stdout, !session->no_header, table_width(stdout), table_colour(stdout));
    }
}

static void write_out(struct mlq_str text)
{
    (void)fwrite(text.ptr, 1, text.len, stdout);
}

int cmd_explain(int argc, char **argv)
{
    struct session session = {.verb = "explain"};
    struct args_list sets = {0};
    struct specfile file;
    const struct args_option own[] = {{.name = "set", .kind = ARGS_LIST, .value = &sets}, {0}};
    int code = session_parse(&session, own, argc, argv);
    if (code != CMD_OK) {
        return code;
    }
    if (session.args.count > 1) {
        return session_usage(&session, "one operator or file, not also '%s'",
                             session.args.operands[1]);
    }
    session.region = mlq_region_create();
    const char *what = session.args.count == 0 ? NULL : session.args.operands[0];
    const struct op_schema *op = what == NULL ? NULL : op_schema_find(mlq_str_from(what));
    if (what == NULL) {
        list_operators(&session);
    } else if (op != NULL) {
        write_out(spec_explain_op(op, session.region));
    } else {
        code = specfile_load(&session, what, &sets, &file);
        if (code == CMD_OK && session.json) {
            doc_print(stdout, spec_canonical(file.spec, session.region));
        } else if (code == CMD_OK) {
            write_out(spec_explain(file.spec, session.region));
        } else if (code == CMD_NOT_FOUND) {
            fputs("  (nor is it an operator: `mlq explain` lists them)\n", stderr);
        }
    }
    code = session_finish(&session, code);
    session_close(&session);
    return code;
}
