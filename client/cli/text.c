/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "client/cli/text.h"

#include <string.h>
#include <time.h>

#include "lib/sys/clock.h"

const char *text_bytes(uint64_t bytes, char text[TEXT_BYTES])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double amount = (double)bytes / 1024;
    size_t unit = 0;
    if (bytes < 1024) {
        (void)snprintf(text, TEXT_BYTES, "%u B", (unsigned)bytes);
        return text;
    }
    while (amount >= 1000 && unit + 1 < sizeof units / sizeof units[0]) {
        amount /= 1024;
        unit++;
    }
    (void)snprintf(text, TEXT_BYTES, "%.*f %s", amount < 10 ? 1 : 0, amount, units[unit]);
    return text;
}

const char *text_duration(double seconds, char text[TEXT_BYTES])
{
    double whole = seconds < 0 ? 0 : seconds > 1e12 ? 1e12 : seconds;
    unsigned long long s = (unsigned long long)(whole + 0.5);
    if (whole < 0.0995) {
        (void)snprintf(text, TEXT_BYTES, "%.0fms", whole * 1000);
    } else if (whole < 59.95) {
        (void)snprintf(text, TEXT_BYTES, "%.1fs", whole);
    } else if (s < 3600) {
        (void)snprintf(text, TEXT_BYTES, "%llum%02llus", s / 60, s % 60);
    } else if (s < 86400) {
        (void)snprintf(text, TEXT_BYTES, "%lluh%02llum", s / 3600, s / 60 % 60);
    } else {
        (void)snprintf(text, TEXT_BYTES, "%llud%02lluh", s / 86400, s / 3600 % 24);
    }
    return text;
}

double text_time(const char *iso)
{
    struct tm when = {0};
    double seconds = 0;
    if (sscanf(iso, "%4d-%2d-%2dT%2d:%2d:%lf", &when.tm_year, &when.tm_mon, &when.tm_mday,
               &when.tm_hour, &when.tm_min, &seconds) != 6) {
        return -1;
    }
    when.tm_year -= 1900;
    when.tm_mon -= 1;
    return (double)timegm(&when) + seconds;
}

static double now(void)
{
    return (double)mlq_clock_wall_us() / 1e6;
}

const char *text_span(const char *from, const char *to, char text[TEXT_BYTES])
{
    double start = text_time(from);
    double end = to[0] == '\0' ? now() : text_time(to);
    text[0] = '\0';
    return start < 0 || end < 0 ? text : text_duration(end - start, text);
}

const char *text_ago(const char *iso, char text[TEXT_BYTES])
{
    double start = text_time(iso);
    text[0] = '\0';
    if (start >= 0) {
        (void)text_duration(now() - start, text);
        (void)strncat(text, " ago", TEXT_BYTES - strlen(text) - 1);
    }
    return text;
}

struct mlq_str text_safe(struct mlq_region *region, struct mlq_str text, bool lines)
{
    struct mlq_str copy = mlq_region_copy(region, text);
    char *bytes = (char *)(uintptr_t)copy.ptr; /* our own copy */
    for (size_t i = 0; i < copy.len; i++) {
        unsigned char c = (unsigned char)bytes[i];
        bool wanted = lines && (c == '\n' || c == '\t' || c == '\r');
        bool c1 = c == 0xc2 && i + 1 < copy.len && (unsigned char)bytes[i + 1] >= 0x80 &&
                  (unsigned char)bytes[i + 1] < 0xa0;
        if (((c < 0x20 || c == 0x7f) && !wanted) || c1) {
            bytes[i] = '?';
            if (c1) {
                bytes[++i] = '?';
            }
        }
    }
    return copy;
}

static bool begins(char byte)
{
    return ((unsigned char)byte & 0xc0) != 0x80;
}

size_t text_width(struct mlq_str text)
{
    size_t width = 0;
    for (size_t i = 0; i < text.len; i++) {
        width += begins(text.ptr[i]) ? 1 : 0;
    }
    return width;
}

struct mlq_str text_cut(struct mlq_region *region, struct mlq_str text, size_t width)
{
    if (width == 0 || text_width(text) <= width) {
        return width == 0 ? (struct mlq_str){0} : text;
    }
    size_t end = 0;
    for (size_t seen = 0; end < text.len; end++) {
        if (begins(text.ptr[end]) && seen++ == width - 1) {
            break;
        }
    }
    return mlq_str_from(mlq_region_format(region, "%.*s…", (int)end, text.ptr));
}
