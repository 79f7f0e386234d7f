/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "tests/unit/cm.h"

#include <string.h>

#include "lib/base/ownership.h"
#include "lib/base/prng.h"
#include "lib/base/str.h"

#define S(text) MLQ_STR(text)

static const struct mlq_str nothing = {0};

static void comparing(void **state)
{
    (void)state;
    assert_true(mlq_str_eq(nothing, S("")));
    assert_true(mlq_str_eq_c(nothing, ""));
    assert_true(mlq_str_eq_c(nothing, NULL));
    assert_true(mlq_str_eq(S("a\0b"), S("a\0b")));
    assert_false(mlq_str_eq(S("a\0b"), S("a\0c")));
    assert_false(mlq_str_eq_c(S("a\0b"), "a"));
    assert_int_equal(mlq_str_from(NULL).len, 0);
    assert_true(mlq_str_cmp(nothing, nothing) == 0);
    assert_true(mlq_str_cmp(S("a"), nothing) > 0);
    assert_true(mlq_str_cmp(S("ab"), S("abc")) < 0);
    assert_true(mlq_str_cmp(S("b"), S("abc")) > 0);
    assert_true(mlq_str_cmp(S("\xff"), S("a")) > 0); /* bytes, not signed chars */
}

static void prefixes_and_suffixes(void **state)
{
    (void)state;
    assert_true(mlq_str_starts(S("abc"), ""));
    assert_true(mlq_str_starts(S("abc"), "abc"));
    assert_false(mlq_str_starts(S("abc"), "abcd"));
    assert_false(mlq_str_starts(nothing, "a"));
    assert_true(mlq_str_starts(nothing, ""));
    assert_true(mlq_str_ends(S("abc"), "bc"));
    assert_true(mlq_str_ends(nothing, ""));
    assert_false(mlq_str_ends(S("bc"), "abc"));
    assert_false(mlq_str_ends(S("abc"), "ab"));
}

static void trimming(void **state)
{
    (void)state;
    assert_true(mlq_str_eq_c(mlq_str_trim(S(" \t\r\n\v\f x y \n")), "x y"));
    assert_int_equal(mlq_str_trim(S(" \n ")).len, 0);
    assert_int_equal(mlq_str_trim(nothing).len, 0);
    assert_int_equal(mlq_str_trim(S("\0")).len, 1); /* NUL is not space */
}

static void cutting(void **state)
{
    (void)state;
    struct mlq_str head;
    struct mlq_str tail;
    assert_true(mlq_str_cut(S("a=b=c"), '=', &head, &tail));
    assert_true(mlq_str_eq_c(head, "a"));
    assert_true(mlq_str_eq_c(tail, "b=c"));
    assert_true(mlq_str_cut(tail, '=', &head, &tail));
    assert_false(mlq_str_cut(tail, '=', &head, &tail));
    assert_true(mlq_str_eq_c(head, "c"));
    assert_int_equal(tail.len, 0);
    assert_true(mlq_str_cut(S("="), '=', &head, &tail));
    assert_true(head.len == 0 && tail.len == 0);
    assert_false(mlq_str_cut(nothing, '=', &head, &tail));
}

static void unsigned_numbers(void **state)
{
    (void)state;
    const struct {
        struct mlq_str text;
        bool good;
        uint64_t value;
    } cases[] = {
        {S("0"), true, 0},
        {S("007"), true, 7},
        {S("18446744073709551615"), true, UINT64_MAX},
        {S("00000000000000000000000000000001"), true, 1},
        {S("18446744073709551616"), false, 0},
        {S("18446744073709551620"), false, 0},
        {S("99999999999999999999"), false, 0},
        {S("184467440737095516150"), false, 0},
        {S(""), false, 0},
        {S("-0"), false, 0},
        {S("+1"), false, 0},
        {S(" 1"), false, 0},
        {S("1 "), false, 0},
        {S("1\0"), false, 0},
        {S("1e3"), false, 0},
        {S("0x10"), false, 0},
        {S("\xd9\xa1"), false, 0}, /* an Arabic digit */
    };
    for (size_t i = 0; i < MLQ_COUNT_OF(cases); i++) {
        uint64_t value = 0;
        bool good = mlq_str_u64(cases[i].text, &value);
        assert_int_equal(good, cases[i].good);
        assert_true(!good || value == cases[i].value);
    }
    uint64_t value;
    assert_false(mlq_str_u64(nothing, &value));
}

