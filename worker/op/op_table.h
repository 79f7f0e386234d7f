/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The operators that mlq-op knows, and the function of each. A new one adds its prototype here, a
 * row in op_table.c and its file in CMakeLists.txt.
 */
#ifndef MLQ_OP_OP_TABLE_H
#define MLQ_OP_OP_TABLE_H

#include <stddef.h>

#include "worker/op/op.h"

/* NULL when there is none of that name. */
const struct op *op_table_find(const char *name);
/* In alphabetical order; NULL past the end. */
const struct op *op_table_at(size_t i);

/* data */
int op_arrays_run(struct op_context *ctx, struct mlq_err *err);
int op_import_run(struct op_context *ctx, struct mlq_err *err);
int op_validate_run(struct op_context *ctx, struct mlq_err *err);
int op_split_run(struct op_context *ctx, struct mlq_err *err);

/* train */
int op_train_run(struct op_context *ctx, struct mlq_err *err);
int op_xgboost_run(struct op_context *ctx, struct mlq_err *err);

/* evaluate */
int op_eval_run(struct op_context *ctx, struct mlq_err *err);

/* package */
int op_onnx_run(struct op_context *ctx, struct mlq_err *err);

/* gate and report */
int op_gate_run(struct op_context *ctx, struct mlq_err *err);
int op_report_run(struct op_context *ctx, struct mlq_err *err);

#endif
