/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * SHA-256 of what comes piece by piece. It is slower than to read and to write: of what is long it is computed by
 * a thread of its own, beside the caller's, who meanwhile writes the piece and reads the next. For io.c.
 */
#ifndef MLQ_ARTIFACT_SHA256_H
#define MLQ_ARTIFACT_SHA256_H

#include <stddef.h>
#include <stdint.h>

#include "lib/artifact/cas.h"
#include "lib/base/ownership.h"

/* Written in pieces of 1 MiB, a file gets pages of that size, for which a virtual machine has to ask its host: to put a
 * gigabyte took 1.5 s of the processor instead of 1.0. */
#define SHA256_PIECE_BYTES (256u << 10)
#define SHA256_LONG_BYTES  (4u << 20) /* from here on a thread is worth its start, some 50 us */

struct sha256;

/* `bytes` is a guess. Used by one thread; where there is no second one to be had it does all alone. */
MLQ_OWNED_RETURN struct sha256 *sha256_start(uint64_t bytes);

/* Room for the next piece, SHA256_PIECE_BYTES. Waits until there is some. */
char *sha256_room(struct sha256 *sha256);

/* The room's first `bytes` are the next piece. They may be read until the next sha256_room, and not written to. */
void sha256_add(struct sha256 *sha256, size_t bytes);

void sha256_end(MLQ_TAKES struct sha256 *sha256, struct cas_digest *digest);

/* Of all bytes at once. */
void sha256_of(const void *data, size_t bytes, struct cas_digest *digest);

#endif
