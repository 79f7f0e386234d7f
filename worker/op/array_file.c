/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/array_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/str.h"
#include "lib/sys/mem.h"
#include "worker/op/array_gunzip.h"

#define HEADER_BYTES_MAX 65536u /* of an NPY header */
#define NUMBERS_MAX      (UINT64_C(1) << 40)
#define UNPACKED_MAX                                                                               \
    (UINT64_C(64) << 30) /* of a .gz: more is to be unpacked where the user sees it */

struct array_file {
    uint8_t *map;
    size_t map_bytes;
    size_t begin;   /* of the values */
    char kind;      /* 'u', 'i', 'f', 'b' as NumPy's */
    uint32_t bytes; /* of one number */
    bool big_endian;
    uint32_t rank;
    uint64_t shape[ARRAY_FILE_RANK_MAX];
};

/* ---- Headers: each finds type, shape and where the values begin ---- */

static uint32_t read_big_u32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static int read_idx(struct array_file *file, size_t *begin, struct mlq_err *err)
{
    static const struct {
        uint8_t code;
        char kind;
        uint8_t bytes;
    } types[] = {{8, 'u', 1}, {9, 'i', 1}, {11, 'i', 2}, {12, 'i', 4}, {13, 'f', 4}, {14, 'f', 8}};
    file->big_endian = true;
    for (size_t i = 0; i < MLQ_COUNT_OF(types); i++) {
        if (types[i].code == file->map[2]) {
            file->kind = types[i].kind;
            file->bytes = types[i].bytes;
        }
    }
    file->rank = file->map[3];
    *begin = 4 + 4 * (size_t)file->rank;
    if (file->kind == 0 || file->rank == 0 || file->rank > ARRAY_FILE_RANK_MAX ||
        file->map_bytes < *begin) {
        return mlq_fail(err, MLQ_ECORRUPT, "an IDX file of unknown type 0x%02x or %u dimensions",
                        file->map[2], file->rank);
    }
    for (uint32_t i = 0; i < file->rank; i++) {
        file->shape[i] = read_big_u32(file->map + 4 + 4 * (size_t)i);
    }
    return 0;
}

/* What stands behind 'key': in the header's Python dictionary; empty when it is not there. */
static struct mlq_str find_key(struct mlq_str header, const char *key)
{
    size_t len = strlen(key);
    for (size_t i = 0; i + len <= header.len; i++) {
        if (memcmp(header.ptr + i, key, len) == 0) {
            struct mlq_str rest = {.ptr = header.ptr + i + len, .len = header.len - i - len};
            return mlq_str_trim(rest);
        }
    }
    return (struct mlq_str){.ptr = "", .len = 0};
}

static bool read_descr(struct array_file *file, struct mlq_str descr)
{
    if (descr.len < 5 || descr.ptr[0] != '\'' || descr.ptr[4] != '\'') {
        return false;
    }
    char order = descr.ptr[1];
    file->kind = descr.ptr[2];
    file->bytes = (uint32_t)(descr.ptr[3] - '0');
    file->big_endian = order == '>';
    bool whole = strchr("iu", file->kind) != NULL &&
                 (file->bytes == 1 || file->bytes == 2 || file->bytes == 4 || file->bytes == 8);
    bool real = file->kind == 'f' && (file->bytes == 4 || file->bytes == 8);
    bool flag = file->kind == 'b' && file->bytes == 1;
    return strchr("<>|=", order) != NULL && (whole || real || flag);
}

/* "(60000, 28, 28), ..." */
static bool read_shape(struct array_file *file, struct mlq_str text)
{
    if (text.len == 0 || text.ptr[0] != '(') {
        return false;
    }
    uint64_t value = 0;
    bool digits = false;
    for (size_t i = 1; i < text.len; i++) {
        char c = text.ptr[i];
        if (c >= '0' && c <= '9' && value <= NUMBERS_MAX) {
            value = 10 * value + (uint64_t)(c - '0');
            digits = true;
        } else if ((c == ',' || c == ')') && digits && file->rank < ARRAY_FILE_RANK_MAX) {
            file->shape[file->rank++] = value;
            value = 0;
            digits = false;
        } else if (c != ' ' && c != ')') {
            return false;
        }
        if (c == ')') {
            return file->rank > 0;
        }
    }
    return false;
}

