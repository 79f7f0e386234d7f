/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A model's file and its preprocessing.
 */
#include "tests/unit/cm.h"

#include <math.h>
#include <string.h>

#include "lib/artifact/safetensors.h"
#include "lib/base/ownership.h"
#include "lib/base/prng.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "worker/ml/layout.h"
#include "worker/ml/model.h"
#include "worker/ml/net.h"
#include "worker/ml/preprocess.h"

#define FILE_BYTES_MAX (1u << 20)

static const double ages[] = {10, 20, NAN, 30};
static const double constants[] = {7, 7, 7, 7};
static const int32_t cities[] = {2, 0, 2, -1};
static const char *const city_names[] = {"Lyon", "Nobody lives here", "Oslo"};

static const struct preprocess_column columns[] = {
    {.name = "age", .kind = MODEL_NUMBER, .numbers = ages},
    {.name = "constant", .kind = MODEL_NUMBER, .numbers = constants},
    {.name = "city",
     .kind = MODEL_CATEGORY,
     .codes = cities,
     .value_count = 3,
     .values = city_names},
};

static struct model *fitted_model(void)
{
    const uint32_t hidden = 3;
    struct model *model = model_create();
    model->task = MODEL_BINARY;
    model->target = mlq_strdup("answer \"quoted\" é");
    model->class_count = 2;
    model->classes = mlq_alloc_array(2, sizeof(char *));
    model->classes[0] = mlq_strdup("no");
    model->classes[1] = mlq_strdup("yes");
    assert_int_equal(preprocess_fit(model, columns, 3, 4, 2, NULL), 0);
    assert_int_equal(layout_mlp(model,
                                &(struct layout_mlp){
                                    .hidden = &hidden, .hidden_count = 1, .activation = LAYER_RELU},
                                NULL),
                     0);
    net_init_parameters(model, 11);
    return model;
}

/* ---- Preprocessing ---- */

static void fit_takes_means_deviations_and_seen_values(void **state)
{
    (void)state;
    struct model *model = fitted_model();
    const struct model_feature *age = &model->features[0], *city = &model->features[2];
    assert_true(age->fill == 20 && age->mean == 20);
    assert_true(fabs(age->scale - sqrt(200.0 / 4)) < 1e-12); /* the filled row is at the mean */
    assert_true(model->features[1].scale == 1);
    assert_int_equal(city->value_count, 2);
    assert_string_equal(city->values[0], "Lyon");
    assert_string_equal(city->values[1], "Oslo");
    assert_int_equal(city->fill_value, 1);
    assert_int_equal(city->offset, 2);
    assert_int_equal(model->input_count, 4);
    model_destroy(&model);
}

/* Rows that are packed and unpacked are the bits of those that are not. */
static void assert_same_when_packed(const struct model *model, const struct preprocess *bound,
                                    uint64_t row, uint32_t count)
{
    union preprocess_cell cells[8 * 4];
    float inputs[8 * 8] = {0}, unpacked[8 * 8] = {0};
    assert_int_equal(preprocess_rows(bound, row, count, inputs, NULL), 0);
    assert_int_equal(preprocess_pack(bound, row, count, cells, NULL), 0);
    for (size_t i = 0; i < count; i++) {
        preprocess_unpack(model, cells + i * model->feature_count,
                          unpacked + i * model->input_count);
    }
    assert_memory_equal(inputs, unpacked, count * model->input_count * sizeof(float));
}

/* Another table: other order, an extra column, another dictionary with a value that training never
 * saw. */
