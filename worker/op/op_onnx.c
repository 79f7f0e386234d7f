/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * package.onnx: model.safetensors as model.onnx, and its card README.md. The card takes what it can
 * get: a missing record or an input that cannot be read costs its sections, and the log says which.
 */
#include "lib/sys/fs.h"
#include "lib/task/task.h"
#include "worker/ml/model.h"
#include "worker/op/card.h"
#include "worker/op/jget.h"
#include "worker/op/onnx_model.h"
#include "worker/op/op.h"
#include "worker/op/op_facts.h"
#include "worker/op/op_table.h"

static int write_model(struct op_context *ctx, const struct card_inputs *card, struct mlq_err *err)
{
    struct onnx_graph *graph = onnx_model_build(card->model, op_region(ctx));
    const json_t *job = jget_object(card->record, "job");
    if (jget_text(job, "id") != NULL) {
        onnx_graph_metadata(graph, "mlq.job", jget_text(job, "id"));
    }
    if (card->description != NULL) {
        onnx_graph_describe(graph, card->description);
    }
    return onnx_graph_save(graph, op_output(ctx, "model.onnx"), err);
}

static int write_card(struct op_context *ctx, const struct card_inputs *inputs, struct mlq_err *err)
{
    struct html text = {.full = false};
    int rc = 0;
    if (!card_write(inputs, op_region(ctx), &text)) {
        rc =
            mlq_fail(err, MLQ_EFULL, "the model card is larger than %zu MiB", HTML_BYTES_MAX >> 20);
    } else {
        rc = mlq_fs_write_durable(op_output(ctx, "README.md"),
                                  (struct mlq_str){.ptr = text.bytes, .len = text.len}, 0644, err);
    }
    html_fini(&text);
    return rc;
}

static int read_with(struct op_context *ctx, struct card_inputs *card, struct mlq_err *err)
{
    int rc = op_get_text(ctx, "name", NULL, &card->name, err);
    rc = rc != 0 ? rc : op_get_text(ctx, "license", "unknown", &card->license, err);
    return rc != 0 ? rc : op_get_text(ctx, "description", NULL, &card->description, err);
}

int op_onnx_run(struct op_context *ctx, struct mlq_err *err)
{
    struct card_inputs card = {.own_stage = task_env("STAGE")};
    struct model *model = NULL;
    const char *path = NULL;
    struct mlq_err unread = MLQ_ERR_INIT;
    int rc = read_with(ctx, &card, err);
    rc = rc != 0 ? rc : op_need_input(ctx, "model", &path, err);
    rc = rc != 0 ? rc : model_load(path, &model, err);
    if (rc != 0) {
        return rc;
    }
    json_t *record = op_facts_record(ctx, &unread);
    json_t *metrics = op_facts_input(ctx, "metrics");
    json_t *profile = op_facts_input(ctx, "profile");
    card.model = model;
    card.record = record;
    card.metrics = metrics;
    card.profile = profile;
    rc = write_model(ctx, &card, err);
    rc = rc != 0 ? rc : write_card(ctx, &card, err);
    json_decref(record);
    json_decref(metrics);
    json_decref(profile);
    model_destroy(&model);
    return rc;
}
