/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * cmocka with the headers that it wants before it, and panics that a test can expect:
 *
 *     TEST_CATCHES_PANICS
 *     ...
 *     assert_panics(mlq_heap_push(&heap, &node));
 *
 * TEST_CATCHES_PANICS defines mlq_panic, so the linker leaves lib/sys/panic.c out. A panic that no
 * assert_panics expects fails the test.
 */
#ifndef MLQ_TESTS_UNIT_CM_H
#define MLQ_TESTS_UNIT_CM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/base/panic.h"

#define TEST_CATCHES_PANICS                                                                        \
    _Noreturn void mlq_panic(const char *file, int line, const char *what)                         \
    {                                                                                              \
        mock_assert(0, what, file, line);                                                          \
        abort();                                                                                   \
    }

/* cmocka's setjmp and a compound literal in `call`: without optimisation gcc sees a danger that is none. */
#pragma GCC diagnostic ignored "-Wclobbered"

#define assert_panics(call) expect_assert_failure(call)

#endif
