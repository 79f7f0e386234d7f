/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * CSV by RFC 4180, record by record in bounded memory: quotes, doubled quotes, newlines inside
 * quotes, LF and CRLF, a UTF-8 byte order mark. Empty lines are skipped. A quote inside an unquoted
 * field is data.
 *
 * A record that cannot be used is given all the same, with its problem said, and reading goes on after
 * it: at the next line when it was too long or its quote never closed.
 */
#ifndef MLQ_OP_CSV_H
#define MLQ_OP_CSV_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "lib/base/str.h"

#define CSV_FIELDS_MAX       65536u
#define CSV_RECORD_BYTES_MAX (16u << 20)
#define CSV_FIELD_BYTES_MAX  (1u << 20)

enum csv_problem {
    CSV_FINE,
    CSV_RECORD_TOO_LONG,
    CSV_FIELD_TOO_LONG,
    CSV_TOO_MANY_FIELDS,
    CSV_QUOTE_OPEN,  /* a quoted field does not end */
    CSV_QUOTE_AFTER, /* text between a closing quote and the delimiter */
    CSV_NUL,
    CSV_NOT_UTF8,
};

const char *csv_problem_text(enum csv_problem problem);

struct csv_record {
    const struct mlq_str *fields; /* valid until the next call; unescaped */
    size_t count;
    uint64_t line;  /* where it begins, from 1 */
    uint64_t index; /* of the record in the file, from 0; empty lines do not count */
    enum csv_problem problem;
    size_t problem_field; /* from 0 */
    struct mlq_str raw;   /* the start of its bytes, for messages */
};

struct csv;

int csv_open(const char *path, char delimiter, MLQ_OWNED_RETURN struct csv **csv, struct mlq_err *err);
void csv_close(struct csv **csv); /* takes NULL */

/* 1 and *record, 0 at the end, or an error. */
int csv_next(struct csv *csv, struct csv_record *record, struct mlq_err *err);

uint64_t csv_bytes(const struct csv *csv);      /* of the file */
uint64_t csv_bytes_done(const struct csv *csv); /* consumed so far */
uint64_t csv_lines_done(const struct csv *csv); /* likewise; not of what was passed over */

/* ---- For csv_piece.h ---- */

/* A reader of texts in memory, with no file: csv_next fails of none of them. */
MLQ_OWNED_RETURN struct csv *csv_create(char delimiter);
/* The records of this text come next, from line 1 and index 0. It is written to, and must stay
 * until then. */
void csv_set_text(struct csv *csv, MLQ_BORROWS char *text, size_t len);

/* What was read of the file and not consumed; *is_last: there is no more. Until the next call. */
struct mlq_str csv_ahead(const struct csv *csv, bool *is_last);
int csv_read_more(struct csv *csv, struct mlq_err *err);
void csv_pass_over(struct csv *csv, size_t bytes); /* of csv_ahead */
char csv_delimiter(const struct csv *csv);

#endif
