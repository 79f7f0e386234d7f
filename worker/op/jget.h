/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Reading JSON that others wrote: a value of another type, or a missing one, is absent, never an
 * error. What these return borrows from the document.
 */
#ifndef MLQ_OP_JGET_H
#define MLQ_OP_JGET_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"

#define JGET_FILE_BYTES_MAX ((size_t)64 << 20)

/* The document of a file, or of `len` bytes that errors call `name`. */
int jget_file(const char *path, MLQ_OWNED_RETURN json_t **document, struct mlq_err *err);
int jget_bytes(const char *name,
               const char *bytes,
               size_t len,
               MLQ_OWNED_RETURN json_t **document,
               struct mlq_err *err);

const char *jget_text(const json_t *object, const char *key);     /* NULL when absent */
json_t *jget_array(const json_t *object, const char *key);        /* NULL when absent */
json_t *jget_object(const json_t *object, const char *key);       /* NULL when absent */
bool jget_u64(const json_t *object, const char *key, uint64_t *value);

/* A number; JSON has no NaN, so the words "nan", "inf" and "-inf" are numbers too. */
bool jget_value_number(const json_t *value, double *number);
bool jget_number(const json_t *object, const char *key, double *number);

#endif
