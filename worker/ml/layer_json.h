/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A layer in the model's description (model.h has the keys of each kind).
 */
#ifndef MLQ_ML_LAYER_JSON_H
#define MLQ_ML_LAYER_JSON_H

#include <jansson.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "worker/ml/layer.h"

/* `index` is its place in the list. */
MLQ_OWNED_RETURN json_t *layer_json_write(const struct layer *layer, uint32_t index);

/* Only the options; the caller appends the layer, which checks them and the shapes. MLQ_ECORRUPT
 * for what is no layer. */
int layer_json_read(const json_t *json, uint32_t index, struct layer *layer, struct mlq_err *err);

#endif
