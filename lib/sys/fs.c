/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/sys/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/sys/mem.h"

#define TREE_OPEN_MAX    32
#define TREE_MOVED_MAX   100000000u
#define TREE_REREADS_MAX 10000u /* then somebody else is writing there */

static int fail_errno(struct mlq_err *err, const char *verb, const char *path)
{
    int saved = errno;
    int code = saved == ENOENT                                       ? MLQ_ENOENT
               : saved == EACCES || saved == EPERM || saved == EROFS ? MLQ_EPERM
               : saved == ENOSPC || saved == EDQUOT                  ? MLQ_EFULL
                                                                     : MLQ_EIO;
    (void)mlq_fail(err, code, "%s %s: %s", verb, path, strerror(saved));
    if (err != NULL) {
        err->sys_errno = saved;
    }
    return code;
}

static int read_all(int fd, const char *path, size_t bytes_max, char **data, size_t *len,
                    struct mlq_err *err)
{
    size_t room = 4096;
    size_t used = 0;
    char *buffer = mlq_alloc(room);
    for (;;) {
        ssize_t got = read(fd, buffer + used, room - used - 1);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            mlq_free(buffer);
            return fail_errno(err, "read", path);
        }
        if (got == 0) {
            break;
        }
        used += (size_t)got;
        if (used > bytes_max) {
            mlq_free(buffer);
            return mlq_fail(err, MLQ_EFULL, "read %s: larger than the limit of %zu bytes", path,
                            bytes_max);
        }
        if (used == room - 1) {
            room *= 2;
            buffer = mlq_realloc_array(buffer, room, 1);
        }
    }
    buffer[used] = '\0';
    *data = buffer;
    *len = used;
    return MLQ_OK;
}

int mlq_fs_read(const char *path, size_t bytes_max, char **data, size_t *len, struct mlq_err *err)
{
    /* A FIFO that nobody writes to would hold a waiting open for ever: it reads as empty. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return fail_errno(err, "open", path);
    }
    (void)fcntl(fd, F_SETFL, 0); /* but a pipe that somebody writes to is read to its end */
    int rc = read_all(fd, path, bytes_max, data, len, err);
    close(fd);
    return rc;
}

int mlq_fs_write_all(int fd, struct mlq_str data, struct mlq_err *err)
{
    while (data.len > 0) {
        ssize_t put = write(fd, data.ptr, data.len);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0) {
            return fail_errno(err, "write", "(open file)");
        }
        data.ptr += put;
        data.len -= (size_t)put;
    }
    return MLQ_OK;
}

void mlq_fs_write_back(int fd, uint64_t from, uint64_t bytes)
{
    (void)sync_file_range(fd, (off_t)from, (off_t)bytes, SYNC_FILE_RANGE_WRITE);
}

int mlq_fs_sync_dir(const char *path, struct mlq_err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return fail_errno(err, "open folder", path);
    }
    int rc = fsync(fd) == 0 ? MLQ_OK : fail_errno(err, "sync folder", path);
    close(fd);
    return rc;
}

static int fill(int fd, const char *temp, struct mlq_str data, mode_t mode, bool durable,
                struct mlq_err *err)
{
    int rc = mlq_fs_write_all(fd, data, err);
    if (rc != MLQ_OK) {
        (void)mlq_wrap(err, rc, "write %s", temp);
    }
    if (rc == MLQ_OK && (fchmod(fd, mode) != 0 || (durable && fsync(fd) != 0))) {
        rc = fail_errno(err, "write", temp);
    }
    if (close(fd) != 0 && rc == MLQ_OK) {
        rc = fail_errno(err, "close", temp);
    }
    return rc;
}

