/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/sys/clock.h"

#include <stdio.h>
#include <time.h>

#include "lib/base/panic.h"

int64_t mlq_clock_boot_ns(void)
{
    struct timespec now;
    MLQ_ASSERT(clock_gettime(CLOCK_BOOTTIME, &now) == 0);
    return (int64_t)now.tv_sec * MLQ_NS_PER_S + now.tv_nsec;
}

int64_t mlq_clock_wall_us(void)
{
    struct timespec now;
    MLQ_ASSERT(clock_gettime(CLOCK_REALTIME, &now) == 0);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

struct timespec mlq_clock_monotonic_after(int64_t ns)
{
    struct timespec at;
    MLQ_ASSERT(clock_gettime(CLOCK_MONOTONIC, &at) == 0);
    int64_t nanos = (ns < 0 ? 0 : ns) + at.tv_nsec;
    at.tv_sec += nanos / MLQ_NS_PER_S;
    at.tv_nsec = nanos % MLQ_NS_PER_S;
    return at;
}

void mlq_clock_format_wall(int64_t wall_us, char *text)
{
    int64_t micros = wall_us % 1000000;
    int64_t whole = wall_us / 1000000;
    if (micros < 0) {
        micros += 1000000;
        whole -= 1;
    }
    time_t seconds = (time_t)whole;
    struct tm utc = {0};
    MLQ_ASSERT(gmtime_r(&seconds, &utc) != NULL);
    size_t used = strftime(text, MLQ_CLOCK_TEXT_BYTES, "%Y-%m-%dT%H:%M:%S", &utc);
    (void)snprintf(text + used, MLQ_CLOCK_TEXT_BYTES - used, ".%03dZ", (int)(micros / 1000));
}