static void rows_of_another_table_become_inputs(void **state)
{
    (void)state;
    const double more_ages[] = {1e9, 40, NAN}, more[] = {7, 8, NAN};
    const int32_t codes[] = {1, 0, -1};
    const char *const names[] = {"Bergen", "Lyon"};
    const struct preprocess_column table[] = {
        {.name = "city", .kind = MODEL_CATEGORY, .codes = codes, .value_count = 2, .values = names},
        {.name = "extra", .kind = MODEL_NUMBER, .numbers = more},
        {.name = "constant", .kind = MODEL_NUMBER, .numbers = more},
        {.name = "age", .kind = MODEL_NUMBER, .numbers = more_ages},
    };
    struct model *model = fitted_model();
    struct preprocess *bound = NULL;
    assert_int_equal(preprocess_bind(model, table, 4, &bound, NULL), 0);
    float inputs[2 * 4];
    assert_int_equal(preprocess_rows(bound, 1, 2, inputs, NULL), 0);
    const float expected[] = {(float)(20 / sqrt(50)),
                              1,
                              0,
                              0, /* Bergen: unknown, all zeros */
                              0,
                              0,
                              0,
                              1}; /* missing: filled */
    for (size_t i = 0; i < MLQ_COUNT_OF(expected); i++) {
        assert_true(inputs[i] == expected[i]);
    }
    assert_same_when_packed(model, bound, 1, 2);
    preprocess_keep(model);
    assert_same_when_packed(model, bound, 1, 2);
    model->features[2].keeps_missing = false;
    model->features[2].embedded = true; /* of one input: the others are nobody's then */
    assert_same_when_packed(model, bound, 1, 2);
    preprocess_destroy(&bound);
    model_destroy(&model);
}

#define LONG_ROWS    1003u /* no whole number of lanes, pieces or blocks */
#define LONG_COLUMNS 5u

/* Against sums one after the other; 0.1 of the numbers is missing in the odd columns. */
static void assert_fits(const struct model_feature *feature, const double *numbers)
{
    double sum = 0, squares = 0;
    uint64_t present = 0;
    for (size_t i = 0; i < LONG_ROWS; i++) {
        sum += isnan(numbers[i]) ? 0 : numbers[i];
        present += isnan(numbers[i]) ? 0 : 1;
    }
    double mean = sum / (double)present;
    for (size_t i = 0; i < LONG_ROWS; i++) {
        squares += isnan(numbers[i]) ? 0 : (numbers[i] - mean) * (numbers[i] - mean);
    }
    assert_true(fabs(feature->mean - mean) < 1e-12);
    assert_true(feature->fill == feature->mean);
    assert_true(fabs(feature->scale - sqrt(squares / LONG_ROWS)) < 1e-12);
}

static void any_number_of_threads_fits_and_scales_the_same(void **state)
{
    (void)state;
    static double numbers[LONG_COLUMNS][LONG_ROWS];
    static float inputs[2][LONG_ROWS * LONG_COLUMNS];
    static const char *const names[LONG_COLUMNS] = {"a", "b", "c", "d", "e"};
    struct preprocess_column many[LONG_COLUMNS];
    struct mlq_prng prng;
    mlq_prng_seed(&prng, 7);
    for (size_t c = 0; c < LONG_COLUMNS; c++) {
        for (size_t i = 0; i < LONG_ROWS; i++) {
            numbers[c][i] = (double)mlq_prng_below(&prng, 1000) / 250;
            numbers[c][i] = c % 2 == 1 && mlq_prng_below(&prng, 10) == 0 ? (double)NAN : numbers[c][i];
        }
        many[c] = (struct preprocess_column){.name = names[c], .kind = MODEL_NUMBER, .numbers = numbers[c]};
    }
    for (unsigned t = 0; t < 2; t++) {
        struct model *model = model_create();
        struct preprocess *bound = NULL;
        assert_int_equal(preprocess_fit(model, many, LONG_COLUMNS, LONG_ROWS, 1 + 3 * t, NULL), 0);
        for (size_t c = 0; c < LONG_COLUMNS; c++) {
            assert_fits(&model->features[c], numbers[c]);
        }
        assert_int_equal(preprocess_bind(model, many, LONG_COLUMNS, &bound, NULL), 0);
        assert_int_equal(preprocess_rows(bound, 0, LONG_ROWS, inputs[t], NULL), 0);
        for (size_t i = 0; i < LONG_ROWS * LONG_COLUMNS; i++) {
            const struct model_feature *feature = &model->features[i % LONG_COLUMNS];
            double x = numbers[i % LONG_COLUMNS][i / LONG_COLUMNS];
            x = isnan(x) ? feature->fill : x;
            assert_true(inputs[t][i] == (float)((x - feature->mean) / feature->scale));
        }
        preprocess_destroy(&bound);
        model_destroy(&model);
    }
    assert_memory_equal(inputs[0], inputs[1], sizeof(inputs[0]));
}

