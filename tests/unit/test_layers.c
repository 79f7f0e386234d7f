/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Each kind of layer against PyTorch (tests/golden/make_layers.py), and against differences of the
 * plain definition in double.
 */
#include "tests/unit/cm.h"

#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "lib/artifact/safetensors.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "tests/unit/ml_double.h"
#include "worker/ml/augment.h"
#include "worker/ml/layer_norm.h"
#include "worker/ml/loss.h"
#include "worker/ml/model.h"
#include "worker/ml/net.h"
#include "worker/ml/preprocess.h"

#define CASES_MIN   15
#define TENSORS_MAX 64
#define PADDING     2u /* rows behind the used ones */
#define CLASSES     3u

/* One golden file: the model as loaded from a model.safetensors made of it, and one pass over it.
 */
struct golden {
    const char *file;
    json_t *json;
    struct model *model;
    uint32_t rows;
    float *inputs;
    uint32_t *labels;
    float *outputs;
    float *gradient;
    double loss;
};

static float *read_floats(const json_t *array, size_t expected)
{
    assert_int_equal(json_array_size(array), expected);
    float *values = mlq_alloc_array(expected, sizeof(float));
    for (size_t i = 0; i < expected; i++) {
        values[i] = (float)json_number_value(json_array_get(array, i));
    }
    return values;
}

/* As a file, so that names, shapes and the description are those that training writes. */
static struct model *load_model(const json_t *json)
{
    struct safetensors_tensor tensors[TENSORS_MAX];
    size_t count = 0;
    const char *name;
    json_t *tensor;
    json_object_foreach(json_object_get(json, "tensors"), name, tensor)
    {
        const json_t *shape = json_object_get(tensor, "shape");
        struct safetensors_tensor *t = &tensors[count++];
        *t = (struct safetensors_tensor){
            .name = name, .dtype = SAFETENSORS_F32, .rank = (uint32_t)json_array_size(shape)};
        uint64_t numbers = 1;
        for (uint32_t i = 0; i < t->rank; i++) {
            t->shape[i] = (uint64_t)json_integer_value(json_array_get(shape, i));
            numbers *= t->shape[i];
        }
        t->data = read_floats(json_object_get(tensor, "data"), numbers);
        t->bytes = numbers * sizeof(float);
    }
    char *text = json_dumps(json_object_get(json, "model"), JSON_COMPACT);
    const char *metadata[] = {MODEL_METADATA_KEY, text, NULL};
    struct mlq_err err = MLQ_ERR_INIT;
    struct model *model = NULL;
    assert_int_equal(safetensors_writer_save("golden.safetensors", tensors, count, metadata, &err), 0);
    if (model_load("golden.safetensors", &model, &err) != 0) {
        fail_msg("%s", err.text);
    }
    for (size_t i = 0; i < count; i++) {
        mlq_free((void *)(uintptr_t)tensors[i].data);
    }
    free(text);
    return model;
}

/* Forward, loss and backward in float; what is in padding rows must not matter. */
static void run_pass(struct golden *g)
{
    size_t width = g->model->input_count;
    struct net *net = net_create(g->model, g->rows + PADDING, true);
    memcpy(net_inputs(net), g->inputs, g->rows * width * sizeof(float));
    for (size_t i = 0; i < PADDING * width; i++) {
        net_inputs(net)[g->rows * width + i] = (float)(i % 7);
    }
    uint32_t samples[64] = {0};
    struct net_batch batch = {.used = g->rows, .samples = samples};
    const float *outputs = net_forward_training(net, &batch);
    struct loss_shape shape = {
        .rows = g->rows, .rows_padded = g->rows + PADDING, .outputs = CLASSES};
    const struct loss loss = {.kind = LOSS_CROSS_ENTROPY};
    struct loss_truth truth = {.labels = g->labels};
    g->loss = loss_compute(&loss, shape, outputs, truth, 1.0f / (float)g->rows,
                           net_output_gradient(net)) /
              g->rows;
    g->outputs = mlq_alloc_array(g->rows * CLASSES, sizeof(float));
    memcpy(g->outputs, outputs, g->rows * CLASSES * sizeof(float));
    g->gradient = mlq_alloc_array(g->model->arena_count, sizeof(float));
    memset(g->gradient, 0x7f, g->model->arena_count * sizeof(float)); /* it must be overwritten */
    net_backward(net, g->gradient);
    net_destroy(&net);
}

