/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * train.native: fits a linear model or a multilayer perceptron to a table, data-parallel over the
 * ranks of a gang, fixed or elastic (op_train_gang.h). Rank 0 writes the outputs:
 *     model.safetensors   worker/ml/model.h
 *     history.json        {"epochs": [{"epoch": 1, "train_loss": ..}, ..],
 *                          "metrics": {NAME: [[epoch, value], ..]}, "best_epoch",
 *                          "samples_per_second", "phases" (op_train_time.h), "engine", "seed",
 *                          "level": "elastic" | "repeat" | "fast", "same_bits" (for any
 *                          number of ranks), "generations", "ranks" (in the end), "shards" (null:
 *                          of level fast), ...}
 * or, of a range test, range_test.json alone (op_train_range.h).
 */
#include "worker/op/op_train.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/prng.h"
#include "lib/sys/clock.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "worker/ml/net.h"
#include "worker/op/op_table.h"
#include "worker/op/op_train_range.h"

void op_train_note(struct op_train *train, enum task_flight_phase phase)
{
    op_train_time_enter(&train->time, phase);
    uint64_t generation = train->gang == NULL ? 0 : op_train_gang_generation(train->gang);
    task_flight_note(train->flight, phase, generation, train->cursor.epoch, train->cursor.step);
}

size_t op_train_parts(const struct op_train *train, struct op_train_part parts[OP_TRAIN_PARTS_MAX])
{
    const struct model *model = train->data.model;
    const struct op_train_part all[OP_TRAIN_PARTS_MAX] = {
        {"parameters", model->parameters, model->arena_count},
        {"first", train->optim->first, model->parameter_count},
        {"second", train->optim->second, model->parameter_count},
        {"best", train->best, model->arena_count},
    };
    size_t count = 0;
    for (size_t i = 0; i < OP_TRAIN_PARTS_MAX; i++) {
        if (all[i].values != NULL) {
            parts[count++] = all[i];
        }
    }
    return count;
}

static uint64_t hash_text(uint64_t hash, const char *text)
{
    for (uint64_t i = 0; text[i] != '\0'; i++) {
        hash = mlq_hash_keyed(hash, i, (unsigned char)text[i]);
    }
    return hash;
}

/* Equal among members that compute the same bits. */
static uint64_t engine_fingerprint(const struct op_train *train)
{
    const struct gemm_engine *engine = &train->engine;
    uint64_t hash = mlq_hash_keyed(train->data.fingerprint, engine->probe, 0);
    return hash_text(hash_text(hash, engine->library), engine->core);
}

/* Everything but the gang and the steps. */
static int prepare(struct op_train *train, struct mlq_err *err)
{
    int rc = op_train_config_read(train->ctx, &train->config, err);
    if (rc == 0) {
        rc = op_train_data_load(train->ctx, &train->config, &train->data, err);
    }
    if (rc != 0) {
        return rc;
    }
    const struct model *model = train->data.model;
    train->optim = optim_create(train->config.optim, model->parameter_count);
    train->best =
        train->config.early_stop ? mlq_alloc_array(model->arena_count, sizeof(float)) : NULL;
    train->history = json_array();
    if (op_train_range_is_on(&train->config)) {
        op_train_range_fit(train);
    }
    net_init_parameters(train->data.model, train->config.seed);
    log_info("train.start",
             "task=%s level=%s rows=%u validation=%u inputs=%u parameters=%" PRIu64
             " shards=%u blas=\"%s\" core=%s threads=%d",
             model_task_text(model->task), op_train_config_level(train->config.level),
             train->data.train.rows, train->data.validation.rows,
             model->input_count, model->parameter_count, train->config.shards,
             train->engine.library, train->engine.core, train->engine.threads);
    struct op_train_gang_options options = {.ctx = train->ctx,
                                            .flight = train->flight,
                                            .kind = train->config.collectives,
                                            .fingerprint = engine_fingerprint(train)};
    return op_train_gang_create(&options, &train->gang, err);
}

