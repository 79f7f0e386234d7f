/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/forest.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"

struct forest *forest_create(uint32_t outputs, uint32_t trees, uint32_t nodes)
{
    struct forest *forest = mlq_alloc(sizeof(*forest));
    MLQ_ASSERT(outputs > 0 && trees <= FOREST_TREES_MAX && nodes <= FOREST_NODES_MAX);
    *forest = (struct forest){
        .outputs = outputs,
        .tree_count = trees,
        .node_count = nodes,
        .roots = mlq_alloc_array(trees, sizeof(uint32_t)),
        .features = mlq_alloc_array(nodes, sizeof(int32_t)),
        .left = mlq_alloc_array(nodes, sizeof(uint32_t)),
        .right = mlq_alloc_array(nodes, sizeof(uint32_t)),
        .values = mlq_alloc_array(nodes, sizeof(float)),
        .gains = mlq_alloc_array(nodes, sizeof(float)),
        .missing_left = mlq_alloc_array(nodes, sizeof(uint8_t)),
    };
    return forest;
}

void forest_destroy(struct forest **forest)
{
    struct forest *f = *forest;
    if (f == NULL) {
        return;
    }
    mlq_free(f->roots);
    mlq_free(f->features);
    mlq_free(f->left);
    mlq_free(f->right);
    mlq_free(f->values);
    mlq_free(f->gains);
    mlq_free(f->missing_left);
    mlq_free(f);
    *forest = NULL;
}

/* ---- Walking ---- */

static uint32_t end_of(const struct forest *forest, uint32_t tree)
{
    return tree + 1 < forest->tree_count ? forest->roots[tree + 1] : forest->node_count;
}

static bool is_node_sound(const struct forest *f, uint32_t node, uint32_t end, uint32_t input_count)
{
    if (!isfinite(f->values[node]) || !isfinite(f->gains[node])) {
        return false;
    }
    if (f->features[node] == FOREST_LEAF) {
        return true;
    }
    return f->features[node] >= 0 && (uint32_t)f->features[node] < input_count &&
           f->left[node] > node && f->left[node] < end && f->right[node] > node &&
           f->right[node] < end && f->missing_left[node] <= 1;
}

int forest_check(const struct forest *forest, uint32_t input_count, struct mlq_err *err)
{
    if (forest->tree_count == 0 || forest->tree_count % forest->outputs != 0 ||
        forest->roots[0] != 0 || !isfinite(forest->base)) {
        return mlq_fail(err, MLQ_ECORRUPT, "%" PRIu32 " trees for %" PRIu32 " outputs",
                        forest->tree_count, forest->outputs);
    }
    for (uint32_t tree = 0; tree < forest->tree_count; tree++) {
        uint32_t end = end_of(forest, tree);
        if (forest->roots[tree] >= end || end > forest->node_count) {
            return mlq_fail(err, MLQ_ECORRUPT, "tree %" PRIu32 " has no nodes of its own", tree);
        }
        for (uint32_t node = forest->roots[tree]; node < end; node++) {
            if (!is_node_sound(forest, node, end, input_count)) {
                return mlq_fail(err, MLQ_ECORRUPT,
                                "node %" PRIu32 " of tree %" PRIu32 " is damaged", node, tree);
            }
        }
    }
    return 0;
}

static float walk(const struct forest *forest, uint32_t node, const float *row)
{
    while (forest->features[node] != FOREST_LEAF) {
        float x = row[forest->features[node]];
        bool left = isnan(x) ? forest->missing_left[node] != 0 : x < forest->values[node];
        node = left ? forest->left[node] : forest->right[node];
    }
    return forest->values[node];
}

void forest_forward(const struct forest *forest, const float *inputs, uint32_t input_count,
                    uint32_t rows, float *outputs)
{
    for (uint32_t i = 0; i < rows; i++) {
        float *row = outputs + (size_t)i * forest->outputs;
        for (uint32_t k = 0; k < forest->outputs; k++) {
            row[k] = forest->base;
        }
        for (uint32_t tree = 0; tree < forest->tree_count; tree++) {
            row[tree % forest->outputs] +=
                walk(forest, forest->roots[tree], inputs + (size_t)i * input_count);
        }
    }
}

uint32_t forest_leaf_count(const struct forest *forest)
{
    uint32_t leaves = 0;
    for (uint32_t node = 0; node < forest->node_count; node++) {
        leaves += forest->features[node] == FOREST_LEAF;
    }
    return leaves;
}