static int replace(const char *path, struct mlq_str data, mode_t mode, bool durable,
                   struct mlq_err *err)
{
    char *temp = mlq_format("%s.tmp.XXXXXX", path);
    const char *slash = strrchr(path, '/');
    char *dir = slash == NULL ? mlq_strdup(".")
                              : mlq_strndup((struct mlq_str){path, (size_t)(slash - path) + 1});
    int rc;
    int fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0) {
        rc = fail_errno(err, "create", temp);
    } else {
        rc = fill(fd, temp, data, mode, durable, err);
        if (rc == MLQ_OK && rename(temp, path) != 0) {
            rc = fail_errno(err, "rename to", path);
        }
        if (rc != MLQ_OK) {
            (void)unlink(temp);
        }
    }
    if (rc == MLQ_OK && durable) {
        rc = mlq_fs_sync_dir(dir, err);
    }
    mlq_free(temp);
    mlq_free(dir);
    return rc;
}

int mlq_fs_write_durable(const char *path, struct mlq_str data, mode_t mode, struct mlq_err *err)
{
    return replace(path, data, mode, true, err);
}

int mlq_fs_write_whole(const char *path, struct mlq_str data, mode_t mode, struct mlq_err *err)
{
    return replace(path, data, mode, false, err);
}

int mlq_fs_make_dirs(const char *path, mode_t mode, struct mlq_err *err)
{
    if (path[0] == '\0') {
        return mlq_fail(err, MLQ_EINVAL, "make folder: the path is empty");
    }
    /* Mostly its parent is there, or it. */
    struct stat status;
    if (mkdir(path, mode) == 0 ||
        (errno == EEXIST && stat(path, &status) == 0 && S_ISDIR(status.st_mode))) {
        return MLQ_OK;
    }
    char *partial = mlq_strdup(path);
    int rc = MLQ_OK;
    for (char *at = partial + 1; rc == MLQ_OK; at++) {
        if (*at != '/' && *at != '\0') {
            continue;
        }
        char end = *at;
        *at = '\0';
        if (mkdir(partial, mode) != 0 && errno != EEXIST) {
            rc = fail_errno(err, "make folder", partial);
        }
        *at = end;
        if (end == '\0') {
            break;
        }
    }
    if (rc == MLQ_OK && (stat(path, &status) != 0 || !S_ISDIR(status.st_mode))) {
        rc = mlq_fail(err, MLQ_EEXIST, "make folder %s: something else has that name", path);
    }
    mlq_free(partial);
    return rc;
}

/* An explicit stack of open folders instead of recursion, and a bounded number of descriptors: a
 * folder that lies deeper is moved up into the first one, where the walk finds it again. So a tree
 * of any depth goes. */
struct tree_walk {
    DIR *dirs[TREE_OPEN_MAX];
    char *names[TREE_OPEN_MAX];
    int depth;
    unsigned moved;   /* makes the names of folders that were moved up */
    unsigned rereads; /* of folders that were not empty at their end */
};

/* Folders that their owner closed to himself are ours to remove. */
static int open_folder(int parent_fd, const char *name)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(parent_fd, name, flags);
    if (fd < 0 && errno == EACCES && fchmodat(parent_fd, name, 0700, AT_SYMLINK_NOFOLLOW) == 0) {
        fd = openat(parent_fd, name, flags);
    }
    if (fd >= 0) {
        (void)fchmod(fd, 0700);
    }
    return fd;
}

static int tree_enter(struct tree_walk *walk, int parent_fd, const char *name, struct mlq_err *err)
{
    int fd = open_folder(parent_fd, name);
    if (fd < 0) {
        return fail_errno(err, "open folder", name);
    }
    walk->dirs[walk->depth] = fdopendir(fd);
    if (walk->dirs[walk->depth] == NULL) {
        int rc = fail_errno(err, "open folder", name);
        close(fd);
        return rc;
    }
    walk->names[walk->depth] = mlq_strdup(name);
    walk->depth++;
    return MLQ_OK;
}

static void tree_pop(struct tree_walk *walk)
{
    walk->depth--;
    closedir(walk->dirs[walk->depth]);
    mlq_free(walk->names[walk->depth]);
}

/* The innermost folder has been read to its end: remove it. If it is not empty after all (folders
 * were moved into it, or removal made the system skip entries) it is read again. */
