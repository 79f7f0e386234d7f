/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * All shapes are given first, so that every offset is known before the first byte of data is.
 */
#include "lib/artifact/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "lib/artifact/io.h"
#include "lib/base/panic.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

#define HEADER_ALIGN        8u         /* the data then begin aligned for every dtype */
#define ALLOCATED_BYTES_MIN (16 << 20) /* smaller files are written too soon to gain */
#define BEHIND_BYTES        (64u << 20) /* that are written while the disk waits */

struct safetensors_writer {
    char *path;
    char *temp;
    int fd;
    size_t count;
    size_t current;    /* of safetensors_writer_write */
    uint64_t *offsets; /* count + 1, in the file */
    uint64_t *written; /* count */
    _Atomic uint64_t waiting; /* bytes that the disk may not have begun with */
};

/* The bytes of a tensor to be written, by its shape. */
static int declared_bytes(const struct safetensors_tensor *tensor, uint64_t *bytes,
                          struct mlq_err *err)
{
    MLQ_ASSERT(tensor->rank <= SAFETENSORS_RANK_MAX);
    *bytes = safetensors_dtype_bytes(tensor->dtype);
    for (uint32_t i = 0; i < tensor->rank; i++) {
        if (__builtin_mul_overflow(*bytes, tensor->shape[i], bytes) || *bytes > INT64_MAX) {
            return mlq_fail(err, MLQ_EFULL, "tensor '%.100s' is too large", tensor->name);
        }
    }
    return MLQ_OK;
}

static int add_metadata(json_t *header, const char *const *metadata, struct mlq_err *err)
{
    json_t *object = json_object();
    MLQ_ASSERT(json_object_set_new(header, SAFETENSORS_METADATA_KEY, object) == 0);
    for (size_t i = 0; metadata[i] != NULL; i += 2) {
        MLQ_ASSERT(metadata[i + 1] != NULL);
        if (json_object_get(object, metadata[i]) != NULL ||
            json_object_set_new(object, metadata[i], json_string(metadata[i + 1])) != 0) {
            return mlq_fail(err, MLQ_EINVAL, "metadata '%.100s' is given twice or is not UTF-8",
                            metadata[i]);
        }
    }
    return MLQ_OK;
}

static json_t *describe(const struct safetensors_tensor *tensor, uint64_t begin, uint64_t end)
{
    json_t *shape = json_array();
    for (uint32_t i = 0; i < tensor->rank; i++) {
        MLQ_ASSERT(json_array_append_new(shape, json_integer((json_int_t)tensor->shape[i])) == 0);
    }
    json_t *entry =
        json_pack("{s:s, s:o, s:[I, I]}", "dtype", safetensors_dtype_text(tensor->dtype), "shape",
                  shape, "data_offsets", (json_int_t)begin, (json_int_t)end);
    MLQ_ASSERT(entry != NULL);
    return entry;
}

/* Fills writer->offsets relative to the data, and the header object. */
static int lay_out(struct safetensors_writer *writer, const struct safetensors_tensor *tensors,
                   json_t *header, struct mlq_err *err)
{
    for (size_t i = 0; i < writer->count; i++) {
        uint64_t bytes;
        int rc = declared_bytes(&tensors[i], &bytes, err);
        if (rc != MLQ_OK) {
            return rc;
        }
        if (__builtin_add_overflow(writer->offsets[i], bytes, &writer->offsets[i + 1]) ||
            writer->offsets[i + 1] > (uint64_t)INT64_MAX / 2) {
            return mlq_fail(err, MLQ_EFULL, "the tensors are too large for one file");
        }
        json_t *entry = describe(&tensors[i], writer->offsets[i], writer->offsets[i + 1]);
        if (strcmp(tensors[i].name, SAFETENSORS_METADATA_KEY) == 0 ||
            json_object_get(header, tensors[i].name) != NULL) {
            json_decref(entry);
            return mlq_fail(err, MLQ_EINVAL, "tensor name '%.100s' is reserved or given twice",
                            tensors[i].name);
        }
        if (json_object_set_new(header, tensors[i].name, entry) != 0) {
            return mlq_fail(err, MLQ_EINVAL, "tensor %zu has a name that is not UTF-8", i);
        }
    }
    return MLQ_OK;
}

