/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "tests/unit/cm.h"

#include <string.h>

#include "lib/base/err.h"
#include "lib/base/str.h"

static void every_code_is_negative_unique_and_has_words(void **state)
{
    (void)state;
    const int codes[] = {
#define CODE_VALUE(name, value, text) MLQ_##name,
        MLQ_CODES(CODE_VALUE)
#undef CODE_VALUE
    };
    const size_t count = sizeof codes / sizeof codes[0];
    for (size_t i = 0; i < count; i++) {
        assert_true(i == 0 ? codes[i] == 0 : codes[i] < 0);
        assert_string_not_equal(mlq_code_text(codes[i]), "unknown error");
        for (size_t k = 0; k < i; k++) {
            assert_int_not_equal(codes[i], codes[k]);
            assert_string_not_equal(mlq_code_text(codes[i]), mlq_code_text(codes[k]));
        }
    }
    assert_string_equal(mlq_code_text(1), "unknown error");
    assert_string_equal(mlq_code_text(-999), "unknown error");
}

static void fail_fills_and_returns(void **state)
{
    (void)state;
    struct mlq_err err = MLQ_ERR_INIT;
    err.sys_errno = 5;
    assert_int_equal(mlq_fail(&err, MLQ_EIO, "open %s: %d", "a", 7), MLQ_EIO);
    assert_int_equal(err.code, MLQ_EIO);
    assert_int_equal(err.sys_errno, 0);
    assert_string_equal(err.text, "open a: 7");
    assert_int_equal(mlq_fail(NULL, MLQ_EFULL, "%s", "nobody listens"), MLQ_EFULL);
}

static void wrap_puts_context_first(void **state)
{
    (void)state;
    struct mlq_err err = MLQ_ERR_INIT;
    (void)mlq_fail(&err, MLQ_ENOENT, "no such key");
    err.sys_errno = 2;
    assert_int_equal(mlq_wrap(&err, MLQ_EINVAL, "line %d", 3), MLQ_EINVAL);
    assert_int_equal(err.code, MLQ_EINVAL);
    assert_int_equal(err.sys_errno, 2);
    assert_string_equal(err.text, "line 3: no such key");
    assert_int_equal(mlq_wrap(NULL, MLQ_EINVAL, "x"), MLQ_EINVAL);
}

static void an_argument_may_be_the_text_itself(void **state)
{
    (void)state;
    struct mlq_err err = MLQ_ERR_INIT;
    (void)mlq_fail(&err, MLQ_EIO, "inner");
    (void)mlq_fail(&err, MLQ_EIO, "outer (%s)", err.text);
    assert_string_equal(err.text, "outer (inner)");
    (void)mlq_wrap(&err, MLQ_EIO, "<%s>", err.text);
    assert_string_equal(err.text, "<outer (inner)>: outer (inner)");
}

/* Any length: never overrun (the sanitizer watches), always terminated, never a split character. */
static void long_texts_are_cut_between_characters(void **state)
{
    (void)state;
    static const char *const characters[] = {"x", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    for (size_t kind = 0; kind < 4; kind++) {
        for (size_t pad = 0; pad < 5; pad++) {
            char text[1000];
            size_t used = pad;
            memset(text, 'p', pad);
            while (used < 900) {
                used += (size_t)snprintf(text + used, sizeof text - used, "%s", characters[kind]);
            }
            struct mlq_err err = MLQ_ERR_INIT;
            (void)mlq_fail(&err, MLQ_EIO, "%s", text);
            size_t len = strlen(err.text);
            assert_in_range(len, MLQ_ERR_TEXT_BYTES - 4, MLQ_ERR_TEXT_BYTES - 1);
            assert_true(mlq_str_is_utf8(mlq_str_from(err.text)));
            assert_memory_equal(err.text, text, len);
            (void)mlq_wrap(&err, MLQ_EIO, "context");
            assert_memory_equal(err.text, "context: p", 9);
            assert_true(mlq_str_is_utf8(mlq_str_from(err.text)));
            assert_true(strlen(err.text) < MLQ_ERR_TEXT_BYTES);
            (void)mlq_wrap(&err, MLQ_EIO, "%s", text);
            assert_true(mlq_str_is_utf8(mlq_str_from(err.text)));
            assert_true(strlen(err.text) < MLQ_ERR_TEXT_BYTES);
        }
    }
}

/* What comes in broken must not make the cut run wild. */
static void stray_continuation_bytes_do_no_harm(void **state)
{
    (void)state;
    char text[1000];
    memset(text, 0x80, sizeof text - 1);
    text[sizeof text - 1] = '\0';
    struct mlq_err err = MLQ_ERR_INIT;
    (void)mlq_fail(&err, MLQ_EIO, "%s", text);
    assert_true(strlen(err.text) < MLQ_ERR_TEXT_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_is_negative_unique_and_has_words),
        cmocka_unit_test(fail_fills_and_returns),
        cmocka_unit_test(wrap_puts_context_first),
        cmocka_unit_test(an_argument_may_be_the_text_itself),
        cmocka_unit_test(long_texts_are_cut_between_characters),
        cmocka_unit_test(stray_continuation_bytes_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
