/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * From XGBoost's JSON to a forest. XGBoost gives its trees out as files only; of those, JSON is one
 * that we can read. It takes 100 bytes a node and several times that when parsed, so it is asked
 * for in parts.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"
#include "worker/op/booster.h"
#include "worker/op/jget.h"

#define TREES_AT_ONCE 512u

/* A list that grows; turned into a forest when all trees are there. */
struct growing {
    struct forest *forest; /* with room for more than its counts */
    uint32_t trees_room;
    uint32_t nodes_room;
};

struct source {
    json_t *left;
    json_t *right;
    json_t *features;
    json_t *values;
    json_t *gains;
    json_t *missing_left;
    size_t count;
};

static int corrupt(struct mlq_err *err, uint32_t tree)
{
    return mlq_fail(err, MLQ_ECORRUPT, "XGBoost's tree %" PRIu32 " is not as 1.7 writes them",
                    tree);
}

static bool read_source(const json_t *tree, struct source *source)
{
    *source = (struct source){
        .left = jget_array(tree, "left_children"),
        .right = jget_array(tree, "right_children"),
        .features = jget_array(tree, "split_indices"),
        .values = jget_array(tree, "split_conditions"),
        .gains = jget_array(tree, "loss_changes"),
        .missing_left = jget_array(tree, "default_left"),
    };
    size_t count = json_array_size(source->left);
    source->count = count;
    return count > 0 && json_array_size(source->right) == count &&
           json_array_size(source->features) == count && json_array_size(source->values) == count &&
           json_array_size(source->gains) == count &&
           json_array_size(source->missing_left) == count &&
           json_array_size(jget_array(tree, "categories")) == 0;
}

static json_int_t integer_at(const json_t *array, size_t i)
{
    const json_t *item = json_array_get(array, i);
    return json_is_true(item) ? 1 : json_integer_value(item);
}

static float number_at(const json_t *array, size_t i)
{
    return (float)json_number_value(json_array_get(array, i));
}

static bool is_node(const struct source *source, json_int_t node)
{
    return node > 0 && (size_t)node < source->count;
}

static void make_room(struct growing *g, size_t nodes)
{
    struct forest *f = g->forest;
    if (f->node_count + nodes > g->nodes_room) {
        size_t room = 2 * (f->node_count + nodes);
        f->features = mlq_realloc_array(f->features, room, sizeof(*f->features));
        f->left = mlq_realloc_array(f->left, room, sizeof(*f->left));
        f->right = mlq_realloc_array(f->right, room, sizeof(*f->right));
        f->values = mlq_realloc_array(f->values, room, sizeof(*f->values));
        f->gains = mlq_realloc_array(f->gains, room, sizeof(*f->gains));
        f->missing_left = mlq_realloc_array(f->missing_left, room, sizeof(*f->missing_left));
        g->nodes_room = (uint32_t)room;
    }
    if (f->tree_count == g->trees_room) {
        g->trees_room = 2 * g->trees_room + 64;
        f->roots = mlq_realloc_array(f->roots, g->trees_room, sizeof(*f->roots));
    }
}

/* Level by level from the root, so that children come after their parents and deleted nodes are
 * left out. `queue` holds XGBoost's numbers of the nodes in our order. */
static int add_tree(struct growing *g, const struct source *source, struct mlq_err *err)
{
    struct forest *f = g->forest;
    uint32_t first = f->node_count, tree = f->tree_count;
    size_t count = 1;
    size_t *queue = mlq_alloc_array(source->count, sizeof(size_t));
    for (size_t i = 0; i < count; i++) {
        size_t from = queue[i], to = first + i;
        json_int_t left = integer_at(source->left, from), right = integer_at(source->right, from);
        bool leaf = left < 0 && right < 0;
        f->values[to] = number_at(source->values, from);
        f->features[to] = leaf ? FOREST_LEAF : (int32_t)integer_at(source->features, from);
        f->gains[to] = leaf ? 0 : number_at(source->gains, from);
        f->missing_left[to] = !leaf && integer_at(source->missing_left, from) != 0;
        f->left[to] = leaf ? 0 : (uint32_t)(first + count);
        f->right[to] = leaf ? 0 : (uint32_t)(first + count + 1);
        if (leaf) {
            continue;
        }
        if (!is_node(source, left) || !is_node(source, right) || count + 2 > source->count) {
            mlq_free(queue);
            return corrupt(err, tree);
        }
        queue[count++] = (size_t)left;
        queue[count++] = (size_t)right;
    }
    mlq_free(queue);
    f->roots[f->tree_count++] = first;
    f->node_count += (uint32_t)count;
    return 0;
}

static int add_part(struct growing *g, const char *bytes, size_t len, struct mlq_err *err)
{
    json_t *root = json_loadb(bytes, len, 0, NULL);
    const json_t *booster = jget_object(jget_object(root, "learner"), "gradient_booster");
    json_t *trees = jget_array(jget_object(booster, "model"), "trees");
    size_t i;
    json_t *tree;
    int rc = json_array_size(trees) > 0 ? 0 : corrupt(err, g->forest->tree_count);
    json_array_foreach(trees, i, tree)
    {
        struct source source;
        if (rc == 0 && !read_source(tree, &source)) {
            rc = corrupt(err, g->forest->tree_count);
        }
        if (rc == 0 && source.count > FOREST_NODES_MAX / 2 - g->forest->node_count) {
            rc = mlq_fail(err, MLQ_EFULL,
                          "the model has more than %u nodes: fewer rounds, or a lower "
                          "max_depth",
                          FOREST_NODES_MAX / 2);
        }
        if (rc == 0) {
            make_room(g, source.count);
            rc = add_tree(g, &source, err);
        }
    }
    json_decref(root);
    return rc;
}

int booster_forest(struct booster *booster, uint32_t rounds, struct forest **forest,
                   struct mlq_err *err)
{
    uint32_t outputs = booster_outputs(booster);
    uint32_t step = outputs > TREES_AT_ONCE ? 1 : TREES_AT_ONCE / outputs;
    struct growing g = {.forest = forest_create(outputs, 0, 0)};
    int rc = 0;
    for (uint32_t first = 0; first < rounds && rc == 0; first += step) {
        char *bytes = NULL;
        size_t len = 0;
        uint32_t end = rounds - first > step ? first + step : rounds;
        rc = booster_save_part(booster, first, end, "json", NULL, &bytes, &len, err);
        rc = rc != 0 ? rc : add_part(&g, bytes, len, err);
        mlq_free(bytes);
    }
    g.forest->base = booster_base_margin(booster);
    rc = rc != 0 ? rc : forest_check(g.forest, booster_columns(booster), err);
    if (rc != 0) {
        forest_destroy(&g.forest);
    }
    *forest = g.forest;
    return rc;
}
