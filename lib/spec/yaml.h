/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * YAML as a tree in which each node knows its line and column. JSON gives the same tree, by either reader.
 *
 * What a hostile file could use is refused with its place: anchors and aliases (so no "YAML bomb"), tags,
 * several documents, duplicate keys, keys that are not plain text, more than YAML_DEPTH_MAX levels,
 * YAML_NODES_MAX nodes or YAML_BYTES_MAX bytes, text that is not UTF-8 or has control characters.
 */
#ifndef MLQ_SPEC_YAML_H
#define MLQ_SPEC_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/str.h"
#include "lib/spec/diag.h"
#include "lib/sys/region.h"

#define YAML_BYTES_MAX (2u << 20)
#define YAML_NODES_MAX 200000
#define YAML_DEPTH_MAX 32

enum yaml_kind { YAML_SCALAR, YAML_SEQUENCE, YAML_MAPPING };

struct yaml_node {
    enum yaml_kind kind;
    bool quoted;         /* a scalar in quotes or a block is text, whatever it looks like */
    uint32_t line;       /* 1-based */
    uint32_t column;     /* 1-based */
    struct mlq_str text; /* scalar */
    struct mlq_str key;  /* as a member of a mapping: its key, */
    uint32_t key_line;   /* and the place of that */
    uint32_t key_column;
    struct yaml_node *first; /* children in file order */
    struct yaml_node *next;
    struct yaml_node *parent;
    struct yaml_node *last;
    size_t count; /* children */
};

/* NULL when the text is refused: then diags says why. */
struct yaml_node *yaml_parse(struct mlq_str text, struct mlq_region *region, struct diag_list *diags);

/* The member `key` of a mapping, or NULL. */
struct yaml_node *yaml_get(const struct yaml_node *mapping, const char *key);

/* A plain null, ~ or nothing. */
bool yaml_is_null(const struct yaml_node *node);

/* "a mapping", "a list", "text" … for messages. */
const char *yaml_describe(const struct yaml_node *node);

#endif
