/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A task may do to its folder what its user may, so nothing about it is believed that was not looked
 * at: kept is only what nobody could tell from a new one.
 */
#include "worker/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/base/ownership.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "worker/exec/control.h"
#include "worker/exec/joblog.h"
#include "worker/exec/shimfile.h"

#define FILE_MODE   0600
#define LABEL       "security.selinux"

static const char *const inner[] = {"work", "out", "tmp"};

/* ---- The book ---- */

void folder_spares_init(struct folder_spares *spares, const char *home, struct mlq_region *region)
{
    *spares = (struct folder_spares){.dir = mlq_region_format(region, "%s/spare", home)};
    (void)mlq_fs_remove_tree(spares->dir, NULL);
    (void)mkdir(spares->dir, FOLDER_MODE); /* without it nothing is kept */
}

static const char *path_of(const struct folder_spares *spares, uint64_t number,
                           struct mlq_region *region)
{
    return mlq_region_format(region, "%s/%llu", spares->dir, (unsigned long long)number);
}

void folder_spares_fini(struct folder_spares *spares)
{
    while (spares->waiting_count > 0) {
        control_close(&spares->waiting[--spares->waiting_count].control);
    }
}

const char *folder_take(struct folder_spares *spares, struct mlq_region *region,
                        struct control **control)
{
    *control = NULL;
    if (spares->waiting_count == 0) {
        return NULL;
    }
    spares->waiting_count--;
    *control = spares->waiting[spares->waiting_count].control;
    return path_of(spares, spares->waiting[spares->waiting_count].number, region);
}

const char *folder_place(struct folder_spares *spares, uint64_t *number, struct mlq_region *region)
{
    if (spares->waiting_count + spares->coming_count == FOLDER_SPARES_MAX) {
        return NULL;
    }
    spares->coming_count++;
    *number = spares->next++;
    return path_of(spares, *number, region);
}

void folder_kept(struct folder_spares *spares, uint64_t number, bool is_kept,
                 struct control *control)
{
    spares->coming_count--;
    if (is_kept) {
        spares->waiting[spares->waiting_count].number = number;
        spares->waiting[spares->waiting_count].control = control;
        spares->waiting_count++;
    } else {
        control_close(&control);
    }
}

/* ---- Making ---- */

int folder_make(const char *dir, const char *spare, struct mlq_err *err)
{
    if (spare != NULL && rename(spare, dir) == 0) {
        return MLQ_OK;
    }
    int rc = mlq_fs_make_dirs(dir, FOLDER_MODE, err);
    for (size_t i = 0; rc == MLQ_OK && i < MLQ_COUNT_OF(inner); i++) {
        char *path = mlq_fs_join(dir, inner[i]);
        rc = mlq_fs_make_dirs(path, FOLDER_MODE, err);
        mlq_free(path);
    }
    return rc;
}

/* ---- Keeping ---- */

/* Of a list of names: an access list would outlive its task. The label that every file has under
 * SELinux is none. */
static bool has_more_than_label(ssize_t len, const char *names)
{
    return len < 0 ? errno != ENOTSUP
                   : len > 0 &&
                         ((size_t)len != sizeof LABEL || memcmp(names, LABEL, sizeof LABEL) != 0);
}

/* A flag like append-only would, too. */
static bool has_attributes(int fd)
{
    const int odd = FS_IMMUTABLE_FL | FS_APPEND_FL | FS_SYNC_FL | FS_DIRSYNC_FL;
    char names[sizeof LABEL + 1];
    int flags = 0;
    return has_more_than_label(flistxattr(fd, names, sizeof names), names) ||
           (ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && (flags & odd) != 0);
}

static bool is_as_made(int fd, mode_t type, mode_t mode)
{
    struct stat status;
    return fstat(fd, &status) == 0 && (status.st_mode & S_IFMT) == type &&
           (status.st_mode & 07777) == mode && status.st_uid == geteuid() &&
           (type == S_IFDIR || status.st_nlink == 1) && !has_attributes(fd);
}

/* Whether a folder's entries are these and no others; takes the descriptor. */
static bool has_only(int fd, const char *const *names, size_t count)
{
    DIR *folder = fdopendir(fd);
    bool good = folder != NULL;
    for (struct dirent *entry = good ? readdir(folder) : NULL; good && entry != NULL;
         entry = readdir(folder)) {
        good = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        for (size_t i = 0; !good && i < count; i++) {
            good = strcmp(entry->d_name, names[i]) == 0;
        }
    }
    if (folder != NULL) {
        closedir(folder);
    } else {
        close(fd);
    }
    return good;
}

static bool is_fresh_inner(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool good = is_as_made(fd, S_IFDIR, FOLDER_MODE);
    return has_only(fd, NULL, 0) && good;
}

bool folder_is_fresh(const char *path)
{
    return is_fresh_inner(AT_FDCWD, path);
}

/* Of a task that printed nothing it keeps its blocks, the room for last words. */
static bool empty_log(int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 && (status.st_size == 0 || ftruncate(fd, 0) == 0);
}

/* A file of the shim's. Its lock shows that the shim is gone. */
static bool empty_file(int dir_fd, const char *name, bool (*empty)(int fd))
{
    int fd = openat(dir_fd, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    bool good = fd >= 0 && is_as_made(fd, S_IFREG, FILE_MODE) &&
                flock(fd, LOCK_EX | LOCK_NB) == 0 && empty(fd);
    if (fd >= 0) {
        close(fd);
    }
    return good;
}

/* The one that its worker listens on, or none. It cannot be opened to look at it. */
static bool has_socket(const char *dir, uint64_t inode)
{
    char names[sizeof LABEL + 1];
    struct stat status;
    char *path = mlq_fs_join(dir, CONTROL_FILE);
    bool good = lstat(path, &status) != 0
                    ? inode == 0 && errno == ENOENT
                    : inode != 0 && status.st_ino == inode && S_ISSOCK(status.st_mode) &&
                          (status.st_mode & 07777) == FILE_MODE && status.st_uid == geteuid() &&
                          status.st_nlink == 1 &&
                          !has_more_than_label(llistxattr(path, names, sizeof names), names);
    mlq_free(path);
    return good;
}

bool folder_keep(const char *dir, const char *place, uint64_t socket_inode)
{
    static const char *const all[] = {"work",         "out",       "tmp",
                                      SHIMFILE_STATE, JOBLOG_FILE, CONTROL_FILE};
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int again = fd < 0 ? -1 : openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = again >= 0 && has_only(again, all, MLQ_COUNT_OF(all)) &&
                is_as_made(fd, S_IFDIR, FOLDER_MODE) && has_socket(dir, socket_inode);
    for (size_t i = 0; good && i < MLQ_COUNT_OF(inner); i++) {
        good = is_fresh_inner(fd, inner[i]);
    }
    good = good && empty_file(fd, SHIMFILE_STATE, shimfile_clear) &&
           empty_file(fd, JOBLOG_FILE, empty_log);
    if (fd >= 0) {
        close(fd);
    }
    return good && rename(dir, place) == 0;
}

void folder_clear(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 ? !has_only(fd, NULL, 0) : errno != ENOENT) {
        (void)mlq_fs_remove_tree(path, NULL);
    }
}