static void tables_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    struct mlq_err err = MLQ_ERR_INIT;
    struct preprocess *bound = NULL;
    struct model *model = fitted_model();
    assert_int_equal(preprocess_bind(model, columns, 2, &bound, &err), MLQ_EINVAL);
    assert_non_null(strstr(err.text, "'city'"));
    struct preprocess_column changed[] = {columns[0], columns[1], columns[2]};
    changed[0] = columns[2];
    changed[0].name = "age";
    assert_int_equal(preprocess_bind(model, changed, 3, &bound, &err), MLQ_EINVAL);
    assert_non_null(strstr(err.text, "'age'"));
    const double infinite[] = {1, INFINITY, 3, 4};
    changed[0] = columns[0];
    changed[0].numbers = infinite;
    assert_int_equal(preprocess_bind(model, changed, 3, &bound, &err), 0);
    float inputs[4 * 4];
    assert_int_equal(preprocess_rows(bound, 0, 4, inputs, &err), MLQ_EINVAL);
    assert_non_null(strstr(err.text, "row 1"));
    union preprocess_cell cells[4 * 3];
    assert_int_equal(preprocess_pack(bound, 0, 4, cells, &err), MLQ_EINVAL);
    assert_non_null(strstr(err.text, "row 1"));
    preprocess_destroy(&bound);
    struct model *empty = model_create();
    assert_int_equal(preprocess_fit(empty, changed, 3, 4, 2, &err), MLQ_EINVAL);
    assert_string_equal(err.text, "column 'age', row 1: the value is infinite");
    model_destroy(&empty);
    empty = model_create();
    const double large[] = {1e308, 1e308, 3, 4};
    changed[0].numbers = large;
    assert_int_equal(preprocess_fit(empty, changed, 3, 4, 2, &err), MLQ_EINVAL);
    assert_string_equal(err.text, "column 'age': its values are too large to average");
    model_destroy(&empty);
    empty = model_create();
    const int32_t none[] = {-1, -1, -1, -1};
    changed[0] = columns[2];
    changed[0].codes = none;
    assert_int_equal(preprocess_fit(empty, changed, 1, 4, 2, &err), MLQ_EINVAL);
    assert_non_null(strstr(err.text, "no value"));
    model_destroy(&empty);
    model_destroy(&model);
}

/* ---- The file ---- */

static void a_saved_model_loads_with_the_same_bits(void **state)
{
    (void)state;
    struct model *model = fitted_model(), *loaded = NULL;
    model->features[0].fill = 0.1 + 0.2; /* needs all 17 digits */
    assert_int_equal(model_save(model, "a.safetensors", NULL), 0);
    assert_int_equal(model_load("a.safetensors", &loaded, NULL), 0);
    assert_string_equal(loaded->target, model->target);
    assert_int_equal(loaded->task, MODEL_BINARY);
    assert_string_equal(loaded->classes[1], "yes");
    assert_true(loaded->features[0].fill == model->features[0].fill);
    assert_true(loaded->features[0].scale == model->features[0].scale);
    assert_int_equal(loaded->features[2].fill_value, 1);
    assert_int_equal(loaded->input_count, 4);
    assert_int_equal(loaded->layer_count, 2);
    assert_int_equal(loaded->layers[0].activation, LAYER_RELU);
    assert_int_equal(loaded->parameter_count, model->parameter_count);
    assert_memory_equal(loaded->parameters, model->parameters,
                        model->parameter_count * sizeof(float));
    assert_int_equal(model_save(loaded, "b.safetensors", NULL), 0);
    char *a = NULL, *b = NULL;
    size_t a_len = 0, b_len = 0;
    assert_int_equal(mlq_fs_read("a.safetensors", FILE_BYTES_MAX, &a, &a_len, NULL), 0);
    assert_int_equal(mlq_fs_read("b.safetensors", FILE_BYTES_MAX, &b, &b_len, NULL), 0);
    assert_int_equal(a_len, b_len);
    assert_memory_equal(a, b, a_len);
    mlq_free(a);
    mlq_free(b);
    model_destroy(&model);
    model_destroy(&loaded);
}

