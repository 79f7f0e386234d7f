/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Error codes and texts. vsnprintf is the only libc formatting that lib/base may use: it writes
 * into the caller's buffer and touches nothing else.
 */
#include "lib/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *mlq_code_text(int code)
{
    switch (code) {
#define MLQ_CODE_CASE(name, value, text)                                                           \
    case value:                                                                                    \
        return text;
        MLQ_CODES(MLQ_CODE_CASE)
#undef MLQ_CODE_CASE
    }
    return "unknown error";
}

int mlq_fail(struct mlq_err *err, int code, const char *fmt, ...)
{
    if (err == NULL) {
        return code;
    }
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(err->text, sizeof err->text, fmt, args);
    va_end(args);
    err->code = code;
    err->sys_errno = 0;
    return code;
}

int mlq_wrap(struct mlq_err *err, int code, const char *fmt, ...)
{
    if (err == NULL) {
        return code;
    }
    char text[MLQ_ERR_TEXT_BYTES];
    va_list args;
    va_start(args, fmt);
    int used = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    size_t at = used < 0 ? 0 : (size_t)used;
    if (at > sizeof text - 3) {
        at = sizeof text - 3;
    }
    text[at++] = ':';
    text[at++] = ' ';
    size_t rest = strnlen(err->text, sizeof err->text - 1);
    if (rest > sizeof text - 1 - at) {
        rest = sizeof text - 1 - at;
    }
    memcpy(text + at, err->text, rest);
    text[at + rest] = '\0';
    memcpy(err->text, text, at + rest + 1);
    err->code = code;
    return code;
}