/* ---- Outputs ---- */

/* {NAME: [[epoch, value], ..]} from the list of epochs. */
static json_t *to_series(json_t *epochs)
{
    json_t *series = json_object();
    size_t i;
    json_t *row;
    json_array_foreach(epochs, i, row)
    {
        const char *name;
        json_t *value;
        json_object_foreach(row, name, value)
        {
            if (strcmp(name, "epoch") == 0) {
                continue;
            }
            if (json_object_get(series, name) == NULL) {
                json_object_set_new(series, name, json_array());
            }
            json_array_append_new(json_object_get(series, name),
                                  json_pack("[O, O]", json_object_get(row, "epoch"), value));
        }
    }
    return series;
}

static int write_history(struct op_train *train, struct mlq_err *err)
{
    const struct model *model = train->data.model;
    char probe[17];
    (void)snprintf(probe, sizeof(probe), "%016" PRIx64, train->engine.probe);
    double seconds = (double)train->busy_ns / (double)MLQ_NS_PER_S;
    bool is_fast = train->config.level == OP_TRAIN_FAST;
    json_t *json = json_pack(
        "{s:O, s:o, s:s, s:I, s:s, s:b, s:I, s:I, s:o, s:I, s:I, s:I, s:b, s:b, s:{s:s, s:s, s:i, "
        "s:s, s:s}}",
        "epochs", train->history, "metrics", to_series(train->history), "task",
        model_task_text(model->task), "seed", (json_int_t)train->config.seed, "level",
        op_train_config_level(train->config.level), "same_bits", (int)!is_fast, "generations",
        (json_int_t)op_train_gang_count(train->gang), "ranks", (json_int_t)coll_size(train->coll),
        "shards", is_fast ? json_null() : json_integer((json_int_t)train->config.shards), "batch",
        (json_int_t)train->config.batch, "rows", (json_int_t)train->data.train.rows, "parameters",
        (json_int_t)model->parameter_count, "stopped_early",
        (int)(train->cursor.epoch < train->config.epochs), "resumed", (int)train->resumed, "engine",
        "blas", train->engine.library, "core", train->engine.core, "threads", train->engine.threads,
        "probe", probe, "collectives", coll_backend(train->coll));
    if (train->cursor.best_epoch > 0) {
        json_object_set_new(json, "best_epoch", json_integer((json_int_t)train->cursor.best_epoch));
    }
    json_object_set_new(json, "phases", op_train_time_tell(&train->time, train->ctx));
    if (seconds > 0) {
        json_object_set_new(json, "samples_per_second",
                            json_real((double)train->samples / seconds));
    }
    int rc = op_write_json(train->ctx, "history.json", json, err);
    json_decref(json);
    return rc;
}

static int write_outputs(struct op_train *train, struct mlq_err *err)
{
    struct model *model = train->data.model;
    if (train->best != NULL && train->cursor.best_epoch > 0) {
        memcpy(model->parameters, train->best, model->arena_count * sizeof(float));
    }
    int layer = net_find_not_finite(model, model->parameters);
    if (layer >= 0) {
        return mlq_fail(err, MLQ_EINVAL,
                        "layer %d has weights that are no finite numbers after the last step: "
                        "lower the learning rate",
                        layer);
    }
    int rc = model_save(model, op_output(train->ctx, "model.safetensors"), err);
    return rc == 0 ? write_history(train, err) : rc;
}

/* ---- Generation after generation ---- */

/* All is trained: the first rank writes the outputs. The others of an elastic gang stay, in case it
 * dies over that. */
static int finish(struct op_train *train, struct mlq_err *err)
{
    if (coll_rank(train->coll) == 0) {
        op_train_note(train, TASK_FLIGHT_OUTPUT);
        int rc = op_train_range_is_on(&train->config) ? op_train_range_write(train, err)
                                                      : write_outputs(train, err);
        if (rc != 0) {
            return rc;
        }
    }
    if (op_train_gang_is_elastic(train->gang)) {
        op_train_gang_finish(train->gang);
        return coll_rank(train->coll) == 0 ? 0 : OP_TRAIN_CHANGED;
    }
    /* Rank 0 has all it needs by now; a peer that is gone already is no reason to fail. */
    (void)coll_barrier(train->coll, OP_TRAIN_TIMEOUT_NS, NULL);
    return 0;
}

