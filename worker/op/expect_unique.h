/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Which rows have a key that occurs more than once: exact, in 16 to 32 bytes of memory per row. The first
 * pass puts every row in; then each can be asked.
 */
#ifndef MLQ_OP_EXPECT_UNIQUE_H
#define MLQ_OP_EXPECT_UNIQUE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/ownership.h"
#include "worker/op/table.h"

struct expect_unique;

/* For at most `rows` rows. */
MLQ_OWNED_RETURN struct expect_unique *expect_unique_create(uint64_t rows);
void expect_unique_destroy(struct expect_unique **set); /* takes NULL */

/* The key of a row are its values in `columns`; missing values are equal to each other. */
void expect_unique_add(struct expect_unique *set,
                     const struct table_column *const *columns,
                     size_t count,
                     uint64_t row);
/* A row that was added. */
bool expect_unique_repeated(const struct expect_unique *set,
                          const struct table_column *const *columns,
                          size_t count,
                          uint64_t row);

#endif