static void signed_numbers(void **state)
{
    (void)state;
    const struct {
        const char *text;
        bool good;
        int64_t value;
    } cases[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"-1", true, -1},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0},
        {"-9223372036854775809", false, 0},
        {"-18446744073709551616", false, 0},
        {"-", false, 0},
        {"--1", false, 0},
        {"-+1", false, 0},
        {"", false, 0},
    };
    for (size_t i = 0; i < MLQ_COUNT_OF(cases); i++) {
        int64_t value = 0;
        bool good = mlq_str_i64(mlq_str_from(cases[i].text), &value);
        assert_int_equal(good, cases[i].good);
        assert_true(!good || value == cases[i].value);
    }
}

/* How many of the places among plain text, before and behind which it stands, are fine: ASCII is passed by in steps
 * of several bytes. */
#define PLAIN 17
static int utf8_places(struct mlq_str text)
{
    int fine = 0;
    for (size_t before = 0; before < PLAIN; before++) {
        for (size_t behind = 0; behind < PLAIN; behind++) {
            char room[2 * PLAIN + 8];
            memset(room, 'x', sizeof room);
            if (text.len > 0) {
                memcpy(room + before, text.ptr, text.len);
            }
            fine += mlq_str_is_utf8((struct mlq_str){room, before + text.len + behind});
        }
    }
    return fine;
}

static void utf8_edges(void **state)
{
    (void)state;
    const struct mlq_str good[] = {
        nothing,
        S("plain"),
        S("\0"),
        S("\x7f"),
        S("\xc2\x80"),         /* U+0080, the first of two bytes */
        S("\xdf\xbf"),         /* U+07FF */
        S("\xe0\xa0\x80"),     /* U+0800 */
        S("\xed\x9f\xbf"),     /* U+D7FF, before the surrogates */
        S("\xee\x80\x80"),     /* U+E000, after them */
        S("\xef\xbf\xbf"),     /* U+FFFF */
        S("\xf0\x90\x80\x80"), /* U+10000 */
        S("\xf4\x8f\xbf\xbf"), /* U+10FFFF, the last */
    };
    const struct mlq_str bad[] = {
        S("\x80"), /* continuation alone */
        S("\xbf"),
        S("\xc0\x80"),         /* overlong NUL */
        S("\xc1\xbf"),         /* overlong */
        S("\xe0\x80\x80"),     /* overlong */
        S("\xe0\x9f\xbf"),     /* overlong U+07FF */
        S("\xf0\x80\x80\x80"), /* overlong */
        S("\xf0\x8f\xbf\xbf"), /* overlong U+FFFF */
        S("\xed\xa0\x80"),     /* U+D800 */
        S("\xed\xbf\xbf"),     /* U+DFFF */
        S("\xf4\x90\x80\x80"), /* U+110000 */
        S("\xf5\x80\x80\x80"),
        S("\xff"),
        S("\xfe\xff"),
        S("\xc2"), /* cut short */
        S("\xe2\x82"),
        S("\xf0\x9f\x98"),
        S("a\xe2\x82"),
        S("\xc2\x41"), /* interrupted */
        S("\xe2\x82\x41"),
        S("\xf0\x9f\x98\xc0"),
    };
    for (size_t i = 0; i < MLQ_COUNT_OF(good); i++) {
        assert_int_equal(utf8_places(good[i]), PLAIN * PLAIN);
    }
    for (size_t i = 0; i < MLQ_COUNT_OF(bad); i++) {
        assert_int_equal(utf8_places(bad[i]), 0);
    }
}

/* Every code point, encoded here by the RFC's table; surrogates must fail. */
static void utf8_knows_every_code_point(void **state)
{
    (void)state;
    for (uint32_t code = 0; code < 0x120000; code++) {
        char text[4];
        size_t len;
        if (code < 0x80) {
            text[0] = (char)code;
            len = 1;
        } else if (code < 0x800) {
            text[0] = (char)(0xc0 | (code >> 6));
            text[1] = (char)(0x80 | (code & 0x3f));
            len = 2;
        } else if (code < 0x10000) {
            text[0] = (char)(0xe0 | (code >> 12));
            text[1] = (char)(0x80 | ((code >> 6) & 0x3f));
            text[2] = (char)(0x80 | (code & 0x3f));
            len = 3;
        } else {
            text[0] = (char)(0xf0 | (code >> 18));
            text[1] = (char)(0x80 | ((code >> 12) & 0x3f));
            text[2] = (char)(0x80 | ((code >> 6) & 0x3f));
            text[3] = (char)(0x80 | (code & 0x3f));
            len = 4;
        }
        bool legal = code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
        if (mlq_str_is_utf8((struct mlq_str){text, len}) != legal) {
            fail_msg("U+%X should be %s", code, legal ? "legal" : "illegal");
        }
        if (len > 1 && mlq_str_is_utf8((struct mlq_str){text, len - 1})) {
            fail_msg("U+%X without its last byte passes", code);
        }
    }
}

