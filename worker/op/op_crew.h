/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Pieces of one kind of work on several CPUs, whose outcomes come back in the order in which they
 * were given. The caller is one of the workers: it works while it would wait, and without threads
 * it does all. All calls are from the thread that created the crew.
 */
#ifndef MLQ_OP_OP_CREW_H
#define MLQ_OP_OP_CREW_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"

struct op_crew;

/* On any thread. The work is its own until it was taken. */
typedef void (*op_crew_fn)(void *work);

/* For `cpus` CPUs, the caller's included. At most `room` pieces are given and not taken yet. */
int op_crew_create(unsigned cpus, size_t room, op_crew_fn run,
                   MLQ_OWNED_RETURN struct op_crew **crew, struct mlq_err *err);
/* Waits for what is under way, and drops what was not begun; takes NULL, frees, nulls. */
void op_crew_destroy(struct op_crew **crew);

void op_crew_give(struct op_crew *crew, MLQ_BORROWS void *work); /* there must be room */

/* The oldest piece that was given, done. NULL: there is none. */
void *op_crew_take(struct op_crew *crew);

#endif
