/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * data.import, whole: the first byte chooses parameters, the rest is the file. A table that was
 * written can be opened, and so can its profile.
 */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "lib/sys/mem.h"
#include "tests/fuzz/fuzz.h"
#include "worker/op/op_table.h"
#include "worker/op/table.h"

static const char *const parameters[] = {
    "{}",
    "{\"max_bad_rows\": 1000}",
    "{\"max_bad_rows\": 1000, \"delimiter\": \";\", \"target\": \"b\"}",
    "{\"max_bad_rows\": 3, \"missing\": [\"-1\", \"?\", \"\"], \"categories_max\": 3}",
    "{\"max_bad_rows\": 1000, \"types\": {\"a\": \"category\", \"b\": \"number\"}}",
    "{\"target\": \"a\", \"types\": {\"b\": \"ignore\"}}",
};

static void check_outputs(const char *folder)
{
    struct table *table = NULL;
    char *path = mlq_format("%s/table.safetensors", folder);
    MLQ_ASSERT(table_open(path, &table, NULL) == MLQ_OK);
    table_close(&table);
    mlq_free(path);
    path = mlq_format("%s/profile.json", folder);
    json_t *profile = json_load_file(path, 0, NULL);
    MLQ_ASSERT(json_is_object(profile));
    json_decref(profile);
    mlq_free(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct op_context *ctx = NULL;
    struct mlq_err err = MLQ_ERR_INIT;
    if (size == 0) {
        return 0;
    }
    const char *with = parameters[data[0] % MLQ_COUNT_OF(parameters)];
    (void)setenv("MLQ_OUTPUT", fuzz_folder(), 1);
    (void)setenv("MLQ_WITH", fuzz_file(0, with, strlen(with)), 1);
    (void)setenv("MLQ_INPUT_PATH", fuzz_file(1, data + 1, size - 1), 1);
    MLQ_ASSERT(op_open("data.import", &ctx, NULL) == MLQ_OK);
    int rc = op_import_run(ctx, &err);
    op_close(&ctx);
    if (rc == MLQ_OK) {
        check_outputs(fuzz_folder());
    } else {
        MLQ_ASSERT(err.text[0] != '\0' && err.code != MLQ_ECORRUPT); /* we would have written it */
    }
    return 0;
}
