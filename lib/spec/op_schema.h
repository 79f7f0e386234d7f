/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What each native operator takes and gives: its `with:` parameters, its inputs and its outputs.
 * One table serves the check of a spec, the defaults that `mlq explain` prints, the wiring of
 * inputs, and the documentation. The operators themselves are in worker/op.
 */
#ifndef MLQ_SPEC_OP_SCHEMA_H
#define MLQ_SPEC_OP_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/str.h"

enum op_param_type {
    PARAM_INTEGER,
    PARAM_NUMBER,
    PARAM_BOOL,
    PARAM_TEXT,
    PARAM_CHOICE,     /* one of choices */
    PARAM_FILE,       /* a file beside the spec; arrives as input of the same name */
    PARAM_INTEGERS,   /* list, each in [min, max] */
    PARAM_TEXTS,      /* list */
    PARAM_TEXT_MAP,   /* mapping of text; values in choices when given */
    PARAM_NUMBER_MAP, /* mapping of numbers, each in [min, max] */
    PARAM_CONDITIONS, /* list of "metric >= number" */
    PARAM_GROUP,      /* mapping of the parameters below it */
    PARAM_ONE_OF,     /* mapping with exactly one of the groups below it, or just its name */
};

struct op_param {
    const char *path; /* dotted: "optimizer.adamw.lr" */
    enum op_param_type type;
    bool required;
    bool above_min;       /* the value must be greater than min, not equal */
    bool power_of_two;    /* of whole numbers: 1, 2, 4, 8 ... only */
    const char *below;    /* path of a number that must be greater; NULL: none */
    const char *standard; /* default as JSON; NULL: absent unless given */
    double min;
    double max; /* min == max == 0: no bounds */
    const char *const *choices;
    const char *help;
};

/* Parameters that one of the top takes away: beside `with` these may not be given. */
struct op_rule {
    const char *with;
    const char *value; /* when it is this word or number; NULL: given, and other than its default */
    const char *const *without;
    bool strips;         /* these have no default then; else they may say what their default says */
    const char *way_out; /* for who gave one all the same; or why, and the way out */
};

/* Whole numbers whose product is bounded. */
struct op_product {
    const char *path;
    const char *times;
    double most;
    const char *what; /* so many there may be: "rows" */
};

struct op_input {
    const char *name; /* MLQ_INPUT_<NAME> */
    bool required;
    const char *const *files; /* output names it accepts, in order of preference; NULL-terminated */
    const char *help;
};

struct op_output {
    const char *file;
    const char *help;
};

struct op_schema {
    const char *name;
    const char *help;
    const struct op_param *params;
    size_t param_count;
    const struct op_rule *rules; /* which op_rules.h checks, with power_of_two and below */
    size_t rule_count;
    const struct op_product *products;
    size_t product_count;
    const struct op_input *inputs;
    size_t input_count;
    const struct op_output *outputs;
    size_t output_count;
    /* With this parameter a stage makes these outputs instead; NULL: there is no such parameter. */
    const char *mode;
    const struct op_output *mode_outputs;
    size_t mode_output_count;
    bool gang; /* may run with ranks > 1 */
    bool in_agent; /* the worker completes it itself: no process, no CPU, no outputs, no log */
};

const struct op_schema *op_schema_find(struct mlq_str name); /* or NULL */
size_t op_schema_count(void);
const struct op_schema *op_schema_at(size_t i);
const char *const *op_schema_names(void); /* NULL-terminated */

/* The parameter with this path, or NULL. */
const struct op_param *op_schema_param(const struct op_schema *schema, const char *path);

/* True when `param` lies directly below `parent` ("" is the top); *leaf is its last part. */
bool op_schema_is_child(const struct op_param *param, const char *parent, const char **leaf);

#endif
