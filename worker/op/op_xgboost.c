/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * train.xgboost: fits boosted trees to a table with XGBoost, on one rank and all its CPUs. Outputs:
 *     model.safetensors   worker/ml/model.h: what eval.metrics and package.onnx read
 *     model.ubj           the same trees as XGBoost's own file, for Booster.load_model
 *     history.json        op_xgboost_history.c
 */
#include "worker/op/op_xgboost.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "lib/sys/clock.h"
#include "lib/sys/fs.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "worker/ml/loss.h"
#include "worker/op/op_table.h"

#define CHECKPOINT_COST_SHARE 5 /* checkpoints may take this share of the time: 1 / 5 */

/* ---- Scores ---- */

struct score {
    double loss;     /* mean: cross-entropy; or squared error over the training rows' variance */
    double accuracy; /* classes */
    double rmse;     /* numbers, in the target's units */
};

static struct score score_numbers(const struct op_xgboost *x, const struct op_train_set *set,
                                  const float *margins)
{
    double squares = 0;
    for (uint32_t i = 0; i < set->rows; i++) {
        double error = (double)margins[i] - (double)set->targets[i];
        squares += error * error;
    }
    double mean = squares / set->rows;
    return (struct score){.loss = mean / (x->deviation * x->deviation), .rmse = sqrt(mean)};
}

static struct score score_classes(const struct op_xgboost *x, const struct op_train_set *set,
                                  const float *margins)
{
    uint32_t outputs = booster_outputs(x->booster), correct = 0;
    struct loss loss = {.kind = outputs == 1 ? LOSS_BCE : LOSS_CROSS_ENTROPY};
    struct loss_shape shape = {.rows = set->rows, .rows_padded = set->rows, .outputs = outputs};
    struct loss_truth truth = {.labels = set->labels};
    double sum = loss_compute(&loss, shape, margins, truth, 0, NULL);
    for (uint32_t i = 0; i < set->rows; i++) {
        const float *row = margins + (size_t)i * outputs;
        uint32_t guess = outputs == 1 ? row[0] >= 0 : loss_argmax(row, outputs);
        correct += guess == set->labels[i];
    }
    return (struct score){.loss = sum / set->rows, .accuracy = (double)correct / set->rows};
}

static int score(struct op_xgboost *x, enum booster_set which, struct score *result,
                 struct mlq_err *err)
{
    const struct op_train_set *set = which == BOOSTER_TRAIN ? &x->train : &x->validation;
    const float *margins = NULL;
    int rc = booster_margins(x->booster, which, &margins, err);
    if (rc != 0) {
        return rc;
    }
    *result = x->model->task == MODEL_REGRESSION ? score_numbers(x, set, margins)
                                                 : score_classes(x, set, margins);
    if (!isfinite(result->loss)) {
        return mlq_fail(err, MLQ_EINVAL,
                        "round %" PRIu32 ": the loss is not a finite number: lower eta, or look at "
                        "the target's values",
                        booster_rounds(x->booster));
    }
    return 0;
}

/* ---- Rounds ---- */

static void note(struct op_xgboost *x, json_t *row, const char *name, double value)
{
    op_metric(x->ctx, name, value, (int64_t)booster_rounds(x->booster));
    (void)json_object_set_new(row, name, json_real(value));
}

/* At most a line a second, and the last: rounds may take milliseconds. */
static void log_round(struct op_xgboost *x, const struct score *train,
                      const struct score *validation)
{
    int64_t now_ns = mlq_clock_boot_ns();
    uint32_t round = booster_rounds(x->booster);
    if (now_ns - x->logged_ns < MLQ_NS_PER_S && round < x->config.rounds) {
        return;
    }
    x->logged_ns = now_ns;
    if (x->validation.rows > 0) {
        log_info("train.round",
                 "round=%" PRIu32 "/%" PRIu32 " train_loss=%.6g val_loss=%.6g best=%" PRIu32, round,
                 x->config.rounds, train->loss, validation->loss, x->cursor.best_round);
    } else {
        log_info("train.round", "round=%" PRIu32 "/%" PRIu32 " train_loss=%.6g", round,
                 x->config.rounds, train->loss);
    }
}

static int judge_round(struct op_xgboost *x, int64_t round_ns, struct mlq_err *err)
{
    struct score train, validation = {.loss = 0};
    double seconds = (double)round_ns / (double)MLQ_NS_PER_S;
    uint32_t round = booster_rounds(x->booster);
    int rc = score(x, BOOSTER_TRAIN, &train, err);
    rc = rc != 0 || x->validation.rows == 0 ? rc : score(x, BOOSTER_VALIDATION, &validation, err);
    if (rc != 0) {
        return rc;
    }
    json_t *row = json_pack("{s:I}", "epoch", (json_int_t)round);
    note(x, row, "train_loss", train.loss);
    if (x->validation.rows > 0) {
        bool numbers = x->model->task == MODEL_REGRESSION;
        note(x, row, "val_loss", validation.loss);
        note(x, row, numbers ? "val_rmse" : "val_accuracy",
             numbers ? validation.rmse : validation.accuracy);
        if (x->cursor.best_round == 0 || validation.loss < x->cursor.best_score) {
            x->cursor =
                (struct op_xgboost_cursor){.best_round = round, .best_score = validation.loss};
        }
    }
    note(x, row, "samples_per_second", x->train.rows / (seconds > 0 ? seconds : 1e-9));
    (void)json_array_append_new(x->history, row);
    log_round(x, &train, &validation);
    return 0;
}

