/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Documents that an operator is glad to have and can do without: what is missing costs a part of its
 * output, not the output, and the log says why.
 */
#ifndef MLQ_OP_OP_FACTS_H
#define MLQ_OP_OP_FACTS_H

#include <jansson.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "worker/op/op.h"

/* The JSON input `name`; NULL when the stage has none, or when it cannot be read, which is logged. */
MLQ_OWNED_RETURN json_t *op_facts_input(struct op_context *ctx, const char *name);

/* The job's record so far (task_record); NULL when it cannot be had: `err` says why, and the log. */
MLQ_OWNED_RETURN json_t *op_facts_record(struct op_context *ctx, struct mlq_err *err);

#endif
