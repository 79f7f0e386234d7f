/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The first line of a CSV file: the columns, and what `types` and `target` say about them.
 */
#include "worker/op/import_part.h"

#include <string.h>

#include "lib/sys/mem.h"

static int name_columns(struct import *import, const struct csv_record *header, struct mlq_err *err)
{
    const char *shown = import->options->shown;
    if (header->problem != CSV_FINE) {
        return mlq_fail(err, MLQ_EINVAL, "%s:1:%zu: header: %s", shown, header->problem_field + 1,
                        csv_problem_text(header->problem));
    }
    struct dict *names = dict_create(import->texts, CSV_FIELDS_MAX);
    int rc = MLQ_OK;
    import->columns = mlq_alloc_array(header->count, sizeof *import->columns);
    import->count = header->count;
    for (size_t i = 0; rc == MLQ_OK && i < header->count; i++) {
        struct mlq_str name = mlq_str_trim(header->fields[i]);
        if (name.len == 0 || name.len > TABLE_NAME_BYTES_MAX) {
            rc = mlq_fail(err, MLQ_EINVAL, "%s:1:%zu: column %zu has %s name", shown, i + 1, i + 1,
                          name.len == 0 ? "no" : "too long a");
            break;
        }
        uint32_t before = dict_count(names);
        int32_t first = dict_add(names, name);
        import->columns[i].name = mlq_strndup(name);
        if (dict_count(names) == before) {
            rc = mlq_fail(err, MLQ_EINVAL, "%s:1:%zu: columns %d and %zu are both named '%.100s'",
                          shown, i + 1, first + 1, i + 1, import->columns[i].name);
        } else if (strcmp(import->columns[i].name, "__metadata__") == 0 ||
                   strncmp(import->columns[i].name, "mlq.", 4) == 0) {
            rc = mlq_fail(err, MLQ_EINVAL, "%s:1:%zu: the column name '%.100s' is reserved", shown,
                          i + 1, import->columns[i].name);
        }
    }
    dict_destroy(&names);
    return rc;
}

static int find_column(struct import *import, const char *name, const char *parameter,
                       size_t *found, struct mlq_err *err)
{
    const char *nearest = NULL;
    size_t least = 4;
    for (size_t i = 0; i < import->count; i++) {
        if (strcmp(import->columns[i].name, name) == 0) {
            *found = i;
            return MLQ_OK;
        }
        size_t distance =
            mlq_str_distance(mlq_str_from(name), mlq_str_from(import->columns[i].name));
        if (distance < least && distance < strlen(name)) {
            least = distance;
            nearest = import->columns[i].name;
        }
    }
    return mlq_fail(
        err, MLQ_ENOENT, "%s:1: with.%s names '%.100s', but there is no such column%s%.100s%s",
        import->options->shown, parameter, name, nearest == NULL ? "" : " (did you mean '",
        nearest == NULL ? "" : nearest, nearest == NULL ? "" : "'?)");
}

static int apply_types(struct import *import, struct mlq_err *err)
{
    json_t *types = (json_t *)(uintptr_t)import->options->types;
    for (void *at = json_object_iter(types); at != NULL; at = json_object_iter_next(types, at)) {
        size_t i;
        int rc = find_column(import, json_object_iter_key(at), "types", &i, err);
        if (rc != MLQ_OK) {
            return rc;
        }
        const char *type = json_string_value(json_object_iter_value(at));
        struct column *column = &import->columns[i];
        column->forced = true;
        column->ignored = type != NULL && strcmp(type, "ignore") == 0;
        column->kind =
            type != NULL && strcmp(type, "category") == 0 ? TABLE_CATEGORY : TABLE_NUMBER;
        if (type == NULL ||
            (column->kind == TABLE_NUMBER && !column->ignored && strcmp(type, "number") != 0)) {
            return mlq_fail(err, MLQ_EINVAL,
                            "with.types.%.100s: expected number, category or ignore", column->name);
        }
    }
    return MLQ_OK;
}

static int apply_target(struct import *import, struct mlq_err *err)
{
    size_t i;
    if (import->options->target == NULL) {
        return MLQ_OK;
    }
    int rc = find_column(import, import->options->target, "target", &i, err);
    if (rc == MLQ_OK && import->columns[i].ignored) {
        rc = mlq_fail(err, MLQ_EINVAL, "with.types ignores '%.100s', which is the target",
                      import->columns[i].name);
    }
    if (rc == MLQ_OK) {
        import->columns[i].is_target = true;
    }
    return rc;
}

int import_header_read(struct import *import, struct mlq_err *err)
{
    struct csv *csv = NULL;
    struct csv_record header;
    int rc = csv_open(import->options->path, import->options->delimiter, &csv, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    rc = csv_next(csv, &header, err);
    if (rc == 0) {
        rc = mlq_fail(err, MLQ_EINVAL,
                      "%s:1:1: the file is empty: expected a header line with the names "
                      "of the columns",
                      import->options->shown);
    } else if (rc == 1) {
        rc = name_columns(import, &header, err);
    }
    csv_close(&csv);
    if (rc == MLQ_OK) {
        rc = apply_types(import, err);
    }
    if (rc == MLQ_OK) {
        rc = apply_target(import, err);
    }
    return rc;
}