static int write_header(struct safetensors_writer *writer, const json_t *header,
                        struct mlq_err *err)
{
    char *text = json_dumps(header, JSON_COMPACT);
    if (text == NULL) {
        return mlq_fail(err, MLQ_EINVAL, "the header does not fit JSON");
    }
    size_t len = strlen(text);
    uint64_t padded = (len + HEADER_ALIGN - 1) / HEADER_ALIGN * HEADER_ALIGN;
    int rc = MLQ_OK;
    if (padded > SAFETENSORS_HEADER_BYTES_MAX) {
        rc = mlq_fail(err, MLQ_EFULL, "a header of %" PRIu64 " bytes is over the limit of %u",
                      padded, SAFETENSORS_HEADER_BYTES_MAX);
    } else {
        rc = mlq_fs_write_all(writer->fd, (struct mlq_str){(const char *)&padded, SAFETENSORS_LENGTH_BYTES},
                              err);
    }
    if (rc == MLQ_OK) {
        rc = mlq_fs_write_all(writer->fd, (struct mlq_str){text, len}, err);
    }
    if (rc == MLQ_OK) {
        rc =
            mlq_fs_write_all(writer->fd, (struct mlq_str){"        ", (size_t)(padded - len)}, err);
    }
    mlq_free(text); /* jansson's, which comes from malloc as ours does */
    for (size_t i = 0; i <= writer->count; i++) {
        writer->offsets[i] += SAFETENSORS_LENGTH_BYTES + padded;
    }
    return rc;
}

/* All of its blocks at once: to write takes half as long as where each block is looked for when it comes, and a disk
 * that is too full says so before the work. */
static int extend(struct safetensors_writer *writer, struct mlq_err *err)
{
    off_t bytes = (off_t)writer->offsets[writer->count];
    if (fchmod(writer->fd, 0644) != 0) {
        return io_fail(err, "extend", writer->temp);
    }
    if (bytes >= ALLOCATED_BYTES_MIN) {
        if (fallocate(writer->fd, 0, 0, bytes) == 0) {
            return MLQ_OK;
        }
        if (errno == ENOSPC || errno == EDQUOT) { /* else: not on this file system */
            int rc = io_fail(err, "extend", writer->temp);
            return mlq_wrap(err, rc, "its %" PRId64 " MiB do not fit", (int64_t)bytes >> 20);
        }
    }
    return ftruncate(writer->fd, bytes) == 0 ? MLQ_OK : io_fail(err, "extend", writer->temp);
}

static int writer_begin(struct safetensors_writer *writer, const struct safetensors_tensor *tensors,
                        const char *const *metadata, struct mlq_err *err)
{
    json_t *header = json_object();
    int rc = metadata == NULL ? MLQ_OK : add_metadata(header, metadata, err);
    if (rc == MLQ_OK) {
        rc = lay_out(writer, tensors, header, err);
    }
    if (rc == MLQ_OK) {
        writer->fd = mkostemp(writer->temp, O_CLOEXEC);
        rc = writer->fd < 0 ? io_fail(err, "create", writer->temp)
                            : write_header(writer, header, err);
    }
    if (rc == MLQ_OK) {
        rc = extend(writer, err);
    }
    json_decref(header);
    return rc;
}

int safetensors_writer_create(const char *path, const struct safetensors_tensor *tensors,
                              size_t count, const char *const *metadata,
                              struct safetensors_writer **out, struct mlq_err *err)
{
    if (count > SAFETENSORS_COUNT_MAX) {
        return mlq_fail(err, MLQ_EFULL, "write %s: more than %u tensors", path,
                        SAFETENSORS_COUNT_MAX);
    }
    struct safetensors_writer *writer = mlq_alloc(sizeof *writer);
    writer->path = mlq_strdup(path);
    writer->temp = mlq_format("%s.tmp.XXXXXX", path);
    writer->fd = -1;
    writer->count = count;
    writer->offsets = mlq_alloc_array(count + 1, sizeof *writer->offsets);
    writer->written = mlq_alloc_array(count, sizeof *writer->written);
    int rc = writer_begin(writer, tensors, metadata, err);
    if (rc != MLQ_OK) {
        safetensors_writer_abort(&writer);
        return mlq_wrap(err, rc, "write %s", path);
    }
    *out = writer;
    return MLQ_OK;
}

