/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The tree of yaml.h from a text that must be JSON (RFC 8259): the same as the reader of YAML gives, many
 * times as fast, and JSON has one reading only.
 */
#ifndef MLQ_SPEC_YAML_JSON_H
#define MLQ_SPEC_YAML_JSON_H

#include "lib/spec/yaml.h"

/* NULL when the text is refused: then diags says why. */
struct yaml_node *yaml_json_parse(struct mlq_str text, struct mlq_region *region, struct diag_list *diags);

#endif
