/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Folders of the store (cas.h): walking one into a manifest, and building one from a manifest. For
 * cas_put.c and cas_fetch.c.
 */
#ifndef MLQ_ARTIFACT_CAS_TREE_H
#define MLQ_ARTIFACT_CAS_TREE_H

#include <sys/types.h>

#include "lib/artifact/cas.h"

/* How the walk reaches the store. `path` names the file in errors. */
struct cas_tree_store {
    struct cas *cas;
    int (*put)(struct cas *cas,
               int fd,
               const char *path,
               struct cas_digest *digest,
               uint64_t *bytes,
               struct mlq_err *err);
    int (*fetch)(struct cas *cas,
                 const struct cas_digest *digest,
                 int dir_fd,
                 const char *name,
                 mode_t mode,
                 struct mlq_err *err);
};

/* Puts the files of `dir` and returns the manifest's text (free with mlq_free). */
int cas_tree_put(const struct cas_tree_store *store,
                 const char *dir,
                 cas_skip_fn skip,
                 void *context,
                 MLQ_OWNED_RETURN char **manifest,
                 uint64_t *bytes,
                 struct mlq_err *err);

int cas_tree_fetch(const struct cas_tree_store *store,
                   struct mlq_str manifest,
                   const char *dir,
                   bool writable,
                   struct mlq_err *err);

#endif
