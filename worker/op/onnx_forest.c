/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * ONNX numbers nodes within their tree, and lists what leaves add to which output apart from the
 * nodes.
 */
#include "worker/op/onnx_forest.h"

struct nodes {
    int64_t *trees;
    int64_t *ids;
    int64_t *features;
    int64_t *left;
    int64_t *right;
    int64_t *missing_left;
    const char **modes;
    float *thresholds;
};

struct leaves {
    size_t count;
    int64_t *trees;
    int64_t *ids;
    int64_t *outputs;
    float *values;
};

static void take_node(struct nodes *to, struct leaves *leaves, const struct forest *f,
                      uint32_t tree, uint32_t node)
{
    uint32_t root = f->roots[tree];
    bool leaf = f->features[node] == FOREST_LEAF;
    to->trees[node] = tree;
    to->ids[node] = node - root;
    to->modes[node] = leaf ? "LEAF" : "BRANCH_LT";
    to->thresholds[node] = leaf ? 0 : f->values[node];
    to->features[node] = leaf ? 0 : f->features[node];
    to->left[node] = leaf ? 0 : f->left[node] - root;
    to->right[node] = leaf ? 0 : f->right[node] - root;
    to->missing_left[node] = f->missing_left[node];
    if (leaf) {
        leaves->trees[leaves->count] = tree;
        leaves->ids[leaves->count] = node - root;
        leaves->outputs[leaves->count] = tree % f->outputs;
        leaves->values[leaves->count++] = f->values[node];
    }
}

static void add_nodes(struct onnx_graph *g, struct onnx_node *to, const struct nodes *nodes,
                      size_t count)
{
    onnx_graph_set_ints(g, to, "nodes_treeids", nodes->trees, count);
    onnx_graph_set_ints(g, to, "nodes_nodeids", nodes->ids, count);
    onnx_graph_set_ints(g, to, "nodes_featureids", nodes->features, count);
    onnx_graph_set_ints(g, to, "nodes_truenodeids", nodes->left, count);
    onnx_graph_set_ints(g, to, "nodes_falsenodeids", nodes->right, count);
    onnx_graph_set_ints(g, to, "nodes_missing_value_tracks_true", nodes->missing_left, count);
    onnx_graph_set_texts(g, to, "nodes_modes", nodes->modes, count);
    onnx_graph_set_floats(g, to, "nodes_values", nodes->thresholds, count);
}

static void add_leaves(struct onnx_graph *g, struct onnx_node *to, const struct leaves *leaves)
{
    onnx_graph_set_ints(g, to, "target_treeids", leaves->trees, leaves->count);
    onnx_graph_set_ints(g, to, "target_nodeids", leaves->ids, leaves->count);
    onnx_graph_set_ints(g, to, "target_ids", leaves->outputs, leaves->count);
    onnx_graph_set_floats(g, to, "target_weights", leaves->values, leaves->count);
}

const char *onnx_forest_add(struct onnx_graph *g, const struct forest *forest, const char *inputs,
                            struct mlq_region *region)
{
    size_t count = forest->node_count, leaf_count = forest_leaf_count(forest);
#define ARRAY(n, type) mlq_region_array(region, n, sizeof(type))
    struct nodes nodes = {.trees = ARRAY(count, int64_t),
                          .ids = ARRAY(count, int64_t),
                          .features = ARRAY(count, int64_t),
                          .left = ARRAY(count, int64_t),
                          .right = ARRAY(count, int64_t),
                          .missing_left = ARRAY(count, int64_t),
                          .modes = ARRAY(count, char *),
                          .thresholds = ARRAY(count, float)};
    struct leaves leaves = {.trees = ARRAY(leaf_count, int64_t),
                            .ids = ARRAY(leaf_count, int64_t),
                            .outputs = ARRAY(leaf_count, int64_t),
                            .values = ARRAY(leaf_count, float)};
    float *base = ARRAY(forest->outputs, float);
#undef ARRAY
    for (uint32_t tree = 0; tree < forest->tree_count; tree++) {
        uint32_t end = tree + 1 < forest->tree_count ? forest->roots[tree + 1] : forest->node_count;
        for (uint32_t node = forest->roots[tree]; node < end; node++) {
            take_node(&nodes, &leaves, forest, tree, node);
        }
    }
    for (uint32_t k = 0; k < forest->outputs; k++) {
        base[k] = forest->base;
    }
    const char *output = "mlq/trees";
    struct onnx_node *made = onnx_graph_node(g, "ai.onnx.ml", "TreeEnsembleRegressor", output,
                                             (const char *[]){inputs, NULL});
    onnx_graph_set_int(g, made, "n_targets", forest->outputs);
    onnx_graph_set_text(g, made, "aggregate_function", "SUM");
    onnx_graph_set_text(g, made, "post_transform", "NONE");
    onnx_graph_set_floats(g, made, "base_values", base, forest->outputs);
    add_nodes(g, made, &nodes, count);
    add_leaves(g, made, &leaves);
    return output;
}
