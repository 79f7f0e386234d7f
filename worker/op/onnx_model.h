/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A model (worker/ml/model.h) as an ONNX graph, preprocessing included, so that who runs it gives it
 * raw values:
 *
 *   inputs    all features are numbers:  "features" [N, F], in the model's order
 *             else one input per feature, named as the column: numbers [N, 1], categories string [N, 1]
 *             A missing number is NaN, a missing category the empty text (unless that is a value).
 *             Numbers are float, or double when a float would lose what the model was trained on (a
 *             column whose mean is over ONNX_MODEL_FLOAT_RATIO deviations: years, timestamps).
 *   outputs   classes:     "label" string [N], "class_index" int64 [N], "probabilities" float [N, C]
 *             regression:  "prediction" float [N, 1]
 *
 * A column whose name is one of these or begins with "mlq/" or "column:" becomes the input "column:NAME".
 * Standardisation runs in double, as training's does; the network in float.
 */
#ifndef MLQ_OP_ONNX_MODEL_H
#define MLQ_OP_ONNX_MODEL_H

#include <stdbool.h>

#include "lib/base/err.h"
#include "lib/sys/region.h"
#include "worker/ml/model.h"
#include "worker/op/onnx_graph.h"

#define ONNX_MODEL_FLOAT_RATIO 4096.0

struct onnx_graph *onnx_model_build(const struct model *model, struct mlq_region *region);

/* For the card: does it take one matrix, and of what? */
bool onnx_model_one_input(const struct model *model);
enum onnx_type onnx_model_number_type(const struct model *model);
const char *onnx_model_input_name(const struct model_feature *feature, struct mlq_region *region);

#endif
