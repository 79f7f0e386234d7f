/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The language of a gate's conditions, as `require:` lists them. Pure: one parser
 * for the gate and for the check of a spec before anything is recorded.
 *
 *     requirement = condition { "and" condition }
 *     condition   = metric operator number
 *     metric      = [A-Za-z_] [A-Za-z0-9_.:/@-]*        at most 128 bytes; "accuracy", "eval.accuracy"
 *     operator    = ">=" | "<=" | ">" | "<" | "==" | "!="
 *     number      = ["-"|"+"] digits ["." digits] [("e"|"E") ["-"|"+"] digits]     finite
 *
 * Blanks may stand between the parts, and must around "and".
 */
#ifndef MLQ_SPEC_GATE_CONDITION_H
#define MLQ_SPEC_GATE_CONDITION_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/err.h"
#include "lib/base/str.h"

#define GATE_METRIC_BYTES_MAX 128u
#define GATE_TEXT_BYTES_MAX   1024u /* of one requirement */
#define GATE_CONDITIONS_MAX   64u   /* of one gate */

#define GATE_OPERATORS(X)                                                                          \
    X(AT_LEAST, ">=")                                                                              \
    X(AT_MOST, "<=")                                                                               \
    X(ABOVE, ">")                                                                                  \
    X(BELOW, "<")                                                                                  \
    X(EQUAL, "==")                                                                                 \
    X(UNEQUAL, "!=")

enum gate_operator {
#define GATE_ENUM(name, text) GATE_##name,
    GATE_OPERATORS(GATE_ENUM)
#undef GATE_ENUM
};

struct gate_condition {
    char metric[GATE_METRIC_BYTES_MAX + 1];
    enum gate_operator op;
    double limit;
    struct mlq_str text; /* the condition as written, in the parsed text */
};

/* Appends the conditions of one requirement to all[*count]; at most GATE_CONDITIONS_MAX in total. On
 * MLQ_EINVAL (with the column, from 1) or MLQ_EFULL nothing is appended. */
int gate_condition_parse(struct mlq_str text,
                         struct gate_condition all[GATE_CONDITIONS_MAX],
                         size_t *count,
                         struct mlq_err *err);

const char *gate_condition_operator_text(enum gate_operator op);

/* `value` must not be NaN: such a condition is inconclusive, neither true nor false. */
bool gate_condition_holds(const struct gate_condition *condition, double value);

#endif
