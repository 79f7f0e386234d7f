/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Slices: a pointer and a length, not terminated, never owning. All parsers work on these.
 */
#ifndef MLQ_BASE_STR_H
#define MLQ_BASE_STR_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mlq_str {
    const char *ptr; /* may be NULL when len is 0 */
    size_t len;
};

#define MLQ_STR(literal) ((struct mlq_str){.ptr = (literal), .len = sizeof(literal) - 1})

/* For printf: "%.*s", MLQ_STR_ARG(s). */
#define MLQ_STR_ARG(s) mlq_str_printed((s).len), (s).ptr

/* A length that "%.*s" understands: a negative one would mean "up to the NUL", which may not be
 * there. */
static inline int mlq_str_printed(size_t len)
{
    return len > INT_MAX ? INT_MAX : (int)len;
}

/* From a terminated string; NULL gives the empty slice. */
struct mlq_str mlq_str_from(const char *text);

bool mlq_str_eq(struct mlq_str a, struct mlq_str b);
bool mlq_str_eq_c(struct mlq_str a, const char *b);
int mlq_str_cmp(struct mlq_str a, struct mlq_str b); /* by bytes, as memcmp, then by length */
bool mlq_str_starts(struct mlq_str s, const char *prefix);
bool mlq_str_ends(struct mlq_str s, const char *suffix);
struct mlq_str mlq_str_trim(struct mlq_str s);

/* Cut at the first `sep`: *head is before it, *tail after it. False (head = s, tail empty) when
 * there is none. */
bool mlq_str_cut(struct mlq_str s, char sep, struct mlq_str *head, struct mlq_str *tail);

/* The whole slice must be a decimal number in range; no sign for u64, no spaces, no "+". */
bool mlq_str_u64(struct mlq_str s, uint64_t *value);
bool mlq_str_i64(struct mlq_str s, int64_t *value);

/* Well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF). */
bool mlq_str_is_utf8(struct mlq_str s);

/* Edit distance (insert, delete, replace, swap of neighbours), for "did you mean". Strings over 63
 * bytes count as far away (SIZE_MAX). */
size_t mlq_str_distance(struct mlq_str a, struct mlq_str b);

#endif
