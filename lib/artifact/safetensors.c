/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The reader trusts nothing: sizes are compared with the file's before they are used, and the
 * tensors, sorted by offset, must tile the data exactly.
 */
#include "lib/artifact/safetensors.h"

#include <endian.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <jansson.h>

#include "lib/artifact/io.h"
#include "lib/base/panic.h"
#include "lib/sys/fs.h"
#include "lib/sys/mapfault.h"
#include "lib/sys/mem.h"

#define JSON_DEPTH_MAX  8u /* the format needs 3 */
#define JSON_VALUES_MAX (SAFETENSORS_COUNT_MAX * 16u)

/* Data are little-endian and handed out as they lie. */
_Static_assert(__BYTE_ORDER == __LITTLE_ENDIAN, "a big-endian machine needs swapping");

static const struct {
    const char *text;
    size_t bytes;
} dtypes[] = {
#define DTYPE_ROW(name, size) [SAFETENSORS_##name] = {#name, size},
    SAFETENSORS_DTYPES(DTYPE_ROW)
#undef DTYPE_ROW
};

struct safetensors {
    uint8_t *map;
    size_t map_bytes;
    _Atomic uint64_t walked;            /* bytes since the pages were let go */
    json_t *header;                     /* owns the names and the metadata */
    struct safetensors_tensor *tensors; /* in data order */
    const struct safetensors_tensor **by_name;
    size_t count;
};

size_t safetensors_dtype_bytes(enum safetensors_dtype dtype)
{
    MLQ_ASSERT((size_t)dtype < MLQ_COUNT_OF(dtypes));
    return dtypes[dtype].bytes;
}

const char *safetensors_dtype_text(enum safetensors_dtype dtype)
{
    MLQ_ASSERT((size_t)dtype < MLQ_COUNT_OF(dtypes));
    return dtypes[dtype].text;
}

/* ---- Reading ---- */

static int read_dtype(const json_t *entry, struct safetensors_tensor *tensor, struct mlq_err *err)
{
    const char *text = json_string_value(json_object_get(entry, "dtype"));
    if (text == NULL) {
        return mlq_fail(err, MLQ_ECORRUPT, "tensor '%.100s' has no dtype", tensor->name);
    }
    for (size_t i = 0; i < MLQ_COUNT_OF(dtypes); i++) {
        if (strcmp(dtypes[i].text, text) == 0) {
            tensor->dtype = (enum safetensors_dtype)i;
            return MLQ_OK;
        }
    }
    return mlq_fail(err, MLQ_ENOTSUP, "tensor '%.100s' has the unknown dtype '%.20s'", tensor->name,
                    text);
}

static bool read_u64(const json_t *value, uint64_t *number)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        return false;
    }
    *number = (uint64_t)json_integer_value(value);
    return true;
}

/* Sets shape, rank and bytes. */
static int read_shape(const json_t *entry, struct safetensors_tensor *tensor, struct mlq_err *err)
{
    const json_t *shape = json_object_get(entry, "shape");
    if (!json_is_array(shape) || json_array_size(shape) > SAFETENSORS_RANK_MAX) {
        return mlq_fail(err, MLQ_ECORRUPT,
                        "tensor '%.100s': the shape must be a list of at most %d sizes",
                        tensor->name, SAFETENSORS_RANK_MAX);
    }
    tensor->rank = (uint32_t)json_array_size(shape);
    tensor->bytes = dtypes[tensor->dtype].bytes;
    for (uint32_t i = 0; i < tensor->rank; i++) {
        if (!read_u64(json_array_get(shape, i), &tensor->shape[i]) ||
            __builtin_mul_overflow(tensor->bytes, tensor->shape[i], &tensor->bytes)) {
            return mlq_fail(err, MLQ_ECORRUPT,
                            "tensor '%.100s': size %u of the shape is out of range", tensor->name,
                            i);
        }
    }
    return MLQ_OK;
}

static int read_tensor(struct safetensors_tensor *tensor, const json_t *entry, const uint8_t *data,
                       uint64_t data_bytes, struct mlq_err *err)
{
    if (!json_is_object(entry) || json_object_size(entry) != 3) {
        return mlq_fail(err, MLQ_ECORRUPT,
                        "tensor '%.100s' must have dtype, shape and data_offsets, nothing else",
                        tensor->name);
    }
    int rc = read_dtype(entry, tensor, err);
    if (rc == MLQ_OK) {
        rc = read_shape(entry, tensor, err);
    }
    if (rc != MLQ_OK) {
        return rc;
    }
    const json_t *offsets = json_object_get(entry, "data_offsets");
    uint64_t begin;
    uint64_t end;
    if (json_array_size(offsets) != 2 || !read_u64(json_array_get(offsets, 0), &begin) ||
        !read_u64(json_array_get(offsets, 1), &end)) {
        return mlq_fail(err, MLQ_ECORRUPT, "tensor '%.100s': data_offsets must be [begin, end]",
                        tensor->name);
    }
    if (begin > end || end > data_bytes) {
        return mlq_fail(err, MLQ_ECORRUPT,
                        "tensor '%.100s': bytes %" PRIu64 "..%" PRIu64 " lie outside the %" PRIu64
                        " bytes of data",
                        tensor->name, begin, end, data_bytes);
    }
    if (end - begin != tensor->bytes) {
        return mlq_fail(err, MLQ_ECORRUPT,
                        "tensor '%.100s' has %" PRIu64 " bytes, but its shape needs %" PRIu64,
                        tensor->name, end - begin, tensor->bytes);
    }
    tensor->data = data + begin;
    return MLQ_OK;
}

