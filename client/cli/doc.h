/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Documents of the scheduler: reading fields that may be missing, and printing them as they came.
 */
#ifndef MLQ_CLI_DOC_H
#define MLQ_CLI_DOC_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "lib/base/str.h"

/* MLQ_EPROTO when it is not JSON. Free with json_decref. */
int doc_parse(struct mlq_str text, MLQ_OWNED_RETURN json_t **document, struct mlq_err *err);

/* "" and 0 for what is missing, null or of another type; never NULL. */
const char *doc_text(const json_t *object, const char *key);
int64_t doc_int(const json_t *object, const char *key);
double doc_real(const json_t *object, const char *key);

/* A metric's value: the shortest digits that mean the same number; "NaN" and infinities come as
 * texts. */
#define DOC_NUMBER_BYTES 40
const char *doc_number(const json_t *value, char text[DOC_NUMBER_BYTES]);

/* The same with six digits, for tables that people read. */
const char *doc_number_short(const json_t *value, char text[DOC_NUMBER_BYTES]);

/* Indented, every value byte for byte as it came (a parser in between would round numbers). */
void doc_print(FILE *file, struct mlq_str json);

/* On one line. */
void doc_print_line(FILE *file, const json_t *value);

#endif