#define REGRESSION_HEAD "{\"format\":\"mlq.model/1\",\"task\":\"regression\",\"target\":\"y\","
#define SCALES          "\"target_mean\":0,\"target_scale\":1,"
#define NUMBER_X                                                                                   \
    "\"features\":[{\"name\":\"x\",\"kind\":\"number\",\"fill\":0,\"mean\":0,\"scale\":1}],"
#define ONE_LAYER "\"layers\":[{\"inputs\":1,\"outputs\":1,\"activation\":\"identity\"}]}"

/* A file with one 1x1 layer and the given description. */
static int load_described(const char *description,
                          uint64_t columns_of_weight,
                          float weight,
                          struct mlq_err *err)
{
    const float weights[2] = {weight, 0}, bias[1] = {0};
    const struct safetensors_tensor tensors[] = {
        {.name = "layers.0.weight",
         .dtype = SAFETENSORS_F32,
         .rank = 2,
         .shape = {1, columns_of_weight},
         .data = weights,
         .bytes = 4 * columns_of_weight},
        {.name = "layers.0.bias",
         .dtype = SAFETENSORS_F32,
         .rank = 1,
         .shape = {1},
         .data = bias,
         .bytes = 4},
    };
    const char *metadata[] = {description == NULL ? "other" : MODEL_METADATA_KEY,
                              description == NULL ? "text" : description, NULL};
    assert_int_equal(safetensors_writer_save("hostile.safetensors", tensors, 2, metadata, NULL), 0);
    struct model *model = NULL;
    int rc = model_load("hostile.safetensors", &model, err);
    assert_true((rc == 0) == (model != NULL));
    model_destroy(&model);
    return rc;
}

static void hostile_descriptions_are_refused(void **state)
{
    (void)state;
    static const char *const hostile[] = {
        "",
        "[]",
        "{",
        REGRESSION_HEAD SCALES NUMBER_X "\"layers\":[]}",
        REGRESSION_HEAD SCALES "\"features\":[]," ONE_LAYER,
        REGRESSION_HEAD NUMBER_X ONE_LAYER,
        REGRESSION_HEAD "\"target_mean\":0,\"target_scale\":0," NUMBER_X ONE_LAYER,
        REGRESSION_HEAD SCALES NUMBER_X
        "\"layers\":[{\"inputs\":2,\"outputs\":1,\"activation\":\"identity\"}]}",
        REGRESSION_HEAD SCALES NUMBER_X
        "\"layers\":[{\"inputs\":1,\"outputs\":2,\"activation\":\"identity\"}]}",
        REGRESSION_HEAD SCALES NUMBER_X
        "\"layers\":[{\"inputs\":1,\"outputs\":1,\"activation\":\"cosh\"}]}",
        REGRESSION_HEAD SCALES NUMBER_X
        "\"layers\":[{\"inputs\":1,\"outputs\":1,\"activation\":\"identity\",\"from\":1}]}",
        REGRESSION_HEAD SCALES NUMBER_X
        "\"layers\":[{\"inputs\":1,\"outputs\":1,\"activation\":\"identity\",\"kind\":\"magic\"}]}",
        REGRESSION_HEAD SCALES NUMBER_X
        "\"layers\":[{\"inputs\":1,\"outputs\":3,\"activation\":\"relu\"},"
        "{\"inputs\":1,\"outputs\":1,\"activation\":\"identity\",\"from\":0}]}", /* a dead end */
        REGRESSION_HEAD SCALES NUMBER_X
        "\"layers\":[{\"inputs\":1,\"outputs\":-1,\"activation\":\"identity\"}]}",
        REGRESSION_HEAD SCALES
        "\"features\":[{\"name\":\"x\",\"kind\":\"number\",\"fill\":0,\"mean\":0,"
        "\"scale\":0}]," ONE_LAYER,
        REGRESSION_HEAD SCALES
        "\"features\":[{\"name\":\"x\",\"kind\":\"category\",\"values\":[\"a\"],"
        "\"fill\":\"b\"}]," ONE_LAYER,
        REGRESSION_HEAD SCALES "\"features\":[{\"name\":\"x\",\"kind\":\"category\",\"values\":[1],"
                               "\"fill\":\"b\"}]," ONE_LAYER,
        "{\"format\":\"mlq.model/"
        "1\",\"task\":\"binary\",\"target\":\"y\",\"classes\":[\"a\"]," NUMBER_X ONE_LAYER,
        "{\"format\":\"mlq.model/1\",\"task\":\"guess\",\"target\":\"y\"," NUMBER_X ONE_LAYER,
    };
    for (size_t i = 0; i < MLQ_COUNT_OF(hostile); i++) {
        struct mlq_err err = MLQ_ERR_INIT;
        if (load_described(hostile[i], 1, 1, &err) != MLQ_ECORRUPT) {
            fail_msg("description %zu gave: %s", i, err.text);
        }
        assert_non_null(strstr(err.text, "hostile.safetensors"));
    }
}

