/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Builds an ONNX model: values by name, nodes in the order in which they run. The only place that knows
 * onnx.proto, which is the system's (package libonnx-dev), compiled at build time.
 *
 * ModelProto as ONNX 1.12 has it (docs/IR.md): ir_version 8, opset 17 of the standard operators and 3 of ai.onnx.ml,
 * weights as raw little-endian data. Everything lives in the region that the graph was made with; data of
 * initializers is borrowed until the graph is saved.
 */
#ifndef MLQ_OP_ONNX_GRAPH_H
#define MLQ_OP_ONNX_GRAPH_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "lib/sys/region.h"

#define ONNX_GRAPH_OPSET      17
#define ONNX_GRAPH_IR_VERSION 8
#define ONNX_GRAPH_BYTES_MAX  ((size_t)2000 << 20) /* protobuf's own limit is 2 GiB */

enum onnx_type { ONNX_FLOAT, ONNX_DOUBLE, ONNX_INT64, ONNX_STRING };

struct onnx_graph;
struct onnx_node;

struct onnx_graph *onnx_graph_create(struct mlq_region *region, const char *name);

/* A value of shape [N, columns]; columns 0: shape [N]. */
void onnx_graph_input(struct onnx_graph *g, const char *name, enum onnx_type type, int64_t columns);
void onnx_graph_output(struct onnx_graph *g, const char *name, enum onnx_type type, int64_t columns);

/* Constants. A shape of 0 rows is one-dimensional. */
struct onnx_shape {
    int64_t rows;
    int64_t columns;
};
void onnx_graph_floats(struct onnx_graph *g, const char *name, struct onnx_shape shape, MLQ_BORROWS const float *data);
void onnx_graph_doubles(struct onnx_graph *g, const char *name, struct onnx_shape shape, MLQ_BORROWS const double *data);
void onnx_graph_tensor(struct onnx_graph *g, const char *name, const int64_t *dims, size_t rank, MLQ_BORROWS const float *data);
void onnx_graph_int64s(struct onnx_graph *g, const char *name, struct onnx_shape shape, MLQ_BORROWS const int64_t *data);

/* A node with one output. Inputs end with NULL. `domain` is "" or "ai.onnx.ml". */
struct onnx_node *onnx_graph_node(struct onnx_graph *g,
                                  const char *domain,
                                  const char *op,
                                  const char *output,
                                  const char *const *inputs);
/* The same for a standard operator with one or two (else NULL) inputs and no attributes: returns output. */
const char *onnx_graph_apply(struct onnx_graph *g, const char *op, const char *output, const char *a, const char *b);
void onnx_graph_set_float(struct onnx_graph *g, struct onnx_node *node, const char *name, float value);
void onnx_graph_set_int(struct onnx_graph *g, struct onnx_node *node, const char *name, int64_t value);
void onnx_graph_set_text(struct onnx_graph *g, struct onnx_node *node, const char *name, const char *value);
void onnx_graph_set_ints(struct onnx_graph *g, struct onnx_node *node, const char *name, const int64_t *values, size_t count);
void onnx_graph_set_floats(struct onnx_graph *g, struct onnx_node *node, const char *name,
                           const float *values, size_t count);
void onnx_graph_set_texts(struct onnx_graph *g, struct onnx_node *node, const char *name, const char *const *values, size_t count);

void onnx_graph_metadata(struct onnx_graph *g, const char *key, const char *value);
void onnx_graph_describe(struct onnx_graph *g, const char *text); /* the model's doc_string */

/* Durable. MLQ_EFULL over ONNX_GRAPH_BYTES_MAX. */
int onnx_graph_save(const struct onnx_graph *g, const char *path, struct mlq_err *err);

#endif