static int compare_place(const void *a, const void *b)
{
    const struct safetensors_tensor *x = a;
    const struct safetensors_tensor *y = b;
    uintptr_t x_at = (uintptr_t)x->data;
    uintptr_t y_at = (uintptr_t)y->data;
    if (x_at != y_at) {
        return x_at < y_at ? -1 : 1;
    }
    if (x->bytes != y->bytes) {
        return x->bytes < y->bytes ? -1 : 1;
    }
    return strcmp(x->name, y->name);
}

static int compare_name(const void *a, const void *b)
{
    const struct safetensors_tensor *const *x = a;
    const struct safetensors_tensor *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* Sorted by place, each tensor must begin where the one before it ended. */
static int check_tiling(const struct safetensors *file, const uint8_t *data, uint64_t data_bytes,
                        struct mlq_err *err)
{
    uint64_t at = 0;
    for (size_t i = 0; i < file->count; i++) {
        const struct safetensors_tensor *tensor = &file->tensors[i];
        uint64_t begin = (uint64_t)((const uint8_t *)tensor->data - data);
        if (begin != at) {
            return mlq_fail(
                err, MLQ_ECORRUPT, "tensor '%.100s' begins at byte %" PRIu64 " of the data, %s",
                tensor->name, begin, begin < at ? "inside the tensor before it" : "after a hole");
        }
        at += tensor->bytes;
    }
    if (at != data_bytes) {
        return mlq_fail(err, MLQ_ECORRUPT, "%" PRIu64 " bytes after the last tensor belong to none",
                        data_bytes - at);
    }
    return MLQ_OK;
}

static int check_metadata(const json_t *metadata, struct mlq_err *err)
{
    if (metadata != NULL && !json_is_object(metadata)) {
        return mlq_fail(err, MLQ_ECORRUPT, SAFETENSORS_METADATA_KEY " is not an object");
    }
    for (void *at = json_object_iter((json_t *)(uintptr_t)metadata); at != NULL;
         at = json_object_iter_next((json_t *)(uintptr_t)metadata, at)) {
        if (!json_is_string(json_object_iter_value(at))) {
            return mlq_fail(err, MLQ_ECORRUPT, SAFETENSORS_METADATA_KEY " '%.100s' is not a string",
                            json_object_iter_key(at));
        }
    }
    return MLQ_OK;
}

static int read_tensors(struct safetensors *file, const uint8_t *data, uint64_t data_bytes,
                        struct mlq_err *err)
{
    size_t entries = json_object_size(file->header);
    if (entries > SAFETENSORS_COUNT_MAX) {
        return mlq_fail(err, MLQ_EFULL, "more than %u tensors", SAFETENSORS_COUNT_MAX);
    }
    file->tensors = mlq_alloc_array(entries, sizeof *file->tensors);
    file->by_name = mlq_alloc_array(entries, sizeof *file->by_name);
    for (void *at = json_object_iter(file->header); at != NULL;
         at = json_object_iter_next(file->header, at)) {
        if (strcmp(json_object_iter_key(at), SAFETENSORS_METADATA_KEY) == 0) {
            continue;
        }
        struct safetensors_tensor *tensor = &file->tensors[file->count];
        tensor->name = json_object_iter_key(at);
        int rc = read_tensor(tensor, json_object_iter_value(at), data, data_bytes, err);
        if (rc != MLQ_OK) {
            return rc;
        }
        file->count++;
    }
    qsort(file->tensors, file->count, sizeof *file->tensors, compare_place);
    for (size_t i = 0; i < file->count; i++) {
        file->by_name[i] = &file->tensors[i];
    }
    qsort(file->by_name, file->count, sizeof *file->by_name, compare_name);
    return check_tiling(file, data, data_bytes, err);
}

static int read_mapped(struct safetensors *file, struct mlq_err *err)
{
    uint64_t header_bytes;
    memcpy(&header_bytes, file->map, SAFETENSORS_LENGTH_BYTES);
    if (header_bytes > SAFETENSORS_HEADER_BYTES_MAX) {
        return mlq_fail(err, MLQ_ECORRUPT,
                        "the header's length %" PRIu64 " is over the limit of %u", header_bytes,
                        SAFETENSORS_HEADER_BYTES_MAX);
    }
    if (header_bytes > file->map_bytes - SAFETENSORS_LENGTH_BYTES) {
        return mlq_fail(err, MLQ_ECORRUPT,
                        "the header's length %" PRIu64 " is more than the file holds",
                        header_bytes);
    }
    const char *text = (const char *)file->map + SAFETENSORS_LENGTH_BYTES;
    int rc =
        io_json_parse((struct mlq_str){text, (size_t)header_bytes},
                      (struct io_json_limits){JSON_DEPTH_MAX, JSON_VALUES_MAX}, &file->header, err);
    if (rc != MLQ_OK) {
        return mlq_wrap(err, MLQ_ECORRUPT, "header");
    }
    if (!json_is_object(file->header)) {
        return mlq_fail(err, MLQ_ECORRUPT, "the header is not a JSON object");
    }
    rc = check_metadata(json_object_get(file->header, SAFETENSORS_METADATA_KEY), err);
    if (rc != MLQ_OK) {
        return rc;
    }
    const uint8_t *data = file->map + SAFETENSORS_LENGTH_BYTES + header_bytes;
    return read_tensors(file, data, file->map_bytes - SAFETENSORS_LENGTH_BYTES - header_bytes, err);
}

int safetensors_open(const char *path, struct safetensors **out, struct mlq_err *err)
{
    int fd;
    uint64_t bytes;
    int rc = io_open_regular(AT_FDCWD, path, true, &fd, &bytes, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    struct safetensors *file = mlq_alloc(sizeof *file);
    if (bytes < SAFETENSORS_LENGTH_BYTES + 2) {
        rc = mlq_fail(err, MLQ_ECORRUPT, "%" PRIu64 " bytes are too few", bytes);
    } else {
        file->map_bytes = (size_t)bytes;
        file->map = mmap(NULL, file->map_bytes, PROT_READ, MAP_SHARED, fd, 0);
        if (file->map == MAP_FAILED) {
            file->map = NULL;
            rc = io_fail(err, "map", path);
        } else {
            mlq_mapfault_watch(file->map, file->map_bytes, path);
        }
    }
    close(fd);
    if (rc == MLQ_OK) {
        rc = read_mapped(file, err);
    }
    if (rc != MLQ_OK) {
        safetensors_close(&file);
        return mlq_wrap(err, rc, "%s: not a sound safetensors file", path);
    }
    *out = file;
    return MLQ_OK;
}

void safetensors_close(struct safetensors **file)
{
    if (*file == NULL) {
        return;
    }
    if ((*file)->map != NULL) {
        mlq_mapfault_forget((*file)->map);
        (void)munmap((*file)->map, (*file)->map_bytes);
    }
    json_decref((*file)->header);
    mlq_free((*file)->tensors);
    mlq_free((void *)(*file)->by_name);
    mlq_free(*file);
    *file = NULL;
}

size_t safetensors_count(const struct safetensors *file)
{
    return file->count;
}

const struct safetensors_tensor *safetensors_at(const struct safetensors *file, size_t i)
{
    MLQ_ASSERT(i < file->count);
    return &file->tensors[i];
}

const struct safetensors_tensor *safetensors_find(const struct safetensors *file, const char *name)
{
    size_t low = 0;
    size_t high = file->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(file->by_name[middle]->name, name);
        if (order == 0) {
            return file->by_name[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

const char *safetensors_metadata(const struct safetensors *file, const char *key)
{
    return json_string_value(json_object_get(json_object_get(file->header, SAFETENSORS_METADATA_KEY), key));
}

void safetensors_walked(struct safetensors *file, uint64_t bytes)
{
    if (atomic_fetch_add(&file->walked, bytes) + bytes >= SAFETENSORS_RESIDENT_BYTES) {
        atomic_store(&file->walked, 0);
        (void)madvise(file->map, file->map_bytes, MADV_DONTNEED); /* advice: refused, it costs memory */
    }
}

void safetensors_scatter(struct safetensors *file)
{
    (void)madvise(file->map, file->map_bytes, MADV_RANDOM); /* advice: refused, it costs time */
}

void safetensors_expect(struct safetensors *file, const void *data, uint64_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), skipped = (uintptr_t)data % page;
    MLQ_ASSERT((const uint8_t *)data >= file->map &&
               bytes <= file->map_bytes - (size_t)((const uint8_t *)data - file->map));
    (void)madvise((void *)((uintptr_t)data - skipped), bytes + skipped, MADV_WILLNEED);
}
