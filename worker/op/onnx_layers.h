/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The layers of a model as ONNX nodes. ONNX wants images channels first: they are turned once, when
 * the inputs become an image, and turned back once, before a dense layer reads them.
 */
#ifndef MLQ_OP_ONNX_LAYERS_H
#define MLQ_OP_ONNX_LAYERS_H

#include "lib/sys/region.h"
#include "worker/ml/model.h"
#include "worker/op/onnx_graph.h"

/* `inputs` is the value [N, input_count]. Returns the name of the last layer's [N, outputs]. */
const char *onnx_layers_add(struct onnx_graph *g,
                            const struct model *model,
                            const char *inputs,
                            struct mlq_region *region);

#endif
