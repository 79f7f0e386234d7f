/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Decimal text to double, exact: the same bits as strtod in the C locale, and faster.
 */
#ifndef MLQ_OP_NUMBER_H
#define MLQ_OP_NUMBER_H

#include <stddef.h>

#include "lib/base/str.h"

#define NUMBER_TEXT_BYTES_MAX 1024u /* a longer text is not taken for a number */

enum number_result {
    NUMBER_FINITE,
    NUMBER_NOT_FINITE, /* inf, nan, or too large for a double */
    NUMBER_NONE,       /* no number */
};

enum number_result number_parse_any(struct mlq_str text, double *value);

/* [+-] digits [. digits] [e [+-] digits], spaces around it allowed; no hexadecimal, no thousands
 * separators. *value is set when finite; what is too small for a double becomes 0. */
static inline enum number_result number_parse(struct mlq_str text, double *value)
{
    if (text.len == 1 && (unsigned char)(text.ptr[0] - '0') < 10) {
        *value = text.ptr[0] - '0'; /* counts, flags, small classes: most cells of many tables */
        return NUMBER_FINITE;
    }
    return number_parse_any(text, value);
}

/* values[i * stride] is of texts[i], up to the first text that is no finite number: how many those were. */
size_t number_parse_run(const struct mlq_str *texts, size_t count, double *values, size_t stride);

#endif