int safetensors_writer_append(struct safetensors_writer *writer, size_t i, const void *data, size_t bytes,
                       struct mlq_err *err)
{
    MLQ_ASSERT(i < writer->count);
    uint64_t size = writer->offsets[i + 1] - writer->offsets[i];
    if (bytes > size - writer->written[i]) {
        return mlq_fail(err, MLQ_EINVAL,
                        "write %s: tensor %zu gets more than its %" PRIu64 " bytes", writer->path,
                        i, size);
    }
    const uint8_t *from = data;
    while (bytes > 0) {
        ssize_t put =
            pwrite(writer->fd, from, bytes, (off_t)(writer->offsets[i] + writer->written[i]));
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0) {
            return io_fail(err, "write", writer->path);
        }
        writer->written[i] += (uint64_t)put;
        (void)atomic_fetch_add(&writer->waiting, (uint64_t)put);
        from += put;
        bytes -= (size_t)put;
    }
    if (atomic_load(&writer->waiting) >= BEHIND_BYTES) {
        atomic_store(&writer->waiting, 0);
        mlq_fs_write_back(writer->fd, 0, 0);
    }
    return MLQ_OK;
}

int safetensors_writer_write(struct safetensors_writer *writer, const void *data, size_t bytes,
                      struct mlq_err *err)
{
    const uint8_t *from = data;
    while (bytes > 0) {
        size_t i = writer->current;
        if (i == writer->count) {
            return mlq_fail(err, MLQ_EINVAL, "write %s: more bytes than the tensors hold",
                            writer->path);
        }
        uint64_t room = writer->offsets[i + 1] - writer->offsets[i] - writer->written[i];
        size_t part = bytes < room ? bytes : (size_t)room;
        int rc = safetensors_writer_append(writer, i, from, part, err);
        if (rc != MLQ_OK) {
            return rc;
        }
        from += part;
        bytes -= part;
        writer->current += part == room ? 1 : 0;
    }
    return MLQ_OK;
}

static int check_complete(const struct safetensors_writer *writer, struct mlq_err *err)
{
    for (size_t i = 0; i < writer->count; i++) {
        uint64_t size = writer->offsets[i + 1] - writer->offsets[i];
        if (writer->written[i] != size) {
            return mlq_fail(err, MLQ_EINVAL,
                            "write %s: tensor %zu got %" PRIu64 " of %" PRIu64 " bytes",
                            writer->path, i, writer->written[i], size);
        }
    }
    return MLQ_OK;
}

static int sync_folder(const struct safetensors_writer *writer, struct mlq_err *err)
{
    const char *slash = strrchr(writer->path, '/');
    char *dir =
        slash == NULL
            ? mlq_strdup(".")
            : mlq_strndup((struct mlq_str){writer->path, (size_t)(slash - writer->path) + 1});
    int rc = mlq_fs_sync_dir(dir, err);
    mlq_free(dir);
    return rc;
}

static int publish(const struct safetensors_writer *writer, bool is_durable, struct mlq_err *err)
{
    int rc = check_complete(writer, err);
    if (rc == MLQ_OK && is_durable && fsync(writer->fd) != 0) {
        rc = io_fail(err, "sync", writer->temp);
    }
    if (rc == MLQ_OK && rename(writer->temp, writer->path) != 0) {
        rc = io_fail(err, "rename to", writer->path);
    }
    return rc == MLQ_OK && is_durable ? sync_folder(writer, err) : rc;
}

int safetensors_writer_finish(struct safetensors_writer **writer, struct mlq_err *err)
{
    int rc = publish(*writer, true, err);
    safetensors_writer_abort(writer); /* after the rename there is no temporary file to remove */
    return rc;
}

int safetensors_writer_finish_output(struct safetensors_writer **writer, struct mlq_err *err)
{
    int rc = publish(*writer, false, err);
    safetensors_writer_abort(writer);
    return rc;
}

void safetensors_writer_abort(struct safetensors_writer **writer)
{
    if (*writer == NULL) {
        return;
    }
    if ((*writer)->fd >= 0) {
        close((*writer)->fd);
        (void)unlink((*writer)->temp);
    }
    mlq_free((*writer)->path);
    mlq_free((*writer)->temp);
    mlq_free((*writer)->offsets);
    mlq_free((*writer)->written);
    mlq_free(*writer);
    *writer = NULL;
}

int safetensors_writer_save(const char *path, const struct safetensors_tensor *tensors, size_t count,
                     const char *const *metadata, struct mlq_err *err)
{
    struct safetensors_writer *writer = NULL;
    int rc = safetensors_writer_create(path, tensors, count, metadata, &writer, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    for (size_t i = 0; rc == MLQ_OK && i < count; i++) {
        uint64_t bytes = writer->offsets[i + 1] - writer->offsets[i];
        rc = safetensors_writer_append(writer, i, tensors[i].data, (size_t)bytes, err);
    }
    if (rc != MLQ_OK) {
        safetensors_writer_abort(&writer);
        return rc;
    }
    return safetensors_writer_finish(&writer, err);
}
