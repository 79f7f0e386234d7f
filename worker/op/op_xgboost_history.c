/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * history.json of train.xgboost: what report reads.
 *     {"unit": "round", "epochs": [{"epoch": 1, "train_loss": .., "val_loss": ..}, ..], "best_epoch",
 *      "importance": [{"feature": NAME, "gain": SHARE, "splits": N}, ..],
 *      "phases": {"load": SECONDS, "grow", "score", "checkpoint"}, "task", "rows", "rounds", "trees",
 *      "leaves", "depth", "stopped_early", "resumed", "seed", "samples_per_second",
 *      "engine": {"xgboost": VERSION, "threads": N}}
 * An epoch is a round here. A feature's gain is its share of what all splits lowered the loss by; a
 * category's inputs count as one. Features without a split are left out; the greatest comes first.
 */
#include <stdlib.h>

#include "lib/sys/clock.h"
#include "lib/sys/mem.h"
#include "worker/op/op_xgboost.h"

#define IMPORTANCE_MAX 1000u

struct gain {
    uint32_t feature;
    uint64_t splits;
    double sum;
};

static int greatest_first(const void *a, const void *b)
{
    const struct gain *x = a, *y = b;
    if (x->sum != y->sum) {
        return x->sum < y->sum ? 1 : -1;
    }
    return (x->feature > y->feature) - (x->feature < y->feature);
}

/* The feature of each input. */
static uint32_t *features_of_inputs(const struct model *model)
{
    uint32_t *features = mlq_alloc_array(model->input_count, sizeof(uint32_t));
    for (uint32_t i = 0; i < model->feature_count; i++) {
        for (uint32_t k = 0; k < model->features[i].width; k++) {
            features[model->features[i].offset + k] = i;
        }
    }
    return features;
}

static json_t *importance_to_json(const struct model *model)
{
    const struct forest *forest = model->forest;
    uint32_t *features = features_of_inputs(model);
    struct gain *gains = mlq_alloc_array(model->feature_count, sizeof(*gains));
    double total = 0;
    for (uint32_t node = 0; node < forest->node_count; node++) {
        if (forest->features[node] != FOREST_LEAF) {
            struct gain *gain = &gains[features[forest->features[node]]];
            gain->splits++;
            gain->sum += (double)forest->gains[node];
            total += (double)forest->gains[node];
        }
    }
    for (uint32_t i = 0; i < model->feature_count; i++) {
        gains[i].feature = i;
    }
    qsort(gains, model->feature_count, sizeof(*gains), greatest_first);
    json_t *list = json_array();
    for (uint32_t i = 0; i < model->feature_count && i < IMPORTANCE_MAX; i++) {
        if (gains[i].splits > 0) {
            (void)json_array_append_new(list,
                                        json_pack("{s:s, s:f, s:I}", "feature",
                                                  model->features[gains[i].feature].name, "gain",
                                                  total > 0 ? gains[i].sum / total : 0, "splits",
                                                  (json_int_t)gains[i].splits));
        }
    }
    mlq_free(features);
    mlq_free(gains);
    return list;
}

static double seconds_of(int64_t ns)
{
    return (double)ns / (double)MLQ_NS_PER_S;
}

/* Where the time of this process went; also as final metrics, as train.native's. */
static json_t *phases_to_json(struct op_xgboost *x)
{
    const struct {
        const char *name;
        const char *metric;
        int64_t ns;
    } phases[] = {{"load", "seconds_load", x->ns.ready - x->ns.start},
                  {"grow", "seconds_grow", x->busy_ns},
                  {"score", "seconds_score", x->ns.score},
                  {"checkpoint", "seconds_checkpoint", x->ns.checkpoint}};
    json_t *json = json_object();
    for (size_t i = 0; i < MLQ_COUNT_OF(phases); i++) {
        (void)json_object_set_new(json, phases[i].name, json_real(seconds_of(phases[i].ns)));
        op_metric(x->ctx, phases[i].metric, seconds_of(phases[i].ns), OP_NO_STEP);
    }
    return json;
}

int op_xgboost_history_write(struct op_xgboost *x, uint32_t rounds, struct mlq_err *err)
{
    const struct forest *forest = x->model->forest;
    double seconds = seconds_of(x->busy_ns);
    json_t *json =
        json_pack("{s:s, s:O, s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:I, s:{s:s, s:I}}",
                  "unit", "round", "epochs", x->history, "importance", importance_to_json(x->model),
                  "task", model_task_text(x->model->task), "rows", (json_int_t)x->train.rows,
                  "rounds", (json_int_t)rounds, "trees", (json_int_t)forest->tree_count, "leaves",
                  (json_int_t)forest_leaf_count(forest), "depth", (json_int_t)forest_depth(forest),
                  "stopped_early", (int)(booster_rounds(x->booster) < x->config.rounds), "resumed",
                  (int)x->resumed, "seed", (json_int_t)x->config.options.seed, "engine", "xgboost",
                  booster_version(x->booster), "threads", (json_int_t)x->config.options.threads);
    (void)json_object_set_new(json, "phases", phases_to_json(x));
    if (x->cursor.best_round > 0) {
        (void)json_object_set_new(json, "best_epoch", json_integer(x->cursor.best_round));
    }
    if (seconds > 0) {
        (void)json_object_set_new(json, "samples_per_second",
                                  json_real((double)x->rows_done / seconds));
    }
    int rc = op_write_json(x->ctx, "history.json", json, err);
    json_decref(json);
    return rc;
}
