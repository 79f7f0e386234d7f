/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The trees of a model as one node, TreeEnsembleRegressor of ai.onnx.ml 3: it gives each output's
 * sum, and the softmax or sigmoid of classes follows as it does layers.
 */
#ifndef MLQ_OP_ONNX_FOREST_H
#define MLQ_OP_ONNX_FOREST_H

#include "lib/sys/region.h"
#include "worker/ml/forest.h"
#include "worker/op/onnx_graph.h"

/* `inputs` is the value [N, input_count] of floats, NaN where one is missing. Returns the name of
 * [N, outputs]. */
const char *onnx_forest_add(struct onnx_graph *g, const struct forest *forest, const char *inputs,
                            struct mlq_region *region);

#endif
