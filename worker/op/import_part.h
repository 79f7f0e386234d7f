/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What the files of import.h share; not for others.
 */
#ifndef MLQ_OP_IMPORT_PART_H
#define MLQ_OP_IMPORT_PART_H

#include "worker/op/csv.h"
#include "worker/op/dict.h"
#include "worker/op/import.h"
#include "worker/op/missing.h"
#include "worker/op/table.h"

#define CELL_SHOWN          60 /* bytes of a cell in a message */
#define IMPORT_MISSING_CODE (-1)

struct column {
    char *name;
    enum table_kind kind;
    bool forced; /* by with.types */
    bool ignored;
    bool is_target;
    bool holds_text;       /* while it counted as a number */
    bool holds_not_finite; /* likewise */
    bool not_integer;
    uint64_t text_line; /* where the first text was, for a message */
    char text_shown[CELL_SHOWN + 1];
    struct dict *dict; /* category */
    double *numbers;   /* chunk, when writing, and while the scan keeps its rows */
    int32_t *codes;
};

/* Columns of numbers that stand side by side in the file. */
struct span {
    size_t begin; /* the first one's field */
    size_t count;
    size_t place; /* of the first one among the numbers */
};

enum phase { PHASE_SAMPLE, PHASE_SCAN, PHASE_WRITE };

struct import {
    struct op_context *ctx;
    const struct import_options *options;
    struct column *columns;
    size_t count;
    enum phase phase;
    bool pinned;
    struct span *spans; /* of this pass: what is not ignored, by its kind now */
    size_t span_count;
    size_t number_count;
    size_t *categories; /* fields */
    size_t category_count;
    double progress_from; /* of this pass, in 0..1 */
    double progress_share;

    struct missing missing;
    struct mlq_region *texts; /* of all dictionaries */
    uint64_t bytes; /* of the file */
    uint64_t lines; /* before the piece at hand */
    uint64_t records; /* likewise, the header included */
    uint64_t rows; /* good ones */
    uint64_t rows_stored;
    uint64_t dictionary_bytes;
    uint64_t bad_count;
    struct import_bad_row bad[IMPORT_BAD_ROWS_SHOWN];

    bool is_kept; /* the chunk has all good rows so far; when the scan ends with it, nothing is read again */
    size_t chunk_rows;
    size_t chunk_used;
    double *chunk_numbers;
    int32_t *chunk_codes;
    int64_t *chunk_sources;
    struct table_writer *writer;
    size_t *stored; /* table column of each column */
    size_t stored_count;
};

/* import_header.c: opens the file once; sets columns and count, with `types` and `target` applied.
 */
int import_header_read(struct import *import, struct mlq_err *err);

#endif
