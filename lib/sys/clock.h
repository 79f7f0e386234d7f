/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The only clocks. Durations and leases are counted on CLOCK_BOOTTIME, which goes on while the
 * machine sleeps; wall time is for the record and for people, never for a decision.
 */
#ifndef MLQ_SYS_CLOCK_H
#define MLQ_SYS_CLOCK_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define MLQ_NS_PER_MS INT64_C(1000000)
#define MLQ_NS_PER_S  INT64_C(1000000000)

int64_t mlq_clock_boot_ns(void);
int64_t mlq_clock_wall_us(void); /* microseconds since 1970-01-01 UTC */
/* For pthread_cond_timedwait on a condition with CLOCK_MONOTONIC (POSIX offers no CLOCK_BOOTTIME
 * there): the moment in `ns` from now, or now when that is past. */
struct timespec mlq_clock_monotonic_after(int64_t ns);

#define MLQ_CLOCK_TEXT_BYTES 32
/* "2026-11-23T09:00:00.123Z" into text[MLQ_CLOCK_TEXT_BYTES]. */
void mlq_clock_format_wall(int64_t wall_us, char *text);

#endif