static void files_of_other_kinds_are_refused(void **state)
{
    (void)state;
    static const char good[] = REGRESSION_HEAD SCALES NUMBER_X ONE_LAYER;
    struct mlq_err err = MLQ_ERR_INIT;
    assert_int_equal(load_described(good, 1, 1, &err),
                     0); /* the refusals below are not for another reason */
    assert_int_equal(load_described(NULL, 1, 1, &err), MLQ_EINVAL);
    assert_int_equal(load_described("{\"format\":\"mlq.model/2\"}", 1, 1, &err), MLQ_EINVAL);
    assert_int_equal(load_described(good, 2, 1, &err), MLQ_ECORRUPT);
    assert_non_null(strstr(err.text, "layers.0.weight"));
    assert_int_equal(load_described(good, 1, (float)NAN, &err), MLQ_ECORRUPT);
    struct model *model = NULL;
    assert_int_equal(model_load("missing.safetensors", &model, &err), MLQ_ENOENT);
}

static void layers_over_the_limits_are_refused(void **state)
{
    (void)state;
    struct mlq_err err = MLQ_ERR_INIT;
    struct model *model = model_create();
    model->input_count = MODEL_INPUTS_MAX;
    const uint32_t wide = LAYER_UNITS_MAX, none = 0;
    uint32_t many[MODEL_LAYERS_MAX];
    for (size_t i = 0; i < MLQ_COUNT_OF(many); i++) {
        many[i] = 1;
    }
    assert_int_equal(layout_mlp(model,
                                &(struct layout_mlp){
                                    .hidden = &wide, .hidden_count = 1, .activation = LAYER_RELU},
                                &err),
                     MLQ_EFULL);
    model->input_count = 4;
    model->layer_count = 0;
    model->parameter_count = 0;
    assert_int_equal(layout_mlp(model,
                                &(struct layout_mlp){
                                    .hidden = &none, .hidden_count = 1, .activation = LAYER_RELU},
                                &err),
                     MLQ_EINVAL);
    model->layer_count = 0;
    model->parameter_count = 0;
    assert_int_equal(layout_mlp(model,
                                &(struct layout_mlp){.hidden = many,
                                                     .hidden_count = MODEL_LAYERS_MAX,
                                                     .activation = LAYER_RELU},
                                &err),
                     MLQ_EINVAL);
    model_destroy(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fit_takes_means_deviations_and_seen_values),
        cmocka_unit_test(rows_of_another_table_become_inputs),
        cmocka_unit_test(any_number_of_threads_fits_and_scales_the_same),
        cmocka_unit_test(tables_that_do_not_fit_are_refused),
        cmocka_unit_test(a_saved_model_loads_with_the_same_bits),
        cmocka_unit_test(hostile_descriptions_are_refused),
        cmocka_unit_test(files_of_other_kinds_are_refused),
        cmocka_unit_test(layers_over_the_limits_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