static struct golden open_golden(const char *folder, const char *file)
{
    char *path = mlq_fs_join(folder, file);
    struct golden g = {.file = file, .json = json_load_file(path, 0, NULL)};
    mlq_free(path);
    assert_non_null(g.json);
    g.rows = (uint32_t)json_integer_value(json_object_get(g.json, "rows"));
    g.model = load_model(g.json);
    g.inputs = read_floats(json_object_get(g.json, "inputs"), g.rows * g.model->input_count);
    g.labels = mlq_alloc_array(g.rows, sizeof(uint32_t));
    for (uint32_t i = 0; i < g.rows; i++) {
        const json_t *label = json_array_get(json_object_get(g.json, "labels"), i);
        g.labels[i] = (uint32_t)json_integer_value(label);
    }
    run_pass(&g);
    return g;
}

static void close_golden(struct golden *g)
{
    json_decref(g->json);
    model_destroy(&g->model);
    mlq_free(g->inputs);
    mlq_free(g->labels);
    mlq_free(g->outputs);
    mlq_free(g->gradient);
}

static void each_golden(void (*check)(struct golden *g))
{
    char *folder = mlq_format("%s/tests/golden/layers", getenv("MLQ_SOURCE_DIR"));
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    int cases = 0;
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (strstr(entry->d_name, ".json") != NULL) {
            struct golden g = open_golden(folder, entry->d_name);
            check(&g);
            close_golden(&g);
            cases++;
        }
    }
    (void)closedir(dir);
    mlq_free(folder);
    assert_true(cases >= CASES_MIN);
}

/* ---- Against PyTorch ---- */

static void
compare(const struct golden *g, const char *what, const json_t *wanted, const float *got)
{
    for (size_t i = 0; i < json_array_size(wanted); i++) {
        double expected = json_number_value(json_array_get(wanted, i));
        if (!(fabs((double)got[i] - expected) <= 3e-6 + 2e-5 * fabs(expected))) {
            fail_msg("%s: %s[%zu] is %.9g, PyTorch says %.9g", g->file, what, i, (double)got[i],
                     expected);
        }
    }
}

static void check_against_pytorch(struct golden *g)
{
    const json_t *gradients = json_object_get(g->json, "gradients");
    const json_t *state = json_object_get(g->json, "state");
    size_t compared = 0;
    compare(g, "outputs", json_object_get(g->json, "outputs"), g->outputs);
    assert_true(fabs(g->loss - json_number_value(json_object_get(g->json, "loss"))) < 1e-6);
    const struct tree_view whole = {.values = g->gradient};
    struct tree_rest rest = {.views = &whole, .count = 1};
    uint64_t middle = g->model->parameter_count + 1; /* in the middle of a layer's state */
    net_move_state(g->model, g->rows, rest, middle, g->model->arena_count);
    net_move_state(g->model, g->rows, rest, 0, middle);
    for (uint32_t i = 0; i < g->model->layer_count; i++) {
        struct layer_tensor tensors[LAYER_TENSORS_MAX];
        uint32_t count = layer_tensors(&g->model->layers[i], tensors);
        for (uint32_t t = 0; t < count; t++) {
            char name[64];
            (void)snprintf(name, sizeof(name), "layers.%u.%s", i, tensors[t].part);
            const json_t *gradient = json_object_get(gradients, name);
            const float *got = gradient == NULL ? g->model->parameters : g->gradient;
            compare(g, name, gradient == NULL ? json_object_get(state, name) : gradient,
                    got + tensors[t].at);
            compared++;
        }
    }
    assert_int_equal(compared, json_object_size(gradients) + json_object_size(state));
}

