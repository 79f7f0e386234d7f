/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The files of a control group, for cgroup.c and cgroup_probe.c.
 */
#ifndef MLQ_WORKER_EXEC_CGROUP_FILE_H
#define MLQ_WORKER_EXEC_CGROUP_FILE_H

#include <stdbool.h>

#include "lib/base/str.h"

/* In one write(2), as the kernel wants it. False: absent, not allowed, or refused. */
bool cgroup_file_write(const char *group, const char *file, const char *text);

/* The whole file, to be freed with mlq_free; NULL: cannot be read. */
char *cgroup_file_read(const char *group, const char *file);

/* Takes the next space-separated word off a line. */
struct mlq_str cgroup_file_word(struct mlq_str *line);

#endif
