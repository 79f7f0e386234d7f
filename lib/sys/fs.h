/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Files, with the durability said in the name. Errors name the path and the system's reason.
 */
#ifndef MLQ_SYS_FS_H
#define MLQ_SYS_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "lib/base/str.h"

/* The whole file, terminated by a NUL that *len does not count; a file over `bytes_max` is
 * refused (MLQ_EFULL), a missing one is MLQ_ENOENT. A pipe is read to its end, a FIFO without a
 * writer is empty. */
int mlq_fs_read(const char *path, size_t bytes_max, MLQ_OWNED_RETURN char **data, size_t *len,
                struct mlq_err *err);

/* Temporary file beside `path`, write, fsync, rename, fsync of the folder: after return the new
 * content is there after any crash; before, the old one is. */
int mlq_fs_write_durable(const char *path, struct mlq_str data, mode_t mode, struct mlq_err *err);

/* The same without waiting for the disk: whole for every reader, also when the writer dies at any
 * point, but after a loss of power it may be absent or empty. */
int mlq_fs_write_whole(const char *path, struct mlq_str data, mode_t mode, struct mlq_err *err);

/* All of `data` to `fd`, through short writes and EINTR. The error has no name of it: wrap it. */
int mlq_fs_write_all(int fd, struct mlq_str data, struct mlq_err *err);

/* The disk may begin with these bytes of a file (0, 0: with all that wait), so that the fsync that is to
 * come has little left to do. Waits for nothing but a place in the disk's queue; promises nothing. */
void mlq_fs_write_back(int fd, uint64_t from, uint64_t bytes);

/* `path` and its missing parents. An existing folder is fine. */
int mlq_fs_make_dirs(const char *path, mode_t mode, struct mlq_err *err);

/* A file, or a folder with all that is in it, however deep; links are removed, not followed.
 * Missing is fine. Nobody else may be writing there. */
int mlq_fs_remove_tree(const char *path, struct mlq_err *err);

/* fsync of a folder, which makes a rename in it durable. */
int mlq_fs_sync_dir(const char *path, struct mlq_err *err);

bool mlq_fs_exists(const char *path);

/* Join with one slash; an empty `dir` gives `name` alone. */
MLQ_OWNED_RETURN char *mlq_fs_join(const char *dir, const char *name);

/* True for a relative path without empty, "." or ".." parts and without NUL or control bytes:
 * a name that cannot leave the folder it is joined to. */
bool mlq_fs_is_inner_path(struct mlq_str path);

#endif
