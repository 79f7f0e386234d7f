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
#include "worker/ml/layer_norm.h"

#define TWO_PI       6.283185307179586476925286766559
#define ALIGN_FLOATS 16u                    /* a cache line */
#define LAYER_KEY    UINT64_C(0x6c61796572) /* "layer": apart from other uses of the same seed */

/* What a layer, and the value that it gives, have in the arena. NULL: not needed. */
struct slot {
    float *value;
    float *gradient; /* d(loss)/d(value) */
    float *input;    /* of the activation */
    float *kept;
};

struct net {
    const struct model *model;
    uint32_t shards;
    uint32_t rows; /* of each */
    struct net_batch batch;
    bool training;
    bool backward;
    struct slot slots[MODEL_LAYERS_MAX + 1]; /* [0] the inputs; [k + 1] layer k */
    bool written[MODEL_LAYERS_MAX + 1];      /* gradients of this pass that exist already */
    float *scratch;
    float *spare; /* a second gradient of one value, before it is added; */
    float *also_spare;
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
    size_t all = (size_t)net->shards * net->rows, scratch = 0, widest = 0;
    bool adds = false;
    net->slots[0].value = deal(dealer, all * model->input_count);
    for (uint32_t i = 0; i < model->layer_count; i++) {
        const struct layer *layer = &model->layers[i];
        const struct layer_ops *ops = layer_ops(layer->kind);
        struct slot *slot = &net->slots[i + 1];
        size_t count = all * layer_shape_count(layer->out);
        size_t in = all * layer_shape_count(layer->in);
        size_t own = ask(ops->scratch_floats, layer, net->rows);
        slot->value = deal(dealer, count);
        slot->kept = deal(dealer, net->shards * ask(ops->kept_floats, layer, net->rows));
        slot->input = deal(dealer, activation_keeps_input(layer->activation) ? count : 0);
        slot->gradient = deal(dealer, net->backward ? count : 0);
        scratch = own > scratch ? own : scratch;
        widest = in > widest ? in : widest;
        adds = adds || layer->kind == LAYER_ADD;
    }
    net->scratch = deal(dealer, scratch);
    net->spare = deal(dealer, net->backward ? widest : 0);
    net->also_spare = deal(dealer, net->backward && adds ? widest : 0);
}

static struct net *create(const struct net *options)
{
    MLQ_ASSERT(options->rows > 0 && options->shards > 0 && options->model->layer_count > 0);
    struct net *net = mlq_alloc(sizeof(*net));
    *net = *options;
    struct dealer dealer = {.base = NULL};
    deal_all(net, &dealer);
    net->arena = mlq_alloc_array(dealer.used, sizeof(float));
    dealer = (struct dealer){.base = net->arena};
    deal_all(net, &dealer);
    return net;
}

struct net *net_create(const struct model *model, uint32_t rows, bool backward)
{
    return create(
        &(struct net){.model = model, .shards = 1, .rows = rows, .backward = backward});
}

struct net *net_create_shards(const struct model *model, uint32_t shards, uint32_t rows)
{
    return create(
        &(struct net){.model = model, .shards = shards, .rows = rows, .backward = true});
}

