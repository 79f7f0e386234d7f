/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Shared by the files that read a spec (spec.c, stage.c, wire.c); not for others.
 */
#ifndef MLQ_SPEC_PARSE_H
#define MLQ_SPEC_PARSE_H

#include "lib/spec/spec.h"
#include "lib/spec/yaml.h"

/* A `${{ }}` left for dispatch, with its place: checked when the graph is known. */
struct parse_reference {
    uint16_t stage;
    struct mlq_str expression;
    uint32_t line;
    uint32_t column;
};

struct parse {
    struct mlq_region *region;
    struct diag_list *diags;
    const struct spec_options *options;
    struct spec *spec;
    const struct yaml_node *code; /* of the whole spec, or NULL */
    struct parse_reference *references;
    size_t reference_count;
    size_t reference_room;
    size_t file_room;
};

/* stage.c: read one stage's mapping into *stage; needs and inputs stay as nodes. */
void stage_read(struct parse *parse, uint16_t number, const struct yaml_node *node);

/* wire.c: needs, cycles, inputs and references. `stages` is the mapping of stages, or NULL for a Job. */
void wire_stages(struct parse *parse, const struct yaml_node *stages);

/* expr.c */
/* The next `${{ … }}` in *rest: *before is the text ahead of it, *expression its trimmed inside. False when
 * there is none, or (*broken set) when it does not close. */
bool expr_next(struct mlq_str *rest, struct mlq_str *before, struct mlq_str *expression, bool *broken);
/* Replace ${{ params.k }} in all scalars below `node`. */
void expr_apply_params(struct parse *parse, struct yaml_node *node);
/* Remember the references of a text for wire_stages. */
void expr_collect(struct parse *parse, uint16_t stage, struct mlq_str text, const struct yaml_node *node);

struct spec_file *spec_add_file(struct parse *parse, struct spec_file file);

#endif
