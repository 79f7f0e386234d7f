/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A put is: copy the source into tmp and hash it on the way, in one pass; if the object is there
 * and intact, throw the copy away, make the object's name durable and stop; else fsync, rename,
 * fsync the folder. Two processes that put the same bytes rename equal files onto each other. Who
 * hands in the same file again, as people do with their data, shall not have it written again each
 * time: a file that is likely to be in the store is hashed and compared with that object first, a
 * small one just hashed, and they are copied only if they are not there.
 *
 * A file that is taken is hashed first, too, and what is renamed is a second name of it and no
 * copy. Until that name is durable nothing has changed but its mode, and its first name stays: who
 * dies in between starts again, finds a file with two names, and copies it if the object is not
 * there.
 */
#include "lib/artifact/cas.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/artifact/cas_part.h"
#include "lib/artifact/cas_tree.h"
#include "lib/artifact/io.h"
#include "lib/artifact/lease.h"
#include "lib/artifact/sha256.h"
#include "lib/sys/clock.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

#define FD_PATH_BYTES 32u
#define US_PER_S      INT64_C(1000000)
#define SET_BACK_US   INT64_C(5000000) /* more than a clock of files may be coarse (cas_known.c) */

static int name_temp(struct cas *cas, char name[CAS_TEMP_NAME_BYTES], struct mlq_err *err)
{
    uint64_t chance = 0;
    if (getrandom(&chance, sizeof chance, 0) != (ssize_t)sizeof chance) {
        return io_fail(err, "random bytes for", cas->root);
    }
    (void)snprintf(name, CAS_TEMP_NAME_BYTES, CAS_TEMP_PREFIX "%ld-%016" PRIx64, (long)getpid(),
                   chance);
    return MLQ_OK;
}