static void layers_compute_what_pytorch_does(void **state)
{
    (void)state;
    each_golden(check_against_pytorch);
}

/* ---- Against differences of the definition, in double ---- */

struct reference {
    const struct model *model;
    uint32_t rows;
    double *arena;
    double *values[MODEL_LAYERS_MAX + 1];
};

static size_t place(struct layer_shape s, uint32_t row, uint32_t y, uint32_t x, uint32_t c)
{
    return (((size_t)row * s.height + y) * s.width + x) * s.channels + c;
}

/* One number of a layer with windows: conv, depthwise, pools. */
static double
window_value(const struct reference *r, const struct layer *l, uint32_t row, uint32_t at)
{
    const double *in = r->values[l->from], *weight = r->arena + l->weight_at;
    uint32_t c = at % l->out.channels, x = at / l->out.channels % l->out.width;
    uint32_t y = at / l->out.channels / l->out.width, window = l->kernel_height * l->kernel_width;
    double sum = l->bias_count > 0 ? r->arena[l->bias_at + c] : 0, largest = -INFINITY;
    for (uint32_t k = 0; k < window; k++) {
        int64_t iy = (int64_t)y * l->stride + k / l->kernel_width - l->padding;
        int64_t ix = (int64_t)x * l->stride + k % l->kernel_width - l->padding;
        if (iy < 0 || ix < 0 || iy >= l->in.height || ix >= l->in.width) {
            continue;
        }
        for (uint32_t i = 0; i < (l->kind == LAYER_CONV ? l->in.channels : 1); i++) {
            uint32_t channel = l->kind == LAYER_CONV ? i : c;
            double value = in[place(l->in, row, (uint32_t)iy, (uint32_t)ix, channel)];
            double factor = l->kind == LAYER_CONV
                                ? weight[((size_t)c * window + k) * l->in.channels + i]
                            : l->kind == LAYER_DEPTHWISE ? weight[k * l->in.channels + c]
                                                         : 1.0 / window;
            sum += factor * value;
            largest = value > largest ? value : largest;
        }
    }
    return l->kind == LAYER_MAX_POOL ? largest : sum;
}

static double
dense_value(const struct reference *r, const struct layer *l, uint32_t row, uint32_t at)
{
    size_t inputs = layer_shape_count(l->in);
    double sum = r->arena[l->bias_at + at];
    for (size_t i = 0; i < inputs; i++) {
        sum += r->values[l->from][row * inputs + i] * r->arena[l->weight_at + at * inputs + i];
    }
    return sum;
}

/* The statistics of a channel are taken anew for each number: slow, and plain to see. */
static double
norm_value(const struct reference *r, const struct layer *l, uint32_t row, uint32_t at)
{
    const double *in = r->values[l->from];
    uint32_t channels = l->in.channels, c = at % channels;
    size_t count = layer_shape_count(l->in), places = r->rows * count / channels;
    double mean = 0, variance = 0;
    for (size_t i = 0; i < places; i++) {
        mean += in[i * channels + c] / (double)places;
    }
    for (size_t i = 0; i < places; i++) {
        double x = in[i * channels + c] - mean;
        variance += x * x / (double)places;
    }
    return (in[row * count + at] - mean) / sqrt(variance + (double)LAYER_NORM_EPSILON) *
               r->arena[l->weight_at + c] +
           r->arena[l->bias_at + c];
}

static double
embedded_value(const struct reference *r, const struct layer *l, uint32_t row, uint32_t at)
{
    uint32_t in = 0, out = 0, table = 0, i = 0;
    for (; at >= out + (l->spans[i].values == 0 ? l->spans[i].inputs : l->width); i++) {
        out += l->spans[i].values == 0 ? l->spans[i].inputs : l->width;
        in += l->spans[i].inputs;
        table += l->spans[i].values;
    }
    const double *x = r->values[0] + (size_t)row * l->in.channels + in;
    if (l->spans[i].values == 0) {
        return x[at - out];
    }
    return *x < 0 ? 0 : r->arena[l->weight_at + (table + (size_t)*x) * l->width + at - out];
}

