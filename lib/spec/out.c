/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/spec/out.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/sys/mem.h"

#define ROOM_FIRST 1024

static char *grow(struct out *out, size_t bytes)
{
    if (out->len + bytes + 1 > out->room) {
        out->room = (out->len + bytes + 1) * 2 + ROOM_FIRST;
        out->text = mlq_realloc_array(out->text, out->room, 1);
    }
    char *place = out->text + out->len;
    out->len += bytes;
    out->text[out->len] = '\0';
    return place;
}

void out_add(struct out *out, struct mlq_str text)
{
    char *place = grow(out, text.len);
    if (text.len > 0) {
        memcpy(place, text.ptr, text.len);
    }
}

void out_add_c(struct out *out, const char *text)
{
    out_add(out, mlq_str_from(text));
}

struct mlq_str out_take(struct out *out, struct mlq_region *region)
{
    struct mlq_str copy = mlq_region_copy(region, (struct mlq_str){.ptr = out->text, .len = out->len});
    mlq_free(out->text);
    *out = (struct out){0};
    return copy;
}

/* ---- JSON -------------------------------------------------------------------------------------- */

static void comma(struct out *out)
{
    char last = out->len == 0 ? '{' : out->text[out->len - 1];
    if (last != '{' && last != '[' && last != ':') {
        *grow(out, 1) = ',';
    }
}

void out_open(struct out *out, char bracket)
{
    comma(out);
    *grow(out, 1) = bracket;
}

void out_close(struct out *out, char bracket)
{
    *grow(out, 1) = bracket;
}

static void escape(struct out *out, unsigned char c)
{
    static const char names[] = "\"\"\\\\\bb\ff\nn\rr\tt"; /* a byte, and its letter behind the backslash */
    char code[8];
    for (size_t i = 0; i + 1 < sizeof names; i += 2) {
        if ((unsigned char)names[i] == c) {
            (void)snprintf(code, sizeof code, "\\%c", names[i + 1]);
            out_add_c(out, code);
            return;
        }
    }
    (void)snprintf(code, sizeof code, "\\u%04X", c);
    out_add_c(out, code);
}

static void quote(struct out *out, struct mlq_str text)
{
    size_t from = 0;
    *grow(out, 1) = '"';
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c < 0x20 || c == '"' || c == '\\') {
            out_add(out, (struct mlq_str){.ptr = text.ptr + from, .len = i - from});
            escape(out, c);
            from = i + 1;
        }
    }
    out_add(out, (struct mlq_str){.ptr = text.ptr + from, .len = text.len - from});
    *grow(out, 1) = '"';
}

void out_key(struct out *out, struct mlq_str key)
{
    out_text(out, key);
    *grow(out, 1) = ':';
}

void out_text(struct out *out, struct mlq_str text)
{
    comma(out);
    quote(out, text);
}

void out_number(struct out *out, int64_t number)
{
    char digits[24];
    (void)snprintf(digits, sizeof digits, "%" PRId64, number);
    comma(out);
    out_add_c(out, digits);
}

void out_json(struct out *out, struct mlq_str json)
{
    comma(out);
    out_add(out, json);
}
