/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * safetensors files (huggingface/safetensors, format of 2022): 8 bytes little-endian header length,
 * a UTF-8 JSON header {name: {dtype, shape, data_offsets: [begin, end]}}, an optional
 * "__metadata__" (string to string), then packed little-endian row-major tensors without holes or
 * overlaps. Every number is checked when a file is opened.
 */
#ifndef MLQ_ARTIFACT_SAFETENSORS_H
#define MLQ_ARTIFACT_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"

#define SAFETENSORS_RANK_MAX 8
#define SAFETENSORS_HEADER_BYTES_MAX (100u << 20)
#define SAFETENSORS_COUNT_MAX (1u << 18) /* tensors in a file */
#define SAFETENSORS_RESIDENT_BYTES (UINT64_C(32) << 20)

#define SAFETENSORS_DTYPES(X)                                                                      \
    X(BOOL, 1) X(U8, 1) X(I8, 1) X(I16, 2) X(U16, 2) X(F16, 2) X(BF16, 2)                          \
    X(I32, 4) X(U32, 4) X(F32, 4) X(F64, 8) X(I64, 8) X(U64, 8)

#define SAFETENSORS_METADATA_KEY "__metadata__" /* in the header */
#define SAFETENSORS_LENGTH_BYTES 8u             /* before it */

enum safetensors_dtype {
#define SAFETENSORS_ENUM(name, bytes) SAFETENSORS_##name,
    SAFETENSORS_DTYPES(SAFETENSORS_ENUM)
#undef SAFETENSORS_ENUM
};

size_t safetensors_dtype_bytes(enum safetensors_dtype dtype);
const char *safetensors_dtype_text(enum safetensors_dtype dtype);

struct safetensors_tensor {
    const char *name;
    enum safetensors_dtype dtype;
    uint32_t rank;
    uint64_t shape[SAFETENSORS_RANK_MAX];
    const void *data; /* reader: into the mapped file; 8-byte alignment is not promised by foreign files */
    uint64_t bytes;
};

/* ---- Reading: the file is mapped, nothing is copied ----
 * Refused, with MLQ_ECORRUPT and the tensor's name: offsets that overlap, leave holes, run past the end
 * or do not match dtype and shape; duplicate names; an unknown dtype (MLQ_ENOTSUP); more than
 * SAFETENSORS_COUNT_MAX tensors. A file that is cut short while it is open ends
 * the process, with a word where mlq_mapfault_install was called. */
struct safetensors;

int safetensors_open(const char *path, MLQ_OWNED_RETURN struct safetensors **file, struct mlq_err *err);
void safetensors_close(struct safetensors **file);
size_t safetensors_count(const struct safetensors *file);
const struct safetensors_tensor *safetensors_at(const struct safetensors *file, size_t i); /* in data order */
const struct safetensors_tensor *safetensors_find(const struct safetensors *file, const char *name); /* or NULL */
const char *safetensors_metadata(const struct safetensors *file, const char *key); /* or NULL */
/* From who walks over data that may be larger than memory: so many bytes more were looked at. After
 * SAFETENSORS_RESIDENT_BYTES of them all pages of the file are let go; data stay valid, and what is
 * looked at again comes from the file again. Without it, every page once touched counts as memory of
 * this process. On any thread. */
void safetensors_walked(struct safetensors *file, uint64_t bytes);
/* From who reads many tensors side by side: where a page is missing, read that alone, not what lies
 * around it (megabytes, by default, of which little would be used before they are dropped again). What
 * will be needed soon is read ahead in one piece by safetensors_expect: bytes from `data` on, in one tensor. */
void safetensors_scatter(struct safetensors *file);
void safetensors_expect(struct safetensors *file, const void *data, uint64_t bytes);

/* ---- Writing: declare all tensors, then write their bytes in order; memory stays bounded ---- */
struct safetensors_writer;

/* Metadata keys and values alternate: {"k", "v", "k2", "v2", NULL}; may be NULL. Tensors' data members
 * are ignored. The file is written beside `path` and renamed by _finish, which also fsyncs it. */
int safetensors_writer_create(const char *path,
                              const struct safetensors_tensor *tensors,
                              size_t count,
                              const char *const *metadata,
                              MLQ_OWNED_RETURN struct safetensors_writer **writer,
                              struct mlq_err *err);
/* Bytes of the tensors in declared order; any split into calls. */
int safetensors_writer_write(struct safetensors_writer *writer, const void *data, size_t bytes, struct mlq_err *err);
/* The next bytes of tensor `i`, whatever the others have got so far: for tensors that grow side by side,
 * as the columns of a table do. More than it declared is MLQ_EINVAL. Several threads may do so at once, each with
 * tensors of its own. */
int safetensors_writer_append(struct safetensors_writer *writer,
                              size_t i,
                              const void *data,
                              size_t bytes,
                              struct mlq_err *err);
/* Frees the writer in any case; an incomplete file is an error and is removed. */
int safetensors_writer_finish(struct safetensors_writer **writer, struct mlq_err *err);
/* The same, but not durable: of an output, which is synced when the store takes it. */
int safetensors_writer_finish_output(struct safetensors_writer **writer, struct mlq_err *err);
void safetensors_writer_abort(struct safetensors_writer **writer); /* takes NULL */

/* All at once, data members set. */
int safetensors_writer_save(const char *path,
                            const struct safetensors_tensor *tensors,
                            size_t count,
                            const char *const *metadata,
                            struct mlq_err *err);

#endif
