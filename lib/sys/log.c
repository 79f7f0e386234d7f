/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/sys/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/sys/clock.h"

#define LINE_BYTES      2048
#define EVENT_BYTES_MAX 128
#define PACE_NS         (60 * MLQ_NS_PER_S)

static _Atomic int level_max = MLQ_LOG_INFO;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void mlq_log_set_level(enum mlq_log_level level)
{
    atomic_store(&level_max, (int)level);
}

/* A value that came from outside must not forge a line or drive a terminal: neither by the control
 * bytes nor by U+0080..U+009F, which some terminals obey too. */
static void defuse(char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char byte = (unsigned char)text[0];
        unsigned char next = (unsigned char)text[1];
        if (byte == 0xc2 && next >= 0x80 && next <= 0x9f) {
            text[0] = '?';
            text[1] = '?';
        } else if (byte < 0x20 || byte == 0x7f) {
            text[0] = '?';
        }
    }
}

void mlq_log(enum mlq_log_level level, const char *event, const char *fmt, ...)
{
    if ((int)level > atomic_load(&level_max)) {
        return;
    }
    int saved_errno = errno; /* the caller may still want to look at it */
    char when[MLQ_CLOCK_TEXT_BYTES];
    mlq_clock_format_wall(mlq_clock_wall_us(), when);
    char line[LINE_BYTES];
    int head = snprintf(line, sizeof line, "%s %s %.*s ", when, level_names[level], EVENT_BYTES_MAX,
                        event);
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(line + head, sizeof line - (size_t)head - 1, fmt, args);
    va_end(args);
    defuse(line);
    size_t used = strlen(line);
    line[used++] = '\n';
    /* One write per line keeps lines of several processes whole; a full disk must not stop us. */
    (void)!write(STDERR_FILENO, line, used);
    errno = saved_errno;
}

bool mlq_log_pace_rest(struct mlq_log_pace *pace, int64_t now_ns, uint64_t *times)
{
    if (pace->held == 0 || (pace->said_ns != 0 && now_ns - pace->said_ns < PACE_NS)) {
        return false;
    }
    *times = pace->held;
    pace->held = 0;
    pace->said_ns = now_ns;
    return true;
}

bool mlq_log_paced(struct mlq_log_pace *pace, int64_t now_ns, uint64_t *times)
{
    pace->held++;
    return mlq_log_pace_rest(pace, now_ns, times);
}
