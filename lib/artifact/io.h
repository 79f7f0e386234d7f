/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What the store and the safetensors files share: descriptors, copies, and JSON from untrusted files.
 */
#ifndef MLQ_ARTIFACT_IO_H
#define MLQ_ARTIFACT_IO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <jansson.h>

#include "lib/artifact/cas.h"
#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "lib/base/str.h"

/* Turns errno into an error "<verb> <path>: <reason>" and returns its code; a full disk is
 * MLQ_EFULL, a missing file MLQ_ENOENT. */
int io_fail(struct mlq_err *err, const char *verb, const char *path);

/* Opens a regular file to read. A final symlink is followed only when `follow`; devices, pipes and
 * folders are refused without blocking. dir_fd may be AT_FDCWD. */
int io_open_regular(int dir_fd,
                    const char *path,
                    bool follow,
                    int *fd,
                    uint64_t *bytes,
                    struct mlq_err *err);

/* All bytes of the file `from`, hashed, and written to the empty file `to` unless that is -1: in one pass, so that
 * the digest is that of the copy whoever writes to `from` meanwhile. Where the file system can, the copy is a
 * clone, and hashed is the clone. `path` names `from` and `to_path` names `to` in errors. */
struct io_twin { /* a file that may hold the same */
    int fd;
    bool differs; /* result: unless it was there in all bytes of `from`, and they in it */
};
struct io_copy {
    int from;
    int to;
    bool is_leased;  /* `from` may be (lease.h) */
    bool is_durable; /* `to` will be synced: the disk may begin */
    const char *path;
    const char *to_path;
    struct io_twin *twin; /* is read beside `from`, which takes no longer; NULL: none */
    uint64_t total_bytes; /* expected */
    cas_progress_fn progress;
    void *context;
};
int io_copy_hashed(const struct io_copy *copy,
                   struct cas_digest *digest,
                   uint64_t *bytes,
                   struct mlq_err *err);

/* JSON that somebody else wrote. Depth and number of values are counted before anything is built, so
 * memory is bounded by the limits and the text; duplicate keys and NUL are refused. The caller owns
 * *json (json_decref). Errors give line and column. */
struct io_json_limits {
    uint32_t depth_max;
    uint32_t values_max;
};
int io_json_parse(struct mlq_str text,
                  struct io_json_limits limits,
                  MLQ_OWNED_RETURN json_t **json,
                  struct mlq_err *err);

#endif
