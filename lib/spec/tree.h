/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * How the readers of YAML and of JSON build the tree of yaml.h. Each function is false when the
 * text is refused; then diags says why, and nothing more may be built.
 */
#ifndef MLQ_SPEC_TREE_H
#define MLQ_SPEC_TREE_H

#include "lib/spec/yaml.h"

struct tree {
    struct mlq_region *region;
    struct diag_list *diags;
    struct yaml_node *root;
    struct yaml_node *open; /* innermost container, NULL outside */
    struct mlq_str key;     /* waiting for its value, when has_key */
    uint32_t key_line;
    uint32_t key_column;
    bool has_key;
    size_t nodes;
    uint32_t depth;
};

/* Neither too large nor anything but text. */
bool tree_is_readable(struct mlq_str text, struct diag_list *diags);

/* True where a mapping's next key is due. */
bool tree_wants_key(const struct tree *tree);

/* A key, where one is due, or a value. The text must live as long as the tree. */
bool tree_scalar(struct tree *tree, struct mlq_str text, bool quoted, uint32_t line,
                 uint32_t column);
bool tree_open(struct tree *tree, enum yaml_kind kind, uint32_t line, uint32_t column);
bool tree_close(struct tree *tree);

#endif
