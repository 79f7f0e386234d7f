/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/artifact/io.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "lib/artifact/lease.h"
#include "lib/base/panic.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

#define BUFFER_BYTES (1u << 20)

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

/* EVP fails only when the library itself is broken or out of memory. */
static EVP_MD_CTX *hash_start(void)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    MLQ_ASSERT(md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1);
    return md;
}

static void hash_add(EVP_MD_CTX *md, const void *data, size_t bytes)
{
    MLQ_ASSERT(EVP_DigestUpdate(md, data, bytes) == 1);
}

static void hash_end(EVP_MD_CTX *md, struct cas_digest *digest)
{
    unsigned int bytes = 0;
    MLQ_ASSERT(EVP_DigestFinal_ex(md, digest->sha256, &bytes) == 1 &&
               bytes == sizeof digest->sha256);
    EVP_MD_CTX_free(md);
}

void io_hash(struct mlq_str bytes, struct cas_digest *digest)
{
    EVP_MD_CTX *md = hash_start();
    hash_add(md, bytes.ptr, bytes.len);
    hash_end(md, digest);
}

/* What io_copy_hashed does beside copying, after each buffer. */
static void look_up(const struct io_copy *copy, uint64_t before, uint64_t done)
{
    if (copy->is_leased) {
        lease_yield(copy->from);
    }
    if (copy->to >= 0 && copy->is_durable) {
        mlq_fs_write_back(copy->to, before, done - before);
    }
    if (copy->progress != NULL) {
        copy->progress(copy->context, done, copy->total_bytes);
    }
}

int io_copy_hashed(const struct io_copy *copy, struct cas_digest *digest, uint64_t *bytes,
                   struct mlq_err *err)
{
    int rc = MLQ_OK;
    char *buffer = mlq_alloc(BUFFER_BYTES);
    EVP_MD_CTX *md = hash_start();
    uint64_t done = 0;
    (void)posix_fadvise(copy->from, 0, 0, POSIX_FADV_SEQUENTIAL);
    for (;;) {
        ssize_t got = read(copy->from, buffer, BUFFER_BYTES);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            rc = io_fail(err, "read", copy->path);
        }
        if (got <= 0) {
            break;
        }
        hash_add(md, buffer, (size_t)got);
        if (copy->to >= 0) {
            rc = mlq_fs_write_all(copy->to, (struct mlq_str){buffer, (size_t)got}, err);
            if (rc != MLQ_OK) {
                rc = mlq_wrap(err, rc, "copy %s to %s", copy->path, copy->to_path);
                break;
            }
        }
        look_up(copy, done, done + (uint64_t)got);
        done += (uint64_t)got;
    }
    hash_end(md, digest);
    mlq_free(buffer);
    *bytes = done;
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
