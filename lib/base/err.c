/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Error codes and texts. vsnprintf is the only libc formatting that lib/base may use: it writes
 * into the caller's buffer and touches nothing else.
 */
#include "lib/base/err.h"

#include <stdarg.h>
#include <stdbool.h>
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

/* Cut `text` before a UTF-8 sequence that its end has split: what is printed as JSON must stay
 * well-formed. Only for a text that was cut. */
static void drop_split_sequence(char *text, size_t len)
{
    size_t start = len;
    while (start > 0 && len - start < 3 && ((unsigned char)text[start - 1] & 0xc0) == 0x80) {
        start--;
    }
    if (start == 0) {
        return;
    }
    unsigned char lead = (unsigned char)text[start - 1];
    size_t bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    if (bytes > len - start + 1) {
        text[start - 1] = '\0';
    }
}

/* Format into text[room], cut where it must be; returns the length. */
__attribute__((format(printf, 3, 0))) static size_t
format_text(char *text, size_t room, const char *fmt, va_list args)
{
    text[0] = '\0';
    int wanted = vsnprintf(text, room, fmt, args);
    if (wanted >= 0 && (size_t)wanted >= room) {
        drop_split_sequence(text, room - 1);
    }
    return strnlen(text, room - 1);
}

int mlq_fail(struct mlq_err *err, int code, const char *fmt, ...)
{
    if (err == NULL) {
        return code;
    }
    char text[MLQ_ERR_TEXT_BYTES]; /* an argument may be err->text itself */
    va_list args;
    va_start(args, fmt);
    size_t used = format_text(text, sizeof text, fmt, args);
    va_end(args);
    memcpy(err->text, text, used + 1);
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
    size_t at = format_text(text, sizeof text - 2, fmt, args);
    va_end(args);
    text[at++] = ':';
    text[at++] = ' ';
    size_t rest = strnlen(err->text, sizeof err->text - 1);
    bool cut = rest > sizeof text - 1 - at;
    if (cut) {
        rest = sizeof text - 1 - at;
    }
    memcpy(text + at, err->text, rest);
    text[at + rest] = '\0';
    if (cut) {
        drop_split_sequence(text, at + rest);
    }
    memcpy(err->text, text, at + rest + 1);
    err->code = code;
    return code;
}
