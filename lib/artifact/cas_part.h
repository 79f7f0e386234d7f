/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What cas.c, cas_put.c and cas_fetch.c share; not for others.
 */
#ifndef MLQ_ARTIFACT_CAS_PART_H
#define MLQ_ARTIFACT_CAS_PART_H

#include "lib/artifact/cas.h"
#include "lib/artifact/cas_known.h"

#define CAS_DIGEST_PREFIX     "sha256:"
#define CAS_HEX_DIGITS        64u
#define CAS_OBJECT_NAME_BYTES (CAS_HEX_DIGITS + 2) /* "ab/cdef..." and NUL */
#define CAS_TEMP_PREFIX       "put-"
#define CAS_TEMP_NAME_BYTES   48u

struct cas {
    char *root; /* for messages */
    int objects_fd;
    int temp_fd;
    struct cas_known known;
};

/* "ab/cdef..." below objects/. */
void cas_object_name(const struct cas_digest *digest, char name[CAS_OBJECT_NAME_BYTES]);

int cas_open_object(struct cas *cas,
                    const struct cas_digest *digest,
                    int *fd,
                    uint64_t *bytes,
                    struct mlq_err *err);

/* Reads the object, unless it is known to be whole. MLQ_ENOENT, MLQ_ECORRUPT. */
int cas_verify(struct cas *cas, const struct cas_digest *digest, struct mlq_err *err);

/* Absent and damaged are both "no": either way the bytes must be written. */
bool cas_is_intact(struct cas *cas, const struct cas_digest *digest, uint64_t bytes);

/* MLQ_ECORRUPT, with a text that says what to do. It is known no more. */
int cas_corrupt(struct cas *cas, const struct cas_digest *digest, struct mlq_err *err);

#endif
