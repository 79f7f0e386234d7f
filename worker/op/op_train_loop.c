/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Steps and epochs. Whatever the level, all ranks get the same sums (op_train_step.h) and take the
 * same optimizer step, so that they hold the same parameters without sending them.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lib/sys/clock.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "worker/ml/loss.h"
#include "worker/ml/net.h"
#include "worker/op/op_memory.h"
#include "worker/op/op_train_range.h"
#include "worker/op/op_train_step.h"

/* Rows that are on disk get 1 / this of the memory, */
#define LOADER_SHARE     8u
#define LOADER_BYTES_MAX (UINT64_C(512) << 20) /* and no more than this. */
#define AWAIT_NS         MLQ_NS_PER_S /* between two words of the ranks that wait for them */

struct loop {
    struct op_train *train;
    const struct model *model;
    uint32_t steps; /* per epoch */
    const uint32_t *order; /* the loader's, of the running epoch */
    const struct op_train_sum_ops *sum;
    void *sum_state;
    struct net *validation_net;
    struct schedule schedule;
    double train_weight; /* of all rows, in the loss */
    double validation_weight;
    bool stop;                    /* this rank was asked to stop before the last step */
    struct op_train_total total; /* of the last step */
};

/* Epochs become steps. */
static struct schedule schedule_of(const struct op_train_config *config, uint64_t epoch_steps)
{
    struct schedule schedule = config->schedule;
    double warmup = config->warmup_epochs * (double)epoch_steps;
    schedule.steps = config->epochs * epoch_steps;
    schedule.warmup = warmup >= (double)schedule.steps ? schedule.steps : (uint64_t)warmup;
    schedule.every *= epoch_steps;
    return schedule;
}

static int open_loader(const struct loop *loop, struct mlq_err *err)
{
    struct op_train *train = loop->train;
    const struct op_train_config *config = &train->config;
    uint32_t rows = train->data.train.rows, last = rows - (loop->steps - 1) * config->batch;
    struct op_train_loader_plan plan = {.config = config,
                                        .set = &train->data.train,
                                        .model = loop->model,
                                        .whole = loop->sum->share(train, config->batch),
                                        .last = loop->sum->share(train, last),
                                        .memory_bytes = op_memory_bytes() / LOADER_SHARE};
    if (plan.memory_bytes > LOADER_BYTES_MAX) {
        plan.memory_bytes = LOADER_BYTES_MAX;
    }
    return op_train_loader_create(&plan, &train->loader, err);
}

static int loop_init(struct loop *loop, struct op_train *train, struct mlq_err *err)
{
    const struct op_train_config *config = &train->config;
    const struct op_train_data *data = &train->data;
    *loop = (struct loop){.train = train,
                          .model = data->model,
                          .steps = (data->train.rows + config->batch - 1) / config->batch,
                          .sum = config->level == OP_TRAIN_FAST ? &op_train_fast_ops
                                                                : &op_train_exact_ops};
    loop->schedule = schedule_of(config, loop->steps);
    loop->train_weight = loss_weight(&data->loss, data->train.rows, data->train.labels);
    loop->validation_weight =
        loss_weight(&data->loss, data->validation.rows, data->validation.labels);
    loop->validation_net = op_train_validate_net(train);
    int rc = loop->sum->create(train, &loop->sum_state, err);
    return rc == 0 ? open_loader(loop, err) : rc;
}

static void loop_fini(struct loop *loop)
{
    loop->sum->destroy(loop->sum_state);
    op_train_loader_destroy(&loop->train->loader);
    net_destroy(&loop->validation_net);
}

/* ---- One step ---- */

static int find_in_gradient(const struct loop *loop)
{
    uint64_t count = loop->model->arena_count;
    float *sum = mlq_alloc_array(count, sizeof(float));
    tree_finish(loop->total.gradient, count, sum);
    int layer = net_find_not_finite(loop->model, sum);
    mlq_free(sum);
    return layer;
}

static int refuse_not_finite(const struct loop *loop, struct mlq_err *err)
{
    const struct op_train_cursor *cursor = &loop->train->cursor;
    int layer = net_find_not_finite(loop->model, loop->model->parameters);
    const char *what = "weights";
    if (layer < 0) {
        layer = find_in_gradient(loop);
        what = "gradient";
    }
    char where[64] = "the outputs overflow";
    if (layer >= 0) {
        (void)snprintf(where, sizeof(where), "first in the %s of layer %d, %s", what, layer,
                       layer_ops(loop->model->layers[layer].kind)->name);
    }
    return mlq_fail(err, MLQ_EINVAL,
                    "epoch %" PRIu64 ", step %" PRIu64 ": the loss is not a finite number "
                    "(%s): lower the learning rate, or look for outliers in the data",
                    cursor->epoch + 1, cursor->step + 1, where);
}

