/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What parameters of an operator may not be together, or must be beyond their type and range: the
 * part of its schema (op_schema.h) that takes more than one value to check. A spec is checked when
 * it is compiled, which knows the place of each value; an operator checks the same when it starts,
 * since an expression has its value only then, and a task may be started by hand.
 */
#ifndef MLQ_SPEC_OP_RULES_H
#define MLQ_SPEC_OP_RULES_H

#include <jansson.h>
#include <stdbool.h>

#include "lib/spec/op_schema.h"

/* `path` is the parameter that is to be changed, `text` what is wrong with it and the way out. Both
 * live during the call. */
typedef void (*op_rules_cb)(void *context, const char *path, const char *text);

/* Tells all that `with` breaks. Values of a wrong type, and expressions that have no value yet,
 * break no rule. */
void op_rules_check(const struct op_schema *op, const json_t *with, op_rules_cb broken,
                    void *context);

/* The rule by which `param` has no default beside some other parameter; NULL: there is none. */
const struct op_rule *op_rules_stripping(const struct op_schema *op, const struct op_param *param);

#endif
