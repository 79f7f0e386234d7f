/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/jget.h"

#include <math.h>
#include <string.h>

#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

int jget_bytes(const char *name, const char *bytes, size_t len, json_t **document,
               struct mlq_err *err)
{
    json_error_t where;
    *document = json_loadb(bytes, len, 0, &where);
    if (*document == NULL) {
        return mlq_fail(err, MLQ_EINVAL, "%s:%d:%d: not JSON: %s", name, where.line, where.column,
                        where.text);
    }
    return 0;
}

int jget_file(const char *path, json_t **document, struct mlq_err *err)
{
    char *bytes = NULL;
    size_t len = 0;
    *document = NULL;
    int rc = mlq_fs_read(path, JGET_FILE_BYTES_MAX, &bytes, &len, err);
    if (rc != 0) {
        return rc;
    }
    rc = jget_bytes(path, bytes, len, document, err);
    mlq_free(bytes);
    return rc;
}

const char *jget_text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

json_t *jget_array(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    return json_is_array(value) ? value : NULL;
}

json_t *jget_object(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    return json_is_object(value) ? value : NULL;
}

bool jget_u64(const json_t *object, const char *key, uint64_t *value)
{
    const json_t *found = json_object_get(object, key);
    if (!json_is_integer(found) || json_integer_value(found) < 0) {
        return false;
    }
    *value = (uint64_t)json_integer_value(found);
    return true;
}

bool jget_value_number(const json_t *value, double *number)
{
    if (json_is_number(value)) {
        *number = json_number_value(value);
        return true;
    }
    const char *word = json_string_value(value);
    if (word == NULL) {
        return false;
    }
    if (strcmp(word, "nan") == 0 || strcmp(word, "NaN") == 0) {
        *number = (double)NAN;
        return true;
    }
    if (strcmp(word, "inf") == 0 || strcmp(word, "-inf") == 0) {
        *number = word[0] == '-' ? -(double)INFINITY : (double)INFINITY;
        return true;
    }
    return false;
}

bool jget_number(const json_t *object, const char *key, double *number)
{
    return jget_value_number(json_object_get(object, key), number);
}