/* Parents come first: one pass hands depths down. */
uint32_t forest_depth(const struct forest *forest)
{
    uint32_t *depths = mlq_alloc_array(forest->node_count, sizeof(uint32_t));
    uint32_t most = 0;
    for (uint32_t node = 0; node < forest->node_count; node++) {
        most = depths[node] > most ? depths[node] : most;
        if (forest->features[node] != FOREST_LEAF) {
            depths[forest->left[node]] = depths[node] + 1;
            depths[forest->right[node]] = depths[node] + 1;
        }
    }
    mlq_free(depths);
    return most;
}

/* ---- The file ---- */

struct part {
    const char *name;
    enum safetensors_dtype dtype;
    bool per_tree; /* else per node */
};

static const struct part parts[FOREST_TENSORS] = {
    {"trees.roots", SAFETENSORS_U32, true},        {"trees.features", SAFETENSORS_I32, false},
    {"trees.left", SAFETENSORS_U32, false},        {"trees.right", SAFETENSORS_U32, false},
    {"trees.values", SAFETENSORS_F32, false},      {"trees.gains", SAFETENSORS_F32, false},
    {"trees.missing_left", SAFETENSORS_U8, false},
};

/* The array of each part, in the same order. */
static void list_arrays(const struct forest *forest, void *arrays[FOREST_TENSORS])
{
    void *const all[FOREST_TENSORS] = {forest->roots,       forest->features, forest->left,
                                       forest->right,       forest->values,   forest->gains,
                                       forest->missing_left};
    memcpy(arrays, all, sizeof(all));
}

void forest_tensors(const struct forest *forest, struct safetensors_tensor tensors[FOREST_TENSORS])
{
    void *arrays[FOREST_TENSORS];
    list_arrays(forest, arrays);
    for (size_t i = 0; i < FOREST_TENSORS; i++) {
        uint64_t count = parts[i].per_tree ? forest->tree_count : forest->node_count;
        tensors[i] =
            (struct safetensors_tensor){.name = parts[i].name,
                                        .dtype = parts[i].dtype,
                                        .rank = 1,
                                        .shape = {count},
                                        .data = arrays[i],
                                        .bytes = count * safetensors_dtype_bytes(parts[i].dtype)};
    }
}

json_t *forest_describe(const struct forest *forest)
{
    return json_pack("{s:f, s:I}", "base", (double)forest->base, "outputs",
                     (json_int_t)forest->outputs);
}

/* The number of elements of a tensor of one dimension, or 0. */
static uint64_t count_of(const struct safetensors *file, const char *name)
{
    const struct safetensors_tensor *tensor = safetensors_find(file, name);
    return tensor != NULL && tensor->rank == 1 ? tensor->shape[0] : 0;
}

static int copy_tensors(const struct forest *forest, const struct safetensors *file,
                        struct mlq_err *err)
{
    struct safetensors_tensor expected[FOREST_TENSORS];
    void *arrays[FOREST_TENSORS];
    forest_tensors(forest, expected);
    list_arrays(forest, arrays);
    for (size_t i = 0; i < FOREST_TENSORS; i++) {
        const struct safetensors_tensor *tensor = safetensors_find(file, expected[i].name);
        if (tensor == NULL || tensor->dtype != expected[i].dtype || tensor->rank != 1 ||
            tensor->bytes != expected[i].bytes) {
            return mlq_fail(err, MLQ_ECORRUPT, "tensor %s is missing, or has another type or shape",
                            expected[i].name);
        }
        memcpy(arrays[i], tensor->data, tensor->bytes);
    }
    return 0;
}

int forest_load(const struct safetensors *file, const json_t *description, uint32_t input_count,
                struct forest **forest, struct mlq_err *err)
{
    const json_t *base = json_object_get(description, "base");
    json_int_t outputs = json_integer_value(json_object_get(description, "outputs"));
    uint64_t trees = count_of(file, "trees.roots"), nodes = count_of(file, "trees.features");
    *forest = NULL;
    if (!json_is_number(base) || outputs < 1 || outputs > FOREST_TREES_MAX) {
        return mlq_fail(err, MLQ_ECORRUPT, "forest: base or outputs");
    }
    if (trees == 0 || trees > FOREST_TREES_MAX || nodes < trees || nodes > FOREST_NODES_MAX ||
        safetensors_count(file) != FOREST_TENSORS) {
        return mlq_fail(err, MLQ_ECORRUPT, "%" PRIu64 " trees of %" PRIu64 " nodes in %zu tensors",
                        trees, nodes, safetensors_count(file));
    }
    struct forest *loaded = forest_create((uint32_t)outputs, (uint32_t)trees, (uint32_t)nodes);
    loaded->base = (float)json_number_value(base);
    int rc = copy_tensors(loaded, file, err);
    rc = rc != 0 ? rc : forest_check(loaded, input_count, err);
    if (rc != 0) {
        forest_destroy(&loaded);
    }
    *forest = loaded;
    return rc;
}
