/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * For fuzz targets. Each is one program with LLVMFuzzerTestOneInput: libFuzzer drives it when clang
 * builds it (preset fuzz), replay.c when it is a test of the corpus. A target checks what must hold
 * of whatever was accepted, with MLQ_ASSERT; the sanitizers check the rest.
 */
#ifndef MLQ_TESTS_FUZZ_H
#define MLQ_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/panic.h"
#include "lib/base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline struct mlq_str fuzz_text(const uint8_t *data, size_t size)
{
    return (struct mlq_str){.ptr = (const char *)data, .len = size};
}

/* fuzz.c: path of a file in memory that holds these bytes, until the next call with this slot. */
#define FUZZ_FILES_MAX 4
const char *fuzz_file(unsigned slot, const void *data, size_t size);

/* fuzz.c: a folder of this process's own, in memory where it can be; empty at the first call. */
const char *fuzz_folder(void);

#endif
