/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The records of a CSV file (csv.h), which a thread reads and splits while the caller works on those before.
 * With one CPU there is no thread, and it is csv.h under another name.
 */
#ifndef MLQ_OP_CSV_AHEAD_H
#define MLQ_OP_CSV_AHEAD_H

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "worker/op/csv.h"

struct csv_ahead;

int csv_ahead_open(const char *path,
                   char delimiter,
                   unsigned cpus,
                   MLQ_OWNED_RETURN struct csv_ahead **ahead,
                   struct mlq_err *err);
/* Waits for the thread to end what it is at: less than a MiB, or one record. */
void csv_ahead_close(struct csv_ahead **ahead); /* takes NULL */

/* As csv_next. */
int csv_ahead_next(struct csv_ahead *ahead, struct csv_record *record, struct mlq_err *err);

uint64_t csv_ahead_bytes(const struct csv_ahead *ahead);      /* of the file */
uint64_t csv_ahead_bytes_done(const struct csv_ahead *ahead); /* of the records that were given, about */

#endif
