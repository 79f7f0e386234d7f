/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The networks that train.native offers, as layers of a model.
 */
#ifndef MLQ_ML_LAYOUT_H
#define MLQ_ML_LAYOUT_H

#include <stdint.h>

#include "lib/base/err.h"
#include "worker/ml/model.h"

/* Dense layers: `hidden` widths, each with the activation, then the outputs. Without hidden layers
 * this is linear, logistic or softmax regression. */
struct layout_mlp {
    const uint32_t *hidden;
    uint32_t hidden_count;
    enum layer_activation activation;
};

/* Appends the layers and seals the model, whose features and task must be set. Refuses what does
 * not fit or is over the limits. */
int layout_mlp(struct model *model, const struct layout_mlp *plan, struct mlq_err *err);

#endif
