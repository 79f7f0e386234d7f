/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * CSV to table, in passes over the file and with bounded memory:
 *
 *   sample   a sixteenth, at most some MiBs: which columns hold texts
 *   scan     the whole file: kinds, dictionaries, good rows; once more when a kind turned out otherwise
 *   write    values to their columns: of the whole file again, unless the scan could keep them all
 *
 * A column is a number when every present value is one; else a category. A row is bad when it is
 * malformed (csv.h), has another number of fields than the header, or holds in a number column
 * something that is no finite number. Bad rows are left out, and over the limit they end the import.
 *
 * Memory. Neither the length of the file nor the number of its rows counts, only what every row
 * has anew: columns (their part of a chunk, of the schema and of the profile, which are JSON) and
 * the distinct texts of categories. Resident at most IMPORT_BYTES_MAX, the table's mapped pages
 * included; tests/unit/test_import_memory.c holds it. Both are bounded in turn, by CSV_FIELDS_MAX
 * and IMPORT_DICTIONARY_BYTES_MAX.
 */
#ifndef MLQ_OP_IMPORT_H
#define MLQ_OP_IMPORT_H

#include <jansson.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "worker/op/op.h"

#define IMPORT_MISSING_MAX           256u        /* texts that mean "no value" */
#define IMPORT_DICTIONARY_BYTES_MAX  (64u << 20) /* of all columns together */
#define IMPORT_BAD_ROWS_SHOWN        20u
/* The program and its libraries, the window of csv.h, a chunk, pieces of csv_piece.h for up to eight CPUs,
 * SAFETENSORS_RESIDENT_BYTES of the table; then what was measured for 65,536 columns and for 900,000 texts, rounded up. */
#define IMPORT_BYTES_MAX(columns, text_bytes) \
    ((UINT64_C(96) << 20) + (columns) * UINT64_C(16384) + (text_bytes) * UINT64_C(3))

struct import_options {
    const char *path;
    const char *shown; /* the file's name for messages */
    char delimiter;
    const char *target;           /* NULL: none */
    const json_t *types;          /* {column: "number" | "category" | "ignore"}, or NULL */
    const char *const *missing;
    size_t missing_count;
    uint64_t bad_rows_max;
    uint32_t categories_max;
};

struct import_bad_row {
    uint64_t line;
    size_t field; /* from 1; 0: the row as a whole */
    char text[256];
};

struct import;

/* Samples and scans. The options must outlive the import. Returns OP_STOPPED when asked to. */
int import_scan(struct op_context *ctx,
                const struct import_options *options,
                MLQ_OWNED_RETURN struct import **import,
                struct mlq_err *err);
/* Writes the table. `source` is a JSON object's text. */
int import_write(struct import *import, const char *path, const char *source, struct mlq_err *err);
void import_close(struct import **import); /* takes NULL */

size_t import_target_field(const struct import *import); /* of the file, from 1; 0: no target */
uint64_t import_bytes(const struct import *import); /* of the file */
uint64_t import_rows(const struct import *import);
uint64_t import_bad_rows(const struct import *import);
/* The first ones; NULL past the last that was kept. */
const struct import_bad_row *import_bad_row(const struct import *import, size_t i);

#endif
