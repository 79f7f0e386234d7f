/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A content-addressed store: a folder, local or shared (NFS), that keeps each sequence of bytes
 * once under its SHA-256.
 *
 *     <root>/objects/ab/cdef...   read-only files; the name is the digest, 2 + 62 hex digits
 *     <root>/tmp/                 what is being written, of which a crash leaves some, and cas_known.h's tables
 *
 * An object appears by rename after fsync: it is whole or absent. Many processes on many machines
 * may put and get at the same time. Objects are verified when they are read through cas_fetch,
 * cas_fetch_link and cas_read; a damaged one is refused with MLQ_ECORRUPT, never served, and putting the same bytes
 * again replaces it. Of large ones that our user has hashed on this machine a short while ago cas_fetch_link, and who puts the
 * same bytes, look at the file's status alone (cas_known.h), until somebody here has seen the damage.
 *
 * What is fetched never shares its inode with the store: a task may run as root, to whom a read-only
 * hard link is writable, and would change the object for everybody. A copy on a file system that can
 * clone (btrfs, xfs) costs no space; elsewhere it is written while it is verified, in one pass. Only
 * who is known to write to nothing is lent the object itself.
 */
#ifndef MLQ_ARTIFACT_CAS_H
#define MLQ_ARTIFACT_CAS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "lib/base/str.h"

#define CAS_DIGEST_TEXT_BYTES 72 /* "sha256:" + 64 hex digits + NUL */

struct cas_digest {
    uint8_t sha256[32];
};

void cas_digest_format(const struct cas_digest *digest, char text[CAS_DIGEST_TEXT_BYTES]);
/* Exactly "sha256:" and 64 lower-case hex digits. */
bool cas_digest_parse(struct mlq_str text, struct cas_digest *digest);
bool cas_digest_eq(const struct cas_digest *a, const struct cas_digest *b);

struct cas; /* an open store; used by one thread at a time */

/* Opens the store, making its folders when missing. Temporary files that nobody has written to for a day
 * are removed: their writers died. */
int cas_open(const char *root, MLQ_OWNED_RETURN struct cas **cas, struct mlq_err *err);
void cas_close(struct cas **cas);

/* Called now and then during long work; NULL to leave out. */
typedef void (*cas_progress_fn)(void *context, uint64_t done_bytes, uint64_t total_bytes);

/* Copy a regular file in (never follows a final symlink). On success the object is durable, and the digest is that of
 * what was copied, whoever writes to the file meanwhile. It is read once, and hashed on the way; but bytes that the store
 * most likely has, since this user has put the same file before, are not written again. `progress` counts the first pass. */
int cas_put_file(struct cas *cas,
                 const char *path,
                 struct cas_digest *digest,
                 uint64_t *bytes,
                 cas_progress_fn progress,
                 void *context,
                 struct mlq_err *err);

/* The same of a file that the caller owns and will only read and remove from now on: if possible the
 * file itself becomes the object, read-only and under a second name, and no byte is copied. Possible it
 * is on the store's own file system, for a file of our user that has one name, that nobody has open to
 * write (lease.h), and that is not executable. What is not possible is copied. Doing it again gives the same. */
int cas_put_own_file(struct cas *cas,
                     const char *path,
                     struct cas_digest *digest,
                     uint64_t *bytes,
                     struct mlq_err *err);

int cas_put_bytes(struct cas *cas,
                  struct mlq_str bytes,
                  struct cas_digest *digest,
                  struct mlq_err *err);

/* Verify the object and make it appear at `path` (which must not exist), whole and read-only. Not
 * fsynced. MLQ_ENOENT when the store lacks it. */
int cas_fetch(struct cas *cas,
              const struct cas_digest *digest,
              const char *path,
              struct mlq_err *err);

/* The same for a reader that is known to only read, and so gets the object itself: `path` becomes a
 * symbolic link to it, once it is verified, and no byte is copied. On another file system than the
 * store's it is copied nonetheless: that may be far away, and who reads does so more than once. */
int cas_fetch_link(struct cas *cas,
                   const struct cas_digest *digest,
                   const char *path,
                   struct mlq_err *err);

/* The whole object, verified; over bytes_max is MLQ_EFULL. */
int cas_read(struct cas *cas,
             const struct cas_digest *digest,
             size_t bytes_max,
             MLQ_OWNED_RETURN char **data,
             size_t *len,
             struct mlq_err *err);

bool cas_has(struct cas *cas, const struct cas_digest *digest, uint64_t *bytes);

/* The digest of a file that need not be in a store; follows a final symlink. */
int cas_digest_file(const char *path,
                    struct cas_digest *digest,
                    uint64_t *bytes,
                    struct mlq_err *err);

#define CAS_TREE_ENTRIES_MAX (1u << 18)
#define CAS_TREE_DEPTH_MAX 64u             /* folders within each other */
#define CAS_TREE_PATH_BYTES_MAX 4096u
#define CAS_TREE_MANIFEST_BYTES_MAX (64u << 20)

/* A folder as one artifact: its files go in singly, then a manifest whose digest names the tree:
 *
 *     {"mlq.tree": 1, "entries": [
 *       {"path": "data/a.csv", "mode": "0644", "digest": "sha256:...", "bytes": 12},
 *       {"path": "latest", "link": "data/a.csv"}]}
 *
 * sorted by the path's bytes, compact, so that equal folders give equal digests. Modes are 0644 and
 * 0755 (the owner may execute). Empty folders are left out. A symlink is kept as a link when it stays
 * inside for sure: relative, and with ".." only in front. Other symlinks, devices, pipes and sockets
 * are refused by name, so are names that are not UTF-8 or hold control characters. `skip` (NULL: none)
 * says which inner paths to leave out. */
typedef bool (*cas_skip_fn)(void *context, const char *inner_path, bool is_dir);
int cas_put_tree(struct cas *cas,
                 const char *dir,
                 cas_skip_fn skip,
                 void *context,
                 struct cas_digest *digest,
                 uint64_t *bytes,
                 struct mlq_err *err);

/* The same of a folder that the caller owns, as cas_put_own_file has its files. */
int cas_put_own_tree(struct cas *cas,
                     const char *dir,
                     struct cas_digest *digest,
                     uint64_t *bytes,
                     struct mlq_err *err);

/* Materialise a tree below `dir` (made when missing). Every path is checked to stay inside, no symlink is
 * walked through, nothing that exists is replaced. Files are 0444 or 0555, with `writable` 0644 or
 * 0755; folders are always writable. After an error `dir` may hold a part. */
int cas_fetch_tree(struct cas *cas,
                   const struct cas_digest *digest,
                   const char *dir,
                   bool writable,
                   struct mlq_err *err);

#endif
