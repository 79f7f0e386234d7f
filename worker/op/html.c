/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/html.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/sys/mem.h"

static void add_bytes(struct html *h, const char *bytes, size_t len)
{
    if (h->full || len > HTML_BYTES_MAX - h->len) {
        h->full = true;
        return;
    }
    if (h->len + len + 1 > h->room) {
        size_t room = h->room == 0 ? 16384 : h->room;
        while (room < h->len + len + 1) {
            room *= 2;
        }
        h->bytes = mlq_realloc_array(h->bytes, room, 1);
        h->room = room;
    }
    memcpy(h->bytes + h->len, bytes, len);
    h->len += len;
    h->bytes[h->len] = '\0';
}

void html_fini(struct html *h)
{
    mlq_free(h->bytes);
    *h = (struct html){.full = false};
}

void html_add(struct html *h, const char *markup)
{
    add_bytes(h, markup, strlen(markup));
}

void html_addf(struct html *h, const char *fmt, ...)
{
    char small[256];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(small, sizeof(small), fmt, args);
    va_end(args);
    if (len < 0) {
        return;
    }
    if ((size_t)len < sizeof(small)) {
        add_bytes(h, small, (size_t)len);
        return;
    }
    va_start(args, fmt);
    char *large = mlq_vformat(fmt, args);
    va_end(args);
    html_add(h, large);
    mlq_free(large);
}

/* Decodes one code point of well-formed UTF-8 (RFC 3629) into *point and returns its bytes; 0 when
 * what stands there is not well-formed. */
static size_t decode(const char *text, uint32_t *point)
{
    const uint8_t *b = (const uint8_t *)text;
    if (b[0] < 0x80) {
        *point = b[0];
        return 1;
    }
    size_t len = b[0] >= 0xf0 ? 4 : b[0] >= 0xe0 ? 3 : 2;
    if (b[0] < 0xc2 || b[0] > 0xf4) {
        return 0;
    }
    uint32_t value = b[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((b[i] & 0xc0) != 0x80) { /* stops at the NUL too */
            return 0;
        }
        value = value << 6 | (b[i] & 0x3fu);
    }
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (value < smallest[len] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) {
        return 0;
    }
    *point = value;
    return len;
}

static bool is_unwanted(uint32_t point)
{
    return (point < 0x20 && point != '\n' && point != '\t') || (point >= 0x7f && point < 0xa0) ||
           point == 0x200e || point == 0x200f || (point >= 0x202a && point <= 0x202e) ||
           (point >= 0x2066 && point <= 0x2069) || (point & 0xfffe) == 0xfffe;
}

static void add_point(struct html *h, const char *bytes, size_t len, uint32_t point)
{
    if (len == 0 || is_unwanted(point)) {
        html_add(h, "\xef\xbf\xbd");
        return;
    }
    const char *escape = point == '<'    ? "&lt;"
                         : point == '>'  ? "&gt;"
                         : point == '&'  ? "&amp;"
                         : point == '"'  ? "&#34;"
                         : point == '\'' ? "&#39;"
                                         : NULL;
    if (escape != NULL) {
        html_add(h, escape);
        return;
    }
    add_bytes(h, bytes, len);
}

void html_cut(struct html *h, const char *text, size_t chars_max)
{
    size_t chars = 0;
    while (text != NULL && *text != '\0') {
        uint32_t point = 0;
        size_t len = decode(text, &point);
        size_t step = len == 0 ? 1 : len;
        if (chars + 1 >= chars_max && text[step] != '\0') {
            html_add(h, "\xe2\x80\xa6");
            return;
        }
        add_point(h, text, len, point);
        text += step;
        chars++;
    }
}

void html_text(struct html *h, const char *text)
{
    html_cut(h, text, SIZE_MAX);
}

void html_count(struct html *h, uint64_t value)
{
    char digits[24];
    int len = snprintf(digits, sizeof(digits), "%" PRIu64, value);
    for (int i = 0; i < len; i++) {
        add_bytes(h, digits + i, 1);
        if ((len - i - 1) % 3 == 0 && i + 1 < len) {
            html_add(h, ",");
        }
    }
}

void html_number(struct html *h, double value)
{
    if (!isfinite(value)) {
        html_add(h, isnan(value) ? "-" : value > 0 ? "\xe2\x88\x9e" : "-\xe2\x88\x9e");
        return;
    }
    double size = fabs(value);
    if (size < 9e15 && size >= 1000.0 && floor(size) == size) {
        html_add(h, value < 0 ? "-" : "");
        html_count(h, (uint64_t)size);
    } else if (floor(size) == size && size < 1000.0) {
        html_addf(h, "%.0f", value);
    } else if (size >= 1e-2 && size < 1e6) {
        int decimals = size >= 1000.0 ? 1 : size >= 100.0 ? 2 : size >= 10.0 ? 3 : 4;
        html_addf(h, "%.*f", decimals, value);
    } else {
        html_addf(h, "%.3g", value);
    }
}

void html_size(struct html *h, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024.0 && unit + 1 < MLQ_COUNT_OF(units)) {
        value /= 1024.0;
        unit++;
    }
    html_addf(h, unit == 0 || value >= 100.0 ? "%.0f\xc2\xa0%s" : "%.1f\xc2\xa0%s", value,
              units[unit]);
}

void html_duration(struct html *h, int64_t ms)
{
    int64_t s = ms / 1000;
    if (ms < 0) {
        html_add(h, "-");
    } else if (ms < 1000) {
        html_addf(h, "%" PRId64 "\xc2\xa0ms", ms);
    } else if (ms < 60000) {
        html_addf(h, "%.1f\xc2\xa0s", (double)ms / 1000.0);
    } else if (s < 3600) {
        html_addf(h, "%" PRId64 "\xc2\xa0min %" PRId64 "\xc2\xa0s", s / 60, s % 60);
    } else if (s < 86400) {
        html_addf(h, "%" PRId64 "\xc2\xa0h %" PRId64 "\xc2\xa0min", s / 3600, s / 60 % 60);
    } else {
        html_addf(h,
                  "%" PRId64 "\xc2\xa0"
                  "d %" PRId64 "\xc2\xa0h",
                  s / 86400, s / 3600 % 24);
    }
}

void html_share(struct html *h, double fraction)
{
    double percent = fraction * 100.0;
    if (!isfinite(percent)) {
        html_add(h, "-");
    } else if (percent > 0.0 && percent < 0.1) {
        html_add(h, "&lt;\xc2\xa0"
                    "0.1\xc2\xa0%");
    } else {
        html_addf(h, percent == floor(percent) ? "%.0f\xc2\xa0%%" : "%.1f\xc2\xa0%%", percent);
    }
}