static double value_of(const struct reference *r, const struct layer *l, uint32_t row, uint32_t at)
{
    size_t count = layer_shape_count(l->out);
    switch (l->kind) {
    case LAYER_DENSE:
        return dense_value(r, l, row, at);
    case LAYER_CONV:
    case LAYER_DEPTHWISE:
    case LAYER_MAX_POOL:
    case LAYER_AVERAGE_POOL:
        return window_value(r, l, row, at);
    case LAYER_NORM:
        return norm_value(r, l, row, at);
    case LAYER_ADD:
        return r->values[l->from][row * count + at] + r->values[l->also][row * count + at];
    case LAYER_EMBEDDING:
        return embedded_value(r, l, row, at);
    case LAYER_DROPOUT:
        break; /* has a test of its own */
    }
    fail_msg("a kind without a definition");
    return 0;
}

static double reference_loss(const struct reference *r, const uint32_t *labels)
{
    for (uint32_t k = 0; k < r->model->layer_count; k++) {
        const struct layer *layer = &r->model->layers[k];
        uint32_t count = (uint32_t)layer_shape_count(layer->out);
        for (uint32_t row = 0; row < r->rows; row++) {
            for (uint32_t at = 0; at < count; at++) {
                r->values[k + 1][row * count + at] =
                    ml_double_activate(layer->activation, value_of(r, layer, row, at));
            }
        }
    }
    const double *z = r->values[r->model->layer_count];
    double total = 0;
    for (uint32_t row = 0; row < r->rows; row++) {
        double sum = 0;
        for (uint32_t j = 0; j < CLASSES; j++) {
            sum += exp(z[row * CLASSES + j]);
        }
        total += log(sum) - z[row * CLASSES + labels[row]];
    }
    return total / r->rows;
}

static void check_against_differences(struct golden *g)
{
    struct reference r = {.model = g->model, .rows = g->rows};
    r.arena = mlq_alloc_array(g->model->arena_count, sizeof(double));
    r.values[0] = mlq_alloc_array(g->rows * g->model->input_count, sizeof(double));
    for (size_t i = 0; i < g->rows * g->model->input_count; i++) {
        r.values[0][i] = (double)g->inputs[i];
    }
    for (uint32_t k = 0; k < g->model->layer_count; k++) {
        size_t count = layer_shape_count(g->model->layers[k].out);
        r.values[k + 1] = mlq_alloc_array(g->rows * count, sizeof(double));
    }
    for (uint64_t i = 0; i < g->model->arena_count; i++) {
        r.arena[i] = (double)g->model->parameters[i];
    }
    assert_true(fabs(reference_loss(&r, g->labels) - g->loss) < 1e-6);
    for (uint64_t i = 0; i < g->model->parameter_count; i++) {
        double h = 1e-6, was = r.arena[i];
        r.arena[i] = was + h;
        double slope = reference_loss(&r, g->labels);
        r.arena[i] = was - h;
        slope = (slope - reference_loss(&r, g->labels)) / (2 * h);
        r.arena[i] = was;
        if (!(fabs(slope - (double)g->gradient[i]) <= 1e-5 + 1e-4 * fabs(slope))) {
            fail_msg("%s: parameter %lu: gradient %g, difference %g", g->file, (unsigned long)i,
                     (double)g->gradient[i], slope);
        }
    }
    for (uint32_t k = 0; k <= g->model->layer_count; k++) {
        mlq_free(r.values[k]);
    }
    mlq_free(r.arena);
}

static void gradients_equal_differences(void **state)
{
    (void)state;
    each_golden(check_against_differences);
}

/* ---- Dropout: a linear map by a mask ---- */

#define WIDTH 501u /* no multiple of four */