static int create_temp(struct cas *cas, char name[CAS_TEMP_NAME_BYTES], int *fd,
                       struct mlq_err *err)
{
    int rc = name_temp(cas, name, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    *fd = openat(cas->temp_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return *fd < 0 ? io_fail(err, "create a temporary file in", cas->root) : MLQ_OK;
}

static int sync_fd(int fd, const char *what, struct mlq_err *err)
{
    return fsync(fd) == 0 ? MLQ_OK : io_fail(err, "sync", what);
}

/* The folder objects/ab: makes it, and makes a name in it durable. */
static int sync_bucket(struct cas *cas, const char *object, struct mlq_err *err)
{
    char bucket[3] = {object[0], object[1], '\0'};
    int fd = openat(cas->objects_fd, bucket, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return io_fail(err, "open folder objects of", cas->root);
    }
    int rc = sync_fd(fd, cas->root, err);
    close(fd);
    return rc;
}

static int make_bucket(struct cas *cas, const char *object, struct mlq_err *err)
{
    char bucket[3] = {object[0], object[1], '\0'};
    if (mkdirat(cas->objects_fd, bucket, 0755) == 0) {
        return sync_fd(cas->objects_fd, cas->root, err);
    }
    return errno == EEXIST ? MLQ_OK : io_fail(err, "make a folder in", cas->root);
}

/* Its time of modification lies before anything that may still happen to it: whatever changes it
 * gives it another. */
static int set_back(int fd)
{
    int64_t made_us = mlq_clock_wall_us() - SET_BACK_US;
    const struct timespec times[] = {
        {.tv_nsec = UTIME_OMIT},
        {.tv_sec = made_us / US_PER_S, .tv_nsec = made_us % US_PER_S * 1000},
    };
    return futimens(fd, times);
}

/* The temporary file `temp` becomes the object. */
static int publish(struct cas *cas, int fd, const char *temp, const struct cas_digest *digest,
                   struct mlq_err *err)
{
    char name[CAS_OBJECT_NAME_BYTES];
    cas_object_name(digest, name);
    int rc = make_bucket(cas, name, err);
    if (rc == MLQ_OK && (set_back(fd) != 0 || fchmod(fd, 0444) != 0 || fsync(fd) != 0)) {
        rc = io_fail(err, "sync a new object of", cas->root);
    }
    if (rc == MLQ_OK && renameat(cas->temp_fd, temp, cas->objects_fd, name) != 0) {
        rc = io_fail(err, "rename a new object of", cas->root);
    }
    return rc == MLQ_OK ? sync_bucket(cas, name, err) : rc;
}

/* The object that this file has become is what was hashed. */
static void remember(struct cas *cas, int fd, const struct cas_digest *digest)
{
    struct stat status;
    if (fstat(fd, &status) == 0) {
        cas_known_add(&cas->known, digest, &status, &status);
    }
}

/* Its name may have come from somebody who has not come to this yet. */
static int sync_name(struct cas *cas, const struct cas_digest *digest, struct mlq_err *err)
{
    char name[CAS_OBJECT_NAME_BYTES];
    cas_object_name(digest, name);
    return sync_bucket(cas, name, err);
}

/* Copies the source in, unless what was copied turns out to be there. */
static int store_copy(struct cas *cas, struct io_copy source, struct cas_digest *digest,
                      uint64_t *bytes, struct mlq_err *err)
{
    char temp[CAS_TEMP_NAME_BYTES];
    int rc = create_temp(cas, temp, &source.to, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    source.to_path = cas->root;
    source.is_durable = true;
    rc = io_copy_hashed(&source, digest, bytes, err);
    bool is_there = rc == MLQ_OK && cas_is_intact(cas, digest, *bytes);
    if (rc == MLQ_OK) {
        rc = is_there ? sync_name(cas, digest, err) : publish(cas, source.to, temp, digest, err);
    }
    if (rc == MLQ_OK && !is_there) {
        remember(cas, source.to, digest);
    } else {
        (void)unlinkat(cas->temp_fd, temp, 0);
    }
    close(source.to);
    return rc;
}

/* Ours, and without a name beyond these. That somebody may execute it would be lost with its mode,
 * and whoever took it again would find another file. */
static bool is_sole(int fd, nlink_t names)
{
    struct stat status;
    return fstat(fd, &status) == 0 && status.st_uid == geteuid() && status.st_nlink == names &&
           (status.st_mode & S_IXUSR) == 0;
}

/* The file itself becomes the object. MLQ_ENOTSUP: it cannot, so copy it. */
static int store_itself(struct cas *cas, int fd, const struct cas_digest *digest,
                        struct mlq_err *err)
{
    char temp[CAS_TEMP_NAME_BYTES];
    char self[FD_PATH_BYTES];
    int rc = lease_holds(fd) ? name_temp(cas, temp, err) : MLQ_ENOTSUP;
    if (rc != MLQ_OK) {
        return rc;
    }
    (void)snprintf(self, sizeof self, "/proc/self/fd/%d", fd); /* whatever its name is by now */
    if (linkat(AT_FDCWD, self, cas->temp_fd, temp, AT_SYMLINK_FOLLOW) != 0) {
        return MLQ_ENOTSUP; /* on another file system, above all */
    }
    rc = publish(cas, fd, temp, digest, err);
    if (rc != MLQ_OK) {
        (void)unlinkat(cas->temp_fd, temp, 0);
        return rc;
    }
    if (!is_sole(fd, 2) || !lease_holds(fd)) {
        (void)unlinkat(cas->temp_fd, temp, 0); /* a rename onto the same file leaves it */
        return MLQ_ENOTSUP;                    /* a copy replaces it */
    }
    remember(cas, fd, digest); /* nobody had it open to write */
    return MLQ_OK;
}

/* Hashes the source, and compares it with the object that it most likely is: if they are equal that
 * is verified as well, and in no more time. */
static int hash_beside(struct cas *cas, struct io_copy source, const struct cas_digest *likely,
                       struct cas_digest *digest, uint64_t *bytes, struct mlq_err *err)
{
    struct io_twin twin;
    struct stat before, after;
    int rc = cas_open_object(cas, likely, &twin.fd, bytes, NULL);
    if (rc != MLQ_OK) {
        return io_copy_hashed(&source, digest, bytes, err);
    }
    twin.differs = fstat(twin.fd, &before) != 0 || cas_known_has(&cas->known, likely, &before);
    source.twin = &twin;
    rc = io_copy_hashed(&source, digest, bytes, err);
    if (rc == MLQ_OK && !twin.differs && cas_digest_eq(digest, likely) &&
        fstat(twin.fd, &after) == 0) {
        cas_known_add(&cas->known, digest, &before, &after);
    }
    close(twin.fd);
    return rc;
}

/* Hashes the source before anything is written. */
static int put_hashed(struct cas *cas, struct io_copy source, bool may_take,
                      const struct cas_digest *likely, struct cas_digest *digest, uint64_t *bytes,
                      struct mlq_err *err)
{
    source.is_leased = may_take && lease_take(source.from);
    may_take = source.is_leased && is_sole(source.from, 1);
    int rc = likely != NULL ? hash_beside(cas, source, likely, digest, bytes, err)
                            : io_copy_hashed(&source, digest, bytes, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    if (cas_is_intact(cas, digest, *bytes)) {
        return sync_name(cas, digest, err);
    }
    source.progress = NULL;
    rc = may_take ? store_itself(cas, source.from, digest, err) : MLQ_ENOTSUP;
    return rc == MLQ_ENOTSUP ? store_copy(cas, source, digest, bytes, err) : rc;
}

/* Copies it while it is hashed. Where that fails, say for want of space, the store may still have
 * it. */
static int put_at_once(struct cas *cas, struct io_copy source, struct cas_digest *digest,
                       uint64_t *bytes, struct mlq_err *err)
{
    int rc = store_copy(cas, source, digest, bytes, err);
    source.progress = NULL;
    return rc != MLQ_OK && io_copy_hashed(&source, digest, bytes, NULL) == MLQ_OK &&
                   cas_is_intact(cas, digest, *bytes)
               ? sync_name(cas, digest, err)
               : rc;
}

static int put_fd(struct cas *cas, struct io_copy source, bool may_take, struct cas_digest *digest,
                  uint64_t *bytes, struct mlq_err *err)
{
    struct stat status;
    struct cas_digest likely;
    if (fstat(source.from, &status) != 0) {
        return io_fail(err, "stat", source.path);
    }
    source.total_bytes = (uint64_t)status.st_size;
    if (may_take || source.total_bytes < CAS_KNOWN_BYTES_MIN) {
        return put_hashed(cas, source, may_take, NULL, digest, bytes, err);
    }
    /* What was put before, as far as that can be seen without reading it, is not written in vain.
     */
    if (cas_known_source(&cas->known, &status, &likely) && cas_has(cas, &likely, NULL)) {
        return put_hashed(cas, source, false, &likely, digest, bytes, err);
    }
    int rc = put_at_once(cas, source, digest, bytes, err);
    if (rc == MLQ_OK) {
        cas_known_add_source(&cas->known, &status, digest);
    }
    return rc;
}

static int put_path(struct cas *cas, struct io_copy source, bool may_take,
                    struct cas_digest *digest, uint64_t *bytes, struct mlq_err *err)
{
    uint64_t found;
    int rc = io_open_regular(AT_FDCWD, source.path, false, &source.from, &found, err);
    if (rc == MLQ_OK) {
        rc = put_fd(cas, source, may_take, digest, bytes == NULL ? &found : bytes, err);
        close(source.from);
    }
    return rc;
}

int cas_put_file(struct cas *cas, const char *path, struct cas_digest *digest, uint64_t *bytes,
                 cas_progress_fn progress, void *context, struct mlq_err *err)
{
    struct io_copy source = {.to = -1, .path = path, .progress = progress, .context = context};
    return put_path(cas, source, false, digest, bytes, err);
}

int cas_put_own_file(struct cas *cas, const char *path, struct cas_digest *digest, uint64_t *bytes,
                     struct mlq_err *err)
{
    return put_path(cas, (struct io_copy){.to = -1, .path = path}, true, digest, bytes, err);
}

int cas_put_bytes(struct cas *cas, struct mlq_str bytes, struct cas_digest *digest,
                  struct mlq_err *err)
{
    sha256_of(bytes.ptr, bytes.len, digest);
    if (cas_is_intact(cas, digest, bytes.len)) {
        return sync_name(cas, digest, err);
    }
    char temp[CAS_TEMP_NAME_BYTES];
    int fd;
    int rc = create_temp(cas, temp, &fd, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    rc = mlq_fs_write_all(fd, bytes, err);
    if (rc == MLQ_OK) {
        rc = publish(cas, fd, temp, digest, err);
    }
    if (rc != MLQ_OK) {
        (void)unlinkat(cas->temp_fd, temp, 0);
    }
    close(fd);
    return rc;
}

/* ---- Folders ---- */

static int tree_put_file(struct cas *cas, int fd, const char *path, struct cas_digest *digest,
                         uint64_t *bytes, struct mlq_err *err)
{
    struct io_copy source = {.from = fd, .to = -1, .path = path};
    return put_fd(cas, source, false, digest, bytes, err);
}

static int tree_take_file(struct cas *cas, int fd, const char *path, struct cas_digest *digest,
                          uint64_t *bytes, struct mlq_err *err)
{
    struct io_copy source = {.from = fd, .to = -1, .path = path};
    return put_fd(cas, source, true, digest, bytes, err);
}

static int put_tree(const struct cas_tree_store *store, const char *dir, cas_skip_fn skip,
                    void *context, struct cas_digest *digest, uint64_t *bytes, struct mlq_err *err)
{
    char *manifest = NULL;
    uint64_t sum = 0;
    int rc = cas_tree_put(store, dir, skip, context, &manifest, &sum, err);
    if (rc == MLQ_OK) {
        rc = cas_put_bytes(store->cas, mlq_str_from(manifest), digest, err);
    }
    mlq_free(manifest);
    if (rc == MLQ_OK && bytes != NULL) {
        *bytes = sum;
    }
    return rc == MLQ_OK ? rc : mlq_wrap(err, rc, "folder %s", dir);
}

int cas_put_tree(struct cas *cas, const char *dir, cas_skip_fn skip, void *context,
                 struct cas_digest *digest, uint64_t *bytes, struct mlq_err *err)
{
    struct cas_tree_store store = {.cas = cas, .put = tree_put_file};
    return put_tree(&store, dir, skip, context, digest, bytes, err);
}

int cas_put_own_tree(struct cas *cas, const char *dir, struct cas_digest *digest, uint64_t *bytes,
                     struct mlq_err *err)
{
    struct cas_tree_store store = {.cas = cas, .put = tree_take_file};
    return put_tree(&store, dir, NULL, NULL, digest, bytes, err);
}