/* What the samples [begin, begin + count) of the epoch's order weigh in the loss. */
static double step_weight(const struct loop *loop, uint32_t begin, uint32_t count)
{
    const float *weights = loop->train->data.loss.weights;
    double sum = 0;
    for (uint32_t i = begin; weights != NULL && i < begin + count; i++) {
        sum += (double)weights[loop->train->data.train.labels[loop->order[i]]];
    }
    return weights == NULL ? count : sum;
}

/* Rows in memory are not waited for. */
static void note_wait(struct op_train *train, int64_t start_ns)
{
    if (train->data.train.table != NULL) {
        op_train_time_wait(&train->time, mlq_clock_boot_ns() - start_ns);
    }
}

/* Then the cursor moves. */
static int apply_step(struct loop *loop, const struct op_train_piece *step, struct mlq_err *err)
{
    struct op_train *train = loop->train;
    const struct op_train_total *total = &loop->total;
    bool is_test = op_train_range_is_on(&train->config), is_applied = false;
    uint64_t done = train->optim->steps;
    struct op_train_move move = {.rate = is_test ? rate_range_rate(&train->config.range, done)
                                                 : schedule_rate(&loop->schedule, done),
                                 .samples = step->count,
                                 .is_last = train->cursor.step + 1 == loop->steps};
    int rc = op_train_apply(train, total, move, &is_applied, err);
    if (!is_applied) {
        return rc;
    }
    train->cursor.rate = move.rate;
    train->cursor.epoch_loss += total->loss;
    train->cursor.step++;
    train->samples += step->count;
    if (is_test) {
        op_train_range_note(train, total->loss * (double)step->scale);
    }
    return rc;
}

static int run_step(struct loop *loop, struct mlq_err *err)
{
    struct op_train *train = loop->train;
    uint32_t begin = (uint32_t)train->cursor.step * train->config.batch;
    uint32_t left = train->data.train.rows - begin;
    struct op_train_piece step = {.samples = loop->order + begin,
                                  .count = left < train->config.batch ? left : train->config.batch};
    struct op_train_total *total = &loop->total;
    step.scale = 1.0f / (float)step_weight(loop, begin, step.count);
    loop->stop = op_should_stop(train->ctx);
    int64_t start_ns = mlq_clock_boot_ns();
    int rc = op_train_loader_step(train->loader, (uint32_t)train->cursor.step, err);
    note_wait(train, start_ns);
    rc = rc != 0 ? rc : loop->sum->run(loop->sum_state, step, loop->stop, total, err);
    if (rc != 0) {
        return rc;
    }
    if (!isfinite(total->loss) && op_train_range_is_on(&train->config)) {
        train->cursor.range_end = OP_TRAIN_RANGE_NOT_FINITE;
        return 0;
    }
    if (!isfinite(total->loss)) {
        return refuse_not_finite(loop, err);
    }
    return apply_step(loop, &step, err);
}

/* ---- Epochs ---- */

/* What this rank does behind the step, as all see it alike: 0 goes on. With the last of a gang goes its
 * state, which is saved; the others of an elastic gang go on without who leaves. */
static int decide_next(struct loop *loop, struct mlq_err *err)
{
    struct op_train *train = loop->train;
    bool is_elastic = op_train_gang_is_elastic(train->gang);
    uint32_t leaving = loop->total.leaving;
    if (leaving > 0 && (!is_elastic || leaving == coll_size(train->coll))) {
        int rc = coll_rank(train->coll) == 0 ? op_train_checkpoint_save(train, err) : 0;
        return rc == 0 ? OP_STOPPED : rc;
    }
    if (loop->stop) {
        return OP_STOPPED;
    }
    bool is_changing = leaving > 0 || loop->total.newest > op_train_gang_generation(train->gang);
    return is_elastic && is_changing ? OP_TRAIN_CHANGED : 0;
}

/* What the ranks tell each other while they wait for the first rows of an epoch. */
struct waiter {
    uint64_t is_ready;
    uint64_t stop;
    uint64_t newest;
};

