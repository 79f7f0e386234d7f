/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The store works through descriptors of its own folders, so that a folder swapped for a symlink
 * while it is open leads nowhere. A put is: hash the source; if the object is there and intact,
 * make its name durable and stop; else copy into tmp, hashing what was written, fsync, rename,
 * fsync the folder. Two processes that put the same bytes rename equal files onto each other.
 *
 * A file that is taken goes the same way, but what is renamed is a second name of it and no copy. Until
 * that name is durable nothing has changed but its mode, and its first name stays: who dies in between
 * starts again, finds a file with two names, and copies it if the object is not there.
 */
#include "lib/artifact/cas.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/artifact/cas_tree.h"
#include "lib/artifact/io.h"
#include "lib/artifact/lease.h"
#include "lib/base/panic.h"
#include "lib/sys/clock.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

#define DIGEST_PREFIX     "sha256:"
#define HEX_DIGITS        64u
#define TEMP_PREFIX       "put-"
#define TEMP_NAME_BYTES   48u
#define OBJECT_NAME_BYTES (HEX_DIGITS + 2) /* "ab/cdef..." and NUL */
#define FD_PATH_BYTES     32u
#define LEFTOVER_AGE_S    INT64_C(86400)
#define US_PER_S          INT64_C(1000000)

struct cas {
    char *root; /* for messages */
    int objects_fd;
    int temp_fd;
};

/* ---- Digests ---- */

