/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Decimal text to double, exact: the same bits as strtod in the C locale, and faster.
 */
#ifndef MLQ_OP_NUMBER_H
#define MLQ_OP_NUMBER_H

#include "lib/base/str.h"

#define NUMBER_TEXT_BYTES_MAX 1024u /* a longer text is not taken for a number */

enum number_result {
    NUMBER_FINITE,
    NUMBER_NOT_FINITE, /* inf, nan, or too large for a double */
    NUMBER_NONE,       /* no number */
};

/* [+-] digits [. digits] [e [+-] digits], spaces around it allowed; no hexadecimal, no thousands
 * separators. *value is set when finite; what is too small for a double becomes 0. */
enum number_result number_parse(struct mlq_str text, double *value);

#endif
