/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A gzip file, unpacked into a file without a name, as far as its reader asks: what it says of its
 * size can then be read before the rest is written, and a bomb is never unpacked. Memory is a
 * window.
 */
#ifndef MLQ_OP_ARRAY_GUNZIP_H
#define MLQ_OP_ARRAY_GUNZIP_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"

struct array_gunzip;

/* Takes `fd`, whose next byte is the first of the file. The unpacked file lies in TMPDIR. */
int array_gunzip_open(int fd, MLQ_OWNED_RETURN struct array_gunzip **gunzip, struct mlq_err *err);
void array_gunzip_close(struct array_gunzip **gunzip); /* takes NULL, frees, nulls */

/* Unpacks until there are at least `bytes` bytes, or the end has come, and at most 64 KiB more.
 * What is cut off, damaged (each member's checksum is looked at) or followed by something else is
 * MLQ_ECORRUPT. */
int array_gunzip_until(struct array_gunzip *gunzip, uint64_t bytes, struct mlq_err *err);

/* Unpacked so far. */
uint64_t array_gunzip_bytes(const struct array_gunzip *gunzip);
/* That file, to be mapped; closed with `gunzip`. */
int array_gunzip_fd(const struct array_gunzip *gunzip);

#endif
