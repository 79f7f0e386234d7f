/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The points are the training's history, and the least loss so far is the cursor's best score, so
 * that a rank that joins gets them with the rest of the state.
 */
#include "worker/op/op_train_range.h"

#include <math.h>

#include "lib/sys/log.h"
#include "lib/sys/mem.h"

#define STEPS_MAX 10000

int op_train_range_read(const struct op_context *ctx, struct op_train_config *config,
                        struct mlq_err *err)
{
    struct rate_range range = {.from = 0};
    int64_t steps = 0;
    if (op_with(ctx, "range_test") == NULL) {
        return 0;
    }
    int rc = op_get_number(ctx, "range_test.from", (struct op_number_range){1e-5, 1e-12, 100},
                           &range.from, err);
    rc = rc != 0 ? rc
                 : op_get_number(ctx, "range_test.to", (struct op_number_range){10, 1e-12, 1000},
                                 &range.to, err);
    rc = rc != 0 ? rc
                 : op_get_int(ctx, "range_test.steps", (struct op_int_range){200, 20, STEPS_MAX},
                              &steps, err);
    if (rc != 0) {
        return rc;
    }
    range.steps = (uint64_t)steps;
    config->range = range;
    return 0;
}

void op_train_range_fit(struct op_train *train)
{
    const struct op_train_config *config = &train->config;
    uint64_t epoch = ((uint64_t)train->data.train.rows + config->batch - 1) / config->batch;
    train->config.epochs = (config->range.steps + epoch - 1) / epoch;
}

void op_train_range_note(struct op_train *train, double loss)
{
    struct op_train_cursor *cursor = &train->cursor;
    const struct rate_range *range = &train->config.range;
    size_t step = json_array_size(train->history);
    const json_t *last = step == 0 ? NULL : json_array_get(train->history, step - 1);
    double before = json_number_value(json_object_get(last, "smoothed"));
    double smoothed = rate_range_smooth(before, step, loss);
    if (!isfinite(smoothed)) {
        cursor->range_end = OP_TRAIN_RANGE_NOT_FINITE;
        return;
    }
    json_array_append_new(train->history,
                          json_pack("{s:I, s:f, s:f, s:f}", "step", (json_int_t)step + 1, "rate",
                                    cursor->rate, "loss", loss, "smoothed", smoothed));
    cursor->best_score = step == 0 || smoothed < cursor->best_score ? smoothed : cursor->best_score;
    cursor->range_end = rate_range_is_over(smoothed, cursor->best_score) ? OP_TRAIN_RANGE_ROSE
                        : step + 1 == range->steps                       ? OP_TRAIN_RANGE_STEPS
                                                                         : OP_TRAIN_RANGE_RUNS;
    if (coll_rank(train->coll) == 0) {
        op_metric(train->ctx, "range_rate", cursor->rate, (int64_t)step + 1);
        op_metric(train->ctx, "range_loss", loss, (int64_t)step + 1);
        op_metric(train->ctx, "range_smoothed", smoothed, (int64_t)step + 1);
    }
}

/* ---- The outcome ---- */

static json_t *advise(struct op_train *train)
{
    struct rate_range_advice advice;
    size_t count = json_array_size(train->history);
    double *smoothed = mlq_alloc_array(count, sizeof(double));
    for (size_t i = 0; i < count; i++) {
        smoothed[i] =
            json_real_value(json_object_get(json_array_get(train->history, i), "smoothed"));
    }
    bool is_told = rate_range_advise(&train->config.range, smoothed, count, &advice);
    mlq_free(smoothed);
    if (!is_told) {
        log_warn("train.range_test",
                 "points=%zu note=\"too few to suggest a rate: begin lower, with "
                 "range_test.from\"",
                 count);
        return NULL;
    }
    op_metric(train->ctx, "rate_steepest", advice.steepest, OP_NO_STEP);
    op_metric(train->ctx, "rate_minimum_10", advice.minimum_10, OP_NO_STEP);
    return json_pack(
        "{s:{s:f, s:s}, s:{s:f, s:s}}", "steepest", "rate", advice.steepest, "source",
        "where the smoothed loss falls most, over a tenth of the steps (after lr_find of fastai: "
        "steep)",
        "minimum_10", "rate", advice.minimum_10, "source",
        "a tenth of the rate where the smoothed loss is least (lr_find of fastai: minimum)");
}

int op_train_range_write(struct op_train *train, struct mlq_err *err)
{
    static const char *const ends[] = {[OP_TRAIN_RANGE_RUNS] = "runs",
                                       [OP_TRAIN_RANGE_ROSE] = "rose",
                                       [OP_TRAIN_RANGE_NOT_FINITE] = "not_finite",
                                       [OP_TRAIN_RANGE_STEPS] = "steps"};
    const struct op_train_config *config = &train->config;
    const char *end = ends[train->cursor.range_end];
    json_t *json = json_pack(
        "{s:f, s:f, s:I, s:s, s:O, s:o*, s:I, s:I, s:I}", "from", config->range.from, "to",
        config->range.to, "steps", (json_int_t)config->range.steps, "end", end, "points",
        train->history, "suggestions", advise(train), "seed", (json_int_t)config->seed, "batch",
        (json_int_t)config->batch, "rows", (json_int_t)train->data.train.rows);
    log_info("train.range_test", "points=%zu end=%s note=\"no model is written\"",
             json_array_size(train->history), end);
    int rc = op_write_json(train->ctx, "range_test.json", json, err);
    json_decref(json);
    return rc;
}
