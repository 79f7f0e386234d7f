/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Objects for who reads files: copies, or links to them.
 */
#include "lib/artifact/cas.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/artifact/cas_part.h"
#include "lib/artifact/cas_tree.h"
#include "lib/artifact/io.h"
#include "lib/sys/mem.h"

#define TEMP_NAME_BYTES 48u

/* Fills `to` with the object's bytes and verifies what it then holds. */
static int copy_verified(struct cas *cas, const struct cas_digest *digest, int to, const char *name,
                         struct mlq_err *err)
{
    int from;
    uint64_t bytes;
    int rc = cas_open_object(cas, digest, &from, &bytes, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    struct cas_digest found;
    rc = io_copy_hashed(&(struct io_copy){.from = from,
                                          .to = to,
                                          .path = "an object",
                                          .to_path = name,
                                          .total_bytes = bytes},
                        &found, &bytes, err);
    close(from);
    if (rc == MLQ_OK && !cas_digest_eq(&found, digest)) {
        rc = cas_corrupt(cas, digest, err);
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
    char object[CAS_OBJECT_NAME_BYTES];
    char root[PATH_MAX];
    cas_object_name(digest, object);
    int rc = cas_verify(cas, digest, err);
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

int cas_fetch_link(struct cas *cas, const struct cas_digest *digest, const char *path,
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

/* ---- Folders ---- */

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