void cas_digest_format(const struct cas_digest *digest, char text[CAS_DIGEST_TEXT_BYTES])
{
    static const char hex[] = "0123456789abcdef";
    size_t at = sizeof DIGEST_PREFIX - 1;
    memcpy(text, DIGEST_PREFIX, at);
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
    if (text.len != sizeof DIGEST_PREFIX - 1 + HEX_DIGITS || !mlq_str_starts(text, DIGEST_PREFIX)) {
        return false;
    }
    const char *hex = text.ptr + sizeof DIGEST_PREFIX - 1;
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
        rc = io_copy_hashed(&(struct io_copy){.from = fd, .to = -1, .path = path}, digest, bytes,
                            err);
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
        if (strncmp(entry->d_name, TEMP_PREFIX, sizeof TEMP_PREFIX - 1) == 0 &&
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
    int rc = open_folder(root, "objects", &cas->objects_fd, err);
    if (rc == MLQ_OK) {
        rc = open_folder(root, "tmp", &cas->temp_fd, err);
    }
    if (rc != MLQ_OK) {
        cas_close(&cas);
        return mlq_wrap(err, rc, "artifact store %s", root);
    }
    remove_leftovers(cas);
    *out = cas;
    return MLQ_OK;
}

void cas_close(struct cas **cas)
{
    if (*cas == NULL) {
        return;
    }
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
static void object_name(const struct cas_digest *digest, char name[OBJECT_NAME_BYTES])
{
    char text[CAS_DIGEST_TEXT_BYTES];
    cas_digest_format(digest, text);
    const char *hex = text + sizeof DIGEST_PREFIX - 1;
    memcpy(name, hex, 2);
    name[2] = '/';
    memcpy(name + 3, hex + 2, HEX_DIGITS - 2 + 1);
}

static int open_object(struct cas *cas, const struct cas_digest *digest, int *fd, uint64_t *bytes,
                       struct mlq_err *err)
{
    char name[OBJECT_NAME_BYTES];
    object_name(digest, name);
    int rc = io_open_regular(cas->objects_fd, name, false, fd, bytes, err);
    return rc == MLQ_OK ? rc : mlq_wrap(err, rc, "artifact store %s", cas->root);
}

static int corrupt(struct cas *cas, const struct cas_digest *digest, struct mlq_err *err)
{
    char name[OBJECT_NAME_BYTES];
    object_name(digest, name);
    return mlq_fail(err, MLQ_ECORRUPT,
                    "artifact store %s: object %s is damaged: its bytes no longer have that digest "
                    "(put the same file again to mend it)",
                    cas->root, name);
}

/* Absent and damaged are both "no": either way the bytes must be written. */
static bool is_intact(struct cas *cas, const struct cas_digest *digest, uint64_t bytes)
{
    int fd;
    uint64_t found_bytes;
    if (open_object(cas, digest, &fd, &found_bytes, NULL) != MLQ_OK) {
        return false;
    }
    struct cas_digest found;
    bool intact = found_bytes == bytes &&
                  io_copy_hashed(&(struct io_copy){.from = fd, .to = -1, .path = "object"}, &found,
                                 &found_bytes, NULL) == MLQ_OK &&
                  cas_digest_eq(&found, digest);
    close(fd);
    return intact;
}

bool cas_has(struct cas *cas, const struct cas_digest *digest, uint64_t *bytes)
{
    char name[OBJECT_NAME_BYTES];
    struct stat status;
    object_name(digest, name);
    if (fstatat(cas->objects_fd, name, &status, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISREG(status.st_mode)) {
        return false;
    }
    if (bytes != NULL) {
        *bytes = (uint64_t)status.st_size;
    }
    return true;
}

static int name_temp(struct cas *cas, char name[TEMP_NAME_BYTES], struct mlq_err *err)
{
    uint64_t chance = 0;
    if (getrandom(&chance, sizeof chance, 0) != (ssize_t)sizeof chance) {
        return io_fail(err, "random bytes for", cas->root);
    }
    (void)snprintf(name, TEMP_NAME_BYTES, TEMP_PREFIX "%ld-%016" PRIx64, (long)getpid(), chance);
    return MLQ_OK;
}

static int create_temp(struct cas *cas, char name[TEMP_NAME_BYTES], int *fd, struct mlq_err *err)
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

/* The temporary file `temp` becomes the object. */
static int publish(struct cas *cas, int fd, const char *temp, const struct cas_digest *digest,
                   struct mlq_err *err)
{
    char name[OBJECT_NAME_BYTES];
    object_name(digest, name);
    int rc = make_bucket(cas, name, err);
    if (rc == MLQ_OK && (fchmod(fd, 0444) != 0 || fsync(fd) != 0)) {
        rc = io_fail(err, "sync a new object of", cas->root);
    }
    if (rc == MLQ_OK && renameat(cas->temp_fd, temp, cas->objects_fd, name) != 0) {
        rc = io_fail(err, "rename a new object of", cas->root);
    }
    return rc == MLQ_OK ? sync_bucket(cas, name, err) : rc;
}

/* Copies `fd` in, from its start; *digest becomes that of what was written. */
static int store_copy(struct cas *cas, int fd, const char *path, struct cas_digest *digest,
                      uint64_t *bytes, struct mlq_err *err)
{
    char temp[TEMP_NAME_BYTES];
    int temp_fd;
    int rc = create_temp(cas, temp, &temp_fd, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    rc = lseek(fd, 0, SEEK_SET) == 0 ? MLQ_OK : io_fail(err, "seek in", path);
    if (rc == MLQ_OK) {
        rc = io_copy_hashed(
            &(struct io_copy){.from = fd, .to = temp_fd, .path = path, .to_path = cas->root},
            digest, bytes, err);
    }
    if (rc == MLQ_OK) {
        rc = publish(cas, temp_fd, temp, digest, err);
    }
    if (rc != MLQ_OK) {
        (void)unlinkat(cas->temp_fd, temp, 0);
    }
    close(temp_fd);
    return rc;
}

/* Ours, and without a name beyond these. That somebody may execute it would be lost with its mode, and
 * whoever took it again would find another file. */
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
    char temp[TEMP_NAME_BYTES];
    char self[FD_PATH_BYTES];
    int rc = name_temp(cas, temp, err);
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
    return is_sole(fd, 2) && lease_holds(fd) ? MLQ_OK : MLQ_ENOTSUP; /* a copy replaces it */
}

static int put_fd(struct cas *cas, struct io_copy source, bool may_take, struct cas_digest *digest,
                  uint64_t *bytes, struct mlq_err *err)
{
    may_take = may_take && is_sole(source.from, 1) && lease_take(source.from);
    int rc = io_copy_hashed(&source, digest, bytes, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    if (is_intact(cas, digest, *bytes)) {
        char name[OBJECT_NAME_BYTES];
        object_name(digest, name);
        return sync_bucket(cas, name, err); /* its writer may not have come to this yet */
    }
    rc = may_take ? store_itself(cas, source.from, digest, err) : MLQ_ENOTSUP;
    return rc == MLQ_ENOTSUP ? store_copy(cas, source.from, source.path, digest, bytes, err) : rc;
}

static int put_path(struct cas *cas, struct io_copy source, bool may_take,
                    struct cas_digest *digest, uint64_t *bytes, struct mlq_err *err)
{
    uint64_t copied;
    int rc = io_open_regular(AT_FDCWD, source.path, false, &source.from, &source.total_bytes, err);
    if (rc == MLQ_OK) {
        rc = put_fd(cas, source, may_take, digest, bytes == NULL ? &copied : bytes, err);
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

int cas_take_file(struct cas *cas, const char *path, struct cas_digest *digest, uint64_t *bytes,
                  struct mlq_err *err)
{
    return put_path(cas, (struct io_copy){.to = -1, .path = path}, true, digest, bytes, err);
}

int cas_put_bytes(struct cas *cas, struct mlq_str bytes, struct cas_digest *digest,
                  struct mlq_err *err)
{
    io_hash(bytes, digest);
    char name[OBJECT_NAME_BYTES];
    object_name(digest, name);
    if (is_intact(cas, digest, bytes.len)) {
        return sync_bucket(cas, name, err);
    }
    char temp[TEMP_NAME_BYTES];
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

/* ---- Reading ---- */

/* Fills `to` with the object's bytes, by cloning or copying, and verifies what `to` then holds; or only
 * verifies the object where that is -1. */
static int copy_verified(struct cas *cas, const struct cas_digest *digest, int to, const char *name,
                         struct mlq_err *err)
{
    int from;
    uint64_t bytes;
    int rc = open_object(cas, digest, &from, &bytes, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    bool cloned = to >= 0 && ioctl(to, FICLONE, from) == 0;
    struct cas_digest found;
    rc = io_copy_hashed(&(struct io_copy){.from = cloned ? to : from,
                                          .to = cloned ? -1 : to,
                                          .path = "an object",
                                          .to_path = name},
                        &found, &bytes, err);
    close(from);
    if (rc == MLQ_OK && !cas_digest_eq(&found, digest)) {
        rc = corrupt(cas, digest, err);
    }
    return rc;
}

/* Gives the finished file `temp` its name unless that is taken. */
static int name_file(int dir_fd, const char *temp, const char *name, struct mlq_err *err)
{
    if (renameat2(dir_fd, temp, dir_fd, name, RENAME_NOREPLACE) == 0) {
        return MLQ_OK;
    }
    if (errno != EINVAL && errno != ENOSYS) {
        return io_fail(err, "make", name);
    }
    /* A file system without that call, such as NFS: a link never replaces. */
    if (linkat(dir_fd, temp, dir_fd, name, 0) != 0) {
        return io_fail(err, "make", name);
    }
    (void)unlinkat(dir_fd, temp, 0);
    return MLQ_OK;
}

static int fetch_at(struct cas *cas, const struct cas_digest *digest, int dir_fd, const char *name,
                    mode_t mode, struct mlq_err *err)
{
    char temp[TEMP_NAME_BYTES];
    uint64_t chance = 0;
    if (getrandom(&chance, sizeof chance, 0) != (ssize_t)sizeof chance) {
        return io_fail(err, "random bytes for", name);
    }
    (void)snprintf(temp, sizeof temp, ".mlq-fetch-%016" PRIx64, chance);
    int fd = openat(dir_fd, temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return io_fail(err, "create a file for", name);
    }
    int rc = copy_verified(cas, digest, fd, name, err);
    if (rc == MLQ_OK && fchmod(fd, mode) != 0) {
        rc = io_fail(err, "set the mode of", name);
    }
    if (close(fd) != 0 && rc == MLQ_OK) {
        rc = io_fail(err, "close", name);
    }
    if (rc == MLQ_OK) {
        rc = name_file(dir_fd, temp, name, err);
    }
    if (rc != MLQ_OK) {
        (void)unlinkat(dir_fd, temp, 0);
    }
    return rc;
}

/* The folder of `path`, open; *name is the rest of it. */
static int open_dir_of(const char *path, int *dir_fd, const char **name, struct mlq_err *err)
{
    const char *slash = strrchr(path, '/');
    *name = slash == NULL ? path : slash + 1;
    char *dir = slash == NULL ? mlq_strdup(".")
                              : mlq_strndup((struct mlq_str){path, (size_t)(slash - path) + 1});
    *dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = *dir_fd < 0 ? io_fail(err, "open folder", dir) : MLQ_OK;
    mlq_free(dir);
    return rc;
}

int cas_fetch(struct cas *cas, const struct cas_digest *digest, const char *path,
              struct mlq_err *err)
{
    int dir_fd;
    const char *name;
    int rc = open_dir_of(path, &dir_fd, &name, err);
    if (rc == MLQ_OK) {
        rc = fetch_at(cas, digest, dir_fd, name, 0444, err);
        close(dir_fd);
    }
    return rc;
}

static bool is_beside(const struct cas *cas, int dir_fd)
{
    struct stat here;
    struct stat there;
    return fstat(dir_fd, &here) == 0 && fstat(cas->objects_fd, &there) == 0 &&
           here.st_dev == there.st_dev;
}

static int link_verified(struct cas *cas, const struct cas_digest *digest, int dir_fd,
                         const char *name, struct mlq_err *err)
{
    char object[OBJECT_NAME_BYTES];
    char root[PATH_MAX];
    object_name(digest, object);
    int rc = copy_verified(cas, digest, -1, name, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    if (realpath(cas->root, root) == NULL) {
        return io_fail(err, "find", cas->root);
    }
    char *target = mlq_format("%s/objects/%s", root, object);
    rc = symlinkat(target, dir_fd, name) == 0 ? MLQ_OK : io_fail(err, "make", name);
    mlq_free(target);
    return rc;
}

int cas_lend_file(struct cas *cas, const struct cas_digest *digest, const char *path,
                  struct mlq_err *err)
{
    int dir_fd;
    const char *name;
    int rc = open_dir_of(path, &dir_fd, &name, err);
    if (rc == MLQ_OK) {
        rc = is_beside(cas, dir_fd) ? link_verified(cas, digest, dir_fd, name, err)
                                    : fetch_at(cas, digest, dir_fd, name, 0444, err);
        close(dir_fd);
    }
    return rc;
}

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
    int rc = open_object(cas, digest, &fd, &bytes, err);
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
    io_hash((struct mlq_str){buffer, (size_t)bytes}, &found);
    if (rc == MLQ_OK && !cas_digest_eq(&found, digest)) {
        rc = corrupt(cas, digest, err);
    }
    if (rc != MLQ_OK) {
        mlq_free(buffer);
        return rc;
    }
    *data = buffer;
    *len = (size_t)bytes;
    return MLQ_OK;
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

int cas_take_tree(struct cas *cas, const char *dir, struct cas_digest *digest, uint64_t *bytes,
                  struct mlq_err *err)
{
    struct cas_tree_store store = {.cas = cas, .put = tree_take_file};
    return put_tree(&store, dir, NULL, NULL, digest, bytes, err);
}

int cas_fetch_tree(struct cas *cas, const struct cas_digest *digest, const char *dir, bool writable,
                   struct mlq_err *err)
{
    char *manifest = NULL;
    size_t len = 0;
    int rc = cas_read(cas, digest, CAS_TREE_MANIFEST_BYTES_MAX, &manifest, &len, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    struct cas_tree_store store = {.cas = cas, .fetch = fetch_at};
    rc = cas_tree_fetch(&store, (struct mlq_str){manifest, len}, dir, writable, err);
    mlq_free(manifest);
    return rc == MLQ_OK ? rc : mlq_wrap(err, rc, "folder %s", dir);
}