uint64_t net_shard_floats(const struct model *model, uint32_t rows)
{
    struct net net = {.model = model, .shards = 1, .rows = rows, .backward = true};
    struct dealer dealer = {.base = NULL};
    deal_all(&net, &dealer);
    return dealer.used;
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

/* Shards that have a used row. */
static uint32_t filled(const struct net *net)
{
    return (net->batch.used + net->rows - 1) / net->rows;
}

static float *behind(float *values, size_t floats)
{
    return values == NULL ? NULL : values + floats;
}

/* One call of layer i, for `shards` from this one on. */
static struct layer_pass pass_of(const struct net *net, uint32_t i, uint32_t shard, uint32_t shards)
{
    const struct layer *layer = &net->model->layers[i];
    const struct layer_ops *ops = layer_ops(layer->kind);
    const struct slot *slot = &net->slots[i + 1];
    size_t row = (size_t)shard * net->rows, used = net->batch.used - row;
    return (struct layer_pass){
        .layer = layer,
        .shards = shards,
        .rows = net->rows,
        .used = used < net->rows ? (uint32_t)used : net->rows,
        .training = net->training,
        .key = mlq_hash_keyed(net->batch.key, i, LAYER_KEY),
        .samples = net->batch.samples == NULL ? NULL : net->batch.samples + row,
        .arena = net->model->parameters,
        .in = net->slots[layer->from].value + row * layer_shape_count(layer->in),
        .also = behind(net->slots[layer->also].value, row * layer_shape_count(layer->also_in)),
        .out = slot->value + row * layer_shape_count(layer->out),
        .kept = behind(slot->kept, shard * ask(ops->kept_floats, layer, net->rows)),
        .scratch = net->scratch,
    };
}

/* Layers that take all shards at once are called once, the others for each. */
static uint32_t shards_at_once(const struct net *net, uint32_t i)
{
    return layer_ops(net->model->layers[i].kind)->takes_all ? filled(net) : 1;
}

static const float *run(struct net *net)
{
    const struct model *model = net->model;
    MLQ_ASSERT(net->batch.used <= net->shards * net->rows);
    for (uint32_t i = 0; i < model->layer_count; i++) {
        const struct layer *layer = &model->layers[i];
        uint32_t step = shards_at_once(net, i);
        for (uint32_t shard = 0; shard < filled(net); shard += step) {
            struct layer_pass pass = pass_of(net, i, shard, step);
            size_t numbers = net->rows * layer_shape_count(layer->out);
            layer_ops(layer->kind)->forward(&pass);
            activation_forward(layer->activation, step * numbers, pass.out,
                               behind(net->slots[i + 1].input, shard * numbers));
        }
    }
    return net->slots[model->layer_count].value;
}

const float *net_forward(struct net *net, uint32_t used)
{
    net->batch = (struct net_batch){.used = used};
    net->training = false;
    return run(net);
}

const float *net_forward_training(struct net *net, const struct net_batch *batch)
{
    net->batch = *batch;
    net->training = true;
    return run(net);
}

/* Where a layer is to write the gradient of the value that it read. */
static float *gradient_target(const struct net *net, uint32_t value, float *spare)
{
    if (value == 0) {
        return NULL;
    }
    return net->written[value] ? spare : net->slots[value].gradient;
}

static void take_gradient(struct net *net, uint32_t value, const float *restrict more, size_t count)
{
    if (net->written[value] && more != NULL) {
        float *restrict to = net->slots[value].gradient;
        for (size_t i = 0; i < count; i++) {
            to[i] += more[i];
        }
    }
    net->written[value] = true;
}

static void fold_layer(const struct layer *layer, const struct tree_sums *sums, uint32_t shard)
{
    tree_fold(sums, shard, layer->weight_at, layer->weight_count);
    tree_fold(sums, shard, layer->bias_at, layer->bias_count);
    tree_fold(sums, shard, layer->state_at, layer->state_count);
}

static void fold_zeros(const struct layer *layer, const struct tree_sums *sums)
{
    tree_fold_zeros(sums, layer->weight_at, layer->weight_count);
    tree_fold_zeros(sums, layer->bias_at, layer->bias_count);
    tree_fold_zeros(sums, layer->state_at, layer->state_count);
}

/* What a layer adds to the gradients of the values that it read, of all shards. */
struct targets {
    float *in; /* NULL: nobody wants it */
    float *also;
};

static void backward_shards(struct net *net, uint32_t i, const struct tree_sums *sums,
                            struct targets targets)
{
    const struct layer *layer = &net->model->layers[i];
    const struct slot *slot = &net->slots[i + 1];
    bool takes_all = layer_ops(layer->kind)->takes_all;
    uint32_t step = shards_at_once(net, i);
    for (uint32_t shard = 0; shard < sums->filled; shard += step) {
        struct layer_pass pass = pass_of(net, i, shard, step);
        size_t row = (size_t)shard * net->rows, out_at = row * layer_shape_count(layer->out);
        activation_backward(layer->activation, step * net->rows * layer_shape_count(layer->out),
                            slot->value + out_at, behind(slot->input, out_at),
                            slot->gradient + out_at);
        pass.out_gradient = slot->gradient + out_at;
        pass.in_gradient = behind(targets.in, row * layer_shape_count(layer->in));
        pass.also_gradient = behind(targets.also, row * layer_shape_count(layer->also_in));
        pass.gradient = sums->places[sums->folds[shard].top];
        pass.sums = sums;
        layer_ops(layer->kind)->backward(&pass);
        if (!takes_all) {
            fold_layer(layer, sums, shard);
        }
    }
    if (!takes_all || sums->filled == 0) {
        fold_zeros(layer, sums);
    }
}

void net_backward_sums(struct net *net, const struct tree_sums *sums)
{
    const struct model *model = net->model;
    MLQ_ASSERT(net->backward && net->training && sums->shards <= net->shards);
    struct tree_sums known = *sums;
    known.filled = filled(net);
    memset(net->written, 0, sizeof(net->written));
    for (uint32_t i = model->layer_count; i-- > 0;) {
        const struct layer *layer = &model->layers[i];
        struct targets targets = {.in = gradient_target(net, layer->from, net->spare)};
        if (layer->kind == LAYER_ADD) {
            targets.also = gradient_target(net, layer->also, net->also_spare);
        }
        backward_shards(net, i, &known, targets);
        size_t count = (size_t)known.filled * net->rows * layer_shape_count(layer->in);
        take_gradient(net, layer->from, targets.in, count);
        if (layer->kind == LAYER_ADD) {
            take_gradient(net, layer->also, targets.also, count);
        }
    }
}

void net_backward(struct net *net, float *gradient)
{
    const struct tree_fold alone = {.top = 0, .to = 0};
    struct tree_sums sums = {.shards = 1, .folds = &alone, .left = 1, .places = {gradient}};
    net_backward_sums(net, &sums);
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
        const struct layer_ops *ops = layer_ops(layer->kind);
        if (ops->init != NULL) {
            ops->init(layer, model->parameters);
        } else if (layer->weight_count > 0) {
            init_weights(model, layer, seed); /* an embedding's tables, too */
            memset(model->parameters + layer->bias_at, 0, layer->bias_count * sizeof(float));
        }
    }
}

void net_move_state(const struct model *model, uint32_t samples, struct tree_rest gradient,
                    uint64_t begin, uint64_t end)
{
    struct tree_room room;
    for (uint32_t i = 0; i < model->layer_count; i++) {
        const struct layer *layer = &model->layers[i];
        uint64_t at = layer->state_at > begin ? layer->state_at : begin;
        uint64_t behind = layer->state_at + layer->state_count;
        behind = behind < end ? behind : end;
        for (uint64_t count; at < behind && layer->kind == LAYER_NORM; at += count) {
            count = behind - at < TREE_BLOCK_FLOATS ? behind - at : TREE_BLOCK_FLOATS;
            const float *sum = tree_finish_block(gradient, at, count, &room);
            layer_norm_move_state(model->parameters + at, sum, count, samples);
        }
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
