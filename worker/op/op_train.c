/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * train.native: fits a linear model or a multilayer perceptron to a table, data-parallel over the
 * ranks of a gang (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT). Rank 0 writes the outputs:
 *     model.safetensors   worker/ml/model.h
 *     history.json        {"epochs": [{"epoch": 1, "train_loss": ..}, ..],
 *                          "metrics": {NAME: [[epoch, value], ..]}, "best_epoch",
 *                          "samples_per_second", "engine", "seed", "ranks", "shards", ...}
 */
#include "worker/op/op_train.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/str.h"
#include "lib/sys/clock.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "lib/task/task.h"
#include "worker/ml/net.h"
#include "worker/op/op_table.h"

/* ---- The gang ---- */

static int read_port(uint16_t *port, struct mlq_err *err)
{
    const char *text = getenv("MASTER_PORT");
    uint64_t value = 0;
    if (text == NULL || !mlq_str_u64(mlq_str_from(text), &value) || value == 0 ||
        value > UINT16_MAX) {
        return mlq_fail(err, MLQ_EINVAL, "MASTER_PORT is '%s': expected a port",
                        text == NULL ? "" : text);
    }
    *port = (uint16_t)value;
    return 0;
}

/* One gang of one attempt. TORCHELASTIC_RUN_ID and the restart count are the same on all ranks. */
static char *gang_name(void)
{
    const char *run = getenv("TORCHELASTIC_RUN_ID");
    const char *restart = getenv("TORCHELASTIC_RESTART_COUNT");
    const char *job = task_env("JOB"), *stage = task_env("STAGE");
    return mlq_format("%.64s/%.64s/%.64s/%.16s", job == NULL ? "" : job, stage == NULL ? "" : stage,
                      run == NULL ? "" : run, restart == NULL ? "" : restart);
}

static int open_gang(struct op_train *train, struct mlq_err *err)
{
    struct coll_gang gang = {.rank = op_rank(train->ctx),
                             .size = op_world_size(train->ctx),
                             .kind = train->config.collectives};
    if (gang.size > train->config.shards) {
        return mlq_fail(err, MLQ_EINVAL,
                        "%u ranks, but only %u shards to deal: raise shards or lower ranks",
                        gang.size, train->config.shards);
    }
    int rc = gang.size > 1 ? read_port(&gang.port, err) : 0;
    if (rc != 0) {
        return rc;
    }
    char *name = gang_name();
    gang.address = getenv("MASTER_ADDR");
    gang.name = name;
    rc = coll_open(&gang, OP_TRAIN_TIMEOUT_NS, &train->coll, err);
    mlq_free(name);
    return rc;
}

/* All ranks must hold the same rows and parameters, and compute with the same engine: else the
 * shards' gradients would be those of different trainings. */
static int compare_ranks(struct op_train *train, struct mlq_err *err)
{
    uint64_t own[2] = {train->data.fingerprint, train->engine.probe};
    uint64_t all[COLL_RANKS_MAX][2], bytes[COLL_RANKS_MAX];
    uint32_t ranks = coll_size(train->coll);
    for (uint32_t rank = 0; rank < ranks; rank++) {
        bytes[rank] = sizeof(own);
    }
    int rc = coll_allgather(train->coll, own, all, bytes, OP_TRAIN_TIMEOUT_NS, err);
    for (uint32_t rank = 1; rank < ranks && rc == 0; rank++) {
        if (all[rank][0] != all[0][0]) {
            rc = mlq_fail(err, MLQ_EINVAL, "rank %u reads other tables or parameters than rank 0",
                          rank);
        } else if (all[rank][1] != all[0][1]) {
            rc = mlq_fail(err, MLQ_EINVAL,
                          "rank %u computes other bits than rank 0 (another CPU type): set "
                          "OPENBLAS_CORETYPE to one that all machines have, for instance Haswell",
                          rank);
        }
    }
    return rc;
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

/* Rank 0 alone reads checkpoints; the others get its state. */
static int share_state(struct op_train *train, struct mlq_err *err)
{
    struct {
        struct op_train_cursor cursor;
        uint64_t optimizer_steps;
        uint64_t resumed;
    } head = {
        .cursor = train->cursor, .optimizer_steps = train->optim->steps, .resumed = train->resumed};
    int64_t limit_ns = OP_TRAIN_TIMEOUT_NS;
    int rc = coll_broadcast(train->coll, &head, sizeof(head), 0, limit_ns, err);
    if (rc != 0 || head.resumed == 0) {
        return rc;
    }
    train->cursor = head.cursor;
    train->optim->steps = head.optimizer_steps;
    train->resumed = true;
    struct op_train_part parts[OP_TRAIN_PARTS_MAX];
    size_t count = op_train_parts(train, parts);
    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = coll_broadcast(train->coll, parts[i].values, parts[i].count * sizeof(float), 0,
                            limit_ns, err);
    }
    return rc;
}

