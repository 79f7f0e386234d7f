/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The graph as a reader of protobuf sees it: one writer per name, written before it is read. That
 * it computes the same as the model is shown with onnxruntime, in tests/golden/onnx.
 */
#include "worker/ml/layout.h"
#include "worker/op/onnx_model.h"

#include <onnx.pb-c.h>
#include <string.h>

#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "tests/unit/cm.h"

#define FILE_NAME "model.onnx"
#define NAMES_MAX 256

static Onnx__ModelProto *saved(const struct model *model, size_t *bytes)
{
    struct mlq_region *region = mlq_region_create();
    struct mlq_err err = MLQ_ERR_INIT;
    char *data = NULL;
    struct onnx_graph *graph = onnx_model_build(model, region);
    onnx_graph_describe(graph, "words");
    assert_int_equal(onnx_graph_save(graph, FILE_NAME, &err), 0);
    assert_int_equal(mlq_fs_read(FILE_NAME, 1 << 20, &data, bytes, &err), 0);
    Onnx__ModelProto *proto = onnx__model_proto__unpack(NULL, *bytes, (const uint8_t *)data);
    assert_non_null(proto);
    mlq_free(data);
    mlq_region_destroy(&region);
    return proto;
}

static bool is_known(const char **names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static void define(const char **names, size_t *count, const char *name)
{
    assert_true(*count < NAMES_MAX);
    assert_false(is_known(names, *count, name));
    names[(*count)++] = name;
}

static void assert_sound(const Onnx__GraphProto *g)
{
    const char *names[NAMES_MAX];
    size_t count = 0;
    for (size_t i = 0; i < g->n_input; i++) {
        define(names, &count, g->input[i]->name);
    }
    for (size_t i = 0; i < g->n_initializer; i++) {
        const Onnx__TensorProto *t = g->initializer[i];
        size_t items = 1;
        for (size_t d = 0; d < t->n_dims; d++) {
            items *= (size_t)t->dims[d];
        }
        assert_int_equal(t->raw_data.len,
                         items * (t->data_type == ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT ? 4 : 8));
        define(names, &count, t->name);
    }
    for (size_t i = 0; i < g->n_node; i++) {
        for (size_t k = 0; k < g->node[i]->n_input; k++) {
            assert_true(is_known(names, count, g->node[i]->input[k]));
        }
        for (size_t k = 0; k < g->node[i]->n_attribute; k++) {
            assert_true(g->node[i]->attribute[k]->has_type);
        }
        define(names, &count, g->node[i]->output[0]);
    }
    for (size_t i = 0; i < g->n_output; i++) {
        assert_true(is_known(names, count, g->output[i]->name));
    }
}

static struct model_feature number(const char *name, double mean)
{
    return (struct model_feature){.name = mlq_strdup(name),
                                  .kind = MODEL_NUMBER,
                                  .width = 1,
                                  .fill = mean,
                                  .mean = mean,
                                  .scale = 2.0};
}

static struct model_feature category(const char *name, uint32_t count)
{
    struct model_feature f = {
        .name = mlq_strdup(name), .kind = MODEL_CATEGORY, .width = count, .value_count = count};
    f.values = mlq_alloc_array(count, sizeof(char *));
    for (uint32_t i = 0; i < count; i++) {
        f.values[i] = mlq_format("value %u", i);
    }
    return f;
}

/* Owns the features. */
static struct model *make(enum model_task task, const struct model_feature *features,
                          uint32_t count, uint32_t classes)
{
    struct model *model = model_create();
    struct mlq_err err = MLQ_ERR_INIT;
    uint32_t hidden[] = {5};
    model->task = task;
    model->target = mlq_strdup("target");
    model->features = mlq_alloc_array(count, sizeof(*features));
    model->feature_count = count;
    for (uint32_t i = 0; i < count; i++) {
        model->features[i] = features[i];
        model->features[i].offset = model->input_count;
        model->input_count += features[i].width;
    }
    model->target_scale = 1.0;
    model->class_count = classes;
    model->classes = mlq_alloc_array(classes + 1, sizeof(char *));
    for (uint32_t i = 0; i < classes; i++) {
        model->classes[i] = mlq_format("class %u", i);
    }
    if (layout_mlp(model, &(struct layout_mlp){.hidden = hidden, .hidden_count = 1, .activation = LAYER_RELU}, &err) != 0) {
        fail_msg("%s", err.text);
    }
    return model;
}

static void test_numbers_make_one_input(void **state)
{
    (void)state;
    struct model_feature features[] = {number("a", 1), number("b", 0), number("label", -3)};
    struct model *model = make(MODEL_MULTICLASS, features, 3, 4);
    size_t bytes = 0;
    Onnx__ModelProto *proto = saved(model, &bytes);
    assert_int_equal(proto->ir_version, 8);
    assert_int_equal(proto->opset_import[0]->version, 17);
    assert_string_equal(proto->doc_string, "words");
    assert_sound(proto->graph);
    assert_int_equal(proto->graph->n_input, 1);
    assert_string_equal(proto->graph->input[0]->name, "features");
    assert_int_equal(proto->graph->input[0]->type->tensor_type->elem_type,
                     ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT);
    assert_string_equal(proto->graph->input[0]->type->tensor_type->shape->dim[0]->dim_param, "N");
    assert_int_equal(proto->graph->input[0]->type->tensor_type->shape->dim[1]->dim_value, 3);
    assert_int_equal(proto->graph->n_output, 3);
    assert_string_equal(proto->metadata_props[2]->value, "[\"a\",\"b\",\"label\"]");
    onnx__model_proto__free_unpacked(proto, NULL);
    model_destroy(&model);
}

static void test_columns_make_an_input_each(void **state)
{
    (void)state;
    struct model_feature features[] = {category("features", 2), number("label", 1), number("x", 0),
                                       category("mlq/inputs", 1), category("column:label", 3)};
    struct model *model = make(MODEL_BINARY, features, 5, 2);
    size_t bytes = 0;
    Onnx__ModelProto *proto = saved(model, &bytes);
    static const char *const names[] = {"features", "column:label", "x", "column:mlq/inputs",
                                        "column:column:label"};
    assert_sound(proto->graph);
    assert_int_equal(proto->graph->n_input, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_string_equal(proto->graph->input[i]->name, names[i]);
    }
    onnx__model_proto__free_unpacked(proto, NULL);
    model_destroy(&model);
}

static void test_large_means_want_double(void **state)
{
    (void)state;
    struct model_feature features[] = {number("year", 1.7e9)};
    struct model *model = make(MODEL_REGRESSION, features, 1, 0);
    size_t bytes = 0;
    Onnx__ModelProto *proto = saved(model, &bytes);
    assert_sound(proto->graph);
    assert_int_equal(proto->graph->input[0]->type->tensor_type->elem_type,
                     ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE);
    assert_int_equal(proto->graph->n_output, 1);
    assert_string_equal(proto->graph->output[0]->name, "prediction");
    onnx__model_proto__free_unpacked(proto, NULL);
    model_destroy(&model);
}

static void test_a_folder_that_is_not_there(void **state)
{
    (void)state;
    struct model_feature features[] = {number("x", 0)};
    struct model *model = make(MODEL_REGRESSION, features, 1, 0);
    struct mlq_region *region = mlq_region_create();
    struct mlq_err err = MLQ_ERR_INIT;
    assert_int_equal(onnx_graph_save(onnx_model_build(model, region), "missing/model.onnx", &err),
                     MLQ_ENOENT);
    mlq_region_destroy(&region);
    model_destroy(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_make_one_input),
        cmocka_unit_test(test_columns_make_an_input_each),
        cmocka_unit_test(test_large_means_want_double),
        cmocka_unit_test(test_a_folder_that_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
