/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Regular expressions of expectations: PCRE2, UTF-8, with a bound on the work of one match, because a
 * suite is a file that anybody may write.
 */
#ifndef MLQ_OP_EXPECT_REGEX_H
#define MLQ_OP_EXPECT_REGEX_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/ownership.h"
#include "lib/base/str.h"

struct expect_regex;

/* False: `reason` says what is wrong, and where. */
bool expect_regex_compile(const char *pattern,
                          MLQ_OWNED_RETURN struct expect_regex **regex,
                          char *reason,
                          size_t reason_bytes);
void expect_regex_free(struct expect_regex **regex); /* takes NULL */

/* Does it match anywhere in `text`? *too_hard: it was given up. */
bool expect_regex_matches(struct expect_regex *regex, struct mlq_str text, bool *too_hard);

#endif
