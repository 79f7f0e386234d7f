/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The `with:` of a native operator: checked against its schema, completed with the defaults.
 */
#ifndef MLQ_SPEC_WITH_H
#define MLQ_SPEC_WITH_H

#include <jansson.h>

#include "lib/base/ownership.h"
#include "lib/spec/diag.h"
#include "lib/spec/op_schema.h"
#include "lib/spec/yaml.h"

struct with_files {
    /* A PARAM_FILE value: its place in the canonical form is filled by the caller. Either a path (then
     * digest is empty) or the canonical {name, digest, bytes}. */
    void (*found)(void *context, const struct op_param *param, const struct yaml_node *node);
    /* Whether `inputs:` of the stage gives this parameter another stage's output instead. */
    bool (*wired)(void *context, const struct op_param *param);
    void *context;
};

/* `node` may be NULL (no `with:`). `line` and `column` are the stage's, for what is missing. The result
 * holds every parameter that has a value; files are left out (the caller adds them). */
MLQ_OWNED_RETURN json_t *with_normalise(const struct op_schema *op,
                                        const struct yaml_node *node,
                                        uint32_t line,
                                        uint32_t column,
                                        const struct with_files *files,
                                        struct diag_list *diags);

#endif
