/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/op_facts.h"

#include <stdio.h>

#include "lib/sys/mem.h"
#include "lib/task/task.h"
#include "worker/op/jget.h"

json_t *op_facts_input(struct op_context *ctx, const char *name)
{
    const char *path = op_input(ctx, name);
    struct mlq_err err = MLQ_ERR_INIT;
    json_t *document = NULL;
    if (path != NULL && jget_file(path, &document, &err) != 0) {
        (void)fprintf(stderr, "%s: without the input '%s': %s\n", op_name(ctx), name, err.text);
    }
    return document;
}

json_t *op_facts_record(struct op_context *ctx, struct mlq_err *err)
{
    json_t *record = NULL;
    char *json = NULL;
    size_t len = 0;
    int rc = task_record(op_task(ctx), &json, &len, err);
    if (rc == 0) {
        rc = jget_bytes("the job's record", json, len, &record, err);
        mlq_free(json);
    }
    if (rc != 0) {
        (void)fprintf(stderr, "%s: without the job's record: %s\n", op_name(ctx), err->text);
    }
    return record;
}