static bool is_done(const struct op_xgboost *x)
{
    uint32_t round = booster_rounds(x->booster);
    return round >= x->config.rounds ||
           (x->config.early_stop && round - x->cursor.best_round >= x->config.patience);
}

static int run_round(struct op_xgboost *x, struct mlq_err *err)
{
    char text[64];
    int64_t start_ns = mlq_clock_boot_ns();
    int rc = booster_update(x->booster, err);
    int64_t round_ns = mlq_clock_boot_ns() - start_ns;
    x->busy_ns += round_ns;
    x->rows_done += x->train.rows;
    rc = rc != 0 ? rc : judge_round(x, round_ns, err);
    x->ns.score += mlq_clock_boot_ns() - start_ns - round_ns;
    if (rc == 0) {
        uint32_t round = booster_rounds(x->booster);
        (void)snprintf(text, sizeof(text), "round %" PRIu32 "/%" PRIu32, round, x->config.rounds);
        op_progress(x->ctx, (double)round / x->config.rounds, text);
    }
    return rc;
}

/* A round of milliseconds does not wait for a disk: a checkpoint is due when its like has become
 * cheap beside the time that has passed since. */
static int run_rounds(struct op_xgboost *x, struct mlq_err *err)
{
    int64_t saved_ns = 0, cost_ns = 0;
    int rc = 0;
    while (rc == 0 && !is_done(x)) {
        rc = run_round(x, err);
        bool stop = op_should_stop(x->ctx), asked = op_should_checkpoint(x->ctx);
        int64_t now_ns = mlq_clock_boot_ns();
        bool due = now_ns - saved_ns >= cost_ns * (CHECKPOINT_COST_SHARE - 1);
        if (rc != 0 || is_done(x)) {
            break;
        }
        if (stop || asked || due) {
            rc = op_xgboost_checkpoint_save(x, err);
            saved_ns = mlq_clock_boot_ns();
            cost_ns = saved_ns - now_ns;
            x->ns.checkpoint += cost_ns;
        }
        if (rc == 0 && stop) {
            rc = OP_STOPPED;
        }
    }
    return rc;
}

/* ---- Outputs ---- */

/* "age", and for a category "city=Oslo": of each input. */
static const char **name_inputs(const struct op_xgboost *x)
{
    const struct model *model = x->model;
    const char **names = mlq_alloc_array(model->input_count, sizeof(char *));
    for (uint32_t i = 0; i < model->feature_count; i++) {
        const struct model_feature *feature = &model->features[i];
        for (uint32_t k = 0; k < feature->width; k++) {
            names[feature->offset + k] = feature->kind == MODEL_NUMBER
                                             ? feature->name
                                             : mlq_region_format(op_region(x->ctx), "%s=%s",
                                                                 feature->name, feature->values[k]);
        }
    }
    return names;
}

static int write_booster(struct op_xgboost *x, uint32_t rounds, struct mlq_err *err)
{
    const char **names = name_inputs(x);
    char *bytes = NULL;
    size_t len = 0;
    int rc = booster_save(x->booster, rounds, "ubj", names, &bytes, &len, err);
    if (rc == 0) {
        rc = mlq_fs_write_durable(op_output(x->ctx, "model.ubj"),
                                  (struct mlq_str){.ptr = bytes, .len = len}, 0644, err);
    }
    mlq_free(bytes);
    mlq_free(names);
    return rc;
}

static int write_outputs(struct op_xgboost *x, struct mlq_err *err)
{
    uint32_t rounds = x->config.early_stop ? x->cursor.best_round : booster_rounds(x->booster);
    int rc = booster_forest(x->booster, rounds, &x->model->forest, err);
    rc = rc != 0 ? rc : model_save(x->model, op_output(x->ctx, "model.safetensors"), err);
    rc = rc != 0 ? rc : write_booster(x, rounds, err);
    return rc != 0 ? rc : op_xgboost_history_write(x, rounds, err);
}

int op_xgboost_run(struct op_context *ctx, struct mlq_err *err)
{
    struct op_xgboost x = {.ctx = ctx, .history = json_array(), .ns.start = mlq_clock_boot_ns()};
    int rc = op_xgboost_config_read(ctx, &x.config, err);
    rc = rc != 0 ? rc : op_xgboost_config_load(&x, err);
    rc = rc != 0 ? rc : op_xgboost_checkpoint_load(&x, err);
    x.ns.ready = mlq_clock_boot_ns();
    if (rc == 0) {
        log_info("train.start",
                 "task=%s rows=%" PRIu32 " validation=%" PRIu32 " inputs=%" PRIu32
                 " xgboost=%s threads=%" PRIu32,
                 model_task_text(x.model->task), x.train.rows, x.validation.rows,
                 x.model->input_count, booster_version(x.booster), x.config.options.threads);
        rc = run_rounds(&x, err);
    }
    rc = rc != 0 ? rc : write_outputs(&x, err);
    booster_close(&x.booster);
    json_decref(x.history);
    op_train_data_fini_set(&x.train);
    op_train_data_fini_set(&x.validation);
    model_destroy(&x.model);
    return rc;
}
