/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A piece of the file becomes rows, on any thread: fields are split, numbers read, codes looked up.
 * What depends on the rows before (how many are bad, which texts are new) is for import.c, which
 * takes the pieces in their order. Of an import only what no thread changes during a pass is looked
 * at.
 */
#ifndef MLQ_OP_IMPORT_ROWS_H
#define MLQ_OP_IMPORT_ROWS_H

#include "worker/op/csv_piece.h"
#include "worker/op/import_part.h"

/* Of a column of numbers, in one piece. */
struct seen {
    uint64_t text_line; /* of the first text; 0: none */
    struct mlq_str text;
    bool holds_not_finite;
    bool not_integer; /* set before, too, when it is known */
};

struct bad {
    uint64_t line;
    size_t row; /* good ones of this piece before it */
    enum csv_problem problem;
    size_t field;         /* from 0: of the problem, or of the cell that is no number */
    size_t count;         /* of fields */
    struct mlq_str shown; /* the cell, or the start of the row */
};

struct rows {
    struct csv_piece piece;
    bool has_header; /* its first record is no row */

    /* Lines and indices count from where the piece begins. */
    uint64_t lines;
    uint64_t records;
    size_t count;          /* of good rows */
    size_t stride;         /* from a column's first value to that of the next one */
    double *numbers;       /* by columns: those of numbers, in their order */
    int32_t *codes;        /* by columns: categories likewise, when writing */
    struct mlq_str *texts; /* by rows: of categories, when scanning */
    int64_t *indices;      /* of each row */
    uint64_t unknown_line; /* of the first text without a code; 0: none */
    struct seen *seen;     /* by columns of numbers */
    struct bad *bad;
    size_t bad_count;

    const struct import *import;
    struct csv *csv;
    size_t number_room;
    size_t code_room;
    size_t text_room;
    size_t row_room;
    size_t bad_room;
};

/* For one pass. */
void import_rows_init(struct rows *rows, MLQ_BORROWS const struct import *import);
void import_rows_fini(struct rows *rows);

/* `work` is a struct rows whose piece was read, and whose `seen` says what is known. */
void import_rows_parse(void *work);

/* Takes the rows of one piece, in the order of the file, on the thread of the pass. An error ends
 * it. */
typedef int (*import_take_fn)(struct import *import, const struct rows *rows, struct mlq_err *err);

/* import_pass.c: reads the rows below the header once, or some of them (PHASE_SAMPLE). OP_STOPPED
 * when asked to. */
int import_pass(struct import *import, enum phase phase, import_take_fn take, struct mlq_err *err);

#endif
