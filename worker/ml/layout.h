/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The networks that train.native offers, as layers of a model.
 */
#ifndef MLQ_ML_LAYOUT_H
#define MLQ_ML_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "worker/ml/model.h"

/* Each of these appends its layers and seals the model, whose features and task must be set.
 * Refuses what does not fit or is over the limits. */

/* Dense layers: `hidden` widths, each with the activation and then dropout, then the outputs.
 * Without hidden layers this is linear, logistic or softmax regression. */
struct layout_mlp {
    const uint32_t *hidden;
    uint32_t hidden_count;
    enum layer_activation activation;
    double dropout;     /* 0: none */
    uint32_t embedding; /* width of the embedding of the embedded categories; 0: there are none */
};
int layout_mlp(struct model *model, const struct layout_mlp *plan, struct mlq_err *err);

/* Stages of convolutions, halved in height and width between them, then `head` as above:
 *   stage      `depth` times a convolution that keeps height and width, with its norm and
 *              activation; with `depthwise` each but the very first is a depthwise one and a 1 x 1;
 *              with `residual` what the first of a stage gives is added to what the last gives, and
 *              the sum is activated (depth >= 2)
 *   halving    2 x 2 pool, after each stage but the last
 *   at last    the mean over the image (`mean`), or a pool as after the others */
struct layout_cnn {
    struct layer_shape image; /* channels last; as many numbers as the model has inputs */
    const uint32_t *channels; /* of each stage */
    uint32_t stage_count;
    uint32_t depth;
    uint32_t kernel; /* odd */
    enum layer_kind pool;
    bool norm;
    bool residual;
    bool depthwise;
    bool mean;
    struct layout_mlp head;
};
int layout_cnn(struct model *model, const struct layout_cnn *plan, struct mlq_err *err);

#endif
