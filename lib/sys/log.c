/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/sys/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/sys/clock.h"

#define LINE_BYTES 2048

static _Atomic int level_max = MLQ_LOG_INFO;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void mlq_log_set_level(enum mlq_log_level level)
{
    atomic_store(&level_max, (int)level);
}

/* A value that came from outside must not forge a line or drive a terminal. */
static void defuse(char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f) {
            *text = '?';
        }
    }
}

void mlq_log(enum mlq_log_level level, const char *event, const char *fmt, ...)
{
    if ((int)level > atomic_load(&level_max)) {
        return;
    }
    char when[MLQ_CLOCK_TEXT_BYTES];
    mlq_clock_format_wall(mlq_clock_wall_us(), when);
    char line[LINE_BYTES];
    int head = snprintf(line, sizeof line, "%s %s %s ", when, level_names[level], event);
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(line + head, sizeof line - (size_t)head - 1, fmt, args);
    va_end(args);
    defuse(line);
    size_t used = strlen(line);
    line[used++] = '\n';
    /* One write per line keeps lines of several processes whole; a full disk must not stop us. */
    (void)!write(STDERR_FILENO, line, used);
}
