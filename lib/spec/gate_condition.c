/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/spec/gate_condition.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/ownership.h"
#include "lib/base/panic.h"

#define NUMBER_BYTES_MAX 64u

struct cursor {
    struct mlq_str text;
    size_t at;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_name_part(char c)
{
    return is_name_start(c) || is_digit(c) || c == '.' || c == ':' || c == '/' || c == '@' ||
           c == '-';
}

/* The byte at the cursor, NUL at the end. */
static char peek(const struct cursor *c)
{
    return c->at < c->text.len ? c->text.ptr[c->at] : '\0';
}

static void skip_blanks(struct cursor *c)
{
    while (is_blank(peek(c))) {
        c->at++;
    }
}

static int fail_here(const struct cursor *c, struct mlq_err *err, const char *expected)
{
    return mlq_fail(err, MLQ_EINVAL, "condition '%.*s', column %zu: expected %s",
                    MLQ_STR_ARG(c->text), c->at + 1, expected);
}

static int parse_metric(struct cursor *c, struct gate_condition *out, struct mlq_err *err)
{
    size_t from = c->at;
    if (!is_name_start(peek(c))) {
        return fail_here(c, err, "the name of a metric, like accuracy or eval.accuracy");
    }
    while (is_name_part(peek(c))) {
        c->at++;
    }
    size_t len = c->at - from;
    if (len > GATE_METRIC_BYTES_MAX) {
        c->at = from;
        return fail_here(c, err, "a name of at most 128 bytes");
    }
    memcpy(out->metric, c->text.ptr + from, len);
    out->metric[len] = '\0';
    return 0;
}

static int parse_operator(struct cursor *c, struct gate_condition *out, struct mlq_err *err)
{
    static const enum gate_operator all[] = {GATE_AT_LEAST, GATE_AT_MOST, GATE_EQUAL, GATE_UNEQUAL,
                                             GATE_ABOVE,    GATE_BELOW}; /* longest first */
    struct mlq_str rest = {.ptr = c->text.ptr + c->at, .len = c->text.len - c->at};
    for (size_t i = 0; i < MLQ_COUNT_OF(all); i++) {
        const char *text = gate_condition_operator_text(all[i]);
        if (mlq_str_starts(rest, text)) {
            out->op = all[i];
            c->at += strlen(text);
            return 0;
        }
    }
    return fail_here(c, err, "one of >= <= > < == !=");
}

static size_t skip_digits(struct cursor *c)
{
    size_t from = c->at;
    while (is_digit(peek(c))) {
        c->at++;
    }
    return c->at - from;
}

static void skip_sign(struct cursor *c)
{
    c->at += peek(c) == '-' || peek(c) == '+';
}

static int parse_number(struct cursor *c, struct gate_condition *out, struct mlq_err *err)
{
    static const char expected[] = "a decimal number, like 0.95 or 1e-3";
    size_t from = c->at;
    skip_sign(c);
    size_t digits = skip_digits(c);
    if (peek(c) == '.') {
        c->at++;
        digits += skip_digits(c);
    }
    bool good = digits > 0;
    if (good && (peek(c) == 'e' || peek(c) == 'E')) {
        c->at++;
        skip_sign(c);
        good = skip_digits(c) > 0;
    }
    size_t len = c->at - from;
    char text[NUMBER_BYTES_MAX];
    if (!good || len >= sizeof(text) || is_name_part(peek(c))) {
        c->at = from;
        return fail_here(c, err, expected);
    }
    memcpy(text, c->text.ptr + from, len);
    text[len] = '\0';
    out->limit = strtod(text, NULL); /* checked above: all of it is a number */
    if (!isfinite(out->limit)) {
        c->at = from;
        return fail_here(c, err, "a number in the range of a double");
    }
    return 0;
}

static int parse_one(struct cursor *c, struct gate_condition *out, struct mlq_err *err)
{
    skip_blanks(c);
    size_t from = c->at;
    int rc = parse_metric(c, out, err);
    skip_blanks(c);
    rc = rc != 0 ? rc : parse_operator(c, out, err);
    skip_blanks(c);
    rc = rc != 0 ? rc : parse_number(c, out, err);
    out->text = (struct mlq_str){.ptr = c->text.ptr + from, .len = c->at - from};
    return rc;
}

/* *more tells whether an "and" stands here; anything else but the end is an error. */
static int parse_and(struct cursor *c, bool *more, struct mlq_err *err)
{
    size_t number_end = c->at;
    skip_blanks(c);
    *more = false;
    if (c->at == c->text.len) {
        return 0;
    }
    struct mlq_str rest = {.ptr = c->text.ptr + c->at, .len = c->text.len - c->at};
    if (c->at == number_end || !mlq_str_starts(rest, "and") || rest.len < 4 ||
        !is_blank(rest.ptr[3])) {
        return fail_here(c, err, "'and' with another condition, or the end");
    }
    c->at += 3;
    *more = true;
    return 0;
}

int gate_condition_parse(struct mlq_str text, struct gate_condition all[GATE_CONDITIONS_MAX],
                         size_t *count, struct mlq_err *err)
{
    struct cursor c = {.text = text};
    size_t added = *count;
    bool more = true;
    if (text.len > GATE_TEXT_BYTES_MAX || !mlq_str_is_utf8(text)) {
        return mlq_fail(err, MLQ_EINVAL, "a condition of %zu bytes: expected text of at most %u",
                        text.len, GATE_TEXT_BYTES_MAX);
    }
    while (more) {
        if (added == GATE_CONDITIONS_MAX) {
            return mlq_fail(err, MLQ_EFULL, "more than %u conditions: make a second gate",
                            GATE_CONDITIONS_MAX);
        }
        int rc = parse_one(&c, &all[added], err);
        rc = rc != 0 ? rc : parse_and(&c, &more, err);
        if (rc != 0) {
            return rc;
        }
        added++;
    }
    *count = added;
    return 0;
}

const char *gate_condition_operator_text(enum gate_operator op)
{
    switch (op) {
#define GATE_CASE(name, text)                                                                      \
    case GATE_##name:                                                                              \
        return text;
        GATE_OPERATORS(GATE_CASE)
#undef GATE_CASE
    }
    MLQ_UNREACHABLE("gate operator");
}

bool gate_condition_holds(const struct gate_condition *condition, double value)
{
    MLQ_ASSERT(!isnan(value));
    switch (condition->op) {
    case GATE_AT_LEAST:
        return value >= condition->limit;
    case GATE_AT_MOST:
        return value <= condition->limit;
    case GATE_ABOVE:
        return value > condition->limit;
    case GATE_BELOW:
        return value < condition->limit;
    case GATE_EQUAL:
        return value == condition->limit;
    case GATE_UNEQUAL:
        return value != condition->limit;
    }
    MLQ_UNREACHABLE("gate operator");
}
