/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The table that passes between the data, training and evaluation operators: one safetensors file,
 * column by column, so that any safetensors reader can read it too.
 *
 *     column of kind    tensor named as the column    missing value
 *     number            F64 [rows]                    NaN (a value is never infinite)
 *     category          I32 [rows], codes             -1
 *
 * A category's code is an index into the column's dictionary of texts, which is sorted by bytes and
 * without repeats; true/false columns and dates are categories. Integers are numbers whose column says
 * `integer`: up to 2^53 they are exact. 8-byte columns lie first in the file, so that all are aligned.
 *
 * An I64 [rows] tensor "mlq.row" tells which row of the source each row was (from 0, bad rows
 * counted). Without it row i came from row i. No column may be named "__metadata__" or begin with
 * "mlq.".
 *
 * `__metadata__` holds the schema as a JSON text under "mlq.table":
 *     {"version": 1, "rows": 1797,
 *      "columns": [{"name": "age", "kind": "number", "integer": true, "role": "feature"},
 *                  {"name": "city", "kind": "category", "role": "feature", "dictionary": ["Lyon", "Oslo"]},
 *                  {"name": "label", "kind": "number", "integer": true, "role": "target"}],
 *      "source": {"file": "people.csv", "bytes": 81920, "digest": "sha256:..."}}
 * The columns stand in the order of the source.
 */
#ifndef MLQ_OP_TABLE_H
#define MLQ_OP_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"

#define TABLE_COLUMNS_MAX 65536u
#define TABLE_NAME_BYTES_MAX 512u        /* of a column's name */
#define TABLE_ROWS_MAX (UINT64_C(1) << 40)
#define TABLE_DICTIONARY_MAX (1u << 20)  /* texts of one column */
#define TABLE_VERSION 1

enum table_kind { TABLE_NUMBER, TABLE_CATEGORY };

/* What training does with a column: a key (the column that a split went by) and an ignored column are
 * carried along, never learned from. At most one column is the target. */
enum table_role { TABLE_FEATURE, TABLE_TARGET, TABLE_IGNORE, TABLE_KEY };

const char *table_kind_text(enum table_kind kind);
const char *table_role_text(enum table_role role);

struct table_column {
    const char *name;
    enum table_kind kind;
    enum table_role role;
    bool integer;                  /* number: every value present is an integer */
    const double *numbers;         /* number: `rows` values, else NULL */
    const int32_t *codes;          /* category: `rows` codes in -1..dictionary_count-1, else NULL */
    const char *const *dictionary; /* category: sorted texts, else NULL */
    uint32_t dictionary_count;
};

/* ---- Reading: the file is mapped, columns are read in place ---- */
struct table;

/* Everything is checked here, each code included: a column may then be indexed without fear. By all CPUs that the task
 * has. */
int table_open(const char *path, MLQ_OWNED_RETURN struct table **table, struct mlq_err *err);
/* Of a table that this process has just written: its values are not looked at again. */
int table_open_own(const char *path, MLQ_OWNED_RETURN struct table **table, struct mlq_err *err);
void table_close(struct table **table); /* takes NULL, frees, nulls */

uint64_t table_rows(const struct table *table);
size_t table_column_count(const struct table *table);
const struct table_column *table_column(const struct table *table, size_t i); /* i < count */
const struct table_column *table_find(const struct table *table, const char *name); /* or NULL */
const struct table_column *table_target(const struct table *table);                 /* or NULL */

/* The column, or MLQ_ENOENT with a text that names the nearest one. */
int table_need(const struct table *table,
               const char *name,
               const struct table_column **column,
               struct mlq_err *err);

/* Row of the source that row `i` was. */
int64_t table_source_row(const struct table *table, uint64_t i);

/* Of who walks over columns once: keeps few of the file's pages in memory (safetensors_walked). */
void table_walked(const struct table *table, uint64_t bytes);

/* Of who walks over rows, all feature columns together: rows [row, row + count) come next. They are
 * read ahead, with some that follow, and nothing else is: of a table larger than memory a plain walk
 * would read each byte many times (safetensors_scatter). */
void table_expect(struct table *table, uint64_t row, uint64_t count);

/* The name of the file that the rows came from, for messages; "the source" when nobody knows. */
const char *table_source_file(const struct table *table);

/* The "source" object of the schema as JSON text; "{}" when there is none. */
const char *table_source(const struct table *table);

/* ---- Writing: declare the columns, then give each its values in any interleaving ---- */
struct table_writer;

struct table_schema {
    uint64_t rows;
    const struct table_column *columns; /* numbers and codes are not looked at */
    size_t column_count;
    bool with_source_rows; /* "mlq.row" will be given by table_write_source_rows */
    const char *source;    /* JSON object text, or NULL */
};

/* Copies what it needs of the schema. The file appears at `path` with table_writer_finish. */
int table_writer_create(const char *path,
                        const struct table_schema *schema,
                        MLQ_OWNED_RETURN struct table_writer **writer,
                        struct mlq_err *err);

/* The next `count` values of column `i`; its kind is asserted. Nothing is kept in memory. Several threads may write,
 * each columns of its own. */
int table_write_numbers(struct table_writer *writer,
                        size_t i,
                        const double *values,
                        size_t count,
                        struct mlq_err *err);
int table_write_codes(struct table_writer *writer,
                      size_t i,
                      const int32_t *codes,
                      size_t count,
                      struct mlq_err *err);
int table_write_source_rows(struct table_writer *writer,
                            const int64_t *rows,
                            size_t count,
                            struct mlq_err *err);

/* Frees the writer in any case. A column that did not get all its rows is an error. The file is whole, but
 * not durable: a table is an output, and the store syncs it. */
int table_writer_finish(struct table_writer **writer, struct mlq_err *err);
void table_writer_abort(struct table_writer **writer); /* takes NULL */

/* Some rows of `table`, in their order, as a new file: column by column, by all CPUs that the task has. */
struct table_subset {
    const uint8_t *part;          /* of each row of the table */
    uint8_t wanted;               /* rows whose part is this are written */
    const enum table_role *roles; /* of each column in the new file; NULL: as they are */
};
int table_save_subset(const struct table *table,
                      const char *path,
                      const struct table_subset *subset,
                      struct mlq_err *err);

#endif
