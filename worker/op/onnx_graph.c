/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/onnx_graph.h"

#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include <onnx.pb-c.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "raw_data is written as it lies in memory");

struct onnx_node {
    Onnx__NodeProto proto; /* first: a node is its message */
};

/* Pointers to messages, doubled in the region when full. */
struct list {
    void **items;
    size_t count;
    size_t room;
};

struct onnx_graph {
    struct mlq_region *region;
    Onnx__ModelProto model;
    Onnx__GraphProto graph;
    struct list nodes;
    struct list inputs;
    struct list outputs;
    struct list constants;
    struct list metadata;
};

static void append(struct onnx_graph *g, struct list *list, void *item)
{
    if (list->count == list->room) {
        size_t room = list->room == 0 ? 16 : list->room * 2;
        void **items = mlq_region_array(g->region, room, sizeof(void *));
        if (list->count > 0) {
            memcpy(items, list->items, list->count * sizeof(void *));
        }
        list->items = items;
        list->room = room;
    }
    list->items[list->count++] = item;
}

static char *text(struct onnx_graph *g, const char *words)
{
    return mlq_region_strdup(g->region, words);
}

static int32_t type_number(enum onnx_type type)
{
    switch (type) {
    case ONNX_FLOAT:
        return ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    case ONNX_DOUBLE:
        return ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE;
    case ONNX_INT64:
        return ONNX__TENSOR_PROTO__DATA_TYPE__INT64;
    case ONNX_STRING:
        return ONNX__TENSOR_PROTO__DATA_TYPE__STRING;
    }
    MLQ_UNREACHABLE("onnx type");
}

static void import_opset(struct onnx_graph *g, size_t i, const char *domain, int64_t version)
{
    Onnx__OperatorSetIdProto *set = mlq_region_alloc(g->region, sizeof(*set));
    onnx__operator_set_id_proto__init(set);
    set->domain = text(g, domain);
    set->has_version = 1;
    set->version = version;
    g->model.opset_import[i] = set;
}

struct onnx_graph *onnx_graph_create(struct mlq_region *region, const char *name)
{
    struct onnx_graph *g = mlq_region_alloc(region, sizeof(*g));
    g->region = region;
    onnx__model_proto__init(&g->model);
    onnx__graph_proto__init(&g->graph);
    g->graph.name = text(g, name);
    g->model.graph = &g->graph;
    g->model.has_ir_version = 1;
    g->model.ir_version = ONNX_GRAPH_IR_VERSION;
    g->model.producer_name = text(g, "mlq");
    g->model.has_model_version = 1;
    g->model.model_version = 1;
    g->model.n_opset_import = 2;
    g->model.opset_import = mlq_region_array(region, 2, sizeof(void *));
    import_opset(g, 0, "", ONNX_GRAPH_OPSET);
    import_opset(g, 1, "ai.onnx.ml", 3);
    return g;
}

static Onnx__TensorShapeProto__Dimension *make_dim(struct onnx_graph *g, int64_t value)
{
    Onnx__TensorShapeProto__Dimension *dim = mlq_region_alloc(g->region, sizeof(*dim));
    onnx__tensor_shape_proto__dimension__init(dim);
    if (value < 0) {
        dim->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
        dim->dim_param = text(g, "N");
    } else {
        dim->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        dim->dim_value = value;
    }
    return dim;
}

static void add_value(struct onnx_graph *g, struct list *list, const char *name,
                      enum onnx_type type, int64_t columns)
{
    Onnx__TensorShapeProto *shape = mlq_region_alloc(g->region, sizeof(*shape));
    Onnx__TypeProto__Tensor *tensor = mlq_region_alloc(g->region, sizeof(*tensor));
    Onnx__TypeProto *kind = mlq_region_alloc(g->region, sizeof(*kind));
    Onnx__ValueInfoProto *value = mlq_region_alloc(g->region, sizeof(*value));
    onnx__tensor_shape_proto__init(shape);
    onnx__type_proto__tensor__init(tensor);
    onnx__type_proto__init(kind);
    onnx__value_info_proto__init(value);
    shape->n_dim = columns > 0 ? 2 : 1;
    shape->dim = mlq_region_array(g->region, 2, sizeof(void *));
    shape->dim[0] = make_dim(g, -1);
    shape->dim[1] = make_dim(g, columns);
    tensor->has_elem_type = 1;
    tensor->elem_type = type_number(type);
    tensor->shape = shape;
    kind->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    kind->tensor_type = tensor;
    value->name = text(g, name);
    value->type = kind;
    append(g, list, value);
}

