/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/op_table.h"

#include <string.h>

#include "lib/base/ownership.h"

/* Sorted by name. */
static const struct op ops[] = {
    /* data */
    {.name = "data.import", .run = op_import_run},
    {.name = "data.split", .run = op_split_run},
    {.name = "data.validate", .run = op_validate_run},

    /* evaluate */

    /* gate */

    /* package */

    /* report */

    /* train */
};

const struct op *op_table_find(const char *name)
{
    for (size_t i = 0; i < MLQ_COUNT_OF(ops); i++) {
        if (strcmp(ops[i].name, name) == 0) {
            return &ops[i];
        }
    }
    return NULL;
}

const struct op *op_table_at(size_t i)
{
    return i < MLQ_COUNT_OF(ops) ? &ops[i] : NULL;
}
