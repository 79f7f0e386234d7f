/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The store works through descriptors of its own folders, so that a folder swapped for a symlink
 * while it is open leads nowhere.
 */
#include "lib/artifact/cas.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/artifact/cas_part.h"
#include "lib/artifact/io.h"
#include "lib/artifact/sha256.h"
#include "lib/base/panic.h"
#include "lib/sys/clock.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

#define LEFTOVER_AGE_S INT64_C(86400)
#define US_PER_S       INT64_C(1000000)

/* ---- Digests ---- */

void cas_digest_format(const struct cas_digest *digest, char text[CAS_DIGEST_TEXT_BYTES])
{
    static const char hex[] = "0123456789abcdef";
    size_t at = sizeof CAS_DIGEST_PREFIX - 1;
    memcpy(text, CAS_DIGEST_PREFIX, at);
    for (size_t i = 0; i < sizeof digest->sha256; i++) {
        text[at++] = hex[digest->sha256[i] >> 4];
        text[at++] = hex[digest->sha256[i] & 15];
    }
    text[at] = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool cas_digest_parse(struct mlq_str text, struct cas_digest *digest)
{
    if (text.len != sizeof CAS_DIGEST_PREFIX - 1 + CAS_HEX_DIGITS || !mlq_str_starts(text, CAS_DIGEST_PREFIX)) {
        return false;
    }
    const char *hex = text.ptr + sizeof CAS_DIGEST_PREFIX - 1;
    for (size_t i = 0; i < sizeof digest->sha256; i++) {
        int high = hex_value(hex[2 * i]);
        int low = hex_value(hex[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        digest->sha256[i] = (uint8_t)(high * 16 + low);
    }
    return true;
}

bool cas_digest_eq(const struct cas_digest *a, const struct cas_digest *b)
{
    return memcmp(a->sha256, b->sha256, sizeof a->sha256) == 0;
}

int cas_digest_file(const char *path, struct cas_digest *digest, uint64_t *bytes,
                    struct mlq_err *err)
{
    int fd;
    int rc = io_open_regular(AT_FDCWD, path, true, &fd, bytes, err);
    if (rc == MLQ_OK) {
        rc = io_copy_hashed(
            &(struct io_copy){.from = fd, .to = -1, .path = path, .total_bytes = *bytes}, digest, bytes, err);
        close(fd);
    }
    return rc;
}

/* ---- Opening ---- */

static int open_folder(const char *root, const char *name, int *fd, struct mlq_err *err)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    char *path = mlq_fs_join(root, name);
    int rc = MLQ_OK;
    *fd = open(path, flags); /* mostly it is there */
    if (*fd < 0 && errno == ENOENT) {
        rc = mlq_fs_make_dirs(path, 0755, err);
        *fd = rc == MLQ_OK ? open(path, flags) : -1;
    }
    if (*fd < 0 && rc == MLQ_OK) {
        rc = io_fail(err, "open folder", path);
    }
    mlq_free(path);
    return rc;
}

static bool is_ours(const char *name)
{
    return strncmp(name, CAS_TEMP_PREFIX, sizeof CAS_TEMP_PREFIX - 1) == 0 ||
           strncmp(name, CAS_KNOWN_PREFIX, sizeof CAS_KNOWN_PREFIX - 1) == 0;
}

/* Best effort: what cannot be removed today is left for the next who opens. */
static void remove_leftovers(const struct cas *cas)
{
    int fd = openat(cas->temp_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    int64_t before_s = mlq_clock_wall_us() / US_PER_S - LEFTOVER_AGE_S;
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        struct stat status;
        if (is_ours(entry->d_name) &&
            fstatat(cas->temp_fd, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
            status.st_mtim.tv_sec < before_s) {
            (void)unlinkat(cas->temp_fd, entry->d_name, 0);
        }
    }
    (void)closedir(dir);
}

int cas_open(const char *root, struct cas **out, struct mlq_err *err)
{
    struct cas *cas = mlq_alloc(sizeof *cas);
    cas->root = mlq_strdup(root);
    cas->objects_fd = -1;
    cas->temp_fd = -1;
    cas_known_init(&cas->known, -1);
    int rc = open_folder(root, "objects", &cas->objects_fd, err);
    if (rc == MLQ_OK) {
        rc = open_folder(root, "tmp", &cas->temp_fd, err);
    }
    if (rc != MLQ_OK) {
        cas_close(&cas);
        return mlq_wrap(err, rc, "artifact store %s", root);
    }
    cas_known_init(&cas->known, cas->temp_fd);
    remove_leftovers(cas);
    *out = cas;
    return MLQ_OK;
}

void cas_close(struct cas **cas)
{
    if (*cas == NULL) {
        return;
    }
    cas_known_fini(&(*cas)->known);
    if ((*cas)->objects_fd >= 0) {
        close((*cas)->objects_fd);
    }
    if ((*cas)->temp_fd >= 0) {
        close((*cas)->temp_fd);
    }
    mlq_free((*cas)->root);
    mlq_free(*cas);
    *cas = NULL;
}

/* ---- Objects ---- */

/* "ab/cdef..." below objects/. */
void cas_object_name(const struct cas_digest *digest, char name[CAS_OBJECT_NAME_BYTES])
{
    char text[CAS_DIGEST_TEXT_BYTES];
    cas_digest_format(digest, text);
    const char *hex = text + sizeof CAS_DIGEST_PREFIX - 1;
    memcpy(name, hex, 2);
    name[2] = '/';
    memcpy(name + 3, hex + 2, CAS_HEX_DIGITS - 2 + 1);
}

int cas_open_object(struct cas *cas, const struct cas_digest *digest, int *fd, uint64_t *bytes,
                       struct mlq_err *err)
{
    char name[CAS_OBJECT_NAME_BYTES];
    cas_object_name(digest, name);
    int rc = io_open_regular(cas->objects_fd, name, false, fd, bytes, err);
    return rc == MLQ_OK ? rc : mlq_wrap(err, rc, "artifact store %s", cas->root);
}

int cas_corrupt(struct cas *cas, const struct cas_digest *digest, struct mlq_err *err)
{
    char name[CAS_OBJECT_NAME_BYTES];
    cas_object_name(digest, name);
    cas_known_forget(&cas->known, digest);
    return mlq_fail(err, MLQ_ECORRUPT,
                    "artifact store %s: object %s is damaged: its bytes no longer have that digest "
                    "(put the same file again to mend it)",
                    cas->root, name);
}

int cas_verify(struct cas *cas, const struct cas_digest *digest, struct mlq_err *err)
{
    int fd;
    uint64_t bytes;
    struct stat before, after;
    struct cas_digest found;
    int rc = cas_open_object(cas, digest, &fd, &bytes, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    bool has_status = fstat(fd, &before) == 0;
    if (!has_status || !cas_known_has(&cas->known, digest, &before)) {
        rc = io_copy_hashed(
            &(struct io_copy){.from = fd, .to = -1, .path = "an object", .total_bytes = bytes}, &found,
            &bytes, err);
        if (rc == MLQ_OK && !cas_digest_eq(&found, digest)) {
            rc = cas_corrupt(cas, digest, err);
        }
        if (rc == MLQ_OK && has_status && fstat(fd, &after) == 0) {
            cas_known_add(&cas->known, digest, &before, &after);
        }
    }
    close(fd);
    return rc;
}

bool cas_is_intact(struct cas *cas, const struct cas_digest *digest, uint64_t bytes)
{
    uint64_t found_bytes;
    return cas_has(cas, digest, &found_bytes) && found_bytes == bytes &&
           cas_verify(cas, digest, NULL) == MLQ_OK;
}

bool cas_has(struct cas *cas, const struct cas_digest *digest, uint64_t *bytes)
{
    char name[CAS_OBJECT_NAME_BYTES];
    struct stat status;
    cas_object_name(digest, name);
    if (fstatat(cas->objects_fd, name, &status, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISREG(status.st_mode)) {
        return false;
    }
    if (bytes != NULL) {
        *bytes = (uint64_t)status.st_size;
    }
    return true;
}

/* ---- Reading ---- */

static int read_full(int fd, char *data, size_t bytes, struct mlq_err *err)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t got = read(fd, data + done, bytes - done);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return got < 0
                       ? io_fail(err, "read", "an object")
                       : mlq_fail(err, MLQ_ECORRUPT, "an object became shorter while it was read");
        }
        done += (size_t)got;
    }
    return MLQ_OK;
}

int cas_read(struct cas *cas, const struct cas_digest *digest, size_t bytes_max, char **data,
             size_t *len, struct mlq_err *err)
{
    int fd;
    uint64_t bytes;
    int rc = cas_open_object(cas, digest, &fd, &bytes, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    if (bytes > bytes_max) {
        close(fd);
        return mlq_fail(err, MLQ_EFULL,
                        "artifact store %s: an object of %" PRIu64
                        " bytes is over the limit of %zu",
                        cas->root, bytes, bytes_max);
    }
    char *buffer = mlq_alloc((size_t)bytes + 1);
    rc = read_full(fd, buffer, (size_t)bytes, err);
    close(fd);
    struct cas_digest found;
    sha256_of(buffer, (size_t)bytes, &found);
    if (rc == MLQ_OK && !cas_digest_eq(&found, digest)) {
        rc = cas_corrupt(cas, digest, err);
    }
    if (rc != MLQ_OK) {
        mlq_free(buffer);
        return rc;
    }
    *data = buffer;
    *len = (size_t)bytes;
    return MLQ_OK;
}
