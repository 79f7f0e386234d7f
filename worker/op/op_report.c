/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * report: gathers the documents that are there, and writes report.html. A record or an input that
 * cannot be read costs its sections, not the report; the log says which.
 */
#include <stdio.h>
#include <string.h>

#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "lib/task/task.h"
#include "worker/op/jget.h"
#include "worker/op/op.h"
#include "worker/op/op_table.h"
#include "worker/op/report.h"

static json_t *read_input(struct op_context *ctx, const char *name)
{
    const char *path = op_input(ctx, name);
    struct mlq_err err = MLQ_ERR_INIT;
    json_t *document = NULL;
    if (path != NULL && jget_file(path, &document, &err) != 0) {
        (void)fprintf(stderr, "report: without the input '%s': %s\n", name, err.text);
    }
    return document;
}

static json_t *read_record(struct op_context *ctx)
{
    struct mlq_err err = MLQ_ERR_INIT;
    json_t *record = NULL;
    char *json = NULL;
    size_t len = 0;
    int rc = task_record(op_task(ctx), &json, &len, &err);
    if (rc == 0) {
        rc = jget_bytes("the job's record", json, len, &record, &err);
        mlq_free(json);
    }
    if (rc != 0) {
        (void)fprintf(stderr, "report: without the job's record: %s\n", err.text);
    }
    return record;
}

static int write_page(struct op_context *ctx, const struct report_inputs *inputs,
                      struct mlq_err *err)
{
    struct html page = {.full = false};
    int rc = 0;
    if (!report_write(inputs, &page)) {
        rc = mlq_fail(err, MLQ_EFULL, "the report is larger than %zu MiB", HTML_BYTES_MAX >> 20);
    } else {
        rc = mlq_fs_write_durable(op_output(ctx, "report.html"),
                                  (struct mlq_str){.ptr = page.bytes, .len = page.len}, 0644, err);
    }
    html_fini(&page);
    return rc;
}

int op_report_run(struct op_context *ctx, struct mlq_err *err)
{
    const char *title = NULL;
    int rc = op_get_text(ctx, "title", NULL, &title, err);
    if (rc != 0) {
        return rc;
    }
    json_t *record = read_record(ctx);
    json_t *metrics = read_input(ctx, "metrics");
    json_t *history = read_input(ctx, "history");
    json_t *validation = read_input(ctx, "validation");
    json_t *profile = read_input(ctx, "profile");
    json_t *verdict = read_input(ctx, "verdict");
    rc = write_page(ctx,
                    &(struct report_inputs){.title = title,
                                            .own_stage = task_env("STAGE"),
                                            .record = record,
                                            .metrics = metrics,
                                            .history = history,
                                            .validation = validation,
                                            .profile = profile,
                                            .verdict = verdict},
                    err);
    json_decref(record);
    json_decref(metrics);
    json_decref(history);
    json_decref(validation);
    json_decref(profile);
    json_decref(verdict);
    return rc;
}
