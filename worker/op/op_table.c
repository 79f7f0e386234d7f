/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/op_table.h"

#include <string.h>

/* Sorted by name; the row without one ends it. */
static const struct op ops[] = {
    /* data */
    {.name = "data.arrays", .run = op_arrays_run},
    {.name = "data.import", .run = op_import_run},
    {.name = "data.split", .run = op_split_run},
    {.name = "data.validate", .run = op_validate_run},

    /* evaluate */
    {.name = "eval.metrics", .run = op_eval_run},

    /* gate */
    {.name = "gate", .run = op_gate_run},

    /* package */
    {.name = "package.onnx", .run = op_onnx_run},

    /* report */
    {.name = "report", .run = op_report_run},

    /* train */
    {.name = "train.native", .run = op_train_run},
    {.name = "train.xgboost", .run = op_xgboost_run},

    {.name = NULL},
};

const struct op *op_table_find(const char *name)
{
    for (const struct op *op = ops; op->name != NULL; op++) {
        if (strcmp(op->name, name) == 0) {
            return op;
        }
    }
    return NULL;
}

const struct op *op_table_at(size_t i)
{
    const struct op *op = ops;
    while (i > 0 && op->name != NULL) {
        op++;
        i--;
    }
    return op->name == NULL ? NULL : op;
}