/* A peer that goes after the gang has met has its own reason and its own exit status: this rank is
 * only to be run again. */
static int leave_if_alone(int rc, struct mlq_err *err)
{
    if (rc != MLQ_ECONN && rc != MLQ_ETIMEOUT) {
        return rc;
    }
    log_warn("train.peer_lost", "reason=\"%s\"", err == NULL ? "" : err->text);
    return OP_STOPPED;
}

/* Everything but the steps. OP_STOPPED when a peer was lost. */
static int prepare(struct op_train *train, struct mlq_err *err)
{
    int rc = op_train_config_read(train->ctx, &train->config, err);
    if (rc == 0) {
        rc = op_train_data_load(train->ctx, &train->config, &train->data, err);
    }
    if (rc == 0) {
        rc = open_gang(train, err);
    }
    if (rc == 0) {
        rc = leave_if_alone(compare_ranks(train, err), err);
    }
    if (rc != 0) {
        return rc;
    }
    const struct model *model = train->data.model;
    train->optim = optim_create(train->config.optim, model->parameter_count);
    train->best =
        train->config.early_stop ? mlq_alloc_array(model->arena_count, sizeof(float)) : NULL;
    train->history = json_array();
    net_init_parameters(train->data.model, train->config.seed);
    if (coll_rank(train->coll) == 0) {
        rc = op_train_checkpoint_load(train, &train->resumed, err);
    }
    if (rc == 0) {
        rc = leave_if_alone(share_state(train, err), err);
    }
    log_info("train.start",
             "task=%s rows=%u validation=%u inputs=%u parameters=%" PRIu64
             " ranks=%u shards=%u blas=\"%s\" core=%s threads=%d",
             model_task_text(model->task), train->data.train.rows, train->data.validation.rows,
             model->input_count, model->parameter_count, coll_size(train->coll),
             train->config.shards, train->engine.library, train->engine.core,
             train->engine.threads);
    return rc;
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
    json_t *json = json_pack(
        "{s:O, s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:{s:s, s:s, s:i, s:s, s:s}}",
        "epochs", train->history, "metrics", to_series(train->history), "task",
        model_task_text(model->task), "seed", (json_int_t)train->config.seed, "ranks",
        (json_int_t)coll_size(train->coll), "shards", (json_int_t)train->config.shards, "batch",
        (json_int_t)train->config.batch, "rows", (json_int_t)train->data.train.rows, "parameters",
        (json_int_t)model->parameter_count, "stopped_early",
        (int)(train->cursor.epoch < train->config.epochs), "resumed", (int)train->resumed, "engine",
        "blas", train->engine.library, "core", train->engine.core, "threads", train->engine.threads,
        "probe", probe, "collectives", coll_backend(train->coll));
    if (train->cursor.best_epoch > 0) {
        json_object_set_new(json, "best_epoch", json_integer((json_int_t)train->cursor.best_epoch));
    }
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

int op_train_run(struct op_context *ctx, struct mlq_err *err)
{
    struct op_train train = {.ctx = ctx};
    gemm_ensure_kernels();
    gemm_start(&train.engine);
    int rc = prepare(&train, err);
    if (rc == 0) {
        rc = op_train_loop_run(&train, err);
    }
    if (rc == 0 && coll_rank(train.coll) == 0) {
        rc = write_outputs(&train, err);
    }
    if (rc == 0) {
        /* Rank 0 has all it needs by now; a peer that is gone already is no reason to fail. */
        (void)coll_barrier(train.coll, OP_TRAIN_TIMEOUT_NS, NULL);
    }
    coll_close(&train.coll);
    optim_destroy(&train.optim);
    mlq_free(train.best);
    json_decref(train.history);
    op_train_data_fini(&train.data);
    return rc;
}
