/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * report: gathers the documents that are there, and writes report.html. A record or an input that
 * cannot be read costs its sections, not the report; the log says which.
 */
#include "lib/sys/fs.h"
#include "lib/task/task.h"
#include "worker/op/op.h"
#include "worker/op/op_facts.h"
#include "worker/op/op_table.h"
#include "worker/op/report.h"

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
    struct mlq_err unread = MLQ_ERR_INIT;
    int rc = op_get_text(ctx, "title", NULL, &title, err);
    if (rc != 0) {
        return rc;
    }
    json_t *record = op_facts_record(ctx, &unread);
    json_t *metrics = op_facts_input(ctx, "metrics");
    json_t *history = op_facts_input(ctx, "history");
    json_t *validation = op_facts_input(ctx, "validation");
    json_t *profile = op_facts_input(ctx, "profile");
    json_t *verdict = op_facts_input(ctx, "verdict");
    json_t *range_test = op_facts_input(ctx, "range_test");
    rc = write_page(ctx,
                    &(struct report_inputs){.title = title,
                                            .own_stage = task_env("STAGE"),
                                            .record = record,
                                            .metrics = metrics,
                                            .history = history,
                                            .validation = validation,
                                            .profile = profile,
                                            .verdict = verdict,
                                            .range_test = range_test},
                    err);
    json_decref(record);
    json_decref(metrics);
    json_decref(history);
    json_decref(validation);
    json_decref(profile);
    json_decref(verdict);
    json_decref(range_test);
    return rc;
}