static int tree_leave(struct tree_walk *walk, struct mlq_err *err)
{
    int top = walk->depth - 1;
    int parent_fd = top == 0 ? AT_FDCWD : dirfd(walk->dirs[top - 1]);
    if (unlinkat(parent_fd, walk->names[top], AT_REMOVEDIR) != 0 && errno != ENOENT) {
        bool refilled = errno == ENOTEMPTY || errno == EEXIST;
        if (!refilled || walk->rereads++ > walk->moved + TREE_REREADS_MAX) {
            return fail_errno(err, "remove folder", walk->names[top]);
        }
        rewinddir(walk->dirs[top]);
        return MLQ_OK;
    }
    tree_pop(walk);
    return MLQ_OK;
}

static int tree_move_up(struct tree_walk *walk, int parent_fd, const char *name,
                        struct mlq_err *err)
{
    int fd = open_folder(parent_fd, name); /* moving a folder needs the right to write to it */
    if (fd < 0) {
        return fail_errno(err, "open folder", name);
    }
    close(fd);
    for (;;) {
        char target[32];
        (void)snprintf(target, sizeof target, "mlq-moved-%u", walk->moved++);
        if (renameat(parent_fd, name, dirfd(walk->dirs[0]), target) == 0) {
            return MLQ_OK;
        }
        bool taken = errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR;
        if (!taken || walk->moved > TREE_MOVED_MAX) {
            return fail_errno(err, "move up folder", name);
        }
    }
}

/* One entry of the innermost folder. */
static int tree_step(struct tree_walk *walk, struct mlq_err *err)
{
    DIR *dir = walk->dirs[walk->depth - 1];
    errno = 0;
    struct dirent *entry = readdir(dir);
    if (entry == NULL) {
        return errno != 0 ? fail_errno(err, "read folder", walk->names[walk->depth - 1])
                          : tree_leave(walk, err);
    }
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
        return MLQ_OK;
    }
    if (unlinkat(dirfd(dir), entry->d_name, 0) == 0 || errno == ENOENT) {
        return MLQ_OK;
    }
    if (errno != EISDIR && errno != EPERM) {
        return fail_errno(err, "remove", entry->d_name);
    }
    if (unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR) == 0) { /* empty, as many are */
        return MLQ_OK;
    }
    return walk->depth == TREE_OPEN_MAX ? tree_move_up(walk, dirfd(dir), entry->d_name, err)
                                        : tree_enter(walk, dirfd(dir), entry->d_name, err);
}

int mlq_fs_remove_tree(const char *path, struct mlq_err *err)
{
    if (unlink(path) == 0 || errno == ENOENT) {
        return MLQ_OK;
    }
    if (errno != EISDIR && errno != EPERM) {
        return fail_errno(err, "remove", path);
    }
    if (rmdir(path) == 0) { /* empty, as many are */
        return MLQ_OK;
    }
    struct tree_walk walk = {.depth = 0};
    int rc = tree_enter(&walk, AT_FDCWD, path, err);
    while (rc == MLQ_OK && walk.depth > 0) {
        rc = tree_step(&walk, err);
    }
    while (walk.depth > 0) {
        tree_pop(&walk);
    }
    return rc == MLQ_OK ? rc : mlq_wrap(err, rc, "remove %s", path);
}

bool mlq_fs_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

/* An empty folder name is the working folder, not the root. */
char *mlq_fs_join(const char *dir, const char *name)
{
    size_t len = strlen(dir);
    return mlq_format("%s%s%s", dir, len == 0 || dir[len - 1] == '/' ? "" : "/", name);
}

static bool is_inner_part(struct mlq_str part)
{
    return part.len > 0 && !mlq_str_eq_c(part, ".") && !mlq_str_eq_c(part, "..");
}

bool mlq_fs_is_inner_path(struct mlq_str path)
{
    for (size_t i = 0; i < path.len; i++) {
        if ((unsigned char)path.ptr[i] < 0x20 || path.ptr[i] == 0x7f) {
            return false;
        }
    }
    struct mlq_str part;
    struct mlq_str rest = path;
    bool more;
    do {
        more = mlq_str_cut(rest, '/', &part, &rest);
        if (!is_inner_part(part)) {
            return false;
        }
    } while (more);
    return true;
}
