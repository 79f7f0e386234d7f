/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * data.validate: the table `data` against the expectation suite `suite`. validation.json is written
 * whether the data are good or not: it says which rows are not.
 */
#include <string.h>

#include "lib/sys/log.h"
#include "worker/op/expect_check.h"
#include "worker/op/op_table.h"

#define DESCRIPTION_BYTES 240

/* The verdict of the stage: a failed expectation fails it, unless it is only a warning. */
static int judge(const struct expect_suite *suite, const struct table *table, bool only_warn,
                 struct mlq_err *err)
{
    size_t failed = 0;
    char first[DESCRIPTION_BYTES] = "";
    for (size_t i = 0; i < suite->count; i++) {
        const struct expect *item = &suite->items[i];
        if (item->success) {
            continue;
        }
        char text[DESCRIPTION_BYTES];
        expect_check_describe(item, table, text, sizeof text);
        if (only_warn || item->warning) {
            log_warn("validate.unmet", "expectation=%zu text=\"%s\"", i + 1, text);
            continue;
        }
        log_error("validate.failed", "expectation=%zu text=\"%s\"", i + 1, text);
        if (failed == 0) {
            memcpy(first, text, sizeof first);
        }
        failed++;
    }
    return failed == 0
               ? MLQ_OK
               : mlq_fail(err, MLQ_EINVAL,
                          "%zu of %zu expectations failed; the first: %s (rows count from 0; "
                          "all are in validation.json)",
                          failed, suite->count, first);
}

static int validate(struct op_context *ctx, const struct table *table, struct expect_suite *suite,
                    bool only_warn, struct mlq_err *err)
{
    int rc = expect_check_suite(ctx, suite, table);
    if (rc != MLQ_OK) {
        return rc;
    }
    json_t *result = expect_check_result(suite, table);
    const json_t *statistics = json_object_get(result, "statistics");
    op_metric(ctx, "expectations_passed",
              json_number_value(json_object_get(statistics, "successful_expectations")),
              OP_NO_STEP);
    op_metric(ctx, "expectations_failed",
              json_number_value(json_object_get(statistics, "unsuccessful_expectations")),
              OP_NO_STEP);
    rc = op_write_json(ctx, "validation.json", result, err);
    json_decref(result);
    return rc == MLQ_OK ? judge(suite, table, only_warn, err) : rc;
}

int op_validate_run(struct op_context *ctx, struct mlq_err *err)
{
    const char *data = NULL;
    const char *path = NULL;
    const char *shown = NULL;
    const char *on_failure = NULL;
    struct table *table = NULL;
    struct expect_suite suite = {0};
    int rc = op_need_input(ctx, "data", &data, err);
    if (rc == MLQ_OK) {
        rc = op_need_input(ctx, "suite", &path, err);
    }
    if (rc == MLQ_OK) {
        rc = op_get_text(ctx, "suite", op_file_name(path), &shown, err);
    }
    if (rc == MLQ_OK) {
        rc = op_get_text(ctx, "on_failure", "fail", &on_failure, err);
    }
    if (rc == MLQ_OK && strcmp(on_failure, "fail") != 0 && strcmp(on_failure, "warn") != 0) {
        rc = mlq_fail(err, MLQ_EINVAL, "with.on_failure is '%.40s': expected fail or warn",
                      on_failure);
    }
    if (rc == MLQ_OK) {
        rc = table_open(data, &table, err);
    }
    if (rc == MLQ_OK) {
        rc = expect_suite_open(path, shown, table, &suite, err);
    }
    if (rc == MLQ_OK) {
        rc = validate(ctx, table, &suite, strcmp(on_failure, "warn") == 0, err);
        expect_suite_close(&suite);
    }
    table_close(&table);
    return rc;
}