/* One generation, until it breaks or changes, or the training ends. */
static int run_generation(struct op_train *train, struct mlq_err *err)
{
    op_train_time_enter(&train->time, TASK_FLIGHT_MEET); /* the gang notes its own phases */
    int rc = op_train_gang_next(train->gang, &train->coll, err);
    if (rc != 0) {
        return rc;
    }
    op_train_note(train, TASK_FLIGHT_SHARE);
    rc = op_train_share(train, err);
    if (rc == 0) {
        rc = op_train_loop_run(train, err);
    }
    return rc == 0 ? finish(train, err) : rc;
}

/* A peer that was lost has its own reason and its own exit status. An elastic gang goes on without it;
 * a fixed one is only to be run again. */
static int outlive(struct op_train *train, int rc, struct mlq_err *err)
{
    if (train->coll == NULL) {
        return rc; /* a fixed gang that has not met */
    }
    log_warn("train.peer_lost", "reason=\"%s\" epoch=%" PRIu64 " step=%" PRIu64, err->text,
             train->cursor.epoch, train->cursor.step);
    if (op_train_gang_is_elastic(train->gang)) {
        return OP_TRAIN_CHANGED;
    }
    bool is_mine = train->has_state && coll_rank(train->coll) == 0;
    int saved = is_mine ? op_train_checkpoint_save(train, err) : 0;
    return saved == 0 ? OP_STOPPED : saved;
}

/* Stopped while it waited for a membership: whoever would lead that saves the state, which would go
 * with the gang. */
static int save_if_first(struct op_train *train, struct mlq_err *err)
{
    bool is_mine = train->coll == NULL && train->has_state && op_train_gang_is_first(train->gang);
    int rc = is_mine ? op_train_checkpoint_save(train, err) : 0;
    return rc == 0 ? OP_STOPPED : rc;
}

static int run_generations(struct op_train *train, struct mlq_err *err)
{
    struct mlq_err own = MLQ_ERR_INIT;
    int rc = OP_TRAIN_CHANGED;
    err = err == NULL ? &own : err;
    while (rc == OP_TRAIN_CHANGED) {
        rc = run_generation(train, err);
        if (op_train_gang_is_loss(rc)) {
            rc = outlive(train, rc, err);
        }
    }
    if (rc == OP_STOPPED) {
        rc = save_if_first(train, err);
    }
    return rc == OP_TRAIN_OVER ? 0 : rc;
}

/* A checkpoint that is still being written is finished first. How the training ends has been decided
 * without it: it was saved otherwise, or is over. */
static void settle(struct op_train *train)
{
    struct mlq_err err = MLQ_ERR_INIT;
    if (op_train_checkpoint_settle(train, &err) != 0) {
        log_warn("train.checkpoint_lost", "reason=\"%s\"", err.text);
    }
}

int op_train_run(struct op_context *ctx, struct mlq_err *err)
{
    struct op_train train = {.ctx = ctx, .flight = task_flight_open()};
    op_train_note(&train, TASK_FLIGHT_LOAD);
    gemm_ensure_kernels();
    gemm_start(&train.engine);
    int rc = prepare(&train, err);
    if (rc == 0) {
        rc = run_generations(&train, err);
    }
    settle(&train);
    op_train_note(&train, TASK_FLIGHT_END);
    op_train_checkpoint_fini(&train);
    op_train_gang_destroy(&train.gang);
    task_flight_close(&train.flight);
    optim_destroy(&train.optim);
    mlq_free(train.best);
    json_decref(train.history);
    op_train_data_fini(&train.data);
    return rc;
}
