/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The jobs that a leader has written to mlq.inbox and that have no rows of their own yet. Most jobs that are
 * short get theirs when they have ended: written once, in their final state.
 *
 * Nothing that the record says depends on this memory: mlq.job and mlq.stage show what is in the inbox, and the
 * first commit of an epoch gives rows to all that an earlier leader left there (mlq.empty_inbox).
 */
#ifndef MLQ_SCHEDULER_STORE_PG_INBOX_H
#define MLQ_SCHEDULER_STORE_PG_INBOX_H

#include "scheduler/store/store.h"

/* Older ones get their rows with the next commit, whatever it brings (when none comes, pg_commit.c makes one), and so
 * do the oldest when there are more: who reads a job looks through all of the inbox. */
#define PG_INBOX_AGE_NS   INT64_C(1000000000)
#define PG_INBOX_JOBS_MAX 10000

struct pg_inbox;

MLQ_OWNED_RETURN struct pg_inbox *pg_inbox_create(void);
void pg_inbox_destroy(struct pg_inbox **inbox);
void pg_inbox_clear(struct pg_inbox *inbox); /* another epoch */

/* Copies the jobs of a commit. False when their ids do not grow, each above all before it in this epoch, or the
 * epoch begins with them: then it is for the table's own key to say whether they are new, so they must get their
 * rows in this commit, after all others that wait here. */
bool pg_inbox_put(struct pg_inbox *inbox, const struct store_job *jobs, size_t count, int64_t now_ns);

bool pg_inbox_is_empty(const struct pg_inbox *inbox); /* all have their rows */
/* NULL: not here. The job stays the inbox's, until pg_inbox_sweep. */
const struct store_job *pg_inbox_find(const struct pg_inbox *inbox, uint64_t id);
/* The oldest that is here and is due, or of all; NULL: none. */
const struct store_job *pg_inbox_oldest(const struct pg_inbox *inbox, int64_t now_ns, bool all);
/* It gets its rows with this commit. */
void pg_inbox_take(struct pg_inbox *inbox, const struct store_job *job);

/* After the rows were sent: the next row of mlq.inbox of which no job is left here, by its lowest id, is
 * forgotten with the memory of its jobs. False: there is none. */
bool pg_inbox_sweep(struct pg_inbox *inbox, uint64_t *first);

#endif
