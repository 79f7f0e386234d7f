/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/base/str.h"

#include <string.h>

#define DISTANCE_LEN_MAX 63

struct mlq_str mlq_str_from(const char *text)
{
    return (struct mlq_str){.ptr = text, .len = text == NULL ? 0 : __builtin_strlen(text)};
}

bool mlq_str_eq(struct mlq_str a, struct mlq_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

bool mlq_str_eq_c(struct mlq_str a, const char *b)
{
    return mlq_str_eq(a, mlq_str_from(b));
}

int mlq_str_cmp(struct mlq_str a, struct mlq_str b)
{
    size_t shared = a.len < b.len ? a.len : b.len;
    int order = shared == 0 ? 0 : memcmp(a.ptr, b.ptr, shared);
    if (order != 0) {
        return order;
    }
    return (a.len > b.len) - (a.len < b.len);
}

bool mlq_str_starts(struct mlq_str s, const char *prefix)
{
    struct mlq_str p = mlq_str_from(prefix);
    return s.len >= p.len && mlq_str_eq((struct mlq_str){s.ptr, p.len}, p);
}

bool mlq_str_ends(struct mlq_str s, const char *suffix)
{
    struct mlq_str p = mlq_str_from(suffix);
    return s.len >= p.len && mlq_str_eq((struct mlq_str){s.ptr + (s.len - p.len), p.len}, p);
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

struct mlq_str mlq_str_trim(struct mlq_str s)
{
    while (s.len > 0 && is_space(s.ptr[0])) {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 && is_space(s.ptr[s.len - 1])) {
        s.len--;
    }
    return s;
}

bool mlq_str_cut(struct mlq_str s, char sep, struct mlq_str *head, struct mlq_str *tail)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == sep) {
            *head = (struct mlq_str){s.ptr, i};
            *tail = (struct mlq_str){s.ptr + i + 1, s.len - i - 1};
            return true;
        }
    }
    *head = s;
    *tail = (struct mlq_str){0};
    return false;
}

bool mlq_str_u64(struct mlq_str s, uint64_t *value)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9') {
            return false;
        }
        uint64_t digit = (uint64_t)(s.ptr[i] - '0');
        if (__builtin_mul_overflow(sum, UINT64_C(10), &sum) ||
            __builtin_add_overflow(sum, digit, &sum)) {
            return false;
        }
    }
    *value = sum;
    return s.len > 0;
}

bool mlq_str_i64(struct mlq_str s, int64_t *value)
{
    bool negative = s.len > 0 && s.ptr[0] == '-';
    uint64_t magnitude;
    if (negative) {
        s = (struct mlq_str){s.ptr + 1, s.len - 1};
    }
    if (!mlq_str_u64(s, &magnitude) || magnitude > (uint64_t)INT64_MAX + (negative ? 1 : 0)) {
        return false;
    }
    *value = negative ? (int64_t)(UINT64_C(0) - magnitude) : (int64_t)magnitude;
    return true;
}

/* Bytes of the sequence that begins with `lead`, and the range its second byte must lie in. */
static size_t utf8_sequence(uint8_t lead, uint8_t *second_min, uint8_t *second_max)
{
    *second_min = 0x80;
    *second_max = 0xbf;
    if (lead < 0x80) {
        return 1;
    }
    if (lead >= 0xc2 && lead <= 0xdf) {
        return 2;
    }
    if (lead >= 0xe0 && lead <= 0xef) {
        *second_min = lead == 0xe0 ? 0xa0 : 0x80;
        *second_max = lead == 0xed ? 0x9f : 0xbf;
        return 3;
    }
    if (lead >= 0xf0 && lead <= 0xf4) {
        *second_min = lead == 0xf0 ? 0x90 : 0x80;
        *second_max = lead == 0xf4 ? 0x8f : 0xbf;
        return 4;
    }
    return 0;
}

/* Of the bytes from `at`, those that are ASCII, in steps of eight: nearly all text is. */
static size_t ascii_end(struct mlq_str s, size_t at)
{
    uint64_t eight = 0;
    while (s.len - at >= sizeof eight) {
        memcpy(&eight, s.ptr + at, sizeof eight);
        if ((eight & UINT64_C(0x8080808080808080)) != 0) {
            break;
        }
        at += sizeof eight;
    }
    return at;
}

bool mlq_str_is_utf8(struct mlq_str s)
{
    for (size_t i = ascii_end(s, 0); i < s.len;) {
        uint8_t second_min;
        uint8_t second_max;
        size_t bytes = utf8_sequence((uint8_t)s.ptr[i], &second_min, &second_max);
        if (bytes == 0 || bytes > s.len - i) {
            return false;
        }
        for (size_t k = 1; k < bytes; k++) {
            uint8_t byte = (uint8_t)s.ptr[i + k];
            if (byte < (k == 1 ? second_min : 0x80) || byte > (k == 1 ? second_max : 0xbf)) {
                return false;
            }
        }
        i = ascii_end(s, i + bytes);
    }
    return true;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t mlq_str_distance(struct mlq_str a, struct mlq_str b)
{
    if (a.len > DISTANCE_LEN_MAX || b.len > DISTANCE_LEN_MAX) {
        return SIZE_MAX;
    }
    /* Three rows of the table of optimal string alignment distances. */
    size_t rows[3][DISTANCE_LEN_MAX + 1];
    for (size_t j = 0; j <= b.len; j++) {
        rows[0][j] = j;
    }
    for (size_t i = 1; i <= a.len; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i + 2) % 3];
        const size_t *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t replace = above[j - 1] + (a.ptr[i - 1] == b.ptr[j - 1] ? 0 : 1);
            row[j] = least(replace, least(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a.ptr[i - 1] == b.ptr[j - 2] && a.ptr[i - 2] == b.ptr[j - 1]) {
                row[j] = least(row[j], above2[j - 2] + 1);
            }
        }
    }
    return rows[a.len % 3][b.len];
}