static int read_npy(struct array_file *file, size_t *begin, struct mlq_err *err)
{
    const uint8_t *at = file->map;
    bool wide = file->map_bytes >= 12 && at[6] >= 2;
    uint32_t len = at[8] | (uint32_t)at[9] << 8;
    len |= wide ? (uint32_t)at[10] << 16 | (uint32_t)at[11] << 24 : 0;
    *begin = (wide ? 12 : 10) + (size_t)len;
    if (at[6] < 1 || at[6] > 3 || len > HEADER_BYTES_MAX || *begin > file->map_bytes) {
        return mlq_fail(err, MLQ_ECORRUPT, "an NPY file whose header cannot be read");
    }
    struct mlq_str header = {.ptr = (const char *)at + (wide ? 12 : 10), .len = len};
    struct mlq_str fortran = find_key(header, "'fortran_order':");
    if (!read_descr(file, find_key(header, "'descr':"))) {
        return mlq_fail(err, MLQ_ENOTSUP,
                        "an NPY file that does not hold numbers: save it as an integer or a float "
                        "type of 1 to 8 bytes (no objects, no float16)");
    }
    if (!mlq_str_starts(fortran, "False")) {
        return mlq_fail(err, MLQ_ENOTSUP,
                        "an NPY file in Fortran order: save numpy.ascontiguousarray of it");
    }
    if (!read_shape(file, find_key(header, "'shape':"))) {
        return mlq_fail(err, MLQ_ECORRUPT, "an NPY file without a shape of 1 to %u dimensions",
                        ARRAY_FILE_RANK_MAX);
    }
    return 0;
}

/* ---- Opening ---- */

/* Type, shape, and how many bytes the file has when it is whole. */
static int read_header(struct array_file *file, uint64_t *whole_bytes, struct mlq_err *err)
{
    static const uint8_t npy[] = {0x93, 'N', 'U', 'M', 'P', 'Y'};
    size_t begin = 0;
    int rc = 0;
    if (file->map_bytes >= 12 && memcmp(file->map, npy, sizeof(npy)) == 0) {
        rc = read_npy(file, &begin, err);
    } else if (file->map_bytes >= 4 && file->map[0] == 0 && file->map[1] == 0) {
        rc = read_idx(file, &begin, err);
    } else {
        rc = mlq_fail(err, MLQ_EINVAL, "neither an IDX nor an NPY file");
    }
    uint64_t numbers = 1;
    for (uint32_t i = 0; i < file->rank && rc == 0; i++) {
        bool fits = file->shape[i] == 0 || numbers <= NUMBERS_MAX / file->shape[i];
        numbers = fits ? numbers * file->shape[i] : NUMBERS_MAX + 1;
    }
    *whole_bytes = numbers > NUMBERS_MAX ? UINT64_MAX : begin + numbers * file->bytes;
    file->begin = begin;
    return rc;
}

static int check_size(const struct array_file *file, uint64_t whole_bytes, struct mlq_err *err)
{
    if (file->map_bytes == whole_bytes) {
        return 0;
    }
    return mlq_fail(
        err, MLQ_ECORRUPT,
        "%zu bytes of values, which is not what its shape of %u dimensions needs: was it "
        "cut off?",
        file->map_bytes - file->begin, file->rank);
}

static int map_bytes(struct array_file *file, int fd, uint64_t bytes, struct mlq_err *err)
{
    if (bytes == 0) {
        return mlq_fail(err, MLQ_EINVAL, "it is empty");
    }
    if (file->map != NULL) {
        (void)munmap(file->map, file->map_bytes);
        file->map = NULL;
    }
    void *map = mmap(NULL, (size_t)bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED) {
        return mlq_fail(err, MLQ_EIO, "cannot be mapped: %s", strerror(errno));
    }
    file->map = map;
    file->map_bytes = (size_t)bytes;
    return 0;
}

