/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Great Expectations suites (greatexpectations.io), both spellings: 0.x `expectation_type` and
 * 1.x `type`. The first ten types by use; their semantics are those of the pandas engine:
 *
 *   - missing values are dropped before a column map check, except by ..._to_not_be_null;
 *   - `mostly` is the share of the remaining values that must be as expected;
 *   - a value that occurs twice is unexpected both times;
 *   - `regex` is searched for, not anchored (PCRE2 instead of Python's re: the usual syntax agrees).
 *
 * An expectation is parsed and bound to a table at once: a column that does not exist, or is of the
 * wrong kind, is an `exception` of that expectation, as in Great Expectations; what the suite itself
 * has wrong (unknown type or argument) is an error of the suite.
 */
#ifndef MLQ_OP_EXPECT_H
#define MLQ_OP_EXPECT_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "lib/sys/region.h"
#include "worker/op/table.h"

#define EXPECT_TYPES(X)                                                                            \
    X(COLUMNS_MATCH_SET, "expect_table_columns_to_match_set")                                      \
    X(COLUMN_EXISTS, "expect_column_to_exist")                                                     \
    X(OF_TYPE, "expect_column_values_to_be_of_type")                                               \
    X(NOT_NULL, "expect_column_values_to_not_be_null")                                             \
    X(BETWEEN, "expect_column_values_to_be_between")                                               \
    X(IN_SET, "expect_column_values_to_be_in_set")                                                 \
    X(UNIQUE, "expect_column_values_to_be_unique")                                                 \
    X(COMPOUND_UNIQUE, "expect_compound_columns_to_be_unique")                                     \
    X(ROW_COUNT, "expect_table_row_count_to_be_between")                                           \
    X(MATCH_REGEX, "expect_column_values_to_match_regex")

enum expect_type {
#define EXPECT_ENUM(name, text) EXPECT_##name,
    EXPECT_TYPES(EXPECT_ENUM)
#undef EXPECT_ENUM
};

#define EXPECT_SHOWN_MAX   20u   /* unexpected values listed, as in Great Expectations */
#define EXPECT_COUNT_MAX   10000u
#define EXPECT_COLUMNS_MAX 64u   /* of a compound key */
#define EXPECT_EXCEPTION_BYTES 240

/* Which rows a compound key leaves out. */
enum expect_ignore { EXPECT_IGNORE_ALL_MISSING, EXPECT_IGNORE_ANY_MISSING, EXPECT_IGNORE_NEVER };

struct expect_limits {
    bool has_min;
    bool has_max;
    bool strict_min;
    bool strict_max;
    double min;
    double max;
};

struct expect {
    enum expect_type type;
    const json_t *config; /* of the suite, borrowed */
    const json_t *kwargs;
    bool warning; /* severity: its failure does not fail the stage */
    double mostly;

    const struct table_column *columns[EXPECT_COLUMNS_MAX];
    size_t column_count;
    enum expect_ignore ignore;
    struct expect_limits limits;
    bool *code_fits;       /* category: by code; else NULL */
    double *numbers;       /* number: the set, sorted */
    size_t number_count;
    struct expect_unique *seen; /* unique: see expect_unique.h */

    /* The result. */
    bool success;
    uint64_t elements;
    uint64_t missing;
    uint64_t unexpected;
    uint64_t shown[EXPECT_SHOWN_MAX]; /* rows of the table */
    size_t shown_count;
    json_t *details;                  /* "result" of checks that count no values, or NULL */
    char exception[EXPECT_EXCEPTION_BYTES]; /* why it could not be checked; "" normally */
};

struct expect_suite {
    json_t *root;
    const char *name; /* or NULL */
    bool is_v1;       /* spelling of its keys, kept in the result */
    struct expect *items;
    size_t count;
    struct mlq_region *region;
};

const char *expect_type_text(enum expect_type type);

/* Reads the suite and binds it. `shown` names the file in errors. */
int expect_suite_open(const char *path,
                      const char *shown,
                      const struct table *table,
                      struct expect_suite *suite,
                      struct mlq_err *err);
void expect_suite_close(struct expect_suite *suite); /* takes a zeroed one */

#endif
