/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Checks a bound suite against its table: all expectations in one pass, a block of rows at a time, so
 * that each value comes from memory once. Uniqueness needs a second pass.
 */
#ifndef MLQ_OP_EXPECT_CHECK_H
#define MLQ_OP_EXPECT_CHECK_H

#include "worker/op/expect.h"
#include "worker/op/op.h"

/* Fills the results. OP_STOPPED when asked to stop. */
int expect_check_suite(struct op_context *ctx, struct expect_suite *suite, const struct table *table);

/* In the shape of a Great Expectations validation result. */
MLQ_OWNED_RETURN json_t *expect_check_result(const struct expect_suite *suite,
                                             const struct table *table);

/* One line for people: what failed, how often, in which rows. */
void expect_check_describe(const struct expect *item,
                           const struct table *table,
                           char *text,
                           size_t text_bytes);

#endif