static void mask_of(double rate, uint64_t key, const uint32_t samples[2], float mask[2 * WIDTH])
{
    struct layer layer = {.kind = LAYER_DROPOUT, .in = {1, 1, WIDTH}, .rate = rate};
    float ones[3 * WIDTH], out[3 * WIDTH], back[3 * WIDTH];
    for (size_t i = 0; i < 3 * WIDTH; i++) {
        ones[i] = 1;
    }
    const struct layer_ops *ops = layer_ops(LAYER_DROPOUT);
    assert_int_equal(ops->shape(&layer, NULL), 0);
    struct layer_pass pass = {.layer = &layer,
                              .rows = 3,
                              .used = 2,
                              .training = true,
                              .key = key,
                              .samples = samples,
                              .in = ones,
                              .out = out,
                              .out_gradient = ones,
                              .in_gradient = back};
    ops->forward(&pass);
    ops->backward(&pass);
    assert_memory_equal(out, back, sizeof(out)); /* the gradient of x * mask is the mask */
    for (size_t i = 2 * WIDTH; i < 3 * WIDTH; i++) {
        assert_true(out[i] == 0); /* padding */
    }
    memcpy(mask, out, 2 * WIDTH * sizeof(float));
    pass.training = false;
    ops->forward(&pass);
    assert_memory_equal(out, ones, sizeof(out));
}

static void dropout_depends_on_the_sample_alone(void **state)
{
    (void)state;
    float mask[2 * WIDTH], other[2 * WIDTH];
    double sum = 0;
    mask_of(0.25, 7, (const uint32_t[]){40, 41}, mask);
    for (size_t i = 0; i < 2 * WIDTH; i++) {
        assert_true(mask[i] == 0 || fabsf(mask[i] - 4.0f / 3) < 1e-6f);
        sum += (double)mask[i];
    }
    assert_true(fabs(sum / (2 * WIDTH) - 1) < 0.06);     /* four deviations */
    mask_of(0.25, 7, (const uint32_t[]){41, 40}, other); /* in another row, of another shard */
    assert_memory_equal(mask, other + WIDTH, WIDTH * sizeof(float));
    assert_memory_equal(mask + WIDTH, other, WIDTH * sizeof(float));
    assert_memory_not_equal(mask, mask + WIDTH, WIDTH * sizeof(float));
    mask_of(0.25, 8, (const uint32_t[]){40, 41}, other); /* another epoch or layer */
    assert_memory_not_equal(mask, other, WIDTH * sizeof(float));
    mask_of(0, 8, (const uint32_t[]){40, 41}, other);
    for (size_t i = 0; i < 2 * WIDTH; i++) {
        assert_true(other[i] == 1);
    }
}

/* ---- Augmentation ---- */

/* The image of one sample under a key. */
static void augmented(struct augment augment, uint64_t key, uint32_t sample, float to[24])
{
    static const struct layer_shape image = {.height = 3, .width = 4, .channels = 2};
    float from[24];
    for (size_t i = 0; i < 24; i++) {
        from[i] = (float)(i + 1);
    }
    augment_image(&augment, image, key, sample, from, to);
}

static void images_are_changed_by_seed_epoch_and_sample(void **state)
{
    (void)state;
    float same[24], image[24], again[24];
    bool seen[2] = {false}, moved[3] = {false};
    augmented((struct augment){.crop = 0}, 1, 1, same);
    for (uint32_t sample = 0; sample < 64; sample++) {
        augmented((struct augment){.flip = true}, 5, sample, image);
        bool flipped = image[0] != same[0];
        for (size_t i = 0; i < 24; i++) {
            size_t line = i / 8, x = i / 2 % 4, c = i % 2;
            assert_true(image[i] == same[flipped ? line * 8 + (3 - x) * 2 + c : i]);
        }
        seen[flipped] = true;
        augmented((struct augment){.crop = 1}, 5, sample, image);
        float middle = image[(1 * 4 + 1) * 2]; /* from inside: line 0 to 2, place 0 to 2 */
        assert_true(middle >= 1);
        size_t source = (size_t)(middle - 1) / 2;
        assert_true(source / 4 <= 2 && source % 4 <= 2);
        moved[source / 4] = true;
        augmented((struct augment){.crop = 1}, 5, sample, again);
        assert_memory_equal(image, again, sizeof(image));
    }
    assert_true(seen[0] && seen[1] && moved[0] && moved[1] && moved[2]);
}

