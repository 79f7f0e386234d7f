/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/layout.h"

static int append_dense(struct model *model,
                        uint32_t units,
                        enum layer_activation activation,
                        struct mlq_err *err)
{
    return model_append(model,
                        (struct layer){.kind = LAYER_DENSE,
                                       .activation = activation,
                                       .from = model->layer_count,
                                       .out = {.channels = units}},
                        err);
}

int layout_mlp(struct model *model, const struct layout_mlp *plan, struct mlq_err *err)
{
    int rc = 0;
    for (uint32_t i = 0; i < plan->hidden_count && rc == 0; i++) {
        rc = append_dense(model, plan->hidden[i], plan->activation, err);
    }
    if (rc == 0) {
        rc = append_dense(model, model_output_count(model), LAYER_IDENTITY, err);
    }
    return rc == 0 ? model_seal(model, err) : rc;
}
