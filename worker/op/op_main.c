/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * mlq-op NAME: runs one native operator in the environment of a task. See op.h.
 */
#include <stdio.h>
#include <string.h>

#include "lib/sys/mapfault.h"
#include "lib/task/task.h"
#include "worker/op/op.h"
#include "worker/op/op_table.h"

#define EXIT_USAGE 2

static void print_usage(FILE *to)
{
    (void)fprintf(
        to, "usage: mlq-op NAME\n"
            "Runs one native operator in the environment of a task: parameters from the JSON file\n"
            "MLQ_WITH, inputs from MLQ_INPUT_<NAME>, outputs into MLQ_OUTPUT. Operators:\n");
    for (size_t i = 0; op_table_at(i) != NULL; i++) {
        (void)fprintf(to, "  %s\n", op_table_at(i)->name);
    }
}

static int run(const struct op *op)
{
    struct mlq_err err = MLQ_ERR_INIT;
    struct op_context *ctx = NULL;
    int rc = op_open(op->name, &ctx, &err);
    if (rc == MLQ_OK) {
        rc = op->run(ctx, &err);
    }
    op_close(&ctx);
    if (rc < 0) {
        (void)fprintf(stderr, "mlq-op %s: %s\n", op->name,
                      err.text[0] != '\0' ? err.text : mlq_code_text(rc));
        return 1;
    }
    return rc == OP_STOPPED ? TASK_EXIT_REQUEUE : 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        print_usage(stdout);
        return 0;
    }
    const struct op *op = argc == 2 ? op_table_find(argv[1]) : NULL;
    if (op == NULL) {
        if (argc == 2) {
            (void)fprintf(stderr, "mlq-op: there is no operator '%s'\n", argv[1]);
        }
        print_usage(stderr);
        return EXIT_USAGE;
    }
    mlq_mapfault_install();
    return run(op);
}
