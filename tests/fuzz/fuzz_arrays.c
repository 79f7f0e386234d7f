/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * IDX and NPY. The numbers of what opens are as many as its shape says, and all can be read.
 */
#include "tests/fuzz/fuzz.h"
#include "worker/op/array_file.h"

#define DEFLATE_RATIO_MAX 1032u /* of a file that was compressed; zlib's technical notes */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct array_file *file = NULL;
    if (array_file_open(fuzz_file(0, data, size), &file, NULL) != MLQ_OK) {
        return 0;
    }
    MLQ_ASSERT(array_file_rank(file) >= 1 && array_file_rank(file) <= ARRAY_FILE_RANK_MAX);
    uint64_t count = 1;
    bool is_empty = false;
    for (uint32_t i = 0; i < array_file_rank(file); i++) {
        is_empty = is_empty || array_file_size(file, i) == 0;
    }
    for (uint32_t i = 0; !is_empty && i < array_file_rank(file); i++) {
        MLQ_ASSERT(!__builtin_mul_overflow(count, array_file_size(file, i), &count));
    }
    MLQ_ASSERT(is_empty || count <= size * DEFLATE_RATIO_MAX);
    double sum = 0;
    for (uint64_t i = 0; !is_empty && i < count; i++) {
        sum += array_file_number(file, i);
    }
    (void)sum;
    array_file_close(&file);
    return 0;
}
