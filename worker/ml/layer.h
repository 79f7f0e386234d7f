/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The static graph: what a layer is, and what its kernels must do.
 *
 * A network is a list of layers over numbered values. Value 0 is the input, value k + 1 is what
 * layer k gives; a layer reads values below its own only, so the list is an order of execution.
 * Shapes are known before the first row. A value is [rows][height][width][channels], channels last,
 * so that a product of matrices gives it directly; a flat value is 1 x 1 x units.
 *
 * All numbers of a network lie in one arena: first the parameters of all layers, which an optimizer
 * moves, then their state (running statistics), which it does not. A gradient has the arena's
 * layout; in the places of the state it carries what the state is to be moved by (see
 * LAYER_NORM), so that statistics travel and are added exactly as gradients are.
 *
 * The rules that make results reproducible, for every kernel (ops of this file):
 *   - which library calls it makes, with which sizes, depends on the layer and on `rows` alone;
 *   - it overwrites its results and accumulates in nothing that was there (beta = 0);
 *   - sums are taken in a fixed order; nothing depends on a rank, a thread, an address or a clock;
 *   - rows from `used` on are padding: finite, and without influence on any gradient or statistic;
 *   - a NaN comes through to the outputs, so that the loss shows it.
 */
#ifndef MLQ_ML_LAYER_H
#define MLQ_ML_LAYER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "worker/ml/tree.h"

#define LAYER_UNITS_MAX   65536u     /* of one dense layer; channels of an image */
#define LAYER_VALUES_MAX  (1u << 24) /* numbers in one row of a value */
#define LAYER_TENSORS_MAX 4u

enum layer_kind {
    LAYER_DENSE,        /* in * transpose(weight) + bias; weight [outputs][inputs] */
    LAYER_CONV,         /* layer_conv.h */
    LAYER_DEPTHWISE,    /* layer_depthwise.h */
    LAYER_NORM,         /* layer_norm.h: batch normalisation per shard */
    LAYER_MAX_POOL,     /* layer_pool.h */
    LAYER_AVERAGE_POOL, /* layer_pool.h */
    LAYER_ADD,          /* layer_add.h: the only kind that reads two values */
    LAYER_DROPOUT,      /* layer_dropout.h */
    LAYER_EMBEDDING,    /* layer_embedding.h: of categories, the first layer */
};
#define LAYER_KINDS 9

/* Applied to what the layer gives. */
enum layer_activation {
    LAYER_IDENTITY,
    LAYER_RELU,
    LAYER_GELU, /* x * Phi(x), exact (Hendrycks and Gimpel 2016), not the tanh approximation */
    LAYER_TANH,
};
#define LAYER_ACTIVATIONS 4

struct layer_shape {
    uint32_t height;
    uint32_t width;
    uint32_t channels;
};

/* A feature's part of the inputs. */
struct layer_span {
    uint32_t inputs;
    uint32_t values; /* of an embedded category, which is one input; 0: the inputs pass */
};

struct layer {
    enum layer_kind kind;
    enum layer_activation activation;
    uint32_t from;          /* the value that it reads */
    uint32_t also;          /* LAYER_ADD: the other */
    uint32_t kernel_height; /* windows: CONV, DEPTHWISE, pools */
    uint32_t kernel_width;
    uint32_t stride;
    uint32_t padding; /* zeros on each side; 0 for pools */
    bool no_bias;     /* CONV, DEPTHWISE: a norm that follows would take it off again */
    double rate;      /* DROPOUT */
    uint32_t width;   /* EMBEDDING: numbers of a value's vector */

    const struct layer_span *spans; /* EMBEDDING: the model's */
    uint32_t span_count;
    struct layer_shape in; /* found when it is appended */
    struct layer_shape also_in;
    struct layer_shape out;
    uint64_t weight_at; /* places in the arena, in floats */
    uint64_t weight_count;
    uint64_t bias_at;
    uint64_t bias_count;
    uint64_t state_at;
    uint64_t state_count;
};

/* One call of one layer. Forward reads `in` and writes `out` and `kept`; backward reads all three
 * and `out_gradient`, and writes `in_gradient` and `also_gradient` (unless NULL: nobody wants it)
 * and this layer's part of `gradient`. `out` holds activated numbers in backward, and
 * `out_gradient` is already that of the numbers before the activation. */
struct layer_pass {
    const struct layer *layer;
    uint32_t shards; /* whose rows lie behind one another: 1, but for layers that take all at once */
    uint32_t rows;   /* of a shard */
    uint32_t used;   /* of one shard's; of several: of the last one's */
    bool training;           /* else as in use: no dropout, running statistics */
    uint64_t key;            /* training: of (seed, epoch, layer) */
    const uint32_t *samples; /* training: [used], which sample of the data each row is */
    const float *arena;
    const float *in;
    const float *also;
    float *out;
    float *kept;    /* kept_floats(), from forward to backward */
    float *scratch; /* scratch_floats(), for one call */
    const float *out_gradient;
    float *in_gradient;
    float *also_gradient;
    float *gradient; /* of one shard; for layers that take all at once: */
    const struct tree_sums *sums; /* the arena's layout, too */
};

struct layer_ops {
    const char *name; /* in files and messages */
    /* From `in` and the options to `out` and the counts. Refuses what does not fit. */
    int (*shape)(struct layer *layer, struct mlq_err *err);
    size_t (*kept_floats)(const struct layer *layer, uint32_t rows);    /* NULL: none */
    size_t (*scratch_floats)(const struct layer *layer, uint32_t rows); /* NULL: none */
    /* The first weights: units that feed one unit, for their variance; or else what they are. */
    uint32_t (*fan_in)(const struct layer *layer);
    void (*init)(const struct layer *layer, float *arena); /* NULL: drawn, bias zero */
    bool takes_all; /* shards at once, which is quicker where a shard alone is thin; backward folds */
    void (*forward)(const struct layer_pass *pass);
    void (*backward)(const struct layer_pass *pass);
};

const struct layer_ops *layer_ops(enum layer_kind kind);
const char *layer_activation_text(enum layer_activation activation); /* as in the file */
size_t layer_shape_count(struct layer_shape shape);                  /* numbers in one row */

/* Whether optimizers shrink the layer's weights (biases never are). */
bool layer_decays(const struct layer *layer);

/* The layer's tensors as a file holds them, in the order of the arena. Returns how many. */
struct layer_tensor {
    const char *part; /* "weight", ... */
    uint32_t rank;
    uint64_t shape[4];
    uint64_t at; /* in the arena */
    uint64_t count;
};
uint32_t layer_tensors(const struct layer *layer, struct layer_tensor tensors[LAYER_TENSORS_MAX]);

#endif