void onnx_graph_input(struct onnx_graph *g, const char *name, enum onnx_type type, int64_t columns)
{
    add_value(g, &g->inputs, name, type, columns);
}

void onnx_graph_output(struct onnx_graph *g, const char *name, enum onnx_type type, int64_t columns)
{
    add_value(g, &g->outputs, name, type, columns);
}

struct dims {
    const int64_t *sizes;
    size_t rank;
};

static struct dims dims_of(const struct onnx_shape *shape)
{
    return shape->rows > 0 ? (struct dims){.sizes = &shape->rows, .rank = 2}
                           : (struct dims){.sizes = &shape->columns, .rank = 1};
}

static void add_constant(struct onnx_graph *g, const char *name, enum onnx_type type,
                         struct dims dims, const void *data, size_t item_bytes)
{
    Onnx__TensorProto *tensor = mlq_region_alloc(g->region, sizeof(*tensor));
    onnx__tensor_proto__init(tensor);
    tensor->name = text(g, name);
    tensor->dims = mlq_region_array(g->region, dims.rank, sizeof(int64_t));
    tensor->n_dims = dims.rank;
    tensor->has_data_type = 1;
    tensor->data_type = type_number(type);
    tensor->has_raw_data = 1;
    tensor->raw_data.len = item_bytes;
    for (size_t i = 0; i < dims.rank; i++) {
        tensor->dims[i] = dims.sizes[i];
        tensor->raw_data.len *= (size_t)dims.sizes[i];
    }
    tensor->raw_data.data = (uint8_t *)(uintptr_t)data; /* only read by the packing */
    append(g, &g->constants, tensor);
}

void onnx_graph_floats(struct onnx_graph *g, const char *name, struct onnx_shape shape,
                       const float *data)
{
    add_constant(g, name, ONNX_FLOAT, dims_of(&shape), data, sizeof(float));
}

void onnx_graph_tensor(struct onnx_graph *g, const char *name, const int64_t *dims, size_t rank,
                       const float *data)
{
    add_constant(g, name, ONNX_FLOAT, (struct dims){.sizes = dims, .rank = rank}, data,
                 sizeof(float));
}

void onnx_graph_doubles(struct onnx_graph *g, const char *name, struct onnx_shape shape,
                        const double *data)
{
    add_constant(g, name, ONNX_DOUBLE, dims_of(&shape), data, sizeof(double));
}

void onnx_graph_int64s(struct onnx_graph *g, const char *name, struct onnx_shape shape,
                       const int64_t *data)
{
    add_constant(g, name, ONNX_INT64, dims_of(&shape), data, sizeof(int64_t));
}

struct onnx_node *onnx_graph_node(struct onnx_graph *g, const char *domain, const char *op,
                                  const char *output, const char *const *inputs)
{
    struct onnx_node *node = mlq_region_alloc(g->region, sizeof(*node));
    size_t count = 0;
    while (inputs[count] != NULL) {
        count++;
    }
    onnx__node_proto__init(&node->proto);
    node->proto.op_type = text(g, op);
    node->proto.domain = text(g, domain);
    node->proto.name = text(g, output);
    node->proto.n_output = 1;
    node->proto.output = mlq_region_array(g->region, 1, sizeof(char *));
    node->proto.output[0] = text(g, output);
    node->proto.n_input = count;
    node->proto.input = mlq_region_array(g->region, count + 1, sizeof(char *));
    for (size_t i = 0; i < count; i++) {
        node->proto.input[i] = text(g, inputs[i]);
    }
    append(g, &g->nodes, &node->proto);
    return node;
}

const char *onnx_graph_apply(struct onnx_graph *g, const char *op, const char *output,
                             const char *a, const char *b)
{
    const char *inputs[] = {a, b, NULL};
    (void)onnx_graph_node(g, "", op, output, inputs);
    return output;
}

#define ATTRIBUTES_MAX 16u

static Onnx__AttributeProto *add_attribute(struct onnx_graph *g, struct onnx_node *node,
                                           const char *name,
                                           Onnx__AttributeProto__AttributeType type)
{
    Onnx__AttributeProto *attribute = mlq_region_alloc(g->region, sizeof(*attribute));
    onnx__attribute_proto__init(attribute);
    attribute->name = text(g, name);
    attribute->has_type = 1;
    attribute->type = type;
    if (node->proto.attribute == NULL) {
        node->proto.attribute = mlq_region_array(g->region, ATTRIBUTES_MAX, sizeof(void *));
    }
    MLQ_ASSERT(node->proto.n_attribute < ATTRIBUTES_MAX);
    node->proto.attribute[node->proto.n_attribute++] = attribute;
    return attribute;
}