/* The textbook recursion, exponential but obviously right, for short strings. */
static size_t slow_distance(const char *a, size_t la, const char *b, size_t lb)
{
    if (la == 0 || lb == 0) {
        return la + lb;
    }
    size_t best = slow_distance(a, la - 1, b, lb - 1) + (a[la - 1] == b[lb - 1] ? 0 : 1);
    size_t deletion = slow_distance(a, la - 1, b, lb) + 1;
    size_t insertion = slow_distance(a, la, b, lb - 1) + 1;
    best = deletion < best ? deletion : best;
    best = insertion < best ? insertion : best;
    if (la > 1 && lb > 1 && a[la - 1] == b[lb - 2] && a[la - 2] == b[lb - 1]) {
        size_t swap = slow_distance(a, la - 2, b, lb - 2) + 1;
        best = swap < best ? swap : best;
    }
    return best;
}

static void distances(void **state)
{
    (void)state;
    assert_int_equal(mlq_str_distance(S("needs"), S("neds")), 1);
    assert_int_equal(mlq_str_distance(S("needs"), S("nedes")), 1);
    assert_int_equal(mlq_str_distance(nothing, S("abc")), 3);
    assert_int_equal(mlq_str_distance(nothing, nothing), 0);
    assert_int_equal(mlq_str_distance(S("kitten"), S("sitting")), 3);
    struct mlq_prng prng;
    mlq_prng_seed(&prng, 11);
    for (int i = 0; i < 2000; i++) {
        char a[6];
        char b[6];
        size_t la = (size_t)mlq_prng_below(&prng, 7);
        size_t lb = (size_t)mlq_prng_below(&prng, 7);
        for (size_t k = 0; k < 6; k++) {
            a[k] = (char)('a' + mlq_prng_below(&prng, 3));
            b[k] = (char)('a' + mlq_prng_below(&prng, 3));
        }
        size_t expected = slow_distance(a, la, b, lb);
        assert_int_equal(mlq_str_distance((struct mlq_str){a, la}, (struct mlq_str){b, lb}),
                         expected);
        assert_int_equal(mlq_str_distance((struct mlq_str){b, lb}, (struct mlq_str){a, la}),
                         expected);
    }
}

static void distance_is_bounded(void **state)
{
    (void)state;
    char text[64];
    memset(text, 'x', sizeof text);
    assert_int_equal(mlq_str_distance((struct mlq_str){text, 63}, nothing), 63);
    assert_int_equal(mlq_str_distance((struct mlq_str){text, 63}, (struct mlq_str){text, 63}), 0);
    assert_true(mlq_str_distance((struct mlq_str){text, 64}, nothing) == SIZE_MAX);
    assert_true(mlq_str_distance(nothing, (struct mlq_str){text, 64}) == SIZE_MAX);
}

static void printing_stays_in_the_slice(void **state)
{
    (void)state;
    char out[16];
    (void)snprintf(out, sizeof out, "%.*s|", MLQ_STR_ARG(((struct mlq_str){"abcdef", 3})));
    assert_string_equal(out, "abc|");
    (void)snprintf(out, sizeof out, "%.*s|", MLQ_STR_ARG(mlq_str_from("")));
    assert_string_equal(out, "|");
    assert_int_equal(mlq_str_printed((size_t)INT_MAX + 1), INT_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comparing),
        cmocka_unit_test(prefixes_and_suffixes),
        cmocka_unit_test(trimming),
        cmocka_unit_test(cutting),
        cmocka_unit_test(unsigned_numbers),
        cmocka_unit_test(signed_numbers),
        cmocka_unit_test(utf8_edges),
        cmocka_unit_test(utf8_knows_every_code_point),
        cmocka_unit_test(distances),
        cmocka_unit_test(distance_is_bounded),
        cmocka_unit_test(printing_stays_in_the_slice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