static void pixels_share_the_scale_of_their_channel(void **state)
{
    (void)state;
    const double a[] = {0, 2}, b[] = {10, 20}, c[] = {4, 6}, d[] = {30, 40};
    const struct preprocess_column columns[] = {{.name = "a", .numbers = a},
                                                {.name = "b", .numbers = b},
                                                {.name = "c", .numbers = c},
                                                {.name = "d", .numbers = d}};
    struct model *model = model_create();
    assert_int_equal(preprocess_fit(model, columns, 4, 2, 2, NULL), 0);
    preprocess_share_channels(model, columns, 2, 2);
    assert_true(model->features[0].mean == 3 && model->features[2].mean == 3);
    assert_true(model->features[1].mean == 25 && model->features[3].mean == 25);
    assert_true(fabs(model->features[2].scale - sqrt((9 + 1 + 1 + 9) / 4.0)) < 1e-12);
    assert_true(fabs(model->features[1].scale - sqrt((225 + 25 + 25 + 225) / 4.0)) < 1e-12);
    model_destroy(&model);
}

/* ---- What does not fit ---- */

static void layers_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    static const struct {
        struct layer layer;
        const char *text;
    } cases[] = {
        {{.kind = LAYER_CONV,
          .kernel_height = 7,
          .kernel_width = 3,
          .stride = 1,
          .out = {.channels = 2}},
         "layer 0 (conv): a window of 7 x 3 does not fit an image of 5 x 4"},
        {{.kind = LAYER_CONV, .kernel_height = 3, .kernel_width = 3, .out = {.channels = 2}},
         "a stride of 0"},
        {{.kind = LAYER_CONV, .kernel_height = 3, .kernel_width = 3, .stride = 1}, "0 channels"},
        {{.kind = LAYER_CONV,
          .kernel_height = 3,
          .kernel_width = 3,
          .stride = 1,
          .padding = 3,
          .out = {.channels = 2}},
         "a padding of 3"},
        {{.kind = LAYER_MAX_POOL, .kernel_height = 2, .kernel_width = 2, .stride = 2, .padding = 1},
         "pools take none"},
        {{.kind = LAYER_DROPOUT, .rate = 1.5}, "a rate of 1.5"},
        {{.kind = LAYER_ADD}, "adds value 0 to itself"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mlq_err err = MLQ_ERR_INIT;
        struct model *model = model_create();
        model->input_count = 40;
        model->image = (struct layer_shape){.height = 5, .width = 4, .channels = 2};
        assert_int_equal(model_append(model, cases[i].layer, &err), MLQ_EINVAL);
        if (strstr(err.text, cases[i].text) == NULL) {
            fail_msg("%s, not: %s", err.text, cases[i].text);
        }
        model_destroy(&model);
    }
    struct mlq_err err = MLQ_ERR_INIT;
    struct model *model = model_create();
    model->input_count = 41;
    model->image = (struct layer_shape){.height = 5, .width = 4, .channels = 2};
    struct layer dense = {.kind = LAYER_DENSE, .out = {.channels = 2}};
    assert_int_equal(model_append(model, dense, &err), MLQ_EINVAL);
    assert_non_null(strstr(err.text, "an image of 5 x 4 x 2 has 40 numbers, but a row has 41"));
    model->input_count = 40;
    assert_int_equal(model_append(model, dense, &err), 0);
    struct layer add = {.kind = LAYER_ADD, .from = 1};
    assert_int_equal(model_append(model, add, &err), MLQ_EINVAL);
    assert_non_null(strstr(err.text, "1 x 1 x 2 and 5 x 4 x 2 cannot be added"));
    model_destroy(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_compute_what_pytorch_does),
        cmocka_unit_test(gradients_equal_differences),
        cmocka_unit_test(dropout_depends_on_the_sample_alone),
        cmocka_unit_test(images_are_changed_by_seed_epoch_and_sample),
        cmocka_unit_test(pixels_share_the_scale_of_their_channel),
        cmocka_unit_test(layers_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
