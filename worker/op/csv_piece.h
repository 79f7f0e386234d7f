/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A CSV file (csv.h) in pieces of whole records, to be split by several threads: where a record
 * ends is found in a file without quotes at the speed of memory. The records of all pieces are
 * those that csv_next gives of the file, but for their lines and indices, which count from where
 * the piece begins.
 */
#ifndef MLQ_OP_CSV_PIECE_H
#define MLQ_OP_CSV_PIECE_H

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "worker/op/csv.h"

#define CSV_PIECE_BYTES (128u << 10) /* of text, unless one record has more */

/* Zero is a valid empty one. Its memory serves again for the next. */
struct csv_piece {
    char *text; /* owned; it is written to when its records are split */
    size_t len;
    size_t room;
    bool is_given_up; /* one record, which has to be read from the file to its end: this one,
                         without fields */
    struct csv_record record;
    uint64_t bytes_done; /* of the file, with this piece */
};

/* 1 and *piece, 0 at the end, or an error. */
int csv_piece_read(struct csv *csv, struct csv_piece *piece, struct mlq_err *err);
void csv_piece_fini(struct csv_piece *piece);

/* The next record of a piece that `csv` was given with csv_piece_begin: 1, or 0 at its end. */
void csv_piece_begin(struct csv *csv, struct csv_piece *piece);
int csv_piece_next(struct csv *csv, struct csv_piece *piece, struct csv_record *record);
uint64_t csv_piece_lines(const struct csv *csv,
                         const struct csv_piece *piece); /* after its last record */

/* The length of the last whole record of `text`, all before it included, that ends within `wanted`
 * bytes; or else of the first one. 0: none ends. `is_last`: the text is all that is left of the
 * file, so a record may end without a newline. */
size_t csv_piece_whole(struct mlq_str text, char delimiter, bool is_last, size_t wanted);

#endif