static int gather_waiters(struct loop *loop, struct waiter own, bool *are_ready,
                          struct mlq_err *err)
{
    struct op_train *train = loop->train;
    struct waiter all[COLL_RANKS_MAX];
    uint64_t bytes[COLL_RANKS_MAX];
    uint32_t ranks = coll_size(train->coll);
    for (uint32_t rank = 0; rank < ranks; rank++) {
        bytes[rank] = sizeof(own);
    }
    if (ranks > 1) {
        op_train_note(train, TASK_FLIGHT_EXCHANGE);
    }
    int rc = coll_allgather(train->coll, &own, all, bytes, OP_TRAIN_TIMEOUT_NS, err);
    loop->total = (struct op_train_total){.leaving = 0};
    *are_ready = true;
    for (uint32_t rank = 0; rank < ranks && rc == 0; rank++) {
        *are_ready = *are_ready && all[rank].is_ready != 0;
        if (all[rank].stop != 0) {
            loop->total.leaving++;
            op_train_gang_leaves(train->gang, rank);
        }
        if (all[rank].newest > loop->total.newest) {
            loop->total.newest = all[rank].newest;
        }
    }
    return rc;
}

/* Until all ranks have the first rows of the epoch. To bring a large table into the order of an epoch
 * takes longer than a call between ranks may, and one rank longer than another. */
static int await_rows(struct loop *loop, struct mlq_err *err)
{
    struct op_train *train = loop->train;
    bool are_ready = false;
    int rc = 0;
    while (rc == 0 && !are_ready) {
        bool is_ready = false;
        int64_t start_ns = mlq_clock_boot_ns();
        if (train->data.train.table != NULL) {
            op_train_note(train, TASK_FLIGHT_LOAD);
        }
        rc = op_train_loader_await(train->loader, AWAIT_NS, &is_ready, err);
        note_wait(train, start_ns);
        if (rc != 0) {
            return rc;
        }
        loop->stop = op_should_stop(train->ctx);
        struct waiter own = {.is_ready = is_ready,
                             .stop = loop->stop,
                             .newest = op_train_gang_newest(train->gang)};
        rc = gather_waiters(loop, own, &are_ready, err);
        rc = rc != 0 ? rc : decide_next(loop, err);
    }
    loop->order = op_train_loader_order(train->loader);
    return rc;
}

/* A line per epoch: the log of a training is read by people. */
static void log_epoch(const struct op_train *train, json_t *row)
{
    char text[320];
    size_t used = 0;
    const char *name;
    json_t *value;
    text[0] = '\0';
    json_object_foreach(row, name, value)
    {
        if (json_is_real(value) && used < sizeof(text)) {
            int more = snprintf(text + used, sizeof(text) - used, " %s=%.6g", name,
                                json_real_value(value));
            used += more > 0 ? (size_t)more : 0;
        }
    }
    if (coll_rank(train->coll) == 0) {
        log_info("train.epoch", "epoch=%" PRIu64 "/%" PRIu64 "%s", train->cursor.epoch,
                 train->config.epochs, text);
    }
}

static void note(struct op_train *train, json_t *row, const char *name, double value)
{
    if (coll_rank(train->coll) == 0) {
        op_metric(train->ctx, name, value, (int64_t)train->cursor.epoch);
    }
    json_object_set_new(row, name, json_real(value)); /* of any rank: it may be the first one later */
}

/* Whether this epoch is the best so far, decided from numbers that all ranks hold. */
static void keep_best(struct op_train *train, double val_loss)
{
    struct op_train_cursor *cursor = &train->cursor;
    if (cursor->best_epoch != 0 && val_loss >= cursor->best_score) {
        cursor->stale++;
        return;
    }
    cursor->best_score = val_loss;
    cursor->best_epoch = cursor->epoch;
    cursor->stale = 0;
    if (train->best != NULL) {
        memcpy(train->best, train->data.model->parameters,
               train->data.model->arena_count * sizeof(float));
    }
}

/* The epoch is over: everything that can fail comes first, and then the cursor moves, so that a
 * checkpoint never holds an epoch without its validation. */
