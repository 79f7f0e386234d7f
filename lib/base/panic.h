/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Assertions for broken code. They stay on in production: a scheduler that goes on with a wrong
 * table writes wrong facts, one that stops is restarted by its record.
 */
#ifndef MLQ_BASE_PANIC_H
#define MLQ_BASE_PANIC_H

/* Never returns. Supplied by lib/sys (prints, then aborts) or by a test. */
_Noreturn void mlq_panic(const char *file, int line, const char *what);

#define MLQ_ASSERT(condition)                                                                      \
    do {                                                                                           \
        if (__builtin_expect(!(condition), 0)) {                                                   \
            mlq_panic(__FILE__, __LINE__, #condition);                                             \
        }                                                                                          \
    } while (0)

/* A place that correct code cannot reach, for instance after a switch over all enum values. */
#define MLQ_UNREACHABLE(what) mlq_panic(__FILE__, __LINE__, what)

#endif
