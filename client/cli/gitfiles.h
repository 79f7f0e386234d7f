/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What of a folder belongs to the code: in a git repository the files that git would track
 * (.gitignore respected, uncommitted ones included), elsewhere all but .git and __pycache__.
 */
#ifndef MLQ_CLI_GITFILES_H
#define MLQ_CLI_GITFILES_H

#include <stdbool.h>

#include "lib/base/err.h"
#include "lib/sys/region.h"

struct gitfiles;

int gitfiles_open(const char *dir, struct mlq_region *region, struct gitfiles **files,
                  struct mlq_err *err);

/* For cas_put_tree; the context is a struct gitfiles. */
bool gitfiles_skip(void *context, const char *inner_path, bool is_dir);

/* "<commit>" or "<commit>-dirty" of the repository that the folder is in, or NULL. */
const char *gitfiles_commit(const char *dir, struct mlq_region *region);

#endif
