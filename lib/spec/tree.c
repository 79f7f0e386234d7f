/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/spec/tree.h"

#include <stdlib.h>
#include <string.h>

bool tree_is_readable(struct mlq_str text, struct diag_list *diags)
{
    if (text.len > YAML_BYTES_MAX) {
        diag_add(diags, 0, 0, "larger than the limit of %u bytes", YAML_BYTES_MAX);
        return false;
    }
    if (!mlq_str_is_utf8(text) || (text.len > 0 && memchr(text.ptr, '\0', text.len) != NULL)) {
        diag_add(diags, 0, 0, "not UTF-8 text");
        return false;
    }
    return true;
}

/* Hang a new node into the open container, or make it the root. */
static bool attach(struct tree *tree, struct yaml_node *node)
{
    if (++tree->nodes > YAML_NODES_MAX) {
        diag_add(tree->diags, node->line, node->column, "more than %d values in one file",
                 YAML_NODES_MAX);
        return false;
    }
    node->parent = tree->open;
    if (tree->open == NULL) {
        tree->root = node;
        return true;
    }
    if (tree->open->kind == YAML_MAPPING) {
        node->key = tree->key;
        node->key_line = tree->key_line;
        node->key_column = tree->key_column;
        tree->has_key = false;
    }
    if (tree->open->last == NULL) {
        tree->open->first = node;
    } else {
        tree->open->last->next = node;
    }
    tree->open->last = node;
    tree->open->count++;
    return true;
}

static bool text_is_clean(struct mlq_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f) {
            return false;
        }
    }
    return true;
}

bool tree_wants_key(const struct tree *tree)
{
    return tree->open != NULL && tree->open->kind == YAML_MAPPING && !tree->has_key;
}

bool tree_scalar(struct tree *tree, struct mlq_str text, bool quoted, uint32_t line,
                 uint32_t column)
{
    if (!text_is_clean(text)) {
        diag_add(tree->diags, line, column, "control character in text");
        return false;
    }
    if (tree_wants_key(tree)) {
        tree->key = text;
        tree->key_line = line;
        tree->key_column = column;
        tree->has_key = true;
        return true;
    }
    struct yaml_node *node = mlq_region_alloc(tree->region, sizeof *node);
    *node = (struct yaml_node){
        .kind = YAML_SCALAR, .quoted = quoted, .line = line, .column = column, .text = text};
    return attach(tree, node);
}

bool tree_open(struct tree *tree, enum yaml_kind kind, uint32_t line, uint32_t column)
{
    if (tree_wants_key(tree)) {
        diag_add(tree->diags, line, column, "a key must be plain text");
        return false;
    }
    if (++tree->depth > YAML_DEPTH_MAX) {
        diag_add(tree->diags, line, column, "more than %d levels of nesting", YAML_DEPTH_MAX);
        return false;
    }
    struct yaml_node *node = mlq_region_alloc(tree->region, sizeof *node);
    *node = (struct yaml_node){.kind = kind, .line = line, .column = column};
    if (!attach(tree, node)) {
        return false;
    }
    tree->open = node;
    return true;
}

/* By key, and those alike by their order in the file. */
static int compare_keys(const void *left, const void *right)
{
    const struct yaml_node *a = *(const struct yaml_node *const *)left;
    const struct yaml_node *b = *(const struct yaml_node *const *)right;
    if (a->key.len != b->key.len) {
        return a->key.len < b->key.len ? -1 : 1;
    }
    int order = a->key.len == 0 ? 0 : memcmp(a->key.ptr, b->key.ptr, a->key.len);
    return order != 0                   ? order
           : a->key_line != b->key_line ? (a->key_line < b->key_line ? -1 : 1)
                                        : (a->key_column < b->key_column ? -1 : 1);
}

/* Sorted, because comparing each key with all before it would let one hostile file hold a scheduler
 * up. */
static bool keys_are_unique(struct tree *tree, const struct yaml_node *mapping)
{
    const struct yaml_node **nodes = mlq_region_array(tree->region, mapping->count, sizeof *nodes);
    const struct yaml_node *twice = NULL;
    const struct yaml_node *before = NULL;
    size_t count = 0;
    for (const struct yaml_node *child = mapping->first; child != NULL; child = child->next) {
        nodes[count++] = child;
    }
    if (count > 1) {
        qsort(nodes, count, sizeof nodes[0], compare_keys);
    }
    for (size_t i = 1; i < count; i++) {
        if (mlq_str_eq(nodes[i]->key, nodes[i - 1]->key) &&
            (twice == NULL || nodes[i]->key_line < twice->key_line)) {
            twice = nodes[i];
            before = nodes[i - 1];
        }
    }
    if (twice != NULL) {
        diag_add(tree->diags, twice->key_line, twice->key_column,
                 "key %s appears twice (first on line %u)", diag_quote(tree->diags, twice->key),
                 before->key_line);
    }
    return twice == NULL;
}

bool tree_close(struct tree *tree)
{
    const struct yaml_node *closed = tree->open;
    tree->depth--;
    tree->open = closed->parent;
    return closed->kind == YAML_SEQUENCE || keys_are_unique(tree, closed);
}
