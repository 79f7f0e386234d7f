/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What does not fit into memory lies on disk: in files of the task's own folder (TMPDIR) that have
 * no name any more, so that they go with the process, however it ends. All of their room is taken
 * at once: a disk that is full says so before the work begins, not in the middle of it.
 *
 * Errors name the file as "WHAT in FOLDER" and the place in it.
 */
#ifndef MLQ_OP_SPILL_H
#define MLQ_OP_SPILL_H

#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"

struct spill;

/* `what` names it in errors, and must outlive it. A full disk is MLQ_EFULL, with how much is wanted
 * and where. */
int spill_create(const char *what, uint64_t bytes, MLQ_OWNED_RETURN struct spill **spill,
                 struct mlq_err *err);
void spill_destroy(struct spill **spill); /* takes NULL, frees, nulls */

/* All bytes at `at` or an error; what was never written reads as zeros, what lies behind the end is
 * MLQ_EIO. May be called by several threads. */
int spill_write(struct spill *spill, uint64_t at, const void *data, uint64_t bytes,
                struct mlq_err *err);
int spill_read(struct spill *spill, uint64_t at, void *data, uint64_t bytes, struct mlq_err *err);

/* An array in a file of its own, zeroed: the kernel may write its pages back and drop them, so it
 * counts as memory of this process only while there is enough. For what is looked up at random and
 * small beside the rows. */
int spill_array_create(const char *what, uint64_t count, uint64_t bytes, void **array,
                       struct mlq_err *err);
void spill_array_destroy(void *array, uint64_t count, uint64_t bytes); /* takes NULL */

#endif
