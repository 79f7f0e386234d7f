/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/artifact/io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/artifact/lease.h"
#include "lib/artifact/sha256.h"
#include "lib/sys/fs.h"

#define BEHIND_BYTES  (8u << 20)  /* are handed to the disk at a time */
#define COMPARE_BYTES (64u << 10) /* at a time, which stay in the second cache */

int io_fail(struct mlq_err *err, const char *verb, const char *path)
{
    int saved = errno;
    int code = saved == ENOENT                                         ? MLQ_ENOENT
               : saved == EEXIST                                       ? MLQ_EEXIST
               : saved == EACCES || saved == EPERM || saved == EROFS   ? MLQ_EPERM
               : saved == ENOSPC || saved == EDQUOT || saved == EFBIG  ? MLQ_EFULL
               : saved == ELOOP || saved == ENOTDIR || saved == EISDIR ? MLQ_EINVAL
                                                                       : MLQ_EIO;
    (void)mlq_fail(err, code, "%s %s: %s", verb, path, strerror(saved));
    if (err != NULL) {
        err->sys_errno = saved;
    }
    return code;
}

int io_open_regular(int dir_fd, const char *path, bool follow, int *fd, uint64_t *bytes,
                    struct mlq_err *err)
{
    /* O_NONBLOCK: a pipe must not hold us before we know that it is one. */
    int opened =
        openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | (follow ? 0 : O_NOFOLLOW));
    if (opened < 0) {
        return errno == ELOOP ? mlq_fail(err, MLQ_EINVAL,
                                         "open %s: a symbolic link is not followed here", path)
                              : io_fail(err, "open", path);
    }
    struct stat status;
    int rc = MLQ_OK;
    if (fstat(opened, &status) != 0) {
        rc = io_fail(err, "stat", path);
    } else if (!S_ISREG(status.st_mode)) {
        rc = mlq_fail(err, MLQ_EINVAL, "open %s: not a regular file", path);
    }
    if (rc != MLQ_OK) {
        close(opened);
        return rc;
    }
    *fd = opened;
    *bytes = (uint64_t)status.st_size;
    return MLQ_OK;
}

/* What io_copy_hashed does beside copying, after each piece. */
static void look_up(const struct io_copy *copy, uint64_t before, uint64_t done)
{
    if (copy->is_leased) {
        lease_yield(copy->from);
    }
    if (copy->to >= 0 && copy->is_durable && before / BEHIND_BYTES != done / BEHIND_BYTES) {
        mlq_fs_write_back(copy->to, before / BEHIND_BYTES * BEHIND_BYTES, BEHIND_BYTES);
    }
    if (copy->progress != NULL) {
        copy->progress(copy->context, done, copy->total_bytes);
    }
}

/* Behind the last bytes, with none of them, that the other ends there, too. */
static void compare(struct io_twin *twin, const char *piece, size_t bytes, uint64_t at)
{
    char room[COMPARE_BYTES];
    size_t done = 0;
    do {
        size_t part = bytes - done < sizeof room ? bytes - done : sizeof room;
        ssize_t got = pread(twin->fd, room, part > 0 ? part : 1, (off_t)(at + done));
        twin->differs |= got != (ssize_t)part || memcmp(piece + done, room, part) != 0;
        done += part;
    } while (!twin->differs && done < bytes);
}

/* From one place of one file to the same of the other. */
static int copy_all(const struct io_copy *copy, struct sha256 *sha256, uint64_t *done,
                    struct mlq_err *err)
{
    for (;;) {
        char *piece = sha256_room(sha256);
        ssize_t got = pread(copy->from, piece, SHA256_PIECE_BYTES, (off_t)*done);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return io_fail(err, "read", copy->path);
        }
        if (copy->twin != NULL && !copy->twin->differs) {
            compare(copy->twin, piece, (size_t)got, *done);
        }
        if (got == 0) {
            return MLQ_OK;
        }
        sha256_add(sha256, (size_t)got);
        if (copy->to >= 0) {
            int rc = mlq_fs_write_all(copy->to, (struct mlq_str){piece, (size_t)got}, err);
            if (rc != MLQ_OK) {
                return mlq_wrap(err, rc, "copy %s to %s", copy->path, copy->to_path);
            }
        }
        look_up(copy, *done, *done + (uint64_t)got);
        *done += (uint64_t)got;
    }
}

int io_copy_hashed(const struct io_copy *copy, struct cas_digest *digest, uint64_t *bytes,
                   struct mlq_err *err)
{
    struct io_copy what = *copy;
    if (copy->to >= 0 && ioctl(copy->to, FICLONE, copy->from) == 0) {
        what.from = copy->to;
        what.to = -1;
    }
    struct sha256 *sha256 = sha256_start(what.total_bytes);
    (void)posix_fadvise(what.from, 0, 0, POSIX_FADV_SEQUENTIAL);
    *bytes = 0;
    int rc = copy_all(&what, sha256, bytes, err);
    sha256_end(sha256, digest);
    return rc;
}

/* Counts what the parser would build: every value but the outermost follows one of { [ , outside
 * a string. Not a check of the grammar: that is the parser's. */
static int json_count(struct mlq_str text, struct io_json_limits limits, struct mlq_err *err)
{
    uint32_t depth = 0;
    uint32_t values = 1;
    bool in_string = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (in_string) {
            i += c == '\\' ? 1 : 0;
            in_string = c != '"';
            continue;
        }
        in_string = c == '"';
        depth += c == '{' || c == '[' ? 1 : 0;
        depth -= (c == '}' || c == ']') && depth > 0 ? 1 : 0;
        values += c == '{' || c == '[' || c == ',' ? 1 : 0;
        if (depth > limits.depth_max) {
            return mlq_fail(err, MLQ_EFULL, "JSON is nested deeper than %u", limits.depth_max);
        }
        if (values > limits.values_max) {
            return mlq_fail(err, MLQ_EFULL, "JSON holds more than %u values", limits.values_max);
        }
    }
    return MLQ_OK;
}

int io_json_parse(struct mlq_str text, struct io_json_limits limits, json_t **json,
                  struct mlq_err *err)
{
    int rc = json_count(text, limits, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    json_error_t where;
    *json = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, &where);
    if (*json == NULL) {
        return mlq_fail(err, MLQ_EINVAL, "JSON, line %d, column %d: %s", where.line, where.column,
                        where.text);
    }
    return MLQ_OK;
}
