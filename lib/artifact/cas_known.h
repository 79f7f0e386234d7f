/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Objects that this process has hashed a short while ago, when it verified them or made them: the next
 * stage of a pipeline mostly reads on the same machine what the last one has written, and to hash a
 * gigabyte takes longer than to train on it.
 *
 * An object is believed to be what it was while its file is the same and was not written to since: file
 * system, inode, size and time of modification. What writes to it by mistake changes that time. Who can set it back
 * on purpose is its owner, and could hand over anything else as well. Damage to the disk
 * shows when the time is over.
 *
 * Any thread may call these at any time.
 */
#ifndef MLQ_ARTIFACT_CAS_KNOWN_H
#define MLQ_ARTIFACT_CAS_KNOWN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "lib/artifact/cas.h"

#define CAS_KNOWN_MAX       64u         /* objects; then the oldest is forgotten */
#define CAS_KNOWN_BYTES_MIN (1u << 20)  /* others are hashed in a millisecond */
#define CAS_KNOWN_NS        (INT64_C(600) * 1000000000) /* so long is an object believed */

/* `trust_ns` is CAS_KNOWN_NS, but in tests. */
MLQ_OWNED_RETURN struct cas_known *cas_known_create(int64_t trust_ns);
void cas_known_destroy(struct cas_known **known); /* takes NULL */

/* The file with this status had this digest: `before` it was hashed and `after`. Not remembered if it has
 * changed in between, or so shortly before that a change from now on might not be seen. NULL: nothing is. */
void cas_known_add(struct cas_known *known, const struct cas_digest *digest, const struct stat *before,
                   const struct stat *after);
bool cas_known_has(struct cas_known *known, const struct cas_digest *digest, const struct stat *now);

#endif