static int
end_epoch(struct loop *loop, int64_t epoch_ns, uint64_t epoch_samples, struct mlq_err *err)
{
    struct op_train *train = loop->train;
    const struct model *model = loop->model;
    double rows = train->data.validation.rows, seconds = (double)epoch_ns / (double)MLQ_NS_PER_S;
    struct op_train_score score = {.loss = 0};
    op_train_note(train, TASK_FLIGHT_VALIDATE);
    int rc = rows > 0 ? op_train_validate(train, loop->validation_net, &score, err) : 0;
    if (rc == 0 && !isfinite(score.loss)) {
        rc = mlq_fail(err, MLQ_EINVAL,
                      "epoch %" PRIu64 ": the validation loss is not a finite number: lower "
                      "the learning rate",
                      train->cursor.epoch + 1);
    }
    if (rc != 0) {
        return rc;
    }
    double train_loss = train->cursor.epoch_loss / loop->train_weight;
    train->cursor.epoch++;
    train->cursor.step = 0;
    train->cursor.epoch_loss = 0;
    json_t *row = json_object();
    json_object_set_new(row, "epoch", json_integer((json_int_t)train->cursor.epoch));
    note(train, row, "train_loss", train_loss);
    if (rows > 0) {
        note(train, row, "val_loss", score.loss / loop->validation_weight);
        if (model->task == MODEL_REGRESSION) {
            note(train, row, "val_rmse", sqrt(score.squared / rows) * model->target_scale);
        } else {
            note(train, row, "val_accuracy", score.correct / rows);
        }
        keep_best(train, score.loss / loop->validation_weight);
    }
    note(train, row, "lr", train->cursor.rate);
    note(train, row, "grad_norm", train->cursor.gradient_norm);
    note(train, row, "samples_per_second", (double)epoch_samples / (seconds > 0 ? seconds : 1e-9));
    log_epoch(train, row);
    json_array_append_new(train->history, row);
    return 0;
}

/* Behind each step, and behind an epoch when its time has come. */
static int look_after_checkpoints(struct op_train *train, bool is_wanted, struct mlq_err *err)
{
    int rc = op_train_checkpoint_poll(train, err);
    bool is_mine = is_wanted && coll_rank(train->coll) == 0;
    return rc == 0 && is_mine ? op_train_checkpoint_ask(train, err) : rc;
}

static void report_progress(const struct loop *loop)
{
    const struct op_train *train = loop->train;
    char text[64];
    double epochs = (double)train->config.epochs, epoch = (double)train->cursor.epoch;
    double part = (double)train->cursor.step / loop->steps;
    (void)snprintf(text, sizeof(text), "epoch %" PRIu64 "/%" PRIu64, train->cursor.epoch,
                   train->config.epochs);
    op_progress(train->ctx, (epoch + part) / epochs, text);
}

static bool is_done(const struct op_train *train)
{
    if (op_train_range_is_on(&train->config)) {
        return train->cursor.range_end != OP_TRAIN_RANGE_RUNS;
    }
    return train->cursor.epoch >= train->config.epochs ||
           (train->config.early_stop && train->cursor.stale >= train->config.patience);
}

/* From the cursor's step to the end of its epoch, or until somebody leaves or comes. */
static int run_epoch(struct loop *loop, struct mlq_err *err)
{
    struct op_train *train = loop->train;
    int64_t start_ns = mlq_clock_boot_ns();
    uint64_t samples = train->samples;
    op_train_loader_begin(train->loader, train->cursor.epoch, (uint32_t)train->cursor.step);
    int rc = await_rows(loop, err);
    if (rc != 0) {
        return rc;
    }
    while (train->cursor.step < loop->steps && !is_done(train)) {
        rc = run_step(loop, err);
        if (rc != 0) {
            return rc;
        }
        if (coll_rank(train->coll) == 0) {
            report_progress(loop);
        }
        rc = look_after_checkpoints(train, op_should_checkpoint(train->ctx), err);
        if (rc == 0) {
            rc = decide_next(loop, err);
        }
        if (rc != 0) {
            return rc;
        }
    }
    if (op_train_range_is_on(&train->config)) {
        train->cursor.epoch++;
        train->cursor.step = 0;
        return 0;
    }
    int64_t epoch_ns = mlq_clock_boot_ns() - start_ns;
    train->busy_ns += epoch_ns;
    return end_epoch(loop, epoch_ns, train->samples - samples, err);
}

int op_train_loop_run(struct op_train *train, struct mlq_err *err)
{
    struct loop loop;
    int rc = loop_init(&loop, train, err);
    while (rc == 0 && !is_done(train)) {
        rc = run_epoch(&loop, err);
        if (rc == 0 && !is_done(train)) {
            rc = look_after_checkpoints(train, op_train_checkpoint_is_due(train), err);
        }
    }
    loop_fini(&loop);
    return rc;
}
