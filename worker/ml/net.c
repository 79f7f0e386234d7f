/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/net.h"

#include <math.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/base/prng.h"
#include "lib/sys/mem.h"
#include "worker/ml/activation.h"

#define TWO_PI       6.283185307179586476925286766559
#define ALIGN_FLOATS 16u /* a cache line */

/* What a layer, and the value that it gives, have in the arena. NULL: not needed. */
struct slot {
    float *value;
    float *gradient; /* d(loss)/d(value) */
    float *input;    /* of the activation */
    float *kept;
};

struct net {
    const struct model *model;
    uint32_t rows;
    uint32_t used;
    bool backward;
    struct slot slots[MODEL_LAYERS_MAX + 1]; /* [0] the inputs; [k + 1] layer k */
    bool written[MODEL_LAYERS_MAX + 1];      /* gradients of this pass that exist already */
    float *scratch;
    float *spare; /* a second gradient of one value, before it is added */
    float *arena;
};

/* ---- The arena: sized by a first walk, dealt by a second ---- */

struct dealer {
    float *base; /* NULL: only count */
    size_t used;
};

static float *deal(struct dealer *dealer, size_t floats)
{
    float *memory = dealer->base == NULL || floats == 0 ? NULL : dealer->base + dealer->used;
    dealer->used += (floats + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
    return memory;
}

static size_t
ask(size_t (*floats)(const struct layer *, uint32_t), const struct layer *layer, uint32_t rows)
{
    return floats == NULL ? 0 : floats(layer, rows);
}

static void deal_all(struct net *net, struct dealer *dealer)
{
    const struct model *model = net->model;
    size_t scratch = 0, widest = 0;
    net->slots[0].value = deal(dealer, (size_t)net->rows * model->input_count);
    for (uint32_t i = 0; i < model->layer_count; i++) {
        const struct layer *layer = &model->layers[i];
        const struct layer_ops *ops = layer_ops(layer->kind);
        struct slot *slot = &net->slots[i + 1];
        size_t count = net->rows * layer_shape_count(layer->out);
        size_t in = net->rows * layer_shape_count(layer->in);
        size_t own = ask(ops->scratch_floats, layer, net->rows);
        slot->value = deal(dealer, count);
        slot->kept = deal(dealer, ask(ops->kept_floats, layer, net->rows));
        slot->input = deal(dealer, activation_keeps_input(layer->activation) ? count : 0);
        slot->gradient = deal(dealer, net->backward ? count : 0);
        scratch = own > scratch ? own : scratch;
        widest = in > widest ? in : widest;
    }
    net->scratch = deal(dealer, scratch);
    net->spare = deal(dealer, net->backward ? widest : 0);
}

struct net *net_create(const struct model *model, uint32_t rows, bool backward)
{
    MLQ_ASSERT(rows > 0 && model->layer_count > 0);
    struct net *net = mlq_alloc(sizeof(*net));
    net->model = model;
    net->rows = rows;
    net->backward = backward;
    struct dealer dealer = {.base = NULL};
    deal_all(net, &dealer);
    net->arena = mlq_alloc_array(dealer.used, sizeof(float));
    dealer = (struct dealer){.base = net->arena};
    deal_all(net, &dealer);
    return net;
}

void net_destroy(struct net **net)
{
    if (*net == NULL) {
        return;
    }
    mlq_free((*net)->arena);
    mlq_free(*net);
    *net = NULL;
}

float *net_inputs(struct net *net)
{
    return net->slots[0].value;
}

float *net_output_gradient(struct net *net)
{
    return net->slots[net->model->layer_count].gradient;
}

/* ---- Passes ---- */

static struct layer_pass pass_of(const struct net *net, uint32_t i)
{
    const struct layer *layer = &net->model->layers[i];
    return (struct layer_pass){
        .layer = layer,
        .rows = net->rows,
        .used = net->used,
        .arena = net->model->parameters,
        .in = net->slots[layer->from].value,
        .out = net->slots[i + 1].value,
        .kept = net->slots[i + 1].kept,
        .scratch = net->scratch,
    };
}

const float *net_forward(struct net *net, uint32_t used)
{
    const struct model *model = net->model;
    MLQ_ASSERT(used <= net->rows);
    net->used = used;
    for (uint32_t i = 0; i < model->layer_count; i++) {
        const struct layer *layer = &model->layers[i];
        struct layer_pass pass = pass_of(net, i);
        layer_ops(layer->kind)->forward(&pass);
        activation_forward(layer->activation, net->rows * layer_shape_count(layer->out), pass.out,
                           net->slots[i + 1].input);
    }
    return net->slots[model->layer_count].value;
}

/* Where a layer is to write the gradient of the value that it read. */
static float *gradient_target(const struct net *net, uint32_t value)
{
    if (value == 0) {
        return NULL;
    }
    return net->written[value] ? net->spare : net->slots[value].gradient;
}

static void take_gradient(struct net *net, uint32_t value, const float *from, size_t count)
{
    if (from != NULL && from == net->spare) {
        float *restrict to = net->slots[value].gradient;
        const float *restrict more = net->spare;
        for (size_t i = 0; i < count; i++) {
            to[i] += more[i];
        }
    }
    net->written[value] = true;
}

void net_backward(struct net *net, float *gradient)
{
    const struct model *model = net->model;
    MLQ_ASSERT(net->backward);
    memset(net->written, 0, sizeof(net->written));
    for (uint32_t i = model->layer_count; i-- > 0;) {
        const struct layer *layer = &model->layers[i];
        struct slot *slot = &net->slots[i + 1];
        activation_backward(layer->activation, net->rows * layer_shape_count(layer->out),
                            slot->value, slot->input, slot->gradient);
        struct layer_pass pass = pass_of(net, i);
        pass.out_gradient = slot->gradient;
        pass.in_gradient = gradient_target(net, layer->from);
        pass.gradient = gradient;
        layer_ops(layer->kind)->backward(&pass);
        take_gradient(net, layer->from, pass.in_gradient, net->rows * layer_shape_count(layer->in));
    }
}

/* ---- Parameters ---- */

/* A standard normal number by Box and Muller's transform (1958), keyed by (seed, at). */
static double keyed_normal(uint64_t seed, uint64_t at)
{
    uint64_t first = mlq_hash_keyed(seed, at, 0);
    uint64_t second = mlq_hash_keyed(seed, at, 1);
    double u = ((double)(first >> 11) + 1.0) * 0x1.0p-53; /* in (0, 1] */
    double v = (double)(second >> 11) * 0x1.0p-53;
    return sqrt(-2.0 * log(u)) * cos(TWO_PI * v);
}

static void init_weights(struct model *model, const struct layer *layer, uint64_t seed)
{
    uint32_t fan_in = layer_ops(layer->kind)->fan_in(layer);
    bool half = layer->activation == LAYER_RELU || layer->activation == LAYER_GELU;
    double deviation = sqrt((half ? 2.0 : 1.0) / fan_in);
    for (uint64_t j = layer->weight_at; j < layer->weight_at + layer->weight_count; j++) {
        model->parameters[j] = (float)(deviation * keyed_normal(seed, j));
    }
}

void net_init_parameters(struct model *model, uint64_t seed)
{
    for (uint32_t i = 0; i < model->layer_count; i++) {
        const struct layer *layer = &model->layers[i];
        init_weights(model, layer, seed);
        memset(model->parameters + layer->bias_at, 0, layer->bias_count * sizeof(float));
    }
}

static bool is_finite(const float *values, uint64_t count)
{
    bool finite = true;
    for (uint64_t i = 0; i < count; i++) {
        finite = finite && isfinite(values[i]);
    }
    return finite;
}

int net_find_not_finite(const struct model *model, const float *values)
{
    for (uint32_t i = 0; i < model->layer_count; i++) {
        struct layer_tensor tensors[LAYER_TENSORS_MAX];
        uint32_t count = layer_tensors(&model->layers[i], tensors);
        for (uint32_t t = 0; t < count; t++) {
            if (!is_finite(values + tensors[t].at, tensors[t].count)) {
                return (int)i;
            }
        }
    }
    return -1;
}
