/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Objects that a process of this user on this machine has hashed a short while ago, when it verified them or
 * made them: what `mlq submit` has just put, a worker reads, the next stage of a pipeline mostly reads what the
 * last one has written, and to hash a gigabyte takes longer than to train on it. Inner to the store.
 *
 * An object is believed to be what it was while its file is the same and was not written to since: file
 * system, inode, size and time of modification. What writes to it by mistake changes that time. Who can set it back
 * on purpose is its owner, and could hand over anything else as well. Damage to the disk shows when the time is
 * over; from when it was seen (cas_known_forget) nothing is believed.
 *
 * The knowledge lies in the store, in a table of fixed size: tmp/known-BOOT-USER, where BOOT is the kernel's
 * name for this run of this machine, so that what another machine says, by its clock and its numbers of file
 * systems, is not even read, nor what was said before a crash of this one. It is believed if it belongs to our user and nobody
 * else may write to it; who is that user owns our objects, too. A process that dies in the middle, two that
 * write at once, a full disk: a line that is not whole says nothing. One that another falls upon is lost, which costs
 * one hash. The table is removed with other leftovers, a day after it was last written to.
 */
#ifndef MLQ_ARTIFACT_CAS_KNOWN_H
#define MLQ_ARTIFACT_CAS_KNOWN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "lib/artifact/cas.h"

#define CAS_KNOWN_PREFIX    "known-"
#define CAS_KNOWN_LINES     1024u       /* of the table: an object has its place in one of them */
#define CAS_KNOWN_BYTES_MIN (1u << 20)  /* others are hashed in a millisecond */
#define CAS_KNOWN_NS        (INT64_C(600) * 1000000000) /* so long is an object believed */

/* Part of an open store, and used as that is: by one thread at a time. */
struct cas_known {
    int folder_fd;    /* borrowed */
    int fd;           /* of the table; -1: none, or not opened yet */
    bool is_tried;    /* to open it */
    int64_t trust_ns; /* CAS_KNOWN_NS, but in tests */
};

void cas_known_init(struct cas_known *known, int folder_fd);
void cas_known_fini(struct cas_known *known);

/* The file with this status had this digest: `before` it was hashed and `after`. Not remembered if it has
 * changed in between, or so shortly before that a change from now on might not be seen. */
void cas_known_add(struct cas_known *known, const struct cas_digest *digest, const struct stat *before,
                   const struct stat *after);
bool cas_known_has(struct cas_known *known, const struct cas_digest *digest, const struct stat *now);

/* The object is damaged. */
void cas_known_forget(struct cas_known *known, const struct cas_digest *digest);

/* A file with this status was put and had this digest. Later on that is a hint to what it may be, and never more. */
void cas_known_add_source(struct cas_known *known, const struct stat *status, const struct cas_digest *digest);
bool cas_known_source(struct cas_known *known, const struct stat *now, struct cas_digest *digest);

#endif