static ProtobufCBinaryData bytes_of(struct onnx_graph *g, const char *words)
{
    return (ProtobufCBinaryData){.len = strlen(words), .data = (uint8_t *)text(g, words)};
}

void onnx_graph_set_int(struct onnx_graph *g, struct onnx_node *node, const char *name,
                        int64_t value)
{
    Onnx__AttributeProto *attribute =
        add_attribute(g, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    attribute->has_i = 1;
    attribute->i = value;
}

void onnx_graph_set_float(struct onnx_graph *g, struct onnx_node *node, const char *name,
                          float value)
{
    Onnx__AttributeProto *attribute =
        add_attribute(g, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    attribute->has_f = 1;
    attribute->f = value;
}

void onnx_graph_set_text(struct onnx_graph *g, struct onnx_node *node, const char *name,
                         const char *value)
{
    Onnx__AttributeProto *attribute =
        add_attribute(g, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
    attribute->has_s = 1;
    attribute->s = bytes_of(g, value);
}

void onnx_graph_set_ints(struct onnx_graph *g, struct onnx_node *node, const char *name,
                         const int64_t *values, size_t count)
{
    Onnx__AttributeProto *attribute =
        add_attribute(g, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    attribute->n_ints = count;
    attribute->ints = mlq_region_array(g->region, count + 1, sizeof(int64_t));
    memcpy(attribute->ints, values, count * sizeof(int64_t));
}

void onnx_graph_set_floats(struct onnx_graph *g, struct onnx_node *node, const char *name,
                           const float *values, size_t count)
{
    Onnx__AttributeProto *attribute =
        add_attribute(g, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS);
    attribute->n_floats = count;
    attribute->floats = mlq_region_array(g->region, count + 1, sizeof(float));
    memcpy(attribute->floats, values, count * sizeof(float));
}

void onnx_graph_set_texts(struct onnx_graph *g, struct onnx_node *node, const char *name,
                          const char *const *values, size_t count)
{
    Onnx__AttributeProto *attribute =
        add_attribute(g, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS);
    attribute->n_strings = count;
    attribute->strings = mlq_region_array(g->region, count + 1, sizeof(ProtobufCBinaryData));
    for (size_t i = 0; i < count; i++) {
        attribute->strings[i] = bytes_of(g, values[i]);
    }
}

void onnx_graph_metadata(struct onnx_graph *g, const char *key, const char *value)
{
    Onnx__StringStringEntryProto *entry = mlq_region_alloc(g->region, sizeof(*entry));
    onnx__string_string_entry_proto__init(entry);
    entry->key = text(g, key);
    entry->value = text(g, value);
    append(g, &g->metadata, entry);
}

void onnx_graph_describe(struct onnx_graph *g, const char *words)
{
    g->model.doc_string = text(g, words);
}

int onnx_graph_save(const struct onnx_graph *g, const char *path, struct mlq_err *err)
{
    Onnx__GraphProto graph = g->graph;
    Onnx__ModelProto model = g->model;
    graph.n_node = g->nodes.count;
    graph.node = (Onnx__NodeProto **)g->nodes.items;
    graph.n_input = g->inputs.count;
    graph.input = (Onnx__ValueInfoProto **)g->inputs.items;
    graph.n_output = g->outputs.count;
    graph.output = (Onnx__ValueInfoProto **)g->outputs.items;
    graph.n_initializer = g->constants.count;
    graph.initializer = (Onnx__TensorProto **)g->constants.items;
    model.n_metadata_props = g->metadata.count;
    model.metadata_props = (Onnx__StringStringEntryProto **)g->metadata.items;
    model.graph = &graph;
    size_t len = onnx__model_proto__get_packed_size(&model);
    if (len > ONNX_GRAPH_BYTES_MAX) {
        return mlq_fail(err, MLQ_EFULL,
                        "the model takes %zu MiB, and an ONNX file holds at most %zu", len >> 20,
                        ONNX_GRAPH_BYTES_MAX >> 20);
    }
    uint8_t *bytes = mlq_alloc(len);
    (void)onnx__model_proto__pack(&model, bytes);
    int rc = mlq_fs_write_durable(path, (struct mlq_str){.ptr = (const char *)bytes, .len = len},
                                  0644, err);
    mlq_free(bytes);
    return rc;
}
