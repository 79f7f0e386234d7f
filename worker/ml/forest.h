/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Boosted trees, in place of the layers of a model (model.h). Tree t adds one of its leaves to
 * output t % outputs; each output begins with `base`. Floats are added in the order of the trees,
 * as XGBoost does, so that both give the same bits.
 *
 * All nodes lie in one list, tree after tree, a tree's root first; both children of a split lie
 * behind it in the same tree. So a walk goes forward only, and ends. A row goes left where its
 * input is below the threshold; a missing one (NaN) goes where the split says.
 *
 * In model.safetensors: the tensors "trees.NAME" below, and in the description
 *   "forest": {"base": B, "outputs": O}
 */
#ifndef MLQ_ML_FOREST_H
#define MLQ_ML_FOREST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/artifact/safetensors.h"
#include "lib/base/err.h"
#include "lib/base/ownership.h"

#define FOREST_TREES_MAX (1u << 22)
#define FOREST_NODES_MAX (1u << 28)
#define FOREST_TENSORS   7u
#define FOREST_LEAF      INT32_C(-1)

struct forest {
    uint32_t outputs;
    float base;
    uint32_t tree_count;
    uint32_t node_count;
    uint32_t *roots;   /* of each tree, its first node */
    int32_t *features; /* of each node: the input that it looks at, or FOREST_LEAF */
    uint32_t *left;    /* of a split: nodes; of a leaf 0 */
    uint32_t *right;
    float *values;         /* of a split: the threshold; of a leaf: what it adds */
    float *gains;          /* of a split: by how much it lowered the loss; of a leaf 0 */
    uint8_t *missing_left; /* of a split: where a missing input goes */
};

/* Zeroed arrays, to be filled in. */
MLQ_OWNED_RETURN struct forest *forest_create(uint32_t outputs, uint32_t trees, uint32_t nodes);
void forest_destroy(struct forest **forest); /* takes NULL, frees, nulls */

/* Whether all of the above holds, with inputs below `input_count` and numbers that are finite:
 * MLQ_ECORRUPT names the node. What passes is safe to walk. */
int forest_check(const struct forest *forest, uint32_t input_count, struct mlq_err *err);

/* outputs[rows][forest->outputs] of inputs[rows][input_count]. */
void forest_forward(const struct forest *forest, const float *inputs, uint32_t input_count,
                    uint32_t rows, float *outputs);

uint32_t forest_leaf_count(const struct forest *forest);
uint32_t forest_depth(const struct forest *forest); /* of the deepest leaf; a root alone: 0 */

/* ---- The file ---- */

/* Borrows the forest's arrays. */
void forest_tensors(const struct forest *forest, struct safetensors_tensor tensors[FOREST_TENSORS]);
MLQ_OWNED_RETURN json_t *forest_describe(const struct forest *forest);

/* Checked against the description and by forest_check. */
int forest_load(const struct safetensors *file, const json_t *description, uint32_t input_count,
                MLQ_OWNED_RETURN struct forest **forest, struct mlq_err *err);

#endif