static int read_plain(struct array_file *file, int fd, uint64_t bytes, struct mlq_err *err)
{
    uint64_t whole = 0;
    int rc = map_bytes(file, fd, bytes, err);
    rc = rc != 0 ? rc : read_header(file, &whole, err);
    return rc != 0 ? rc : check_size(file, whole, err);
}

/* The header says how much is to come, and one byte more shows whether more would. */
static int read_rest(struct array_file *file, struct array_gunzip *gunzip, struct mlq_err *err)
{
    uint64_t whole = 0;
    int rc = read_header(file, &whole, err);
    if (rc == 0 && whole > UNPACKED_MAX) {
        rc = mlq_fail(err, MLQ_EFULL,
                      "unpacked it would have more than %" PRIu64 " GiB: gunzip it where there is "
                      "room",
                      UNPACKED_MAX >> 30);
    }
    rc = rc != 0 ? rc : array_gunzip_until(gunzip, whole + 1, err);
    if (rc == 0) {
        rc = map_bytes(file, array_gunzip_fd(gunzip), array_gunzip_bytes(gunzip), err);
    }
    return rc != 0 ? rc : check_size(file, whole, err);
}

/* Takes `fd`. */
static int read_packed(struct array_file *file, int fd, struct mlq_err *err)
{
    struct array_gunzip *gunzip = NULL;
    int rc = array_gunzip_open(fd, &gunzip, err);
    if (rc != 0) {
        return rc;
    }
    rc = array_gunzip_until(gunzip, HEADER_BYTES_MAX + 12, err);
    if (rc == 0) {
        rc = map_bytes(file, array_gunzip_fd(gunzip), array_gunzip_bytes(gunzip), err);
    }
    rc = rc != 0 ? rc : read_rest(file, gunzip, err);
    array_gunzip_close(&gunzip);
    return rc;
}

static int read_file(struct array_file *file, const char *path, struct mlq_err *err)
{
    struct stat status;
    uint8_t magic[2] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0) {
        int rc = mlq_fail(err, errno == ENOENT ? MLQ_ENOENT : MLQ_EIO, "%s", strerror(errno));
        if (fd >= 0) {
            (void)close(fd);
        }
        return rc;
    }
    if (pread(fd, magic, sizeof(magic), 0) == 2 && magic[0] == 0x1f && magic[1] == 0x8b) {
        return read_packed(file, fd, err);
    }
    int rc = read_plain(file, fd, (uint64_t)status.st_size, err);
    (void)close(fd);
    return rc;
}

int array_file_open(const char *path, struct array_file **file, struct mlq_err *err)
{
    struct array_file *opened = mlq_alloc(sizeof(*opened));
    *file = NULL;
    int rc = read_file(opened, path, err);
    if (rc != 0) {
        array_file_close(&opened);
        return mlq_wrap(err, rc, "%s", path);
    }
    *file = opened;
    return 0;
}

void array_file_close(struct array_file **file)
{
    if (*file != NULL && (*file)->map != NULL) {
        (void)munmap((*file)->map, (*file)->map_bytes);
    }
    mlq_free(*file);
    *file = NULL;
}

/* ---- Reading ---- */

uint32_t array_file_rank(const struct array_file *file)
{
    return file->rank;
}

uint64_t array_file_size(const struct array_file *file, uint32_t dimension)
{
    return file->shape[dimension];
}

double array_file_number(const struct array_file *file, uint64_t index)
{
    const uint8_t *at = file->map + file->begin + index * file->bytes;
    uint64_t bits = 0;
    for (uint32_t i = 0; i < file->bytes; i++) {
        bits |= (uint64_t)at[file->big_endian ? file->bytes - 1 - i : i] << (8 * i);
    }
    if (file->kind == 'f' && file->bytes == 4) {
        uint32_t half = (uint32_t)bits;
        float value;
        memcpy(&value, &half, sizeof(value));
        return (double)value;
    }
    if (file->kind == 'f') {
        double value;
        memcpy(&value, &bits, sizeof(value));
        return value;
    }
    if (file->kind == 'i') {
        uint32_t unused = 64 - 8 * file->bytes; /* the sign is spread over them */
        return (double)((int64_t)(bits << unused) >> unused);
    }
    return (double)bits;
}
