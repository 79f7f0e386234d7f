/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#define PCRE2_CODE_UNIT_WIDTH 8

#include "worker/op/expect_regex.h"

#include <stdint.h>
#include <stdio.h>

#include <pcre2.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"

#define PATTERN_BYTES_MAX 10000u
#define MATCH_STEPS_MAX   1000000u
#define MATCH_HEAP_KIB    8192u

struct expect_regex {
    pcre2_code *code;
    pcre2_match_data *match;
    pcre2_match_context *context;
};

bool expect_regex_compile(const char *pattern, struct expect_regex **out, char *reason,
                          size_t reason_bytes)
{
    struct mlq_str text = mlq_str_from(pattern);
    if (text.len > PATTERN_BYTES_MAX) {
        (void)snprintf(reason, reason_bytes, "a regular expression of at most %u bytes",
                       PATTERN_BYTES_MAX);
        return false;
    }
    int code = 0;
    PCRE2_SIZE at = 0;
    pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)pattern, text.len,
                                         PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C, &code, &at, NULL);
    if (compiled == NULL) {
        PCRE2_UCHAR message[100];
        (void)pcre2_get_error_message(code, message, sizeof message);
        (void)snprintf(reason, reason_bytes, "a regular expression; at character %zu: %s",
                       (size_t)at + 1, (const char *)message);
        return false;
    }
    struct expect_regex *regex = mlq_alloc(sizeof *regex);
    regex->code = compiled;
    regex->match = pcre2_match_data_create_from_pattern(compiled, NULL);
    regex->context = pcre2_match_context_create(NULL);
    MLQ_ASSERT(regex->match != NULL && regex->context != NULL);
    (void)pcre2_set_match_limit(regex->context, MATCH_STEPS_MAX);
    (void)pcre2_set_heap_limit(regex->context, MATCH_HEAP_KIB);
    *out = regex;
    return true;
}

void expect_regex_free(struct expect_regex **regex)
{
    if (*regex == NULL) {
        return;
    }
    pcre2_match_context_free((*regex)->context);
    pcre2_match_data_free((*regex)->match);
    pcre2_code_free((*regex)->code);
    mlq_free(*regex);
    *regex = NULL;
}

bool expect_regex_matches(struct expect_regex *regex, struct mlq_str text, bool *too_hard)
{
    int rc = pcre2_match(regex->code, (PCRE2_SPTR)text.ptr, text.len, 0, 0, regex->match,
                         regex->context);
    *too_hard = rc < 0 && rc != PCRE2_ERROR_NOMATCH;
    return rc >= 0;
}
