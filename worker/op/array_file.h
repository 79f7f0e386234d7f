/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Arrays of numbers in a file, mapped and read in place:
 *   IDX   (LeCun's MNIST files) two zero bytes, a type, the number of dimensions, each size as a
 *         big-endian 32-bit number, then big-endian values
 *   NPY   (NumPy, formats 1.0 to 3.0) its header, then values in C order. Pickled objects and
 *         Fortran order are refused.
 * Either may be compressed with gzip: it is then unpacked into a nameless file in TMPDIR, no further
 * than its header says.
 * Everything is checked when a file is opened: its size is what its shape says.
 */
#ifndef MLQ_OP_ARRAY_FILE_H
#define MLQ_OP_ARRAY_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"

#define ARRAY_FILE_RANK_MAX 8u

struct array_file;

int array_file_open(const char *path,
                    MLQ_OWNED_RETURN struct array_file **file,
                    struct mlq_err *err);
void array_file_close(struct array_file **file); /* takes NULL, frees, nulls */

uint32_t array_file_rank(const struct array_file *file); /* >= 1 */
uint64_t array_file_size(const struct array_file *file, uint32_t dimension);

/* The number at `index` of all, in C order. Integers above 2^53 are rounded. */
double array_file_number(const struct array_file *file, uint64_t index);

#endif
